"""Prior of the variances when some genes are hypervariable (Phipson, Lee, Majewski, Alexander & Smyth 2016).

Belongs here: the prior fitted to winsorized log variances, and the smaller prior degrees of freedom of genes
that look like outliers. Does not belong here: the prior fitted to all genes alike, and the shrinkage.

A few hypervariable genes inflate the spread of the variances, so every other gene would be shrunk too
little. The log variances, less their robust trend, are therefore winsorized, and the sample mean and
variance of what results are equated with those that log F(d, d0) has when it is winsorized alike.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special, stats

from etl.arrays import FloatArray
from etl.effects.f_distribution import log_density_of_log, log_upper_tail, quantile, upper_tail, with_df1
from etl.effects.lowess import lowess
from etl.effects.root_finding import find_root

LOG_HALF = math.log(0.5)
NODES = 128
"""Points of the Gauss-Legendre quadrature."""
ROOT_TOLERANCE = 1e-8
"""Of d0 / (1 + d0), the scale on which d0 is sought: d0 itself is known to about 1e-8 (1 + d0)^2."""
TREND_SPAN = 0.4
"""Share of the genes in each local fit of the trend."""
ZERO_FLOOR = 1e-12
"""Smaller shares of the typical variance count as this share: a zero has no logarithm. Far below any
variance that is not zero, it is an outlier to the trend, and winsorized unless zeros are many."""


@dataclass(frozen=True, slots=True)
class WinsorizedFit:
    """Prior fitted to winsorized log variances."""

    variance: FloatArray
    """s0^2: 0-d, or one per gene when it follows a trend."""
    df: float
    """d0 of the genes that are no outliers; may be infinite."""
    gene_df: FloatArray
    """d0 of every gene."""


def fit_winsorized(
    variance: FloatArray,
    residual_df: FloatArray,
    covariate: FloatArray | None,
    *,
    moment_variance: FloatArray,
    moment_df: float,
    typical_variance: float,
    tails: tuple[float, float],
) -> WinsorizedFit:
    """Return the robust prior of residual variances (Phipson et al. 2016).

    1. z = log s2 less its mean, or less its lowess curve on the covariate, is winsorized at the quantiles
       p_low and 1 - p_high.
    2. d0 is where log F(d, d0), winsorized at its quantiles of the same levels, has the variance of that;
       never less than the moment estimate, because outliers only ever lower that one.
    3. log s0^2 is the difference of the two winsorized means, plus the trend.
    4. Every gene's own d0: :func:`outlier_df`.

    Where residual df differ, variances are first replaced by those of the largest df that have the same tail
    probability under the moment fit.

    Args:
        variance: residual variances, one per gene, at least 3.
        residual_df: of each gene, > 0.
        covariate: one per gene, or None for a constant prior.
        moment_variance: prior variance of the moment fit, 0-d or one per gene.
        moment_df: its prior df, > 0 and finite.
        typical_variance: > 0; the unit of the floor.
        tails: shares p_low and p_high of the genes winsorized at either end.
    """
    s2 = np.maximum(variance, ZERO_FLOOR * typical_variance)
    df = float(residual_df.max())
    if residual_df.min() < df:
        s2 = moment_variance * with_df1(s2 / moment_variance, residual_df, df, moment_df)

    log_variance = np.log(s2)
    trend = (
        np.asarray(log_variance.mean())
        if covariate is None
        else lowess(covariate, log_variance, span=TREND_SPAN).at(covariate)
    )
    residual = log_variance - trend
    winsorized = np.clip(residual, *np.quantile(residual, (tails[0], 1 - tails[1])))
    prior_df = _prior_df(float(winsorized.var(ddof=1)), df, moment_df, tails)
    expected, _ = winsorized_moments(df, prior_df, tails)
    log_prior = trend + (winsorized.mean() - expected)

    ratio = np.exp(log_variance - log_prior)
    gene_df = outlier_df(ratio, np.full(ratio.shape, df), tail_df=prior_df, prior_df=prior_df)
    return WinsorizedFit(np.exp(log_prior), prior_df, gene_df)


def winsorized_moments(df1: float, df2: float, tails: tuple[float, float]) -> tuple[float, float]:
    """Return mean and variance of log f, f ~ F(df1, df2), winsorized at its quantiles p_low and 1 - p_high.

    The integrals between the quantiles are Gauss-Legendre sums over f / (1 + f) (Phipson et al. 2016);
    beyond them the mass p_low and p_high sits at the quantiles.

    >>> [round(moment, 6) for moment in winsorized_moments(2.0, 2.0, (0.1, 0.1))]
    [0.0, 1.931192]
    """
    low, high = quantile(tails[0], df1, df2), quantile(1 - tails[1], df1, df2)
    start, end = low / (1 + low), high / (1 + high)
    node, weight = _quadrature()
    share = start + (end - start) * node
    z = np.log(share / (1 - share))
    mass = (end - start) * weight * np.exp(log_density_of_log(z, df1, df2)) / (share * (1 - share))
    z, mass = np.append(z, np.log([low, high])), np.append(mass, tails)
    mean = float(mass @ z)
    return mean, float(mass @ (z - mean) ** 2)


def outlier_df(ratio: FloatArray, residual_df: FloatArray, *, tail_df: float, prior_df: float) -> FloatArray:
    """Return every gene's own prior df, smaller for genes whose variance is implausibly large.

    Phipson et al. (2016): with G genes, p the upper tail probability of a gene's ratio s2 / s0^2
    and r the rank of p, the probability that the gene is no outlier is taken as q = p G / (r - 1/2), at most
    1. Its prior df is q d0 + (1 - q) d_out, where d_out makes the most extreme ratio the median of its
    distribution; as the log tail is about proportional to the df, it is d0 log(1/2) / log p, corrected once
    by the tail that this df gives. Finally prior df must not fall as p rises: the leading genes, up to where
    the running mean of the prior df is smallest, get that mean, and every later gene at least what those
    before it have.

    An infinite d0 stands for the residual df of all genes together, of which an outlier gets the share q.

    Args:
        ratio: s2 / s0^2 of each gene.
        residual_df: of each gene, > 0.
        tail_df: prior df of the tail probabilities p.
        prior_df: d0 of genes that are no outliers.

    >>> outlier_df(np.array([0.9, 1.0, 1.1, 400.0]), np.full(4, 9.0), tail_df=3.0, prior_df=3.0).round(3)
    array([3.   , 3.   , 3.   , 0.184])
    """
    n_genes = len(ratio)
    tail = upper_tail(ratio, residual_df, tail_df)
    no_outlier = np.minimum(tail * n_genes / (stats.rankdata(tail) - 0.5), 1.0)
    everywhere = np.full(n_genes, prior_df)
    if not (no_outlier < 1).any():
        return everywhere
    order = np.argsort(tail, kind="stable")
    if np.isinf(prior_df):
        ordered = np.where(no_outlier < 1, no_outlier * residual_df.sum(), np.inf)[order]
    else:
        extreme = float(ratio[order[0]]), float(residual_df[order[0]])
        outlier = prior_df * LOG_HALF / log_upper_tail(*extreme, tail_df)
        if outlier >= prior_df:
            return everywhere
        outlier *= LOG_HALF / log_upper_tail(*extreme, outlier)
        ordered = (no_outlier * prior_df + (1 - no_outlier) * outlier)[order]
        running_mean = np.cumsum(ordered) / np.arange(1, n_genes + 1)
        last = int(running_mean.argmin())
        ordered[: last + 1] = running_mean[last]
    gene_df = np.empty(n_genes)
    gene_df[order] = np.maximum.accumulate(ordered)
    return gene_df


def _prior_df(winsorized_variance: float, df: float, moment_df: float, tails: tuple[float, float]) -> float:
    """Return the d0 whose winsorized variance is the given one, from the moment estimate upwards."""
    if winsorized_variance <= winsorized_moments(df, np.inf, tails)[1]:
        return np.inf

    def excess(share: float) -> float:
        prior_df = share / (1 - share) if share < 1 else np.inf
        return float(np.log(winsorized_variance / winsorized_moments(df, prior_df, tails)[1]))

    lowest = moment_df / (1 + moment_df)
    if excess(lowest) >= 0:
        return moment_df
    share = find_root(excess, lowest, 1.0, tolerance=ROOT_TOLERANCE)
    return share / (1 - share) if share < 1 else np.inf


@cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Return nodes in 0..1 and weights of the Gauss-Legendre quadrature."""
    node, weight = special.roots_legendre(NODES)
    return (node + 1) / 2, weight / 2
