"""Which release of each reference is here, as its files state it."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.harmonize.pubchem_cache import PubChemCache
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder
from etl.harmonize.snapshots import PUBCHEM_CACHE, REFERENCES, Reference, depmap_release, snapshot
from schemas.core.reference_file import ReferenceFile

CELLOSAURUS = """\
----------------------------------------------------------------------------
 Version: 51.0
 Last update: 19-December-2024
----------------------------------------------------------------------------
ID   Toy-1
AC   CVCL_9001
//
"""
HGNC = (
    "hgnc_id\tsymbol\tlocus_type\tlocation\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tstatus\t"
    "date_modified\n"
    "HGNC:11998\tTP53\tgene with protein product\t17p13.1\t\t\t7157\tENSG00000141510\tApproved\t2023-01-20\n"
)
PORTAL = "CompoundID,CompoundName,Synonyms,SampleIDs,ChEMBLID,SMILES,InChIKey,PubChemCID\nDPC-1,X,,,,CCO,,\n"


def named(name: str) -> Reference:
    [reference] = [each for each in REFERENCES if each.name == name]
    return reference


@pytest.fixture
def folder(tmp_path: Path) -> ReferenceFolder:
    raw = tmp_path / "raw"
    for path, text in {
        "cellosaurus.txt": CELLOSAURUS,
        "cellosaurus_relnotes.txt": "Release notes",
        "hgnc_complete_set.txt": HGNC,
        "depmap_24Q4/PortalCompounds.csv": PORTAL,
        "compounds/own.csv": "name,smiles\nx,CCO\ny,CCN\n",
        "overrides.csv": "entity,dataset_id,reported,value,reason,source\n",
    }.items():
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        (raw / path).write_text(text)
    chembl = "chembl_id\tcanonical_smiles\tstandard_inchi\tstandard_inchi_key\nCHEMBL545\tCCO\tx\ty\n"
    (raw / "chembl_34_chemreps.txt.gz").write_bytes(gzip.compress(chembl.encode()))
    return ReferenceFolder(raw, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "path", "release", "released_on", "n_records"),
    [
        ("cellosaurus", "cellosaurus.txt", "51.0", date(2024, 12, 19), 1),
        ("hgnc", "hgnc_complete_set.txt", "content to 2023-01-20", date(2023, 1, 20), 1),
        ("depmap_compounds", "depmap_24Q4/PortalCompounds.csv", "24Q4", None, 1),
        ("chembl", "chembl_34_chemreps.txt.gz", "34", None, 1),
        ("own_compounds", "compounds/own.csv", None, None, 2),
        ("overrides", "overrides.csv", None, None, 0),
    ],
)
def test_a_file_is_stated_with_its_release_date_records_and_hash(
    folder: ReferenceFolder,
    name: str,
    path: str,
    release: str | None,
    released_on: date | None,
    n_records: int,
) -> None:
    rows = snapshot(named(name), folder)
    ReferenceFile.validate(rows)
    [row] = rows.rows(named=True)
    stated = (row["reference"], row["path"], row["release"], row["released_on"], row["n_records"])
    assert stated == (name, path, release, released_on, n_records)
    assert len(row["sha256"]) == 64


def test_what_is_not_there_has_no_rows(folder: ReferenceFolder) -> None:
    assert snapshot(named("cell_ontology"), folder).is_empty()
    for reference in REFERENCES:
        assert snapshot(reference, EMBEDDED_ONLY).is_empty()


def test_pubchems_files_are_compiled_and_stated_by_their_time(folder: ReferenceFolder) -> None:
    assert folder.path is not None
    (folder.path / "CID-SMILES.gz").write_bytes(gzip.compress(b"702\tCCO\n6341\tCCN\n"))
    [row] = snapshot(named("pubchem"), folder).rows(named=True)
    today = datetime.now(UTC).date()
    assert (row["path"], row["n_records"]) == ("CID-SMILES.gz", 2)
    assert row["released_on"] in (today, row["retrieved_at"].date())
    assert row["release"] == f"file of {row['released_on']}"


def test_the_answers_of_the_service_are_stated_by_their_dates(folder: ReferenceFolder) -> None:
    assert folder.cache is not None
    assert snapshot(named("pubchem_lookups"), folder).is_empty()
    cache = PubChemCache(folder.cache / PUBCHEM_CACHE)
    assert snapshot(named("pubchem_lookups"), folder).is_empty()
    cache.put("name", {"aspirin": [2244]}, datetime(2026, 1, 2, tzinfo=UTC))
    cache.put("name", {"nothing": []}, datetime(2026, 3, 4, tzinfo=UTC))
    cache.close()
    rows = snapshot(named("pubchem_lookups"), folder)
    ReferenceFile.validate(rows)
    [row] = rows.rows(named=True)
    assert (row["release"], row["n_records"]) == ("answers of 2026-01-02 to 2026-03-04", 2)
    assert (row["released_on"], row["sha256"]) == (date(2026, 3, 4), None)


def test_a_broken_reference_is_named(folder: ReferenceFolder) -> None:
    assert folder.path is not None
    (folder.path / "cellosaurus.txt").write_text("ID   Toy-1\nAC   CVCL_9001\n")
    with pytest.raises(BadInputError, match=r"cellosaurus\.txt.*truncated"):
        snapshot(named("cellosaurus"), folder)


def test_names_of_references_are_unique_and_fit_an_asset_key() -> None:
    names = [reference.name for reference in REFERENCES]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_a_release_that_no_folder_names_is_not_stated() -> None:
    assert depmap_release(Path("reference/Model.csv")) == (None, None)
