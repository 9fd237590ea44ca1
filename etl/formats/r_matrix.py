"""Reader of a count matrix that R wrote to HDF5: names of both axes, and the matrix in compressed columns.

Here: this layout of HDF5, and reading it in bounded blocks. Not here: what the names mean (the adapters),
other HDF5 layouts (``gctx``, ``h5ad``).

Layout of a matrix ``m`` of ``G`` genes × ``S`` samples, gene names before sample names, as R orders them:

    /.m_dimnames/1              G texts: genes
    /.m_dimnames/2              S texts: samples
    /m                          S × G numbers: HDF5 lists the axes of R in reverse
    /sparse_matrix/dimensions   G, S
    /sparse_matrix/j_ptr        S + 1 positions: sample j has the entries from j_ptr[j] to j_ptr[j + 1]
    /sparse_matrix/i_indices    gene of each entry, from 0
    /sparse_matrix/values       number of each entry

The two copies hold the same numbers. The sparse one is read, because a block of it costs what it holds; the
dense one is read where there is no other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from etl.errors import BadInputError
from etl.formats import hdf5
from etl.formats.matrix import require_identifiers

SPARSE: Final = "/sparse_matrix"

_BYTES_PER_ENTRY: Final = 24
"""At once exist, per entry: value and index as stored (at most 8 and 8 bytes), and as CSR (4 and 4)."""


class Axes(NamedTuple):
    """Names of the genes and the samples of a matrix, in file order."""

    genes: list[str]
    samples: list[str]


class MatrixBlock(NamedTuple):
    """Some samples of a matrix.

    Attributes:
        sample_keys: their names.
        values: float32 CSR, samples × genes.
    """

    sample_keys: list[str]
    values: sparse.csr_matrix


def read_axes(path: Path, *, name: str) -> Axes:
    """Return the names of both axes.

    Args:
        path: the file.
        name: name of the matrix.

    Raises:
        BadInputError: not HDF5, truncated, a part is missing, a name is missing or repeated, or a matrix that
            is not as large as its names say.
    """
    with hdf5.opened(path, "a matrix that R wrote") as file:
        return _read_axes(file, name, path)


def blocks(path: Path, *, name: str, block_bytes: int) -> Iterator[MatrixBlock]:
    """Yield the matrix in blocks of samples, in file order.

    Args:
        path: the file.
        name: name of the matrix.
        block_bytes: memory for one block and what is read to make it; a block has at least one sample.

    Raises:
        BadInputError: as ``read_axes``, an entry outside the matrix or given twice, a number that a 32-bit
            float does not hold, or numbers that cannot be read.
    """
    with hdf5.opened(path, "a matrix that R wrote") as file:
        axes = _read_axes(file, name, path)
        is_sparse = SPARSE in file
        read = _sparse_blocks if is_sparse else _dense_blocks
        for start, values in read(file, name, axes, block_bytes, path):
            values.sum_duplicates()
            values.eliminate_zeros()
            yield MatrixBlock(axes.samples[start : start + values.shape[0]], values)


def _sparse_blocks(
    file: h5py.File, _name: str, axes: Axes, block_bytes: int, path: Path
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    n_genes, n_samples = len(axes.genes), len(axes.samples)
    dimensions = hdf5.read(_find(file, f"{SPARSE}/dimensions", path), slice(None), path).tolist()
    if dimensions != [n_genes, n_samples]:
        rule = f"{SPARSE} has {n_genes} genes and {n_samples} samples by its names, but says {dimensions}"
        raise BadInputError(rule, file=path)
    indices, numbers = (_find(file, f"{SPARSE}/{part}", path) for part in ("i_indices", "values"))
    pointers = hdf5.read(_find(file, f"{SPARSE}/j_ptr", path), slice(None), path).astype(np.int64)
    is_right = pointers.shape == (n_samples + 1,) and pointers[0] == 0 and (np.diff(pointers) >= 0).all()
    if not is_right or not pointers[-1] == indices.size == numbers.size:
        rule = f"{SPARSE}/j_ptr does not divide {numbers.size} values among {n_samples} samples"
        raise BadInputError(rule, file=path)
    per_block = max(1, block_bytes // _BYTES_PER_ENTRY)
    start = 0
    while start < n_samples:
        stop = int(np.searchsorted(pointers, pointers[start] + per_block, side="right")) - 1
        stop = min(max(stop, start + 1), n_samples)
        part = slice(int(pointers[start]), int(pointers[stop]))
        genes = hdf5.read(indices, part, path)
        if genes.size and (genes.min() < 0 or genes.max() >= n_genes):
            raise BadInputError(f"{SPARSE}/i_indices are within 0 and {n_genes - 1}", file=path)
        values = _as_float32(hdf5.read(numbers, part, path), path)
        within = pointers[start : stop + 1] - pointers[start]
        block = sparse.csr_matrix((values, genes.astype(np.int32), within), shape=(stop - start, n_genes))
        if not block.has_canonical_format:
            block.sort_indices()
            rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            twice = np.flatnonzero((np.diff(block.indices) == 0) & (np.diff(rows) == 0))
            if twice.size:
                rule = f"gene {axes.genes[block.indices[twice[0]]]} is given twice"
                raise BadInputError(rule, file=path, row=axes.samples[start + rows[twice[0]]])
        yield start, block
        start = stop


def _dense_blocks(
    file: h5py.File, name: str, axes: Axes, block_bytes: int, path: Path
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    matrix = _find(file, f"/{name}", path)
    chunk = (matrix.chunks or (1,))[0]
    # A row as stored, as float32, and at worst as CSR.
    height = max(1, block_bytes // ((matrix.dtype.itemsize + 12) * len(axes.genes)))
    if height > chunk:
        height -= height % chunk
    for start in range(0, len(axes.samples), height):
        stored = hdf5.read(matrix, slice(start, start + height), path)
        yield start, sparse.csr_matrix(_as_float32(stored, path))


def _read_axes(file: h5py.File, name: str, path: Path) -> Axes:
    genes, samples = (_read_texts(file, f"/.{name}_dimnames/{axis}", path) for axis in (1, 2))
    require_identifiers(genes, "gene", path)
    require_identifiers(samples, "sample", path)
    matrix = _find(file, f"/{name}", path) if name in file or SPARSE not in file else None
    expected = (len(samples), len(genes))
    if matrix is not None and matrix.shape != expected:
        rule = f"/{name} has shape (samples, genes), {expected} by its names, but it is {matrix.shape}"
        raise BadInputError(rule, file=path)
    return Axes(genes, samples)


def _read_texts(file: h5py.File, name: str, path: Path) -> list[str]:
    dataset = _find(file, name, path)
    if dataset.ndim != 1 or dataset.dtype.kind not in "SO" or not dataset.size:
        raise BadInputError(f"{name} is a list of texts, not {dataset.dtype} of {dataset.shape}", file=path)
    texts = hdf5.read(dataset, slice(None), path).tolist()
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts]


def _as_float32(stored: NDArray, path: Path) -> NDArray[np.float32]:
    if stored.dtype.kind not in "fiu":
        raise BadInputError(f"the matrix holds numbers, not {stored.dtype}", file=path)
    with np.errstate(over="ignore"):
        values = stored.astype(np.float32)
    is_whole = stored == np.floor(stored)
    changed = np.flatnonzero((is_whole & (values != stored)).ravel())
    if changed.size:
        raise BadInputError(f"{stored.ravel()[changed[0]]} does not fit a 32-bit float", file=path)
    return values


def _find(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise BadInputError(f"the file holds the dataset {name}, but this one does not", file=path)
    return found
