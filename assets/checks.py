"""Checks across tables and of what a build made of its input, shown beside the assets.

The rules of a single table are not here: they are checked before its rows are committed.
"""

from collections.abc import Callable, Sequence

import dagster as dg
import polars as pl

from assets.definition import asset_key
from assets.resources import Warehouse, markdown_table
from etl.warehouse.integrity import (
    REFERENCES,
    Reference,
    dangling,
    repeated_ids,
    resolution_shares,
)
from schemas import TABLES
from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context import CONTEXT
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.gene import GENE
from schemas.core.gene_name import GENE_NAME
from schemas.core.sample import SAMPLE
from schemas.mart.condition import CONDITION
from schemas.table import Table

MAX_UNRESOLVED = 0.5
"""Share of unresolved names from which a dataset is worth a warning."""


def ids_check(
    table: Table, name: str, description: str, wrong_ids: Callable[[str], pl.Series], *upstream: Table
) -> dg.AssetChecksDefinition:
    """Return the check that no id of a table is wrong; ``wrong_ids`` finds them below a warehouse root."""

    @dg.asset_check(
        asset=asset_key(table),
        name=name,
        additional_deps=[asset_key(other) for other in upstream],
        description=description,
    )
    def check(warehouse: Warehouse) -> dg.AssetCheckResult:
        wrong = wrong_ids(warehouse.root)
        return dg.AssetCheckResult(
            passed=wrong.is_empty(),
            description=f"{wrong.len()} exception(s) to: {description}" if wrong.len() else "",
            metadata={"exceptions": wrong.len(), "examples": str(wrong.head(5).to_list())},
        )

    return check


def reference_check(reference: Reference) -> dg.AssetChecksDefinition:
    """Return the check that every id of a column stands in the table it refers to."""
    return ids_check(
        TABLES[reference.table],
        f"{reference.column}_in_{reference.target.replace('/', '_')}",
        f"Every {reference.column} of {reference.table} stands in {reference.target}.",
        lambda root: dangling(reference, root=root),
        TABLES[reference.target],
    )


def unique_check(table: Table) -> dg.AssetChecksDefinition:
    """Return the check that no id stands for two things in different datasets."""
    [key] = table.primary_key
    return ids_check(
        table,
        f"{key}_unique",
        f"No {key} stands in two rows of {table.name}, whatever the dataset.",
        lambda root: repeated_ids(table, root=root),
    )


def resolution_check(table: Table, what: str) -> dg.AssetChecksDefinition:
    """Return the check that reports the share of reported names resolved, per dataset and method."""

    @dg.asset_check(
        asset=asset_key(table),
        name=f"{what}_resolved",
        description=f"Share of reported {what} by method; warns where more than half are unresolved.",
    )
    def check(warehouse: Warehouse) -> dg.AssetCheckResult:
        shares = resolution_shares(table, root=warehouse.root)
        poor = shares.filter(pl.col("method") == "unresolved", pl.col("share") > MAX_UNRESOLVED)
        named = ", ".join(
            f"{dataset} {share:.0%}" for dataset, share in poor.select("dataset_id", "share").rows()
        )
        return dg.AssetCheckResult(
            passed=poor.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            description=f"unresolved {what}: {named}" if named else "",
            metadata={"shares": dg.MetadataValue.md(markdown_table(shares))},
        )

    return check


CHECKS: Sequence[dg.AssetChecksDefinition] = (
    *(reference_check(reference) for reference in REFERENCES),
    *(unique_check(table) for table in (SAMPLE, CONDITION, COMPOUND, CONTEXT, GENE)),
    resolution_check(COMPOUND_NAME, "compounds"),
    resolution_check(CONTEXT_NAME, "contexts"),
    resolution_check(GENE_NAME, "genes"),
)
