"""Bulk and published pseudobulk profiles in an h5ad: what the adapters of such files share.

Here: the table of observations as text whose faults are named by row, and the matrix, sparse or dense, in
blocks. Not here: the format itself (``etl/formats/h5ad.py``), what columns
mean (the adapters), or single cells, which are too many for a table of text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from scipy import sparse

from etl.formats import h5ad
from etl.formats.delimited import TextTable, text_table
from etl.sources.base import BLOCK_BYTES

MISSING: Final = r"^\s*(nan|NaN|NA|None)?\s*$"
"""What stands for a missing value once numbers are text."""


def read_table(
    path: Path, table: str, columns: Sequence[str], *, dataset_id: str, missing: str = MISSING
) -> TextTable:
    """Return a table of an axis as text: the index (``h5ad.INDEX``), ``columns``, then every other column.

    A number is the shortest decimal text that gives it back, ``24.0``; a truth value is ``true`` or
    ``false``.

    Args:
        path: an h5ad file.
        table: ``obs`` or ``var``.
        columns: columns that must be there.
        dataset_id: for messages.
        missing: pattern of a text that stands for a missing value.

    Raises:
        BadInputError: a column is missing, or as ``h5ad.read_table``.
    """
    text = h5ad.read_table(path, table).with_columns(pl.all().cast(pl.String))
    wanted = dict.fromkeys([h5ad.INDEX, *columns, *text.columns])
    return text_table(text, list(wanted), dataset_id=dataset_id, path=path, missing=missing, label=h5ad.INDEX)


def with_flag(table: TextTable, column: str) -> TextTable:
    """Return a table with a column of truth values, however the file stores them, as Boolean.

    Raises:
        BadInputError: a value that is missing or neither true nor false.
    """
    texts = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    text = pl.col(column).str.strip_chars().str.to_lowercase()
    flag = text.replace_strict(texts, default=None, return_dtype=pl.Boolean)
    table.require(table.rows.select(flag).to_series().is_not_null(), column, "neither true nor false")
    return table.with_rows(table.rows.with_columns(flag))


def blocks(path: Path) -> Iterator[tuple[int, np.ndarray | sparse.csr_matrix]]:
    """Yield ``X`` in blocks of consecutive rows with the position of the first, each at most ``BLOCK_BYTES``.

    Raises:
        BadInputError: as ``h5ad.row_blocks`` or ``h5ad.dense_blocks``.
    """
    if h5ad.is_dense(path):
        yield from h5ad.dense_blocks(path, block_bytes=BLOCK_BYTES)
        return
    # A sparse block and the one that is read ahead of it share what a block may take.
    for block in h5ad.row_blocks(path, block_bytes=BLOCK_BYTES // 2):
        yield block.start, block.values
