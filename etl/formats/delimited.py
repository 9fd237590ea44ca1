"""Reader of delimited text tables (csv, tsv; plain or gzipped), and the checks that every such table needs.

Here: cells as text under their column names, what stands for a missing value, and faults named by row and
column as a reader of the file would. Not here: which columns a file has and what they mean (the adapters),
and formats with a structure of their own (``gct``, ``mex``).
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from etl.errors import BadInputError

QUOTE, LINE_END, CARRIAGE_RETURN = ord('"'), ord("\n"), ord("\r")


@dataclass(frozen=True, slots=True)
class TextTable:
    """Rows of text that know where they come from, so that a check can name the place of a fault.

    A check raises ``BadInputError`` for the first row that fails it and says how many do.

    Args:
        rows: the cells; String, null where the value is missing, until ``with_numbers``.
        dataset_id: for messages.
        path: for messages.
        label: column that names a row in messages: ``row``, its number in the file, header = 1 (a quoted cell
            may span lines, so records are counted), or an id where a table has no rows in a file.
    """

    rows: pl.DataFrame
    dataset_id: str
    path: Path
    label: str = "row"

    def error(self, rule: str, *, row: int | str | None = None, column: str | None = None) -> BadInputError:
        """Return the error that this file breaks a rule."""
        return BadInputError(rule, dataset_id=self.dataset_id, file=self.path, row=row, column=column)

    def with_rows(self, rows: pl.DataFrame) -> "TextTable":
        """Return other rows of the same origin; they keep the label column."""
        return replace(self, rows=rows)

    def distinct(self, *columns: str) -> "TextTable":
        """Return the first row of every combination of values, in file order."""
        return self.with_rows(self.rows.unique(list(columns), keep="first", maintain_order=True))

    def with_numbers(self, *columns: str, may_be_infinite: bool = False) -> "TextTable":
        """Return the table with text columns as Float64; null stays null.

        Raises:
            BadInputError: a text that is no number, or that is infinite where this means nothing.
        """
        numbers = self.rows.select(pl.col(columns).cast(pl.Float64, strict=False).fill_nan(None))
        for column in columns:
            value = numbers[column]
            is_number = value.is_not_null() if may_be_infinite else value.is_finite()
            self.require(self.rows[column].is_null() | is_number, column, "not a number")
        return self.with_rows(self.rows.with_columns(numbers))

    def with_whole_numbers(self, *columns: str) -> "TextTable":
        """Return the table with text columns as Int64 (``9`` or ``9.0``); null stays null.

        Raises:
            BadInputError: a text that is no whole number.
        """
        numbers = self.rows.select(pl.col(columns).str.replace(r"\.0+$", "").cast(pl.Int64, strict=False))
        for column in columns:
            is_right = self.rows[column].is_null() | numbers[column].is_not_null()
            self.require(is_right, column, "not a whole number")
        return self.with_rows(self.rows.with_columns(numbers))

    def require(self, is_right: pl.Expr | pl.Series, column: str, rule: str) -> None:
        """Check every row; null is not right.

        Args:
            is_right: what holds of a right row.
            column: column to blame; its value is part of the message.
            rule: what a wrong row has instead, such as ``a negative dose``.

        Raises:
            BadInputError: a row that is not right.
        """
        wrong = self.rows.filter(~is_right.fill_null(value=False))
        if wrong.height:
            value = wrong[column][0]
            shown = "" if value is None else f": {value!r}"
            raise self.error(f"{rule}{shown} ({wrong.height} such)", row=wrong[self.label][0], column=column)

    def require_present(self, *columns: str) -> None:
        """Check that text columns hold something in every row.

        Raises:
            BadInputError: a value that is missing or empty.
        """
        for column in columns:
            self.require(pl.col(column) != "", column, "a missing value")

    def require_listed(self, ids: Sequence[str], column: str, *, what: str) -> None:
        """Check that every id of another file stands in a column.

        Args:
            ids: such as the samples of a matrix.
            column: where they must stand.
            what: they, in the plural, and where they come from, such as ``sample(s) of the matrix``.

        Raises:
            BadInputError: an id that does not.
        """
        found = pl.Series(ids, dtype=pl.String)
        unlisted = found.filter(~found.is_in(self.rows[column].implode()))
        if unlisted.len():
            raise self.error(
                f"{unlisted.len()} {what} are not listed, the first is {unlisted[0]}", column=column
            )

    def require_unique(self, *key: str) -> None:
        """Check that no two rows have the same key.

        Raises:
            BadInputError: a key that is repeated; all its rows are named.
        """
        is_repeated = self.rows.select(key).is_duplicated()
        if not is_repeated.any():
            return
        repeated = self.rows.filter(is_repeated)
        first = repeated.row(0, named=True)
        same = repeated.filter(*(pl.col(column).eq_missing(pl.lit(first[column])) for column in key))
        raise self.error(
            f"more than once: {', '.join(f'{column} {first[column]}' for column in key)} "
            f"({repeated.height} such rows)",
            row=", ".join(str(row) for row in same[self.label].unique(maintain_order=True)),
            column=key[0] if len(key) == 1 else None,
        )


def read(
    path: Path,
    columns: Sequence[str],
    *,
    dataset_id: str,
    separator: str,
    missing: str,
    is_quoted: bool = False,
    has_plain_names: bool = False,
) -> TextTable:
    """Read columns of a delimited file with a header.

    The bytes are UTF-8, with or without byte order mark, or, where they are not, Latin-1, in which older
    files write ``µM``. Polars reads the cells: 1.3 million rows of eleven columns in about a second. Only a
    file whose quotes leave a doubt is read row by row in Python.

    Args:
        path: the file; gzip where its name ends in ``.gz``.
        columns: columns to read.
        dataset_id: for messages.
        separator: what stands between cells.
        missing: pattern of a text that stands for a missing value.
        is_quoted: whether a cell may stand in double quotes; else these are text.
        has_plain_names: whether ``columns`` are the names in lower case, blanks and hyphens as underscores.

    Raises:
        BadInputError: a broken archive, an empty file, a header without rows, a last line that is not ended,
            a column that is missing or repeated, a row with more or fewer cells than the header.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    data = _utf8(read_whole(table))
    split = _split_quoted if is_quoted and b'"' in data else _split_plain
    header, cells = split(data, separator, table)
    if has_plain_names:
        header = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in header]
    for column in columns:
        if header.count(column) > 1:
            raise table.error("the column is repeated", column=column)
    wanted = [pl.nth(header.index(column)).alias(column) for column in columns if column in header]
    rows = cells.select(wanted).with_row_index("row", offset=2)
    return text_table(rows, columns, dataset_id=dataset_id, path=path, missing=missing)


def read_reference(
    path: Path, columns: Sequence[str], *, separator: str, quote_char: str | None = None
) -> pl.DataFrame:
    """Read columns of an identifier reference as text: a large table of a well-kept source, by Polars alone.

    Raises:
        BadInputError: the file cannot be read as a table, or lacks a column.
    """
    try:
        table = pl.read_csv(path, separator=separator, quote_char=quote_char, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as fault:
        reason = " ".join(str(fault).split())
        raise BadInputError(f"cannot be read: {reason}", file=path) from fault
    for column in columns:
        if column not in table.columns:
            raise BadInputError("the column is missing", file=path, column=column)
    return table.select(columns)


def text_table(
    rows: pl.DataFrame,
    columns: Sequence[str],
    *,
    dataset_id: str,
    path: Path,
    missing: str,
    label: str = "row",
) -> TextTable:
    """Return columns of a frame of text as a table, with what stands for a missing value as null.

    Args:
        rows: the frame; columns other than text are kept as they are.
        columns: columns to take.
        dataset_id: for messages.
        path: where the rows stand.
        missing: pattern of a text that stands for a missing value.
        label: column that names a row in messages.

    Raises:
        BadInputError: a column is missing.
    """
    for column in columns:
        if column not in rows.columns:
            raise BadInputError("the column is missing", dataset_id=dataset_id, file=path, column=column)
    kept = rows.select(list(dict.fromkeys([label, *columns])))
    text = pl.col(pl.String)
    present = kept.with_columns(pl.when(~text.str.contains(missing)).then(text).name.keep())
    return TextTable(present, dataset_id, path, label)


def read_whole(table: TextTable) -> bytes:
    """Return the bytes of a text file; unpacked where its name ends in ``.gz``.

    Raises:
        BadInputError: a broken archive, an empty file, or a last line that is not ended.
    """
    raw = table.path.read_bytes()
    if table.path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as fault:
            raise table.error(f"cannot be decompressed: {fault}") from fault
    if not raw.strip():
        raise table.error("the file is empty")
    if not raw.endswith(b"\n"):
        raise table.error("the last line is not ended: the file is truncated", row=raw.count(b"\n") + 1)
    return raw


def _utf8(raw: bytes) -> bytes:
    """Return bytes in UTF-8 without byte order mark."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode("latin-1").encode()
    return raw.removeprefix(codecs.BOM_UTF8)


def _split_plain(data: bytes, separator: str, table: TextTable) -> tuple[list[str], pl.DataFrame]:
    """Return header and cells of a file in which a line is a row and a separator always separates."""
    first, _, body = data.partition(b"\n")
    header = first.decode().removesuffix("\r").split(separator)
    if not body.strip():
        raise table.error("a header and no rows")
    # Polars fills a short line with nulls, so the separators are counted before it reads.
    ragged = (
        pl.scan_lines(b"\n" + body, row_index_name="row", row_index_offset=1)
        .select("row", n_cells=pl.col("line").str.count_matches(separator, literal=True) + 1)
        .filter(pl.col("row") > 1, pl.col("n_cells") != len(header))
        .collect()
        .sort("row")
    )
    if ragged.height:
        raise _ragged(ragged["n_cells"][0], header, ragged["row"][0], table)
    return header, _cells(body, separator, quote=None)


def _split_quoted(data: bytes, separator: str, table: TextTable) -> tuple[list[str], pl.DataFrame]:
    """Return header and cells of a file in which a quoted cell may hold separators and line ends."""
    shape = _regular_shape(data, separator)
    if shape is not None:
        n_rows, end_of_header = shape
        header = next(csv.reader(io.StringIO(data[:end_of_header].decode(), newline=""), delimiter=separator))
        cells = _cells(data[end_of_header:], separator, quote='"')
        if cells.shape == (n_rows, len(header)):
            return header, cells
    # What is not regular is read as the standard says, slower, and refused by row.
    lines = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator, strict=True)
    try:
        header, *records = lines
    except csv.Error as fault:
        raise table.error(f"not readable as a table: {fault}", row=lines.line_num) from fault
    if not records:
        raise table.error("a header and no rows")
    for row, record in enumerate(records, start=2):
        if len(record) != len(header):
            raise _ragged(len(record), header, row, table)
    names = [f"column_{position}" for position in range(len(header))]
    return header, pl.DataFrame(records, schema=dict.fromkeys(names, pl.String), orient="row")


def _regular_shape(data: bytes, separator: str) -> tuple[int, int] | None:
    """Return the rows below the header, and where it ends, of a file in which nothing is in doubt.

    That is: every quote begins or ends a cell, or is one of two in a quoted cell; all records have as many
    cells, two or more; there are rows. None for any other file.
    """
    n_rows, end_of_header = _walk(np.frombuffer(data, np.uint8), ord(separator))
    return (n_rows, end_of_header) if n_rows > 0 else None


@njit(cache=True, nogil=True)
def _walk(text: NDArray[np.uint8], separator: int) -> tuple[int, int]:
    """Return rows and end of the header as ``_regular_shape``, no rows for a file in doubt."""
    begin, plain, quoted, closed = 0, 1, 2, 3
    state, n_cells, n_first, n_records, end_of_header = begin, 0, 0, 0, 0
    for i in range(len(text)):
        byte = text[i]
        if state == quoted:
            if byte == QUOTE:
                state = closed
        elif byte == separator:
            n_cells += 1
            state = begin
        elif byte == LINE_END:
            n_cells += 1
            if n_records == 0:
                n_first, end_of_header = n_cells, i + 1
            if n_cells != n_first or n_cells < 2:
                return 0, 0
            n_records += 1
            n_cells, state = 0, begin
        elif byte == CARRIAGE_RETURN:
            if i + 1 == len(text) or text[i + 1] != LINE_END:
                return 0, 0
        elif byte == QUOTE:
            # The first of a cell, or the second of two in one.
            if state == plain:
                return 0, 0
            state = quoted
        elif state == closed:
            return 0, 0
        else:
            state = plain
    return n_records - 1 if state == begin and n_cells == 0 else 0, end_of_header


def _cells(body: bytes, separator: str, *, quote: str | None) -> pl.DataFrame:
    """Return the cells of rows as text."""
    # Polars inflates what starts like a compressed stream, and text may ("x^"); an empty line before it
    # prevents that.
    return pl.read_csv(
        b"\n" + body,
        skip_lines=1,
        separator=separator,
        quote_char=quote,
        has_header=False,
        infer_schema=False,
        empty_string_is_null=False,
    )


def _ragged(n_cells: int, header: list[str], row: int, table: TextTable) -> BadInputError:
    return table.error(f"{n_cells} fields where the header has {len(header)}", row=row)
