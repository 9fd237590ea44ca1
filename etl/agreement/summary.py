"""Means of agreement per pair of datasets and per context, with intervals over compounds.

Here: which values a mean is of, and how they are weighed. Not here: the values, and the bootstrap.

What is averaged is compound × context × time: matches at several doses are first averaged within it, so that
a compound with a long dose series does not count more. Observed values, baselines and their difference are
defined for different rows; the mean difference is that of the rows that have both, never a difference of
means.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, product
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

from etl.accounting import RowAccount
from etl.agreement.baselines import SEED
from etl.agreement.bootstrap import N_RESAMPLES, clustered_means
from etl.agreement.matching import DOSE_TOLERANCE, MAX_FOLD, MIN_COMPOUNDS
from etl.agreement.similarity import METRICS
from etl.arrays import BoolArray, FloatArray, IntArray
from etl.errors import BadInputError
from schemas.mart.agreement_summary import AGREEMENT_SUMMARY
from schemas.vocabularies import (
    AGREEMENT_BASELINES,
    RETRIEVAL_SIMILARITIES,
    SUMMARY_BASELINES,
    SUMMARY_METRICS,
    SUMMARY_SIDES,
)

FOLDS: Final = (1.0, 2.0, 3.0, MAX_FOLD)
"""Thresholds of the ratio of doses; contexts by themselves are summed up for the last one only."""
SIDES: Final = tuple(SUMMARY_SIDES)
QUANTITIES: Final = ("baseline", "delta", "percentile")

UNIT: Final = ("compound_id", "context_id", "time_h")
PAIR: Final = ("left_dataset_id", "right_dataset_id")
MATCH: Final = ("left_condition_id", "right_condition_id")


class Values(NamedTuple):
    """Values of some matches (or queries, or conditions), one column per quantity.

    Args:
        rows: ``UNIT``, and ``weight`` where there are numbers of wells.
        names: metric, baseline, side and quantity of each column.
        values: rows × columns, NaN where there is none.
    """

    rows: pl.DataFrame
    names: Sequence[tuple[str, str, str, str]]
    values: FloatArray


def summarize(
    matches: pl.DataFrame,
    agreement: pl.DataFrame,
    baseline: pl.DataFrame,
    retrieval: pl.DataFrame,
    replicates: pl.DataFrame,
    replicate_retrieval: pl.DataFrame,
    *,
    min_compounds: int = MIN_COMPOUNDS,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> pl.DataFrame:
    """Return the rows of ``mart/agreement_summary``, sorted by its key.

    Only contexts and times count in which at least ``min_compounds`` compounds match, counted anew at every
    threshold of the ratio of doses.

    Args:
        matches: rows of ``mart/condition_match``.
        agreement: rows of ``mart/agreement``.
        baseline: rows of ``mart/agreement_baseline``.
        retrieval: rows of ``mart/retrieval``.
        replicates: rows of ``mart/replicate_agreement``.
        replicate_retrieval: rows of ``mart/replicate_retrieval``.
        min_compounds: fewest compounds of a context and time.
        n_resamples: resamples of each interval.
        seed: of the generator; the intervals of a row do not depend on what else is summed up.
    """
    options = {"n_resamples": n_resamples, "seed": seed}
    parts = [pl.DataFrame(schema=AGREEMENT_SUMMARY.polars_schema)]
    for (left, right), of_pair in matches.sort(MATCH).group_by(PAIR, maintain_order=True):
        named = {"left_dataset_id": str(left), "right_dataset_id": str(right)}
        values = _of_matches(of_pair, _of(agreement, named), _of(baseline, named))
        for fold in FOLDS:
            is_in = _eligible(of_pair, fold, min_compounds)
            contexts = ["", *_contexts(of_pair, is_in)] if fold == FOLDS[-1] else [""]
            parts += [
                _summary(_in(values, is_in, context), named, context, fold, options) for context in contexts
            ]
        wide = _eligible(of_pair, FOLDS[-1], min_compounds)
        searched = _of_queries(retrieval, of_pair.filter(pl.Series(wide)), str(left), str(right))
        if searched is not None:
            everything = np.ones(searched.rows.height, dtype=np.bool_)
            parts += [
                _summary(_in(searched, everything, context), named, context, FOLDS[-1], options)
                for context in ["", *_contexts(searched.rows, everything)]
            ]
    for (dataset,), of_dataset in replicates.group_by(["dataset_id"], maintain_order=True):
        named = {"left_dataset_id": str(dataset), "right_dataset_id": str(dataset)}
        values = _of_replicates(of_dataset, _of(replicate_retrieval, {"dataset_id": str(dataset)}))
        everything = np.ones(values.rows.height, dtype=np.bool_)
        parts += [
            _summary(_in(values, everything, context), named, context, 1.0, options)
            for context in ["", *_contexts(values.rows, everything)]
        ]
    return pl.concat(parts).sort(AGREEMENT_SUMMARY.primary_key)


def overview(summary: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Return one row per pair of datasets as text: observed value, and differences to the baselines.

    Replicates of one dataset come last; names and intervals stand on a second line.

    Args:
        summary: rows of ``mart/agreement_summary``; those of all contexts and doses up to tenfold are shown,
            of replicates those there are.
        metric: of ``SUMMARY_METRICS``.

    Raises:
        BadInputError: there is no such metric.
    """
    if metric not in SUMMARY_METRICS:
        rule = f"no metric {metric!r}; there are {', '.join(SUMMARY_METRICS)}"
        raise BadInputError(rule)
    is_shown = (pl.col("max_fold") == FOLDS[-1]) | (pl.col("left_dataset_id") == pl.col("right_dataset_id"))
    number = "{:.3f}\n[{:.3f}, {:.3f}]"
    rows = summary.filter(
        is_shown, pl.col("quantity").is_in(["observed", "delta"]), context_id="", side="both"
    )
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows.filter(metric=metric).sort(PAIR).iter_rows(named=True):
        of_pair = cells.setdefault((row["left_dataset_id"], row["right_dataset_id"]), {})
        if row["quantity"] == "observed":
            of_pair["compounds"], of_pair["rows"] = str(row["n_compounds"]), str(row["n_finite"])
        name = "observed" if row["quantity"] == "observed" else f"minus_{row['baseline']}"
        interval = row["ci_low"], row["ci_high"]
        if row["mean"] is None:
            of_pair[name] = "–"
        else:
            of_pair[name] = (
                f"{row['mean']:.3f}" if interval[0] is None else number.format(row["mean"], *interval)
            )
    columns = ["compounds", "rows", "observed", *(f"minus_{name}" for name in SUMMARY_BASELINES)]
    used = [name for name in columns if any(name in of_pair for of_pair in cells.values())]
    return pl.DataFrame(
        [
            {
                "datasets": f"{left} –\n{right}" if left != right else f"replicates of\n{left}",
                **{name: of_pair.get(name, "") for name in used},
            }
            for (left, right), of_pair in sorted(cells.items(), key=lambda of: (of[0][0] == of[0][1], of[0]))
        ],
        schema=dict.fromkeys(("datasets", *used), pl.String),
    )


def summary_account(summary: pl.DataFrame) -> RowAccount:
    """Return how many means have an interval, and why the others have none."""
    counted = summary.group_by("ci_status").len().sort("ci_status")
    return RowAccount(summary.height, summary.height, noted=dict(counted.iter_rows()), unit="means")


def _of(rows: pl.DataFrame, named: Mapping[str, str]) -> pl.DataFrame:
    return rows.filter(*(pl.col(column) == value for column, value in named.items()))


def _eligible(matches: pl.DataFrame, fold: float, min_compounds: int) -> BoolArray:
    """Say of each match whether it is near enough, in a context and time with enough compounds that are."""
    is_near = pl.col("fold") <= fold * (1 + DOSE_TOLERANCE)
    n_compounds = pl.col("compound_id").filter(is_near).n_unique().over("context_id", "time_h")
    return matches.select(is_near & (n_compounds >= min_compounds)).to_series().to_numpy()


def _contexts(rows: pl.DataFrame, is_in: BoolArray) -> list[str]:
    return rows.filter(pl.Series(is_in))["context_id"].unique().sort().to_list()


def _in(values: Values, is_in: BoolArray, context_id: str) -> Values:
    """Return the values of some rows, of one context where it is named."""
    if context_id:
        is_in = is_in & (values.rows["context_id"] == context_id).to_numpy()
    return Values(values.rows.filter(pl.Series(is_in)), values.names, values.values[is_in])


def _of_matches(matches: pl.DataFrame, agreement: pl.DataFrame, baseline: pl.DataFrame) -> Values:
    """Return all values of matches, those of both sides averaged and each by itself."""
    index = matches.select(*MATCH).with_row_index("match")
    observed = np.full((matches.height, len(METRICS)), np.nan)
    placed = agreement.join(index, on=MATCH)
    observed[placed["match"], _codes(placed["metric"], METRICS)] = _floats(placed["observed"])
    baselines = list(AGREEMENT_BASELINES)
    shape = (matches.height, len(METRICS), len(baselines), len(SIDES), len(QUANTITIES))
    against = np.full(shape, np.nan)
    placed = baseline.join(index, on=MATCH)
    at = (
        placed["match"].to_numpy(),
        _codes(placed["metric"], METRICS),
        _codes(placed["baseline"], baselines),
        _codes(placed["side"], SIDES),
    )
    for q, column in enumerate(("mean", "delta", "percentile")):
        against[(*at, q)] = _floats(placed[column])
    against[:, :, :, 0] = _mean_of(against[:, :, :, 1], against[:, :, :, 2])
    names = [(metric, "none", "both", "observed") for metric in METRICS]
    names += list(product(METRICS, baselines, SIDES, QUANTITIES))
    # A centroid is one profile: nothing can be ranked among it.
    is_kept = [not (name.endswith("centroid") and what == "percentile") for _, name, _, what in names]
    values = np.hstack([observed, against.reshape(matches.height, -1)])[:, is_kept]
    weight = pl.col("left_n_treated").cast(pl.Float64) * pl.col("right_n_treated")
    rows = matches.select(*UNIT, weight=weight)
    return Values(rows, list(compress(names, is_kept)), values)


def _of_queries(retrieval: pl.DataFrame, matches: pl.DataFrame, left: str, right: str) -> Values | None:
    """Return the values of the queries of both directions, averaged within compound, context and time."""
    sides = []
    for side, source, target in (("left", left, right), ("right", right, left)):
        searched = retrieval.filter(
            pl.col("source_dataset_id") == source,
            pl.col("target_dataset_id") == target,
            pl.col("positives") == "matched",
            pl.col("condition_id").is_in(matches[f"{side}_condition_id"].unique().implode()),
        )
        sides.append(
            searched.group_by(*UNIT, "similarity")
            .agg(
                rank=pl.col("normalized_rank").mean(),
                first=pl.col("is_first").mean(),
                auroc=pl.col("auroc").mean(),
                rank_null=pl.col("normalized_rank_null").mean(),
                first_null=pl.col("recall_1_null").mean(),
                percentile=1 - pl.col("p_value").mean(),
            )
            .with_columns(auroc_null=pl.lit(0.5))
        )
    units = pl.concat([one.select(*UNIT) for one in sides]).unique().sort(*UNIT)
    if units.is_empty():
        return None
    columns: list[FloatArray] = []
    names: list[tuple[str, str, str, str]] = []
    for similarity in RETRIEVAL_SIMILARITIES:
        found = [
            units.join(one.filter(similarity=similarity), on=UNIT, how="left", maintain_order="left")
            for one in sides
        ]
        for measure in ("rank", "first", "auroc"):
            both = (
                [_floats(one[measure]) for one in found],
                [_floats(one[f"{measure}_null"]) for one in found],
            )
            percentiles = [_floats(one["percentile"]) for one in found]
            metric = f"retrieval_{measure}_{similarity}"
            for at, side in ((None, "both"), (0, "left"), (1, "right")):
                value, null, percentile = (
                    _mean_of(*one) if at is None else one[at] for one in (*both, percentiles)
                )
                of_chance = _against_chance(metric, side, value, null, percentile)
                names += of_chance
                columns += of_chance.values()
    return Values(units.with_columns(weight=pl.lit(None, pl.Float64)), names, np.stack(columns, axis=1))


def _against_chance(
    metric: str, side: str, value: FloatArray, null: FloatArray, percentile: FloatArray
) -> dict[tuple[str, str, str, str], FloatArray]:
    """Return the columns of a measure of retrieval by their names; percentiles are those of the best rank."""
    columns = {
        (metric, "none", side, "observed"): value,
        (metric, "chance", side, "baseline"): null,
        (metric, "chance", side, "delta"): value - null,
    }
    if metric.startswith("retrieval_rank"):
        columns[metric, "chance", side, "percentile"] = percentile
    return columns


def _of_replicates(replicates: pl.DataFrame, retrieval: pl.DataFrame) -> Values:
    """Return the values of conditions with replicates."""
    conditions = replicates.select("condition_id", *UNIT).unique().sort("condition_id")
    columns: list[FloatArray] = []
    names: list[tuple[str, str, str, str]] = []
    for metric in METRICS:
        of_metric = conditions.join(
            replicates.filter(metric=metric).drop(UNIT), on="condition_id", how="left", maintain_order="left"
        )
        for column, name in (
            ("observed", (metric, "none", "both", "observed")),
            ("peer_mean", (metric, "source_peers", "both", "baseline")),
            ("peer_delta", (metric, "source_peers", "both", "delta")),
            ("peer_percentile", (metric, "source_peers", "both", "percentile")),
            ("centroid", (metric, "source_centroid", "both", "baseline")),
            ("centroid_delta", (metric, "source_centroid", "both", "delta")),
        ):
            columns.append(_floats(of_metric[column]))
            names.append(name)
    for similarity in RETRIEVAL_SIMILARITIES if retrieval.height else ():
        of_similarity = conditions.join(
            retrieval.filter(similarity=similarity, positives="matched").drop(UNIT),
            on="condition_id",
            how="left",
            maintain_order="left",
        )
        percentile = 1 - _floats(of_similarity["p_value"])
        for measure, column in (("rank", "normalized_rank"), ("first", "recall_1"), ("auroc", "auroc")):
            value = _floats(of_similarity[column])
            null = np.where(np.isnan(value), np.nan, 0.5)
            if measure != "auroc":
                null = _floats(of_similarity[f"{column}_null"])
            of_chance = _against_chance(f"retrieval_{measure}_{similarity}", "both", value, null, percentile)
            names += of_chance
            columns += of_chance.values()
    rows = conditions.select(*UNIT, weight=pl.lit(None, pl.Float64))
    return Values(rows, names, np.stack(columns, axis=1))


def _summary(
    values: Values, named: Mapping[str, str], context_id: str, fold: float, options: Mapping[str, int]
) -> pl.DataFrame:
    """Return the summary rows of one pair of datasets, in one context or all."""
    units = values.rows.select(*UNIT).with_row_index("row")
    of_unit = units.group_by(*UNIT, maintain_order=True).agg("row")
    unit = np.empty(units.height, dtype=np.int64)
    lengths = of_unit["row"].list.len().to_numpy()
    unit[of_unit["row"].explode().to_numpy()] = np.repeat(np.arange(of_unit.height), lengths)
    by_unit = _means_of_groups(values.values, unit, of_unit.height)
    compounds = of_unit["compound_id"].unique().sort()
    cluster = compounds.search_sorted(of_unit["compound_id"]).to_numpy().astype(np.int64)
    means = clustered_means(by_unit, cluster, **options)
    weight = values.rows["weight"].fill_null(np.nan).to_numpy()
    weighed = _means_of_groups(values.values, unit, of_unit.height, weight)
    n_finite = np.isfinite(weighed).sum(axis=0)
    by_wells = np.divide(
        np.nansum(weighed, axis=0), n_finite, out=np.full(n_finite.size, np.nan), where=n_finite > 0
    )
    floats = {"mean": means.mean, "ci_low": means.low, "ci_high": means.high, "mean_by_wells": by_wells}
    return (
        pl.DataFrame(list(values.names), schema=["metric", "baseline", "side", "quantity"], orient="row")
        .with_columns(
            left_dataset_id=pl.lit(named["left_dataset_id"]),
            right_dataset_id=pl.lit(named["right_dataset_id"]),
            context_id=pl.lit(context_id),
            max_fold=pl.lit(fold),
            ci_status=pl.Series(means.status.tolist(), dtype=pl.String),
            n_rows=pl.lit(of_unit.height, pl.Int32),
            n_finite=pl.Series(means.n_finite, dtype=pl.Int32),
            n_compounds=pl.Series(means.n_clusters, dtype=pl.Int32),
            n_contexts=pl.lit(of_unit["context_id"].n_unique(), pl.Int32),
            n_matches=pl.lit(units.height, pl.Int32),
            **{name: pl.Series(column).fill_nan(None) for name, column in floats.items()},
        )
        .select(list(AGREEMENT_SUMMARY.polars_schema))
    )


def _means_of_groups(
    values: FloatArray, group: IntArray, n_groups: int, weight: FloatArray | None = None
) -> FloatArray:
    """Return the mean of the finite values of each group, by column; NaN without any."""
    weight = np.ones(len(group)) if weight is None else weight
    is_given = np.isfinite(values) & np.isfinite(weight)[:, None]
    gather = sparse.csr_matrix(
        (np.nan_to_num(weight), (group, np.arange(len(group)))), shape=(n_groups, len(group))
    )
    total = gather @ np.where(is_given, values, 0.0)
    n = gather @ is_given.astype(np.float64)
    return np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)


def _mean_of(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the mean of both, or the one that is finite."""
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, (one + other) / 2))


def _codes(names: pl.Series, known: Iterable[str]) -> IntArray:
    codes = {name: code for code, name in enumerate(known)}
    return names.replace_strict(codes, return_dtype=pl.Int64).to_numpy()


def _floats(column: pl.Series) -> FloatArray:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
