"""The writer: one atomic commit per write, validated before, and the state after every kind of failure."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pandera.polars as pa
import polars as pl
import pyarrow as arrow
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from polars.testing import assert_frame_equal

from etl.errors import ConcurrentWriteError, PerturbhouseError, RejectedWriteError
from etl.provenance import Provenance
from etl.warehouse import delta, staging
from etl.warehouse.scan import scan
from schemas import TABLES
from schemas.table import Table

EFFECTS = TABLES["mart/differential_expression"]
COMPOUNDS = TABLES["core/compound"]
Rows = Callable[..., pl.DataFrame]


def stored(root: Path, table=EFFECTS) -> pl.DataFrame:
    return scan(table, root=str(root)).collect().sort(table.primary_key)


def test_replacing_a_partition_twice_gives_the_same_rows_and_leaves_the_others(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root = str(tmp_path)
    delta.replace(root, EFFECTS, effect_rows("other", 9), {"dataset_id": "other"}, provenance=provenance)
    for _ in range(2):
        delta.replace(root, EFFECTS, effect_rows("toy", 1), {"dataset_id": "toy"}, provenance=provenance)
    expected = pl.concat([effect_rows("toy", 1), effect_rows("other", 9)])
    assert_frame_equal(stored(tmp_path), expected)


def test_an_empty_write_clears_the_partition(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    delta.replace(root, EFFECTS, effect_rows("toy", 1).clear(), where, provenance=provenance)
    assert stored(tmp_path).is_empty()


def test_rows_are_plain_delta_that_polars_alone_reads(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    delta.replace(str(tmp_path), EFFECTS, effect_rows("toy", 1), {"dataset_id": "toy"}, provenance=provenance)
    rows = pl.scan_delta(str(tmp_path / EFFECTS.name)).filter(pl.col("dataset_id") == "toy").collect()
    assert rows.height == 3
    assert rows["context_id"][0] == "unresolved:toy:it's A/B"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows: rows.with_columns(p_value=pl.lit(1.5, pl.Float32)), "column p_value"),
        (lambda rows: rows.with_columns(p_value=pl.lit(float("nan"), pl.Float32)), "column p_value"),
        (lambda rows: rows.with_columns(gene_id=pl.col("gene_id").cast(pl.Int64)), "gene_id"),
        (lambda rows: rows.drop("p_value"), "p_value"),
        (lambda rows: rows.with_columns(extra=1), "extra"),
        (lambda rows: pl.concat([rows, rows]), "key (condition_id, gene_id) repeated in 6 row(s)"),
        (lambda rows: rows.with_columns(dataset_id=pl.lit("strange")), "outside the partition"),
    ],
    ids=["range", "nan", "dtype", "missing column", "extra column", "duplicate key", "wrong partition"],
)
def test_rows_that_break_a_rule_are_refused_and_the_last_version_stands(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, spoil: Callable, told: str
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    version = delta.version(root, EFFECTS)
    with pytest.raises(RejectedWriteError) as error:
        delta.replace(root, EFFECTS, spoil(effect_rows("toy", 2)), where, provenance=provenance)
    assert EFFECTS.name in str(error.value)
    assert told in str(error.value)
    assert delta.version(root, EFFECTS) == version
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 1))
    assert list((tmp_path / delta.STAGING).iterdir()) == []


def test_a_key_repeated_in_a_later_chunk_is_refused(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    with (
        pytest.raises(RejectedWriteError, match="several chunks"),
        delta.replacing(str(tmp_path), {EFFECTS: {"dataset_id": "toy"}}, provenance=provenance) as staged,
    ):
        staged[EFFECTS.name].add(effect_rows("toy", 1))
        staged[EFFECTS.name].add(effect_rows("toy", 1))
    assert not (tmp_path / EFFECTS.name).exists()


def test_nothing_is_published_when_the_block_fails_half_way(
    tmp_path: Path, effect_rows: Rows, compound_rows: Rows, provenance: Provenance
) -> None:
    tables = {EFFECTS: {"dataset_id": "toy"}, COMPOUNDS: {}}
    with (
        pytest.raises(ZeroDivisionError),
        delta.replacing(str(tmp_path), tables, provenance=provenance) as staged,
    ):
        staged[EFFECTS.name].add(effect_rows("toy", 1))
        staged[COMPOUNDS.name].add(compound_rows(a="x"))
        _ = 1 / 0
    assert not (tmp_path / EFFECTS.name).exists()
    assert not (tmp_path / COMPOUNDS.name).exists()


def test_merge_updates_known_keys_and_inserts_new_ones(
    tmp_path: Path, compound_rows: Rows, provenance: Provenance
) -> None:
    root = str(tmp_path)
    delta.merge(root, COMPOUNDS, compound_rows(a="first", b="kept"), provenance=provenance)
    for _ in range(2):
        delta.merge(root, COMPOUNDS, compound_rows(a="second", c="new"), provenance=provenance)
    assert stored(tmp_path, COMPOUNDS)["name"].to_list() == ["second", "kept", "new"]


def test_an_older_version_can_still_be_read(
    tmp_path: Path, compound_rows: Rows, provenance: Provenance
) -> None:
    root = str(tmp_path)
    first = delta.replace(root, COMPOUNDS, compound_rows(a="old"), {}, provenance=provenance)
    delta.replace(root, COMPOUNDS, compound_rows(a="new"), {}, provenance=provenance)
    assert scan(COMPOUNDS, first, root=root).collect()["name"].to_list() == ["old"]
    assert scan(COMPOUNDS, root=root).collect()["name"].to_list() == ["new"]


def test_a_commit_tells_run_code_and_sources(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    where = {"dataset_id": "toy"}
    delta.replace(str(tmp_path), EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    commit = DeltaTable(str(tmp_path / EFFECTS.name)).history()[0]
    assert commit["run_id"] == "run-1"
    assert commit["fingerprint"] == "f1"
    assert commit["code_version"]
    assert "a/file.txt" in commit["sources"]
    assert delta.committed_fingerprint(str(tmp_path), EFFECTS, where) == "f1"
    assert delta.committed_fingerprint(str(tmp_path), EFFECTS, {"dataset_id": "never"}) is None


def test_columns_carry_their_descriptions_and_nullability(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    where = {"dataset_id": "toy"}
    delta.replace(str(tmp_path), EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    fields = {field.name: field for field in DeltaTable(str(tmp_path / EFFECTS.name)).schema().fields}
    assert "log2 fold change" in fields["log2_fold_change"].metadata["comment"]
    assert fields["p_value"].nullable is False


def _write_partition(root: str, dataset_id: str, rows: pl.DataFrame, provenance: Provenance) -> None:
    delta.replace(root, EFFECTS, rows, {"dataset_id": dataset_id}, provenance=provenance)


def test_concurrent_writers_of_distinct_partitions_all_commit(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    names = ["a", "b", "c"]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        jobs = [
            (str(tmp_path), name, effect_rows(name, index), provenance) for index, name in enumerate(names)
        ]
        pool.starmap(_write_partition, jobs)
    assert sorted(stored(tmp_path)["dataset_id"].unique()) == names


def _stage_and_hang(root: str, rows: pl.DataFrame, provenance: Provenance) -> None:
    with delta.replacing(root, {EFFECTS: {"dataset_id": "toy"}}, provenance=provenance) as staged:
        staged[EFFECTS.name].add(rows)
        [own] = (Path(root) / delta.STAGING).iterdir()
        (own / "staged").touch()
        time.sleep(60)


def test_a_killed_write_leaves_the_last_version_and_the_next_one_sweeps_up(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    waiting = tmp_path / delta.STAGING
    process = multiprocessing.get_context("spawn").Process(
        target=_stage_and_hang, args=(root, effect_rows("toy", 2), provenance)
    )
    process.start()
    deadline = time.monotonic() + 30
    while not list(waiting.glob("*/staged")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 1))
    assert list(waiting.iterdir())
    delta.replace(root, EFFECTS, effect_rows("toy", 3), where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 3))
    assert list(waiting.iterdir()) == []


def test_a_table_with_a_dtype_delta_cannot_hold_is_refused(tmp_path: Path, provenance: Provenance) -> None:
    class Coded(pa.DataFrameModel):
        """One row per code."""

        code: pl.Categorical = pa.Field(description="Code.")

    table = Table(name="core/coded", model=Coded, primary_key=("code",))
    with pytest.raises(AssertionError, match=r"cannot hold: \['code'\]"):
        delta.replace(str(tmp_path), table, pl.DataFrame({"code": ["a"]}), {}, provenance=provenance)


def data_files(root: Path, table=EFFECTS) -> set[str]:
    return {str(path.relative_to(root / table.name)) for path in (root / table.name).rglob("*.parquet")}


def committed_files(root: Path, table=EFFECTS) -> set[str]:
    files = pl.DataFrame(DeltaTable(str(root / table.name)).get_add_actions(flatten=True))
    return set(map(unquote, files["path"]))


@pytest.mark.parametrize("is_first", [True, False], ids=["first write", "later write"])
@pytest.mark.parametrize("where", [{"dataset_id": "toy"}, {}], ids=["partition", "whole table"])
def test_of_two_writers_of_the_same_rows_the_first_to_commit_wins(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, is_first: bool, where: dict[str, str]
) -> None:
    root = str(tmp_path)
    if not is_first:
        delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    with (
        pytest.raises(ConcurrentWriteError, match="another process wrote these rows meanwhile"),
        delta.replacing(root, {EFFECTS: where}, provenance=provenance) as slow,
    ):
        slow[EFFECTS.name].add(effect_rows("toy", 2))
        delta.replace(root, EFFECTS, effect_rows("toy", 3), where, provenance=provenance)
        before = data_files(tmp_path)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 3))
    assert data_files(tmp_path) == before


def test_a_writer_that_loses_between_its_last_look_and_its_commit_is_told(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    commit = DeltaTable.create_write_transaction
    others = iter([effect_rows("toy", 3)])

    def late(table: DeltaTable, *args: object, **options: object) -> None:
        for rows in others:
            delta.replace(root, EFFECTS, rows, where, provenance=provenance)
        commit(table, *args, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", late)
    with pytest.raises(ConcurrentWriteError):
        delta.replace(root, EFFECTS, effect_rows("toy", 2), where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 3))
    assert data_files(tmp_path) == committed_files(tmp_path)


def test_a_commit_whose_answer_was_lost_is_recognised(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    commit = DeltaTable.create_write_transaction

    def silent(table: DeltaTable, *args: object, **options: object) -> None:
        commit(table, *args, **options)
        raise CommitFailedError("the answer was lost")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", silent)
    delta.replace(root, EFFECTS, effect_rows("toy", 2), where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 2))
    assert delta.version(root, EFFECTS) == 1


def test_writers_of_two_contexts_of_a_dataset_do_not_disturb_each_other(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root = str(tmp_path)
    contexts = ["CVCL_0001", "CVCL_0002"]
    first, second = (effect_rows("toy", 1).with_columns(context_id=pl.lit(name)) for name in contexts)
    wheres = [{"dataset_id": "toy", "context_id": name} for name in contexts]
    with delta.replacing(root, {EFFECTS: wheres[0]}, provenance=provenance) as slow:
        slow[EFFECTS.name].add(first)
        delta.replace(root, EFFECTS, second, wheres[1], provenance=provenance)
    assert_frame_equal(
        scan(EFFECTS, root=root).collect().sort("context_id", "gene_id"), pl.concat([first, second])
    )


def _race(root: str, rows: pl.DataFrame, provenance: Provenance, start, results) -> None:
    try:
        with delta.replacing(root, {EFFECTS: {"dataset_id": "toy"}}, provenance=provenance) as staged:
            staged[EFFECTS.name].add(rows)
            start.wait(60)
    except ConcurrentWriteError:
        results.put(None)
    else:
        results.put(rows["condition_id"][0])


def test_of_many_processes_that_write_the_same_partition_one_wins(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(4), spawn.Queue()
    processes = [
        spawn.Process(
            target=_race, args=(str(tmp_path), effect_rows("toy", number), provenance, start, results)
        )
        for number in (1, 2, 3, 4)
    ]
    for process in processes:
        process.start()
    winners = [winner for winner in (results.get(timeout=90) for _ in processes) if winner is not None]
    for process in processes:
        process.join(30)
    assert len(winners) == 1
    assert_frame_equal(stored(tmp_path), effect_rows("toy", winners[0]))
    assert data_files(tmp_path) == committed_files(tmp_path)


def _write_and_die(root: str, rows: pl.DataFrame, provenance: Provenance, moment: str) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "before the commit":
        DeltaTable.create_write_transaction = die
    else:
        staging.shutil.rmtree = die
    delta.replace(root, EFFECTS, rows, {"dataset_id": "toy"}, provenance=provenance)


@pytest.mark.parametrize(("moment", "stands"), [("before the commit", 1), ("after the commit", 2)])
def test_files_of_a_writer_killed_beside_its_commit_are_swept_unless_committed(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, moment: str, stands: int
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    version = delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    before = data_files(tmp_path)
    process = multiprocessing.get_context("spawn").Process(
        target=_write_and_die, args=(root, effect_rows("toy", 2), provenance, moment)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    [left] = data_files(tmp_path) - before
    assert_frame_equal(stored(tmp_path), effect_rows("toy", stands))
    delta.replace(root, EFFECTS, effect_rows("other", 9), {"dataset_id": "other"}, provenance=provenance)
    assert (left in data_files(tmp_path)) is (stands == 2)
    assert list((tmp_path / delta.STAGING).iterdir()) == []
    assert_frame_equal(
        scan(EFFECTS, root=root).filter(**where).collect().sort("gene_id"), effect_rows("toy", stands)
    )
    assert scan(EFFECTS, version, root=root).collect()["condition_id"][0] == 1


ODD = [
    "it's A/B",
    'a = 50 % of "b"',
    "%2F+%41",
    "tab\there",
    "日本 ü",
    "x\\y|z*<>?#&;",
    "1e5",
    "..",
    "null",
]


def test_odd_contexts_of_one_chunk_each_stand_in_their_own_partition(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root, contexts = str(tmp_path), sorted(f"unresolved:toy:{label}" for label in ODD)
    rows = pl.concat(
        effect_rows("toy", number).with_columns(context_id=pl.lit(context))
        for number, context in enumerate(contexts)
    )
    delta.replace(root, EFFECTS, rows, {"dataset_id": "toy"}, provenance=provenance)
    assert_frame_equal(stored(tmp_path), rows)
    assert delta.partitions(root, EFFECTS) == [
        {"dataset_id": "toy", "context_id": context} for context in contexts
    ]
    kept = contexts[3:]
    for number, context in enumerate(contexts[:3]):
        one = scan(EFFECTS, root=root).filter(context_id=context).collect()
        assert_frame_equal(one, rows.filter(context_id=context), check_row_order=False)
        where = {"dataset_id": "toy", "context_id": context}
        again = effect_rows("toy", 100 + number).with_columns(context_id=pl.lit(context))
        delta.replace(root, EFFECTS, again, where, provenance=provenance)
        delta.remove(root, EFFECTS, where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), rows.filter(pl.col("context_id").is_in(kept)))


def test_a_context_too_long_for_a_folder_is_refused(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    rows = effect_rows("toy", 1).with_columns(context_id=pl.lit("unresolved:toy:" + "日" * 80))
    with pytest.raises(RejectedWriteError, match="too long for the name of a folder"):
        delta.replace(str(tmp_path), EFFECTS, rows, {"dataset_id": "toy"}, provenance=provenance)


def test_the_log_tells_of_the_files_what_delta_itself_would_tell(
    tmp_path: Path, compound_rows: Rows, provenance: Provenance
) -> None:
    rows = compound_rows(b="second", a="first")
    delta.replace(str(tmp_path), COMPOUNDS, rows, {}, provenance=provenance)
    write_deltalake(tmp_path / "theirs", rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    [ours], [theirs] = (
        pl.DataFrame(DeltaTable(str(folder)).get_add_actions(flatten=True)).rows(named=True)
        for folder in (tmp_path / COMPOUNDS.name, tmp_path / "theirs")
    )
    assert ours["num_records"] == 2
    told = [name for name in theirs if name.startswith(("num_records", "null_count.", "min.", "max."))]
    assert {name: ours[name] for name in told} == {name: theirs[name] for name in told}
    assert ours["size_bytes"] == (tmp_path / COMPOUNDS.name / ours["path"]).stat().st_size


def test_chunks_are_gathered_into_sorted_files_of_bounded_size(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "FILE_ROWS", 6)
    root, where = str(tmp_path), {"dataset_id": "toy"}
    with delta.replacing(root, {EFFECTS: where}, provenance=provenance) as staged:
        for number in (5, 1, 4, 2, 3):
            staged[EFFECTS.name].add(effect_rows("toy", number)[::-1])
        staged[EFFECTS.name].add(effect_rows("toy", 6, n_genes=12))
        assert staged[EFFECTS.name].n_rows == 27
    files = [pl.read_parquet(tmp_path / EFFECTS.name / path) for path in committed_files(tmp_path)]
    # Conditions 5 and 1, 4 and 2, then 3 with all of 6, in two files.
    assert sorted(file.height for file in files) == [6, 6, 7, 8]
    for file in files:
        assert file.rows() == file.sort("condition_id", "gene_id").rows()
    assert stored(tmp_path).height == 27


def test_large_buffers_over_many_partitions_are_written_too(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "FILE_ROWS", 4)
    with delta.replacing(str(tmp_path), {EFFECTS: {}}, provenance=provenance) as staged:
        for number, name in enumerate("abc"):
            staged[EFFECTS.name].add(effect_rows(name, number))
            waiting = sum(
                frame.height for frames in staged[EFFECTS.name]._waiting.values() for frame in frames
            )
            assert waiting < 4
    assert stored(tmp_path).height == 9


def test_a_key_repeated_far_apart_in_a_chunk_is_found(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    rows = pl.concat([effect_rows("toy", 2), effect_rows("toy", 1), effect_rows("toy", 2).tail(1)])
    with pytest.raises(RejectedWriteError, match=r"repeated in 2 row\(s\), e.g. \[\(2, 3\)\]"):
        delta.replace(str(tmp_path), EFFECTS, rows, {"dataset_id": "toy"}, provenance=provenance)


@pytest.mark.parametrize(
    ("lacking", "partition_by"),
    [("p_value", ["dataset_id", "context_id"]), ("none", ["dataset_id"])],
    ids=["other columns", "other partitions"],
)
def test_a_table_of_another_shape_is_not_written_into(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, lacking: str, partition_by: list[str]
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy", "context_id": "unresolved:toy:it's A/B"}
    older = effect_rows("toy", 1).drop(lacking, strict=False)
    older = older.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(
        arrow.schema([delta.arrow_schema(EFFECTS).field(name) for name in older.columns])
    )
    (tmp_path / EFFECTS.name).mkdir(parents=True)
    write_deltalake(tmp_path / EFFECTS.name, older, partition_by=partition_by)
    with pytest.raises(PerturbhouseError, match="with other columns or partitions"):
        delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    assert data_files(tmp_path) == committed_files(tmp_path)


def test_fingerprints_of_all_partitions_are_what_was_committed_last(
    tmp_path: Path, effect_rows: Rows
) -> None:
    root = str(tmp_path)
    assert delta.committed_fingerprints(root, EFFECTS) == {}
    assert delta.partitions(root, EFFECTS) == []

    def write(fingerprint: str, dataset_id: str, context_id: str | None = None) -> None:
        where = {"dataset_id": dataset_id} | ({"context_id": context_id} if context_id else {})
        rows = effect_rows(dataset_id, 1).with_columns(context_id=pl.lit(context_id or "CVCL_0001"))
        made = Provenance(run_id="r", fingerprint=fingerprint, sources={})
        delta.replace(root, EFFECTS, rows, where, provenance=made)

    write("1", "toy", "CVCL_0001")
    write("2", "toy", "CVCL_0002")
    write("3", "toy", "CVCL_0001")
    write("4", "other", "CVCL_0001")
    write("5", "other")
    toy = [
        frozenset({"dataset_id": "toy", "context_id": name}.items()) for name in ("CVCL_0001", "CVCL_0002")
    ]
    other = frozenset({("dataset_id", "other")})
    assert delta.committed_fingerprints(root, EFFECTS) == {toy[0]: "3", toy[1]: "2", other: "5"}

    made = Provenance(run_id="r", fingerprint="6", sources={})
    delta.remove(root, EFFECTS, dict(toy[0]), provenance=made)
    version = delta.version(root, EFFECTS)
    delta.remove(root, EFFECTS, dict(toy[0]), provenance=made)
    assert delta.version(root, EFFECTS) == version, "there is nothing left to remove"
    assert delta.committed_fingerprints(root, EFFECTS) == {toy[1]: "2", other: "5"}
    assert delta.committed_fingerprint(root, EFFECTS, dict(toy[0])) is None
    assert delta.partitions(root, EFFECTS) == [
        {"dataset_id": "other", "context_id": "CVCL_0001"},
        {"dataset_id": "toy", "context_id": "CVCL_0002"},
    ]


def test_fingerprints_outlive_the_usual_retention_of_the_log(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    where = {"dataset_id": "toy"}
    delta.replace(str(tmp_path), EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    table = DeltaTable(str(tmp_path / EFFECTS.name))
    log = tmp_path / EFFECTS.name / "_delta_log"
    long_ago = time.time() - 400 * 24 * 3600
    for commit in log.glob("*.json"):
        os.utime(commit, (long_ago, long_ago))
    table.create_checkpoint()
    table.cleanup_metadata()
    assert delta.committed_fingerprint(str(tmp_path), EFFECTS, where) == "f1"
