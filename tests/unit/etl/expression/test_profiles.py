"""Blocks of values onto the gene axis, and values that cannot be what they are declared to be."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from etl.errors import BadInputError
from etl.expression import profiles
from etl.expression.profiles import expression_rows, gene_axis, library_sizes
from etl.sources.base import ExpressionBlock
from etl.validation import violations
from schemas.core.expression import EXPRESSION

GENES = pl.DataFrame({"gene_reported": ["p1", "p2", "p3", "p4"]})
GENE_NAMES = pl.DataFrame(
    {"gene_reported": ["p4", "p3", "p2", "p1"], "gene_id": [None, 20, 10, 20]},
    schema_overrides={"gene_id": pl.Int32},
)
SAMPLES = pl.DataFrame(
    {"sample_key": ["a", "b"], "sample_id": [2, 1], "context_id": ["CVCL_0023", "CVCL_0023"]}
)


def rows_of(values: np.ndarray, scale: str, keys: tuple[str, ...] = ("a", "b")) -> pl.DataFrame:
    axis = gene_axis(GENES, GENE_NAMES, value_scale=scale)
    blocks = [ExpressionBlock(keys, values)]
    chunks = expression_rows(blocks, axis=axis, samples=SAMPLES, dataset_id="toy", value_scale=scale)
    return pl.concat(chunks)


def cells(rows: pl.DataFrame) -> dict[tuple[int, int], float]:
    return {(sample, gene): value for sample, gene, value in rows.select(rows.columns[2:]).rows()}


def test_counts_of_probes_of_one_gene_are_summed_and_zeros_are_not_stored() -> None:
    counts = np.array([[1, 0, 2, 9], [0, 5, 0, 9]], dtype=np.float32)
    for values in (counts, sparse.csr_matrix(counts)):
        rows = rows_of(values, "counts")
        assert cells(rows) == {(2, 20): 3.0, (1, 10): 5.0}
        assert violations(rows, EXPRESSION.model) == []


def test_log_values_of_probes_of_one_gene_are_averaged_and_zeros_are_stored() -> None:
    rows = rows_of(np.array([[1, 0, 2, 9], [4, 5.5, 8, 9]], dtype=np.float32), "log2")
    assert cells(rows) == {(2, 10): 0.0, (2, 20): 1.5, (1, 10): 5.5, (1, 20): 6.0}


def test_samples_that_are_not_in_core_sample_are_left_out() -> None:
    rows = rows_of(np.full((3, 4), 2.5, dtype=np.float32), "log2", keys=("a", "shRNA", "b"))
    assert rows["sample_id"].unique().sort().to_list() == [1, 2]


def test_chunks_are_bounded_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "CHUNK_VALUES", 2)
    axis = gene_axis(GENES, GENE_NAMES, value_scale="log2")
    blocks = [ExpressionBlock(["a"], np.ones((1, 4))), ExpressionBlock(["b"], np.ones((1, 4)))]
    chunks = list(expression_rows(blocks, axis=axis, samples=SAMPLES, dataset_id="toy", value_scale="log2"))
    assert [chunk.height for chunk in chunks] == [2, 2]


@pytest.mark.parametrize(
    ("values", "scale", "rule"),
    [
        ([[1.0, np.nan, 1, 1]], "log2", "not a finite number"),
        ([[1.0, np.inf, 1, 1]], "counts", "not a finite number"),
        ([[1.0, -2, 1, 1]], "counts", "negative"),
        ([[1.0, 2.5, 1, 1]], "counts", "fractional"),
        ([[1.0, 812.5, 1, 1]], "log2", "cannot be log2 expression"),
        ([[1.0, 35, 0, 7]], "log2", "raw counts where log2 is declared"),
    ],
)
def test_values_off_the_declared_scale_are_refused_with_sample_and_gene(
    values: list, scale: str, rule: str
) -> None:
    dense = np.array(values, dtype=np.float32)
    for form in (dense, sparse.csr_matrix(dense)):
        with pytest.raises(BadInputError, match=rule) as error:
            rows_of(form, scale, keys=("a",))
        assert error.value.dataset_id == "toy"
        if "raw counts" not in rule:
            assert error.value.row == "sample a"
            assert error.value.column == "gene 2 of the value axis"


def test_a_sample_twice_a_sample_without_values_and_an_empty_matrix_are_refused() -> None:
    ones = np.ones((2, 4), dtype=np.float32)
    with pytest.raises(BadInputError, match="'a' has values twice"):
        axis = gene_axis(GENES, GENE_NAMES, value_scale="log2")
        blocks = [ExpressionBlock(["a"], ones[:1]), ExpressionBlock(["a"], ones[:1])]
        list(expression_rows(blocks, axis=axis, samples=SAMPLES, dataset_id="toy", value_scale="log2"))
    with pytest.raises(BadInputError, match=r"1 sample\(s\) of the metadata have no values, e.g. 'b'"):
        rows_of(ones[:1], "log2", keys=("a",))
    with pytest.raises(BadInputError, match="no value of any known sample and gene"):
        rows_of(np.zeros((2, 4), dtype=np.float32), "counts")


def test_library_sizes_count_all_reported_genes() -> None:
    counts = sparse.csr_matrix(np.array([[1, 0, 2, 9], [0, 0, 0, 0]]))
    sizes = library_sizes([ExpressionBlock(["a", "b"], counts)])
    assert sizes.rows() == [("a", 12, 3), ("b", 0, 0)]


@settings(max_examples=50, deadline=None)
@given(arrays(np.int32, (2, 4), elements=st.integers(0, 1000)))
def test_counts_are_neither_lost_nor_made(counts: np.ndarray) -> None:
    resolved = counts[:, :3].sum()
    if resolved == 0:
        return
    rows = rows_of(sparse.csr_matrix(counts), "counts")
    assert rows["value"].cast(pl.Float64).sum() == resolved
    assert (rows["value"] > 0).all()
