"""Schema of ``mart/agreement``: how far two matched conditions say the same."""

import polars as pl

from schemas.fields import Rows, coded, compound_id, condition_id, context_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import AGREEMENT_METRICS, AGREEMENT_STATUS


class Agreement(Rows):
    """One row per (matched condition pair, metric)."""

    left_condition_id: pl.Int64 = condition_id()
    right_condition_id: pl.Int64 = condition_id()
    left_dataset_id: str = dataset_id()
    right_dataset_id: str = dataset_id()
    context_id: str = context_id()
    compound_id: str = compound_id()
    metric: str = coded("Metric.", AGREEMENT_METRICS)
    observed: pl.Float64 = field("Value of the metric; null where undefined.", ge=-1, le=1, nullable=True)
    n_genes: pl.Int32 = field("Genes the metric is computed over.", ge=0)
    status: str = coded("Whether the value is given, or why not.", AGREEMENT_STATUS)


AGREEMENT = Table(
    name="mart/agreement",
    model=Agreement,
    primary_key=("left_condition_id", "right_condition_id", "metric"),
    sort_by=("left_dataset_id", "right_dataset_id", "metric", "left_condition_id"),
)
