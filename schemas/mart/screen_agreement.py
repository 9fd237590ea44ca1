"""Schema of ``mart/screen_agreement``: how far two drug-response screens say the same."""

import pandera.polars as pa
import polars as pl

from schemas.fields import Rows, coded, dataset_id, field, flags_known
from schemas.table import Table
from schemas.vocabularies import (
    COMPOUND_KEYS,
    CORRELATION_INTERVALS,
    SCREEN_AGREEMENT_STATUS,
    SCREEN_ALARMS,
    SCREEN_METRICS,
    SCREEN_SCOPES,
)


class ScreenAgreement(Rows):
    """One row per (pair of screens, compound key, metric, scope, compound of the scope `compound`)."""

    left_dataset_id: str = dataset_id("First of the two screens in alphabetical order.")
    right_dataset_id: str = dataset_id("Second of the two screens.")
    compound_key: str = coded("What makes two compounds one.", COMPOUND_KEYS)
    metric: str = coded("Metric that is compared.", SCREEN_METRICS)
    scope: str = coded("What the correlation runs over.", SCREEN_SCOPES)
    compound: str = field(
        "Compound by its compound key (with `parent` the compound_id); empty in the other scopes."
    )
    n_compounds: pl.Int32 = field("Compounds behind the value.", ge=0)
    n_contexts: pl.Int32 = field("Cell lines behind the value.", ge=0)
    n_pairs: pl.Int32 = field("Pairs of a line and a compound behind the value.", ge=0)
    n_curves_left: pl.Int32 = field(
        "Curves of the left screen behind these pairs; more than pairs where a pair was tested repeatedly.",
        ge=0,
    )
    n_curves_right: pl.Int32 = field("Curves of the right screen behind these pairs.", ge=0)
    n_undefined: pl.Int32 = field(
        "Pairs that both screens tested, but without the metric on one side or both.", ge=0
    )
    n_narrow_window: pl.Int32 = field(
        "Those of n_undefined that are fitted on both sides, but share less than half a decade of doses.",
        ge=0,
    )
    pearson: pl.Float64 = field("Pearson correlation; null where undefined.", ge=-1, le=1, nullable=True)
    pearson_low: pl.Float64 = field(
        "Lower end of its 95 % confidence interval; null where none can be given.", ge=-1, le=1, nullable=True
    )
    pearson_high: pl.Float64 = field("Upper end of that interval.", ge=-1, le=1, nullable=True)
    spearman: pl.Float64 = field("Spearman correlation; null where undefined.", ge=-1, le=1, nullable=True)
    spearman_low: pl.Float64 = field(
        "Lower end of its 95 % confidence interval; null where none can be given.", ge=-1, le=1, nullable=True
    )
    spearman_high: pl.Float64 = field("Upper end of that interval.", ge=-1, le=1, nullable=True)
    interval: str = coded("How the intervals were made.", CORRELATION_INTERVALS)
    share_positive: pl.Float64 = field(
        "Share of the compounds with at least 50 lines whose Spearman correlation is positive; scope "
        "median_of_compounds only.",
        ge=0,
        le=1,
        nullable=True,
    )
    n_compounds_50: pl.Int32 = field("Compounds with at least 50 lines behind that share.", ge=0)
    median_left: pl.Float64 = field(
        "Median of the left values, in the unit of the metric; not given in the scopes centred and "
        "median_of_compounds.",
        nullable=True,
    )
    median_right: pl.Float64 = field("Median of the right values.", nullable=True)
    median_difference: pl.Float64 = field(
        "Median of left minus right over pairs; over the compounds' medians in the scope "
        "median_of_compounds; null in the scope centred.",
        nullable=True,
    )
    sd_ratio: pl.Float64 = field(
        "Standard deviation of the left values over that of the right: slope of the reduced major axis.",
        ge=0,
        nullable=True,
    )
    status: str = coded("Whether everything is given, or why not.", SCREEN_AGREEMENT_STATUS)
    alarms: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "What a person should look at before using the two screens together; empty where nothing is.",
        metadata={"vocabulary": dict(SCREEN_ALARMS)},
    )

    @pa.check("alarms", name="known_alarms")
    def _known_alarms(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return flags_known(data, SCREEN_ALARMS)

    @pa.dataframe_check(name="compound_scope_names_its_compound")
    def _compound_scope_names_its_compound(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.col("scope") == "compound") == (pl.col("compound") != ""))


SCREEN_AGREEMENT = Table(
    name="mart/screen_agreement",
    model=ScreenAgreement,
    primary_key=("left_dataset_id", "right_dataset_id", "compound_key", "metric", "scope", "compound"),
    sort_by=("left_dataset_id", "right_dataset_id", "compound_key", "metric", "scope", "compound"),
)
