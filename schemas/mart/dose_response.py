"""Schema of ``mart/dose_response``: one dose-response curve, refitted and as published."""

import pandera.polars as pa
import polars as pl

from schemas.fields import Rows, coded, compound_id, context_id, dataset_id, field, flags_known, time_h
from schemas.table import Table
from schemas.vocabularies import DOSE_RESPONSE_MODELS, REPLICATE_LEVELS, RESPONSE_FLAGS

UM = {"unit": "µM"}


class DoseResponse(Rows):
    """One row per curve: a compound on a cell label, at one level of replication."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    compound_id: str = compound_id()
    context_reported: str = field("Cell label as reported.")
    compound_reported: str = field("Publisher's compound key.")
    experiment: str = field("Publisher's experiment or batch; empty where there is only one.")
    replicate: str = field("Publisher's replicate; empty where several are fitted together.")
    replicate_level: str = coded("What is fitted together in the curve.", REPLICATE_LEVELS)
    time_h: pl.Float64 = time_h(nullable=True)
    n_points: pl.Int32 = field(
        "Doses with a finite value; as published where points are not public.", ge=0, nullable=True
    )
    n_values: pl.Int32 = field("Finite values behind the fit.", ge=0, nullable=True)
    min_dose_um: pl.Float64 = field("Lowest tested dose.", gt=0, nullable=True, metadata=UM)
    max_dose_um: pl.Float64 = field("Highest tested dose.", gt=0, nullable=True, metadata=UM)
    model: str = coded("Fitted model.", DOSE_RESPONSE_MODELS)
    ec50_um: pl.Float64 = field("Fitted dose of half the fitted drop.", gt=0, nullable=True, metadata=UM)
    ec50_low_um: pl.Float64 = field(
        "Lower end of the 95 % confidence interval of ec50_um; null where it cannot be given.",
        ge=0,
        nullable=True,
        metadata=UM,
    )
    ec50_high_um: pl.Float64 = field("Upper end of that interval.", gt=0, nullable=True, metadata=UM)
    slope: pl.Float64 = field("Fitted Hill slope, positive for falling curves.", ge=0, nullable=True)
    e_inf: pl.Float64 = field("Fitted viability at infinite dose.", nullable=True)
    e_max: pl.Float64 = field("Observed viability at the highest tested dose.", nullable=True)
    ic50_um: pl.Float64 = field(
        "Dose at which the fitted curve crosses viability 0.5; null where it does not.",
        gt=0,
        nullable=True,
        metadata=UM,
    )
    ic50_low_um: pl.Float64 = field(
        "Lower end of the 95 % confidence interval of ic50_um; null where it cannot be given.",
        ge=0,
        nullable=True,
        metadata=UM,
    )
    ic50_high_um: pl.Float64 = field("Upper end of that interval.", gt=0, nullable=True, metadata=UM)
    auc: pl.Float64 = field(
        "Mean fitted viability over log dose between auc_min_dose_um and auc_max_dose_um: low = sensitive.",
        nullable=True,
        metadata={"unit": "fraction"},
    )
    auc_min_dose_um: pl.Float64 = field("Lower end of the AUC window.", gt=0, nullable=True, metadata=UM)
    auc_max_dose_um: pl.Float64 = field("Upper end of the AUC window.", gt=0, nullable=True, metadata=UM)
    auc_global: pl.Float64 = field(
        "The same mean between 0.0001 and 100 µM, one window for all screens; extrapolated beyond the doses.",
        nullable=True,
        metadata={"unit": "fraction"},
    )
    r_squared: pl.Float64 = field("Coefficient of determination of the fit.", le=1, nullable=True)
    rmse: pl.Float64 = field("Root mean squared error of the fit.", ge=0, nullable=True)
    f_statistic: pl.Float64 = field("F of the curve against a constant.", ge=0, nullable=True)
    p_value: pl.Float64 = field("p-value of that F.", ge=0, le=1, nullable=True)
    gr50_um: pl.Float64 = field(
        "Dose at which the fitted growth-rate curve crosses 0.5; null where it does not.",
        gt=0,
        nullable=True,
        metadata=UM,
    )
    gec50_um: pl.Float64 = field(
        "Dose of half the fitted drop of the growth rate.", gt=0, nullable=True, metadata=UM
    )
    gr_slope: pl.Float64 = field("Hill slope of the growth-rate curve.", ge=0, nullable=True)
    gr_inf: pl.Float64 = field("Fitted growth rate at infinite dose.", nullable=True)
    gr_max: pl.Float64 = field(
        "Observed growth rate at the top: the lower of the means at the two highest doses.", nullable=True
    )
    gr_aoc: pl.Float64 = field(
        "Mean of 1 - growth rate over the tested log doses, by trapezoids: high = sensitive.", nullable=True
    )
    qc_flags: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "What to know before using the row; empty where nothing is.",
        metadata={"vocabulary": dict(RESPONSE_FLAGS)},
    )
    ec50_um_reported: pl.Float64 = field(
        "Published EC50 (GEC50 for growth rates).", ge=0, nullable=True, metadata=UM
    )
    ic50_um_reported: pl.Float64 = field("Published IC50.", gt=0, nullable=True, metadata=UM)
    slope_reported: pl.Float64 = field("Published Hill slope.", nullable=True)
    e_inf_reported: pl.Float64 = field("Published viability at infinite dose.", nullable=True)
    e_max_reported: pl.Float64 = field("Published viability at the highest dose.", nullable=True)
    auc_reported: pl.Float64 = field(
        "Published area or mean viability, on the publisher's own scale.", nullable=True
    )
    auc_kind_reported: str = field("What auc_reported is, with its direction.", nullable=True)
    mean_viability_reported: pl.Float64 = field(
        "auc_reported as a mean viability over its own window: 1 = untreated, low = sensitive.",
        nullable=True,
        metadata={"unit": "fraction"},
    )
    gr50_um_reported: pl.Float64 = field(
        "Published GR50; null where infinite (flat).", gt=0, nullable=True, metadata=UM
    )
    gr_inf_reported: pl.Float64 = field("Published growth-rate value at infinite dose.", nullable=True)
    gr_max_reported: pl.Float64 = field("Published growth-rate value at the highest dose.", nullable=True)
    gr_aoc_reported: pl.Float64 = field(
        "Published area over the growth-rate curve: high = sensitive.", nullable=True
    )
    r_squared_reported: pl.Float64 = field("Published coefficient of determination.", nullable=True)
    p_value_reported: pl.Float64 = field(
        "Published p-value of the fit against a constant.", ge=0, le=1, nullable=True
    )

    @pa.check("qc_flags", name="known_flags")
    def _known_flags(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return flags_known(data, RESPONSE_FLAGS)


DOSE_RESPONSE = Table(
    name="mart/dose_response",
    model=DoseResponse,
    primary_key=(
        "dataset_id",
        "context_reported",
        "compound_reported",
        "experiment",
        "replicate",
        "replicate_level",
    ),
    partition_by=("dataset_id",),
    sort_by=("compound_id", "context_id", "experiment", "replicate"),
)
