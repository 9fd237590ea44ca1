"""The code location: it loads, and shows every table as an asset with its columns."""

import dagster as dg

from assets.checks import CHECKS
from assets.definition import asset_key, column_schema, reference_key
from assets.definitions import ASSETS, defs
from assets.partitions import datasets, fit_units
from etl.harmonize.snapshots import REFERENCES
from etl.sources import SOURCES
from etl.warehouse.fit_units import EFFECT_TABLES
from schemas import TABLES
from schemas.core.reference_file import REFERENCE_FILE

REPOSITORY = defs.get_repository_def()


def test_the_code_location_loads() -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_table_is_one_asset_with_description_and_column_schema() -> None:
    specs = {spec.key: spec for asset in ASSETS for spec in asset.specs}
    references = {reference_key(reference.name) for reference in REFERENCES}
    tables = [table for table in TABLES.values() if table is not REFERENCE_FILE]
    assert set(specs) == {asset_key(table) for table in tables} | references
    for table in tables:
        spec = specs[asset_key(table)]
        assert spec.description, f"{table.name} has no description"
        assert spec.code_version
        assert spec.metadata["dagster/column_schema"] == column_schema(table)


def test_every_reference_is_an_asset_upstream_of_the_names_it_resolves() -> None:
    graph = REPOSITORY.asset_graph
    for reference in REFERENCES:
        named = {"/".join(key.path) for key in graph.get(reference_key(reference.name)).child_keys}
        entities = ("compound", "context", "gene") if reference.entity == "all" else (reference.entity,)
        assert named == {f"core/{entity}_name" for entity in entities}


def test_effects_are_partitioned_by_fit_unit_and_the_others_by_dataset_where_their_tables_are() -> None:
    assert datasets.get_partition_keys() == list(SOURCES)
    for asset in ASSETS:
        for key in asset.keys - {reference_key(reference.name) for reference in REFERENCES}:
            table = TABLES["/".join(key.path)]
            per_dataset = datasets if "dataset_id" in table.partition_by else None
            expected = fit_units if table in EFFECT_TABLES else per_dataset
            assert asset.partitions_def is expected, table.name


def test_effect_tables_are_those_of_the_mart_that_are_stored_by_context() -> None:
    by_context = {
        name
        for name, table in TABLES.items()
        if table.layer == "mart" and table.partition_by == ("dataset_id", "context_id")
    }
    assert {table.name for table in EFFECT_TABLES} == by_context


def test_the_jobs_make_each_asset_once() -> None:
    made = [
        key
        for name in ("read_references", "refresh", "effects", "share")
        for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys
    ]
    assert sorted(made) == sorted(REPOSITORY.asset_graph.materializable_asset_keys)
    checks = {spec.get_python_identifier() for check in CHECKS for spec in check.check_specs}
    assert checks <= {node.name for node in defs.resolve_job_def("share").nodes}


def test_the_schedules_are_weekly_and_off_until_turned_on() -> None:
    for name, cron in (("weekly_references", "0 2 * * 1"), ("weekly_refresh", "0 3 * * 1")):
        schedule = REPOSITORY.get_schedule_def(name)
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
        assert schedule.cron_schedule == cron


def test_the_sensor_that_completes_a_refresh_is_on() -> None:
    sensor = REPOSITORY.get_sensor_def("complete_refresh")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
