"""Readers of the warehouse: lazily as tables, densely as matrices, or as AnnData.

Everything here can also be had with ``pl.scan_delta(f"{root}/{table}")``; these functions add the column
order, the axes and the lookup of names.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.fs import FileSystem
from scipy import sparse

from etl.errors import PerturbhouseError
from etl.expression.counts import SparseCounts
from etl.settings import DEFAULT_ROOT, storage_options
from etl.warehouse.delta import table_uri
from etl.warehouse.staging import file_system
from schemas import TABLES
from schemas.core.expression import EXPRESSION
from schemas.mart.replicate_effect import REPLICATE_EFFECT
from schemas.table import Table

if TYPE_CHECKING:
    from anndata import AnnData


LARGEST_IN_MEMORY: Final = 2**30
"""Bytes of a matrix of single samples' effects from which on it lies in a file."""

READERS: Final = 2
"""Threads that decode row groups: each holds one in memory."""


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray | SparseCounts]:
    """Return the stored expression of one context: sample ids, gene ids, samples × genes values.

    The files are read twice, a row group at a time on a few threads: first the ids, then the values straight
    to their places. Beside the result there are only a few row groups in memory (150 to 260 MB were seen).

    Args:
        dataset_id: the dataset.
        context_id: the context.
        value_scale: ``counts`` gives ``SparseCounts``, ``log2`` a dense float32 array, NaN where there is no
            row.
        root: warehouse root.

    Returns:
        sample ids, ascending, Int64; gene ids, ascending, Int32; the values.

    Raises:
        PerturbhouseError: the table holds nothing of the dataset, or values that are no counts.
    """
    groups, largest = _row_groups(EXPRESSION, {"dataset_id": dataset_id, "context_id": context_id}, root)
    if not groups:
        _require_dataset(EXPRESSION, dataset_id, root)
    place = f"{EXPRESSION.name} of {dataset_id}, {context_id}"
    with ThreadPoolExecutor(READERS) as readers:
        runs = _Runs(list(readers.map(_runs_of, groups)))
        if value_scale != "counts":
            dense = np.full((runs.samples.size, runs.genes.size), np.nan, dtype=np.float32)
            fill = partial(_fill_dense, runs=runs, values={"value": dense})
            list(readers.map(fill, groups, runs.of_group))
            return runs.samples, runs.genes, dense
        counts = runs.empty_counts(np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32)
        fill_counts = partial(_fill_counts, runs=runs, counts=counts)
        if not all(list(readers.map(fill_counts, groups, runs.of_group))):
            raise PerturbhouseError(f"{place}: not every value is a whole number above 0, as counts are")
    if not _sort_genes(counts, runs.split_samples()):
        raise PerturbhouseError(f"{place}: a sample has a gene twice")
    return runs.samples, runs.genes, counts


def replicate_matrices(
    dataset_id: str, context_id: str, *, root: str = DEFAULT_ROOT
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the effects of the samples of one context: sample ids, gene ids, fold changes, standard errors.

    Read like ``expression_matrix``. Above ``LARGEST_IN_MEMORY`` bytes the matrices lie in temporary files
    that disappear with them, and are paged in as they are used.

    Args:
        dataset_id: the dataset.
        context_id: the context.
        root: warehouse root.

    Returns:
        sample ids, ascending, Int64; gene ids, ascending, Int32; log2 fold changes and moderated standard
        errors, float32, samples × genes, NaN where there is no row.

    Raises:
        PerturbhouseError: the table has not been written.
    """
    groups, _ = _row_groups(REPLICATE_EFFECT, {"dataset_id": dataset_id, "context_id": context_id}, root)
    with ThreadPoolExecutor(READERS) as readers:
        runs = _Runs(list(readers.map(_runs_of, groups)))
        shape = (runs.samples.size, runs.genes.size)
        effects, errors = _nan_matrix(shape), _nan_matrix(shape)
        values = {"log2_fold_change": effects, "standard_error": errors}
        list(readers.map(partial(_fill_dense, runs=runs, values=values), groups, runs.of_group))
    return runs.samples, runs.genes, effects, errors


def _nan_matrix(shape: tuple[int, int]) -> np.ndarray:
    """Return a float32 matrix of NaN, in a temporary file if it is large."""
    if 4 * shape[0] * shape[1] <= LARGEST_IN_MEMORY:
        return np.full(shape, np.nan, dtype=np.float32)
    with TemporaryFile() as file:
        matrix = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    matrix[:] = np.nan
    return matrix


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """A row group of a Parquet file: what is read at a time."""

    file: str
    group: int
    metadata: pq.FileMetaData
    files: FileSystem

    def read(self, *columns: str) -> list[np.ndarray]:
        """Return columns of the row group."""
        with pq.ParquetFile(self.file, filesystem=self.files, metadata=self.metadata) as parquet:
            table = parquet.read_row_group(self.group, columns=list(columns), use_threads=False)
        return [table[column].to_numpy() for column in columns]


def _row_groups(table: Table, where: Mapping[str, str], root: str) -> tuple[list[_RowGroup], float]:
    """Return the row groups of a partition, and the largest value in them as far as the log knows."""
    if not exists(table, root=root):
        scan(table, root=root)  # raises, and says what to do
    delta = DeltaTable(table_uri(root, table), storage_options=storage_options(root))
    entries = pl.DataFrame(delta.get_add_actions(flatten=True))
    chosen = entries.filter(pl.col(f"partition.{column}") == value for column, value in where.items())
    files, groups = file_system(root, table), []
    for file in map(unquote, chosen["path"].sort()):
        metadata = pq.read_metadata(file, filesystem=files)
        groups += [_RowGroup(file, group, metadata, files) for group in range(metadata.num_row_groups)]
    known = "max.value" in chosen.columns and chosen.height and not chosen["max.value"].null_count()
    return groups, float(cast("float", chosen["max.value"].max())) if known else np.inf


def _runs_of(group: _RowGroup) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of a row group, its rows of one sample with ascending genes, and its distinct genes.

    Returns:
        the first row of each run and the end of the last, runs + 1; sample of each run; genes, ascending.
    """
    sample, gene = group.read("sample_id", "gene_id")
    breaks = (sample[1:] != sample[:-1]) | (gene[1:] <= gene[:-1])
    bounds = np.concatenate([[0], np.flatnonzero(breaks) + 1, [sample.size]])
    lowest = gene.min()
    is_there = np.zeros(int(gene.max() - lowest) + 1, dtype=bool)
    is_there[gene - lowest] = True
    return bounds, sample[bounds[:-1]], (np.flatnonzero(is_there) + lowest).astype(np.int32)


class _Runs:
    """The axes of a context, and the place of every run of its rows in a matrix.

    Args:
        found: what ``_runs_of`` returned for each row group.
    """

    def __init__(self, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        none = np.empty(0, dtype=np.int64)
        bounds = [bounds for bounds, _, _ in found]
        length = np.concatenate([none, *map(np.diff, bounds)])
        self.samples, self._row = np.unique(
            np.concatenate([none, *(samples for _, samples, _ in found)]), return_inverse=True
        )
        self.genes = np.unique(np.concatenate([none.astype(np.int32), *(genes for _, _, genes in found)]))
        per_row = np.bincount(self._row, weights=length, minlength=self.samples.size).astype(np.int64)
        self.indptr = np.concatenate([[0], np.cumsum(per_row)])
        # Runs of one sample follow each other in the order in which they were read.
        order = np.argsort(self._row, kind="stable")
        place = np.empty(length.size, dtype=np.int64)
        place[order] = np.cumsum(length[order]) - length[order]
        ends = np.cumsum([0, *(bound.size - 1 for bound in bounds)])
        self.of_group = [
            np.stack([bound[:-1], bound[1:], self._row[first:last], place[first:last]], axis=1)
            for bound, first, last in zip(bounds, ends[:-1], ends[1:], strict=True)
        ]
        """Per row group its runs × (first row, row after the last, row of the matrix, first entry)."""
        self._lowest = int(self.genes[0]) if self.genes.size else 0
        span = int(self.genes[-1]) - self._lowest + 1 if self.genes.size else 0
        self._column = np.zeros(span, dtype=np.uint16 if self.genes.size <= 2**16 else np.int32)
        self._column[self.genes - self._lowest] = np.arange(self.genes.size)

    def columns(self, gene_ids: np.ndarray) -> np.ndarray:
        """Return the columns of genes."""
        return self._column[gene_ids - self._lowest]

    def empty_counts(self, dtype: type[np.unsignedinteger]) -> SparseCounts:
        """Return counts whose entries are yet to be filled in."""
        n_entries = int(self.indptr[-1])
        return SparseCounts(
            self.indptr,
            np.empty(n_entries, dtype=self._column.dtype),
            np.empty(n_entries, dtype=dtype),
            (self.samples.size, self.genes.size),
        )

    def split_samples(self) -> np.ndarray:
        """Return the rows of the matrix that more than one run makes up."""
        return np.flatnonzero(np.bincount(self._row) > 1)


def _fill_dense(group: _RowGroup, own: np.ndarray, runs: _Runs, values: Mapping[str, np.ndarray]) -> None:
    gene, *read = group.read("gene_id", *values)
    column = runs.columns(gene)
    for matrix, value in zip(values.values(), read, strict=True):
        for start, stop, row, _ in own.tolist():
            if stop - start == matrix.shape[1]:  # every gene, in order
                matrix[row] = value[start:stop]
            else:
                matrix[row, column[start:stop]] = value[start:stop]


def _fill_counts(group: _RowGroup, own: np.ndarray, runs: _Runs, counts: SparseCounts) -> bool:
    """Put the entries of a row group in place; say whether all of them are counts."""
    gene, value = group.read("gene_id", "value")
    column = runs.columns(gene)
    with np.errstate(invalid="ignore"):
        count = value.astype(counts.count.dtype)
    for start, stop, _, entry in own.tolist():
        counts.gene[entry : entry + stop - start] = column[start:stop]
        counts.count[entry : entry + stop - start] = count[start:stop]
    return bool(((count == value) & (count > 0)).all())


def _sort_genes(counts: SparseCounts, samples: np.ndarray) -> bool:
    """Bring the genes of some samples in ascending order; say whether each stands there once."""
    for sample in samples.tolist():
        entries = slice(counts.indptr[sample], counts.indptr[sample + 1])
        gene = counts.gene[entries]
        if not (gene[1:] > gene[:-1]).all():
            order = np.argsort(gene)
            counts.gene[entries], counts.count[entries] = gene[order], counts.count[entries][order]
            if (np.diff(counts.gene[entries].astype(np.int64)) == 0).any():
                return False
    return True


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
