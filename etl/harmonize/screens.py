"""Reported screen measurements and curves to rows of ``core/viability`` and ``mart/dose_response``.

Here: joining resolved names, units, flags, and published curves with fits of the measurements. Not here: how
a name is resolved, what a unit means (``doses``), and the fit itself (``etl.dose_response``).
"""

import polars as pl

from etl.accounting import RowAccount
from etl.dose_response.fit import fit_curves
from etl.errors import BadInputError
from etl.flags import flag_list
from etl.harmonize.doses import canonical_dose, dose_um, time_h
from etl.harmonize.resolved import with_resolved_ids
from schemas.core.viability import VIABILITY
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.vocabularies import RESPONSE_FLAGS

CURVE_RANGE = ("n_points", "min_dose_um", "max_dose_um")
CURVE_KEY = ("context_reported", "compound_reported", "experiment")

ZERO_DOSE = "zero dose: vehicle, not a dose"
WITHOUT_POINTS = "published curve without public points"
WITHOUT_CURVE = "points without published curve"

LOW_VIABILITY = -1.0
HIGH_VIABILITY = 3.0


def harmonize_measurements(
    reported: pl.DataFrame, *, dataset_id: str, compound_names: pl.DataFrame, context_names: pl.DataFrame
) -> tuple[pl.DataFrame, RowAccount]:
    """Return the dataset's rows of ``core/viability`` and the account of measurements in and out.

    A row with dose zero is a vehicle control, not a dose: dropped and counted.

    Args:
        reported: the adapter's measurements (``ReportedMeasurement``).
        dataset_id: the dataset.
        compound_names: its rows of ``core/compound_name``.
        context_names: its rows of ``core/context_name``.

    Raises:
        BadInputError: a measurement is given twice, a compound or label is missing from the dataset's own
            lists, or a dose or time cannot be read.
    """
    measured = reported.with_columns(
        dataset_id=pl.lit(dataset_id),
        dose_reported=pl.col("dose"),
        dose_unit_reported=pl.col("dose_unit"),
        dose_um=dose_um(reported["dose"], reported["dose_unit"], dataset_id=dataset_id),
        time_h=time_h(reported["time"], reported["time_unit"], dataset_id=dataset_id),
    )
    _require_unique(measured, VIABILITY.primary_key, dataset_id)
    resolved = with_resolved_ids(measured, "compound", compound_names, dataset_id=dataset_id)
    resolved = with_resolved_ids(resolved, "context", context_names, dataset_id=dataset_id)
    treated = resolved.filter(pl.col("dose_um") > 0).with_columns(qc_flags=_measurement_flags())
    account = RowAccount(
        unit="measurements",
        n_in=reported.height,
        n_out=treated.height,
        dropped=_nonzero({ZERO_DOSE: resolved.height - treated.height}),
        noted=_flag_counts(treated),
    )
    schema = VIABILITY.polars_schema
    return treated.select(list(schema)).cast(schema), account


def harmonize_curves(
    curves: pl.DataFrame,
    viability: pl.DataFrame,
    *,
    dataset_id: str,
    compound_names: pl.DataFrame,
    context_names: pl.DataFrame,
) -> tuple[pl.DataFrame, RowAccount]:
    """Return the dataset's rows of ``mart/dose_response`` and the account of curves in and out.

    A curve is a (context, compound, experiment). Its measurements are fitted, replicates together; its
    published metrics stand beside. Where no points are public the model is ``none`` and the dose range is as
    published; where no curve is published the row has the fit alone. Rows in are the distinct curves of both.

    Args:
        curves: the adapter's curves (``ReportedCurve``).
        viability: the dataset's rows of ``core/viability``.
        dataset_id: the dataset.
        compound_names: its rows of ``core/compound_name``.
        context_names: its rows of ``core/context_name``.

    Raises:
        BadInputError: a curve is given twice, its measurements differ in time, a compound or label is missing
            from the dataset's own lists, or a time cannot be read.
    """
    check_curves(curves, viability, dataset_id=dataset_id)
    published = curves.with_columns(
        time_h=time_h(curves["time"], curves["time_unit"], dataset_id=dataset_id),
        min_dose_um=canonical_dose(pl.col("min_dose_um")),
        max_dose_um=canonical_dose(pl.col("max_dose_um")),
        is_published=pl.lit(value=True),
    ).rename(
        {
            name: f"{name}_reported"
            for name in curves.columns
            if f"{name}_reported" in DOSE_RESPONSE.polars_schema and name not in CURVE_KEY
        }
    )
    joined = published.join(
        _fits(viability, dataset_id), on=list(CURVE_KEY), how="full", coalesce=True, suffix="_fitted"
    )
    has_points = pl.col("n_points_fitted").is_not_null()
    rows = (
        joined.with_columns([pl.coalesce(f"{name}_fitted", name).alias(name) for name in CURVE_RANGE])
        .with_columns(
            dataset_id=pl.lit(dataset_id),
            time_h=pl.coalesce("time_h", "time_h_fitted"),
            replicate_level=pl.coalesce(
                "replicate_level",
                pl.when(pl.col("experiment") == "").then(pl.lit("pooled")).otherwise(pl.lit("experiment")),
            ),
            model=pl.when(pl.col("ec50_um").is_not_null())
            .then(pl.lit("log_logistic_3"))
            .otherwise(pl.lit("none")),
            qc_flags=_response_flags(),
        )
        .pipe(with_resolved_ids, "compound", compound_names, dataset_id=dataset_id)
        .pipe(with_resolved_ids, "context", context_names, dataset_id=dataset_id)
    )
    account = RowAccount(
        unit="curves",
        n_in=rows.height,
        n_out=rows.height,
        noted=_nonzero(
            {
                WITHOUT_POINTS: joined.filter(~has_points).height,
                WITHOUT_CURVE: joined.filter(pl.col("is_published").is_null()).height,
            }
        )
        | _flag_counts(rows),
    )
    schema = DOSE_RESPONSE.polars_schema
    return rows.select(list(schema)).cast(schema).sort(CURVE_KEY), account


def check_curves(curves: pl.DataFrame, viability: pl.DataFrame, *, dataset_id: str) -> None:
    """Check that curves and measurements do not contradict each other.

    Args:
        curves: the adapter's curves (``ReportedCurve``).
        viability: the dataset's rows of ``core/viability``.
        dataset_id: the dataset.

    Raises:
        BadInputError: a curve is given twice, its measurements differ in time or are of another time than
            the curve, or a time cannot be read.
    """
    _require_unique(curves, CURVE_KEY, dataset_id)
    stated = curves.select(
        *CURVE_KEY, curve_h=time_h(curves["time"], curves["time_unit"], dataset_id=dataset_id)
    )
    both = stated.join(_curve_times(viability, dataset_id), on=list(CURVE_KEY), how="inner")
    contradicting = both.filter(pl.col("curve_h") != pl.col("time_h")).sort(CURVE_KEY)
    if contradicting.height:
        raise BadInputError(
            f"{contradicting.height} curve(s) of another time than their measurements: "
            f"{contradicting['curve_h'][0]:g} h and {contradicting['time_h'][0]:g} h",
            dataset_id=dataset_id,
            row=_named(contradicting, CURVE_KEY),
        )


def _curve_times(viability: pl.DataFrame, dataset_id: str) -> pl.DataFrame:
    """Return the time of every curve that has measurements."""
    times = viability.group_by(CURVE_KEY).agg(pl.col("time_h").first(), n_times=pl.col("time_h").n_unique())
    mixed = times.filter(pl.col("n_times") > 1).sort(CURVE_KEY)
    if mixed.height:
        raise BadInputError(
            f"{mixed.height} curve(s) with measurements at more than one time",
            dataset_id=dataset_id,
            row=_named(mixed, CURVE_KEY),
        )
    return times.drop("n_times").sort(CURVE_KEY)


def _fits(viability: pl.DataFrame, dataset_id: str) -> pl.DataFrame:
    """Return the fit of every curve that has measurements, with its time."""
    keys = _curve_times(viability, dataset_id).with_row_index("curve_id")
    points = viability.join(keys.select("curve_id", *CURVE_KEY), on=list(CURVE_KEY), how="inner")
    return keys.join(
        fit_curves(points.select("curve_id", "dose_um", "viability")), on="curve_id", how="inner"
    ).drop("curve_id")


def _measurement_flags() -> pl.Expr:
    """Return the flags of a measurement, in the order of ``MEASUREMENT_FLAGS``."""
    value = pl.col("viability")
    rules = {
        "viability_above_3": value > HIGH_VIABILITY,
        "viability_below_minus_1": value < LOW_VIABILITY,
        "viability_negative": value < 0,
    }
    return flag_list(rules)


def _response_flags() -> pl.Expr:
    """Return the flags of publisher and fit together, in the order of ``RESPONSE_FLAGS``."""
    both = pl.concat_list(pl.col("flags").fill_null([]), pl.col("flags_fitted").fill_null([]))
    return flag_list({flag: both.list.contains(flag) for flag in RESPONSE_FLAGS})


def _require_unique(rows: pl.DataFrame, key: tuple[str, ...], dataset_id: str) -> None:
    repeated = rows.filter(pl.struct(key).is_duplicated()).sort(key)
    if repeated.height:
        raise BadInputError(
            f"more than one row with this key ({repeated.height} such rows)",
            dataset_id=dataset_id,
            row=_named(repeated, key),
        )


def _named(rows: pl.DataFrame, key: tuple[str, ...]) -> str:
    """Name the first row by its key."""
    return ", ".join(f"{column} {rows[column][0]!r}" for column in key if column != "dataset_id")


def _flag_counts(rows: pl.DataFrame) -> dict[str, int]:
    flags = rows["qc_flags"].explode().drop_nulls()
    return dict(flags.value_counts().sort("qc_flags").iter_rows())


def _nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
