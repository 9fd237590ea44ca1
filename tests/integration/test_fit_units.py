"""Fit units: each is built, fails and is repeated by itself, in this process or in several."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import assets.mart
from assets.build import build
from assets.instance import instance_of
from assets.partitions import FIT_UNITS, partition_key_of
from assets.resources import Warehouse
from etl.errors import PerturbhouseError
from etl.warehouse.fit_units import EFFECT_TABLES, FitUnit, fit_units
from etl.warehouse.freshness import is_fresh, stale_units
from etl.warehouse.scan import scan

PHASE1 = "l1000_phase1"
LARGER, SMALLER = FitUnit(PHASE1, "CVCL_0132"), FitUnit(PHASE1, "CVCL_0031")


@pytest.fixture
def warehouse(simulated_raw: Path, tmp_path: Path, make_warehouse) -> Warehouse:
    return make_warehouse(tmp_path / "warehouse", simulated_raw)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, simulated_raw: Path, make_warehouse) -> Path:
    folder = tmp_path_factory.mktemp("built") / "warehouse"
    assert build([PHASE1], make_warehouse(folder, simulated_raw)).failed_units == {}
    return folder


@pytest.fixture
def built(built_once: Path, warehouse: Warehouse) -> Warehouse:
    """A warehouse of a test's own in which both units are fitted."""
    shutil.copytree(built_once, warehouse.root)
    return warehouse


def fail_in(monkeypatch: pytest.MonkeyPatch, context_id: str, error: Exception) -> None:
    """Let the fit of a context fail after its first rows."""
    real = assets.mart.fit_context

    def fit_context(samples: pl.DataFrame, *arguments: object, **options: object):
        yield from real(samples, *arguments, **options)
        if samples["context_id"][0] == context_id:
            raise error

    monkeypatch.setattr(assets.mart, "fit_context", fit_context)


def contexts_in(table, warehouse: Warehouse) -> set[str]:
    return set(scan(table, root=warehouse.root).select("context_id").unique().collect()["context_id"])


def status_of(unit: FitUnit, warehouse: Warehouse) -> dg.DagsterRunStatus:
    """Return the status of the newest run of a unit, as the UI's history has it."""
    with instance_of(warehouse) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": partition_key_of(unit)}), limit=1)
        materialized = instance.get_materialized_partitions(dg.AssetKey(["mart", "condition"]))
        assert (runs[0].status == dg.DagsterRunStatus.SUCCESS) == (partition_key_of(unit) in materialized)
        return runs[0].status


def assert_as_in_demo(demo_root: str, root: str, dataset_id: str) -> None:
    for table in EFFECT_TABLES:
        own, expected = (
            scan(table, root=where).filter(dataset_id=dataset_id).collect().sort(table.primary_key)
            for where in (root, demo_root)
        )
        assert_frame_equal(own, expected)


def test_a_unit_fails_alone_and_the_next_build_makes_only_it(
    demo, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in(patch, SMALLER.context_id, ZeroDivisionError("planted"))
        built = build([PHASE1], warehouse)
    assert built.failed == {}
    assert built.rebuilt == (PHASE1,)
    assert built.fitted == (LARGER,)
    assert built.failed_units == {SMALLER: "ZeroDivisionError: planted"}
    assert status_of(SMALLER, warehouse) == dg.DagsterRunStatus.FAILURE
    assert status_of(LARGER, warehouse) == dg.DagsterRunStatus.SUCCESS
    for table in EFFECT_TABLES:
        assert contexts_in(table, warehouse) == {LARGER.context_id}, "nothing of the failed unit"

    assert set(stale_units(root=warehouse.root)) == {SMALLER}
    again = build([PHASE1], warehouse)
    assert (again.rebuilt, again.fresh) == ((), (PHASE1,))
    assert (again.fitted, again.fresh_units, again.failed_units) == ((SMALLER,), (LARGER,), {})
    assert status_of(SMALLER, warehouse) == dg.DagsterRunStatus.SUCCESS
    assert_as_in_demo(demo[0].root, warehouse.root, PHASE1)
    third = build([PHASE1], warehouse)
    assert third.fitted == ()
    assert set(third.fresh_units) == {LARGER, SMALLER}


def test_where_every_unit_fails_the_shared_tables_are_written_without_effects(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PerturbhouseError("no fit today")

    monkeypatch.setattr(assets.mart, "fit_context", broken)
    built = build([PHASE1], warehouse)
    assert set(built.failed_units) == {LARGER, SMALLER}
    for name in ("agreement", "replicate_agreement", "agreement_summary"):
        assert scan(f"mart/{name}", root=warehouse.root).collect().is_empty(), name


def test_an_error_for_the_user_is_told_in_its_own_words(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in(monkeypatch, SMALLER.context_id, PerturbhouseError("a rule: and a reason"))
    assert build([PHASE1], warehouse).failed_units == {SMALLER: "a rule: and a reason"}


def test_a_unit_that_fails_again_keeps_its_last_good_rows(
    demo, built: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in(monkeypatch, SMALLER.context_id, RuntimeError("planted"))
    assert set(build([PHASE1], built, force=True).failed_units) == {SMALLER}
    assert_as_in_demo(demo[0].root, built.root, PHASE1)


def test_two_worker_processes_give_the_same_tables(demo, warehouse: Warehouse) -> None:
    told: list[str] = []
    built = build([PHASE1], warehouse, workers=2, progress=told.append)
    assert built.failed_units == {}
    assert set(built.fitted) == {LARGER, SMALLER}
    assert built.accounts[PHASE1] == demo[1].accounts[PHASE1]
    assert sum(line.startswith("effects ") for line in told) == 2
    assert_as_in_demo(demo[0].root, warehouse.root, PHASE1)
    assert {status_of(unit, warehouse) for unit in built.fitted} == {dg.DagsterRunStatus.SUCCESS}
    assert multiprocessing.active_children() == []


def test_a_killed_worker_costs_its_unit_and_no_other(warehouse: Warehouse) -> None:
    def kill_the_first() -> None:
        deadline = time.monotonic() + 60
        while not (children := multiprocessing.active_children()) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(int(children[0].pid or 0), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    built = build([PHASE1], warehouse, workers=2)
    killer.join(60)
    [(killed, error)] = built.failed_units.items()
    assert "killed by signal 9" in error
    assert {killed, *built.fitted} == {LARGER, SMALLER}
    again = build([PHASE1], warehouse)
    assert again.fitted == (killed,)
    assert again.failed_units == {}


def test_a_worker_killed_in_the_middle_of_a_fit_leaves_a_failed_run(built: Warehouse) -> None:
    def kill_the_first_that_runs() -> None:
        with instance_of(built) as instance:
            deadline = time.monotonic() + 60
            running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], job_name="effects")
            while not instance.get_runs(running) and time.monotonic() < deadline:
                time.sleep(0.01)
        for child in multiprocessing.active_children():
            child.kill()

    killer = threading.Thread(target=kill_the_first_that_runs)
    killer.start()
    again = build([PHASE1], built, workers=2, force=True)
    killer.join(60)
    assert again.failed_units
    with instance_of(built) as instance:
        unfinished = [run for run in instance.get_runs() if not run.is_finished]
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert unfinished == []
    assert failed


def test_an_interrupted_build_leaves_no_process_and_no_run_behind(
    warehouse: Warehouse, simulated_raw: Path
) -> None:
    arguments = ["build", PHASE1, "--workers", "2", "--root", warehouse.root, "--raw", str(simulated_raw)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from assets.cli import main; main()", *arguments],
        env=os.environ | {"PERTURBHOUSE_PUBCHEM": "offline"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (Path(warehouse.root) / "core/dataset/_delta_log").is_dir():
            break
        time.sleep(0.05)
    with instance_of(warehouse) as instance:
        fits = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], job_name="effects")
        while not instance.get_runs(fits) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    with instance_of(warehouse) as instance:
        assert [run for run in instance.get_runs() if not run.is_finished] == []
    assert build([PHASE1], warehouse).failed_units == {}


def test_a_context_that_is_gone_leaves_with_its_effects_and_its_partition(
    simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    raw = tmp_path / "raw"
    for folder in (PHASE1, "reference"):
        shutil.copytree(simulated_raw / folder, raw / folder)
    warehouse = make_warehouse(tmp_path / "warehouse", raw)
    before = build([PHASE1], warehouse)
    assert set(before.fitted) == {LARGER, SMALLER}
    [info] = (raw / PHASE1).glob("*inst_info*")
    labels = scan("core/sample", root=warehouse.root).select("context_id", "context_reported").unique()
    label = dict(labels.collect().iter_rows())[SMALLER.context_id]
    odd = "no/such  line... 100%"
    header, *lines = info.read_text().split("\n")
    column = header.split("\t").index("cell_id")
    renamed = [line.split("\t") for line in lines if line]
    for fields in renamed:
        fields[column] = odd if fields[column] == label else fields[column]
    info.write_text("\n".join([header, *("\t".join(fields) for fields in renamed)]) + "\n")

    built = build([PHASE1], warehouse)
    assert built.failed == {}
    assert built.failed_units == {}
    units = set(fit_units(root=warehouse.root))
    [new] = units - {LARGER}
    assert new.context_id.startswith(f"unresolved:{PHASE1}:no/such")
    assert set(built.fitted) == units
    for table in EFFECT_TABLES:
        assert contexts_in(table, warehouse) == {unit.context_id for unit in units}, table.name
    with instance_of(warehouse) as instance:
        assert set(instance.get_dynamic_partitions(FIT_UNITS)) == set(map(partition_key_of, units))
    assert built.warnings == []


def test_units_rest_on_their_dataset(built: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a dataset itself is stale its units are not fitted: they would rest on tables of before."""
    assert stale_units(root=built.root) == {}
    monkeypatch.setattr("etl.provenance.code_version", lambda: "another code")
    assert not is_fresh(PHASE1, root=built.root, raw_root=built.raw_path)
    assert stale_units(root=built.root) == {}
