"""Schema of ``core/compound_name``: how each reported compound was resolved."""

import polars as pl

from schemas.fields import Rows, coded, compound_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import COMPOUND_METHODS, CONFIDENCES


class CompoundName(Rows):
    """One row per (dataset, reported compound)."""

    dataset_id: str = dataset_id()
    compound_reported: str = field("Publisher's key of the compound, unique in the dataset.")
    name_reported: str = field("Name as reported.", nullable=True)
    smiles_reported: str = field("SMILES as reported.", nullable=True)
    inchikey_reported: str = field("InChIKey as reported.", nullable=True)
    cas_reported: str = field("CAS number as reported.", nullable=True)
    vendor_id_reported: str = field("Catalogue or registry id as reported.", nullable=True)
    pubchem_cid_reported: pl.Int64 = field("PubChem CID as reported.", gt=0, nullable=True)
    mechanism_reported: str = field("Mechanism of action as reported.", nullable=True)
    targets_reported: str = field("Targets as reported.", nullable=True)
    compound_id: str = compound_id()
    method: str = coded("What the resolution rests on.", COMPOUND_METHODS)
    confidence: str = coded("How far to trust it.", CONFIDENCES)
    reason: str = field(
        "Why the compound is unresolved, or what was noticed on the way (structure not parsed, "
        "several candidates).",
        nullable=True,
    )
    parent_smiles: str = field(
        "Canonical SMILES of the standardized parent; null without structure.", nullable=True
    )
    pubchem_cid: pl.Int64 = field("PubChem CID that goes with the resolution.", gt=0, nullable=True)
    candidate_cids: pl.List(pl.Int64) = field("All CIDs PubChem returned for the name, in its order.")  # type: ignore[valid-type]
    is_salt: bool = field("Whether the reported structure has counter-ions or solvent that the parent lacks.")
    is_mixture: bool = field("Whether the reported compound is a combination of several active compounds.")


COMPOUND_NAME = Table(
    name="core/compound_name",
    model=CompoundName,
    primary_key=("dataset_id", "compound_reported"),
    partition_by=("dataset_id",),
    sort_by=("compound_reported",),
)
