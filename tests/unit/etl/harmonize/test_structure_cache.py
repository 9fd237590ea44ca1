"""What is kept of structures: what comes back, what is forgotten, and what a broken or shared file does."""

import multiprocessing
import os
import sqlite3
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.errors import PerturbhouseError
from etl.harmonize import structure_batches, structures
from etl.harmonize.structure_batches import rows_of
from etl.harmonize.structure_cache import Row, StructureCache, rules_version
from etl.harmonize.structures import standardize, tautomer_keys

SMILES = pl.Series(["CCO", "OCC", "CC(=O)[O-].[Na+]", "foo", "*CC", "N.N.Cl[Pt]Cl", "CC(O)F"])


def test_what_is_put_comes_back_by_task_and_input(tmp_path: Path) -> None:
    rows: dict[str, Row] = {"CCO": ("CCO", None, True, "é'\""), "": ("", None, False, None)}
    with StructureCache(tmp_path / "folder" / "structures.sqlite") as cache:
        cache.put_many("standardize", rows)
        cache.put_many("tautomer", {"CCO": ("other",)})
        assert cache.get_many("standardize", ["CCO", "", "CCN"]) == rows
        assert cache.get_many("tautomer", ["CCO", ""]) == {"CCO": ("other",)}
    with StructureCache(tmp_path / "folder" / "structures.sqlite") as again:
        assert again.get_many("standardize", ["", "CCO"]) == rows


def test_more_inputs_than_one_query_holds(tmp_path: Path) -> None:
    rows: dict[str, Row] = {f"C{n}": (n % 2 == 0,) for n in range(25_000)}
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        cache.put_many("standardize", rows)
        assert cache.get_many("standardize", rows) == rows


def test_a_row_is_replaced_not_doubled(tmp_path: Path) -> None:
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        for value in ("old", "new"):
            cache.put_many("standardize", {"CCO": (value,)})
        assert cache.get_many("standardize", ["CCO"]) == {"CCO": ("new",)}


def test_rows_of_other_rules_are_deleted(tmp_path: Path) -> None:
    file = tmp_path / "structures.sqlite"
    with StructureCache(file, rules="old") as cache:
        cache.put_many("standardize", {"CCO": ("old",)})
    with StructureCache(file) as cache:
        assert cache.get_many("standardize", ["CCO"]) == {}
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM result").fetchone() == (0,)
    db.close()


def test_the_version_of_the_rules_is_one_digest() -> None:
    assert rules_version() == rules_version()
    assert len(rules_version()) == 16


def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "structures.sqlite"
    file.write_text("this is no database, " * 100)
    with pytest.raises(PerturbhouseError, match=r"structures\.sqlite.*delete it"):
        StructureCache(file)


def test_a_damaged_row_is_named_too(tmp_path: Path) -> None:
    file = tmp_path / "structures.sqlite"
    with StructureCache(file) as cache:
        cache.put_many("standardize", {"CCO": ("CCO",)})
        with sqlite3.connect(file) as db:
            db.execute("UPDATE result SET value = '[\"CC'")
        db.close()
        with pytest.raises(PerturbhouseError, match=r"structures\.sqlite"):
            cache.get_many("standardize", ["CCO"])


def test_a_rejected_transaction_leaves_what_was_there(tmp_path: Path) -> None:
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        cache.put_many("standardize", {"CCO": ("kept",)})
        with pytest.raises(TypeError):
            cache.put_many("standardize", {"CCO": ("lost",), "CCN": (object(),)})  # type: ignore[dict-item]
        assert cache.get_many("standardize", ["CCO", "CCN"]) == {"CCO": ("kept",)}


def _write(file: Path, worker: int) -> None:
    with StructureCache(file) as cache:
        for start in range(0, 200, 20):
            cache.put_many("standardize", {f"{worker}-{n}": (str(n),) for n in range(start, start + 20)})


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "structures.sqlite"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write, args=(file, worker)) for worker in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    inputs = [f"{worker}-{n}" for worker in (1, 2) for n in range(200)]
    with StructureCache(file) as cache:
        assert len(cache.get_many("standardize", inputs)) == 400


def test_a_cached_answer_is_the_computed_one(tmp_path: Path) -> None:
    plain = standardize(SMILES)
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        assert_frame_equal(standardize(SMILES, cache=cache), plain)
        assert_frame_equal(standardize(SMILES.reverse(), cache=cache), plain)


def test_only_what_is_new_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    compute = structures._row

    def noted(smiles: str) -> Row:
        asked.append(smiles)
        return compute(smiles)

    monkeypatch.setattr(structures, "_row", noted)
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        standardize(SMILES, cache=cache)
        standardize(pl.concat([SMILES, pl.Series(["CCN"])]), cache=cache)
    assert sorted(asked) == sorted([*SMILES, "CCN"])


def test_chunks_done_before_an_interrupt_are_kept(tmp_path: Path) -> None:
    def interrupted(text: str) -> Row:
        if text == "700":
            raise KeyboardInterrupt
        return (text,)

    texts = [str(n) for n in range(1_000)]
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        with pytest.raises(KeyboardInterrupt):
            rows_of(texts, interrupted, task="standardize", cache=cache)
        assert len(cache.get_many("standardize", texts)) == structure_batches.CHUNK


def test_processes_give_the_same_rows_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure_batches, "CHUNK", 3)
    monkeypatch.setattr(structure_batches, "WORTH_PROCESSES", len(SMILES))
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        assert_frame_equal(standardize(SMILES, n_workers=2, cache=cache), standardize(SMILES))
        assert len(cache.get_many("standardize", SMILES)) == len(SMILES)


def test_few_structures_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_batches, "ProcessPoolExecutor", None)
    assert standardize(SMILES, n_workers=2).height == len(SMILES)


def _die(text: str) -> Row:
    os._exit(9)


def test_a_killed_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_batches, "WORTH_PROCESSES", 1)
    with pytest.raises(PerturbhouseError, match="worker process"):
        rows_of(["CCO", "CCN"], _die, task="standardize", n_workers=2)


def test_no_worker_is_no_choice() -> None:
    with pytest.raises(ValueError, match="n_workers is 0"):
        standardize(SMILES, n_workers=0)


def test_tautomer_keys_are_cached_apart_from_parents(tmp_path: Path) -> None:
    with StructureCache(tmp_path / "structures.sqlite") as cache:
        standardize(SMILES, cache=cache)
        plain = tautomer_keys(SMILES)
        assert_frame_equal(tautomer_keys(SMILES, cache=cache), plain)
        assert_frame_equal(tautomer_keys(SMILES, cache=cache), plain)
