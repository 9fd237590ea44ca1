"""Measure effects at the scale of the reference: time, memory, and what of it no program could save.

    python benchmarks/differential_expression.py --list
    python benchmarks/differential_expression.py --shape gdpx2 op3_10 [--fraction 0.5] [--workers 2]
    python benchmarks/differential_expression.py --all [--fraction 0.25]
    python benchmarks/differential_expression.py --kernel
    python benchmarks/differential_expression.py --peers

What is measured, and how to read it, is in ``benchmarks/README.md``.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl
from deltalake import DeltaTable

from benchmarks.peers import print_peers
from benchmarks.processes import Usage, in_fresh_process
from benchmarks.simulation import Pools, UnitValues, sample_rows, store
from benchmarks.workload import SHAPES, ReferenceRow, Shape, Unit, shape_named, units_of
from etl.warehouse.layout import COMPRESSION, COMPRESSION_LEVEL, ROW_GROUP_ROWS

N_THREADS = 2
"""Threads that the floor is measured with; the measured code chooses by the CPUs it may use."""
GOAL_SECONDS, GOAL_BYTES = 30 * 60, 8e9
LARGE_CELLS = 150e6
"""Datasets above it are run by ``--all`` at a fraction, in two sizes."""
DISK_BYTES = 20e9
"""A dataset that needs more is stored, fitted and deleted in parts."""
BYTES_PER_VALUE, BYTES_PER_EFFECT, BYTES_PER_REPLICATE = 5.0, 16.0, 8.5
"""Upper bounds for what is stored, from which the space on disk is planned."""

INPUT = ("core/expression", "core/sample")
OUTPUT = (
    "mart/differential_expression",
    "mart/replicate_effect",
    "mart/gene_variance",
    "mart/null_calibration",
    "mart/condition",
)


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds that reading, testing and writing take by themselves, with two threads on this machine."""

    read: float
    p_values: float
    write: float

    @property
    def total(self) -> float:
        """All of it, one after the other."""
        return self.read + self.p_values + self.write


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run of the asset's code path.

    Args:
        shape: the dataset.
        contexts: contexts that were fitted.
        samples: their samples.
        values: stored values of them.
        contrasts: estimable contrasts of both designs.
        cells: contrasts x tested genes, as committed.
        planned_cells: the same as table 7.2 has it, for these contexts.
        bytes_read: size of the stored values and samples.
        bytes_written: size of the committed tables.
        usage: what it took.
        floor: what it would take if the fit were free.
    """

    shape: Shape
    contexts: int
    samples: int
    values: int
    contrasts: int
    cells: int
    planned_cells: int
    bytes_read: int
    bytes_written: int
    usage: Usage
    floor: Floor

    @property
    def share(self) -> float:
        """Share of the dataset's cells."""
        return self.planned_cells / sum(unit.cells for unit in units_of(self.shape))

    @property
    def ratio(self) -> float:
        """Job-hours of the reference for the same share, over the wall time."""
        return self.shape.hours * 3600 * self.share / self.usage.wall


# --- the measured process --------------------------------------------------------------------------------


def fit_all(sender: Connection, root: str, sizes: dict[tuple[str, str], int], workers: int | None) -> None:
    """Fit every context as ``perturbhouse build`` does: the asset, in this process or in several."""
    os.environ.pop("DAGSTER_HOME", None)
    from assets.fit import fit
    from assets.instance import instance_of
    from assets.machine import usable_cpus
    from assets.resources import Warehouse
    from assets.workers import default_workers, divide, fit_in_processes
    from etl.warehouse.fit_units import FitUnit

    warehouse = Warehouse(root=root, raw=f"{root}/raw", cache=f"{root}/.cache")
    units = {FitUnit(*key): n for key, n in sizes.items()}
    n_workers = default_workers(sum(units.values())) if workers is None else workers
    outcomes = []
    with instance_of(warehouse) as instance:
        if n_workers == 1:
            for unit in units:
                run_id = str(uuid.uuid4())
                outcomes.append(
                    fit(unit, instance=instance, warehouse=warehouse, run_id=run_id, n_threads=usable_cpus())
                )
        else:
            alone, side_by_side = divide(units, n_workers)
            for chosen, n in ((alone, 1), (side_by_side, n_workers)):
                outcomes += fit_in_processes(
                    chosen,
                    instance=instance,
                    warehouse=warehouse,
                    n_workers=n,
                    n_threads=max(1, usable_cpus() // n),
                )
    sender.send([f"{outcome.unit}: {outcome.error}" for outcome in outcomes if outcome.error is not None])


# --- one dataset -----------------------------------------------------------------------------------------


def measured(shape: Shape, fraction: float, workers: int | None, folder: str | None) -> Run:
    """Store a simulated dataset part by part, fit it, and add the parts up."""
    runs = [_measured_part(shape, part, workers, folder) for part in parts_of(units_of(shape, fraction))]
    if len(runs) == 1:
        return runs[0]

    def summed(name: str) -> int:
        return sum(getattr(run, name) for run in runs)

    usage = Usage(
        sum(run.usage.wall for run in runs),
        sum(run.usage.cpu for run in runs),
        max(run.usage.peak_bytes for run in runs),
    )
    floor = Floor(*(sum(getattr(run.floor, name) for run in runs) for name in ("read", "p_values", "write")))
    return Run(
        shape,
        contexts=summed("contexts"),
        samples=summed("samples"),
        values=summed("values"),
        contrasts=summed("contrasts"),
        cells=summed("cells"),
        planned_cells=summed("planned_cells"),
        bytes_read=summed("bytes_read"),
        bytes_written=summed("bytes_written"),
        usage=usage,
        floor=floor,
    )


def parts_of(units: Sequence[Unit]) -> list[list[Unit]]:
    """Return fit units in parts that fit on the disk, contexts whole and large ones spread over the parts."""
    contexts = list(dict.fromkeys(unit.context_id for unit in units))
    n_parts = min(len(contexts), int(sum(map(disk_bytes, units)) // DISK_BYTES) + 1)
    return [[unit for unit in units if unit.context_id in set(contexts[i::n_parts])] for i in range(n_parts)]


def disk_bytes(unit: Unit) -> float:
    """Return the bytes that a fit unit needs at most, stored and fitted."""
    values = unit.samples * min(unit.genes_stored, unit.genes_separate + 0.1 * unit.genes_stored)
    effects = unit.conditions * unit.genes_grouped
    return (
        BYTES_PER_VALUE * values
        + BYTES_PER_EFFECT * effects
        + BYTES_PER_REPLICATE * unit.treated * unit.genes_separate
    )


def _measured_part(shape: Shape, units: list[Unit], workers: int | None, folder: str | None) -> Run:
    dataset_id = _registered(shape.scale)
    needed = sum(map(disk_bytes, units))
    with tempfile.TemporaryDirectory(prefix="perturbhouse-benchmark-", dir=folder) as root:
        free = shutil.disk_usage(root).free
        if free < 1.2 * needed:
            raise SystemExit(
                f"{shape.name}: {needed / 1e9:.0f} GB are needed in {root}, {free / 1e9:.0f} are free"
            )
        started = time.perf_counter()
        n_values = store(units, shape, dataset_id, root)
        n_samples = sum(unit.samples for unit in units)
        stored = sum(_size(root, name) for name in INPUT)
        print(
            f"  {shape.name}: stored {n_samples:,} samples, {n_values:,} values, {stored / 1e9:.2f} GB "
            f"in {time.perf_counter() - started:.0f} s (not counted)",
            flush=True,
        )
        sizes: dict[tuple[str, str], int] = {}
        for unit in units:
            key = (dataset_id, unit.context_id)
            sizes[key] = sizes.get(key, 0) + unit.samples
        errors, usage = in_fresh_process(fit_all, root, sizes, workers)
        if errors:
            raise SystemExit("\n".join(errors))
        effects, replicates = (_n_rows(root, name) for name in OUTPUT[:2])
        facts = pl.scan_delta(f"{root}/mart/condition")
        n_conditions = facts.filter("is_estimable").select(pl.len()).collect().item()
        scanned = pl.scan_delta(f"{root}/mart/replicate_effect").select("sample_id")
        n_replicates = scanned.select(pl.col("sample_id").n_unique()).collect(engine="streaming").item()
        return Run(
            shape,
            contexts=len(sizes),
            samples=n_samples,
            values=n_values,
            contrasts=n_conditions + n_replicates,
            cells=effects + replicates,
            planned_cells=sum(unit.cells for unit in units),
            bytes_read=stored,
            bytes_written=sum(_size(root, name) for name in OUTPUT),
            usage=usage,
            floor=measured_floor(root, n_values, effects, replicates),
        )


def _registered(scale: str) -> str:
    """Return a dataset whose adapter declares the scale: the asset asks the registry for it."""
    from etl.sources import SOURCES

    return next(name for name, source in SOURCES.items() if source.spec.value_scale == scale)


def _files(root: str, table: str) -> pl.DataFrame:
    return pl.DataFrame(DeltaTable(f"{root}/{table}").get_add_actions(flatten=True))


def _n_rows(root: str, table: str) -> int:
    return int(_files(root, table)["num_records"].sum())


def _size(root: str, table: str) -> int:
    return int(_files(root, table)["size_bytes"].sum())


# --- the floor -------------------------------------------------------------------------------------------


def measured_floor(root: str, n_values: int, n_effects: int, n_replicates: int) -> Floor:
    """Return the seconds for reading, tests and writing, at the rates of the very files of this run."""
    read = _seconds_per_row(root, "core/expression", _read) * n_values
    write = 0.0
    for table, rows in (("mart/differential_expression", n_effects), ("mart/replicate_effect", n_replicates)):
        write += _seconds_per_row(root, table, _write) * rows
    return Floor(read, seconds_per_p() * n_effects, write)


def _seconds_per_row(root: str, table: str, action: Callable[[Path], Callable[[], object]]) -> float:
    largest = _files(root, table).sort("num_records", descending=True).row(0, named=True)
    prepared = action(Path(root, table, unquote(largest["path"])))
    return fastest(prepared, 3) / largest["num_records"]


def _read(path: Path) -> Callable[[], object]:
    return lambda: pl.read_parquet(path, hive_partitioning=False)


def _write(path: Path) -> Callable[[], object]:
    rows = pl.read_parquet(path, hive_partitioning=False)
    target = path.with_suffix(".again")
    return lambda: rows.write_parquet(
        target,
        compression=COMPRESSION,
        compression_level=COMPRESSION_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
    )


def seconds_per_p() -> float:
    """Return the seconds of one p-value and its adjustment, with two threads at work."""
    from etl.effects.moderated_tests import ModeratedTests

    rng = np.random.default_rng(1)
    effect = rng.standard_normal((100, 12_000), dtype=np.float32) * 2
    error = np.ones_like(effect)
    tests = ModeratedTests(np.full(12_000, 60.0))

    def work() -> None:
        tests.p_values(effect, error, dtype=np.float32)

    def side_by_side() -> None:
        threads = [threading.Thread(target=work) for _ in range(N_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return fastest(side_by_side, 5) / (N_THREADS * effect.size)


def fastest(action: Callable[[], object], repeats: int) -> float:
    """Return the least time of an action, after one that does not count."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


# --- reports ---------------------------------------------------------------------------------------------

HEADER = (
    f"{'shape':18}{'part':>6}{'contexts':>9}{'samples':>9}{'contrasts':>10}{'M cells':>9}"
    f"{'wall s':>9}{'CPU s':>8}{'peak GB':>9}{'M cells/s':>10}{'GB in':>7}{'GB out':>7}"
    f"{'job-h':>8}{'ratio':>9}{'floor s':>9}{'read':>6}{'p':>6}{'write':>7}{'x floor':>9}"
)


def line(run: Run) -> str:
    """Return a run as a line of the report."""
    used, floor = run.usage, run.floor
    return (
        f"{run.shape.name:18}{run.share:6.0%}{run.contexts:9}{run.samples:9,}{run.contrasts:10,}"
        f"{run.cells / 1e6:9,.1f}{used.wall:9.1f}{used.cpu:8.1f}{used.peak_bytes / 1e9:9.2f}"
        f"{run.cells / 1e6 / used.wall:10.1f}{run.bytes_read / 1e9:7.2f}{run.bytes_written / 1e9:7.2f}"
        f"{run.shape.hours * run.share:8.1f}{run.ratio:9,.0f}"
        f"{floor.total:9.1f}{floor.read:6.1f}{floor.p_values:6.1f}{floor.write:7.1f}"
        f"{used.wall / floor.total:9.1f}"
    )


def print_run(run: Run) -> None:
    """Print a run, and what of its shape differs from the table of the reference."""
    print(line(run), flush=True)
    if abs(run.cells / run.planned_cells - 1) > 0.005:
        print(f"    the specification's table has {run.planned_cells / 1e6:,.1f} million cells for this")


def run_shapes(names: Sequence[str], fraction: float, workers: int | None, folder: str | None) -> None:
    """Measure datasets by name."""
    shapes = [shape_named(name) for name in names]
    warm_up(folder)
    print(HEADER)
    for shape in shapes:
        print_run(measured(shape, fraction, workers, folder))


def run_all(fraction: float, workers: int | None, folder: str | None) -> None:
    """Measure every dataset; large ones at two sizes unless the fraction is 1."""
    warm_up(folder)
    totals = []
    for shape in SHAPES:
        print(HEADER, flush=True)
        # Of two contexts no smaller part can be taken than one of them.
        sizes = {len(units_of(shape, part)) for part in (fraction, fraction / 2)}
        has_two_sizes = len(sizes) > 1 or shape.contexts == 1
        is_part = shape.cells > LARGE_CELLS and fraction < 1 and has_two_sizes
        run = measured(shape, fraction if is_part else 1.0, workers, folder)
        print_run(run)
        if not is_part:
            totals.append(
                Total(shape, run.usage.wall, run.usage.peak_bytes, run.cells, run.contrasts, "measured")
            )
            continue
        half = measured(shape, fraction / 2, workers, folder)
        print_run(half)
        # A line through both sizes: the start of the processes is paid once, the rest per cell.
        per_cell = (run.usage.wall - half.usage.wall) / (run.cells - half.cells)
        whole = sum(unit.cells for unit in units_of(shape))
        wall = run.usage.wall + max(per_cell, 0.0) * (whole - run.cells)
        growth = (run.usage.wall / half.usage.wall) / (run.cells / half.cells)
        print(
            f"    {growth:.2f} times the wall that is proportional to the smaller part; whole: {wall:.0f} s"
        )
        contrasts = shape.grouped.unique + shape.separate.unique
        peak = max(run.usage.peak_bytes, half.usage.peak_bytes)
        totals.append(Total(shape, wall, peak, whole, contrasts, f"from {run.share:.0%}"))
    print_totals(totals)


@dataclass(frozen=True, slots=True)
class Total:
    """A whole dataset, measured or computed from a part."""

    shape: Shape
    wall: float
    peak_bytes: int
    cells: int
    contrasts: int
    how: str


def print_totals(totals: Sequence[Total]) -> None:
    """Print all datasets, and their sum beside the goal."""
    print(
        f"\n{'dataset':18}{'contrasts':>12}{'M cells':>10}{'wall s':>9}{'peak GB':>9}"
        f"{'job-h':>9}{'ratio':>9}  whole"
    )
    for total in totals:
        print(
            f"{total.shape.name:18}{total.contrasts:12,}{total.cells / 1e6:10,.0f}{total.wall:9.1f}"
            f"{total.peak_bytes / 1e9:9.2f}{total.shape.hours:9.1f}"
            f"{total.shape.hours * 3600 / total.wall:9,.0f}  {total.how}"
        )
    once = [total for total in totals if not total.shape.name.endswith("_50")]
    _print_sum("13 datasets, once", once)
    _print_sum("all rows of 7.2", totals)


def _print_sum(name: str, totals: Sequence[Total]) -> None:
    wall, cells = sum(total.wall for total in totals), sum(total.cells for total in totals)
    rows = [row for total in totals for row in (total.shape.grouped, total.shape.separate)]
    hours, peak = sum(row.hours for row in rows), max(total.peak_bytes for total in totals)
    n_contrasts, padded = sum(total.contrasts for total in totals), sum(row.contrasts for row in rows)
    padded_cells = sum(row.million_cells for row in rows) * 1e6
    print(
        f"\n{name}: {n_contrasts:,} contrasts, {cells / 1e9:.2f}e9 cells in {wall / 60:.1f} minutes, ", end=""
    )
    print(f"{peak / 1e9:.2f} GB at most; reference {hours:,.0f} job-hours: {hours * 3600 / wall:,.0f} times")
    print(
        f"    with the duplicates of the reference's padding ({padded:,} contrasts, "
        f"{padded_cells / 1e9:.2f}e9 cells) ",
        end="",
    )
    print(f"the same rate makes it {wall * padded_cells / cells / 60:.1f} minutes")
    met = "met" if wall <= GOAL_SECONDS and peak <= GOAL_BYTES else "missed"
    print(f"    goal: under {GOAL_SECONDS // 60} minutes and {GOAL_BYTES / 1e9:.0f} GB: {met}")


def warm_up(folder: str | None) -> None:
    """Fit something small once, so that no run pays for compiling what the next one finds in the cache."""
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}; warming up", flush=True)
    for name in ("op3_50", "l1000_phase2"):
        shape = shape_named(name)
        small = replace(shape, contexts=1, treated=600, conditions=200, controls=96, plates=4, donors=0)
        _measured_part(small, units_of(small), 1, folder)


def print_shapes() -> None:
    """Print every shape as simulated."""
    print(
        f"{'shape':18}{'scale':>7}{'contexts':>9}{'samples':>9}{'controls':>9}{'plates':>7}{'conditions':>11}",
        end="",
    )
    print(f"{'genes':>8}{'tested':>16}{'M cells':>9}{'job-h':>8}{'largest':>9}")
    for shape in SHAPES:
        units = units_of(shape)
        tested = f"{units[-1].genes_grouped:,}-{units[0].genes_separate:,}"
        print(
            f"{shape.name:18}{shape.scale:>7}{shape.contexts:9}{sum(u.samples for u in units):9,}"
            f"{shape.controls:9,}{sum(u.plates for u in units):7,}{shape.conditions:11,}"
            f"{shape.genes_stored:8,}{tested:>16}{sum(u.cells for u in units) / 1e6:9,.0f}"
            f"{shape.hours:8.1f}{max(u.samples for u in units):9,}"
        )


# --- in memory -------------------------------------------------------------------------------------------

KERNELS = (
    (
        "log2",
        7_240,
        2_310,
        640,
        20,
        12_328,
        12_328,
        "R 202 s for one fit, 470 s as the reference; trial 2.3 s",
    ),
    ("counts", 4_608, 1_440, 288, 12, 20_000, 14_327, "R 5-7 hours (extrapolated); trial 8-10 s"),
)
"""Scale, samples, conditions, controls, plates, genes, tested genes; what the specification measured."""


def run_kernels() -> None:
    """Print the time of the fit alone, values in memory, for the two studies of the specification."""
    for scale, samples, conditions, controls, plates, genes, tested, elsewhere in KERNELS:
        print(f"\n{samples:,} samples x {genes:,} genes, {conditions:,} conditions, {plates} plates, {scale}")
        print(f"  elsewhere, on another machine: {elsewhere}")
        for n_threads in (1, 2):
            sizes = (scale, samples, conditions, controls, plates, genes, tested)
            answer, usage = in_fresh_process(fit_in_memory, sizes, n_threads, n_threads=n_threads)
            times, n_tested = answer
            first, (best, cpu) = times[0][0], min(times)
            rate = conditions * n_tested / best / 1e6
            print(
                f"  {n_threads} thread(s): {best:.2f} s, CPU {cpu:.2f} s ({first:.2f} s the first time), ",
                end="",
            )
            print(f"{n_tested:,} genes tested, {rate:.0f} M cells/s, ", end="")
            print(f"peak {usage.peak_bytes / 1e9:.2f} GB with the simulation", flush=True)


def fit_in_memory(
    sender: Connection, sizes: tuple[str, int, int, int, int, int, int], n_threads: int
) -> None:
    """Fit one study: every effect, standard error, p-value and adjusted p-value, float32, no rows."""
    from etl.effects.fit import fit_effects
    from etl.effects.moderated_tests import ModeratedTests

    scale, samples, conditions, controls, plates, genes, tested = sizes
    row = ReferenceRow(1, 0, (tested, tested), 1e3, 0.0, 0)
    shape = Shape(
        "kernel",
        "counts" if scale == "counts" else "log2",
        contexts=1,
        treated=samples - controls,
        conditions=conditions,
        controls=controls,
        plates=plates,
        genes_stored=genes,
        grouped=row,
        separate=row,
    )
    rng = np.random.default_rng(1)
    [unit] = units_of(shape)
    laid = sample_rows(unit, shape, "kernel", rng)
    made = UnitValues(unit, shape, laid, Pools(genes, rng), rng)
    values = made.count_matrix() if scale == "counts" else made.log2_block(slice(0, samples))
    del made
    times = []
    for _ in range(4):
        started, cpu = time.perf_counter(), time.process_time()
        fit = fit_effects(
            values,
            condition=laid["condition_id"].fill_null(0).to_numpy(),
            plate=laid["plate"].to_numpy(),
            is_control=laid["is_control"].to_numpy(),
            scale=shape.scale,
            n_threads=n_threads,
            dtype=np.float32,
        )
        tests = ModeratedTests(fit.total_df)
        for block in fit.blocks():
            tests.p_values(block.log2_fold_change, block.standard_error, dtype=np.float32)
        times.append((time.perf_counter() - started, time.process_time() - cpu))
    sender.send((times, int(fit.is_tested.sum())))


# --- command line ----------------------------------------------------------------------------------------


@contextmanager
def ended_tidily() -> Iterator[None]:
    """Turn a request to end into an exit that removes what is on the disk."""

    def end(*_: object) -> None:
        raise SystemExit("ended by a signal; what was stored is removed")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shape", nargs="+", metavar="NAME", help="datasets to run")
    what.add_argument("--all", action="store_true", help="run every dataset and sum up")
    what.add_argument("--list", action="store_true", help="print the shapes")
    what.add_argument("--kernel", action="store_true", help="the fit alone, in memory")
    what.add_argument("--peers", action="store_true", help="other programs on a common subset")
    parser.add_argument(
        "--fraction",
        type=float,
        help="of contexts, or of the conditions of a single one [1; with --all 0.25]",
    )
    parser.add_argument("--workers", type=int, help="processes [as perturbhouse build chooses]")
    parser.add_argument("--folder", help="where to store [the system's folder for temporary files]")
    chosen = parser.parse_args()
    if chosen.fraction is not None and not 0 < chosen.fraction <= 1:
        parser.error("--fraction is above 0 and at most 1")
    with ended_tidily():
        if chosen.list:
            print_shapes()
        elif chosen.peers:
            in_fresh_process(print_peers, n_threads=1)
        elif chosen.kernel:
            run_kernels()
        elif chosen.all:
            run_all(chosen.fraction or 0.25, chosen.workers, chosen.folder)
        else:
            try:
                run_shapes(chosen.shape, chosen.fraction or 1.0, chosen.workers, chosen.folder)
            except ValueError as error:
                parser.error(str(error))


if __name__ == "__main__":
    main()
