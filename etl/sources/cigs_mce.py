"""CIGS, bioactive compounds: 11,000 compounds of MedChemExpress, two lines, 10 µM, 24 h, HTS2 counts.

Raw layout: as ``cigs``, two subsets. The sample table has ``unique_ID``, ``experiment_no``, ``sample_plate``,
``sample_row`` and ``sample_column`` (numbers), ``cell_id``, ``pert_itime``, ``pert_idose``, ``sample`` and
``treatment`` (a catalogue number ``HY-…`` or a control).

Quirks: the plate's name ends with its replicate (``MCE4_293T_24H_X1``); the publisher's code leaves out three
plates by name.

Here: this library's files and columns. Not here: reading (``cigs``).
"""

from typing import Final

import polars as pl

from etl.formats.delimited import TextTable
from etl.sources import cigs
from etl.sources.base import SourceSpec
from etl.sources.cigs import Columns, Subset
from etl.sources.wells import well_of

SUBSETS: Final = (
    Subset(
        key="HEK293T_10uM",
        counts="MCE_Bioactive_Compounds_HEK293T_10*M_Counts.xlsx",
        metadata="MCE_Bioactive_Compounds_HEK293T_10*M_MetaData.xlsx",
        line=cigs.HEK293T,
        dose_um="10",
    ),
    Subset(
        key="MDA_MB_231_10uM",
        counts="MCE_Bioactive_Compounds_MDA_MB_231_10*M_Counts.xlsx",
        metadata="MCE_Bioactive_Compounds_MDA_MB_231_10*M_MetaData.xlsx",
        line=cigs.MDA_MB_231,
        dose_um="10",
    ),
)

SPEC = SourceSpec(
    dataset_id="cigs_mce",
    title="CIGS, bioactive compounds of MedChemExpress (Chemical-Induced Gene Signatures)",
    assay="targeted_counts",
    readout="UMI counts of 3,407 genes by HTS2, 24 h",
    value_scale="counts",
    files=cigs.file_list(SUBSETS),
    license=cigs.LICENSE,
    is_redistributable=False,
    access="open",
    release="as published with the article, 2025",
    doi=cigs.DOI,
    url=cigs.HOME,
)

EXCLUDED_PLATES: Final = ("MCE4_293T_24H_X1", "MCE4_293T_24H_X2", "MCE4_293T_24H_X3")
"""Plates that the publisher's code leaves out, without a reason."""


class CigsMce(cigs.Cigs):
    """Adapter of the bioactive compounds."""

    spec = SPEC
    subsets = SUBSETS
    columns = Columns(
        sample_id="unique_id",
        treatment="treatment",
        cell="cell_id",
        dose="pert_idose",
        time="pert_itime",
        others=("experiment_no", "sample_plate", "sample_row", "sample_column"),
    )
    compound_sheet = "Supplementary Table 3"
    compound_columns = ("name", "compound_reported", "cas", "mechanism", "clinical_information", "approval")
    catalogue_number = r"^HY-"

    def placed(self, table: TextTable, subset: Subset) -> pl.DataFrame:  # noqa: ARG002
        """Return the rows with plate, well, replicate (the plate's tag), batch (the experiment), is_excluded.

        Raises:
            BadInputError: a row or column that a plate of 384 wells does not have.
        """
        plate = pl.col("sample_plate")
        return table.rows.with_columns(
            plate=plate,
            well=well_of(table, "sample_row", "sample_column"),
            replicate=plate.str.extract(r"_(X\d+)$"),
            batch="experiment_no",
            is_excluded=plate.is_in(EXCLUDED_PLATES).fill_null(value=False),
        )
