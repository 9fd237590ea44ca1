"""Schema of ``core/gene_name``: how each reported gene was resolved."""

import polars as pl

from schemas.fields import Rows, coded, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import CONFIDENCES, GENE_METHODS


class GeneName(Rows):
    """One row per (dataset, reported gene)."""

    dataset_id: str = dataset_id()
    gene_reported: str = field("Publisher's key of the gene or probe, unique in the dataset.")
    symbol_reported: str = field("Symbol as reported.", nullable=True)
    entrez_id_reported: pl.Int64 = field("Entrez id as reported.", nullable=True)
    gene_id: pl.Int32 = field("Gene, as in core/gene; null where unresolved.", gt=0, nullable=True)
    method: str = coded("What the resolution rests on.", GENE_METHODS)
    confidence: str = coded("How far to trust it.", CONFIDENCES)
    candidates: pl.List(pl.Int32) = field(  # type: ignore[valid-type]
        "Every gene it may be, in ascending order, where there is more than one or none was chosen; the "
        "successors of an id that was split. They need not stand in core/gene."
    )
    rule: str = field("How one was chosen, or what was changed to find it.", nullable=True)
    origin: str = field(
        "Reference that leads to the gene: its file, `embedded` or `overrides.csv`; null where none does.",
        nullable=True,
    )
    n_merged: pl.Int32 = field(
        "Reported genes of this dataset that share the gene: counts are summed, log values averaged.", ge=1
    )
    reason: str = field("Why the gene is unresolved, or what was noticed on the way.", nullable=True)


GENE_NAME = Table(
    name="core/gene_name",
    model=GeneName,
    primary_key=("dataset_id", "gene_reported"),
    partition_by=("dataset_id",),
    sort_by=("gene_reported",),
)
