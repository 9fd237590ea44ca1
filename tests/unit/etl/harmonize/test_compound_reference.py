"""What each kind of reference table tells, and by which identifiers a structure is found in it."""

import gzip
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.harmonize.compound_reference import Candidate, CompoundReference, load_compound_reference, read_own
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

ASPIRIN, ASPIRIN_KEY = "CC(=O)Oc1ccccc1C(=O)O", "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
ASPIRIN_INCHI = "InChI=1S/C9H8O4/c1-6(10)13-8-5-3-2-4-7(8)9(11)12/h2-5H,1H3,(H,11,12)"

LINCS = f"""pert_id\tpert_iname\tpert_type\tpubchem_cid\tcanonical_smiles\tinchi_key
BRD-K00000001\tAspirin\ttrt_cp\t2244\t{ASPIRIN}\tInChIKey={ASPIRIN_KEY}
BRD-K00000004\tsecret\ttrt_cp\t5\trestricted\t-666
TRCN01\tTP53\ttrt_sh\t-666\t-666\t-666
"""
PORTAL_CELLS = {
    "CompoundID": "DPC-000001",
    "CompoundName": "ASPIRIN",
    "Synonyms": "ASA;Ecotrin",
    "SampleIDs": "BRD:BRD-K00000001-001-01-1;GDSC2:1005",
    "ChEMBLID": "CHEMBL25",
    "SMILES": ASPIRIN,
    "InChIKey": ASPIRIN_KEY,
    "DoseUnit": "uM",
    "PubChemCID": "2244.0",
}
PORTAL = f"{','.join(PORTAL_CELLS)}\n{','.join(PORTAL_CELLS.values())}\n"
CHEMBL_CELLS = {
    "chembl_id": "CHEMBL25",
    "canonical_smiles": ASPIRIN,
    "standard_inchi": ASPIRIN_INCHI,
    "standard_inchi_key": ASPIRIN_KEY,
}
CHEMBL = "\t".join(CHEMBL_CELLS) + "\n" + "\t".join(CHEMBL_CELLS.values()) + "\n"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> ReferenceFolder:
    tmp_path = tmp_path_factory.mktemp("reference")
    (tmp_path / "lincs_pertinfo.tsv.gz").write_bytes(gzip.compress(LINCS.encode()))
    (tmp_path / "depmap_24Q4").mkdir()
    (tmp_path / "depmap_24Q4" / "PortalCompounds.csv").write_text(PORTAL)
    (tmp_path / "chembl_34_chemreps.txt.gz").write_bytes(gzip.compress(CHEMBL.encode()))
    (tmp_path / "src1src2.txt.gz").write_bytes(
        gzip.compress(b"From src:'1'\tTo src:'2'\nCHEMBL25\tDB00945\n")
    )
    (tmp_path / "compounds").mkdir()
    (tmp_path / "compounds" / "selleck.csv").write_text(
        f"registry_id,name,cas,smiles\nS3017,Aspirin|Acetylsalicylic acid,50-78-2,{ASPIRIN}\n"
    )
    return ReferenceFolder(tmp_path, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def reference(folder: ReferenceFolder) -> CompoundReference:
    return load_compound_reference(folder)


def test_a_structure_is_found_in_every_table_that_has_the_name(reference: CompoundReference) -> None:
    found = reference.candidates("name", ["aspirin", "nothing"])
    assert set(found) == {"aspirin"}
    assert {candidate.origin for candidate in found["aspirin"]} == {
        "lincs_pertinfo.tsv.gz",
        "depmap_24Q4/PortalCompounds.csv",
        "compounds/selleck.csv",
    }
    assert {candidate.smiles for candidate in found["aspirin"]} == {ASPIRIN}


@pytest.mark.parametrize(
    ("registry_id", "origins"),
    [
        ("BRD-K00000001", ["lincs_pertinfo.tsv.gz", "depmap_24Q4/PortalCompounds.csv"]),
        ("CHEMBL25", ["depmap_24Q4/PortalCompounds.csv", "chembl_34_chemreps.txt.gz"]),
        ("DPC-000001", ["depmap_24Q4/PortalCompounds.csv"]),
        ("GDSC2:1005", ["depmap_24Q4/PortalCompounds.csv"]),
        ("S3017", ["compounds/selleck.csv"]),
    ],
)
def test_registry_ids_of_each_table(
    reference: CompoundReference, registry_id: str, origins: list[str]
) -> None:
    found = reference.candidates("registry_id", [registry_id])
    assert [candidate.origin for candidate in found[registry_id]] == origins


def test_other_identifiers(reference: CompoundReference) -> None:
    lincs = Candidate(ASPIRIN, ASPIRIN_KEY, 2244, "lincs_pertinfo.tsv.gz")
    assert lincs in reference.candidates("inchikey", [ASPIRIN_KEY])[ASPIRIN_KEY]
    assert lincs in reference.candidates("pubchem_cid", [2244])[2244]
    [own] = reference.candidates("cas", ["50-78-2"])["50-78-2"]
    assert own == Candidate(ASPIRIN, None, None, "compounds/selleck.csv")
    assert [c.smiles for c in reference.candidates("name", ["ecotrin"])["ecotrin"]] == [ASPIRIN]


def test_a_compound_with_a_cid_but_no_structure_stays_and_genetic_perturbagens_do_not(
    reference: CompoundReference,
) -> None:
    [row] = reference.candidates("registry_id", ["BRD-K00000004"])["BRD-K00000004"]
    assert (row.smiles, row.pubchem_cid) == (None, 5)
    assert reference.candidates("registry_id", ["TRCN01"]) == {}


def test_unichem_pairs_lead_both_ways(reference: CompoundReference) -> None:
    assert reference.equivalents_of(["DB00945", "CHEMBL25", "DB1"]) == {
        "DB00945": ["CHEMBL25"],
        "CHEMBL25": ["DB00945"],
    }


def test_parsed_tables_are_kept(folder: ReferenceFolder, reference: CompoundReference) -> None:
    again = load_compound_reference(folder)
    assert {name: table.to_dicts() for name, table in again.tables.items()} == {
        name: table.to_dicts() for name, table in reference.tables.items()
    }


def test_without_files_nothing_is_known() -> None:
    assert load_compound_reference(EMBEDDED_ONLY).candidates("name", ["aspirin"]) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,formula\nx,C\n", "has a column smiles or pubchem_cid"),
        ("smiles,formula\nC,C\n", "no column with an identifier"),
        (
            "name,pubchem_cid\nx,12\ny,twelve\n",
            r"row 3, column pubchem_cid: a CID is a whole number, not 'twelve'",
        ),
        ("name,smiles\nx,C,extra\n", "cannot be read"),
    ],
)
def test_a_table_of_ones_own_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_own(path)
