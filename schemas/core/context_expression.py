"""Schema of ``core/context_expression``: one gene in one untreated cell line."""

import polars as pl

from schemas.fields import Rows, context_id, dataset_id, field, gene_id
from schemas.table import Table


class ContextExpression(Rows):
    """One row per (dataset, reported cell line, gene); zeros are stored."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    context_reported: str = field("Cell label as reported; several models may share a context_id.")
    gene_id: pl.Int32 = gene_id()
    value: pl.Float32 = field("Expression of the untreated line, log2(TPM + 1).", ge=0)


CONTEXT_EXPRESSION = Table(
    name="core/context_expression",
    model=ContextExpression,
    primary_key=("dataset_id", "context_reported", "gene_id"),
    partition_by=("dataset_id",),
    sort_by=("context_id", "context_reported", "gene_id"),
)
