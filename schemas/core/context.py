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
    category: str = field("Category of Cellosaurus, such as `Cancer cell line`.", nullable=True)
    species: str = field("Species, binomial; those of a hybrid are joined by `; `.", nullable=True)
    tissue: str = field(
        "Tissue or lineage of origin; never the site of a metastasis.",
        nullable=True,
    )
    cell_type: str = field("Cell type that the line was made of, where stated.", nullable=True)
    disease: str = field("Disease of the donor; `normal` where none.", nullable=True)
    sex: str = field("Sex of the donor.", nullable=True)
    age: str = field("Age of the donor as the reference states it.", nullable=True)
    ancestry: str = field(
        "Population of the donor as Cellosaurus states it, else its shares of genome ancestry.", nullable=True
    )
    depmap_ids: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "DepMap model ids; several where one line has several models."
    )
    sanger_model_ids: pl.List(pl.String) = field("Sanger Cell Model Passports ids.")  # type: ignore[valid-type]
    cosmic_ids: pl.List(pl.String) = field("COSMIC ids of the line and its samples.")  # type: ignore[valid-type]
    parent_ids: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "Contexts that the line derives from; several for a hybrid. They need not be rows of this table."
    )
    is_problematic: bool = field(
        "Whether Cellosaurus lists the line as misidentified, contaminated or misclassified; false where it "
        "is not known to."
    )
    problem: str = field("What Cellosaurus says of a problematic line.", nullable=True)
    n_datasets: pl.Int32 = field("Datasets that report the context.", ge=1)


CONTEXT = Table(name="core/context", model=Context, primary_key=("context_id",), sort_by=("context_id",))
