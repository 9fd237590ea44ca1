"""The code location: it loads, and shows every table as an asset with its columns."""

import dagster as dg

from assets.definition import asset_key, column_schema
from assets.definitions import ASSETS, defs
from assets.partitions import datasets
from etl.sources import SOURCES
from schemas import TABLES


def test_the_code_location_loads() -> None:
    dg.Definitions.validate_loadable(defs)
    assert defs.resolve_job_def("refresh")


def test_every_table_is_one_asset_with_description_and_column_schema() -> None:
    specs = {spec.key: spec for asset in ASSETS for spec in asset.specs}
    assert set(specs) == {asset_key(table) for table in TABLES.values()}
    for table in TABLES.values():
        spec = specs[asset_key(table)]
        assert spec.description, f"{table.name} has no description"
        assert spec.code_version
        assert spec.metadata["dagster/column_schema"] == column_schema(table)


def test_assets_are_partitioned_by_dataset_exactly_where_their_tables_are() -> None:
    assert datasets.get_partition_keys() == list(SOURCES)
    for asset in ASSETS:
        for key in asset.keys:
            table = TABLES["/".join(key.path)]
            assert (asset.partitions_def is datasets) == ("dataset_id" in table.partition_by), table.name


def test_the_schedule_is_weekly_and_off_until_turned_on() -> None:
    schedule = defs.get_repository_def().get_schedule_def("weekly_refresh")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 3 * * 1"
