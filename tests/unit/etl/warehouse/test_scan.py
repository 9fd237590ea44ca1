"""The readers: lazily, as matrices with their axes, and with errors that name what there is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import write_deltalake

from etl.errors import PerturbhouseError
from etl.expression.counts import SparseCounts
from etl.provenance import Provenance
from etl.warehouse import delta, staging
from etl.warehouse.scan import expression_matrix, matrix, scan
from schemas import TABLES

EFFECTS = TABLES["mart/differential_expression"]
EXPRESSION = TABLES["core/expression"]
OLDEST = pl.CompatLevel.oldest()
CONTEXT = "unresolved:toy:it's A/B"
Rows = Callable[..., pl.DataFrame]


@pytest.fixture
def root(tmp_path: Path, effect_rows: Rows, provenance: Provenance) -> str:
    rows = pl.concat([effect_rows("toy", 7, value=1.0), effect_rows("toy", 5, n_genes=2, value=2.0)])
    delta.replace(str(tmp_path), EFFECTS, rows, {"dataset_id": "toy"}, provenance=provenance)
    return str(tmp_path)


def test_a_matrix_has_sorted_axes_and_nan_where_there_is_no_row(root: str) -> None:
    effects = matrix("toy", root=root)
    assert effects.row_ids.tolist() == [5, 7]
    assert effects.gene_ids.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(effects.values, [[2.0, 2.0, np.nan], [1.0, 1.0, 1.0]])
    assert effects.values.dtype == np.float32


def test_a_matrix_can_be_narrowed(root: str) -> None:
    effects = matrix("toy", where=pl.col("gene_id") < 3, context_id="unresolved:toy:it's A/B", root=root)
    assert effects.values.shape == (2, 2)
    assert matrix("toy", context_id="CVCL_0023", root=root).values.shape == (0, 0)


def test_a_sparse_matrix_has_zeros_where_there_is_no_row(root: str) -> None:
    effects = matrix("toy", as_sparse=True, root=root)
    np.testing.assert_array_equal(effects.values.toarray(), [[2.0, 2.0, 0.0], [1.0, 1.0, 1.0]])


def test_an_unknown_or_unwritten_table_is_named(root: str) -> None:
    with pytest.raises(PerturbhouseError, match="no table 'core/nothing'; there are: core/dataset"):
        scan("core/nothing", root=root)
    with pytest.raises(PerturbhouseError, match="core/gene is not in the warehouse"):
        scan("core/gene", root=root)


def test_a_matrix_of_what_is_not_there_says_what_is(root: str) -> None:
    with pytest.raises(PerturbhouseError, match="holds nothing of 'nope'; it holds: toy"):
        matrix("nope", root=root)
    with pytest.raises(PerturbhouseError, match="mart/condition is no matrix; choose core/expression or"):
        matrix("toy", table="mart/condition", root=root)
    with pytest.raises(PerturbhouseError, match="has no version 99; the newest is"):
        scan(EFFECTS, 99, root=root)


def test_columns_come_in_declared_order(root: str) -> None:
    assert scan(EFFECTS, root=root).collect_schema().names() == list(EFFECTS.polars_schema)


def expression_rows(values: dict[int, dict[int, float]]) -> pl.DataFrame:
    """Rows of samples and their genes, in the order given."""
    return pl.DataFrame(
        [
            ("toy", CONTEXT, sample, gene, value)
            for sample, genes in values.items()
            for gene, value in genes.items()
        ],
        schema=EXPRESSION.polars_schema,
        orient="row",
    )


def append(root: str, rows: pl.DataFrame) -> None:
    """Append rows as a foreign writer would: unsorted, to another file."""
    write_deltalake(f"{root}/{EXPRESSION.name}", rows.to_arrow(compat_level=OLDEST), mode="append")


@pytest.fixture
def expression_root(tmp_path: Path, provenance: Provenance) -> str:
    """Samples split over files, genes of one out of order, another context and another dataset beside."""
    root, where = str(tmp_path), {"dataset_id": "toy"}
    first = expression_rows({-9: {1: 3.0, 4: 70_000.0}, 5: {2: 1.0, 20_000_007: 2.0}})
    elsewhere = expression_rows({8: {9: 1.0}}).with_columns(context_id=pl.lit("CVCL_0001"))
    delta.replace(root, EXPRESSION, pl.concat([first, elsewhere]), where, provenance=provenance)
    append(root, expression_rows({5: {4: 6.0, 1: 5.0}, 2: {7: 9.0}, -9: {2: 4.0}}))
    append(root, expression_rows({2: {1: 8.0}}))
    append(root, expression_rows({2: {3: 1.0}}).with_columns(dataset_id=pl.lit("other")))
    return root


DENSE = [[3, 4, 70_000, np.nan, np.nan], [8, np.nan, np.nan, 9, np.nan], [5, 1, 6, np.nan, 2]]


def test_dense_expression_has_sorted_axes_whatever_the_order_of_the_files(expression_root: str) -> None:
    samples, genes, values = expression_matrix("toy", CONTEXT, value_scale="log2", root=expression_root)
    assert (samples.tolist(), samples.dtype) == ([-9, 2, 5], np.int64)
    assert (genes.tolist(), genes.dtype) == ([1, 2, 4, 7, 20_000_007], np.int32)
    np.testing.assert_array_equal(values, np.array(DENSE, dtype=np.float32))
    assert values.dtype == np.float32


def test_counts_have_ascending_genes_whatever_the_order_of_the_files(expression_root: str) -> None:
    samples, genes, counts = expression_matrix("toy", CONTEXT, value_scale="counts", root=expression_root)
    assert isinstance(counts, SparseCounts)
    assert (samples.tolist(), genes.tolist()) == ([-9, 2, 5], [1, 2, 4, 7, 20_000_007])
    assert counts.indptr.tolist() == [0, 3, 5, 9]
    assert counts.gene.tolist() == [0, 1, 2, 0, 3, 0, 1, 2, 4]
    assert counts.count.tolist() == [3, 4, 70_000, 8, 9, 5, 1, 6, 2]
    assert (counts.gene.dtype, counts.count.dtype) == (np.uint16, np.uint32)
    np.testing.assert_array_equal(counts.to_csr().toarray(), np.nan_to_num(DENSE))


def test_small_counts_take_two_bytes_each(tmp_path: Path, provenance: Provenance) -> None:
    rows = expression_rows({1: {1: 65_535.0}})
    delta.replace(str(tmp_path), EXPRESSION, rows, {"dataset_id": "toy"}, provenance=provenance)
    counts = expression_matrix("toy", CONTEXT, value_scale="counts", root=str(tmp_path))[2]
    assert (counts.count.dtype, counts.count.tolist()) == (np.uint16, [65_535])


@pytest.mark.parametrize("value", [0.0, -1.0, 1.5], ids=["zero", "negative", "fractional"])
def test_values_that_are_no_counts_are_not_read_as_counts(expression_root: str, value: float) -> None:
    append(expression_root, expression_rows({2: {2: value}}))
    with pytest.raises(PerturbhouseError, match="not every value is a whole number above 0"):
        expression_matrix("toy", CONTEXT, value_scale="counts", root=expression_root)


def test_a_gene_that_stands_twice_in_a_sample_is_not_read(expression_root: str) -> None:
    append(expression_root, expression_rows({2: {7: 9.0}}))
    with pytest.raises(PerturbhouseError, match="a sample has a gene twice"):
        expression_matrix("toy", CONTEXT, value_scale="counts", root=expression_root)


@pytest.mark.parametrize("scale", ["counts", "log2"])
def test_expression_of_a_context_or_dataset_that_is_not_there(expression_root: str, scale: str) -> None:
    samples, genes, values = expression_matrix("toy", "CVCL_9999", value_scale=scale, root=expression_root)
    assert (samples.size, genes.size, values.shape) == (0, 0, (0, 0))
    with pytest.raises(PerturbhouseError, match="holds nothing of 'nope'; it holds: other, toy"):
        expression_matrix("nope", CONTEXT, value_scale=scale, root=expression_root)
    with pytest.raises(PerturbhouseError, match="core/expression is not in the warehouse"):
        expression_matrix("toy", CONTEXT, value_scale=scale, root=f"{expression_root}/empty")


def test_expression_of_many_row_groups_equals_the_stored_rows(
    tmp_path: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_GROUP_ROWS", 100)
    monkeypatch.setattr(delta, "FILE_ROWS", 1000)
    random = np.random.default_rng(3)
    values = random.poisson(1.0, (150, 40))
    sample_ids = np.sort(random.integers(-(2**62), 2**62, 150))
    sample, gene = np.nonzero(values)
    rows = pl.DataFrame(
        {
            "dataset_id": ["toy"] * sample.size,
            "context_id": [CONTEXT] * sample.size,
            "sample_id": sample_ids[sample],
            "gene_id": gene + 1,
            "value": values[sample, gene],
        },
        schema_overrides=EXPRESSION.polars_schema,
    )
    with delta.replacing(str(tmp_path), {EXPRESSION: {"dataset_id": "toy"}}, provenance=provenance) as staged:
        for start in range(0, 150, 30):
            wanted = pl.col("sample_id").is_in(sample_ids[start : start + 30].tolist())
            staged[EXPRESSION.name].add(rows.filter(wanted))
    samples, genes, counts = expression_matrix("toy", CONTEXT, value_scale="counts", root=str(tmp_path))
    np.testing.assert_array_equal(samples, sample_ids)
    np.testing.assert_array_equal(genes, np.arange(1, 41))
    np.testing.assert_array_equal(counts.to_csr().toarray(), values)
    dense = expression_matrix("toy", CONTEXT, value_scale="log2", root=str(tmp_path))[2]
    np.testing.assert_array_equal(np.nan_to_num(dense), values)
