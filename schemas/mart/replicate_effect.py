"""Schema of ``mart/replicate_effect``: the effect of one treated sample on one gene."""

import polars as pl

from schemas.fields import Rows, context_id, dataset_id, field, gene_id, sample_id
from schemas.table import Table


class ReplicateEffect(Rows):
    """One row per (treated sample that can be compared with vehicle, tested gene)."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    sample_id: pl.Int64 = sample_id()
    gene_id: pl.Int32 = gene_id()
    log2_fold_change: pl.Float32 = field(
        "log2 fold change of the sample against the vehicle samples of its plate.", metadata={"unit": "log2"}
    )
    standard_error: pl.Float32 = field(
        "Moderated standard error; log2_fold_change / standard_error is the moderated t on total_df of "
        "mart/gene_variance (replicates = separate).",
        ge=0,
        metadata={"unit": "log2"},
    )


REPLICATE_EFFECT = Table(
    name="mart/replicate_effect",
    model=ReplicateEffect,
    primary_key=("sample_id", "gene_id"),
    partition_by=("dataset_id", "context_id"),
    sort_by=("sample_id", "gene_id"),
)
