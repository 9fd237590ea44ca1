"""False discovery rates of Benjamini & Hochberg (1995): adjusted p-values, and the cutoff of a stream.

Belongs here: adjusting p-values that are given. Does not belong here: which tests form one family.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray, slices

EVEN_SHARE, LOG_SHARE = 2.0, 1.0
"""Buckets per value: over p itself, where most values of a family without effects lie, and over log p."""
CROWDED = 24
"""Values in one bucket from which they are sorted by heap instead of by insertion."""
LONGEST_FAMILY = 2**29
"""Most p-values of one family; positions are 32-bit numbers."""
COMPARED_AT_ONCE = 1_000_000
"""Sorted p-values that are compared with their limits at a time."""
ONE_BITS = 0x3FF0000000000000
"""Bits of 1.0: those of every smaller positive number are less."""


def benjamini_hochberg(p_value: npt.ArrayLike) -> FloatArray:
    """Return p-values adjusted by Benjamini & Hochberg (1995), each row (last axis) one family.

    With m finite p-values sorted ascending, adjusted_(i) = min over j >= i of min(1, m p_(j) / j). NaN
    stays NaN and does not count in m.

    Raises:
        ValueError: a family has more than 2^29 p-values.

    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    adjusted = np.array(p_value, dtype=np.float64, order="C")
    if adjusted.size:
        rows = adjusted.reshape(-1, adjusted.shape[-1])
        adjust_rows(rows, rows)
    return adjusted


def adjust_rows(p: FloatArray, adjusted: FloatArray) -> None:
    """Write the adjusted p-values of every row to another block, or to the same; without the GIL.

    Args:
        p: C-contiguous float64, families x tests.
        adjusted: C-contiguous float64 of the same shape; may be ``p``.

    Raises:
        ValueError: a family has more than 2^29 p-values.
    """
    if p.shape[1] > LONGEST_FAMILY:
        raise ValueError(f"{p.shape[1]} p-values in one family are more than {LONGEST_FAMILY}")
    _adjust_rows(p, adjusted)


class SignificanceCutoff:
    """Benjamini-Hochberg over all tests of a stream, without holding them: the largest significant p-value.

    With m tests, p_(k) is the cutoff for the largest k with p_(k) <= alpha k / m; then a test is significant
    exactly when its p-value does not exceed the cutoff. No p-value above alpha can be it, so those are only
    counted. Memory is that of the p-values up to alpha, in the precision in which they come. Threads collect
    into one each, to be joined by :meth:`include`.

    >>> cutoff = SignificanceCutoff(alpha=0.05)
    >>> cutoff.add(np.array([[0.001, 0.2], [0.02, np.nan]]))
    >>> cutoff.add(np.array([0.04, 0.9]))
    >>> cutoff.n_tests, cutoff.value, cutoff.n_significant
    (5, 0.02, 2)
    """

    def __init__(self, alpha: float) -> None:
        """Start a family whose false discovery rate is kept at alpha, in 0..1."""
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is between 0 and 1, not {alpha}")
        self.alpha = alpha
        self.n_tests = 0
        self._candidates: list[np.ndarray] = []

    def add(self, p_value: np.ndarray) -> None:
        """Take part of the p-values, of any shape; NaN is no test."""
        p = np.asarray(p_value)
        self.n_tests += p.size - int(np.count_nonzero(np.isnan(p)))
        self._candidates.append(p[p <= self.alpha])

    def include(self, other: "SignificanceCutoff") -> None:
        """Take all p-values of a part of the same family that was collected elsewhere.

        Raises:
            ValueError: the parts were collected for different alpha.
        """
        if other.alpha != self.alpha:
            raise ValueError(f"a family has one alpha, not {self.alpha} and {other.alpha}")
        self.n_tests += other.n_tests
        self._candidates += other._candidates

    @property
    def value(self) -> float:
        """Largest significant p-value; -1 where no test is significant."""
        significant = self._significant()
        return float(significant[-1]) if significant.size else -1.0

    @property
    def n_significant(self) -> int:
        """Number of significant tests."""
        return int(self._significant().size)

    def _significant(self) -> np.ndarray:
        """Return the significant p-values, sorted."""
        if len(self._candidates) != 1:
            self._candidates = [np.concatenate([np.empty(0, np.float32), *self._candidates])]
        self._candidates[0].sort()
        p = self._candidates[0]
        for part in reversed(list(slices(p.size, COMPARED_AT_ONCE))):
            rank = np.arange(part.start + 1, part.stop + 1)
            # As adjusted p-values are compared with alpha, in that order of operations: sets are equal.
            passes = p[part].astype(np.float64) * (self.n_tests / rank) <= self.alpha
            last = np.flatnonzero(passes)[-1:]
            if last.size:
                return p[: part.start + int(last[0]) + 1]
        return p[:0]


@njit(cache=True, nogil=True, error_model="numpy")
def _adjust_rows(p_rows: FloatArray, adjusted_rows: FloatArray) -> None:
    """Adjust every row by a bucket sort whose buckets follow p where p is large and log p where it is small.

    The sum of two growing functions grows, so buckets hold consecutive values; the bits of a positive float,
    read as an integer, are its logarithm to the base 2 with straight lines between powers of 2.
    """
    n_rows, n_values = p_rows.shape
    n_buckets = int((EVEN_SHARE + LOG_SHARE) * n_values) + 8
    last = float(n_buckets - 1)
    even = EVEN_SHARE * n_values
    # Unsigned, because signed positions are checked for being counted from the end.
    one = np.uint32(1)
    bucket = np.empty(n_values, np.uint32)
    place = np.empty(n_buckets, np.uint32)
    ordered = np.empty(n_values)
    position = np.empty(n_values, np.uint32)
    for row in range(n_rows):
        p, adjusted = p_rows[row], adjusted_rows[row]
        bits, signed = p.view(np.uint64), p.view(np.int64)
        # The smallest positive p: less one, zero becomes the largest number and a sign bit stays large.
        lowest = np.uint64(ONE_BITS)
        for i in range(n_values):
            lowest = min(lowest, bits[i] - np.uint64(1))
        origin = float(lowest)
        steepness = LOG_SHARE * n_values / max(ONE_BITS - origin, 1.0)
        for i in range(n_values):
            exact = p[i] * even + max((float(signed[i]) - origin) * steepness, 0.0)
            # NaN compares false and goes last, alone; nothing leaves the buckets whatever it is.
            exact = exact if exact < last else last
            bucket[i] = np.uint32(exact if exact > 0.0 else 0.0)
        place[:] = 0
        for i in range(n_values):
            place[bucket[i]] += one
        n_tests = n_values - np.int64(place[n_buckets - 1])
        start, fullest = np.uint32(0), np.uint32(0)
        for k in range(n_buckets - 1):
            size = place[k]
            place[k] = start
            start += size
            fullest = max(fullest, size)
        place[n_buckets - 1] = start
        for i in range(n_values):
            k = bucket[i]
            to = place[k]
            place[k] = to + one
            ordered[to] = p[i]
            position[to] = np.uint32(i)
        if fullest > CROWDED:
            # Every place is now the end of its bucket.
            start = np.uint32(0)
            for k in range(n_buckets - 1):
                if place[k] - start > CROWDED:
                    _heap_sort(ordered[start : place[k]], position[start : place[k]])
                start = place[k]
        for i in range(1, n_tests):
            value = ordered[i]
            if value < ordered[i - 1]:
                where, j = position[i], i
                while j > 0 and ordered[j - 1] > value:
                    ordered[j], position[j] = ordered[j - 1], position[j - 1]
                    j -= 1
                ordered[j], position[j] = value, where
        for i in range(n_tests):
            ordered[i] *= float(n_tests) / (i + 1)
        smallest = 1.0
        for i in range(n_tests - 1, -1, -1):
            smallest = min(smallest, ordered[i])
            ordered[i] = smallest
        ordered[n_tests:] = np.nan
        for i in range(n_values):
            adjusted[position[i]] = ordered[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _heap_sort(value: FloatArray, position: npt.NDArray[np.uint32]) -> None:
    """Sort values with their positions: slower than insertion where few are out of order, but bounded."""
    n = value.size
    for step in range(n // 2 + n - 1):
        # First the heap is built from its last parent on, then its top goes to the end again and again.
        if step < n // 2:
            root, end = n // 2 - 1 - step, n
        else:
            root, end = 0, n - 1 - (step - n // 2)
            value[0], value[end] = value[end], value[0]
            position[0], position[end] = position[end], position[0]
        child = 2 * root + 1
        while child < end:
            if child + 1 < end and value[child] < value[child + 1]:
                child += 1
            if value[root] >= value[child]:
                break
            value[root], value[child] = value[child], value[root]
            position[root], position[child] = position[child], position[root]
            root, child = child, 2 * child + 1
