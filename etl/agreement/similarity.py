"""How alike effect profiles are: metrics of single pairs, and of many profiles with many at once.

A signature is what one condition (or one sample) did to every gene: log2 fold change, moderated t, and which
genes are significant. Here: the forms of a block of signatures that comparisons need, and the comparisons.
All genes of a block are measured; which genes two profiles share is settled before (``profiles``). Not here:
orders of genes (``gene_order``), tables, and who is compared with whom.

Correlations of single pairs are computed in double precision. Those of all rows with all rows are products of
unit vectors in Float32, and differ from the former by about 1e-6. An undefined metric is NaN, never 0.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from etl.agreement.gene_order import (
    ROWS_PER_TASK,
    STRONG,
    Bits,
    Float32,
    GeneLists,
    Ranks,
    average_ranks,
    list_genes,
    places_in_list,
    places_in_order,
    rank_rows,
)
from etl.arrays import BoolArray, FloatArray, IntArray, slices
from etl.threads import in_threads

OVERLAPS: Final = (50, 100, 200)
"""Lengths of the lists of significant genes that are laid over each other."""
SIGNED_OVERLAP: Final = 50
"""Genes at either end of the list of t that are laid over each other; half of all genes if that is less."""

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

PAIRS_PER_TASK: Final = 4096
SHORT_LIST: Final = 16
"""Genes below which ranking by sorting is faster than by counting, on long profiles."""


class Scores(NamedTuple):
    """A metric of some pairs."""

    value: FloatArray
    """NaN where not defined."""
    n_genes: IntArray
    """Genes that the value rests on."""


class Vectors:
    """Rows of numbers, and what correlations need of them.

    Args:
        values: finite; shape (rows, genes).
    """

    def __init__(self, values: Float32) -> None:
        self.values = values
        n_rows = len(values)
        # Sums of squares about the mean, 0 for a row that does not vary, and about zero.
        self.mean, self.variation, self.square = np.empty((3, n_rows))
        in_threads(self._measure, slices(n_rows, ROWS_PER_TASK))

    def _measure(self, part: slice) -> None:
        _moments(self.values[part], self.mean[part], self.variation[part], self.square[part])

    @cached_property
    def units(self) -> Float32:
        """The rows less their mean as unit vectors; zero for a row that does not vary."""
        units = np.empty_like(self.values)

        def scale(part: slice) -> None:
            _scale(self.values[part], self.mean[part], self.variation[part], units[part])

        in_threads(scale, slices(len(units), ROWS_PER_TASK))
        return units

    @cached_property
    def correlation_terms(self) -> tuple[Float32, Float32]:
        """Scale and shift of each row that make a product of ``units`` Pearson's correlation.

        A score is product · scale · other scale + shift · other shift; NaN for a row that does not vary.
        """
        scale = np.where(self.variation > 0, 1, np.nan).astype(np.float32)
        return scale, np.zeros_like(scale)

    @cached_property
    def cosine_terms(self) -> tuple[Float32, Float32]:
        """Likewise for the cosine: (covariance + n · mean · other mean) / lengths; NaN for a row of zeros."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.sqrt(self.variation / self.square)
            shift = self.mean * np.sqrt(self.values.shape[1] / self.square)
        return scale.astype(np.float32), shift.astype(np.float32)


class Signatures:
    """A block of signatures over one gene axis, with the forms that comparisons need, made when asked for.

    Args:
        log2_fold_change: finite; shape (rows, genes).
        t: moderated t, finite; shape (rows, genes).
        is_significant: shape (rows, genes); None where signatures have no significant genes of their own, as
            means of profiles: all their genes are then listed, and the other side selects.
    """

    def __init__(self, log2_fold_change: Float32, t: Float32, is_significant: BoolArray | None) -> None:
        shapes = {one.shape for one in (log2_fold_change, t, is_significant) if one is not None}
        if len(shapes) > 1:
            message = f"a block has one shape (rows, genes), not {sorted(shapes)}"
            raise ValueError(message)
        self.log2_fold_change = np.ascontiguousarray(log2_fold_change, dtype=np.float32)
        self.t = np.ascontiguousarray(t, dtype=np.float32)
        self.has_own_genes = is_significant is not None
        self.is_significant = np.ones(self.t.shape, np.bool_) if is_significant is None else is_significant
        self._vectors: dict[str, Vectors] = {}

    def __len__(self) -> int:
        return len(self.log2_fold_change)

    @property
    def n_genes(self) -> int:
        """Genes of the axis."""
        return self.log2_fold_change.shape[1]

    def vectors(self, metric: str) -> Vectors:
        """Return what a continuous metric correlates: values, or for Spearman's their ranks.

        Args:
            metric: of ``CONTINUOUS``.
        """
        how, _, value = metric.partition("_")
        name = f"{'ranks' if how == 'spearman' else 'values'} of {value}"
        if name not in self._vectors:
            if how == "spearman":
                values = (self.t_ranks if value == "t" else self.effect_ranks).centred
            else:
                values = self.t if value == "t" else self.log2_fold_change
            self._vectors[name] = Vectors(values)
        return self._vectors[name]

    @cached_property
    def effect_ranks(self) -> Ranks:
        """Ranks of the fold changes of each row."""
        return rank_rows(self.log2_fold_change)

    @cached_property
    def t_ranks(self) -> Ranks:
        """Ranks of the t of each row."""
        return rank_rows(self.t)

    @cached_property
    def effect_places(self) -> NDArray[np.unsignedinteger]:
        """Place of every gene in the ascending order of fold changes."""
        return places_in_order(self.effect_ranks.order)

    @cached_property
    def significant(self) -> GeneLists:
        """The significant genes of each row, the largest absolute fold change first."""
        return list_genes(self.log2_fold_change, self.effect_ranks.order, self.is_significant)

    @cached_property
    def significant_places(self) -> NDArray[np.unsignedinteger]:
        """Place of every gene in ``significant``; one that is not in it is behind all."""
        return places_in_list(self.significant, self.n_genes)

    @cached_property
    def ends(self) -> "Ends":
        """The genes with the lowest and the highest t."""
        k = min(SIGNED_OVERLAP, self.n_genes // 2)
        order = self.t_ranks.order
        genes = np.stack([order[:, :k], order[:, self.n_genes - k :]])
        side = np.zeros(order.shape, dtype=np.int8)
        for sign, of_side in zip((-1, 1), genes, strict=True):
            np.put_along_axis(side, of_side, sign, axis=1)
        return Ends(genes, side)


class Ends(NamedTuple):
    """The genes at both ends of an order."""

    genes: NDArray[np.int32]
    """Those at the lower end, and those at the upper one; shape (2, rows, genes of an end)."""
    side: NDArray[np.int8]
    """-1 for a gene at the lower end, 1 at the upper one, 0 elsewhere; shape (rows, genes)."""


class _Pairs(NamedTuple):
    """Pairs of rows, and orders of the pairs in which those with one row follow each other."""

    left: IntArray
    right: IntArray
    by_left: IntArray
    by_right: IntArray

    @classmethod
    def of(cls, left_rows: IntArray, right_rows: IntArray) -> "_Pairs":
        left, right = (np.asarray(rows, dtype=np.int64) for rows in (left_rows, right_rows))
        return cls(left, right, *(np.argsort(rows, kind="stable") for rows in (left, right)))

    @classmethod
    def all(cls, left_rows: IntArray, right_rows: IntArray) -> "_Pairs":
        """Return each of some rows with each of others, the left ones slowest."""
        shape = len(left_rows), len(right_rows)
        number = np.arange(shape[0] * shape[1])
        left, right = np.repeat(left_rows, shape[1]), np.tile(right_rows, shape[0])
        return cls(left, right, number, number.reshape(shape).T.ravel())

    def turned(self) -> "_Pairs":
        return _Pairs(self.right, self.left, self.by_right, self.by_left)


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
    values: dict[str, FloatArray] = {}
    for metric in CONTINUOUS:
        if metric.startswith("cosine"):
            continue
        sides = left.vectors(metric), right.vectors(metric)
        covariance = _covariances(*sides, left_rows, right_rows)
        (mean, variation, square), (other_mean, other_variation, other_square) = (
            (one.mean[rows], one.variation[rows], one.square[rows])
            for one, rows in zip(sides, (left_rows, right_rows), strict=True)
        )
        values[metric] = _ratio(covariance, variation * other_variation)
        if metric.startswith("pearson"):
            product = covariance + left.n_genes * mean * other_mean
            values[metric.replace("pearson", "cosine")] = _ratio(product, square * other_square)
    return {metric: Scores(values[metric], n_genes) for metric in CONTINUOUS}


def products(
    left: Signatures,
    left_rows: IntArray,
    right: Signatures,
    right_rows: IntArray,
    metrics: tuple[str, ...] = CONTINUOUS,
) -> dict[str, Float32]:
    """Return continuous metrics of each of some rows of the left with each of some rows of the right.

    Args:
        left: signatures.
        left_rows: rows of these.
        right: signatures over the same genes.
        right_rows: rows of these.
        metrics: of ``CONTINUOUS``.

    Returns:
        By metric: shape (left rows, right rows), NaN where a side does not vary (for cosines: is zero).
    """
    found: dict[str, Float32] = {}
    correlated: dict[tuple[int, int], Float32] = {}
    for metric in metrics:
        sides = left.vectors(metric), right.vectors(metric)
        # Pearson's and the cosine share one product: the means of both sides are what they differ by.
        key = id(sides[0]), id(sides[1])
        if key not in correlated:
            correlated[key] = _some(sides[0].units, left_rows) @ _some(sides[1].units, right_rows).T
        product = correlated[key]
        found[metric] = np.empty_like(product)
        terms = (one.cosine_terms if metric.startswith("cosine") else one.correlation_terms for one in sides)
        (scale, shift), (other_scale, other_shift) = terms
        of_left = scale[left_rows], shift[left_rows]
        _rescale(product, *of_left, other_scale[right_rows], other_shift[right_rows], found[metric])
    return found


def discrete(
    left: Signatures, right: Signatures, left_rows: IntArray, right_rows: IntArray
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

    Where the right side has no significant genes of its own, all its genes count, ranked by absolute fold
    change; correlations run over the genes of the left alone, which alone have to exceed ``MIN_ABS_EFFECT``.

    Args:
        left: signatures.
        right: signatures over the same genes.
        left_rows: row of each pair.
        right_rows: likewise; shape (pairs,).
    """
    return _discrete(left, right, _Pairs.of(left_rows, right_rows))


def all_metrics(
    left: Signatures, left_rows: IntArray, right: Signatures, right_rows: IntArray
) -> dict[str, NDArray[np.floating]]:
    """Return every metric of each of some rows of the left with each of some rows of the right.

    Returns:
        By metric of ``METRICS``: shape (left rows, right rows).
    """
    shape = len(left_rows), len(right_rows)
    lists = _discrete(left, right, _Pairs.all(left_rows, right_rows))
    return {
        **products(left, left_rows, right, right_rows),
        **{name: one.value.reshape(shape) for name, one in lists.items()},
    }


def _discrete(left: Signatures, right: Signatures, pairs: _Pairs) -> dict[str, Scores]:
    n_left, n_right = left.significant.lengths[pairs.left], right.significant.lengths[pairs.right]
    rho = _over_significant(left, right, pairs)
    if right.has_own_genes:
        rho = (rho + _over_significant(right, left, pairs.turned())) / 2
    scores = {"spearman_significant": Scores(rho, n_left + n_right * right.has_own_genes)}
    common = _common_genes(left, right, pairs)
    for name, equal, shared in (
        ("direction_agreement", common.equal, common.shared),
        ("direction_agreement_02", common.equal_strong, common.shared_strong),
    ):
        scores[name] = Scores(_share(equal, shared), shared)
    n_both = np.minimum(n_left, n_right)
    for k, n in zip(OVERLAPS, common.tops, strict=True):
        scores[f"overlap_{k}"] = Scores(np.where(n_both >= k, n / k, np.nan), n_both)
    scores["overlap_n"] = Scores(_share(common.in_n, n_both), n_both)
    k = left.ends.genes.shape[2]
    signed = common.at_ends / (2 * k) if k else np.full(len(n_both), np.nan)
    scores[f"signed_overlap_{SIGNED_OVERLAP}"] = Scores(signed, np.full(len(n_both), left.n_genes))
    return scores


class _CommonGenes(NamedTuple):
    """Numbers of genes that pairs of rows have in common."""

    shared: IntArray
    """Significant on both sides."""
    equal: IntArray
    """Of these, with the same direction."""
    shared_strong: IntArray
    equal_strong: IntArray
    in_n: IntArray
    """Among as many first significant genes as the shorter list has."""
    at_ends: IntArray
    """At the same end of the order of t."""
    tops: IntArray
    """Among the first of ``OVERLAPS`` significant genes; shape (lengths, pairs)."""


def _common_genes(left: Signatures, right: Signatures, pairs: _Pairs) -> _CommonGenes:
    counts = np.empty((6 + len(OVERLAPS), len(pairs.left)), dtype=np.int64)
    sides = left.significant, right.significant
    places, ends, side = right.significant_places, left.ends.genes, right.ends.side
    strong = STRONG if right.has_own_genes else np.uint8(0)

    def count(part: slice) -> None:
        _count_common(
            *sides, places, strong, ends, side, pairs.left, pairs.right, pairs.by_right[part], counts
        )

    in_threads(count, _parts(len(pairs.left)))
    shared, equal, shared_strong, equal_strong, in_n, at_ends = counts[:6]
    return _CommonGenes(shared, equal, shared_strong, equal_strong, in_n, at_ends, counts[6:])


def _over_significant(own: Signatures, other: Signatures, pairs: _Pairs) -> FloatArray:
    """Return the rank correlation over the significant genes of the own side; NaN for fewer than two."""
    rho = np.empty(len(pairs.left))
    # Pair after pair with the same other row, whose places of genes are then at hand.
    own_lists, places, ranks = own.significant, other.effect_places, other.effect_ranks

    def correlate(part: slice) -> None:
        _correlate_lists(
            own_lists,
            places,
            ranks.ties,
            ranks.longest_tie,
            other.log2_fold_change,
            pairs.left,
            pairs.right,
            pairs.by_right[part],
            rho,
        )

    in_threads(correlate, _parts(len(rho)))
    return rho


def _covariances(left: Vectors, right: Vectors, left_rows: IntArray, right_rows: IntArray) -> FloatArray:
    """Return sums of products of deviations from the mean of some pairs of rows."""
    value = np.empty(len(left_rows))

    def multiply(part: slice) -> None:
        _multiply(
            left.values, right.values, left.mean, right.mean, left_rows[part], right_rows[part], value[part]
        )

    in_threads(multiply, slices(len(value), ROWS_PER_TASK))
    return value


def _ratio(product: FloatArray, squares: FloatArray) -> FloatArray:
    """Return products over the root of both sums of squares; NaN where one is zero."""
    ratio = np.full(len(squares), np.nan)
    np.divide(product, np.sqrt(squares), out=ratio, where=squares > 0)
    return np.clip(ratio, -1, 1, out=ratio)


def _share(part: IntArray, whole: IntArray) -> FloatArray:
    share = np.full(len(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _some(rows: Float32, chosen: IntArray) -> Float32:
    """Return some rows; without a copy where they are consecutive."""
    if len(chosen) and (np.diff(chosen) == 1).all():
        return rows[chosen[0] : chosen[-1] + 1]
    return rows[chosen]


def _parts(n: int) -> Iterator[slice]:
    return slices(n, max(PAIRS_PER_TASK, -(-n // 64)))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _moments(rows: Float32, mean: FloatArray, variation: FloatArray, square: FloatArray) -> None:
    """Fill in means, and sums of squares about the mean (0 where values do not vary) and about zero."""
    n = rows.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        total, varies = 0.0, False
        for g in range(n):
            total += row[g]
            varies |= row[g] != row[0]
        mean[i] = total / max(n, 1)
        about_mean, about_zero = 0.0, 0.0
        for g in range(n):
            about_mean += (row[g] - mean[i]) ** 2
            about_zero += np.float64(row[g]) ** 2
        variation[i] = about_mean if varies else 0.0
        square[i] = about_zero


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scale(rows: Float32, mean: FloatArray, variation: FloatArray, units: Float32) -> None:
    for i in range(len(rows)):
        scale = 1 / np.sqrt(variation[i]) if variation[i] > 0 else 0.0
        for g in range(rows.shape[1]):
            units[i, g] = (rows[i, g] - mean[i]) * scale


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _multiply(
    left: Float32,
    right: Float32,
    left_mean: FloatArray,
    right_mean: FloatArray,
    left_rows: IntArray,
    right_rows: IntArray,
    value: FloatArray,
) -> None:
    for p in range(len(value)):
        i, j = left_rows[p], right_rows[p]
        x, y = left[i], right[j]
        total = 0.0
        for g in range(left.shape[1]):
            total += (x[g] - left_mean[i]) * (y[g] - right_mean[j])
        value[p] = total


@njit(cache=True, nogil=True)
def _rescale(
    product: Float32,
    left_scale: Float32,
    left_shift: Float32,
    right_scale: Float32,
    right_shift: Float32,
    score: Float32,
) -> None:
    """Fill in scaled and shifted products, kept within -1 and 1."""
    low, high = np.float32(-1), np.float32(1)
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            one = product[i, j] * (left_scale[i] * right_scale[j]) + left_shift[i] * right_shift[j]
            one = high if one > high else one
            score[i, j] = low if one < low else one


@njit(cache=True, nogil=True)
def _count_bits(word: np.uint64) -> np.uint64:
    """Return the number of ones (compiled to one instruction)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _count_common(
    left: GeneLists,
    right: GeneLists,
    right_places: NDArray[np.unsignedinteger],
    strong_of_right: np.uint8,
    left_ends: NDArray[np.int32],
    right_side: NDArray[np.int8],
    left_rows: IntArray,
    right_rows: IntArray,
    order: IntArray,
    counts: IntArray,
) -> None:
    """Fill in the numbers of ``_CommonGenes``, walking the lists of the left past the places of the right."""
    sign = ~STRONG
    tops = np.zeros(len(OVERLAPS), dtype=np.int64)
    for p in order:
        i, j = left_rows[p], right_rows[p]
        start, n_left = left.first[i], left.first[i + 1] - left.first[i]
        other, n_right = right.first[j], right.first[j + 1] - right.first[j]
        genes, directions = left.genes[start : start + n_left], left.directions[start : start + n_left]
        places, theirs = right_places[j], right.directions[other : other + n_right]
        n, end = min(n_left, n_right), np.uint32(n_right)
        shared, equal, shared_strong, equal_strong, in_n = 0, 0, 0, 0, 0
        tops[:] = 0
        for k in range(n_left):
            place = np.uint32(places[np.uint32(genes[k])])
            if place < end:
                one, another = directions[k], theirs[place]
                is_equal = (one ^ another) & sign == 0
                is_strong = one & (another | (STRONG ^ strong_of_right)) & STRONG != 0
                shared += 1
                equal += is_equal
                shared_strong += is_strong
                equal_strong += is_equal and is_strong
                later = max(np.int64(k), np.int64(place))
                in_n += later < n
                for o in range(len(OVERLAPS)):
                    tops[o] += later < OVERLAPS[o]
        at_ends = 0
        side = right_side[j]
        for k in range(left_ends.shape[2]):
            at_ends += side[np.uint32(left_ends[0, i, k])] == -1
            at_ends += side[np.uint32(left_ends[1, i, k])] == 1
        counts[0, p], counts[1, p] = shared, equal
        counts[2, p], counts[3, p] = shared_strong, equal_strong
        counts[4, p], counts[5, p] = in_n, at_ends
        for o in range(len(OVERLAPS)):
            counts[6 + o, p] = tops[o]


@njit(cache=True, nogil=True)
def _correlate_lists(
    lists: GeneLists,
    places: NDArray[np.unsignedinteger],
    ties: Bits,
    longest_tie: NDArray[np.int32],
    values: Float32,
    own_rows: IntArray,
    other_rows: IntArray,
    order: IntArray,
    rho: FloatArray,
) -> None:
    """Fill in the rank correlation over the list of each pair's own row.

    Ranks within the list come from places in the whole order: each gene sets its bit, and the ones before it
    are counted. Where two genes of the list have one value it is ranked by sorting, for ties get average
    ranks: two neighbours in the order whose bits are both set, or any in a row with three equal values.
    """
    n_words = (values.shape[1] + 63) // 64
    bits = np.zeros(n_words, dtype=np.uint64)
    before = np.zeros(n_words, dtype=np.uint32)
    at = np.empty(values.shape[1], dtype=np.uint32)
    one, low = np.uint64(1), np.uint32(63)
    for p in order:
        i, j = own_rows[p], other_rows[p]
        start = lists.first[i]
        n = lists.first[i + 1] - start
        rho[p] = np.nan
        if n < 2 or lists.squares[i] <= 0:
            continue
        genes, own = lists.genes[start : start + n], lists.ranks[start : start + n]
        product, square = 0.0, 0.0
        by_sorting = longest_tie[j] > 2 or (n < SHORT_LIST and n_words > 4 * n)
        if not by_sorting:
            row = places[j]
            bits[:] = 0
            for k in range(n):
                place = np.uint32(row[np.uint32(genes[k])])
                at[k] = place
                bits[np.uint64(place >> np.uint32(6))] |= one << np.uint64(place & low)
            if longest_tie[j] > 1:
                tied = np.uint64(0)
                for w in range(n_words):
                    following = bits[w] >> one
                    if w + 1 < n_words:
                        following |= bits[w + 1] << np.uint64(63)
                    tied |= bits[w] & following & ties[j, w]
                by_sorting = tied != np.uint64(0)
            total = np.uint32(0)
            for w in range(n_words):
                before[w] = total
                total += np.uint32(_count_bits(bits[w]))
            # Ranks of the own side sum to zero, so that those of the other one need no centre.
            doubled = np.int64(0)
            for k in range(n):
                word, bit = np.uint64(at[k] >> np.uint32(6)), np.uint64(at[k] & low)
                below = bits[word] & ((one << bit) - one)
                doubled += np.int64(own[k]) * np.int64(before[word] + np.uint32(_count_bits(below)))
            product = 2.0 * doubled
            # Without ties these are twice the ranks of 0 to n - 1.
            square = n * (n * n - 1.0) / 3
        if by_sorting:
            chosen, ranks = np.empty(n), np.empty(n)
            for k in range(n):
                chosen[k] = values[j, genes[k]]
            average_ranks(chosen, ranks)
            product, square = 0.0, 0.0
            for k in range(n):
                product += own[k] * ranks[k]
                square += ranks[k] ** 2
        if square > 0:
            rho[p] = max(-1.0, min(1.0, product / np.sqrt(lists.squares[i] * square)))
