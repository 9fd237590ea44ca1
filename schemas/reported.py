"""Schemas of what adapters return: the publisher's own values in one vocabulary, nothing resolved.

A source-specific missing marker (`-666`, `NA`, `restricted`) is null here. Doses and times stay text with
their unit, so that the harmonizer alone decides what they mean.
"""

import polars as pl

from schemas.fields import Rows, coded, field
from schemas.vocabularies import REPLICATE_LEVELS, SAMPLE_KINDS


class ReportedCompound(Rows):
    """One row per compound of the dataset."""

    compound_reported: str = field("Publisher's key of the compound.", unique=True)
    name: str = field("Name.", nullable=True)
    smiles: str = field("SMILES.", nullable=True)
    inchikey: str = field("InChIKey.", nullable=True)
    cas: str = field("CAS number.", nullable=True)
    vendor_id: str = field("Catalogue or registry id (BRD, HMSL, Selleck …).", nullable=True)
    pubchem_cid: pl.Int64 = field("PubChem CID.", nullable=True)
    mechanism: str = field("Mechanism of action.", nullable=True)
    targets: str = field("Targets.", nullable=True)


class ReportedContext(Rows):
    """One row per cell label of the dataset."""

    context_reported: str = field("Cell label.", unique=True)
    name: str = field("Name of the cell line where the label is a code.", nullable=True)
    accession: str = field("Cellosaurus or Cell Ontology accession.", nullable=True)
    model_id: str = field(
        "Key in another database: DepMap (`ACH-…`) or Sanger (`SIDM…`) model id, CCLE name, COSMIC id (a "
        "number), LINCS id (`LCL-…`, `LINCS_HMS:…`).",
        nullable=True,
    )
    tissue: str = field("Tissue.", nullable=True)
    species: str = field("Species, binomial or `human`, `mouse`, `rat`; null means human.", nullable=True)


class ReportedGene(Rows):
    """One row per gene or probe, in the order of the value axis."""

    gene_reported: str = field("Publisher's key of the gene or probe.", unique=True)
    symbol: str = field("Symbol.", nullable=True)
    entrez_id: pl.Int64 = field("Entrez gene id.", nullable=True)


class ReportedSample(Rows):
    """One row per well or pseudobulk profile."""

    sample_key: str = field("Publisher's sample key.", unique=True)
    sample_kind: str = coded("What was done to the sample.", SAMPLE_KINDS)
    context_reported: str = field("Cell label; null only out of scope.", nullable=True)
    compound_reported: str = field("Publisher's compound key; null for controls.", nullable=True)
    dose: str = field("Dose.", nullable=True)
    dose_unit: str = field("Unit of the dose.", nullable=True)
    time: str = field("Time.", nullable=True)
    time_unit: str = field("Unit of the time.", nullable=True)
    plate: str = field("Plate; null only out of scope.", nullable=True)
    well: str = field("Well.", nullable=True)
    replicate: str = field("Replicate.", nullable=True)
    batch: str = field("Batch.", nullable=True)
    donor_id: str = field("Donor.", nullable=True)
    vehicle_group: str = field("Vehicle and concentration; empty where there is only one.")
    n_cells: pl.Int32 = field("Cells behind a pseudobulk profile.", nullable=True)
    is_low_quality: bool = field("Whether the publisher marks the sample as failed.")


class ReportedAnnotation(Rows):
    """One row per sample and fact that has no column elsewhere."""

    sample_key: str = field("Publisher's sample key.")
    key: str = field("Publisher's name of the fact.")
    value: str = field("What the publisher says, as text.")


class ReportedMeasurement(Rows):
    """One row per measured dose of a drug-response screen."""

    context_reported: str = field("Cell label.")
    compound_reported: str = field("Publisher's compound key.")
    experiment: str = field("Experiment or batch; empty where there is only one.")
    replicate: str = field("Replicate; empty where values are averages.")
    plate: str = field("Plate; empty where none is given.")
    well: str = field("Well, canonical (`A01`); empty where values are averages or no well is given.")
    dose: str = field("Dose.")
    dose_unit: str = field("Unit of the dose.")
    time: str = field("Assay time.", nullable=True)
    time_unit: str = field("Unit of the time.", nullable=True)
    viability: pl.Float64 = field("Fraction of the vehicle control.")
    viability_sd: pl.Float64 = field("Standard deviation.", nullable=True)
    n_wells: pl.Int32 = field("Wells behind the value.", nullable=True)
    growth_rate: pl.Float64 = field("Growth-rate (GR) value, -1 to 1.", nullable=True)
    is_low_quality: bool = field("Whether the publisher marks the value as failed: kept, but not fitted.")


class ReportedCurve(Rows):
    """One row per published curve; columns as in mart/dose_response without `_reported`."""

    context_reported: str = field("Cell label.")
    compound_reported: str = field("Publisher's compound key.")
    experiment: str = field("Experiment or batch; empty where there is only one.")
    replicate_level: str = coded("What is pooled in the curve.", REPLICATE_LEVELS)
    time: str = field("Assay time.", nullable=True)
    time_unit: str = field("Unit of the time.", nullable=True)
    n_points: pl.Int32 = field("Doses of the curve.", nullable=True)
    min_dose_um: pl.Float64 = field("Lowest tested dose, µM.", nullable=True)
    max_dose_um: pl.Float64 = field("Highest tested dose, µM.", nullable=True)
    ec50_um: pl.Float64 = field("EC50 or GEC50, µM.", nullable=True)
    ic50_um: pl.Float64 = field("IC50, µM.", nullable=True)
    slope: pl.Float64 = field("Hill slope.", nullable=True)
    e_inf: pl.Float64 = field("Viability at infinite dose.", nullable=True)
    e_max: pl.Float64 = field("Viability at the highest dose.", nullable=True)
    auc: pl.Float64 = field("Area or mean viability on the publisher's scale.", nullable=True)
    auc_kind: str = field("What auc is.", nullable=True)
    mean_viability: pl.Float64 = field(
        "auc as a mean viability over the window that auc_kind names: 1 = untreated, low = sensitive.",
        nullable=True,
    )
    gr50_um: pl.Float64 = field("GR50, µM; null where infinite.", nullable=True)
    gr_inf: pl.Float64 = field("GR at infinite dose.", nullable=True)
    gr_max: pl.Float64 = field("GR at the highest dose.", nullable=True)
    gr_aoc: pl.Float64 = field("Area over the GR curve.", nullable=True)
    r_squared: pl.Float64 = field("Coefficient of determination.", nullable=True)
    p_value: pl.Float64 = field("p-value of the fit against a constant.", nullable=True)
    flags: pl.List(pl.String) = field("Flags of RESPONSE_FLAGS that the publisher's values imply.")  # type: ignore[valid-type]
