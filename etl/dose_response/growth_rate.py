"""Growth-rate (GR) curves and their metrics, after Hafner et al. 2016 (doi 10.1038/nmeth.3853).

    GR(c) = 2 ** (log2(x(c) / x0) / log2(x_ctrl / x0)) - 1 = 2 * RV ** (Td / T) - 1
    GR(c) = GRinf + (1 - GRinf) / (1 + (c / GEC50) ** slope)

with cell counts x, relative viability RV, doubling time Td and assay time T. Here: the growth rate of a
relative viability, and the metrics of a curve with the definitions of the package GRmetrics. Not here: the
least squares (``kernel``).
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from etl.dose_response.fit import ALPHA, Bounds, fit_series_of
from etl.dose_response.hill import log10_ic50
from etl.flags import flag_list

GROWTH_BOUNDS: Final = Bounds(slope=(0.1, 5.0), e_inf=(-1.0, 1.0), ec50_margin=2.0)

GROWTH_COLUMNS: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "gr50_um": pl.Float64,
    "gec50_um": pl.Float64,
    "gr_slope": pl.Float64,
    "gr_inf": pl.Float64,
    "gr_max": pl.Float64,
    "gr_aoc": pl.Float64,
    "flags": pl.List(pl.String),
}


def growth_rate(
    relative_viability: ArrayLike, *, doubling_time_h: ArrayLike, time_h: ArrayLike
) -> NDArray[np.float64]:
    """Return the growth rate: 1 = as the control, 0 = none, below 0 = fewer cells than at the start.

    NaN for a viability below zero; arguments broadcast.

    >>> growth_rate([1.0, 0.25, 0.125], doubling_time_h=36.0, time_h=72.0).round(3).tolist()
    [1.0, 0.0, -0.293]
    """
    viability = np.asarray(relative_viability, dtype=float)
    power = np.asarray(doubling_time_h, dtype=float) / np.asarray(time_h, dtype=float)
    return 2 * np.where(viability >= 0, np.abs(viability), np.nan) ** power - 1


def fit_growth_rates(points: pl.DataFrame, *, n_threads: int | None = None) -> pl.DataFrame:
    """Fit one growth-rate curve per ``curve_id``.

    ``gr_max`` is the lower of the mean growth rates at the two highest doses, ``gr_aoc`` the mean of 1 - GR
    over the tested log doses, by trapezoids through the means. A flat curve (F-test against a constant,
    p >= 0.05) has neither GR50, GEC50 nor slope, and its mean as ``gr_inf``. Flags: ``gr_flat``;
    ``gr50_not_reached``, GRinf >= 0.5; ``gr50_extrapolated``, GR50 outside the tested doses.

    Args:
        points: ``curve_id``, ``dose_um`` > 0 and ``growth_rate``, in any order.
        n_threads: threads, by default one per processor.

    Returns:
        One row per ``curve_id`` that has five doses or more with a finite growth rate, sorted by it, with the
        columns of ``GROWTH_COLUMNS``.
    """
    _, fitted = fit_series_of(points, "growth_rate", GROWTH_BOUNDS, n_threads=n_threads)
    series, doses = fitted.series, fitted.observed
    low, high = (np.log10(doses[name].to_numpy()) for name in ("min_dose_um", "max_dose_um"))
    gr50 = log10_ic50(log10_ec50=series.log10_ec50, slope=series.slope, e_inf=series.e_inf)
    is_flat = fitted.f_test()[1] >= ALPHA
    reaches = ~is_flat & np.isfinite(gr50)
    flags = {
        "gr_flat": is_flat,
        "gr50_not_reached": ~is_flat & ~reaches,
        "gr50_extrapolated": reaches & ((gr50 < low) | (gr50 > high)),
    }
    curved = pl.lit(pl.Series(~is_flat))
    fits = doses.select(
        "curve_id",
        gr50_um=pl.when(pl.lit(pl.Series(reaches))).then(pl.lit(pl.Series(10.0**gr50))),
        gec50_um=pl.when(curved).then(pl.lit(pl.Series(10.0**series.log10_ec50))),
        gr_slope=pl.when(curved).then(pl.lit(pl.Series(series.slope))),
        fitted_inf=pl.when(curved).then(pl.lit(pl.Series(series.e_inf))),
        flags=flag_list({flag: pl.lit(pl.Series(is_set)) for flag, is_set in flags.items()}),
    )
    return (
        fits.join(_observed(points), on="curve_id", how="left")
        .with_columns(gr_inf=pl.coalesce("fitted_inf", "mean"))
        .select("curve_id", *GROWTH_COLUMNS)
        .sort("curve_id")
    )


def _observed(points: pl.DataFrame) -> pl.DataFrame:
    """Return mean, ``gr_max`` and ``gr_aoc`` of each curve."""
    finite = points.filter(pl.col("growth_rate").is_finite())
    means = (
        finite.group_by("curve_id", "dose_um")
        .agg(pl.col("growth_rate").mean())
        .sort("curve_id", "dose_um")
        .with_columns(x=pl.col("dose_um").log10())
    )
    y, x = pl.col("growth_rate"), pl.col("x")
    area = ((1 - (y + y.shift(1)) / 2) * (x - x.shift(1))).sum()
    return (
        means.group_by("curve_id")
        .agg(gr_max=y.tail(2).min(), gr_aoc=area / (x.max() - x.min()))
        .join(finite.group_by("curve_id").agg(mean=y.mean()), on="curve_id")
    )
