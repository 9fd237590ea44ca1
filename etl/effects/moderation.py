"""Moderated variances: every gene's variance is shrunk towards what all genes have in common (Smyth 2004).

Belongs here: the prior of the variances, constant or following a trend, by moments; the choice between that
and the robust and the likelihood prior; the shrinkage. Does not belong here: how those two are fitted, and
how residual variances were obtained.

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

from etl.arrays import BoolArray, FloatArray
from etl.effects.likelihood_prior import fit_likelihood
from etl.effects.robust_prior import fit_winsorized

VARIANCE_FLOOR = 1e-5
"""Smaller shares of the median variance enter the prior as this share: a zero has no logarithm."""
TREND_STEPS = (3, 6, 30)
"""Genes from which the trend has a second, third and fourth basis column: a line, then a natural cubic
spline with one and two inner knots. Never more columns than distinct covariates."""
FEWEST_GENES = 3
"""Usable genes from which a prior is learned."""
NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """Prior of the residual variances."""

    variance: FloatArray
    """s0^2: 0-d, or one per gene when it follows a trend; NaN for a gene without a covariate."""
    df: FloatArray
    """d0: 0-d, or one per gene when outlier genes have fewer; may be infinite, and is 0 where nothing could
    be learned."""


def fit_prior(
    variance: FloatArray,
    residual_df: npt.ArrayLike,
    *,
    covariate: FloatArray | None = None,
    robust: bool = False,
    winsor_tails: tuple[float, float] = (0.05, 0.1),
    legacy: bool | None = None,
) -> VariancePrior:
    """Return the prior of residual variances, constant or following a smooth trend in a covariate.

    By moments, the trend of mean(e) is a natural cubic spline with four columns (fewer below 30 genes), its
    inner knots at evenly spaced quantiles of the covariate, and var(e) the residual variance of that fit. The
    robust prior by moments is
    :func:`etl.effects.robust_prior.fit_winsorized`, the prior by likelihood
    :func:`etl.effects.likelihood_prior.fit_likelihood`.

    Args:
        variance: residual variances s2, one per gene, >= 0; not finite for genes without any.
        residual_df: degrees of freedom d of each, or one for all; genes with 0 say nothing and are left out.
        covariate: one per gene, usually the mean expression; NaN for genes without any value.
        robust: protect the prior from hypervariable genes, and give those fewer prior df.
        winsor_tails: shares of the genes at the lower and upper end whose variances are winsorized by the
            robust prior by moments; 0 < share < 1/2.
        legacy: True for moments, False for likelihood; None, as limma since 3.61, for moments if all
            positive residual df are equal.

    Returns:
        The prior; of fewer than three usable genes one with df 0, which leaves variances as they are.

    Raises:
        ValueError: a winsorized share is not between 0 and 1/2.

    >>> prior = fit_prior(np.array([0.5, 1.0, 2.0, 8.0]), 4)
    >>> prior.df.round(4).tolist(), prior.variance.round(4).tolist()
    (3.5277, 1.6173)
    """
    if not all(0 < tail < 0.5 for tail in winsor_tails):
        raise ValueError(f"winsorized shares are between 0 and 1/2, not {winsor_tails}")
    s2 = np.asarray(variance, dtype=np.float64)
    df = np.broadcast_to(np.asarray(residual_df, dtype=np.float64), s2.shape)
    usable = (df > 0) & np.isfinite(s2)
    if covariate is not None:
        covariate = np.asarray(covariate, dtype=np.float64)
        usable &= np.isfinite(covariate)
        if len(np.unique(covariate[usable])) < 2:
            covariate = None  # there is nothing to follow
    typical = _typical(s2[usable])
    if np.count_nonzero(usable) < FEWEST_GENES or typical == 0:
        return VariancePrior(np.asarray(np.nan if not usable.any() else s2[usable].mean()), np.asarray(0.0))

    s2, df = s2[usable], df[usable]
    floored = np.maximum(s2, VARIANCE_FLOOR * typical)
    inner = None if covariate is None else covariate[usable]
    if legacy is None:
        legacy = bool(df.min() == df.max())
    if not legacy:
        prior_variance, prior_df, gene_df = fit_likelihood(floored, df, inner, robust=robust)
        return _of_all_genes(usable, covariate, prior_variance, prior_df, gene_df)
    by_moments = _fit_moments(floored, df, inner, usable, covariate)
    if not robust or np.isinf(by_moments.df):
        return by_moments  # outliers only ever lower the prior df: an infinite one needs no protection
    fit = fit_winsorized(
        s2,
        df,
        inner,
        moment_variance=by_moments.variance if covariate is None else by_moments.variance[usable],
        moment_df=float(by_moments.df),
        typical_variance=typical,
        tails=winsor_tails,
    )
    return _of_all_genes(usable, covariate, fit.variance, fit.df, fit.gene_df)


def shrink(variance: FloatArray, residual_df: npt.ArrayLike, prior: VariancePrior) -> FloatArray:
    """Return posterior variances (d s2 + d0 s0^2) / (d + d0); s0^2 where d0 is infinite or d is 0.

    A gene with neither residual nor prior df has NaN.

    >>> shrink(np.array([1.0, 4.0]), 2, VariancePrior(np.asarray(2.0), np.asarray(2.0))).tolist()
    [1.5, 3.0]
    """
    s2 = np.asarray(variance, dtype=np.float64)
    df = np.broadcast_to(np.asarray(residual_df, dtype=np.float64), s2.shape)
    prior_variance = np.broadcast_to(prior.variance, s2.shape)
    prior_df = np.broadcast_to(prior.df, s2.shape)
    own = np.where(df > 0, s2, prior_variance)
    # s0^2 + d / (d + d0) (s2 - s0^2) would do without cases, but loses digits where s0^2 is far larger.
    with np.errstate(invalid="ignore"):
        finite_df = np.where(np.isinf(prior_df), 0.0, prior_df)
        known = np.where(prior_df > 0, prior_variance, 0.0)
        posterior = (df * own + finite_df * known) / (df + finite_df)
    return np.where(np.isinf(prior_df), prior_variance, np.where(df + prior_df > 0, posterior, np.nan))


def total_df(residual_df: npt.ArrayLike, prior: VariancePrior) -> FloatArray:
    """Return the degrees of freedom d + d0 of each gene's moderated t, at most those of all genes together.

    Args:
        residual_df: one per gene; NaN counts as 0 in the sum.
        prior: the prior of the same genes.

    >>> total_df([3, 0], VariancePrior(np.asarray(2.0), np.asarray(2.5))).tolist()
    [3.0, 2.5]
    """
    df = np.asarray(residual_df, dtype=np.float64)
    return np.minimum(df + prior.df, np.nansum(df))


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


def _fit_moments(
    floored: FloatArray,
    df: FloatArray,
    inner: FloatArray | None,
    usable: BoolArray,
    covariate: FloatArray | None,
) -> VariancePrior:
    """Return the prior by moments of usable genes, at the covariates of all genes."""
    half_df = df[:1] / 2 if df.min() == df.max() else df / 2  # one value stands for all
    log_variance = np.log(floored) - (special.digamma(half_df) - np.log(half_df))
    if covariate is None or inner is None:
        level = np.asarray(log_variance.mean())
        excess = float(log_variance.var(ddof=1))
    else:
        basis, everywhere = _trend_basis(inner, inner if usable.all() else covariate)
        solution, _, rank, _ = np.linalg.lstsq(basis, log_variance, rcond=None)
        level = everywhere @ solution
        n_spare = len(log_variance) - int(rank)
        excess = float(((log_variance - basis @ solution) ** 2).sum() / n_spare) if n_spare else 0.0
    excess -= float(special.polygamma(1, half_df).mean())

    if excess > 0:
        half_prior = float(inverse_trigamma(excess))
        shift = float(special.digamma(half_prior)) - np.log(half_prior)
        return VariancePrior(np.asarray(np.exp(level + shift)), np.asarray(2 * half_prior))
    if covariate is None:
        # One common variance: its best estimate is the mean, not the exponential of the mean logarithm.
        return VariancePrior(np.asarray(floored.mean()), np.asarray(np.inf))
    return VariancePrior(np.exp(level), np.asarray(np.inf))


def _of_all_genes(
    usable: BoolArray,
    covariate: FloatArray | None,
    prior_variance: FloatArray,
    prior_df: float,
    gene_df: FloatArray,
) -> VariancePrior:
    """Return a prior of usable genes as one of all genes.

    Other genes have the df of genes that are no outliers, and with a trend its value at their covariate,
    linear in the logarithm between neighbours.
    """
    if (gene_df == prior_df).all():
        df = np.asarray(prior_df)
    else:
        df = np.full(usable.shape, prior_df)
        df[usable] = gene_df
    if covariate is None or usable.all():
        return VariancePrior(np.asarray(prior_variance), df)
    variance = np.full(usable.shape, np.nan)
    variance[usable] = prior_variance
    order = np.argsort(covariate[usable])
    others = np.flatnonzero(~usable & ~np.isnan(covariate))
    variance[others] = np.exp(
        np.interp(covariate[others], covariate[usable][order], np.log(prior_variance)[order])
    )
    return VariancePrior(variance, df)


def _typical(variance: FloatArray) -> float:
    """Return the median variance, or the mean where more than half are zero; 0 of no variances."""
    if not len(variance):
        return 0.0
    middle = float(np.median(variance))
    return middle if middle > 0 else float(variance.mean())


def _trend_basis(fitted: FloatArray, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the spline basis at the covariates that are fitted and at those that are wanted.

    Any basis of the same spline space gives the same fit. This one is 1, x and the natural truncated powers
    (Hastie, Tibshirani & Friedman 2009, eq. 5.4), with x scaled to 0..1.
    """
    low, high = float(fitted.min()), float(fitted.max())
    extent = high - low if high > low else 1.0
    n_columns = min(1 + sum(len(fitted) >= step for step in TREND_STEPS), len(np.unique(fitted)))
    inner = np.quantile(fitted, np.linspace(0, 1, max(n_columns, 2))[1:-1])
    knots = np.concatenate([[0.0], (inner - low) / extent, [1.0]])

    def columns(covariate: FloatArray) -> FloatArray:
        x = (covariate - low) / extent
        parts = [np.ones_like(x), x][:n_columns]
        if n_columns > 2:
            powers = [_truncated_power(x, knot, knots[-1]) for knot in knots[:-1]]
            parts += [power - powers[-1] for power in powers[:-1]]
        return np.column_stack(parts)

    basis = columns(fitted)
    return basis, basis if wanted is fitted else columns(wanted)


def _truncated_power(x: FloatArray, knot: float, last: float) -> FloatArray:
    """Return ((x - knot)+^3 - (x - last)+^3) / (last - knot); zero for a knot at the end."""
    if knot >= last:
        return np.zeros_like(x)
    above, beyond = np.maximum(x - knot, 0.0), np.maximum(x - last, 0.0)
    return (above * above * above - beyond * beyond * beyond) / (last - knot)
