"""Drug × line × response triples exactly as Herbert et al. build them, with the count of every step.

Their rules, faults included, so that their numbers can be reproduced and compared with. For triples to train
a model with there is ``corrected``. Steps:

0. ``read``: the publisher's rows;
1. ``triples``: rows with a finite response. CTRPv2: of several experiments of a line and a drug the last row
   of the file wins, for EC50 after rows outside -20 to 20 have been left out. GDSC2: every row stays. gCSI:
   every experiment stays as a row of its own; GR50 becomes its natural logarithm;
2. ``models``: the line's name without ``-``, in upper case, is a ``StrippedCellLineName`` of ``Model.csv``;
3. ``drug_list``: the drug's name is in a list, compared exactly (theirs: drugs with a fingerprint);
4. the genes of the expression table, which touches no triple (``study_names.shared_genes``);
5. ``lines``: the model is in the expression table.

How names are compared belongs to ``study_names``, reading to ``study_files``, counts to ``study_counts``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import PerturbhouseError
from etl.response.study_counts import STUDY_COUNTS, StudyCount
from etl.response.study_files import read_responses
from etl.response.study_names import line_key, model_of_name

TRIPLES: Final = pl.Schema({"drug": pl.String, "line": pl.String, "response": pl.Float64})
"""Columns of the triples; a line is a DepMap model id."""

MANIFEST: Final = pl.Schema(
    {
        "dataset_id": pl.String,
        "metric": pl.String,
        "step": pl.String,
        "n_rows": pl.Int64,
        "n_dropped": pl.Int64,
        "dropped": pl.String,
        "n_rows_study": pl.Int64,
        "needs": pl.String,
        "status": pl.String,
    }
)
"""Columns of the count manifest; the last three are of ``STUDY_COUNTS``, null where it has no count."""

WITHOUT_VALUE = "no finite response"
OUTSIDE = "response outside -20 to 20"
OVERWRITTEN = "overwritten by a later row of the same line and drug"
NO_MODEL = "name of the line in no StrippedCellLineName"
NOT_LISTED = "drug not in the list"
NO_EXPRESSION = "line not in the expression table"


@dataclass(frozen=True, slots=True)
class Metric:
    """One response that the study trains on.

    Args:
        column: the publisher's column.
        bounds: values outside are left out before any overwriting; None for no bounds.
        is_last_row_kept: whether the last row of a line and drug overwrites the others.
        is_logarithm: whether the natural logarithm of the column is the response.
    """

    column: str
    bounds: tuple[float, float] | None = None
    is_last_row_kept: bool = False
    is_logarithm: bool = False


METRICS: Final = {
    ("ctrpv2", "AUC"): Metric("area_under_curve", is_last_row_kept=True),
    ("ctrpv2", "EC50"): Metric("apparent_ec50_umol", bounds=(-20, 20), is_last_row_kept=True),
    ("gdsc2", "AUC"): Metric("AUC"),
    ("gdsc2", "LN_IC50"): Metric("LN_IC50"),
    ("gcsi", "GR_AOC"): Metric("GR_AOC"),
    ("gcsi", "GRmax"): Metric("GRmax"),
    ("gcsi", "GRinf"): Metric("GRinf"),
    ("gcsi", "GR_05uM_fit"): Metric("GR_05uM_fit"),
    ("gcsi", "GR50"): Metric("GR50", is_logarithm=True),
    ("gcsi", "Emax"): Metric("Emax"),
}
"""The study's responses by dataset and name; the study calls LN_IC50 ``EC50``."""


@dataclass(frozen=True, slots=True)
class StudyTriples:
    """Triples and how many rows each step left.

    Args:
        dataset_id: the dataset.
        metric: of ``METRICS``.
        rows: ``TRIPLES``, in file order.
        accounts: rows in and out by step, in their order.
    """

    dataset_id: str
    metric: str
    rows: pl.DataFrame
    accounts: dict[str, RowAccount]

    @property
    def manifest(self) -> pl.DataFrame:
        """Rows after each step beside the study's count (``MANIFEST``)."""
        study: dict[str, StudyCount] = {
            count.step: count
            for count in STUDY_COUNTS
            if (count.dataset_id, count.metric) == (self.dataset_id, self.metric)
        }
        rows = []
        for step, account in self.accounts.items():
            count = study.get(step)
            reasons = "; ".join(f"{reason}: {n}" for reason, n in account.dropped.items())
            rows.append(
                {
                    "dataset_id": self.dataset_id,
                    "metric": self.metric,
                    "step": step,
                    "n_rows": account.n_out,
                    "n_dropped": account.n_in - account.n_out,
                    "dropped": reasons or None,
                    "n_rows_study": count and count.n_rows,
                    "needs": count and count.needs,
                    "status": count and count.status,
                }
            )
        return pl.DataFrame(rows, schema=MANIFEST)


def study_triples(
    dataset_id: str,
    metric: str,
    raw: Path,
    *,
    models: Path,
    drugs: Collection[str] | None = None,
    lines: Collection[str] | None = None,
) -> StudyTriples:
    """Return the study's triples of one dataset and metric.

    Args:
        dataset_id: ``ctrpv2``, ``gdsc2`` or ``gcsi``.
        metric: one of ``METRICS`` of the dataset.
        raw: the dataset's raw folder.
        models: DepMap's ``Model.csv``; the counts depend on its release.
        drugs: names to keep (step 3); None leaves the step out.
        lines: model ids of the expression table (step 5); None leaves the step out. The study's table of
            cancer types, the other condition of this step, is made of ``Model.csv`` and so drops no line.

    Raises:
        BadInputError: as ``study_files.read_responses`` and ``study_names.model_of_name``.
        PerturbhouseError: the study has no such metric.
    """
    rule = METRICS.get((dataset_id, metric))
    if rule is None:
        known = ", ".join(f"{dataset} {name}" for dataset, name in METRICS)
        raise PerturbhouseError(f"the study has no metric {metric!r} of {dataset_id!r}, but {known}")
    read = read_responses(dataset_id, rule.column, raw)
    accounts = {"read": RowAccount(read.height, read.height)}
    rows, accounts["triples"] = _first_step(read, rule)
    mapped = rows.with_columns(
        line=line_key(pl.col("line")).replace_strict(
            model_of_name(models), default=None, return_dtype=pl.String
        )
    ).drop_nulls("line")
    accounts["models"] = _account(rows, mapped, NO_MODEL)
    for step, column, kept, reason in (
        ("drug_list", "drug", drugs, NOT_LISTED),
        ("lines", "line", lines, NO_EXPRESSION),
    ):
        if kept is not None:
            before, wanted = mapped, pl.Series(sorted(kept), dtype=pl.String)
            mapped = mapped.filter(pl.col(column).is_in(wanted.implode()))
            accounts[step] = _account(before, mapped, reason)
    return StudyTriples(dataset_id, metric, mapped.select(TRIPLES.names()), accounts)


def _first_step(read: pl.DataFrame, rule: Metric) -> tuple[pl.DataFrame, RowAccount]:
    response = pl.col("response").log() if rule.is_logarithm else pl.col("response")
    finite = read.with_columns(response).filter(pl.col("response").is_finite())
    within = finite if rule.bounds is None else finite.filter(pl.col("response").is_between(*rule.bounds))
    rows = within
    if rule.is_last_row_kept:
        rows = within.unique(["line", "drug"], keep="last", maintain_order=True)
    lost = {
        WITHOUT_VALUE: read.height - finite.height,
        OUTSIDE: finite.height - within.height,
        OVERWRITTEN: within.height - rows.height,
    }
    return rows, RowAccount(read.height, rows.height, {reason: n for reason, n in lost.items() if n})


def _account(before: pl.DataFrame, after: pl.DataFrame, reason: str) -> RowAccount:
    n_lost = before.height - after.height
    return RowAccount(before.height, after.height, {reason: n_lost} if n_lost else {})
