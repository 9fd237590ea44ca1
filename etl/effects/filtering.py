"""Count filter: which genes hold enough counts in enough samples to be tested.

Belongs here: the rule. Does not belong here: normalization and tests of what is kept.

The rule is the one of Chen, Lun & Smyth (2016) with its published defaults: a gene is kept when

* its counts per million reach that of 10 counts in a library of median size in at least n samples, and
* its counts total at least 15.

For a design, n is 1 / (largest leverage), the smallest number of samples that stand behind any coefficient;
for groups it is the size of the smallest. Above 10 it grows with slope 0.7 only.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray, IntArray, Matrix
from etl.expression.counts import SparseCounts

MIN_COUNT = 10.0
MIN_TOTAL_COUNT = 15.0
LARGE_GROUP = 10.0
SHARE_OF_LARGE_GROUP = 0.7
TOLERANCE = 1e-14
"""Slack on the number of samples and on totals, which leverages reach only up to rounding."""


def min_group_size(leverages: FloatArray) -> float:
    """Return the number of samples of a design in which a gene must be expressed.

    >>> min_group_size(np.array([0.25, 0.5])), min_group_size(np.array([0.05, 0.02]))
    (2.0, 17.0)
    """
    return _with_large_groups(1.0 / float(leverages.max()))


def min_group_size_of_labels(group: npt.ArrayLike) -> float:
    """Return the number of samples in which a gene must be expressed where samples are only grouped.

    Args:
        group: one label per sample; one and the same for all where nothing is known of them.

    >>> min_group_size_of_labels(["a", "a", "a", "b", "b"]), min_group_size_of_labels(["all"] * 20)
    (2.0, 17.0)
    """
    return _with_large_groups(float(np.unique(np.asarray(group), return_counts=True)[1].min()))


def filter_by_expression(
    counts: SparseCounts | Matrix, library_size: FloatArray, min_samples: float, *, n_threads: int = 1
) -> npt.NDArray[np.bool_]:
    """Return True for the genes that hold enough counts to be tested.

    Args:
        counts: N x G; a dense or SciPy matrix is converted.
        library_size: counts per sample, N, positive.
        min_samples: samples in which a gene must reach the cut-off, from :func:`min_group_size`.
        n_threads: threads, which the result does not depend on.

    >>> counts = np.array([[40, 9, 951], [60, 12, 928]])
    >>> filter_by_expression(counts, counts.sum(axis=1), min_samples=2).tolist()
    [True, False, True]
    """
    counts = counts if isinstance(counts, SparseCounts) else SparseCounts.from_matrix(counts)
    enough_count = _smallest_count_at_cutoff(np.asarray(library_size, dtype=np.float64))
    ranges = list(counts.sample_ranges(n_threads))
    enough, total = np.zeros((2, len(ranges), counts.shape[1]), dtype=np.int64)
    with ThreadPoolExecutor(n_threads) as pool:
        list(
            pool.map(
                lambda samples, *tallies: _tally_range(
                    counts.indptr,
                    counts.gene,
                    counts.count,
                    samples.start,
                    samples.stop,
                    enough_count,
                    *tallies,
                ),
                ranges,
                enough,
                total,
            )
        )
    return (enough.sum(axis=0) >= min_samples - TOLERANCE) & (
        total.sum(axis=0) >= MIN_TOTAL_COUNT - TOLERANCE
    )


def _with_large_groups(size: float) -> float:
    """Return a group's size, of which above 10 only 70 % count."""
    return size if size <= LARGE_GROUP else LARGE_GROUP + (size - LARGE_GROUP) * SHARE_OF_LARGE_GROUP


def _smallest_count_at_cutoff(library_size: FloatArray) -> IntArray:
    """Return for each sample the smallest count whose counts per million reach the cut-off.

    count * 1e6 / library, in this order, is compared with 10 / median(library) * 1e6: a count exactly at the
    cut-off must not flip by rounding. Both grow with the count, so one whole number says it for all genes.

    >>> _smallest_count_at_cutoff(np.array([1000.0, 1000.0, 3000.0])).tolist()
    [10, 10, 30]
    """
    cutoff = MIN_COUNT / float(np.median(library_size)) * 1e6
    count = np.floor(cutoff * library_size / 1e6) - 1.0
    for _ in range(3):
        count += count * 1e6 / library_size < cutoff
    return count.astype(np.int64)


@njit(cache=True, nogil=True)
def _tally_range(
    indptr: IntArray,
    gene: np.ndarray,
    count: np.ndarray,
    start: int,
    stop: int,
    enough_count: IntArray,
    enough: IntArray,
    total: IntArray,
) -> None:
    """Add, for samples start to stop, how many reach their sample's count, and the counts, of each gene."""
    for sample in range(start, stop):
        for entry in range(indptr[sample], indptr[sample + 1]):
            found = np.int64(count[entry])
            enough[gene[entry]] += found >= enough_count[sample]
            total[gene[entry]] += found
