"""DILImap: which wells pass the quality control that the publisher describes and leaves to the reader to do.

Here: what is measured on each well, in one pass over the counts, and the rules on it. Not here: files, or the
publisher's own flag of cell death (``dilimap``).

The rules, of the authors' package dilimap 1.0.5 and their tutorial, on counts as published:

* RNA: log10 of the total count not below the median of all wells minus 2.5 standard deviations, and less than
  9 % of it mitochondrial;
* replicates: the Pearson correlation of a well with the wells of the same treatment on the same plate not
  below the median of these wells minus 3 standard deviations of the plate, and above 0.99.

The authors ask for more than the limit rather than not less, which differs only where there is no spread at
all: a lone well would fail for being its own median.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Values = NDArray[np.float64]

RNA_SDS, MAX_MITOCHONDRIAL_PERCENT = 2.5, 9.0
REPLICATE_SDS, MIN_CORRELATION = 3.0, 0.99
MAX_PAIRED: Final = 4
"""Up to so many wells of a treatment the best correlation counts, with more the mean of the better half."""


def measure(
    groups: Sequence[Hashable],
    blocks: Iterable[np.ndarray | sparse.csr_matrix],
    is_mitochondrial: NDArray[np.bool_],
) -> pl.DataFrame:
    """Return what the rules need to know about each well, in the order of the counts.

    Wells of a group are correlated when its last one was read; only wells of open groups are in memory.

    Args:
        groups: treatment and plate of each well.
        blocks: counts of consecutive wells × genes, finite and not negative.
        is_mitochondrial: the genes of the mitochondrial genome.

    Returns:
        total, largest, n_fractional_counts (values that are not whole), pct_mtRNA (null without counts),
        best_correlation and cross_rep_correlation (null where a well has no replicate or no variance).
    """
    best, typical = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    totals: list[pl.DataFrame] = []
    missing = Counter(groups)
    held: dict[Hashable, list[tuple[int, sparse.csr_matrix]]] = {}
    start = 0
    for block in blocks:
        rows = sparse.csr_matrix(block)
        totals.append(_totals(rows, is_mitochondrial))
        stop = start + rows.shape[0]
        for offset, group in enumerate(groups[start:stop]):
            held.setdefault(group, []).append((start + offset, rows[offset]))
            missing[group] -= 1
            if not missing[group]:
                positions, wells = zip(*held.pop(group), strict=True)
                best[list(positions)], typical[list(positions)] = replicate_correlations(
                    sparse.vstack(wells).toarray()
                )
        start = stop
    correlations = pl.DataFrame({"best_correlation": best, "cross_rep_correlation": typical})
    return pl.concat([pl.concat(totals), correlations.fill_nan(None)], how="horizontal")


def _totals(rows: sparse.csr_matrix, is_mitochondrial: NDArray[np.bool_]) -> pl.DataFrame:
    """Return what a well shows without its replicates: total, largest, n_fractional_counts, pct_mtRNA."""
    is_fractional = (rows.data != np.floor(rows.data), rows.indices, rows.indptr)
    total, mitochondrial = pl.col("total"), pl.col("mitochondrial")
    return pl.DataFrame(
        {
            "total": _sums(rows),
            "largest": rows.max(axis=1).toarray().ravel().astype(np.float64),
            "n_fractional_counts": _sums(sparse.csr_matrix(is_fractional, rows.shape)).astype(np.int64),
            "mitochondrial": _sums(rows[:, is_mitochondrial]),
        }
    ).select(pl.exclude("mitochondrial"), pct_mtRNA=pl.when(total > 0).then(100 * mitochondrial / total))


def _sums(rows: sparse.csr_matrix) -> Values:
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def replicate_correlations(counts: np.ndarray) -> tuple[Values, Values]:
    """Return the best and the typical correlation of each well of a group with the others.

    Pearson, on counts. Typical is the best one among up to four wells; among more (the vehicle) it is the
    mean of the floor(n / 2) best, so that a pair of like wells does not vouch for the rest. NaN for a well
    that is alone or does not vary.

    >>> best, typical = replicate_correlations(np.array([[1, 2, 3], [2, 4, 6], [3, 2, 1]]))
    >>> best.round(3).tolist(), typical.round(3).tolist()
    ([1.0, 1.0, -1.0], [1.0, 1.0, -1.0])
    """
    centred = counts - counts.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1)
    centred[length == 0] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = centred @ centred.T / np.outer(length, length)
    np.fill_diagonal(correlation, np.nan)
    n = len(counts)
    # Missing sorts as the worst: a well that does not vary is nobody's replicate.
    ranked = -np.sort(-np.where(np.isnan(correlation), -np.inf, correlation), axis=1)
    ranked[~np.isfinite(ranked)] = np.nan
    best = ranked[:, 0]
    if n <= MAX_PAIRED:
        return best, best
    return best, np.array(
        [row[~np.isnan(row)].mean() if not np.isnan(row[0]) else np.nan for row in ranked[:, : n // 2]]
    )


def with_rna_verdict(wells: pl.DataFrame) -> pl.DataFrame:
    """Return wells with ``log_totalRNA`` and ``rna_qc_pass``; a well without counts fails.

    Args:
        wells: total, pct_mtRNA.
    """
    total = pl.col("total")
    wells = wells.with_columns(log_totalRNA=pl.when(total > 0).then(total.log10()))
    level = pl.col("log_totalRNA")
    is_enough = level >= level.median() - RNA_SDS * level.std().fill_null(0)
    passes = is_enough & (pl.col("pct_mtRNA") < MAX_MITOCHONDRIAL_PERCENT)
    return wells.with_columns(rna_qc_pass=passes.fill_null(value=False))


def with_replicate_verdict(wells: pl.DataFrame) -> pl.DataFrame:
    """Return wells with ``rep_corr_qc_pass``; null where there is no correlation.

    The standard deviation of a plate is that of the best correlations of the first k wells of each treatment,
    k being the number of wells of its rarest treatment, so that every treatment weighs alike. The authors
    take the first in file order; here it is the order of wells, so that rows may come in any order.

    Args:
        wells: sample_key, plate, well, group, best_correlation, cross_rep_correlation.
    """
    place = pl.int_range(pl.len()).over("plate", "group", order_by=["well", "sample_key"])
    n_wells = pl.len().over("plate", "group")
    typical = pl.col("cross_rep_correlation")
    wells = wells.with_columns(place=place, rarest=n_wells.min().over("plate"))
    chosen = pl.when(pl.col("place") < pl.col("rarest")).then("best_correlation")
    floor = typical.median().over("plate", "group") - REPLICATE_SDS * chosen.std(ddof=0).over("plate")
    passes = (typical >= floor) & (typical > MIN_CORRELATION)
    return wells.with_columns(rep_corr_qc_pass=passes).drop("place", "rarest")
