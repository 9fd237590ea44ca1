"""Fits of log-logistic curves to many dose series at once, and what is said about them.

Here: frames of points to frames of curves: bounds, confidence intervals, flags, quality, AUC windows. Not
here: the least squares (``kernel``), the curve's formulas (``hill``), growth rates (``growth_rate``), and
where points come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from etl.arrays import BoolArray, FloatArray, IntArray
from etl.dose_response.hill import log10_ic50, mean_viability
from etl.dose_response.kernel import Box, SeriesFits, fit_series
from etl.flags import flag_list

MIN_DOSES: Final = 5
"""A curve with fewer distinct doses is not fitted: three parameters would leave one degree of freedom."""

ALPHA: Final = 0.05
"""Level of the tests behind the flags ``flat`` and ``rising``; intervals have 1 - ALPHA."""

RISE: Final = 0.25
"""Rise of mean viability from one dose to a later one that is flagged ``non_monotone``."""

GLOBAL_WINDOW_UM: Final = (1e-4, 100.0)
"""Window of ``auc_global``: 10^-10 to 10^-4 M, which covers the doses of all screens."""

BOUND_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Bounds:
    """The box that parameters are sought in; an equal pair fixes a parameter.

    Args:
        slope: lowest and highest Hill slope, both positive.
        e_inf: lowest and highest viability at infinite dose.
        e_0: lowest and highest viability without drug.
        ec50_margin: decades that EC50 may lie outside the tested doses.
    """

    slope: tuple[float, float] = (0.1, 10.0)
    e_inf: tuple[float, float] = (0.0, 1.0)
    e_0: tuple[float, float] = (1.0, 1.0)
    ec50_margin: float = 2.0

    @property
    def n_parameters(self) -> int:
        """Parameters that are free."""
        return 2 + sum(low < high for low, high in (self.e_inf, self.e_0))


MODELS: Final[Mapping[str, Bounds]] = {
    "log_logistic_3": Bounds(),
    "log_logistic_4": Bounds(e_0=(0.5, 1.5)),
}
"""Models by name (``DOSE_RESPONSE_MODELS``), with their bounds."""

FIT_COLUMNS: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "n_points": pl.Int32,
    "n_values": pl.Int32,
    "min_dose_um": pl.Float64,
    "max_dose_um": pl.Float64,
    "e_0": pl.Float64,
    "ec50_um": pl.Float64,
    "ec50_low_um": pl.Float64,
    "ec50_high_um": pl.Float64,
    "slope": pl.Float64,
    "e_inf": pl.Float64,
    "e_max": pl.Float64,
    "ic50_um": pl.Float64,
    "ic50_low_um": pl.Float64,
    "ic50_high_um": pl.Float64,
    "auc": pl.Float64,
    "auc_min_dose_um": pl.Float64,
    "auc_max_dose_um": pl.Float64,
    "auc_global": pl.Float64,
    "r_squared": pl.Float64,
    "rmse": pl.Float64,
    "f_statistic": pl.Float64,
    "p_value": pl.Float64,
    "flags": pl.List(pl.String),
}
OBSERVED: Final = ("n_points", "n_values", "min_dose_um", "max_dose_um", "e_max")
"""Columns that need no fit."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fits of the curves that have enough doses, in the order of their ids.

    Args:
        observed: one row per curve: ``curve_id`` and ``OBSERVED``.
        series: what the kernel found for each.
        n_parameters: free parameters of the model.
    """

    observed: pl.DataFrame
    series: SeriesFits
    n_parameters: int

    @property
    def freedom(self) -> FloatArray:
        """Residual degrees of freedom of each curve."""
        n_values: FloatArray = self.observed["n_values"].to_numpy().astype(float)
        return n_values - self.n_parameters

    def f_test(self) -> tuple[FloatArray, FloatArray]:
        """Return F of each curve against a constant, and its p-value; a curve without spread has F = 0."""
        numerator = self.n_parameters - 1
        gain = np.maximum(self.series.total - self.series.residual, 0) / numerator
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(gain > 0, gain / (self.series.residual / self.freedom), 0.0)
        return ratio, f_distribution.sf(ratio, numerator, self.freedom)


def fit_curves(
    points: pl.DataFrame,
    *,
    model: str = "log_logistic_3",
    bounds: Bounds | None = None,
    robust: bool = False,
    n_threads: int | None = None,
) -> pl.DataFrame:
    """Fit one log-logistic curve per ``curve_id``.

    Viabilities are never clipped; values that are not finite are left out. Points have the weight of the
    column ``weight``, or all the same, so that replicates at one dose may be given as rows of their own.

    ``auc`` is the mean fitted viability over the tested log range, ``auc_global`` over ``GLOBAL_WINDOW_UM``.
    Confidence intervals of EC50 and IC50 are of 95 %, from the Jacobian, on the log scale; null for a flat
    curve, and where EC50 or slope stands on a bound. Flags, of ``RESPONSE_FLAGS``:

    * ``too_few_points``: fewer than five doses with a finite value; only the observed columns are filled;
    * ``flat``: F-test against the mean has p >= 0.05;
    * ``rising``: the straight line through viability over log dose rises, t-test p < 0.05;
    * ``non_monotone``: mean viability rises by more than 0.25 from a dose to a later one, without ``rising``;
    * ``on_bound``: a parameter stands on a bound that it may leave;
    * ``ec50_extrapolated``, ``ic50_extrapolated``: outside the tested doses.

    Args:
        points: ``curve_id`` (any type), ``dose_um`` > 0, ``viability`` and, if wanted, ``weight`` > 0, in any
            order.
        model: of ``MODELS``.
        bounds: other bounds than those of the model.
        robust: iteratively reweighted least squares (Cauchy), for series with outliers.
        n_threads: threads, by default one per processor; results do not depend on it.

    Returns:
        One row per ``curve_id``, sorted by it, with the columns of ``FIT_COLUMNS``.

    >>> doses = [0.01, 0.1, 1.0, 10.0, 100.0]
    >>> points = pl.DataFrame({"curve_id": 1, "dose_um": doses, "viability": [1 / (1 + d) for d in doses]})
    >>> fit_curves(points).select(pl.col("ec50_um", "slope", "auc").round(3)).row(0)
    (1.0, 1.0, 0.5)
    """
    box = MODELS[model] if bounds is None else bounds
    observed, fitted = fit_series_of(points, "viability", box, robust=robust, n_threads=n_threads)
    rows = _described(fitted, box)
    return (
        observed.join(rows, on="curve_id", how="left")
        .with_columns(pl.col("flags").fill_null(["too_few_points"]))
        .select("curve_id", *(pl.col(name).cast(dtype) for name, dtype in FIT_COLUMNS.items()))
        .sort("curve_id")
    )


def fit_series_of(
    points: pl.DataFrame, value: str, box: Bounds, *, robust: bool = False, n_threads: int | None = None
) -> tuple[pl.DataFrame, Fitted]:
    """Fit the values of a column; return what was observed of every curve, and the fits of those that can be.

    Args:
        points: ``curve_id``, ``dose_um`` > 0, the column of values and, if wanted, ``weight``.
        value: name of that column.
        box: bounds of the parameters.
        robust: as ``fit_curves``.
        n_threads: as ``fit_curves``.
    """
    dose, values = pl.col("dose_um"), pl.col(value)
    assert points.filter(~((dose > 0) & dose.is_finite()) | dose.is_null()).is_empty(), "doses are positive"
    weight = pl.col("weight") if "weight" in points.columns else pl.lit(1.0)
    finite = (
        points.filter(values.is_finite())
        .select("curve_id", "dose_um", value, weight=weight)
        .sort("curve_id", "dose_um", value)
    )
    observed = (
        points.select("curve_id")
        .unique()
        .join(
            finite.group_by("curve_id").agg(
                n_points=dose.n_unique().cast(pl.Int32),
                n_values=pl.len().cast(pl.Int32),
                min_dose_um=dose.min(),
                max_dose_um=dose.max(),
                e_max=values.filter(dose == dose.max()).mean(),
            ),
            on="curve_id",
            how="left",
        )
        .with_columns(pl.col("n_points", "n_values").fill_null(0))
        .sort("curve_id")
    )
    fittable = observed.filter(pl.col("n_points") >= MIN_DOSES)
    used = finite.join(fittable.select("curve_id"), on="curve_id", how="semi", maintain_order="left")
    first: IntArray = np.concatenate([[0], np.cumsum(fittable["n_values"].to_numpy(), dtype=np.int64)])
    low, high = (np.log10(fittable[name].to_numpy()) for name in ("min_dose_um", "max_dose_um"))
    series = fit_series(
        np.log10(used["dose_um"].to_numpy()),
        used[value].to_numpy(),
        used["weight"].to_numpy(),
        first,
        Box(low - box.ec50_margin, high + box.ec50_margin, box.slope, box.e_0, box.e_inf),
        robust=robust,
        n_threads=n_threads,
    )
    return observed, Fitted(fittable, series, box.n_parameters)


def interval_um(log10_dose: FloatArray, standard_error: FloatArray, freedom: FloatArray) -> list[pl.Series]:
    """Return the ends of the confidence interval of a dose in µM, null where it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = t_distribution.ppf(1 - ALPHA / 2, np.maximum(freedom, 1)) * standard_error
        low, high = 10.0 ** (log10_dose - half), 10.0 ** (log10_dose + half)
    is_given = np.isfinite(low) & np.isfinite(high) & (freedom > 0)
    return [pl.Series(np.where(is_given, end, np.nan)).fill_nan(None) for end in (low, high)]


def is_on_bound(fitted: Fitted, box: Bounds) -> BoolArray:
    """Say of each curve whether a parameter stands on a bound that it may leave."""
    series, doses = fitted.series, fitted.observed
    low, high = (np.log10(doses[name].to_numpy()) for name in ("min_dose_um", "max_dose_um"))
    distances = [
        series.log10_ec50 - (low - box.ec50_margin),
        (high + box.ec50_margin) - series.log10_ec50,
    ]
    for values, (lowest, highest) in (
        (series.slope, box.slope),
        (series.e_inf, box.e_inf),
        (series.e_0, box.e_0),
    ):
        if lowest < highest:
            distances += [values - lowest, highest - values]
    return np.min(distances, axis=0) <= BOUND_TOLERANCE


def _described(fitted: Fitted, box: Bounds) -> pl.DataFrame:
    """Return ``curve_id`` and the columns that need a fit."""
    series, doses, freedom = fitted.series, fitted.observed, fitted.freedom
    curve = {
        "log10_ec50": series.log10_ec50,
        "slope": series.slope,
        "e_inf": series.e_inf,
        "e_0": series.e_0,
    }
    low, high = (np.log10(doses[name].to_numpy()) for name in ("min_dose_um", "max_dose_um"))
    ic50 = log10_ic50(**curve)
    f_statistic, p_value = fitted.f_test()
    is_flat = p_value >= ALPHA
    line_p = 2 * t_distribution.sf(np.abs(series.line_t), freedom + fitted.n_parameters - 2)
    is_rising = (series.line_t > 0) & (line_p < ALPHA)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = np.where(series.total > 0, 1 - series.residual / series.total, np.nan)
    flags = {
        "ec50_extrapolated": (series.log10_ec50 < low) | (series.log10_ec50 > high),
        "ic50_extrapolated": (ic50 < low) | (ic50 > high),
        "flat": is_flat,
        "rising": is_rising,
        "non_monotone": ~is_rising & (series.largest_rise > RISE),
        "on_bound": is_on_bound(fitted, box),
    }
    ec50_ends, ic50_ends = (
        interval_um(middle, np.where(is_flat, np.nan, error), freedom)
        for middle, error in ((series.log10_ec50, series.log10_ec50_se), (ic50, series.log10_ic50_se))
    )
    n_values = doses["n_values"].to_numpy()
    global_window = np.log10(GLOBAL_WINDOW_UM)
    return doses.select(
        "curve_id",
        e_0=pl.Series(series.e_0),
        ec50_um=pl.Series(10.0**series.log10_ec50),
        ec50_low_um=ec50_ends[0],
        ec50_high_um=ec50_ends[1],
        slope=pl.Series(series.slope),
        e_inf=pl.Series(series.e_inf),
        ic50_um=_dose_um(ic50),
        ic50_low_um=ic50_ends[0],
        ic50_high_um=ic50_ends[1],
        auc=pl.Series(mean_viability(low, high, **curve)),
        auc_min_dose_um="min_dose_um",
        auc_max_dose_um="max_dose_um",
        auc_global=pl.Series(mean_viability(*global_window, **curve)),
        r_squared=pl.Series(r_squared).fill_nan(None),
        rmse=pl.Series(np.sqrt(series.residual / n_values)),
        # Of an exact curve F is infinite.
        f_statistic=pl.Series(np.where(np.isfinite(f_statistic), f_statistic, np.nan)).fill_nan(None),
        p_value=pl.Series(p_value).fill_nan(None),
        flags=flag_list({flag: pl.lit(pl.Series(is_set)) for flag, is_set in flags.items()}),
    )


def _dose_um(log10_dose: FloatArray) -> pl.Series:
    """Return doses in µM, null where there is none or it is beyond all numbers."""
    with np.errstate(over="ignore"):
        dose = 10.0**log10_dose
    return pl.Series(np.where(np.isfinite(dose) & (dose > 0), dose, np.nan)).fill_nan(None)
