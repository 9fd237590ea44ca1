"""Schema of ``mart/condition_match``: the same treatment of the same context in two datasets."""

import polars as pl

from schemas.fields import Rows, compound_id, condition_id, context_id, dataset_id, dose_um, field, time_h
from schemas.table import Table


class ConditionMatch(Rows):
    """One row per pair of matched conditions; the left dataset is first in alphabetical order."""

    left_condition_id: pl.Int64 = condition_id()
    right_condition_id: pl.Int64 = condition_id()
    left_dataset_id: str = dataset_id()
    right_dataset_id: str = dataset_id()
    context_id: str = context_id()
    compound_id: str = compound_id()
    time_h: pl.Float64 = time_h()
    left_dose_um: pl.Float64 = dose_um()
    right_dose_um: pl.Float64 = dose_um()
    fold: pl.Float64 = field("Larger dose divided by the smaller.", ge=1)
    is_exact: bool = field("Whether both doses are equal.")
    n_compounds: pl.Int32 = field(
        "Compounds that match in the same pair of datasets, context and time; the usual rule asks for 10.",
        ge=1,
    )
    left_n_treated: pl.Int32 = field("Treated samples behind the left condition.", ge=0)
    right_n_treated: pl.Int32 = field("Treated samples behind the right condition.", ge=0)
    rule_version: str = field("Version of the matching rule, see docs/methods/agreement.md.")


CONDITION_MATCH = Table(
    name="mart/condition_match",
    model=ConditionMatch,
    primary_key=("left_condition_id", "right_condition_id"),
    sort_by=("left_dataset_id", "right_dataset_id", "context_id", "compound_id", "left_dose_um"),
)
