"""What all assets of a kind have in common: key, group, partitions and column schema, from the table."""

from typing import Any

import dagster as dg

from assets.partitions import datasets, fit_units
from etl.digests import code_version
from etl.harmonize.snapshots import REFERENCES
from schemas.table import Table


def asset_key(table: Table) -> dg.AssetKey:
    """Return the asset key of a table: its name, level by level."""
    return dg.AssetKey(table.name.split("/"))


def column_schema(table: Table) -> dg.TableSchema:
    """Return the column schema of a table as the UI shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(column.dtype.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=table.primary_key == (name,)
                ),
            )
            for name, column in table.columns.items()
        ]
    )


def facts(table: Table, upstream: tuple[Table, ...]) -> dict[str, Any]:
    """Return the keyword arguments that every asset of a table has."""
    return {
        "key": asset_key(table),
        "deps": [asset_key(other) for other in upstream],
        "group_name": table.layer,
        "kinds": {"polars", "deltalake"},
        "code_version": code_version(),
        "metadata": {
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": table.name,
            "grain": table.grain,
            "primary_key": ", ".join(table.primary_key),
        },
    }


def reference_key(name: str) -> dg.AssetKey:
    """Return the asset key of an identifier reference."""
    return dg.AssetKey(["raw", "reference", name])


def per_dataset(table: Table, *upstream: Table, references: str | None = None) -> dict[str, Any]:
    """Return the arguments of an asset with one partition per dataset.

    Args:
        table: what the asset writes.
        upstream: what it reads.
        references: the entity whose identifier references it reads, too.
    """
    arguments = facts(table, upstream) | {"partitions_def": datasets}
    if references is not None:
        read = [each for each in REFERENCES if each.entity in (references, "all")]
        arguments["deps"] += [reference_key(each.name) for each in read]
    return arguments


def shared(table: Table, *upstream: Table) -> dict[str, Any]:
    """Return the arguments of an asset over all datasets; writers take turns: it is replaced whole."""
    return facts(table, upstream) | {"pool": table.name.replace("/", "_")}


def shared_spec(table: Table, *upstream: Table, description: str) -> dg.AssetSpec:
    """Return the specification of one of several tables over all datasets that are computed together."""
    return dg.AssetSpec(**facts(table, upstream), description=description)


def effect_spec(table: Table, *upstream: Table, description: str) -> dg.AssetSpec:
    """Return the specification of one effect table: one partition per fit unit.

    Dagster knows no mapping from a fit unit to its dataset, so that the lineage leads to all datasets.
    """
    arguments = facts(table, upstream) | {
        "deps": [
            dg.AssetDep(asset_key(other), partition_mapping=dg.AllPartitionMapping()) for other in upstream
        ]
    }
    return dg.AssetSpec(**arguments, partitions_def=fit_units, description=description)
