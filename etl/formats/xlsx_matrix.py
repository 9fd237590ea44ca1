"""Reader of an Excel sheet that is a matrix: samples in rows, genes in columns, a number in every cell.

Here: the axes of such a sheet, and its numbers in blocks that bound memory. Not here: cells and archives
(``xlsx``), what the names on the axes mean (the adapters).

Layout: notes of one cell each, then the header, whose first cell names the samples' column and whose others
name the genes, then one row per sample.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etl.arrays import LARGEST_EXACT_FLOAT32
from etl.errors import BadInputError
from etl.formats import xlsx
from etl.formats.matrix import require_identifiers

_DIGITS: Final = b"0123456789"
_WHOLE_NUMBER: Final = re.compile(rb"<v>([0-9]+)<")
_STYLE: Final = re.compile(rb' s="([0-9]+)"')
_CELL_FORMS: Final = tuple(
    b'<c r="%s"' + attributes + b"><v></v></c>" for attributes in (b"", b' s=""', b' t="n"', b' s="" t="n"')
)
"""Cells with a whole number as programs write them, without their digits. A row of such cells only, and
nearly all are, is read ten times faster than by an XML parser, which gets every other row."""


class MatrixBlock(NamedTuple):
    """Some samples of a matrix.

    Attributes:
        sample_keys: their names, in file order.
        values: float32, samples × genes.
    """

    sample_keys: list[str]
    values: NDArray[np.float32]


def read_gene_names(path: Path, *, header: str, sheet: str | None = None) -> list[str]:
    """Return the names of the columns after the first, as text, in file order.

    Args:
        path: the workbook.
        header: pattern of the plain form of the header's first cell.
        sheet: its name; the first sheet by default.

    Raises:
        BadInputError: as ``xlsx.opened``, no such header, or a name that is missing or repeated.
    """
    with xlsx.opened(path) as workbook:
        _, names = _find_header(workbook, workbook.row_xml(sheet), header)
    return names


def read_sample_keys(path: Path, *, header: str, sheet: str | None = None) -> list[str]:
    """Return the first column below the header, in file order; no number is read.

    Arguments as of ``read_gene_names``.

    Raises:
        BadInputError: as ``read_gene_names``, a row without name, a name that is repeated, or no rows.
    """
    keys = []
    with xlsx.opened(path) as workbook:
        rows = workbook.row_xml(sheet)
        number, _ = _find_header(workbook, rows, header)
        for xml in rows:
            number, key, _ = _split_row(workbook, xml, after=number)
            if key is not None:
                keys.append(key)
    if not keys:
        raise BadInputError("a header and no rows", file=path)
    require_identifiers(keys, "row", path)
    return keys


def blocks(path: Path, *, header: str, block_bytes: int, sheet: str | None = None) -> Iterator[MatrixBlock]:
    """Yield the matrix in blocks of at most ``block_bytes`` of values, at least one sample each.

    Arguments as of ``read_gene_names``.

    Raises:
        BadInputError: as ``read_sample_keys``, a cell that is empty or no number, a row that is longer than
            the header, or a whole number that a 32-bit float does not hold.
    """
    with xlsx.opened(path) as workbook:
        rows = workbook.row_xml(sheet)
        number, names = _find_header(workbook, rows, header)
        forms = _row_forms(len(names))
        height = max(1, block_bytes // (4 * len(names)))
        keys: list[str] = []
        values = np.empty((height, len(names)), dtype=np.float32)
        for xml in rows:
            number, key, rest = _split_row(workbook, xml, after=number)
            if key is None:
                continue
            is_plain = rest.translate(None, _DIGITS) in forms
            row = _whole_numbers(rest, len(names), workbook.date_styles) if is_plain else None
            if row is None:
                row = _numbers(workbook, xml, number, names)
            values[len(keys)] = _require_exact(row, names, number, path)
            keys.append(key)
            if len(keys) == height:
                yield MatrixBlock(keys, values)
                # The block belongs to the caller now.
                keys, values = [], np.empty_like(values)
        if keys:
            yield MatrixBlock(keys, values[: len(keys)])


def _row_forms(n_genes: int) -> frozenset[bytes]:
    """Return what the rest of a row after its first cell may be, without digits, to be read the fast way."""
    letters = [xlsx.column_name(position).encode() for position in range(1, n_genes + 1)]
    return frozenset(b"".join(form % letter for letter in letters) + b"</row>" for form in _CELL_FORMS)


def _find_header(workbook: xlsx.Workbook, rows: Iterator[bytes], header: str) -> tuple[int, list[str]]:
    """Advance ``rows`` past the header and return its number and the names after its first cell."""
    number = 0
    for _, xml in zip(range(xlsx.MAX_NOTES), rows, strict=False):
        for row in workbook.parse_rows(xml, after=number):
            number, cells = row
            if cells and re.fullmatch(header, xlsx.plain_name(cells[0] or "")):
                names = [cell or "" for cell in cells[1:]]
                if not names:
                    raise BadInputError("a matrix has columns", file=workbook.path, row=number)
                require_identifiers(names, "column", workbook.path)
                return number, names
    rule = f"no header that starts with {header!r} in the first {xlsx.MAX_NOTES} rows"
    raise BadInputError(rule, file=workbook.path)


def _split_row(workbook: xlsx.Workbook, xml: bytes, *, after: int) -> tuple[int, str | None, bytes]:
    """Return number, first cell and the XML of the other cells; None for the first cell of an empty row."""
    first, end_of_cell, rest = xml.partition(b"</c>")
    if end_of_cell and first.count(b"<c ") == 1:
        (row,) = workbook.parse_rows(first + end_of_cell + b"</row>", after=after)[-1:]
        if len(row.cells) == 1 and row.cells[0] is not None:
            return row.number, row.cells[0], rest
    *_, row = workbook.parse_rows(xml, after=after)
    if all(cell is None for cell in row.cells):
        return row.number, None, b""
    if row.cells[0] is None:
        rule = "a row with numbers and no name"
        raise BadInputError(rule, file=workbook.path, row=row.number, column="A")
    return row.number, row.cells[0], b""


def _whole_numbers(xml: bytes, n_genes: int, date_styles: frozenset[int]) -> NDArray[np.float64] | None:
    """Return the numbers of cells that are known to hold digits only; None where one holds none or a date."""
    if date_styles and not date_styles.isdisjoint(map(int, set(_STYLE.findall(xml)))):
        return None
    found = _WHOLE_NUMBER.findall(xml)
    return np.fromstring(b" ".join(found), sep=" ") if len(found) == n_genes else None


def _numbers(workbook: xlsx.Workbook, xml: bytes, number: int, names: list[str]) -> NDArray[np.float64]:
    """Return the numbers of a row, cell by cell."""
    *_, row = workbook.parse_rows(xml, after=number - 1)
    cells = row.cells[1:]
    if any(cell is not None for cell in cells[len(names) :]):
        rule = f"more cells than the header, which has {len(names)} names"
        raise BadInputError(rule, file=workbook.path, row=number)
    cells = cells[: len(names)] + [None] * (len(names) - len(cells))
    values = np.empty(len(names))
    for position, (cell, name) in enumerate(zip(cells, names, strict=True)):
        try:
            values[position] = float(cell or "")
        except ValueError:
            rule = "a missing value" if cell is None else f"not a number: {cell!r}"
            raise BadInputError(rule, file=workbook.path, row=number, column=name) from None
    return values


def _require_exact(
    row: NDArray[np.float64], names: list[str], number: int, path: Path
) -> NDArray[np.float64]:
    too_large = np.flatnonzero(np.abs(row) > LARGEST_EXACT_FLOAT32)
    if too_large.size:
        rule = f"a number up to {LARGEST_EXACT_FLOAT32} is expected, not {row[too_large[0]]:.0f}"
        raise BadInputError(rule, file=path, row=number, column=names[too_large[0]])
    return row
