"""Reader of a small Parquet file as a table of text, whose faults are named by row.

Here: one value a cell, as text. Not here: matrices in Parquet, and tables larger than memory (adapters).
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from etl.errors import BadInputError
from etl.formats.delimited import TextTable, text_table


def read(
    path: Path,
    columns: Sequence[str],
    *,
    dataset_id: str,
    missing: str,
    has_others: bool = False,
    list_separator: str | None = None,
) -> TextTable:
    """Read columns as text without outer blanks; ``row`` is the number in the file, from 1.

    A whole number that is stored as a float has no point.

    Args:
        path: the file.
        columns: columns that must be there.
        dataset_id: for messages.
        missing: pattern of a text that stands for a missing value.
        has_others: whether to read every other column, too.
        list_separator: what stands between the elements of a list; without it a list is refused.

    Raises:
        BadInputError: no complete Parquet file, a column is missing, or one that holds several values a row.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as fault:
        rule = f"the file is no complete Parquet file: {' '.join(str(fault).split())[:200]}"
        raise BadInputError(rule, dataset_id=dataset_id, file=path) from fault
    wanted = list(dict.fromkeys([*columns, *(frame.columns if has_others else ())]))
    frame = frame.select(name for name in wanted if name in frame.columns)
    if list_separator is not None:
        lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
        frame = frame.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(list_separator))
    nested = next((name for name, dtype in frame.schema.items() if dtype.is_nested()), None)
    if nested is not None:
        raise BadInputError("a column holds one value a row", dataset_id=dataset_id, file=path, column=nested)
    texts = frame.select(_text(name, dtype) for name, dtype in frame.schema.items())
    rows = texts.with_row_index("row", offset=1)
    return text_table(rows, wanted, dataset_id=dataset_id, path=path, missing=missing)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars()
    return text.str.replace(r"^(-?\d+)\.0$", "${1}") if dtype.is_float() else text
