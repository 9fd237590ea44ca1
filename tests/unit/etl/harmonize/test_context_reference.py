"""What the references say of contexts: labels as they are compared, attributes, and which goes first."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.context_reference import label_key, load_context_reference, stripped
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

LINE = """ID   A-Line
AC   CVCL_0023
CC   Derived from site: In situ; Colon; UBERON=UBERON_0001155.
DI   NCIt; C1; Adenocarcinoma
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
SX   Sex unspecified
//
ID   B-Line
AC   CVCL_B00X1
CC   Derived from site: In situ; Colon; UBERON=UBERON_0001155.
CC   Genome ancestry: African=1%; European, North=99% (PubMed=1).
//
ID   C-Line
AC   CVCL_C00X1
CC   Derived from site: Metastatic; Lymph node; UBERON=UBERON_0000029.
//
"""
MODEL_COLUMNS = (
    "ModelID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreePrimaryDisease,"
    "RRID,Age,Sex,CCLEName,SangerModelID,COSMICID"
)


def key(label: str) -> str | None:
    return pl.select(label_key(pl.lit(label))).item()


def letters(label: str) -> str | None:
    return pl.select(stripped(pl.lit(label))).item()


@pytest.mark.parametrize(
    ("label", "exact", "loose"),
    [
        (" U-2\t OS ", "u-2 os", "u2os"),
        ("NIH:OVCAR-3", "nih:ovcar-3", "nihovcar3"),
        ("PC-3 [JPC-3]", "pc-3 [jpc-3]", "pc3jpc3"),
        ("α-TC1", "α-tc1", "αtc1"),
        ("HuH-7ü", "huh-7ü", "huh7ü"),
        (" - ", "-", None),
        ("", None, None),
    ],
)
def test_labels_are_compared_without_case_spaces_and_punctuation(
    label: str, exact: str | None, loose: str | None
) -> None:
    assert (key(label), letters(label)) == (exact, loose)


@given(st.text(max_size=20))
def test_both_forms_are_idempotent(label: str) -> None:
    for form in (key, letters):
        once = form(label)
        assert once is None or form(once) == once


@given(st.text(alphabet=st.characters(max_codepoint=0x24F, exclude_categories=["Cc"]), max_size=20))
def test_both_forms_agree_with_python_on_latin_text(label: str) -> None:
    assert (key(label) or "") == " ".join(label.split()).lower()
    assert (letters(label) or "") == "".join(filter(str.isalnum, label.lower()))


def test_the_record_goes_before_the_curated_table_but_for_the_tissue(tmp_path: Path) -> None:
    (tmp_path / "cellosaurus.txt").write_text(LINE)
    reference = load_context_reference(ReferenceFolder(tmp_path))
    curated = load_context_reference(EMBEDDED_ONLY)
    assert set(reference.labels["origin"]) == {"cellosaurus.txt", "curated"}
    rows = {row["context_id"]: row for row in reference.contexts.iter_rows(named=True)}
    a549 = rows["CVCL_0023"]
    assert (a549["name"], a549["disease"]) == ("A-Line", "Adenocarcinoma")
    [stated] = curated.contexts.filter(context_id="CVCL_0023").rows(named=True)
    assert [a549[name] for name in ("tissue", "sex", "age")] == [
        stated[name] for name in ("tissue", "sex", "age")
    ]
    assert (rows["CVCL_B00X1"]["tissue"], rows["CVCL_C00X1"]["tissue"]) == ("Colon", None)
    assert rows["CVCL_B00X1"]["ancestry"] == "African=1%; European, North=99%"


def test_a_reference_is_parsed_once(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "cellosaurus.txt").write_text(LINE)
    folder = ReferenceFolder(tmp_path / "raw", tmp_path / "cache")
    first = load_context_reference(folder)
    assert len(list((tmp_path / "cache" / "reference").glob("cellosaurus.txt-read-*.parquet"))) == 1
    again = load_context_reference(folder)
    assert again.contexts.equals(first.contexts)
    assert again.labels.equals(first.labels)


def test_the_newest_model_table_counts(tmp_path: Path) -> None:
    for release, name in (("24Q2", "Old"), ("24Q4", "New")):
        (tmp_path / f"depmap_{release}").mkdir()
        row = f"ACH-1,{name},{name.upper()},Lung,Carcinoma,CVCL_TOY1,,,,,"
        (tmp_path / f"depmap_{release}" / "Model.csv").write_text(f"{MODEL_COLUMNS}\n{row}\n")
    reference = load_context_reference(ReferenceFolder(tmp_path))
    assert set(reference.labels["origin"]) == {"curated", "depmap_24Q4/Model.csv"}
    assert reference.contexts.filter(context_id="CVCL_TOY1")["name"].to_list() == ["New"]


def test_models_under_a_retired_accession_belong_to_the_current_one(tmp_path: Path) -> None:
    (tmp_path / "cellosaurus.txt").write_text(
        LINE.replace("AC   CVCL_B00X1", "AC   CVCL_B00X1\nAS   CVCL_OLD1")
    )
    row = "ACH-1,B-Line,BLINE,Lung,Carcinoma,CVCL_OLD1,,,BLINE_LUNG,,"
    (tmp_path / "Model.csv").write_text(f"{MODEL_COLUMNS}\n{row}\n")
    reference = load_context_reference(ReferenceFolder(tmp_path))
    assert reference.contexts.filter(context_id="CVCL_OLD1").height == 0
    assert reference.contexts.filter(context_id="CVCL_B00X1")["depmap_ids"].to_list() == [["ACH-1"]]
    labels = reference.labels.filter(pl.col("label").is_in(["cvcl_old1", "bline_lung"]))
    assert labels["context_id"].unique().to_list() == ["CVCL_B00X1"]


def test_the_name_of_a_derived_model_does_not_stand_for_it(tmp_path: Path) -> None:
    rows = (
        "ACH-1,Toy,TOY,Skin,Melanoma,CVCL_TOY1,,,TOY_SKIN,,\n"
        "ACH-2,Toy R,TOYR,Skin,Melanoma,CVCL_TOY2,,,TOY_SKIN_R1_RESISTANT,,\n"
        "ACH-3,Toy B,TOYB,Skin,Non-Cancerous,CVCL_TOY3,,,TOY_MATCHED_NORMAL_TISSUE,,\n"
    )
    (tmp_path / "Model.csv").write_text(f"{MODEL_COLUMNS}\n{rows}")
    labels = load_context_reference(ReferenceFolder(tmp_path)).labels
    assert labels.filter(rung="stripped_name", label="toy")["context_id"].unique().to_list() == ["CVCL_TOY1"]


def test_a_model_table_without_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "Model.csv").write_text("ModelID\n")
    with pytest.raises(BadInputError, match=r"Model\.csv, column CellLineName"):
        load_context_reference(ReferenceFolder(tmp_path))


def test_terms_that_replace_each_other_in_a_ring_lead_nowhere(tmp_path: Path) -> None:
    terms = "".join(
        f"[Term]\nid: CL:000000{this}\nis_obsolete: true\nreplaced_by: CL:000000{other}\n\n"
        for this, other in ((1, 2), (2, 1), (3, 4), (4, 5))
    )
    (tmp_path / "cl.obo").write_text(f"format-version: 1.2\n\n{terms}[Term]\nid: CL:0000005\nname: toy\n")
    labels = load_context_reference(ReferenceFolder(tmp_path)).labels.filter(
        rung="accession", origin="cl.obo"
    )
    assert dict(labels.select("label", "context_id").iter_rows()) == {
        "cl_0000001": None,
        "cl_0000002": None,
        "cl_0000003": "CL_0000005",
        "cl_0000004": "CL_0000005",
        "cl_0000005": "CL_0000005",
    }
