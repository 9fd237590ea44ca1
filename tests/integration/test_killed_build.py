"""A build killed at any moment leaves every table readable, and the next one completes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from assets.build import build
from etl.warehouse.contents import table_contents
from etl.warehouse.delta import STAGING
from etl.warehouse.scan import exists, scan
from schemas import TABLES


@pytest.mark.parametrize("milestone", ["core/sample", "mart/condition"])
def test_a_killed_build_leaves_readable_tables_and_the_next_completes(
    milestone: str, demo, simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    root = tmp_path / "warehouse"
    environment = os.environ | {"PERTURBHOUSE_PUBCHEM": "offline"}
    command = ["build", "--raw", str(simulated_raw), "--root", str(root)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from assets.cli import main; main()", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while not exists(milestone, root=str(root)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert exists(milestone, root=str(root))
    assert not exists("mart/agreement", root=str(root)), "the build was killed before its end"
    for content in table_contents(root=str(root)):
        assert scan(content.name, root=str(root)).collect().height == content.n_rows

    warehouse = make_warehouse(root, simulated_raw)
    assert build([], warehouse).failed == {}
    for name, table in TABLES.items():
        assert_frame_equal(
            scan(name, root=warehouse.root).collect().sort(table.primary_key),
            scan(name, root=demo[0].root).collect().sort(table.primary_key),
        )
    assert list((root / STAGING).iterdir()) == []
