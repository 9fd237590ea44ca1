"""Schema of ``core/expression``: one gene in one sample."""

import polars as pl

from schemas.fields import Rows, context_id, dataset_id, field, gene_id, sample_id
from schemas.table import Table


class Expression(Rows):
    """One row per (sample, gene); zeros of count data are not stored."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    sample_id: pl.Int64 = sample_id()
    gene_id: pl.Int32 = gene_id()
    value: pl.Float32 = field("Expression on the dataset's value_scale: raw counts, or normalized log2.")


EXPRESSION = Table(
    name="core/expression",
    model=Expression,
    primary_key=("sample_id", "gene_id"),
    partition_by=("dataset_id", "context_id"),
    sort_by=("sample_id", "gene_id"),
)
