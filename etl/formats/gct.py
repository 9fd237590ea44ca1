"""Reader of GCT 1.2 and 1.3, the Broad's tab-separated matrix text.

Here: the format, its declared counts and its numbers. Not here: what an identifier or a sentinel such as
``-666`` or ``na`` means (metadata is left verbatim for the adapter), nor the binary twin (``gctx``).

Layout of 1.3, with ``R`` rows (genes), ``C`` columns (samples), ``r`` row and ``c`` column metadata fields:

    line 1            #1.3
    line 2            R  C  r  c
    line 3            id, r row metadata names, C column ids
    next c lines      name of a column metadata field, r fillers ('na'), C texts
    next R lines      row id, r texts, C numbers

1.2 is the same with ``R  C`` on line 2, exactly one row metadata field (``Description``) and no column
metadata. A missing number is written ``NaN`` or ``na``. Files are UTF-8 or, from older tools, Latin-1.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError
from etl.formats.matrix import AnnotatedMatrix, require_identifiers

# A row whose numbers consist of these characters alone goes straight to float(): that keeps out everything
# else float() takes for a number (inf, 1_000, other scripts' digits).
_PLAIN_NUMBERS = re.compile(r"[0-9eE+\-.\t]*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MISSING_NUMBERS = frozenset({"nan", "na"})

# What tools write under the row metadata columns of a column metadata line. Anything else there means that
# line 2 counts the metadata wrongly and genes would be read as metadata or the reverse.
_FILLERS = frozenset({"na", "nan", "n/a", "-666", ""})


@dataclass(frozen=True)
class _Layout:
    """The counts a GCT declares: rows, columns and metadata fields of each."""

    rows: int
    columns: int
    row_fields: int
    column_fields: int

    @property
    def width(self) -> int:
        """Cells per line, from line 3 on."""
        return 1 + self.row_fields + self.columns

    @property
    def lines(self) -> int:
        """Lines of the whole file."""
        return 3 + self.column_fields + self.rows


def read(path: Path) -> AnnotatedMatrix:
    """Read a whole GCT file.

    Args:
        path: a GCT 1.2 or 1.3 file, not compressed.

    Returns:
        The matrix with ``values`` float32 (columns x rows, i.e. samples x genes: the transpose of the
        text), ``NaN`` where the file says ``NaN`` or ``na``. Metadata texts are verbatim; the row metadata
        of 1.2 is the one field ``Description``.

    Raises:
        BadInputError: the version or a declared count is wrong, a line is ragged, a number is none, an id is
            missing or repeated, the matrix is empty, or the file ends in the middle of a line.
    """
    lines = _read_lines(path)
    layout = _read_layout(lines, path)
    header = _cells(lines, 2, layout, path)
    first_value = 1 + layout.row_fields
    column_ids = header[first_value:]
    require_identifiers(column_ids, "column", path)
    first_row = 3 + layout.column_fields
    column_fields = _read_column_fields(lines, layout, path)

    row_cells: list[list[str]] = []
    numbers = np.empty((layout.rows, layout.columns), dtype=np.float32)
    for index in range(layout.rows):
        cells = _cells(lines, first_row + index, layout, path)
        row_cells.append(cells[:first_value])
        text = lines[first_row + index].split("\t", first_value)[first_value]
        numbers[index] = _numbers(text, cells[first_value:], column_ids, first_row + index + 1, path)

    row_ids = [cells[0] for cells in row_cells]
    require_identifiers(row_ids, "row", path)
    names = ["Description"] if lines[0].strip() == "#1.2" else header[1:first_value]
    row_fields = [(name, [cells[i] for cells in row_cells]) for i, name in enumerate(names, start=1)]
    return AnnotatedMatrix(
        row_ids=row_ids,
        column_ids=column_ids,
        row_metadata=_metadata(row_ids, row_fields, "row", path),
        column_metadata=_metadata(column_ids, column_fields, "column", path),
        values=np.ascontiguousarray(numbers.T),
    )


def _read_lines(path: Path) -> list[str]:
    raw = path.read_bytes()
    if not raw.startswith((b"#1.", b"\xef\xbb\xbf#1.")):
        raise BadInputError("a GCT file starts with #1.2 or #1.3", file=path, row=1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if not text.endswith("\n"):
        # Without the line end nothing tells a last value 5.19 from the first half of 5.1956.
        rule = "the last line is not ended: the file is truncated"
        raise BadInputError(rule, file=path, row=text.count("\n") + 1)
    # Not splitlines(): it also splits at characters that are text in Latin-1.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _read_layout(lines: list[str], path: Path) -> _Layout:
    version = lines[0].strip()
    if version not in {"#1.2", "#1.3"}:
        raise BadInputError(f"GCT version #1.2 or #1.3 is read, not {version!r}", file=path, row=1)
    n_counts = 2 if version == "#1.2" else 4
    texts = lines[1].split() if len(lines) > 1 else []
    if len(texts) != n_counts or not all(re.fullmatch(r"[0-9]{1,12}", text) for text in texts):
        rule = f"line 2 of a GCT {version[1:]} holds {n_counts} counts, not {' '.join(texts)[:60]!r}"
        raise BadInputError(rule, file=path, row=2)
    counts = [int(text) for text in texts]
    layout = _Layout(*counts) if n_counts == 4 else _Layout(counts[0], counts[1], 1, 0)
    if not layout.rows or not layout.columns:
        rule = f"a matrix has rows and columns; line 2 declares {layout.rows} rows x {layout.columns} columns"
        raise BadInputError(rule, file=path, row=2)
    if len(lines) < 3:
        raise BadInputError("line 3 names the columns, but the file ends before it", file=path, row=3)
    if len(lines) != layout.lines:
        rule = (
            f"line 2 declares {layout.rows} rows and {layout.column_fields} column metadata fields, "
            f"which makes {layout.lines} lines, but the file has {len(lines)}"
        )
        raise BadInputError(rule, file=path, row=2)
    width = lines[2].count("\t") + 1
    if width != layout.width:
        rule = (
            f"line 2 declares {layout.columns} columns and {layout.row_fields} row metadata fields, "
            f"which makes {layout.width} cells per line, but the header line has {width}"
        )
        raise BadInputError(rule, file=path, row=3)
    return layout


def _cells(lines: list[str], index: int, layout: _Layout, path: Path) -> list[str]:
    cells = lines[index].split("\t")
    if len(cells) != layout.width:
        rule = f"every line has {layout.width} cells like the header, but this one has {len(cells)}"
        raise BadInputError(rule, file=path, row=index + 1)
    return cells


def _read_column_fields(lines: list[str], layout: _Layout, path: Path) -> list[tuple[str, list[str]]]:
    fields = []
    for index in range(3, 3 + layout.column_fields):
        cells = _cells(lines, index, layout, path)
        for filler in cells[1 : 1 + layout.row_fields]:
            if filler.strip().lower() not in _FILLERS:
                rule = (
                    f"line 2 declares {layout.column_fields} column metadata fields, whose lines hold 'na' "
                    f"under the row metadata, but this one holds {filler!r}: it is a row of the matrix"
                )
                raise BadInputError(rule, file=path, row=index + 1)
        fields.append((cells[0], cells[1 + layout.row_fields :]))
    return fields


def _metadata(ids: list[str], fields: list[tuple[str, list[str]]], axis: str, path: Path) -> pl.DataFrame:
    columns = {"id": ids}
    for name, texts in fields:
        if not name or name in columns:
            rule = f"{axis} metadata fields have a name each, but {name!r} is empty, repeated or 'id'"
            raise BadInputError(rule, file=path, column=name or None)
        columns[name] = texts
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _numbers(text: str, cells: list[str], column_ids: list[str], row: int, path: Path) -> NDArray[np.float32]:
    """Numbers of one line; ``text`` is the line from its first value on, ``cells`` the same, split."""
    wide: list[float] | None = None
    if _PLAIN_NUMBERS.fullmatch(text):
        try:
            wide = [float(cell) for cell in cells]
        except ValueError:
            wide = None  # told apart below, cell by cell
    if wide is None:
        wide = [_number(cell, column, row, path) for cell, column in zip(cells, column_ids, strict=True)]
    with np.errstate(over="ignore"):
        numbers = np.asarray(wide, dtype=np.float64).astype(np.float32)
    if np.isinf(numbers).any():
        at = int(np.flatnonzero(np.isinf(numbers))[0])
        rule = f"{cells[at]!r} is beyond the range of a 32-bit float"
        raise BadInputError(rule, file=path, row=row, column=column_ids[at])
    return numbers


def _number(cell: str, column: str, row: int, path: Path) -> float:
    text = cell.strip(" ")
    if text.lower() in _MISSING_NUMBERS:
        return float("nan")
    if not _NUMBER.fullmatch(text):
        raise BadInputError(
            f"a value is a number, NaN or na, not {cell!r}", file=path, row=row, column=column
        )
    return float(text)
