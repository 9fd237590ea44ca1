"""Schema of ``core/gene_name``: how each reported gene was resolved."""

import polars as pl

from schemas.fields import Rows, coded, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import GENE_METHODS


class GeneName(Rows):
    """One row per (dataset, reported gene)."""

    dataset_id: str = dataset_id()
    gene_reported: str = field("Publisher's key of the gene or probe, unique in the dataset.")
    symbol_reported: str = field("Symbol as reported.", nullable=True)
    entrez_id_reported: pl.Int64 = field("Entrez id as reported.", nullable=True)
    gene_id: pl.Int32 = field("Gene, as in core/gene; null where unresolved.", gt=0, nullable=True)
    method: str = coded("What the resolution rests on.", GENE_METHODS)
    n_merged: pl.Int32 = field(
        "Reported genes of this dataset that share the gene: counts are summed, log values averaged.", ge=1
    )
    reason: str = field("Why the gene is unresolved.", nullable=True)


GENE_NAME = Table(
    name="core/gene_name",
    model=GeneName,
    primary_key=("dataset_id", "gene_reported"),
    partition_by=("dataset_id",),
    sort_by=("gene_reported",),
)
