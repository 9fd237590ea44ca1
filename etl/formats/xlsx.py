"""Reader of Excel workbooks (``.xlsx``) that streams: a sheet of any length takes the memory of one row.

Here: the sheets of a workbook, their cells as text, and a sheet that is a table below a few lines of notes.
Not here: a sheet that is a matrix (``xlsx_matrix``), what columns mean (the adapters), formulas (their stored
result is read), formats other than dates, and ``.xls`` or ``.xlsb``.

Why not a library: those for Python hold a whole sheet as cells, 70 bytes each, before the first row is there.
A sheet of 20,000 samples × 3,407 genes took 4.8 GB that way (python-calamine 0.9), and published ones have
twice as many.

A workbook is a zip archive of XML (ECMA-376). A cell is text after these rules: a shared or inline string as
it is, without phonetic runs; a number in the shortest form that reads back as the same number (``1``,
``0.1``); a number in a date format as ``2024-09-07 00:00:00``; a boolean as ``TRUE`` or ``FALSE``; an error
as ``#N/A``.
"""

import datetime
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from xml.parsers import expat

import polars as pl

from etl.errors import BadInputError
from etl.formats import delimited
from etl.formats.delimited import TextTable

MAX_PART_BYTES: Final = 2**29
"""Largest part of the archive that is read whole (names of sheets, styles, shared strings)."""

MAX_NOTES: Final = 10
"""Rows among which the header of a table is looked for."""

_CHUNK_BYTES: Final = 2**22
_BUILT_IN_DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
"""Number formats that are dates without being written in the file."""

_NOT_A_DATE_PART: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What may hold the letters of a date without being one: quoted or escaped text, colours, conditions."""

_ESCAPED: Final = re.compile("_x([0-9A-Fa-f]{4})_")
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]+)")
_SHEET_DATA: Final = re.compile(rb"<((?:\w+:)?)sheetData\s*(/?)>")


class SheetRow(NamedTuple):
    """A row of a sheet.

    Attributes:
        number: its number in the sheet, first row = 1.
        cells: texts from column A on, None where a cell is empty or not there; as long as the row is.
    """

    number: int
    cells: list[str | None]


class Workbook:
    """An open workbook; use :func:`opened`.

    Attributes:
        path: the file.
        date_styles: numbers of the cell styles under which a number is a date.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.path = path
        self._archive = archive
        self._members = frozenset(archive.namelist())
        main = self._target_of_type(".", "/officeDocument") or "xl/workbook.xml"
        self._sheets: dict[str, str] = {}
        self._is_1904 = False
        targets = self._relations(main)

        def read(name: str, attributes: dict[str, str]) -> None:
            if name == "sheet":
                relation = next((text for key, text in attributes.items() if key.endswith(":id")), "")
                self._sheets[attributes.get("name", "")] = targets.get(relation, ("", ""))[1]
            elif name == "workbookPr":
                self._is_1904 = attributes.get("date1904", "0") in {"1", "true"}

        self._parse(main, start=read)
        by_type = {kind.rsplit("/", 1)[-1]: member for kind, member in targets.values()}
        self._strings = self._shared_strings(by_type.get("sharedStrings"))
        self.date_styles = self._find_date_styles(by_type.get("styles"))

    @property
    def sheet_names(self) -> list[str]:
        """Names of the sheets, in the order of their tabs."""
        return list(self._sheets)

    def rows(self, sheet: str | None = None) -> Iterator[SheetRow]:
        """Yield the rows of a sheet that hold a cell, in file order.

        Args:
            sheet: its name; the first sheet by default.

        Raises:
            BadInputError: no such sheet, or a sheet that is damaged or cut off.
        """
        previous = 0
        for xml in self.row_xml(sheet):
            for row in self.parse_rows(xml, after=previous):
                previous = row.number
                if row.cells:
                    yield row

    def row_xml(self, sheet: str | None = None) -> Iterator[bytes]:
        """Yield the rows of a sheet as they are written, for a caller with a faster way than ``rows``.

        Every piece ends with a row; rows without cells may precede it.

        Raises:
            BadInputError: as ``rows``.
        """
        member = self._member_of_sheet(sheet)
        with self._reading(member), self._archive.open(member) as stream:
            buffer = stream.read(_CHUNK_BYTES)
            while (start := _SHEET_DATA.search(buffer)) is None:
                chunk = stream.read(_CHUNK_BYTES)
                if not chunk or len(buffer) > MAX_PART_BYTES:
                    raise BadInputError(f"{member} holds no rows: it is no sheet, or cut off", file=self.path)
                buffer += chunk
            prefix, is_empty = start[1], bool(start[2])
            end_of_row, end_of_rows = b"</" + prefix + b"row>", b"</" + prefix + b"sheetData>"
            buffer = buffer[start.end() :]
            while not is_empty:
                end = buffer.find(end_of_rows)
                *pieces, rest = (buffer if end < 0 else buffer[:end]).split(end_of_row)
                for piece in pieces:
                    yield piece + end_of_row
                if end >= 0:
                    # Rows without cells may follow, but no row that is not ended.
                    self.parse_rows(rest, after=0)
                    break
                chunk = stream.read(_CHUNK_BYTES)
                if not chunk:
                    raise BadInputError(f"{member} ends within its rows: it is cut off", file=self.path)
                if len(rest) > MAX_PART_BYTES:
                    raise BadInputError(f"a row of {member} has no end", file=self.path)
                buffer = rest + chunk
            # What follows is read for the checksum of the archive, which stands at the end.
            while stream.read(_CHUNK_BYTES):
                pass

    def parse_rows(self, xml: bytes, *, after: int) -> list[SheetRow]:
        """Return the rows of a piece of ``row_xml``.

        Args:
            xml: the piece.
            after: number of the row before it; a row that does not state its number follows it.

        Raises:
            BadInputError: XML that is not well-formed, or a cell that cannot be read.
        """
        found = _RowCollector(after)
        self._feed(b"<rows>" + xml + b"</rows>", found.start, found.end, found.text)
        rows = []
        for number, cells in found.rows:
            texts: list[str | None] = []
            for position, kind, style, content in cells:
                column = position if position is not None else len(texts)
                if column < len(texts):
                    rule = "cells stand in the order of their columns, and once"
                    raise BadInputError(rule, file=self.path, row=number, column=column_name(column))
                texts += [None] * (column - len(texts))
                texts.append(self._text(kind, style, content, row=number, column=column))
            rows.append(SheetRow(number, texts))
        return rows

    def _text(self, kind: str, style: str, content: str | None, *, row: int, column: int) -> str | None:
        """Return the text of a cell by its type."""
        try:
            if kind in {"inlineStr", "str"}:
                return unescaped(content or "") or None
            if content is None or not content.strip():
                return None
            if kind == "s":
                return self._strings[int(content)] or None
            if kind == "b":
                return "TRUE" if int(content) else "FALSE"
            if kind in {"e", "d"}:
                return content
            if kind == "n":
                is_date = bool(style) and int(style) in self.date_styles
                return self._date_text(float(content)) if is_date else number_text(content)
            rule = f"a cell of an unknown type {kind!r}"
        except (ValueError, IndexError, OverflowError):
            rule = f"a cell of type {kind!r} that cannot be read: {content!r}"
        raise BadInputError(rule, file=self.path, row=row, column=column_name(column))

    def _date_text(self, serial: float) -> str:
        """Return a day number and share of a day as text; day 60 of the 1900 system never existed."""
        is_early = not self._is_1904 and serial < 60
        day = datetime.date(1904, 1, 1) if self._is_1904 else datetime.date(1899, 12, 30 + is_early)
        seconds = datetime.timedelta(seconds=round(serial * 86_400))
        return (datetime.datetime.combine(day, datetime.time()) + seconds).isoformat(sep=" ")

    def _member_of_sheet(self, sheet: str | None) -> str:
        if sheet is None:
            sheet = next(iter(self._sheets), None)
        if sheet is None or sheet not in self._sheets:
            rule = f"no sheet {sheet!r}; there are {', '.join(map(repr, self._sheets)) or 'none'}"
            raise BadInputError(rule, file=self.path)
        member = self._sheets[sheet]
        if member not in self._members:
            raise BadInputError(f"the sheet {sheet!r} is not in the archive", file=self.path)
        return member

    def _target_of_type(self, part: str, kind: str) -> str | None:
        found = (member for name, member in self._relations(part).values() if name.endswith(kind))
        return next(found, None)

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return what a part refers to: type and member of the archive by id; of ``.``, the whole archive."""
        folder, name = posixpath.split(part if part != "." else "")
        member = posixpath.join(folder, "_rels", f"{name}.rels")
        targets: dict[str, tuple[str, str]] = {}
        if member not in self._members:
            return targets

        def read(name: str, attributes: dict[str, str]) -> None:
            if name == "Relationship":
                target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", "")))
                targets[attributes.get("Id", "")] = (attributes.get("Type", ""), target.lstrip("/"))

        self._parse(member, start=read)
        return targets

    def _shared_strings(self, member: str | None) -> list[str]:
        if member is None or member not in self._members:
            return []
        found = _StringCollector()
        self._parse(member, start=found.start, end=found.end, text=found.text)
        return found.strings

    def _find_date_styles(self, member: str | None) -> frozenset[int]:
        """Return the positions of the cell styles whose number format is a date."""
        if member is None or member not in self._members:
            return frozenset()
        custom: dict[str, str] = {}
        styles: list[str] = []
        is_cell_style = False

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal is_cell_style
            if name == "numFmt":
                custom[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif name == "cellXfs":
                is_cell_style = True
            elif name == "xf" and is_cell_style:
                styles.append(attributes.get("numFmtId", "0"))

        def end(name: str) -> None:
            nonlocal is_cell_style
            is_cell_style = is_cell_style and name != "cellXfs"

        self._parse(member, start=start, end=end)
        return frozenset(
            position
            for position, number in enumerate(styles)
            if (_is_date_format(custom[number]) if number in custom else int(number) in _BUILT_IN_DATES)
        )

    def _parse(
        self,
        member: str,
        *,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        """Parse a whole part of the archive; element names come without prefix."""
        if member not in self._members:
            raise BadInputError(f"a workbook holds {member}, but this one does not", file=self.path)
        if self._archive.getinfo(member).file_size > MAX_PART_BYTES:
            raise BadInputError(f"{member} is larger than {MAX_PART_BYTES:,} bytes", file=self.path)
        with self._reading(member):
            content = self._archive.read(member)
        self._feed(content, start, end, text, member=member)

    def _feed(
        self,
        xml: bytes,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None,
        text: Callable[[str], None] | None,
        *,
        member: str = "a row",
    ) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: start(name.rsplit(":", 1)[-1], attributes)
        if end is not None:
            parser.EndElementHandler = lambda name: end(name.rsplit(":", 1)[-1])
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(xml, True)
        except expat.ExpatError as fault:
            raise BadInputError(f"{member} is not well-formed XML: {fault}", file=self.path) from fault

    def _refuse_doctype(self, *_: object) -> None:
        raise BadInputError("a workbook has no document type, which could name other files", file=self.path)

    @contextmanager
    def _reading(self, member: str) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as fault:
            raise BadInputError(f"{member} cannot be unpacked: {fault}", file=self.path) from fault


class _StringCollector:
    """Handlers that collect shared strings: text of ``<t>``, but not of phonetic runs."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self._parts: list[str] = []
        self._is_text = self._is_phonetic = False

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        if name == "si":
            self._parts = []
        elif name == "rPh":
            self._is_phonetic = True
        self._is_text = name == "t" and not self._is_phonetic

    def text(self, data: str) -> None:
        if self._is_text:
            self._parts.append(data)

    def end(self, name: str) -> None:
        self._is_text = False
        if name == "rPh":
            self._is_phonetic = False
        elif name == "si":
            self.strings.append(unescaped("".join(self._parts)))


class _RowCollector:
    """Handlers that collect rows: number and cells (column or None, type, style, content or None)."""

    def __init__(self, after: int) -> None:
        self.rows: list[tuple[int, list[tuple[int | None, str, str, str | None]]]] = []
        self._number = after
        self._cell: dict[str, str] = {}
        self._parts: list[str] | None = None
        self._is_text = self._is_phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            stated = attributes.get("r", "")
            self._number = int(stated) if stated.isdigit() else self._number + 1
            self.rows.append((self._number, []))
        elif name == "c":
            self._cell, self._parts = attributes, None
        elif name == "rPh":
            self._is_phonetic = True
        self._is_text = name in {"v", "t"} and not self._is_phonetic
        if self._is_text and self._parts is None:
            self._parts = []

    def text(self, data: str) -> None:
        if self._is_text and self._parts is not None:
            self._parts.append(data)

    def end(self, name: str) -> None:
        self._is_text = False
        if name == "rPh":
            self._is_phonetic = False
        elif name == "c":
            reference = _REFERENCE.fullmatch(self._cell.get("r", ""))
            position = None if reference is None else column_position(reference[1])
            content = None if self._parts is None else "".join(self._parts)
            kind, style = self._cell.get("t", "n"), self._cell.get("s", "")
            self.rows[-1][1].append((position, kind, style, content))


@contextmanager
def opened(path: Path) -> Iterator[Workbook]:
    """Open a workbook.

    Raises:
        BadInputError: a file that is no zip archive or cut off, or an archive that is no workbook.
        FileNotFoundError: no such file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as fault:
        rule = f"an .xlsx file is a complete zip archive, but this one is not: {fault}"
        raise BadInputError(rule, file=path) from fault
    with archive:
        yield Workbook(archive, path)


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    dataset_id: str,
    header: str,
    missing: str,
    sheet: str | None = None,
    is_by_position: bool = False,
) -> TextTable:
    """Read a sheet that is a table, below notes of one cell each.

    The header is the first row with a cell that ``header`` matches. Names are compared in plain form: lower
    case, blanks and hyphens as underscores. Rows without any text are no rows.

    Args:
        path: the workbook.
        columns: columns that must be there; with ``is_by_position``, names for the columns from A on.
        dataset_id: for messages.
        header: pattern of the plain form of a name that only the header holds.
        missing: pattern of a text that stands for a missing value.
        sheet: its name; the first sheet by default.
        is_by_position: whether the names in the file are not to be trusted.

    Returns:
        The table with all columns that have a name, ``columns`` among them.

    Raises:
        BadInputError: as ``Workbook.rows``, no header among the first ``MAX_NOTES`` rows, a note of several
            cells, a column that is missing or repeated, a row that is longer than the header, or no rows.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    with opened(path) as workbook:
        rows = workbook.rows(sheet)
        names = _read_header(rows, header, table)
        if is_by_position:
            names = _named_by_position(names, columns, table)
        records = []
        for number, cells in rows:
            if any(cell is not None for cell in cells[len(names) :]):
                raise table.error(f"more cells than the header, which has {len(names)}", row=number)
            if any(cell is not None for cell in cells):
                padded = cells[: len(names)] + [None] * (len(names) - len(cells))
                records.append((number, *padded))
    if not records:
        raise table.error("a header and no rows")
    named = [name for name in names if name]
    repeated = next((name for name in named if names.count(name) > 1), None)
    if repeated is not None:
        raise table.error("the column is repeated", column=repeated)
    labels = [name or f"column {position}" for position, name in enumerate(names)]
    schema = {"row": pl.UInt32, **dict.fromkeys(labels, pl.String)}
    frame = pl.DataFrame(records, schema=schema, orient="row")
    wanted = list(dict.fromkeys([*columns, *named]))
    return delimited.text_table(frame, wanted, dataset_id=dataset_id, path=path, missing=missing)


def _read_header(rows: Iterator[SheetRow], header: str, table: TextTable) -> list[str]:
    for n_seen, (number, cells) in enumerate(rows, start=1):
        names = [plain_name(cell or "") for cell in cells]
        if any(re.search(header, name) for name in names) and sum(map(bool, names)) > 1:
            return names
        if n_seen == MAX_NOTES or sum(map(bool, names)) > 1:
            rule = f"no header with a name like {header!r} in or before this row"
            raise table.error(rule, row=number)
    raise table.error(f"no header with a name like {header!r}")


def _named_by_position(names: list[str], columns: Sequence[str], table: TextTable) -> list[str]:
    n_stated = max(position for position, name in enumerate(names, start=1) if name)
    if n_stated != len(columns):
        raise table.error(f"{n_stated} columns where {len(columns)} are expected: {', '.join(columns)}")
    return list(columns)


def unescaped(text: str) -> str:
    r"""Return a text with the characters that XML does not allow, which a workbook writes as their number.

    >>> unescaped("one_x000D_two")
    'one\rtwo'
    """
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def plain_name(name: str) -> str:
    """Return a name in lower case with blanks and hyphens as underscores.

    >>> plain_name(" Sample unique-ID ")
    'sample_unique_id'
    """
    return "_".join(name.lower().replace("-", " ").split())


def column_position(letters: str) -> int:
    """Return the position of a column from its letters, A = 0.

    >>> [column_position(letters) for letters in ("A", "Z", "AA", "XFD")]
    [0, 25, 26, 16383]
    """
    position = 0
    for letter in letters:
        position = 26 * position + ord(letter) - ord("A") + 1
    return position - 1


def column_name(position: int) -> str:
    """Return the letters of a column from its position; the reverse of ``column_position``.

    >>> [column_name(position) for position in (0, 25, 26, 16383)]
    ['A', 'Z', 'AA', 'XFD']
    """
    letters = ""
    position += 1
    while position:
        position, letter = divmod(position - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def number_text(number: str) -> str:
    """Return a number as the shortest text that reads back as the same number; whole ones without point.

    >>> [number_text(number) for number in ("12", "12.0", "0.10000000000000001", "1E-3")]
    ['12', '12', '0.1', '0.001']

    Raises:
        ValueError: a text that is no number.
    """
    if number.isascii() and number.isdigit():
        return str(int(number))
    value = float(number)
    # Beyond 2**53 the digits of a whole number would be invented.
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)


def _is_date_format(code: str) -> bool:
    # Only the first section, for positive numbers, decides.
    letters = _NOT_A_DATE_PART.sub("", code.split(";", 1)[0]).lower()
    return letters != "general" and any(letter in letters for letter in "dmyhs")
