"""Retrieval between datasets: every matched condition looks for its own compound in the other dataset.

Here: queries, candidates and positives of one context in two datasets. Not here: ranks and what chance gives
(``retrieval``).
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from etl.agreement.context_pairs import Block, BlockPair, ContextPair
from etl.agreement.retrieval import Positives, Ranking, chance, rank_positives
from etl.agreement.similarity import products
from etl.arrays import IntArray, slices
from schemas.mart.retrieval import RETRIEVAL
from schemas.vocabularies import RETRIEVAL_SIMILARITIES

MIN_CANDIDATES: Final = 5
MIN_COMPOUNDS: Final = 2
"""Compounds on each side; with one there is nothing to tell apart."""
QUERIES_PER_BLOCK: Final = 512


def retrieve(pair: ContextPair) -> pl.DataFrame:
    """Return how well the matched conditions of both datasets find their own compound in the other one.

    A query is a condition with a match. Candidates are all conditions of the other dataset in the same
    context and time, whatever their dose; there have to be five, and two compounds on each side. Positives
    are once the conditions matched with the query, once all of its compound.

    Returns:
        Rows of ``mart/retrieval``.
    """
    compounds = pair.compounds
    rows = [pl.DataFrame(schema=RETRIEVAL.polars_schema)]
    for blocks in pair.blocks:
        turned = BlockPair(blocks.right, blocks.left, blocks.matches, blocks.right_rows, blocks.left_rows)
        for datasets, direction in (
            ((pair.left_dataset, pair.right_dataset), blocks),
            ((pair.right_dataset, pair.left_dataset), turned),
        ):
            for time in np.unique(direction.left.time[direction.left_rows]):
                rows += [
                    found.select(
                        source_dataset_id=pl.lit(datasets[0]),
                        target_dataset_id=pl.lit(datasets[1]),
                        context_id=pl.lit(pair.context_id),
                        time_h=pl.lit(float(time)),
                        compound_id=pl.Series(compounds[found["compound"].to_numpy()]),
                        **{name: pl.col(name) for name in list(RETRIEVAL.polars_schema)[5:]},
                    )
                    for found in _in_one_direction(direction, float(time))
                ]
    return pl.concat(rows)


def _in_one_direction(blocks: BlockPair, time: float) -> Iterator[pl.DataFrame]:
    """Yield the rankings of the left conditions at a time, by similarity and rule of positives."""
    source, target = blocks.left, blocks.right
    candidates = np.flatnonzero(target.time == time)
    at_time = np.flatnonzero(source.time == time)
    n_compounds = min(len(np.unique(source.compound[at_time])), len(np.unique(target.compound[candidates])))
    if len(candidates) < MIN_CANDIDATES or n_compounds < MIN_COMPOUNDS:
        return
    members = source.time[blocks.left_rows] == time
    queries = np.unique(blocks.left_rows[members])
    place = np.full(len(target.ids), -1)
    place[candidates] = np.arange(len(candidates))
    same = np.nonzero(source.compound[queries][:, None] == target.compound[candidates])
    answers = {
        "matched": Positives.of_pairs(
            np.searchsorted(queries, blocks.left_rows[members]),
            place[blocks.right_rows[members]],
            len(queries),
        ),
        "compound": Positives.of_pairs(same[0], same[1], len(queries)),
    }
    for similarity in RETRIEVAL_SIMILARITIES:
        for part in slices(len(queries), QUERIES_PER_BLOCK):
            scores = products(source.signatures, queries[part], target.signatures, candidates, (similarity,))[
                similarity
            ]
            for rule, positives in answers.items():
                some = _part(positives, part)
                yield _rows(source, queries[part], rank_positives(scores, some)).with_columns(
                    similarity=pl.lit(similarity), positives=pl.lit(rule)
                )


def _part(positives: Positives, part: slice) -> Positives:
    first = positives.first[part.start : part.stop + 1]
    return Positives(first - first[0], positives.candidates[first[0] : first[-1]])


def _rows(source: Block, queries: IntArray, ranking: Ranking) -> pl.DataFrame:
    null = chance(ranking)
    best = pl.Series(ranking.best_rank).fill_nan(None)
    return pl.DataFrame(
        {
            "compound": source.compound[queries],
            "condition_id": source.ids[queries],
            "n_candidates": pl.Series(ranking.n_candidates, dtype=pl.Int32),
            "n_positives": pl.Series(ranking.n_positives, dtype=pl.Int32),
            "best_rank": best,
            "normalized_rank": pl.Series(ranking.normalized_rank).fill_nan(None),
            "normalized_rank_null": null.normalized_rank,
            "is_first": best <= 1,
            "is_in_5": best <= 5,
            "is_in_10": best <= 10,
            "recall_1_null": null.recall[1],
            "recall_10_null": null.recall[10],
            "auroc": pl.Series(ranking.auroc).fill_nan(None),
            "p_value": pl.Series(null.p_value).fill_nan(None),
        }
    )
