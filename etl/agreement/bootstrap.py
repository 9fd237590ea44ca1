"""Confidence intervals of means whose rows come in clusters: bias-corrected and accelerated bootstrap.

Rows of one compound (its lines, times and doses) are not independent, so that whole compounds are drawn with
replacement. The intervals are BCa (Efron 1987, J. Am. Stat. Assoc. 82:171; Efron & Tibshirani 1993, An
Introduction to the Bootstrap, chapter 14), with the acceleration from leaving out one compound at a time.
They speak of the compounds that were studied, not of chemical space.

Many means over the same rows are bootstrapped together: the sums of each cluster are all that a resample
needs, so that all resamples of all means are two matrix products.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from etl.arrays import FloatArray, IntArray, slices

N_RESAMPLES: Final = 2_000
LEVEL: Final = 0.95
SEED: Final = 20260505
"""That of the reference paper's intervals."""

MIN_CLUSTERS: Final = 2
MIN_VALID: Final = 20
"""Resamples that hold a value, from which on an interval is given."""
MIN_JACKKNIFE: Final = 3
QUANTITIES_PER_BLOCK: Final = 512
"""Means whose resamples are in memory together."""

BCA, PERCENTILE_FALLBACK, DEGENERATE, NOT_ESTIMABLE = (
    "bca",
    "percentile_fallback",
    "degenerate",
    "not_estimable",
)


class Means(NamedTuple):
    """Means with their intervals; one entry per quantity."""

    mean: FloatArray
    """NaN where no row has a value."""
    low: FloatArray
    """Lower end; NaN where none can be given."""
    high: FloatArray
    status: NDArray[np.str_]
    """``bca``, ``percentile_fallback``, ``degenerate`` (all clusters say the same: the interval is the mean)
    or ``not_estimable``."""
    n_finite: IntArray
    """Rows with a value."""
    n_clusters: IntArray
    """Clusters with such a row."""


def clustered_means(
    values: FloatArray,
    cluster: IntArray,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Means:
    """Return the mean of each column over its finite rows, with a 95 % BCa interval over clusters.

    A resample draws as many clusters as there are, with replacement, and takes the mean over all their rows.
    With B the resampled means: z0 = Φ⁻¹(share of B below the mean, ties half, kept within 1 / 2n of 0 and 1);
    the acceleration a = Σ d³ / (6 (Σ d²)^1.5) with d the mean of the leave-one-cluster-out means minus each.
    Where a cannot be had (fewer than three such means, or all equal) the interval is that of percentiles,
    with the status ``percentile_fallback``.

    Args:
        values: rows × quantities, NaN where a row has no value.
        cluster: cluster of each row, whole numbers from 0; shape (rows,).
        n_resamples: resamples.
        seed: of the generator; the same seed draws the same clusters for all quantities.

    >>> values = np.array([[1.0], [2.0], [4.0], [5.0]])
    >>> clustered_means(values, np.array([0, 1, 2, 3])).mean
    array([3.])
    """
    values = np.asarray(values, dtype=np.float64)
    n_rows, n_quantities = values.shape
    n_clusters = int(cluster.max()) + 1 if n_rows else 0
    is_finite = np.isfinite(values)
    sums, counts = np.zeros((2, n_clusters, n_quantities))
    np.add.at(sums, cluster, np.where(is_finite, values, 0.0))
    np.add.at(counts, cluster, is_finite)
    drawn = _drawn(n_clusters, n_resamples, seed)
    found = [
        _interval(sums[:, part], counts[:, part], drawn)
        for part in slices(n_quantities, QUANTITIES_PER_BLOCK)
    ]
    joined = [np.concatenate(parts) for parts in zip(*found, strict=True)] if found else [np.zeros(0)] * 6
    return Means._make(joined)


def _drawn(n_clusters: int, n_resamples: int, seed: int) -> FloatArray:
    """Return how often each cluster is in each resample; shape (resamples, clusters)."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(max(n_clusters, 1), size=(n_resamples, n_clusters))
    flat = picks + np.arange(n_resamples)[:, None] * n_clusters
    drawn = np.bincount(flat.ravel(), minlength=n_resamples * n_clusters)
    return drawn.reshape(n_resamples, n_clusters).astype(np.float64)


def _interval(sums: FloatArray, counts: FloatArray, drawn: FloatArray) -> Means:
    total, n = sums.sum(axis=0), counts.sum(axis=0)
    n_used = (counts > 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        resampled = (drawn @ sums) / (drawn @ counts)
        left_out = np.where(counts > 0, (total - sums) / (n - counts), np.nan)
    resampled.sort(axis=0)
    n_valid = np.isfinite(resampled).sum(axis=0)
    tolerance = 1e-12 * np.maximum(np.abs(mean), 1e-300)
    below = (resampled < mean - tolerance).sum(axis=0) + 0.5 * (np.abs(resampled - mean) <= tolerance).sum(
        axis=0
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = 0.5 / n_valid
        bias = ndtri(np.clip(below / n_valid, edge, 1 - edge))
        n_left_out = np.isfinite(left_out).sum(axis=0)
        average = np.nansum(left_out, axis=0) / n_left_out
        d = np.where(np.isfinite(left_out), average - left_out, 0.0)
        acceleration = (d**3).sum(axis=0) / (6 * (d**2).sum(axis=0) ** 1.5)
        tails = ndtri((1 - LEVEL) / 2), ndtri((1 + LEVEL) / 2)
        levels = [ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in tails]
    is_estimable = (n_used >= MIN_CLUSTERS) & (n_valid >= MIN_VALID)
    is_flat = (
        is_estimable & (resampled[0] >= mean - tolerance) & (_last(resampled, n_valid) <= mean + tolerance)
    )
    is_bca = (
        is_estimable
        & ~is_flat
        & (n_left_out >= MIN_JACKKNIFE)
        & np.isfinite(acceleration)
        & np.isfinite(levels[0])
        & np.isfinite(levels[1])
        & (levels[0] < levels[1])
    )
    ends = [
        np.where(is_estimable, _quantile(resampled, n_valid, np.where(is_bca, level, plain)), np.nan)
        for level, plain in zip(levels, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), strict=True)
    ]
    status = np.select(
        [~is_estimable, is_flat, is_bca], [NOT_ESTIMABLE, DEGENERATE, BCA], default=PERCENTILE_FALLBACK
    )
    return Means(mean, ends[0], ends[1], status, n.astype(np.int64), n_used)


def _last(resampled: FloatArray, n_valid: IntArray) -> FloatArray:
    return resampled[np.maximum(n_valid - 1, 0), np.arange(resampled.shape[1])]


def _quantile(ordered: FloatArray, n_valid: IntArray, level: FloatArray) -> FloatArray:
    """Return a quantile of each column's first ``n_valid`` entries, interpolated as NumPy does."""
    at = np.clip(np.nan_to_num(level), 0, 1) * np.maximum(n_valid - 1, 0)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n_valid - 1, 0))
    columns = np.arange(ordered.shape[1])
    return ordered[low, columns] + (at - low) * (ordered[high, columns] - ordered[low, columns])
