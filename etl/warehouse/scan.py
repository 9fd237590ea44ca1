"""Readers of the warehouse: lazily as tables, densely as matrices, or as AnnData.

Everything here can also be had with ``pl.scan_delta(f"{root}/{table}")``; these functions add the column
order, the axes and the lookup of names.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from deltalake import DeltaTable
from scipy import sparse

from etl.errors import PerturbhouseError
from etl.settings import DEFAULT_ROOT, storage_options
from etl.warehouse.delta import table_uri
from schemas import TABLES
from schemas.core.expression import EXPRESSION
from schemas.table import Table

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, slots=True)
class Matrix:
    """Values with their two axes.

    Args:
        values: rows × genes, float32, dense or CSR; NaN where there is no row (0 for raw counts).
        row_ids: condition_id or sample_id per row, ascending, Int64.
        gene_ids: gene_id per column, ascending, Int32.
    """

    values: np.ndarray | sparse.csr_matrix
    row_ids: np.ndarray
    gene_ids: np.ndarray


def table_named(name: str) -> Table:
    """Return a table by name.

    Raises:
        PerturbhouseError: there is no such table; the message lists those there are.
    """
    if name not in TABLES:
        raise PerturbhouseError(f"no table {name!r}; there are: {', '.join(TABLES)}")
    return TABLES[name]


def exists(table: Table | str, *, root: str = DEFAULT_ROOT) -> bool:
    """Say whether a table has been written.

    Raises:
        PerturbhouseError: the root is in an object store that cannot be reached.
    """
    table = table_named(table) if isinstance(table, str) else table
    try:
        return DeltaTable.is_deltatable(table_uri(root, table), storage_options=storage_options(root))
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise PerturbhouseError(f"the warehouse {root!r} cannot be reached: {reason}") from error


def scan(table: Table | str, version: int | None = None, *, root: str = DEFAULT_ROOT) -> pl.LazyFrame:
    """Return a table lazily, columns in declared order.

    Args:
        table: a table or its name, ``mart/condition``.
        version: an older Delta version; None reads the newest.
        root: warehouse root, a folder or a URI.

    Raises:
        PerturbhouseError: the name is unknown, or the table or version has not been written.
    """
    table = table_named(table) if isinstance(table, str) else table
    if not exists(table, root=root):
        raise PerturbhouseError(
            f"{table.name} is not in the warehouse {root!r} yet; `perturbhouse build` or `demo` writes it"
        )
    uri, options = table_uri(root, table), storage_options(root)
    if version is not None and version > (newest := DeltaTable(uri, storage_options=options).version()):
        raise PerturbhouseError(f"{table.name} has no version {version}; the newest is {newest}")
    frame = pl.scan_delta(uri, version=version, storage_options=options)
    return frame.select(list(table.polars_schema))


def matrix(
    dataset_id: str,
    *,
    table: Table | str = "mart/differential_expression",
    value: str = "log2_fold_change",
    context_id: str | None = None,
    where: pl.Expr | None = None,
    as_sparse: bool = False,
    absent: float | None = None,
    version: int | None = None,
    root: str = DEFAULT_ROOT,
) -> Matrix:
    """Return one value column as a matrix: conditions (or samples) × genes.

    Args:
        dataset_id: the dataset.
        table: ``mart/differential_expression`` (rows: conditions) or ``core/expression`` (rows: samples).
        value: the value column; ``value`` for core/expression.
        context_id: only this context.
        where: any further filter on the table's columns.
        as_sparse: return CSR, absent values zero: for the raw counts of large contexts.
        absent: value where the warehouse holds no row; by default 0 for raw counts, else NaN.
        version: an older Delta version.
        root: warehouse root.

    Raises:
        PerturbhouseError: the table is not one of genes, or holds nothing of the dataset.
    """
    table = _gene_table(table)
    row_key, gene_key = table.primary_key
    chosen = pl.col("dataset_id") == dataset_id
    if context_id is not None:
        chosen = chosen & (pl.col("context_id") == context_id)
    if where is not None:
        chosen = chosen & where
    rows = scan(table, version, root=root).filter(chosen).select(row_key, gene_key, value).collect()
    if rows.is_empty():
        _require_dataset(table, dataset_id, root)
    row_ids, row_codes = np.unique(rows[row_key].to_numpy(), return_inverse=True)
    gene_ids, gene_codes = np.unique(rows[gene_key].to_numpy(), return_inverse=True)
    if as_sparse:
        shape = (row_ids.size, gene_ids.size)
        entries = sparse.csr_matrix((rows[value].to_numpy(), (row_codes, gene_codes)), shape=shape)
        return Matrix(entries, row_ids, gene_ids)
    if absent is None:
        absent = 0.0 if _is_count_data(table, dataset_id, root) else np.nan
    values = np.full((row_ids.size, gene_ids.size), absent, dtype=np.float32)
    values[row_codes, gene_codes] = rows[value].to_numpy()
    return Matrix(values, row_ids, gene_ids)


def _gene_table(table: Table | str) -> Table:
    """Return a table whose rows are values of genes."""
    table = table_named(table) if isinstance(table, str) else table
    if table.primary_key[-1] != "gene_id" or len(table.primary_key) != 2:
        tables = [name for name, other in TABLES.items() if other.primary_key[1:] == ("gene_id",)]
        raise PerturbhouseError(f"{table.name} is no matrix; choose {' or '.join(tables)}")
    return table


def _require_dataset(table: Table, dataset_id: str, root: str) -> None:
    datasets = scan(table, root=root).select(pl.col("dataset_id").unique().sort()).collect()["dataset_id"]
    if dataset_id not in datasets:
        raise PerturbhouseError(
            f"{table.name} holds nothing of {dataset_id!r}; it holds: {', '.join(datasets) or 'nothing'}"
        )


def expression_matrix(
    dataset_id: str, context_id: str, *, value_scale: str, root: str = DEFAULT_ROOT
) -> tuple[np.ndarray, np.ndarray, np.ndarray | sparse.csr_matrix]:
    """Return the stored expression of one context: sample ids, gene ids, samples × genes values.

    Args:
        dataset_id: the dataset.
        context_id: the context.
        value_scale: ``counts`` gives CSR, ``log2`` a dense array.
        root: warehouse root.
    """
    stored = matrix(
        dataset_id,
        table=EXPRESSION,
        value="value",
        context_id=context_id,
        as_sparse=value_scale == "counts",
        absent=np.nan,
        root=root,
    )
    return stored.row_ids, stored.gene_ids, stored.values


def _is_count_data(table: Table, dataset_id: str, root: str) -> bool:
    """Zeros of count data are not stored, so that a missing row of such a dataset means zero."""
    if table is not EXPRESSION:
        return False
    scales = scan("core/dataset", root=root).filter(dataset_id=dataset_id).select("value_scale").collect()
    return scales["value_scale"].to_list() == ["counts"]


def to_anndata(
    dataset_id: str,
    *,
    table: Table | str = "mart/differential_expression",
    layers: tuple[str, ...] | None = None,
    context_id: str | None = None,
    root: str = DEFAULT_ROOT,
) -> "AnnData":
    """Return a dataset as AnnData: ``X`` is the first layer, obs the conditions or samples, var the genes.

    Args:
        dataset_id: the dataset.
        table: ``mart/differential_expression`` or ``core/expression``.
        layers: value columns, the first becomes ``X``; by default fold change, standard error and adjusted
            p-value, or the expression.
        context_id: only this context.
        root: warehouse root.
    """
    import anndata

    table = _gene_table(table)
    if layers is None:
        effects = ("log2_fold_change", "standard_error", "p_value_adjusted")
        layers = ("value",) if table is EXPRESSION else effects
    matrices = {
        layer: matrix(dataset_id, table=table, value=layer, context_id=context_id, root=root)
        for layer in layers
    }
    first = matrices[layers[0]]
    row_key, gene_key = table.primary_key
    described = "mart/condition" if row_key == "condition_id" else "core/sample"
    obs = _aligned(scan(described, root=root).filter(dataset_id=dataset_id), row_key, first.row_ids)
    var = _aligned(scan("core/gene", root=root), gene_key, first.gene_ids)
    lists = [name for name, dtype in obs.schema.items() if isinstance(dtype, pl.List)]
    obs = obs.with_columns(pl.col(lists).list.join(",")) if lists else obs
    return anndata.AnnData(
        X=first.values,
        obs=obs.with_columns(pl.col(row_key).cast(pl.String)).to_pandas().set_index(row_key),
        var=var.with_columns(pl.col(gene_key).cast(pl.String)).to_pandas().set_index(gene_key),
        layers={layer: values.values for layer, values in matrices.items() if layer != layers[0]},
        uns={"dataset_id": dataset_id, "table": table.name},
    )


def _aligned(frame: pl.LazyFrame, key: str, ids: np.ndarray) -> pl.DataFrame:
    """Return the rows of a frame in the order of the ids."""
    axis = pl.DataFrame({key: ids})
    return axis.join(frame.collect(), on=key, how="left", maintain_order="left", validate="1:1")
