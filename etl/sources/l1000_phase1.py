"""L1000 phase 1 (GEO GSE92742), Level 3: 1.3 million wells, or a subset of them in the same layout.

Raw layout, the publisher's files with the matrix decompressed (HDF5 needs random access):

* ``GSE92742*_Level3_*.gctx``: log2 expression; columns are instances, rows are Entrez gene ids without
  further metadata. The whole release has 12,328 rows: 978 measured landmarks, the rest inferred;
* ``GSE92742*inst_info.txt[.gz]``: one row per instance, tab-separated, ``-666`` for missing;
* ``GSE92742*gene_info.txt[.gz]`` (optional for a matrix of landmarks only): symbol and ``pr_is_lm`` per gene;
* ``GSE92742*pert_info.txt[.gz]`` (optional): InChIKey, SMILES and PubChem CID per perturbagen.

Quirks: the table has no detection plate, it is the text before ``:`` in ``inst_id``; it names no vehicle for
treated wells; genetic perturbations share the table with compounds. A matrix written with one byte too few
per row id lacks the last digit of the nine landmarks with six-digit Entrez ids (``LOST_DIGIT``).

Here: reading. Not here: what L1000 codes mean (``l1000``), which rows are genes (``l1000_genes``), ids, dose
units.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from etl.sources import l1000
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.l1000_release import Release

GEO = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE92nnn/GSE92742/suppl/GSE92742_Broad_LINCS"

SPEC = SourceSpec(
    dataset_id="l1000_phase1",
    title="L1000 Connectivity Map, LINCS phase 1 (GSE92742)",
    assay="l1000",
    readout="L1000 bead fluorescence of 978 landmark genes, normalized (Level 3, INF mlr12k)",
    value_scale="log2",
    files=(
        RemoteFile(
            role="expression",
            pattern="GSE92742*_Level3_*.gctx",
            url=f"{GEO}_Level3_INF_mlr12k_n1319138x12328.gctx.gz",
        ),
        RemoteFile(role="instances", pattern="GSE92742*inst_info.txt*", url=f"{GEO}_inst_info.txt.gz"),
        RemoteFile(
            role="genes",
            pattern="GSE92742*gene_info.txt*",
            url=f"{GEO}_gene_info.txt.gz",
            is_required=False,
        ),
        RemoteFile(
            role="perturbagens",
            pattern="GSE92742*pert_info.txt*",
            url=f"{GEO}_pert_info.txt.gz",
            is_required=False,
        ),
    ),
    license="not stated in the files; public in GEO, LINCS data release policy",
    is_redistributable=False,
    access="open",
    release="GSE92742 Level 3",
    doi="10.1016/j.cell.2017.10.049",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE92742",
)

LOST_DIGIT: Final[Mapping[str, str]] = {
    "11683": "116832",
    "12458": "124583",
    "14717": "147179",
    "14802": "148022",
    "20008": "200081",
    "20073": "200734",
    "25636": "256364",
    "37534": "375346",
    "38865": "388650",
}
"""Landmarks whose Entrez id lost its last digit in storage; as they stand, none is an id of a human gene."""


class L1000Phase1(Release):
    """Adapter of L1000 phase 1. Of a well it also says the plate of lysates."""

    spec = SPEC
    facts = ("rna_plate",)
    gene_url = f"{GEO}_gene_info.txt.gz"
    restored_ids = LOST_DIGIT

    def instances(self, raw: Path) -> pl.DataFrame:
        """Return the instance table with sample kinds.

        Raises:
            BadInputError: as ``Release.instances``, or an ``inst_id`` that is not plate and well.
        """
        files = self.spec.locate(raw)
        table = l1000.read_table(
            files["instances"],
            ("inst_id", "rna_well", *self.facts, *l1000.PERT_COLUMNS),
            dataset_id=self.spec.dataset_id,
        )
        inst_id = pl.col("inst_id")
        table.require(inst_id.is_null() | inst_id.str.contains("^[^:]+:"), "inst_id", "not <plate>:<well>")
        instances = table.rows.with_columns(
            det_plate=inst_id.str.extract(r"^([^:]+):"),
            well="rna_well",
            bead_batch=pl.lit(None, pl.String),
            pert_vehicle=pl.lit(None, pl.String),
            vendor_id="pert_id",
        )
        return l1000.with_sample_kind(table.with_rows(instances), measured=self.measured(raw))

    def perturbagens(self, raw: Path) -> pl.DataFrame | None:
        """Return the perturbagen table in the columns of ``ReportedCompound``; None where it is not there."""
        path = self.spec.locate(raw).get("perturbagens")
        if path is None:
            return None
        return l1000.read_perturbagens(path, dataset_id=self.spec.dataset_id, has_pubchem_cid=True)
