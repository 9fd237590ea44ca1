"""Schema of ``core/sample_annotation``: what a publisher says of a sample beyond ``core/sample``."""

import polars as pl

from schemas.fields import Rows, dataset_id, field, sample_id
from schemas.table import Table


class SampleAnnotation(Rows):
    """One row per sample and fact that has no column in core/sample."""

    dataset_id: str = dataset_id()
    sample_id: pl.Int64 = sample_id()
    key: str = field("Name of the fact, in the publisher's words.")
    value: str = field("What the publisher says, as text.")


SAMPLE_ANNOTATION = Table(
    name="core/sample_annotation",
    model=SampleAnnotation,
    primary_key=("dataset_id", "sample_id", "key"),
    partition_by=("dataset_id",),
    sort_by=("sample_id", "key"),
)
