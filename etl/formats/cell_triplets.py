"""Reader of sci-RNA-seq counts: triplets of a gene, a cell and a count, with a table for each axis.

    UMI.count.matrix     no header; tab-separated gene index, cell index, count; indices start at 1
    cell.annotations     tab-separated cell and sample, no header
    gene.annotations     gene id and name with a blank between, under a header
    pData                what R's ``write.table`` writes: blanks between, texts in quotes, ``NA``

Here: counts in blocks of whole cells, in memory that does not grow with the file, and the tables as text. Not
here: what columns mean (adapters), Matrix Market (``mex.py``).

Triplets are ordered by cell, as the pipeline writes them; within a cell genes come in any order. Any other
order is refused: it could not be read in bounded memory.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

from etl.errors import BadInputError
from etl.formats.delimited import TextTable, read_whole, text_table
from etl.formats.gzip_lines import BLOCK_BYTES, Block, GzipLines

LARGEST_COUNT: Final = 2**31 - 1
"""Of a gene in a cell: the type of the blocks."""

_COLUMNS: Final = ("gene index", "cell index", "count")
_SEPARATOR: Final = r"[ \t]+"
_ROW_NAMES: Final = "row names"


class CellRows(NamedTuple):
    """Consecutive cells.

    Attributes:
        start: position of the first cell among all, from 0.
        values: cells x genes, int32; genes of a cell ascend, none twice.
    """

    start: int
    values: sparse.csr_matrix


def triplet_blocks(
    path: Path, *, n_genes: int, n_cells: int, dataset_id: str, block_bytes: int = BLOCK_BYTES
) -> Iterator[CellRows]:
    """Yield the counts in blocks of whole cells: every cell once, those without counts too.

    Args:
        path: the file; gzip where its name ends in ``.gz``.
        n_genes: rows of the table of genes.
        n_cells: rows of the table of cells.
        dataset_id: for messages.
        block_bytes: text of a block.

    Raises:
        BadInputError: a file that is damaged, truncated or empty; a line that is no triplet of whole numbers;
            an index that the table of genes or cells lacks; a count below 1; cells out of order; or a gene
            that is listed twice for a cell.
    """
    reader = _Reader(path, n_genes, n_cells, dataset_id)
    held = np.empty((0, 3), dtype=np.int64)
    first_line, start = 1, 0
    for block in _line_blocks(path, block_bytes, dataset_id):
        held = np.concatenate([held, reader.triplets(block)])
        # The last cell may go on in the next block.
        whole = int(np.searchsorted(held[:, 1], held[-1, 1]))
        if whole:
            stop = int(held[whole - 1, 1])
            yield reader.rows(held[:whole], start, stop, first_line)
            held, first_line, start = held[whole:], first_line + whole, stop
    if first_line == 1 and not len(held):
        raise BadInputError("the file is empty", dataset_id=dataset_id, file=path)
    yield reader.rows(held, start, n_cells, first_line)


class _Reader:
    """Blocks of text to rows of counts, with every check that names a line."""

    def __init__(self, path: Path, n_genes: int, n_cells: int, dataset_id: str) -> None:
        self._path, self._dataset_id = path, dataset_id
        self._n_genes, self._n_cells = n_genes, n_cells
        self._last_cell = 1

    def triplets(self, block: Block) -> np.ndarray:
        """Return the lines of a block, lines x 3."""
        numbers = self._parse(block)
        columns = numbers.to_numpy()
        limits = (self._n_genes, self._n_cells, LARGEST_COUNT)
        for values, name, limit in zip(columns.T, _COLUMNS, limits, strict=True):
            is_right = (values >= 1) & (values <= limit)
            self._require(is_right, values, f"a {name} is 1 to {limit:,}", name, block)
        cells = columns[:, 1]
        ascends = np.diff(cells, prepend=self._last_cell) >= 0
        self._require(ascends, cells, "cells ascend", _COLUMNS[1], block)
        self._last_cell = int(cells[-1])
        return columns

    def rows(self, triplets: np.ndarray, start: int, stop: int, first_line: int) -> CellRows:
        """Return the cells from ``start`` to ``stop``; the triplets are theirs."""
        genes, cells = triplets[:, 0] - 1, triplets[:, 1] - 1
        starts = np.concatenate([[0], np.cumsum(np.bincount(cells - start, minlength=stop - start))])
        parts = triplets[:, 2].astype(np.int32), genes.astype(np.int32), starts.astype(np.int64)
        # Where genes ascend already, sorting is a look at them.
        values = sparse.csr_matrix(parts, shape=(stop - start, self._n_genes))
        values.sort_indices()
        if ((np.diff(values.indices) == 0) & (np.diff(cells) == 0)).any():
            raise self._repeated(genes, cells, first_line)
        return CellRows(start, values)

    def _repeated(self, genes: np.ndarray, cells: np.ndarray, first_line: int) -> BadInputError:
        """Return the error of the first line that lists a gene of its cell again."""
        order = np.lexsort((genes, cells))
        same = (np.diff(genes[order]) == 0) & (np.diff(cells[order]) == 0)
        line = int(order[1:][same].min())
        rule = f"a gene is listed once for a cell, but gene {genes[line] + 1} is listed again"
        return self._error(rule, first_line + line)

    def _parse(self, block: Block) -> pl.DataFrame:
        schema = dict.fromkeys(_COLUMNS, pl.Int64)
        try:
            numbers = pl.read_csv(
                block.text, separator="\t", quote_char=None, has_header=False, schema=schema
            )
        except (pl.exceptions.PolarsError, OSError) as fault:
            # Polars takes what begins like a compressed stream for one.
            raise self._fault(block) from fault
        if any(numbers.null_count().row(0)):
            raise self._fault(block)
        return numbers

    def _fault(self, block: Block) -> BadInputError:
        """Return the error of the first line of a block that is no triplet."""
        lines = pl.Series(block.text.decode("utf-8", errors="replace").splitlines(), dtype=pl.String)
        wrong = (~lines.str.contains(r"^\d{1,18}\t\d{1,18}\t\d{1,18}$")).arg_true()
        place, line = (int(wrong[0]), lines[int(wrong[0])]) if len(wrong) else (0, lines[0])
        rule = (
            f"a line is gene index, cell index and count, whole numbers with tabs between, not {line[:60]!r}"
        )
        return self._error(rule, block.first_line + place)

    def _require(
        self, is_right: np.ndarray, values: np.ndarray, rule: str, column: str, block: Block
    ) -> None:
        if not is_right.all():
            line = int(np.flatnonzero(~is_right)[0])
            raise BadInputError(
                f"{rule}, but here is {values[line]}",
                dataset_id=self._dataset_id,
                file=self._path,
                row=block.first_line + line,
                column=column,
            )

    def _error(self, rule: str, row: int | str) -> BadInputError:
        return BadInputError(rule, dataset_id=self._dataset_id, file=self._path, row=row)


def _line_blocks(path: Path, block_bytes: int, dataset_id: str) -> Iterator[Block]:
    """Yield whole lines of a plain or gzipped file."""
    if path.suffix == ".gz":
        yield from GzipLines(path, block_bytes)
        return
    line, rest = 1, b""
    with path.open("rb") as file:
        while text := file.read(block_bytes):
            lines, ended, rest = (rest + text).rpartition(b"\n")
            if ended:
                yield Block(line, lines + ended)
                line += lines.count(b"\n") + 1
    if rest:
        rule = "the last line is not ended: the file is truncated"
        raise BadInputError(rule, dataset_id=dataset_id, file=path, row=line)


def read_axis(path: Path, columns: Sequence[str], *, dataset_id: str) -> TextTable:
    """Read the table of an axis: two columns, one row for each index.

    Args:
        path: ``gene.annotations`` or ``cell.annotations``; gzip where its name ends in ``.gz``.
        columns: names to give. A first line whose first field is the first of them is a header.
        dataset_id: for messages.

    Returns:
        The columns as text and ``row``, the line.

    Raises:
        BadInputError: a broken archive, an empty file, a last line that is not ended, a line of another
            number of fields, a first column that is empty or repeated.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    lines = read_whole(table).decode("utf-8", errors="replace").splitlines()
    unquoted = pl.Series(lines, dtype=pl.String).str.replace_all('"', "", literal=True).str.strip_chars("\r")
    rows = pl.DataFrame({"line": unquoted}).with_row_index("row", offset=1)
    fields = rows.select("row", field=pl.col("line").str.replace_all(_SEPARATOR, "\t").str.split("\t"))
    wrong = fields.filter(pl.col("field").list.len() != len(columns))
    if wrong.height:
        n = len(wrong["field"][0])
        raise table.error(f"{n} fields where {len(columns)} are: {', '.join(columns)}", row=wrong["row"][0])
    split = fields.select(
        "row", *(pl.col("field").list.get(place).alias(name) for place, name in enumerate(columns))
    )
    if split[columns[0]][0] == columns[0]:
        split = split[1:]
    table = table.with_rows(split)
    table.require_present(columns[0])
    table.require_unique(columns[0])
    return table


def read_r_table(
    path: Path, columns: Sequence[str], *, dataset_id: str, missing: str = r"^(NA)?$"
) -> TextTable:
    """Read columns of a table that R's ``write.table`` wrote: blanks between cells, texts in quotes.

    Args:
        path: the file; gzip where its name ends in ``.gz``.
        columns: columns to read.
        dataset_id: for messages.
        missing: pattern of a text that stands for a missing value.

    Returns:
        The columns as text and ``row``. Names of rows, which have no place in the header, are left out.

    Raises:
        BadInputError: a broken archive, an empty file, a last line that is not ended, a column that is
            missing, or a row with more or fewer cells than the header.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    text = read_whole(table)
    first, _, body = text.partition(b"\n")
    if not body.strip():
        raise table.error("a header and no rows")
    header = _cells(first)
    for column in header:
        if header.count(column) > 1:
            raise table.error("the column is repeated", column=column)
    has_row_names = len(_cells(body[: body.find(b"\n")])) == len(header) + 1
    names = ["", *header] if has_row_names else header
    cells = _r_cells(body, table, len(names))
    cells.columns = [name or _ROW_NAMES for name in names]
    rows = cells.select(column for column in dict.fromkeys(columns) if column in cells.columns)
    numbered = rows.with_row_index("row", offset=2)
    return text_table(numbered, columns, dataset_id=dataset_id, path=path, missing=missing)


def _r_cells(body: bytes, table: TextTable, width: int) -> pl.DataFrame:
    # Polars fills a short row, so the blanks between cells are counted before it reads. The line before the
    # rows keeps it from taking what starts like a compressed stream for one.
    lines = b"\n" + body
    unquoted = pl.col("line").str.replace_all(r'"[^"]*"', "")
    ragged = (
        pl.scan_lines(lines, row_index_name="row", row_index_offset=1)
        .select("row", n_cells=unquoted.str.count_matches(" ", literal=True) + 1)
        .filter(pl.col("row") > 1, pl.col("n_cells") != width)
        .collect()
        .sort("row")
    )
    if ragged.height:
        rule = f"{ragged['n_cells'][0]} cells where the header has {width}"
        raise table.error(rule, row=ragged["row"][0])
    return pl.read_csv(
        lines,
        skip_lines=1,
        separator=" ",
        quote_char='"',
        has_header=False,
        infer_schema=False,
        empty_string_is_null=False,
    )


def _cells(line: bytes) -> list[str]:
    """Split one line as R's ``read.table`` does."""
    return next(csv.reader([line.decode("utf-8", errors="replace").strip("\r")], delimiter=" "), [])
