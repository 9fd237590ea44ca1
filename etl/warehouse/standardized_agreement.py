"""Agreement of standardized effects, computed from the warehouse on request.

Here: reading what it needs. Not here: how effects are scaled, and the comparisons.
"""

import polars as pl

from etl.agreement.measure import loader, measure
from etl.agreement.standardize import STANDARDIZED_METRICS, standardized
from etl.agreement.summary import summarize
from etl.errors import BadInputError
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import scan
from schemas.mart.agreement_summary import AGREEMENT_SUMMARY
from schemas.mart.condition import CONDITION
from schemas.mart.condition_match import CONDITION_MATCH
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.replicate_agreement import REPLICATE_AGREEMENT
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL
from schemas.mart.retrieval import RETRIEVAL


def standardized_agreement(
    population: str, metric: str | None = None, *, root: str = DEFAULT_ROOT
) -> pl.DataFrame:
    """Return means of agreement, where effects are in units of each gene's spread.

    Args:
        population: what the spread is over: all conditions of the ``dataset``, or those of the ``context``.
        metric: of ``STANDARDIZED_METRICS``; all of them where it is not given.
        root: warehouse root.

    Returns:
        Rows as of ``mart/agreement_summary``, of matches alone.

    Raises:
        BadInputError: there is no such population, or the metric does not depend on the scale, or has no
            meaning on this one.
        PerturbhouseError: the tables have not been written.
    """
    if metric not in (None, *STANDARDIZED_METRICS):
        rule = f"{metric!r} is no metric of standardized effects; those are {', '.join(STANDARDIZED_METRICS)}"
        raise BadInputError(rule)
    matches, conditions = (scan(table, root=root).collect() for table in (CONDITION_MATCH, CONDITION))
    effects = scan(DIFFERENTIAL_EXPRESSION, root=root)
    load = standardized(loader(conditions, effects), effects, population)
    parts = list(measure(matches, conditions, load))
    if not parts:
        return pl.DataFrame(schema=AGREEMENT_SUMMARY.polars_schema)
    agreement, baseline, _ = (pl.concat(rows) for rows in zip(*parts, strict=True))
    wanted = [metric] if metric else list(STANDARDIZED_METRICS)
    summary = summarize(
        matches,
        agreement.filter(pl.col("metric").is_in(wanted)),
        baseline.filter(pl.col("metric").is_in(wanted)),
        RETRIEVAL.empty(),
        REPLICATE_AGREEMENT.empty(),
        REPLICATE_RETRIEVAL.empty(),
    )
    return summary.filter(pl.col("metric").is_in(wanted))
