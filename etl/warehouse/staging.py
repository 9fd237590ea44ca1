"""Data files on their way into a table: written where no reader sees them, put in place for the commit.

Below a folder, files wait in ``.staging`` and move into the table right before the commit, so that a killed
writer leaves nothing a reader sees; the next writer sweeps up after it. In an object store nothing moves: a
file is written where it will stay, and no reader sees it before a commit names it. What a writer killed there
leaves is removed by ``DeltaTable.vacuum``, as with any Delta table.

What is committed, and when, is decided in ``etl/warehouse/delta.py``.
"""

import json
import os
import shutil
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from pyarrow.fs import FileSystem, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from etl.errors import RejectedWriteError
from etl.settings import is_remote, storage_options
from etl.warehouse.layout import COMPRESSION, COMPRESSION_LEVEL, LONGEST_TEXT_STATISTIC, ROW_GROUP_ROWS
from schemas.table import Table

STAGING = ".staging"
WRITES_AHEAD = 1
"""Files that wait to be encoded while rows of the next ones are computed; each holds its rows in memory."""
LONGEST_FOLDER_NAME = 255
"""Bytes that file systems allow for one name."""


def table_uri(root: str, table: Table) -> str:
    """Return where a table lives below a warehouse root."""
    return f"{root.rstrip('/')}/{table.name}"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file, and what the log will say of it.

    Args:
        path: below the folder of its table.
        partition: value of each partition column; the file holds the other columns.
        n_bytes: size of the file.
        statistics: rows, and per column the least and largest value and the number of nulls, as Delta's JSON.
    """

    path: str
    partition: Mapping[str, str]
    n_bytes: int
    statistics: str

    def as_action(self) -> AddAction:
        """Return the entry of the log that makes the file part of its table."""
        return AddAction(
            path=self.path,
            size=self.n_bytes,
            partition_values=self.partition,
            modification_time=time.time_ns() // 1_000_000,
            data_change=True,
            stats=self.statistics,
        )


class Staging:
    """The data files of one write.

    Args:
        root: warehouse root.
        folder: where files wait; None in an object store.
    """

    def __init__(self, root: str, folder: Path | None) -> None:
        self._root, self._folder = root, folder
        self._in_place: dict[Table, list[str]] = {}
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._submitted: deque[Future[DataFile]] = deque()
        self.write_id = uuid.uuid4().hex
        """Stands in the commits of this write and tells whether they happened."""

    def submit(self, table: Table, rows: pl.DataFrame, partition: Mapping[str, str]) -> "Future[DataFile]":
        """Write a file as ``write`` does, while the caller goes on; wait where too many are under way.

        An error of a file that was submitted before is raised here.
        """
        while len(self._submitted) >= WRITES_AHEAD:
            self._submitted.popleft().result()
        file = self._encoder.submit(self.write, table, rows, partition)
        self._submitted.append(file)
        return file

    def end(self) -> None:
        """Let the file end that is being written, and begin no other."""
        self._encoder.shutdown(cancel_futures=True)

    def write(self, table: Table, rows: pl.DataFrame, partition: Mapping[str, str]) -> DataFile:
        """Write the rows of one partition, its columns left out, into a file that no reader sees yet."""
        folders = [f"{column}={quote(value, safe='')}" for column, value in partition.items()]
        for name in folders:
            if len(name) > LONGEST_FOLDER_NAME:
                raise RejectedWriteError(f"{table.name}: too long for the name of a folder: {name}")
        path = "/".join([*folders, f"{uuid.uuid4().hex}.parquet"])
        if self._folder is None:
            self._in_place.setdefault(table, []).append(path)
            target = f"{table_uri(self._root, table)}/{path}"
        else:
            target = str(self._waiting(path))
        rows.write_parquet(
            target,
            compression=COMPRESSION,
            compression_level=COMPRESSION_LEVEL,
            row_group_size=ROW_GROUP_ROWS,
            storage_options=storage_options(self._root),
        )
        if self._folder is None:
            n_bytes = file_system(self._root, table).get_file_info(path).size
        else:
            n_bytes = self._waiting(path).stat().st_size
        return DataFile(path, partition, n_bytes, statistics(rows))

    def put_in_place(self, table: Table, files: Sequence[DataFile]) -> None:
        """Move files into the folder of their table, where a commit can name them."""
        if self._folder is None:
            return
        paths = [file.path for file in files]
        # Told before the first move: a sweep must find the files of a writer killed in between.
        told = {"table": table_uri(self._root, table), "paths": paths, "write_id": self.write_id}
        _moved(self._folder, table).write_text(json.dumps(told))
        for path in paths:
            target = Path(table_uri(self._root, table)) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._waiting(path).replace(target)
            self._in_place.setdefault(table, []).append(path)

    def withdraw(self) -> None:
        """Remove the files in place that no commit names: those of a write that failed."""
        for table, paths in self._in_place.items():
            if not _is_committed(table_uri(self._root, table), self.write_id):
                files = file_system(self._root, table)
                for path in paths:
                    files.delete_file(path)

    def _waiting(self, path: str) -> Path:
        assert self._folder is not None
        return self._folder / Path(path).name


@contextmanager
def staging(root: str) -> Iterator[Staging]:
    """Stage a write: files that are not committed when the block ends are removed, and those of dead writers.

    An error on the way out never hides the one that ended the block.
    """
    folder = None if is_remote(root) else _own_folder(Path(root) / STAGING)
    files = Staging(root, folder)
    try:
        yield files
    except BaseException:
        files.end()
        with suppress(DeltaError, OSError):  # the store is out of reach: the files stay, unnoticed by readers
            files.withdraw()
        raise
    finally:
        files.end()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def file_system(root: str, table: Table) -> FileSystem:
    """Return the folder of a table, here or in an object store, as a file system."""
    uri = table_uri(root, table)
    if is_remote(root):
        return PyFileSystem(DeltaStorageHandler(uri, storage_options(root)))
    return SubTreeFileSystem(str(Path(uri).resolve()), LocalFileSystem())


def statistics(rows: pl.DataFrame) -> str:
    """Return the statistics of a data file as the log holds them; readers skip files by them.

    Times have none, because the log would cut them to milliseconds, nor have lists, long texts and columns
    that are not finite.

    >>> statistics(pl.DataFrame({"gene_id": [7, 2], "name": ["b", None], "flags": [["x"], []]}))
    '{"numRecords": 2, "minValues": {"gene_id": 2, "name": "b"}, "maxValues": {"gene_id": 7, "name": "b"}, \
"nullCount": {"gene_id": 0, "name": 1}}'
    """
    plain = [
        name for name, dtype in rows.schema.items() if dtype.is_numeric() or dtype in (pl.String, pl.Boolean)
    ]
    least, largest, nulls = (
        rows.select(getattr(pl.col(name), of)() for name in plain).row(0, named=True) if plain else {}
        for of in ("min", "max", "null_count")
    )
    told = [name for name in plain if _can_be_told(least[name]) and _can_be_told(largest[name])]
    return json.dumps(
        {
            "numRecords": rows.height,
            "minValues": {name: least[name] for name in told},
            "maxValues": {name: largest[name] for name in told},
            "nullCount": nulls,
        }
    )


def _can_be_told(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT_STATISTIC
    return value is not None and value not in (float("inf"), float("-inf")) and value == value


def _is_committed(uri: str, write_id: str) -> bool:
    try:
        history = DeltaTable(uri, storage_options=storage_options(uri)).history()
    except TableNotFoundError:
        return False
    return any(commit.get("write_id") == write_id for commit in history)


def _moved(folder: Path, table: Table) -> Path:
    """Return the note of what was moved into a table."""
    return folder / f"{table.name.replace('/', '.')}.json"


def _own_folder(staging_folder: Path) -> Path:
    """Return a new folder of this process, after sweeping up those of dead ones."""
    staging_folder.mkdir(parents=True, exist_ok=True)
    _sweep(staging_folder)
    folder = staging_folder / f"{socket.gethostname()}--{os.getpid()}--{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _sweep(staging_folder: Path) -> None:
    """Remove what killed processes of this machine left behind, here and in the tables' folders."""
    for folder in staging_folder.iterdir():
        host, _, rest = folder.name.partition("--")
        process, _, _ = rest.partition("--")
        if host == socket.gethostname() and process.isdigit() and not _is_alive(int(process)):
            try:
                for note in folder.glob("*.json"):
                    _withdraw_noted(note)
            except (DeltaError, OSError):  # cannot be told now whether it was committed: the next sweep may
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _withdraw_noted(note: Path) -> None:
    try:
        told = json.loads(note.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # swept by another, or killed before it moved anything
        return
    if not _is_committed(told["table"], told["write_id"]):
        for path in told["paths"]:
            (Path(told["table"]) / path).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True
