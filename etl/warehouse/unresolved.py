"""What is open in a warehouse: reported names without an identifier, and those that deserve a second look.

Read from the name tables, most used first, with the candidates there are: the list that a person works down,
writing rows of the overrides table (``etl/harmonize/overrides.py``).
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from etl.harmonize.overrides import COLUMNS as OVERRIDE_COLUMNS
from etl.harmonize.overrides import Entity
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import exists, scan
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.dataset import DATASET
from schemas.core.gene_name import GENE_NAME
from schemas.core.sample import SAMPLE
from schemas.core.viability import VIABILITY
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.table import Table

NAME_TABLES: Final[Mapping[Entity, Table]] = {
    "compound": COMPOUND_NAME,
    "context": CONTEXT_NAME,
    "gene": GENE_NAME,
}
"""The table of reported names of each entity."""

OPEN_SCHEMA: Final = pl.Schema(
    {
        "entity": pl.String(),
        "dataset_id": pl.String(),
        "reported": pl.String(),
        "name": pl.String(),
        "n_uses": pl.Int64(),
        "method": pl.String(),
        "confidence": pl.String(),
        "reason": pl.String(),
        "candidates": pl.List(pl.String()),
    }
)
"""``n_uses``: samples, measurements or curves of a compound or context; samples of the dataset for a gene."""


def unresolved(
    *, root: str = DEFAULT_ROOT, dataset_id: str | None = None, with_doubtful: bool = False
) -> pl.DataFrame:
    """Return the reported names that are open, in the columns of ``OPEN_SCHEMA``, most used first.

    Args:
        root: warehouse root.
        dataset_id: only this dataset.
        with_doubtful: also what is resolved with low confidence, or against other evidence.
    """
    parts = [
        _open_names(entity, table, root, dataset_id, with_doubtful)
        for entity, table in NAME_TABLES.items()
        if exists(table, root=root)
    ]
    found = pl.concat([pl.DataFrame(schema=OPEN_SCHEMA), *parts])
    return found.sort("n_uses", "entity", "dataset_id", "reported", descending=[True, False, False, False])


def as_overrides(found: pl.DataFrame) -> pl.DataFrame:
    """Return open names as rows of an overrides table still to be filled in.

    ``value``, ``reason`` and ``source`` are empty; further columns show what is known, and are not read.
    """
    blank = [pl.lit("").alias(column) for column in ("value", "reason", "source")]
    return found.select(
        *OVERRIDE_COLUMNS[:3],
        *blank,
        "name",
        "n_uses",
        candidates=pl.col("candidates").list.join("; "),
        why_open="reason",
    )


def _open_names(
    entity: Entity, table: Table, root: str, dataset_id: str | None, with_doubtful: bool
) -> pl.DataFrame:
    names = scan(table, root=root)
    if dataset_id is not None:
        names = names.filter(dataset_id=dataset_id)
    is_open = pl.col("method") == "unresolved"
    if with_doubtful:
        is_open |= pl.col("confidence") == "low"
        if "conflicts" in table.polars_schema:
            is_open |= pl.col("conflicts").list.len() > 0
    shown = {"compound": "name_reported", "context": "name_reported", "gene": "symbol_reported"}[entity]
    remarks = [pl.col("reason"), pl.col("rule")]
    if "conflicts" in table.polars_schema:
        remarks.append(pl.col("conflicts").list.join("; "))
    told = pl.concat_str(remarks, separator="; ", ignore_nulls=True).str.strip_chars("; ")
    rows = names.filter(is_open).collect()
    return (
        rows.join(_uses(entity, root), on=["dataset_id", f"{entity}_id"], how="left")
        if entity != "gene"
        else rows.join(_samples(root), on="dataset_id", how="left")
    ).select(
        entity=pl.lit(entity),
        dataset_id="dataset_id",
        reported=f"{entity}_reported",
        name=shown,
        n_uses=pl.col("n_uses").fill_null(0),
        method="method",
        confidence="confidence",
        reason=told,
        candidates=pl.col("candidates").cast(pl.List(pl.String)),
    )


def _uses(entity: str, root: str) -> pl.DataFrame:
    """Return how many samples, measurements and curves each compound or context of a dataset has."""
    key = ["dataset_id", f"{entity}_id"]
    used = [
        scan(table, root=root).select(key).drop_nulls()
        for table in (SAMPLE, VIABILITY, DOSE_RESPONSE)
        if exists(table, root=root)
    ]
    if not used:
        return pl.DataFrame(schema=dict.fromkeys(key, pl.String) | {"n_uses": pl.Int64})
    return pl.concat(used).group_by(key).agg(n_uses=pl.len().cast(pl.Int64)).collect()


def _samples(root: str) -> pl.DataFrame:
    if not exists(DATASET, root=root):
        return pl.DataFrame(schema={"dataset_id": pl.String, "n_uses": pl.Int64})
    return scan(DATASET, root=root).select("dataset_id", n_uses=pl.col("n_samples").cast(pl.Int64)).collect()
