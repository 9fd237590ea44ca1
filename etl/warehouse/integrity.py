"""Facts across tables: which columns refer to which table, and how much was resolved."""

from dataclasses import dataclass

import polars as pl

from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import exists, scan
from schemas.table import Table


@dataclass(frozen=True, slots=True)
class Reference:
    """A column whose values stand in the column of the same name of another table."""

    table: str
    column: str
    target: str


REFERENCES = (
    Reference("core/sample", "compound_id", "core/compound"),
    Reference("core/sample", "context_id", "core/context"),
    Reference("core/sample", "condition_id", "mart/condition"),
    Reference("core/sample_annotation", "sample_id", "core/sample"),
    Reference("core/expression", "sample_id", "core/sample"),
    Reference("core/expression", "gene_id", "core/gene"),
    Reference("core/viability", "compound_id", "core/compound"),
    Reference("core/viability", "context_id", "core/context"),
    Reference("mart/condition", "compound_id", "core/compound"),
    Reference("mart/differential_expression", "condition_id", "mart/condition"),
    Reference("mart/differential_expression", "gene_id", "core/gene"),
    Reference("mart/replicate_effect", "sample_id", "core/sample"),
    Reference("mart/replicate_effect", "gene_id", "core/gene"),
    Reference("mart/gene_variance", "gene_id", "core/gene"),
    Reference("mart/dose_response", "compound_id", "core/compound"),
)
"""Every reference between tables; each becomes a check in the Dagster UI."""


def dangling(reference: Reference, *, root: str = DEFAULT_ROOT) -> pl.Series:
    """Return the distinct values of a column that its target table lacks, sorted; none where all is well.

    A table that has not been written, as in a warehouse of screens only, refers to nothing.
    """
    column = pl.col(reference.column)
    if not exists(reference.table, root=root):
        return pl.Series(reference.column, [])
    referring = scan(reference.table, root=root).select(column).drop_nulls().unique()
    missing = referring
    if exists(reference.target, root=root):
        target = scan(reference.target, root=root).select(column).unique()
        missing = referring.join(target, on=reference.column, how="anti")
    return missing.collect(engine="streaming")[reference.column].sort()


def repeated_ids(table: Table, *, root: str = DEFAULT_ROOT) -> pl.Series:
    """Return the ids of a table that stand in more than one row, sorted.

    A write refuses them within its partition; this finds hashes that collide between datasets, and proves
    that a table over all datasets was not written twice.

    Args:
        table: a table whose primary key is one column.
        root: warehouse root.
    """
    [key] = table.primary_key
    if not exists(table, root=root):
        return pl.Series(key, [])
    counted = scan(table, root=root).group_by(key).len().filter(pl.col("len") > 1)
    return counted.collect()[key].sort()


def resolution_shares(table: Table, *, root: str = DEFAULT_ROOT) -> pl.DataFrame:
    """Return per dataset and method of a name table: n reported names and their share, most used first.

    A table that has not been written has no rows.

    Args:
        table: ``core/compound_name``, ``core/context_name`` or ``core/gene_name``.
        root: warehouse root.
    """
    written = exists(table, root=root)
    names = scan(table, root=root) if written else pl.LazyFrame(schema=table.polars_schema)
    counted = names.group_by("dataset_id", "method").agg(n=pl.len()).collect()
    return counted.with_columns(share=pl.col("n") / pl.col("n").sum().over("dataset_id")).sort(
        "dataset_id", "n", "method", descending=[False, True, False]
    )
