"""Columns that several tables share, described once.

Each function returns a fresh Pandera field, because a field belongs to one model.
"""

from collections.abc import Mapping
from typing import Any

import pandera.polars as pa
import polars as pl

CONTEXT_ID_PATTERN = r"^(CVCL_[A-Z0-9]{4,}|CL_\d{7}|unresolved:[a-z][a-z0-9_]*:.+)$"
COMPOUND_ID_PATTERN = (
    r"^([A-Z]{14}-[A-Z]{10}-[A-Z]"
    r"|mixture:[A-Z]{14}-[A-Z]{10}-[A-Z](\+[A-Z]{14}-[A-Z]{10}-[A-Z])+"
    r"|unresolved:[a-z][a-z0-9_]*:.+)$"
)


def field(description: str, **rules: Any) -> Any:
    """Return a Pandera field that has a description; every column of this project has one."""
    return pa.Field(description=description, **rules)


def coded(description: str, vocabulary: Mapping[str, str], **rules: Any) -> Any:
    """Return a field whose values come from a closed vocabulary."""
    return pa.Field(
        description=description, isin=list(vocabulary), metadata={"vocabulary": dict(vocabulary)}, **rules
    )


def dataset_id(description: str = "Dataset, as in core/dataset.") -> Any:
    """Return the field of a dataset id."""
    return pa.Field(str_matches=r"^[a-z][a-z0-9_]*$", description=description)


def compound_id(*, nullable: bool = False, note: str = "") -> Any:
    """Return the field of a compound id."""
    return pa.Field(
        str_matches=COMPOUND_ID_PATTERN,
        nullable=nullable,
        description="Compound: InChIKey of the standardized parent structure, `mixture:` and the "
        f"parents' keys joined by `+`, or `unresolved:<dataset_id>:<reported compound>`.{note}",
    )


def context_id() -> Any:
    """Return the field of a context id."""
    return pa.Field(
        str_matches=CONTEXT_ID_PATTERN,
        description="Cell line (Cellosaurus accession `CVCL_…`), primary cell type (Cell Ontology `CL_…`), "
        "or `unresolved:<dataset_id>:<reported label>`.",
    )


def gene_id() -> Any:
    """Return the field of a gene id."""
    return pa.Field(
        gt=0,
        description="Gene: integer part of the Ensembl gene id plus 10,000,000 times a species number "
        "(human 0); ENSG00000141510 is 141510.",
    )


def sample_id() -> Any:
    """Return the field of a sample id."""
    return pa.Field(
        description="Sample: first 8 bytes of BLAKE2b over dataset_id and the publisher's sample key."
    )


def condition_id(*, nullable: bool = False, note: str = "") -> Any:
    """Return the field of a condition id."""
    return pa.Field(
        nullable=nullable,
        description="Condition: first 8 bytes of BLAKE2b over dataset, context, compound, canonical dose, "
        f"time and vehicle group.{note}",
    )


def dose_um(*, nullable: bool = False, note: str = "") -> Any:
    """Return the field of a canonical dose."""
    return pa.Field(
        gt=0,
        nullable=nullable,
        description=f"Nominal dose in µM, rounded to 3 significant digits.{note}",
        metadata={"unit": "µM"},
    )


def time_h(*, nullable: bool = False) -> Any:
    """Return the field of a treatment time."""
    return pa.Field(ge=0, nullable=nullable, description="Treatment time in hours.", metadata={"unit": "h"})


def flags_known(data: pa.PolarsData, vocabulary: Mapping[str, str]) -> pl.LazyFrame:
    """Say for each list of flags whether all of them are in the vocabulary."""
    return data.lazyframe.select(pl.col(data.key).list.eval(pl.element().is_in(list(vocabulary))).list.all())


class Rows(pa.DataFrameModel):
    """Base of every model: exactly the declared columns in the declared order, no NaN, no infinity."""

    @pa.check(".+", regex=True, name="finite_or_null")
    def _finite_or_null(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Refuse NaN and infinity: a missing value is null, and range checks let NaN pass."""
        column = pl.col(data.key)
        if not data.lazyframe.collect_schema()[data.key].is_float():
            return data.lazyframe.select(pl.lit(value=True))
        return data.lazyframe.select(column.is_null() | column.is_finite())

    class Config:
        strict = True
        ordered = True
