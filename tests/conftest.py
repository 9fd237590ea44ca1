"""Settings of every test: bounded threads, no telemetry, no network, and where the real files are."""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
os.environ["PERTURBHOUSE_PUBCHEM"] = "offline"

from pathlib import Path

import hypothesis
import pytest

# Examples vary from run to run where someone develops, so that they find more; never in CI.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("develop", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "develop")

REALDATA = Path(__file__).parents[2] / "shared" / "realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real published files; the test is skipped where it does not exist."""
    if not REALDATA.is_dir():
        pytest.skip(f"the real published files are not here ({REALDATA.name} is missing beside the project)")
    return REALDATA


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of committed reference results (R limma and edgeR)."""
    return Path(__file__).parent / "reference"
