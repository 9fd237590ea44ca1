from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from pandera.config import ValidationDepth, config_context

from etl.errors import BadInputError
from etl.sources.gcsi import Gcsi
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

METRICS = {
    "DrugName": "Alphastat",
    "CellLineName": "LINE-1",
    "PrimaryTissue": "Lung",
    "ExperimentNumber": "2c",
    "TrtDuration": "72",
    "doublingtime": "39",
    "maxlog10Concentration": "-5",
    "GR_AOC": "0.4",
    "meanviability": "0.7",
    "GRmax": "-0.8",
    "Emax": "0.1",
    "GRinf": "-0.9",
    "GEC50": "2e-07",
    "GR50": "1e-07",
    "R_square_GR": "0.99",
    "pval_GR": "1e-09",
    "flat_fit_GR": "0",
    "h_GR": "2",
    "N_conc": "9",
    "log10_conc_step": "0.5",
    "Norm_CellLineName": "LINE1",
    "Norm_DrugName": "ALPHASTAT",
    "GR_05uM_fit": "-0.7",
}
FLAT = {"flat_fit_GR": "1", "GEC50": "0", "GR50": "Inf", "h_GR": "1e-04", "GRinf": "1.1", "pval_GR": "0.4"}
MISSING = dict.fromkeys(
    [
        *(
            "doublingtime",
            "maxlog10Concentration",
            "GR_AOC",
            "GRmax",
            "GRinf",
            "GEC50",
            "GR50",
            "R_square_GR",
        ),
        *("pval_GR", "flat_fit_GR", "h_GR", "N_conc", "log10_conc_step", "GR_05uM_fit"),
    ],
    "NA",
)
VALUES = {
    "DrugName": "Alphastat",
    "CellLineName": "LINE-1",
    "PrimaryTissue": "Lung",
    "ExperimentNumber": "2c",
    "TrtDuration": "72",
    "doublingtime": "39",
    "log10Concentration": "-5",
    "GR": "-0.8",
    "relative_cell_count": "0.1",
    "activities.mean": "0.1",
    "activities.std": "0.02",
    "Norm_CellLineName": "LINE1",
    "Norm_DrugName": "ALPHASTAT",
}


def write(folder: Path, template: dict[str, str], *changes: dict[str, str], name: str = "metrics") -> Path:
    """Write a file in the publisher's layout, one row per set of changes to the template."""
    path = folder / f"gCSI_GR{name}_v1.3.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [list(template), *((template | change).values() for change in changes)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def validated(model: type[pa.DataFrameModel], rows: pl.LazyFrame) -> pl.DataFrame:
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        return model.validate(rows.collect())


def test_a_published_curve_is_given_in_micromolar(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {})
    curve = validated(ReportedCurve, Gcsi().curves(tmp_path)).row(0, named=True)
    assert curve["ec50_um"] == pytest.approx(0.2)
    assert curve["gr50_um"] == pytest.approx(0.1)
    assert curve["max_dose_um"] == pytest.approx(10)
    assert curve["min_dose_um"] == pytest.approx(0.001)
    assert (curve["n_points"], curve["slope"], curve["e_max"], curve["auc"]) == (9, 2, 0.1, 0.7)
    assert (curve["experiment"], curve["replicate_level"], curve["time"]) == ("2c", "experiment", "72")
    assert curve["e_inf"] is None
    assert curve["auc_kind"].startswith("mean viability")
    assert curve["flags"] == []


@pytest.mark.parametrize("gr50", ["Inf", "-Inf"])
def test_placeholders_of_a_flat_curve_become_null_with_a_flag(tmp_path: Path, gr50: str) -> None:
    write(tmp_path, METRICS, FLAT | {"GR50": gr50})
    curve = validated(ReportedCurve, Gcsi().curves(tmp_path)).row(0, named=True)
    assert (curve["ec50_um"], curve["slope"], curve["gr50_um"]) == (None, None, None)
    assert (curve["gr_inf"], curve["p_value"]) == (1.1, 0.4)
    assert curve["flags"] == ["gr_flat_reported"]


def test_a_curve_above_gr_one_half_has_no_gr50_but_is_not_flat(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {"GR50": "Inf", "GRinf": "0.6"})
    curve = validated(ReportedCurve, Gcsi().curves(tmp_path)).row(0, named=True)
    assert (curve["gr50_um"], curve["gr_inf"]) == (None, 0.6)
    assert curve["flags"] == ["gr50_not_reached_reported"]
    assert curve["ec50_um"] == pytest.approx(0.2)


def test_a_curve_without_growth_rates_keeps_its_viability(tmp_path: Path) -> None:
    write(tmp_path, METRICS, MISSING)
    curve = validated(ReportedCurve, Gcsi().curves(tmp_path)).row(0, named=True)
    assert (curve["e_max"], curve["auc"], curve["gr_aoc"], curve["n_points"]) == (0.1, 0.7, None, None)
    assert curve["flags"] == ["gr_missing_reported"]


def test_an_implausible_mean_viability_is_kept_and_flagged(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {"meanviability": "5.82"})
    curve = Gcsi().curves(tmp_path).collect().row(0, named=True)
    assert (curve["auc"], curve["flags"]) == (5.82, ["mean_viability_above_3"])


def test_compounds_and_contexts_are_listed_once_without_odd_blanks(tmp_path: Path) -> None:
    write(
        tmp_path, METRICS, {"CellLineName": "LINE-1 "}, {"CellLineName": "LINE-2"}, {"ExperimentNumber": "2d"}
    )
    compounds = validated(ReportedCompound, Gcsi().compounds(tmp_path))
    contexts = validated(ReportedContext, Gcsi().contexts(tmp_path))
    assert compounds.select("compound_reported", "name").rows() == [("Alphastat", "Alphastat")]
    assert contexts.select("context_reported", "tissue").rows() == [("LINE-1", "Lung"), ("LINE-2", "Lung")]


def test_files_are_found_in_the_folder_of_the_archive(tmp_path: Path) -> None:
    write(tmp_path / "OUTPUT", METRICS, {})
    assert Gcsi().curves(tmp_path).collect().height == 1


def test_without_the_values_file_there_are_no_measurements(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {})
    assert list(Gcsi().measurements(tmp_path)) == []


def test_measurements_keep_the_log_molar_dose_as_reported(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {})
    write(tmp_path, VALUES, {}, {"log10Concentration": "-5.5"}, name="values")
    rows = validated(ReportedMeasurement, pl.concat(Gcsi().measurements(tmp_path)).lazy())
    assert rows.select("dose", "dose_unit").rows() == [("-5", "log10 M"), ("-5.5", "log10 M")]
    assert rows.select("viability", "viability_sd", "experiment").row(0) == (0.1, 0.02, "2c")
    assert rows["growth_rate"][0] == float(VALUES["GR"])


def test_a_deviation_of_something_else_than_viability_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {})
    write(tmp_path, VALUES, {"activities.mean": "5120"}, {"log10Concentration": "-6"}, name="values")
    assert pl.concat(Gcsi().measurements(tmp_path))["viability_sd"].to_list() == [None, 0.02]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"GEC50": "high"}, "row 3, column GEC50: not a number: 'high'"),
        ({"Emax": "Inf"}, "row 3, column Emax: not a number: 'Inf'"),
        ({"flat_fit_GR": "2"}, "row 3, column flat_fit_GR: neither 0 nor 1"),
        ({"N_conc": "8.5"}, "row 3, column N_conc: not a whole number: '8.5'"),
        ({"N_conc": "0"}, "row 3, column N_conc: not a number of doses: 0"),
        ({"DrugName": ""}, "row 3, column DrugName: a missing value"),
        ({"log10_conc_step": "-1"}, "row 3, column log10_conc_step: a negative step"),
        (
            {"ExperimentNumber": "1"},
            "row 2, 3: more than once: DrugName Alphastat, CellLineName LINE-1",
        ),
    ],
)
def test_a_bad_metrics_row_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    write(tmp_path, METRICS, {"ExperimentNumber": "1"}, change)
    with pytest.raises(BadInputError) as error:
        Gcsi().curves(tmp_path).collect()
    assert message in str(error.value)
    assert str(error.value).startswith("gcsi, file gCSI_GRmetrics_v1.3.tsv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_cell_count": "NA"}, "row 3, column relative_cell_count: a missing value (1 such)"),
        ({"log10Concentration": "-"}, "row 3, column log10Concentration: not a number: '-'"),
        ({"activities.std": "-0.1"}, "row 3, column activities.std: a negative deviation"),
        ({}, "row 2, 3: more than once:"),
    ],
)
def test_a_bad_values_row_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    write(tmp_path, METRICS, {})
    write(tmp_path, VALUES, {}, change, name="values")
    with pytest.raises(BadInputError) as error:
        pl.concat(Gcsi().measurements(tmp_path))
    assert message in str(error.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, METRICS, {})
    path.write_text(path.read_text().replace("GRmax", "GR_max"))
    with pytest.raises(BadInputError, match="column GRmax: the column is missing"):
        Gcsi().curves(tmp_path).collect()


def test_a_cell_line_with_two_tissues_is_refused(tmp_path: Path) -> None:
    write(tmp_path, METRICS, {}, {"PrimaryTissue": "Skin", "ExperimentNumber": "3"})
    with pytest.raises(
        BadInputError, match="row 2, 3, column CellLineName: more than once: CellLineName LINE-1"
    ):
        Gcsi().contexts(tmp_path).collect()


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, METRICS, {}, {"ExperimentNumber": "3"})
    path.write_text(path.read_text()[:-9])
    with pytest.raises(BadInputError, match="row 3: the last line is not ended"):
        Gcsi().curves(tmp_path).collect()


def test_a_ragged_line_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, METRICS, {})
    path.write_text(path.read_text() + "Alphastat\tLINE-1\n")
    with pytest.raises(BadInputError, match="row 3: 2 fields where the header has 23"):
        Gcsi().curves(tmp_path).collect()


@pytest.mark.parametrize(("content", "message"), [("", "empty"), ("\t".join(METRICS) + "\n", "no rows")])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "gCSI_GRmetrics_v1.3.tsv").write_text(content)
    with pytest.raises(BadInputError, match=message):
        Gcsi().curves(tmp_path).collect()


def test_a_missing_file_names_its_origin(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"research-pub\.gene\.com"):
        Gcsi().curves(tmp_path).collect()


@pytest.mark.realdata
def test_the_published_file_has_its_known_counts(realdata: Path) -> None:
    raw = realdata / "raw" / "gcsi"
    curves = validated(ReportedCurve, Gcsi().curves(raw))
    assert curves.height == 16_688
    assert curves["gr_aoc"].count() == 16_304
    assert curves["gr50_um"].count() == 10_765
    assert dict(curves["flags"].explode().drop_nulls().value_counts().iter_rows()) == {
        "gr_flat_reported": 2_909,
        "gr50_not_reached_reported": 2_630,
        "gr_missing_reported": 384,
        "mean_viability_above_3": 1,
    }
    assert validated(ReportedCompound, Gcsi().compounds(raw)).height == 44
    assert validated(ReportedContext, Gcsi().contexts(raw)).height == 569


@pytest.mark.realdata
def test_every_published_gec50_is_near_the_tested_doses(realdata: Path) -> None:
    curves = Gcsi().curves(realdata / "raw" / "gcsi").collect()
    ratio = curves.filter(pl.col("ec50_um").is_not_null()).select(
        low=(pl.col("ec50_um") / pl.col("min_dose_um")).min(),
        high=(pl.col("ec50_um") / pl.col("max_dose_um")).max(),
    )
    assert ratio["low"].item() > 0.5
    assert ratio["high"].item() == pytest.approx(10)
