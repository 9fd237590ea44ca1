"""Convert the R golden set of differential expression to the Parquet files of this folder.

Usage: python tests/reference/convert_golden.py <golden folder>

The folder holds ``inputs/`` and ``expected/`` as written by its R script. Tables are cut to what the tests
read (every eighth or fourth contrast of the large ones) and kept as zstd Parquet with Float64 values.
"""

import sys
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent / "differential_expression"

EVERY_NTH_CONTRAST = {
    "l1000_plain": 8,
    "l1000_trend": 8,
    "l1000_robust": 8,
    "l1000_trend_robust": 8,
    "l1000_separate": 8,
    "drugseq_voom_exact_plain": 8,
    "drugseq_voom_exact_robust": 8,
    "drugseq_voom_ref_plain": 8,
    "drugseq_voom_ref_robust": 8,
    "drugseq_limmatrend": 8,
    "edge_infdf_plain": 8,
    "edge_infdf_trend_robust": 8,
    "edge_zero_dropped_robust": 8,
    "edge_na_plain_legacy": 8,
    "edge_na_plain_new": 8,
    "edge_na_trend_robust_legacy": 8,
    "edge_na_trend_robust_new": 8,
    "edge_na_allgenes_plain_default": 8,
    "l1000_oneplate": 8,
    "l1000_dupcor": 8,
    "edge_unbal": 4,
    "edge_discon": 4,
}
"""Sets of test results of which only some contrasts are kept."""

EVERY_NTH_GENE = [
    "drugseq.voom_E",
    "drugseq.voom_weights",
    "drugseq.logcpm_prior2",
    "drugseq_separate.voom_weights60",
]
"""Genes x samples intermediates of which every eighth gene is kept."""

LEFT_OUT = [
    "l1000.coefficients",
    "drugseq.coefficients",
    "drugseq.stdev_unscaled",
    "edge_discon.coefficients",
]
"""Coefficients of R's parametrization: the contrasts made of them are kept."""

DROPPED_COLUMNS = ["AveExpr", "CI.L", "CI.R"]
"""Columns that follow from others."""


def main(golden: Path) -> None:
    """Write every table under its own name."""
    HERE.mkdir(exist_ok=True)
    for path in sorted([*(golden / "inputs").glob("*.tsv*"), *(golden / "expected").glob("*.tsv*")]):
        name = path.name.removesuffix(".gz").removesuffix(".tsv")
        if name in LEFT_OUT:
            continue
        table = _read(path)
        if (
            step := EVERY_NTH_CONTRAST.get(name.removesuffix(".toptable"))
            if name.endswith(".toptable")
            else None
        ):
            kept = table["contrast"].unique(maintain_order=True).gather_every(step)
            table = table.filter(pl.col("contrast").is_in(kept.to_list())).drop(DROPPED_COLUMNS, strict=False)
        if name in EVERY_NTH_GENE:
            table = table.gather_every(8)
        table.write_parquet(
            HERE / f"{name}.parquet", compression="zstd", compression_level=19, statistics=False
        )


def _read(path: Path) -> pl.DataFrame:
    """Read one table of R: numbers as Float64, ``NA`` as null, names as text."""
    text = pl.read_csv(path, separator="\t", infer_schema=False, null_values="NA")
    numeric = [
        name
        for name in text.columns
        if name not in ("id", "gene")
        and text[name].cast(pl.Float64, strict=False).null_count() == text[name].null_count()
    ]
    return text.with_columns(pl.col(numeric).cast(pl.Float64))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
