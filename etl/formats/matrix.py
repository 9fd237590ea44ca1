"""A matrix with named, described axes: what the GCT and the GCTX reader hand back.

Here: the record both readers share and the one check they have in common. Not here: how either format is
laid out (``gct``, ``gctx``), nor what a row or a column means (the adapters of ``etl.sources``).

Words and orientation. Both formats call a gene a *row* and a sample a *column*, after the way GCT is
printed, and so do the names below. The array is the other way round, as every consumer wants it:
``values[i, j]`` is column (sample) ``i``, row (gene) ``j``. GCTX stores its matrix in this order too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError


@dataclass(frozen=True, eq=False)
class MatrixAnnotation:
    """The two axes of a matrix, without its values.

    Attributes:
        row_ids: gene identifiers, unique, in file order.
        column_ids: sample identifiers, unique, in file order.
        row_metadata: one row per gene in the order of ``row_ids``; all String, first column ``id``.
        column_metadata: one row per sample in the order of ``column_ids``; all String, first column ``id``.
    """

    row_ids: list[str]
    column_ids: list[str]
    row_metadata: pl.DataFrame
    column_metadata: pl.DataFrame

    def __post_init__(self) -> None:
        for ids, metadata in ((self.row_ids, self.row_metadata), (self.column_ids, self.column_metadata)):
            assert metadata.columns[0] == "id"
            assert metadata.height == len(ids)


@dataclass(frozen=True, eq=False)
class AnnotatedMatrix(MatrixAnnotation):
    """A matrix and its axes.

    Attributes:
        values: float32 of shape (columns, rows), that is samples x genes; the transpose of a printed GCT.
            In the publisher's unit. What the file calls missing is NaN, and the caller decides about it.
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.values.shape == (len(self.column_ids), len(self.row_ids))
        assert self.values.dtype == np.float32


def require_identifiers(ids: Sequence[str], axis: str, file: Path) -> None:
    """Check that every identifier of an axis is there, and there once.

    Args:
        ids: identifiers in file order.
        axis: what to call the axis in the message, ``row`` or ``column``.
        file: the file they were read from.

    Raises:
        BadInputError: an identifier is empty or repeated.
    """
    if len(set(ids)) == len(ids) and "" not in ids:
        return
    seen: set[str] = set()
    for position, identifier in enumerate(ids, start=1):
        if not identifier:
            rule = f"every {axis} has an id, but {axis} {position} of {len(ids)} has none"
            raise BadInputError(rule, file=file)
        if identifier in seen:
            rule = f"{axis} ids are unique, but {identifier!r} is repeated at {axis} {position} of {len(ids)}"
            raise BadInputError(rule, file=file)
        seen.add(identifier)
