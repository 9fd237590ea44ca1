"""The two CIGS libraries share a reader; what both do is tested here on the bioactive compounds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.formats.xlsx import opened
from etl.harmonize.samples import harmonize_samples
from etl.simulate import cigs as simulated
from etl.simulate.study import Study
from etl.simulate.workbooks import Cell, write_workbook
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.cigs import MIN_FOR_FENCE, failed_library
from etl.sources.cigs_mce import CigsMce
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

ID = "cigs_mce"
HEADER = [
    "unique_ID",
    "experiment_no",
    "sample_plate",
    "sample_row",
    "sample_column",
    "cell_id",
    "pert_itime",
    "pert_idose",
    "sample",
    "treatment",
]
NOTE = ["Note: non-commercial research use only"]
COMPOUNDS: list[list[Cell]] = [
    ["Supplementary Table 3. Compounds"],
    ["Name", "Catalog Number", "CAS", "MoA", "Clinical Information", "Approved Type"],
    ["Vorino\nstat", "HY-10221", "149647-78-9", "HDAC", "Launched", "FDA"],
    ["Other", "HY-1", None, None, None, None],
]
GENES = ("TP53", "HLA-A", "NKX2-1")


def well(key: str, treatment: str, /, **changes: Cell) -> list[Cell]:
    """A row of the sample table; a control states neither dose nor time."""
    is_control = treatment in {"DMSO", "Blank", "RNA"}
    row: dict[str, Cell] = {
        "unique_ID": key,
        "experiment_no": "E1",
        "sample_plate": "MCE1_293T_24H_X2",
        "sample_row": 4,
        "sample_column": 10,
        "cell_id": "cell_293T",
        "pert_itime": "-666" if is_control else "24 h",
        "pert_idose": -666 if is_control else "10 uM",
        "sample": "S1",
        "treatment": treatment,
    }
    return list((row | changes).values())


WELLS = (well("a", "HY-10221"), well("b", "DMSO"))
OTHER = (well("c", "DMSO", cell_id="cell_231", sample_plate="MCE1_231_24H_X1"),)


def write(
    folder: Path,
    *wells: list[Cell],
    counts: Sequence[list[Cell]] | None = None,
    genes: Sequence[Cell] = GENES,
    other_genes: Sequence[Cell] = GENES,
    header: Sequence[str] = HEADER,
    compounds: Sequence[list[Cell]] = COMPOUNDS,
) -> Path:
    """Write the HEK293T subset from its wells, and a subset of MDA-MB-231 with one vehicle."""
    wells = wells or WELLS
    counts = [[row[0], 1, 2, 3] for row in wells] if counts is None else counts
    hek, mda = simulated.MCE_SUBSETS
    write_workbook(folder / hek.counts, {"A": [NOTE, ["Sample_id", *genes], *counts]})
    write_workbook(folder / hek.metadata, {"A": [NOTE, list(header), *wells]})
    write_workbook(folder / mda.counts, {"A": [NOTE, ["Sample_id", *other_genes], ["c", 5, 6, 7]]})
    write_workbook(folder / mda.metadata, {"A": [HEADER, *OTHER]})
    write_workbook(folder / simulated.COMPOUNDS_FILE, {simulated.MCE_SHEET: compounds})
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(CigsMce().samples(raw), ReportedSample, dataset_id=ID)


def compounds(raw: Path) -> pl.DataFrame:
    return check_reported(CigsMce().compounds(raw), ReportedCompound, dataset_id=ID)


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(CigsMce(), TranscriptomicSource)
    assert isinstance(CigsMce(), AnnotatedSource)


def test_a_treated_well_has_dose_and_time_of_its_subset(tmp_path: Path) -> None:
    assert samples(write(tmp_path)).row(0, named=True) == {
        "sample_key": "HEK293T_10uM.a",
        "sample_kind": "compound",
        "context_reported": "cell_293T",
        "compound_reported": "HY-10221",
        "dose": "10",
        "dose_unit": "uM",
        "time": "24",
        "time_unit": "h",
        "plate": "MCE1_293T_24H_X2",
        "well": "D10",
        "replicate": "X2",
        "batch": "E1",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_controls_get_the_time_they_do_not_state_and_no_dose(tmp_path: Path) -> None:
    row = samples(write(tmp_path)).row(1, named=True)
    assert (row["sample_kind"], row["compound_reported"]) == ("vehicle", None)
    assert (row["dose"], row["time"], row["time_unit"]) == (None, "24", "h")


def test_kinds_of_samples(tmp_path: Path) -> None:
    names = ["HY-10221", "HY-999999", "DMSO", "JQ1", "Blank", "RNA"]
    rows = samples(write(tmp_path, *(well(f"w{n}", name) for n, name in enumerate(names))))
    assert rows.filter(pl.col("sample_key").str.starts_with("HEK"))["sample_kind"].to_list() == [
        "compound",
        "compound",
        "vehicle",
        "positive_control",
        "empty",
        "empty",
    ]


def test_a_sample_without_counts_is_empty(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, counts=[["b", 1, 2, 3]]))
    assert rows["sample_kind"].to_list() == ["empty", "vehicle", "vehicle"]


def test_plates_that_the_publisher_leaves_out_are_low_quality(tmp_path: Path) -> None:
    plates = ["MCE4_293T_24H_X3", "MCE4_293T_24H_X4"]
    rows = samples(write(tmp_path, *(well(p, "DMSO", sample_plate=p) for p in plates)))
    assert rows["is_low_quality"].to_list() == [True, False, False]


def test_a_library_below_the_fence_fails(tmp_path: Path) -> None:
    totals = [1000, 1100, 1200, 900, 1000, 100, 0]
    wells = [well(f"w{n}", "HY-1") for n in range(len(totals))]
    counts = [[f"w{n}", total, 0, 0] for n, total in enumerate(totals)]
    rows = samples(write(tmp_path, *wells, counts=counts))
    assert rows["is_low_quality"].to_list() == [False] * 5 + [True, True, False]


def test_blank_wells_and_excluded_plates_do_not_move_the_fence() -> None:
    totals = [1000, 1024, 1100, 1200] * 5
    frame = pl.DataFrame(
        {
            "subset": ["s"] * 28,
            "sample_kind": ["compound"] * 20 + ["empty"] * 4 + ["compound"] * 4,
            "is_excluded": [False] * 24 + [True] * 4,
            "total": [*totals[:-1], 700, *[1] * 8],
        }
    )
    log2 = np.log2([*totals[:-1], 700])
    low, high = np.quantile(log2, [0.25, 0.75])
    assert np.log2(700) < low - 1.5 * (high - low)
    failed = frame.select(failed=failed_library())["failed"].to_list()
    assert failed == [False] * 19 + [True] + [False] * 8


def test_few_samples_have_no_fence() -> None:
    frame = pl.DataFrame(
        {"total": [1000.0] * (MIN_FOR_FENCE - 2) + [1.0], "subset": "s", "sample_kind": "compound"}
    ).with_columns(is_excluded=pl.lit(value=False))
    assert not frame.select(failed=failed_library())["failed"].any()


def test_what_is_said_beyond_the_columns_is_annotation(tmp_path: Path) -> None:
    rows = check_reported(CigsMce().annotations(write(tmp_path)), ReportedAnnotation, dataset_id=ID)
    assert sorted(rows.filter(pl.col("sample_key") == "HEK293T_10uM.a").rows()) == [
        ("HEK293T_10uM.a", "pert_idose", "10 uM"),
        ("HEK293T_10uM.a", "pert_itime", "24 h"),
        ("HEK293T_10uM.a", "sample", "S1"),
        ("HEK293T_10uM.a", "subset", "HEK293T_10uM"),
        ("HEK293T_10uM.a", "treatment", "HY-10221"),
        ("HEK293T_10uM.a", "unique_id", "a"),
    ]
    assert "-666" not in rows["value"].to_list()


def test_compounds_are_described_by_the_publication(tmp_path: Path) -> None:
    wells = [well("a", "HY-10221"), well("b", "HY-2"), well("d", "JQ1")]
    shown = compounds(write(tmp_path, *wells)).select(
        "compound_reported", "name", "cas", "vendor_id", "mechanism"
    )
    assert shown.rows() == [
        ("HY-10221", "Vorino stat", "149647-78-9", "HY-10221", "HDAC"),
        ("HY-2", None, None, "HY-2", None),
        ("JQ1", "JQ1", None, None, None),
    ]


def test_a_compound_listed_twice_alike_is_one(tmp_path: Path) -> None:
    wrapped: list[Cell] = ["Vorino  stat", *COMPOUNDS[2][1:]]
    assert compounds(write(tmp_path, compounds=[*COMPOUNDS, wrapped])).height == 1


def test_a_compound_described_in_two_ways_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, compounds=[*COMPOUNDS, ["Another", *COMPOUNDS[2][1:]]])
    with pytest.raises(BadInputError, match="row 3, 5, column compound_reported: more than once"):
        compounds(raw)


def test_contexts_name_the_line_behind_a_label(tmp_path: Path) -> None:
    rows = check_reported(CigsMce().contexts(write(tmp_path)), ReportedContext, dataset_id=ID)
    assert rows.select("context_reported", "name").rows() == [
        ("cell_231", "MDA-MB-231"),
        ("cell_293T", "HEK293T"),
    ]


def test_genes_that_programs_renamed_are_the_same_gene(tmp_path: Path) -> None:
    raw = write(
        tmp_path,
        genes=["TP53", simulated.DATE, "HLA-A"],
        other_genes=["HLA.A", "TP53", "X7.Sep"],
    )
    genes = check_reported(CigsMce().genes(raw), ReportedGene, dataset_id=ID)
    assert genes.rows() == [
        ("TP53", "TP53", None),
        ("2024-09-07 00:00:00", "SEPT7", None),
        ("HLA-A", "HLA-A", None),
    ]
    first, second = CigsMce().expression(raw)
    assert (list(first.sample_keys), list(second.sample_keys)) == (
        ["HEK293T_10uM.a", "HEK293T_10uM.b"],
        ["MDA_MB_231_10uM.c"],
    )
    np.testing.assert_array_equal(first.values, [[1, 2, 3], [1, 2, 3]])
    # TP53, SEPT7, HLA-A of a file that has them as HLA-A, TP53, SEPT7.
    np.testing.assert_array_equal(second.values, [[6, 7, 5]])


def test_files_with_other_genes_are_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, other_genes=["TP53", "HLA-A", "MYC"])
    with pytest.raises(BadInputError, match=r"other genes than in .*: 2 differ, the first is MYC"):
        CigsMce().genes(raw)


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    forward, backward = tmp_path / "forward", tmp_path / "backward"
    for folder, wells in ((forward, WELLS), (backward, WELLS[::-1])):
        folder.mkdir()
        write(folder, *wells, counts=[["a", 1, 2, 3], ["b", 4, 5, 6]])
    assert samples(forward).sort("sample_key").equals(samples(backward).sort("sample_key"))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"treatment": "Mock"}, "column treatment: neither a known control nor a compound of the library"),
        ({"treatment": None}, "column treatment: a missing value"),
        ({"cell_id": "cell_A549"}, "column cell_id: a label of no known cell line: 'cell_A549'"),
        ({"cell_id": "cell_231"}, "column cell_id: not HEK293T, whose file this is"),
        ({"pert_idose": "20 uM"}, "column pert_idose: not 10, as in all of this file: '20 uM'"),
        ({"pert_idose": "ten"}, "column pert_idose: not 10, as in all of this file: 'ten'"),
        ({"pert_itime": "6 h"}, "column pert_itime: not 24, as in all of this file: '6 h'"),
        ({"sample_row": 17}, "column sample_row: not within 1 and 16"),
        ({"sample_column": "x"}, "column sample_column: not a whole number"),
        ({"unique_ID": None}, "column unique_id: a missing value"),
        ({"unique_ID": "b"}, "row 3, 4, column unique_id: more than once: unique_id b"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, Cell], rule: str) -> None:
    raw = write(tmp_path, well("a", "HY-10221", **change), well("b", "DMSO"), counts=[["b", 1, 2, 3]])
    with pytest.raises(BadInputError, match=rule):
        samples(raw)


def test_an_unknown_unit_is_refused_by_the_harmonizer(tmp_path: Path) -> None:
    reported = samples(write(tmp_path, well("a", "HY-10221", pert_idose="10 mg/ml"), WELLS[1]))
    names = {
        "compound_names": pl.DataFrame(
            {"compound_reported": ["HY-10221"], "compound_id": ["u"], "dataset_id": [ID]}
        ),
        "context_names": pl.DataFrame(
            {"context_reported": ["cell_293T", "cell_231"], "context_id": ["h", "m"], "dataset_id": [ID] * 2}
        ),
    }
    with pytest.raises(BadInputError, match="a dose in an unknown unit"):
        harmonize_samples(reported, dataset_id=ID, assay="targeted_counts", **names)


def test_a_sample_of_the_counts_that_the_table_lacks_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, counts=[["a", 1, 2, 3], ["x", 1, 2, 3], ["y", 1, 2, 3]])
    with pytest.raises(BadInputError, match=r"2 sample\(s\) of MCE.*Counts.xlsx are not listed.*is x"):
        samples(raw)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path, header=[*HEADER[:-1], "compound"])
    with pytest.raises(BadInputError, match=r"MetaData.xlsx, column treatment: the column is missing"):
        samples(raw)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (7.5, "is fractional, but counts are declared"),
        (-1, "is negative"),
        ("x", "column HLA-A: not a number"),
    ],
)
def test_values_that_are_no_counts_are_refused(tmp_path: Path, value: Cell, rule: str) -> None:
    raw = write(tmp_path, counts=[["a", 1, value, 3], ["b", 1, 2, 3]])
    keys = pl.Series(["HEK293T_10uM.a", "HEK293T_10uM.b", "MDA_MB_231_10uM.c"])
    blocks = CigsMce().expression(raw)
    with pytest.raises(BadInputError, match=rule):
        list(checked_blocks(blocks, sample_keys=keys, dataset_id=ID, value_scale="counts"))


def remove(raw: Path) -> None:
    (raw / simulated.MCE_SUBSETS[1].metadata).unlink()


def cut(raw: Path) -> None:
    path = raw / simulated.MCE_SUBSETS[0].counts
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "rule"),
    [(remove, "no file matches MCE_Bioactive_Compounds_MDA_MB_231"), (cut, "complete zip archive")],
)
def test_a_missing_or_truncated_file_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], rule: str
) -> None:
    raw = write(tmp_path)
    damage(raw)
    with pytest.raises(BadInputError, match=rule):
        samples(raw)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated library."""
    raw = tmp_path_factory.mktemp("cigs_mce")
    simulated.write_mce(raw, Study(3))
    return raw


def test_the_simulated_library(library: Path) -> None:
    source, rows = CigsMce(), samples(library)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 72, "vehicle": 54, "positive_control": 18, "empty": 18}
    excluded = rows.filter(pl.col("plate").str.starts_with("MCE4"))
    assert excluded["is_low_quality"].all()
    in_scope = rows.filter(pl.col("sample_kind") != "empty", ~pl.col("plate").str.starts_with("MCE4"))
    assert 2 <= in_scope["is_low_quality"].sum() <= 10
    blocks = list(source.expression(library))
    assert {key for block in blocks for key in block.sample_keys} == set(rows["sample_key"])
    assert {block.values.shape[1] for block in blocks} == {source.genes(library).collect().height}
    truth = pl.read_parquet(library / "truth" / "effects.parquet")
    assert set(truth["compound_reported"]) <= set(rows["compound_reported"])


def test_the_simulator_writes_equal_bytes(library: Path, tmp_path: Path) -> None:
    simulated.write_mce(tmp_path, Study(3))
    for path in library.glob("*.xlsx"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_simulated_file_names_have_the_greek_mu(library: Path) -> None:
    assert any("10\N{GREEK SMALL LETTER MU}M" in path.name for path in library.iterdir())
    with opened(library / simulated.COMPOUNDS_FILE) as workbook:
        assert workbook.sheet_names == ["Supplementary Table 3", "Supplementary Table 4"]


@pytest.mark.realdata
def test_the_published_library(realdata: Path) -> None:
    raw = realdata / "raw" / ID
    if not raw.is_dir():
        pytest.skip(f"{ID} is not among the real files")
    rows = samples(raw)
    assert rows.height == 81_649
    assert rows.filter(pl.col("sample_kind") == "empty").height == 9_935
    passed = rows.filter(pl.col("sample_kind") != "empty", ~pl.col("is_low_quality"))
    kinds = dict(passed["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 62_091, "vehicle": 1_631, "positive_control": 1_501}
    treated = passed.filter(pl.col("sample_kind") == "compound")
    assert treated["compound_reported"].n_unique() == 11_261
    assert CigsMce().genes(raw).collect().height == 3_407
