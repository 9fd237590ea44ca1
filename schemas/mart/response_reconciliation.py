"""Schema of ``mart/response_reconciliation``: recomputed against published metrics of a screen."""

import polars as pl

from schemas.fields import Rows, coded, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import RECONCILED_METRICS, RECONCILIATION_STATUS, REPLICATE_LEVELS


class ResponseReconciliation(Rows):
    """One row per (dataset, replicate level, metric) that is published, recomputed or both."""

    dataset_id: str = dataset_id()
    replicate_level: str = coded("Level of the curves, which is one that is published.", REPLICATE_LEVELS)
    metric: str = coded("What is compared.", RECONCILED_METRICS)
    n_both: pl.Int32 = field("Curves with a recomputed and a published value.", ge=0)
    n_recomputed_only: pl.Int32 = field("Curves with a recomputed value only.", ge=0)
    n_published_only: pl.Int32 = field("Curves with a published value only.", ge=0)
    pearson: pl.Float64 = field("Pearson correlation of the two.", ge=-1, le=1, nullable=True)
    spearman: pl.Float64 = field("Spearman correlation of the two.", ge=-1, le=1, nullable=True)
    median_difference: pl.Float64 = field("Median of recomputed minus published.", nullable=True)
    median_absolute_difference: pl.Float64 = field("Median of its absolute value.", ge=0, nullable=True)
    p95_absolute_difference: pl.Float64 = field("95th percentile of that.", ge=0, nullable=True)
    tolerance: pl.Float64 = field(
        "Absolute difference, in the unit of the metric, up to which two values count as equal.", gt=0
    )
    share_within_tolerance: pl.Float64 = field(
        "Share of the curves with both that differ by at most the tolerance.",
        ge=0,
        le=1,
        nullable=True,
    )
    status: str = coded("Whether everything is given, or why not.", RECONCILIATION_STATUS)


RESPONSE_RECONCILIATION = Table(
    name="mart/response_reconciliation",
    model=ResponseReconciliation,
    primary_key=("dataset_id", "replicate_level", "metric"),
    sort_by=("dataset_id", "replicate_level", "metric"),
)
