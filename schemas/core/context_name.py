"""Schema of ``core/context_name``: how each reported cell label was resolved."""

import polars as pl

from schemas.fields import Rows, coded, context_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import CONFIDENCES, CONTEXT_METHODS


class ContextName(Rows):
    """One row per (dataset, reported label)."""

    dataset_id: str = dataset_id()
    context_reported: str = field("Cell label as reported.")
    name_reported: str = field("Name as reported beside it.", nullable=True)
    accession_reported: str = field("Accession as reported beside it.", nullable=True)
    model_id_reported: str = field("Key of another database as reported beside it.", nullable=True)
    tissue_reported: str = field("Tissue as reported beside it.", nullable=True)
    species_reported: str = field("Species as reported beside it; null means human.", nullable=True)
    context_id: str = context_id()
    depmap_id: str = field(
        "DepMap model that the label itself means, or the only one of the context; null where several may be "
        "meant.",
        nullable=True,
    )
    sanger_model_id: str = field("Sanger model that the label itself means; likewise.", nullable=True)
    method: str = coded("What the resolution rests on.", CONTEXT_METHODS)
    origin: str = field(
        "Where the match comes from: a file of the reference folder, `curated` (the project's table) or "
        "`overrides.csv`; null where unresolved or where no reference lists the accession.",
        nullable=True,
    )
    rule: str = field("How one of several candidates was chosen; null where there was one.", nullable=True)
    confidence: str = coded("How far to trust it.", CONFIDENCES)
    candidates: pl.List(pl.String) = field(  # type: ignore[valid-type]
        "Every context that the label may mean, the chosen one included; sorted."
    )
    reason: str = field("Why the label is unresolved, or what was noticed on the way.", nullable=True)


CONTEXT_NAME = Table(
    name="core/context_name",
    model=ContextName,
    primary_key=("dataset_id", "context_reported"),
    partition_by=("dataset_id",),
    sort_by=("context_reported",),
)
