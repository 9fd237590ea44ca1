"""Reader of wide numeric tables in CSV: one profile per line, thousands of columns, streamed in blocks.

Here: the header, a label and Float32 numbers per line, and faults named by row and column; a cell without a
number is refused, unless missing values are asked for. Not here: quoted cells, compressed files, and what
columns mean.

Why not ``delimited``: it holds a whole file as text. Why not a frame per block: Polars spends longer on
19,000 columns than on their numbers; the cells of a block are read as one column instead (17 MB in 0.06 s
rather than 0.28 s).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError

BLOCK_BYTES: Final = 16 * 2**20
"""Text of a block, to a line."""

MISSING: Final = b"NA"
"""What stands for a missing value, as does an empty cell."""


@dataclass(frozen=True, slots=True)
class WideBlock:
    """Some lines of a table.

    Args:
        first_row: number of the first line in the file, header = 1.
        labels: first cell of each line.
        values: lines × columns, finite; NaN where a value is missing.
    """

    first_row: int
    labels: list[str]
    values: NDArray[np.float32]


def read_header(path: Path) -> list[str]:
    """Return the names of all columns, the first one among them, which may be empty.

    Raises:
        BadInputError: an empty file, a header without numbers' columns, or a name that is repeated.
    """
    with path.open("rb") as file:
        line = file.readline().strip(b"\r\n")
    if not line.strip():
        raise BadInputError("the first line, which names the columns, is empty", file=path, row=1)
    try:
        names = line.decode("utf-8-sig").split(",")
    except UnicodeDecodeError as fault:
        raise BadInputError("the header is not UTF-8", file=path, row=1) from fault
    if len(names) == 1:
        raise BadInputError("one column where a label and numbers are expected", file=path, row=1)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadInputError("the column is repeated", file=path, row=1, column=name)
        seen.add(name)
    return names


def read_labels(path: Path) -> list[str]:
    """Return the first cell of every line below the header, in file order.

    Raises:
        BadInputError: no lines.
    """
    with path.open("rb") as file:
        file.readline()
        labels = [line.partition(b",")[0].strip().decode("utf-8", "replace") for line in file]
    if not labels:
        raise BadInputError("a header and no rows", file=path)
    return labels


def read_blocks(path: Path, header: list[str], *, may_be_missing: bool = False) -> Iterator[WideBlock]:
    """Yield the lines below the header, in file order, in blocks of about ``BLOCK_BYTES`` of text.

    Args:
        path: the file.
        header: its columns, of ``read_header``.
        may_be_missing: whether a cell may be empty or ``NA``.

    Raises:
        BadInputError: no lines, a last line that is not ended, a line with more or fewer cells than the
            header, or a cell that is no finite number.
    """
    row = 2
    with path.open("rb") as file:
        file.readline()
        while lines := file.readlines(BLOCK_BYTES):
            yield _block(lines, row, header, path, may_be_missing=may_be_missing)
            row += len(lines)
    if row == 2:
        raise BadInputError("a header and no rows", file=path)


def _block(
    lines: list[bytes], first_row: int, header: list[str], path: Path, *, may_be_missing: bool
) -> WideBlock:
    n_columns = len(header) - 1
    labels, cells = [], []
    for row, line in enumerate(lines, start=first_row):
        if not line.endswith(b"\n"):
            raise BadInputError("the last line is not ended: the file is truncated", file=path, row=row)
        label, _, numbers = line.strip(b"\r\n").partition(b",")
        n_cells = line.count(b",") + 1
        if n_cells != len(header):
            raise BadInputError(f"{n_cells} fields where the header has {len(header)}", file=path, row=row)
        # As lines of their own, empty cells would be skipped.
        if numbers.startswith(b",") or b",," in numbers or numbers.endswith(b",") or not numbers:
            if not may_be_missing:
                _require_numbers(numbers, row, header, path)
            numbers = b",".join(cell or MISSING for cell in numbers.split(b","))
        labels.append(label.decode("utf-8", "replace"))
        cells.append(numbers.replace(b",", b"\n"))
    # Polars inflates what starts like a compressed stream; an empty line before the text prevents that.
    text = b"\n" + b"\n".join(cells) + b"\n"
    try:
        column = pl.read_csv(
            text,
            skip_lines=1,
            has_header=False,
            schema={"value": pl.Float32},
            quote_char=None,
            null_values=MISSING.decode() if may_be_missing else None,
        )["value"]
    except pl.exceptions.ComputeError:
        column = pl.Series([None], dtype=pl.Float32)
    if column.len() != len(lines) * n_columns or not column.is_finite().fill_null(value=may_be_missing).all():
        for row, numbers in enumerate(cells, start=first_row):
            _require_numbers(numbers.replace(b"\n", b","), row, header, path, may_be_missing=may_be_missing)
        raise BadInputError("cells that cannot be read as numbers", file=path, row=first_row)
    values = column.fill_null(float("nan")).to_numpy()
    return WideBlock(first_row, labels, values.reshape(len(lines), n_columns))


def _require_numbers(
    numbers: bytes, row: int, header: list[str], path: Path, *, may_be_missing: bool = False
) -> None:
    """Refuse a line with a cell that is no finite number, and name the first."""
    texts = pl.Series(numbers.decode("utf-8", "replace").split(","), dtype=pl.String)
    is_wrong = ~texts.cast(pl.Float32, strict=False).is_finite().fill_null(value=False)
    if may_be_missing:
        is_wrong &= texts != MISSING.decode()
    if not is_wrong.any():
        return
    first = int(is_wrong.arg_max() or 0)
    shown = repr(texts[first]) if texts[first].strip() else "a missing value"
    raise BadInputError(
        f"not a finite number: {shown} ({is_wrong.sum()} such in the row)",
        file=path,
        row=row,
        column=header[first + 1],
    )
