"""Effects of single treated samples: the sample's own values minus the level of the controls on its plate.

Belongs here: rows of effects made on demand from stored values and levels. Does not belong here: the levels
and their variances (:mod:`etl.effects.linear_model`).

If every treated sample is a condition of its own, its fitted value is its value, so that with precision
weights w its effect and the variance factor of that are y - level and 1 / w(y) + var(level): nothing is
solved.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray, IntArray
from etl.effects.expression_tiles import TABLE_LENGTH, VOOM_PRIOR
from etl.effects.voom import PrecisionCurve, library_shift, precision
from etl.expression.counts import SparseCounts

CHUNK_SAMPLES = 64
"""Samples that a thread takes at a time."""
SUM_CHUNK = 512
"""Samples that are summed at a time; fixed, so that the number of threads never changes a mean."""


class DenseReplicates:
    """Effects of samples of a dense matrix, with equal weights.

    Args:
        values: N x G.
        samples: sample of each effect.
        pair: level that each is compared with.
        level: levels, pairs x G.
        variance: variance factor of an effect against each level, pairs.
        dtype: of the effects.
    """

    def __init__(
        self,
        values: np.ndarray,
        samples: IntArray,
        pair: IntArray,
        level: FloatArray,
        variance: FloatArray,
        dtype: np.dtype[np.floating],
    ) -> None:
        self._values, self._samples, self._pair = values, samples, pair
        self._level, self._variance, self._dtype = level, variance, dtype

    def rows(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return effects (n x G) and their variance factors (n x 1)."""
        effect = np.empty((part.stop - part.start, self._values.shape[1]), dtype=self._dtype)
        _subtract(self._values, self._samples[part], self._pair[part], self._level, effect)
        return effect, self._variance[self._pair[part], None].astype(self._dtype)


class CountReplicates:
    """Effects of samples of counts, with voom's precision weights.

    Args:
        counts: N x all genes.
        library: effective library size, N.
        is_tested: genes that are tested.
        samples: sample of each effect.
        pair: level that each is compared with.
        level: levels, pairs x tested genes.
        level_variance: their variance factors, pairs x tested genes.
        control_variance: variance factors of the control coefficient, for limma's form; else empty.
        correlation: of the two coefficients, pairs; for limma's form.
        curve: precision of a log count.
        dtype: of the effects.
        n_threads: threads over samples.
    """

    def __init__(
        self,
        counts: SparseCounts,
        library: FloatArray,
        is_tested: npt.NDArray[np.bool_],
        *,
        samples: IntArray,
        pair: IntArray,
        level: FloatArray,
        level_variance: FloatArray,
        control_variance: FloatArray,
        correlation: FloatArray,
        curve: PrecisionCurve,
        dtype: np.dtype[np.floating],
        n_threads: int,
    ) -> None:
        self._counts, self._samples, self._pair = counts, samples, pair
        self._level, self._level_variance = level, level_variance
        self._control_variance, self._correlation = control_variance, correlation
        self._curve, self._dtype, self._n_threads = curve, dtype, n_threads
        self._shift = library_shift(library)
        self._position = _positions(is_tested)
        self._table = np.log2(np.arange(TABLE_LENGTH) + VOOM_PRIOR)

    def rows(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return effects and their variance factors, n x tested genes."""
        samples, pair = self._samples[part], self._pair[part]
        shape = (len(samples), self._level.shape[1])
        effect, variance = np.empty(shape, dtype=self._dtype), np.empty(shape, dtype=self._dtype)

        def run(start: int) -> None:
            cut = slice(start, min(start + CHUNK_SAMPLES, len(samples)))
            _replicate_rows(
                self._counts.indptr,
                self._counts.gene,
                self._counts.count,
                samples[cut],
                pair[cut],
                self._position,
                self._shift,
                self._table,
                self._curve,
                self._level,
                self._level_variance,
                self._control_variance,
                self._correlation,
                effect[cut],
                variance[cut],
            )

        starts = range(0, len(samples), CHUNK_SAMPLES)
        if self._n_threads <= 1:
            for start in starts:
                run(start)
        else:
            with ThreadPoolExecutor(self._n_threads) as pool:
                for _ in pool.map(run, starts):
                    pass
        return effect, variance


def mean_log_counts(
    counts: SparseCounts, library: FloatArray, is_tested: npt.NDArray[np.bool_], n_threads: int
) -> FloatArray:
    """Return the mean log2 count per million (prior 0.5) of each tested gene over all samples."""
    position, shift = _positions(is_tested), library_shift(library)
    table = np.log2(np.arange(TABLE_LENGTH) + VOOM_PRIOR) - np.log2(VOOM_PRIOR)
    n_samples, n_tested = counts.shape[0], int(np.count_nonzero(is_tested))

    def part(start: int) -> FloatArray:
        total = np.zeros(n_tested)
        stop = min(start + SUM_CHUNK, n_samples)
        _add_rises(counts.indptr, counts.gene, counts.count, start, stop, position, table, total)
        return total

    total = np.zeros(n_tested)
    with ThreadPoolExecutor(max(1, n_threads)) as pool:
        for rises in pool.map(part, range(0, n_samples, SUM_CHUNK)):
            total += rises
    return (np.log2(VOOM_PRIOR) * n_samples - shift.sum() + total) / n_samples


def _positions(is_tested: npt.NDArray[np.bool_]) -> IntArray:
    """Return the place of every gene among the tested ones, -1 for others."""
    position = np.full(len(is_tested), -1, dtype=np.int64)
    position[is_tested] = np.arange(np.count_nonzero(is_tested))
    return position


@njit(cache=True, nogil=True, error_model="numpy")
def _subtract(values, samples, pair, level, effect):  # type: ignore[no-untyped-def]
    """Write values minus levels."""
    for row in range(len(samples)):
        for gene in range(effect.shape[1]):
            effect[row, gene] = values[samples[row], gene] - level[pair[row], gene]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_rises(indptr, gene, count, start, stop, position, table, total):  # type: ignore[no-untyped-def]
    """Add what counts raise log2(count + prior) above that of zero."""
    for sample in range(start, stop):
        for entry in range(indptr[sample], indptr[sample + 1]):
            at = position[gene[entry]]
            if at >= 0:
                value = count[entry]
                if value < len(table):
                    total[at] += table[value]
                else:
                    total[at] += np.log2(value + VOOM_PRIOR) - np.log2(VOOM_PRIOR)


@njit(cache=True, nogil=True, error_model="numpy")
def _replicate_rows(  # type: ignore[no-untyped-def]
    indptr,
    gene,
    count,
    samples,
    pair,
    position,
    shift,
    table,
    curve,
    level,
    level_variance,
    control_variance,
    correlation,
    effect,
    variance,
):
    """Write effects and variance factors of some samples; zeros first, then the counts."""
    is_limma = control_variance.size > 0
    for row in range(len(samples)):
        sample, against = samples[row], pair[row]
        zero = np.log2(VOOM_PRIOR) - shift[sample]
        zero_variance = 1.0 / precision(zero + shift[sample], curve)
        for g in range(effect.shape[1]):
            effect[row, g] = zero - level[against, g]
            own = zero_variance + level_variance[against, g]
            if is_limma:
                other = control_variance[against, g]
                own = own + other - 2.0 * correlation[against] * np.sqrt(own * other)
            variance[row, g] = own
        for entry in range(indptr[sample], indptr[sample + 1]):
            g = position[gene[entry]]
            if g < 0:
                continue
            value = count[entry]
            log_count = table[value] if value < len(table) else np.log2(value + VOOM_PRIOR)
            effect[row, g] = log_count - shift[sample] - level[against, g]
            own = 1.0 / precision(log_count, curve) + level_variance[against, g]
            if is_limma:
                other = control_variance[against, g]
                own = own + other - 2.0 * correlation[against] * np.sqrt(own * other)
            variance[row, g] = own
