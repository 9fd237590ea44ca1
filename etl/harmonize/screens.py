"""Reported screen measurements and curves to rows of ``core/viability`` and ``mart/dose_response``.

Here: joining resolved names, units, flags, and published curves with fits of the measurements. Not here: how
a name is resolved, what a unit means (``doses``), and the fit itself (``etl.dose_response``).
"""

import polars as pl

from etl.accounting import RowAccount
from etl.dose_response.fit import fit_curves
from etl.dose_response.growth_rate import fit_growth_rates
from etl.errors import BadInputError
from etl.flags import flag_list
from etl.harmonize.doses import UNITS_WITHOUT_MOLARITY, canonical_dose, dose_um, time_h
from etl.harmonize.resolved import with_resolved_ids
from schemas.core.viability import VIABILITY
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.vocabularies import RESPONSE_FLAGS

CURVE_RANGE = ("n_points", "min_dose_um", "max_dose_um")
CURVE_KEY = ("context_reported", "compound_reported", "experiment")
LEVEL_KEY = (*CURVE_KEY, "replicate", "replicate_level")

ZERO_DOSE = "zero dose: vehicle, not a dose"
WITHOUT_MOLARITY = "dose by weight or volume: no molar dose follows from it"
WITHOUT_POINTS = "published curve without public points"
WITHOUT_CURVE = "points without published curve"

NOT_FITTED = "low_quality_reported"
"""The flag of measurements that no fit uses."""

LOW_VIABILITY = -1.0
HIGH_VIABILITY = 3.0


def harmonize_measurements(
    reported: pl.DataFrame, *, dataset_id: str, compound_names: pl.DataFrame, context_names: pl.DataFrame
) -> tuple[pl.DataFrame, RowAccount]:
    """Return rows of ``core/viability`` and the account of measurements in and out.

    A row with dose zero is a vehicle control, not a dose: dropped and counted. So is a dose in a unit that no
    molar dose follows from (``WITHOUT_MOLARITY``).

    Args:
        reported: the adapter's measurements (``ReportedMeasurement``), or a block of them.
        dataset_id: the dataset.
        compound_names: its rows of ``core/compound_name``.
        context_names: its rows of ``core/context_name``.

    Raises:
        BadInputError: a measurement is given twice, a compound or label is missing from the dataset's own
            lists, or a dose or time cannot be read.
    """
    molar = reported.filter(~pl.col("dose_unit").is_in(UNITS_WITHOUT_MOLARITY))
    measured = molar.with_columns(
        dataset_id=pl.lit(dataset_id),
        dose_reported=pl.col("dose"),
        dose_unit_reported=pl.col("dose_unit"),
        dose_um=dose_um(molar["dose"], molar["dose_unit"], dataset_id=dataset_id),
        time_h=time_h(molar["time"], molar["time_unit"], dataset_id=dataset_id),
    )
    _require_unique(measured, VIABILITY.primary_key, dataset_id)
    resolved = with_resolved_ids(measured, "compound", compound_names, dataset_id=dataset_id)
    resolved = with_resolved_ids(resolved, "context", context_names, dataset_id=dataset_id)
    treated = resolved.filter(pl.col("dose_um") > 0).with_columns(qc_flags=_measurement_flags())
    account = RowAccount(
        unit="measurements",
        n_in=reported.height,
        n_out=treated.height,
        dropped=_nonzero(
            {
                WITHOUT_MOLARITY: reported.height - molar.height,
                ZERO_DOSE: resolved.height - treated.height,
            }
        ),
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
    """Return rows of ``mart/dose_response`` and the account of curves in and out.

    Measurements are fitted at three levels: each replicate where an experiment has several; each experiment
    (context, compound, experiment); and all experiments of a context and compound, once, whatever their
    number (``REPLICATE_LEVELS``). Where a publisher knows no experiments, the last two are one. Published
    metrics stand beside the fit of the level that they are of. Where no points are public the model is
    ``none`` and the dose range is as published; where no curve is published the row has the fit alone. Rows
    in are the distinct curves of both.

    All curves and measurements of a compound are given together; several compounds may be left for another
    call.

    Args:
        curves: the adapter's curves (``ReportedCurve``).
        viability: rows of ``core/viability``.
        dataset_id: the dataset.
        compound_names: its rows of ``core/compound_name``.
        context_names: its rows of ``core/context_name``.

    Raises:
        BadInputError: a curve is given twice, a compound or label is missing from the dataset's own lists, or
            a time cannot be read.
    """
    _require_unique(curves, CURVE_KEY, dataset_id)
    published = curves.with_columns(
        replicate=pl.lit(""),
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
        _fits(viability),
        on=[*CURVE_KEY, "replicate", "replicate_level"],
        how="full",
        coalesce=True,
        suffix="_fitted",
    )
    has_points = pl.col("n_points_fitted").is_not_null()
    rows = (
        joined.with_columns([pl.coalesce(f"{name}_fitted", name).alias(name) for name in CURVE_RANGE])
        .with_columns(
            dataset_id=pl.lit(dataset_id),
            time_h=pl.coalesce("time_h_fitted", "time_h"),
            model=pl.when(pl.col("ec50_um").is_not_null())
            .then(pl.lit("log_logistic_3"))
            .otherwise(pl.lit("none")),
            qc_flags=_response_flags(),
        )
        .pipe(with_resolved_ids, "compound", compound_names, dataset_id=dataset_id)
        .pipe(with_resolved_ids, "context", context_names, dataset_id=dataset_id)
    )
    levels = rows["replicate_level"].value_counts()
    account = RowAccount(
        unit="curves",
        n_in=rows.height,
        n_out=rows.height,
        noted=_nonzero(
            {f"level {level}": count for level, count in levels.sort("replicate_level").iter_rows()}
            | {
                WITHOUT_POINTS: joined.filter(~has_points).height,
                WITHOUT_CURVE: joined.filter(pl.col("is_published").is_null()).height,
            }
        )
        | _flag_counts(rows),
    )
    schema = DOSE_RESPONSE.polars_schema
    return rows.select(list(schema)).cast(schema).sort(DOSE_RESPONSE.primary_key), account


def check_curves(curves: pl.DataFrame, times: pl.DataFrame, *, dataset_id: str) -> None:
    """Check that curves and measurements do not contradict each other.

    Args:
        curves: the adapter's curves (``ReportedCurve``).
        times: of the dataset's measurements (``curve_times``).
        dataset_id: the dataset.

    Raises:
        BadInputError: a curve is given twice, its measurements are of another time than the curve, or a time
            cannot be read.
    """
    _require_unique(curves, CURVE_KEY, dataset_id)
    stated = curves.select(
        *CURVE_KEY, curve_h=time_h(curves["time"], curves["time_unit"], dataset_id=dataset_id)
    )
    both = stated.join(times, on=list(CURVE_KEY), how="inner")
    contradicting = both.filter(pl.col("curve_h") != pl.col("time_h")).sort(CURVE_KEY)
    if contradicting.height:
        raise BadInputError(
            f"{contradicting.height} curve(s) of another time than their measurements: "
            f"{contradicting['curve_h'][0]:g} h and {contradicting['time_h'][0]:g} h",
            dataset_id=dataset_id,
            row=_named(contradicting, CURVE_KEY),
        )


def curve_times(viability: pl.DataFrame) -> pl.DataFrame:
    """Return the times of each curve (context, compound, experiment), one row per time."""
    return viability.select(*CURVE_KEY, "time_h").unique()


def _fits(viability: pl.DataFrame) -> pl.DataFrame:
    """Return the fits of all curves of all levels that have measurements, with their times."""
    usable = viability.filter(~pl.col("qc_flags").list.contains(NOT_FITTED))
    points = pl.concat(_levels(usable)).with_columns(
        curve_id=pl.struct(LEVEL_KEY).rank("dense").cast(pl.Int64)
    )
    keys = points.group_by("curve_id", *LEVEL_KEY).agg(
        n_times=pl.col("time_h").n_unique(), time_h=pl.col("time_h").first()
    )
    fits = fit_curves(points.select("curve_id", "dose_um", "viability"))
    growing = points.filter(pl.col("growth_rate").is_not_null())
    growth = fit_growth_rates(growing.select("curve_id", "dose_um", "growth_rate"))
    several = pl.col("n_times") > 1
    flags = pl.concat_list(
        pl.col("flags"),
        pl.col("flags_growth").fill_null([]),
        pl.when(several).then(pl.lit(["times_pooled"])).otherwise(pl.lit([], pl.List(pl.String))),
    )
    return (
        keys.join(fits, on="curve_id", how="inner")
        .join(growth, on="curve_id", how="left", suffix="_growth")
        .with_columns(flags=flags, time_h=pl.when(~several).then("time_h"))
        .drop("curve_id", "n_times", "flags_growth")
    )


def _levels(viability: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the measurements once for each level of replication that they are fitted at."""
    points = viability.select(*CURVE_KEY, "replicate", "time_h", "dose_um", "viability", "growth_rate")
    has_replicates = pl.col("replicate").n_unique().over(CURVE_KEY) > 1
    has_experiments = pl.col("experiment") != ""
    parts = {
        "replicate": points.filter(has_replicates),
        "experiment": points.filter(has_experiments).with_columns(replicate=pl.lit("")),
        "pooled": points.with_columns(experiment=pl.lit(""), replicate=pl.lit("")),
    }
    return [part.with_columns(replicate_level=pl.lit(level)) for level, part in parts.items()]


def _measurement_flags() -> pl.Expr:
    """Return the flags of a measurement, in the order of ``MEASUREMENT_FLAGS``."""
    value = pl.col("viability")
    rules = {
        "viability_above_3": value > HIGH_VIABILITY,
        "viability_below_minus_1": value < LOW_VIABILITY,
        "viability_negative": value < 0,
        NOT_FITTED: pl.col("is_low_quality"),
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
