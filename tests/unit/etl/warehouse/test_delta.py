"""The writer: one atomic commit per write, validated before, and the state after every kind of failure."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from polars.testing import assert_frame_equal

from etl.errors import PerturbhouseError, RejectedWriteError
from etl.provenance import Provenance
from etl.warehouse import delta
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
        time.sleep(60)


def test_a_killed_write_leaves_the_last_version_and_the_next_one_sweeps_up(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)
    staging = tmp_path / delta.STAGING
    process = multiprocessing.get_context("spawn").Process(
        target=_stage_and_hang, args=(root, effect_rows("toy", 2), provenance)
    )
    process.start()
    deadline = time.monotonic() + 30
    while not list(staging.rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 1))
    assert list(staging.iterdir())
    delta.replace(root, EFFECTS, effect_rows("toy", 3), where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 3))
    assert list(staging.iterdir()) == []


def test_a_table_with_a_dtype_delta_cannot_hold_is_refused(tmp_path: Path, provenance: Provenance) -> None:
    class Coded(pa.DataFrameModel):
        """One row per code."""

        code: pl.Categorical = pa.Field(description="Code.")

    table = Table(name="core/coded", model=Coded, primary_key=("code",))
    with pytest.raises(AssertionError, match=r"cannot hold: \['code'\]"):
        delta.replace(str(tmp_path), table, pl.DataFrame({"code": ["a"]}), {}, provenance=provenance)


def test_losing_a_race_is_said_in_one_line_and_the_winner_stands(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    delta.replace(root, EFFECTS, effect_rows("toy", 1), where, provenance=provenance)

    def lose(*_: object, **__: object) -> None:
        raise CommitFailedError("a concurrent transaction deleted data this operation read")

    monkeypatch.setattr(delta, "write_deltalake", lose)
    with pytest.raises(PerturbhouseError, match="another process wrote these rows meanwhile"):
        delta.replace(root, EFFECTS, effect_rows("toy", 2), where, provenance=provenance)
    assert_frame_equal(stored(tmp_path), effect_rows("toy", 1))
