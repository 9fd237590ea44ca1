"""Schema of ``core/reference_file``: the identifier references that a warehouse was built with."""

import polars as pl

from schemas.fields import Rows, field
from schemas.table import Table


class ReferenceFile(Rows):
    """One row per file of an identifier reference."""

    reference: str = field("Reference the file belongs to, as in the asset `raw/reference/<reference>`.")
    path: str = field("Path below the reference folder; the cache's file name for look-ups of a service.")
    release: str = field("Release as the file or its name states it; null where neither does.", nullable=True)
    released_on: pl.Date = field("Date the release states, or its newest record.", nullable=True)
    n_records: pl.Int64 = field(
        "Records read from the file; null where it is not parsed.", ge=0, nullable=True
    )
    sha256: str = field(
        "SHA-256 of the file; null for the look-ups of a service.",
        str_matches=r"^[0-9a-f]{64}$",
        nullable=True,
    )
    n_bytes: pl.Int64 = field("Size in bytes.", ge=0, metadata={"unit": "B"})
    retrieved_at: pl.Datetime("us", "UTC") = field("When the file came here: its modification time.")  # type: ignore[valid-type]
    url: str = field("Where the reference is published.", nullable=True)
    license: str = field("Terms of the reference as its publisher states them.", nullable=True)


REFERENCE_FILE = Table(
    name="core/reference_file",
    model=ReferenceFile,
    primary_key=("reference", "path"),
    partition_by=("reference",),
    sort_by=("path",),
)
