"""DepMap's expression of untreated lines, simulated.

Models are the catalogue's lines under their true ids, a derivative of one of them, and a model that is known
nowhere. Expression is the baseline of the study's protein-coding genes, as log2(TPM + 1); TPM add up to a
million. One gene is divided between two columns, as where an annotation has it twice, and one column is of no
known gene.
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from etl.simulate.catalogue import LINES
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Values
from etl.sources.depmap_expression import FILE

MODELS: Final = (
    ("ACH-000019", "MCF7"),
    ("ACH-000090", "PC3"),
    ("ACH-000219", "A375"),
    ("ACH-000552", "HT29"),
    ("ACH-000681", "A549"),
    ("ACH-000739", "HEPG2"),
    ("ACH-900001", "A375"),
    ("ACH-900002", "VOA-4698"),
)
"""Model and the line whose biology it has. Models 9000xx are invented."""
INVENTED: Final = ("ACH-900001", "ACH-900002")

DIVIDED: Final = "TP53"
SHARE_OF_FIRST: Final = 0.7
"""The gene that has two columns, and what share of its TPM the first of them holds."""

UNKNOWN_ENTREZ: Final = (999_999_998, 999_999_999)
"""Entrez ids of the second column of that gene, and of the column of no known gene."""


def write(folder: Path, study: Study) -> None:
    """Write the publisher's file into a dataset's folder, and the true TPM."""
    genes = true_tpm(study, LINES[0].name)
    divided = genes["symbol"].to_list().index(DIVIDED)
    names = [f"{symbol} ({entrez})" for symbol, entrez in genes.select("symbol", "entrez_id").iter_rows()]
    names += [f"{DIVIDED} ({UNKNOWN_ENTREZ[0]})", f"NOSUCHGENE0 ({UNKNOWN_ENTREZ[1]})"]
    lines = [",".join(["", *names])]
    for model, line in reversed(MODELS):
        tpm: Values = true_tpm(study, line)["tpm"].to_numpy()
        parts = [(1 - SHARE_OF_FIRST) * tpm[divided], 0.0]
        values = np.log2(1 + np.concatenate([tpm, parts]))
        values[divided] = np.log2(1 + SHARE_OF_FIRST * tpm[divided])
        lines.append(",".join([model, *(f"{value:.6f}" if value else "0.0" for value in values)]))
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    truth = [
        true_tpm(study, line).select(pl.lit(model).alias("context_reported"), "gene_id", "tpm")
        for model, line in MODELS
    ]
    write_truth(folder, "expression", pl.concat(truth))


def true_tpm(study: Study, line: str) -> pl.DataFrame:
    """Return the TPM of a line of the catalogue per gene: gene_id, symbol, entrez_id, tpm."""
    is_coding = pl.col("biotype").str.contains("protein") & pl.col("entrez_id").is_not_null()
    cell_line = next(one for one in LINES if one.name == line)
    raw = np.exp2(study.baseline(cell_line) - 4)
    genes = study.genes.with_columns(tpm=pl.Series(raw)).filter(is_coding)
    return genes.select("gene_id", "symbol", "entrez_id", tpm=pl.col("tpm") / pl.col("tpm").sum() * 1e6)
