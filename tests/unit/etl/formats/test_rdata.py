import bz2
import gzip
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import rdata
from etl.formats.rdata import NA_INTEGER, RList, RNumbers, ROther, RTexts
from etl.simulate import rdata as simulated

HEADER_2 = b"RDX2\nX\n" + struct.pack(">iii", 2, 0x030603, 0x020300)
HEADER_3 = b"RDX3\nX\n" + struct.pack(">iiii", 3, 0x040301, 0x030500, 5) + b"UTF-8"
NULL = struct.pack(">i", 254)
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10


def word(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}i", *numbers)


def characters(raw: bytes, levels: int = 1 << 18) -> bytes:
    return word(9 | levels, len(raw)) + raw


def symbol(name: str) -> bytes:
    return word(1) + characters(name.encode())


def integers(*values: int, attributes: bytes = b"") -> bytes:
    return word(13 | (HAS_ATTRIBUTES if attributes else 0), len(values), *values) + attributes


def doubles(*values: float) -> bytes:
    return word(14, len(values)) + struct.pack(f">{len(values)}d", *values)


def texts(*values: bytes) -> bytes:
    return word(16, len(values)) + b"".join(characters(value) for value in values)


def pair(name: str, value: bytes) -> bytes:
    return word(2 | HAS_TAG) + symbol(name) + value


def pairs(*values: bytes) -> bytes:
    return b"".join(word(2) + value for value in values) + NULL


def alternative(name: str, state: bytes, attributes: bytes = NULL) -> bytes:
    return word(238) + pairs(symbol(name), symbol("base"), integers(13)) + state + attributes


def workspace(path: Path, *variables: bytes, header: bytes = HEADER_3) -> Path:
    path.write_bytes(header + b"".join(variables) + NULL)
    return path


def value(path: Path, name: str = "x", **options: Any) -> rdata.RObject:
    (record,) = rdata.records(path, name, depth=0, **options)
    assert record.where == name
    return record.value


def one(tmp_path: Path, item: bytes, **options: Any) -> rdata.RObject:
    return value(workspace(tmp_path / "x.RData", pair("x", item)), **options)


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_written_is_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "x.RData"
    matrix = simulated.Matrix(["a", "b"], ["p", "q", "r"], np.arange(6.0).reshape(3, 2))
    table = pl.DataFrame({"row": ["one", "two"], "n": [1, None], "d": [0.5, None], "t": ["µ", None]})
    simulated.write(path, "x", {"matrix": matrix, "table": table}, version=version)
    held = value(path)
    assert isinstance(held, RList)
    parts = held.by_name()
    read = rdata.as_matrix(parts["matrix"], path=path, where="x")
    assert (read.row_names, read.column_names) == (["a", "b"], ["p", "q", "r"])
    np.testing.assert_array_equal(read.values, matrix.values)
    frame = rdata.as_table(parts["table"], path=path, where="x")
    assert frame.equals(table.rename({"row": rdata.ROW_NAME}).cast({"n": pl.Int32}))


@given(
    st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0")))),
    st.lists(st.floats(allow_nan=False)),
)
def test_texts_and_numbers_come_back(
    tmp_path_factory: pytest.TempPathFactory, words: list[str | None], numbers: list[float]
) -> None:
    path = tmp_path_factory.mktemp("rdata") / "x.RData"
    simulated.write(path, "x", {"words": words, "numbers": np.array(numbers, np.float64)})
    held = value(path)
    assert isinstance(held, RList)
    read_words, read_numbers = held.values
    assert isinstance(read_words, RTexts)
    assert isinstance(read_numbers, RNumbers)
    assert read_words.values == words
    assert read_numbers.values is not None
    assert read_numbers.values.tolist() == numbers


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_compression_of_r_is_read(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "x.RData"
    path.write_bytes(compress(HEADER_2 + pair("x", integers(1, NA_INTEGER)) + NULL))
    held = value(path)
    assert isinstance(held, RNumbers)
    assert held.values is not None
    assert (held.kind, held.values.tolist()) == ("integer", [1, NA_INTEGER])


def test_records_come_one_after_the_other_and_say_where(tmp_path: Path) -> None:
    path = tmp_path / "x.RData"
    nested = {"b2": {"p": ["one"], "q": ["two"]}, "b1": {"r": ["three"]}}
    simulated.write(path, "Exp", nested)
    read = list(rdata.records(path, "Exp", depth=2))
    assert [record.where for record in read] == ["Exp[[1]][[1]]", "Exp[[1]][[2]]", "Exp[[2]][[1]]"]
    assert [one.value.values for one in read if isinstance(one.value, RTexts)] == [
        ["one"],
        ["two"],
        ["three"],
    ]


def test_long_vectors_are_passed_over_with_their_shape_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.RData"
    simulated.write(path, "x", simulated.Matrix(["a"], list("pqr"), np.ones((3, 1))))
    held = value(path, longest=2)
    assert isinstance(held, RNumbers)
    assert (held.values, held.length) == (None, 3)
    assert rdata.as_matrix(held, path=path, where="x") == (["a"], ["p", "q", "r"], None)


def test_other_variables_are_walked_through(tmp_path: Path) -> None:
    # A function, an environment that holds itself, a pointer, an S4 object, a builtin and a namespace.
    code = word(6) + symbol("+") + pairs(integers(1))
    environment = word(4, 0, 253) + pair("me", word(255 | 2 << 8)) + NULL + NULL + NULL
    others = [
        pair("f", word(3 | HAS_TAG) + word(253) + NULL + code),
        pair("e", environment),
        pair("p", word(22) + NULL + NULL),
        pair("s", word(25 | HAS_ATTRIBUTES) + pair("slot", integers(1)) + NULL),
        pair("b", word(8, 3) + b"sum"),
        pair("n", word(249, 0, 1) + characters(b"base")),
        pair("g", word(253)),
    ]
    # The environment is the fourth reference: f, +, e come before it.
    others[1] = pair("e", environment.replace(word(255 | 2 << 8), word(255 | 4 << 8)))
    path = workspace(tmp_path / "x.RData", *others, pair("x", integers(7)))
    held = value(path)
    assert isinstance(held, RNumbers)
    for name, kind in (("f", "function"), ("e", "environment"), ("p", "pointer"), ("s", "S4 object")):
        found = value(path, name)
        assert isinstance(found, ROther)
        assert found.kind == kind


def test_symbols_are_referred_to_by_number(tmp_path: Path) -> None:
    named = integers(1, attributes=word(2 | HAS_TAG) + word(255 | 1 << 8) + texts(b"a") + NULL)
    held = one(tmp_path, named)
    assert isinstance(held, RNumbers)
    # The tag of the attribute is the symbol of the variable.
    assert list(held.attributes) == ["x"]


def test_a_reference_beyond_24_bits_follows_as_a_word(tmp_path: Path) -> None:
    named = integers(1, attributes=word(2 | HAS_TAG) + word(255, 1) + texts(b"a") + NULL)
    held = one(tmp_path, named)
    assert isinstance(held, RNumbers)
    assert list(held.attributes) == ["x"]


@pytest.mark.parametrize(
    ("name", "state", "kind", "expected"),
    [
        ("compact_intseq", doubles(3, 5, -1), "integer", [5, 4, 3]),
        ("compact_realseq", doubles(2, 1, 1), "double", [1.0, 2.0]),
        ("wrap_integer", word(2) + integers(4, 5) + integers(1, 0), "integer", [4, 5]),
        ("wrap_real", word(19, 2) + doubles(0.5) + integers(1, 0), "double", [0.5]),
    ],
)
def test_alternative_representations_of_numbers(
    tmp_path: Path, name: str, state: bytes, kind: str, expected: list[float]
) -> None:
    held = one(tmp_path, alternative(name, state))
    assert isinstance(held, RNumbers)
    assert held.values is not None
    assert (held.kind, held.values.tolist()) == (kind, expected)


@pytest.mark.parametrize(
    ("name", "held", "expected"),
    [
        ("wrap_string", texts(b"a", b"b"), ["a", "b"]),
        ("deferred_string", integers(12, NA_INTEGER), ["12", None]),
        ("deferred_string", doubles(12.0, -3.0), ["12", "-3"]),
    ],
)
def test_alternative_representations_of_texts(
    tmp_path: Path, name: str, held: bytes, expected: list[str | None]
) -> None:
    found = one(tmp_path, alternative(name, word(2) + held + integers(0), pair("k", texts(b"v")) + NULL))
    assert isinstance(found, RTexts)
    assert (found.values, list(found.attributes)) == (expected, ["k"])


@pytest.mark.parametrize(
    ("encoding", "levels", "header"),
    [
        ("utf-8", 1 << 15, HEADER_2),
        ("latin-1", 1 << 14, HEADER_2),
        ("utf-8", 0, HEADER_3),
        ("cp1252", 0, HEADER_3.replace(word(5) + b"UTF-8", word(6) + b"CP1252")),
    ],
)
def test_texts_in_every_encoding(tmp_path: Path, encoding: str, levels: int, header: bytes) -> None:
    item = word(16, 1) + characters("10 µM".encode(encoding), levels)
    held = value(workspace(tmp_path / "x.RData", pair("x", item), header=header))
    assert isinstance(held, RTexts)
    assert held.values == ["10 µM"]


def frame(*columns: bytes, names: tuple[bytes, ...], rows: bytes) -> bytes:
    attributes = pair("names", texts(*names)) + pair("row.names", rows) + NULL
    return word(19 | HAS_ATTRIBUTES, len(columns)) + b"".join(columns) + attributes


def test_factors_truth_values_and_numbered_rows_of_a_data_frame(tmp_path: Path) -> None:
    factor = integers(2, 1, NA_INTEGER, attributes=pair("levels", texts(b"low", b"high")) + NULL)
    truth = word(10, 3, 1, 0, NA_INTEGER)
    item = frame(
        factor, truth, doubles(1, np.nan, 2), names=(b"f", b"l", b"d"), rows=integers(NA_INTEGER, -3)
    )
    table = rdata.as_table(one(tmp_path, item), path=tmp_path, where="x")
    assert table.rows() == [("1", "high", True, 1.0), ("2", "low", False, None), ("3", None, None, 2.0)]


@pytest.mark.parametrize(
    ("item", "rule"),
    [
        (integers(1), "a data frame is expected"),
        (frame(integers(1), names=(), rows=integers(1)), "a data frame is expected"),
        (
            frame(integers(1), integers(2), names=(b"a", b"a"), rows=integers(1)),
            "column a: the column has no",
        ),
        (frame(integers(1, 2), names=(b"a",), rows=integers(1)), "2 values where the data frame has 1 rows"),
        (frame(word(253), names=(b"a",), rows=integers(1)), "column a: a column of text or numbers"),
        (
            frame(
                integers(3, attributes=pair("levels", texts(b"low")) + NULL), names=(b"a",), rows=integers(1)
            ),
            "column a: a column of text or numbers",
        ),
    ],
)
def test_what_is_no_data_frame_is_refused(tmp_path: Path, item: bytes, rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        rdata.as_table(one(tmp_path, item), path=tmp_path / "x.RData", where="x")


def matrix(shape: bytes, names: bytes, *values: int) -> bytes:
    return integers(*values, attributes=pair("dim", shape) + pair("dimnames", names) + NULL)


def test_a_missing_integer_of_a_matrix_is_nan(tmp_path: Path) -> None:
    item = matrix(integers(2, 1), word(19, 2) + texts(b"a", b"b") + texts(b"p"), 5, NA_INTEGER)
    read = rdata.as_matrix(one(tmp_path, item), path=tmp_path, where="x")
    np.testing.assert_array_equal(read.values, [[5.0, np.nan]])


@pytest.mark.parametrize(
    "item",
    [
        texts(b"a"),
        integers(1, 2),
        matrix(integers(2, 2), word(19, 2) + texts(b"a", b"b") + texts(b"p", b"q"), 1, 2, 3),
        matrix(integers(1, 2), word(19, 2) + texts(b"a", b"b") + texts(b"p"), 1, 2),
        matrix(integers(1, 2), word(19, 2) + NULL + texts(b"p", b"q"), 1, 2),
    ],
)
def test_what_is_no_named_matrix_is_refused(tmp_path: Path, item: bytes) -> None:
    with pytest.raises(BadInputError, match="row x: a matrix of numbers with names"):
        rdata.as_matrix(one(tmp_path, item), path=tmp_path, where="x")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the file is truncated"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "starts with RDX2 or RDX3"),
        (b"RDA3\nA\n3\n", "starts with RDX2 or RDX3, not 'RDA3'"),
        (b"RDX3\nB\n" + b"\0" * 40, "not in XDR format"),
        (HEADER_2.replace(word(2), word(9), 1), "serialization format 9 is not read"),
        (HEADER_3.replace(b"UTF-8", b"UTF-9"), "the native encoding 'UTF-9' is unknown"),
        (HEADER_3 + integers(1), "a workspace is a list of variables"),
        (HEADER_3 + pair("y", integers(1)) + NULL, "the file holds x, but this one holds y"),
        (HEADER_3 + NULL, "the file holds x, but this one holds nothing"),
        (HEADER_3 + pair("x", word(99)), "row x: an item of type 99 is not read"),
        (HEADER_3 + pair("x", word(21)), "row x: byte code is not read"),
        (HEADER_3 + pair("x", word(255 | 9 << 8)), "reference 9 to something that has not been"),
        (HEADER_3 + pair("x", word(13, -2)), "a vector has a negative length"),
        (HEADER_3 + pair("x", word(14, 2**31 - 1)), "is longer than what is read"),
        (HEADER_3 + pair("x", word(14, -1, 1 << 20, 0)), "is longer than what is read"),
        (HEADER_3 + pair("x", word(19, 2**31 - 1)), "the file is truncated"),
        (HEADER_3 + pair("x", word(16, 1, 13, 1, 1)), "a text is expected"),
        (HEADER_3 + pair("x", word(8, 2**30)), "a name of 1073741824 bytes"),
        (HEADER_3 + pair("x", word(19, 1) * 300 + NULL), "nested more than 200 deep"),
        (HEADER_3 + pair("x", texts(b"\xff")), "a text that is not in utf-8"),
        (HEADER_3 + pair("x", alternative("mmap_real", NULL)), "representation mmap_real is not read"),
        (HEADER_3 + pair("x", alternative("compact_intseq", doubles(1))), "a length, a start and a step"),
        (
            HEADER_3 + pair("x", alternative("compact_intseq", doubles(1e18, 1, 1))),
            "longer than what is read",
        ),
        (
            HEADER_3 + pair("x", alternative("deferred_string", word(2) + doubles(0.1) + integers(0))),
            "fractions or large numbers are not read",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes, rule: str) -> None:
    path = tmp_path / "x.RData"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=rule):
        value(path)


def test_a_list_is_expected_where_records_lie_below(tmp_path: Path) -> None:
    path = workspace(tmp_path / "x.RData", pair("x", word(19, 1) + integers(1)))
    with pytest.raises(BadInputError, match=r"row x\[\[1\]\]: a list is expected"):
        list(rdata.records(path, "x", depth=2))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "x.RData"
    attributes = pair("names", texts(b"a", b"b")) + NULL
    whole = compress(
        HEADER_3 + pair("x", word(19 | HAS_ATTRIBUTES, 2) + integers(1) + doubles(2) + attributes) + NULL
    )
    # Uncompressed, the last word only says that nothing follows.
    last = len(whole) - 4 if compress is bytes else len(whole)
    for end in range(last):
        path.write_bytes(whole[:end])
        with pytest.raises(BadInputError):
            list(rdata.records(path, "x", depth=1))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.RData"
    whole = bytearray(gzip.compress(HEADER_3 + pair("x", doubles(1, 2, 3)) + NULL))
    whole[-6] ^= 255
    path.write_bytes(whole)
    with pytest.raises(BadInputError, match="cannot be decompressed"):
        value(path)
