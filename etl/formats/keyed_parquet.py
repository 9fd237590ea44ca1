"""Tables too large for memory that are asked for a few keys: folders of sorted Parquet files.

Here: sorting a stream of frames by a key in bounded memory, publishing the result whole or not at all, and
reading the rows of given keys. Not here: what a table holds and when it is outdated (who builds it knows).

A table is a folder with ``manifest.json``, which names the generation that counts, and a folder for that
generation: ``part-00000.parquet``, … in the order of the key, and ``row_groups.parquet`` with the first and
last key of each row group. A build writes a new generation beside the old one and replaces the manifest last,
which is one atomic step; a killed build leaves a generation that no manifest names, and the next one removes
it.
"""

import dataclasses
import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from filelock import FileLock

from etl.errors import BadInputError

LAYOUT: Final = 1
"""Version of the folder's layout; a table of another one is built anew."""

RUN_BYTES: Final = 128 << 20
"""Rows held before they are sorted and spilled: 34 million names took 0.8 GB of memory in all with this."""

PART_BYTES: Final = 64 << 20
"""Size of a part before compression."""

ROW_GROUP_ROWS: Final = 32_768
"""Small, so that a few keys cost little: a row group of a table of names is about 400 kB."""

_MANIFEST = "manifest.json"
_ROW_GROUPS = "row_groups.parquet"
_LOCK = ".lock"
_RUN_GROUP_ROWS = 4_096
"""Rows of a row group of a run: where parts meet, each run is read a row group too far on either side."""


Finish = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished table is.

    Args:
        key: column that rows are found by.
        generation: folder of the parts.
        built_at: when it was published, UTC.
        n_rows: rows in all parts.
        n_bytes: of all parts.
        facts: what the builder wants to be remembered, such as digests of the files it read.
        parts: ``name``, ``n_rows``, ``n_bytes``, ``first`` and ``last`` key of each part.
    """

    key: str
    generation: str
    built_at: datetime
    n_rows: int
    n_bytes: int
    facts: dict[str, Any]
    parts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """A finished table, open for look-ups.

    Args:
        folder: where it is.
        manifest: what it is.
        row_groups: ``part``, ``offset``, ``n_rows``, ``first``, ``last`` of each row group, in order.
        schema: columns of the rows.
    """

    folder: Path
    manifest: Manifest
    row_groups: pl.DataFrame
    schema: pl.Schema

    def lookup(self, keys: pl.Series) -> pl.DataFrame:
        """Return all rows of some keys, in the order of the table; reads only row groups that can hold one.

        Args:
            keys: of the key's type, in any order; null and what is repeated do not matter.

        Raises:
            BadInputError: a part cannot be read.
        """
        key = self.manifest.key
        wanted = keys.cast(self.schema[key]).drop_nulls().unique().sort().rename(key)
        first, last = self.row_groups["first"], self.row_groups["last"]
        can_hold = wanted.search_sorted(last, side="right") > wanted.search_sorted(first, side="left")
        found = [
            self._rows(part, slices).join(wanted.to_frame(), on=key, how="semi", maintain_order="left")
            for part, slices in _slices(self.row_groups.filter(can_hold))
        ]
        return pl.concat([pl.DataFrame(schema=self.schema), *found], rechunk=True)

    def _rows(self, part: str, slices: Sequence[tuple[int, int]]) -> pl.DataFrame:
        path = self.folder / self.manifest.generation / part
        try:
            return pl.concat([pl.scan_parquet(path).slice(*where) for where in slices]).collect()
        except (OSError, pl.exceptions.PolarsError) as fault:
            raise _broken(self.folder, f"{part} cannot be read: {' '.join(str(fault).split())}") from fault


def open_table(folder: Path) -> KeyedTable | None:
    """Return a finished table; null where there is none, or one of another layout.

    Raises:
        BadInputError: parts are missing or have another size than the manifest states.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    generation = folder / manifest.generation
    for part in manifest.parts:
        path = generation / part["name"]
        if not path.is_file():
            raise _broken(folder, f"{part['name']} is missing")
        if path.stat().st_size != part["n_bytes"]:
            raise _broken(folder, f"{part['name']} has {path.stat().st_size} bytes, not {part['n_bytes']}")
    try:
        row_groups = pl.read_parquet(generation / _ROW_GROUPS)
        schema = pl.read_parquet_schema(generation / manifest.parts[0]["name"])
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise _broken(folder, " ".join(str(fault).split())) from fault
    return KeyedTable(folder, manifest, row_groups, pl.Schema(schema))


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a finished table is, without a look at its parts; null as :func:`open_table`.

    Raises:
        BadInputError: the manifest cannot be read.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        return None
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        if stated["layout"] != LAYOUT:
            return None
        return Manifest(
            key=stated["key"],
            generation=stated["generation"],
            built_at=datetime.fromisoformat(stated["built_at"]),
            n_rows=stated["n_rows"],
            n_bytes=stated["n_bytes"],
            facts=stated["facts"],
            parts=stated["parts"],
        )
    except (ValueError, KeyError, TypeError) as fault:
        raise _broken(folder, f"{_MANIFEST} cannot be read") from fault


def build(
    folder: Path,
    chunks: Iterable[pl.DataFrame],
    *,
    schema: pl.Schema,
    sort_by: Sequence[str],
    facts: Callable[[], Mapping[str, Any]],
    is_current: Callable[[Manifest], bool] = lambda _: False,
    finish: Finish | None = None,
    run_bytes: int = RUN_BYTES,
    part_bytes: int = PART_BYTES,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> KeyedTable:
    """Sort a stream of frames into a table, in memory that does not depend on its length, and publish it.

    Chunks are gathered into runs, sorted by the key and spilled. Keys sampled from every run divide the table
    into parts of about equal size; the rows of a part are then read from all runs and sorted. So the order in
    which rows come does not matter, for the result or for the memory, whatever it is.

    Args:
        folder: of the table; made if it is missing. What it held stands until the new table is finished.
        chunks: frames of ``schema``; small against ``run_bytes``.
        schema: columns; the key is String or Int64, without nulls.
        sort_by: the key and, after it, what orders the rows of one key: enough that no two rows tie.
        facts: called when all chunks have been taken; JSON for the manifest.
        is_current: asked, once no other process builds this table, of the table that is there; if it says so,
            that one stands and no chunk is taken.
        finish: what becomes of the sorted rows of a part; all rows of a key are in the same part. It keeps
            the columns and the order.
        run_bytes: rows held before they are spilled.
        part_bytes: size of a part before compression.
        row_group_rows: rows of a row group.

    Raises:
        BadInputError: whatever ``chunks`` or ``finish`` raise; nothing is published then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / _LOCK):
        before = read_manifest(folder)
        if before is not None and is_current(before):
            there = open_table(folder)
            assert there is not None, "it has a manifest"
            return there
        _remove_generations(folder, keep=before.generation if before is not None else None)
        generation = folder / uuid.uuid4().hex
        generation.mkdir()
        try:
            runs = _Runs(generation / "runs", schema, sort_by[0], row_group_rows)
            runs.spill(chunks, run_bytes)
            parts, row_groups = [], []
            for number, (low, high) in enumerate(runs.ranges(part_bytes)):
                rows = runs.between(low, high).sort(sort_by)
                rows = rows if finish is None else finish(rows)
                path = generation / f"part-{number:05}.parquet"
                part, groups = _write(rows, path, sort_by[0], row_group_rows)
                del rows
                parts.append(part)
                row_groups.append(groups)
            pl.concat(row_groups).write_parquet(generation / _ROW_GROUPS)
            shutil.rmtree(runs.folder)
            manifest = Manifest(
                key=sort_by[0],
                generation=generation.name,
                built_at=datetime.now(UTC).replace(microsecond=0),
                n_rows=sum(part["n_rows"] for part in parts),
                n_bytes=sum(part["n_bytes"] for part in parts),
                facts={**facts()},
                parts=parts,
            )
            _publish(folder, manifest)
        except BaseException:
            shutil.rmtree(generation, ignore_errors=True)
            raise
        _remove_generations(folder, keep=generation.name)
        table = open_table(folder)
    assert table is not None, "it has just been published"
    return table


def restate(folder: Path, facts: Mapping[str, Any]) -> Manifest:
    """Replace some facts of a finished table, such as the time of a file that was copied; return all.

    Raises:
        BadInputError: there is no finished table, or its manifest cannot be read.
    """
    with FileLock(folder / _LOCK):
        manifest = read_manifest(folder)
        if manifest is None:
            raise _broken(folder, f"{_MANIFEST} is missing")
        _publish(folder, dataclasses.replace(manifest, facts={**manifest.facts, **facts}))
    restated = read_manifest(folder)
    assert restated is not None, "it has just been published"
    return restated


class _Runs:
    """Sorted runs on disk, and the samples of their keys by which they are merged."""

    def __init__(self, folder: Path, schema: pl.Schema, key: str, row_group_rows: int) -> None:
        self.folder = folder
        self._schema, self._key = schema, key
        self._group = min(row_group_rows, _RUN_GROUP_ROWS)
        self._starts: list[pl.Series] = []
        self._heights: list[int] = []
        self._n_bytes = 0
        folder.mkdir()

    def spill(self, chunks: Iterable[pl.DataFrame], run_bytes: int) -> None:
        """Take all chunks."""
        held: list[pl.DataFrame] = []
        n_bytes = 0.0
        for chunk in chunks:
            assert chunk.schema == self._schema, f"a chunk has the columns {chunk.schema}"
            held.append(chunk)
            n_bytes += chunk.estimated_size()
            if n_bytes >= run_bytes:
                self._write(held, n_bytes)
                held, n_bytes = [], 0.0
        if held:
            self._write(held, n_bytes)

    def ranges(self, part_bytes: int) -> Iterator[tuple[Any, Any]]:
        """Yield the keys between which the parts are, the first included; null for no bound."""
        splitters = self._splitters(max(1, math.ceil(self._n_bytes / part_bytes)))
        yield from zip([None, *splitters], [*splitters, None], strict=True)

    def between(self, low: Any, high: Any) -> pl.DataFrame:
        """Return the rows of a range, from all runs, in no order."""
        key = pl.col(self._key)
        above = pl.lit(value=True) if low is None else key >= low
        below = pl.lit(value=True) if high is None else key < high
        slices = (self._slice(run, low, high) for run in range(len(self._heights)))
        rows = [lazy.filter(above & below).collect() for lazy in slices if lazy is not None]
        return pl.concat([pl.DataFrame(schema=self._schema), *rows])

    def _write(self, held: list[pl.DataFrame], n_bytes: float) -> None:
        run = pl.concat(held).sort(self._key)
        assert run[self._key].null_count() == 0, "the key of a row is null"
        run.write_parquet(self._path(len(self._heights)), compression="lz4", row_group_size=self._group)
        self._starts.append(_detached(run[self._key].gather_every(self._group)))
        self._heights.append(run.height)
        self._n_bytes += int(n_bytes)

    def _path(self, run: int) -> Path:
        return self.folder / f"run-{run:05}.parquet"

    def _splitters(self, n_parts: int) -> list[Any]:
        """Return the keys at which parts end: those that divide the first keys of all row groups evenly."""
        if n_parts == 1:
            return []
        starts = pl.concat(self._starts).sort()
        positions = [starts.len() * part // n_parts for part in range(1, n_parts)]
        return starts.gather(positions).unique().sort().to_list()

    def _slice(self, run: int, low: Any, high: Any) -> pl.LazyFrame | None:
        """Return the row groups of a run that can hold keys from ``low`` to below ``high``."""
        starts = self._starts[run]
        start = 0 if low is None else max(0, starts.search_sorted(low, side="left") - 1)
        stop = starts.len() if high is None else starts.search_sorted(high, side="left")
        if stop <= start:
            return None
        n_rows = min(stop * self._group, self._heights[run]) - start * self._group
        return pl.scan_parquet(self._path(run)).slice(start * self._group, n_rows)


def _write(
    rows: pl.DataFrame, path: Path, key: str, row_group_rows: int
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Write a part; return its entry in the manifest and its row groups."""
    rows.write_parquet(path, compression="zstd", row_group_size=row_group_rows)
    offsets = pl.int_range(0, rows.height, row_group_rows, dtype=pl.Int64, eager=True)
    ends = [min(offset + row_group_rows, rows.height) for offset in offsets]
    groups = pl.DataFrame(
        {
            "part": pl.repeat(path.name, offsets.len(), dtype=pl.String, eager=True),
            "offset": offsets,
            "n_rows": pl.Series(ends, dtype=pl.Int64) - offsets,
            "first": _detached(rows[key].gather(offsets)),
            "last": _detached(rows[key].gather([end - 1 for end in ends])),
        }
    )
    first, last = (rows[key][0], rows[key][-1]) if rows.height else (None, None)
    n_bytes = path.stat().st_size
    return (
        {"name": path.name, "n_rows": rows.height, "n_bytes": n_bytes, "first": first, "last": last},
        groups,
    )


def _detached(few: pl.Series) -> pl.Series:
    """Return a copy of a few texts of a column, which else would keep the whole column in memory."""
    return pl.Series(few.name, few.to_list(), dtype=few.dtype)


def _publish(folder: Path, manifest: Manifest) -> None:
    stated = {"layout": LAYOUT} | dataclasses.asdict(manifest)
    stated["built_at"] = manifest.built_at.isoformat()
    staged = folder / manifest.generation / _MANIFEST
    staged.write_text(json.dumps(stated, indent=1, ensure_ascii=False), encoding="utf-8")
    staged.replace(folder / _MANIFEST)


def _remove_generations(folder: Path, *, keep: str | None) -> None:
    """Remove what killed builds and earlier generations have left."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != keep:
            shutil.rmtree(path)


def _slices(row_groups: pl.DataFrame) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield each part with its row groups as slices, neighbours as one."""
    for (part,), groups in row_groups.group_by("part", maintain_order=True):
        slices: list[tuple[int, int]] = []
        for offset, n_rows in groups.select("offset", "n_rows").iter_rows():
            if slices and sum(slices[-1]) == offset:
                slices[-1] = (slices[-1][0], slices[-1][1] + n_rows)
            else:
                slices.append((offset, n_rows))
        yield str(part), slices


def _broken(folder: Path, what: str) -> BadInputError:
    return BadInputError(f"the table is broken: {what}; delete the folder to have it built anew", file=folder)
