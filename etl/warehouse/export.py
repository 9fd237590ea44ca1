"""Tables as files that can be passed on: Parquet or CSV, if wanted without what may not be passed on.

Licences are the datasets'; ``core/dataset.is_redistributable`` says of each whether rows derived from it may
be passed on. A table over all datasets is not derived from one of them alone: it is not filtered, but refused
where it may hold what must stay.
"""

from pathlib import Path

import polars as pl

from etl.errors import PerturbhouseError
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import scan, table_named
from schemas.core.dataset import DATASET
from schemas.table import Table

SUFFIXES = (".parquet", ".csv")


def redistributable(table: Table | str, *, root: str = DEFAULT_ROOT) -> pl.LazyFrame:
    """Return the rows of a table that may be passed on: those of datasets whose licence allows it.

    Raises:
        PerturbhouseError: the table has no dataset of its own, and some dataset must not be passed on.
    """
    table = table_named(table) if isinstance(table, str) else table
    datasets = scan(DATASET, root=root).select("dataset_id", "is_redistributable").collect()
    kept = datasets.filter("is_redistributable")["dataset_id"]
    if "dataset_id" in table.polars_schema:
        return scan(table, root=root).filter(pl.col("dataset_id").is_in(kept.implode()))
    if withheld := sorted(set(datasets["dataset_id"]) - set(kept)):
        raise PerturbhouseError(
            f"{table.name} is made of all datasets, among them {', '.join(withheld)}, which may not be "
            "passed on; build a warehouse without them to export it"
        )
    return scan(table, root=root)


def export(
    table: Table | str, out: Path, *, redistributable_only: bool = False, root: str = DEFAULT_ROOT
) -> int:
    """Write a table to a file, streaming, and return its number of rows.

    Raises:
        PerturbhouseError: the table is not there, or as :func:`redistributable` and :func:`write_rows`.
    """
    rows = redistributable(table, root=root) if redistributable_only else scan(table, root=root)
    write_rows(rows, out)
    return int(rows.select(pl.len()).collect().item())


def write_rows(rows: pl.LazyFrame, out: Path) -> None:
    """Write rows to a file, streaming; lists are joined by ``; `` in CSV.

    The file is whole or absent: it is written under another name first.

    Raises:
        PerturbhouseError: the suffix is neither .parquet nor .csv.
    """
    if out.suffix not in SUFFIXES:
        raise PerturbhouseError(f"{out.name}: the suffix of an export is one of {', '.join(SUFFIXES)}")
    staged = out.with_name(f".{out.name}.partial")
    try:
        if out.suffix == ".parquet":
            rows.sink_parquet(staged, compression="zstd")
        else:
            schema = rows.collect_schema()
            lists = [name for name, dtype in schema.items() if isinstance(dtype, pl.List)]
            joined = [pl.col(name).cast(pl.List(pl.String)).list.join("; ") for name in lists]
            rows.with_columns(joined).sink_csv(staged)
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)
