"""A build killed at any moment leaves every table readable, and the next one completes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.build import build
from etl.simulate import simulate_studies
from etl.warehouse.contents import table_contents
from etl.warehouse.delta import STAGING
from etl.warehouse.freshness import stale
from etl.warehouse.integrity import repeated_ids
from etl.warehouse.scan import exists, scan
from schemas import TABLES

FEW = ("l1000_ljp005", "ccle_2015", "depmap_24q4")
NOT_WRITTEN = {"core/sample_annotation"}
"""None of these datasets says of a sample what its table has no column for."""


@pytest.fixture(scope="module")
def few_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    simulate_studies(raw, datasets=FEW)
    return raw


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, few_raw: Path, make_warehouse) -> str:
    warehouse = make_warehouse(tmp_path_factory.mktemp("warehouse"), few_raw)
    assert build([], warehouse).failed == {}
    return warehouse.root


@pytest.mark.parametrize("milestone", ["core/sample", "mart/condition", "core/compound"])
def test_a_killed_build_leaves_readable_tables_and_the_next_completes(
    milestone: str, undisturbed: str, few_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    root = tmp_path / "warehouse"
    environment = os.environ | {"PERTURBHOUSE_PUBCHEM": "offline"}
    command = ["build", "--raw", str(few_raw), "--root", str(root)]
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

    warehouse = make_warehouse(root, few_raw)
    assert build([], warehouse).failed == {}
    written = {name for name in TABLES if exists(name, root=undisturbed)}
    assert set(TABLES) - written == NOT_WRITTEN
    for name in sorted(written):
        table = TABLES[name]
        assert_frame_equal(
            scan(name, root=warehouse.root).collect().sort(table.primary_key),
            scan(name, root=undisturbed).collect().sort(table.primary_key),
        )
    assert list((root / STAGING).iterdir()) == []


def test_tables_over_all_datasets_are_repaired_where_every_dataset_is_fresh(
    few_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    warehouse = make_warehouse(tmp_path / "warehouse", few_raw)
    assert build(["ccle_2015"], warehouse).failed == {}
    shutil.rmtree(Path(warehouse.root) / "core" / "compound")
    assert stale(root=warehouse.root, raw_root=few_raw) != []
    again = build(["ccle_2015"], warehouse)
    assert again.fresh == ("ccle_2015",)
    assert scan("core/compound", root=warehouse.root).collect().height == 12
    assert build(["ccle_2015"], warehouse).rebuilt == ()


def test_two_builds_that_start_at_once_leave_each_row_once(tmp_path: Path) -> None:
    root, datasets = str(tmp_path / "warehouse"), ("gcsi", "ccle_2015")
    simulate_studies(tmp_path / "raw", datasets=datasets)
    folders = ["--raw", str(tmp_path / "raw"), "--root", root]
    environment = os.environ | {"PERTURBHOUSE_PUBCHEM": "offline"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "from assets.cli import main; main()", "build", dataset_id, *folders],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for dataset_id in datasets
    ]
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert repeated_ids(TABLES["core/compound"], root=root).is_empty()
    assert set(scan("core/dataset", root=root).collect()["dataset_id"]) == set(datasets)
    compounds = scan("core/compound_name", root=root).select(pl.col("compound_id").n_unique()).collect()
    assert scan("core/compound", root=root).collect().height == compounds.item()
