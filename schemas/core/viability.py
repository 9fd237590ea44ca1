"""Schema of ``core/viability``: the measurements of drug-response screens at their deepest public level."""

import pandera.polars as pa
import polars as pl

from schemas.fields import Rows, compound_id, context_id, dataset_id, dose_um, field, flags_known, time_h
from schemas.table import Table
from schemas.vocabularies import MEASUREMENT_FLAGS


class Viability(Rows):
    """One row per screen measurement: one dose of one compound on one cell line in one experiment."""

    dataset_id: str = dataset_id()
    experiment: str = field("Publisher's experiment or batch; empty where there is only one.")
    replicate: str = field("Publisher's replicate within the experiment; empty where values are averages.")
    plate: str = field("Publisher's plate; empty where none is given.")
    well: str = field("Well, canonical (`A01`); empty where values are averages or no well is given.")
    context_id: str = context_id()
    compound_id: str = compound_id()
    context_reported: str = field("Cell label as reported.")
    compound_reported: str = field("Publisher's compound key.")
    dose_um: pl.Float64 = dose_um()
    time_h: pl.Float64 = time_h(nullable=True)
    viability: pl.Float64 = field(
        "Signal as a fraction of the vehicle control: 1 = untreated; never clipped.",
        metadata={"unit": "fraction"},
    )
    viability_sd: pl.Float64 = field(
        "Standard deviation over wells, same scale.", ge=0, nullable=True, metadata={"unit": "fraction"}
    )
    n_wells: pl.Int32 = field("Wells behind the value, where given.", ge=1, nullable=True)
    growth_rate: pl.Float64 = field(
        "Growth-rate (GR) value as published: 1 = growth of the control, 0 = none, below 0 = death.",
        nullable=True,
    )
    qc_flags: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "What is unusual about the value; empty where nothing is.",
        metadata={"vocabulary": dict(MEASUREMENT_FLAGS)},
    )
    dose_reported: str = field("Dose as reported.")
    dose_unit_reported: str = field("Unit of the dose as reported.")

    @pa.check("qc_flags", name="known_flags")
    def _known_flags(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return flags_known(data, MEASUREMENT_FLAGS)


VIABILITY = Table(
    name="core/viability",
    model=Viability,
    primary_key=(
        "dataset_id",
        "context_reported",
        "compound_reported",
        "experiment",
        "replicate",
        "plate",
        "well",
        "dose_reported",
    ),
    partition_by=("dataset_id",),
    sort_by=("compound_id", "context_id", "experiment", "replicate", "dose_um"),
)
