"""The refresh job and its schedule: what is stale is rebuilt, partition by partition, to the same tables."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from polars.testing import assert_frame_equal

from assets.definitions import defs
from assets.schedules import weekly_refresh
from etl.warehouse.freshness import stale
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


def test_the_job_builds_partition_by_partition_what_a_build_gives(
    demo, simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    raw = tmp_path / "raw"
    datasets = ["drugseq_kp6490", "gcsi", "ccle_2015"]
    for folder in (*datasets, "reference"):
        shutil.copytree(simulated_raw / folder, raw / folder)
    warehouse = make_warehouse(tmp_path / "warehouse", raw)
    assert runs_asked_for(warehouse) == datasets
    job = defs.resolve_job_def("refresh")
    for dataset_id in runs_asked_for(warehouse):
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                partition_key=dataset_id, resources={"warehouse": warehouse}, instance=instance
            )
        assert result.success
    assert runs_asked_for(warehouse) == []
    for name, table in TABLES.items():
        if "dataset_id" not in table.partition_by or name == "core/source_file":
            continue
        expected = scan(name, root=demo[0].root).filter(scan_filter(datasets)).collect()
        assert_frame_equal(
            scan(name, root=warehouse.root).collect().sort(table.primary_key),
            expected.sort(table.primary_key),
        )


def scan_filter(datasets: list[str]):
    import polars as pl

    return pl.col("dataset_id").is_in(datasets)


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
    assert len(stale(root=warehouse.root, raw_root=raw)) == 5
