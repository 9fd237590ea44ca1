"""Building datasets from the command line: the assets of the Dagster UI, run in this process.

A dataset that is fresh (same files, same code) is left alone unless asked otherwise.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from filelock import FileLock

from assets.checks import CHECKS
from assets.definition import asset_key
from assets.definitions import ASSETS
from assets.resources import Warehouse, account_in
from etl.accounting import RowAccount
from etl.errors import ConcurrentWriteError, PerturbhouseError
from etl.settings import Settings, is_remote
from etl.sources import SOURCES
from etl.warehouse.freshness import are_shared_tables_fresh, available, is_fresh, tables_of, tables_of_all

STATE = ".dagster"
SHARE_ATTEMPTS = 4
INSTANCE_POLICY = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
  pools:
    default_limit: 1
    granularity: run
"""
"""Policy of an instance beside a warehouse; the project's own is ``dagster.yaml``."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did.

    Args:
        rebuilt: datasets whose tables were written.
        fresh: datasets that were up to date.
        accounts: rows in and out of each table of the rebuilt datasets, where a step keeps account.
        failed: datasets that could not be built, with the error's text.
        warnings: checks across tables that did not pass.
    """

    rebuilt: tuple[str, ...]
    fresh: tuple[str, ...]
    accounts: dict[str, dict[str, RowAccount]]
    failed: dict[str, str]
    warnings: list[str]


def build(
    dataset_ids: Sequence[str],
    warehouse: Warehouse,
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Built:
    """Build datasets one after the other, then the tables that all of them share.

    A dataset that fails does not stop the others; its last good tables stay as they are.

    Args:
        dataset_ids: datasets to build; empty for all that have a raw folder.
        warehouse: where from and where to.
        force: rebuild fresh datasets too.
        progress: called with a line of text before each step.

    Raises:
        PerturbhouseError: a dataset is unknown, or there is nothing to build.
    """
    chosen = _chosen(dataset_ids, warehouse)
    rebuilt: list[str] = []
    fresh: list[str] = []
    accounts: dict[str, dict[str, RowAccount]] = {}
    failed: dict[str, str] = {}
    warnings: list[str] = []
    with instance_of(warehouse) as instance:
        for dataset_id in chosen:
            try:
                if not force and is_fresh(dataset_id, root=warehouse.root, raw_root=warehouse.raw_path):
                    fresh.append(dataset_id)
                    continue
                progress(dataset_id)
                keys = [asset_key(table) for table in tables_of(SOURCES[dataset_id])]
                result = _materialize(instance, warehouse, keys, partition_key=dataset_id)
                accounts[dataset_id] = _accounts(result)
            except (PerturbhouseError, OSError) as error:
                failed[dataset_id] = str(error)
            else:
                rebuilt.append(dataset_id)
        if rebuilt or not are_shared_tables_fresh(root=warehouse.root):
            progress("tables shared by all datasets")
            warnings = _failed_checks(_share(instance, warehouse))
    return Built(tuple(rebuilt), tuple(fresh), accounts, failed, warnings)


def _chosen(dataset_ids: Sequence[str], warehouse: Warehouse) -> list[str]:
    unknown = set(dataset_ids) - set(SOURCES)
    if unknown:
        raise PerturbhouseError(f"unknown dataset {min(unknown)!r}; there are: {', '.join(SOURCES)}")
    chosen = list(dataset_ids) or available(warehouse.raw_path)
    if not chosen:
        raise PerturbhouseError(
            f"no dataset has a folder in {warehouse.raw!r}; put a publisher's files into "
            f"<raw>/<dataset>/ (datasets: {', '.join(SOURCES)}), or try `perturbhouse demo`"
        )
    return chosen


def _materialize(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    keys: Sequence[dg.AssetKey],
    partition_key: str | None = None,
    checks: Sequence[dg.AssetChecksDefinition] = (),
) -> dg.ExecuteInProcessResult:
    """Materialize assets in this process, in the order of their dependencies, then run checks."""
    return dg.materialize(
        [*ASSETS, *checks],
        selection=dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        partition_key=partition_key,
        resources={"warehouse": warehouse},
        instance=instance,
        tags={"perturbhouse/command": "build"},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def _share(instance: dg.DagsterInstance, warehouse: Warehouse) -> dg.ExecuteInProcessResult:
    """Make the tables over all datasets; again where another build replaced one of them meanwhile."""
    keys = [asset_key(table) for table in tables_of_all()]
    for _ in range(SHARE_ATTEMPTS - 1):
        try:
            return _materialize(instance, warehouse, keys, checks=CHECKS)
        except ConcurrentWriteError:
            time.sleep(1)
    return _materialize(instance, warehouse, keys, checks=CHECKS)


def _failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return a line per check that did not pass."""
    return [
        f"{'/'.join(check.asset_key.path)}: {check.description or check.check_name}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    ]


def _accounts(result: dg.ExecuteInProcessResult) -> dict[str, RowAccount]:
    """Return the row accounts that the materializations of a run carry, by table."""
    accounts = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        account = account_in(materialization.metadata)
        if account is not None:
            accounts["/".join(materialization.asset_key.path)] = account
    return accounts


def instance_of(warehouse: Warehouse) -> dg.DagsterInstance:
    """Return the Dagster instance whose history the UI shows: the one in effect, else one beside the tables.

    The UI finds the latter when it is started by ``perturbhouse ui`` or where ``dagster.yaml`` is.
    """
    if "DAGSTER_HOME" in os.environ:
        return dg.DagsterInstance.get()
    if is_remote(warehouse.root):
        return dg.DagsterInstance.ephemeral()
    home = Path(warehouse.root).resolve() / STATE
    home.mkdir(parents=True, exist_ok=True)
    # Two builds that make the history's databases at the same moment would disturb each other.
    with FileLock(home / "creation.lock"):
        instance = dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}})
        instance.get_runs_count()
        instance.all_asset_keys()
        instance.all_instigator_state()
    return instance


def ui_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which ``dagster dev`` shows a warehouse and the history of its builds."""
    environment = {
        "PERTURBHOUSE_ROOT": settings.root,
        "PERTURBHOUSE_RAW": str(settings.raw),
        "PERTURBHOUSE_CACHE": str(settings.cache),
    }
    if "DAGSTER_HOME" in os.environ or is_remote(settings.root):
        return environment
    home = Path(settings.root).resolve() / STATE
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(INSTANCE_POLICY)
    return environment | {"DAGSTER_HOME": str(home)}
