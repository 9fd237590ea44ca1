"""L1000 phase 2 (GEO GSE70138), Level 3: 345,976 wells, or a subset of them in the same layout.

Raw layout, the publisher's files with the matrix decompressed (HDF5 needs random access):

* ``GSE70138*_Level3_*.gctx``: log2 expression; columns are instances, rows are Entrez gene ids without
  further metadata; 12,328 rows, of which 978 are measured landmarks and the rest inferred;
* ``GSE70138*inst_info*.txt[.gz]`` (``_2017-03-06``): one row per instance, tab-separated, ``-666`` for
  missing, with ``det_plate``, ``det_well`` and the batch of the compound in ``pert_mfc_id``;
* ``GSE70138*gene_info*.txt[.gz]`` (optional for a matrix of landmarks only): symbol, ``pr_is_lm``;
* ``GSE70138*pert_info*.txt[.gz]`` (optional): InChIKey and SMILES, no PubChem CID;
* ``GSE92742*pert_info*.txt[.gz]`` (optional): the table of phase 1, for its PubChem CIDs and for what the
  table of phase 2 lacks;
* ``GSE70138*cell_info*.txt[.gz]`` (``_2017-04-28``, optional): the primary site per cell line.

Quirks: doses and times are printed as floats (``24.0``, ``-666.0``); the table names no vehicle for treated
wells and no bead batch; derived lines (``A375.311``, ``NPC.CAS9``) are labels of their own, and some labels
are missing from ``cell_info``.

Here: reading. Not here: what L1000 codes mean (``l1000``), which rows are genes (``l1000_genes``), ids, dose
units.
"""

from pathlib import Path
from typing import Final

import polars as pl

from etl.sources import l1000
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.l1000_release import Release

GEO: Final = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE70nnn/GSE70138/suppl/GSE70138_Broad_LINCS"
GEO_PHASE1: Final = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE92nnn/GSE92742/suppl/GSE92742_Broad_LINCS"

SPEC = SourceSpec(
    dataset_id="l1000_phase2",
    title="L1000 Connectivity Map, LINCS phase 2 (GSE70138)",
    assay="l1000",
    readout="L1000 bead fluorescence of 978 landmark genes, normalized (Level 3, INF mlr12k)",
    value_scale="log2",
    files=(
        RemoteFile(
            role="expression",
            pattern="GSE70138*_Level3_*.gctx",
            url=f"{GEO}_Level3_INF_mlr12k_n345976x12328_2017-03-06.gctx.gz",
        ),
        RemoteFile(
            role="instances",
            pattern="GSE70138*inst_info*.txt*",
            url=f"{GEO}_inst_info_2017-03-06.txt.gz",
        ),
        RemoteFile(
            role="genes",
            pattern="GSE70138*gene_info*.txt*",
            url=f"{GEO}_gene_info_2017-03-06.txt.gz",
            is_required=False,
        ),
        RemoteFile(
            role="perturbagens",
            pattern="GSE70138*pert_info*.txt*",
            url=f"{GEO}_pert_info_2017-03-06.txt.gz",
            is_required=False,
        ),
        RemoteFile(
            role="phase1_perturbagens",
            pattern="GSE92742*pert_info*.txt*",
            url=f"{GEO_PHASE1}_pert_info.txt.gz",
            is_required=False,
        ),
        RemoteFile(
            role="cells",
            pattern="GSE70138*cell_info*.txt*",
            url=f"{GEO}_cell_info_2017-04-28.txt.gz",
            is_required=False,
        ),
    ),
    license="not stated in the files; public in GEO, LINCS data release policy",
    is_redistributable=False,
    access="open",
    release="GSE70138 Level 3, 2017-03-06",
    doi="10.1016/j.cell.2017.10.049",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE70138",
)


class L1000Phase2(Release):
    """Adapter of L1000 phase 2. Of a well it also says the batch of the compound."""

    spec = SPEC
    facts = ("pert_mfc_id",)
    gene_url = f"{GEO}_gene_info_2017-03-06.txt.gz"

    def instances(self, raw: Path) -> pl.DataFrame:
        """Return the instance table with sample kinds.

        Raises:
            BadInputError: as ``Release.instances``.
        """
        files = self.spec.locate(raw)
        columns = ("inst_id", "det_plate", "det_well", *self.facts, *l1000.PERT_COLUMNS)
        table = l1000.read_table(files["instances"], columns, dataset_id=self.spec.dataset_id)
        instances = table.rows.with_columns(
            well="det_well",
            bead_batch=pl.lit(None, pl.String),
            pert_vehicle=pl.lit(None, pl.String),
            vendor_id="pert_id",
        )
        return l1000.with_sample_kind(table.with_rows(instances), measured=self.measured(raw))

    def perturbagens(self, raw: Path) -> pl.DataFrame | None:
        """Return both perturbagen tables as one; of a perturbagen in both only the CID is phase 1's."""
        files, dataset_id = self.spec.locate(raw), self.spec.dataset_id
        tables = [
            l1000.read_perturbagens(files[role], dataset_id=dataset_id, has_pubchem_cid=has_pubchem_cid)
            for role, has_pubchem_cid in (("perturbagens", False), ("phase1_perturbagens", True))
            if role in files
        ]
        if not tables:
            return None
        together = pl.concat(tables).group_by("compound_reported", maintain_order=True)
        return together.agg(
            pl.col("name", "smiles", "inchikey").first(), pl.col("pubchem_cid").drop_nulls().first()
        )

    def cells(self, raw: Path) -> pl.DataFrame | None:
        """Return the cell table in the columns of ``ReportedContext``; None where it is not there."""
        path = self.spec.locate(raw).get("cells")
        if path is None:
            return None
        table = l1000.read_table(path, ("cell_id", "primary_site"), dataset_id=self.spec.dataset_id)
        table.require_present("cell_id")
        table.require_unique("cell_id")
        return table.rows.select(context_reported="cell_id", tissue="primary_site")
