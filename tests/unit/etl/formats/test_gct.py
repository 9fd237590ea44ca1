import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import gct

GCT_13 = """#1.3
2\t3\t1\t2
id\tsymbol\ts1\ts2\ts3
dose\tna\t10 µM\t-666\tNaN
cell\tna\tA375\tA375\tna
200814_at\tPSME1\t1.5\t-2e-1\tNaN
222103_at\tATF1\t4\tna\t.5
"""

GCT_12 = "#1.2\n2\t2\nName\tDescription\ts1\ts2\ng1\tfirst\t1\t2\ng2\tna\t3\t4\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "plate.gct"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def swap(old: str, new: str) -> str:
    assert GCT_13.count(old) == 1, old
    return GCT_13.replace(old, new)


def test_reads_version_1_3_as_samples_by_genes(write):
    matrix = gct.read(write(GCT_13))
    assert matrix.column_ids == ["s1", "s2", "s3"]
    assert matrix.row_ids == ["200814_at", "222103_at"]
    expected = np.array([[1.5, 4], [-0.2, np.nan], [np.nan, 0.5]], dtype=np.float32)
    np.testing.assert_array_equal(matrix.values, expected)
    assert matrix.values.dtype == np.float32
    assert matrix.values.flags.c_contiguous
    assert matrix.row_metadata.to_dict(as_series=False) == {"id": matrix.row_ids, "symbol": ["PSME1", "ATF1"]}


def test_metadata_is_verbatim_text(write):
    metadata = gct.read(write(GCT_13)).column_metadata
    assert metadata.schema == {"id": pl.String, "dose": pl.String, "cell": pl.String}
    assert metadata["dose"].to_list() == ["10 µM", "-666", "NaN"]
    assert metadata["cell"].to_list() == ["A375", "A375", "na"]


def test_reads_version_1_2(write):
    matrix = gct.read(write(GCT_12))
    np.testing.assert_array_equal(matrix.values, np.array([[1, 3], [2, 4]], np.float32))
    assert matrix.row_metadata.to_dict(as_series=False) == {
        "id": ["g1", "g2"],
        "Description": ["first", "na"],
    }
    assert matrix.column_metadata.to_dict(as_series=False) == {"id": ["s1", "s2"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_encodings_and_line_ends_give_the_same(write, encoding, line_end):
    matrix = gct.read(write(GCT_13.replace("\n", line_end), encoding))
    assert matrix.column_metadata["dose"][0] == "10 µM"
    assert matrix.column_metadata["cell"].to_list() == ["A375", "A375", "na"]


def test_latin_1_control_characters_do_not_split_lines(write):
    matrix = gct.read(write(swap("PSME1", "a\x85b\x0bµ"), "latin-1"))
    assert matrix.row_metadata["symbol"][0] == "a\x85b\x0bµ"


def test_blank_lines_at_the_end_are_tolerated(write):
    assert gct.read(write(GCT_13 + "\n\n")).values.shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "row 1: a GCT file starts with"),
        ("id,s1\n", "row 1: a GCT file starts with"),
        (swap("#1.3", "#1.1"), "row 1: GCT version"),
        ("#1.3\n", "row 2: line 2 of a GCT 1.3 holds 4 counts"),
        ("#1.3\n2\t3\t1\t2\n", "row 3: line 3 names the columns"),
        (swap("2\t3\t1\t2", "2\t3"), "row 2: line 2 of a GCT 1.3 holds 4 counts, not '2 3'"),
        (swap("2\t3\t1\t2", "2\t3\t1\t-2"), "row 2: line 2 of a GCT 1.3 holds 4 counts"),
        (swap("2\t3\t1\t2", "3\t3\t1\t2"), "row 2: .*declares 3 rows and 2 column metadata.*8 lines.*has 7"),
        (swap("2\t3\t1\t2", "2\t3\t1\t3"), "row 2: .*declares 2 rows and 3 column metadata.*8 lines.*has 7"),
        (swap("2\t3\t1\t2", "2\t4\t1\t2"), "row 3: .*declares 4 columns and 1 row metadata.*6 cells.*has 5"),
        (swap("2\t3\t1\t2", "2\t3\t0\t2"), "row 3: .*declares 3 columns and 0 row metadata.*4 cells.*has 5"),
        (swap("2\t3\t1\t2", "1\t3\t1\t3"), "row 6: .*declares 3 column metadata.*'PSME1'"),
        (swap("2\t3\t1\t2", "3\t3\t1\t1"), "row 5, column s1: a value is a number, NaN or na, not 'A375'"),
        (swap("2\t3\t1\t2", "0\t3\t1\t4"), "row 2: a matrix has rows and columns"),
        (swap("2\t3\t1\t2", "2\t0\t4\t2"), "row 2: a matrix has rows and columns"),
        (swap("\t4\tna\t.5", "\t4\tna"), "row 7: every line has 5 cells.*has 4"),
        (swap("A375\tA375\tna", "A375\tA375\tna\t"), "row 5: every line has 5 cells.*has 6"),
        (swap("\t4\tna", "\tfour\tna"), "row 7, column s1: a value is a number, NaN or na, not 'four'"),
        (swap("\t4\tna", "\t1_000\tna"), "row 7, column s1: .*'1_000'"),
        (swap("\t4\tna", "\t٣\tna"), "row 7, column s1: .*'٣'"),
        (swap("\t4\tna", "\t\tna"), "row 7, column s1: .*''"),
        (swap("1.5\t-2e-1\tNaN", "1.5\t--2\t3"), "row 6, column s2: .*'--2'"),
        (swap("1.5\t-2e-1\tNaN", "1.5\tinf\t3"), "row 6, column s2: .*'inf'"),
        (swap("1.5\t-2e-1\tNaN", "1.5\t1e39\t3"), "row 6, column s2: '1e39' is beyond"),
        (swap("1.5\t-2e-1\tNaN", "1.5\t1e999\t3"), "row 6, column s2: '1e999' is beyond"),
        (swap("s1\ts2\ts3", "s1\ts2\ts1"), "column ids are unique, but 's1' is repeated"),
        (swap("s1\ts2\ts3", "s1\t\ts3"), "every column has an id"),
        (swap("222103_at", "200814_at"), "row ids are unique, but '200814_at'"),
        (swap("cell\tna", "dose\tna"), "column dose: column metadata fields have a name each"),
        (swap("id\tsymbol", "id\tid"), "column id: row metadata fields have a name each"),
        (GCT_13.removesuffix("\n"), "row 7: the last line is not ended: the file is truncated"),
    ],
)
def test_broken_files_are_refused_with_place_and_rule(write, text, rule):
    with pytest.raises(BadInputError, match=f"(?s)^file plate.gct, {rule}|^file plate.gct: {rule}"):
        gct.read(write(text))


def test_missing_file_is_not_a_format_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        gct.read(tmp_path / "none.gct")


def render(values: np.ndarray, texts: list[str]) -> bytes:
    """A GCT 1.3 of samples x genes, one row and one column metadata field."""
    n_columns, n_rows = values.shape
    lines = ["#1.3", f"{n_rows}\t{n_columns}\t1\t1"]
    lines.append("\t".join(["id", "title", *(f"s{i}" for i in range(n_columns))]))
    lines.append("\t".join(["dose", "na", *texts[:n_columns]]))
    for row in range(n_rows):
        numbers = ["NaN" if np.isnan(value) else repr(float(value)) for value in values[:, row]]
        lines.append("\t".join([f"g{row}", texts[row % len(texts)], *numbers]))
    return ("\n".join(lines) + "\n").encode()


@st.composite
def matrices(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    number = st.floats(width=32, allow_infinity=False)
    values = draw(st.lists(number, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    text = st.text(st.characters(blacklist_characters="\t\r\n", blacklist_categories=("Cs",)), max_size=4)
    texts = draw(st.lists(text, min_size=5, max_size=5))
    return np.array(values, np.float32).reshape(shape), texts


def read_bytes(raw: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gct"
        path.write_bytes(raw)
        return gct.read(path)


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_any_matrix_survives_a_round_trip(case):
    values, texts = case
    matrix = read_bytes(render(values, texts))
    np.testing.assert_array_equal(matrix.values, values)
    assert matrix.column_metadata["dose"].to_list() == texts[: len(values)]
    assert matrix.row_metadata["title"].to_list() == [texts[i % 5] for i in range(values.shape[1])]


@given(matrices(), st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_a_truncated_file_gives_the_same_data_or_an_error(case, share):
    raw = render(*case)
    try:
        matrix = read_bytes(raw[: int(share * len(raw))])
    except BadInputError:
        return
    np.testing.assert_array_equal(matrix.values, case[0])


@pytest.mark.realdata
def test_reads_a_whole_l1000_plate(realdata):
    path = realdata / "raw/l1000_ljp005/LJP005_A375_24H_X1_B19_QNORM_n377x978.gct"
    matrix = gct.read(path)
    assert matrix.values.shape == (377, 978)
    assert np.isfinite(matrix.values).all()
    assert matrix.row_ids[0] == "200814_at"
    assert matrix.column_ids[0] == "LJP005_A375_24H_X1_B19:A03"
    assert matrix.row_metadata.width == 1 + 11
    assert matrix.column_metadata.width == 1 + 35
    assert (matrix.column_metadata["pert_type"] == "ctl_vehicle").sum() == 26
    np.testing.assert_allclose(matrix.values[0, :3], [11.3819, 10.445, 6.3682], atol=1e-4)


@pytest.mark.realdata
def test_refuses_a_plate_that_declares_metadata_it_lacks(realdata):
    path = realdata / "traps/declares_15_metadata_rows_carries_1.gct"
    with pytest.raises(
        BadInputError, match=r"^file declares_15_.*row 2: .*15 column metadata.*68 lines.*has 54"
    ):
        gct.read(path)
