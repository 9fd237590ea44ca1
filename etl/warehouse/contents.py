"""What a warehouse holds: rows, datasets, size and version of each table, from the Delta logs alone."""

from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from etl.settings import DEFAULT_ROOT, storage_options
from etl.warehouse.delta import table_uri
from etl.warehouse.scan import exists
from schemas import TABLES


@dataclass(frozen=True, slots=True)
class TableContents:
    """Size of a table.

    Args:
        name: the table.
        n_rows: rows of the newest version.
        n_datasets: datasets with rows, where the table is partitioned by dataset.
        n_bytes: size of the newest version's files.
        version: newest Delta version.
    """

    name: str
    n_rows: int
    n_datasets: int | None
    n_bytes: int
    version: int


def table_contents(*, root: str = DEFAULT_ROOT) -> list[TableContents]:
    """Return the contents of every table that has been written, in the order of ``TABLES``."""
    contents = []
    for table in TABLES.values():
        if not exists(table, root=root):
            continue
        delta = DeltaTable(table_uri(root, table), storage_options=storage_options(root))
        files = pl.DataFrame(delta.get_add_actions(flatten=True))
        by_dataset = "dataset_id" in table.partition_by
        contents.append(
            TableContents(
                name=table.name,
                n_rows=int(files["num_records"].sum()) if files.height else 0,
                n_datasets=files["partition.dataset_id"].n_unique() if by_dataset and files.height else None,
                n_bytes=int(files["size_bytes"].sum()) if files.height else 0,
                version=delta.version(),
            )
        )
    return contents
