"""Schema of ``mart/retrieval``: does a condition find its own compound in another dataset?"""

import polars as pl

from schemas.fields import Rows, coded, compound_id, condition_id, context_id, dataset_id, field, time_h
from schemas.table import Table
from schemas.vocabularies import RETRIEVAL_POSITIVES, RETRIEVAL_SIMILARITIES


class Retrieval(Rows):
    """One row per (query condition, dataset that is searched, similarity, rule of positives)."""

    source_dataset_id: str = dataset_id("Dataset of the query.")
    target_dataset_id: str = dataset_id("Dataset that is searched, in the same context and time.")
    context_id: str = context_id()
    time_h: pl.Float64 = time_h()
    compound_id: str = compound_id()
    condition_id: pl.Int64 = condition_id()
    similarity: str = coded("What candidates are ranked by.", RETRIEVAL_SIMILARITIES)
    positives: str = coded("Which candidates answer the query.", RETRIEVAL_POSITIVES)
    n_candidates: pl.Int32 = field("Conditions of the target in the context and time.", ge=2)
    n_positives: pl.Int32 = field("Candidates that answer the query.", ge=1)
    best_rank: pl.Float64 = field(
        "Rank of the best positive, 1 the best; ties share their mean rank; null where a score is undefined.",
        ge=1,
        nullable=True,
    )
    normalized_rank: pl.Float64 = field(
        "1 - (best_rank - 1) / (n_candidates - 1): 1 is best.", ge=0, le=1, nullable=True
    )
    normalized_rank_null: pl.Float64 = field(
        "Its mean when all orders are equally likely; above one half with several positives.", ge=0, le=1
    )
    is_first: bool = field("Whether the best positive has rank 1 (recall at 1).", nullable=True)
    is_in_5: bool = field("Whether it is among the first 5.", nullable=True)
    is_in_10: bool = field("Whether it is among the first 10.", nullable=True)
    recall_1_null: pl.Float64 = field("Probability of rank 1 by chance.", ge=0, le=1)
    recall_10_null: pl.Float64 = field("Probability of a rank up to 10 by chance.", ge=0, le=1)
    auroc: pl.Float64 = field(
        "Share of pairs of a positive and another candidate in the right order; ties count half.",
        ge=0,
        le=1,
        nullable=True,
    )
    p_value: pl.Float64 = field(
        "Probability by chance of a better best rank, plus half that of an equal one.",
        ge=0,
        le=1,
        nullable=True,
    )


RETRIEVAL = Table(
    name="mart/retrieval",
    model=Retrieval,
    primary_key=("condition_id", "target_dataset_id", "similarity", "positives"),
    sort_by=("source_dataset_id", "target_dataset_id", "context_id", "similarity", "compound_id"),
)
