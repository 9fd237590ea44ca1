"""Resolved ids of reported compounds and contexts: the join of the name tables to rows of any kind.

Not here: how a name is resolved (``compounds``, ``contexts``).
"""

from typing import Literal

import polars as pl

from etl.errors import BadInputError


def with_resolved_ids(
    rows: pl.DataFrame, entity: Literal["compound", "context"], names: pl.DataFrame, *, dataset_id: str
) -> pl.DataFrame:
    """Return the rows, in their order, with ``<entity>_id`` beside ``<entity>_reported``; null stays null.

    Args:
        rows: rows of one dataset.
        entity: what to resolve.
        names: rows of ``core/<entity>_name``; those of other datasets are left aside.
        dataset_id: the dataset.

    Raises:
        BadInputError: a reported name is not in the dataset's own list, which adapters make from the same
            files.
    """
    reported, resolved = f"{entity}_reported", f"{entity}_id"
    own = names.filter(pl.col("dataset_id") == dataset_id).select(reported, resolved)
    joined = rows.join(own, on=reported, how="left", maintain_order="left", validate="m:1")
    lost = joined.filter(pl.col(reported).is_not_null() & pl.col(resolved).is_null())[reported]
    if lost.len():
        raise BadInputError(
            f"{entity} {lost[0]!r} is not in the dataset's own list "
            f"({lost.n_unique()} such name(s) in {lost.len()} row(s))",
            dataset_id=dataset_id,
            column=reported,
        )
    return joined
