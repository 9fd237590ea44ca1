"""Schema of ``core/compound``: the compounds of all datasets."""

import polars as pl

from schemas.fields import Rows, compound_id, field
from schemas.table import Table


class Compound(Rows):
    """One row per parent structure, mixture, or unresolved reported compound."""

    compound_id: str = compound_id()
    is_resolved: bool = field("Whether a structure is known.")
    inchikey_skeleton: str = field(
        "First 14 characters of the InChIKey: joins stereoisomers.", str_length=14, nullable=True
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
    mechanism: str = field("Mechanism of action as reported, distinct values joined by `; `.", nullable=True)
    targets: str = field("Molecular targets as reported, distinct values joined by `; `.", nullable=True)
    n_datasets: pl.Int32 = field("Datasets that report the compound.", ge=1)


COMPOUND = Table(name="core/compound", model=Compound, primary_key=("compound_id",), sort_by=("compound_id",))
