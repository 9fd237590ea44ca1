"""Checks across tables and of what a build made of its input, shown beside the assets.

The rules of a single table are not here: they are checked before its rows are committed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets.calibration_plot import bars, calibration_plot
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
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.table import Table

MAX_UNRESOLVED = 0.5
"""Share of unresolved names from which a dataset is worth a warning."""

CALIBRATED = (0.02, 0.10)
"""Share of null p-values below 0.05 that is near enough to 0.05."""

FALSELY_SIGNIFICANT = 0.01
"""Share of null tests that may be significant after adjustment."""

ENOUGH_TESTS = 5_000
"""Tests from which that share says something about the method: genes of one sample move together."""

MAX_PANELS = 12
MAX_LISTED = 30


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


def miscalibrated() -> pl.Expr:
    """Say whether a fit unit has enough null tests, and too few or too many of them are small.

    Outlier wells raise the variance that all tests share, so that few of their tests are below 0.05 but
    many remain significant.
    """
    off = ~pl.col("share_below_0_05").is_between(*CALIBRATED)
    return (pl.col("n_tests") >= ENOUGH_TESTS) & (off | (pl.col("share_significant") > FALSELY_SIGNIFICANT))


@dg.asset_check(
    asset=asset_key(NULL_CALIBRATION),
    name="p_values_uniform",
    description="p-values of vehicle samples held out and tested against the others are near uniform.",
)
def p_values_uniform(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Warn of fit units whose null p-values are off, and show the worst of all."""
    rows = warehouse.read_all(NULL_CALIBRATION)
    distance = (pl.col("share_below_0_05") - 0.05).abs()
    tested = rows.filter(pl.col("n_tests") > 0).with_columns(
        rank=pl.when(pl.col("n_tests") >= ENOUGH_TESTS).then(distance).otherwise(-1 / (1 + distance))
    )
    worst = tested.sort(
        "rank", "dataset_id", "context_id", "vehicle_group", descending=[True, False, False, False]
    )
    off = rows.filter(miscalibrated())
    listed = worst.head(MAX_LISTED).select(
        "dataset_id",
        "context_id",
        "vehicle_group",
        "n_tests",
        pl.col("share_below_0_05", "share_below_0_001", "share_significant").round(4),
        pl.col("inflation").round(2),
        p_values=pl.col("histogram").map_elements(
            lambda counts: bars(counts.to_list()), return_dtype=pl.String
        ),
    )
    metadata: dict[str, Any] = {
        "fit_units": rows.height,
        "tested": tested.height,
        "with_enough_tests": rows.filter(pl.col("n_tests") >= ENOUGH_TESTS).height,
        "off": off.height,
        "worst": dg.MetadataValue.md(markdown_table(listed)),
    }
    if worst.height:
        metadata["plot"] = dg.MetadataValue.md(calibration_plot(worst.head(MAX_PANELS)))
    named = ", ".join(
        f"{dataset}/{context} {share:.3f}"
        for dataset, context, share in off.head(5)
        .select("dataset_id", "context_id", "share_below_0_05")
        .rows()
    )
    return dg.AssetCheckResult(
        passed=off.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{off.height} fit unit(s) with null p-values off 0.05 below 0.05: {named}"
        if off.height
        else "",
        metadata=metadata,
    )


CHECKS: Sequence[dg.AssetChecksDefinition] = (
    *(reference_check(reference) for reference in REFERENCES),
    *(unique_check(table) for table in (SAMPLE, CONDITION, COMPOUND, CONTEXT, GENE)),
    resolution_check(COMPOUND_NAME, "compounds"),
    resolution_check(CONTEXT_NAME, "contexts"),
    resolution_check(GENE_NAME, "genes"),
    p_values_uniform,
)
