"""Reader of GCTX, the Broad's annotated matrix in HDF5.

Here: the HDF5 layout, the texts in it, and reading a matrix larger than memory in bounded blocks. Not here:
what identifiers and sentinels mean (adapters), decompressing ``.gctx.gz`` (HDF5 needs random access), and
the text twin (``gct``).

Layout, with ``R`` rows (genes) and ``C`` columns (samples):

    /0/DATA/0/matrix     C x R numbers (float32, float64 or int32; chunked and gzipped, or neither)
    /0/META/ROW/id       R texts; every other dataset of the group is a row metadata field of length R
    /0/META/COL/id       C texts; every other dataset of the group is a column metadata field of length C

The matrix lies in the file as columns x rows: one sample is contiguous. Texts are fixed-length bytes or
variable-length strings, UTF-8 or Latin-1 (``µM`` in files of the Broad); metadata may be numeric.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError
from etl.formats import hdf5
from etl.formats.matrix import AnnotatedMatrix, MatrixAnnotation, require_identifiers

_MATRIX = "/0/DATA/0/matrix"
_ROWS = "/0/META/ROW"
_COLUMNS = "/0/META/COL"

BLOCK_BYTES = 256 * 1024 * 1024
"""Memory a block may take by default: the block itself and what is read to make it."""


class MatrixBlock(NamedTuple):
    """Some samples of a matrix.

    Attributes:
        columns: int64 positions of the samples among ``column_ids``, ascending.
        values: float32 of shape (len(columns), selected rows), that is samples x genes; C-contiguous.
    """

    columns: NDArray[np.int64]
    values: NDArray[np.float32]


def read_annotation(path: Path) -> MatrixAnnotation:
    """Read identifiers and metadata, not the values.

    Numeric metadata becomes the shortest text that reads back as the same number (``15``, ``0.18``, ``NaN``).

    Args:
        path: a GCTX file.

    Returns:
        The axes of the matrix; metadata fields follow ``id`` in alphabetical order, as HDF5 lists them.

    Raises:
        BadInputError: not HDF5, truncated, a group is missing, the matrix is empty or no numbers, lengths do
            not agree, or an id is missing or repeated.
    """
    with hdf5.opened(path, "a GCTX file") as file:
        return _read_annotation(file, path)


def blocks(
    path: Path,
    columns: Sequence[int] | NDArray[np.integer] | None = None,
    rows: Sequence[int] | NDArray[np.integer] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[MatrixBlock]:
    """Yield the matrix in blocks of samples that fit in memory.

    Blocks begin and end at chunk borders of the file, so that no chunk is decompressed twice, unless a single
    band of chunks exceeds ``block_bytes``: then the memory bound wins. Chunks without a selected
    sample or gene are not read.

    Args:
        path: a GCTX file.
        columns: positions of the samples wanted, each once; all by default. They are yielded in file order
            whatever the order here; ``MatrixBlock.columns`` says which are in a block.
        rows: positions of the genes wanted; all by default. ``values`` follows this order.
        block_bytes: memory for one block and what is read to make it; a block has at least one sample.

    Yields:
        Blocks in file order; together they hold every selected sample once. NaN and infinities are passed on.

    Raises:
        BadInputError: as ``read_annotation``, or values that cannot be read or do not fit float32 (an
            infinite result from a finite value, an integer that would be rounded).
        IndexError: a position outside the matrix, or a sample asked for twice: a fault of the caller.
    """
    with hdf5.opened(path, "a GCTX file") as file:
        matrix = _find_matrix(file, path)
        n_columns, n_rows = matrix.shape
        selected_columns = np.unique(_positions(columns, n_columns, "column"))
        if columns is not None and len(selected_columns) != len(columns):
            raise IndexError("a column is selected twice")
        selected_rows = _positions(rows, n_rows, "row")
        # Unchunked data is one strip per sample: any run of samples can be read, and genes are read across.
        column_chunk, row_chunk = matrix.chunks or (1, n_rows)
        row_ranges = _ranges(np.unique(selected_rows), row_chunk)
        widest = max((stop - start for start, stop in row_ranges), default=0)
        # At once exist a block, the strip as stored and as float32, and a copy of the selected genes.
        bytes_per_column = 8 * len(selected_rows) + (matrix.dtype.itemsize + 4) * widest
        height = max(1, block_bytes // max(1, bytes_per_column))
        if height > column_chunk:
            height -= height % column_chunk
        window = selected_columns // height
        for part in np.split(selected_columns, np.flatnonzero(np.diff(window)) + 1):
            if not len(part):
                continue
            values = np.empty((len(part), len(selected_rows)), dtype=np.float32)
            for start, stop in _ranges(part, column_chunk):
                inside = slice(*np.searchsorted(part, (start, stop)))
                for first, last in row_ranges:
                    strip = _read_strip(matrix, (start, stop), (first, last), path)
                    wanted = np.flatnonzero((selected_rows >= first) & (selected_rows < last))
                    taken = strip[np.ix_(part[inside] - start, selected_rows[wanted] - first)]
                    values[inside, wanted] = taken
            yield MatrixBlock(part, values)


def read(path: Path) -> AnnotatedMatrix:
    """Read a whole GCTX file into memory: for small files; ``blocks`` is for the rest.

    Args:
        path: a GCTX file.

    Returns:
        The matrix with ``values`` float32 (columns x rows, i.e. samples x genes).

    Raises:
        BadInputError: as ``read_annotation`` and ``blocks``.
    """
    axes = read_annotation(path)
    values = np.empty((len(axes.column_ids), len(axes.row_ids)), dtype=np.float32)
    for block in blocks(path):
        values[block.columns] = block.values
    return AnnotatedMatrix(
        row_ids=axes.row_ids,
        column_ids=axes.column_ids,
        row_metadata=axes.row_metadata,
        column_metadata=axes.column_metadata,
        values=values,
    )


def _find_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    try:
        found = file[name]
    except KeyError as error:
        raise BadInputError(f"a GCTX file holds {name}, but this one does not", file=path) from error
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{name} cannot be read: {hdf5.reason(error)}", file=path) from error
    if not isinstance(found, h5py.Dataset):
        raise BadInputError(f"{name} is a dataset in GCTX, but a group in this file", file=path)
    return found


def _find_matrix(file: h5py.File, path: Path) -> h5py.Dataset:
    """The matrix, after checking its shape against the number of ids."""
    matrix = _find_dataset(file, _MATRIX, path)
    if matrix.dtype.kind not in "fi":
        rule = f"{_MATRIX} holds floating-point numbers or integers, not {matrix.dtype}"
        raise BadInputError(rule, file=path)
    n_columns, n_rows = (_find_dataset(file, f"{axis}/id", path).size for axis in (_COLUMNS, _ROWS))
    if not n_columns or not n_rows:
        rule = f"a matrix has rows and columns; this one has {n_rows} row ids and {n_columns} column ids"
        raise BadInputError(rule, file=path)
    if matrix.shape != (n_columns, n_rows):
        expected = (n_columns, n_rows)
        rule = f"{_MATRIX} has shape (columns, rows), {expected} by its ids, but it is {matrix.shape}"
        raise BadInputError(rule, file=path)
    return matrix


def _read_annotation(file: h5py.File, path: Path) -> MatrixAnnotation:
    _find_matrix(file, path)
    row_metadata = _read_metadata(file, _ROWS, "row", path)
    column_metadata = _read_metadata(file, _COLUMNS, "column", path)
    return MatrixAnnotation(
        row_ids=row_metadata["id"].to_list(),
        column_ids=column_metadata["id"].to_list(),
        row_metadata=row_metadata,
        column_metadata=column_metadata,
    )


def _read_metadata(file: h5py.File, group: str, axis: str, path: Path) -> pl.DataFrame:
    ids = _read_texts(_find_dataset(file, f"{group}/id", path), path)
    require_identifiers(ids, axis, path)
    columns = {"id": ids}
    for name in file[group]:
        if name == "id":
            continue
        texts = _read_texts(_find_dataset(file, f"{group}/{name}", path), path)
        if len(texts) != len(ids):
            rule = f"{axis} metadata has a value for each of {len(ids)} {axis}s, but {len(texts)}"
            raise BadInputError(rule, file=path, column=name)
        columns[name] = texts
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _read_texts(dataset: h5py.Dataset, path: Path) -> list[str]:
    name = dataset.name.rsplit("/", 1)[-1]
    if dataset.ndim != 1:
        rule = f"ids and metadata are one-dimensional, but {dataset.name} has shape {dataset.shape}"
        raise BadInputError(rule, file=path, column=name)
    values = hdf5.read(dataset, slice(None), path)
    kind = values.dtype.kind
    if kind == "S" or (kind == "O" and h5py.check_string_dtype(dataset.dtype) is not None):
        return _decode(values.tolist())
    if kind in "iu":
        return [str(value) for value in values.tolist()]
    if kind == "f":
        return [_number_text(value) for value in values]
    if kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    raise BadInputError(f"ids and metadata are texts or numbers, not {dataset.dtype}", file=path, column=name)


def _decode(values: list[bytes]) -> list[str]:
    # A field comes from one tool: the first byte that is not UTF-8 makes all of it Latin-1.
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        return [value.decode("latin-1") for value in values]


def _number_text(value: np.floating) -> str:
    if np.isnan(value):
        return "NaN"
    # Metadata that counts is often stored as float; beyond 2**53 the digits of an integer would be invented.
    if abs(value) < 2**53 and value == np.floor(value):
        return str(int(value))
    return str(value)


def _positions(wanted: Sequence[int] | NDArray[np.integer] | None, size: int, axis: str) -> NDArray[np.int64]:
    if wanted is None:
        return np.arange(size, dtype=np.int64)
    positions = np.asarray(wanted)
    if positions.size and positions.dtype.kind not in "iu":
        raise IndexError(f"{axis} positions are integers, not {positions.dtype}")
    positions = positions.astype(np.int64)
    if positions.size and (positions.min() < 0 or positions.max() >= size):
        raise IndexError(f"{axis} positions are within 0 and {size - 1}")
    return positions


def _ranges(positions: NDArray[np.int64], chunk: int) -> list[tuple[int, int]]:
    """Contiguous (start, stop) ranges that cover ascending ``positions``; a range skips no whole chunk."""
    if not len(positions):
        return []
    breaks = np.flatnonzero(np.diff(positions // chunk) > 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(positions, breaks)]


def _read_strip(
    matrix: h5py.Dataset, columns: tuple[int, int], rows: tuple[int, int], path: Path
) -> NDArray[np.float32]:
    try:
        stored: NDArray = matrix[slice(*columns), slice(*rows)]
    except (OSError, RuntimeError) as error:
        rule = f"values of columns {columns[0]} to {columns[1] - 1} cannot be read: {hdf5.reason(error)}"
        raise BadInputError(rule, file=path) from error
    if stored.dtype == np.float32:
        return stored
    with np.errstate(over="ignore"):
        strip = stored.astype(np.float32)
    if stored.dtype.kind == "i":
        is_changed = strip.astype(np.float64) != stored
    else:
        is_changed = np.isinf(strip) & np.isfinite(stored)
    if is_changed.any():
        column, row = np.argwhere(is_changed)[0]
        rule = f"{stored[column, row]} does not fit a 32-bit float"
        raise BadInputError(rule, file=path, row=int(rows[0] + row), column=str(columns[0] + column))
    return strip
