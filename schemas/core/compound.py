"""Schema of ``core/compound``: the compounds of all datasets."""

import polars as pl

from schemas.fields import Rows, coded, compound_id, field
from schemas.table import Table
from schemas.vocabularies import COMPOUND_KINDS


class Compound(Rows):
    """One row per parent structure, mixture, or unresolved reported compound."""

    compound_id: str = compound_id()
    is_resolved: bool = field("Whether a structure is known.")
    kind: str = coded("What kind of substance it is.", COMPOUND_KINDS)
    inchikey_skeleton: str = field(
        "First 14 characters of the InChIKey: joins stereoisomers.", str_length=14, nullable=True
    )
    tautomer_key: str = field(
        "InChIKey of RDKit's canonical tautomer: joins tautomers that InChI tells apart. Null unless the "
        "build was asked for it (PERTURBHOUSE_TAUTOMER_KEYS=yes), or where it cannot be made.",
        str_length=27,
        nullable=True,
    )
    smiles: str = field("Canonical isomeric SMILES of the parent.", nullable=True)
    pubchem_cid: pl.Int64 = field(
        "Lowest PubChem CID any dataset gives or PubChem returns.", gt=0, nullable=True
    )
    name: str = field("Most used reported name; ties go to the first in alphabetical order.")
    formula: str = field("Molecular formula of the parent.", nullable=True)
    molecular_weight: pl.Float64 = field(
        "Average molecular weight of the parent.", gt=0, nullable=True, metadata={"unit": "g/mol"}
    )
    has_isotopes: bool = field("Whether the structure carries isotope labels, such as deuterium.")
    has_undefined_stereo: bool = field("Whether the structure leaves a stereocentre or double bond open.")
    mechanism: str = field("Mechanism of action as reported, distinct values joined by `; `.", nullable=True)
    targets: str = field("Molecular targets as reported, distinct values joined by `; `.", nullable=True)
    n_datasets: pl.Int32 = field("Datasets that report the compound.", ge=1)


COMPOUND = Table(name="core/compound", model=Compound, primary_key=("compound_id",), sort_by=("compound_id",))
