"""Agreement of all pairs of datasets, one context at a time: observed values, baselines and retrieval.

Here: the order of work, and how much of the effects is in memory. Not here: what is computed.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from etl.agreement.baselines import N_CONTEXTS, N_PEERS, SEED, baselines
from etl.agreement.compare import GROUP, observe, require_matches
from etl.agreement.condition_retrieval import retrieve
from etl.agreement.context_pairs import CONDITION_COLUMNS, ContextData, ContextPair, Load
from etl.agreement.profiles import EFFECT_COLUMNS, read_profiles
from schemas.mart.agreement import AGREEMENT
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE
from schemas.mart.retrieval import RETRIEVAL

CONTEXTS_IN_MEMORY = 3


class Measured(NamedTuple):
    """Rows of three tables, of one pair of datasets and one context, in the order of their primary keys."""

    agreement: pl.DataFrame
    baseline: pl.DataFrame
    retrieval: pl.DataFrame


def measure(
    matches: pl.DataFrame,
    conditions: pl.DataFrame,
    load: Load,
    *,
    n_peers: int = N_PEERS,
    n_contexts: int = N_CONTEXTS,
    seed: int = SEED,
) -> Iterator[Measured]:
    """Yield the agreement of matches with all that it is held against.

    Args:
        matches: rows of ``mart/condition_match``.
        conditions: rows of ``mart/condition``; those that are estimable are peers and candidates.
        load: reads one context of a dataset; ``loader`` makes one from the warehouse's tables.
        n_peers: peers of a condition that are looked at one by one, at most; 0 for all.
        n_contexts: other contexts that are looked at, at most.
        seed: of the choice of peers.

    Raises:
        BadInputError: as ``compare``.
    """
    require_matches(matches)
    usable = conditions.filter("is_estimable")
    ordered = matches.sort(*GROUP, "left_condition_id", "right_condition_id")
    for (left, right, context), members in ordered.group_by(GROUP, maintain_order=True):
        pair = ContextPair(str(left), str(right), str(context), members, load)
        agreement = observe(members, pair.left.profiles, pair.right.profiles)
        rows = baselines(pair, agreement, usable, load, n_peers=n_peers, n_contexts=n_contexts, seed=seed)
        yield Measured(
            agreement.sort(AGREEMENT.primary_key),
            rows.sort(AGREEMENT_BASELINE.primary_key),
            retrieve(pair).sort(RETRIEVAL.primary_key),
        )


def loader(conditions: pl.DataFrame, effects: pl.LazyFrame, *, alpha: float = 0.05) -> Load:
    """Return what reads one context of a dataset, and remembers the last few.

    Args:
        conditions: rows of ``mart/condition``.
        effects: rows of ``mart/differential_expression``.
        alpha: level of significance of the adjusted p-value, exclusive.

    Raises:
        BadInputError: (when called) a gene stands twice in a condition's effects.
    """

    @lru_cache(maxsize=CONTEXTS_IN_MEMORY)
    def load(dataset_id: str, context_id: str) -> ContextData:
        unit = {"dataset_id": dataset_id, "context_id": context_id}
        rows = effects.filter(**unit).select("condition_id", *EFFECT_COLUMNS).collect()
        profiles = read_profiles(rows, alpha=alpha)
        ids = pl.DataFrame({"condition_id": profiles.row_ids})
        named = conditions.filter(**unit).select(CONDITION_COLUMNS)
        return ContextData(ids.join(named, on="condition_id", how="left", maintain_order="left"), profiles)

    return load
