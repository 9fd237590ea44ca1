"""One set of simulated studies for all tests of it, read-only."""

from pathlib import Path

import pytest

from etl.simulate import simulate_studies


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw folder with every simulated dataset, default seed."""
    raw = tmp_path_factory.mktemp("simulated")
    simulate_studies(raw)
    return raw
