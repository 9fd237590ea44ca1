"""The refresh job and its schedule: what is stale is rebuilt, partition by partition, to the same tables."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import assets.mart
from assets.definitions import defs
from assets.fit import QUIET
from assets.instance import instance_of
from assets.partitions import FIT_UNITS, unit_of
from assets.resources import COMMAND_TAG
from assets.schedules import weekly_refresh
from assets.sensors import complete_refresh
from etl.simulate import DEMO
from etl.warehouse.freshness import are_shared_tables_fresh, stale, stale_units
from etl.warehouse.scan import scan
from schemas import TABLES


def runs_asked_for(warehouse) -> list[str | None]:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 1, 5, 3, tzinfo=UTC),
            resources={"warehouse": warehouse},
            repository_def=defs.get_repository_def(),
        )
        data = weekly_refresh.evaluate_tick(context)
    return [request.partition_key for request in data.run_requests or []]


class Daemon:
    """What the Dagster daemon does with the sensor: evaluate it, execute what it asks for."""

    def __init__(self, instance: dg.DagsterInstance, warehouse) -> None:
        self.instance, self.warehouse = instance, warehouse
        self.cursor: str | None = None

    def evaluate(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self.cursor,
            resources={"warehouse": self.warehouse},
            repository_def=defs.get_repository_def(),
        )
        data = complete_refresh.evaluate_tick(context)
        self.cursor = data.cursor
        for request in data.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        return list(data.run_requests or [])

    def execute(self, job: str, partition_key: str | None = None, tags: dict[str, str] | None = None) -> bool:
        return (
            defs.resolve_job_def(job)
            .execute_in_process(
                partition_key=partition_key,
                resources={"warehouse": self.warehouse},
                instance=self.instance,
                tags=tags,
                run_config=QUIET,
                raise_on_error=False,
            )
            .success
        )

    def follow(self) -> list[tuple[str, str | None]]:
        """Evaluate and execute until nothing is asked for; return the jobs and partitions that were run."""
        done: list[tuple[str, str | None]] = []
        while requests := self.evaluate():
            assert len(done) < 20, "the chain does not end"
            for request in requests:
                self.execute(str(request.job_name), request.partition_key)
                done.append((str(request.job_name), request.partition_key))
        return done


@pytest.fixture
def daemon(tmp_path: Path, simulated_raw: Path, make_warehouse) -> Iterator[Daemon]:
    warehouse = make_warehouse(tmp_path / "warehouse", simulated_raw)
    # Not an ephemeral instance: sensors may ask for dynamic partitions only of one that can be opened again.
    with instance_of(warehouse) as instance:
        daemon = Daemon(instance, warehouse)
        assert daemon.evaluate() == []
        yield daemon


def test_a_refresh_leads_to_complete_tables_dataset_by_dataset(
    demo, simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    raw = tmp_path / "raw"
    datasets = ["l1000_phase1", "drugseq_kp6490", "ccle_2015", "depmap_24q4"]
    for folder in (*datasets, "reference"):
        shutil.copytree(simulated_raw / folder, raw / folder)
    warehouse = make_warehouse(tmp_path / "warehouse", raw)
    assert runs_asked_for(warehouse) == datasets
    with instance_of(warehouse) as instance:
        daemon = Daemon(instance, warehouse)
        assert daemon.evaluate() == []
        for dataset_id in runs_asked_for(warehouse):
            assert daemon.execute("refresh", dataset_id)
        chain = daemon.follow()
    assert chain[-1] == ("share", None)
    assert {job for job, _ in chain[:-1]} == {"effects"}
    assert runs_asked_for(warehouse) == []
    for name, table in TABLES.items():
        if "dataset_id" not in table.partition_by or name == "core/source_file":
            continue
        expected = scan(name, root=demo[0].root).filter(pl.col("dataset_id").is_in(datasets)).collect()
        assert_frame_equal(
            scan(name, root=warehouse.root).collect().sort(table.primary_key),
            expected.sort(table.primary_key),
        )


def test_a_refresh_of_a_screen_leads_straight_to_the_shared_tables(daemon: Daemon) -> None:
    assert daemon.execute("refresh", "ccle_2015")
    assert daemon.follow() == [("share", None)]
    assert daemon.execute("refresh", "ccle_2015")
    assert daemon.follow() == [], "the shared tables already hold it"


def test_nothing_is_shared_while_fits_are_under_way(daemon: Daemon) -> None:
    assert daemon.execute("refresh", "l1000_phase1")
    units = daemon.evaluate()
    assert [request.job_name for request in units] == ["effects", "effects"]
    keys = daemon.instance.get_dynamic_partitions(FIT_UNITS)
    assert sorted(str(request.partition_key) for request in units) == sorted(keys)
    waiting = daemon.instance.create_run_for_job(
        defs.resolve_job_def("effects"), status=dg.DagsterRunStatus.STARTED
    )
    assert daemon.execute("effects", units[0].partition_key)
    assert daemon.evaluate() == []
    daemon.instance.report_run_canceled(waiting)
    assert [request.job_name for request in daemon.evaluate()] == ["share"]


def test_a_unit_that_fails_does_not_stop_the_chain_and_is_shared_once_it_is_repeated(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = assets.mart.fit_context

    def fit_context(samples: pl.DataFrame, *arguments: object, **options: object):
        if samples["context_id"][0] == "CVCL_0031":
            raise MemoryError("no room")
        return real(samples, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(assets.mart, "fit_context", fit_context)
        assert daemon.execute("refresh", "l1000_phase1")
        chain = daemon.follow()
    root = daemon.warehouse.root
    [left] = stale_units(root=root)
    assert left.context_id == "CVCL_0031"
    assert chain[-1] == ("share", None)
    assert are_shared_tables_fresh(root=root)
    assert runs_asked_for(daemon.warehouse)[0] == "l1000_ljp005", "never built"
    assert "l1000_phase1" in runs_asked_for(daemon.warehouse), "one of its units is missing"

    assert daemon.execute("effects", str(left))
    assert not are_shared_tables_fresh(root=root)
    assert daemon.follow() == [("share", None)]
    assert are_shared_tables_fresh(root=root)


def test_builds_of_the_command_line_are_passed_over(daemon: Daemon) -> None:
    assert daemon.execute("refresh", "ccle_2015", tags={COMMAND_TAG: "build"})
    assert daemon.follow() == []


def test_partitions_of_a_history_that_was_lost_are_registered_again(daemon: Daemon) -> None:
    assert daemon.execute("refresh", "l1000_phase1")
    keys = daemon.instance.get_dynamic_partitions(FIT_UNITS)
    for key in keys:
        daemon.instance.delete_dynamic_partition(FIT_UNITS, key)
    daemon.evaluate()
    assert sorted(daemon.instance.get_dynamic_partitions(FIT_UNITS)) == sorted(keys)
    assert {unit_of(key).dataset_id for key in keys} == {"l1000_phase1"}


def test_a_changed_file_makes_its_dataset_stale_and_a_changed_reference_all(
    demo, simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(simulated_raw, raw)
    warehouse = make_warehouse(Path(demo[0].root), raw)
    assert stale(root=warehouse.root, raw_root=raw) == []
    [table] = (raw / "ccle_2015").glob("*.csv")
    table.write_text(table.read_text().replace("Sigmoid", "Linear", 1))
    assert stale(root=warehouse.root, raw_root=raw) == ["ccle_2015"]
    (raw / "reference" / "new_release.txt").write_text("x")
    assert set(stale(root=warehouse.root, raw_root=raw)) == set(DEMO)
