"""One warehouse built from the simulated studies, for the tests that only read it.

It is built once per run: of several test processes the first builds it, the others copy it. Meanwhile they
work on files of tests that do not need it.
"""

import fcntl
import pickle
import shutil
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a file that needs the warehouse come first, other builds beside its build, short files last."""
    readers = {item.path for item in items if "built_demo" in getattr(item, "fixturenames", ())}
    first = next((item.path for item in items if item.path in readers), None)

    def place(item: pytest.Item) -> int:
        if item.path == first:
            return 0
        is_integration = item.path.parent == Path(__file__).parent
        return (2 if item.path in readers else 1) if is_integration else 3

    items.sort(key=place)


@pytest.fixture(scope="session")
def built_demo(tmp_path_factory: pytest.TempPathFactory, make_warehouse: MakeWarehouse) -> tuple[Path, Built]:
    """Folder with the raw files and the warehouse of the simulated studies, and what their build did."""
    mine = tmp_path_factory.mktemp("demo")
    base = tmp_path_factory.getbasetemp()
    # Test processes of one run have their folders side by side.
    run = base.parent if base.name.startswith("popen-") else base
    with (run / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run / "demo.pickle"
        if not done.exists():
            raw, root = mine / "raw", mine / "warehouse"
            simulate_studies(raw)
            built = build([], make_warehouse(root, raw))
            shutil.copytree(mine, run / "demo_as_built")
            done.write_bytes(pickle.dumps(built))
            return mine, built
    shutil.copytree(run / "demo_as_built", mine, dirs_exist_ok=True)
    return mine, pickle.loads(done.read_bytes())


@pytest.fixture(scope="session")
def simulated_raw(built_demo: tuple[Path, Built]) -> Path:
    return built_demo[0] / "raw"


@pytest.fixture(scope="session")
def demo(built_demo: tuple[Path, Built], make_warehouse: MakeWarehouse) -> tuple[Warehouse, Built]:
    folder, built = built_demo
    return make_warehouse(folder / "warehouse", folder / "raw"), built
