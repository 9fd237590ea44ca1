"""TMM on sparse input, ties and extremes; its numbers are compared with edgeR in test_parity_with_r."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from etl.effects.normalization import _untrimmed, tmm_factors


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(0, 9)), st.sampled_from([0.05, 0.3]))
def test_trimming_by_partition_equals_trimming_by_average_rank(values: np.ndarray, share: float) -> None:
    n = len(values)
    low = int(n * share) + 1
    rank = stats.rankdata(values)
    assert _untrimmed(values, share).tolist() == ((rank >= low) & (rank <= n + 1 - low)).tolist()


def test_sparse_and_dense_counts_give_the_same_factors() -> None:
    counts = np.random.default_rng(1).poisson(2.0, (8, 300))
    library = counts.sum(axis=1).astype(float)
    dense = tmm_factors(counts, library)
    assert tmm_factors(sparse.csr_array(counts), library).tolist() == dense.tolist()
    assert np.prod(dense) == pytest.approx(1.0)


def test_mostly_empty_libraries_do_not_fail() -> None:
    counts = np.zeros((5, 100))
    counts[np.arange(5), np.arange(5)] = 7
    assert tmm_factors(counts, counts.sum(axis=1)).tolist() == [1.0] * 5
