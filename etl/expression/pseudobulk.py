"""Pseudobulk: cells of a stream added up to profiles, in one pass and in bounded memory.

Belongs here: the accumulators, how they reach the disk, and the store of finished profiles. Does not belong
here: which cells are good (:mod:`etl.expression.quality_control`), where cells come from (adapters), and how
few cells are too few for a test.

**Memory.** A profile that is being added to holds four 16-bit numbers per gene (counts of three thirds, and
cells that express the gene); what exceeds 16 bits is carried aside. All profiles of a Tahoe plate (4,800 x
62,710 genes) take 2.4 GB. Where there are more profiles than fit, those that were not met for longest are
compressed and written to a scratch file: publishers' files are ordered by plate, so that a profile is written
about once. Any other order gives the same result, with more traffic to the disk. A second pass adds up the
pieces of each profile, in the order of the key.

**Thirds.** A cell belongs to one of three random thirds by a hash of its id and the stored seed, and by
nothing else: neither order nor block size matter. Each third of a profile is a small pseudobulk of its own, a
technical replicate. :func:`hashes_of` says which hash.
"""

import dataclasses
import json
import mmap
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from filelock import FileLock
from numba import njit
from scipy import sparse

from etl.accounting import RowAccount
from etl.arrays import LARGEST_EXACT_FLOAT32, IntArray
from etl.errors import BadInputError
from etl.expression.counts import LARGEST_COUNT
from etl.expression.quality_control import CellAccount, CellFilter, QualityGenes, measure

LAYOUT: Final = 1
"""Version of the store's layout; a store of another one is built anew."""

CELL_ID: Final = "cell_id"
"""Column of ``CellBlock.cells`` that names the cell."""

SLAB_BYTES: Final = 2_500_000_000
"""Accumulators by default: all profiles of a Tahoe plate, and room for the rest of the work within 4 GB."""

BATCH_BYTES: Final = 384_000_000
"""Cells that wait to be added by default: of a Tahoe plate about eleven of each profile, half of them being
added (``_Batch``)."""

PART_ROWS: Final = 2_000_000
"""Rows of a file of counts: about 80 MB in memory."""

BLOCK_ENTRIES: Final = 16_000_000
"""Entries of a block of profiles by default: 128 MB as CSR of float32."""

THIRDS: Final = ("third_1", "third_2", "third_3")
KEY_SEPARATOR: Final = "|"

_MANIFEST, _LOCK, _SCRATCH = "manifest.json", ".lock", "scratch"
_PROFILES, _GENES = "profiles.parquet", "genes.parquet"
_Entries: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Counts, their genes, and where each cell starts, as in CSR."""

_GENERATION_LETTERS = 32
_CARRIES = 1 << 16
_IDS_AT_ONCE = 16_000_000
_FIELDS = 4
"""Numbers per gene of an accumulator: counts of the three thirds, cells that express the gene."""


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Some cells of a dataset.

    Args:
        cells: one row per cell: ``cell_id``, the columns of the key as text, and any of ``n_genes``,
            ``n_counts``, ``fraction_mito`` that the publisher gives.
        counts: cells x genes of the dataset, whole numbers of any type.
        file: where they were read, for errors.
    """

    cells: pl.DataFrame
    counts: sparse.csr_matrix
    file: Path | None = None


class ProfileBlock(NamedTuple):
    """Some profiles on all genes; the fields of an ``ExpressionBlock``.

    Attributes:
        sample_keys: of the profiles, one per row.
        values: profiles x genes, float32.
    """

    sample_keys: list[str]
    values: sparse.csr_matrix


def pseudobulk(
    blocks: Iterable[CellBlock],
    *,
    key: Sequence[str],
    genes: pl.DataFrame,
    filters: Sequence[CellFilter],
    seed: int,
    store: Path,
    inputs: Mapping[str, str] | None = None,
    slab_bytes: int = SLAB_BYTES,
    batch_bytes: int = BATCH_BYTES,
    part_rows: int = PART_ROWS,
) -> "Profiles":
    """Add the cells of a stream up to one profile for each value of the key, and publish them in a folder.

    The folder is replaced as a whole once everything is written. A run that is killed or refused leaves what
    was there, or nothing.

    Args:
        blocks: cells in any order, in blocks of any size, each cell once.
        key: columns of ``cells`` that make a profile. Whatever must be constant within one belongs here.
        genes: ``gene_reported``, ``symbol`` in the order of the counts (``ReportedGene``).
        filters: conditions that cells must meet, for example ``CELL_FILTERS["scrna"]``.
        seed: of the thirds.
        store: folder of the result.
        inputs: digest of each file the cells come from. If given, and the store was made of the same with
            the same key, filters and seed, that store is returned and no block is taken.
        slab_bytes: memory of the accumulators.
        batch_bytes: memory of cells that wait to be added.
        part_rows: rows of a file of counts.

    Raises:
        BadInputError: a value that is no count, a cell without id or with another's, a block of another width
            or without a column of the key, two keys that read the same, or a sum too large for 32 bits.
    """
    wanted = {
        "layout": LAYOUT,
        "key": list(key),
        "seed": seed,
        "filters": [dataclasses.asdict(cell_filter) for cell_filter in filters],
        "genes": genes.height,
        "inputs": dict(inputs or {}),
    }
    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / _LOCK):
        stated = _read_manifest(store)
        if inputs and stated is not None and all(stated.get(name) == wanted[name] for name in wanted):
            return read_profiles(store)
        _remove_generations(store, keep=None if stated is None else str(stated["generation"]))
        generation = store / uuid.uuid4().hex
        (generation / _SCRATCH).mkdir(parents=True)
        try:
            facts = _build(blocks, key, genes, filters, seed, generation, slab_bytes, batch_bytes, part_rows)
            shutil.rmtree(generation / _SCRATCH)
            _publish(store, wanted | {"generation": generation.name} | facts)
        except BaseException:
            shutil.rmtree(generation, ignore_errors=True)
            raise
        _remove_generations(store, keep=generation.name)
    return read_profiles(store)


def _build(
    blocks: Iterable[CellBlock],
    key: Sequence[str],
    genes: pl.DataFrame,
    filters: Sequence[CellFilter],
    seed: int,
    generation: Path,
    slab_bytes: int,
    batch_bytes: int,
    part_rows: int,
) -> dict[str, Any]:
    """Write everything but the manifest, and return what it will state."""
    account = CellAccount()
    keys = _Keys(key)
    quality_genes = QualityGenes.of(genes)
    with (
        _Scratch(generation / _SCRATCH / "pieces") as scratch,
        _SeenIds(generation / _SCRATCH / "ids") as seen,
    ):
        slab = _Slab(genes.height, slab_bytes, scratch)
        with _Batch(genes.height, batch_bytes, slab) as batch:
            for block in blocks:
                try:
                    _add_block(block, keys, account, filters, quality_genes, seed, batch, seen)
                except BadInputError as error:
                    raise _located(error, block, genes) from error
            batch.flush()
        slab.spill_all()
        slab.release()
        seen.require_unique()
        order = keys.order()
        totals, parts = _write_counts(generation, order, scratch, genes.height, part_rows)
    _write_profiles(generation, keys, order, totals)
    genes.write_parquet(generation / _GENES)
    return {
        "n_profiles": len(order),
        "n_cells": account.n_out,
        "account": account.stated(),
        "parts": parts,
    }


def _add_block(
    block: CellBlock,
    keys: "_Keys",
    account: CellAccount,
    filters: Sequence[CellFilter],
    quality_genes: QualityGenes,
    seed: int,
    batch: "_Batch",
    seen: "_SeenIds",
) -> None:
    cells, counts = block.cells, block.counts
    for column in (CELL_ID, *keys.columns):
        if column not in cells.columns:
            raise BadInputError(f"cells have the columns {', '.join(cells.columns)}", column=column)
    n_genes = len(quality_genes.is_mitochondrial)
    if counts.shape != (cells.height, n_genes):
        raise BadInputError(f"counts have shape {counts.shape}, not {cells.height} cells x {n_genes} genes")
    metrics = measure(cells, counts, quality_genes)
    hashes = hashes_of(cells[CELL_ID], seed)
    seen.add(hashes)
    keep = account.screen(cells, metrics, filters, keys.columns)
    kept = np.flatnonzero(keep)
    if len(kept):
        thirds = third_of(hashes[kept])
        codes = keys.codes(cells.filter(keep), thirds)
        batch.add(counts, kept, codes, thirds)


def _located(error: BadInputError, block: CellBlock, genes: pl.DataFrame) -> BadInputError:
    """Put file, cell and gene in place of positions in a block."""
    row, column = error.row, error.column
    if isinstance(row, int) and column is not None and column.startswith("gene "):
        row = block.cells[CELL_ID][row] if CELL_ID in block.cells.columns else row
        column = str(genes["gene_reported"][int(column.removeprefix("gene "))])
    return BadInputError(error.rule, file=block.file or error.file, row=row, column=column)


def hashes_of(ids: pl.Series, seed: int) -> np.ndarray:
    """Return a 64-bit hash of each id: FNV-1a over the seed and the UTF-8 bytes, mixed as in SplitMix64.

    It is written out here because it decides which third a cell is in, and may never change.

    Raises:
        BadInputError: an id is null.

    >>> [hex(value) for value in hashes_of(pl.Series(["AAACCTG-1", "b"]), 0).tolist()]
    ['0xec54ac598e542d99', '0x1c7930a071b29ee8']
    """
    if ids.null_count():
        row = int(ids.is_null().arg_true()[0])
        raise BadInputError("every cell has an id", row=f"{row + 1} of a block", column=CELL_ID)
    texts = pa.array(ids.cast(pl.String).to_arrow(compat_level=pl.CompatLevel.oldest())).cast(
        pa.large_string()
    )
    _, offsets, letters = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    characters = np.frombuffer(letters, np.uint8) if letters is not None else np.empty(0, np.uint8)
    hashes = np.empty(len(texts), dtype=np.uint64)
    _hash_texts(starts, characters, np.uint64(seed % 2**64), hashes)
    return hashes


def third_of(hashes: np.ndarray) -> np.ndarray:
    """Return 0, 1 or 2 for each hash: its upper 32 bits as a fraction, times three."""
    thirds: np.ndarray = (((hashes >> np.uint64(32)) * np.uint64(3)) >> np.uint64(32)).astype(np.uint8)
    return thirds


class _Keys:
    """Values of the key, numbered as they are met, and the cells of each."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._codes: dict[tuple[str, ...], int] = {}
        self.n_cells = np.zeros((1024, len(THIRDS)), dtype=np.int64)

    def codes(self, cells: pl.DataFrame, thirds: np.ndarray) -> IntArray:
        """Return the number of each cell's profile, and count the cell."""
        keys = cells.select(pl.col(self.columns).cast(pl.String))
        distinct = keys.unique(maintain_order=True)
        numbers = [self._codes.setdefault(row, len(self._codes)) for row in distinct.rows()]
        known = distinct.with_columns(pl.Series("__code", numbers, dtype=pl.Int64))
        codes = keys.join(known, on=self.columns, how="left", maintain_order="left")["__code"].to_numpy()
        while len(self._codes) > len(self.n_cells):
            self.n_cells = np.concatenate([self.n_cells, np.zeros_like(self.n_cells)])
        np.add.at(self.n_cells, (codes, thirds), 1)
        return codes

    def frame(self) -> pl.DataFrame:
        """Return the columns of the key in the order of the numbers."""
        return pl.DataFrame(list(self._codes), schema=dict.fromkeys(self.columns, pl.String), orient="row")

    def order(self) -> list[int]:
        """Return the numbers in the order of the key."""
        return [self._codes[row] for row in sorted(self._codes)]


class _Batch:
    """Cells that wait, at four bytes for an entry, until there are some of each profile.

    An accumulator is as large as a core's cache. Where profiles are met in turn, each entry of a cell waits
    for memory; where the cells of a profile follow each other, only those of the first do. While a thread
    adds one half of the memory, cells are collected in the other.

    Args:
        n_genes: of the axis.
        n_bytes: memory.
        slab: where cells go.
    """

    def __init__(self, n_genes: int, n_bytes: int, slab: "_Slab") -> None:
        gene = np.dtype(np.uint16 if n_genes <= 2**16 else np.int32)
        n_entries = n_bytes // (gene.itemsize + 2) // 2
        self._gene, self._count = np.empty(n_entries, gene), np.empty(n_entries, np.uint16)
        self._spare = np.empty_like(self._gene), np.empty_like(self._count)
        self._slab = slab
        self._n_entries = 0
        self._waiting: list[tuple[IntArray, IntArray, np.ndarray]] = []
        self._adder = ThreadPoolExecutor(1, thread_name_prefix="adder")
        self._added: Future[None] | None = None

    def __enter__(self) -> "_Batch":
        return self

    def __exit__(self, *_: object) -> None:
        self._adder.shutdown()

    def add(self, counts: sparse.csr_matrix, cells: IntArray, codes: IntArray, thirds: np.ndarray) -> None:
        """Take rows of a matrix."""
        length = np.diff(counts.indptr)[cells].astype(np.int64)
        n_new = int(length.sum())
        if self._n_entries + n_new > len(self._gene):
            self._hand_over()
        if n_new > len(self._gene) or counts.data.max(initial=0) > np.iinfo(np.uint16).max:
            self._wait()
            self._slab.add((counts.data, counts.indices, counts.indptr), cells, codes, thirds)
            return
        target = slice(self._n_entries, self._n_entries + n_new)
        _pack_cells(
            counts.data, counts.indices, counts.indptr, cells, self._gene[target], self._count[target]
        )
        self._n_entries += n_new
        self._waiting.append((length, codes, thirds))

    def flush(self) -> None:
        """Add all that wait."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        """Let the thread add what is here, once it is done with what it had before."""
        self._wait()
        if self._waiting:
            length, codes, thirds = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(length)])
            entries = self._count, self._gene, starts
            self._added = self._adder.submit(self._slab.add, entries, np.arange(len(codes)), codes, thirds)
            (self._gene, self._count), self._spare = self._spare, (self._gene, self._count)
        self._n_entries, self._waiting = 0, []

    def _wait(self) -> None:
        if self._added is not None:
            self._added.result()
            self._added = None


class _Slab:
    """Accumulators of the profiles that are being added to.

    Args:
        n_genes: of the axis.
        n_bytes: memory.
        scratch: where profiles go that make room.
    """

    def __init__(self, n_genes: int, n_bytes: int, scratch: "_Scratch") -> None:
        self.n_slots = max(1, min(n_bytes // (2 * _FIELDS * max(1, n_genes)), 1 << 20))
        self._words = _zeros(self.n_slots, n_genes)
        self._scratch = scratch
        self._slot: dict[int, int] = {}
        self._last_met = np.zeros(self.n_slots, dtype=np.int64)
        self._free = list(range(self.n_slots - 1, -1, -1))
        self._carried: dict[int, list[tuple[IntArray, IntArray]]] = {}
        self._places = np.empty(_CARRIES, dtype=np.int64)
        self._amounts = np.empty(_CARRIES, dtype=np.int64)
        self._clock = 0

    def add(self, entries: _Entries, cells: IntArray, codes: IntArray, thirds: np.ndarray) -> None:
        """Add cells to their profiles.

        Cells of a profile are added one after another, so that its accumulator is still in the cache.
        """
        order = np.argsort(codes, kind="stable")
        cells, codes, thirds = cells[order], codes[order], thirds[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        # A block may hold more profiles than there is room for.
        bounds = [*starts[:: self.n_slots].tolist(), len(codes)]
        for start, stop in pairwise(bounds):
            part = slice(start, stop)
            slots = self._slots(codes[part])
            self._add_resident(entries, cells[part], slots, thirds[part])

    def spill_all(self) -> None:
        """Write what is here to the disk."""
        self._spill(sorted(self._slot))

    def release(self) -> None:
        """Give the memory back."""
        self._words = _zeros(0, 0)

    def _slots(self, codes: IntArray) -> IntArray:
        """Return the accumulator of each cell; codes ascend and their profiles fit."""
        self._clock += 1
        distinct, length = np.unique(codes, return_counts=True)
        profiles = distinct.tolist()
        for code in profiles:
            if code in self._slot:
                self._last_met[self._slot[code]] = self._clock
        n_new = sum(code not in self._slot for code in profiles)
        if n_new > len(self._free):
            self._make_room(n_new)
        for code in profiles:
            if code not in self._slot:
                self._slot[code] = self._free.pop()
                self._last_met[self._slot[code]] = self._clock
        return np.repeat(np.array([self._slot[code] for code in profiles], dtype=np.int64), length)

    def _make_room(self, n_new: int) -> None:
        # An eighth at once, so that it is rarely done; never one that this very batch adds to.
        n_wanted = max(n_new - len(self._free), self.n_slots // 8)
        idle = [code for code in self._slot if self._last_met[self._slot[code]] < self._clock]
        idle.sort(key=lambda code: (self._last_met[self._slot[code]], code))
        self._spill(idle[:n_wanted])

    def _spill(self, codes: Sequence[int]) -> None:
        genes = np.empty(self._words.shape[1], dtype=np.int32)
        low = np.empty((_FIELDS, len(genes)), dtype=np.uint16)
        for code in codes:
            slot = self._slot.pop(code)
            carried = self._carried.pop(slot, [])
            n = _take(self._words[slot], genes, low)
            if carried:
                self._scratch.append(code, *_with_carries(genes[:n], low[:, :n], carried, len(genes)))
            else:
                self._scratch.append(code, genes[:n], low[:, :n])
            self._free.append(slot)

    def _add_resident(self, entries: _Entries, cells: IntArray, slots: IntArray, thirds: np.ndarray) -> None:
        # Room for every carry of the largest cell, two for an entry.
        longest = 2 * int(np.diff(entries[2]).max(initial=0))
        if longest > len(self._places):
            self._places, self._amounts = (np.empty(longest, dtype=np.int64) for _ in range(2))
        done = 0
        while done < len(cells):
            done, n_carried = _accumulate(
                *entries,
                cells,
                slots,
                thirds,
                done,
                self._words,
                self._places,
                self._amounts,
            )
            if n_carried:
                self._keep_carries(self._places[:n_carried], self._amounts[:n_carried])

    def _keep_carries(self, places: IntArray, amounts: IntArray) -> None:
        """Set aside what has exceeded 16 bits, by slot."""
        slots, within = np.divmod(places, _FIELDS * self._words.shape[1])
        for slot in np.unique(slots).tolist():
            of_slot = slots == slot
            self._carried.setdefault(slot, []).append((within[of_slot], amounts[of_slot]))


def _zeros(n_slots: int, n_genes: int) -> np.ndarray:
    """Return accumulators: a 64-bit word per gene, its upper 16 bits the cells, below them the thirds.

    An accumulator takes memory when its first count comes. Large pages, where the system has them, make that
    ten times cheaper.
    """
    n_bytes = n_slots * n_genes * 8
    if not n_bytes or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros((n_slots, n_genes), dtype=np.uint64)
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # the kernel was built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint64).reshape(n_slots, n_genes)


class _Scratch:
    """Pieces of profiles in a file: genes and sums, compressed; where each is stays in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._codec = pa.Codec("lz4")
        self._pieces: dict[int, list[_Piece]] = {}
        self._end = 0

    def __enter__(self) -> "_Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, code: int, genes: np.ndarray, sums: np.ndarray) -> None:
        """Write the genes of a profile that have counts, with their sums (4 x genes)."""
        _require_32_bits(sums)
        is_short = sums.dtype == np.uint16 and int(genes.max(initial=0)) < 2**16
        # Number after number, not gene after gene: like stands beside like.
        numbers = np.vstack([genes, sums]).astype(np.uint16 if is_short else np.uint32)
        packed = self._codec.compress(numbers.tobytes(), asbytes=True)
        self._file.write(packed)
        piece = _Piece(self._end, len(packed), len(genes), numbers.itemsize)
        self._pieces.setdefault(code, []).append(piece)
        self._end += len(packed)

    def read(self, code: int, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return genes with counts, ascending, and their sums over all pieces (4 x genes)."""
        pieces = [self._read_piece(piece) for piece in self._pieces.get(code, [])]
        if len(pieces) == 1:
            return pieces[0]
        whole = np.zeros((_FIELDS, n_genes), dtype=np.int64)
        for genes, sums in pieces:
            whole[:, genes] += sums
        found = np.flatnonzero(whole.any(axis=0))
        return found, whole[:, found]

    def _read_piece(self, piece: "_Piece") -> tuple[np.ndarray, np.ndarray]:
        self._file.seek(piece.offset)
        size = piece.n_genes * (_FIELDS + 1) * piece.itemsize
        unpacked = self._codec.decompress(self._file.read(piece.n_bytes), size, asbytes=True)
        numbers = np.frombuffer(unpacked, f"u{piece.itemsize}").reshape(_FIELDS + 1, piece.n_genes)
        return numbers[0], numbers[1:]


class _Piece(NamedTuple):
    """Where a part of a profile is in the scratch file."""

    offset: int
    n_bytes: int
    n_genes: int
    itemsize: int


def _with_carries(
    genes: np.ndarray, low: np.ndarray, carried: Sequence[tuple[IntArray, IntArray]], n_genes: int
) -> tuple[IntArray, IntArray]:
    """Put what exceeded 16 bits back on top; a gene may have nothing but that."""
    whole = np.zeros((n_genes, _FIELDS), dtype=np.int64)
    whole[genes] = low.T
    for places, amounts in carried:
        np.add.at(whole.reshape(-1), places, amounts << 16)
    found = np.flatnonzero(whole.any(axis=1))
    return found, whole[found].T


class _SeenIds:
    """Hashes of all cell ids, on disk: a cell that comes twice would count twice."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._n = path, path.open("wb"), 0

    def __enter__(self) -> "_SeenIds":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, hashes: np.ndarray) -> None:
        """Note the cells of a block."""
        hashes.tofile(self._file)
        self._n += len(hashes)

    def require_unique(self) -> None:
        """Check that no hash came twice, a range of hashes at a time.

        Among 100 million ids the chance that two different ones share a hash is 0.03 %.

        Raises:
            BadInputError: some did.
        """
        self._file.flush()
        if not self._n:
            return
        n_ranges = np.uint64(-(-self._n // _IDS_AT_ONCE))
        stored = np.memmap(self._path, np.uint64, "r")
        n_repeated = 0
        for number in range(int(n_ranges)):
            windows = (stored[at : at + _IDS_AT_ONCE] for at in range(0, self._n, _IDS_AT_ONCE))
            found = np.sort(np.concatenate([window[window % n_ranges == number] for window in windows]))
            n_repeated += int((found[1:] == found[:-1]).sum())
        if n_repeated:
            rule = f"cells have ids of their own, but {n_repeated:,} cells have one that came before"
            raise BadInputError(rule, column=CELL_ID)


def _write_counts(
    generation: Path, order: Sequence[int], scratch: _Scratch, n_genes: int, part_rows: int
) -> tuple[IntArray, list[dict[str, Any]]]:
    """Write the counts of all profiles; return genes and counts of thirds, profiles x 4, and the files.

    A file is encoded while the next profiles are read.
    """
    totals = np.zeros((len(order), 1 + len(THIRDS)), dtype=np.int64)
    waiting: list[tuple[int, np.ndarray, np.ndarray]] = []
    parts: list[Future[dict[str, Any]]] = []
    n_waiting = 0
    with ThreadPoolExecutor(1, thread_name_prefix="encoder") as pool:
        for profile, code in enumerate(order):
            genes, sums = scratch.read(code, n_genes)
            totals[profile] = [len(genes), *sums[: len(THIRDS)].sum(axis=1, dtype=np.int64)]
            waiting.append((profile, genes, sums))
            n_waiting += len(genes)
            # At least one part, so that a store without profiles has columns too.
            if n_waiting >= part_rows:
                _wait_for(parts)
                parts.append(pool.submit(_write_part, generation, len(parts), waiting))
                waiting, n_waiting = [], 0
        if waiting or not parts:
            parts.append(pool.submit(_write_part, generation, len(parts), waiting))
    return totals, [part.result() for part in parts]


def _wait_for(parts: Sequence[Future[dict[str, Any]]]) -> None:
    """Let only one part be written at a time: each waits in memory."""
    for part in parts[-1:]:
        part.result()


def _write_part(
    generation: Path, number: int, profiles: Sequence[tuple[int, np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    positions = np.array([position for position, _, _ in profiles], dtype=np.int32)
    length = [len(genes) for _, genes, _ in profiles]
    genes = np.concatenate([np.empty(0, np.int32), *(genes.astype(np.int32) for _, genes, _ in profiles)])
    sums = np.concatenate([np.empty((_FIELDS, 0), np.uint32), *(sums for _, _, sums in profiles)], axis=1)
    count = sums[: len(THIRDS)].sum(axis=0, dtype=np.int64)
    _require_32_bits(count)
    rows = pl.DataFrame(
        {
            "profile": np.repeat(positions, length),
            "gene": genes,
            "count": count.astype(np.uint32),
            "n_expressing": sums[len(THIRDS)].astype(np.uint32),
            **{name: sums[place].astype(np.uint32) for place, name in enumerate(THIRDS)},
        }
    )
    path = generation / f"counts-{number:05}.parquet"
    rows.write_parquet(path, compression="zstd", compression_level=1)
    return {"name": path.name, "n_rows": rows.height, "n_bytes": path.stat().st_size}


def _require_32_bits(sums: np.ndarray) -> None:
    if sums.size and int(sums.max()) > LARGEST_COUNT:
        raise BadInputError(f"a profile has a gene with more than {LARGEST_COUNT:,} counts")


def _write_profiles(generation: Path, keys: _Keys, order: Sequence[int], totals: IntArray) -> None:
    frame = keys.frame()[list(order)]
    joined = pl.concat_str(keys.columns, separator=KEY_SEPARATOR)
    n_cells = keys.n_cells[list(order)]
    profiles = frame.select(joined.alias("sample_key"), pl.all()).with_columns(
        pl.Series("n_cells", n_cells.sum(axis=1), dtype=pl.Int64),
        pl.Series("n_counts", totals[:, 1:].sum(axis=1), dtype=pl.Int64),
        pl.Series("n_genes", totals[:, 0], dtype=pl.Int64),
        *(pl.Series(f"n_cells_{name}", n_cells[:, i], dtype=pl.Int64) for i, name in enumerate(THIRDS)),
        *(pl.Series(f"n_counts_{name}", totals[:, 1 + i], dtype=pl.Int64) for i, name in enumerate(THIRDS)),
    )
    repeated = profiles.filter(pl.col("sample_key").is_duplicated())["sample_key"]
    if len(repeated):
        rule = f"values of {', '.join(keys.columns)} joined by {KEY_SEPARATOR} name one profile"
        raise BadInputError(f"{rule}, but {repeated[0]!r} names several")
    profiles.write_parquet(generation / _PROFILES)


@dataclass(frozen=True, slots=True)
class Profiles:
    """A finished store.

    Args:
        folder: of the generation that counts.
        samples: ``sample_key``, the columns of the key, ``n_cells``, ``n_counts``, ``n_genes``, and cells and
            counts of each third (``n_cells_third_1``, …), one row per profile in the order of the key.
        genes: the gene axis, as it was given.
        manifest: key, seed, filters, digests of the input, account.
    """

    folder: Path
    samples: pl.DataFrame
    genes: pl.DataFrame
    manifest: Mapping[str, Any]

    @property
    def account(self) -> RowAccount:
        """Cells in and out, by the first reason; ``manifest["account"]["each"]`` has every reason."""
        stated = self.manifest["account"]
        return RowAccount(stated["n_in"], stated["n_out"], stated["first"], unit="cells")

    def counts(self) -> pl.LazyFrame:
        """Return all counts above zero, sorted by profile and gene.

        ``profile`` and ``gene`` are positions in ``samples`` and ``genes``; ``count``; ``n_expressing``, the
        cells with a count above zero, of ``n_cells``; ``third_1`` to ``third_3``, which add up to ``count``.
        """
        return pl.scan_parquet([self.folder / part["name"] for part in self.manifest["parts"]])

    def blocks(self, column: str = "count", *, block_entries: int = BLOCK_ENTRIES) -> Iterator[ProfileBlock]:
        """Yield the profiles in order, some at a time.

        Args:
            column: ``count``, a third, or ``n_expressing``.
            block_entries: entries of a block; a block has at least one profile.

        Raises:
            BadInputError: a number that float32 cannot hold exactly.
        """
        ends = np.concatenate([[0], np.cumsum(self.samples["n_genes"].to_numpy())])
        start = 0
        while start < self.samples.height:
            stop = int(np.searchsorted(ends, ends[start] + block_entries, side="right")) - 1
            stop = max(stop, start + 1)
            yield self._block(column, start, stop, ends)
            start = stop

    def _block(self, column: str, start: int, stop: int, ends: IntArray) -> ProfileBlock:
        n = int(ends[stop] - ends[start])
        found = self._rows(int(ends[start]), n, ["gene", column])
        values = found[column].to_numpy()
        if n and int(values.max()) > LARGEST_EXACT_FLOAT32:
            rule = f"counts up to {LARGEST_EXACT_FLOAT32:,} are exact, but one is {int(values.max()):,}"
            raise BadInputError(rule, file=self.folder.parent, column=column)
        index_type = np.int32 if n < 2**31 else np.int64
        parts = (
            values.astype(np.float32),
            found["gene"].to_numpy().astype(index_type, copy=False),
            (ends[start : stop + 1] - ends[start]).astype(index_type),
        )
        matrix = sparse.csr_matrix(parts, shape=(stop - start, self.genes.height))
        return ProfileBlock(self.samples["sample_key"][start:stop].to_list(), matrix)

    def _rows(self, first: int, n: int, columns: Sequence[str]) -> pl.DataFrame:
        """Return consecutive rows of all counts; opens only the files that hold them."""
        pieces = []
        for part in self.manifest["parts"]:
            start, stop = max(first, 0), min(first + n, part["n_rows"])
            if start < stop:
                rows = pl.scan_parquet(self.folder / part["name"]).slice(start, stop - start)
                pieces.append(rows.select(columns).collect())
            first -= part["n_rows"]
        return pl.concat(pieces) if pieces else self.counts().select(columns).head(0).collect()


def read_profiles(store: Path) -> Profiles:
    """Open a finished store.

    Raises:
        BadInputError: there is none, or a file of it is missing or not as it was written.
    """
    stated = _read_manifest(store)
    if stated is None:
        raise BadInputError("no finished profiles are here", file=store)
    folder = store / str(stated["generation"])
    for part in stated["parts"]:
        path = folder / part["name"]
        if not path.is_file() or path.stat().st_size != part["n_bytes"]:
            raise BadInputError(f"{part['name']} is not as it was written; remove the folder", file=store)
    try:
        samples, genes = (pl.read_parquet(folder / name) for name in (_PROFILES, _GENES))
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise BadInputError(f"{' '.join(str(fault).split())}; remove the folder", file=store) from fault
    return Profiles(folder, samples, genes, stated)


def _read_manifest(store: Path) -> dict[str, Any] | None:
    path = store / _MANIFEST
    if not path.is_file():
        return None
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise BadInputError(f"{_MANIFEST} cannot be read; remove the folder", file=store) from fault
    return stated if isinstance(stated, dict) and stated.get("layout") == LAYOUT else None


def _publish(store: Path, stated: Mapping[str, Any]) -> None:
    staged = store / str(stated["generation"]) / _MANIFEST
    text = json.dumps({**stated, "built_at": datetime.now(UTC).isoformat()}, indent=1, ensure_ascii=False)
    staged.write_text(text, encoding="utf-8")
    staged.replace(store / _MANIFEST)


def _remove_generations(store: Path, *, keep: str | None) -> None:
    """Remove what killed runs and earlier generations have left."""
    for path in store.glob("[0-9a-f]" * _GENERATION_LETTERS):
        if path.is_dir() and path.name != keep:
            shutil.rmtree(path)


@njit(cache=True, nogil=True)
def _hash_texts(starts: IntArray, letters: np.ndarray, seed: np.uint64, hashes: np.ndarray) -> None:
    prime = np.uint64(0x100000001B3)
    for text in range(len(hashes)):
        state = np.uint64(0xCBF29CE484222325)
        for shift in range(0, 64, 8):
            state = (state ^ ((seed >> np.uint64(shift)) & np.uint64(255))) * prime
        for position in range(starts[text], starts[text + 1]):
            state = (state ^ np.uint64(letters[position])) * prime
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes[text] = state ^ (state >> np.uint64(31))


@njit(cache=True, nogil=True)
def _pack_cells(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    cells: IntArray,
    gene: np.ndarray,
    count: np.ndarray,
) -> None:
    """Copy the entries of cells into narrower types."""
    place = np.uint64(0)
    for cell in cells:
        for entry in range(np.uint64(indptr[cell]), np.uint64(indptr[cell + 1])):
            gene[place] = indices[entry]
            count[place] = np.uint16(np.int32(data[entry]))
            place += np.uint64(1)


@njit(cache=True, nogil=True)
def _take(words: np.ndarray, genes: np.ndarray, low: np.ndarray) -> int:
    """Move what is not zero out of an accumulator, gene after gene; return the number of genes."""
    n = 0
    for gene in range(len(words)):
        word = words[gene]
        if word != 0:
            genes[n] = gene
            for number in range(4):
                low[number, n] = np.uint16((word >> np.uint64(16 * number)) & np.uint64(0xFFFF))
            words[gene] = 0
            n += 1
    return n


@njit(cache=True, nogil=True)
def _accumulate(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    cells: IntArray,
    slots: IntArray,
    thirds: np.ndarray,
    first: int,
    words: np.ndarray,
    places: IntArray,
    amounts: IntArray,
) -> tuple[int, int]:
    """Add cells from the first on; return the cell to go on with and the number of carries.

    It stops before a cell whose carries might not fit. A carry is a place among all 16-bit numbers and a
    multiple of 2**16 that belongs to it. Positions have no sign in the inner loops, here and in the others:
    compiled code need not ask whether they count from the end.
    """
    n_genes = words.shape[1]
    largest, cell_shift = np.uint64(0xFFFF), np.uint64(48)
    one_cell = np.uint64(1) << cell_shift
    n_carried = 0
    for position in range(first, len(cells)):
        cell, slot, third = cells[position], slots[position], np.int64(thirds[position])
        start, stop = indptr[cell], indptr[cell + 1]
        if n_carried + 2 * (stop - start) > len(places):
            return position, n_carried
        shift = np.uint64(16 * third)
        profile = words[slot]
        for entry in range(np.uint64(start), np.uint64(stop)):
            count = np.uint64(np.int64(data[entry]))
            if count == 0:
                continue
            gene = np.uint64(indices[entry])
            word = profile[gene]
            total = ((word >> shift) & largest) + count
            n_cells = word >> cell_shift
            if total <= largest and n_cells < largest:
                profile[gene] = word + (count << shift) + one_cell
                continue
            place = (slot * n_genes + np.int64(gene)) * 4
            word = word & ~(largest << shift) | ((total & largest) << shift)
            if total > largest:
                places[n_carried], amounts[n_carried] = place + third, np.int64(total >> np.uint64(16))
                n_carried += 1
            if n_cells == largest:
                word = word & ~(largest << cell_shift)
                places[n_carried], amounts[n_carried] = place + 3, 1
                n_carried += 1
            else:
                word = word + one_cell
            profile[gene] = word
    return len(cells), n_carried
