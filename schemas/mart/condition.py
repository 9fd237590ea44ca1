"""Schema of ``mart/condition``: what was compared with what, and whether the effect can be estimated."""

import polars as pl

from schemas.fields import (
    Rows,
    coded,
    compound_id,
    condition_id,
    context_id,
    dataset_id,
    dose_um,
    field,
    time_h,
)
from schemas.table import Table
from schemas.vocabularies import CONTROL_SCOPES, ESTIMABILITY


class Condition(Rows):
    """One row per condition: context × compound × dose × time × vehicle group in a dataset."""

    condition_id: pl.Int64 = condition_id()
    dataset_id: str = dataset_id()
    context_id: str = context_id()
    compound_id: str = compound_id()
    dose_um: pl.Float64 = dose_um()
    time_h: pl.Float64 = time_h()
    vehicle_group: str = field("Vehicle group shared with the controls; empty where there is only one.")
    n_treated: pl.Int32 = field("Treated samples in the fit.", ge=0)
    n_control: pl.Int32 = field("Vehicle samples of the same context, time and vehicle group.", ge=0)
    n_plates: pl.Int32 = field("Plates the treated samples are on.", ge=0)
    is_estimable: bool = field("Whether mart/differential_expression holds the condition's effects.")
    status: str = coded("Estimable, or why not.", ESTIMABILITY)
    reason: str = field("Why there is no effect, in words; null where estimable.", nullable=True)
    control_scope: str = coded(
        "How the vehicle samples are reached; null where not estimable.", CONTROL_SCOPES, nullable=True
    )
    residual_df: pl.Float64 = field("Residual degrees of freedom of the fit unit.", ge=0)
    prior_df: pl.Float64 = field(
        "Prior degrees of freedom of the moderated variance (median over genes); null where infinite or "
        "not fitted.",
        ge=0,
        nullable=True,
    )
    n_genes_tested: pl.Int32 = field("Genes with an effect.", ge=0)
    n_genes_significant: pl.Int32 = field("Genes with adjusted p-value below 0.05.", ge=0)
    p_value_cutoff: pl.Float32 = field(
        "Largest p-value that is significant at a false discovery rate of 0.05 over all conditions and "
        "genes of the fit unit together; null where none is.",
        ge=0,
        le=1,
        nullable=True,
    )
    n_genes_significant_unit: pl.Int32 = field(
        "Genes with a p-value up to p_value_cutoff: significant over the whole fit unit.", ge=0
    )


CONDITION = Table(
    name="mart/condition",
    model=Condition,
    primary_key=("condition_id",),
    partition_by=("dataset_id", "context_id"),
    sort_by=("compound_id", "dose_um", "time_h"),
)
