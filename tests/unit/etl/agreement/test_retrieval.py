"""Ranks of positives against plain sorting and scikit-learn's definition; nulls against all orders."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.agreement.retrieval import RECALLS, Positives, chance, normalized, rank_positives

NAN = np.nan


def lists(*candidates: list[int]) -> Positives:
    first = np.concatenate([[0], np.cumsum([len(one) for one in candidates])])
    return Positives(first, np.concatenate([np.array(one, dtype=np.int64) for one in candidates]))


def test_the_best_positive_and_the_order_of_pairs() -> None:
    scores = np.array([[0.9, 0.8, 0.1, 0.5], [0.1, 0.2, 0.3, 0.4]])
    found = rank_positives(scores, lists([1, 2], [3]))
    assert found.best_rank.tolist() == [2, 1]
    assert found.auroc.tolist() == [0.25, 1]
    assert found.normalized_rank.tolist() == [pytest.approx(2 / 3), 1]
    assert found.n_positives.tolist() == [2, 1]


def test_the_query_itself_is_no_candidate() -> None:
    scores = np.array([[1.0, 0.2, 0.5], [0.3, 1.0, 0.1]])
    found = rank_positives(scores, lists([2], [0]), is_left_out=np.eye(2, scores.shape[1], dtype=bool))
    assert found.n_candidates.tolist() == [2, 2]
    assert found.best_rank.tolist() == [1, 1]
    with pytest.raises(ValueError, match="answer itself"):
        rank_positives(scores, lists([0], [0]), is_left_out=np.eye(2, scores.shape[1], dtype=bool))


def test_ties_are_no_wins() -> None:
    found = rank_positives(np.zeros((1, 5)), lists([2]))
    assert found.best_rank.tolist() == [3]
    assert found.auroc.tolist() == [0.5]
    assert found.normalized_rank.tolist() == [0.5]


def test_what_cannot_be_ranked_has_no_value() -> None:
    scores = np.array([[0.1, NAN, 0.3], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    found = rank_positives(scores, lists([0], [], [0, 1, 2]))
    assert np.isnan(found.best_rank).tolist() == [True, True, False]
    assert np.isnan(found.auroc).tolist() == [True, True, True]
    assert np.isnan(chance(found).p_value).tolist() == [True, True, False]
    assert np.isnan(normalized([1.0], [1])[0])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_ranking_is_that_of_a_plain_sort(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 12))
    scores = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=n, max_size=n)))
    chosen = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n)))
    found = rank_positives(scores[None], lists(chosen))
    negatives = np.delete(scores, chosen)
    best = scores[chosen].max()
    assert found.best_rank[0] == 1 + (negatives > best).sum() + (negatives == best).sum() / 2
    if len(negatives):
        pairs = scores[chosen][:, None] - negatives
        assert found.auroc[0] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.mark.parametrize(("n", "k"), [(5, 1), (5, 2), (6, 3), (4, 4)])
def test_chance_is_the_mean_over_all_orders(n: int, k: int) -> None:
    ranks = np.array([1 + min(order[:k]) for order in permutations(range(n))])
    scores = -np.array([[order[c] for c in range(n)] for order in permutations(range(n))], dtype=float)
    found = rank_positives(scores, lists(*[list(range(k))] * len(scores)))
    np.testing.assert_array_equal(found.best_rank, ranks)
    null = chance(found)
    assert null.normalized_rank[0] == pytest.approx(normalized(ranks, np.full(len(ranks), n)).mean())
    for top in RECALLS:
        assert null.recall[top][0] == pytest.approx((ranks <= top).mean())
    for rank, p in zip(ranks[:50], null.p_value[:50], strict=True):
        assert p == pytest.approx((ranks < rank).mean() + (ranks == rank).mean() / 2)
    assert null.p_value.mean() == pytest.approx(0.5)


def test_many_queries_are_ranked_like_one() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 90)).astype(np.float32)
    answers = [sorted(rng.choice(90, rng.integers(1, 5), replace=False).tolist()) for _ in range(300)]
    together = rank_positives(scores, lists(*answers))
    for q in (0, 63, 64, 299):
        alone = rank_positives(scores[[q]], lists(answers[q]))
        assert together.best_rank[q] == alone.best_rank[0]
        assert together.auroc[q] == alone.auroc[0]
    assert chance(together).p_value.mean() == pytest.approx(0.5, abs=0.06)
