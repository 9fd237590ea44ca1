"""Library normalization of counts: factors that make libraries comparable.

Belongs here: what makes libraries comparable. Does not belong here: the choice of genes
(:mod:`etl.effects.filtering`), and precision weights (:mod:`etl.effects.voom`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import BoolArray, FloatArray, Matrix
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts

Method = Literal["tmm", "tmmwsp", "rle", "upper_quartile", "none"]

TRIM_RATIO = 0.3
"""Share of genes trimmed at each end by log ratio M."""
TRIM_SUM = 0.05
"""Share of genes trimmed at each end by mean log abundance A."""
REFERENCE_QUANTILE = 0.75
SAME_DISTANCE = 1e-12
"""Relative difference below which two upper quartiles are equally near to the mean."""
SAME_LIBRARY = 1e-6
"""Largest magnitude of M below which a library equals the reference."""
BINS = 2048
"""Bins of the histograms that find an order statistic."""
TABLE = 512
"""Counts below this, which are most, share their logarithms."""


def normalization_factors(
    counts: SparseCounts | Matrix,
    library_size: FloatArray,
    keep: BoolArray | None = None,
    *,
    method: Method = "tmm",
    n_threads: int = 1,
) -> FloatArray:
    """Return a factor for each library, by which its size is multiplied; their product is 1.

    * ``tmm``: trimmed mean of M values (Robinson & Oshlack 2010). For a sample with counts y of library N and
      the reference r of library R, over genes counted in both,

          M = log2((y / N) / (r / R)),  A = (log2(y / N) + log2(r / R)) / 2,
          1 / w = (N - y) / (N y) + (R - r) / (R r)

      and log2 factor = sum w M / sum w over the genes left after trimming 30 % of M and 5 % of A at each end
      by rank (ties get their average rank). The reference is the sample whose upper quartile of y / N is
      nearest to the mean of all.
    * ``tmmwsp``: TMM with singleton pairing, for sparse counts. Genes counted in only one of the sample and
      the reference are paired in decreasing order of their counts, the rest of the longer list is left out,
      and TMM follows; ranks of equal M go to the higher A first. The reference is the sample with the largest
      sum of square roots of counts.
    * ``rle``: median over genes of count / geometric mean, of genes counted in every sample, relative to the
      library size (Anders & Huber 2010).
    * ``upper_quartile``: upper quartile of the counts relative to the library size (Bullard et al. 2010).
    * ``none``: 1.

    Args:
        counts: N x G.
        library_size: counts per sample of the genes kept, N, positive.
        keep: True for genes that take part, G; all without it.
        method: see above.
        n_threads: threads, which the result does not depend on.

    Raises:
        BadInputError: ``rle`` without a gene that every sample counts, or an upper quartile of 0.
        ValueError: no such method.

    >>> counts = np.array([[10, 20, 30, 40], [20, 40, 60, 0]])
    >>> normalization_factors(counts, counts.sum(axis=1), method="upper_quartile").round(4).tolist()
    [0.9309, 1.0742]
    """
    counts = counts if isinstance(counts, SparseCounts) else SparseCounts.from_matrix(counts)
    library_size = np.asarray(library_size, dtype=np.float64)
    keep = np.ones(counts.shape[1], dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    match method:
        case "tmm":
            found = _tmm(counts, library_size, keep, n_threads)
        case "tmmwsp":
            found = _tmmwsp(counts, library_size, keep)
        case "rle":
            found = _rle(counts, library_size, keep)
        case "upper_quartile":
            found = _upper_quartile(counts, library_size, keep, n_threads)
        case "none":
            return np.ones(counts.shape[0])
        case _:
            raise ValueError(f"method is one of {', '.join(get_args(Method))}, not {method!r}")
    return found / np.exp(np.log(found).mean())


def _tmm(counts: SparseCounts, library_size: FloatArray, keep: BoolArray, n_threads: int) -> FloatArray:
    """Return factors of the trimmed mean of M values before they are scaled.

    The reference is the sample whose upper quartile of y / N is nearest to the mean of all, of equally near
    ones the largest library, so that the order of samples does not matter; where most upper quartiles are 0
    the one with the largest sum of square roots of counts is taken.
    """
    upper = _upper_quartiles(counts, keep, n_threads) / library_size
    if np.count_nonzero(upper) * 2 < len(upper):
        reference = _most_root_counts(counts, keep)
    else:
        reference = _nearest_to_mean(upper, library_size, counts, keep)
    reference_counts = _row(counts, reference, keep)
    seen = np.flatnonzero(reference_counts)
    share = reference_counts[seen] / library_size[reference]
    of_reference = np.zeros((3, len(reference_counts)))
    of_reference[:, seen] = share, np.log2(share), (1.0 - share) / reference_counts[seen]
    factors = np.ones(counts.shape[0])
    _over_samples(
        counts,
        n_threads,
        lambda samples: _tmm_range(
            counts.indptr,
            counts.gene,
            counts.count,
            samples.start,
            samples.stop,
            library_size,
            of_reference,
            np.empty((5, counts.shape[1])),
            factors,
        ),
    )
    return factors


def _tmmwsp(counts: SparseCounts, library_size: FloatArray, keep: BoolArray) -> FloatArray:
    """Return factors of TMM with singleton pairing before they are scaled."""
    reference = _most_root_counts(counts, keep)
    other, other_library = _row(counts, reference, keep), float(library_size[reference])

    def factor(sample: int) -> float:
        y, library = _row(counts, sample, keep), float(library_size[sample])
        both = (y > 0) & (other > 0)
        alone = np.sort(y[(y > 0) & ~both])[::-1]
        other_alone = np.sort(other[(other > 0) & ~both])[::-1]
        n_pairs = min(len(alone), len(other_alone))
        y = np.concatenate([y[both], alone[:n_pairs]])
        r = np.concatenate([other[both], other_alone[:n_pairs]])
        share, other_share = y / library, r / other_library
        ratio = np.log2(share / other_share)
        if not ratio.size or np.max(np.abs(ratio)) < SAME_LIBRARY:
            return 1.0
        abundance = (np.log2(share) + np.log2(other_share)) / 2
        kept = np.zeros(len(ratio), dtype=np.int64)
        for order, trimmed in (
            (np.lexsort((-abundance, ratio)), TRIM_RATIO),
            (np.argsort(abundance, kind="stable"), TRIM_SUM),
        ):
            n_trimmed = int(len(order) * trimmed)
            kept[order[n_trimmed : len(order) - n_trimmed]] += 1
        inside = kept == 2
        precision = 1.0 / ((library - y) / library / y + (other_library - r) / other_library / r)
        if not inside.any():
            return 1.0
        return float(2.0 ** (np.dot(precision[inside], ratio[inside]) / precision[inside].sum()))

    return np.array([factor(sample) for sample in range(counts.shape[0])])


def _rle(counts: SparseCounts, library_size: FloatArray, keep: BoolArray) -> FloatArray:
    """Return the median ratio to the geometric mean, relative to the library size."""
    n_samples, n_genes = counts.shape
    present = np.zeros(n_genes, dtype=np.int64)
    log_sum = np.zeros(n_genes)
    for sample in range(n_samples):
        entries = slice(counts.indptr[sample], counts.indptr[sample + 1])
        present[counts.gene[entries]] += 1
        log_sum[counts.gene[entries]] += np.log(counts.count[entries], dtype=np.float64)
    everywhere = keep & (present == n_samples)
    if not everywhere.any():
        raise BadInputError("no gene has counts in every sample, which rle factors need")
    mean = np.exp(log_sum[everywhere] / n_samples)
    return np.array(
        [
            np.median(_row(counts, sample, keep)[everywhere] / mean) / library_size[sample]
            for sample in range(n_samples)
        ]
    )


def _upper_quartile(
    counts: SparseCounts, library_size: FloatArray, keep: BoolArray, n_threads: int
) -> FloatArray:
    """Return upper quartiles relative to the library size, over genes that any sample counts."""
    upper = _upper_quartiles(counts, keep & (counts.gene_totals() > 0), n_threads)
    empty = np.flatnonzero(upper == 0)
    if empty.size:
        raise BadInputError(
            f"the upper quartile of {len(empty)} samples is 0, which upper-quartile factors cannot use; the "
            f"first is sample {empty[0]}"
        )
    return upper / library_size


def _over_samples(counts: SparseCounts, n_threads: int, kernel: Callable[[slice], None]) -> None:
    """Call a kernel that releases the interpreter's lock for ranges of samples, in threads."""
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(kernel, counts.sample_ranges(n_threads)))


def _upper_quartiles(counts: SparseCounts, keep: BoolArray, n_threads: int) -> FloatArray:
    """Return the upper quartile of the counts of every sample over the kept genes, zeros included."""
    if not keep.any():
        return np.zeros(counts.shape[0])
    upper = np.full(counts.shape[0], np.nan)
    below = REFERENCE_QUANTILE * (np.count_nonzero(keep) - 1)
    _over_samples(
        counts,
        n_threads,
        lambda samples: _quantile_range(
            counts.indptr, counts.gene, counts.count, samples.start, samples.stop, keep, below, upper
        ),
    )
    for sample in np.flatnonzero(np.isnan(upper)).tolist():
        upper[sample] = np.quantile(_row(counts, sample, keep)[keep], REFERENCE_QUANTILE)
    return upper


def _most_root_counts(counts: SparseCounts, keep: BoolArray) -> int:
    """Return the sample with the largest sum of square roots of counts: many genes, and many counts."""
    return int(np.argmax([np.sqrt(_row(counts, i, keep)).sum() for i in range(counts.shape[0])]))


def _nearest_to_mean(
    upper: FloatArray, library_size: FloatArray, counts: SparseCounts, keep: BoolArray
) -> int:
    """Return the sample whose upper quartile is nearest to the mean; rounding alone decides nothing."""
    distance = np.abs(upper - upper.mean())
    nearest = np.flatnonzero(distance <= distance.min() + SAME_DISTANCE * upper.max())
    if len(nearest) == 1:
        return int(nearest[0])
    return max(
        nearest.tolist(), key=lambda sample: (library_size[sample], _row(counts, sample, keep).tobytes())
    )


def _row(counts: SparseCounts, sample: int, keep: BoolArray) -> FloatArray:
    """Return the counts of one sample as float64 over all genes, 0 where a gene is not kept."""
    row = np.zeros(counts.shape[1])
    entries = slice(counts.indptr[sample], counts.indptr[sample + 1])
    row[counts.gene[entries]] = counts.count[entries]
    row[~keep] = 0.0
    return row


@njit(cache=True, nogil=True)
def _ranked(ascending: FloatArray, rank: int) -> tuple[float, float]:
    """Return the value of a rank (from 1), and the average rank of all values equal to it."""
    value = ascending[rank - 1]
    first = last = rank
    while first > 1 and ascending[first - 2] == value:
        first -= 1
    while last < len(ascending) and ascending[last] == value:
        last += 1
    return value, (first + last) / 2


@njit(cache=True, nogil=True)
def _limits(
    values: FloatArray, least: float, most: float, share: float, members: FloatArray
) -> tuple[float, float]:
    """Return the least and the most value that trimming leaves.

    With low = floor(n share) + 1 values are kept whose average rank is low to n + 1 - low, so that a tie
    group stays as a whole or not at all. A histogram finds the bins of the two ranks, and only their few
    members, of which the space 2 x n takes a copy, are sorted.
    """
    low = int(len(values) * share) + 1
    high = len(values) + 1 - low
    if least == most:
        return least, most
    scale = (BINS - 1) / (most - least)
    histogram = np.zeros(BINS, dtype=np.int64)
    for value in values:
        histogram[int((value - least) * scale)] += 1
    below_low = first = 0
    while below_low + histogram[first] < low:
        below_low += histogram[first]
        first += 1
    below_high, last = below_low, first
    while below_high + histogram[last] < high:
        below_high += histogram[last]
        last += 1
    n_low = n_high = 0
    for value in values:
        place = int((value - least) * scale)
        members[0, n_low] = value
        n_low += place == first
        members[1, n_high] = value
        n_high += place == last
    lower, rank = _ranked(np.sort(members[0, :n_low]), low - below_low)
    if below_low + rank < low:
        lower = np.nextafter(lower, np.inf)
    upper, rank = _ranked(np.sort(members[1, :n_high]), high - below_high)
    if below_high + rank > high:
        upper = np.nextafter(upper, -np.inf)
    return lower, upper


@njit(cache=True, nogil=True)
def _tmm_range(
    indptr: npt.NDArray[np.int64],
    gene: np.ndarray,
    count: np.ndarray,
    start: int,
    stop: int,
    library_size: FloatArray,
    reference: FloatArray,
    space: FloatArray,
    factors: FloatArray,
) -> None:
    """Write the TMM factors of samples start to stop.

    The reference is 3 x G: share of its library, log2 of it, and (1 - share) / count, 0 where it has no
    count. The space is 5 x G: M, A, 1 / w, and members of two bins.
    """
    share_of, log_share_of, inverse_of = np.empty(TABLE), np.empty(TABLE), np.empty(TABLE)
    for sample in range(start, stop):
        library = library_size[sample]
        for y in range(1, TABLE):
            share_of[y] = y / library
            log_share_of[y] = np.log2(share_of[y])
            inverse_of[y] = (library - y) / library / y
        n = 0
        m_least = a_least = np.inf
        m_most = a_most = -np.inf
        for entry in range(indptr[sample], indptr[sample + 1]):
            position = gene[entry]
            if reference[0, position] > 0:
                y = count[entry]
                if y < TABLE:
                    share, log_share, inverse = share_of[y], log_share_of[y], inverse_of[y]
                else:
                    share = y / library
                    log_share, inverse = np.log2(share), (library - y) / library / y
                m = np.log2(share / reference[0, position])
                a = (log_share + reference[1, position]) / 2
                space[0, n], space[1, n], space[2, n] = m, a, inverse + reference[2, position]
                m_least, m_most = min(m, m_least), max(m, m_most)
                a_least, a_most = min(a, a_least), max(a, a_most)
                n += 1
        if n == 0 or max(m_most, -m_least) < SAME_LIBRARY:
            factors[sample] = 1.0
            continue
        m_least, m_most = _limits(space[0, :n], m_least, m_most, TRIM_RATIO, space[3:])
        a_least, a_most = _limits(space[1, :n], a_least, a_most, TRIM_SUM, space[3:])
        total = weighted = 0.0
        for i in range(n):
            m, a = space[0, i], space[1, i]
            precision = ((m >= m_least) & (m <= m_most) & (a >= a_least) & (a <= a_most)) / space[2, i]
            total += precision
            weighted += precision * m
        factors[sample] = 2.0 ** (weighted / total) if total > 0 else 1.0


@njit(cache=True, nogil=True)
def _quantile_range(
    indptr: npt.NDArray[np.int64],
    gene: np.ndarray,
    count: np.ndarray,
    start: int,
    stop: int,
    keep: BoolArray,
    below: float,
    quantiles: FloatArray,
) -> None:
    """Write the value at position ``below`` (from 0, interpolated) of each sample's kept counts.

    One of BINS - 1 or more is left as it is.
    """
    n_genes = keep.sum()
    position = int(below)
    for sample in range(start, stop):
        first, last = indptr[sample], indptr[sample + 1]
        histogram = np.zeros(BINS, dtype=np.int64)
        for entry in range(first, last):
            if keep[gene[entry]]:
                y = count[entry]
                histogram[y if y < BINS else BINS - 1] += 1
        histogram[0] = n_genes - histogram[1:].sum()
        found, reached = 0, histogram[0]
        while reached <= position:
            found += 1
            reached += histogram[found]
        following = found
        if reached <= position + 1 < n_genes:
            following += 1
            while histogram[following] == 0:
                following += 1
        # The last bin holds counts of all sizes: it cannot tell.
        if following < BINS - 1:
            quantiles[sample] = found + (following - found) * (below - position)
