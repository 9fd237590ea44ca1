"""GDPx2: 85 compounds on four human primary cell types, six doses up to 3 µM, 24 h, DRUG-seq, UMI counts.

Raw layout, Ginkgo Datapoints:

* ``Metadata.csv``: one row per well, 28 columns: ``sample_id``, ``container_id`` (plate), ``row_id`` and
  ``column_id`` (numbers), ``cell_line``, ``compound`` (a name), ``compound_concentration`` with its unit,
  ``timepoint`` (hours), ``percent_volume_dmso``, ``sample_type``, and measures of quality;
* ``GDPx2-GeneCounts.h5``: the matrix ``gene_counts`` as ``r_matrix``, 59,427 gene symbols × 11,808 samples.

Quirks: 5,904 rows of the table are exact copies of others; ``is_neg_control`` is true for the lowest DMSO
percentage only, so that controls are told by ``sample_type``; for controls ``compound_concentration`` is the
percentage of DMSO, under the unit nM. Treated wells hold one of three percentages, and each has controls of
its own.

Here: reading. Not here: ids, dose units.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import delimited, r_matrix
from etl.formats.delimited import TextTable
from etl.sources.base import BLOCK_BYTES, ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts, well_of
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

HOME: Final = "https://huggingface.co/datasets/ginkgo-datapoints/GDPx2"

SPEC = SourceSpec(
    dataset_id="gdpx2",
    title="GDPx2: drug responses of four human primary cell types (Ginkgo Datapoints)",
    assay="drugseq",
    readout="UMI counts of 3' RNA sequencing of lysates in wells, 24 h",
    value_scale="counts",
    files=(
        RemoteFile(role="metadata", pattern="[Mm]etadata.csv", url=f"{HOME}/resolve/main/Metadata.csv"),
        RemoteFile(
            role="counts", pattern="GDPx2-GeneCounts.h5", url=f"{HOME}/resolve/main/GDPx2-GeneCounts.h5"
        ),
    ),
    license="terms of the publisher, accepted at download",
    is_redistributable=False,
    access="registration",
    release="as of 2026-02",
    url=HOME,
)

MATRIX: Final = "gene_counts"

COLUMNS: Final = (
    "sample_id",
    "container_id",
    "row_id",
    "column_id",
    "cell_line",
    "compound",
    "compound_concentration",
    "compound_concentration_unit",
    "timepoint",
    "percent_volume_dmso",
    "sample_type",
)
PLACED: Final = frozenset({"container_id", "row_id", "column_id", "cell_line", "compound"})
"""Columns that have a place in the sample table; the others are annotations."""

LIBRARY: Final = "library"
VEHICLE: Final = "Ginkgo Neg Control - DMSO"
POSITIVE: Final = "Ginkgo Pos Control"
"""Sample types: the compounds under study, the vehicle, and what those of positive controls start with."""

NAME_BY_LABEL: Final[Mapping[str, str]] = {
    "human_aortic_smooth_muscle_cells": "aortic smooth muscle cell",
    "human_dermal_fibroblast": "fibroblast of dermis",
    "human_epithelial_melanocytes": "epithelial melanocyte",
    "human_skeletal_muscle_myoblasts": "skeletal muscle myoblast",
}


class Gdpx2:
    """Adapter of GDPx2."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per distinct well of the table; those that the matrix lacks are ``empty``.

        Raises:
            BadInputError: see ``_wells``.
        """
        is_treated = pl.col("sample_type") != VEHICLE
        rows = self._wells(raw).select(
            "sample_kind",
            "well",
            "vehicle_group",
            sample_key="sample_id",
            context_reported="cell_line",
            compound_reported=pl.when(is_treated).then("compound"),
            # The concentration of a control is a percentage under the unit nM.
            dose=pl.when(is_treated).then("compound_concentration"),
            dose_unit=pl.when(is_treated).then("compound_concentration_unit"),
            time="timepoint",
            time_unit=pl.lit("h"),
            plate="container_id",
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return the columns of the table that have no place elsewhere, measures of quality among them.

        Raises:
            BadInputError: as ``samples``, but for the matrix.
        """
        table = _read_metadata(self.spec.locate(raw)["metadata"])
        return reported_facts(table.rows.rename({"sample_id": "sample_key"}), used={"row", *PLACED})

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the treated wells with counts, under the publisher's name.

        Raises:
            BadInputError: as ``samples``.
        """
        treated = self._wells(raw).filter(pl.col("sample_kind").is_in(["compound", "positive_control"]))
        names = treated["compound"].drop_nulls().unique().sort()
        return match_to_model(pl.DataFrame({"compound_reported": names, "name": names}), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label of the wells with counts, with the name of the cell type.

        Raises:
            BadInputError: as ``samples``.
        """
        measured = self._wells(raw).filter(pl.col("sample_kind") != "empty")
        labels = measured.select(context_reported=pl.col("cell_line").drop_nulls().unique().sort())
        name = pl.col("context_reported").replace_strict(NAME_BY_LABEL, default=None, return_dtype=pl.String)
        return match_to_model(labels.with_columns(name=name), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene symbol of the matrix, in file order.

        Raises:
            BadInputError: as ``r_matrix.read_axes``.
        """
        symbols = r_matrix.read_axes(self.spec.locate(raw)["counts"], name=MATRIX).genes
        return match_to_model(pl.DataFrame({"gene_reported": symbols, "symbol": symbols}), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield all samples of the matrix, in file order.

        Raises:
            BadInputError: as ``r_matrix.blocks``.
        """
        path = self.spec.locate(raw)["counts"]
        for keys, values in r_matrix.blocks(path, name=MATRIX, block_bytes=BLOCK_BYTES):
            yield ExpressionBlock(keys, values)

    def _wells(self, raw: Path) -> pl.DataFrame:
        """Return the table with ``sample_kind``, ``well`` and ``vehicle_group``.

        Raises:
            BadInputError: a column is missing, a sample is missing, described in two ways, or in the matrix
                but not in the table; an unknown sample type, a type that contradicts the compound, a
                percentage of DMSO or a position that is none.
        """
        files = self.spec.locate(raw)
        table = _read_metadata(files["metadata"])
        measured = r_matrix.read_axes(files["counts"], name=MATRIX).samples
        table.require_listed(measured, "sample_id", what="sample(s) of the matrix")
        kind = _sample_kind(table)
        is_measured = pl.col("sample_id").is_in(measured)
        return table.rows.with_columns(
            sample_kind=pl.when(is_measured).then(kind).otherwise(pl.lit("empty")),
            vehicle_group=_vehicle_group(table),
            well=well_of(table, "row_id", "column_id"),
        )


def _read_metadata(path: Path) -> TextTable:
    """Read all columns of the table, each distinct row once.

    Raises:
        BadInputError: as ``delimited.read``, or a sample that is missing or described in two ways.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    names = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in header]
    columns = tuple(dict.fromkeys([*COLUMNS, *filter(None, names)]))
    table = delimited.read(
        path,
        columns,
        dataset_id=SPEC.dataset_id,
        separator=",",
        is_quoted=True,
        has_plain_names=True,
        missing=r"^\s*(NA)?\s*$",
    )
    table = table.with_rows(table.rows.with_columns(pl.col(columns).str.strip_chars())).distinct(*columns)
    table.require_present("sample_id", "sample_type", "percent_volume_dmso", "row_id", "column_id")
    table.require_unique("sample_id")
    return table


def _sample_kind(table: TextTable) -> pl.Expr:
    """Return the kind by ``sample_type``; the flags ``is_neg_control`` and ``is_pos_control`` are not used.

    Raises:
        BadInputError: an unknown type, DMSO that is no control, or a control that is not DMSO.
    """
    sample_type, is_dmso = pl.col("sample_type"), (pl.col("compound") == "DMSO").fill_null(value=False)
    kind = (
        pl.when(sample_type == LIBRARY)
        .then(pl.lit("compound"))
        .when(sample_type == VEHICLE)
        .then(pl.lit("vehicle"))
        .when(sample_type.str.starts_with(POSITIVE))
        .then(pl.lit("positive_control"))
    )
    table.require(kind.is_not_null(), "sample_type", "an unknown sample type")
    table.require((sample_type == VEHICLE) == is_dmso, "compound", "contradicts its sample type")
    return kind


def _vehicle_group(table: TextTable) -> pl.Expr:
    """Return the vehicle with its percentage: ``DMSO 0.625%``.

    Raises:
        BadInputError: a percentage that is no number from 0 to 100.
    """
    percentage = pl.col("percent_volume_dmso").str.strip_suffix("%").cast(pl.Float64, strict=False)
    table.require(percentage.is_between(0, 100), "percent_volume_dmso", "no percentage")
    return pl.format("DMSO {}%", percentage)
