"""Schema of ``mart/differential_expression``: the effect of one condition on one gene."""

import polars as pl

from schemas.fields import Rows, condition_id, context_id, dataset_id, field, gene_id
from schemas.table import Table


class DifferentialExpression(Rows):
    """One row per (estimable condition, tested gene)."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    condition_id: pl.Int64 = condition_id()
    gene_id: pl.Int32 = gene_id()
    log2_fold_change: pl.Float32 = field(
        "log2 fold change of treated against vehicle, adjusted for plates.", metadata={"unit": "log2"}
    )
    standard_error: pl.Float32 = field(
        "Moderated standard error; the moderated t statistic is log2_fold_change / standard_error.",
        ge=0,
        metadata={"unit": "log2"},
    )
    p_value: pl.Float32 = field("Two-sided p-value of the moderated t; below 1e-45 it reads 0.", ge=0, le=1)
    p_value_adjusted: pl.Float32 = field(
        "Benjamini-Hochberg adjusted p-value over the tested genes of the condition.", ge=0, le=1
    )


DIFFERENTIAL_EXPRESSION = Table(
    name="mart/differential_expression",
    model=DifferentialExpression,
    primary_key=("condition_id", "gene_id"),
    partition_by=("dataset_id", "context_id"),
    sort_by=("condition_id", "gene_id"),
)
