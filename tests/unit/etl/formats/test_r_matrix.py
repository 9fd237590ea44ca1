from pathlib import Path

import h5py
import numpy as np
import pytest

from etl.errors import BadInputError
from etl.formats import r_matrix
from etl.simulate.gdpx2 import write_matrix

GENES = ["A1BG", "TP53", "Y_RNA"]
SAMPLES = ["101", "102", "103", "104"]
VALUES = np.array([[1, 0, 2], [0, 0, 0], [5, 6, 0], [0, 0, 9]], dtype=float)


@pytest.fixture(params=["both", "sparse", "dense"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The matrix in either copy or both."""
    path, kind = tmp_path / "m.h5", request.param
    write_matrix(path, GENES, SAMPLES, VALUES, is_sparse=kind != "dense", is_dense=kind != "sparse")
    return path


def read(path: Path, block_bytes: int = 2**20) -> list[r_matrix.MatrixBlock]:
    return list(r_matrix.blocks(path, name="gene_counts", block_bytes=block_bytes))


def test_samples_are_rows_whichever_copy_is_read(matrix: Path) -> None:
    assert r_matrix.read_axes(matrix, name="gene_counts") == (GENES, SAMPLES)
    (block,) = read(matrix)
    assert block.sample_keys == SAMPLES
    assert block.values.dtype == np.float32
    np.testing.assert_array_equal(block.values.toarray(), VALUES)


@pytest.mark.parametrize("block_bytes", [1, 30, 60, 100])
def test_small_blocks_hold_the_same(matrix: Path, block_bytes: int) -> None:
    found = read(matrix, block_bytes)
    assert len(found) > 1
    assert [key for block in found for key in block.sample_keys] == SAMPLES
    np.testing.assert_array_equal(np.vstack([block.values.toarray() for block in found]), VALUES)


def test_entries_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    write_matrix(path, GENES, SAMPLES, VALUES)
    with h5py.File(path, "r+") as file:
        file["sparse_matrix/i_indices"][:2] = [2, 0]
        file["sparse_matrix/values"][:2] = [2, 1]
    np.testing.assert_array_equal(read(path)[0].values.toarray(), VALUES)


@pytest.mark.parametrize(
    ("part", "content", "rule"),
    [
        (".gene_counts_dimnames/1", np.array(["a", "a", "b"], "S2"), "gene ids are unique, but 'a'"),
        (".gene_counts_dimnames/2", np.array(["1", "", "3", "4"], "S2"), "every sample has an id"),
        (".gene_counts_dimnames/2", np.arange(4), "is a list of texts, not int64"),
        (".gene_counts_dimnames/1", np.array(["a", "b"], "S2"), r"has shape \(samples, genes\), \(4, 2\)"),
        ("sparse_matrix/dimensions", np.array([4, 3]), r"4 samples by its names, but says \[4, 3\]"),
        ("sparse_matrix/j_ptr", np.array([0, 2, 2, 4]), "does not divide 5 values among 4 samples"),
        ("sparse_matrix/j_ptr", np.array([0, 2, 1, 4, 5]), "does not divide"),
        ("sparse_matrix/j_ptr", np.array([0, 2, 2, 4, 6]), "does not divide"),
        ("sparse_matrix/i_indices", np.array([0, 2, 0, 1, 3]), "are within 0 and 2"),
        ("sparse_matrix/i_indices", np.array([0, 0, 0, 1, 2]), "row 101: gene A1BG is given twice"),
        ("sparse_matrix/values", np.array([1, 2, 5, 6, 2**24 + 1]), "16777217 does not fit a 32-bit float"),
        ("sparse_matrix/values", np.array(["a"] * 5, "S1"), "the matrix holds numbers"),
        ("sparse_matrix/values", None, "holds the dataset /sparse_matrix/values, but this one does not"),
        (".gene_counts_dimnames/2", None, "holds the dataset /.gene_counts_dimnames/2"),
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, part: str, content: np.ndarray | None, rule: str
) -> None:
    path = tmp_path / "m.h5"
    write_matrix(path, GENES, SAMPLES, VALUES)
    with h5py.File(path, "r+") as file:
        del file[part]
        if content is not None:
            file[part] = content
    with pytest.raises(BadInputError, match=rule):
        read(path)


def test_a_truncated_file_is_refused(matrix: Path) -> None:
    content = matrix.read_bytes()
    matrix.write_bytes(content[: len(content) // 2])
    rule = r"file m.h5: a matrix that R wrote is a complete HDF5 file.*truncated"
    with pytest.raises(BadInputError, match=rule):
        read(matrix)


def test_a_file_without_a_matrix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    write_matrix(path, GENES, SAMPLES, VALUES, is_sparse=False, is_dense=False)
    with pytest.raises(BadInputError, match="the file holds the dataset /gene_counts"):
        read(path)
