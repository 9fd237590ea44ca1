"""Pseudobulk of single cells beside the speed at which their file can be inflated.

    python benchmarks/pseudobulk.py                      # 200,000 cells, a first impression
    python benchmarks/pseudobulk.py --cells 2000000      # about 7 GB of scratch files

Four h5ad files of a quarter of the cells each are simulated as AnnData writes them (CSR of float32 and
int32, gzip level 4, its chunk sizes): 60,000 genes, about 1,750 above zero per cell, two plates of two
files each, with as many profiles as a plate of Tahoe has (96 wells x 50 lines), cells in random order
within their plate. To write them in minutes, some thousand cells are drawn and compressed, and their chunks
are repeated; which profile a cell belongs to is drawn for each. Files are removed at the end.

One, two and four files are then read in a fresh process each. First every chunk is read and inflated by as
many threads and nothing else is done: with zlib, as every other reader of HDF5 does it (the limit), and with
ISA-L, as ours does. Then profiles are made with Tahoe's filters and published.
Reading all cells (stream) grows with the cells, writing the profiles (finish) with the profiles; Tahoe has
1,500 cells for each. Other work on the machine disturbs all of it, so CPU seconds stand beside wall time.
Files have just been written and lie in memory: the disk has no part in it.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import polars as pl
from isal import isal_zlib
from numba import njit
from scipy import sparse

from etl.expression.pseudobulk import CellBlock, pseudobulk
from etl.expression.quality_control import CELL_FILTERS
from etl.formats import h5ad

N_FILES = 4
FILES_PER_PLATE = 2
WELLS = [f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 13)]
N_LINES = 50
SUBLIBRARIES = 8
"""Of a file, each in the order of its barcodes, which begin with the well."""
GZIP_LEVEL = 4
POOL_CHUNKS = 192
"""Distinct chunks: about 28,000 cells."""
MEDIAN_COUNTS = 2_400
KEY = ("plate", "well", "context_reported")


@njit(cache=True, nogil=True)
def _draw(cumulative: np.ndarray, depths: np.ndarray, seed: int, n_entries: int) -> tuple:
    """Draw cells until there are n entries: genes by their share, counts as often as drawn."""
    np.random.seed(seed)  # noqa: NPY002 (inside compiled code there is no Generator of a stored seed)
    data, indices = np.empty(n_entries, np.float32), np.empty(n_entries, np.int32)
    lengths, n = np.empty(len(depths), np.int64), 0
    for cell in range(len(depths)):
        genes = np.sort(np.searchsorted(cumulative, np.random.random(depths[cell])))  # noqa: NPY002
        start, last = n, -1
        for gene in genes:
            if gene == last:
                data[n - 1] += 1
            elif n == n_entries:
                break
            else:
                indices[n], data[n], last = gene, 1, gene
                n += 1
        lengths[cell] = n - start
        if n == n_entries:
            return data, indices, lengths[: cell + 1]
    return data[:0], indices[:0], lengths[:0]


def simulate(folder: Path, n_cells: int, n_genes: int, order: str) -> list[Path]:
    """Write the files and return them."""
    rng = np.random.default_rng(1)
    share = rng.lognormal(0, 2.1, n_genes)
    share[0] = 0.01 * share.sum()  # MALAT1
    chunk = _chunk_of_anndata(folder, int(1_750 * n_cells / N_FILES))
    depths = rng.lognormal(np.log(MEDIAN_COUNTS), 0.5, 60_000).astype(np.int64)
    data, indices, lengths = _draw(np.cumsum(share / share.sum()), depths, 1, POOL_CHUNKS * chunk)
    assert len(data), "too few cells were drawn"
    with ThreadPoolExecutor(2) as pool:
        packed = {
            name: list(pool.map(lambda part: zlib.compress(part, GZIP_LEVEL), np.split(values, POOL_CHUNKS)))
            for name, values in (("data", data), ("indices", indices))
        }
    repeats = max(1, round(n_cells / N_FILES / len(lengths)))
    return [
        _write(folder / f"cells-{number}.h5ad", number, packed, lengths, repeats, chunk, n_genes, order)
        for number in range(N_FILES)
    ]


def _chunk_of_anndata(folder: Path, n_entries: int) -> int:
    """Return the chunk that HDF5's Python interface, and so AnnData, chooses for an array of this length."""
    with h5py.File(folder / "chunk.h5", "w") as file:
        return int(file.create_dataset("x", (n_entries,), "f4", compression="gzip").chunks[0])


def _write(
    path: Path,
    number: int,
    packed: dict,
    lengths: np.ndarray,
    repeats: int,
    chunk: int,
    n_genes: int,
    order: str,
) -> Path:
    rng = np.random.default_rng(number)
    n_cells = repeats * len(lengths)
    starts = np.concatenate([[0], np.cumsum(np.tile(lengths, repeats))])
    with h5py.File(path, "w") as file:
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        matrix.attrs["shape"] = [n_cells, n_genes]
        matrix["indptr"] = starts
        for name, dtype in (("data", "f4"), ("indices", "i4")):
            array = matrix.create_dataset(
                name, (starts[-1],), dtype, chunks=(chunk,), compression="gzip", compression_opts=GZIP_LEVEL
            )
            for position in range(repeats * POOL_CHUNKS):
                array.id.write_direct_chunk((position * chunk,), packed[name][position % POOL_CHUNKS])
        obs = _table(file, "obs", [f"{number:02}_{i % 96:03}_{i:08}-lib" for i in range(n_cells)])
        for name, labels in (("well", WELLS), ("cell_line", [f"CVCL_{i:04}" for i in range(N_LINES)])):
            column = obs.create_group(name)
            column.attrs["encoding-type"] = "categorical"
            codes = rng.integers(0, len(labels), n_cells).astype(np.int8)
            if name == "well" and order == "barcode":
                codes = np.concatenate([np.sort(part) for part in np.array_split(codes, SUBLIBRARIES)])
            column["codes"] = codes
            column["categories"] = labels
        obs["gene_count"] = np.tile(lengths, repeats)
        obs.attrs["column-order"] = ["well", "cell_line", "gene_count"]
        _table(file, "var", [f"ENSG{i:011}" for i in range(n_genes)])
    return path


def _table(file: h5py.File, name: str, index: list[str]) -> h5py.Group:
    table = file.create_group(name)
    table.attrs.update({"encoding-type": "dataframe", "_index": "_index", "column-order": np.empty(0, "S1")})
    table.create_dataset("_index", data=index, dtype=h5py.string_dtype(), compression="gzip")
    return table


def cells_of(files: list[Path], n_threads: int) -> Iterator[CellBlock]:
    """Yield the cells of some files as an adapter would."""
    for number, path in enumerate(files):
        for obs, counts in h5ad.observed_blocks(path, n_threads=n_threads):
            cells = obs.select(
                pl.col(h5ad.INDEX).alias("cell_id"),
                pl.lit(f"plate{1 + number // FILES_PER_PLATE}").alias("plate"),
                "well",
                pl.col("cell_line").alias("context_reported"),
                pl.col("gene_count").alias("n_genes"),
            )
            yield CellBlock(cells, counts, path)


def inflate(files: list[Path], n_threads: int, decompress: Callable[..., bytes]) -> None:
    """Read and inflate every chunk of the matrices and do nothing with them."""

    def one(array: h5py.Dataset, position: int) -> None:
        decompress(array.id.read_direct_chunk((position,))[1], bufsize=array.chunks[0] * 4)

    for path in files:
        with h5py.File(path) as file, ThreadPoolExecutor(n_threads) as pool:
            for name in ("X/data", "X/indices"):
                array = file[name]
                list(
                    pool.map(
                        lambda position, of=array: one(of, position), range(0, array.size, array.chunks[0])
                    )
                )


def measured(action, *arguments) -> tuple[float, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    action(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def run(files: list[Path], store: Path, n_threads: int) -> dict[str, float]:
    """Measure the limit and the profiles of some files; in a process of its own, for its peak memory."""
    genes = h5ad.read_var(files[0]).select(
        gene_reported=h5ad.INDEX, symbol=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("MALAT1"))
    )
    tiny = CellBlock(
        pl.DataFrame(
            {"cell_id": ["x"], "plate": ["p"], "well": ["A1"], "context_reported": ["c"], "n_genes": [1]}
        ),
        sparse.csr_matrix(([1], [0], [0, 1]), shape=(1, genes.height), dtype=np.float32),
    )
    facts = {"key": KEY, "genes": genes, "filters": CELL_FILTERS["scrna"], "seed": 1}
    pseudobulk([tiny], store=store / "compiled", slab_bytes=10**6, **facts)
    limit, limit_cpu = measured(inflate, files, n_threads, zlib.decompress)
    faster, _ = measured(inflate, files, n_threads, isal_zlib.decompress)
    ends: list[tuple[float, float]] = []

    def timed() -> Iterator[CellBlock]:
        yield from cells_of(files, n_threads)
        ends.append((time.perf_counter(), time.process_time()))

    began = time.perf_counter(), time.process_time()
    profiles = pseudobulk(timed(), store=store / "profiles", **facts)
    ends.append((time.perf_counter(), time.process_time()))
    (stream, stream_cpu), (seconds, cpu) = ((wall - began[0], cpu - began[1]) for wall, cpu in ends)
    return {
        "cells": profiles.account.n_in,
        "kept": profiles.account.n_out,
        "profiles": profiles.samples.height,
        "rows": profiles.samples["n_genes"].sum(),
        "entries": sum(int(h5py.File(path)["X/data"].size) for path in files),
        "limit": limit,
        "limit_cpu": limit_cpu,
        "faster": faster,
        "stream": stream,
        "stream_cpu": stream_cpu,
        "finish": seconds - stream,
        "finish_cpu": cpu - stream_cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Print a line for a quarter, half and all of the cells."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=60_000)
    parser.add_argument("--order", choices=("random", "barcode"), default="random")
    parser.add_argument("--parts", nargs="+", type=int, default=[1, 2, 4], help="files, of four")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--run", nargs="+", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        store, *files = chosen.run
        print(json.dumps(run(files, store, chosen.threads)))
        return
    folder = Path(tempfile.mkdtemp(prefix="perturbhouse-pseudobulk-", dir=chosen.folder))
    try:
        started = time.perf_counter()
        files = simulate(folder, chosen.cells, chosen.genes, chosen.order)
        size = sum(path.stat().st_size for path in files)
        print(f"simulated in {time.perf_counter() - started:.0f} s: {size / 1e9:.2f} GB compressed")
        heads = ("cells", "profiles", "rows M", "entries/cell", "limit s", "ISA-L s", "stream s", "finish s")
        heads += (
            "x limit",
            "x ISA-L",
            "cells/s",
            "limit CPU",
            "stream CPU",
            "finish CPU",
            "x CPU",
            "peak GB",
        )
        print("".join(f"{head:>12}" for head in heads))
        for n_files in chosen.parts:
            store = folder / "store"
            command = [sys.executable, __file__, "--threads", str(chosen.threads), "--run", str(store)]
            done = subprocess.run(
                [*command, *map(str, files[:n_files])], stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads(done.stdout)
            shutil.rmtree(store)
            figures = (
                f"{found['cells']:,}",
                f"{found['profiles']:,}",
                f"{found['rows'] / 1e6:.1f}",
                f"{found['entries'] / found['cells']:,.0f}",
                f"{found['limit']:.1f}",
                f"{found['faster']:.1f}",
                f"{found['stream']:.1f}",
                f"{found['finish']:.1f}",
                f"{found['stream'] / found['limit']:.2f}",
                f"{found['stream'] / found['faster']:.2f}",
                f"{found['cells'] / found['stream']:,.0f}",
                f"{found['limit_cpu']:.1f}",
                f"{found['stream_cpu']:.1f}",
                f"{found['finish_cpu']:.1f}",
                f"{found['stream_cpu'] / found['limit_cpu']:.2f}",
                f"{found['peak'] / 1e9:.2f}",
            )
            print("".join(f"{figure:>12}" for figure in figures), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
