"""Cell labels by accession, model id, name and synonym; collisions and contradictions."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.contexts import (
    ContextReference,
    load_context_reference,
    merge_contexts,
    resolve_contexts,
    stripped,
)
from schemas.core.context import Context
from schemas.core.context_name import ContextName
from schemas.reported import ReportedContext
from schemas.table import polars_schema

CURATED = load_context_reference(None)

CELLOSAURUS = """ID   Toy-1
AC   CVCL_TOY1
AS   CVCL_OLD1
SY   Toy 1; Shared
DR   DepMap; ACH-900001
DR   Cell_Model_Passport; SIDM90001
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
SX   Female
AG   40Y
CA   Cancer cell line
//
ID   Toy-2
AC   CVCL_TOY2
SY   Shared
CC   Problematic cell line: Contaminated. Shown to be a Toy-1 derivative.
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
CA   Cancer cell line
//
"""
MODEL_COLUMNS = (
    "ModelID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreePrimaryDisease,"
    "RRID,Age,Sex,CCLEName,SangerModelID"
)
MODELS = f"""{MODEL_COLUMNS}
ACH-900001,Toy-1,TOY1,Lung,Toy carcinoma,CVCL_TOY1,40.0,Female,TOY1_LUNG,SIDM90001
ACH-900000,Toy-1 R,TOY1R,Lung,Toy carcinoma,CVCL_TOY1,40.0,Female,,
ACH-900003,Toy-2,TOY2,Skin,Non-Cancerous,CVCL_TOY2,,Unknown,TOY2_SKIN,
ACH-900004,Homeless,HOMELESS,Skin,Melanoma,,,,HOMELESS_SKIN,
"""


@pytest.fixture
def reference(tmp_path: Path) -> ContextReference:
    (tmp_path / "depmap").mkdir()
    (tmp_path / "depmap" / "Model.csv").write_text(MODELS)
    (tmp_path / "cellosaurus.txt").write_text(CELLOSAURUS)
    return load_context_reference(tmp_path)


def resolve(reference: ContextReference, *rows: dict[str, Any]) -> tuple[pl.DataFrame, RowAccount]:
    empty = dict.fromkeys(polars_schema(ReportedContext).names())
    frame = pl.DataFrame([empty | row for row in rows], schema=polars_schema(ReportedContext))
    names, account = resolve_contexts(frame, dataset_id="toy", reference=reference)
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
        ("x", {"model_id": "ACH-900001"}, "model_id", "high"),
        ("x", {"model_id": "SIDM90001"}, "model_id", "high"),
        ("x", {"model_id": "TOY1_LUNG"}, "model_id", "high"),
        ("TOY-1", {}, "name", "medium"),
        ("x", {"name": "Toy-1"}, "name", "medium"),
        ("toy 1", {}, "synonym", "medium"),
        ("TOY1", {}, "stripped_name", "medium"),
    ],
)
def test_each_rung_leads_to_the_same_line(
    reference: ContextReference, label: str, given_: dict[str, str], method: str, confidence: str
) -> None:
    row = one(reference, label, **given_)
    assert (row["context_id"], row["method"], row["confidence"]) == ("CVCL_TOY1", method, confidence)


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


def test_an_accession_that_no_reference_lists_is_kept_with_low_confidence() -> None:
    row = one(CURATED, "x", accession="CVCL_ZZZZ")
    assert (row["context_id"], row["confidence"]) == ("CVCL_ZZZZ", "low")


def test_a_shared_synonym_is_not_chosen_and_the_candidates_are_named(reference: ContextReference) -> None:
    row = one(reference, "Shared")
    assert (row["context_id"], row["reason"]) == (
        "unresolved:toy:Shared",
        "ambiguous label: CVCL_TOY1, CVCL_TOY2",
    )


def test_a_tissue_may_choose_among_candidates(reference: ContextReference) -> None:
    row = one(reference, "Shared", tissue="skin")
    assert (row["context_id"], row["confidence"]) == ("CVCL_TOY2", "low")


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


def test_a_problematic_line_says_so(reference: ContextReference) -> None:
    assert one(reference, "Toy-2")["reason"] == "Cellosaurus lists the line as problematic"


def test_a_model_without_accession_stays_unresolved(reference: ContextReference) -> None:
    assert one(reference, "HOMELESS_SKIN")["context_id"] == "unresolved:toy:HOMELESS_SKIN"


def test_the_account_counts_methods_and_reasons(reference: ContextReference) -> None:
    _, account = resolve(reference, {"context_reported": "Toy-1"}, {"context_reported": "?"})
    assert account.noted == {"resolved by name": 1, "unresolved: label in no reference": 1}


def test_a_label_reported_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="'A375' is reported more than once"):
        resolve(CURATED, {"context_reported": "A375"}, {"context_reported": "A375"})


def test_a_model_table_without_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "Model.csv").write_text("ModelID\n")
    with pytest.raises(BadInputError, match=r"Model\.csv, column CellLineName"):
        load_context_reference(tmp_path)


def test_merged_contexts_have_the_attributes_of_all_references(reference: ContextReference) -> None:
    names, _ = resolve(
        reference,
        {"context_reported": "Toy-1"},
        {"context_reported": "Toy-2"},
        {"context_reported": "PHH"},
        {"context_reported": "?"},
    )
    merged = merge_contexts(names, reference)
    Context.validate(merged)
    toy = merged.filter(pl.col("context_id") == "CVCL_TOY1").row(0, named=True)
    assert (toy["name"], toy["tissue"], toy["sex"], toy["age"]) == ("Toy-1", "Lung", "Female", "40Y")
    assert (toy["depmap_id"], toy["sanger_model_id"]) == ("ACH-900000", "SIDM90001")
    assert dict(merged.select("context_id", "kind").iter_rows()) == {
        "CL_0000182": "primary_cell",
        "CVCL_TOY1": "cell_line",
        "CVCL_TOY2": "cell_line",
        "unresolved:toy:?": "unresolved",
    }
    assert merged.filter("is_problematic")["context_id"].to_list() == ["CVCL_TOY2"]
    assert merged.filter(pl.col("context_id") == "CVCL_TOY2")["disease"].to_list() == ["normal"]


@given(st.text(max_size=20))
def test_stripping_is_idempotent(label: str) -> None:
    assert stripped(stripped(label)) == stripped(label)


@given(st.text(min_size=1, max_size=12).filter(str.strip))
def test_any_label_gives_one_row(label: str) -> None:
    names, account = resolve(CURATED, {"context_reported": label})
    assert names.height == account.n_out == 1


def test_every_real_line_of_ccle_that_depmap_lists_is_found_by_its_name(realdata: Path) -> None:
    table = pl.read_csv(
        realdata / "raw/ccle_2015/CCLE_NP24.2009_Drug_data_2015.02.24.csv", infer_schema=False
    )
    labels = table["CCLE Cell Line Name"].unique().sort()
    reference = load_context_reference(realdata / "raw/reference")
    _, account = resolve(reference, *({"context_reported": label, "model_id": label} for label in labels))
    assert account.noted["resolved by model_id"] == 489
    assert account.n_out == 504
