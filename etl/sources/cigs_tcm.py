"""CIGS, traditional Chinese medicine: 1,900 compounds, two lines, 10 and 20 µM, 24 h, HiMAP-seq.

Raw layout: as ``cigs``, four subsets. The sample table has ``Sample_unique_id``, ``Treat`` (a number
``Cpd0165`` or a control), ``Plate``, ``library`` (``Library`` in some files), ``Cell``, ``Dose`` and
``Time``.

Quirks: no wells; the subsets use the same numbers of samples and plates again; some treatments are spelled
``Compd0165``, which the table of compounds does not know; that table calls its CAS column ``Catalog Number``,
too.

Here: this library's files and columns. Not here: reading (``cigs``).
"""

from typing import Final

import polars as pl

from etl.formats.delimited import TextTable
from etl.sources import cigs
from etl.sources.base import SourceSpec
from etl.sources.cigs import Columns, Subset


def _subset(line: str, label: str, dose_um: str) -> Subset:
    name = f"TCM_Compounds_{label}_{dose_um}"
    return Subset(
        key=f"{label}_{dose_um}uM",
        counts=f"{name}_Counts.xlsx",
        metadata=f"{name}_MetaData.xlsx",
        line=line,
        dose_um=dose_um,
    )


SUBSETS: Final = (
    _subset(cigs.HEK293T, "HEK293T", "10"),
    _subset(cigs.HEK293T, "HEK293T", "20"),
    _subset(cigs.MDA_MB_231, "MDA_MB_231", "10"),
    _subset(cigs.MDA_MB_231, "MDA_MB_231", "20"),
)

SPEC = SourceSpec(
    dataset_id="cigs_tcm",
    title="CIGS, compounds of traditional Chinese medicine (Chemical-Induced Gene Signatures)",
    assay="targeted_counts",
    readout="UMI counts of 3,407 genes by HiMAP-seq, 24 h",
    value_scale="counts",
    files=cigs.file_list(SUBSETS),
    license=cigs.LICENSE,
    is_redistributable=False,
    access="open",
    release="as published with the article, 2025",
    doi=cigs.DOI,
    url=cigs.HOME,
)


class CigsTcm(cigs.Cigs):
    """Adapter of the compounds of traditional Chinese medicine."""

    spec = SPEC
    subsets = SUBSETS
    columns = Columns(
        sample_id="sample_unique_id",
        treatment="treat",
        cell="cell",
        dose="dose",
        time="time",
        others=("plate", "library"),
    )
    compound_sheet = "Supplementary Table 4"
    compound_columns = ("name", "compound_reported", "cas")
    catalogue_number = r"^Cpd\d"

    def placed(self, table: TextTable, subset: Subset) -> pl.DataFrame:
        """Return the rows with plate (its number within the subset), batch (the library), no well."""
        nothing = pl.lit(None, pl.String)
        return table.rows.with_columns(
            plate=pl.lit(f"{subset.key}.") + pl.col("plate"),
            well=nothing,
            replicate=nothing,
            batch="library",
            is_excluded=pl.lit(value=False),
        )
