"""ChEMBL's structures and UniChem's pairs, in tiny files of their layout."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.errors import BadInputError
from etl.harmonize.chembl import chembl_release, read_chemreps, read_unichem

HEADER = "chembl_id\tcanonical_smiles\tstandard_inchi\tstandard_inchi_key\n"
ASPIRIN = "CHEMBL25\tCC(=O)Oc1ccccc1C(=O)O\tInChI=1S/C9H8O4/c1-6(10)\tBSYNRYMUTXBXSQ-UHFFFAOYSA-N\n"


def _write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_structures_come_with_their_ids_in_file_order(tmp_path: Path) -> None:
    path = _write(tmp_path / "chembl_34_chemreps.txt.gz", f"{HEADER}CHEMBL545\tCCO\t\t\n{ASPIRIN}")
    expected = pl.DataFrame(
        {
            "registry_id": ["CHEMBL545", "CHEMBL25"],
            "smiles": ["CCO", "CC(=O)Oc1ccccc1C(=O)O"],
            "inchikey": [None, "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"],
        }
    )
    assert_frame_equal(read_chemreps(path), expected)
    assert chembl_release(path) == "34"
    assert chembl_release(tmp_path / "chemreps.txt.gz") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}{ASPIRIN}25\tCCO\t\t\n", r"row 3, column chembl_id: no id of ChEMBL: '25' \(1 such\)"),
        ("chembl_id\tcanonical_smiles\nCHEMBL1\tC\n", "column standard_inchi_key: the column is missing"),
        ("", "cannot be read"),
    ],
)
def test_a_file_of_structures_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path / "chembl_34_chemreps.txt.gz", text)
    with pytest.raises(BadInputError, match=message) as fault:
        read_chemreps(path)
    assert "chembl_34_chemreps.txt.gz" in str(fault.value)


def test_pairs_name_their_sources(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "src1src22.txt.gz", "From src:'1'\tTo src:'22'\nCHEMBL25\t2244\nCHEMBL545\t702\n"
    )
    expected = pl.DataFrame(
        {
            "from_source": ["chembl"] * 2,
            "from_id": ["CHEMBL25", "CHEMBL545"],
            "to_source": ["pubchem"] * 2,
            "to_id": ["2244", "702"],
        }
    )
    assert_frame_equal(read_unichem(path), expected)
    path = _write(tmp_path / "src2src99.txt.gz", "From src:'2'\tTo src:'99'\nDB00945\tX1\n")
    assert read_unichem(path).row(0) == ("drugbank", "DB00945", "source 99", "X1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "chembl\tpubchem\nCHEMBL25\t2244\n",
            "row 1: two columns named .* are expected, not 'chembl' and 'pubchem'",
        ),
        ("From src:'1'\nCHEMBL25\n", "row 1: two columns named"),
        ("From src:'1'\tTo src:'22'\nCHEMBL25\t2244\nCHEMBL3\t\n", "row 3, column To src:'22': an empty id"),
        ("", "cannot be read"),
    ],
)
def test_a_file_of_pairs_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_unichem(_write(tmp_path / "src1src22.txt.gz", text))
