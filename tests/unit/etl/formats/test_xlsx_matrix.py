from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import xlsx_matrix
from etl.simulate.workbooks import Cell, write_workbook
from tests.unit.etl.formats.test_xlsx import raw_workbook

HEADER = "sample_id"
FORMS = (
    '<c r="{r}"><v>{v}</v></c>',
    '<c r="{r}" s="3"><v>{v}</v></c>',
    '<c r="{r}" t="n"><v>{v}</v></c>',
    '<c r="{r}" s="1" t="n"><v>{v}</v></c>',
    '<c s="2" r="{r}"><v>{v}.0</v></c>',
    '<c r="{r}"><f>1</f><v>{v}</v></c>',
    "<c><v>{v}</v></c>\n",
)
"""A cell as different programs write it; the first four are read the fast way."""


def matrix(path: Path, *rows: list[Cell], header: tuple[Cell, ...] = ("Sample_id", "A", "B", "C")) -> Path:
    write_workbook(path / "a.xlsx", {"one": [["Note: licence"], list(header), *rows]})
    return path / "a.xlsx"


def read(path: Path, block_bytes: int = 2**20) -> tuple[list[str], np.ndarray]:
    found = list(xlsx_matrix.blocks(path, header=HEADER, block_bytes=block_bytes))
    return [key for block in found for key in block.sample_keys], np.vstack([block.values for block in found])


def test_axes_and_numbers(tmp_path: Path) -> None:
    path = matrix(tmp_path, ["s1", 1, 0, 300], [2, 4, 5, 6])
    keys, values = read(path)
    assert keys == xlsx_matrix.read_sample_keys(path, header=HEADER) == ["s1", "2"]
    assert xlsx_matrix.read_gene_names(path, header=HEADER) == ["A", "B", "C"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[1, 0, 300], [4, 5, 6]])


def test_blocks_are_bounded(tmp_path: Path) -> None:
    path = matrix(tmp_path, *([f"s{n}", n, n, n] for n in range(5)))
    found = list(xlsx_matrix.blocks(path, header=HEADER, block_bytes=2 * 12))
    assert [len(block.sample_keys) for block in found] == [2, 2, 1]
    assert [block.values[0, 0] for block in found] == [0, 2, 4]
    assert len(list(xlsx_matrix.blocks(path, header=HEADER, block_bytes=1))) == 5


@given(
    counts=st.lists(st.integers(0, 2**24), min_size=30, max_size=30),
    form=st.sampled_from(FORMS),
)
def test_every_form_of_a_number_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], form: str
) -> None:
    letters = [chr(ord("A") + n) if n < 26 else f"A{chr(ord('A') + n - 26)}" for n in range(1, 31)]
    name = '<c r="A{n}" t="inlineStr"><is><t>{t}</t></is></c>'
    header = "".join(f'<c r="{x}1" t="inlineStr"><is><t>g{x}</t></is></c>' for x in letters)
    numbers = "".join(form.format(r=f"{x}2", v=v) for x, v in zip(letters, counts, strict=True))
    sheet = (
        f'<sheetData><row r="1">{name.format(n=1, t="Sample_id")}{header}</row>'
        f'<row r="2" spans="1:31">{name.format(n=2, t="s")}{numbers}</row></sheetData></worksheet>'
    )
    path = raw_workbook(tmp_path_factory.mktemp("matrix") / "a.xlsx", sheet)
    keys, values = read(path)
    assert keys == ["s"]
    np.testing.assert_array_equal(values, [counts])


def test_a_fraction_is_handed_on(tmp_path: Path) -> None:
    path = raw_workbook(
        tmp_path / "a.xlsx",
        '<sheetData><row r="1"><c r="A1" t="str"><v>Sample_id</v></c><c r="B1" t="str"><v>A</v></c></row>'
        '<row r="2"><c r="A2" t="str"><v>s</v></c><c r="B2"><v>-1.5</v></c></row></sheetData></worksheet>',
    )
    assert read(path)[1].tolist() == [[-1.5]]


def test_a_date_is_no_count(tmp_path: Path) -> None:
    path = matrix(tmp_path, ["s", date(2024, 9, 7), date(2024, 9, 8), date(2024, 9, 9)])
    with pytest.raises(BadInputError, match="row 3, column A: not a number: '2024-09-07 00:00:00'"):
        read(path)


def test_rows_without_text_are_no_samples(tmp_path: Path) -> None:
    path = matrix(tmp_path, ["s1", 1, 2, 3], [None, None, None, None], ["s2", 1, 2, 3])
    assert read(path)[0] == xlsx_matrix.read_sample_keys(path, header=HEADER) == ["s1", "s2"]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (["s", 1, None, 3], "row 3, column B: a missing value"),
        (["s", 1, 2], "row 3, column C: a missing value"),
        (["s", 1, "NA", 3], "row 3, column B: not a number: 'NA'"),
        (["s", 1, 2, 3, 4], "row 3: more cells than the header, which has 3 names"),
        ([None, 1, 2, 3], "row 3, column A: a row with numbers and no name"),
        (["s", 1, 2**24 + 1, 3], "row 3, column B: a number up to 16777216 is expected, not 16777217"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: list[Cell], rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        read(matrix(tmp_path, row))


def test_a_repeated_sample_is_refused(tmp_path: Path) -> None:
    path = matrix(tmp_path, ["s", 1, 2, 3], ["s", 1, 2, 3])
    with pytest.raises(BadInputError, match="row ids are unique, but 's' is repeated at row 2"):
        xlsx_matrix.read_sample_keys(path, header=HEADER)


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (("Sample_id", "A", "B", "A"), "column ids are unique, but 'A' is repeated"),
        (("Sample_id", "A", None, "C"), "every column has an id, but column 2 of 3 has none"),
        (("Sample_id",), "a matrix has columns"),
        (("Gene", "A", "B", "C"), "no header that starts with 'sample_id' in the first 10 rows"),
    ],
)
def test_a_header_that_names_no_genes_is_refused(tmp_path: Path, header: tuple[Cell, ...], rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        xlsx_matrix.read_gene_names(matrix(tmp_path, ["s", 1, 2, 3], header=header), header=HEADER)


def test_a_matrix_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="a header and no rows"):
        xlsx_matrix.read_sample_keys(matrix(tmp_path), header=HEADER)
