"""Reader of h5ad, AnnData's annotated matrix in HDF5: tables of both axes, and rows in bounded blocks.

Here: the encodings that AnnData 0.7 to 0.12 write, read with h5py alone, and streaming a matrix larger than
memory. Not here: what columns and codes mean (adapters), and the single compound dataset in which AnnData
kept a table before 0.7, which is refused by name.

Layout, with ``N`` observations (cells, samples) and ``G`` variables (genes):

    /obs, /var           tables: attribute ``_index`` names the index, ``column-order`` the columns
    /X, /raw/X, /layers  CSR or CSC: data, indices, indptr, attribute ``shape``; or one dense array

A column is an array of numbers, booleans or texts; a categorical (codes and categories; in 0.7 codes whose
attribute ``categories`` points into ``__categories``); or a nullable array (values and mask). Missing becomes
null, NaN in an array of floats stays NaN.

Chunks of a matrix are inflated by threads while the consumer works on the block before, past HDF5's own
filters, which run on one thread, and with ISA-L, which is faster than the zlib they use. Each chunk of a CSR
matrix is inflated once.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl
from isal import isal_zlib
from scipy import sparse

from etl.errors import BadInputError
from etl.formats import hdf5

BLOCK_BYTES = 128 * 2**20
"""Memory of a block of rows by default; the block after it is read meanwhile, so that two are in memory."""

_GZIP, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE
_TASK_BYTES = 2**20
"""Inflated by a thread at a time: AnnData's chunks are so small that handing out each costs time."""

_WHAT = "an h5ad file"

INDEX = "_index"
"""Name of the index in a table that was read; AnnData keeps columns from being called so."""


class RowBlock(NamedTuple):
    """Consecutive rows of a matrix.

    Attributes:
        start: position of the first row.
        values: rows x all variables, in the number type of the file.
    """

    start: int
    values: sparse.csr_matrix


def read_obs(path: Path, columns: Sequence[str] | None = None, *, rows: slice | None = None) -> pl.DataFrame:
    """Read the table of observations; see ``read_table``."""
    return read_table(path, "obs", columns, rows=rows)


def read_var(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read the table of variables; see ``read_table``."""
    return read_table(path, "var", columns)


def read_table(
    path: Path, table: str, columns: Sequence[str] | None = None, *, rows: slice | None = None
) -> pl.DataFrame:
    """Read a table of an axis: ``obs``, ``var`` or ``raw/var``.

    Args:
        path: an h5ad file.
        table: its place in the file.
        columns: those wanted; all, in the order of the file, by default.
        rows: consecutive rows wanted; all by default.

    Returns:
        First the index as the text column ``_index``, then the columns, one row per observation or variable.

    Raises:
        BadInputError: not HDF5, truncated, no such table or column, an encoding that is not known, lengths
            that do not agree, or an index that is null somewhere.
    """
    with hdf5.opened(path, _WHAT) as file:
        return _Table(file, path, table).read(columns, rows)


def column_names(path: Path, table: str = "obs") -> list[str]:
    """Return the columns of a table in the order of the file, the index left out."""
    with hdf5.opened(path, _WHAT) as file:
        return _Table(file, path, table).columns


def matrix_shape(path: Path, matrix: str = "X") -> tuple[int, int]:
    """Return observations and variables of a sparse matrix.

    Raises:
        BadInputError: as ``row_blocks``.
    """
    with hdf5.opened(path, _WHAT) as file:
        return _SparseMatrix.of(file, path, matrix).shape


def row_blocks(
    path: Path, matrix: str = "X", *, block_bytes: int = BLOCK_BYTES, n_threads: int = 2
) -> Iterator[RowBlock]:
    """Yield a sparse matrix in blocks of consecutive rows.

    A CSR matrix is read once. A CSC matrix has no rows to read: it is read once for every block, so give it
    a larger ``block_bytes``.

    Args:
        path: an h5ad file.
        matrix: ``X``, ``raw/X`` or ``layers/<name>``.
        block_bytes: memory of a block; a block has at least one row.
        n_threads: threads that inflate chunks; values do not depend on it.

    Yields:
        Blocks in file order; together they hold every row once. Values are passed on as they are.

    Raises:
        BadInputError: not HDF5, truncated, no such matrix, dense or of an unknown encoding, a shape that is
            not that of the tables, or row starts and column positions that are none.
    """
    with (
        hdf5.opened(path, _WHAT) as file,
        ThreadPoolExecutor(n_threads, thread_name_prefix="inflate") as pool,
    ):
        stored = _SparseMatrix.of(file, path, matrix)
        try:
            yield from stored.row_blocks(block_bytes, pool)
        finally:
            pool.shutdown(cancel_futures=True)


def observed_blocks(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    matrix: str = "X",
    block_bytes: int = BLOCK_BYTES,
    n_threads: int = 2,
) -> Iterator[tuple[pl.DataFrame, sparse.csr_matrix]]:
    """Yield the rows of a matrix together with the same rows of ``obs``, in blocks.

    Args:
        path: an h5ad file.
        columns: columns of ``obs`` wanted; all by default.
        matrix: as ``row_blocks``.
        block_bytes: as ``row_blocks``; of the matrix alone.
        n_threads: as ``row_blocks``.

    Raises:
        BadInputError: as ``read_table`` and ``row_blocks``.
    """
    with hdf5.opened(path, _WHAT) as file:
        table = _Table(file, path, "obs")
        for block in row_blocks(path, matrix, block_bytes=block_bytes, n_threads=n_threads):
            yield table.read(columns, slice(block.start, block.start + block.values.shape[0])), block.values


def is_dense(path: Path, matrix: str = "X") -> bool:
    """Say whether a matrix is one array, which ``dense_blocks`` reads, and not sparse.

    Raises:
        BadInputError: not HDF5, truncated, or no such matrix.
    """
    with hdf5.opened(path, _WHAT) as file:
        return isinstance(_find(file, matrix, path), h5py.Dataset)


def dense_blocks(
    path: Path, matrix: str = "X", *, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a dense matrix in blocks of consecutive rows, each with the position of the first.

    Args:
        path: an h5ad file.
        matrix: as ``row_blocks``.
        block_bytes: memory of a block; a block has at least one row.

    Raises:
        BadInputError: not HDF5, truncated, no such matrix, one that is not of numbers, or a shape that is not
            that of the tables.
    """
    with hdf5.opened(path, _WHAT) as file:
        stored = _find(file, matrix, path)
        if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "fiub":
            raise BadInputError(f"/{matrix} is not a dense array of numbers", file=path)
        _require_axes(file, path, matrix, stored.shape)
        step = max(1, block_bytes // max(1, 8 * stored.shape[1]))
        for start in range(0, stored.shape[0], step):
            yield start, hdf5.read(stored, slice(start, start + step), path)


def _find(parent: h5py.Group, name: str, path: Path) -> h5py.Dataset | h5py.Group:
    try:
        return parent[name]
    except KeyError as error:
        rule = f"an h5ad file holds {_place(parent, name)}, but this one does not"
        raise BadInputError(rule, file=path) from error
    except (OSError, RuntimeError) as error:
        rule = f"{_place(parent, name)} cannot be read: {hdf5.reason(error)}"
        raise BadInputError(rule, file=path) from error


def _find_array(parent: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    found = _find(parent, name, path)
    if not isinstance(found, h5py.Dataset) or found.ndim != 1:
        rule = f"{_place(parent, name)} is a one-dimensional array, but not in this file"
        raise BadInputError(rule, file=path)
    return found


def _place(parent: h5py.Group, name: str) -> str:
    return f"{parent.name.rstrip('/')}/{name}"


def _encoding(node: h5py.Dataset | h5py.Group) -> str:
    """The encoding a node states; nodes of AnnData 0.7 state none or the name of a format."""
    stated = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
    return stated.decode() if isinstance(stated, bytes) else str(stated)


class _Table:
    """A table of an open file; categories are kept, so that reading it row by row decodes them once."""

    def __init__(self, file: h5py.File, path: Path, name: str) -> None:
        group = _find(file, name, path)
        if not isinstance(group, h5py.Group):
            rule = (
                f"/{name} is one compound dataset, as before AnnData 0.7; write it anew with a later AnnData"
            )
            raise BadInputError(rule, file=path)
        self._group, self._path = group, path
        stated = group.attrs.get("_index")
        self._index = "index" if stated is None else str(_decode_text(stated))
        self._categories: dict[str, pl.Series] = {}
        self.n_rows = _length(_find(group, self._index, path), path)

    @property
    def columns(self) -> list[str]:
        """Columns in the order of the file."""
        stated = self._group.attrs.get("column-order")
        if stated is None:
            skipped = (self._index, "__categories")
            return [name for name in self._group if name not in skipped]
        return [str(_decode_text(name)) for name in stated]

    def read(self, columns: Sequence[str] | None, rows: slice | None) -> pl.DataFrame:
        """Read the index and some columns of some rows."""
        rows = slice(0, self.n_rows) if rows is None else slice(*rows.indices(self.n_rows)[:2])
        index = self._read_column(self._index, rows).cast(pl.String).rename(INDEX)
        if index.null_count():
            row = int(index.is_null().arg_true()[0]) + rows.start + 1
            raise BadInputError(f"every row of {self._group.name} has a name", file=self._path, row=row)
        wanted = self.columns if columns is None else columns
        return pl.DataFrame([index, *(self._read_column(name, rows) for name in wanted)])

    def _read_column(self, name: str, rows: slice) -> pl.Series:
        if name not in self._group:
            rule = f"{self._group.name} has the columns {', '.join(self.columns)}"
            raise BadInputError(rule, file=self._path, column=name)
        node = _find(self._group, name, self._path)
        n_rows = _length(node, self._path)
        if n_rows != self.n_rows:
            rule = f"{self._group.name} has {self.n_rows} rows, but this column has {n_rows}"
            raise BadInputError(rule, file=self._path, column=name)
        if isinstance(node, h5py.Dataset):
            if "categories" in node.attrs:
                categories = self._group.file[node.attrs["categories"]]
                return self._categorical(name, node, categories, rows)
            return self._array(name, node, rows)
        if _encoding(node) == "categorical":
            codes = _find_array(node, "codes", self._path)
            return self._categorical(name, codes, _find(node, "categories", self._path), rows)
        return self._nullable(name, node, rows)

    def _categorical(
        self, name: str, codes: h5py.Dataset, categories: h5py.Dataset | h5py.Group, rows: slice
    ) -> pl.Series:
        if name not in self._categories:
            if isinstance(categories, h5py.Group):
                self._categories[name] = self._nullable(name, categories, slice(None))
            else:
                self._categories[name] = self._array(name, categories, slice(None))
        known = self._categories[name]
        positions = hdf5.read(codes, rows, self._path)
        if positions.dtype.kind not in "iu" or (len(positions) and int(positions.max()) >= len(known)):
            rule = f"codes point into {len(known)} categories, but not all do"
            raise BadInputError(rule, file=self._path, column=name)
        wanted = pl.Series(positions).cast(pl.Int64)
        return known.gather(wanted.set(wanted < 0, None)).rename(name)

    def _nullable(self, name: str, group: h5py.Group, rows: slice) -> pl.Series:
        encoding = _encoding(group)
        if not encoding.startswith("nullable-"):
            rule = (
                f"the encoding {encoding or 'of this group'} is not known; a column is an array, categorical"
            )
            raise BadInputError(f"{rule} or nullable", file=self._path, column=name)
        values = self._array(name, _find_array(group, "values", self._path), rows)
        mask = hdf5.read(_find_array(group, "mask", self._path), rows, self._path).astype(bool)
        return values.set(pl.Series(mask), None)

    def _array(self, name: str, array: h5py.Dataset, rows: slice) -> pl.Series:
        if array.ndim != 1:
            rule = f"a column has one value in a row, but {array.name} has shape {array.shape}"
            raise BadInputError(rule, file=self._path, column=name)
        values = hdf5.read(array, rows, self._path)
        if values.dtype.kind == "S" or h5py.check_string_dtype(array.dtype) is not None:
            return pl.Series(name, _decode(values.tolist()), dtype=pl.String)
        if values.dtype.kind in "iufb":
            return pl.Series(name, values.astype(values.dtype.newbyteorder("=")))
        rule = f"a column holds texts, numbers or booleans, not {array.dtype}"
        raise BadInputError(rule, file=self._path, column=name)


def _length(node: h5py.Dataset | h5py.Group, path: Path) -> int:
    """Rows of a column of any encoding."""
    if isinstance(node, h5py.Dataset):
        return int(node.shape[0]) if node.shape else 0
    return _find_array(node, "codes" if "codes" in node else "values", path).size


def _decode_text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _decode(values: list[object]) -> list[object]:
    # Texts are UTF-8; a byte that is not comes from a tool that wrote Latin-1, then all of the column is.
    try:
        return [_decode_text(value) for value in values]
    except UnicodeDecodeError:
        return [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]


class _Vector:
    """One of the long arrays of a sparse matrix, read forward chunk by chunk."""

    def __init__(self, array: h5py.Dataset, path: Path) -> None:
        self._array, self._path = array, path
        self.dtype = array.dtype.newbyteorder("=")
        self._filters = _filters(array)
        self._edge: tuple[int, Future[np.ndarray]] | None = None

    @property
    def size(self) -> int:
        return int(self._array.size)

    def begin(self, start: int, stop: int, pool: ThreadPoolExecutor) -> "_Reading":
        """Begin to read a range. The chunk that it ends in is kept for the range that follows."""
        reading = _Reading(start, np.empty(stop - start, dtype=self.dtype), [], [])
        if stop == start:
            return reading
        if self._filters is None:
            reading.inside.append(pool.submit(self._read_plainly, reading.values, start, stop))
            return reading
        length = self._array.chunks[0]
        # Chunks that lie inside go where they belong; what is cut by a border is needed on both sides.
        first, last = -(-start // length), stop // length
        at_once = max(1, _TASK_BYTES // (length * self.dtype.itemsize))
        for chunk in range(first, last, at_once):
            task = range(chunk, min(chunk + at_once, last))
            reading.inside.append(pool.submit(self._inflate_into, reading.values, start, task))
        for chunk in sorted({start // length, (stop - 1) // length} - set(range(first, last))):
            if self._edge is None or self._edge[0] != chunk:
                self._edge = (chunk, pool.submit(self._inflate, chunk))
            reading.edges.append((chunk * length, self._edge[1]))
        return reading

    def _read_plainly(self, values: np.ndarray, start: int, stop: int) -> None:
        values[:] = hdf5.read(self._array, slice(start, stop), self._path)

    def _inflate_into(self, values: np.ndarray, start: int, chunks: range) -> None:
        for chunk in chunks:
            at = chunk * self._array.chunks[0] - start
            values[at : at + self._array.chunks[0]] = self._inflate(chunk)

    def _inflate(self, chunk: int) -> np.ndarray:
        assert self._filters is not None
        length = self._array.chunks[0]
        n_bytes = length * self._array.dtype.itemsize
        try:
            skipped, raw = self._array.id.read_direct_chunk((chunk * length,))
            for position in reversed(range(len(self._filters))):
                if skipped & (1 << position):
                    continue
                if self._filters[position] == _GZIP:
                    raw = isal_zlib.decompress(raw, bufsize=n_bytes)
                else:
                    raw = np.frombuffer(raw, np.uint8).reshape(-1, length).T.tobytes()
        except (OSError, RuntimeError, ValueError, isal_zlib.error) as error:  # type: ignore[misc] # wrong stub
            rule = f"{self._array.name} cannot be read at {chunk * length}: {hdf5.reason(error)}"
            raise BadInputError(rule, file=self._path) from error
        if len(raw) != n_bytes:
            rule = f"{self._array.name} has {len(raw)} bytes in the chunk at {chunk * length}, not {n_bytes}"
            raise BadInputError(rule, file=self._path)
        return np.frombuffer(raw, self._array.dtype)


class _Reading(NamedTuple):
    """A range of a vector that other threads are filling."""

    start: int
    values: np.ndarray
    inside: list["Future[None]"]
    edges: list[tuple[int, "Future[np.ndarray]"]]

    def end(self) -> np.ndarray:
        """Wait for the range and return it."""
        for task in self.inside:
            task.result()
        for offset, chunk in self.edges:
            found = chunk.result()
            first, last = max(offset, self.start), min(offset + len(found), self.start + len(self.values))
            self.values[first - self.start : last - self.start] = found[first - offset : last - offset]
        return self.values


def _filters(array: h5py.Dataset) -> list[int] | None:
    """Filters of the chunks in the order they were applied; None where HDF5 itself must undo them."""
    if array.chunks is None:
        return None
    plan = array.id.get_create_plist()
    filters = [int(plan.get_filter(position)[0]) for position in range(plan.get_nfilters())]
    return filters if filters and set(filters) <= {_GZIP, _SHUFFLE} else None


@dataclass(frozen=True, slots=True)
class _SparseMatrix:
    """A sparse matrix of an open file."""

    name: str
    path: Path
    shape: tuple[int, int]
    is_by_row: bool
    data: _Vector
    indices: _Vector
    indptr: npt.NDArray[np.int64]

    @classmethod
    def of(cls, file: h5py.File, path: Path, name: str) -> Self:
        """Open a matrix and check what can be checked without reading it."""
        group = _find(file, name, path)
        encoding = _encoding(group)
        if isinstance(group, h5py.Dataset):
            rule = f"/{name} is a dense array; a sparse matrix (CSR or CSC) is needed"
            raise BadInputError(rule, file=path)
        is_by_row = encoding in ("csr_matrix", "csr")
        if not is_by_row and encoding not in ("csc_matrix", "csc"):
            rule = f"/{name} has the encoding {encoding!r}; csr_matrix and csc_matrix are known"
            raise BadInputError(rule, file=path)
        stated = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
        if stated is None:
            raise BadInputError(f"/{name} states no shape", file=path)
        shape = int(stated[0]), int(stated[1])
        _require_axes(file, path, name, shape)
        data, indices, starts = (_find_array(group, part, path) for part in ("data", "indices", "indptr"))
        if data.dtype.kind not in "fiub" or indices.dtype.kind not in "iu" or starts.dtype.kind not in "iu":
            rule = f"/{name} holds numbers at whole positions, not {data.dtype} at {indices.dtype}"
            raise BadInputError(rule, file=path)
        indptr = hdf5.read(starts, slice(None), path).astype(np.int64)
        n_lines = shape[0] if is_by_row else shape[1]
        _require_starts(indptr, n_lines, data.size, indices.size, f"/{name}", path)
        return cls(name, path, shape, is_by_row, _Vector(data, path), _Vector(indices, path), indptr)

    def row_blocks(self, block_bytes: int, pool: ThreadPoolExecutor) -> Iterator[RowBlock]:
        """Yield the rows; the pool must outlive the iteration."""
        entry_bytes = self.data.dtype.itemsize + self.indices.dtype.itemsize
        if self.is_by_row:
            bounds = _cuts(self.indptr, max(1, block_bytes // entry_bytes))
            yield from self._of_rows(bounds, pool)
        else:
            yield from self._of_columns(max(1, block_bytes // entry_bytes), pool)

    def _of_rows(self, bounds: Iterable[tuple[int, int]], pool: ThreadPoolExecutor) -> Iterator[RowBlock]:
        waiting: tuple[tuple[int, int], _Reading, _Reading] | None = None
        for start, stop in bounds:
            ends = int(self.indptr[start]), int(self.indptr[stop])
            begun = (start, stop), self.data.begin(*ends, pool), self.indices.begin(*ends, pool)
            if waiting is not None:
                yield self._finished(*waiting)
            waiting = begun
        if waiting is not None:
            yield self._finished(*waiting)

    def _finished(self, rows: tuple[int, int], data: _Reading, indices: _Reading) -> RowBlock:
        start, stop = rows
        starts = self.indptr[start : stop + 1] - self.indptr[start]
        return RowBlock(start, self._matrix(data.end(), indices.end(), starts))

    def _matrix(self, data: np.ndarray, indices: np.ndarray, starts: np.ndarray) -> sparse.csr_matrix:
        self._require_positions(indices, self.shape[1])
        # One index type for all parts, else SciPy copies: 32 bits wherever entries can be counted in them.
        index_type = np.int32 if max(len(data), self.shape[1]) < 2**31 else np.int64
        parts = data, indices.astype(index_type, copy=False), starts.astype(index_type)
        return sparse.csr_matrix(parts, shape=(len(starts) - 1, self.shape[1]), copy=False)

    def _require_positions(self, indices: np.ndarray, n: int) -> None:
        # A negative position is a large one without its sign: one pass finds both.
        if len(indices) and indices.view(f"u{indices.itemsize}").max() >= n:
            wrong = indices[(indices < 0) | (indices >= n)][0]
            rule = f"/{self.name} has positions from 0 to {n - 1}, but one is {wrong}"
            raise BadInputError(rule, file=self.path)

    def _of_columns(self, block_entries: int, pool: ThreadPoolExecutor) -> Iterator[RowBlock]:
        """Yield rows of a CSC matrix: one pass counts the entries of rows, one more makes each block."""
        length = np.zeros(self.shape[0] + 1, dtype=np.int64)
        for _, _, rows in self._columns(block_entries, pool):
            length[1:] += np.bincount(rows, minlength=self.shape[0])
        for start, stop in _cuts(np.cumsum(length), block_entries):
            parts = []
            for data, columns, rows in self._columns(block_entries, pool):
                inside = (rows >= start) & (rows < stop)
                parts.append((data[inside], rows[inside] - start, columns[inside]))
            data, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
            shape = (stop - start, self.shape[1])
            # Columns come in order, so a stable sort by row is all that CSR needs.
            order = np.argsort(rows, kind="stable")
            starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
            yield RowBlock(start, self._matrix(data[order], columns[order], starts))

    def _columns(
        self, block_entries: int, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield value, column and row of all entries, some columns at a time."""
        for start, stop in _cuts(self.indptr, block_entries):
            ends = int(self.indptr[start]), int(self.indptr[stop])
            data, rows = (part.begin(*ends, pool) for part in (self.data, self.indices))
            columns = np.repeat(np.arange(start, stop), np.diff(self.indptr[start : stop + 1]))
            found = rows.end()
            self._require_positions(found, self.shape[0])
            yield data.end(), columns, found.astype(np.int64)


def _require_axes(file: h5py.File, path: Path, name: str, shape: tuple[int, int]) -> None:
    tables = ("obs", "raw/var" if name.startswith("raw/") else "var")
    expected = tuple(_Table(file, path, table).n_rows for table in tables)
    if shape != expected:
        rule = f"/{name} has the shape {expected} by /{tables[0]} and /{tables[1]}, but it is {shape}"
        raise BadInputError(rule, file=path)


def _require_starts(
    indptr: npt.NDArray[np.int64], n_lines: int, n_data: int, n_indices: int, place: str, path: Path
) -> None:
    is_whole = len(indptr) == n_lines + 1 and indptr[0] == 0 and indptr[-1] == n_data == n_indices
    if not is_whole or (np.diff(indptr) < 0).any():
        rule = (
            f"{place}/indptr rises from 0 to the number of entries in {n_lines} steps, but has {len(indptr)} "
            f"values up to {indptr.max(initial=0)}, for {n_data} values and {n_indices} positions"
        )
        raise BadInputError(rule, file=path)


def _cuts(indptr: npt.NDArray[np.int64], block_entries: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of lines that hold at most so many entries, or one line.

    >>> list(_cuts(np.array([0, 3, 4, 9, 9]), 4))
    [(0, 2), (2, 3), (3, 4)]
    """
    start, n_lines = 0, len(indptr) - 1
    while start < n_lines:
        stop = int(np.searchsorted(indptr, indptr[start] + block_entries, side="right")) - 1
        stop = min(max(stop, start + 1), n_lines)
        yield start, stop
        start = stop
