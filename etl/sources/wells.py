"""What adapters of plates have in common: wells from numbers, and the facts that no column holds.

Here: both, from tables of wells as text. Not here: what a publisher's columns mean (the adapters), the
canonical spelling of a well (``etl/harmonize/samples.py``).
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from etl.formats.delimited import TextTable
from schemas.reported import ReportedAnnotation
from schemas.table import match_to_model

ROWS_384: Final = "ABCDEFGHIJKLMNOP"
N_COLUMNS_384: Final = 24


def well_of(table: TextTable, row: str, column: str) -> pl.Expr:
    """Return the well of a plate of 384 from two text columns with its numbers, from 1; ``4``, ``9`` is D9.

    A number that is missing gives none.

    Raises:
        BadInputError: no whole number, or one that such a plate does not have.
    """
    numbers = {
        name: pl.col(name).str.replace(r"\.0+$", "").cast(pl.Int64, strict=False) for name in (row, column)
    }
    for (name, number), last in zip(numbers.items(), (len(ROWS_384), N_COLUMNS_384), strict=True):
        is_missing = pl.col(name).is_null()
        table.require(is_missing | number.is_not_null(), name, "not a whole number")
        table.require(is_missing | number.is_between(1, last), name, f"not within 1 and {last}")
    letters = dict(enumerate(ROWS_384, start=1))
    letter = numbers[row].replace_strict(letters, default=None, return_dtype=pl.String)
    return letter + numbers[column].cast(pl.String)


def reported_facts(rows: pl.DataFrame, used: Collection[str] = ()) -> pl.LazyFrame:
    """Return every filled cell of the columns that have no place elsewhere (``ReportedAnnotation``).

    Args:
        rows: table with ``sample_key``; its columns may be of any type that has a text.
        used: columns that have a place of their own.
    """
    others = [name for name in rows.columns if name not in {"sample_key", *used}]
    text = rows.select("sample_key", pl.col(others).cast(pl.String))
    facts = text.unpivot(others, index="sample_key", variable_name="key").drop_nulls("value")
    return match_to_model(facts.filter(pl.col("value") != ""), ReportedAnnotation)
