"""Schema of ``mart/replicate_retrieval``: do the replicates of a condition find each other?"""

import polars as pl

from schemas.fields import Rows, coded, compound_id, condition_id, context_id, dataset_id, field, time_h
from schemas.table import Table
from schemas.vocabularies import RETRIEVAL_POSITIVES, RETRIEVAL_SIMILARITIES


class ReplicateRetrieval(Rows):
    """One row per (condition with at least two replicates, similarity, rule of positives): means of them."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    condition_id: pl.Int64 = condition_id()
    compound_id: str = compound_id()
    time_h: pl.Float64 = time_h()
    similarity: str = coded("What candidates are ranked by.", RETRIEVAL_SIMILARITIES)
    positives: str = coded("Which candidates answer a query.", RETRIEVAL_POSITIVES)
    n_queries: pl.Int32 = field("Replicates that search, each for the others.", ge=2)
    n_candidates: pl.Int32 = field(
        "Treated samples of the same context, time and fit that each searches, at any dose; never itself.",
        ge=2,
    )
    n_positives: pl.Int32 = field("Candidates that answer a query.", ge=1)
    normalized_rank: pl.Float64 = field(
        "Mean of 1 - (rank of the best positive - 1) / (n_candidates - 1): 1 is best; null where no score is "
        "defined.",
        ge=0,
        le=1,
        nullable=True,
    )
    normalized_rank_null: pl.Float64 = field(
        "Its mean when all orders are equally likely; above one half with several positives.", ge=0, le=1
    )
    recall_1: pl.Float64 = field(
        "Share of queries whose best positive has rank 1.", ge=0, le=1, nullable=True
    )
    recall_5: pl.Float64 = field("Share with a positive among the first 5.", ge=0, le=1, nullable=True)
    recall_10: pl.Float64 = field("Share with one among the first 10.", ge=0, le=1, nullable=True)
    recall_1_null: pl.Float64 = field("Probability of rank 1 by chance.", ge=0, le=1)
    recall_10_null: pl.Float64 = field("Probability of a rank up to 10 by chance.", ge=0, le=1)
    auroc: pl.Float64 = field(
        "Mean share of pairs of a positive and another candidate in the right order; ties count half.",
        ge=0,
        le=1,
        nullable=True,
    )
    p_value: pl.Float64 = field(
        "Mean probability by chance of a better best rank, plus half that of an equal one.",
        ge=0,
        le=1,
        nullable=True,
    )


REPLICATE_RETRIEVAL = Table(
    name="mart/replicate_retrieval",
    model=ReplicateRetrieval,
    primary_key=("condition_id", "similarity", "positives"),
    sort_by=("dataset_id", "context_id", "similarity", "compound_id"),
)
