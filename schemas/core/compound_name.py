"""Schema of ``core/compound_name``: how each reported compound was resolved."""

import polars as pl

from schemas.fields import Rows, coded, compound_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import COMPOUND_KINDS, COMPOUND_METHODS, CONFIDENCES


class CompoundName(Rows):
    """One row per (dataset, reported compound)."""

    dataset_id: str = dataset_id()
    compound_reported: str = field("Publisher's key of the compound, unique in the dataset.")
    name_reported: str = field("Name as reported.", nullable=True)
    smiles_reported: str = field("SMILES as reported.", nullable=True)
    inchikey_reported: str = field("InChIKey as reported.", nullable=True)
    cas_reported: str = field("CAS number as reported.", nullable=True)
    vendor_id_reported: str = field("Catalogue or registry id as reported.", nullable=True)
    pubchem_cid_reported: pl.Int64 = field("PubChem CID as reported.", nullable=True)
    mechanism_reported: str = field("Mechanism of action as reported.", nullable=True)
    targets_reported: str = field("Targets as reported.", nullable=True)
    compound_id: str = compound_id()
    kind: str = coded("What kind of substance it is.", COMPOUND_KINDS)
    method: str = coded(
        "What the resolution rests on: the strongest evidence that decides.", COMPOUND_METHODS
    )
    origin: str = field(
        "Reference that gave the structure: a file of the reference folder, PubChem, or `overrides.csv`; "
        "null where the publisher did.",
        nullable=True,
    )
    rule: str = field("How it was chosen among several candidates; null where there was one.", nullable=True)
    confidence: str = coded("How far to trust it.", CONFIDENCES)
    reason: str = field(
        "Why the compound is unresolved, or what was noticed on the way (structure not parsed, PubChem not "
        "asked).",
        nullable=True,
    )
    agreeing: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "Other evidence that leads to the same skeleton, strongest first."
    )
    conflicts: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "Other evidence that leads to another molecule, with what it says."
    )
    candidates: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "Every compound id that the deciding evidence, or for an unresolved compound any, proposes; sorted."
    )
    candidate_cids: pl.List(pl.Int64) = field(  # type: ignore[valid-type]
        "PubChem CIDs of these proposals, in PubChem's order where it was asked."
    )
    parent_smiles: str = field(
        "Canonical SMILES of the standardized parent; null without structure.", nullable=True
    )
    pubchem_cid: pl.Int64 = field("PubChem CID that goes with the resolution.", gt=0, nullable=True)
    is_salt: bool = field("Whether the reported structure has counter-ions or solvent that the parent lacks.")
    is_mixture: bool = field("Whether the reported compound is a combination of several active compounds.")
    has_isotopes: bool = field("Whether the parent carries isotope labels, such as deuterium.")
    has_undefined_stereo: bool = field("Whether the parent leaves a stereocentre or double bond open.")


COMPOUND_NAME = Table(
    name="core/compound_name",
    model=CompoundName,
    primary_key=("dataset_id", "compound_reported"),
    partition_by=("dataset_id",),
    sort_by=("compound_reported",),
)
