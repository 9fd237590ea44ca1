"""Recomputed against published metrics of each screen: rows of ``mart/response_reconciliation``.

Here: which column is compared with which published one, where both mean the same, and how far they differ.
Not here: the fits, the metrics, and a judgement of either side: a difference may be the publisher's other
model, other window or other clipping as well as a fault.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.agreement.correlation import MIN_PAIRS, correlate
from etl.errors import BadInputError
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.response_reconciliation import RESPONSE_RECONCILIATION

GROUP: Final = ("dataset_id", "replicate_level", "metric")
PUBLISHED_GROWTH: Final = ("gr50_um_reported", "gr_inf_reported", "gr_max_reported", "gr_aoc_reported")
CENSORED: Final = ("ic50_censored", "ic50_at_lowest_dose")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One recomputed column and the published one that it should equal.

    Args:
        recomputed: column of ``mart/dose_response``.
        published: likewise.
        tolerance: absolute difference, of log10 for doses, up to which two values count as equal.
        is_log10: whether both are doses, compared as log10; a dose of zero has none and counts as not given.
        of_growth: True where the published value is compared in rows with growth-rate metrics only, False
            where in the others only: publishers of such metrics give EC50, slope and R² of that curve.
    """

    recomputed: str
    published: str
    tolerance: float
    is_log10: bool = False
    of_growth: bool | None = None


LOG10_TOLERANCE = 0.1
"""A factor of 1.26: a fifth of the distance of two doses of a half-log series."""
FRACTION_TOLERANCE = 0.05
SLOPE_TOLERANCE = 0.25

COMPARISONS: Final = {
    "mean_viability": Comparison("auc", "mean_viability_reported", FRACTION_TOLERANCE),
    "log10_ec50": Comparison("ec50_um", "ec50_um_reported", LOG10_TOLERANCE, is_log10=True, of_growth=False),
    "log10_ic50": Comparison("ic50_um", "ic50_um_reported", LOG10_TOLERANCE, is_log10=True),
    "slope": Comparison("slope", "slope_reported", SLOPE_TOLERANCE, of_growth=False),
    "e_inf": Comparison("e_inf", "e_inf_reported", FRACTION_TOLERANCE),
    "e_max": Comparison("e_max", "e_max_reported", FRACTION_TOLERANCE),
    "r_squared": Comparison("r_squared", "r_squared_reported", FRACTION_TOLERANCE, of_growth=False),
    "log10_gec50": Comparison("gec50_um", "ec50_um_reported", LOG10_TOLERANCE, is_log10=True, of_growth=True),
    "log10_gr50": Comparison("gr50_um", "gr50_um_reported", LOG10_TOLERANCE, is_log10=True),
    "gr_slope": Comparison("gr_slope", "slope_reported", SLOPE_TOLERANCE, of_growth=True),
    "gr_inf": Comparison("gr_inf", "gr_inf_reported", FRACTION_TOLERANCE),
    "gr_max": Comparison("gr_max", "gr_max_reported", FRACTION_TOLERANCE),
    "gr_aoc": Comparison("gr_aoc", "gr_aoc_reported", FRACTION_TOLERANCE),
}


def reconcile(curves: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return how far recomputed metrics equal the published ones, by dataset, level and metric.

    A dataset's rows enter at each level of replication that it publishes any of these metrics at, so that a
    published value meets the fit of what it was fitted to. An IC50 counts where it lies within the tested
    doses: published ones at an end of them (``CENSORED``) and recomputed ones outside are as good as not
    given. Differences are recomputed minus published, of log10 for doses.

    Args:
        curves: rows of ``mart/dose_response``.

    Returns:
        Rows of ``mart/response_reconciliation``, sorted by its key, for each metric that either side gives.

    Raises:
        BadInputError: a column is missing or of another type.
    """
    sides = _sides(curves)
    both = sides.drop_nulls()
    difference = pl.col("left") - pl.col("right")
    differences = both.group_by(GROUP).agg(
        median_difference=difference.median(),
        median_absolute_difference=difference.abs().median(),
        p95_absolute_difference=difference.abs().quantile(0.95, interpolation="linear"),
        share_within_tolerance=(difference.abs() <= pl.col("tolerance")).mean(),
    )
    left, right = pl.col("left").is_not_null(), pl.col("right").is_not_null()
    counts = sides.group_by(GROUP).agg(
        n_both=(left & right).sum(),
        n_recomputed_only=(left & ~right).sum(),
        n_published_only=(~left & right).sum(),
        tolerance=pl.col("tolerance").first(),
    )
    schema = RESPONSE_RECONCILIATION.polars_schema
    return (
        counts.join(differences, on=GROUP, how="left")
        .join(correlate(both, GROUP), on=GROUP, how="left")
        .with_columns(
            status=pl.when(pl.col("n_both") < MIN_PAIRS)
            .then(pl.lit("too_few_curves"))
            .when(pl.col("is_constant"))
            .then(pl.lit("constant"))
            .otherwise(pl.lit("ok"))
        )
        .select(list(schema))
        .cast(schema)
        .sort(GROUP)
    )


def reconciliation_account(reconciliation: pl.DataFrame) -> RowAccount:
    """Return how many comparisons have correlations, and why the others have none."""
    counted = reconciliation["status"].value_counts().sort("status")
    return RowAccount(
        reconciliation.height, reconciliation.height, noted=dict(counted.iter_rows()), unit="comparisons"
    )


def _sides(curves: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return both values of each curve and metric where either is given.

    Columns: ``GROUP``, ``left`` (recomputed), ``right`` (published) and ``tolerance``.
    """
    pairs = COMPARISONS.values()
    published = sorted({pair.published for pair in pairs})
    values = sorted({pair.recomputed for pair in pairs} | set(published))
    needed = ["dataset_id", "replicate_level", "min_dose_um", "max_dose_um", "qc_flags", *values]
    lazy = curves.lazy()
    _require_columns(lazy.collect_schema(), needed)
    rows = lazy.select(needed).collect()
    levels = rows.filter(pl.any_horizontal(pl.col(published).is_not_null())).select(GROUP[:2]).unique()
    at_level = rows.join(levels, on=GROUP[:2], how="semi").with_columns(
        ic50_um=pl.when(pl.col("ic50_um").is_between("min_dose_um", "max_dose_um")).then("ic50_um"),
        ic50_um_reported=pl.when(
            ~pl.any_horizontal(pl.col("qc_flags").list.contains(flag) for flag in CENSORED)
        ).then("ic50_um_reported"),
        is_growth=pl.any_horizontal(pl.col(PUBLISHED_GROWTH).is_not_null()),
    )
    nothing = pl.DataFrame(
        schema=dict.fromkeys(GROUP, pl.String) | dict.fromkeys(("left", "right", "tolerance"), pl.Float64)
    )
    return pl.concat([nothing, *(_compared(at_level, metric) for metric in COMPARISONS)])


def _compared(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    pair = COMPARISONS[metric]
    left, right = pl.col(pair.recomputed), pl.col(pair.published)
    if pair.is_log10:
        left, right = (pl.when(dose > 0).then(dose.log10()) for dose in (left, right))
    if pair.of_growth is not None:
        right = pl.when(pl.col("is_growth") == pair.of_growth).then(right)
    return rows.select(
        *GROUP[:2], metric=pl.lit(metric), left=left, right=right, tolerance=pl.lit(pair.tolerance)
    ).filter(pl.any_horizontal(pl.col("left", "right").is_not_null()))


def _require_columns(schema: pl.Schema, columns: list[str]) -> None:
    for column in columns:
        expected = DOSE_RESPONSE.polars_schema[column]
        if schema.get(column) != expected:
            rule = f"curves need it as {expected}, found {schema.get(column, 'no such column')}"
            raise BadInputError(rule, column=column)
