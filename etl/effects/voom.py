"""Voom: how precise a log count is at its expected size (Law et al. 2014).

Belongs here: the mean-variance trend of log counts and the weights it gives. Does not belong here: the fits
before and after it (:mod:`etl.effects.linear_model`).
"""

import numpy as np

from etl.effects.blocks import FloatArray
from etl.effects.lowess import Curve, lowess

SPAN = 0.5
LOG2_MILLION = float(np.log2(1e6))
TREND_FLOOR = 1e-3
"""Smallest value of the trend as a share of its largest: a trend through zero would give infinite weights."""


def fit_mean_variance_trend(
    mean_log_cpm: FloatArray, sigma: FloatArray, effective_library: FloatArray
) -> Curve:
    """Return the lowess curve of sqrt(sigma) on the mean log2 count.

    The mean log2 count of a gene is its mean log2 count per million plus mean log2(library + 1) - log2(1e6).

    Args:
        mean_log_cpm: mean of the log counts per million of each gene.
        sigma: residual standard deviation of each gene's unweighted fit.
        effective_library: library size times normalization factor of each sample.
    """
    mean_log_count = mean_log_cpm + np.mean(np.log2(effective_library + 1.0)) - LOG2_MILLION
    curve = lowess(mean_log_count, np.sqrt(sigma), span=SPAN)
    top = float(curve.y.max())
    if top <= 0:
        return Curve(curve.x, np.ones_like(curve.y))  # every gene is fitted exactly: no sample is preferred
    return Curve(curve.x, np.maximum(curve.y, TREND_FLOOR * top))


def precision_weights(fitted: FloatArray, effective_library: FloatArray, trend: Curve) -> FloatArray:
    """Return trend(expected log2 count)^-4, the inverse of the variance expected at that count.

    Args:
        fitted: fitted log counts per million, N x b; overwritten.
        effective_library: library size times normalization factor, N.
        trend: sqrt(sigma) against log2 count.

    >>> flat = Curve(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    >>> precision_weights(np.array([[10.0]]), np.array([1e6]), flat).tolist()
    [[16.0]]
    """
    fitted += (np.log2(effective_library + 1.0) - LOG2_MILLION)[:, None]
    weights = trend.at(fitted)
    weights *= weights
    weights *= weights
    return np.reciprocal(weights, out=weights)
