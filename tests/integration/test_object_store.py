"""The same build with its root in an object store: S3, spoken by a server on loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from polars.testing import assert_frame_equal

from assets.build import build
from assets.resources import Warehouse
from etl.warehouse.contents import table_contents
from etl.warehouse.reports import write_report
from etl.warehouse.scan import matrix, scan
from etl.warehouse.sql import query


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A process of its own: readers wait for answers while they hold the lock a thread of ours would need.
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        patient = Config(retries={"max_attempts": 10, "mode": "standard"}, connect_timeout=5, read_timeout=5)
        wait_for(port)
        client = boto3.client("s3", region_name="us-east-1", config=patient)
        client.create_bucket(Bucket="perturbhouse")
        yield "s3://perturbhouse/warehouse"
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the S3 server did not start")


def test_a_warehouse_in_an_object_store_holds_the_same_tables(
    bucket: str, demo, simulated_raw: Path, tmp_path: Path
) -> None:
    warehouse = Warehouse(root=bucket, raw=str(simulated_raw), cache=str(tmp_path), pubchem_mode="offline")
    built = build(["ccle_2015", "l1000_ljp005"], warehouse)
    assert built.failed == {}
    assert build(["ccle_2015", "l1000_ljp005"], warehouse).fresh == ("ccle_2015", "l1000_ljp005")
    for name in ("core/sample", "mart/differential_expression", "mart/dose_response"):
        own = scan(name, root=demo[0].root).collect()
        stored = scan(name, root=bucket).collect()
        expected = own.filter(own["dataset_id"].is_in(["ccle_2015", "l1000_ljp005"]))
        assert_frame_equal(stored, expected, check_row_order=False)
    assert matrix("l1000_ljp005", root=bucket).values.shape == (162, 978)
    assert query("SELECT count(*) AS n FROM core.sample", root=bucket)["n"].item() == 377
    assert {content.name for content in table_contents(root=bucket)} >= {"core/gene", "mart/condition"}
    page = '<p>µM, "quoted"\n1,2\n</p>\n'
    where = write_report(bucket, "page.html", page)
    assert where == f"{bucket}/reports/page.html"
    stored = boto3.client("s3", region_name="us-east-1").get_object(
        Bucket="perturbhouse", Key="warehouse/reports/page.html"
    )
    assert stored["Body"].read().decode() == page
