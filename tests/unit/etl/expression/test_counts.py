"""Sparse counts: what every layout of input gives, transposition, and input that holds no counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from etl.errors import BadInputError
from etl.expression import counts as counts_module
from etl.expression.counts import SparseCounts

matrices = hnp.arrays(
    np.int64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 0, 1, 2, 70_000]),
)


@given(matrices)
def test_every_layout_gives_the_same_entries(matrix: np.ndarray) -> None:
    for values in (
        matrix,
        matrix.astype(np.float32),
        np.asfortranarray(matrix),
        sparse.csr_array(matrix),
        sparse.csc_matrix(matrix.astype(float)),
    ):
        counts = SparseCounts.from_matrix(values)
        assert counts.shape == matrix.shape
        assert counts.to_csr().toarray().tolist() == matrix.tolist()
        assert counts.count.all()
        assert counts.gene.dtype == np.uint16
        assert counts.count.dtype == (np.uint32 if matrix.max() > 65_535 else np.uint16)


@given(matrices, st.data())
def test_sums_and_selections_equal_those_of_the_matrix(matrix: np.ndarray, data: st.DataObject) -> None:
    n_samples, n_genes = matrix.shape
    keep = data.draw(hnp.arrays(bool, n_genes))
    chosen = data.draw(st.lists(st.integers(0, n_samples - 1)))
    counts = SparseCounts.from_matrix(matrix)
    assert counts.library_sizes().tolist() == matrix.sum(axis=1).tolist()
    assert counts.library_sizes(keep).tolist() == matrix[:, keep].sum(axis=1).tolist()
    assert counts.gene_totals().tolist() == matrix.sum(axis=0).tolist()
    assert counts.select(np.array(chosen, dtype=int)).to_csr().toarray().tolist() == matrix[chosen].tolist()


@given(matrices, st.integers(1, 4), st.data())
def test_the_transpose_holds_the_kept_genes_whatever_the_threads(
    matrix: np.ndarray, n_threads: int, data: st.DataObject
) -> None:
    keep = data.draw(hnp.arrays(bool, matrix.shape[1]))
    by_gene = SparseCounts.from_matrix(matrix).by_gene(keep, n_threads=n_threads)
    expected = sparse.csc_array(matrix[:, keep])
    assert by_gene.shape == expected.shape
    assert by_gene.genes.tolist() == np.flatnonzero(keep).tolist()
    assert by_gene.indptr.tolist() == expected.indptr.tolist()
    assert by_gene.sample.tolist() == expected.indices.tolist()
    assert by_gene.count.tolist() == expected.data.tolist()
    assert by_gene.dense(slice(None)).tolist() == matrix[:, keep].tolist()


def test_transposition_crosses_tiles_of_samples_and_genes() -> None:
    matrix = np.random.default_rng(1).poisson(0.3, (700, 1100))
    by_gene = SparseCounts.from_matrix(matrix).by_gene(n_threads=3)
    assert np.array_equal(by_gene.dense(slice(0, 1100)), matrix)
    assert np.array_equal(by_gene.dense(slice(500, 530)), matrix[:, 500:530])
    for gene in (0, 511, 512, 1099):
        assert (
            np.diff(by_gene.sample[by_gene.indptr[gene] : by_gene.indptr[gene + 1]].astype(int)) > 0
        ).all()


def test_a_mask_selects_samples() -> None:
    counts = SparseCounts.from_matrix(np.array([[1, 0], [0, 2], [3, 3]]))
    assert counts.select(np.array([True, False, True])).to_csr().toarray().tolist() == [[1, 0], [3, 3]]


def test_blocks_follow_each_other_and_may_grow_wide() -> None:
    blocks = [np.array([[1, 0, 2]]), sparse.csr_array([[0, 0, 0], [0, 70_000, 0]]), np.zeros((0, 3))]
    counts = SparseCounts.from_blocks(iter(blocks), 3)
    assert counts.to_csr().toarray().tolist() == [[1, 0, 2], [0, 0, 0], [0, 70_000, 0]]
    assert counts.count.dtype == np.uint32


def test_matrices_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts_module, "BLOCK_VALUES", 20)
    matrix = np.random.default_rng(4).poisson(1.0, (31, 7))
    for values in (matrix, sparse.csr_array(matrix)):
        counts = SparseCounts.from_matrix(values)
        assert np.array_equal(counts.to_csr().toarray(), matrix)
        assert counts.library_sizes().tolist() == matrix.sum(axis=1).tolist()
        assert counts.gene_totals().tolist() == matrix.sum(axis=0).tolist()


def test_explicit_zeros_are_dropped_and_repeated_entries_summed() -> None:
    data, genes, indptr = np.array([200, 100, 0, 4], dtype=np.uint8), [2, 2, 0, 1], [0, 3, 4]
    repeated = sparse.csr_array((data, genes, indptr), shape=(2, 3))
    before = repeated.data.copy()
    counts = SparseCounts.from_matrix(repeated)
    assert counts.to_csr().toarray().tolist() == [[0, 0, 300], [0, 4, 0]]
    assert len(counts.count) == 2
    assert repeated.data.tolist() == before.tolist()


def test_many_genes_and_many_samples_take_wider_numbers() -> None:
    wide = SparseCounts.from_matrix(sparse.csr_array(([3], ([0], [65_536])), shape=(1, 65_537)))
    assert (wide.gene.dtype, wide.gene.tolist()) == (np.int32, [65_536])
    tall = SparseCounts.from_matrix(sparse.csr_array(([3], ([65_536], [0])), shape=(65_537, 1))).by_gene()
    assert (tall.sample.dtype, tall.sample.tolist()) == (np.int32, [65_536])


def test_the_largest_count_is_kept_exactly() -> None:
    counts = SparseCounts.from_matrix(np.array([[2.0**32 - 1]]))
    assert counts.library_sizes().tolist() == [2.0**32 - 1]
    assert counts.to_csr().toarray().tolist() == [[2**32 - 1]]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (np.nan, "NaN or infinite"),
        (-np.inf, "NaN or infinite"),
        (-1.0, "are negative"),
        (0.5, "are fractional"),
        (2.0**32, "are above 4,294,967,295"),
    ],
)
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_a_value_that_is_no_count_is_named(monkeypatch, layout, value: float, rule: str) -> None:
    monkeypatch.setattr(counts_module, "BLOCK_VALUES", 8)
    values = np.ones((6, 4))
    values[4, 2] = values[5, 3] = value
    with pytest.raises(BadInputError, match=rf"2 values.* {rule}.*: samples 4, 5; genes 2, 3$"):
        SparseCounts.from_matrix(layout(values))


def test_negative_integers_are_named() -> None:
    with pytest.raises(BadInputError, match=r"1 value is negative.*: sample 0; gene 1$"):
        SparseCounts.from_matrix(np.array([[1, -1]], dtype=np.int8))


@pytest.mark.parametrize("values", [np.array([["a"]]), np.ones(3), np.ones((2, 2), dtype=complex)])
def test_what_is_no_matrix_of_numbers_is_an_error(values: np.ndarray) -> None:
    with pytest.raises(BadInputError, match="counts have"):
        SparseCounts.from_matrix(values)


def test_blocks_of_unequal_genes_are_an_error() -> None:
    with pytest.raises(BadInputError, match="samples x 3 genes"):
        SparseCounts.from_blocks([np.ones((1, 3)), np.ones((1, 2))], 3)


def test_no_samples_and_no_genes_are_empty() -> None:
    for shape in ((0, 3), (3, 0), (0, 0)):
        counts = SparseCounts.from_matrix(np.zeros(shape))
        assert counts.shape == shape
        assert len(counts.library_sizes()) == shape[0]
        assert counts.gene_totals().tolist() == [0.0] * shape[1]
        assert counts.by_gene().shape == shape
