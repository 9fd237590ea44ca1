import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import delimited
from etl.formats.delimited import TextTable

READ = {"dataset_id": "toy", "separator": ",", "missing": r"^NA$"}


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(folder: Path, content: str | bytes, *columns: str, **options: object) -> pl.DataFrame:
    path = write(folder, content)
    return delimited.read(path, columns, **READ | options).rows  # type: ignore[arg-type]


def table(**columns: list[object]) -> TextTable:
    rows = pl.DataFrame(columns).with_row_index("row", offset=2)
    return TextTable(rows, "toy", Path("table.csv"))


def test_cells_are_text_and_rows_are_counted_from_the_header(tmp_path: Path) -> None:
    rows = read(tmp_path, "a,b,c\n1,x,\n 2 ,NA,z\n", "c", "b", "a")
    assert rows.columns == ["row", "c", "b", "a"]
    assert rows.rows() == [(2, "", "x", "1"), (3, "z", None, " 2 ")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_micro_sign_survives_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, "unit,b\nµM,1\n".encode(encoding), "unit")["unit"].to_list() == ["µM"]


@pytest.mark.parametrize("is_quoted", [False, True])
def test_lines_may_end_in_carriage_return_and_line_feed(tmp_path: Path, is_quoted: bool) -> None:
    quote = '"' if is_quoted else ""
    content = f"a,b\r\n{quote}1{quote},2\r\n3,\r\n"
    assert read(tmp_path, content, "a", "b", is_quoted=is_quoted).rows() == [(2, "1", "2"), (3, "3", "")]


def test_a_gzipped_table_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,2\n", "table.csv.gz")
    assert delimited.read(path, ("b",), **READ).rows["b"].to_list() == ["2"]


def test_a_quoted_cell_holds_separators_and_line_ends(tmp_path: Path) -> None:
    rows = read(tmp_path, 'a,b\n"1,\n2",x\n"say ""hi""",y\n', "a", "b", is_quoted=True)
    assert rows.rows() == [(2, "1,\n2", "x"), (3, 'say "hi"', "y")]


def test_quotes_are_text_where_cells_are_not_quoted(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\n5"-deoxy,"x\n', "a", "b").rows() == [(2, '5"-deoxy', '"x')]


def test_names_are_made_plain_on_request(tmp_path: Path) -> None:
    rows = read(tmp_path, " Dose Unit,Cell-ID\nuM,x\n", "cell_id", "dose_unit", has_plain_names=True)
    assert rows.rows() == [(2, "x", "uM")]


def test_a_column_that_is_not_read_may_be_repeated(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b,b\n1,2,3\n", "a").rows() == [(2, "1")]


@pytest.mark.parametrize("is_quoted", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "toy, file table.csv: the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n1,2\n3", "row 3: the last line is not ended: the file is truncated"),
        ("a,c\n1,2\n", "column b: the column is missing"),
        ("a,b,b\n1,2,3\n", "column b: the column is repeated"),
        ("a,b\n1,2\n3\n", "row 3: 1 fields where the header has 2"),
        ("a,b\n1,2\n3,4,5\n6\n", "row 3: 3 fields where the header has 2"),
        ("a,b\n1,2\n\n3,4\n", "row 3: "),
    ],
)
def test_a_broken_table_is_refused_by_place(
    tmp_path: Path, content: str, message: str, is_quoted: bool
) -> None:
    content = content.replace("1", '"1"') if is_quoted else content
    with pytest.raises(BadInputError) as error:
        read(tmp_path, content, "a", "b", is_quoted=is_quoted)
    assert message in str(error.value)


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not readable as a table"):
        read(tmp_path, 'a,b\n1,"2\n', "a", is_quoted=True)


CUT = gzip.compress(b"a,b\n1,2\n" * 50, mtime=0)[:-12]


@pytest.mark.parametrize("data", [CUT, b"a,b\n1,2\n"], ids=["cut", "plain text"])
def test_a_broken_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"table\.csv\.gz: cannot be decompressed"):
        delimited.read(path, ("a",), **READ)


CELLS = st.text(st.characters(exclude_characters=',"\r\n\x00', exclude_categories=["Cs"]), max_size=5)


@given(
    rows=st.lists(
        st.tuples(CELLS.map("x".__add__), CELLS.filter(lambda text: text != "NA")), min_size=1, max_size=6
    )
)
def test_both_ways_of_reading_give_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    expected = [(number, *row) for number, row in enumerate(rows, start=2)]
    plain = "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows)
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    for content, is_quoted in ((plain, False), (plain, True), (quoted.getvalue(), True)):
        assert read(folder, content, "a", "b", is_quoted=is_quoted, missing="^NA$").rows() == expected


ANY_CELLS = st.text(st.sampled_from('ab ,"\n\r\tµ'), max_size=6)


@given(
    rows=st.lists(st.tuples(ANY_CELLS, ANY_CELLS, ANY_CELLS), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_quoted_cells_hold_anything(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], quoting: int, line_end: str
) -> None:
    if quoting == csv.QUOTE_MINIMAL:
        # The writer leaves a carriage return without quotes, which then ends a line.
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    written = io.StringIO()
    csv.writer(written, quoting=quoting, lineterminator=line_end).writerows([("a", "b", "c"), *rows])  # type: ignore[arg-type]
    expected = [(number, *row) for number, row in enumerate(rows, start=2)]
    found = read(tmp_path_factory.mktemp("table"), written.getvalue(), "a", "b", "c", is_quoted=True)
    assert found.rows() == expected


@given(text=st.text(st.sampled_from('a,"\n\r '), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_polars_reads_what_the_standard_reads(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Whatever stands in a file, reading it row by row gives the same cells, or the same complaint."""
    folder, found = tmp_path_factory.mktemp("table"), []
    for is_fast in (True, False):
        with monkeypatch.context() as patch:
            if not is_fast:
                patch.setattr(delimited, "_regular_shape", lambda *_: None)
            try:
                found.append(read(folder, f'x,y\n{text}"b"\n', "x", "y", is_quoted=True).rows())
            except BadInputError as fault:
                found.append(str(fault))
    assert found[0] == found[1]


@pytest.mark.parametrize("start", ["x^", "x\x01", "BZh9", "(µ/ý"])
def test_text_that_starts_like_a_compressed_stream_is_text(tmp_path: Path, start: str) -> None:
    assert read(tmp_path, f"a,b\n{start}1,2\n", "a", "b").rows() == [(2, f"{start}1", "2")]


def test_a_frame_of_text_is_a_table_named_by_its_ids() -> None:
    frame = pl.DataFrame({"id": ["w1", "w2"], "n": ["7", "x"], "other": ["", ""]})
    text = delimited.text_table(
        frame, ("n",), dataset_id="toy", path=Path("m.gct"), missing=r"^-666$", label="id"
    )
    assert text.rows.columns == ["id", "n"]
    with pytest.raises(BadInputError, match=r"toy, file m\.gct, row w2, column n: not a number: 'x'"):
        text.with_numbers("n")


def test_numbers_keep_what_is_missing() -> None:
    numbers = table(n=["1e-3", None, "-2"], m=["inf", "0", None]).with_numbers("m", may_be_infinite=True)
    assert numbers.with_numbers("n").rows.rows() == [(2, 1e-3, float("inf")), (3, None, 0.0), (4, -2.0, None)]


@pytest.mark.parametrize("text", ["", "high", "nan", "inf", "1,5"])
def test_a_text_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=rf"row 3, column n: not a number: '{text}' \(1 such\)"):
        table(n=["1", text]).with_numbers("n")


def test_whole_numbers_may_be_written_with_a_decimal_point() -> None:
    assert table(n=["9", "9.00", None]).with_whole_numbers("n").rows["n"].to_list() == [9, 9, None]


@pytest.mark.parametrize("text", ["", "8.5", "1e3", "nine"])
def test_a_text_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=f"row 3, column n: not a whole number: '{text}'"):
        table(n=["1", text]).with_whole_numbers("n")


def test_a_rule_names_its_first_offender_and_counts_them() -> None:
    numbers = table(n=["1", "-1", "-2"]).with_numbers("n")
    with pytest.raises(BadInputError, match=r"row 3, column n: a negative dose: -1\.0 \(2 such\)"):
        numbers.require(pl.col("n") >= 0, "n", "a negative dose")


def test_what_is_missing_does_not_keep_a_rule() -> None:
    numbers = table(n=["1", None]).with_numbers("n")
    with pytest.raises(BadInputError, match=r"row 3, column n: a negative dose \(1 such\)"):
        numbers.require(numbers.rows["n"] >= 0, "n", "a negative dose")


@pytest.mark.parametrize("value", [None, ""])
def test_a_value_that_must_be_there_is_missed(value: str | None) -> None:
    with pytest.raises(BadInputError, match="row 3, column n: a missing value"):
        table(n=["1", value]).require_present("n")


def test_a_repeated_key_is_named_with_all_its_rows() -> None:
    rows = table(a=["1", "2", "1", "2", "1"], b=["x", "y", "x", "z", "x"])
    with pytest.raises(BadInputError, match=r"row 2, 4, 6: more than once: a 1, b x \(3 such rows\)"):
        rows.require_unique("a", "b")


def test_keys_that_differ_in_one_column_are_unique() -> None:
    table(a=["1", "1"], b=["x", "y"]).require_unique("a", "b")


def test_distinct_rows_are_the_first_of_their_values() -> None:
    rows = table(a=["1", "2", "1"], b=["x", "y", "x"]).distinct("a", "b").rows
    assert rows.rows() == [(2, "1", "x"), (3, "2", "y")]
