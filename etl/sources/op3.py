"""OP3, the single-cell perturbation study of the NeurIPS 2023 competition: blood cells of three donors.

Raw layout: one h5ad (``pseudobulk_filtered_with_uns.h5ad``), already a pseudobulk. An observation is one cell
type in one well of one plate; ``X`` holds UMI counts summed over its cells; genes are named by symbol. The
publisher dropped profiles of ten cells or fewer, some compounds and donors, and genes of low expression.

Quirks: ``control`` is true for the vehicle (``Dimethyl Sulfoxide``) and for the positive controls, which only
``sm_name`` tells apart; the vehicle is listed like a compound, with structure and dose; names hold blanks,
brackets and semicolons; plates nest in donors.

Here: reading. Not here: gene symbols to ids, dose units, library sizes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import h5ad
from etl.formats.delimited import TextTable
from etl.sources import bulk_h5ad
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene, ReportedSample
from schemas.table import match_to_model

BUCKET = "https://openproblems-data.s3.amazonaws.com/resources/task_perturbation_prediction/datasets"

SPEC = SourceSpec(
    dataset_id="op3",
    title="OP3: compounds on blood mononuclear cells of three donors (NeurIPS 2023, GSE279945)",
    assay="scrna",
    readout="UMI counts of 10x 3' v3.1 single-cell RNA sequencing, summed per well and cell type, 24 h",
    value_scale="counts",
    files=(
        RemoteFile(
            role="pseudobulk",
            pattern="pseudobulk_filtered_with_uns.h5ad",
            url=f"{BUCKET}/neurips-2023-data/pseudobulk_filtered_with_uns.h5ad",
        ),
    ),
    license="not stated in the file; public in GEO (GSE279945) and in the Open Problems bucket",
    is_redistributable=False,
    access="open",
    release="neurips-2023-data, pseudobulk_filtered_with_uns",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE279945",
)

COLUMNS: Final = (
    "plate_name",
    "well",
    "donor_id",
    "cell_type",
    "sm_name",
    "sm_lincs_id",
    "SMILES",
    "control",
    "dose_uM",
    "timepoint_hr",
    "cell_count_by_well_celltype",
)
"""What is read into columns of its own; any other column of the file becomes an annotation."""

VEHICLE: Final = "Dimethyl Sulfoxide"
POSITIVE_CONTROLS: Final = ("Belinostat", "Dabrafenib")

ACCESSION_BY_CELL_TYPE: Final = {
    "B cells": "CL_0000236",
    "Myeloid cells": "CL_0000763",
    "NK cells": "CL_0000623",
    "T cells": "CL_0000084",
}
"""Cell Ontology accessions; a label that is not among them is left to the resolver of names."""


class Op3:
    """Adapter of the OP3 pseudobulk."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per profile; the sample key is the name of its observation.

        Raises:
            BadInputError: a column is missing; a profile is listed twice, by name or as plate, well and cell
                type; a control is neither the vehicle nor a known positive control, or the vehicle is none;
                a number of cells is no whole number; or as ``h5ad.read_table``.
        """
        rows = self._profiles(raw).select(
            "sample_key",
            "sample_kind",
            "donor_id",
            "well",
            context_reported="cell_type",
            compound_reported=pl.when(pl.col("sample_kind") != "vehicle").then("sm_name"),
            dose="dose_uM",
            dose_unit=pl.lit("uM"),
            time="timepoint_hr",
            time_unit=pl.lit("h"),
            plate="plate_name",
            vehicle_group=pl.lit(""),
            n_cells=pl.col("cell_count_by_well_celltype").cast(pl.Int32),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the treated profiles, with structure and LINCS id.

        Raises:
            BadInputError: as ``samples``, or a compound has two structures or two LINCS ids.
        """
        profiles = self._profiles(raw).filter(pl.col("sample_kind") != "vehicle")
        described = profiles.select("sm_name", "sm_lincs_id", "SMILES").unique()
        path = self.spec.locate(raw)["pseudobulk"]
        TextTable(described, self.spec.dataset_id, path, label="sm_name").require_unique("sm_name")
        rows = described.sort("sm_name").select(
            compound_reported="sm_name", name="sm_name", smiles="SMILES", vendor_id="sm_lincs_id"
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell type, with its Cell Ontology accession where it is one of the four known.

        Raises:
            BadInputError: as ``samples``.
        """
        labels = self._profiles(raw)["cell_type"].drop_nulls().unique().sort()
        accession = pl.col("context_reported").replace_strict(
            ACCESSION_BY_CELL_TYPE, default=None, return_dtype=pl.String
        )
        rows = pl.DataFrame({"context_reported": labels}).with_columns(
            accession=accession, tissue=pl.lit("blood")
        )
        return match_to_model(rows, ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene symbol, in file order.

        Raises:
            BadInputError: a symbol is repeated, or as ``h5ad.read_table``.
        """
        table = bulk_h5ad.read_table(
            self.spec.locate(raw)["pseudobulk"], "var", (), dataset_id=self.spec.dataset_id
        )
        table.require_present(h5ad.INDEX)
        table.require_unique(h5ad.INDEX)
        return match_to_model(table.rows.select(gene_reported=h5ad.INDEX, symbol=h5ad.INDEX), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield all profiles, in file order.

        Raises:
            BadInputError: as ``bulk_h5ad.blocks``.
        """
        path = self.spec.locate(raw)["pseudobulk"]
        keys = self._profiles(raw)["sample_key"].to_list()
        for start, values in bulk_h5ad.blocks(path):
            yield ExpressionBlock(keys[start : start + values.shape[0]], values)

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return the split of the competition, the sequencing library and every other column of the file.

        Raises:
            BadInputError: as ``samples``.
        """
        return reported_facts(self._profiles(raw), used={*COLUMNS, "sample_kind"})

    def _profiles(self, raw: Path) -> pl.DataFrame:
        """Return the observations as text with ``sample_key``, ``sample_kind`` and number of cells."""
        path = self.spec.locate(raw)["pseudobulk"]
        table = bulk_h5ad.read_table(path, "obs", COLUMNS, dataset_id=self.spec.dataset_id)
        table.require_present(h5ad.INDEX, "plate_name", "well", "cell_type", "sm_name")
        table.require_unique(h5ad.INDEX)
        table.require_unique("plate_name", "well", "cell_type")
        table = bulk_h5ad.with_flag(table, "control")
        table = table.with_whole_numbers("cell_count_by_well_celltype")
        return _with_sample_kind(table).rename({h5ad.INDEX: "sample_key"})


def _with_sample_kind(table: TextTable) -> pl.DataFrame:
    """Return the profiles with ``sample_kind``, from ``control`` and ``sm_name`` together.

    A control under an unknown name is refused: it may be a vehicle by another name, and taking it for a
    treatment would leave the plate without its reference.

    Raises:
        BadInputError: a control whose name is unknown, or a vehicle that is no control.
    """
    name, is_control = pl.col("sm_name"), pl.col("control")
    kind = (
        pl.when(is_control & (name == VEHICLE))
        .then(pl.lit("vehicle"))
        .when(is_control & name.is_in(POSITIVE_CONTROLS))
        .then(pl.lit("positive_control"))
        .when(~is_control & (name != VEHICLE))
        .then(pl.lit("compound"))
    )
    rule = f"a control is {VEHICLE}, {' or '.join(POSITIVE_CONTROLS)}, and {VEHICLE} is a control"
    table.require(kind.is_not_null(), "sm_name", f"{rule}; this profile breaks that")
    return table.rows.with_columns(sample_kind=kind)
