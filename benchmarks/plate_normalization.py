"""GDSC's wells from CSV to viability, beside the time that a scan of the same file takes.

    python benchmarks/plate_normalization.py                      # 3 million rows, a first impression
    python benchmarks/plate_normalization.py --rows 15000000      # GDSC2's size: 2.1 GB of scratch files

A raw table is simulated in the publisher's layout: plates of 1,536 wells, of which 420 are treated (60 drugs,
seven doses; a second row each says ``DMSO``), so that about as many rows are treatments as in GDSC2. Its rows
are made once for a plate; identifiers and intensities are of each. The file is removed at the end.

In a fresh process each: the limit, which is a scan of the columns needed that counts missing values and does
nothing else; and ``read_wells``, up to the last block of measurements. The file has just been written and
lies in memory, so the disk has no part in it. Peak memory is given twice: all resident pages, and those that
are not pages of the file itself, which the system may drop at any time.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

from etl.simulate.gdsc import RAW_COLUMNS
from etl.sources.gdsc_wells import COLUMNS, read_wells

N_WELLS, N_BLANKS, N_CONTROLS, N_UNTREATED = 1536, 90, 160, 40
N_DRUGS, N_DOSES = 60, 7
PLATES_PER_LINE = 20
PLATES_PER_EXPANSION = 5
FILE = "GDSC2_public_raw_data_27Oct23.csv"


def layout() -> pl.DataFrame:
    """Return the rows of a plate: POSITION, TAG, DRUG_ID, CONC, viability."""
    rng = np.random.default_rng(1)
    places = iter((rng.permutation(N_WELLS) + 1).tolist())
    rows: list[tuple[int, str, str, str, float]] = []
    for tag, count, viability in (
        ("B", N_BLANKS, 0.0),
        ("NC-1", N_CONTROLS, 1.0),
        ("NC-0", N_UNTREATED, 1.0),
    ):
        rows += [(next(places), tag, "NA", "NA", viability) for _ in range(count)]
    for drug in range(N_DRUGS):
        for dose in range(N_DOSES):
            place, viability = next(places), (1 + dose) / (1 + N_DOSES)
            conc = f"{10 / 10 ** (dose / 2):.6g}"
            rows.append((place, f"L{drug + 1}-D{dose + 1}-S", str(1000 + drug), conc, viability))
            rows.append((place, "DMSO", "NA", "NA", viability))
    rows += [(place, "UN-USED", "NA", "NA", 0.0) for place in places]
    schema = ["POSITION", "TAG", "DRUG_ID", "CONC", "viability"]
    return pl.DataFrame(rows, schema=schema, orient="row").sort("POSITION")


def simulate(path: Path, n_rows: int) -> int:
    """Write the table and return its number of rows."""
    rng, plate_rows = np.random.default_rng(2), layout()
    n_plates = max(1, round(n_rows / plate_rows.height))
    viability = plate_rows["viability"].to_numpy()
    with path.open("wb") as file:
        for plate in range(n_plates):
            line = plate // PLATES_PER_LINE
            intensity = (5_000 + 200_000 * viability) * rng.normal(1, 0.05, len(viability))
            constants = {
                "RESEARCH_PROJECT": "GDSC_001-B",
                "BARCODE": f"018_996_{plate:07}" if plate % 10 == 0 else str(100_000 + plate),
                "SCAN_ID": str(50_000 + plate),
                "DATE_CREATED": "2015-03-02T00:00:00Z",
                "SCAN_DATE": "2015-03-06T00:00:00Z",
                "CELL_ID": str(3_000 + plate // PLATES_PER_EXPANSION),
                "MASTER_CELL_ID": str(300 + line),
                "COSMIC_ID": str(99_000_000 + line),
                "CELL_LINE_NAME": f"LINE-{line}",
                "SANGER_MODEL_ID": f"SIDM{line:05}",
                "SEEDING_DENSITY": "250",
                "DRUGSET_ID": "159",
                "ASSAY": "Glo",
                "DURATION": "3",
            }
            rows = plate_rows.with_columns(
                *(pl.lit(value).alias(name) for name, value in constants.items()),
                INTENSITY=intensity.round().astype(np.int64),
            )
            rows.select(RAW_COLUMNS).write_csv(file, include_header=plate == 0)
    return n_plates * plate_rows.height


def scan(path: Path) -> int:
    """Read the columns needed and count their missing values."""
    schema = dict.fromkeys(RAW_COLUMNS, pl.String)
    text = pl.scan_csv(path, schema=schema, null_values="NA", glob=False).select(COLUMNS)
    return sum(text.select(pl.all().null_count()).collect(engine="streaming").row(0))


def normalize(path: Path) -> int:
    """Read all measurements and return how many there are."""
    wells = read_wells(path, dataset_id="gdsc2", negative_control="NC-1")
    return sum(block.height for block in wells.blocks())


class AnonymousMemory(threading.Thread):
    """Watches the memory of this process that is not pages of a file; ``peak`` in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        """Look every 20 ms."""
        while True:
            status = Path("/proc/self/status").read_text()
            kilobytes = int(status.partition("RssAnon:")[2].split()[0])
            self.peak = max(self.peak, 1024 * kilobytes)
            time.sleep(0.02)


def run(path: Path, what: str) -> dict[str, float]:
    """Measure one of the two; in a process of its own, for its peak memory."""
    memory = AnonymousMemory()
    memory.start()
    wall, cpu = time.perf_counter(), time.process_time()
    n_found = {"scan": scan, "normalize": normalize}[what](path)
    return {
        "found": n_found,
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "anonymous": memory.peak,
    }


def main() -> None:
    """Print the limit and the normalization of one file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        what, path = chosen.run
        print(json.dumps(run(Path(path), what)))
        return
    folder = Path(tempfile.mkdtemp(prefix="perturbhouse-plates-", dir=chosen.folder))
    try:
        path = folder / FILE
        started = time.perf_counter()
        n_rows = simulate(path, chosen.rows)
        print(
            f"{n_rows:,} rows simulated in {time.perf_counter() - started:.0f} s: "
            f"{path.stat().st_size / 1e9:.2f} GB; load {os.getloadavg()[0]:.1f}"
        )
        print(
            "".join(
                f"{head:>14}" for head in ("", "s", "CPU s", "rows/s", "peak GB", "not file GB", "x limit")
            )
        )
        limit = 0.0
        for what in ("scan", "normalize"):
            command = [sys.executable, __file__, "--run", what, str(path)]
            environment = os.environ | {"POLARS_MAX_THREADS": str(chosen.threads)}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            found = json.loads(done.stdout)
            limit = limit or found["seconds"]
            figures = (
                what,
                f"{found['seconds']:.1f}",
                f"{found['cpu']:.1f}",
                f"{n_rows / found['seconds']:,.0f}",
                f"{found['resident'] / 1e9:.2f}",
                f"{found['anonymous'] / 1e9:.2f}",
                f"{found['seconds'] / limit:.1f}",
            )
            print("".join(f"{figure:>14}" for figure in figures), flush=True)
        print(f"{found['found']:,} measurements")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
