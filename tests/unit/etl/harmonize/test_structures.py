"""Parents of salts, mixtures, metals and broken structures, what is flagged, and what changes nothing."""

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from etl.harmonize import structures
from etl.harmonize.structures import MAX_TAUTOMER_ATOMS, describe, standardize, tautomer_keys
from schemas.vocabularies import COMPOUND_KINDS

ASPIRIN, CAFFEINE = "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O"

AMPHETAMINE, NICOTINE = "CC(N)Cc1ccccc1", "CN1CCC[C@H]1c1cccnc1"
VANCOMYCIN = (
    "CN[C@H](CC(C)C)C(=O)N[C@H]1C(=O)N[C@@H](CC(N)=O)C(=O)N[C@H]2C(=O)N[C@H]3C(=O)N[C@H](C(=O)N[C@@H]("
    "C(=O)O)c4cc(O)cc(O)c4-c4cc3ccc4O)[C@H](O)c3ccc(c(Cl)c3)Oc3cc2cc(c3O[C@@H]2O[C@H](CO)[C@@H](O)[C@H](O)"
    "[C@H]2O[C@H]2C[C@](C)(N)[C@H](O)[C@H](C)O2)Oc2ccc(cc2Cl)[C@H]1O"
)
CYCLOSPORIN = (
    "C/C=C/C[C@@H](C)[C@@H](O)[C@H]1C(=O)N[C@@H](CC)C(=O)N(C)CC(=O)N(C)[C@@H](CC(C)C)C(=O)N[C@@H](C(C)C)C(=O)"
    "N(C)[C@@H](CC(C)C)C(=O)N[C@@H](C)C(=O)N[C@H](C)C(=O)N(C)[C@@H](CC(C)C)C(=O)N(C)[C@@H](CC(C)C)C(=O)N(C)"
    "[C@@H](C(C)C)C(=O)N1C"
)
DRAWINGS = (
    *(
        ASPIRIN,
        CAFFEINE,
        NICOTINE,
        VANCOMYCIN,
        CYCLOSPORIN,
        "CCC(C)=NO",
        "C[N+](C)(C)CC(=O)[O-]",
        "C[S@](=O)CC",
    ),
    *("OC(=O)CCC(C(=O)[O-])[N+](C)(C)C", "NCC(=O)O.Cl", "CC(=O)[O-].[Na+]", "N.N.Cl[Pt]Cl", "O=[As]O[As]=O"),
    *(
        "CC(C)C[C@@H](B(O)O)NC(=O)c1cnccn1",
        "[2H]C([2H])([2H])Oc1ccccc1",
        "[O]N1C(C)(C)CCCC1(C)C",
        "O=N(=O)CC",
    ),
    *(
        "c1ccccc1CC.[Na+].[Br-].Cl.O",
        f"{CAFFEINE}.{ASPIRIN}.O",
        "Oc1ccccn1.O=c1cccc[nH]1",
        "C[NH2+]CC(=O)O.[Cl-]",
    ),
    *(
        "[O-]S(=O)(=O)CC[N+](C)(C)CC(=O)O.[K+]",
        "C/C=C/O.C/C=C\\O",
        "[2H]CO.CO",
        "N[C@@H](C)C(=O)O.N[C@H](C)C(=O)O",
    ),
)


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
    if row["problem"] is None:
        assert parent(str(row["parent_smiles"]))["compound_id"] == row["compound_id"]


@pytest.mark.parametrize("smiles", DRAWINGS)
def test_a_parent_is_canonical_and_its_own_parent(smiles: str) -> None:
    row = parent(smiles)
    again = parent(str(row["parent_smiles"]))
    same = ("parent_smiles", "compound_id", "kind", "has_isotopes", "has_undefined_stereo")
    assert [again[column] for column in same] == [row[column] for column in same]
    assert again["is_salt"] is False
    parts = str(row["parent_smiles"]).split(".") if row["is_mixture"] else [str(row["parent_smiles"])]
    assert [Chem.CanonSmiles(part) for part in parts] == parts


@given(st.sampled_from(DRAWINGS), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_atoms_and_fragments_does_not_matter(smiles: str, order: random.Random) -> None:
    fragments = smiles.split(".")
    order.shuffle(fragments)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(".".join(fragments))
        atoms = list(range(mol.GetNumAtoms()))
        order.shuffle(atoms)
        redrawn = Chem.MolToSmiles(Chem.RenumberAtoms(mol, atoms), canonical=False)
    assert parent(redrawn) | {"smiles_reported": smiles} == parent(smiles)


@pytest.mark.parametrize("smiles", DRAWINGS)
def test_the_clean_up_is_that_of_rdkit(smiles: str) -> None:
    with rdBase.BlockLogs():
        theirs = rdMolStandardize.Cleanup(Chem.MolFromSmiles(smiles))
        ours = structures._cleaned(Chem.MolFromSmiles(smiles))
    assert Chem.MolToCXSmiles(ours) == Chem.MolToCXSmiles(theirs)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (f"{NICOTINE}.Cl.[Na+].[Br-]", NICOTINE),  # two counter-ions
        (f"{NICOTINE}.Cl.Cl.O.O", NICOTINE),  # a hydrate
        ("C[N+](C)(C)CC(=O)O.[Cl-]", "C[N+](C)(C)CC(=O)[O-]"),  # the hydrochloride of a betaine
        ("C[N+](C)(C)CCOC(C)=O.[I-]", "CC(=O)OCC[N+](C)(C)C.[Cl-]"),  # a quaternary amine
        ("CC(C)C[C@@H](B(O)O)NC(=O)c1cnccn1.O", "CC(C)C[C@@H](B(O)O)NC(=O)c1cnccn1"),  # a boronic acid
        ("[Zn+2].[O-]C(=O)CCCCCCCCC=C.[O-]C(=O)CCCCCCCCC=C", "OC(=O)CCCCCCCCC=C"),
    ],
)
def test_whatever_it_is_drawn_with_the_parent_is_one(reported: str, expected: str) -> None:
    row = parent(reported)
    assert row["compound_id"] == parent(expected)["compound_id"]
    assert (row["is_salt"], row["is_mixture"]) == (True, False)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("[NH3+][C@@H](Cc1ccccc1)C(=O)[O-]", "N[C@@H](Cc1ccccc1)C(=O)O"),  # a zwitterion is neutralized
        ("C[N+](C)(C)CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]"),  # a betaine cannot be
        ("C[N+](C)(C)CCOC(C)=O.[Cl-]", "CC(=O)OCC[N+](C)(C)C"),  # a quaternary amine stays charged
        ("C[N+](C)(C)C(CC(=O)O)CCC(=O)[O-]", "C[N+](C)(C)C(CCC(=O)O)CC(=O)[O-]"),
        ("[O]N1C(C)(C)CCCC1(C)C", "CC1(C)CCCC(C)(C)N1[O]"),  # a radical stays one
        ("[H][H]", "[H][H]"),
        ("CCO ethanol", "CCO"),
        ("CCO\tethanol", "CCO"),
        ("CCO |$;;R$|", "CCO"),
        ("[CH3:1][CH2:2][OH:3]", "CCO"),
        ("C[S@SP2](=O)(=O)c1ccccc1", "CS(=O)(=O)c1ccccc1"),  # a sulfone is not square-planar
    ],
)
def test_parents_are_written_in_one_way(reported: str, expected: str) -> None:
    row = parent(reported)
    assert row["parent_smiles"] == expected
    assert row["inchikey"] == Chem.MolToInchiKey(Chem.MolFromSmiles(expected))


def test_the_largest_molecules_of_screens_have_their_published_keys() -> None:
    assert str(parent(VANCOMYCIN)["inchikey"]).startswith("MYPYJXKWCTUITO-")
    assert parent(CYCLOSPORIN)["inchikey"] == "PMATZTZNYRCHOR-CGLBZJNRSA-N"


def test_isotopes_stay_in_the_key_and_are_flagged() -> None:
    labelled, plain = parent("[2H]C([2H])([2H])NC(=O)c1cccnn1"), parent("CNC(=O)c1cccnn1")
    assert (labelled["has_isotopes"], plain["has_isotopes"]) == (True, False)
    assert labelled["inchikey"] != plain["inchikey"]
    assert str(labelled["inchikey"])[:14] == str(plain["inchikey"])[:14]


def test_an_isotope_of_a_counter_ion_is_no_isotope_of_the_parent() -> None:
    assert parent(f"{NICOTINE}.[2H]Cl")["has_isotopes"] is False


def test_an_isotopologue_beside_the_plain_molecule_is_the_plain_molecule() -> None:
    assert (
        parent("[2H]CO.CO")["compound_id"]
        == parent("CO.[2H]CO")["compound_id"]
        == parent("CO")["compound_id"]
    )


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        (AMPHETAMINE, True),
        ("C[C@H](N)Cc1ccccc1", False),
        ("CC=CC", True),
        ("C/C=C/C", False),
        ("CCC(C)=NO", True),  # an oxime
        ("CCS(C)=O", True),  # a sulfoxide
        ("CC(O)C[C@H](F)C", True),  # one of two
        ("O[C@H](C(=O)O)[C@@H](O)C(=O)O", False),  # meso, stated
        ("OC1CCC(O)CC1", True),  # cis or trans
        ("O[C@H]1CC[C@@H](O)CC1", False),
        ("CC(C)C", False),
        ("CCN(C)CC(C)(C)C", False),  # an amine inverts
        ("CN=C(N)NCC", False),  # a guanidine has no configuration
        ("NC(=N)c1ccccc1", False),
        ("CCOP(=O)(O)OC", False),  # a proton moves between the oxygens
        (f"{AMPHETAMINE}.OC(=O)C(O)C(O)C(=O)O", True),
        ("NCCc1ccccc1.OC(=O)C(O)C(O)C(=O)O", False),  # only that of the parent counts
        ("N.N.Cl[Pt]Cl", False),
    ],
)
def test_undefined_stereochemistry_is_flagged(smiles: str, expected: bool) -> None:
    assert parent(smiles)["has_undefined_stereo"] is expected


def test_a_racemate_is_neither_of_its_enantiomers() -> None:
    racemate, unknown = parent("C[C@H](N)Cc1ccccc1 |&1:1|"), parent("C[C@H](N)Cc1ccccc1 |o1:1|")
    assert racemate["compound_id"] == unknown["compound_id"] == parent(AMPHETAMINE)["compound_id"]
    assert (racemate["has_undefined_stereo"], unknown["has_undefined_stereo"]) == (True, True)
    assert parent("C[C@H](N)Cc1ccccc1 |a:1|")["compound_id"] == parent("C[C@H](N)Cc1ccccc1")["compound_id"]


@pytest.mark.parametrize(
    ("smiles", "kind"),
    [
        (CAFFEINE, "small_molecule"),
        ("[O]N1C(C)(C)CCCC1(C)C", "small_molecule"),
        ("C[Se]CCC(N)C(=O)O", "small_molecule"),
        ("N[C@@H](C)C(=O)N[C@@H](C)C(=O)NCC(=O)O", "small_molecule"),  # three amino acids
        ("N[C@@H](C)C(=O)N[C@@H](C)C(=O)NCC(=O)NCC(=O)O", "peptide"),  # four
        (CYCLOSPORIN, "peptide"),
        (f"{CAFFEINE}.{ASPIRIN}", "combination"),
        ("N.N.Cl[Pt]Cl", "metal_complex"),
        ("N.N.O=C1O[Pt]OC(=O)C12CCC2", "metal_complex"),
        ("[Cl-].[Cl-].[Co+2]", "metal_complex"),
        ("[Li+].[Cl-]", "inorganic"),
        ("O=[As]O[As]=O", "inorganic"),
        ("[Al+3].[OH-].[OH-].[OH-]", "inorganic"),
        ("[H][H]", "inorganic"),
        ("*CC* |$star_e;;;star_e$,Sg:n:1,2::ht|", "polymer"),
        ("OCCO |Sg:n:1,2:n:ht|", "polymer"),
        ("*CC", "unknown"),
        ("foo", "unknown"),
    ],
)
def test_kinds(smiles: str, kind: str) -> None:
    assert kind in COMPOUND_KINDS
    assert parent(smiles)["kind"] == kind


def test_a_repeat_unit_is_not_taken_for_the_molecule() -> None:
    row = parent("OCCO |Sg:n:1,2:n:ht|")
    assert (row["compound_id"], row["problem"]) == (None, "a polymer: the structure is a repeat unit")


@pytest.mark.parametrize(
    ("smiles", "problem"),
    [
        ("CCO |bad|", "the extension after the SMILES cannot be read"),
        ("   ", "not a SMILES"),
        ("aspirin", "not a SMILES"),
        ("C" * 10_000, "too large: 10000 characters, at most 5000"),
        ("C" * 1_500, "too large: 1500 atoms, at most 1023"),
    ],
)
def test_what_cannot_be_read_says_why(smiles: str, problem: str) -> None:
    row = parent(smiles)
    assert (row["problem"], row["kind"], row["compound_id"]) == (problem, "unknown", None)


@pytest.mark.parametrize(
    "unit", ["C", "C(C)", "CS(=O)", "C1CC1", "[Na+].[Cl-].", "CN=N#N.", "[NH3+]CC(=O)[O-].", "((("]
)
def test_the_largest_inputs_come_to_an_end(unit: str) -> None:
    for length in (1_000, 5_000):
        row = parent(unit * (length // len(unit)) + "C")
        assert (row["problem"] is None) == (row["compound_id"] is not None)


def test_rows_do_not_depend_on_their_order() -> None:
    smiles = pl.Series(DRAWINGS)
    assert_frame_equal(standardize(smiles.reverse()), standardize(smiles))


def test_tautomers_share_a_key_that_their_structures_do_not() -> None:
    keto, enol = "CC(=O)CC(C)=O", "CC(=O)C=C(C)O"
    keys = tautomer_keys(pl.Series([keto, enol, None, keto]))
    assert keys["tautomer_key"].n_unique() == 1
    assert keys["problem"].null_count() == keys.height == 2
    assert parent(keto)["inchikey"] != parent(enol)["inchikey"]


def test_a_tautomer_key_drops_the_stereochemistry_that_a_proton_passes_and_no_other() -> None:
    def key(smiles: str) -> object:
        return tautomer_keys(pl.Series([smiles]))["tautomer_key"][0]

    assert key("CC[C@H](C)C(C)=O") == key("CC[C@@H](C)C(C)=O")
    assert key("C[C@H](F)CO") != key("C[C@@H](F)CO")


@pytest.mark.parametrize(
    ("smiles", "problem"),
    [
        ("foo", "not a SMILES"),
        ("*CC", "no InChIKey"),
        (".".join(["Nc1nc2[nH]cnc2c(=O)[nH]1"] * 4), "too many tautomers"),
        ("C" * (MAX_TAUTOMER_ATOMS + 1), "too large"),
    ],
)
def test_without_tautomer_key_there_is_a_reason(smiles: str, problem: str) -> None:
    row = tautomer_keys(pl.Series([smiles])).row(0, named=True)
    assert row["tautomer_key"] is None
    assert str(row["problem"]).startswith(problem)


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


def test_real_structures_do_not_depend_on_the_order_of_their_atoms(realdata: Path) -> None:
    table = pl.read_csv(realdata / "raw/op3/compounds_from_de_train.csv", infer_schema=False)
    order = random.Random(0)
    redrawn = {}
    for smiles in table["SMILES"].unique().sort():
        mol = Chem.MolFromSmiles(smiles)
        atoms = list(range(mol.GetNumAtoms()))
        order.shuffle(atoms)
        redrawn[smiles] = Chem.MolToSmiles(Chem.RenumberAtoms(mol, atoms), canonical=False)
    theirs = pl.DataFrame({"smiles_reported": list(redrawn), "redrawn": list(redrawn.values())})
    first = theirs.join(standardize(theirs["smiles_reported"]), on="smiles_reported")
    again = theirs.join(standardize(theirs["redrawn"]), left_on="redrawn", right_on="smiles_reported")
    columns = ["smiles_reported", "parent_smiles", "compound_id", "is_salt", "has_undefined_stereo"]
    assert_frame_equal(first.select(columns).sort(columns), again.select(columns).sort(columns))
