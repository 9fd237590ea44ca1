"""Changes between releases, named for what they mean to a reader of the tables."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from etl.harmonize.compound_reference import load_compound_reference
from etl.harmonize.compounds import resolve_compounds
from etl.harmonize.pubchem_rest import PubChemRest
from etl.harmonize.reference_diff import DIFF_SCHEMA, reference_diff, resolve_again
from etl.harmonize.reference_folder import ReferenceFolder
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.gene_name import GENE_NAME
from schemas.reported import ReportedCompound
from schemas.table import match_to_model

HEADER = "pert_id\tpert_iname\tpert_type\tpubchem_cid\tcanonical_smiles\tinchi_key\n"


def folder_with(path: Path, **structures: str) -> ReferenceFolder:
    path.mkdir()
    rows = "".join(
        f"BRD-K{n:08d}\t{name}\ttrt_cp\t-666\t{smiles}\t-666\n"
        for n, (name, smiles) in enumerate(structures.items())
    )
    (path / "lincs_pertinfo.tsv.gz").write_bytes(gzip.compress((HEADER + rows).encode()))
    return ReferenceFolder(path)


@pytest.fixture
def pubchem(tmp_path: Path):
    with PubChemRest(tmp_path / "pubchem.sqlite", mode="offline") as offline:
        yield offline


def names_with(folder: ReferenceFolder, pubchem, *reported: str) -> pl.DataFrame:
    rows = match_to_model(pl.DataFrame({"compound_reported": reported}), ReportedCompound).collect()
    names, _ = resolve_compounds(
        rows, dataset_id="toy", reference=load_compound_reference(folder), pubchem=pubchem
    )
    return names


def test_gained_lost_moved_and_other_evidence(tmp_path: Path, pubchem) -> None:
    old = folder_with(tmp_path / "old", lost="CCO", moved="CCN", same="CCS", safer="CCCl")
    new = folder_with(
        tmp_path / "new", gained="CCO", moved="CCF", same="CCS", **{"safer hydrochloride": "CCCl"}
    )
    names = names_with(old, pubchem, "lost", "gained", "moved", "same", "safer hydrochloride", "never")
    diff = reference_diff({"compound": names}, folder=new, pubchem=pubchem)
    assert dict(diff.rows.select("reported", "change").iter_rows()) == {
        "gained": "gained",
        "lost": "lost",
        "moved": "moved",
        "safer hydrochloride": "evidence",
    }
    assert diff.n_compared == {("compound", "toy"): 6}
    moved = diff.rows.row(by_predicate=pl.col("reported") == "moved", named=True)
    assert moved["id_before"] != moved["id_after"]


def test_the_same_release_changes_nothing(tmp_path: Path, pubchem) -> None:
    old = folder_with(tmp_path / "old", a="CCO", b="CCN")
    names = names_with(old, pubchem, "a", "b", "c")
    diff = reference_diff({"compound": names}, folder=old, pubchem=pubchem)
    assert diff.rows.is_empty()
    assert diff.rows.schema == DIFF_SCHEMA


def test_a_warehouse_without_names_of_a_kind_compares_nothing(tmp_path: Path, pubchem) -> None:
    folder = folder_with(tmp_path / "old")
    empty = {"context": CONTEXT_NAME, "gene": GENE_NAME}
    names = {entity: pl.DataFrame(schema=table.polars_schema) for entity, table in empty.items()}
    assert reference_diff(names, folder=folder, pubchem=pubchem).rows.is_empty()
    for entity, rows in names.items():
        assert resolve_again(entity, rows, folder=folder, pubchem=pubchem).is_empty()
