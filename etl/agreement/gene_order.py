"""Genes in the order of their values: ranks of whole profiles, and lists of significant genes.

Here: the two forms of a block of profiles that rank correlations and overlaps rest on. Not here: comparisons.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from etl.arrays import BoolArray, FloatArray, IntArray, slices
from etl.threads import in_threads

Float32 = NDArray[np.float32]
Bits = NDArray[np.uint64]

MIN_ABS_EFFECT: Final = 0.2
"""Absolute log2 fold change that a strong gene exceeds."""
UNCHANGED, UP, DOWN = np.uint8(0), np.uint8(1), np.uint8(2)
STRONG: Final = np.uint8(4)
"""Bit of a direction: the gene is strong."""

ROWS_PER_TASK: Final = 64
"""Profiles that a thread works on at a time."""
_DIGIT_BITS: Final = 11
"""Bits of a digit of radix sort: three of them hold a 32-bit number, and 2,048 counts stay in the cache."""


class Ranks(NamedTuple):
    """Ranks of the values of rows × columns."""

    order: NDArray[np.int32]
    """Columns in ascending order of their values, ties in the order of columns."""
    centred: Float32
    """Average ranks minus their mean: multiples of one half, exact."""
    ties: Bits
    """Sets of the places in that order whose value is that of the next place, too."""
    longest_tie: NDArray[np.int32]
    """How often the most frequent value of each row occurs."""


class GeneLists(NamedTuple):
    """Lists of genes, one of each row, in one array: the largest absolute value first, then by column."""

    first: IntArray
    """Where the list of each row begins, and where the last ends."""
    genes: NDArray[np.int32]
    """Columns."""
    ranks: NDArray[np.int32]
    """Twice the average rank of each gene's value within its list, minus their mean."""
    directions: NDArray[np.uint8]
    """``UP``, ``DOWN`` or ``UNCHANGED``, and ``STRONG``."""
    squares: FloatArray
    """Sum of the squared ranks of each list: 0 where its values do not vary."""

    @property
    def lengths(self) -> IntArray:
        """Length of each list."""
        return np.diff(self.first)


def rank_rows(values: Float32) -> Ranks:
    """Return the ranks of finite values within each row, ties given their average rank.

    >>> rank_rows(np.array([[0.5, -1.0, 0.5]], dtype=np.float32)).centred
    array([[ 0.5, -1. ,  0.5]], dtype=float32)
    """
    n_rows, n_columns = values.shape
    order = np.empty((n_rows, n_columns), dtype=np.int32)
    centred = np.empty((n_rows, n_columns), dtype=np.float32)
    ties = np.zeros((n_rows, -(-n_columns // 64)), dtype=np.uint64)
    longest_tie = np.zeros(n_rows, dtype=np.int32)

    def rank(part: slice) -> None:
        _rank(values[part], order[part], centred[part], ties[part], longest_tie[part])

    in_threads(rank, slices(n_rows, ROWS_PER_TASK))
    return Ranks(order, centred, ties, longest_tie)


def list_genes(values: Float32, order: NDArray[np.int32], is_in: BoolArray) -> GeneLists:
    """Return the genes that are in the list of each row, the largest absolute value first.

    Args:
        values: log2 fold changes; shape (rows, genes).
        order: of ``rank_rows(values)``.
        is_in: which genes are listed; shape (rows, genes).
    """
    lengths = is_in.sum(axis=1)
    first = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    genes, ranks = np.empty((2, first[-1]), dtype=np.int32)
    lists = GeneLists(first, genes, ranks, np.empty(first[-1], np.uint8), np.zeros(len(values)))

    def fill(part: slice) -> None:
        rows = GeneLists(
            first[part.start : part.stop + 1], genes, ranks, lists.directions, lists.squares[part]
        )
        _list(values[part], order[part], is_in[part], rows)

    in_threads(fill, slices(len(values), ROWS_PER_TASK))
    return lists


def places_in_order(order: NDArray[np.int32]) -> NDArray[np.unsignedinteger]:
    """Return the place of every column in the order of each row."""
    # Rows of two bytes a gene stay in the fastest cache.
    places = np.empty(order.shape, dtype=np.uint16 if order.shape[1] <= 2**16 else np.uint32)
    in_threads(lambda part: _invert(order[part], places[part]), slices(len(order), ROWS_PER_TASK))
    return places


def places_in_list(lists: GeneLists, n_genes: int) -> NDArray[np.unsignedinteger]:
    """Return the place of every gene in the list of each row; one that is in none is behind all."""
    places = np.empty((len(lists.first) - 1, n_genes), dtype=np.uint16 if n_genes < 2**16 else np.uint32)
    behind = np.iinfo(places.dtype).max

    def fill(part: slice) -> None:
        _place_lists(lists.first[part.start : part.stop + 1], lists.genes, behind, places[part])

    in_threads(fill, slices(len(places), ROWS_PER_TASK))
    return places


@njit(cache=True, nogil=True)
def average_ranks(values: FloatArray, ranks: FloatArray) -> None:
    """Fill in twice the average ranks, minus their mean."""
    n = len(values)
    order = np.argsort(values, kind="mergesort")
    start = 0
    while start < n:
        end = start + 1
        while end < n and values[order[end]] == values[order[start]]:
            end += 1
        for k in range(start, end):
            ranks[order[k]] = start + end - n
        start = end


@njit(cache=True, nogil=True)
def _rank(
    values: Float32,
    order: NDArray[np.int32],
    centred: Float32,
    ties: Bits,
    longest_tie: NDArray[np.int32],
) -> None:
    n = values.shape[1]
    one, half, width = np.uint64(1), np.uint64(32), np.uint64(_DIGIT_BITS)
    digit = (one << width) - one
    counts = np.empty((3, 1 << _DIGIT_BITS), dtype=np.uint32)
    keys, others = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    sign = np.uint32(0x80000000)
    for i in range(values.shape[0]):
        # Radix sort of whole numbers: an image that orders like the values in the upper half (-0 as 0),
        # the column in the lower one.
        bits = (values[i] + np.float32(0.0)).view(np.uint32)
        counts[:] = 0
        for j in range(n):
            image = np.uint64(np.uint32(~bits[j] if bits[j] & sign else bits[j] | sign))
            keys[j] = (image << half) | np.uint64(j)
            counts[0, image & digit] += one
            counts[1, (image >> width) & digit] += one
            counts[2, image >> (width + width)] += one
        for of_digit in counts:
            total = np.uint32(0)
            for k in range(len(of_digit)):
                total, of_digit[k] = total + of_digit[k], total
        _distribute(keys, half, digit, counts[0], others)
        _distribute(others, half + width, digit, counts[1], keys)
        _distribute(keys, half + width + width, digit, counts[2], others)
        longest = 1
        for k in range(n):
            column = np.uint32(others[k])
            order[i, k] = column
            centred[i, column] = np.float32((2 * k + 1 - n) / 2)
        # Ties are rare: ranks are put right where they are.
        end = 1
        while end < n:
            start = end - 1
            while end < n and others[end] >> half == others[start] >> half:
                ties[i, (end - 1) >> 6] |= one << np.uint64((end - 1) & 63)
                end += 1
            if end - start > 1:
                longest = max(longest, end - start)
                for k in range(start, end):
                    centred[i, np.uint32(others[k])] = np.float32((start + end - n) / 2)
            end += 1
        longest_tie[i] = longest


@njit(cache=True, nogil=True)
def _distribute(keys: Bits, shift: np.uint64, digit: np.uint64, place: NDArray[np.uint32], to: Bits) -> None:
    """Bring keys into the order of one digit, whose values begin at some places."""
    for key in keys:
        value = (key >> shift) & digit
        to[place[value]] = key
        place[value] += np.uint32(1)


@njit(cache=True, nogil=True)
def _list(values: Float32, order: NDArray[np.int32], is_in: BoolArray, lists: GeneLists) -> None:
    n_columns = values.shape[1]
    ascending, twice_rank = np.empty((2, n_columns + 1), dtype=np.int32)
    value = np.empty(n_columns, dtype=np.float32)
    for i in range(len(values)):
        n = 0
        for k in range(n_columns):
            ascending[n] = order[i, k]
            n += is_in[i, order[i, k]]
        for k in range(n):
            value[k] = values[i, ascending[k]]
            twice_rank[k] = 2 * k + 1 - n
        lists.squares[i] = (n**3 - n) / 3
        end = 1
        while end < n:
            start = end - 1
            while end < n and value[end] == value[start]:
                end += 1
            if end - start > 1:
                lists.squares[i] -= ((end - start) ** 3 - (end - start)) / 3
                twice_rank[start:end] = start + end - n
                # The list takes positive values from the end: of equal ones the last comes first.
                if value[start] > 0:
                    ascending[start:end] = ascending[start:end][::-1].copy()
            end += 1
        # Without a branch, for which end is next cannot be foretold.
        low, high = 0, n - 1
        for at in range(lists.first[i], lists.first[i + 1]):
            below, above = abs(value[low]), abs(value[high])
            is_low = (below > above) | ((below == above) & (ascending[low] < ascending[high]))
            k = low if is_low else high
            low += is_low
            high -= not is_low
            lists.genes[at] = ascending[k]
            lists.ranks[at] = twice_rank[k]
            lists.directions[at] = (
                (value[k] > 0) * UP
                | (value[k] < 0) * DOWN
                | (abs(value[k]) > np.float32(MIN_ABS_EFFECT)) * STRONG
            )


@njit(cache=True, nogil=True)
def _place_lists(
    first: IntArray, genes: NDArray[np.int32], behind: int, places: NDArray[np.unsignedinteger]
) -> None:
    for i in range(len(places)):
        places[i] = behind
        for at in range(first[i], first[i + 1]):
            places[i, genes[at]] = at - first[i]


@njit(cache=True, nogil=True)
def _invert(order: NDArray[np.int32], places: NDArray[np.unsignedinteger]) -> None:
    for i in range(len(order)):
        for place in range(order.shape[1]):
            places[i, order[i, place]] = place
