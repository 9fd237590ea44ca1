"""The only writer of Delta tables.

Rows are validated and encoded as they come, into files that nobody reads yet (``etl/warehouse/staging.py``),
and published in one commit that replaces whole partitions (or the whole table) or merges on the primary key.
Until the commit nothing of it can be read; a rejected or killed write leaves the last version. Every commit
carries its provenance.

**Two writers at once.** A replacement is committed by compare-and-swap: it names the version it was decided
on, and the log takes it only as the very next one. Where another commit came first, the files of the
replaced partitions are compared with those there were when the write began: if they are the same, the other
commit was about other partitions and this one is repeated on top of it, else the write fails and the other
version stands. The conflict rules of Delta itself are not relied on, because they let two first writers of a
partition both win.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import combinations
from typing import TypeAlias

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from etl.errors import ConcurrentWriteError, PerturbhouseError, RejectedWriteError
from etl.provenance import Provenance
from etl.settings import storage_options
from etl.unique_keys import UniqueKeys
from etl.validation import EXAMPLES, is_constant, violations
from etl.warehouse.layout import FILE_ROWS, LOG_RETENTION, ROW_GROUP_ROWS, WRITER
from etl.warehouse.staging import STAGING, DataFile, Staging, staging, table_uri
from schemas.table import Table

__all__ = [
    "STAGING",
    "Replacement",
    "arrow_schema",
    "committed_fingerprint",
    "committed_fingerprints",
    "create",
    "merge",
    "partitions",
    "remove",
    "replace",
    "replacing",
    "table_uri",
    "version",
]

UNSTORABLE = (pl.Categorical, pl.Enum, pl.Array, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int128)
"""Dtypes that Delta cannot hold or gives back as another one; a table that declares one is a mistake."""

COMMIT_ATTEMPTS = 100
"""Commits of other partitions that a commit gives way to before it gives up. One of those that try at once
always succeeds, so that many writers need many attempts but no waiting."""

Where: TypeAlias = frozenset[tuple[str, str]]
"""The partitions a commit replaced: column and value pairs, none for the whole table."""


class Replacement:
    """Rows on their way to replace the partitions ``where`` names, or the whole table.

    Rows are added in chunks. All rows that share the primary key but for its last column stand in one chunk,
    so that uniqueness can be checked chunk by chunk, in bounded memory. Chunks whose rows ascend in the
    primary key are cheapest: they need no sorting.
    """

    def __init__(self, table: Table, where: Mapping[str, str], files: Staging) -> None:
        self._table, self._where, self._staging = table, dict(where), files
        self._waiting: dict[tuple[str, ...], list[pl.DataFrame]] = {}
        self._prefixes = UniqueKeys()
        self._files: list[Future[DataFile]] = []
        self.n_rows = 0
        unstorable = [name for name, dtype in table.polars_schema.items() if isinstance(dtype, UNSTORABLE)]
        assert not unstorable, f"{table.name} declares dtypes Delta cannot hold: {unstorable}"
        unknown = set(where) - set(table.partition_by)
        assert not unknown, f"{table.name} has no partition column {sorted(unknown)}"

    def add(self, rows: pl.DataFrame) -> None:
        """Validate a chunk and stage it.

        A small chunk waits in memory for others; arrays that share memory with it must not be changed.

        Raises:
            RejectedWriteError: a row breaks the table's schema, lies outside the partition, or repeats a key.
        """
        for values, part in self._split(self.checked(rows)):
            self._waiting.setdefault(values, []).append(part)
            if _height(self._waiting[values]) >= FILE_ROWS:
                self._write(values)
        while sum(map(_height, self._waiting.values())) >= FILE_ROWS:
            self._write(max(self._waiting, key=lambda values: _height(self._waiting[values])))
        self.n_rows += rows.height

    def checked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a chunk in the order they are stored in.

        Raises:
            RejectedWriteError: as ``add``.
        """
        broken = violations(rows, self._table.model)
        if broken:
            self._reject("; ".join(broken))
        for column, value in self._where.items():
            n_strays = rows.select((pl.col(column) != value).sum()).item()
            if n_strays:
                self._reject(f"{n_strays} row(s) lie outside the partition {column} = {value}")
        key, order = list(self._table.primary_key), list(self._table.sort_by)
        if order and not ascends(rows, order, strictly=order == key):
            rows = rows.sort(order, maintain_order=True)
        self._check_keys(rows, key)
        return rows

    def _check_keys(self, rows: pl.DataFrame, key: list[str]) -> None:
        keys = rows.select(key)
        in_order = ascends(keys, key, strictly=True)
        maybe_repeated = not in_order and not ascends(keys.sort(key), key, strictly=True)
        if maybe_repeated and (repeated := keys.filter(keys.is_duplicated())).height:
            examples = repeated.unique(maintain_order=True).head(EXAMPLES).rows()
            self._reject(f"key ({', '.join(key)}) repeated in {repeated.height} row(s), e.g. {examples}")
        prefix = key[:-1] or key
        self._prefixes.add(_run_starts(keys.select(prefix)) if in_order else keys.select(prefix).unique())

    def _split(self, rows: pl.DataFrame) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
        """Yield the rows of each partition, without its columns."""
        columns = list(self._table.partition_by)
        if rows.is_empty():
            return
        if all(is_constant(rows, column) for column in columns):
            yield tuple(rows[column][0] for column in columns), rows.drop(columns)
        else:
            parts = rows.partition_by(columns, include_key=False, as_dict=True, maintain_order=True)
            yield from parts.items()

    def _write(self, values: tuple[str, ...]) -> None:
        chunks = self._waiting.pop(values)
        rows = pl.concat(chunks, rechunk=False)
        order = [column for column in self._table.sort_by if column not in self._table.partition_by]
        # Row groups skip by the order within them: chunks that fill one by themselves are sorted already.
        if order and rows.height < len(chunks) * ROW_GROUP_ROWS // 2 and not ascends(rows, order):
            rows = rows.sort(order, maintain_order=True)
        n_files = max(1, round(rows.height / FILE_ROWS))
        partition = dict(zip(self._table.partition_by, values, strict=True))
        for part in rows.iter_slices(-(-rows.height // n_files)):
            self._files.append(self._staging.submit(self._table, part, partition))

    def _reject(self, reason: str) -> None:
        raise RejectedWriteError(f"{self._table.name}: nothing written, the last version stands. {reason}")

    def finish(self) -> list[DataFile]:
        """Write what waits, and return all files.

        Raises:
            RejectedWriteError: chunks share a key but for its last column.
        """
        if n_repeated := self._prefixes.n_repeated():
            prefix = self._table.primary_key[:-1] or self._table.primary_key
            self._reject(f"{', '.join(prefix)} stands in several chunks, {n_repeated} time(s)")
        for values in list(self._waiting):
            self._write(values)
        return [file.result() for file in self._files]


def ascends(rows: pl.DataFrame, columns: Sequence[str], *, strictly: bool = False) -> bool:
    """Say whether rows are sorted by columns, in one pass; not, where a value is null.

    >>> rows = pl.DataFrame({"sample": [1, 1, 2], "gene": [3, 4, 4]})
    >>> ascends(rows, ["sample", "gene"], strictly=True), ascends(rows, ["gene"], strictly=True)
    (True, False)
    """
    if any(rows[column].null_count() for column in columns):
        return False
    less = pl.Series([False]).new_from_index(0, max(rows.height - 1, 0))
    equal = ~less
    for column in columns:
        before, after = rows[column][:-1], rows[column][1:]
        less |= equal & (before < after)
        equal &= before == after
    return bool((less if strictly else less | equal).all())


def _run_starts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the distinct rows of a frame in which equal rows follow each other."""
    starts = pl.Series([False]).new_from_index(0, max(rows.height - 1, 0))
    for column in rows.iter_columns():
        starts |= column[1:] != column[:-1]
    return rows.head(1).vstack(rows[1:].filter(starts))


def _height(frames: Sequence[pl.DataFrame]) -> int:
    return sum(frame.height for frame in frames)


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
    try:
        DeltaTable.create(
            table_uri(root, table),
            schema=arrow_schema(table),
            partition_by=list(table.partition_by),
            mode="ignore",
            name=table.name,
            description=table.grain,
            configuration={"delta.logRetentionDuration": LOG_RETENTION},
            storage_options=storage_options(root),
        )
    except CommitFailedError:
        if _opened(root, table) is None:  # else another process created it at this moment
            raise


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
        ConcurrentWriteError: another process committed the same partition since the block began.
        PerturbhouseError: the table stands in the warehouse with other columns or partitions.
    """
    known = {table: _opened_as_declared(root, table) for table in tables}
    before = {table: _files_of(known[table], where) for table, where in tables.items()}
    with staging(root) as files:
        replacements = {table.name: Replacement(table, where, files) for table, where in tables.items()}
        yield replacements
        written = {table: replacements[table.name].finish() for table in tables}
        for table, where in tables.items():
            metadata = _metadata(table, where, provenance) | {"write_id": files.write_id}
            delta = known[table]
            if delta is None:
                delta = _created(root, table)
            files.put_in_place(table, written[table])
            _commit(delta, table, where, written[table], before[table], metadata)


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
    with staging(root) as files:
        checked = Replacement(table, {}, files).checked(rows)
    delta = _created(root, table)
    on_key = " AND ".join(f"target.{column} = source.{column}" for column in table.primary_key)
    with _conflicts(table):
        (
            delta.merge(
                checked.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(arrow_schema(table)),
                predicate=on_key,
                source_alias="source",
                target_alias="target",
                writer_properties=WRITER,
                commit_properties=CommitProperties(custom_metadata=_metadata(table, {}, provenance)),
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )
    return version(root, table)


def remove(root: str, table: Table, where: Mapping[str, str], *, provenance: Provenance) -> None:
    """Drop the partitions ``where`` names in one commit, and with them their fingerprint.

    Nothing happens where the table has not been written or holds none of them.

    Raises:
        ConcurrentWriteError: another process replaced them meanwhile.
    """
    delta = _opened_as_declared(root, table)
    before = _files_of(delta, where)
    if delta is not None and before:
        metadata = _metadata(table, where, provenance) | {"removed": "true"}
        _commit(delta, table, where, [], before, metadata)


def version(root: str, table: Table) -> int:
    """Return the newest version of a table."""
    return DeltaTable(table_uri(root, table), storage_options=storage_options(root)).version()


def partitions(root: str, table: Table) -> list[dict[str, str]]:
    """Return the partitions that hold rows, sorted, from the log alone; for a whole table ``{}``."""
    files = _log_entries(_opened_as_declared(root, table))
    held = files.filter(pl.col("num_records") > 0)
    if held.is_empty():
        return []
    values = held.select(pl.col(f"partition.{column}").alias(column) for column in table.partition_by)
    return values.unique().sort(pl.all()).to_dicts() if table.partition_by else [{}]


def committed_fingerprints(root: str, table: Table) -> dict[Where, str]:
    """Return the fingerprint of the newest commit for each set of partitions that a commit replaced.

    Read from the log in one pass. What was removed since, or replaced as part of a larger set, is left out.
    """
    delta = _opened(root, table)
    newest: dict[Where, str | None] = {}
    for commit in delta.history() if delta is not None else ():
        if "partition" in commit:
            where = frozenset(json.loads(commit["partition"]).items())
            if not any(wider in newest for wider in _containing(where)):
                newest[where] = None if "removed" in commit else commit.get("fingerprint")
    return {where: fingerprint for where, fingerprint in newest.items() if fingerprint is not None}


def committed_fingerprint(root: str, table: Table, where: Mapping[str, str]) -> str | None:
    """Return the fingerprint of the newest commit that replaced a partition; None where there is none."""
    return committed_fingerprints(root, table).get(frozenset(where.items()))


def _containing(where: Where) -> Iterator[Where]:
    """Yield the sets of partitions that contain those of ``where``: it names each of their columns."""
    for n_columns in range(len(where) + 1):
        yield from map(frozenset, combinations(where, n_columns))


def _commit(
    delta: DeltaTable,
    table: Table,
    where: Mapping[str, str],
    files: Sequence[DataFile],
    before: frozenset[str],
    metadata: Mapping[str, str],
) -> None:
    """Replace the files ``before`` of the partitions ``where`` by others, in one commit."""
    with _conflicts(table):
        for attempt in range(COMMIT_ATTEMPTS):
            read = delta.version()
            delta.update_incremental()
            # An object store may have taken the commit and lost the answer.
            since = delta.history(max(delta.version() - read, 1)) if attempt else []
            if any(commit.get("write_id", "") == metadata.get("write_id") for commit in since):
                return
            if _files_of(delta, where) != before:
                break
            try:
                delta.create_write_transaction(
                    [file.as_action() for file in files],
                    mode="overwrite",
                    schema=delta.schema(),
                    partition_by=list(table.partition_by),
                    partition_filters=[(column, "=", value) for column, value in where.items()] or None,
                    commit_properties=CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0),
                )
            except CommitFailedError:
                continue
            return
        raise CommitFailedError(f"{table.name}: {dict(where)}")


def _created(root: str, table: Table) -> DeltaTable:
    create(root, table)
    delta = DeltaTable(table_uri(root, table), storage_options=storage_options(root))
    _require_same_shape(delta, table)
    return delta


def _opened(root: str, table: Table) -> DeltaTable | None:
    try:
        return DeltaTable(table_uri(root, table), storage_options=storage_options(root))
    except TableNotFoundError:
        return None


def _opened_as_declared(root: str, table: Table) -> DeltaTable | None:
    delta = _opened(root, table)
    if delta is not None:
        _require_same_shape(delta, table)
    return delta


def _log_entries(delta: DeltaTable | None) -> pl.DataFrame:
    """Return path, rows and partition values of the files of a table's newest version."""
    if delta is None:
        return pl.DataFrame(schema={"path": pl.String, "num_records": pl.Int64})
    return pl.DataFrame(delta.get_add_actions(flatten=True))


def _files_of(delta: DeltaTable | None, where: Mapping[str, str]) -> frozenset[str]:
    """Return the files that hold the partitions ``where`` names."""
    files = _log_entries(delta)
    if files.is_empty():
        return frozenset()
    chosen = [pl.col(f"partition.{column}") == value for column, value in where.items()]
    return frozenset(files.filter(*chosen)["path"])


def _require_same_shape(delta: DeltaTable, table: Table) -> None:
    """Raise where a table was written with other columns or partitions than it has now."""
    stored, declared = pa.schema(delta.schema()), arrow_schema(table)
    found = pl.DataFrame(stored.empty_table()).schema
    same_columns = dict(found) == dict(table.polars_schema) and all(
        stored.field(field.name).nullable or not field.nullable for field in declared
    )
    if not same_columns or delta.metadata().partition_columns != list(table.partition_by):
        raise PerturbhouseError(
            f"{table.name}: stands in the warehouse with other columns or partitions than this version of "
            f"Perturbhouse writes; delete {delta.table_uri} or build into a new root"
        )


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


def _metadata(table: Table, where: Mapping[str, str], provenance: Provenance) -> dict[str, str]:
    """Return what a commit tells: who wrote it, from what, and which partitions it replaced."""
    replaced = {"partition": json.dumps(dict(where), sort_keys=True), "table": table.name}
    return provenance.as_metadata() | replaced
