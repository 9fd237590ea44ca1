"""Convert the R golden set of differential expression to the Parquet files of this folder.

Usage: python tests/reference/convert_golden.py <golden folder>

The folder holds ``inputs/`` and ``expected/`` as written by its R script. Tables are cut to what the tests
read (every eighth or fourth contrast of the large ones) and kept as zstd Parquet with Float64 values.
"""

import sys
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent / "differential_expression"

WHOLE = [
    "inputs/l1000_meta.tsv",
    "inputs/drugseq_meta.tsv",
    "inputs/edge_unbal_meta.tsv",
    "inputs/edge_discon_meta.tsv",
    "inputs/l1000_Y.tsv.gz",
    "inputs/drugseq_N.tsv.gz",
    "inputs/edge_unbal_Y.tsv.gz",
    "inputs/edge_discon_Y.tsv.gz",
    "inputs/edge_infdf_Y.tsv.gz",
    "expected/l1000_plain.genes.tsv",
    "expected/l1000_trend.genes.tsv",
    "expected/drugseq_voom_exact_plain.genes.tsv",
    "expected/edge_unbal.genes.tsv",
    "expected/edge_discon.genes.tsv",
    "expected/edge_infdf_plain.genes.tsv",
    "expected/edge_zero.lmfit.tsv",
    "expected/edge_zero.squeezeVar.tsv",
    "expected/drugseq.filterByExpr.tsv",
    "expected/drugseq.normfactors.tsv",
    "expected/drugseq.voom_xy.tsv",
    "expected/drugseq.voom_line.tsv",
    "expected/drugseq.lmfit.tsv",
    "expected/unit.fitFDist.tsv",
    "expected/unit.squeezeVar.tsv",
    "expected/unit.unequal_input.tsv",
    "expected/unit.trigammaInverse.tsv",
    "expected/unit.lowess_f0.5.tsv",
    "expected/unit.ns4.tsv",
    "expected/unit.pt.tsv",
    "expected/scalars.tsv",
]
"""Tables kept as they are."""

EVERY_NTH_CONTRAST = {
    "expected/l1000_plain.toptable.tsv.gz": 8,
    "expected/l1000_trend.toptable.tsv.gz": 8,
    "expected/drugseq_voom_exact_plain.toptable.tsv.gz": 8,
    "expected/edge_unbal.toptable.tsv.gz": 4,
    "expected/edge_discon.toptable.tsv.gz": 4,
    "expected/edge_infdf_plain.toptable.tsv.gz": 8,
}
"""Test results of which only some contrasts are kept."""

EVERY_NTH_GENE = {"expected/drugseq.voom_E.tsv.gz": 8, "expected/drugseq.voom_weights.tsv.gz": 8}
"""Samples x genes intermediates of which only some genes are kept."""

DROPPED_COLUMNS = ["AveExpr", "B", "CI.L", "CI.R", "adj.P.across"]
"""Columns that repeat another table or that nothing here computes."""


def main(golden: Path) -> None:
    """Write every table under its own name."""
    HERE.mkdir(exist_ok=True)
    for name in [*WHOLE, *EVERY_NTH_CONTRAST, *EVERY_NTH_GENE]:
        table = _read(golden / name)
        if step := EVERY_NTH_CONTRAST.get(name):
            kept = table["contrast"].unique(maintain_order=True).gather_every(step)
            table = table.filter(pl.col("contrast").is_in(kept.to_list())).drop(DROPPED_COLUMNS, strict=False)
        if step := EVERY_NTH_GENE.get(name):
            table = table.gather_every(step)
        target = HERE / f"{Path(name).name.removesuffix('.gz').removesuffix('.tsv')}.parquet"
        table.write_parquet(target, compression="zstd", compression_level=19, statistics=False)


def _read(path: Path) -> pl.DataFrame:
    """Read one table of R: numbers as Float64, ``NA`` as null, names as text."""
    text = pl.read_csv(path, separator="\t", infer_schema=False, null_values="NA")
    numeric = [
        name
        for name in text.columns
        if name != "id" and text[name].cast(pl.Float64, strict=False).null_count() == text[name].null_count()
    ]
    return text.with_columns(pl.col(numeric).cast(pl.Float64))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
