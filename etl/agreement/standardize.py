"""Effects of each gene in units of its own spread: (log2 fold change - mean) / SD over a population.

Assays differ in the size of effects, and some genes answer to everything; on this scale no gene counts more
than another. Here: the populations, and the scaled effects. Not here: comparisons.

The population is all conditions of a compound in a dataset, or in one context of it. t and significance stay
as they are: what is significant was tested, not scaled. Signs change, for the mean is subtracted, so that
``direction_agreement`` of scaled effects means nothing. Nor do centroids where conditions with one dose and
time are the whole population: values of a gene then sum to zero, and the mean of all others is the mirror
image of the condition itself.
"""

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.agreement.context_pairs import ContextData, Load
from etl.agreement.profiles import Profiles
from etl.agreement.similarity import METRICS
from etl.arrays import FloatArray
from etl.errors import BadInputError

POPULATIONS: Final = ("dataset", "context")
STANDARDIZED_METRICS: Final = (
    *(metric for metric in METRICS if metric.endswith("_fold_change")),
    "spearman_significant",
)
"""Metrics that depend on the scale of effects, and not on their signs."""


class Spread(NamedTuple):
    """Mean and standard deviation (n in the denominator) of genes, which is NaN for one that does not vary.

    Args:
        gene_ids: ascending; shape (genes,).
        mean: of log2 fold changes.
        sd: likewise.
    """

    gene_ids: NDArray[np.int32]
    mean: FloatArray
    sd: FloatArray


def standardized(load: Load, effects: pl.LazyFrame, population: str) -> Load:
    """Return what reads one context of a dataset with standardized effects.

    A gene that has one value throughout, or no other, is not measured then.

    Args:
        load: reads one context with effects as they are.
        effects: rows of ``mart/differential_expression``, which are of treated conditions alone; the spread
            over a dataset is computed from them.
        population: ``dataset``: all its conditions; ``context``: those of the context.

    Raises:
        BadInputError: there is no such population.
    """
    if population not in POPULATIONS:
        rule = f"no population {population!r}; there are {', '.join(POPULATIONS)}"
        raise BadInputError(rule)

    @cache
    def spread_of(dataset_id: str) -> Spread:
        return _spread(effects.filter(pl.col("dataset_id") == dataset_id))

    def load_standardized(dataset_id: str, context_id: str) -> ContextData:
        data = load(dataset_id, context_id)
        spread = spread_of(dataset_id) if population == "dataset" else _spread_of_profiles(data.profiles)
        return ContextData(data.conditions, _scaled(data.profiles, spread))

    return load_standardized


def _spread(effects: pl.LazyFrame) -> Spread:
    value = pl.col("log2_fold_change").cast(pl.Float64)
    rows = (
        effects.select("gene_id", "log2_fold_change")
        .filter(pl.col("log2_fold_change").is_finite())
        .group_by("gene_id")
        .agg(mean=value.mean(), sd=value.std(ddof=0), varies=value.min() < value.max())
        .sort("gene_id")
        .collect()
    )
    sd = rows.select(pl.when("varies").then("sd"))["sd"].fill_null(np.nan)
    return Spread(rows["gene_id"].to_numpy(), rows["mean"].to_numpy(), sd.to_numpy())


def _spread_of_profiles(profiles: Profiles) -> Spread:
    values = profiles.log2_fold_change
    n = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0, dtype=np.float64) / n
        sd = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / n)
    varies = np.fmin.reduce(values, axis=0) < np.fmax.reduce(values, axis=0)
    return Spread(profiles.gene_ids, mean, np.where(varies, sd, np.nan))


def _scaled(profiles: Profiles, spread: Spread) -> Profiles:
    at = np.minimum(np.searchsorted(spread.gene_ids, profiles.gene_ids), len(spread.gene_ids) - 1)
    mean, sd = np.full((2, len(profiles.gene_ids)), np.nan)
    is_there = spread.gene_ids[at] == profiles.gene_ids if len(spread.gene_ids) else np.zeros(len(at), bool)
    mean[is_there], sd[is_there] = spread.mean[at[is_there]], spread.sd[at[is_there]]
    effect = ((profiles.log2_fold_change - mean) / sd).astype(np.float32)
    return Profiles(
        profiles.row_ids,
        profiles.gene_ids,
        effect,
        profiles.t,
        profiles.is_significant & np.isfinite(effect),
    )
