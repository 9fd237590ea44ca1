"""Moderated variances: every gene's variance is shrunk towards what all genes have in common (Smyth 2004).

Belongs here: the prior of the variances, constant or following a trend, and the shrinkage. Does not belong
here: how residual variances were obtained.

Model: s2 | sigma2 ~ sigma2 chi2_d / d and 1 / sigma2 ~ chi2_d0 / (d0 s0^2), so s2 ~ s0^2 F(d, d0). The
prior is fitted by the moments of e = log s2 - digamma(d / 2) + log(d / 2) (Smyth 2004, section 6.2):

    trigamma(d0 / 2) = var(e) - mean trigamma(d / 2)
    log s0^2 = mean(e) + digamma(d0 / 2) - log(d0 / 2)

A var(e) no larger than chi-square noise alone explains means that all genes share one variance: d0 is
infinite.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from etl.effects.blocks import FloatArray

VARIANCE_FLOOR = 1e-5
"""Smaller shares of the median variance enter the prior as this share: a zero has no logarithm."""
TREND_COLUMNS = 4
"""Basis columns of the trend: a natural cubic spline with two inner knots."""
TREND_NEEDS_GENES = 30
"""Distinct covariate values from which the trend is a spline; below it is a straight line."""
NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """Prior of the residual variances."""

    variance: FloatArray
    """s0^2: one number, or one per gene when it follows a trend."""
    df: float
    """d0; may be infinite, and 0 where nothing could be learned."""


def fit_prior(
    variance: FloatArray, residual_df: npt.ArrayLike, *, covariate: FloatArray | None = None
) -> VariancePrior:
    """Return the prior of residual variances, constant or following a smooth trend in a covariate.

    With a covariate, mean(e) is the fit of a natural cubic spline with four columns, its inner knots at the
    terciles of the covariate, and var(e) the residual variance of that fit.

    Args:
        variance: residual variances s2, one per gene, >= 0.
        residual_df: degrees of freedom d of each, or one for all; genes with 0 say nothing and are left out.
        covariate: finite, one per gene, usually the mean expression.

    Returns:
        The prior; of fewer than two usable genes one with df 0, which leaves variances as they are.

    >>> prior = fit_prior(np.array([0.5, 1.0, 2.0, 8.0]), 4)
    >>> round(prior.df, 4), round(float(prior.variance), 4)
    (3.5277, 1.6173)
    """
    s2 = np.asarray(variance, dtype=np.float64)
    df = np.broadcast_to(np.asarray(residual_df, dtype=np.float64), s2.shape)
    usable = (df > 0) & np.isfinite(s2)
    if np.count_nonzero(usable) < 2 or not s2[usable].any():
        return VariancePrior(variance=np.asarray(np.nan if not usable.any() else s2[usable].mean()), df=0.0)
    half_df = df[usable] / 2
    floored = np.maximum(s2[usable], VARIANCE_FLOOR * _typical(s2[usable]))
    log_variance = np.log(floored) - special.digamma(half_df) + np.log(half_df)

    if covariate is None:
        level = np.asarray(log_variance.mean())
        excess = float(log_variance.var(ddof=1))
    else:
        basis, everywhere = _trend_basis(covariate[usable], covariate)
        solution, _, rank, _ = np.linalg.lstsq(basis, log_variance, rcond=None)
        level = everywhere @ solution
        n_spare = len(log_variance) - int(rank)
        excess = float(((log_variance - basis @ solution) ** 2).sum() / n_spare) if n_spare else 0.0
    excess -= float(special.polygamma(1, half_df).mean())

    if excess > 0:
        half_prior = float(inverse_trigamma(excess))
        shift = float(special.digamma(half_prior)) - np.log(half_prior)
        return VariancePrior(variance=np.exp(level + shift), df=2 * half_prior)
    if covariate is None:
        # One common variance: its best estimate is the mean, not the exponential of the mean logarithm.
        return VariancePrior(variance=np.asarray(floored.mean()), df=np.inf)
    return VariancePrior(variance=np.exp(level), df=np.inf)


def shrink(variance: FloatArray, residual_df: npt.ArrayLike, prior: VariancePrior) -> FloatArray:
    """Return posterior variances (d s2 + d0 s0^2) / (d + d0); s0^2 where d0 is infinite or d is 0.

    >>> shrink(np.array([1.0, 4.0]), 2, VariancePrior(np.asarray(2.0), 2.0)).tolist()
    [1.5, 3.0]
    """
    s2 = np.asarray(variance, dtype=np.float64)
    df = np.broadcast_to(np.asarray(residual_df, dtype=np.float64), s2.shape)
    prior_variance = np.broadcast_to(prior.variance, s2.shape)
    if np.isinf(prior.df):
        return prior_variance.copy()
    if prior.df == 0:
        return np.where(df > 0, s2, np.nan)
    own = np.where(df > 0, df * s2, 0.0)
    return (own + prior.df * prior_variance) / (df + prior.df)


def inverse_trigamma(x: npt.ArrayLike) -> FloatArray:
    """Return y with trigamma(y) = x > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix).

    1 / trigamma is nearly linear, so from y = 1/2 + 1/x the steps converge monotonically. Beyond 1e7 and
    below 1e-6 the limits 1 / sqrt(x) and 1 / x are exact to double precision, or nearly (relative 5e-7).

    >>> inverse_trigamma([np.pi**2 / 6, 0.1]).round(6).tolist()
    [1.0, 10.491682]
    """
    target = np.asarray(x, dtype=np.float64)
    middle = np.clip(target, 1e-6, 1e7)
    y = 0.5 + 1.0 / middle
    for _ in range(NEWTON_STEPS):
        trigamma = special.polygamma(1, y)
        step = trigamma * (1.0 - trigamma / middle) / special.polygamma(2, y)
        y = y + step
        if np.max(-step / y, initial=0.0) < 1e-8:
            break
    y = np.where(target > 1e7, 1.0 / np.sqrt(target), y)
    return np.where(target < 1e-6, 1.0 / target, y)


def _typical(variance: FloatArray) -> float:
    """Return the median variance, or the mean where more than half are zero."""
    middle = float(np.median(variance))
    return middle if middle > 0 else float(variance.mean())


def _trend_basis(fitted: FloatArray, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the spline basis at the covariates that are fitted and at those that are wanted.

    Any basis of the same spline space gives the same fit. This one is 1, x and the natural truncated powers
    (Hastie, Tibshirani & Friedman 2009, eq. 5.4), with x scaled to 0..1.
    """
    low, high = float(fitted.min()), float(fitted.max())
    extent = high - low if high > low else 1.0

    def columns(covariate: FloatArray) -> FloatArray:
        x = (covariate - low) / extent
        parts = [np.ones_like(x), x]
        if len(np.unique(fitted)) >= TREND_NEEDS_GENES:
            shares = np.linspace(0, 1, TREND_COLUMNS)
            knots = np.concatenate([[0.0], (np.quantile(fitted, shares[1:-1]) - low) / extent, [1.0]])
            powers = [_truncated_power(x, knot, knots[-1]) for knot in knots[:-1]]
            parts += [power - powers[-1] for power in powers[:-1]]
        return np.column_stack(parts)

    return columns(fitted), columns(wanted)


def _truncated_power(x: FloatArray, knot: float, last: float) -> FloatArray:
    """Return ((x - knot)+^3 - (x - last)+^3) / (last - knot); zero for a knot at the end."""
    if knot >= last:
        return np.zeros_like(x)
    return (np.maximum(x - knot, 0.0) ** 3 - np.maximum(x - last, 0.0) ** 3) / (last - knot)
