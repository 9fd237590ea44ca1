"""Agreement of matched conditions: the metrics of ``similarity`` applied to effects in long form.

Here: bringing the effects of matched conditions onto one gene axis, in bounded memory, and naming why a value
is missing. Not here: the matching rule, the formulas, baselines, and any mean over pairs.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.accounting import RowAccount
from etl.agreement.profiles import EFFECT_COLUMNS, Profiles, complete_cells, read_profiles, require_columns
from etl.agreement.similarity import CONTINUOUS, OVERLAPS, Scores, Signatures, correlations, discrete
from etl.arrays import IntArray
from etl.errors import BadInputError
from schemas.mart.agreement import AGREEMENT

OK = "ok"
TOO_FEW_GENES = "too_few_genes"
CONSTANT_PROFILE = "constant_profile"
NO_SHARED_SIGNIFICANT_GENE = "no_shared_significant_gene"
TOO_FEW_SIGNIFICANT_GENES = "too_few_significant_genes"

MIN_GENES: Final = 2
"""A correlation of fewer points is not defined."""

PAIRS_PER_BLOCK = 256
"""Pairs held in memory at once: 256 pairs of 20,000 genes are about 10 million rows of effects."""

GROUP: Final = ("left_dataset_id", "right_dataset_id", "context_id")
PAIR_COLUMNS: Final = {
    "left_condition_id": pl.Int64,
    "right_condition_id": pl.Int64,
    "left_dataset_id": pl.String,
    "right_dataset_id": pl.String,
    "context_id": pl.String,
    "compound_id": pl.String,
}
RESULT_SCHEMA = AGREEMENT.polars_schema


def compare(matches: pl.DataFrame, effects: pl.LazyFrame, *, alpha: float = 0.05) -> pl.DataFrame:
    """Measure the agreement of the two effect profiles of every matched pair of conditions.

    Every metric of ``AGREEMENT_METRICS``, over the genes that have an effect and its standard error on both
    sides; formulas and edge rules stand in ``etl.agreement.similarity``.

    Pairs are worked on by dataset pair and context, at most ``PAIRS_PER_BLOCK`` at a time; only the effects
    of their conditions are read. A condition without effects is a profile without genes, not an error.

    Args:
        matches: result of :func:`etl.agreement.matching.match` with condition ids; one row per pair.
        effects: one row per (condition, gene): ``condition_id`` Int64, ``gene_id`` Int32,
            ``log2_fold_change``, ``standard_error`` and ``p_value_adjusted`` Float32, null or NaN where not
            estimable. Where ``dataset_id`` and ``context_id`` are there too, they narrow the scan to the
            partitions that matter.
        alpha: significance level of the adjusted p-value, exclusive.

    Returns:
        One row per pair and metric, sorted by dataset pair, context, compound, condition ids and metric:
        the pair's ``left_condition_id``, ``right_condition_id``, ``left_dataset_id``, ``right_dataset_id``,
        ``context_id``, ``compound_id``; ``metric``; ``observed`` (Float64, null where undefined); ``n_genes``
        (Int32, genes the metric rests on); ``status``, which is ``ok`` or the reason of the null.

    Raises:
        BadInputError: a column is missing or has the wrong type, a match lacks a condition id or stands
            twice, or a gene stands twice in a condition's effects.

    >>> matches = pl.DataFrame({
    ...     "left_condition_id": [1], "right_condition_id": [2], "left_dataset_id": ["a"],
    ...     "right_dataset_id": ["b"], "context_id": ["CVCL_0023"], "compound_id": ["X"],
    ... })
    >>> effects = pl.LazyFrame(
    ...     {
    ...         "condition_id": [1, 1, 1, 2, 2, 2],
    ...         "gene_id": [5, 6, 7, 7, 6, 5],
    ...         "log2_fold_change": [1.0, 2.0, 3.0, 9.0, 4.0, 1.0],
    ...         "standard_error": [1.0] * 6,
    ...         "p_value_adjusted": [0.5, 0.01, 0.01, 0.01, 0.5, 0.01],
    ...     },
    ...     schema={"condition_id": pl.Int64, **EFFECT_COLUMNS},
    ... )
    >>> compare(matches, effects).filter(metric="spearman_t").select("observed", "n_genes", "status").row(0)
    (1.0, 3, 'ok')
    """
    require_matches(matches)
    schema = effects.collect_schema()
    require_columns(schema, {"condition_id": pl.Int64, **EFFECT_COLUMNS}, "effects")
    pairs = matches.select(*PAIR_COLUMNS)
    results = [pl.DataFrame(schema=RESULT_SCHEMA)]
    ordered = pairs.sort(*GROUP, "left_condition_id", "right_condition_id")
    for (left_dataset, right_dataset, context), members in ordered.group_by(GROUP, maintain_order=True):
        partition = effects
        if "dataset_id" in schema:
            partition = partition.filter(pl.col("dataset_id").is_in([left_dataset, right_dataset]))
        if "context_id" in schema:
            partition = partition.filter(pl.col("context_id") == context)
        results += [_compare_block(block, partition, alpha) for block in members.iter_slices(PAIRS_PER_BLOCK)]
    return pl.concat(results).sort(*GROUP, "compound_id", "left_condition_id", "right_condition_id", "metric")


def observe(pairs: pl.DataFrame, left: Profiles, right: Profiles) -> pl.DataFrame:
    """Return every metric of pairs of conditions: rows of ``mart/agreement``, unsorted.

    Args:
        pairs: the columns of ``PAIR_COLUMNS``.
        left: profiles of the left conditions.
        right: profiles of the right ones on the same genes.
    """
    rows = [
        one.positions(pairs[f"{side}_condition_id"].to_numpy())
        for one, side in ((left, "left"), (right, "right"))
    ]
    named = pairs.select(*PAIR_COLUMNS)
    return pl.concat(
        named[members].with_columns(
            metric=pl.lit(metric),
            observed=pl.Series(one.value, dtype=pl.Float64).fill_nan(None),
            n_genes=pl.Series(one.n_genes, dtype=pl.Int32),
            status=pl.Series(status[metric].tolist(), dtype=pl.String),
        )
        for members, scores, status in score_pairs(left, right, *rows)
        for metric, one in scores.items()
    )


def status_account(measured: pl.DataFrame) -> RowAccount:
    """Return how many values of each metric are given, and why the others are not."""
    counted = measured.group_by("metric", "status").len().sort("metric", "status")
    noted = {f"{metric} {status}": n for metric, status, n in counted.iter_rows()}
    return RowAccount(measured.height, measured.height, noted=noted, unit="values")


def require_matches(matches: pl.DataFrame) -> None:
    """Refuse matches that lack a column or an identifier, or that stand twice.

    Raises:
        BadInputError: as said.
    """
    require_columns(matches.schema, PAIR_COLUMNS, "matches")
    for column in PAIR_COLUMNS:
        if matches[column].null_count():
            raise BadInputError("a match names all its identifiers, found null", column=column)
    twice = matches.height - matches.n_unique(subset=["left_condition_id", "right_condition_id"])
    if twice:
        rule = f"{twice} matches stand more than once"
        raise BadInputError(rule, column="left_condition_id")


def score_pairs(
    left: Profiles, right: Profiles, left_rows: IntArray, right_rows: IntArray
) -> Iterator[tuple[IntArray, dict[str, Scores], dict[str, NDArray[np.str_]]]]:
    """Yield every metric of pairs of profiles over the genes that both sides measured.

    Args:
        left: profiles.
        right: profiles on the same genes.
        left_rows: row of each pair, -1 for a side without effects.
        right_rows: likewise; shape (pairs,).

    Yields:
        Some of the pairs, as indices; their scores and their statuses, by metric.
    """
    is_there = (left_rows >= 0) & (right_rows >= 0)
    if len(missing := np.flatnonzero(~is_there)):
        nothing = np.zeros((len(missing), 0), dtype=np.float32)
        empty = Signatures(nothing, nothing, np.zeros(nothing.shape, dtype=np.bool_))
        yield missing, *_scored(empty, empty)
    there = np.flatnonzero(is_there)
    if not len(there):
        return
    for cell, genes in complete_cells(left, right, left_rows[there], right_rows[there]):
        pairs = there[cell]
        yield (
            pairs,
            *_scored(left.signatures(left_rows[pairs], genes), right.signatures(right_rows[pairs], genes)),
        )


def _scored(left: Signatures, right: Signatures) -> tuple[dict[str, Scores], dict[str, NDArray[np.str_]]]:
    """Return scores and statuses of rows with rows of the same number."""
    rows = np.arange(len(left))
    scores = correlations(left, right, rows, rows) | discrete(left, right, rows, rows)
    n_significant = left.significant.lengths, right.significant.lengths
    return scores, {name: _status(name, one, left.n_genes, n_significant) for name, one in scores.items()}


def _status(
    metric: str, scores: Scores, n_genes: int, n_significant: tuple[IntArray, IntArray]
) -> NDArray[np.str_]:
    fewest = np.minimum(*n_significant)
    undefined = np.isnan(scores.value)
    if metric in CONTINUOUS or metric.startswith("signed_overlap"):
        reason = np.full(len(undefined), TOO_FEW_GENES if n_genes < MIN_GENES else CONSTANT_PROFILE)
    elif metric.startswith("direction"):
        reason = np.full(len(undefined), NO_SHARED_SIGNIFICANT_GENE)
    else:
        needed = {"spearman_significant": MIN_GENES, "overlap_n": 1, **{f"overlap_{k}": k for k in OVERLAPS}}
        reason = np.where(fewest < needed[metric], TOO_FEW_SIGNIFICANT_GENES, CONSTANT_PROFILE)
    return np.where(undefined, reason, OK)


def _compare_block(pairs: pl.DataFrame, effects: pl.LazyFrame, alpha: float) -> pl.DataFrame:
    """Return all metrics of a few pairs, whose effects fit in memory together."""
    ids = [pairs[f"{side}_condition_id"].to_numpy() for side in ("left", "right")]
    needed = pl.Series(np.union1d(*ids))
    rows = (
        effects.select("condition_id", *EFFECT_COLUMNS)
        .filter(pl.col("condition_id").is_in(needed.implode()))
        .collect()
    )
    sides = [
        read_profiles(rows.filter(pl.col("condition_id").is_in(pl.Series(one).implode())), alpha=alpha)
        for one in ids
    ]
    # Assays differ widely in their genes (978 against 20,000): only the genes of both sides are compared.
    genes = np.intersect1d(sides[0].gene_ids, sides[1].gene_ids)
    return observe(pairs, *(side.genes(genes) for side in sides))
