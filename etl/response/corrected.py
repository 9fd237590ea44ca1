"""Drug × line × response triples of the warehouse: by identity instead of by name, one row per pair.

Beside ``triples``, which repeats the study's rules: here a drug is a compound_id and a line a context_id,
every repetition of a pair is collapsed by a stated rule and counted, and a dose enters as its logarithm.
"""

from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import PerturbhouseError
from etl.response.triples import WITHOUT_VALUE

COLLAPSES: Final = ("mean", "median", "first")
"""How several curves of a pair become one response."""

CORRECTED: Final = pl.Schema(
    {"drug": pl.String, "line": pl.String, "response": pl.Float64, "n_experiments": pl.Int32}
)
"""Columns of ``triples.TRIPLES``, and the number of curves behind a response."""

LOG10 = "log10_"
SUPERSEDED = "pooled curve beside those of the experiments"
COLLAPSED = "collapsed into another curve of the pair"

_REPORTED = ("context_reported", "compound_reported")


def corrected_triples(
    curves: pl.LazyFrame, *, dataset_id: str, metric: str, collapse: str = "mean"
) -> tuple[pl.DataFrame, RowAccount]:
    """Return one response per compound and cell line of a dataset, sorted by both, and the account of curves.

    The curves of single experiments are collapsed; where none of a pair's has the metric, its pooled curve
    stands for them. Curves of replicates are not used. Two reported names of one compound or line are one
    pair. Unresolved compounds and lines stay, under their own ids, and are counted.

    Args:
        curves: rows of ``mart/dose_response``.
        dataset_id: the dataset.
        metric: a column of numbers of that table, such as ``auc`` or ``gr_aoc_reported``; or ``log10_`` and a
            column of doses, such as ``log10_ic50_um``: the logarithm is taken before anything is averaged.
        collapse: one of ``COLLAPSES``; ``first`` is the first in the order of
            reported compound, reported line and experiment.

    Raises:
        PerturbhouseError: no such column of numbers, or no such rule.
    """
    value = _response(metric, curves.collect_schema())
    if collapse not in COLLAPSES:
        raise PerturbhouseError(f"curves are collapsed by mean, median or first, not by {collapse!r}")
    rows = (
        curves.filter(dataset_id=dataset_id)
        .filter(pl.col("replicate_level").is_in(["experiment", "pooled"]))
        .select(*_REPORTED, "compound_id", "context_id", "experiment", "replicate_level", response=value)
        .collect()
    )
    is_experiment = pl.col("replicate_level") == "experiment"
    valued = rows.filter(pl.col("response").is_finite())
    used = valued.filter(is_experiment | ~is_experiment.any().over(_REPORTED))
    pairs = (
        used.sort("compound_reported", "context_reported", "experiment")
        .group_by(drug="compound_id", line="context_id", maintain_order=True)
        .agg(response=getattr(pl.col("response"), collapse)(), n_experiments=pl.len().cast(pl.Int32))
        .sort("drug", "line")
    )
    lost = {
        WITHOUT_VALUE: rows.height - valued.height,
        SUPERSEDED: valued.height - used.height,
        COLLAPSED: used.height - pairs.height,
    }
    noted = {
        "pairs of several curves": pairs.filter(pl.col("n_experiments") > 1).height,
        "pairs of an unresolved compound": _n_unresolved(pairs, "drug"),
        "pairs of an unresolved line": _n_unresolved(pairs, "line"),
    }
    account = RowAccount(
        rows.height,
        pairs.height,
        {reason: n for reason, n in lost.items() if n},
        {remark: n for remark, n in noted.items() if n},
        unit="curves",
    )
    return pairs.match_to_schema(CORRECTED), account


def _response(metric: str, schema: pl.Schema) -> pl.Expr:
    column = metric.removeprefix(LOG10)
    is_logarithm = column != metric
    if not schema.get(column, pl.String()).is_float() or (is_logarithm and "_um" not in column):
        kind = "doses (_um)" if is_logarithm else "numbers"
        raise PerturbhouseError(f"mart/dose_response has no column of {kind} {column!r}")
    return pl.col(column).log10() if is_logarithm else pl.col(column)


def _n_unresolved(pairs: pl.DataFrame, column: str) -> int:
    return pairs.filter(pl.col(column).str.starts_with("unresolved:")).height
