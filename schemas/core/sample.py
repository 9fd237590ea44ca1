"""Schema of ``core/sample``: the wells and pseudobulk profiles of the transcriptomic datasets."""

import pandera.polars as pa
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
    flags_known,
    sample_id,
    time_h,
)
from schemas.table import Table
from schemas.vocabularies import ASSAYS, CONTROL_KINDS, SAMPLE_FLAGS, SAMPLE_KINDS


class Sample(Rows):
    """One row per well or pseudobulk profile."""

    sample_id: pl.Int64 = sample_id()
    sample_key: str = field("Publisher's sample key, unique in the dataset.")
    dataset_id: str = dataset_id()
    assay: str = coded("Assay.", ASSAYS)
    context_id: str = context_id()
    compound_id: str = compound_id(nullable=True, note=" Null for controls.")
    condition_id: pl.Int64 = condition_id(
        nullable=True,
        note=" Null for controls, and for treated samples without usable dose or time (see qc_flags).",
    )
    sample_kind: str = coded("What was done to the sample.", SAMPLE_KINDS)
    is_control: bool = field("Whether no compound was added.")
    control_kind: str = coded("Kind of control; null for treated samples.", CONTROL_KINDS, nullable=True)
    dose_um: pl.Float64 = dose_um(nullable=True, note=" Null for controls and where unknown.")
    time_h: pl.Float64 = time_h(nullable=True)
    plate: str = field("Plate, the block of the effects' design.")
    well: str = field("Well as row letters and two-digit column, `A01`.", nullable=True)
    replicate: str = field("Replicate label of the publisher.", nullable=True)
    batch: str = field("Batch of the publisher.", nullable=True)
    donor_id: str = field("Donor of primary cells.", nullable=True)
    vehicle_group: str = field(
        "Vehicle and concentration that treated samples and controls share; empty where there is only one."
    )
    n_cells: pl.Int32 = field("Cells behind a pseudobulk profile.", ge=0, nullable=True)
    total_counts: pl.Int64 = field("Sum of raw counts; null for normalized data.", ge=0, nullable=True)
    n_genes: pl.Int32 = field("Genes with a count above zero; null for normalized data.", ge=0, nullable=True)
    qc_flags: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "What is unusual about the sample; empty where nothing is.",
        metadata={"vocabulary": dict(SAMPLE_FLAGS)},
    )
    context_reported: str = field("Cell label as reported.")
    compound_reported: str = field("Publisher's compound key; null for controls.", nullable=True)
    dose_reported: str = field("Dose as reported.", nullable=True)
    dose_unit_reported: str = field("Unit of the dose as reported.", nullable=True)
    time_reported: str = field("Time as reported.", nullable=True)
    time_unit_reported: str = field("Unit of the time as reported.", nullable=True)

    @pa.check("qc_flags", name="known_flags")
    def _known_flags(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return flags_known(data, SAMPLE_FLAGS)

    @pa.dataframe_check(name="controls_have_no_compound_and_no_dose")
    def _controls_are_bare(cls, data: pa.PolarsData) -> pl.LazyFrame:
        bare = (
            pl.col("compound_id").is_null()
            & pl.col("dose_um").is_null()
            & pl.col("control_kind").is_not_null()
        )
        treated = pl.col("compound_id").is_not_null() & pl.col("control_kind").is_null()
        return data.lazyframe.select(pl.when("is_control").then(bare).otherwise(treated))


SAMPLE = Table(
    name="core/sample",
    model=Sample,
    primary_key=("sample_id",),
    partition_by=("dataset_id",),
    sort_by=("context_id", "compound_id", "dose_um", "time_h", "sample_key"),
)
