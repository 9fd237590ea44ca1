"""Least-squares fit of the Hill curve to many dose series at once.

Here: start values, bounded Levenberg-Marquardt over arrays of curves, and what is said about a fit (flags,
quality, AUC window). Not here: the curve itself (``hill``) and where points come from.

For given EC50 and slope the model is linear in the drop 1 - e_inf, so a grid over those two gives the best
drop and its residual in closed form. The best EC50 of every grid slope is a start; all starts of all curves
of a block are refined together, without a loop over curves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from etl.dose_response.hill import LN10, log10_ic50, mean_viability
from etl.flags import flag_list

MIN_DOSES = 5
"""A curve with fewer distinct doses is not fitted: three parameters would leave one degree of freedom."""

E_INF_BOUNDS: Final = (0.0, 1.0)
SLOPE_BOUNDS: Final = (0.1, 10.0)
EC50_MARGIN = 2.0
"""Decades that EC50 may lie outside the tested doses."""

START_SLOPES: Final = (0.3, 0.7, 1.5, 3.5, 8.0)
START_EC50S = 25
"""EC50s of the start grid, evenly spaced over the whole range allowed."""

ALPHA = 0.05
"""Level of the tests behind the flags ``flat`` and ``rising``."""

BLOCK_CURVES = 2048
"""Curves fitted together: bounds memory (about 25 MB for curves of ten points)."""

MAX_ITERATIONS = 200
RELATIVE_TOLERANCE = 1e-12
BOUND_TOLERANCE = 1e-6

Array = NDArray[np.float64]

FIT_COLUMNS: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "n_points": pl.Int32,
    "min_dose_um": pl.Float64,
    "max_dose_um": pl.Float64,
    "ec50_um": pl.Float64,
    "slope": pl.Float64,
    "e_inf": pl.Float64,
    "e_max": pl.Float64,
    "ic50_um": pl.Float64,
    "auc": pl.Float64,
    "auc_min_dose_um": pl.Float64,
    "auc_max_dose_um": pl.Float64,
    "r_squared": pl.Float64,
    "rmse": pl.Float64,
    "flags": pl.List(pl.String),
}


@dataclass(frozen=True, slots=True)
class _Series:
    """Dose series of equal or similar length: curves × points, padded with weight 0.

    Args:
        x: log10 dose relative to ``centre``, 0 in the padding.
        y: viability, 0 in the padding.
        weight: 1 for a point, 0 for padding.
        low: lowest x of each curve.
        high: highest x of each curve.
        centre: log10 dose in the middle of each curve; x is relative to it so that the fit does not depend on
            the unit of the dose.
    """

    x: Array
    y: Array
    weight: Array
    low: Array
    high: Array
    centre: Array


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Parameters of each curve, and its residual sum of squares."""

    middle: Array
    log_slope: Array
    drop: Array
    residual: Array


def fit_curves(points: pl.DataFrame) -> pl.DataFrame:
    """Fit one three-parameter log-logistic curve per ``curve_id``.

    The upper asymptote is 1; e_inf lies in [0, 1], the slope in [0.1, 10], EC50 at most two decades outside
    the tested doses. Viabilities are never clipped; values that are not finite are left out. Every point has
    the same weight, so replicates at one dose may be given as rows of their own.

    The AUC is the mean fitted viability over the tested log range. Flags, of ``RESPONSE_FLAGS``:

    * ``too_few_points``: fewer than five doses with a finite value; only the observed columns are filled;
    * ``flat``: F-test against the mean on 2 and n - 3 degrees of freedom has p >= 0.05;
    * ``rising``: the straight line through viability over log dose rises, t-test p < 0.05;
    * ``on_bound``: a parameter stands on one of the bounds above;
    * ``ec50_extrapolated``: EC50 lies outside the tested doses.

    Args:
        points: ``curve_id`` (any type), ``dose_um`` > 0 and ``viability``, in any order.

    Returns:
        One row per ``curve_id``, sorted by it, with the columns of ``FIT_COLUMNS``.

    >>> doses = [0.01, 0.1, 1.0, 10.0, 100.0]
    >>> points = pl.DataFrame({"curve_id": 1, "dose_um": doses, "viability": [1 / (1 + d) for d in doses]})
    >>> fit_curves(points).select(pl.col("ec50_um", "slope", "auc").round(3)).row(0)
    (1.0, 1.0, 0.5)
    """
    dose, value = pl.col("dose_um"), pl.col("viability")
    assert points.filter(~((dose > 0) & dose.is_finite()) | dose.is_null()).is_empty(), "doses are positive"
    finite = points.filter(value.is_finite()).sort("curve_id", "dose_um", "viability")
    at_top = value.filter(dose == dose.max()).mean()
    observed = (
        points.select("curve_id")
        .unique()
        .join(
            finite.group_by("curve_id").agg(
                n_points=dose.n_unique().cast(pl.Int32),
                n_values=pl.len(),
                min_dose_um=dose.min(),
                max_dose_um=dose.max(),
                e_max=at_top,
            ),
            on="curve_id",
            how="left",
        )
        .with_columns(pl.col("n_points").fill_null(0))
    )
    fittable = observed.filter(pl.col("n_points") >= MIN_DOSES).sort("n_values", "curve_id")
    blocks = [
        _fit_block(
            block, finite.join(block.select("curve_id"), on="curve_id", how="semi", maintain_order="left")
        )
        for block in fittable.iter_slices(BLOCK_CURVES)
    ]
    fitted_columns = [name for name in FIT_COLUMNS if name not in observed.columns]
    nothing = pl.DataFrame(schema={"curve_id": points.schema["curve_id"], **FIT_COLUMNS})
    fitted = pl.concat([nothing.select("curve_id", *fitted_columns), *blocks])
    return (
        observed.join(fitted, on="curve_id", how="left")
        .with_columns(pl.col("flags").fill_null(["too_few_points"]))
        .select("curve_id", *FIT_COLUMNS)
        .sort("curve_id")
    )


def _fit_block(curves: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    """Fit the curves of one block; ``points`` is sorted by curve and dose."""
    ordered = curves.sort("curve_id")
    series = _pad(points, ordered["n_values"].to_numpy().astype(np.int64))
    best = _refine(series)

    slope, e_inf = np.exp(best.log_slope), 1 - best.drop
    log10_ec50 = best.middle + series.centre
    low, high = series.low + series.centre, series.high + series.centre
    n_values = series.weight.sum(axis=1)
    mean = (series.weight * series.y).sum(axis=1) / n_values
    total = (series.weight * (series.y - mean[:, None]) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = np.where(total > 0, 1 - best.residual / total, np.nan)
    flags = {
        "ec50_extrapolated": (best.middle < series.low) | (best.middle > series.high),
        "flat": _p_against_constant(total, best.residual, n_values) >= ALPHA,
        "rising": _is_rising(series, n_values),
        "on_bound": _is_on_bound(series, best),
    }
    return ordered.select(
        "curve_id",
        ec50_um=pl.Series(10.0**log10_ec50),
        slope=pl.Series(slope),
        e_inf=pl.Series(e_inf),
        ic50_um=pl.Series(10.0 ** log10_ic50(log10_ec50=log10_ec50, slope=slope, e_inf=e_inf)).fill_nan(None),
        auc=pl.Series(mean_viability(low, high, log10_ec50=log10_ec50, slope=slope, e_inf=e_inf)),
        auc_min_dose_um=pl.col("min_dose_um"),
        auc_max_dose_um=pl.col("max_dose_um"),
        r_squared=pl.Series(r_squared).fill_nan(None),
        rmse=pl.Series(np.sqrt(best.residual / n_values)),
        flags=flag_list({flag: pl.lit(pl.Series(is_set)) for flag, is_set in flags.items()}),
    )


def _pad(points: pl.DataFrame, n_values: NDArray[np.int64]) -> _Series:
    """Lay the points of each curve out as one row of a matrix."""
    shape = (len(n_values), int(n_values.max()))
    row = np.repeat(np.arange(shape[0]), n_values)
    column = np.arange(len(row)) - np.repeat(np.cumsum(n_values) - n_values, n_values)
    log_dose = np.log10(points["dose_um"].to_numpy())
    low = log_dose[np.cumsum(n_values) - n_values]
    high = log_dose[np.cumsum(n_values) - 1]
    centre = (low + high) / 2
    x, y, weight = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    x[row, column] = log_dose - centre[row]
    y[row, column] = points["viability"].to_numpy()
    weight[row, column] = 1.0
    return _Series(x=x, y=y, weight=weight, low=low - centre, high=high - centre, centre=centre)


def _starts(series: _Series) -> tuple[Array, Array, Array]:
    """Return EC50, log slope and drop of the best grid point of every start slope: curves × slopes each."""
    position = np.linspace(0, 1, START_EC50S)
    lowest, highest = series.low - EC50_MARGIN, series.high + EC50_MARGIN
    middles = lowest[:, None] + position * (highest - lowest)[:, None]
    loss = series.weight * (1 - series.y)
    middle = np.empty((len(middles), len(START_SLOPES)))
    drop = np.empty_like(middle)
    for index, slope in enumerate(START_SLOPES):
        killed = (
            expit(LN10 * slope * (series.x[:, None, :] - middles[:, :, None])) * series.weight[:, None, :]
        )
        square = np.einsum("cep,cep->ce", killed, killed)
        product = np.einsum("cep,cp->ce", killed, loss)
        drops = np.clip(product / np.maximum(square, np.finfo(float).tiny), 0, 1)
        best = np.argmin(drops * (drops * square - 2 * product), axis=1)[:, None]
        middle[:, index] = np.take_along_axis(middles, best, axis=1)[:, 0]
        drop[:, index] = np.take_along_axis(drops, best, axis=1)[:, 0]
    log_slope = np.broadcast_to(np.log(START_SLOPES), middle.shape)
    return middle, log_slope.copy(), drop


def _refine(series: _Series) -> _Parameters:
    """Run Levenberg-Marquardt from every start and return the best end point of each curve."""
    n_starts = len(START_SLOPES)
    theta = np.stack([part.ravel() for part in _starts(series)], axis=1)
    repeated = [np.repeat(part, n_starts, axis=0) for part in (series.x, series.y, series.weight)]
    lower = np.column_stack(
        [
            np.repeat(series.low - EC50_MARGIN, n_starts),
            np.full(len(theta), np.log(SLOPE_BOUNDS[0])),
            np.full(len(theta), 1 - E_INF_BOUNDS[1]),
        ]
    )
    upper = np.column_stack(
        [
            np.repeat(series.high + EC50_MARGIN, n_starts),
            np.full(len(theta), np.log(SLOPE_BOUNDS[1])),
            np.full(len(theta), 1 - E_INF_BOUNDS[0]),
        ]
    )
    theta, residual = _levenberg_marquardt(theta, lower, upper, *repeated)
    residual = residual.reshape(-1, n_starts)
    # Ends that differ by rounding alone count as one: the first start wins, whatever the unit of the dose.
    is_best = residual <= residual.min(axis=1, keepdims=True) * (1 + 1e-9) + 1e-18
    chosen = np.arange(len(residual)) * n_starts + np.argmax(is_best, axis=1)
    middle, log_slope, drop = theta[chosen].T
    return _Parameters(middle, log_slope, drop, residual.ravel()[chosen])


def _residuals(theta: Array, x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return weighted residuals, and the exponent and the killed fraction they rest on."""
    middle, log_slope, drop = theta.T[:, :, None]
    exponent = LN10 * np.exp(log_slope) * (x - middle)
    killed = expit(exponent)
    return weight * (y - (1 - drop * killed)), exponent, killed


def _levenberg_marquardt(
    theta: Array, lower: Array, upper: Array, x: Array, y: Array, weight: Array
) -> tuple[Array, Array]:
    """Minimize the squared residuals of many curves in the box between ``lower`` and ``upper``.

    A parameter on its bound is held while the gradient points outward; a step that would leave the box ends
    on it. A problem is done when an accepted step lowers its sum of squares by less than
    ``RELATIVE_TOLERANCE`` of it, or when no damping finds a lower one.
    """
    theta = theta.copy()
    residual = np.square(_residuals(theta, x, y, weight)[0]).sum(axis=1)
    damping = np.full(len(theta), 1e-3)
    active = np.arange(len(theta))
    for _ in range(MAX_ITERATIONS):
        if active.size == 0:
            break
        here, x_active, w_active = theta[active], x[active], weight[active]
        error, exponent, killed = _residuals(here, x_active, y[active], w_active)
        bend = here[:, 2, None] * killed * (1 - killed) * w_active
        rate = LN10 * np.exp(here[:, 1, None])
        jacobian = np.stack([bend * rate, -bend * exponent, -killed * w_active], axis=2)
        gradient = np.einsum("cpk,cp->ck", jacobian, error)
        normal = np.einsum("cpk,cpl->ckl", jacobian, jacobian)

        low, high = lower[active], upper[active]
        is_held = ((here <= low) & (gradient < 0)) | ((here >= high) & (gradient > 0))
        gradient = np.where(is_held, 0.0, gradient)
        normal = np.where(is_held[:, :, None] | is_held[:, None, :], 0.0, normal)
        diagonal = np.einsum("ckk->ck", normal)
        # A parameter that is held or has no influence stays put instead of making the system singular.
        scale = np.where(diagonal > 0, damping[active, None] * np.maximum(diagonal, 1e-12), 1.0)
        damped = normal + scale[:, :, None] * np.eye(3)
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]

        there = np.clip(here + step, low, high)
        new = np.square(_residuals(there, x_active, y[active], w_active)[0]).sum(axis=1)
        old = residual[active]
        is_better = new < old
        theta[active[is_better]] = there[is_better]
        residual[active[is_better]] = new[is_better]
        damping[active] = np.where(is_better, damping[active] / 5, damping[active] * 4)
        is_done = np.where(is_better, old - new <= RELATIVE_TOLERANCE * old, damping[active] > 1e10)
        active = active[~is_done & (residual[active] > 1e-28)]
    return theta, residual


def _p_against_constant(total: Array, residual: Array, n_values: Array) -> Array:
    """Return the p-value of the F-test of the curve (three parameters) against the mean (one)."""
    freedom = n_values - 3
    gain = np.maximum(total - residual, 0) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(gain > 0, gain / (residual / freedom), 0.0)
    return f_distribution.sf(ratio, 2, freedom)


def _is_rising(series: _Series, n_values: Array) -> NDArray[np.bool_]:
    """Say whether the straight line through viability over log dose rises significantly."""
    x_mean = (series.weight * series.x).sum(axis=1) / n_values
    y_mean = (series.weight * series.y).sum(axis=1) / n_values
    x, y = series.x - x_mean[:, None], series.y - y_mean[:, None]
    xx, xy, yy = ((series.weight * product).sum(axis=1) for product in (x * x, x * y, y * y))
    freedom = n_values - 2
    spread = np.maximum(yy - xy**2 / xx, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(xy != 0, xy / xx / np.sqrt(spread / freedom / xx), 0.0)
    return (ratio > 0) & (2 * t_distribution.sf(np.abs(ratio), freedom) < ALPHA)


def _is_on_bound(series: _Series, best: _Parameters) -> NDArray[np.bool_]:
    """Say whether any parameter stands on a bound."""
    low, high = series.low - EC50_MARGIN, series.high + EC50_MARGIN
    slope, e_inf = np.exp(best.log_slope), 1 - best.drop
    distances = (
        best.middle - low,
        high - best.middle,
        slope - SLOPE_BOUNDS[0],
        SLOPE_BOUNDS[1] - slope,
        e_inf - E_INF_BOUNDS[0],
        E_INF_BOUNDS[1] - e_inf,
    )
    return np.min(distances, axis=0) <= BOUND_TOLERANCE
