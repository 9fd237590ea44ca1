"""What a table is: its Pandera model plus where and how its rows are told apart and stored.

Physical policy (compression, file size) is not here but in ``etl/warehouse/layout.py``.
"""

from dataclasses import dataclass
from typing import Any

import pandera.polars as pa
import polars as pl


@dataclass(frozen=True, slots=True)
class Table:
    """One warehouse table.

    Args:
        name: ``<layer>/<table>``; also the Dagster asset key and the path below the warehouse root.
        model: columns, dtypes, rules and descriptions.
        primary_key: columns that together are unique.
        partition_by: Delta partition columns; a write replaces whole partitions of them.
        sort_by: order of the rows inside a file, chosen so that the usual filters skip row groups.
    """

    name: str
    model: type[pa.DataFrameModel]
    primary_key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = set(self.polars_schema)
        for role in ("primary_key", "partition_by", "sort_by"):
            unknown = set(getattr(self, role)) - columns
            assert not unknown, f"{self.name}: {role} names unknown columns {sorted(unknown)}"

    @property
    def layer(self) -> str:
        """``core`` or ``mart``."""
        return self.name.split("/")[0]

    @property
    def columns(self) -> dict[str, Any]:
        """Pandera column by name: ``.description``, ``.nullable``, ``.checks``, ``.metadata``."""
        return dict(self.model.to_schema().columns)

    @property
    def polars_schema(self) -> pl.Schema:
        """Column names and Polars dtypes, in the order in which they are stored."""
        return polars_schema(self.model)

    def empty(self) -> pl.DataFrame:
        """Return the table without rows."""
        return pl.DataFrame(schema=self.polars_schema)

    @property
    def grain(self) -> str:
        """What one row stands for: the first line of the model's docstring."""
        return (self.model.__doc__ or "").strip().splitlines()[0]


def polars_schema(model: type[pa.DataFrameModel]) -> pl.Schema:
    """Return the Polars schema of a Pandera model."""
    return pl.Schema({name: column.dtype.type for name, column in model.to_schema().columns.items()})


def match_to_model(rows: pl.DataFrame, model: type[pa.DataFrameModel]) -> pl.LazyFrame:
    """Return rows in the columns and the order of a model; a column that they lack is null.

    A column that the model lacks, or of another type than the model's, raises when the rows are collected.
    """
    return rows.lazy().match_to_schema(polars_schema(model), missing_columns="insert")
