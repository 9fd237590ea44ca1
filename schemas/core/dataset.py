"""Schema of ``core/dataset``: what each dataset is and how much of it the warehouse holds."""

import polars as pl

from schemas.fields import Rows, coded, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import ACCESS, ASSAYS, VALUE_SCALES


class Dataset(Rows):
    """One row per dataset."""

    dataset_id: str = dataset_id("Dataset id; the same word in files, code and tables.")
    title: str = field("Title as a person would cite it.")
    assay: str = coded("Assay.", ASSAYS)
    readout: str = field("What is measured, in a phrase.")
    value_scale: str = coded("Scale of the values in core/expression or core/viability.", VALUE_SCALES)
    doi: str = field("DOI of the publication or deposit.", nullable=True)
    url: str = field("Landing page of the publisher.", nullable=True)
    license: str = field("Licence or terms as the publisher states them.")
    is_redistributable: bool = field("Whether the terms allow passing derived rows on.")
    access: str = coded("How the files are obtained.", ACCESS)
    release: str = field("Release or version of the publisher's files.")
    is_simulated: bool = field("Whether the values are simulated by `perturbhouse demo` and not measured.")
    n_samples: pl.Int64 = field(
        "Rows in core/sample; of a screen pairs of compound and cell label; of untreated lines their labels.",
        ge=0,
    )
    n_compounds: pl.Int64 = field("Distinct compounds with at least one treated sample or curve.", ge=0)
    n_contexts: pl.Int64 = field("Distinct contexts.", ge=0)


DATASET = Table(
    name="core/dataset",
    model=Dataset,
    primary_key=("dataset_id",),
    partition_by=("dataset_id",),
    sort_by=("dataset_id",),
)
