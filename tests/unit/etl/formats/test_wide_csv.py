"""Wide numeric tables: what is written comes back, and every fault is named by row and column."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from etl.errors import BadInputError
from etl.formats import wide_csv
from etl.formats.wide_csv import read_blocks, read_header


def written(folder: Path, text: str) -> Path:
    path = folder / "wide.csv"
    path.write_bytes(text.encode())
    return path


def read(path: Path) -> tuple[list[str], np.ndarray]:
    blocks = list(read_blocks(path, read_header(path)))
    return [label for block in blocks for label in block.labels], np.concatenate([b.values for b in blocks])


@given(
    values=st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
        lambda shape: arrays(
            np.float32, shape, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
        )
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.integers(1, 80),
)
@settings(max_examples=60)
def test_numbers_come_back_whatever_the_size_of_a_block(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, end: str, block_bytes: int
) -> None:
    header = ",".join(["", *(f"c{i}" for i in range(values.shape[1]))])
    lines = [f"r{i}," + ",".join(repr(float(v)) for v in row) for i, row in enumerate(values)]
    path = written(tmp_path_factory.mktemp("wide"), "".join(line + end for line in [header, *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_csv, "BLOCK_BYTES", block_bytes)
        labels, read_back = read(path)
    assert labels == [f"r{i}" for i in range(len(values))]
    assert read_back.dtype == np.float32
    np.testing.assert_array_equal(read_back, values)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, "\ufeffid,a\nx,1\n")) == ["id", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wide.csv, row 1: .*is empty"),
        ("id\nx\n", "row 1: one column"),
        ("id,a,a\nx,1,2\n", "row 1, column a: the column is repeated"),
        ("id,a,b\n", "a header and no rows"),
        ("id,a,b\nx,1,2\ny,1\n", "row 3: 2 fields where the header has 3"),
        ("id,a,b\nx,1,2,3\n", "row 2: 4 fields where the header has 3"),
        ("id,a,b\nx,1,2\n\ny,1,2\n", "row 3: 1 fields"),
        ("id,a,b\nx,1,2\ny,1,2", "row 3: the last line is not ended"),
        ("id,a,b\nx,1,2\ny,,2\n", r"row 3, column a: not a finite number: a missing value \(1 such"),
        ("id,a,b\nx,1,\n", "row 2, column b: not a finite number: a missing value"),
        ("id,a,b,c\nx,1,,2\n", "row 2, column b: .*a missing value"),
        ("id,a,b\nx,1,2\ny,1,NA\n", "row 3, column b: not a finite number: 'NA'"),
        ("id,a,b\nx,inf,nan\n", r"row 2, column a: not a finite number: 'inf' \(2 such"),
        ('id,a\nx,"1"\n', "row 2, column a: not a finite number: '\"1\"'"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInputError, match=message):
        read(path)


def test_a_fault_in_a_later_block_is_named_by_its_row_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide_csv, "BLOCK_BYTES", 10)
    path = written(tmp_path, "id,a\n" + "".join(f"r{i},{i}\n" for i in range(9)) + "bad,x\n")
    with pytest.raises(BadInputError, match="row 11, column a: not a finite number: 'x'"):
        read(path)


def test_missing_values_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "id,a,b,c\nx,1,NA,3\ny,,2,\nz,4,5,6\n")
    (block,) = read_blocks(path, read_header(path), may_be_missing=True)
    expected = np.array([[1, np.nan, 3], [np.nan, 2, np.nan], [4, 5, 6]], dtype=np.float32)
    np.testing.assert_array_equal(block.values, expected)
    with pytest.raises(BadInputError, match="row 3, column a: not a finite number: a missing value"):
        list(read_blocks(path, read_header(path)))


def test_what_is_neither_a_number_nor_missing_is_refused_all_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, "id,a,b\nx,1,NA\ny,,none\n")
    with pytest.raises(BadInputError, match="row 3, column b: not a finite number: 'none'"):
        list(read_blocks(path, read_header(path), may_be_missing=True))
