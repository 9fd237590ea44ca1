"""One warehouse built from the simulated studies, shared by the tests that only read it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assets.build import Built, build
from assets.resources import Warehouse
from etl.simulate import simulate_studies

MakeWarehouse = Callable[[Path, Path], Warehouse]


@pytest.fixture(scope="session")
def make_warehouse() -> MakeWarehouse:
    def make(root: Path, raw: Path) -> Warehouse:
        return Warehouse(root=str(root), raw=str(raw), cache=str(root / ".cache"), pubchem_mode="offline")

    return make


@pytest.fixture(scope="session")
def simulated_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    simulate_studies(raw)
    return raw


@pytest.fixture(scope="session")
def demo(
    tmp_path_factory: pytest.TempPathFactory, simulated_raw: Path, make_warehouse: MakeWarehouse
) -> tuple[Warehouse, Built]:
    warehouse = make_warehouse(tmp_path_factory.mktemp("warehouse"), simulated_raw)
    return warehouse, build([], warehouse)
