"""Schema of ``mart/replicate_agreement``: how far the replicates of one condition say the same."""

import polars as pl

from schemas.fields import Rows, coded, compound_id, condition_id, context_id, dataset_id, field, time_h
from schemas.table import Table
from schemas.vocabularies import AGREEMENT_METRICS


class ReplicateAgreement(Rows):
    """One row per (condition with at least two replicates, metric)."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    condition_id: pl.Int64 = condition_id()
    compound_id: str = compound_id()
    time_h: pl.Float64 = time_h()
    metric: str = coded("Metric.", AGREEMENT_METRICS)
    n_replicates: pl.Int32 = field("Treated samples with effects.", ge=2)
    n_pairs: pl.Int32 = field("Pairs of them that were compared.", ge=1)
    n_pairs_possible: pl.Int32 = field("Pairs that there are.", ge=1)
    n_defined: pl.Int32 = field("Compared pairs with a value.", ge=0)
    observed: pl.Float64 = field("Mean over these pairs; null without one.", ge=-1, le=1, nullable=True)
    n_peers: pl.Int32 = field(
        "Samples of other compounds at the same context, time and dose that the pairs are compared with.",
        ge=0,
    )
    peer_mean: pl.Float64 = field(
        "Mean score of the pairs' samples with these; null without one.", ge=-1, le=1, nullable=True
    )
    peer_delta: pl.Float64 = field(
        "Mean over pairs of observed minus the mean of its peers.", ge=-2, le=2, nullable=True
    )
    peer_percentile: pl.Float64 = field(
        "Mean over pairs of (1 + peers below the observed value) / (1 + peers), ties half.",
        ge=0,
        le=1,
        nullable=True,
    )
    centroid: pl.Float64 = field(
        "Mean score of the pairs' samples with the mean profile of samples of other compounds at the same "
        "context, time and dose.",
        ge=-1,
        le=1,
        nullable=True,
    )
    centroid_delta: pl.Float64 = field("Mean over pairs of observed minus that.", ge=-2, le=2, nullable=True)


REPLICATE_AGREEMENT = Table(
    name="mart/replicate_agreement",
    model=ReplicateAgreement,
    primary_key=("condition_id", "metric"),
    sort_by=("dataset_id", "context_id", "metric", "compound_id"),
)
