"""The only writer of Delta tables.

A write is staged, validated and then published in one commit that replaces whole partitions (or the whole
table) or merges on the primary key. Until the commit nothing of it can be read; a rejected or killed write
leaves the last version. Every commit carries its provenance.
"""

import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from etl.errors import ConcurrentWriteError, PerturbhouseError, RejectedWriteError
from etl.provenance import Provenance
from etl.settings import is_remote, storage_options
from etl.validation import EXAMPLES, violations
from etl.warehouse.layout import TARGET_FILE_BYTES, WRITER
from schemas.table import Table

STAGING = ".staging"
UNSTORABLE = (pl.Categorical, pl.Enum, pl.Array, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int128)
"""Dtypes that Delta cannot hold or gives back as another one; a table that declares one is a mistake."""


class Replacement:
    """Rows on their way to replace the partitions ``where`` names, or the whole table.

    Rows are added in chunks. All rows that share the primary key but for its last column stand in one chunk,
    so that uniqueness can be checked chunk by chunk, in bounded memory.
    """

    def __init__(self, table: Table, where: Mapping[str, str], staged: Path) -> None:
        self._table, self._where, self._staged = table, dict(where), staged
        self._writer: pq.ParquetWriter | None = None
        self._prefixes: set[tuple[Any, ...]] = set()
        self.n_rows = 0
        unstorable = [name for name, dtype in table.polars_schema.items() if isinstance(dtype, UNSTORABLE)]
        assert not unstorable, f"{table.name} declares dtypes Delta cannot hold: {unstorable}"

    def add(self, rows: pl.DataFrame) -> None:
        """Validate a chunk and stage it.

        Raises:
            RejectedWriteError: a row breaks the table's schema, lies outside the partition, or repeats a key.
        """
        broken = violations(rows, self._table.model)
        if broken:
            self._reject("; ".join(broken))
        for column, value in self._where.items():
            strays = rows.filter(pl.col(column) != value)
            if strays.height:
                self._reject(f"{strays.height} row(s) lie outside the partition {column} = {value}")
        self._check_keys(rows)
        if rows.height == 0:
            return
        chunk = rows.sort(self._table.sort_by) if self._table.sort_by else rows
        staged = chunk.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._staged, staged.schema, compression="lz4")
        self._writer.write_table(staged)
        self.n_rows += rows.height

    def _check_keys(self, rows: pl.DataFrame) -> None:
        key = list(self._table.primary_key)
        repeated = rows.select(key).filter(rows.select(key).is_duplicated())
        if repeated.height:
            examples = repeated.unique(maintain_order=True).head(EXAMPLES).rows()
            self._reject(f"key ({', '.join(key)}) repeated in {repeated.height} row(s), e.g. {examples}")
        prefix = key[:-1] or key
        prefixes = set(rows.select(prefix).unique().rows())
        if again := prefixes & self._prefixes:
            examples = sorted(again)[:EXAMPLES]
            self._reject(f"{', '.join(prefix)} stands in several chunks, e.g. {examples}")
        self._prefixes |= prefixes

    def _reject(self, reason: str) -> None:
        raise RejectedWriteError(f"{self._table.name}: nothing written, the last version stands. {reason}")

    def close(self) -> None:
        """End staging."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the staged rows in order."""
        if self.n_rows:
            with pq.ParquetFile(self._staged) as staged:
                yield from staged.iter_batches(batch_size=WRITER_BATCH_ROWS)


WRITER_BATCH_ROWS = 500_000


def table_uri(root: str, table: Table) -> str:
    """Return where a table lives below a warehouse root."""
    return f"{root.rstrip('/')}/{table.name}"


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table, with nullability and column descriptions."""
    empty = pl.DataFrame(schema=table.polars_schema).to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = table.columns
    return pa.schema(
        [
            pa.field(
                field.name,
                field.type,
                nullable=columns[field.name].nullable,
                metadata={"comment": columns[field.name].description},
            )
            for field in empty.schema
        ]
    )


def create(root: str, table: Table) -> None:
    """Create an empty table where there is none; concurrent first writers then do not race."""
    DeltaTable.create(
        table_uri(root, table),
        schema=arrow_schema(table),
        partition_by=list(table.partition_by),
        mode="ignore",
        name=table.name,
        description=table.grain,
        storage_options=storage_options(root),
    )


@contextmanager
def replacing(
    root: str, tables: Mapping[Table, Mapping[str, str]], *, provenance: Provenance
) -> Iterator[dict[str, Replacement]]:
    """Stage rows for several tables, then commit them, in the order given.

    Nothing is committed unless the whole block succeeds: a fit that fails half way publishes no table.

    Args:
        root: warehouse root.
        tables: for each table the partition values to replace (empty: the whole table).
        provenance: carried by each commit.

    Yields:
        a ``Replacement`` per table, by table name.

    Raises:
        RejectedWriteError: rows break the schema of their table.
        ConcurrentWriteError: another process committed the same partition in between.
    """
    with _staging_folder(root) as folder:
        replacements = {
            table.name: Replacement(table, where, folder / f"{uuid.uuid4().hex}.parquet")
            for table, where in tables.items()
        }
        try:
            yield replacements
        finally:
            for replacement in replacements.values():
                replacement.close()
        for table, where in tables.items():
            _commit(root, table, where, replacements[table.name], provenance)


def replace(
    root: str, table: Table, rows: pl.DataFrame, where: Mapping[str, str], *, provenance: Provenance
) -> int:
    """Replace the partition ``where`` names by rows, in one commit, and return the new version.

    Raises:
        RejectedWriteError: rows break the schema of the table.
    """
    with replacing(root, {table: where}, provenance=provenance) as staged:
        staged[table.name].add(rows)
    return version(root, table)


def merge(root: str, table: Table, rows: pl.DataFrame, *, provenance: Provenance) -> int:
    """Update rows with the same primary key and insert the others, in one commit; return the new version.

    Raises:
        RejectedWriteError: rows break the schema of the table.
    """
    with _staging_folder(root) as folder:
        checked = Replacement(table, {}, folder / "merge.parquet")
        checked.add(rows)
        checked.close()
        create(root, table)
        delta = DeltaTable(table_uri(root, table), storage_options=storage_options(root))
        on_key = " AND ".join(f"target.{column} = source.{column}" for column in table.primary_key)
        with _conflicts(table):
            (
                delta.merge(
                    pa.RecordBatchReader.from_batches(arrow_schema(table), checked.batches()),
                    predicate=on_key,
                    source_alias="source",
                    target_alias="target",
                    writer_properties=WRITER,
                    commit_properties=_commit_properties(table, {}, provenance),
                )
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute()
            )
    return version(root, table)


def version(root: str, table: Table) -> int:
    """Return the newest version of a table."""
    return DeltaTable(table_uri(root, table), storage_options=storage_options(root)).version()


def committed_fingerprint(root: str, table: Table, where: Mapping[str, str]) -> str | None:
    """Return the fingerprint of the newest commit that replaced a partition; None where there is none."""
    try:
        delta = DeltaTable(table_uri(root, table), storage_options=storage_options(root))
    except TableNotFoundError:
        return None
    partition = _partition_label(where)
    for commit in delta.history():
        if commit.get("partition") == partition:
            return commit.get("fingerprint")
    return None


def _commit(
    root: str, table: Table, where: Mapping[str, str], replacement: Replacement, provenance: Provenance
) -> None:
    create(root, table)
    chosen = [f"{column} = '{_quoted(value)}'" for column, value in where.items()]
    # A whole table has a condition too, true for every row: without one, two first writers would both win.
    predicate = " AND ".join(chosen) or f"{table.primary_key[0]} IS NOT NULL"
    with _conflicts(table):
        write_deltalake(
            table_uri(root, table),
            pa.RecordBatchReader.from_batches(arrow_schema(table), replacement.batches()),
            mode="overwrite",
            predicate=predicate,
            target_file_size=TARGET_FILE_BYTES,
            writer_properties=WRITER,
            commit_properties=_commit_properties(table, where, provenance),
            storage_options=storage_options(root),
        )


def _quoted(value: str) -> str:
    return value.replace("'", "''")


@contextmanager
def _conflicts(table: Table) -> Iterator[None]:
    try:
        yield
    except CommitFailedError as error:
        raise ConcurrentWriteError(
            f"{table.name}: another process wrote these rows meanwhile; its version stands, run again"
        ) from error
    except DeltaError as error:
        reason = " ".join(str(error).split())
        raise PerturbhouseError(f"{table.name}: cannot be written: {reason}") from error


def _commit_properties(table: Table, where: Mapping[str, str], provenance: Provenance) -> CommitProperties:
    partition = {"partition": _partition_label(where), "table": table.name}
    return CommitProperties(custom_metadata=provenance.as_metadata() | partition)


def _partition_label(where: Mapping[str, str]) -> str:
    return json.dumps(dict(where), sort_keys=True)


@contextmanager
def _staging_folder(root: str) -> Iterator[Path]:
    """Yield a folder for rows that are not committed yet; remove it, and those of dead processes."""
    if is_remote(root):
        with tempfile.TemporaryDirectory(prefix="perturbhouse-") as temporary:
            yield Path(temporary)
        return
    staging = Path(root) / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    _sweep(staging)
    folder = staging / f"{socket.gethostname()}--{os.getpid()}--{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(staging: Path) -> None:
    """Remove what killed processes of this machine left behind."""
    for folder in staging.iterdir():
        host, _, rest = folder.name.partition("--")
        process, _, _ = rest.partition("--")
        if host == socket.gethostname() and process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True
