"""The count filter against edgeR, and at its cut-offs."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from etl.effects.filtering import (
    MIN_COUNT,
    MIN_TOTAL_COUNT,
    filter_by_expression,
    min_group_size,
    min_group_size_of_labels,
)
from etl.expression.counts import SparseCounts


@pytest.mark.parametrize("column", ["keep", "keep_group", "keep_nodesign"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_mask_equals_edger(table, scalar, column: str, n_threads: int) -> None:
    expected, counts = table("drugseq.filterByExpr"), table("drugseq_N").drop("id")
    conditions = table("drugseq_meta")["cond"].to_numpy()
    assert expected["gene"].to_list() == counts.columns
    min_samples = {
        "keep": min_group_size(np.array([scalar("drugseq", "hat.max")])),
        "keep_group": min_group_size_of_labels(conditions),
        "keep_nodesign": min_group_size_of_labels(np.zeros(len(conditions))),
    }[column]
    sparse_counts = SparseCounts.from_matrix(counts.to_numpy())
    found = filter_by_expression(
        sparse_counts, sparse_counts.library_sizes(), min_samples, n_threads=n_threads
    )
    assert found.tolist() == (expected[column] == 1).to_list()


def test_masks_of_the_reference_differ(table) -> None:
    assert (
        table("drugseq.filterByExpr").select("keep", "keep_group", "keep_nodesign").sum().row(0)
        != (table("drugseq.filterByExpr")["keep"].sum(),) * 3
    )


@given(
    hnp.arrays(np.int64, (7, 9), elements=st.integers(0, 40)),
    hnp.arrays(np.float64, 7, elements=st.integers(300, 5000)),
    st.integers(1, 7),
)
def test_whole_number_cutoffs_equal_the_comparison_of_counts_per_million(
    counts: np.ndarray, library: np.ndarray, min_samples: int
) -> None:
    reached = counts * 1e6 / library[:, None] >= MIN_COUNT / np.median(library) * 1e6
    expected = (reached.sum(axis=0) >= min_samples) & (counts.sum(axis=0) >= MIN_TOTAL_COUNT)
    assert filter_by_expression(counts, library, min_samples).tolist() == expected.tolist()


# The largest count at the cut-off is 10 x 4e8 + 1: below the largest count there is.
@given(st.integers(1, 4 * 10**8), st.integers(1, 4 * 10**8), st.integers(1, 4 * 10**8))
@example(1, 1, 4 * 10**8)
def test_the_smallest_count_is_the_first_that_reaches_the_cutoff(a: int, b: int, c: int) -> None:
    library = np.array([a, b, c], dtype=float)
    cutoff = MIN_COUNT / np.median(library) * 1e6
    count = np.floor(MIN_COUNT * library / np.median(library))
    for shift in (-1.0, 0.0, 1.0):
        column = np.maximum(count + shift, 0.0)
        for sample in range(3):
            alone = np.zeros((3, 2))
            alone[sample] = column[sample], 1e6
            reached = column[sample] * 1e6 / library[sample] >= cutoff
            enough = column[sample] >= MIN_TOTAL_COUNT
            assert filter_by_expression(alone, library, 1.0)[0] == (reached and enough)


def test_dense_and_sparse_matrices_give_the_same_mask() -> None:
    counts = np.random.default_rng(3).poisson(10.0, (10, 50))
    library = counts.sum(axis=1).astype(float)
    found = filter_by_expression(counts, library, 3.0)
    assert 0 < found.sum() < 50
    assert filter_by_expression(sparse.csc_array(counts), library, 3.0).tolist() == found.tolist()


def test_counts_in_too_few_samples_or_too_few_counts_do_not_pass() -> None:
    counts = np.array([[20, 20, 7, 53], [20, 0, 7, 73], [0, 0, 0, 100]])
    assert filter_by_expression(counts, np.array([100.0] * 3), 2.0).tolist() == [True, False, False, True]
    counts = np.array([[10, 4, 86], [5, 10, 85]])
    assert filter_by_expression(counts, np.array([100.0] * 2), 1.0).tolist() == [True, False, True]
