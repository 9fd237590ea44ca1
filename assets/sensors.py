"""The sensor that completes a refresh which was started in the UI or by the schedule.

It asks the warehouse what is stale instead of counting events, so that one evaluation serves any number of
finished runs. Builds of the command line do the same by themselves and are passed over.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from assets.definition import asset_key
from assets.jobs import effects, refresh, share
from assets.partitions import fit_units, partition_key_of
from assets.resources import COMMAND_TAG, Warehouse
from etl.warehouse.fit_units import EFFECT_TABLES
from etl.warehouse.freshness import are_shared_tables_fresh, stale_units

PARTITION_TAG = "dagster/partition"
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
EFFECT_KEYS = frozenset(map(asset_key, EFFECT_TABLES))


@dg.sensor(
    jobs=[effects, share],
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After `refresh` of a dataset its stale fit units; after the last of them `share`.",
)
def complete_refresh(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult:
    """Ask for what finished runs have left to do: first fit units, then the tables over all datasets."""
    now = datetime.now(UTC).timestamp()
    # Seen: until when finished refreshes were followed by fits, and until when finished runs by sharing.
    seen = json.loads(context.cursor) if context.cursor else {"fitted": now, "shared": now}

    refreshes = [
        record
        for record in _finished_since(context.instance, seen["fitted"])
        if record.dagster_run.job_name == refresh.name and record.dagster_run.is_success
    ]
    refreshed = {record.dagster_run.tags[PARTITION_TAG]: record.dagster_run.run_id for record in refreshes}
    if refreshes:
        seen["fitted"] = _last_update(refreshes)
    if units := stale_units(root=warehouse.root, dataset_ids=list(refreshed)) if refreshed else {}:
        keys = {unit: partition_key_of(unit) for unit in sorted(units, key=lambda unit: (-units[unit], unit))}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    job_name=effects.name, partition_key=key, run_key=f"{refreshed[unit.dataset_id]}/{key}"
                )
                for unit, key in keys.items()
            ],
            # A history that was deleted since the samples were stored does not know them.
            dynamic_partitions_requests=[fit_units.build_add_request(list(keys.values()))],
            cursor=json.dumps(seen),
        )

    finished = [
        r for r in _finished_since(context.instance, seen["shared"]) if _feeds_shared_tables(r.dagster_run)
    ]
    if not finished:
        return dg.SensorResult(skip_reason="no refresh or fit has finished", cursor=json.dumps(seen))
    under_way = context.instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
    if n_awaited := sum(map(_feeds_shared_tables, under_way)):
        return dg.SensorResult(skip_reason=f"{n_awaited} run(s) under way", cursor=json.dumps(seen))
    seen["shared"] = _last_update(finished)
    if are_shared_tables_fresh(root=warehouse.root):
        return dg.SensorResult(skip_reason="the shared tables are up to date", cursor=json.dumps(seen))
    request = dg.RunRequest(job_name=share.name, run_key=f"share after {finished[-1].dagster_run.run_id}")
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(seen))


def _finished_since(instance: dg.DagsterInstance, timestamp: float) -> Sequence[dg.RunRecord]:
    since = datetime.fromtimestamp(timestamp, UTC)
    return instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED, updated_after=since), order_by="update_timestamp", ascending=True
    )


def _last_update(records: Sequence[dg.RunRecord]) -> float:
    return max(record.update_timestamp.replace(tzinfo=UTC).timestamp() for record in records)


def _feeds_shared_tables(run: dg.DagsterRun) -> bool:
    """Say whether a run refreshes a dataset or fits a unit, be it by a job or from the page of an asset."""
    if COMMAND_TAG in run.tags:
        return False
    return run.job_name in (refresh.name, effects.name) or bool(EFFECT_KEYS & (run.asset_selection or set()))
