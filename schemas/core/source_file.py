"""Schema of ``core/source_file``: every file that was read, with its hash."""

import polars as pl

from schemas.fields import Rows, dataset_id, field
from schemas.table import Table


class SourceFile(Rows):
    """One row per file read."""

    dataset_id: str = dataset_id()
    path: str = field(
        "Path below the raw root; identifier references stand under `reference/`, an adapter that another "
        "package brings under `adapter/`."
    )
    url: str = field("Address the file is published at.", nullable=True)
    sha256: str = field("SHA-256 of the file as read.", str_matches=r"^[0-9a-f]{64}$")
    n_bytes: pl.Int64 = field("Size in bytes.", ge=0, metadata={"unit": "B"})
    etag: str = field("ETag the server gave at download.", nullable=True)
    retrieved_at: pl.Datetime("us", "UTC") = field(  # type: ignore[valid-type]
        "When the file came here: when `perturbhouse fetch` had it, else its modification time."
    )


SOURCE_FILE = Table(
    name="core/source_file",
    model=SourceFile,
    primary_key=("dataset_id", "path"),
    partition_by=("dataset_id",),
    sort_by=("path",),
)
