"""Schema of ``core/context``: the cell lines and primary cell types of all datasets."""

import polars as pl

from schemas.fields import Rows, coded, context_id, field
from schemas.table import Table
from schemas.vocabularies import CONTEXT_KINDS


class Context(Rows):
    """One row per cell line, primary cell type, or unresolved label."""

    context_id: str = context_id()
    is_resolved: bool = field("Whether an accession is known.")
    name: str = field("Recommended name; the reported label where unresolved.")
    kind: str = coded("Kind of context.", CONTEXT_KINDS)
    species: str = field("Species, binomial.", nullable=True)
    tissue: str = field("Tissue or lineage of origin.", nullable=True)
    disease: str = field("Disease of the donor; `normal` where none.", nullable=True)
    sex: str = field("Sex of the donor.", nullable=True)
    age: str = field("Age of the donor as the reference states it.", nullable=True)
    depmap_id: str = field("DepMap model id; the lowest where several share the accession.", nullable=True)
    sanger_model_id: str = field("Sanger Cell Model Passports id.", nullable=True)
    is_problematic: bool = field(
        "Whether Cellosaurus lists the line as misidentified or contaminated; false where it is not known to."
    )
    n_datasets: pl.Int32 = field("Datasets that report the context.", ge=1)


CONTEXT = Table(name="core/context", model=Context, primary_key=("context_id",), sort_by=("context_id",))
