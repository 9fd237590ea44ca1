import csv
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context

from etl.errors import BadInputError
from etl.sources.ccle_2015 import Ccle2015
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

NAME = "CCLE_NP24.2009_Drug_data_2015.02.24.csv"
ROW = {
    "CCLE Cell Line Name": "LINE1_LARGE_INTESTINE",
    "Primary Cell Line Name": "LINE-1",
    "Compound": "Alphastat",
    "Target": "HDAC",
    "Doses (uM)": ".0025,.0080,8",
    "Activity Data (median)": "12,-53,-104.5",
    "Activity SD": "30.6,0,.43",
    "Num Data": "3",
    "FitType": "Sigmoid",
    "EC50 (uM)": "0.0167",
    "IC50 (uM)": "0.5",
    "Amax": "-95.5",
    "ActArea": "1.5",
}


def write(folder: Path, *changes: dict[str, str], encoding: str = "utf-8") -> Path:
    """Write a file in the publisher's layout, one row per set of changes to ``ROW``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, fieldnames=list(ROW))
        writer.writeheader()
        writer.writerows(ROW | change for change in changes)
    return path


def validated(model: type[pa.DataFrameModel], rows: pl.LazyFrame) -> pl.DataFrame:
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        return model.validate(rows.collect())


def test_activities_become_viabilities_that_are_never_clipped(tmp_path: Path) -> None:
    write(tmp_path, {})
    rows = validated(ReportedMeasurement, pl.concat(Ccle2015().measurements(tmp_path)).lazy())
    assert rows["dose"].to_list() == [".0025", ".0080", "8"]
    assert rows["viability"].to_list() == pytest.approx([1.12, 0.47, -0.045])
    assert rows["viability_sd"].to_list() == pytest.approx([0.306, 0.0, 0.0043])
    assert rows["dose_unit"].unique().to_list() == ["uM"]
    assert rows["time"].null_count() == 3
    assert rows["n_wells"].null_count() == 3


def test_deviations_that_are_all_zero_are_missing(tmp_path: Path) -> None:
    write(tmp_path, {"Activity SD": "0,0,0"})
    assert pl.concat(Ccle2015().measurements(tmp_path))["viability_sd"].null_count() == 3


@given(activities=st.lists(st.integers(-2390, 1900).map(lambda n: n / 10), min_size=1, max_size=12))
def test_every_entry_of_a_list_is_one_measurement(
    tmp_path_factory: pytest.TempPathFactory, activities: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("ccle")
    doses = [f"{2.0**i:g}" for i in range(len(activities))]
    lists = {
        "Doses (uM)": ",".join(doses),
        "Activity Data (median)": ",".join(map(str, activities)),
        "Activity SD": ",".join("1" for _ in doses),
        "Num Data": str(len(doses)),
    }
    write(folder, lists)
    rows = pl.concat(Ccle2015().measurements(folder))
    assert rows["dose"].to_list() == doses
    assert rows["viability"].to_list() == pytest.approx([1 + activity / 100 for activity in activities])


def test_a_published_curve_keeps_its_metrics(tmp_path: Path) -> None:
    write(tmp_path, {})
    curve = validated(ReportedCurve, Ccle2015().curves(tmp_path)).row(0, named=True)
    assert (curve["n_points"], curve["min_dose_um"], curve["max_dose_um"]) == (3, 0.0025, 8.0)
    assert (curve["ec50_um"], curve["ic50_um"], curve["auc"]) == (0.0167, 0.5, 1.5)
    assert curve["e_max"] == pytest.approx(0.045)
    assert "high = sensitive" in curve["auc_kind"]
    assert (curve["replicate_level"], curve["flags"]) == ("pooled", [])


def test_an_ic50_at_the_top_dose_is_censored(tmp_path: Path) -> None:
    write(tmp_path, {"IC50 (uM)": "8", "FitType": "Constant", "EC50 (uM)": "NA"})
    curve = validated(ReportedCurve, Ccle2015().curves(tmp_path)).row(0, named=True)
    assert (curve["ec50_um"], curve["ic50_um"], curve["flags"]) == (
        None,
        8.0,
        ["ic50_censored", "constant_fit_reported"],
    )


def test_an_ic50_at_the_lowest_dose_is_censored_from_below(tmp_path: Path) -> None:
    write(tmp_path, {"IC50 (uM)": "0.0025"}, {"IC50 (uM)": "0.0026", "Compound": "Betastat"})
    assert Ccle2015().curves(tmp_path).collect()["flags"].to_list() == [["ic50_at_lowest_dose"], []]


def test_contexts_carry_the_ccle_name_as_model_id(tmp_path: Path) -> None:
    write(tmp_path, {}, {"Compound": "Betastat"}, {"CCLE Cell Line Name": "SF8657"})
    rows = validated(ReportedContext, Ccle2015().contexts(tmp_path))
    assert rows.select("model_id", "name", "tissue").rows() == [
        ("LINE1_LARGE_INTESTINE", "LINE-1", "LARGE_INTESTINE"),
        ("SF8657", "LINE-1", None),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_odd_blanks_in_names_are_normalized_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, {"Compound": "Alpha\u00a0stat\u00a0"}, encoding=encoding)
    compounds = validated(ReportedCompound, Ccle2015().compounds(tmp_path))
    assert compounds.select("compound_reported", "targets").rows() == [("Alpha stat", "HDAC")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Activity SD": "1,2"}, "row 3, column Activity SD: a list without exactly Num Data entries"),
        ({"Num Data": "4"}, "row 3, column Doses (uM): a list without exactly Num Data entries"),
        ({"Num Data": "three"}, "row 3, column Num Data: not a whole number: 'three'"),
        ({"Activity Data (median)": "1,x,3"}, "row 3, column Activity Data (median): not a number: 'x'"),
        ({"Activity Data (median)": "1,inf,3"}, "row 3, column Activity Data (median): not a number: 'inf'"),
        ({"Num Data": "0"}, "row 3, column Num Data: not a number of doses: 0"),
        ({"Num Data": "NA"}, "row 3, column Num Data: not a number of doses (1 such)"),
        ({"Doses (uM)": "-1,2,8"}, "row 3, column Doses (uM): a negative dose: -1.0"),
        ({"Doses (uM)": ".80,.8,8"}, "row 3: more than once:"),
        ({"Activity SD": "1,-2,3"}, "row 3, column Activity SD: a negative deviation: -2.0"),
        ({"Amax": "low"}, "row 3, column Amax: not a number: 'low'"),
        ({"IC50 (uM)": "0"}, "row 3, column IC50 (uM): a dose that is not positive"),
        ({"FitType": "Cubic"}, "row 3, column FitType: not one of Sigmoid, Linear, Constant"),
        ({"CCLE Cell Line Name": ""}, "row 3, column CCLE Cell Line Name: a missing value"),
        ({"Compound": "Betastat "}, "row 2, 3: more than once: CCLE Cell Line Name"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    write(tmp_path, {"Compound": "Betastat"}, change)
    with pytest.raises(BadInputError) as error:
        list(Ccle2015().measurements(tmp_path))
        Ccle2015().curves(tmp_path).collect()
    assert message in str(error.value)
    assert str(error.value).startswith(f"ccle_2015, file {NAME}")


def test_a_compound_with_two_targets_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {}, {"CCLE Cell Line Name": "LINE2_LUNG", "Target": "MEK"})
    with pytest.raises(BadInputError, match="row 2, 3, column Compound: more than once: Compound Alphastat"):
        Ccle2015().compounds(tmp_path).collect()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    path.write_text(path.read_text().replace("ActArea", "Area"))
    with pytest.raises(BadInputError, match="column ActArea: the column is missing"):
        Ccle2015().curves(tmp_path).collect()


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {}, {"Compound": "Betastat"})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadInputError, match="row 3: the last line is not ended"):
        Ccle2015().curves(tmp_path).collect()


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    path.write_text(path.read_text() + '"LINE2_LUNG,LINE-2\n')
    with pytest.raises(BadInputError, match="not readable as a table"):
        Ccle2015().curves(tmp_path).collect()


@pytest.mark.parametrize(("content", "message"), [("", "empty"), (",".join(ROW) + "\r\n", "no rows")])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(BadInputError, match=message):
        Ccle2015().curves(tmp_path).collect()


@pytest.mark.realdata
def test_the_published_file_has_its_known_counts(realdata: Path) -> None:
    raw = realdata / "raw" / "ccle_2015"
    curves = validated(ReportedCurve, Ccle2015().curves(raw))
    points = validated(ReportedMeasurement, pl.concat(Ccle2015().measurements(raw)).lazy())
    assert (curves.height, points.height) == (11_670, 93_251)
    assert validated(ReportedCompound, Ccle2015().compounds(raw)).height == 24
    assert validated(ReportedContext, Ccle2015().contexts(raw)).height == 504
    assert curves["ec50_um"].count() == 7_200
    assert dict(curves["flags"].explode().drop_nulls().value_counts().iter_rows()) == {
        "ic50_censored": 6_453,
        "ic50_at_lowest_dose": 48,
        "constant_fit_reported": 3_695,
    }
    assert points["viability_sd"].null_count() == 414
