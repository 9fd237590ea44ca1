"""SQL over the warehouse with DuckDB: every table is a view named ``<layer>.<table>``."""

import duckdb
import polars as pl
from deltalake import DeltaTable

from etl.errors import PerturbhouseError
from etl.settings import DEFAULT_ROOT, storage_options
from etl.warehouse.delta import table_uri
from etl.warehouse.scan import exists
from schemas import TABLES

READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def query(sql: str, *, root: str = DEFAULT_ROOT) -> pl.DataFrame:
    """Return the result of a SQL statement over the tables of a warehouse.

    Filters and chosen columns are pushed down to the Parquet files.

    Raises:
        PerturbhouseError: the statement is wrong (the message is DuckDB's), or does not read.
    """
    with duckdb.connect() as connection:
        for table in TABLES.values():
            if not exists(table, root=root):
                continue
            flat_name = table.name.replace("/", "__")
            dataset = DeltaTable(
                table_uri(root, table), storage_options=storage_options(root)
            ).to_pyarrow_dataset()
            connection.register(flat_name, dataset)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.layer}")
            view = table.name.replace("/", ".")
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {flat_name}")  # noqa: S608 - our own names
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in READING:
                raise PerturbhouseError("SQL: one SELECT (or DESCRIBE, EXPLAIN) statement is run at a time")
            return connection.sql(sql).pl()
        except duckdb.Error as error:
            raise PerturbhouseError(f"SQL: {' '.join(str(error).split())}") from error
