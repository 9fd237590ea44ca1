"""Library normalization of counts: TMM factors and log counts per million.

Belongs here: what makes libraries comparable. Does not belong here: the choice of genes, and precision
weights.
"""

import numpy as np

from etl.effects.blocks import FloatArray, Matrix

TRIM_RATIO = 0.3
"""Share of genes trimmed at each end by log ratio M."""
TRIM_SUM = 0.05
"""Share of genes trimmed at each end by mean log abundance A."""
REFERENCE_QUANTILE = 0.75
SAME_DISTANCE = 1e-12
"""Relative difference below which two upper quartiles are equally near to the mean."""
SAME_LIBRARY = 1e-6
"""Largest magnitude of M below which a library equals the reference."""


def tmm_factors(counts: Matrix, library_size: FloatArray) -> FloatArray:
    """Return trimmed-mean-of-M normalization factors whose product is 1 (Robinson & Oshlack 2010).

    For a sample with counts y of library N and the reference r of library R, over genes counted in both,

        M = log2((y / N) / (r / R)),  A = (log2(y / N) + log2(r / R)) / 2,
        1 / w = (N - y) / (N y) + (R - r) / (R r)

    and log2 factor = sum w M / sum w over the genes left after trimming 30 % of M and 5 % of A at each end by
    rank (ties get their average rank). The reference is the sample whose upper quartile of y / N is nearest
    to the mean of all, of equally near ones the largest library, so that the order of samples does not
    matter; where most upper quartiles are 0 the largest library is taken.

    Args:
        counts: N x G, dense or CSR, of the genes that are tested.
        library_size: counts per sample, N, positive.

    >>> tmm_factors(np.array([[10.0, 20, 30, 40], [20.0, 40, 60, 80]]), np.array([100.0, 200.0])).tolist()
    [1.0, 1.0]
    """
    rows = counts if isinstance(counts, np.ndarray) else counts.tocsr()
    n_samples = counts.shape[0]
    upper = (
        np.array([np.quantile(_row(rows, i), REFERENCE_QUANTILE) for i in range(n_samples)]) / library_size
    )
    if np.count_nonzero(upper) * 2 < n_samples:
        reference = int(np.argmax(library_size))
    else:
        reference = _nearest_to_mean(upper, library_size, rows)
    reference_counts = _row(rows, reference)
    in_reference = np.flatnonzero(reference_counts)
    share = reference_counts[in_reference] / library_size[reference]
    inverse_precision = (1.0 - share) / reference_counts[in_reference]
    factors = np.array(
        [
            _factor(_row(rows, i)[in_reference], float(library_size[i]), share, inverse_precision)
            for i in range(n_samples)
        ]
    )
    return factors / np.exp(np.log(factors).mean())


def log_counts_per_million(counts: FloatArray, effective_library: FloatArray) -> FloatArray:
    """Return log2((count + 0.5) / (library + 1) * 1e6), the expression value of voom (Law et al. 2014).

    Args:
        counts: N x b.
        effective_library: library size times TMM factor, N.

    >>> log_counts_per_million(np.array([[0.0, 7.5]]), np.array([999_999.0])).tolist()
    [[-1.0, 3.0]]
    """
    values = counts + 0.5
    values /= (effective_library + 1.0)[:, None]
    values *= 1e6
    return np.log2(values, out=values)


def _nearest_to_mean(upper: FloatArray, library_size: FloatArray, counts: Matrix) -> int:
    """Return the sample whose upper quartile is nearest to the mean; rounding alone decides nothing."""
    distance = np.abs(upper - upper.mean())
    nearest = np.flatnonzero(distance <= distance.min() + SAME_DISTANCE * upper.max())
    if len(nearest) == 1:
        return int(nearest[0])
    return max(nearest.tolist(), key=lambda sample: (library_size[sample], _row(counts, sample).tobytes()))


def _row(counts: Matrix, sample: int) -> FloatArray:
    """Return one sample as a dense float64 array."""
    if isinstance(counts, np.ndarray):
        return counts[sample].astype(np.float64)
    cut = slice(counts.indptr[sample], counts.indptr[sample + 1])
    row = np.bincount(counts.indices[cut], weights=counts.data[cut], minlength=counts.shape[1])
    return row.astype(np.float64, copy=False)


def _factor(
    counts: FloatArray, library: float, reference_share: FloatArray, reference_inverse: FloatArray
) -> float:
    """Return the factor of one sample against the reference, over the genes counted in the reference."""
    seen = counts > 0
    if not seen.any():
        return 1.0
    y = counts[seen]
    share = y / library
    ratio = np.log2(share / reference_share[seen])
    if np.max(np.abs(ratio)) < SAME_LIBRARY:
        return 1.0
    abundance = (np.log2(share) + np.log2(reference_share[seen])) / 2
    precision = 1.0 / ((library - y) / library / y + reference_inverse[seen])
    kept = _untrimmed(ratio, TRIM_RATIO) & _untrimmed(abundance, TRIM_SUM)
    if not kept.any():
        return 1.0
    return float(2.0 ** (np.dot(precision[kept], ratio[kept]) / precision[kept].sum()))


def _untrimmed(values: FloatArray, share: float) -> np.ndarray:
    """Return True where the average rank of a value lies in floor(n share) + 1 .. n - floor(n share).

    Only ranks near the two limits matter, so a partition replaces the sort.

    >>> _untrimmed(np.array([5.0, 1.0, 1.0, 2.0, 9.0]), 0.2).tolist()
    [True, False, False, True, False]
    """
    n = len(values)
    low = int(n * share) + 1
    high = n + 1 - low
    ends = np.partition(values, [low - 1, high - 1])
    lower, upper = ends[low - 1], ends[high - 1]
    kept = (values > lower) & (values < upper)
    # A tie group lies inside the limits as a whole or not at all, by its average rank.
    for edge in (lower, upper):
        tied = values == edge
        rank = np.count_nonzero(values < edge) + (np.count_nonzero(tied) + 1) / 2
        if low <= rank <= high:
            kept |= tied
    return kept
