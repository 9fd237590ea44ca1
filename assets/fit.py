"""Fitting one unit through Dagster, so that the history shows it as a run of its partition."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from assets.definitions import defs
from assets.jobs import effects
from assets.partitions import partition_key_of, register
from assets.resources import COMMAND_TAG, Warehouse, account_in
from etl.accounting import RowAccount
from etl.errors import PerturbhouseError
from etl.warehouse.fit_units import FitUnit

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run configuration of runs whose outcome the command line tells."""

FOR_THE_USER = {"PerturbhouseError", *(error.__name__ for error in PerturbhouseError.__subclasses__())}
"""Errors whose text alone says what to do."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a fit unit.

    Args:
        unit: the fit unit.
        error: why it failed, in one line; None where it is committed.
        accounts: samples in and out, by table.
    """

    unit: FitUnit
    error: str | None
    accounts: Mapping[str, RowAccount] = field(default_factory=dict)


def fit(
    unit: FitUnit, *, instance: dg.DagsterInstance, warehouse: Warehouse, run_id: str, n_threads: int
) -> Fitted:
    """Fit a unit and commit its effects; an error is told, whatever it is, and leaves the last effects."""
    register(instance, [unit])
    result = defs.resolve_job_def(effects.name).execute_in_process(
        partition_key=partition_key_of(unit),
        run_config=QUIET | {"ops": {"fit_effects": {"config": {"n_threads": n_threads}}}},
        run_id=run_id,
        instance=instance,
        resources={"warehouse": warehouse},
        tags={COMMAND_TAG: "build"},
        raise_on_error=False,
    )
    if result.success:
        return Fitted(unit, None, accounts_of(result))
    return Fitted(unit, _error_of(result))


def accounts_of(result: dg.ExecuteInProcessResult) -> dict[str, RowAccount]:
    """Return the row accounts that the materializations of a run carry, by table."""
    accounts = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        account = account_in(materialization.metadata)
        if account is not None:
            accounts["/".join(materialization.asset_key.path)] = account
    return accounts


def _error_of(result: dg.ExecuteInProcessResult) -> str:
    """Return what a failed run says, without the layers that Dagster puts around it."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    error = errors[0] if errors else None
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "failed before its first step; the run in the Dagster UI tells more"
    message = " ".join(error.message.split())
    return message.partition(": ")[2] if error.cls_name in FOR_THE_USER else message
