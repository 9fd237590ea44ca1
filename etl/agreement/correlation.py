"""Correlations of many groups of paired values at once, and how certain they are.

Here: Pearson's and Spearman's correlation per group, their confidence intervals from theory, and intervals
from resampling whole clusters where pairs are not independent. Not here: what is paired with what, and what a
correlation means for a screen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from scipy.stats import t as student_t

Array = NDArray[np.float64]

MIN_PAIRS = 3
"""Of fewer pairs no correlation is given: two points always lie on a line."""

Z_95 = float(norm.ppf(0.975))
"""Half the width of a 95 % interval in standard errors."""

RANK_BINS = 32
"""Classes of equal size that ranks are put into for resampling: 32 keep 99.9 % of their variance."""


class Interval(NamedTuple):
    """Ends of 95 % confidence intervals, NaN where none can be given; shape of the correlations."""

    low: Array
    high: Array


class ClusterIntervals(NamedTuple):
    """95 % intervals of both correlations of one set of pairs; (NaN, NaN) where none can be given."""

    pearson: tuple[float, float]
    spearman: tuple[float, float]


def correlate(pairs: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return both correlations of each group of pairs.

    Spearman's is Pearson's of the ranks within the group, ties given their average rank. A group of fewer
    than ``MIN_PAIRS`` pairs, or one with a side that does not vary, has null for both.

    Args:
        pairs: the columns ``by`` and the finite floats ``left`` and ``right``.
        by: columns that tell groups apart.

    Returns:
        One row per group, sorted: the columns ``by``; ``n_pairs`` (Int32); ``pearson``, ``spearman``
        (Float64); ``is_constant``, whether a side does not vary; ``sd_left``, ``sd_right``: standard
        deviations with n - 1, null for a single pair.

    >>> pairs = pl.DataFrame({"g": [1, 1, 1], "left": [1.0, 2.0, 3.0], "right": [1.0, 4.0, 9.0]})
    >>> correlate(pairs, ["g"]).select("g", "n_pairs", pl.col("pearson").round(3), "spearman").row(0)
    (1, 3, 0.99, 1.0)
    """
    left, right = pl.col("left"), pl.col("right")
    left_rank, right_rank = (
        (side.rank("average") - (pl.len() + 1) / 2).over(by).alias(f"{name}_rank")
        for side, name in ((left, "left"), (right, "right"))
    )
    # Deviations first, sums of products then: the sums of raw products lose all digits of a narrow series.
    deviations = pairs.select(
        *by,
        left_rank,
        right_rank,
        left=left - left.mean().over(by),
        right=right - right.mean().over(by),
        is_varied=(left.min().over(by) < left.max().over(by)) & (right.min().over(by) < right.max().over(by)),
    )
    enough = (pl.len() >= MIN_PAIRS) & pl.col("is_varied").first()
    return (
        deviations.group_by(by)
        .agg(
            n_pairs=pl.len().cast(pl.Int32),
            pearson=pl.when(enough).then(_cosine("left", "right")),
            spearman=pl.when(enough).then(_cosine("left_rank", "right_rank")),
            is_constant=~pl.col("is_varied").first(),
            sd_left=left.std(),
            sd_right=right.std(),
        )
        .sort(by)
    )


def pearson_interval(r: ArrayLike, n: ArrayLike) -> Interval:
    """Return 95 % intervals of Pearson correlations of n independent pairs, by Fisher's transformation.

    tanh(atanh(r) ± 1.96 / sqrt(n - 3)) (Fisher 1921, Metron 1, 3-32), as ``scipy.stats.pearsonr`` gives. NaN
    for fewer than four pairs, and for |r| = 1, where the transformation is infinite.

    >>> low, high = pearson_interval([0.5], [28])
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.156, 0.736)
    """
    return _fisher(np.asarray(r, dtype=float), np.asarray(n, dtype=float), inflation=0.0)


def spearman_interval(rho: ArrayLike, n: ArrayLike) -> Interval:
    """Return 95 % intervals of Spearman correlations of n independent pairs.

    As for Pearson, with the variance (1 + rho² / 2) / (n - 3) of the transformed value (Bonett and Wright
    2000, Psychometrika 65, 23-28, doi 10.1007/BF02294183). They found it good up to |rho| about 0.95 and
    n from 25; below it is a guide.
    """
    return _fisher(np.asarray(rho, dtype=float), np.asarray(n, dtype=float), inflation=0.5)


def cluster_intervals(
    cluster: NDArray[np.integer], left: Array, right: Array, *, n_resamples: int, seed: int
) -> ClusterIntervals:
    """Return 95 % intervals of both correlations where pairs of one cluster are not independent.

    Whole clusters are drawn with replacement, as many as there are (cluster bootstrap: Davison and Hinkley
    1997, Bootstrap Methods and their Application, section 3.8). With s the standard deviation of the
    resampled atanh(r) and k clusters the interval is

        tanh(atanh(r) ± t(0.975; k - 1) s sqrt(k / (k - 1)))

    Percentiles of the resampled r were tried and left: with few clusters they cover less (simulated: 77 %
    instead of 87 % of the time with 12 clusters of unequal level). NaN for |r| = 1, as without clusters.

    Sums of squares and products of the clusters are all that a resample of Pearson's needs. Ranks are taken
    anew in every resample, over ``RANK_BINS`` classes of equal size instead of single values, so that a table
    of classes × classes per cluster is all that it needs; r itself is that of the exact ranks.

    Args:
        cluster: cluster of each pair, whole numbers from 0; shape (pairs,).
        left: finite values; shape (pairs,).
        right: likewise.
        n_resamples: number of resamples.
        seed: of the generator; the same seed gives the same intervals.
    """
    n_clusters = int(cluster.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_resamples)

    x, y = left - left.mean(), right - right.mean()
    moments = [np.ones_like(x), x, y, x * x, y * y, x * y]
    per_cluster = np.stack([np.bincount(cluster, part, n_clusters) for part in moments], axis=1)
    resampled_r = _correlation_of_sums(drawn.astype(float) @ per_cluster)

    ranks = [pl.Series(values).rank("average").to_numpy() for values in (left, right)]
    bins = [((rank - 0.5) / len(rank) * RANK_BINS).astype(np.int64) for rank in ranks]
    cell = (cluster * RANK_BINS + bins[0]) * RANK_BINS + bins[1]
    table = np.bincount(cell, minlength=n_clusters * RANK_BINS**2)
    # Counts are whole numbers below 2^24, which Float32 holds exactly: its product is the fast one.
    counts = table.reshape(n_clusters, RANK_BINS**2).astype(np.float32)
    resampled_rho = _binned_spearman(drawn.astype(np.float32) @ counts)
    return ClusterIntervals(
        _t_interval(_correlation(left, right), resampled_r, n_clusters),
        _t_interval(_correlation(*ranks), resampled_rho, n_clusters),
    )


def median_interval(values: Array, *, n_resamples: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median of independent values; shape (values,)."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(n_resamples, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def _cosine(left: str, right: str) -> pl.Expr:
    """Return the cosine of two columns of deviations, which is their correlation."""
    x, y = pl.col(left), pl.col(right)
    scale = (x.pow(2).sum() * y.pow(2).sum()).sqrt()
    return ((x * y).sum() / scale).clip(-1, 1)


def _fisher(r: Array, n: Array, *, inflation: float) -> Interval:
    is_given = (n > MIN_PAIRS) & (np.abs(r) < 1)
    inner = np.where(is_given, r, 0.0)
    z = np.arctanh(inner)
    width = Z_95 * np.sqrt((1 + inflation * inner**2) / np.where(is_given, n - 3, 1.0))
    return Interval(*(np.where(is_given, np.tanh(end), np.nan) for end in (z - width, z + width)))


def _correlation(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else np.nan


def _correlation_of_sums(sums: Array) -> Array:
    """Return correlations from sums of 1, x, y, x², y², xy; shape (resamples, 6); NaN where undefined."""
    n, x, y, xx, yy, xy = sums.T
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    is_defined = (spread_x > 1e-12 * xx) & (spread_y > 1e-12 * yy)
    scale = np.sqrt(np.where(is_defined, spread_x * spread_y, 1.0))
    return np.where(is_defined, np.clip((xy - x * y / n) / scale, -1, 1), np.nan)


def _binned_spearman(tables: NDArray[np.float32]) -> Array:
    """Return the rank correlation of tables of classes × classes; shape (resamples, classes²)."""
    cells = tables.reshape(-1, RANK_BINS, RANK_BINS)
    deviations = []
    for axis in (2, 1):
        margin = cells.sum(axis=axis, dtype=float)
        middle = np.cumsum(margin, axis=1) - margin / 2
        deviations.append((middle - margin.sum(axis=1, keepdims=True) / 2, margin))
    (x, of_x), (y, of_y) = deviations
    product = np.einsum("bi,bij,bj->b", x, cells, y, optimize=True)
    scale = np.sqrt((of_x * x**2).sum(axis=1) * (of_y * y**2).sum(axis=1))
    return np.divide(product, scale, out=np.full(len(product), np.nan), where=scale > 0)


def _t_interval(r: float, resampled: Array, n_clusters: int) -> tuple[float, float]:
    """Return the interval of ``cluster_intervals``, NaN where r or the spread of resamples is undefined."""
    usable = resampled[np.abs(resampled) < 1]
    if not abs(r) < 1 or usable.size < 2:
        return (np.nan, np.nan)
    spread = np.arctanh(usable).std(ddof=1) * np.sqrt(n_clusters / (n_clusters - 1))
    half, z = student_t.ppf(0.975, n_clusters - 1) * spread, np.arctanh(r)
    return float(np.tanh(z - half)), float(np.tanh(z + half))
