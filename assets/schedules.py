"""The weekly schedule of the refresh.

It is off until someone turns it on, and asks for a run only for datasets that are stale: source hash or code
version changed, or effects are missing.
"""

from collections.abc import Iterator

import dagster as dg

from assets.jobs import refresh
from assets.resources import Warehouse
from etl.warehouse.freshness import stale


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
