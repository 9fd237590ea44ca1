from collections.abc import Sequence
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context
from polars.testing import assert_frame_equal

from etl.errors import BadInputError
from etl.harmonize.compound_kinds import combination_parts
from etl.sources import ctrpv2
from etl.sources.ctrpv2 import Ctrpv2
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

Row = dict[str, str]

COMPOUND = {
    "master_cpd_id": "10",
    "cpd_name": "alphastat",
    "broad_cpd_id": "BRD-K00000001",
    "top_test_conc_umol": "6.60E+01",
    "cpd_status": "probe",
    "inclusion_rationale": "pilot-set",
    "gene_symbol_of_protein_target": "HDAC1;HDAC2",
    "target_or_activity_of_compound": "inhibitor of HDAC1, HDAC2",
    "source_name": "Vendor",
    "source_catalog_id": "",
    "cpd_smiles": "CCO",
}
LINE = {
    "master_ccl_id": "1",
    "ccl_name": "LINE1",
    "ccl_availability": "ccle;public",
    "ccle_primary_site": "lung",
    "ccle_primary_hist": "carcinoma",
    "ccle_hist_subtype_1": "",
}
EXPERIMENT = {
    "experiment_id": "5",
    "run_id": "7024-01-A01-02-01",
    "experiment_date": "20120501",
    "culture_media": "RPMI001",
    "baseline_signal": "2.225e-001",
    "cells_per_well": "500",
    "growth_mode": "adherent",
    "snp_fp_status": "SNP-matched-reference",
    "master_ccl_id": "1",
}
CURVE = {
    "experiment_id": "5",
    "conc_pts_fit": "16",
    "fit_num_param": "3",
    "p1_conf_int_high": "Inf",
    "p1_conf_int_low": "-Inf",
    "p2_conf_int_high": "1.000e+014",
    "p2_conf_int_low": "-1.000e+014",
    "p4_conf_int_high": "NaN",
    "p4_conf_int_low": "NaN",
    "p1_center": "1.000e+000",
    "p2_slope": "-7.213e-001",
    "p3_total_decline": "7.500e-001",
    "p4_baseline": "2.500e-001",
    "apparent_ec50_umol": "2.000e+000",
    "pred_pv_high_conc": "2.600e-001",
    "area_under_curve": "1.200e+001",
    "master_cpd_id": "10",
}
WELL = {
    "experiment_id": "5",
    "assay_plate_barcode": "BR1",
    "raw_value_log2": "16",
    "bsub_value_log2": "-1",
    "dmso_zscore_log2": "-9.5",
    "cpd_conc_umol": "1.0E+01",
    "master_cpd_id": "10",
}
AVERAGE = {
    "experiment_id": "5",
    "cpd_conc_umol": "10",
    "cpd_avg_pv": "4.900e-001",
    "cpd_expt_avg_log2": "-1.03",
    "cpd_pred_pv": "5.100e-001",
    "master_cpd_id": "10",
}
QUALITY = {
    "experiment_id": "5",
    "cpd_conc_umol": "10",
    "cpd_avg_pv": "4.900e-001",
    "num_conc_pts": "16",
    "qc_type": "0",
    "master_cpd_id": "10",
}
DEFAULTS = {
    "meta.per_compound": COMPOUND,
    "meta.per_cell_line": LINE,
    "meta.per_experiment": EXPERIMENT,
    "data.curves_post_qc": CURVE,
    "data.per_cpd_well": WELL,
    "data.per_cpd_post_qc": AVERAGE,
    "data.per_cpd_pre_qc": QUALITY,
}
OTHER = {"experiment_id": "6"}
DOSES = ("0.5", "1", "2", "4")


def write(folder: Path, **changes: Sequence[Row]) -> Path:
    """Write the metadata and the named files, one row per set of changes to the default row."""
    inner = folder / "CTRPv2.0_2015_ctd2_ExpandedDataset"
    inner.mkdir(parents=True, exist_ok=True)
    files = {"per_compound": [{}], "per_cell_line": [{}], "per_experiment": [{}]} | changes
    for name, default in DEFAULTS.items():
        if (rows := files.get(name.partition(".")[2])) is not None:
            lines = [list(default), *(list((default | row).values()) for row in rows)]
            text = "".join("\t".join(cells) + "\r\n" for cells in lines)
            (inner / f"v20.{name}.txt").write_bytes(text.encode())
    return folder


def measured(folder: Path) -> pl.DataFrame:
    return validated(ReportedMeasurement, pl.concat(Ctrpv2().measurements(folder)).lazy())


def curve(folder: Path) -> dict[str, object]:
    return validated(ReportedCurve, Ctrpv2().curves(folder)).row(0, named=True)


def validated(model: type[pa.DataFrameModel], rows: pl.LazyFrame) -> pl.DataFrame:
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        return model.validate(rows.collect())


def test_a_well_is_a_measurement_on_its_plate(tmp_path: Path) -> None:
    write(tmp_path, per_cpd_well=[{}, {"assay_plate_barcode": "BR2", "bsub_value_log2": "2.5e-001"}])
    expected = {
        "context_reported": "LINE1",
        "compound_reported": "10",
        "experiment": "5",
        "replicate": "BR1",
        "plate": "BR1",
        "well": "",
        "dose": "1.0E+01",
        "dose_unit": "uM",
        "time": "72",
        "time_unit": "h",
        "viability": 0.5,
        "viability_sd": None,
        "n_wells": 1,
        "growth_rate": None,
        "is_low_quality": False,
    }
    rows = measured(tmp_path)
    assert rows.row(0, named=True) == expected
    assert rows["replicate"].to_list() == ["BR1", "BR2"]
    assert rows["viability"][1] == pytest.approx(1.1892071)


def test_averages_are_measurements_without_plates(tmp_path: Path) -> None:
    write(tmp_path, per_cpd_post_qc=[{}, {"cpd_conc_umol": "20", "cpd_avg_pv": "-2.000e-002"}])
    rows = measured(tmp_path)
    assert rows.select("replicate", "plate", "well", "dose", "viability", "n_wells").rows() == [
        ("", "", "", "10", 0.49, None),
        ("", "", "", "20", -0.02, None),
    ]


def test_wells_are_read_rather_than_averages(tmp_path: Path) -> None:
    write(tmp_path, per_cpd_well=[{}], per_cpd_post_qc=[{}])
    assert measured(tmp_path)["viability"].to_list() == [0.5]


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_a_dose_that_a_plate_holds_again_is_another_replicate(
    tmp_path: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctrpv2, "BLOCK_BYTES", block_bytes)
    other_plate = {"assay_plate_barcode": "BR2"}
    write(tmp_path, per_cpd_well=[{}, other_plate, {}, {"cpd_conc_umol": "20"}, {}, other_plate])
    rows = measured(tmp_path)
    assert rows["replicate"].to_list() == ["BR1", "BR2", "BR1#2", "BR1", "BR1#3", "BR2#2"]
    assert rows["plate"].to_list() == ["BR1", "BR2", "BR1", "BR1", "BR1", "BR2"]


@settings(max_examples=25)
@given(
    values=st.lists(st.floats(-12, 3).map(lambda value: f"{value:.4e}"), min_size=1, max_size=12),
    block_bytes=st.integers(1, 400),
)
def test_wells_are_the_same_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], block_bytes: int
) -> None:
    wells = [{"bsub_value_log2": value, "cpd_conc_umol": str(i % 3)} for i, value in enumerate(values)]
    folder = write(tmp_path_factory.mktemp("ctrpv2"), per_cpd_well=wells)
    whole = measured(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctrpv2, "BLOCK_BYTES", block_bytes)
        assert_frame_equal(measured(folder), whole)
    assert whole["viability"].to_list() == pytest.approx([2 ** float(value) for value in values])


@pytest.mark.parametrize(
    ("qc_type", "rejected"),
    [("0", []), ("1", ["4"]), ("2", ["2", "4"]), ("3", []), ("4", [])],
)
def test_the_highest_doses_are_rejected_by_the_type_of_quality_control(
    tmp_path: Path, qc_type: str, rejected: list[str]
) -> None:
    wells = [{"cpd_conc_umol": dose, "assay_plate_barcode": plate} for dose in DOSES for plate in ("A", "B")]
    # Another compound at a higher dose, and in another experiment, is not concerned.
    others = [{"master_cpd_id": "11", "cpd_conc_umol": "8"}, {"experiment_id": "6", "cpd_conc_umol": "8"}]
    write(
        tmp_path,
        per_compound=[{}, {"master_cpd_id": "11"}],
        per_experiment=[{}, {"experiment_id": "6"}],
        per_cpd_well=[*others, *wells],
        per_cpd_pre_qc=[*others, *({"cpd_conc_umol": dose, "qc_type": qc_type} for dose in reversed(DOSES))],
    )
    low = measured(tmp_path).filter("is_low_quality")
    assert low["dose"].to_list() == [dose for dose in rejected for _ in "AB"]


def test_doses_of_two_files_may_be_printed_with_other_digits(tmp_path: Path) -> None:
    quality = [{"cpd_conc_umol": dose, "qc_type": "1"} for dose in ("1.6500E+01", "3.3001E+01")]
    write(tmp_path, per_cpd_well=[{"cpd_conc_umol": "33"}, {"cpd_conc_umol": "16.5"}], per_cpd_pre_qc=quality)
    assert measured(tmp_path)["is_low_quality"].to_list() == [True, False]


def test_averages_without_the_rejected_dose_lose_no_other(tmp_path: Path) -> None:
    quality = [{"cpd_conc_umol": dose, "qc_type": "1"} for dose in DOSES]
    averages = [{"cpd_conc_umol": dose} for dose in DOSES[:-1]]
    write(tmp_path, per_cpd_post_qc=averages, per_cpd_pre_qc=quality)
    assert measured(tmp_path)["is_low_quality"].to_list() == [False, False, False]


def test_an_experiment_of_several_dates_is_one(tmp_path: Path) -> None:
    dates = [{"experiment_date": date} for date in ("20120723", "20120724", "20120725")]
    write(tmp_path, per_experiment=dates, per_cpd_well=[{}], curves_post_qc=[{}])
    assert measured(tmp_path).height == 1
    assert Ctrpv2().curves(tmp_path).collect().height == 1


def test_a_line_in_two_experiments_has_two_curves(tmp_path: Path) -> None:
    repeated = [{}, {"experiment_id": "6"}]
    write(tmp_path, per_experiment=repeated, curves_post_qc=repeated)
    rows = validated(ReportedCurve, Ctrpv2().curves(tmp_path))
    assert rows.select("context_reported", "compound_reported", "experiment", "replicate_level").rows() == [
        ("LINE1", "10", "5", "experiment"),
        ("LINE1", "10", "6", "experiment"),
    ]


def test_a_published_curve_keeps_its_fit(tmp_path: Path) -> None:
    write(tmp_path, curves_post_qc=[{}])
    row = curve(tmp_path)
    assert row["slope"] == pytest.approx(2.0, rel=1e-4)
    assert "15 log2" in str(row["auc_kind"])
    assert "low = sensitive" in str(row["auc_kind"])
    known = {
        "time": "72",
        "time_unit": "h",
        "n_points": 16,
        "min_dose_um": None,
        "max_dose_um": 66.0,
        "ec50_um": 2.0,
        "ic50_um": None,
        "e_inf": 0.25,
        "e_max": 0.26,
        "auc": 12.0,
        "mean_viability": 0.8,
        "flags": [],
    }
    assert row | known == row


@pytest.mark.parametrize("n_points", ["5", "11", "16", "29"])
def test_the_mean_viability_does_not_depend_on_the_number_of_points(tmp_path: Path, n_points: str) -> None:
    write(tmp_path, curves_post_qc=[{"conc_pts_fit": n_points, "area_under_curve": "1.375e+001"}])
    row = curve(tmp_path)
    assert (row["n_points"], row["mean_viability"]) == (int(n_points), pytest.approx(13.75 / 15))


@pytest.mark.parametrize(
    ("change", "nulls"),
    [
        ({"apparent_ec50_umol": "Inf"}, {"ec50_um"}),
        ({"apparent_ec50_umol": "0.000e+000"}, {"ec50_um"}),
        ({"p2_slope": "0.000e+000"}, {"slope"}),
        ({"p2_slope": "-Inf"}, {"slope"}),
        ({"p4_baseline": "-Inf"}, {"e_inf"}),
        ({"pred_pv_high_conc": "Inf"}, {"e_max"}),
        ({"area_under_curve": "Inf"}, {"auc", "auc_kind", "mean_viability"}),
    ],
)
def test_a_fit_that_is_not_finite_is_null_and_flagged(tmp_path: Path, change: Row, nulls: set[str]) -> None:
    write(tmp_path, curves_post_qc=[change])
    row = curve(tmp_path)
    metrics = ("ec50_um", "slope", "e_inf", "e_max", "auc", "auc_kind", "mean_viability")
    assert {name for name in metrics if row[name] is None} == nulls
    assert "fit_not_finite_reported" in row["flags"]


def test_a_fit_far_outside_the_doses_stays_as_published(tmp_path: Path) -> None:
    write(tmp_path, curves_post_qc=[{"apparent_ec50_umol": "3.100e+199"}])
    row = curve(tmp_path)
    assert (row["ec50_um"], row["flags"]) == (3.1e199, [])


def test_a_missing_value_is_null_without_a_flag(tmp_path: Path) -> None:
    write(tmp_path, curves_post_qc=[{"apparent_ec50_umol": "NaN", "pred_pv_high_conc": ""}])
    row = curve(tmp_path)
    assert (row["ec50_um"], row["e_max"], row["flags"]) == (None, None, [])


def test_an_implausible_mean_viability_is_flagged(tmp_path: Path) -> None:
    write(tmp_path, curves_post_qc=[{"area_under_curve": "4.501e+001"}])
    assert curve(tmp_path)["flags"] == ["mean_viability_above_3"]


def test_compounds_carry_what_is_known_of_them(tmp_path: Path) -> None:
    combination = {
        "master_cpd_id": "11",
        "cpd_name": "alphastat:betastat (2:1 mol/mol)",
        "broad_cpd_id": "BRD-M00000002",
        "gene_symbol_of_protein_target": "",
        "cpd_smiles": "CCO.CCN",
    }
    write(tmp_path, per_compound=[{}, combination])
    rows = validated(ReportedCompound, Ctrpv2().compounds(tmp_path))
    assert rows.select("compound_reported", "name", "smiles", "vendor_id", "mechanism", "targets").rows() == [
        ("10", "alphastat", "CCO", "BRD-K00000001", "inhibitor of HDAC1, HDAC2", "HDAC1;HDAC2"),
        (
            "11",
            "alphastat:betastat (2:1 mol/mol)",
            "CCO.CCN",
            "BRD-M00000002",
            "inhibitor of HDAC1, HDAC2",
            None,
        ),
    ]


def test_contexts_are_all_lines_screened_or_not(tmp_path: Path) -> None:
    lines = [{}, {"master_ccl_id": "2", "ccl_name": "TTTHYROID", "ccle_primary_site": ""}]
    write(tmp_path, per_cell_line=lines)
    rows = validated(ReportedContext, Ctrpv2().contexts(tmp_path))
    assert rows.select("context_reported", "tissue").rows() == [("LINE1", "lung"), ("TTTHYROID", None)]


def test_curves_alone_are_a_dataset(tmp_path: Path) -> None:
    write(tmp_path, curves_post_qc=[{}])
    assert list(Ctrpv2().measurements(tmp_path)) == []


def test_points_alone_are_a_dataset(tmp_path: Path) -> None:
    write(tmp_path, per_cpd_post_qc=[{}])
    assert validated(ReportedCurve, Ctrpv2().curves(tmp_path)).is_empty()


def test_metadata_alone_are_not(tmp_path: Path) -> None:
    write(tmp_path, per_cpd_pre_qc=[{}])
    with pytest.raises(BadInputError, match="neither curves nor points"):
        list(Ctrpv2().measurements(tmp_path))
    with pytest.raises(BadInputError, match="neither curves nor points"):
        Ctrpv2().curves(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("per_cpd_well", {"bsub_value_log2": "x"}, "row 3, column bsub_value_log2: not a number: 'x'"),
        ("per_cpd_well", {"bsub_value_log2": "-Inf"}, "row 3, column bsub_value_log2: not a number: '-Inf'"),
        ("per_cpd_well", {"bsub_value_log2": "NaN"}, "row 3, column bsub_value_log2: a missing value"),
        ("per_cpd_well", {"assay_plate_barcode": ""}, "row 3, column assay_plate_barcode: a missing value"),
        ("per_cpd_well", {"cpd_conc_umol": "-1"}, "row 3, column cpd_conc_umol: a negative dose: -1.0"),
        (
            "per_cpd_well",
            {"experiment_id": "9"},
            "column experiment_id: not in v20.meta.per_experiment.txt: '9'",
        ),
        (
            "per_cpd_well",
            {"master_cpd_id": "9"},
            "column master_cpd_id: not in v20.meta.per_compound.txt: '9'",
        ),
        ("per_cpd_well", {"master_cpd_id": "10\t10"}, "row 3: 8 fields where the header has 7"),
        ("per_cpd_post_qc", {"cpd_avg_pv": "high"}, "row 3, column cpd_avg_pv: not a number: 'high'"),
        ("per_cpd_pre_qc", {"qc_type": "good"}, "row 3, column qc_type: not a whole number: 'good'"),
        ("per_cpd_pre_qc", {"qc_type": "-1"}, "row 3, column qc_type: not a type of quality control: -1"),
        ("per_cpd_pre_qc", {"qc_type": "2"}, "row 2, 3: more than once: experiment_id 5, master_cpd_id 10"),
        (
            "curves_post_qc",
            OTHER | {"area_under_curve": "x"},
            "row 3, column area_under_curve: not a number: 'x'",
        ),
        (
            "curves_post_qc",
            OTHER | {"conc_pts_fit": "0"},
            "row 3, column conc_pts_fit: not a number of doses: 0",
        ),
        ("curves_post_qc", OTHER | {"conc_pts_fit": "9.5"}, "column conc_pts_fit: not a whole number: '9.5'"),
        ("curves_post_qc", OTHER | {"master_cpd_id": ""}, "row 3, column master_cpd_id: a missing value"),
        ("curves_post_qc", {}, "row 2, 3: more than once: experiment_id 5, master_cpd_id 10"),
        (
            "per_experiment",
            {"master_ccl_id": "2"},
            "row 2, 4, column experiment_id: more than once: experiment_id 5",
        ),
        (
            "per_experiment",
            {"experiment_id": "7", "master_ccl_id": "9"},
            "row 4, column master_ccl_id: not in v20.meta.per_cell_line.txt: '9'",
        ),
        (
            "per_cell_line",
            {"master_ccl_id": "3"},
            "row 2, 4, column ccl_name: more than once: ccl_name LINE1",
        ),
        ("per_cell_line", {"ccl_name": "LINE3"}, "row 2, 4, column master_ccl_id: more than once"),
        ("per_compound", {}, "row 2, 3, column master_cpd_id: more than once: master_cpd_id 10"),
        ("per_compound", {"master_cpd_id": ""}, "row 3, column master_cpd_id: a missing value"),
        (
            "per_compound",
            {"master_cpd_id": "11", "top_test_conc_umol": "0"},
            "row 3, column top_test_conc_umol: a dose that is not positive: 0.0",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, file: str, change: Row, message: str) -> None:
    good: dict[str, list[Row]] = {
        "per_compound": [{}],
        "per_cell_line": [{}, {"master_ccl_id": "2", "ccl_name": "LINE2"}],
        "per_experiment": [{}, {"experiment_id": "6"}],
        "curves_post_qc": [{}],
        "per_cpd_pre_qc": [{}],
        "per_cpd_post_qc" if file == "per_cpd_post_qc" else "per_cpd_well": [{}],
    }
    write(tmp_path, **(good | {file: [*good[file], change]}))
    with pytest.raises(BadInputError) as error:
        list(Ctrpv2().measurements(tmp_path))
        Ctrpv2().curves(tmp_path).collect()
    assert message in str(error.value)
    assert str(error.value).startswith("ctrpv2, file v20.")


def test_a_row_is_named_by_its_number_in_the_file_whatever_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctrpv2, "BLOCK_BYTES", 100)
    write(tmp_path, per_cpd_well=[*([{}] * 20), {"cpd_conc_umol": "ten"}])
    with pytest.raises(BadInputError, match="row 22, column cpd_conc_umol: not a number: 'ten'"):
        measured(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace(b"bsub_value_log2", b"bsub"),
            "column bsub_value_log2: the column is missing",
        ),
        (
            lambda text: text.replace(b"raw_value", b"bsub_value"),
            "column bsub_value_log2: the column is repeated",
        ),
        (lambda text: text[:-2], "row 2: the last line is not ended: the file is truncated"),
        (lambda text: text + b"5\tBR1\r\n", "row 3: 2 fields where the header has 7"),
        (lambda text: text.replace(b"BR1", b"BR\xff"), "not readable as a table"),
        (lambda text: text[: text.index(b"\n") + 1], "a header and no rows"),
        (lambda text: text[:0], "the file is empty"),
    ],
)
def test_a_large_file_that_is_broken_is_refused(tmp_path: Path, change, message: str) -> None:
    write(tmp_path, per_cpd_well=[{}])
    (path,) = tmp_path.rglob("v20.data.per_cpd_well.txt")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BadInputError) as error:
        measured(tmp_path)
    assert message in str(error.value)


@pytest.mark.realdata
def test_the_published_metadata_have_their_known_counts(realdata: Path) -> None:
    raw = realdata / "raw" / "ctrpv2"
    compounds = validated(ReportedCompound, Ctrpv2().compounds(raw))
    contexts = validated(ReportedContext, Ctrpv2().contexts(raw))
    assert (compounds.height, contexts.height) == (545, 1_107)
    assert contexts["tissue"].null_count() == 62
    parts = [combination_parts(name) for name in compounds["name"]]
    assert sum(part is not None and len(part.parts) == 2 for part in parts) == 49
    experiments = Ctrpv2()._contexts_of_experiments(raw)
    assert (experiments.height, experiments["ccl_name"].n_unique()) == (907, 887)
    assert experiments["ccl_name"].is_in(contexts["context_reported"].implode()).all()


@pytest.mark.realdata
def test_the_published_curves_have_their_known_counts(realdata: Path) -> None:
    raw = realdata / "raw" / "ctrpv2"
    if not list(raw.glob("**/v20.data.curves_post_qc.txt")):
        pytest.skip("the published curves of CTRPv2 are not here")
    curves = validated(ReportedCurve, Ctrpv2().curves(raw))
    assert curves.height == 395_263
    assert curves.select("context_reported", "compound_reported").n_unique() == 387_130
    assert curves["context_reported"].n_unique() == 887
    assert curves["mean_viability"].median() == pytest.approx(0.9, abs=0.15)
    tested = curves.filter(pl.col("ec50_um") <= 20)
    assert tested.select("context_reported", "compound_reported").n_unique() == 282_825
