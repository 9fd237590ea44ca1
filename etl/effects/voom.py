"""Voom: how precise a log count is at its expected size (Law et al. 2014).

Belongs here: the mean-variance trend of log counts and the weights it gives. Does not belong here: the fits
before and after it (:mod:`etl.effects.linear_model`).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray
from etl.effects.lowess import Curve, lowess

SPAN = 0.5
LOG2_MILLION = float(np.log2(1e6))
TREND_FLOOR = 1e-3
"""Smallest value of the trend as a share of its largest: a trend through zero would give infinite weights."""
BUCKETS = 512
"""Equal parts of the curve's range, each with its first anchor: a look-up instead of a search."""


class PrecisionCurve(NamedTuple):
    """The trend of sqrt(sigma) on log2 counts, ready to be looked up value by value."""

    x: FloatArray
    """Anchors, ascending."""
    y: FloatArray
    """Trend at the anchors."""
    slope: FloatArray
    """Slope from each anchor to the next."""
    first: npt.NDArray[np.uint32]
    """Last anchor of an earlier bucket, for each bucket."""
    buckets_per_unit: float
    """Buckets per unit of x."""


def fit_mean_variance_trend(mean_log_cpm: FloatArray, sigma: FloatArray, library_shift: FloatArray) -> Curve:
    """Return the lowess curve of sqrt(sigma) on the mean log2 count.

    Args:
        mean_log_cpm: mean of the log counts per million of each gene.
        sigma: residual standard deviation of each gene's unweighted fit.
        library_shift: :func:`library_shift` of each sample; its mean turns means into mean log2 counts.
    """
    curve = lowess(mean_log_cpm + np.mean(library_shift), np.sqrt(sigma), span=SPAN)
    top = float(curve.y.max())
    if top <= 0:
        return Curve(curve.x, np.ones_like(curve.y))  # every gene is fitted exactly: no sample is preferred
    # Lowess of few genes may dip below zero: its size counts, as in the power of four that is taken of it.
    return Curve(curve.x, np.maximum(np.abs(curve.y), TREND_FLOOR * top))


def library_shift(effective_library: FloatArray) -> FloatArray:
    """Return log2(library + 1) - log2(1e6), which turns log counts per million into log counts.

    >>> library_shift(np.array([999_999.0])).tolist()
    [0.0]
    """
    return np.log2(effective_library + 1.0) - LOG2_MILLION


def precision_curve(trend: Curve) -> PrecisionCurve:
    """Return a trend in the form that :func:`precision` looks up.

    >>> flat = precision_curve(Curve(np.array([0.0, 1.0]), np.array([0.5, 0.5])))
    >>> precision(10.0, flat)
    16.0
    """
    width = np.diff(trend.x)
    slope = np.append(np.diff(trend.y) / np.where(width > 0, width, 1.0), 0.0)
    extent = float(trend.x[-1] - trend.x[0])
    per_unit = BUCKETS / extent if extent > 0 else 0.0
    # The bucket of an anchor by the same arithmetic as that of a value, so that rounding cannot part them.
    bucket = ((trend.x - trend.x[0]) * per_unit).astype(np.int64)
    first = np.maximum(np.searchsorted(bucket, np.arange(BUCKETS + 2)) - 1, 0)
    # One more anchor, never reached, so that the last has a next one.
    x, y = np.append(trend.x, trend.x[-1]), np.append(trend.y, trend.y[-1])
    return PrecisionCurve(x, y, np.append(slope, 0.0), first.astype(np.uint32), per_unit)


@njit(cache=True, nogil=True, error_model="numpy")
def precision(log_count, curve):  # type: ignore[no-untyped-def]
    """Return trend(log count)^-4, the inverse of the variance expected there; flat beyond the ends."""
    x = min(max(log_count, curve.x[0]), curve.x[-1])
    # Unsigned, because signed positions are checked for being counted from the end.
    anchor = curve.first[np.uint32((x - curve.x[0]) * curve.buckets_per_unit)]
    while curve.x[anchor + np.uint32(1)] < x:
        anchor += np.uint32(1)
    level = curve.y[anchor] + curve.slope[anchor] * (x - curve.x[anchor])
    square = level * level
    return 1.0 / (square * square)
