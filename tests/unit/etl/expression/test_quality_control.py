import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.expression.quality_control import (
    CELL_FILTERS,
    METRICS,
    CellAccount,
    CellFilter,
    QualityGenes,
    measure,
)
from schemas.vocabularies import ASSAYS

GENES = pl.DataFrame(
    {
        "gene_reported": ["ENSG00000251562", "ENSG1", "ENSG2", "ENSG3"],
        "symbol": ["MALAT1", "MT-CO1", "mt-Nd1", None],
    }
)
COUNTS = np.array([[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 5, 0]])


def measured(values, genes=GENES, **published):
    cells = pl.DataFrame({"cell_id": [f"c{i}" for i in range(len(values))]} | published)
    return measure(cells, sparse.csr_matrix(values), QualityGenes.of(genes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16])
def test_metrics_are_computed_from_counts(dtype):
    found = measured(COUNTS.astype(dtype))
    assert found["n_genes"].tolist() == [4, 0, 1]
    assert found["n_counts"].tolist() == [10, 0, 5]
    assert found["fraction_mito"].tolist() == [0.5, 0, 1]
    np.testing.assert_allclose(found["log_malat1"], [np.log1p(1e4 / 10), 0, 0])


def test_published_metrics_come_first_and_missing_ones_are_computed():
    found = measured(COUNTS, n_counts=[100, None, 7], fraction_mito=[float("nan"), 0.3, None])
    assert found["n_counts"].tolist() == [100, 0, 7]
    assert found["fraction_mito"].tolist() == [0.5, 0.3, 1]
    np.testing.assert_allclose(found["log_malat1"][0], np.log1p(1e4 / 100))


def test_what_cannot_be_known_is_nan():
    found = measured(COUNTS, GENES.with_columns(gene_reported=pl.lit("g"), symbol=pl.lit("S")))
    assert np.isnan(found["log_malat1"]).all()
    assert np.isnan(found["fraction_mito"]).all()


def test_explicit_zeros_are_no_genes_and_repeated_entries_are_one():
    counts = sparse.csr_matrix(
        (np.array([2.0, 0, 3, 1]), np.array([3, 1, 3, 0]), np.array([0, 4])), shape=(1, 4)
    )
    found = measure(pl.DataFrame({"cell_id": ["a"]}), counts, QualityGenes.of(GENES))
    assert found["n_genes"].tolist() == [2]
    assert found["n_counts"].tolist() == [6]
    assert counts.toarray().tolist() == [[1, 0, 0, 5]]


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), float("inf"), 2.0**33])
def test_what_is_no_count_is_refused(value):
    values = COUNTS.astype(np.float64)
    values[2, 2] = value
    with pytest.raises(BadInputError, match=rf"row 2, column gene 2: counts are whole.*one is {value}"):
        measured(values)


@pytest.mark.parametrize("position", [-1, 4, 2**30])
def test_a_position_beyond_the_axis_is_refused(position):
    counts = sparse.csr_matrix(COUNTS)
    counts.indices[1] = position
    with pytest.raises(BadInputError, match="counts stand at genes from 0 to 3"):
        measure(pl.DataFrame({"cell_id": ["a", "b", "c"]}), counts, QualityGenes.of(GENES))


def test_a_dropped_cell_is_counted_by_the_first_reason_and_by_each():
    filters = (
        CellFilter("n_genes", "", at_least=2),
        CellFilter("n_counts", "", at_least=10, at_most=20),
        CellFilter("log_malat1", "", at_least=3),
    )
    cells = pl.DataFrame({"plate": ["p", "p", None, "p"]})
    metrics = {
        "n_genes": np.array([5.0, 1, 1, 5]),
        "n_counts": np.array([10.0, 30, 10, 9]),
        "log_malat1": np.array([np.nan, np.nan, np.nan, 4]),
    }
    account = CellAccount()
    assert account.screen(cells, metrics, filters, ["plate"]).tolist() == [True, False, False, False]
    account.screen(cells, metrics, filters, ["plate"])
    many = "n_counts below 10 or above 20"
    assert account.rows.dropped == {"no plate": 2, "n_genes below 2": 2, many: 2}
    assert dict(account.each) == {"no plate": 2, "n_genes below 2": 4, many: 4}
    assert dict(account.not_judged) == {"log_malat1 below 3": 6}
    assert (account.rows.n_in, account.rows.n_out, account.rows.unit) == (8, 2, "cells")


def test_thresholds_pass_themselves():
    at_least, at_most = CellFilter("n_genes", "", at_least=250), CellFilter("fraction_mito", "", at_most=0.2)
    assert at_least.fails(np.array([249.0, 250, np.nan])).tolist() == [True, False, False]
    assert at_most.fails(np.array([0.2, 0.21])).tolist() == [False, True]


def test_filters_name_assays_and_metrics_and_say_why():
    assert set(CELL_FILTERS) <= set(ASSAYS)
    for filters in CELL_FILTERS.values():
        assert all(cell_filter.metric in METRICS and cell_filter.because for cell_filter in filters)
    tahoe = {f.metric: (f.at_least, f.at_most) for f in CELL_FILTERS["scrna"]}
    assert tahoe == {
        "n_genes": (250, None),
        "n_counts": (700, None),
        "fraction_mito": (None, 0.2),
        "log_malat1": (3.5, None),
    }
