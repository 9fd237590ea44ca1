"""The Dagster instance that keeps the history of runs: which one, where, and under what policy."""

import os
from pathlib import Path

import dagster as dg
from filelock import FileLock

from assets.resources import Warehouse
from etl.settings import Settings, is_remote

STATE = ".dagster"
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

OF_COMMANDS = {
    "telemetry": {"enabled": False},
    # Commands tell what happens in the terminal; keeping it would cost four processes for every run.
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    },
}
"""How a command opens such an instance."""


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
        instance = dg.DagsterInstance.local_temp(str(home), overrides=OF_COMMANDS)
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
