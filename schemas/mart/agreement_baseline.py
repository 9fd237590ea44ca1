"""Schema of ``mart/agreement_baseline``: what a match would score if the treatment did not matter."""

import polars as pl

from schemas.fields import Rows, coded, condition_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import AGREEMENT_BASELINES, AGREEMENT_METRICS, MATCH_SIDES


class AgreementBaseline(Rows):
    """One row per (matched condition pair, metric, baseline, side)."""

    left_condition_id: pl.Int64 = condition_id()
    right_condition_id: pl.Int64 = condition_id()
    left_dataset_id: str = dataset_id()
    right_dataset_id: str = dataset_id()
    metric: str = coded("Metric.", AGREEMENT_METRICS)
    baseline: str = coded("What the condition is compared with instead of its match.", AGREEMENT_BASELINES)
    side: str = coded("Which condition of the match is compared.", MATCH_SIDES)
    n_peers: pl.Int32 = field("Peers with a value; of a centroid, the conditions it is the mean of.", ge=0)
    mean: pl.Float64 = field(
        "Mean over the peers, or the value of the centroid; null where none has a value.",
        ge=-1,
        le=1,
        nullable=True,
    )
    sd: pl.Float64 = field(
        "Standard deviation over the peers (n - 1); null for fewer than two, and for a centroid.",
        ge=0,
        nullable=True,
    )
    delta: pl.Float64 = field("Observed value minus mean; null where either is.", ge=-2, le=2, nullable=True)
    percentile: pl.Float64 = field(
        "(1 + peers below the observed value) / (1 + peers), ties counted half; null for a centroid.",
        ge=0,
        le=1,
        nullable=True,
    )


AGREEMENT_BASELINE = Table(
    name="mart/agreement_baseline",
    model=AgreementBaseline,
    primary_key=("left_condition_id", "right_condition_id", "metric", "baseline", "side"),
    sort_by=("left_dataset_id", "right_dataset_id", "metric", "baseline", "side", "left_condition_id"),
)
