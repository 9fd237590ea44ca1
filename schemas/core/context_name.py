"""Schema of ``core/context_name``: how each reported cell label was resolved."""

from schemas.fields import Rows, coded, context_id, dataset_id, field
from schemas.table import Table
from schemas.vocabularies import CONFIDENCES, CONTEXT_METHODS


class ContextName(Rows):
    """One row per (dataset, reported label)."""

    dataset_id: str = dataset_id()
    context_reported: str = field("Cell label as reported.")
    tissue_reported: str = field("Tissue as reported beside it.", nullable=True)
    context_id: str = context_id()
    method: str = coded("What the resolution rests on.", CONTEXT_METHODS)
    confidence: str = coded("How far to trust it.", CONFIDENCES)
    reason: str = field("Why the label is unresolved, or what was noticed on the way.", nullable=True)


CONTEXT_NAME = Table(
    name="core/context_name",
    model=ContextName,
    primary_key=("dataset_id", "context_reported"),
    partition_by=("dataset_id",),
    sort_by=("context_reported",),
)
