import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.sources.base import TranscriptomicSource
from etl.sources.drugseq_kp6490 import DrugseqKp6490
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

HEADER = (
    "Plate_ID,Well_ID,Row,Column,Species,Cell_type,Model_type,Time,Unit,"
    "Treatment_1,Concentration_1,Unit_1,Sample_type,Barcode"
)
TREATED = ("Trametinib", "0.1", "Sample", "AACA")
DMSO = ("DMSO", "0", "Vehicle_control", "CCGT")
MEDIA = ("Media", "0", "Vehicle_control", "GGTT")
POSITIVE = ("Stauro", "1", "Positive_control", "TTGA")
ALL = (TREATED, DMSO, MEDIA, POSITIVE)


def write(
    folder: Path,
    *wells: tuple[str, str, str, str],
    measured: Sequence[str] | None = None,
    header: str = HEADER,
    encoding: str = "utf-8",
) -> Path:
    """Write wells A01, A02, … as (treatment, concentration, sample type, barcode) and counts of two genes."""
    lines = [header]
    for number, (treatment, concentration, sample_type, barcode) in enumerate(wells, start=1):
        lines.append(
            f"KP-1,A{number:02},A,{number},Human,AOCS-2,2D-adherent,24,h,"
            f"{treatment},{concentration},uM,{sample_type},{barcode}"
        )
    (folder / "metadata.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))
    barcodes = sorted(well[3] for well in wells) if measured is None else list(measured)
    entries = [f"1 {position} {10 * position}" for position in range(1, len(barcodes) + 1)]
    matrix = [
        "%%MatrixMarket matrix coordinate integer general",
        f"2 {len(barcodes)} {len(entries)}",
        *entries,
    ]
    texts = {
        "matrix.mtx.gz": matrix,
        "features.tsv.gz": [
            "ENSG00000141510.17\tTP53\tGene Expression",
            "ENSG00000252074.1\tY_RNA\tGene Expression",
        ],
        "barcodes.tsv.gz": barcodes,
    }
    for name, text in texts.items():
        (folder / name).write_bytes(gzip.compress(("\n".join(text) + "\n").encode()))
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(DrugseqKp6490().samples(raw), ReportedSample, dataset_id="drugseq_kp6490")


def test_is_a_transcriptomic_source() -> None:
    assert isinstance(DrugseqKp6490(), TranscriptomicSource)


def test_medium_is_told_apart_from_vehicle(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, *ALL))
    assert rows.select("sample_kind", "compound_reported").rows() == [
        ("compound", "Trametinib"),
        ("vehicle", None),
        ("untreated", None),
        ("positive_control", "Stauro"),
    ]


def test_a_sample_keeps_the_publishers_words(tmp_path: Path) -> None:
    row = samples(write(tmp_path, TREATED)).row(0, named=True)
    assert row == {
        "sample_key": "AACA",
        "sample_kind": "compound",
        "context_reported": "AOCS-2",
        "compound_reported": "Trametinib",
        "dose": "0.1",
        "dose_unit": "uM",
        "time": "24",
        "time_unit": "h",
        "plate": "KP-1",
        "well": "A01",
        "replicate": None,
        "batch": None,
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_a_well_without_counts_is_empty_and_describes_nothing(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL, measured=["CCGT"])
    assert samples(raw)["sample_kind"].to_list() == ["empty", "vehicle", "empty", "empty"]
    assert DrugseqKp6490().compounds(raw).collect().is_empty()


def test_a_cell_label_of_empty_wells_only_is_no_context(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, DMSO, measured=["CCGT"])
    path = raw / "metadata.csv"
    path.write_text(path.read_text().replace("AOCS-2", "VOA-1", 1))
    contexts = check_reported(DrugseqKp6490().contexts(raw), ReportedContext, dataset_id="drugseq_kp6490")
    assert contexts["context_reported"].to_list() == ["AOCS-2"]


def test_a_barcode_that_the_plate_map_lacks_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, measured=["AACA", "CCCC", "GGGG"])
    with pytest.raises(
        BadInputError, match=r"2 barcode\(s\) of the matrix are not listed, the first is CCCC"
    ):
        DrugseqKp6490().samples(raw)


def test_a_repeated_barcode_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, (*DMSO[:3], "AACA"), measured=["AACA"])
    with pytest.raises(BadInputError, match="row 2, 3, column barcode: more than once: barcode AACA"):
        DrugseqKp6490().samples(raw)


def test_a_well_without_barcode_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, (*DMSO[:3], ""), measured=["AACA"])
    with pytest.raises(BadInputError, match="row 3, column barcode: a missing value"):
        DrugseqKp6490().samples(raw)


@pytest.mark.parametrize(
    ("treatment", "sample_type"),
    [
        ("Trametinib", "Blank"),
        ("Trametinib", "sample"),
        ("Trametinib", ""),
        ("Trametinib", "Vehicle_control"),
        ("", "Vehicle_control"),
        ("DMSO", "Sample"),
        ("Media", "Positive_control"),
    ],
)
def test_a_well_whose_type_has_no_meaning_is_refused(
    tmp_path: Path, treatment: str, sample_type: str
) -> None:
    raw = write(tmp_path, DMSO, (treatment, "1", sample_type, "AACA"))
    with pytest.raises(
        BadInputError, match="row 3, column sample_type: without meaning beside its treatment"
    ):
        DrugseqKp6490().samples(raw)


def test_a_treated_well_without_compound_does_not_become_a_control(tmp_path: Path) -> None:
    row = samples(write(tmp_path, ("", "1", "Sample", "AACA"))).row(0, named=True)
    assert (row["sample_kind"], row["compound_reported"]) == ("compound", None)


@pytest.mark.parametrize("column", ["Barcode", "Treatment_1", "Sample_type", "Cell_type"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, TREATED, header=HEADER.replace(column, "Other"))
    with pytest.raises(BadInputError, match=f"column {column.lower()}: the column is missing"):
        DrugseqKp6490().samples(raw)


def test_a_ragged_line_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, (*TREATED[:3], "AACA,more"), measured=["AACA"])
    with pytest.raises(BadInputError, match="row 2: 15 fields where the header has 14"):
        DrugseqKp6490().samples(raw)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_name_beyond_ascii_survives(tmp_path: Path, encoding: str) -> None:
    raw = write(
        tmp_path, ("β-µ-drug" if encoding != "latin-1" else "µ-drug", *TREATED[1:]), encoding=encoding
    )
    assert DrugseqKp6490().compounds(raw).collect()["name"].str.ends_with("µ-drug").to_list() == [True]


def test_compounds_are_named_as_given(tmp_path: Path) -> None:
    compounds = check_reported(
        DrugseqKp6490().compounds(write(tmp_path, *ALL)), ReportedCompound, dataset_id="drugseq_kp6490"
    )
    assert compounds.select("compound_reported", "name").rows() == [
        ("Stauro", "Stauro"),
        ("Trametinib", "Trametinib"),
    ]


def test_counts_are_on_the_axes_of_samples_and_genes(tmp_path: Path) -> None:
    raw = write(tmp_path, *reversed(ALL))
    (block,) = DrugseqKp6490().expression(raw)
    genes = check_reported(DrugseqKp6490().genes(raw), ReportedGene, dataset_id="drugseq_kp6490")
    assert list(block.sample_keys) == ["AACA", "CCGT", "GGTT", "TTGA"]
    assert set(block.sample_keys) == set(samples(raw)["sample_key"])
    assert genes.rows() == [("ENSG00000141510.17", "TP53", None), ("ENSG00000252074.1", "Y_RNA", None)]
    np.testing.assert_array_equal(block.values.toarray(), [[10, 0], [20, 0], [30, 0], [40, 0]])


@pytest.mark.realdata
def test_the_published_plate(realdata: Path) -> None:
    raw, source = realdata / "raw" / "drugseq_kp6490", DrugseqKp6490()
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"empty": 289, "compound": 61, "untreated": 15, "positive_control": 12, "vehicle": 7}
    treated = rows.filter(pl.col("sample_kind").is_in(["compound", "positive_control"]))
    assert set(treated.select("dose", "dose_unit").rows()) == {("0.1", "uM"), ("1", "uM")}
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id="drugseq_kp6490")
    assert set(compounds["compound_reported"]) == set(treated["compound_reported"])
    assert compounds.height == 23
    contexts = source.contexts(raw).collect()["context_reported"].to_list()
    assert contexts == ["AOCS-2", "VOA-10841", "VOA-4698"]
    assert check_reported(source.genes(raw), ReportedGene, dataset_id="drugseq_kp6490").height == 62_700
    (block,) = source.expression(raw)
    assert block.values.shape == (95, 62_700)
    assert set(block.sample_keys) == set(rows.filter(pl.col("sample_kind") != "empty")["sample_key"])
    totals = np.asarray(block.values.sum(axis=1)).ravel()
    assert (totals.min(), totals.max()) == (100_394, 1_035_904)


def test_what_has_no_column_is_kept_as_annotation(tmp_path: Path) -> None:
    stated = DrugseqKp6490().annotations(write(tmp_path, TREATED, DMSO))
    rows = check_reported(stated, ReportedAnnotation, dataset_id="drugseq_kp6490")
    assert sorted(rows.rows()) == [
        ("AACA", "model_type", "2D-adherent"),
        ("AACA", "sample_type", "Sample"),
        ("AACA", "species", "Human"),
        ("CCGT", "model_type", "2D-adherent"),
        ("CCGT", "sample_type", "Vehicle_control"),
        ("CCGT", "species", "Human"),
    ]
