"""The readers: lazily, as matrices with their axes, and with errors that name what there is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import PerturbhouseError
from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.scan import matrix, scan
from schemas import TABLES

EFFECTS = TABLES["mart/differential_expression"]
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
