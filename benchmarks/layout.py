"""Measure what stands in etl/warehouse/layout.py: Parquet settings of the big tables.

    python benchmarks/layout.py [--conditions 20000]

Rows of mart/differential_expression (simulated values of realistic spread, 978 genes) are written with each
setting through write_deltalake and read back as the uses read them: everything, one condition, one gene. Each
line stands beside the first setting of the same run as a ratio; the peak memory of the process ends it.
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import ColumnProperties, WriterProperties, write_deltalake

from etl.warehouse.layout import WRITER
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION

N_GENES = 978
CHOSEN = "zstd-1"
"""What etl/warehouse/layout.py sets."""


def _split(level: int, rows: int) -> WriterProperties:
    """Return settings that split float columns by byte before compression."""
    split = ColumnProperties(dictionary_enabled=False, encoding="BYTE_STREAM_SPLIT")
    floats = [name for name, dtype in DIFFERENTIAL_EXPRESSION.polars_schema.items() if dtype.is_float()]
    return WriterProperties(
        compression="ZSTD",
        compression_level=level,
        max_row_group_size=rows,
        column_properties=dict.fromkeys(floats, split),
    )


SETTINGS: dict[str, WriterProperties] = {
    "snappy": WriterProperties(compression="SNAPPY"),
    "zstd-1": WRITER,
    "zstd-9": WriterProperties(compression="ZSTD", compression_level=9, max_row_group_size=1_000_000),
    "zstd-3": WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=1_000_000),
    "zstd-3, groups of 100k": WriterProperties(
        compression="ZSTD", compression_level=3, max_row_group_size=100_000
    ),
    "zstd-3, floats split": _split(3, 1_000_000),
}


def simulated(n_conditions: int) -> pl.DataFrame:
    """Return rows of mart/differential_expression with realistic spread."""
    rng = np.random.default_rng(1)
    n = n_conditions * N_GENES
    effect = rng.normal(0, 0.3, n).astype(np.float32)
    error = np.tile(rng.gamma(20, 0.01, N_GENES), n_conditions).astype(np.float32)
    p = (2 * np.exp(-np.abs(effect / error))).clip(max=1).astype(np.float32)
    conditions = np.sort(rng.integers(-(2**62), 2**62, n_conditions))
    return pl.DataFrame(
        {
            "dataset_id": pl.repeat("l1000_phase1", n, eager=True),
            "context_id": pl.repeat("CVCL_0132", n, eager=True),
            "condition_id": np.repeat(conditions, N_GENES),
            "gene_id": np.tile(np.sort(rng.choice(200_000, N_GENES, replace=False)), n_conditions),
            "log2_fold_change": effect,
            "standard_error": error,
            "p_value": p,
            "p_value_adjusted": p,
        },
        schema_overrides=DIFFERENTIAL_EXPRESSION.polars_schema,
    )


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the median time of an action."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def main() -> None:
    """Print a line per setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--conditions", type=int, default=20_000)
    rows = simulated(parser.parse_args().conditions)
    one_condition = rows["condition_id"][rows.height // 2]
    one_gene = rows["gene_id"][N_GENES // 2]
    staged = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    print(f"{rows.height:,} rows, {rows.estimated_size() / 1e6:.0f} MB in memory")
    columns = ("MB", "write s", "read s", "condition ms", "gene ms", "size ratio")
    print(f"{'setting':30}" + "".join(f"{column:>14}" for column in columns))
    first_size = 0.0
    for name, properties in SETTINGS.items():
        folder = tempfile.mkdtemp(prefix="perturbhouse-layout-")

        def write(folder: str = folder, properties: WriterProperties = properties) -> None:
            write_deltalake(
                folder,
                staged,
                mode="overwrite",
                partition_by=["dataset_id", "context_id"],
                writer_properties=properties,
            )

        def read(where: pl.Expr | None = None, folder: str = folder) -> None:
            frame = pl.scan_delta(folder)
            (frame if where is None else frame.filter(where)).collect()

        written = seconds(write, 1)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6
        first_size = first_size or size
        whole = seconds(read)
        condition = seconds(lambda read=read: read(pl.col("condition_id") == one_condition)) * 1e3
        gene = seconds(lambda read=read: read(pl.col("gene_id") == one_gene)) * 1e3
        label = f"{name} *" if name == CHOSEN else name
        figures = (size, written, whole, condition, gene, size / first_size)
        print(f"{label:30}" + "".join(f"{figure:14.2f}" for figure in figures))
        shutil.rmtree(folder)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
