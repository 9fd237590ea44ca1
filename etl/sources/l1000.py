"""L1000: the words and codes that all releases of the Broad's L1000 data share.

Here: reading the tab-separated tables, the missing markers, what a ``pert_type`` means, and instances (wells
of a detection plate) as reported samples, annotations, compounds and contexts. Not here: where a release
keeps its tables (the adapters) and which rows of its matrix are genes (``l1000_genes``).

An *instance table* is a ``TextTable`` with ``INSTANCE_COLUMNS``, however the release stores it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import delimited
from etl.formats.delimited import TextTable
from schemas.reported import ReportedAnnotation, ReportedCompound, ReportedContext, ReportedSample
from schemas.table import match_to_model, polars_schema
from schemas.vocabularies import CONTROL_KINDS, OUT_OF_SCOPE_KINDS

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
    "trt_aby": "biologic",
}
GENETIC_PERT_TYPE: Final = r"^((trt_sh|trt_oe|ctl_vector)(\..+)?|trt_xpr|trt_si)$"
"""Knock-down, overexpression (also of mutants), knock-out and their vector controls."""

TREATED_KINDS: Final = ("compound", "positive_control")

USUAL_VEHICLE: Final = "DMSO"
"""Its vehicle group is the empty one; a release that names no vehicle for a treated well means this one."""

MISSING: Final = r"^\s*(-666(\.0+)?|restricted|\"\")?\s*$"
"""What stands for a missing value in all releases; the 2020 one writes ``""``."""

_REPLICATE = r"_(?:\d+|X)H_(X[^_:]*)"
"""A plate of several times is named ``XH``."""

_AMOUNT = ("pert_dose", "pert_dose_unit")


def read_table(path: Path, columns: Sequence[str], *, dataset_id: str) -> TextTable:
    """Read columns of a tab-separated table, under plain names, with missing markers as null.

    Raises:
        BadInputError: as ``delimited.read``.
    """
    return delimited.read(
        path, columns, dataset_id=dataset_id, separator="\t", missing=MISSING, has_plain_names=True
    )


def read_perturbagens(path: Path, *, dataset_id: str, has_pubchem_cid: bool) -> pl.DataFrame:
    """Read a ``pert_info`` table of GEO.

    Args:
        path: the table.
        dataset_id: for messages.
        has_pubchem_cid: whether the release gives PubChem CIDs (phase 1 does, phase 2 does not).

    Returns:
        compound_reported, name, smiles, inchikey, pubchem_cid.

    Raises:
        BadInputError: as ``read_table``, a perturbagen listed twice, or a PubChem CID that is no number.
    """
    columns = ["pert_id", "pert_iname", "inchi_key", "canonical_smiles"]
    if has_pubchem_cid:
        columns.append("pubchem_cid")
    table = read_table(path, columns, dataset_id=dataset_id)
    table.require_present("pert_id")
    table.require_unique("pert_id")
    cid: pl.Expr = pl.lit(None, pl.Int64)
    if has_pubchem_cid:
        table, cid = table.with_whole_numbers("pubchem_cid"), pl.col("pubchem_cid")
    return table.rows.select(
        compound_reported="pert_id",
        name="pert_iname",
        smiles="canonical_smiles",
        inchikey=pl.col("inchi_key").str.strip_prefix("InChIKey="),
        pubchem_cid=cid,
    )


def with_sample_kind(
    instances: TextTable, *, measured: Sequence[str], elsewhere: Sequence[str] = ()
) -> pl.DataFrame:
    """Return an instance table with the column ``sample_kind``.

    Args:
        instances: the instance table.
        measured: column ids of the matrix; an instance that is not among them is ``empty``.
        elsewhere: kinds whose values the release keeps in files that are not read: such an instance keeps its
            kind.

    Raises:
        BadInputError: a ``pert_type`` that is unknown or missing, an instance without id or listed twice, or
            a column of the matrix that is no instance.
    """
    instances.require_present("inst_id")
    instances.require_unique("inst_id")
    instances.require_listed(measured, "inst_id", what="sample(s) of the matrix")
    pert_type = pl.col("pert_type")
    kind = pert_type.replace_strict(KIND_BY_PERT_TYPE, default=None, return_dtype=pl.String)
    kind = pl.when(pert_type.str.contains(GENETIC_PERT_TYPE)).then(pl.lit("genetic")).otherwise(kind)
    instances.require(kind.is_not_null(), "pert_type", "an unknown pert_type")
    has_kind = pl.col("inst_id").is_in(list(measured)) | kind.is_in(list(elsewhere))
    return instances.rows.with_columns(sample_kind=pl.when(has_kind).then(kind).otherwise(pl.lit("empty")))


def reported_samples(instances: pl.DataFrame) -> pl.LazyFrame:
    """Return one reported sample per instance, in their order.

    The plate is the detection plate: hybridization and scan happen on it, and one plate of lysates
    (``rna_plate``) that is detected twice gives two of them. The replicate is the ``X…`` tag of its name.
    What some releases give as the dose of a control is the amount of its solvent (``0.1 %``): it is no dose
    of a compound, and ``reported_annotations`` has it.

    Args:
        instances: instances with their sample kind; ``is_low_quality`` where the release says so.
    """
    is_control = pl.col("sample_kind").is_in(list(CONTROL_KINDS))
    is_low_quality = (
        pl.col("is_low_quality") if "is_low_quality" in instances.columns else pl.lit(value=False)
    )
    rows = instances.select(
        sample_key="inst_id",
        sample_kind="sample_kind",
        context_reported="cell_id",
        compound_reported=pl.when(pl.col("sample_kind").is_in(TREATED_KINDS)).then("pert_id"),
        dose=pl.when(~is_control).then("pert_dose"),
        dose_unit=pl.when(~is_control).then("pert_dose_unit"),
        time="pert_time",
        time_unit="pert_time_unit",
        plate="det_plate",
        well="well",
        replicate=pl.col("det_plate").str.extract(_REPLICATE),
        batch="bead_batch",
        vehicle_group=_vehicle_group(),
        is_low_quality=is_low_quality,
    )
    return match_to_model(rows, ReportedSample)


def reported_annotations(instances: pl.DataFrame, facts: Sequence[str]) -> pl.LazyFrame:
    """Return one row per fact of the instances in scope that ``reported_samples`` has no column for.

    Args:
        instances: instances with their sample kind.
        facts: columns of the release; the amount of solvent of the controls is added to them.
    """
    is_control = pl.col("sample_kind").is_in(list(CONTROL_KINDS))
    keys = list(dict.fromkeys([*_AMOUNT, *facts]))
    rows = (
        instances.lazy()
        .filter(~pl.col("sample_kind").is_in(OUT_OF_SCOPE_KINDS))
        .with_columns(pl.when(is_control).then(pl.col(_AMOUNT)).name.keep())
        .unpivot(on=keys, index="inst_id", variable_name="key", value_name="value")
        .filter(pl.col("value").is_not_null())
        .rename({"inst_id": "sample_key"})
    )
    return rows.match_to_schema(polars_schema(ReportedAnnotation))


def reported_compounds(instances: pl.DataFrame, described: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Return one reported compound per ``pert_id`` of the treated instances, sorted by it.

    Args:
        instances: instances with their sample kind. Where they name a compound differently, the name stands
            that comes first in alphabetical order, so that the order of rows does not matter.
        described: further columns of ``ReportedCompound``, by ``compound_reported``; its name goes first.
    """
    compounds = (
        instances.filter(pl.col("sample_kind").is_in(TREATED_KINDS) & pl.col("pert_id").is_not_null())
        .group_by(compound_reported="pert_id")
        .agg(pl.col("pert_iname", "vendor_id").drop_nulls().sort().first())
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


def reported_contexts(instances: pl.DataFrame, described: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Return one reported context per ``cell_id`` of the instances in scope, sorted.

    Args:
        instances: instances with their sample kind.
        described: further columns of ``ReportedContext``, by ``context_reported``; a label that they lack
            stays, with nothing but its name.
    """
    in_scope = instances.filter(~pl.col("sample_kind").is_in(OUT_OF_SCOPE_KINDS))
    labels = in_scope.select(context_reported=pl.col("cell_id").unique().drop_nulls().sort())
    if described is not None:
        labels = labels.join(
            described, on="context_reported", how="left", maintain_order="left", validate="1:1"
        )
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
