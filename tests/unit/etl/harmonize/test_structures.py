"""Parents of salts, mixtures, metals and broken structures."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.harmonize.structures import describe, standardize

ASPIRIN, CAFFEINE = "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O"


def parent(smiles: str) -> dict[str, object]:
    return standardize(pl.Series([smiles])).row(0, named=True)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", ASPIRIN),
        ("CC(=O)Oc1ccccc1C(=O)O[Na]", ASPIRIN),
        ("CN1CCC[C@H]1c1cccnc1.Cl", "CN1CCC[C@H]1c1cccnc1"),
        ("CN1CCC[C@H]1c1cccnc1.OC(=O)C(O)C(O)C(=O)O", "CN1CCC[C@H]1c1cccnc1"),
        ("CC(=O)Oc1ccccc1C(=O)O.CC(=O)Oc1ccccc1C(=O)O.[Mg+2]", ASPIRIN),
        ("CC(=O)Oc1ccccc1C(=O)O.CS(C)=O", ASPIRIN),
    ],
)
def test_salts_and_solvates_have_the_parent_of_the_free_form(reported: str, expected: str) -> None:
    row, free = parent(reported), parent(expected)
    assert (row["parent_smiles"], row["inchikey"]) == (free["parent_smiles"], free["inchikey"])
    assert (row["is_salt"], row["is_mixture"], row["problem"]) == (True, False, None)


def test_stereochemistry_stays() -> None:
    assert parent("CN1CCC[C@H]1c1cccnc1")["inchikey"] != parent("CN1CCC[C@@H]1c1cccnc1")["inchikey"]


def test_a_combination_is_not_forced_into_its_largest_fragment() -> None:
    row = parent(f"{CAFFEINE}.{ASPIRIN}")
    assert row["compound_id"] == "mixture:BSYNRYMUTXBXSQ-UHFFFAOYSA-N+RYYVLZVUVIJVGH-UHFFFAOYSA-N"
    assert (row["is_mixture"], row["inchikey"]) == (True, None)
    assert row["compound_id"] == parent(f"{ASPIRIN}.{CAFFEINE}.Cl")["compound_id"]


def test_isomers_side_by_side_are_one_compound_without_stereochemistry() -> None:
    row = parent("C/C=C/c1ccccc1O.C/C=C\\c1ccccc1O")
    assert row["compound_id"] == parent("CC=Cc1ccccc1O")["compound_id"]
    assert (row["is_mixture"], row["is_salt"]) == (False, False)


def test_a_salt_former_alone_is_a_compound() -> None:
    assert parent("OC(=O)CC(O)(CC(=O)O)C(=O)O")["inchikey"] == "KRKNYBCHXYNGOX-UHFFFAOYSA-N"


def test_an_inorganic_salt_is_its_own_parent() -> None:
    assert parent("[Li+].[Cl-]")["inchikey"] == "KWGKDLIKAYFUFQ-UHFFFAOYSA-M"


def test_a_platinum_drug_keeps_its_metal() -> None:
    row = parent("N.N.Cl[Pt]Cl")
    assert row["inchikey"] == "LXZZYRPGZAFOLE-UHFFFAOYSA-L"
    assert row["is_salt"] is False


def test_a_platinum_drug_beside_another_is_a_mixture() -> None:
    row = parent(f"N.N.Cl[Pt]Cl.{CAFFEINE}")
    assert row["compound_id"] == "mixture:LXZZYRPGZAFOLE-UHFFFAOYSA-L+RYYVLZVUVIJVGH-UHFFFAOYSA-N"


@pytest.mark.parametrize(
    ("smiles", "problem"),
    [("foo", "not a SMILES"), ("", "no atoms"), ("*CC", "no InChIKey"), ("C(C)(C)(C)(C)C", "valence")],
)
def test_what_is_no_structure_says_why(smiles: str, problem: str) -> None:
    row = parent(smiles)
    assert problem in str(row["problem"])
    assert (row["parent_smiles"], row["compound_id"]) == (None, None)


def test_each_distinct_smiles_has_one_row_and_null_has_none() -> None:
    assert standardize(pl.Series(["CCO", None, "CCO", "OCC"])).height == 2


def test_nothing_in_nothing_out() -> None:
    assert standardize(pl.Series([], dtype=pl.String)).height == 0


@given(st.text(alphabet="CNOPSclno()[]=#+-123.@/\\ ", max_size=15))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_parent_or_a_problem_and_parents_are_stable(smiles: str) -> None:
    row = parent(smiles)
    assert (row["problem"] is None) == (row["compound_id"] is not None)


def test_formula_and_weight_are_of_the_parent() -> None:
    row = describe(pl.Series([ASPIRIN, ASPIRIN, None])).row(0)
    assert row[:2] == (ASPIRIN, "C9H8O4")
    assert row[2] == pytest.approx(180.159, abs=1e-3)


def test_parents_of_real_screening_compounds_are_their_own_parents(realdata: Path) -> None:
    table = pl.read_csv(realdata / "raw/op3/compounds_from_de_train.csv", infer_schema=False)
    first = standardize(table["SMILES"])
    again = standardize(first["parent_smiles"])
    both = first.join(again, left_on="parent_smiles", right_on="smiles_reported")
    assert first["problem"].null_count() == first.height
    assert both["compound_id"].to_list() == both["compound_id_right"].to_list()
