from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from pandera.config import ValidationDepth, config_context

from etl.errors import BadInputError
from etl.harmonize.screens import (
    WITHOUT_CURVE,
    WITHOUT_MOLARITY,
    WITHOUT_POINTS,
    ZERO_DOSE,
    check_curves,
    curve_times,
    harmonize_curves,
    harmonize_measurements,
)
from etl.sources.ccle_2015 import Ccle2015
from schemas.core.viability import Viability
from schemas.mart.dose_response import DOSE_RESPONSE, DoseResponse
from schemas.reported import ReportedCurve, ReportedMeasurement
from schemas.table import polars_schema

COMPOUNDS = pl.DataFrame(
    {
        "dataset_id": ["toy", "toy", "other"],
        "compound_reported": ["Alpha", "Beta", "Alpha"],
        "compound_id": ["RYYVLZVUVIJVGH-UHFFFAOYSA-N", "unresolved:toy:Beta", "unresolved:other:Alpha"],
    }
)
CONTEXTS = pl.DataFrame({"dataset_id": "toy", "context_reported": ["L1"], "context_id": ["CVCL_0023"]})
NAMES = {"dataset_id": "toy", "compound_names": COMPOUNDS, "context_names": CONTEXTS}

MEASUREMENT = {
    "context_reported": "L1",
    "compound_reported": "Alpha",
    "experiment": "",
    "replicate": "",
    "plate": "",
    "well": "",
    "dose": "1",
    "dose_unit": "uM",
    "time": "3",
    "time_unit": "days",
    "viability": 0.5,
    "viability_sd": None,
    "n_wells": 2,
    "growth_rate": None,
    "is_low_quality": False,
}
CURVE = {
    "context_reported": "L1",
    "compound_reported": "Alpha",
    "experiment": "",
    "replicate_level": "pooled",
    "time": "72",
    "time_unit": "h",
    "n_points": 9,
    "min_dose_um": 0.00100004,
    "max_dose_um": 9.9999999,
    "ec50_um": 0.3,
    "auc": 1.5,
    "auc_kind": "area",
    "flags": ["ic50_censored"],
}
FALLING = dict(zip(["0.01", "0.1", "1", "10", "100"], [1.0, 0.95, 0.5, 0.1, 0.05], strict=True))


def measurements(*changes: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(
        [MEASUREMENT | change for change in changes], schema=polars_schema(ReportedMeasurement), orient="row"
    )


def curves(*changes: dict[str, object]) -> pl.DataFrame:
    schema = polars_schema(ReportedCurve)
    return pl.DataFrame([dict.fromkeys(schema) | CURVE | change for change in changes], schema=schema)


def series(**change: object) -> list[dict[str, object]]:
    return [{"dose": dose, "viability": value} | change for dose, value in FALLING.items()]


def validated(model: type[pa.DataFrameModel], rows: pl.DataFrame) -> pl.DataFrame:
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        return model.validate(rows)


def test_measurements_get_ids_canonical_doses_and_hours() -> None:
    reported = measurements({"dose": "-6.522879", "dose_unit": "log10 M"})
    rows, account = harmonize_measurements(reported, **NAMES)
    row = validated(Viability, rows).row(0, named=True)
    assert (row["dose_um"], row["time_h"]) == (0.3, 72.0)
    assert (row["compound_id"], row["context_id"]) == ("RYYVLZVUVIJVGH-UHFFFAOYSA-N", "CVCL_0023")
    assert (row["dose_reported"], row["dose_unit_reported"]) == ("-6.522879", "log10 M")
    assert (account.n_in, account.n_out) == (1, 1)


def test_a_zero_dose_is_dropped_and_counted() -> None:
    rows, account = harmonize_measurements(measurements({}, {"dose": "0", "viability": 1.0}), **NAMES)
    assert rows.height == 1
    assert account.dropped == {ZERO_DOSE: 1}


def test_unusual_viabilities_are_kept_and_flagged() -> None:
    values = [4.0, -1.5, -0.1, 0.0, 3.0]
    reported = measurements(*({"viability": value, "dose": str(i + 1)} for i, value in enumerate(values)))
    rows, account = harmonize_measurements(reported, **NAMES)
    assert validated(Viability, rows).sort("dose_um")["qc_flags"].to_list() == [
        ["viability_above_3"],
        ["viability_below_minus_1", "viability_negative"],
        ["viability_negative"],
        [],
        [],
    ]
    assert account.noted == {"viability_above_3": 1, "viability_below_minus_1": 1, "viability_negative": 2}


def test_a_repeated_measurement_is_refused_by_name() -> None:
    with pytest.raises(
        BadInputError, match=r"toy, row context_reported 'L1', compound_reported 'Alpha'.*2 such rows"
    ):
        harmonize_measurements(measurements({}, {"viability": 0.6}), **NAMES)


def test_a_negative_dose_is_refused() -> None:
    with pytest.raises(BadInputError, match="column dose: a negative dose"):
        harmonize_measurements(measurements({"dose": "-1"}), **NAMES)


@pytest.mark.parametrize("change", [{"compound_reported": "Gamma"}, {"context_reported": "L9"}])
def test_a_name_without_resolution_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(
        BadInputError, match=r"toy, column (compound|context)_reported: .* own list \(1 such name"
    ):
        harmonize_measurements(measurements(change), **NAMES)


def test_no_measurements_give_no_rows_in_the_table_s_columns() -> None:
    rows, account = harmonize_measurements(measurements(), **NAMES)
    assert validated(Viability, rows).is_empty()
    assert (account.n_in, account.n_out) == (0, 0)


def test_a_published_curve_stands_beside_the_fit_of_its_points() -> None:
    viability, _ = harmonize_measurements(measurements(*series()), **NAMES)
    rows, account = harmonize_curves(curves({}), viability, **NAMES)
    row = validated(DoseResponse, rows).row(0, named=True)
    assert (row["model"], row["n_points"], row["min_dose_um"]) == ("log_logistic_3", 5, 0.01)
    assert row["ic50_um"] == pytest.approx(1, rel=0.1)
    assert (row["ec50_um_reported"], row["auc_reported"], row["auc_kind_reported"]) == (0.3, 1.5, "area")
    assert row["qc_flags"] == ["ic50_censored"]
    assert (account.n_in, account.n_out) == (1, 1)
    assert account.noted == {"level pooled": 1, "ic50_censored": 1}


def test_a_published_curve_without_points_is_not_fitted() -> None:
    viability, _ = harmonize_measurements(measurements(), **NAMES)
    rows, account = harmonize_curves(curves({}), viability, **NAMES)
    row = validated(DoseResponse, rows).row(0, named=True)
    assert (row["model"], row["ec50_um"], row["e_max"]) == ("none", None, None)
    assert (row["n_points"], row["min_dose_um"], row["max_dose_um"]) == (9, 0.001, 10.0)
    assert account.noted[WITHOUT_POINTS] == 1


@pytest.mark.parametrize(("experiment", "levels"), [("", ["pooled"]), ("2b", ["pooled", "experiment"])])
def test_points_without_published_curve_get_a_row(experiment: str, levels: list[str]) -> None:
    viability, _ = harmonize_measurements(measurements(*series(experiment=experiment)), **NAMES)
    rows, account = harmonize_curves(curves(), viability, **NAMES)
    assert validated(DoseResponse, rows)["replicate_level"].to_list() == levels
    assert set(rows["model"]) == {"log_logistic_3"}
    assert set(rows["time_h"]) == {72.0}
    assert rows["auc_reported"].null_count() == account.noted[WITHOUT_CURVE] == len(levels)


def test_too_few_points_leave_the_curve_unfitted_with_a_flag() -> None:
    viability, _ = harmonize_measurements(measurements({}, {"dose": "2"}), **NAMES)
    row = harmonize_curves(curves({}), viability, **NAMES)[0].row(0, named=True)
    assert (row["model"], row["n_points"]) == ("none", 2)
    assert row["qc_flags"] == ["ic50_censored", "too_few_points"]


def test_curves_are_fitted_per_replicate_per_experiment_and_pooled() -> None:
    reported = measurements(
        *series(experiment="a", replicate="1"),
        *series(experiment="a", replicate="2"),
        *series(experiment="b", replicate="1"),
    )
    viability, _ = harmonize_measurements(reported, **NAMES)
    published = curves({"experiment": "a", "replicate_level": "experiment"})
    rows, _ = harmonize_curves(published, viability, **NAMES)
    found = validated(DoseResponse, rows).select(
        "replicate_level", "experiment", "replicate", "n_points", "n_values", "ec50_um_reported"
    )
    assert found.rows() == [
        ("pooled", "", "", 5, 15, None),
        ("experiment", "a", "", 5, 10, 0.3),
        ("replicate", "a", "1", 5, 5, None),
        ("replicate", "a", "2", 5, 5, None),
        ("experiment", "b", "", 5, 5, None),
    ]


def test_values_the_publisher_rejects_are_kept_but_not_fitted() -> None:
    rejected = {"dose": "1000", "viability": 2.0, "is_low_quality": True}
    viability, account = harmonize_measurements(measurements(*series(), rejected), **NAMES)
    assert account.noted == {"low_quality_reported": 1}
    assert viability.height == 6
    row = harmonize_curves(curves(), viability, **NAMES)[0].row(0, named=True)
    assert (row["n_values"], row["max_dose_um"]) == (5, 100.0)


def test_doses_by_weight_or_volume_are_dropped_and_counted() -> None:
    units = ["log10 M", "log10 ug/ml", "log10 v/v"]
    reported = measurements(*({"dose": "-6", "dose_unit": unit} for unit in units))
    rows, account = harmonize_measurements(reported, **NAMES)
    assert rows["dose_um"].to_list() == [1.0]
    assert account.dropped == {WITHOUT_MOLARITY: 2}


def test_growth_rates_are_fitted_where_they_are_given() -> None:
    growing = [{"growth_rate": 2 * point["viability"] - 1} | point for point in series()]
    viability, _ = harmonize_measurements(measurements(*growing), **NAMES)
    row = validated(DoseResponse, harmonize_curves(curves(), viability, **NAMES)[0]).row(0, named=True)
    assert row["gr_inf"] == pytest.approx(-0.9, abs=0.05)
    assert row["gr50_um"] == pytest.approx(0.55, rel=0.3)
    assert row["gr_max"] == pytest.approx(-0.9)


def test_a_repeated_curve_is_refused_by_name() -> None:
    viability, _ = harmonize_measurements(measurements(), **NAMES)
    with pytest.raises(BadInputError, match="compound_reported 'Alpha'"):
        harmonize_curves(curves({}, {"auc": 2.0}), viability, **NAMES)


def test_measurements_of_several_times_are_fitted_together_with_a_flag() -> None:
    late = series(experiment="b", time="5")
    viability, _ = harmonize_measurements(measurements(*series(experiment="a"), *late), **NAMES)
    rows, _ = harmonize_curves(curves(), viability, **NAMES)
    assert rows.select("replicate_level", "time_h").rows() == [
        ("pooled", None),
        ("experiment", 72.0),
        ("experiment", 120.0),
    ]
    assert [flags for flags in rows["qc_flags"].to_list() if flags] == [["times_pooled"]]


def test_a_curve_of_another_time_than_its_measurements_is_refused() -> None:
    viability, _ = harmonize_measurements(measurements(*series()), **NAMES)
    with pytest.raises(BadInputError, match="another time than their measurements: 48 h and 72 h"):
        check_curves(curves({"time": "48"}), curve_times(viability), dataset_id="toy")


@pytest.mark.realdata
def test_ccle_refits_agree_with_the_published_metrics(realdata: Path) -> None:
    raw, source = realdata / "raw" / "ccle_2015", Ccle2015()
    names = {
        f"{entity}_names": reported.collect().select(
            pl.lit("ccle_2015").alias("dataset_id"),
            f"{entity}_reported",
            pl.format("unresolved:ccle_2015:{}", f"{entity}_reported").alias(f"{entity}_id"),
        )
        for entity, reported in (("compound", source.compounds(raw)), ("context", source.contexts(raw)))
    }
    points = pl.concat(source.measurements(raw))
    viability, _ = harmonize_measurements(points, dataset_id="ccle_2015", **names)
    rows, account = harmonize_curves(source.curves(raw).collect(), viability, dataset_id="ccle_2015", **names)
    assert validated(Viability, viability).height == 93_251
    assert validated(DoseResponse, rows).select(DOSE_RESPONSE.primary_key).is_unique().all()
    assert (account.n_out, rows["model"].unique().to_list()) == (11_670, ["log_logistic_3"])
    agreement = rows.select(
        e_max=pl.corr("e_max", "e_max_reported"),
        auc=pl.corr("auc", "auc_reported"),
    ).row(0, named=True)
    assert agreement["e_max"] > 0.93
    assert agreement["auc"] < -0.96
