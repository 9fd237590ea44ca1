"""Retrieval: how well a signature finds its own treatment among all signatures of another dataset.

Here: ranks of positives in scores, the exact distribution of the best rank when scores say nothing, and what
follows from both. Not here: scores, and which candidates are positives.

Several positives make the best rank good by chance: the null of the normalized rank is then well above one
half, which is why each value comes with its own.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from etl.arrays import BoolArray, FloatArray, IntArray, slices
from etl.threads import in_threads

RECALLS: Final = (1, 5, 10)
"""Numbers of best candidates among which a positive is looked for."""
TIE: Final = 1e-12
"""Scores closer than this are tied."""
QUERIES_PER_TASK: Final = 64


class Positives(NamedTuple):
    """Candidates that answer each query, as lists in one array."""

    first: IntArray
    """Where the list of each query begins, and where the last ends."""
    candidates: IntArray

    @property
    def counts(self) -> IntArray:
        """Positives of each query."""
        return np.diff(self.first)

    @classmethod
    def of_pairs(cls, queries: IntArray, candidates: IntArray, n_queries: int) -> "Positives":
        """Return pairs of a query and a candidate, in any order, as lists by query."""
        order = np.lexsort((candidates, queries))
        first = np.concatenate([[0], np.cumsum(np.bincount(queries, minlength=n_queries))])
        return cls(first.astype(np.int64), candidates[order].astype(np.int64))


class Ranking(NamedTuple):
    """What a ranking says about each query; NaN where a score is not finite, or nothing can be ranked."""

    n_candidates: IntArray
    n_positives: IntArray
    best_rank: FloatArray
    """Rank of the best positive, 1 the best; ties share their mean rank, so that a tie is no win."""
    auroc: FloatArray
    """Share of pairs of a positive and a negative that are in the right order, ties one half."""

    @property
    def normalized_rank(self) -> FloatArray:
        """1 where a positive is first, 0 where the best one is last; NaN for fewer than two candidates."""
        return normalized(self.best_rank, self.n_candidates)


class Chance(NamedTuple):
    """What is expected when all orders of the candidates are equally likely."""

    normalized_rank: FloatArray
    recall: dict[int, FloatArray]
    """By number of best candidates."""
    p_value: FloatArray
    """Probability of a best rank below the observed one, plus half that of an equal one (mid-p)."""


def rank_positives(
    scores: NDArray[np.floating], positives: Positives, is_left_out: BoolArray | None = None
) -> Ranking:
    """Rank the candidates of each query by falling score, and find the positives.

    Args:
        scores: queries × candidates; larger is more alike.
        positives: candidates that answer each query.
        is_left_out: candidates that take no part, as the query itself; queries × candidates.

    Raises:
        ValueError: a positive takes no part: a query cannot answer itself.
    """
    n_queries, n_all = scores.shape
    left_out = np.zeros(scores.shape, dtype=np.bool_) if is_left_out is None else is_left_out
    queries = np.repeat(np.arange(n_queries), positives.counts)
    if left_out[queries, positives.candidates].any():
        message = "a positive takes part in the search: a query cannot answer itself"
        raise ValueError(message)
    best_rank, auroc = np.full((2, n_queries), np.nan)
    work = np.ascontiguousarray(scores)

    def rank(part: slice) -> None:
        _rank(work[part], positives, part.start, left_out[part], TIE, best_rank[part], auroc[part])

    in_threads(rank, slices(n_queries, QUERIES_PER_TASK))
    return Ranking(n_all - left_out.sum(axis=1), positives.counts, best_rank, auroc)


def chance(ranking: Ranking) -> Chance:
    """Return what chance would give for the numbers of candidates and positives of a ranking.

    With K positives among N candidates the best rank R has P(R >= x) = C(N - x + 1, K) / C(N, K) and mean
    (N + 1) / (K + 1).
    """
    n, k = ranking.n_candidates.astype(float), ranking.n_positives.astype(float)
    r = ranking.best_rank
    # A shared rank lies between two whole ones: half of its weight goes to either side.
    at_least, above = _p_at_least(n, k, np.floor(r)), _p_at_least(n, k, np.floor(r) + 1)
    middle = 1 - (at_least + above) / 2
    is_between = r > np.floor(r)
    middle = np.where(is_between, 1 - above, middle)
    return Chance(
        normalized_rank=normalized((n + 1) / (k + 1), n),
        recall={top: np.clip(1 - _p_at_least(n, k, np.full_like(n, top + 1)), 0, 1) for top in RECALLS},
        p_value=np.clip(middle, 0, 1),
    )


def normalized(rank: ArrayLike, n_candidates: ArrayLike) -> FloatArray:
    """Return 1 - (rank - 1) / (n - 1); NaN for fewer than two candidates.

    >>> normalized([1, 3], [5, 5]).tolist()
    [1.0, 0.5]
    """
    rank, n = np.asarray(rank, dtype=float), np.asarray(n_candidates, dtype=float)
    found = np.full(np.broadcast(rank, n).shape, np.nan)
    np.divide(rank - 1, n - 1, out=found, where=n > 1)
    return 1 - found


def _p_at_least(n: FloatArray, k: FloatArray, x: FloatArray) -> FloatArray:
    """Return P(best rank >= x)."""
    with np.errstate(invalid="ignore"):
        rest = n - x + 1
        logarithm = (
            gammaln(rest + 1) - gammaln(np.maximum(rest - k, 0) + 1) - gammaln(n + 1) + gammaln(n - k + 1)
        )
        return np.where(
            np.isnan(x), np.nan, np.where(x <= 1, 1.0, np.where(rest < k, 0.0, np.exp(logarithm)))
        )


@njit(cache=True, nogil=True)
def _rank(
    scores: NDArray[np.floating],
    positives: Positives,
    first_query: int,
    is_left_out: BoolArray,
    tie: float,
    best_rank: FloatArray,
    auroc: FloatArray,
) -> None:
    n_candidates = scores.shape[1]
    is_positive = np.zeros(n_candidates, dtype=np.bool_)
    for q in range(len(best_rank)):
        start, end = positives.first[first_query + q], positives.first[first_query + q + 1]
        if end == start:
            continue
        best = -np.inf
        is_finite = True
        for k in range(start, end):
            is_positive[positives.candidates[k]] = True
        for c in range(n_candidates):
            if not is_left_out[q, c]:
                is_finite &= np.isfinite(scores[q, c])
                if is_positive[c] and scores[q, c] > best:
                    best = scores[q, c]
        if is_finite:
            better, tied = 0, -1
            for c in range(n_candidates):
                if not is_left_out[q, c]:
                    if scores[q, c] > best + tie:
                        better += 1
                    elif scores[q, c] >= best - tie:
                        tied += not is_positive[c]
            best_rank[q] = 1 + better + (tied + 1) / 2
            wins, n_negatives = 0.0, 0
            for c in range(n_candidates):
                if is_left_out[q, c] or is_positive[c]:
                    continue
                n_negatives += 1
                for k in range(start, end):
                    difference = scores[q, positives.candidates[k]] - scores[q, c]
                    if difference > tie:
                        wins += 1.0
                    elif difference >= -tie:
                        wins += 0.5
            if n_negatives > 0:
                auroc[q] = wins / (n_negatives * (end - start))
        for k in range(start, end):
            is_positive[positives.candidates[k]] = False
