"""L1000: the words and codes that all releases of the Broad's L1000 data share.

Here: reading the tab-separated tables, the missing markers, what a ``pert_type`` means, and instances (wells
of a detection plate) as reported samples, compounds and contexts. Not here: where a release keeps its tables
and which rows of its matrix are genes (the adapters).

An *instance table* is a ``TextTable`` with ``INSTANCE_COLUMNS``, however the release stores it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import delimited
from etl.formats.delimited import TextTable
from schemas.reported import ReportedCompound, ReportedContext, ReportedSample
from schemas.table import match_to_model
from schemas.vocabularies import OUT_OF_SCOPE_KINDS

PERT_COLUMNS: Final = (
    "pert_id",
    "pert_iname",
    "pert_type",
    "pert_dose",
    "pert_dose_unit",
    "pert_time",
    "pert_time_unit",
    "cell_id",
)
"""What was done to an instance, under the same names in all releases."""

INSTANCE_COLUMNS: Final = (
    "inst_id",
    "det_plate",
    "well",
    "bead_batch",
    "pert_vehicle",
    "vendor_id",
    *PERT_COLUMNS,
)

KIND_BY_PERT_TYPE: Final[Mapping[str, str]] = {
    "trt_cp": "compound",
    "trt_poscon": "positive_control",
    "ctl_vehicle": "vehicle",
    "ctl_untrt": "untreated",
    "trt_lig": "biologic",
}
GENETIC_PERT_TYPE: Final = r"^((trt_sh|trt_oe|ctl_vector)(\..+)?|trt_xpr)$"
"""Knock-down, overexpression (also of mutants), knock-out and their vector controls."""

TREATED_KINDS: Final = ("compound", "positive_control")

USUAL_VEHICLE: Final = "DMSO"
"""Its vehicle group is the empty one; a release that names no vehicle for a treated well means this one."""

MISSING: Final = r"^\s*(-666(\.0+)?|restricted)?\s*$"
"""What stands for a missing value in all releases."""

_REPLICATE = r"_\d+H_(X[^_:]*)"


def read_table(path: Path, columns: Sequence[str], *, dataset_id: str) -> TextTable:
    """Read columns of a tab-separated table, under plain names, with missing markers as null.

    Raises:
        BadInputError: as ``delimited.read``.
    """
    return delimited.read(
        path, columns, dataset_id=dataset_id, separator="\t", missing=MISSING, has_plain_names=True
    )


def with_sample_kind(instances: TextTable, *, measured: Sequence[str]) -> pl.DataFrame:
    """Return an instance table with the column ``sample_kind``.

    Args:
        instances: the instance table.
        measured: column ids of the matrix; an instance that is not among them is ``empty``.

    Raises:
        BadInputError: a ``pert_type`` that is unknown or missing, an instance without id or listed twice, or
            a column of the matrix that is no instance.
    """
    instances.require_present("inst_id")
    instances.require_unique("inst_id")
    columns = pl.Series(measured, dtype=pl.String)
    unlisted = columns.filter(~columns.is_in(instances.rows["inst_id"].implode()))
    if unlisted.len():
        raise instances.error(
            f"{unlisted.len()} sample(s) of the matrix are not listed, the first is {unlisted[0]}",
            column="inst_id",
        )
    pert_type = pl.col("pert_type")
    kind = pert_type.replace_strict(KIND_BY_PERT_TYPE, default=None, return_dtype=pl.String)
    kind = pl.when(pert_type.str.contains(GENETIC_PERT_TYPE)).then(pl.lit("genetic")).otherwise(kind)
    instances.require(kind.is_not_null(), "pert_type", "an unknown pert_type")
    is_measured = pl.col("inst_id").is_in(columns.implode())
    return instances.rows.select(
        *INSTANCE_COLUMNS, sample_kind=pl.when(is_measured).then(kind).otherwise(pl.lit("empty"))
    )


def reported_samples(instances: pl.DataFrame) -> pl.LazyFrame:
    """Return one reported sample per instance, in their order.

    The plate is the detection plate: hybridization and scan happen on it, and one plate of lysates
    (``rna_plate``) that is detected twice gives two of them. The replicate is the ``X…`` tag of its name.

    Args:
        instances: instances with their sample kind.
    """
    rows = instances.select(
        sample_key="inst_id",
        sample_kind="sample_kind",
        context_reported="cell_id",
        compound_reported=pl.when(pl.col("sample_kind").is_in(TREATED_KINDS)).then("pert_id"),
        dose="pert_dose",
        dose_unit="pert_dose_unit",
        time="pert_time",
        time_unit="pert_time_unit",
        plate="det_plate",
        well="well",
        replicate=pl.col("det_plate").str.extract(_REPLICATE),
        batch="bead_batch",
        vehicle_group=_vehicle_group(),
        is_low_quality=pl.lit(value=False),
    )
    return match_to_model(rows, ReportedSample)


def reported_compounds(instances: pl.DataFrame, described: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Return one reported compound per ``pert_id`` of the treated instances, sorted by it.

    Args:
        instances: instances with their sample kind. Where they name a compound differently, the first stands.
        described: further columns of ``ReportedCompound``, by ``compound_reported``; its name goes first.
    """
    compounds = (
        instances.filter(pl.col("sample_kind").is_in(TREATED_KINDS) & pl.col("pert_id").is_not_null())
        .group_by(compound_reported="pert_id", maintain_order=True)
        .agg(pl.col("pert_iname", "vendor_id").drop_nulls().first())
        .sort("compound_reported")
    )
    if described is None:
        compounds = compounds.rename({"pert_iname": "name"})
    else:
        compounds = (
            compounds.join(
                described, on="compound_reported", how="left", maintain_order="left", validate="1:1"
            )
            .with_columns(name=pl.coalesce("name", "pert_iname"))
            .drop("pert_iname")
        )
    return match_to_model(compounds, ReportedCompound)


def reported_contexts(instances: pl.DataFrame) -> pl.LazyFrame:
    """Return one reported context per ``cell_id`` of the instances in scope, sorted.

    Args:
        instances: instances with their sample kind.
    """
    in_scope = instances.filter(~pl.col("sample_kind").is_in(OUT_OF_SCOPE_KINDS))
    labels = in_scope.select(context_reported=pl.col("cell_id").unique().drop_nulls().sort())
    return match_to_model(labels, ReportedContext)


def _vehicle_group() -> pl.Expr:
    """A vehicle well is named after itself, a treated one after the vehicle the release states for it."""
    kind = pl.col("sample_kind")
    vehicle = (
        pl.when(kind == "vehicle")
        .then(pl.coalesce("pert_iname", "pert_id", pl.lit("unknown")))
        .when(kind.is_in(TREATED_KINDS))
        .then("pert_vehicle")
        .str.strip_chars()
    )
    is_usual = vehicle.is_null() | (vehicle.str.to_uppercase() == USUAL_VEHICLE)
    return pl.when(is_usual).then(pl.lit("")).otherwise(vehicle)
