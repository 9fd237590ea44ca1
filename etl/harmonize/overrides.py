"""Overrides: the one place where a person settles what a reported compound, cell label or gene is.

A table in CSV, each row with its reason and its source. Two are read: ``overrides.csv`` in the reference
folder, which wins, and the one that ships with the project. As part of the reference folder the file is an
input of every dataset, so that the next build uses what was changed.

Columns:

=============== =====================================================================================
``entity``      ``compound``, ``context`` or ``gene``
``dataset_id``  the dataset whose label it is; empty for all datasets
``reported``    the publisher's key, verbatim (``compound_reported``, ``context_reported``, ``gene_reported``)
``value``       compound: SMILES, InChIKey or ``CID:2244``; context: ``CVCL_…`` or ``CL_…``; gene: ``ENSG…``;
                empty to state that the label has no identifier
``reason``      why
``source``      who says so: a publication, an address, a person and date
=============== =====================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, get_args

import polars as pl

from etl.errors import BadInputError
from etl.harmonize.reference_folder import ReferenceFolder

FILE_NAME: Final = "overrides.csv"
COLUMNS: Final = ("entity", "dataset_id", "reported", "value", "reason", "source")

Entity = Literal["compound", "context", "gene"]


@dataclass(frozen=True, slots=True)
class Override:
    """What a label is.

    Args:
        value: as the table's column; None where it has no identifier.
        reason: why.
        source: who says so.
    """

    value: str | None
    reason: str
    source: str

    def __str__(self) -> str:
        return f"override: {self.reason} ({self.source})"


@dataclass(frozen=True, slots=True)
class Overrides:
    """Every override there is.

    Args:
        rows: ``COLUMNS``; the first row of a label counts.
    """

    rows: pl.DataFrame

    def of(self, entity: Entity, dataset_id: str) -> dict[str, Override]:
        """Return the overrides of a dataset's labels, by label; its own before those for all datasets."""
        own = self.rows.filter(
            pl.col("entity") == entity, pl.col("dataset_id").is_null() | (pl.col("dataset_id") == dataset_id)
        )
        found: dict[str, Override] = {}
        for is_for_all in (False, True):
            rows = own.filter(pl.col("dataset_id").is_null() == is_for_all)
            for reported, value, reason, source in rows.select(COLUMNS[2:]).iter_rows():
                found.setdefault(reported, Override(value, reason, source))
        return found


NO_OVERRIDES: Final[Mapping[str, Override]] = {}


def load_overrides(folder: ReferenceFolder) -> Overrides:
    """Return the overrides of the reference folder, then those that ship with the project.

    Raises:
        BadInputError: a column is missing, a row lacks entity, label, reason or source, an entity is unknown,
            or a label is settled twice in one file.
    """
    shipped = files("etl.harmonize").joinpath(f"reference/{FILE_NAME}")
    tables = [read_overrides(path) for path in folder.find(FILE_NAME)]
    return Overrides(pl.concat([*tables, read_overrides(Path(str(shipped)))]))


def read_overrides(path: Path) -> pl.DataFrame:
    """Read an override table and check every row.

    Raises:
        BadInputError: as :func:`load_overrides`.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as fault:
        raise BadInputError(f"cannot be read: {' '.join(str(fault).split())}", file=path) from fault
    for column in COLUMNS:
        if column not in rows.columns:
            raise BadInputError("the column is missing", file=path, column=column)
    text = pl.col(COLUMNS)
    is_key = pl.col("reported").str.strip_chars() != ""  # verbatim: a publisher's key may end in a space
    trimmed = rows.select(
        pl.when(is_key).then("reported") if name == "reported" else pl.col(name).str.strip_chars()
        for name in COLUMNS
    ).select(pl.when(text != "").then(text).name.keep())
    numbered = trimmed.with_row_index("row", offset=2)
    for column in ("entity", "reported", "reason", "source"):
        if (blank := numbered.filter(pl.col(column).is_null())).height:
            raise BadInputError("a missing value", file=path, row=blank["row"][0], column=column)
    if (strange := numbered.filter(~pl.col("entity").is_in(get_args(Entity)))).height:
        known = ", ".join(get_args(Entity))
        raise BadInputError(
            f"{strange['entity'][0]!r} is none of: {known}", file=path, row=strange["row"][0], column="entity"
        )
    if (twice := numbered.filter(pl.struct("entity", "dataset_id", "reported").is_duplicated())).height:
        raise BadInputError(
            f"{twice['reported'][0]!r} is settled more than once",
            file=path,
            row=", ".join(str(row) for row in twice.filter(reported=twice["reported"][0])["row"]),
        )
    return trimmed
