"""Agreement of matched conditions: the measures of ``similarity`` applied to effects in long form.

Here: bringing the effects of matched conditions onto one gene axis, in bounded memory, and naming why a value
is missing. Not here: the matching rule, the formulas, and any mean over pairs.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.accounting import RowAccount
from etl.agreement.similarity import MIN_GENES, direction_agreement, spearman
from etl.errors import BadInputError
from schemas.mart.agreement import AGREEMENT

SPEARMAN = "spearman_log2_fold_change"
DIRECTION = "direction_agreement"

OK = "ok"
TOO_FEW_GENES = "too_few_genes"
CONSTANT_PROFILE = "constant_profile"
NO_SHARED_SIGNIFICANT_GENE = "no_shared_significant_gene"

PAIRS_PER_BLOCK = 256
"""Pairs held in memory at once: 256 pairs of 20,000 genes are about 10 million rows of effects."""

PAIR_COLUMNS = {
    "left_condition_id": pl.Int64,
    "right_condition_id": pl.Int64,
    "left_dataset_id": pl.String,
    "right_dataset_id": pl.String,
    "context_id": pl.String,
    "compound_id": pl.String,
}
EFFECT_COLUMNS = {
    "condition_id": pl.Int64,
    "gene_id": pl.Int32,
    "log2_fold_change": pl.Float32,
    "p_value_adjusted": pl.Float32,
}
RESULT_SCHEMA = AGREEMENT.polars_schema


class _Side(NamedTuple):
    """Effects of some conditions: dense arrays of conditions × genes."""

    log2_fold_change: NDArray[np.float32]
    p_adjusted: NDArray[np.float32]


def compare(
    matches: pl.DataFrame,
    effects: pl.LazyFrame,
    *,
    alpha: float = 0.05,
    min_abs_log2_fold_change: float = 0.0,
) -> pl.DataFrame:
    """Measure the agreement of the two effect profiles of every matched pair of conditions.

    ``spearman_log2_fold_change`` is the rank correlation over the genes with a finite log2 fold change on
    both sides; ``direction_agreement`` the share of equal signs over the genes significant on both. Formulas
    and edge rules stand in ``etl.agreement.similarity``.

    Pairs are worked on by dataset pair and context, at most ``PAIRS_PER_BLOCK`` at a time; only the effects
    of their conditions are read. A condition without effects is a profile without genes, not an error.

    Args:
        matches: result of :func:`etl.agreement.matching.match` with condition ids; one row per pair.
        effects: one row per (condition, gene): ``condition_id`` Int64, ``gene_id`` Int32,
            ``log2_fold_change`` and ``p_value_adjusted`` Float32, null or NaN where not
            estimable. Where ``dataset_id`` and ``context_id`` are there too, they narrow the scan to the
            partitions that matter.
        alpha: significance level of the adjusted p-value, exclusive.
        min_abs_log2_fold_change: effect threshold of significance, exclusive; 0 means none.

    Returns:
        One row per pair and metric, sorted by dataset pair, context, compound, condition ids and metric:
        the pair's ``left_condition_id``, ``right_condition_id``, ``left_dataset_id``, ``right_dataset_id``,
        ``context_id``, ``compound_id``; ``metric``; ``observed`` (Float64, null where undefined); ``n_genes``
        (Int32, genes the metric was computed over); ``status``, which is ``ok`` or the reason of the null:
        ``too_few_genes`` (fewer than 2 shared), ``constant_profile`` or ``no_shared_significant_gene``.

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
    ...         "p_value_adjusted": [0.5, 0.01, 0.01, 0.01, 0.5, 0.01],
    ...     },
    ...     schema=EFFECT_COLUMNS,
    ... )
    >>> compare(matches, effects).select("metric", "observed", "n_genes", "status").rows()
    [('direction_agreement', 1.0, 1, 'ok'), ('spearman_log2_fold_change', 1.0, 3, 'ok')]
    """
    _require_columns(matches.schema, PAIR_COLUMNS, "matches")
    schema = effects.collect_schema()
    _require_columns(schema, EFFECT_COLUMNS, "effects")
    pairs = matches.select(*PAIR_COLUMNS)
    _require_pairs(pairs)

    results = [pl.DataFrame(schema=RESULT_SCHEMA)]
    group = ["left_dataset_id", "right_dataset_id", "context_id"]
    ordered = pairs.sort(*group, "left_condition_id", "right_condition_id")
    for (left_dataset, right_dataset, context), members in ordered.group_by(group, maintain_order=True):
        partition = effects
        if "dataset_id" in schema:
            partition = partition.filter(pl.col("dataset_id").is_in([left_dataset, right_dataset]))
        if "context_id" in schema:
            partition = partition.filter(pl.col("context_id") == context)
        results += [
            _compare_block(block, partition, alpha, min_abs_log2_fold_change)
            for block in members.iter_slices(PAIRS_PER_BLOCK)
        ]
    return pl.concat(results).sort(*group, "compound_id", "left_condition_id", "right_condition_id", "metric")


def status_account(measured: pl.DataFrame) -> RowAccount:
    """Return how many values of each metric are given, and why the others are not."""
    counted = measured.group_by("metric", "status").len().sort("metric", "status")
    noted = {f"{metric} {status}": n for metric, status, n in counted.iter_rows()}
    return RowAccount(measured.height, measured.height, noted=noted, unit="values")


def _compare_block(
    pairs: pl.DataFrame, effects: pl.LazyFrame, alpha: float, min_abs_log2_fold_change: float
) -> pl.DataFrame:
    """Return both metrics of a few pairs, whose effects fit in memory together."""
    left_ids, left_rows = np.unique(pairs["left_condition_id"].to_numpy(), return_inverse=True)
    right_ids, right_rows = np.unique(pairs["right_condition_id"].to_numpy(), return_inverse=True)
    needed = pl.Series(np.union1d(left_ids, right_ids))
    rows = effects.select(*EFFECT_COLUMNS).filter(pl.col("condition_id").is_in(needed.implode())).collect()
    left_effects = rows.filter(pl.col("condition_id").is_in(pl.Series(left_ids).implode()))
    right_effects = rows.filter(pl.col("condition_id").is_in(pl.Series(right_ids).implode()))
    # Assays differ widely in their genes (978 against 20,000): only the genes of both sides take up memory.
    gene_ids = np.intersect1d(left_effects["gene_id"].to_numpy(), right_effects["gene_id"].to_numpy())
    left = _dense(left_effects, left_ids, gene_ids)
    right = _dense(right_effects, right_ids, gene_ids)

    left_values, right_values = left.log2_fold_change[left_rows], right.log2_fold_change[right_rows]
    rho, n_shared = spearman(left_values, right_values)
    share, n_significant = direction_agreement(
        left_values,
        right_values,
        left.p_adjusted[left_rows],
        right.p_adjusted[right_rows],
        alpha=alpha,
        min_abs_log2_fold_change=min_abs_log2_fold_change,
    )
    spearman_status = np.select(
        [n_shared < MIN_GENES, np.isnan(rho)], [TOO_FEW_GENES, CONSTANT_PROFILE], default=OK
    )
    direction_status = np.where(n_significant == 0, NO_SHARED_SIGNIFICANT_GENE, OK)
    return pl.concat(
        [
            _result(pairs, SPEARMAN, rho, n_shared, spearman_status),
            _result(pairs, DIRECTION, share, n_significant, direction_status),
        ]
    )


def _dense(effects: pl.DataFrame, condition_ids: NDArray[np.int64], gene_ids: NDArray[np.int32]) -> _Side:
    """Scatter long effects to conditions × genes, both axes sorted; what is not there stays NaN."""
    wanted = effects.filter(pl.col("gene_id").is_in(pl.Series(gene_ids).implode()))
    rows = np.searchsorted(condition_ids, wanted["condition_id"].to_numpy())
    columns = np.searchsorted(gene_ids, wanted["gene_id"].to_numpy())
    shape = (len(condition_ids), len(gene_ids))
    is_filled = np.zeros(shape, dtype=bool)
    is_filled[rows, columns] = True
    # Of two values for one cell either could win, depending on the order of rows, which no scan promises.
    if np.count_nonzero(is_filled) != wanted.height:
        twice = wanted.filter(pl.struct("condition_id", "gene_id").is_duplicated())["condition_id"].sort()[0]
        rule = f"effects name a gene twice in condition {twice}"
        raise BadInputError(rule, column="gene_id")
    side = _Side(np.full(shape, np.nan, dtype=np.float32), np.full(shape, np.nan, dtype=np.float32))
    side.log2_fold_change[rows, columns] = wanted["log2_fold_change"].fill_null(np.nan).to_numpy()
    side.p_adjusted[rows, columns] = wanted["p_value_adjusted"].fill_null(np.nan).to_numpy()
    return side


def _result(
    pairs: pl.DataFrame,
    metric: str,
    observed: NDArray[np.float64],
    n_genes: NDArray[np.int32],
    status: NDArray[np.str_],
) -> pl.DataFrame:
    return pairs.with_columns(
        metric=pl.lit(metric),
        observed=pl.Series(observed).fill_nan(None),
        n_genes=pl.Series(n_genes),
        status=pl.Series(status.tolist(), dtype=pl.String),
    )


def _require_columns(schema: pl.Schema, columns: Mapping[str, type[pl.DataType]], frame: str) -> None:
    for column, dtype in columns.items():
        if column not in schema:
            rule = f"{frame} lack this column"
            raise BadInputError(rule, column=column)
        if schema[column] != dtype:
            rule = f"{frame} need it as {dtype()}, found {schema[column]}"
            raise BadInputError(rule, column=column)


def _require_pairs(pairs: pl.DataFrame) -> None:
    for column in PAIR_COLUMNS:
        if pairs[column].null_count():
            raise BadInputError("a match names all its identifiers, found null", column=column)
    twice = pairs.height - pairs.n_unique(subset=["left_condition_id", "right_condition_id"])
    if twice:
        rule = f"{twice} matches stand more than once"
        raise BadInputError(rule, column="left_condition_id")
