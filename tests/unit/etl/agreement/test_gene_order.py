"""Orders of genes against SciPy's ranks and NumPy's sorts, with ties, zeros of both signs, and few genes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import rankdata

from etl.agreement.gene_order import DOWN, STRONG, UP, list_genes, places_in_list, places_in_order, rank_rows


def test_ranks_are_those_of_scipy() -> None:
    values = np.random.default_rng(2).normal(size=(130, 201)).astype(np.float32).round(1)
    values[0] = [0.0, -0.0, 0.0] * 67
    ranks = rank_rows(values)
    np.testing.assert_array_equal(ranks.centred, rankdata(values, axis=1) - 101)
    np.testing.assert_array_equal(ranks.order, np.argsort(values, axis=1, kind="stable"))
    assert ranks.longest_tie.tolist() == [max(np.unique(row, return_counts=True)[1]) for row in values]
    in_order = np.sort(values, axis=1)
    tied = np.unpackbits(ranks.ties.view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(tied[:, :200], in_order[:, 1:] == in_order[:, :-1])


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=90),
        elements=st.sampled_from([-np.inf, -1e30, -2.5, -0.1, -0.0, 0.0, 1e-40, 0.1, 0.2, 2.5, 1e30]),
    ),
    st.integers(0, 2**32 - 1),
)
def test_orders_are_those_of_numpy(values: np.ndarray, seed: int) -> None:
    values = np.nan_to_num(values, neginf=-3)
    ranks = rank_rows(values)
    np.testing.assert_array_equal(ranks.order, np.argsort(values, axis=1, kind="stable"))
    np.testing.assert_array_equal(
        np.take_along_axis(places_in_order(ranks.order).astype(np.int64), ranks.order.astype(np.int64), 1),
        np.broadcast_to(np.arange(values.shape[1]), values.shape),
    )
    is_in = np.random.default_rng(seed).random(values.shape) < 0.6
    lists = list_genes(values, ranks.order, is_in)
    places = places_in_list(lists, values.shape[1])
    for i, row in enumerate(values):
        among = np.flatnonzero(is_in[i])
        of_row = slice(lists.first[i], lists.first[i + 1])
        genes = lists.genes[of_row]
        assert genes.tolist() == among[np.argsort(-np.abs(row[among]), kind="stable")].tolist()
        twice = 2 * (rankdata(row[genes]) - (len(genes) + 1) / 2) if len(genes) else np.empty(0)
        assert lists.ranks[of_row].tolist() == twice.tolist()
        assert lists.squares[i] == (twice**2).sum()
        expected = np.where(row > 0, UP, np.where(row < 0, DOWN, 0)) | np.where(
            np.abs(row) > np.float32(0.2), STRONG, 0
        )
        assert lists.directions[of_row].tolist() == expected[genes].tolist()
        assert places[i, genes].tolist() == list(range(len(genes)))
        assert (places[i, ~is_in[i]] >= values.shape[1]).all()
