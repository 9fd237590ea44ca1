"""How alike effect profiles are: metrics of single pairs, and of many profiles with many at once.

A signature is what one condition (or one sample) did to every gene: log2 fold change, moderated t, and which
genes are significant. Here: the forms of a block of signatures that comparisons need (ranks, unit vectors,
bit sets, lists of significant genes), and the comparisons. All genes of a block are measured; which genes two
profiles share is settled before (``profiles``). Not here: tables, and who is compared with whom.

Correlations of single pairs are computed in double precision. Those of all rows with all rows are products of
unit vectors in Float32, and differ from the former by about 1e-6. An undefined metric is NaN, never 0.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from etl.arrays import FloatArray, IntArray, slices

Float32 = NDArray[np.float32]
Bits = NDArray[np.uint64]

OVERLAPS: Final = (50, 100, 200)
"""Lengths of the lists of significant genes that are laid over each other."""
SIGNED_OVERLAP: Final = 50
"""Genes at either end of the list of t that are laid over each other; half of all genes if that is less."""
MIN_ABS_EFFECT: Final = 0.2
"""Absolute log2 fold change that a gene exceeds for the metrics named ``_02``."""

CONTINUOUS: Final = (
    "spearman_log2_fold_change",
    "pearson_log2_fold_change",
    "cosine_log2_fold_change",
    "spearman_t",
    "pearson_t",
    "cosine_t",
)
DISCRETE: Final = (
    "spearman_significant",
    "direction_agreement",
    "direction_agreement_02",
    *(f"overlap_{k}" for k in OVERLAPS),
    "overlap_n",
    f"signed_overlap_{SIGNED_OVERLAP}",
)
METRICS: Final = (*CONTINUOUS, *DISCRETE)

SHORT_LIST: Final = 16
"""Genes below which ranking by sorting is faster than by counting."""
ROWS_PER_TASK: Final = 64
"""Rows that one task of a thread sorts."""


class Scores(NamedTuple):
    """A metric of some pairs."""

    value: FloatArray
    """NaN where not defined."""
    n_genes: IntArray
    """Genes that the value rests on."""


class Signatures:
    """A block of signatures over one gene axis, with the forms that comparisons need, made when asked for.

    Args:
        log2_fold_change: finite; shape (rows, genes).
        t: moderated t, finite; shape (rows, genes).
        is_significant: shape (rows, genes).
    """

    def __init__(self, log2_fold_change: Float32, t: Float32, is_significant: NDArray[np.bool_]) -> None:
        shapes = {one.shape for one in (log2_fold_change, t, is_significant)}
        if len(shapes) > 1:
            message = f"a block has one shape (rows, genes), not {sorted(shapes)}"
            raise ValueError(message)
        self.log2_fold_change = np.ascontiguousarray(log2_fold_change, dtype=np.float32)
        self.t = np.ascontiguousarray(t, dtype=np.float32)
        self.is_significant = is_significant
        self._units: dict[str, Float32] = {}

    def __len__(self) -> int:
        return len(self.log2_fold_change)

    @property
    def n_genes(self) -> int:
        """Genes of the axis."""
        return self.log2_fold_change.shape[1]

    def values(self, metric: str) -> Float32:
        """Return the values whose cosine is a continuous metric, ranks in place of values for Spearman's.

        Args:
            metric: of ``CONTINUOUS``; the mean of values is not subtracted.
        """
        how, _, value = metric.partition("_")
        if how == "spearman":
            return (self.t_ranks if value == "t" else self.effect_ranks).centred
        return self.t if value == "t" else self.log2_fold_change

    def unit(self, metric: str) -> Float32:
        """Return the rows as unit vectors whose dot products are a continuous metric; NaN where undefined.

        Args:
            metric: of ``CONTINUOUS``.
        """
        if metric not in self._units:
            self._units[metric] = _unit(self.values(metric), is_centred=not metric.startswith("cosine"))
        return self._units[metric]

    @cached_property
    def effect_ranks(self) -> "Ranks":
        """Ranks of the fold changes of each row."""
        return rank_rows(self.log2_fold_change)

    @cached_property
    def t_ranks(self) -> "Ranks":
        """Ranks of the t of each row."""
        return rank_rows(self.t)

    @cached_property
    def significant(self) -> "GeneLists":
        """The significant genes of each row, the largest absolute fold change first."""
        return _gene_lists(self.log2_fold_change, self.is_significant)

    @cached_property
    def significant_ranks(self) -> FloatArray:
        """Centred average ranks of the fold changes within each list, at the places of its genes."""
        ranks = np.empty(len(self.significant.genes))
        _rank_lists(self.significant, self.log2_fold_change, ranks)
        return ranks

    @cached_property
    def significant_places(self) -> NDArray[np.unsignedinteger]:
        """Place of every gene in the list of each row; one that is in none is behind all."""
        first, genes = self.significant
        dtype = np.uint16 if self.n_genes < 2**16 else np.uint32
        places = np.full(self.log2_fold_change.shape, np.iinfo(dtype).max, dtype=dtype)
        rows = np.repeat(np.arange(len(self)), np.diff(first))
        places[rows, genes] = np.arange(len(genes)) - np.repeat(first[:-1], np.diff(first))
        return places

    @cached_property
    def effect_places(self) -> NDArray[np.unsignedinteger]:
        """Place of every gene in the ascending order of fold changes."""
        order = self.effect_ranks.order
        # Rows of two bytes a gene stay in the fastest cache.
        places = np.empty(order.shape, dtype=np.uint16 if order.shape[1] <= 2**16 else np.uint32)
        in_threads(lambda part: _invert(order[part], places[part]), slices(len(order), ROWS_PER_TASK))
        return places

    @cached_property
    def directions(self) -> tuple[Bits, Bits, Bits]:
        """Sets of the significant genes that go up, down, and nowhere."""
        return self._directions(self.is_significant)

    @cached_property
    def strong_directions(self) -> tuple[Bits, Bits, Bits]:
        """The same of genes whose absolute fold change exceeds ``MIN_ABS_EFFECT``."""
        return self._directions(
            self.is_significant & (np.abs(self.log2_fold_change) > np.float32(MIN_ABS_EFFECT))
        )

    @cached_property
    def tops(self) -> dict[int, Bits]:
        """Sets of the first genes of ``significant``, by their number; empty for a row with fewer."""
        return {k: _first_of_lists(self.significant, k, self.n_genes) for k in OVERLAPS}

    @cached_property
    def ends(self) -> tuple[Bits, Bits]:
        """Sets of the genes with the highest and the lowest t."""
        k = min(SIGNED_OVERLAP, self.n_genes // 2)
        order = self.t_ranks.order
        return _bits_of_columns(order[:, self.n_genes - k :], self.n_genes), _bits_of_columns(
            order[:, :k], self.n_genes
        )

    def _directions(self, among: NDArray[np.bool_]) -> tuple[Bits, Bits, Bits]:
        up, down = self.log2_fold_change > 0, self.log2_fold_change < 0
        return pack(among & up), pack(among & down), pack(among & ~(up | down))


class Ranks(NamedTuple):
    """Ranks of the values of rows × columns."""

    order: NDArray[np.int32]
    """Columns in ascending order of their values, ties in the order of columns."""
    centred: Float32
    """Average ranks minus their mean: multiples of one half, exact."""
    ties: Bits
    """Sets of the places in that order whose value is that of the next place, too."""
    has_triples: NDArray[np.bool_]
    """Rows in which a value occurs three times or more."""


class GeneLists(NamedTuple):
    """Lists of genes, one of each row, in one array."""

    first: IntArray
    """Where the list of each row begins, and where the last ends."""
    genes: NDArray[np.int32]

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
    has_triples = np.empty(n_rows, dtype=np.bool_)

    def rank(part: slice) -> None:
        # One sort of whole numbers that hold value and column is three times as fast as an argsort.
        keys = _sort_keys(np.ascontiguousarray(values[part]))
        keys.sort(axis=1)
        _ranks_of_keys(keys, order[part], centred[part], ties[part], has_triples[part])

    in_threads(rank, slices(n_rows, ROWS_PER_TASK))
    return Ranks(order, centred, ties, has_triples)


def correlations(
    left: Signatures, right: Signatures, left_rows: IntArray, right_rows: IntArray
) -> dict[str, Scores]:
    """Return the continuous metrics of some pairs of rows, in double precision.

    Args:
        left: signatures.
        right: signatures over the same genes.
        left_rows: row of each pair.
        right_rows: likewise; shape (pairs,).

    Returns:
        By metric of ``CONTINUOUS``; NaN where a side does not vary (for cosines: is zero).
    """
    n_genes = np.full(len(left_rows), left.n_genes)
    return {
        name: Scores(_correlations(name, left, right, left_rows, right_rows), n_genes) for name in CONTINUOUS
    }


def products(
    left: Signatures, right: Signatures, left_rows: IntArray, right_rows: IntArray
) -> dict[str, Float32]:
    """Return the continuous metrics of each of some rows of the left with each of some rows of the right.

    Returns:
        By metric of ``CONTINUOUS``: shape (left rows, right rows), NaN where a side does not vary.
    """
    found = {}
    for name in CONTINUOUS:
        scores = _chosen(left.unit(name), left_rows) @ _chosen(right.unit(name), right_rows).T
        found[name] = np.clip(scores, -1, 1, out=scores)
    return found


def discrete(
    left: Signatures,
    right: Signatures,
    left_rows: IntArray,
    right_rows: IntArray,
    *,
    own_only: bool = False,
) -> dict[str, Scores]:
    """Return the metrics of lists and signs of some pairs of rows.

    * ``spearman_significant``: the rank correlation of fold changes over the significant genes of the left,
      and over those of the right, averaged; both need two genes and must vary;
    * ``direction_agreement``: share of equal signs over the genes significant on both sides, zero a sign of
      its own; ``_02``: of those that exceed ``MIN_ABS_EFFECT`` on both sides, too;
    * ``overlap_k``: common genes of the k significant genes with the largest absolute fold change, over k;
      both sides need k;
    * ``overlap_n``: the same with k the smaller of both numbers of significant genes, at least one;
    * ``signed_overlap_50``: common genes among the 50 with the highest t, and among the 50 with the lowest,
      over 50, averaged.

    Args:
        left: signatures.
        right: signatures over the same genes.
        left_rows: row of each pair.
        right_rows: likewise; shape (pairs,).
        own_only: the right side has no significant genes of its own, as a mean of profiles has none: all its
            genes count, ranked by absolute fold change, and correlations run over the genes of the left.
    """
    if own_only:
        right = Signatures(right.log2_fold_change, right.t, np.ones_like(right.is_significant))
    rows = (np.asarray(left_rows, dtype=np.int64), np.asarray(right_rows, dtype=np.int64))
    n_left, n_right = left.significant.lengths[rows[0]], right.significant.lengths[rows[1]]
    rho = _over_significant(left, right, *rows)
    if not own_only:
        rho = (rho + _over_significant(right, left, *rows[::-1])) / 2
    n_lists = n_left if own_only else n_left + n_right
    scores = {"spearman_significant": Scores(rho, n_lists)}
    strong = right.directions if own_only else right.strong_directions
    for name, sides in (
        ("direction_agreement", (left.directions, right.directions)),
        ("direction_agreement_02", (left.strong_directions, strong)),
    ):
        equal, shared = _sign_counts(*sides, *rows)
        scores[name] = Scores(_share(equal, shared), shared)
    for k in OVERLAPS:
        common = common_counts(left.tops[k], right.tops[k], *rows)
        is_given = (n_left >= k) & (n_right >= k)
        scores[f"overlap_{k}"] = Scores(np.where(is_given, common / k, np.nan), np.minimum(n_left, n_right))
    n_both = np.minimum(n_left, n_right)
    common = _common_of_lists(left, right, *rows, n_both)
    scores["overlap_n"] = Scores(_share(common, n_both), n_both)
    k = min(SIGNED_OVERLAP, left.n_genes // 2)
    common = common_counts(left.ends[0], right.ends[0], *rows) + common_counts(
        left.ends[1], right.ends[1], *rows
    )
    signed = np.where(k > 0, common / max(2 * k, 1), np.nan)
    scores[f"signed_overlap_{SIGNED_OVERLAP}"] = Scores(signed, np.full(len(signed), left.n_genes))
    return scores


def _chosen(rows: Float32, chosen: IntArray) -> Float32:
    """Return some rows; without a copy where they are all of them."""
    if len(chosen) == len(rows) and (chosen == np.arange(len(rows))).all():
        return rows
    return rows[chosen]


def _correlations(
    metric: str, left: Signatures, right: Signatures, left_rows: IntArray, right_rows: IntArray
) -> FloatArray:
    sides, is_centred = (left.values(metric), right.values(metric)), not metric.startswith("cosine")
    value = np.empty(len(left_rows))

    def correlate(part: slice) -> None:
        _correlate(*sides, left_rows[part], right_rows[part], is_centred, value[part])

    in_threads(correlate, slices(len(value), ROWS_PER_TASK))
    return value


def _over_significant(
    own: Signatures, other: Signatures, own_rows: IntArray, other_rows: IntArray
) -> FloatArray:
    """Return the rank correlation over the significant genes of the own side; NaN for fewer than two."""
    # Pair after pair with the same other row, whose places of genes are then at hand.
    order = np.argsort(other_rows, kind="stable")
    mine, theirs = own_rows[order], other_rows[order]
    found, rho = np.empty((2, len(order)))
    ranks, places = own.significant_ranks, other.effect_places
    squares = np.add.reduceat(
        np.concatenate([ranks**2, [0.0]]), np.minimum(own.significant.first[:-1], len(ranks))
    )
    squares[own.significant.lengths == 0] = 0

    def correlate(part: slice) -> None:
        _one_sided(
            own.significant,
            ranks,
            squares,
            places,
            other.effect_ranks.ties,
            other.effect_ranks.has_triples,
            other.log2_fold_change,
            mine[part],
            theirs[part],
            found[part],
        )

    in_threads(correlate, _parts(len(found)))
    rho[order] = found
    return rho


def _common_of_lists(
    left: Signatures, right: Signatures, left_rows: IntArray, right_rows: IntArray, n: IntArray
) -> IntArray:
    """Return how many of the first n significant genes each pair has in common."""
    order = np.argsort(right_rows, kind="stable")
    mine, theirs, lengths = left_rows[order], right_rows[order], n[order]
    found, common = np.empty((2, len(order)), dtype=np.int64)
    lists, places = left.significant, right.significant_places

    def count(part: slice) -> None:
        _common_first(lists, places, mine[part], theirs[part], lengths[part], found[part])

    in_threads(count, _parts(len(found)))
    common[order] = found
    return common


def common_counts(left: Bits, right: Bits, left_rows: IntArray, right_rows: IntArray) -> IntArray:
    """Return how many genes the sets of each pair have in common."""
    counts = np.empty(len(left_rows), dtype=np.int64)

    def count(part: slice) -> None:
        _common(left, right, left_rows[part], right_rows[part], counts[part])

    in_threads(count, _parts(len(counts)))
    return counts


def pack(is_in: NDArray[np.bool_]) -> Bits:
    """Return rows of truth values as bits, 64 to a word."""
    n_rows, n_columns = is_in.shape
    packed = np.zeros((n_rows, -(-n_columns // 64) * 8), dtype=np.uint8)
    packed[:, : -(-n_columns // 8)] = np.packbits(is_in, axis=1, bitorder="little")
    return packed.view(np.uint64)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)))


def in_threads(work: Callable[[slice], None], parts: Iterator[slice]) -> None:
    """Work on slices in as many threads as there are processors; the work must not call this again."""
    listed = list(parts)
    if len(listed) < 2:
        for part in listed:
            work(part)
        return
    list(_threads().map(work, listed))


def _parts(n: int) -> Iterator[slice]:
    return slices(n, max(4096, -(-n // 64)))


def _share(part: IntArray, whole: IntArray) -> FloatArray:
    share = np.full(len(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _unit(rows: Float32, *, is_centred: bool) -> Float32:
    """Return unit vectors of rows, less their mean where wanted; NaN for a row that is constant."""
    units = np.empty_like(rows)
    in_threads(lambda part: _scale(rows[part], is_centred, units[part]), slices(len(rows), ROWS_PER_TASK))
    return units


def _sort_keys(values: Float32) -> NDArray[np.uint64]:
    """Return whole numbers that sort like the values, ties like their columns."""
    keys = np.empty(values.shape, dtype=np.uint64)
    _fill_keys(values, keys)
    return keys


def _sign_counts(
    left: tuple[Bits, ...], right: tuple[Bits, ...], left_rows: IntArray, right_rows: IntArray
) -> tuple[IntArray, IntArray]:
    """Return the genes of equal direction, and those in any set on both sides."""
    equal = np.zeros(len(left_rows), dtype=np.int64)
    for one, other in zip(left, right, strict=True):
        if one.any() and other.any():
            equal += common_counts(one, other, left_rows, right_rows)
    union, other_union = (side[0] | side[1] | side[2] for side in (left, right))
    return equal, common_counts(union, other_union, left_rows, right_rows)


def _gene_lists(values: Float32, is_in: NDArray[np.bool_]) -> GeneLists:
    lengths = is_in.sum(axis=1)
    first = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if is_in.all():
        return GeneLists(first, rank_rows(-np.abs(values)).order.ravel())
    row, gene = np.nonzero(is_in)
    order = np.lexsort((gene, -np.abs(values[row, gene]), row))
    return GeneLists(first, gene[order].astype(np.int32))


def _first_of_lists(lists: GeneLists, k: int, n_genes: int) -> Bits:
    is_in = np.zeros((len(lists.first) - 1, n_genes), dtype=np.bool_)
    rows = np.flatnonzero(lists.lengths >= k)
    if len(rows):
        at = lists.first[rows][:, None] + np.arange(k)
        is_in[rows[:, None], lists.genes[at]] = True
    return pack(is_in)


def _bits_of_columns(columns: NDArray[np.int32], n_columns: int) -> Bits:
    is_in = np.zeros((len(columns), n_columns), dtype=np.bool_)
    np.put_along_axis(is_in, columns.astype(np.int64), values=True, axis=1)
    return pack(is_in)


@njit(cache=True, nogil=True)
def _invert(order: NDArray[np.int32], places: NDArray[np.unsignedinteger]) -> None:
    for i in range(len(order)):
        for place in range(order.shape[1]):
            places[i, order[i, place]] = place


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scale(rows: Float32, is_centred: bool, units: Float32) -> None:
    n = rows.shape[1]
    for i in range(len(rows)):
        mean, varies = 0.0, not is_centred
        for g in range(n):
            mean += rows[i, g]
            varies |= rows[i, g] != rows[i, 0]
        mean = mean / max(n, 1) if is_centred else 0.0
        square = 0.0
        for g in range(n):
            square += (rows[i, g] - mean) ** 2
        scale = 1 / np.sqrt(square) if varies and square > 0 else np.nan
        for g in range(n):
            units[i, g] = (rows[i, g] - mean) * scale


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _correlate(
    left: Float32,
    right: Float32,
    left_rows: IntArray,
    right_rows: IntArray,
    is_centred: bool,
    value: FloatArray,
) -> None:
    n = left.shape[1]
    for p in range(len(value)):
        x, y = left[left_rows[p]], right[right_rows[p]]
        x_mean, y_mean = 0.0, 0.0
        if is_centred and n > 0:
            for g in range(n):
                x_mean += x[g]
                y_mean += y[g]
            x_mean /= n
            y_mean /= n
        xy, xx, yy = 0.0, 0.0, 0.0
        x_varies, y_varies = not is_centred, not is_centred
        for g in range(n):
            a, b = x[g] - x_mean, y[g] - y_mean
            xy += a * b
            xx += a * a
            yy += b * b
            x_varies |= x[g] != x[0]
            y_varies |= y[g] != y[0]
        if x_varies and y_varies and xx > 0 and yy > 0:
            value[p] = max(-1.0, min(1.0, xy / np.sqrt(xx * yy)))
        else:
            value[p] = np.nan


@njit(cache=True, nogil=True)
def _fill_keys(values: Float32, keys: NDArray[np.uint64]) -> None:
    """Fill in order-preserving images of the values in the upper, columns in the lower half."""
    sign = np.uint32(0x80000000)
    for i in range(values.shape[0]):
        bits = (values[i] + np.float32(0.0)).view(np.uint32)
        for j in range(values.shape[1]):
            image = ~bits[j] if bits[j] & sign else bits[j] | sign
            keys[i, j] = (np.uint64(np.uint32(image)) << np.uint64(32)) | np.uint64(j)


@njit(cache=True, nogil=True)
def _ranks_of_keys(
    keys: NDArray[np.uint64],
    order: NDArray[np.int32],
    centred: Float32,
    ties: Bits,
    has_triples: NDArray[np.bool_],
) -> None:
    low = np.uint64(0xFFFFFFFF)
    n = keys.shape[1]
    middle = (n - 1) / 2
    for i in range(keys.shape[0]):
        has_triples[i] = False
        start = 0
        while start < n:
            end = start + 1
            image = keys[i, start] >> np.uint64(32)
            while end < n and keys[i, end] >> np.uint64(32) == image:
                end += 1
            rank = (start + end - 1) / 2 - middle
            has_triples[i] |= end - start > 2
            for k in range(start, end - 1):
                ties[i, k >> 6] |= np.uint64(1) << np.uint64(k & 63)
            for k in range(start, end):
                column = np.int64(keys[i, k] & low)
                order[i, k] = column
                centred[i, column] = rank
            start = end


@njit(cache=True, nogil=True)
def _count_bits(word: np.uint64) -> np.uint64:
    """Return the number of ones (compiled to one instruction)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _common(left: Bits, right: Bits, left_rows: IntArray, right_rows: IntArray, counts: IntArray) -> None:
    for p in range(len(counts)):
        i, j = left_rows[p], right_rows[p]
        total = np.uint64(0)
        for w in range(left.shape[1]):
            total += _count_bits(left[i, w] & right[j, w])
        counts[p] = np.int64(total)


@njit(cache=True, nogil=True)
def _common_first(
    lists: GeneLists,
    places: NDArray[np.unsignedinteger],
    left_rows: IntArray,
    right_rows: IntArray,
    n: IntArray,
    common: IntArray,
) -> None:
    """Count the genes among the first n of the left list that are among the first n of the right one."""
    for p in range(len(common)):
        start = lists.first[left_rows[p]]
        common[p] = 0
        for k in range(start, start + n[p]):
            if np.int64(places[right_rows[p], lists.genes[k]]) < n[p]:
                common[p] += 1


@njit(cache=True, nogil=True)
def _average_ranks(values: FloatArray, ranks: FloatArray) -> None:
    """Fill in centred average ranks."""
    n = len(values)
    order = np.argsort(values, kind="mergesort")
    start = 0
    while start < n:
        end = start + 1
        while end < n and values[order[end]] == values[order[start]]:
            end += 1
        for k in range(start, end):
            ranks[order[k]] = (start + end - 1) / 2 - (n - 1) / 2
        start = end


@njit(cache=True, nogil=True)
def _rank_lists(lists: GeneLists, values: Float32, ranks: FloatArray) -> None:
    for i in range(len(lists.first) - 1):
        start, end = lists.first[i], lists.first[i + 1]
        chosen = np.empty(end - start)
        for k in range(start, end):
            chosen[k - start] = values[i, lists.genes[k]]
        _average_ranks(chosen, ranks[start:end])


@njit(cache=True, nogil=True)
def _one_sided(
    lists: GeneLists,
    own: FloatArray,
    own_squares: FloatArray,
    places: NDArray[np.unsignedinteger],
    ties: Bits,
    has_triples: NDArray[np.bool_],
    values: Float32,
    own_rows: IntArray,
    other_rows: IntArray,
    rho: FloatArray,
) -> None:
    """Fill in the rank correlation over the list of each pair's own row.

    Ranks within the list come from places in the whole order: each gene sets its bit, and the ones before it
    are counted. Where two genes of the list have one value it is ranked by sorting, for ties get average
    ranks: two neighbours in the order whose bits are both set, or any in a row with three equal values.
    """
    n_words = (values.shape[1] + 63) // 64
    bits = np.zeros(n_words, dtype=np.uint64)
    before = np.zeros(n_words, dtype=np.int64)
    at = np.empty(values.shape[1], dtype=np.int64)
    one = np.uint64(1)
    for p in range(len(rho)):
        i, j = own_rows[p], other_rows[p]
        start = lists.first[i]
        n = lists.first[i + 1] - start
        rho[p] = np.nan
        if n < 2 or own_squares[i] <= 0:
            continue
        product, square = 0.0, 0.0
        by_sorting = has_triples[j] or n < SHORT_LIST
        if not by_sorting:
            row = places[j]
            for k in range(n):
                place = np.int64(row[lists.genes[start + k]])
                at[k] = place
                bits[place >> 6] |= one << np.uint64(place & 63)
            tied = np.uint64(0)
            before[0] = 0
            for w in range(n_words):
                following = bits[w] >> one
                if w + 1 < n_words:
                    before[w + 1] = before[w] + np.int64(_count_bits(bits[w]))
                    following |= bits[w + 1] << np.uint64(63)
                tied |= bits[w] & following & ties[j, w]
            by_sorting = tied != np.uint64(0)
            middle = (n - 1) / 2
            for k in range(n):
                word, bit = at[k] >> 6, np.uint64(at[k] & 63)
                below = bits[word] & ((one << bit) - one)
                product += own[start + k] * (before[word] + np.int64(_count_bits(below)) - middle)
            # Without ties the ranks are those of 0 to n - 1.
            square = n * (n * n - 1.0) / 12
            for k in range(n):
                bits[at[k] >> 6] = np.uint64(0)
        if by_sorting:
            chosen = np.empty(n)
            for k in range(n):
                chosen[k] = values[j, lists.genes[start + k]]
            ranks = np.empty(n)
            _average_ranks(chosen, ranks)
            product, square = 0.0, 0.0
            for k in range(n):
                product += own[start + k] * ranks[k]
                square += ranks[k] ** 2
        if square > 0:
            rho[p] = max(-1.0, min(1.0, product / np.sqrt(own_squares[i] * square)))
