"""From what is open to what is settled: unresolved names, overrides, and what another release changes."""

import csv
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from assets.build import build
from assets.resources import Warehouse
from etl.harmonize.compound_names import name_key
from etl.simulate.reference import FILE_NAME
from etl.warehouse.scan import scan
from etl.warehouse.unresolved import unresolved
from tests.pug_rest import serving

IBUPROFEN, IBUPROFEN_KEY = "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "HEFNNWSXXWATRW-UHFFFAOYSA-N"


def perturbhouse(warehouse: Warehouse, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from assets.cli import main; main()", *arguments, "--root", warehouse.root],
        env=os.environ | {"PERTURBHOUSE_RAW": warehouse.raw, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory, simulated_raw: Path, make_warehouse) -> Warehouse:
    raw = tmp_path_factory.mktemp("raw")
    for folder in ("ccle_2015", "reference"):
        shutil.copytree(simulated_raw / folder, raw / folder)
    warehouse = make_warehouse(tmp_path_factory.mktemp("warehouse"), raw)
    assert not build([], warehouse).failed
    return warehouse


def test_the_warehouse_states_its_references(warehouse: Warehouse) -> None:
    rows = scan("core/reference_file", root=warehouse.root).collect()
    assert rows["path"].to_list() == [FILE_NAME]
    [row] = rows.rows(named=True)
    assert row["reference"] == "lincs_compounds"
    assert row["n_records"] > 10
    assert len(row["sha256"]) == 64


def test_an_open_name_is_listed_settled_and_used_by_the_next_build(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    found = unresolved(root=warehouse.root)
    assert found["n_uses"].is_sorted(descending=True)
    first = found.filter(entity="compound").row(0, named=True)
    assert first["n_uses"] > 1
    template = tmp_path / "open.csv"
    shown = perturbhouse(warehouse, "unresolved", "--dataset", "ccle_2015", "--write", str(template))
    assert shown.returncode == 0, shown.stderr
    assert first["reported"] in shown.stdout
    with template.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["reported"] == first["reported"]]
    assert rows[0]["n_uses"] == str(first["n_uses"])
    rows[0] |= {"value": IBUPROFEN, "reason": "label of the vial", "source": "test"}
    settled = Path(warehouse.raw) / "reference" / "overrides.csv"
    with settled.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    built = build([], warehouse)
    settled.unlink()
    assert built.rebuilt == ("ccle_2015",)
    names = scan("core/compound_name", root=warehouse.root).filter(compound_reported=first["reported"])
    [row] = names.collect().rows(named=True)
    assert (row["compound_id"], row["method"]) == (IBUPROFEN_KEY, "override")
    assert unresolved(root=warehouse.root).filter(reported=first["reported"]).is_empty()
    references = scan("core/reference_file", root=warehouse.root).collect()["reference"].sort()
    assert references.to_list() == ["lincs_compounds", "overrides"]


def test_a_release_that_lacks_a_compound_is_seen_before_it_is_used(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    build([], warehouse)
    names = scan("core/compound_name", root=warehouse.root).filter(method="name").collect()
    lost = names.row(0, named=True)
    before = scan("core/compound_name", root=warehouse.root).collect()
    text = gzip.decompress((Path(warehouse.raw) / "reference" / FILE_NAME).read_bytes()).decode()
    wanted = name_key(lost["compound_reported"])
    kept = [line for line in text.splitlines() if name_key(line.split("\t")[1]) != wanted]
    assert len(kept) < len(text.splitlines())
    (tmp_path / FILE_NAME).write_bytes(gzip.compress(("\n".join(kept) + "\n").encode()))
    report = tmp_path / "diff.csv"
    shown = perturbhouse(warehouse, "reference-diff", str(tmp_path), "--write", str(report))
    assert shown.returncode == 0, shown.stderr
    assert f"lost: compound '{lost['compound_reported']}' of ccle_2015" in shown.stdout
    with report.open(newline="") as file:
        [row] = list(csv.DictReader(file))
    assert (row["change"], row["id_before"], row["method_after"]) == (
        "lost",
        lost["compound_id"],
        "unresolved",
    )
    assert scan("core/compound_name", root=warehouse.root).collect().equals(before)


def test_the_same_references_change_nothing(warehouse: Warehouse) -> None:
    shown = perturbhouse(warehouse, "reference-diff", str(Path(warehouse.raw) / "reference"))
    assert shown.returncode == 0, shown.stderr
    assert "lost:" not in shown.stdout
    assert "moved:" not in shown.stdout


def test_a_broken_reference_is_told_and_the_last_tables_stand(warehouse: Warehouse) -> None:
    path = Path(warehouse.raw) / "reference" / "overrides.csv"
    before = scan("core/compound_name", root=warehouse.root).collect()
    path.write_text("entity,dataset_id,reported,value,reason,source\ndrug,,X,C,why,who\n")
    built = build([], warehouse)
    path.unlink()
    assert set(built.failed) == {"ccle_2015"}
    assert "'drug' is none of" in built.failed["ccle_2015"]
    assert scan("core/compound_name", root=warehouse.root).collect().equals(before)


def test_pubchems_files_settle_what_no_table_knows(
    tmp_path: Path, simulated_raw: Path, make_warehouse, warehouse: Warehouse
) -> None:
    open_names = unresolved(root=warehouse.root).filter(entity="compound")["reported"].to_list()
    raw = tmp_path / "raw"
    for folder in ("ccle_2015", "reference"):
        shutil.copytree(simulated_raw / folder, raw / folder)
    synonyms = "".join(f"{cid}\t{name}\n" for cid, name in enumerate(open_names, start=1))
    structures = "".join(f"{cid}\t{'C' * (cid + 5)}O\n" for cid in range(1, len(open_names) + 1))
    for name, text in (("CID-Synonym-filtered.gz", synonyms), ("CID-SMILES.gz", structures)):
        (raw / "reference" / name).write_bytes(gzip.compress(text.encode()))
    other = make_warehouse(tmp_path / "warehouse", raw)
    assert not build([], other).failed
    names = scan("core/compound_name", root=other.root).collect()
    settled = names.filter(pl.col("compound_reported").is_in(open_names))
    assert set(settled["method"]) == {"name"}
    assert settled["origin"].str.starts_with("PubChem files of ").all()
    rows = scan("core/reference_file", root=other.root).filter(reference="pubchem").collect()
    assert rows.select("path", "n_records").sort("path").rows() == [
        ("CID-SMILES.gz", len(open_names)),
        ("CID-Synonym-filtered.gz", len(open_names)),
    ]


def test_the_service_is_asked_once_and_its_answers_are_stated(
    tmp_path: Path, simulated_raw: Path, warehouse: Warehouse
) -> None:
    [first, *_] = unresolved(root=warehouse.root).filter(entity="compound")["reported"]
    with serving() as server:
        server.names = {first: [2244], first.casefold(): [2244]}
        other = {
            "root": str(tmp_path / "warehouse"),
            "cache": str(tmp_path / "cache"),
            "pubchem_mode": "online",
            "pubchem_url": server.url,
        }
        online = Warehouse(**(warehouse.settings() | other))
        assert not build([], online).failed
        n_requests = len(server.requests)
        assert n_requests > 0
        build([], online, force=True)
        assert len(server.requests) == n_requests
    [row] = (
        scan("core/compound_name", root=online.root)
        .filter(compound_reported=first)
        .collect()
        .rows(named=True)
    )
    assert (row["origin"], row["pubchem_cid"]) == ("PubChem REST", 2244)
    stated = scan("core/reference_file", root=online.root).filter(reference="pubchem_lookups").collect()
    assert stated["n_records"].to_list()[0] > 0
