"""Cell labels by accession, model id, name and synonym; collisions and contradictions."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.context_reference import ContextReference, load_context_reference
from etl.harmonize.contexts import merge_contexts, reported_again, resolve_contexts
from etl.harmonize.overrides import NO_OVERRIDES, Override
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder
from etl.sources.ccle_2015 import Ccle2015
from etl.sources.gcsi import Gcsi
from schemas.core.context import Context
from schemas.core.context_name import ContextName
from schemas.reported import ReportedContext
from schemas.table import polars_schema

CURATED = load_context_reference(EMBEDDED_ONLY)

CELLOSAURUS = """ID   Toy-1
AC   CVCL_TOY1
AS   CVCL_OLD1
SY   Toy 1; Shared; Either; Toy-X
DR   DepMap; ACH-900001
DR   Cell_Model_Passport; SIDM90001
DR   Cosmic-CLP; 990001
DR   LINCS_LDP; LCL-9001
DR   LINCS_HMS; 59001
CC   Population: Japanese.
CC   Cell type: Epithelial cell; CL=CL_0000066.
CC   Misspelling: Tyo-1; Note=Occasionally.
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
SX   Female
AG   40Y
CA   Cancer cell line
//
ID   Toy-2
AC   CVCL_TOY2
SY   Shared
CC   Problematic cell line: Contaminated. Shown to be a Toy-1 derivative.
CC   Derived from site: Metastatic; Lung; UBERON=UBERON_0002048.
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
HI   CVCL_TOY1 ! Toy-1
CA   Cancer cell line
//
ID   Toy-X
AC   CVCL_TOY3X
SY   Either
CC   Derived from site: In situ; Colon; UBERON=UBERON_0001155.
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
//
ID   Maus-1
AC   CVCL_MAU1
SY   Shared
OX   NCBI_TaxID=10090; ! Mus musculus (Mouse)
//
ID   Tw-in
AC   CVCL_TWI1
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
//
ID   T-win
AC   CVCL_TWI2
CC   Derived from site: In situ; Liver; UBERON=UBERON_0002107.
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
//
ID   697
AC   CVCL_0079
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
//
"""
MODEL_COLUMNS = (
    "ModelID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreePrimaryDisease,"
    "RRID,Age,Sex,CCLEName,SangerModelID,COSMICID,WTSIMasterCellID"
)
MODELS = f"""{MODEL_COLUMNS}
ACH-900001,Toy-1,TOY1,Lung,Toy carcinoma,CVCL_TOY1,40.0,Female,TOY1_LUNG,SIDM90001,990001.0,697
ACH-900000,Toy-1 R,TOY1R,Lung,Toy carcinoma,CVCL_TOY1,40.0,Female,TOY1_LUNG_RESISTANT,,,
ACH-900003,Toy-2,TOY2,Skin,Non-Cancerous,CVCL_TOY2,,Unknown,TOY2_SKIN,,697.0,
ACH-900004,Homeless,HOMELESS,Skin,Melanoma,,,,HOMELESS_SKIN,,,
ACH-900005,Toy-X,EITHER,Bowel,Toy carcinoma,CVCL_TOY3X,,,,,,
"""
ONTOLOGY = """format-version: 1.2
data-version: cl/releases/2099-01-01/cl.owl

[Term]
id: CL:9000001
name: toy cell
synonym: "toycyte" EXACT []
synonym: "small toy" RELATED []

[Term]
id: CL:9000002
name: obsolete old toy cell
is_obsolete: true
replaced_by: CL:9000001

[Term]
id: CL:9000003
name: obsolete lost toy cell
is_obsolete: true
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ContextReference:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "depmap").mkdir()
    (folder / "depmap" / "Model.csv").write_text(MODELS)
    (folder / "cellosaurus.txt").write_text(CELLOSAURUS)
    (folder / "cl.obo").write_text(ONTOLOGY)
    return load_context_reference(ReferenceFolder(folder))


def as_reported(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(polars_schema(ReportedContext).names())
    return pl.DataFrame([empty | row for row in rows], schema=polars_schema(ReportedContext))


def resolve(
    reference: ContextReference, *rows: dict[str, Any], overrides: dict[str, Override] | None = None
) -> tuple[pl.DataFrame, RowAccount]:
    names, account = resolve_contexts(
        as_reported(*rows), dataset_id="toy", reference=reference, overrides=overrides or NO_OVERRIDES
    )
    ContextName.validate(names)
    return names, account


def one(reference: ContextReference, label: str, **row: str) -> dict[str, Any]:
    names, _ = resolve(reference, {"context_reported": label} | row)
    return names.row(0, named=True)


@pytest.mark.parametrize(
    ("label", "given_", "method", "confidence"),
    [
        ("x", {"accession": "CVCL_TOY1"}, "accession", "high"),
        ("x", {"accession": "CVCL_OLD1"}, "accession", "high"),
        ("cvcl_toy1", {}, "accession", "high"),
        ("x", {"model_id": "ACH-900001"}, "model_id", "high"),
        ("ACH-900001", {}, "model_id", "high"),
        ("x", {"model_id": "SIDM90001"}, "model_id", "high"),
        ("x", {"model_id": "TOY1_LUNG"}, "model_id", "high"),
        ("x", {"model_id": "990001"}, "model_id", "high"),
        ("x", {"model_id": "990001.0"}, "model_id", "high"),
        ("COSMIC:990001", {}, "model_id", "high"),
        ("x", {"model_id": "LCL-9001"}, "model_id", "high"),
        ("x", {"model_id": "LINCS_HMS:59001"}, "model_id", "high"),
        ("TOY-1", {}, "name", "medium"),
        ("x", {"name": "Toy-1"}, "name", "medium"),
        ("toy 1", {}, "synonym", "medium"),
        ("TOY_1", {}, "stripped_name", "medium"),
        ("TOY1LUNG", {}, "stripped_name", "medium"),
        ("Tyo-1", {}, "weak_synonym", "low"),
    ],
)
def test_each_rung_leads_to_the_same_line(
    reference: ContextReference, label: str, given_: dict[str, str], method: str, confidence: str
) -> None:
    row = one(reference, label, **given_)
    assert (row["context_id"], row["method"], row["confidence"]) == ("CVCL_TOY1", method, confidence)
    assert (row["rule"], row["candidates"]) == (None, ["CVCL_TOY1"])


@pytest.mark.parametrize(
    ("label", "given_", "origin"),
    [
        ("Toy-1", {}, "cellosaurus.txt"),
        ("x", {"model_id": "TOY1_LUNG"}, "depmap/Model.csv"),
        ("toycyte", {}, "cl.obo"),
        ("A375", {}, "curated"),
        ("x", {"accession": "CVCL_ZZZZ"}, None),
        ("?", {}, None),
    ],
)
def test_the_origin_of_a_match_is_stated(
    reference: ContextReference, label: str, given_: dict[str, str], origin: str | None
) -> None:
    assert one(reference, label, **given_)["origin"] == origin


@pytest.mark.parametrize(
    ("label", "accession"),
    [
        ("A375", "CVCL_0132"),
        ("HA1E", "CVCL_VU89"),
        ("MCF7", "CVCL_0031"),
        ("PHH", "CL_0000182"),
        ("U2OS", "CVCL_0042"),
    ],
)
def test_the_curated_table_knows_the_fields_own_labels(label: str, accession: str) -> None:
    row = one(CURATED, label)
    assert (row["context_id"], row["method"], row["confidence"]) == (accession, "curated", "high")


def test_an_ontology_accession_may_have_a_colon() -> None:
    assert one(CURATED, "x", accession="CL:0000182")["context_id"] == "CL_0000182"


@pytest.mark.parametrize("accession", ["CVCL_ZZZZ", "CVCL_ZZZZZ"])
def test_an_accession_that_no_reference_lists_is_kept_with_low_confidence(accession: str) -> None:
    row = one(CURATED, "x", accession=accession)
    assert (row["context_id"], row["confidence"]) == (accession, "low")
    assert row["reason"] == "accession in no reference"


def test_a_text_that_is_no_accession_is_said_to_be_none(reference: ContextReference) -> None:
    row = one(reference, "Toy-1", accession="n/a")
    assert (row["context_id"], row["reason"]) == ("CVCL_TOY1", "reported accession 'n/a' is none")
    _, account = resolve(reference, {"context_reported": "?", "accession": "n/a"})
    assert account.noted == {"unresolved: label in no reference": 1}


def test_a_secondary_accession_says_so(reference: ContextReference) -> None:
    assert one(reference, "x", accession="CVCL_OLD1")["reason"] == "secondary accession, now CVCL_TOY1"


@pytest.mark.parametrize(
    ("label", "context_id", "method", "reason"),
    [
        ("Toy cell", "CL_9000001", "name", None),
        ("toycyte", "CL_9000001", "synonym", None),
        ("small toy", "CL_9000001", "weak_synonym", "a related synonym, says the Cell Ontology"),
        ("CL:9000002", "CL_9000001", "accession", "CL_9000002 is obsolete, now CL_9000001"),
        ("old toy cell", "CL_9000001", "synonym", "CL_9000002 is obsolete, now CL_9000001"),
        ("CL_9000003", "CL_9000003", "accession", "CL_9000003 is obsolete and has no replacement"),
    ],
)
def test_terms_of_the_cell_ontology(
    reference: ContextReference, label: str, context_id: str, method: str, reason: str | None
) -> None:
    row = one(reference, label)
    assert (row["context_id"], row["method"], row["reason"]) == (context_id, method, reason)


def test_a_number_is_a_name_where_it_is_the_label_and_a_cosmic_id_where_it_is_the_key(
    reference: ContextReference,
) -> None:
    row = one(reference, "697")
    assert (row["context_id"], row["method"]) == ("CVCL_0079", "name")
    row = one(reference, "x", model_id="697")
    assert (row["context_id"], row["method"]) == ("CVCL_TOY2", "model_id")


def test_a_shared_model_id_that_nothing_decides_is_refused(tmp_path: Path) -> None:
    text = "ID   A-1\nAC   CVCL_AAA1\nDR   Cosmic; 5\n//\nID   B-1\nAC   CVCL_BBB1\nDR   Cosmic; 5\n//\n"
    (tmp_path / "cellosaurus.txt").write_text(text)
    row = one(load_context_reference(ReferenceFolder(tmp_path)), "x", model_id="5")
    assert (row["method"], row["reason"]) == ("unresolved", "ambiguous key: CVCL_AAA1, CVCL_BBB1")


def test_keys_that_contradict_each_other_are_reported(reference: ContextReference) -> None:
    row = one(reference, "Toy-X", accession="CVCL_TOY1", model_id="TOY2_SKIN")
    assert (row["context_id"], row["confidence"]) == ("CVCL_TOY1", "medium")
    assert row["reason"] == "model id 'TOY2_SKIN' leads to CVCL_TOY2"
    row = one(reference, "Tw-in", accession="CVCL_TOY1")
    assert (row["context_id"], row["confidence"]) == ("CVCL_TOY1", "medium")
    assert (row["reason"], row["candidates"]) == ("the label names CVCL_TWI1", ["CVCL_TOY1", "CVCL_TWI1"])


def test_a_key_that_no_reference_lists_does_not_hide_the_name(reference: ContextReference) -> None:
    row = one(reference, "Toy-1", model_id="TOY1_BREAST")
    assert (row["method"], row["reason"]) == ("name", "model id 'TOY1_BREAST' in no reference")


def test_a_shared_synonym_is_not_chosen_and_the_candidates_are_named(reference: ContextReference) -> None:
    row = one(reference, "Shared")
    assert (row["context_id"], row["reason"]) == (
        "unresolved:toy:Shared",
        "ambiguous label: CVCL_TOY1, CVCL_TOY2",
    )
    assert row["candidates"] == ["CVCL_MAU1", "CVCL_TOY1", "CVCL_TOY2"]


def test_a_tissue_may_choose_among_candidates(reference: ContextReference) -> None:
    row = one(reference, "Shared", tissue="skin")
    assert (row["context_id"], row["confidence"]) == ("CVCL_TOY2", "low")
    assert row["rule"] == "the only candidate of the reported tissue"
    assert row["candidates"] == ["CVCL_MAU1", "CVCL_TOY1", "CVCL_TOY2"]


@pytest.mark.parametrize(
    ("label", "tissue", "context_id", "confidence", "rule"),
    [
        ("Toy-X", None, "CVCL_TOY3X", "low", "the exact label goes before looser forms"),
        ("Toy-X", "large_intestine", "CVCL_TOY3X", "medium", "the only candidate of the reported tissue"),
        ("Toy-X", "lung", "CVCL_TOY1", "low", "the only candidate of the reported tissue"),
        ("Either", None, "CVCL_TOY3X", "low", "the only candidate that DepMap lists under the label"),
        ("TWIN", "liver", "CVCL_TWI2", "low", "the only candidate of the reported tissue"),
    ],
)
def test_a_choice_among_candidates_states_its_rule(
    reference: ContextReference, label: str, tissue: str | None, context_id: str, confidence: str, rule: str
) -> None:
    row = one(reference, label, **({} if tissue is None else {"tissue": tissue}))
    assert (row["context_id"], row["confidence"], row["rule"]) == (context_id, confidence, rule)
    assert len(row["candidates"]) == 2


def test_a_name_that_two_references_give_to_different_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cellosaurus.txt").write_text(
        "ID   ML-9\nAC   CVCL_AAA1\n//\nID   ML-9 [thyroid]\nAC   CVCL_BBB1\n//\n"
    )
    (tmp_path / "Model.csv").write_text(
        f"{MODEL_COLUMNS}\nACH-9,ML-9,ML9,Thyroid,Carcinoma,CVCL_BBB1,,,ML9_THYROID,,,\n"
    )
    reference = load_context_reference(ReferenceFolder(tmp_path))
    assert one(reference, "ML-9")["reason"] == "ambiguous label: CVCL_AAA1, CVCL_BBB1"
    assert one(reference, "ML-9", tissue="thyroid")["context_id"] == "CVCL_BBB1"


@pytest.mark.parametrize(
    ("species", "context_id", "confidence"),
    [(None, "CVCL_AAA1", "low"), ("human", "CVCL_AAA1", "medium"), ("rat", "CVCL_BBB1", "medium")],
)
def test_a_species_may_choose_and_weighs_less_where_it_is_assumed(
    tmp_path: Path, species: str | None, context_id: str, confidence: str
) -> None:
    (tmp_path / "cellosaurus.txt").write_text(
        "ID   Al-1\nAC   CVCL_AAA1\nSY   A 1\nOX   NCBI_TaxID=9606; ! Homo sapiens (Human)\n//\n"
        "ID   Al-2\nAC   CVCL_BBB1\nSY   A 1\nOX   NCBI_TaxID=10116; ! Rattus norvegicus (Rat)\n//\n"
    )
    reference = load_context_reference(ReferenceFolder(tmp_path))
    row = one(reference, "A 1", **({} if species is None else {"species": species}))
    assert (row["context_id"], row["confidence"]) == (context_id, confidence)
    assert (row["rule"], row["candidates"]) == (
        "the only candidate of the species",
        ["CVCL_AAA1", "CVCL_BBB1"],
    )


def test_names_that_only_punctuation_tells_apart_are_refused(reference: ContextReference) -> None:
    assert one(reference, "Tw-in")["context_id"] == "CVCL_TWI1"
    row = one(reference, "TWIN")
    assert (row["method"], row["reason"]) == ("unresolved", "ambiguous label: CVCL_TWI1, CVCL_TWI2")


@pytest.mark.parametrize("label", ["-", "...", "()", "–"])
def test_a_label_of_punctuation_matches_nothing(reference: ContextReference, label: str) -> None:
    assert one(reference, label)["reason"] == "label in no reference"


@pytest.mark.parametrize(
    ("label", "species", "context_id", "reason"),
    [
        ("Shared", "Mus musculus", "CVCL_MAU1", None),
        ("Shared", "mouse", "CVCL_MAU1", None),
        ("MAUS1", "mouse", "CVCL_MAU1", None),
        ("MAUS1", None, "unresolved:toy:MAUS1", "other species: CVCL_MAU1 (Mus musculus)"),
        ("Maus-1", None, "CVCL_MAU1", "no species reported: CVCL_MAU1 (Mus musculus)"),
        ("Maus-1", "human", "unresolved:toy:Maus-1", "other species: CVCL_MAU1 (Mus musculus)"),
        ("Toy-1", "Mus musculus", "unresolved:toy:Toy-1", "other species: CVCL_TOY1 (Homo sapiens)"),
        ("CVCL_MAU1", "human", "CVCL_MAU1", "reported species 'human', reference 'Mus musculus'"),
    ],
)
def test_a_name_means_a_line_of_the_reported_species(
    reference: ContextReference, label: str, species: str | None, context_id: str, reason: str | None
) -> None:
    row = one(reference, label, **({} if species is None else {"species": species}))
    assert (row["context_id"], row["reason"]) == (context_id, reason)


def test_a_tissue_that_contradicts_lowers_the_confidence(reference: ContextReference) -> None:
    row = one(reference, "Toy-1", tissue="large_intestine")
    assert (row["context_id"], row["confidence"]) == ("CVCL_TOY1", "low")
    assert row["reason"] == "reported tissue 'large_intestine', reference 'Lung'"


def test_a_site_of_metastases_contradicts_nothing(reference: ContextReference) -> None:
    assert one(reference, "Toy-1", tissue="Lymph Node")["confidence"] == "medium"


@pytest.mark.parametrize(
    ("label", "tissue", "expected"),
    [
        ("TT", "thyroid", "CVCL_1774"),
        ("TT", "oesophagus", "CVCL_3174"),
        ("T-T", None, "CVCL_3174"),
        ("KM-H2", None, "CVCL_1330"),
        ("KMH-2", None, "CVCL_S641"),
        ("KMH2", None, "unresolved:toy:KMH2"),
        ("KMH2", "haematopoietic_and_lymphoid_tissue", "CVCL_1330"),
        ("PC-3", "Prostate", "CVCL_0035"),
        ("PC-3", "Lung", "CVCL_S982"),
        ("PC3", None, "CVCL_0035"),
    ],
)
def test_colliding_names_are_told_apart(label: str, tissue: str | None, expected: str) -> None:
    row = one(CURATED, label, **({} if tissue is None else {"tissue": tissue}))
    assert row["context_id"] == expected


def test_a_colliding_name_without_tissue_keeps_both_lines_as_candidates() -> None:
    row = one(CURATED, "TT")
    assert (row["context_id"], row["confidence"]) == ("CVCL_1774", "low")
    assert (row["rule"], row["candidates"]) == (
        "the exact label goes before looser forms",
        ["CVCL_1774", "CVCL_3174"],
    )


def test_a_problematic_line_is_resolved_and_says_what_is_wrong(reference: ContextReference) -> None:
    row = one(reference, "Toy-2")
    said = "Cellosaurus lists the line as problematic: Contaminated. Shown to be a Toy-1 derivative."
    assert (row["context_id"], row["reason"]) == ("CVCL_TOY2", said)


def test_a_model_without_accession_stays_unresolved_but_is_named(reference: ContextReference) -> None:
    for label in ("HOMELESS_SKIN", "Homeless"):
        row = one(reference, label)
        assert (row["context_id"], row["depmap_id"]) == (f"unresolved:toy:{label}", "ACH-900004")
        assert row["reason"] == "model without accession: ACH-900004"


@pytest.mark.parametrize(
    ("label", "given_", "depmap_id", "sanger_model_id"),
    [
        ("x", {"model_id": "ACH-900001"}, "ACH-900001", "SIDM90001"),
        ("x", {"model_id": "SIDM90001"}, "ACH-900001", "SIDM90001"),
        ("x", {"model_id": "990001"}, "ACH-900001", "SIDM90001"),
        ("x", {"model_id": "ACH-900000"}, "ACH-900000", None),
        ("Toy-1", {}, "ACH-900001", "SIDM90001"),
        ("TOY1R", {}, "ACH-900000", None),
        ("toy 1", {}, "ACH-900001", "SIDM90001"),
        ("x", {"accession": "CVCL_TOY1"}, None, None),
        ("x", {"accession": "CVCL_TOY2"}, "ACH-900003", None),
        ("A375", {}, "ACH-000219", "SIDM00795"),
    ],
)
def test_a_label_means_one_model_or_none(
    reference: ContextReference,
    label: str,
    given_: dict[str, str],
    depmap_id: str | None,
    sanger_model_id: str | None,
) -> None:
    row = one(reference, label, **given_)
    assert (row["depmap_id"], row["sanger_model_id"]) == (depmap_id, sanger_model_id)


def test_an_override_goes_before_everything(reference: ContextReference) -> None:
    override = Override("CVCL_OLD1", "seen in a letter", "A. Person, 2099")
    names, account = resolve(
        reference, {"context_reported": "Toy-2", "accession": "CVCL_TOY2"}, overrides={"Toy-2": override}
    )
    row = names.row(0, named=True)
    assert (row["context_id"], row["method"], row["confidence"]) == ("CVCL_TOY1", "override", "high")
    assert row["origin"] == "overrides.csv"
    assert row["reason"] == (
        "override: seen in a letter (A. Person, 2099); secondary accession, now CVCL_TOY1"
    )
    assert account.noted == {"resolved by override": 1}


def test_an_override_may_state_that_a_label_has_no_identifier(reference: ContextReference) -> None:
    names, account = resolve(
        reference,
        {"context_reported": "Toy-1"},
        overrides={"Toy-1": Override(None, "a mixture", "A. Person")},
    )
    row = names.row(0, named=True)
    assert (row["context_id"], row["method"]) == ("unresolved:toy:Toy-1", "unresolved")
    assert row["reason"] == "override: a mixture (A. Person)"
    assert account.noted == {"unresolved: override": 1}


def test_an_override_that_is_no_accession_is_refused(reference: ContextReference) -> None:
    rule = r"^toy, file overrides.csv, column value: the override of cell label 'Toy-1' .* 'ACH-900001'"
    with pytest.raises(BadInputError, match=rule):
        resolve(
            reference, {"context_reported": "Toy-1"}, overrides={"Toy-1": Override("ACH-900001", "x", "y")}
        )


def test_the_account_counts_methods_and_reasons(reference: ContextReference) -> None:
    _, account = resolve(reference, {"context_reported": "Toy-1"}, {"context_reported": "?"})
    assert account.noted == {"resolved by name": 1, "unresolved: label in no reference": 1}


def test_a_label_reported_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="'A375' is reported more than once"):
        resolve(CURATED, {"context_reported": "A375"}, {"context_reported": "A375"})


@pytest.mark.parametrize("label", ["", "  "])
def test_a_blank_label_is_refused(label: str) -> None:
    with pytest.raises(BadInputError, match=r"^toy, column context_reported: .*is blank"):
        resolve(CURATED, {"context_reported": label, "accession": "CVCL_0023"})


def test_no_label_gives_no_row(reference: ContextReference) -> None:
    names, account = resolve(reference)
    assert (names.height, account.noted) == (0, {})


def test_merged_contexts_have_the_attributes_of_all_references(reference: ContextReference) -> None:
    names, _ = resolve(
        reference,
        {"context_reported": "Toy-1"},
        {"context_reported": "Toy-2"},
        {"context_reported": "PHH"},
        {"context_reported": "CVCL_ZZZZ"},
        {"context_reported": "?"},
    )
    merged = merge_contexts(names, reference)
    Context.validate(merged)
    rows = {row.pop("context_id"): row for row in merged.iter_rows(named=True)}
    assert rows["CVCL_TOY1"] == {
        "is_resolved": True,
        "name": "Toy-1",
        "kind": "cell_line",
        "category": "Cancer cell line",
        "species": "Homo sapiens",
        "tissue": "Lung",
        "cell_type": "Epithelial cell",
        "disease": "Toy carcinoma",
        "sex": "Female",
        "age": "40Y",
        "ancestry": "Japanese",
        "depmap_ids": ["ACH-900000", "ACH-900001"],
        "sanger_model_ids": ["SIDM90001"],
        "cosmic_ids": ["990001"],
        "parent_ids": [],
        "is_problematic": False,
        "problem": None,
        "n_datasets": 1,
    }
    assert {context_id: row["kind"] for context_id, row in rows.items()} == {
        "CL_0000182": "primary_cell",
        "CVCL_TOY1": "cell_line",
        "CVCL_TOY2": "cell_line",
        "CVCL_ZZZZ": "cell_line",
        "unresolved:toy:?": "unresolved",
    }
    derived = rows["CVCL_TOY2"]
    assert (derived["disease"], derived["parent_ids"]) == ("normal", ["CVCL_TOY1"])
    assert (derived["is_problematic"], derived["problem"]) == (
        True,
        "Contaminated. Shown to be a Toy-1 derivative.",
    )


LABELS = ("Toy-1", "toy 1", "TOY_1", "Shared", "TWIN", "697", "Maus-1", "ACH-900001", "CVCL_OLD1", "PC-3")
CELLS = st.fixed_dictionaries(
    {
        "context_reported": st.sampled_from(LABELS) | st.text(min_size=1, max_size=8).filter(str.strip),
        "name": st.none() | st.sampled_from(LABELS),
        "accession": st.none() | st.sampled_from(["CVCL_TOY1", "CVCL_ZZZZ", "CL:9000002", "n/a"]),
        "model_id": st.none() | st.sampled_from(["ACH-900000", "697", "TOY2_SKIN", "HOMELESS_SKIN", "?"]),
        "tissue": st.none() | st.sampled_from(["skin", "lung", "liver", "somewhere"]),
        "species": st.none() | st.sampled_from(["human", "Mus musculus", "Danio rerio"]),
    }
)
REPORTED = st.lists(CELLS, max_size=12, unique_by=lambda row: row["context_reported"])


@given(rows=REPORTED, data=st.data())
@settings(max_examples=60)
def test_the_order_of_labels_and_their_company_do_not_matter(
    reference: ContextReference, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    names, account = resolve(reference, *rows)
    assert names.height == account.n_out == len(rows)
    shuffled, same_account = resolve(reference, *data.draw(st.permutations(rows)))
    assert_frame_equal(shuffled, names)
    assert same_account == account
    for row in rows[:3]:
        alone, _ = resolve(reference, row)
        assert_frame_equal(alone, names.filter(context_reported=row["context_reported"]))


@given(rows=REPORTED)
@settings(max_examples=60)
def test_resolving_what_was_resolved_gives_the_same(
    reference: ContextReference, rows: list[dict[str, Any]]
) -> None:
    names, _ = resolve(reference, *rows)
    reported = reported_again(names)
    assert_frame_equal(reported, as_reported(*rows), check_row_order=False)
    again, _ = resolve_contexts(reported, dataset_id="toy", reference=reference)
    assert_frame_equal(again, names)


@given(
    label=st.sampled_from(["Toy-1", "toy cell", "MDA-MB-231", "NCI-H1299", "Hs 578T", "PHH", "U-87 MG"]),
    data=st.data(),
)
def test_variants_of_case_and_space_meet(
    reference: ContextReference, label: str, data: st.DataObject
) -> None:
    cased = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in label)
    blank = st.sampled_from([" ", "  ", "\t"])
    spaced = data.draw(blank) + cased.replace(" ", data.draw(blank)) + data.draw(blank)
    found = one(reference, spaced)
    assert found["context_id"] == one(reference, label)["context_id"]
    assert found["context_id"].startswith("C")


@given(st.text(min_size=1, max_size=12).filter(str.strip))
def test_any_label_gives_one_row(label: str) -> None:
    names, account = resolve(CURATED, {"context_reported": label})
    assert names.height == account.n_out == 1


@pytest.fixture(scope="module")
def published(realdata: Path) -> ContextReference:
    return load_context_reference(ReferenceFolder(realdata / "raw/reference"))


@pytest.mark.realdata
def test_every_real_line_of_ccle_that_depmap_lists_is_found_by_its_name(
    realdata: Path, published: ContextReference
) -> None:
    reported = Ccle2015().contexts(realdata / "raw/ccle_2015").collect()
    _, account = resolve_real(reported, published)
    assert account.noted == {
        "resolved by model_id": 489,
        "resolved by name": 8,
        "resolved by stripped_name": 1,
        "unresolved: label in no reference": 6,
    }


@pytest.mark.realdata
def test_the_real_lines_of_ctrpv2_keep_tt_and_t_t_apart(realdata: Path, published: ContextReference) -> None:
    table = realdata / "raw/ctrpv2/v20.meta.per_cell_line.txt"
    lines = pl.read_csv(table, separator="\t", infer_schema=False).select(
        context_reported="ccl_name", tissue="ccle_primary_site"
    )
    names, account = resolve_real(lines, published)
    assert account.noted["unresolved: label in no reference"] == account.n_in - 1053 == 54
    ids = dict(names.select("context_reported", "context_id").iter_rows())
    assert {label: ids[label] for label in ("TTTHYROID", "TTOESOPHAGUS", "KMH2", "UACC62", "COLO829")} == {
        "TTTHYROID": "CVCL_1774",
        "TTOESOPHAGUS": "CVCL_3174",
        "KMH2": "CVCL_1330",
        "UACC62": "CVCL_1780",
        "COLO829": "CVCL_1137",
    }


@pytest.mark.realdata
def test_the_real_lines_of_gcsi_are_found(realdata: Path, published: ContextReference) -> None:
    names, account = resolve_real(Gcsi().contexts(realdata / "raw/gcsi").collect(), published)
    assert account.n_in - account.noted["unresolved: label in no reference"] == 565
    assert names.filter(context_reported="T.T")["context_id"].to_list() == ["CVCL_3174"]


def resolve_real(reported: pl.DataFrame, reference: ContextReference) -> tuple[pl.DataFrame, RowAccount]:
    schema = polars_schema(ReportedContext)
    rows = reported.match_to_schema(schema, missing_columns="insert")
    names, account = resolve_contexts(rows, dataset_id="toy", reference=reference)
    ContextName.validate(names)
    Context.validate(merge_contexts(names, reference))
    return names, account
