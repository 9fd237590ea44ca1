"""Schema of ``mart/agreement_summary``: how far two datasets, or replicates, say the same, with intervals."""

import pandera.polars as pa
import polars as pl

from schemas.fields import Rows, coded, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import (
    AGREEMENT_QUANTITIES,
    INTERVAL_STATUS,
    SUMMARY_BASELINES,
    SUMMARY_METRICS,
    SUMMARY_SIDES,
)


class AgreementSummary(Rows):
    """One row per (pair of datasets, context or all, fold threshold, metric, baseline, side, quantity)."""

    left_dataset_id: str = dataset_id()
    right_dataset_id: str = dataset_id(
        "Second dataset; the same as the first where replicates of one dataset are compared."
    )
    context_id: str = field("Context; empty for all contexts of the pair together.")
    max_fold: pl.Float64 = field(
        "Largest ratio of the doses of the matches behind the row; 1: equal doses only.", ge=1
    )
    metric: str = coded("Metric.", SUMMARY_METRICS)
    baseline: str = coded("Baseline; `none` for the observed values alone.", SUMMARY_BASELINES)
    side: str = coded("Which conditions of the matches are compared with the baseline.", SUMMARY_SIDES)
    quantity: str = coded("What the mean is of.", AGREEMENT_QUANTITIES)
    mean: pl.Float64 = field(
        "Mean over compound × context × time, each the mean over its doses; null where there is no value.",
        nullable=True,
    )
    ci_low: pl.Float64 = field("Lower end of the 95 % interval; null where none can be given.", nullable=True)
    ci_high: pl.Float64 = field("Upper end of that interval.", nullable=True)
    ci_status: str = coded("How the interval was made, or why there is none.", INTERVAL_STATUS)
    mean_by_wells: pl.Float64 = field(
        "The mean as the reference weighs: each match within its compound × context × time by the product of "
        "both numbers of treated samples.",
        nullable=True,
    )
    n_rows: pl.Int32 = field("Compounds × contexts × times.", ge=0)
    n_finite: pl.Int32 = field("Those with a value: what mean and interval are made from.", ge=0)
    n_compounds: pl.Int32 = field("Compounds with a value.", ge=0)
    n_contexts: pl.Int32 = field("Contexts among the rows.", ge=0)
    n_matches: pl.Int32 = field("Matches, queries or conditions behind the rows.", ge=0)

    @pa.dataframe_check(name="interval_in_order")
    def _interval_in_order(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.col("ci_low") <= pl.col("ci_high")).fill_null(value=True))


AGREEMENT_SUMMARY = Table(
    name="mart/agreement_summary",
    model=AgreementSummary,
    primary_key=(
        "left_dataset_id",
        "right_dataset_id",
        "context_id",
        "max_fold",
        "metric",
        "baseline",
        "side",
        "quantity",
    ),
    sort_by=("left_dataset_id", "right_dataset_id", "context_id", "metric", "baseline"),
)
