"""Agreement of drug-response screens: rows of ``mart/screen_agreement`` from rows of ``mart/dose_response``.

Here: which curves of two screens are compared, the metrics and the scopes they are compared in, alarms, and
the bands that published comparisons let expect. Not here: the correlations and their intervals
(``correlation``), the fits, and the profiles of expression (``compare``).

Lines match by ``context_id``, compounds by ``compound_id`` or its first block; what is unresolved matches
nothing. Several curves of one line and compound within a screen become one value, the mean of the metric: of
viabilities as they are, of doses after the logarithm, over the curves that have the metric. In the shared
window every curve of the left screen meets every curve of the right one, and the mean over these is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import polars as pl

from etl.accounting import RowAccount
from etl.agreement.correlation import (
    MIN_PAIRS,
    Z_95,
    cluster_intervals,
    correlate,
    median_interval,
    pearson_interval,
    spearman_interval,
)
from etl.dose_response.hill import mean_viability
from etl.errors import BadInputError
from etl.flags import flag_list
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.screen_agreement import SCREEN_AGREEMENT
from schemas.vocabularies import COMPOUND_KEYS, SCREEN_METRICS

CURVE_COLUMNS: Final = (
    "dataset_id",
    "context_id",
    "compound_id",
    "replicate_level",
    "model",
    "min_dose_um",
    "max_dose_um",
    "ec50_um",
    "slope",
    "e_inf",
    "ic50_um",
    "auc",
    "auc_global",
    "qc_flags",
    "mean_viability_reported",
)

SHARED_WINDOW = "auc_shared_window"
LOG_METRICS: Final = ("log10_ic50", "log10_ec50")
METRICS: Final = tuple(SCREEN_METRICS)

MIN_WINDOW = 0.5
"""Decades that the tested doses of two curves share at least: half-log steps make it two doses."""

MIN_LINES_OF_MEDIAN = 10
"""Lines of a compound that enters the median over compounds: correlations of fewer are mostly noise."""

LINES_OF_SHARE = 50
"""Lines of a compound whose sign counts in ``share_positive``."""

USUAL_SHARE_POSITIVE = 0.8
"""Of compounds with that many lines, at least this share correlates positively between any two screens."""

MIN_CLUSTERS = 5
"""Compounds from which on resampling them gives an interval."""

MIN_ALARM_PAIRS = 10
"""Pairs from which on a value may raise an alarm."""

SAME_ROWS_ABOVE = 0.98
UNIT_FACTORS: Final = (3.0, 6.0, 9.0)
"""log10 of what one unit of concentration is in another: M, mM, µM, nM."""
UNIT_TOLERANCE = 0.3
BASE_RATIOS: Final = (np.log(10), 1 / np.log(10), np.log2(10), 1 / np.log2(10))
"""What a logarithm of base e or 2 is in units of the one of base 10, and the other way round."""
BASE_TOLERANCE = 0.05
BASE_MIN_PEARSON = 0.5
"""A ratio of spreads tells a scale only where both sides follow each other."""
FRACTION_BELOW = 2.0
"""A median viability above it is no fraction: percent, or an area that was not divided by its width."""

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class SanityBand:
    """What published comparisons let expect of two screens, for ``auc_shared_window``.

    Args:
        pooled_pearson: usual range of Pearson's correlation in the scope ``pooled``.
        median_spearman: usual range of Spearman's in the scope ``median_of_compounds``.
        alarm_below: pooled correlation below which something is likely wrong with data or identifiers.
    """

    pooled_pearson: tuple[float, float]
    median_spearman: tuple[float, float]
    alarm_below: float


_GDSC_CTRP = SanityBand((0.55, 0.75), (0.3, 0.5), 0.4)
_GDSC_GCSI = SanityBand((0.5, 0.75), (0.3, 0.5), 0.4)
_PRISM = SanityBand((0.5, 0.65), (0.2, 0.45), 0.35)
_LIKE_ASSAY = SanityBand((0.6, 0.8), (0.4, 0.6), 0.4)

SANITY_BANDS: Final = {
    ("gdsc1", "gdsc2"): SanityBand((0.7, 0.9), (0.4, 0.6), 0.55),
    ("ctrpv2", "gdsc1"): _GDSC_CTRP,
    ("ctrpv2", "gdsc2"): _GDSC_CTRP,
    ("ctrpv2", "gcsi"): _LIKE_ASSAY,
    ("ccle_2015", "ctrpv2"): _LIKE_ASSAY,
    ("gcsi", "gdsc1"): _GDSC_GCSI,
    ("gcsi", "gdsc2"): _GDSC_GCSI,
    ("gdsc1", "prism_secondary"): _PRISM,
    ("gdsc2", "prism_secondary"): _PRISM,
    ("ctrpv2", "prism_secondary"): _PRISM,
    ("gcsi", "prism_secondary"): _PRISM,
    ("ccle_2015", "prism_secondary"): _PRISM,
}
"""By pair of dataset ids in alphabetical order. A value outside is looked at; it fails nothing."""


def compare_screens(
    curves: pl.DataFrame | pl.LazyFrame,
    *,
    compound_key: str = "parent",
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the agreement of every pair of screens: rows of ``mart/screen_agreement``, sorted by its key.

    Fitted metrics come from the curves of level ``pooled``, ``mean_viability_reported`` from the level that
    the publisher gives it at. A dose counts where it lies within the tested doses of its curve; an EC50 not
    where the curve is flat; a published mean viability not where it is implausible
    (``mean_viability_above_3``). Every pair of screens has a row for each metric in the scopes ``pooled``,
    ``centred`` and ``median_of_compounds``, also where nothing is common, and one for each compound with at
    least three common lines. ``centred`` runs over these compounds.

    Intervals of compounds are Fisher's. The pairs of one compound are not independent, so the other scopes
    resample compounds, with the same seed for each row: an interval does not depend on what else is compared.

    Args:
        curves: rows of ``mart/dose_response`` of any screens and levels; ``CURVE_COLUMNS`` are read.
        compound_key: ``parent`` or ``skeleton`` (``COMPOUND_KEYS``).
        n_resamples: resamples of each interval.
        seed: of the generator of resamples.

    Raises:
        BadInputError: a column is missing or of another type, or the compound key is unknown.
    """
    if compound_key not in COMPOUND_KEYS:
        rule = f"compound key {compound_key!r} is none of {', '.join(COMPOUND_KEYS)}"
        raise BadInputError(rule)
    rows = _read(curves)
    resolved = _resolved(rows, compound_key)
    compounds = resolved["compound"].unique().sort()
    coded = resolved.with_columns(
        compound=_code(resolved["compound"], compounds),
        context=_code(resolved["context"], resolved["context"].unique().sort()),
    )
    screens = {
        dataset: (_by_line_and_compound(of_dataset), _windows(of_dataset))
        for dataset in rows["dataset_id"].unique().sort()
        for of_dataset in [coded.filter(dataset_id=dataset)]
    }
    schema = SCREEN_AGREEMENT.polars_schema
    parts = [pl.DataFrame(schema=schema)]
    for left, right in combinations(screens, 2):
        shared = _shared_pairs(*screens[left], *screens[right])
        compared = _compare_pair(shared, n_resamples=n_resamples, seed=seed)
        band = SANITY_BANDS.get((left, right))
        named = compared.with_columns(
            left_dataset_id=pl.lit(left),
            right_dataset_id=pl.lit(right),
            compound_key=pl.lit(compound_key),
            compound=_name(compared["compound"], compounds),
            alarms=_alarms(band.alarm_below if band else None),
        )
        parts.append(named.select(list(schema)).cast(schema))
    return pl.concat(parts).sort(SCREEN_AGREEMENT.primary_key)


def beside_bands(agreement: pl.DataFrame) -> pl.DataFrame:
    """Return what was found for ``auc_shared_window`` beside what is usual (``SANITY_BANDS``).

    Args:
        agreement: rows of ``mart/screen_agreement``.

    Returns:
        Rows ``left_dataset_id``, ``right_dataset_id``, ``compound_key``, ``measure``, ``observed``,
        ``usual_low``, ``usual_high`` and ``is_usual`` (null where nothing was found), sorted. Of the pairs of
        screens that have a band ``measure`` is ``pooled_pearson`` and ``median_spearman``; of all pairs
        it is ``share_positive``.
    """
    bands = pl.DataFrame(
        [
            (*pair, measure, *usual)
            for pair, band in SANITY_BANDS.items()
            for measure, usual in (
                ("pooled_pearson", band.pooled_pearson),
                ("median_spearman", band.median_spearman),
            )
        ],
        schema=["left_dataset_id", "right_dataset_id", "measure", "usual_low", "usual_high"],
        orient="row",
    )
    pair = ["left_dataset_id", "right_dataset_id", "compound_key"]
    found = agreement.filter(pl.col("metric") == SHARED_WINDOW)
    pooled, median = (found.filter(scope=scope) for scope in ("pooled", "median_of_compounds"))
    observed = pl.concat(
        part.select(*pair, measure=pl.lit(measure), observed=column)
        for part, column, measure in (
            (pooled, "pearson", "pooled_pearson"),
            (median, "spearman", "median_spearman"),
        )
    ).join(bands, on=["left_dataset_id", "right_dataset_id", "measure"], how="inner")
    signs = median.select(
        *pair,
        measure=pl.lit("share_positive"),
        observed="share_positive",
        usual_low=pl.lit(USUAL_SHARE_POSITIVE),
        usual_high=pl.lit(1.0),
    )
    return (
        pl.concat([observed, signs])
        .with_columns(is_usual=pl.col("observed").is_between("usual_low", "usual_high"))
        .sort(*pair, "measure")
    )


def agreement_account(agreement: pl.DataFrame) -> RowAccount:
    """Return how many values of each scope are given, why the others are not, and the alarms."""
    status = agreement.group_by("scope", "status").len().sort("scope", "status")
    alarms = agreement["alarms"].explode().drop_nulls().value_counts().sort("alarms")
    noted = {f"{scope} {reason}": n for scope, reason, n in status.iter_rows()} | dict(alarms.iter_rows())
    return RowAccount(agreement.height, agreement.height, noted=noted, unit="values")


def _read(curves: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    lazy = curves.lazy()
    schema = lazy.collect_schema()
    for column in CURVE_COLUMNS:
        expected = DOSE_RESPONSE.polars_schema[column]
        if schema.get(column) != expected:
            rule = f"curves need it as {expected}, found {schema.get(column, 'no such column')}"
            raise BadInputError(rule, column=column)
    return lazy.select(CURVE_COLUMNS).collect()


def _resolved(curves: pl.DataFrame, compound_key: str) -> pl.DataFrame:
    """Return the curves whose line and compound are known, with ``context`` and ``compound`` to match by."""
    compound = pl.col("compound_id")
    if compound_key == "skeleton":
        compound = compound.str.replace_all(r"-[A-Z]{10}-[A-Z]\b", "")
    is_unresolved = pl.any_horizontal(pl.col("context_id", "compound_id").str.starts_with("unresolved:"))
    return (
        curves.filter(~is_unresolved)
        .with_columns(compound=compound, context="context_id")
        .drop("context_id", "compound_id")
    )


def _code(values: pl.Series, names: pl.Series) -> pl.Series:
    """Return the place of each value in the sorted names: what is joined and resampled by the thousand."""
    return values.cast(pl.Enum(names)).to_physical().cast(pl.Int64)


def _name(codes: pl.Series, names: pl.Series) -> pl.Series:
    """Return the names at these places, and an empty one where there is no place."""
    return names.gather(codes).fill_null("").alias("compound")


def _by_line_and_compound(curves: pl.DataFrame) -> pl.DataFrame:
    """Return one row per line and compound: the mean of each metric but the shared window, and its curves."""
    has_fit = (pl.col("replicate_level") == "pooled") & (pl.col("model") != "none")
    lowest, highest, flags = pl.col("min_dose_um"), pl.col("max_dose_um"), pl.col("qc_flags")
    ec50, ic50 = pl.col("ec50_um"), pl.col("ic50_um")
    is_plausible = ~flags.list.contains("mean_viability_above_3")
    values = {
        "auc_tested": pl.when(has_fit).then("auc"),
        "auc_global": pl.when(has_fit).then("auc_global"),
        "log10_ic50": pl.when(has_fit & ic50.is_between(lowest, highest)).then(ic50.log10()),
        "log10_ec50": pl.when(has_fit & ec50.is_between(lowest, highest) & ~flags.list.contains("flat")).then(
            ec50.log10()
        ),
        "mean_viability_reported": pl.when(is_plausible).then("mean_viability_reported"),
    }
    return (
        curves.select("context", "compound", **values)
        .group_by("context", "compound")
        .agg(
            *(pl.col(metric).mean() for metric in values),
            *(pl.col(metric).count().alias(f"n_{metric}") for metric in values),
        )
    )


def _windows(curves: pl.DataFrame) -> pl.DataFrame:
    """Return the fitted curves with their tested doses, as log10."""
    is_fitted = (pl.col("replicate_level") == "pooled") & (pl.col("model") == "log_logistic_3")
    return (
        curves.filter(is_fitted)
        .select(
            "context",
            "compound",
            "slope",
            "e_inf",
            low=pl.col("min_dose_um").log10(),
            high=pl.col("max_dose_um").log10(),
            log10_ec50=pl.col("ec50_um").log10(),
        )
        .drop_nulls()
        .with_row_index("curve")
    )


def _shared_pairs(
    left: pl.DataFrame, left_windows: pl.DataFrame, right: pl.DataFrame, right_windows: pl.DataFrame
) -> pl.DataFrame:
    """Return one row per metric and common pair of line and compound.

    Columns: ``metric`` (its place in ``METRICS``), ``context``, ``compound``, ``left``, ``right`` (null
    together), ``n_left``, ``n_right`` (curves behind the value) and ``is_narrow``.
    """
    key = ["context", "compound"]
    common = left.join(right, on=key, how="inner", suffix="_right")
    others = [
        common.select(
            *key,
            metric=pl.lit(place, pl.Int8),
            left=pl.col(metric),
            right=pl.col(f"{metric}_right"),
            n_left=pl.col(f"n_{metric}").cast(pl.Int32),
            n_right=pl.col(f"n_{metric}_right").cast(pl.Int32),
            is_narrow=pl.lit(value=False),
        )
        for place, metric in enumerate(METRICS)
        if metric != SHARED_WINDOW
    ]
    in_window = common.select(key).join(_in_shared_window(left_windows, right_windows), on=key, how="left")
    shared = in_window.select(
        *key,
        metric=pl.lit(METRICS.index(SHARED_WINDOW), pl.Int8),
        left="left",
        right="right",
        n_left=pl.col("n_left").fill_null(0),
        n_right=pl.col("n_right").fill_null(0),
        is_narrow=pl.col("is_narrow").fill_null(value=False),
    )
    is_defined = pl.col("left").is_not_null() & pl.col("right").is_not_null()
    return (
        pl.concat([shared, *others])
        .with_columns(pl.when(is_defined).then(pl.col("left", "right", "n_left", "n_right")))
        .sort("metric", "compound", "context")
    )


def _in_shared_window(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return the mean viability of both fits over the doses that both tested, by line and compound."""
    pairs = left.join(right, on=["context", "compound"], how="inner", suffix="_right").with_columns(
        window_low=pl.max_horizontal("low", "low_right"), window_high=pl.min_horizontal("high", "high_right")
    )
    window = (pairs["window_low"].to_numpy(), pairs["window_high"].to_numpy())
    means = [
        mean_viability(
            *window,
            log10_ec50=pairs[f"log10_ec50{side}"].to_numpy(),
            slope=pairs[f"slope{side}"].to_numpy(),
            e_inf=pairs[f"e_inf{side}"].to_numpy(),
        )
        for side in ("", "_right")
    ]
    # Doses are rounded to three digits: a window of half-log steps may fall short by that rounding.
    is_wide = pl.col("window_high") - pl.col("window_low") >= MIN_WINDOW - 0.005
    return (
        pairs.with_columns(left=pl.Series(means[0]), right=pl.Series(means[1]), is_wide=is_wide)
        .group_by("context", "compound")
        .agg(
            pl.col("left", "right").filter(pl.col("is_wide")).mean(),
            n_left=pl.col("curve").filter(pl.col("is_wide")).n_unique().cast(pl.Int32),
            n_right=pl.col("curve_right").filter(pl.col("is_wide")).n_unique().cast(pl.Int32),
            is_narrow=~pl.col("is_wide").any(),
        )
    )


def _compare_pair(pairs: pl.DataFrame, *, n_resamples: int, seed: int) -> pl.DataFrame:
    """Return the rows of one pair of screens, without its names and alarms."""
    defined = pairs.filter(pl.col("left").is_not_null())
    undefined = pl.col("left").is_null().sum().cast(pl.Int32)
    narrow = pl.col("is_narrow").sum().cast(pl.Int32)
    by_compound = _summarize(defined, ["metric", "compound"]).filter(pl.col("n_pairs") >= MIN_PAIRS)
    compound_rows = by_compound.join(
        pairs.group_by("metric", "compound").agg(n_undefined=undefined, n_narrow_window=narrow),
        on=["metric", "compound"],
    )
    per_metric = pl.DataFrame({"metric": pl.Series(range(len(METRICS)), dtype=pl.Int8)}).join(
        pairs.group_by("metric").agg(n_undefined=undefined, n_narrow_window=narrow), on="metric", how="left"
    )
    centred = _centred(defined)
    scopes = {
        "compound": _with_fisher_intervals(compound_rows),
        "pooled": per_metric.join(_over_all(defined, n_resamples, seed), on="metric", how="left"),
        "centred": per_metric.join(
            _over_all(centred, n_resamples, seed), on="metric", how="left"
        ).with_columns(
            pl.lit(None, pl.Float64).alias(name)
            for name in ("median_left", "median_right", "median_difference")
        ),
        "median_of_compounds": per_metric.join(
            _median_rows(by_compound, defined, n_resamples, seed), on="metric", how="left"
        ),
    }
    rows = pl.concat(
        [part.with_columns(scope=pl.lit(scope)) for scope, part in scopes.items()], how="diagonal"
    ).with_columns(pl.col("^n_.*$").fill_null(0))
    return rows.with_columns(
        metric=pl.col("metric")
        .cast(pl.Int64)
        .replace_strict(dict(enumerate(METRICS)), return_dtype=pl.String),
        interval=_interval_kind(),
        status=_status(),
    )


def _summarize(pairs: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Return correlations, counts and medians of each group of pairs."""
    left, right = pl.col("left"), pl.col("right")
    counts = pairs.group_by(by).agg(
        n_compounds=pl.col("compound").n_unique().cast(pl.Int32),
        n_contexts=pl.col("context").n_unique().cast(pl.Int32),
        n_curves_left=pl.col("n_left").sum(),
        n_curves_right=pl.col("n_right").sum(),
        median_left=left.median(),
        median_right=right.median(),
        median_difference=(left - right).median(),
    )
    sd_ratio = pl.when(pl.col("sd_right") > 0).then(pl.col("sd_left") / pl.col("sd_right"))
    return correlate(pairs, by).join(counts, on=by).with_columns(sd_ratio=sd_ratio)


def _centred(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of compounds with enough lines, less the mean of their compound on both sides."""
    group = ["metric", "compound"]
    return pairs.filter(pl.len().over(group) >= MIN_PAIRS).with_columns(
        # The mean of equal numbers may differ from them by rounding, which would give them ranks.
        pl.when(pl.col(side).min().over(group) < pl.col(side).max().over(group))
        .then(pl.col(side) - pl.col(side).mean().over(group))
        .otherwise(0.0)
        for side in ("left", "right")
    )


def _with_fisher_intervals(rows: pl.DataFrame) -> pl.DataFrame:
    n = rows["n_pairs"].to_numpy()
    ends: dict[str, pl.Series] = {}
    for name, interval in (("pearson", pearson_interval), ("spearman", spearman_interval)):
        low, high = interval(rows[name].fill_null(np.nan).to_numpy(), n)
        ends |= {f"{name}_low": pl.Series(low), f"{name}_high": pl.Series(high)}
    return rows.with_columns(**ends).with_columns(pl.col(list(ends)).fill_nan(None))


def _over_all(pairs: pl.DataFrame, n_resamples: int, seed: int) -> pl.DataFrame:
    """Return one row per metric over all of its pairs, with intervals from resampling compounds."""
    rows = _summarize(pairs, ["metric"])
    return rows.join(_cluster_ends(pairs, rows, n_resamples, seed), on="metric", how="left")


def _cluster_ends(pairs: pl.DataFrame, rows: pl.DataFrame, n_resamples: int, seed: int) -> pl.DataFrame:
    """Return the ends of the intervals of the metrics that have enough compounds and a correlation."""
    fit_for_it = rows.filter((pl.col("n_compounds") >= MIN_CLUSTERS) & pl.col("pearson").is_not_null())
    ends = []
    for metric in fit_for_it["metric"]:
        of_metric = pairs.filter(pl.col("metric") == metric)
        _, cluster = np.unique(of_metric["compound"].to_numpy(), return_inverse=True)
        found = cluster_intervals(
            cluster,
            of_metric["left"].to_numpy(),
            of_metric["right"].to_numpy(),
            n_resamples=n_resamples,
            seed=seed,
        )
        ends.append((metric, *found.pearson, *found.spearman))
    return _ends_frame(ends)


def _median_rows(by_compound: pl.DataFrame, pairs: pl.DataFrame, n_resamples: int, seed: int) -> pl.DataFrame:
    """Return one row per metric: medians over the compounds with enough lines and a correlation."""
    members = by_compound.filter((pl.col("n_pairs") >= MIN_LINES_OF_MEDIAN) & pl.col("pearson").is_not_null())
    behind = pairs.join(members.select("metric", "compound"), on=["metric", "compound"], how="semi")
    has_many = pl.col("n_pairs") >= LINES_OF_SHARE
    rows = (
        members.group_by("metric")
        .agg(
            pl.col("pearson", "spearman", "median_difference").median(),
            pl.col("n_pairs", "n_curves_left", "n_curves_right").sum(),
            n_compounds=pl.len().cast(pl.Int32),
            n_compounds_50=has_many.sum().cast(pl.Int32),
            share_positive=(pl.col("spearman").filter(has_many) > 0).mean(),
        )
        .join(
            behind.group_by("metric").agg(n_contexts=pl.col("context").n_unique().cast(pl.Int32)), on="metric"
        )
    )
    ends = [
        (
            metric,
            *(
                end
                for name in ("pearson", "spearman")
                for end in median_interval(of_metric[name].to_numpy(), n_resamples=n_resamples, seed=seed)
            ),
        )
        for (metric,), of_metric in members.sort("metric", "compound").group_by("metric", maintain_order=True)
        if of_metric.height >= MIN_CLUSTERS
    ]
    return rows.join(_ends_frame(ends), on="metric", how="left")


def _ends_frame(ends: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    names = ("pearson_low", "pearson_high", "spearman_low", "spearman_high")
    schema = {"metric": pl.Int8, **dict.fromkeys(names, pl.Float64)}
    return pl.DataFrame(ends, schema=schema, orient="row").with_columns(pl.col(names).fill_nan(None))


def _interval_kind() -> pl.Expr:
    has_none = pl.col("pearson_low").is_null() & pl.col("spearman_low").is_null()
    return (
        pl.when(has_none)
        .then(pl.lit("none"))
        .when(pl.col("scope") == "compound")
        .then(pl.lit("fisher_z"))
        .otherwise(pl.lit("compound_bootstrap"))
    )


def _status() -> pl.Expr:
    is_median, is_compound = pl.col("scope") == "median_of_compounds", pl.col("scope") == "compound"
    return (
        pl.when(~is_median & (pl.col("n_pairs") < MIN_PAIRS))
        .then(pl.lit("too_few_lines"))
        .when(~is_median & pl.col("pearson").is_null())
        .then(pl.lit("constant"))
        .when(is_compound & (pl.col("n_pairs") == MIN_PAIRS))
        .then(pl.lit("too_few_lines"))
        .when(~is_compound & (pl.col("n_compounds") < MIN_CLUSTERS))
        .then(pl.lit("too_few_compounds"))
        .otherwise(pl.lit("ok"))
    )


def _alarms(alarm_below: float | None) -> pl.Expr:
    """Return the alarms of each row, in the order of ``SCREEN_ALARMS``."""
    scope, metric, pearson = pl.col("scope"), pl.col("metric"), pl.col("pearson")
    is_single = scope.is_in(["compound", "pooled"])
    is_log = metric.is_in(list(LOG_METRICS))
    shift, ratio = pl.col("median_difference").abs(), pl.col("sd_ratio")
    is_shifted = pl.any_horizontal((shift - factor).abs() <= UNIT_TOLERANCE for factor in UNIT_FACTORS)
    is_other_base = pl.any_horizontal((ratio / base - 1).abs() <= BASE_TOLERANCE for base in BASE_RATIOS)
    is_no_fraction = pl.max_horizontal("median_left", "median_right") > FRACTION_BELOW
    # Where compounds are too few to resample, pairs are taken as independent: an alarm may err, not miss.
    by_fisher = (pearson.arctanh() + Z_95 / (pl.col("n_pairs") - 3).sqrt()).tanh()
    highest = pl.coalesce("pearson_high", pl.when(scope != "median_of_compounds").then(by_fisher))
    unit = (is_log & is_shifted) | (~is_log & is_no_fraction)
    base = (scope == "pooled") & is_log & is_other_base & (pearson >= BASE_MIN_PEARSON)
    rules = {
        "unit_mismatch_suspected": (is_single & unit) | base,
        "direction_mixed_suspected": (scope != "compound") & (highest < 0),
        "same_rows_suspected": (scope != "median_of_compounds") & (pearson > SAME_ROWS_ABOVE),
        "below_sanity_band": (scope == "pooled")
        & (metric == SHARED_WINDOW)
        & (pearson < pl.lit(alarm_below, pl.Float64)),
    }
    is_enough = pl.col("n_pairs") >= MIN_ALARM_PAIRS
    return flag_list({alarm: is_enough & rule for alarm, rule in rules.items()})
