"""The weekly schedules: first of the references, then of the refresh.

They are off until someone turns them on. The refresh asks for a run only for datasets that are stale: source
hash (a reference's among them) or code version changed, or effects are missing.
"""

from collections.abc import Iterator

import dagster as dg

from assets.jobs import read_references, refresh
from assets.resources import Warehouse
from etl.harmonize.snapshots import REFERENCES
from etl.warehouse.freshness import is_reference_fresh, stale


@dg.schedule(job=read_references, cron_schedule="0 2 * * 1", default_status=dg.DefaultScheduleStatus.STOPPED)
def weekly_references(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Every Monday at 02:00 UTC: one run, where a reference has other files than the warehouse states."""
    folder, root = warehouse.references, warehouse.root
    if all(is_reference_fresh(reference, folder, root=root) for reference in REFERENCES):
        return dg.SkipReason("every reference is fresh: same files, same code")
    return dg.RunRequest(run_key=f"references-{context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(job=refresh, cron_schedule="0 3 * * 1", default_status=dg.DefaultScheduleStatus.STOPPED)
def weekly_refresh(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every Monday at 03:00 UTC: one run per stale dataset."""
    datasets = stale(root=warehouse.root, raw_root=warehouse.raw_path)
    if not datasets:
        yield dg.SkipReason("every dataset is fresh: same source files, same code")
    for dataset_id in datasets:
        yield dg.RunRequest(
            run_key=f"{dataset_id}-{context.scheduled_execution_time:%Y-%m-%d}", partition_key=dataset_id
        )
