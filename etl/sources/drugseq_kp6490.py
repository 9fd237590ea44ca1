"""DRUG-seq plate KP-6490: three ovarian cancer lines, 24 compounds at two doses, 24 h, raw UMI counts.

Raw layout, the example data of the R package macpie (a published excerpt of one 384-well plate):

* ``matrix.mtx``, ``features.tsv``, ``barcodes.tsv`` (each plain or ``.gz``): raw counts of 95 wells on 62,700
  versioned Ensembl ids (``ENSG00000290825.1``) with names that repeat;
* ``metadata.csv``: plate map of all 384 wells; ``Barcode`` joins the matrix.

Quirks: ``Vehicle_control`` covers two things, wells with DMSO and wells with medium only, told apart by
``Treatment_1``; controls have dose 0; some treatments are abbreviations (``Stauro``, ``Mito``, ``Dox``). The
sample key is the barcode, the only name the matrix has for a well; it is unique because there is one plate.

Here: reading. Not here: library sizes, ids, dose units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import delimited, mex
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

ORIGIN = "https://github.com/PMCC-BioinformaticsCore/macpie"

SPEC = SourceSpec(
    dataset_id="drugseq_kp6490",
    title="DRUG-seq of three ovarian cancer lines, plate KP-6490 (macpie example data)",
    assay="drugseq",
    readout="UMI counts of 3' RNA sequencing of lysates in wells, 24 h",
    value_scale="counts",
    files=(
        RemoteFile(role="matrix", pattern="matrix.mtx*"),
        RemoteFile(role="features", pattern="features.tsv*"),
        RemoteFile(role="barcodes", pattern="barcodes.tsv*"),
        RemoteFile(role="plate_map", pattern="metadata.csv"),
    ),
    license="not stated for the data; the package that carries them is under the MIT licence",
    is_redistributable=False,
    access="manual",
    release="macpie repository, commit 904d56a",
    url=ORIGIN,
)

COLUMNS: Final = (
    "plate_id",
    "well_id",
    "cell_type",
    "time",
    "unit",
    "treatment_1",
    "concentration_1",
    "unit_1",
    "sample_type",
    "barcode",
)
ANNOTATED: Final = ("species", "model_type", "sample_type")
"""Columns of the plate map that are kept as they are."""

KIND_BY_CONTROL: Final = {"DMSO": "vehicle", "Media": "untreated"}
KIND_BY_TREATED_TYPE: Final = {"Sample": "compound", "Positive_control": "positive_control"}


class DrugseqKp6490:
    """Adapter of the KP-6490 plate."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per well of the plate map; those that the matrix lacks are ``empty``.

        Raises:
            BadInputError: a column is missing, a barcode is missing or repeated, a sample type or a control
                is unknown, or a barcode of the matrix is not in the plate map.
        """
        rows = self._wells(raw).select(
            "sample_kind",
            "compound_reported",
            "time",
            sample_key="barcode",
            context_reported="cell_type",
            dose="concentration_1",
            dose_unit="unit_1",
            time_unit="unit",
            plate="plate_id",
            well="well_id",
            vehicle_group=pl.lit(""),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return species, kind of culture and sample type of every well of the plate map.

        Raises:
            BadInputError: a column is missing, or a barcode is missing or repeated.
        """
        plate_map = _read_plate_map(self.spec.locate(raw)["plate_map"], ("barcode", *ANNOTATED))
        return reported_facts(plate_map.rows.select(*ANNOTATED, sample_key="barcode"))

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per treatment of the treated wells with counts, under the publisher's name.

        Raises:
            BadInputError: as ``samples``.
        """
        names = self._wells(raw)["compound_reported"].drop_nulls().unique().sort()
        return match_to_model(pl.DataFrame({"compound_reported": names, "name": names}), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label of the wells with counts.

        Raises:
            BadInputError: as ``samples``.
        """
        measured = self._wells(raw).filter(pl.col("sample_kind") != "empty")
        labels = measured["cell_type"].drop_nulls().unique().sort()
        return match_to_model(pl.DataFrame({"context_reported": labels}), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per feature, in file order, with its versioned Ensembl id as key.

        Raises:
            BadInputError: as ``mex.read_features``.
        """
        features = mex.read_features(self.spec.locate(raw)["features"])
        return match_to_model(features.select(gene_reported="feature_id", symbol="name"), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the plate in one block: 384 wells without a zero would still be below ``BLOCK_BYTES``.

        Raises:
            BadInputError: as ``mex.read_files``.
        """
        files = self.spec.locate(raw)
        plate = mex.read_files(files["matrix"], features=files["features"], barcodes=files["barcodes"])
        yield ExpressionBlock(plate.barcodes, plate.counts)

    def _wells(self, raw: Path) -> pl.DataFrame:
        """Return the plate map with ``sample_kind`` and ``compound_reported``."""
        files = self.spec.locate(raw)
        plate_map = _read_plate_map(files["plate_map"])
        measured = mex.read_barcodes(files["barcodes"])
        plate_map.require_listed(measured, "barcode", what="barcode(s) of the matrix")
        is_measured = pl.col("barcode").is_in(measured)
        return _with_treatment(plate_map).with_columns(
            sample_kind=pl.when(is_measured).then("sample_kind").otherwise(pl.lit("empty")),
            compound_reported=pl.when(is_measured).then("compound_reported"),
        )


def _read_plate_map(path: Path, columns: tuple[str, ...] = COLUMNS) -> delimited.TextTable:
    """Read columns of the plate map as text without outer blanks, empty cells as null.

    Raises:
        BadInputError: as ``delimited.read``, or a barcode is missing or repeated.
    """
    table = delimited.read(
        path,
        columns,
        dataset_id=SPEC.dataset_id,
        separator=",",
        is_quoted=True,
        has_plain_names=True,
        missing=r"^\s*$",
    )
    table = table.with_rows(table.rows.with_columns(pl.col(columns).str.strip_chars()))
    table.require_present("barcode")
    table.require_unique("barcode")
    return table


def _with_treatment(plate_map: delimited.TextTable) -> pl.DataFrame:
    """Return the wells with ``sample_kind`` and ``compound_reported``, from type and treatment together.

    A treated well without a name stays treated; a well whose type and treatment contradict each other
    (``Sample`` with DMSO, ``Vehicle_control`` with a compound) is refused: either reading would be a guess.

    Raises:
        BadInputError: a sample type that is unknown or contradicts the treatment.
    """
    treatment, sample_type = pl.col("treatment_1"), pl.col("sample_type")
    names_control = treatment.is_in(list(KIND_BY_CONTROL)).fill_null(value=False)
    treated = sample_type.replace_strict(KIND_BY_TREATED_TYPE, default=None, return_dtype=pl.String)
    control = treatment.replace_strict(KIND_BY_CONTROL, default=None, return_dtype=pl.String)
    kind = pl.when(sample_type == "Vehicle_control").then(control).when(~names_control).then(treated)
    plate_map.require(kind.is_not_null(), "sample_type", "without meaning beside its treatment")
    return plate_map.rows.with_columns(
        sample_kind=kind,
        compound_reported=pl.when(sample_type.is_in(list(KIND_BY_TREATED_TYPE))).then(treatment),
    )
