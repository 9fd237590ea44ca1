"""Prior of the variances by maximum likelihood, for genes of unequal residual degrees of freedom.

Belongs here: the prior fitted by likelihood, and its variant that weighs outliers down. Does not belong here:
the prior fitted by moments, which serves where all genes have the same residual df, and the shrinkage.

Where values are missing, genes differ in their residual df d, and an unweighted mean of log variances is
dominated by the noise of those with the fewest. Under the model s2 ~ s0^2 F(d, d0),

    e = log s2 - digamma(d / 2) + log(d / 2)

has mean log s0^2 - digamma(d0 / 2) + log(d0 / 2), and trigamma(d / 2) of its variance is sampling noise. So
e is averaged, or smoothed along the covariate, with weights 1 / trigamma(d / 2); every d0 then has its s0^2,
and d0 is where the likelihood of all s2 under F(d, d0) is largest (profile likelihood).

limma does so since version 3.61. No paper gives its constants: those below reproduce the reference results
to 1e-10, and the notes beside them say what these leave open.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from etl.arrays import FloatArray
from etl.effects.f_distribution import log_density_of_log, tails
from etl.effects.lowess import weighted_lowess
from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.robust_prior import outlier_df

SEARCHED = (0.5, 0.9998)
"""Range of (d0 / 2) / (1 + d0 / 2), the scale on which d0 is sought: d0 from 2 to 9998."""
SEARCH_TOLERANCE = float(np.finfo(np.float64).eps) ** 0.25
"""Of that scale. It is coarse (1.2e-4), so equality with R needs R's steps, those of Brent (1973), chapter
5; SciPy's bounded search makes the same."""
OUTLIER_RATE = 0.3
"""False discovery rate below which a variance weighs less. Reference results show only that it lies between
0.298 and 0.506."""
SPAN_AT_MANY_GENES = 0.3
GENES_OF_FULL_SPAN = 500
"""Up to this many genes a local fit of the trend uses all of them; of more, 0.3 + 0.7 (500 / n)^(1/3). The
reference results have 118 and 500 genes, so the fall beyond 500 is unchecked."""


@dataclass(frozen=True, slots=True)
class LikelihoodFit:
    """Prior fitted by likelihood."""

    log_variance: FloatArray
    """log s0^2: 0-d, or one per gene when it follows a trend."""
    df: float
    """d0 of the genes that are no outliers."""


def fit_likelihood(
    variance: FloatArray, residual_df: FloatArray, covariate: FloatArray | None, *, robust: bool
) -> tuple[FloatArray, float, FloatArray]:
    """Return prior variance (0-d or one per gene), prior df, and every gene's own prior df.

    With ``robust``, the two-sided tail probabilities of all ratios s2 / s0^2 are adjusted by Benjamini and
    Hochberg; variances whose adjusted value is below 0.3 get it as a weight in a second fit. Genes with
    implausibly large variances under the first fit have fewer prior df, as in
    :func:`etl.effects.robust_prior.outlier_df`.

    Args:
        variance: residual variances, one per gene, > 0.
        residual_df: of each gene, > 0.
        covariate: one per gene, or None for a constant prior.
        robust: weigh outliers down.
    """
    first = _fit(variance, residual_df, covariate, np.ones(variance.shape))
    everywhere = np.full(variance.shape, first.df)
    if not robust:
        return np.exp(first.log_variance), first.df, everywhere
    ratio = variance / np.exp(first.log_variance)
    adjusted = benjamini_hochberg(2 * np.minimum(*tails(ratio, residual_df, first.df)))
    is_outlier = adjusted < OUTLIER_RATE
    if not is_outlier.any():
        return np.exp(first.log_variance), first.df, everywhere
    second = _fit(variance, residual_df, covariate, np.where(is_outlier, adjusted, 1.0))
    gene_df = outlier_df(ratio, residual_df, tail_df=first.df, prior_df=second.df)
    return np.exp(second.log_variance), second.df, gene_df


def _fit(
    variance: FloatArray, residual_df: FloatArray, covariate: FloatArray | None, weight: FloatArray
) -> LikelihoodFit:
    """Return the fit in which every gene counts as much as its weight."""
    half_df = residual_df / 2
    log_s2 = np.log(variance)
    unbiased = log_s2 - special.digamma(half_df) + np.log(half_df)
    precision = weight / special.polygamma(1, half_df)
    if covariate is None:
        level = np.asarray(np.average(unbiased, weights=precision))
    else:
        share = min(1.0, (GENES_OF_FULL_SPAN / len(variance)) ** (1 / 3))
        span = SPAN_AT_MANY_GENES + (1 - SPAN_AT_MANY_GENES) * share
        level = weighted_lowess(covariate, unbiased, precision, span=span).at(covariate)

    def minus_log_likelihood(share: float) -> float:
        half_prior = share / (1 - share)
        z = log_s2 - (level + _shift(half_prior))
        return -float((weight * log_density_of_log(z, residual_df, 2 * half_prior)).sum())

    best = optimize.minimize_scalar(
        minus_log_likelihood, bounds=SEARCHED, method="bounded", options={"xatol": SEARCH_TOLERANCE}
    )
    half_prior = float(best.x / (1 - best.x))
    return LikelihoodFit(level + _shift(half_prior), 2 * half_prior)


def _shift(half_prior: float) -> float:
    """Return digamma(d0 / 2) - log(d0 / 2): log s0^2 less the mean of e."""
    return float(special.digamma(half_prior) - np.log(half_prior))
