"""Retrieval within a dataset: every replicate looks for the others of its condition.

Here: queries, candidates and positives among the samples of one context, time and fit. Not here: ranks and
what chance gives (``retrieval``), and which samples are compared at all (``replicates``).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.agreement.retrieval import RECALLS, Positives, Ranking, chance, rank_positives
from etl.agreement.similarity import Signatures, products
from etl.arrays import IntArray
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL
from schemas.vocabularies import RETRIEVAL_POSITIVES, RETRIEVAL_SIMILARITIES

SIMILARITIES: Final = tuple(RETRIEVAL_SIMILARITIES)
RULES: Final = tuple(RETRIEVAL_POSITIVES)


class Samples(NamedTuple):
    """Some samples and their profiles.

    Args:
        row: what tells samples apart.
        condition: their conditions.
        compound: their compounds.
        signatures: their profiles, in the same order.
    """

    row: IntArray
    condition: IntArray
    compound: NDArray[np.str_]
    signatures: Signatures


class Searched(NamedTuple):
    """What the queries of a block found, in the order similarity × rule × query; one entry each."""

    condition: IntArray
    similarity: IntArray
    """Code in ``RETRIEVAL_SIMILARITIES``."""
    rule: IntArray
    """Code in ``RETRIEVAL_POSITIVES``."""
    ranking: Ranking


def search(block: Samples, candidates: Samples) -> Searched:
    """Let every sample of a block search some candidates, and the samples of its own compound in the block.

    Positives are once the other samples of its condition, all of which have to be in the block; once those of
    its compound, at any dose. A sample is never its own candidate.
    """
    everyone = np.arange(len(block.row))
    found = [
        products(block.signatures, everyone, one.signatures, np.arange(len(one.row)), SIMILARITIES)
        for one in (candidates, block)
    ]
    row, condition, compound = (
        np.concatenate([getattr(one, name) for one in (candidates, block)])
        for name in ("row", "condition", "compound")
    )
    is_same_compound = block.compound[:, None] == compound
    is_itself = block.row[:, None] == row
    in_block = np.arange(len(row)) >= len(candidates.row)
    # A sample of the block that is a candidate anyway has its place there.
    is_left_out = is_itself | (in_block & (~is_same_compound | np.isin(row, candidates.row)))
    answers = {"matched": block.condition[:, None] == condition, "compound": is_same_compound}
    parts = []
    for s, similarity in enumerate(SIMILARITIES):
        scores = np.hstack([one[similarity] for one in found])
        for r, rule in enumerate(RULES):
            query, answer = np.nonzero(answers[rule] & ~is_left_out)
            positives = Positives.of_pairs(query, answer, len(everyone))
            ranking = rank_positives(scores, positives, is_left_out)
            kind = np.full(len(everyone), s), np.full(len(everyone), r)
            parts.append(Searched(block.condition, *kind, ranking))
    return joined(parts)


def joined(parts: Sequence[Searched]) -> Searched:
    """Return what several searches found, one after the other."""
    rankings = [one.ranking for one in parts]
    return Searched(
        np.concatenate([one.condition for one in parts]),
        np.concatenate([one.similarity for one in parts]),
        np.concatenate([one.rule for one in parts]),
        Ranking(
            np.concatenate([one.n_candidates for one in rankings]),
            np.concatenate([one.n_positives for one in rankings]),
            np.concatenate([one.best_rank for one in rankings]),
            np.concatenate([one.auroc for one in rankings]),
        ),
    )


def retrieval_rows(
    dataset_id: str, context_id: str, samples: pl.DataFrame, searched: Searched
) -> pl.DataFrame:
    """Return means over the replicates of each condition: rows of ``mart/replicate_retrieval``.

    Args:
        dataset_id: the dataset.
        context_id: the context.
        samples: ``condition_id``, ``compound_id`` and ``time_h`` of the samples.
        searched: what they found; queries without a positive, or with one candidate only, are left out.
    """
    n_candidates, n_positives, best_rank, auroc = searched.ranking
    is_asked = (n_positives > 0) & (n_candidates > 1)
    ranking = Ranking(n_candidates[is_asked], n_positives[is_asked], best_rank[is_asked], auroc[is_asked])
    null = chance(ranking)
    best = pl.Series(ranking.best_rank).fill_nan(None)
    means = {
        "normalized_rank": pl.Series(ranking.normalized_rank).fill_nan(None),
        "normalized_rank_null": pl.Series(null.normalized_rank),
        **{f"recall_{k}": best <= k for k in RECALLS},
        **{f"recall_{k}_null": pl.Series(null.recall[k]) for k in (1, 10)},
        "auroc": pl.Series(ranking.auroc).fill_nan(None),
        "p_value": pl.Series(null.p_value).fill_nan(None),
    }
    queries = pl.DataFrame(
        {
            "condition_id": searched.condition[is_asked],
            "similarity": pl.Series(SIMILARITIES)[searched.similarity[is_asked]],
            "positives": pl.Series(RULES)[searched.rule[is_asked]],
            "n_candidates": pl.Series(ranking.n_candidates, dtype=pl.Int32),
            "n_positives": pl.Series(ranking.n_positives, dtype=pl.Int32),
            **means,
        }
    )
    conditions = samples.select("condition_id", "compound_id", "time_h").unique()
    return (
        queries.group_by("condition_id", "similarity", "positives")
        .agg(
            pl.col(list(means)).mean(),
            pl.col("n_candidates", "n_positives").first(),
            n_queries=pl.len().cast(pl.Int32),
        )
        .filter(pl.col("n_queries") > 1)
        .join(conditions, on="condition_id")
        .with_columns(dataset_id=pl.lit(dataset_id), context_id=pl.lit(context_id))
        .select(list(REPLICATE_RETRIEVAL.polars_schema))
        .sort(REPLICATE_RETRIEVAL.primary_key)
    )
