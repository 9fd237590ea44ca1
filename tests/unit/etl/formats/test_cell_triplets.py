"""Triplets of sci-RNA-seq: blocks do not depend on where text is cut, and every fault names its line."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats.cell_triplets import read_axis, read_r_table, triplet_blocks


def matrix_of(path: Path, *, n_genes: int, n_cells: int, block_bytes: int = 1 << 20) -> np.ndarray:
    """All blocks, after a check that they follow each other."""
    blocks = list(
        triplet_blocks(path, n_genes=n_genes, n_cells=n_cells, dataset_id="x", block_bytes=block_bytes)
    )
    starts = np.cumsum([0, *(block.values.shape[0] for block in blocks)])
    assert [block.start for block in blocks] == starts[:-1].tolist()
    assert all(block.values.has_sorted_indices for block in blocks)
    return np.vstack([block.values.toarray() for block in blocks])


def write(tmp_path: Path, text: str, name: str = "UMI.count.matrix") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["UMI.count.matrix", "UMI.count.matrix.gz"])
def test_triplets_become_rows_of_cells_and_a_cell_without_counts_is_a_row_too(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path, "3\t2\t4\n1\t2\t1\n2\t4\t7\n", name)
    np.testing.assert_array_equal(
        matrix_of(path, n_genes=3, n_cells=5),
        [[0, 0, 0], [1, 0, 4], [0, 0, 0], [0, 7, 0], [0, 0, 0]],
    )


@given(seed=st.integers(0, 10_000), block_bytes=st.integers(8, 200), is_gzip=st.booleans())
def test_the_size_of_blocks_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, block_bytes: int, is_gzip: bool
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.4, (9, 6))
    counts[rng.integers(9), rng.integers(6)] = 27_373
    cells, genes = np.nonzero(counts)
    order = np.lexsort((rng.random(len(cells)), cells))
    lines = [f"{genes[i] + 1}\t{cells[i] + 1}\t{counts[cells[i], genes[i]]}\n" for i in order]
    name = "matrix.gz" if is_gzip else "matrix"
    path = write(tmp_path_factory.mktemp("triplets"), "".join(lines), name)
    found = matrix_of(path, n_genes=6, n_cells=9, block_bytes=block_bytes)
    np.testing.assert_array_equal(found, counts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t1\t2\n1\t2\t2.5\n", "row 2: a line is gene index.*'1\\\\t2\\\\t2.5'"),
        ("1\t1\t2\n1\t2\n", "row 2: a line is gene index"),
        ("1\t1\t2\n1\t2\t3\t4\n", "row 2: a line is gene index"),
        ("1 1 2\n", "row 1: a line is gene index"),
        ("1\t1\t2\n1\t2\tNA\n", "row 2: a line is gene index"),
        ("1\t1\t2\n4\t1\t1\n", "row 2, column gene index: a gene index is 1 to 3, but here is 4"),
        ("0\t1\t2\n", "row 1, column gene index: a gene index is 1 to 3, but here is 0"),
        ("1\t3\t2\n", "row 1, column cell index: a cell index is 1 to 2, but here is 3"),
        ("1\t1\t0\n", "row 1, column count: a count is 1 to"),
        ("1\t2\t1\n1\t1\t1\n", "row 2, column cell index: cells ascend, but here is 1"),
        ("2\t1\t1\n1\t1\t1\n2\t1\t3\n", "row 3: a gene is listed once for a cell, but gene 2"),
        ("1\t1\t2\n1\t2\t3", "row 2: the last line is not ended"),
        ("", "the file is empty"),
    ],
)
def test_a_fault_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=f"x, file UMI.count.matrix.*{message}"):
        matrix_of(write(tmp_path, text), n_genes=3, n_cells=2)


@pytest.mark.parametrize("block_bytes", [6, 12, 1000])
def test_a_fault_in_a_later_block_names_its_line_too(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path, "1\t1\t2\n1\t2\t1\n1\t3\t1\n2\t4\t1\n2\t4\t1\n")
    with pytest.raises(BadInputError, match="row 5: a gene is listed once for a cell"):
        matrix_of(path, n_genes=3, n_cells=4, block_bytes=block_bytes)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "1\t1\t2\n" * 1, "m.gz")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadInputError, match="truncated"):
        matrix_of(path, n_genes=1, n_cells=1)


@pytest.mark.parametrize(
    "text",
    [
        "id gene_short_name\nENSG1.1 A\nENSG2.1 B\n",
        "ENSG1.1\tA\nENSG2.1\tB\n",
        '"id" "gene_short_name"\n"ENSG1.1" "A"\n"ENSG2.1" "B"\n',
    ],
)
def test_the_table_of_an_axis_has_a_header_or_none(tmp_path: Path, text: str) -> None:
    table = read_axis(write(tmp_path, text, "genes"), ("id", "gene_short_name"), dataset_id="x")
    assert table.rows.select("id", "gene_short_name").rows() == [("ENSG1.1", "A"), ("ENSG2.1", "B")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\nc\n", "row 2: 1 fields where 2 are"),
        ("a b\na c\n", "row 1, 2, column id: more than once"),
        ("a b\nc d", "row 2: the last line is not ended"),
        ("\n", "the file is empty"),
    ],
)
def test_a_faulty_table_of_an_axis_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_axis(write(tmp_path, text, "genes"), ("id", "name"), dataset_id="x")


@pytest.mark.parametrize("row_names", [False, True])
def test_a_table_of_r_has_quotes_blanks_in_texts_and_maybe_names_of_rows(
    tmp_path: Path, row_names: bool
) -> None:
    rows = ['"c1" "AG-490 (Tyrphostin B42)" 10', '"c2" NA NA']
    lines = [f'"{i}" {row}' if row_names else row for i, row in enumerate(rows)]
    path = write(tmp_path, "\n".join(['"cell" "product name" "dose"', *lines, ""]), "pData.txt.gz")
    table = read_r_table(path, ("dose", "cell", "product name"), dataset_id="x")
    assert table.rows.rows() == [(2, "10", "c1", "AG-490 (Tyrphostin B42)"), (3, None, "c2", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\n1 2\n3\n", "row 3: 1 cells where the header has 2"),
        ("a b\n1 2 3 4\n", "row 2: 4 cells where the header has 2"),
        ("a b\n1 2\n1 2 3\n", "row 3: 3 cells where the header has 2"),
        ("a c\n1 2\n", "column b: the column is missing"),
        ("a b a\n1 2 3\n", "column a: the column is repeated"),
        ("a b\n", "a header and no rows"),
        ("a b\n1 2", "row 2: the last line is not ended"),
    ],
)
def test_a_faulty_table_of_r_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_r_table(write(tmp_path, text, "pData.txt"), ("a", "b"), dataset_id="x")
