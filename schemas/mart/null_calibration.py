"""Schema of ``mart/null_calibration``: are the p-values of a fit unit uniform where nothing was done?"""

import polars as pl

from schemas.fields import Rows, coded, context_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import CALIBRATION_STATUS


class NullCalibration(Rows):
    """One row per fit unit: p-values of vehicle samples held out and tested against the others."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    vehicle_group: str = field("Vehicle group of the fit unit; empty where there is only one.")
    status: str = coded("Whether the test was possible.", CALIBRATION_STATUS)
    n_control: pl.Int32 = field("Vehicle samples of the fit unit.", ge=0)
    n_held_out: pl.Int32 = field("Vehicle samples held out as if they were treated.", ge=0)
    n_conditions: pl.Int32 = field("Null conditions made of them.", ge=0)
    n_tests: pl.Int64 = field("Tests: null conditions times tested genes.", ge=0)
    share_below_0_05: pl.Float64 = field(
        "Share of p-values below 0.05; 0.05 if calibrated.", ge=0, le=1, nullable=True
    )
    share_below_0_001: pl.Float64 = field(
        "Share of p-values below 0.001; 0.001 if calibrated.", ge=0, le=1, nullable=True
    )
    share_significant: pl.Float64 = field(
        "Share of tests with adjusted p-value below 0.05; every one of them is false.",
        ge=0,
        le=1,
        nullable=True,
    )
    inflation: pl.Float64 = field(
        "Median of squared normal scores of the p-values over that of a uniform (0.4549); 1 if calibrated.",
        ge=0,
        nullable=True,
    )
    n_pairs_apart: pl.Int64 = field("Pairs of null conditions without a plate in common.", ge=0)
    agreement_apart: pl.Float64 = field(
        "Mean Spearman correlation of their fold changes over genes; 0 where only chance makes them alike. "
        "Null without such a pair.",
        ge=-1,
        le=1,
        nullable=True,
    )
    agreement_apart_se: pl.Float64 = field(
        "Its standard error, from leaving out one null condition at a time.", ge=0, nullable=True
    )
    agreement_same_plate: pl.Float64 = field(
        "The same mean over pairs with a plate in common: what shared vehicle samples make of nothing.",
        ge=-1,
        le=1,
        nullable=True,
    )
    histogram: pl.List(pl.Int64) = field(  # type: ignore[valid-type]
        "Tests by p-value in 20 bins of equal width, from 0 to 1; empty where there is no test."
    )


NULL_CALIBRATION = Table(
    name="mart/null_calibration",
    model=NullCalibration,
    primary_key=("dataset_id", "context_id", "vehicle_group"),
    partition_by=("dataset_id", "context_id"),
    sort_by=("vehicle_group",),
)
