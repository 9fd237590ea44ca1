"""L1000, CMap LINCS 2020 release (``beta``), Level 3: compounds and controls, or a subset in the same layout.

Raw layout, the publisher's files as they are:

* ``level3_beta_trt_cp_n*.gctx`` (1,805,898 wells) and ``level3_beta_ctl_n*.gctx`` (188,708 wells): log2
  expression; columns are instances, rows are Entrez gene ids without further metadata; 12,328 rows, of which
  978 are measured landmarks and the rest inferred. Genetic and biologic perturbations have matrices of their
  own, which are not read;
* ``instinfo_beta.txt[.gz]``: one row per instance of the whole release (3.0 million), tab-separated;
* ``geneinfo_beta.txt[.gz]`` (optional for matrices of landmarks only): symbol and ``feature_space``;
* ``compoundinfo_beta.txt[.gz]`` (optional): SMILES, InChIKey, target and mechanism; a compound has as many
  rows as it has targets, mechanisms and aliases;
* ``cellinfo_beta.txt[.gz]`` (optional): Cellosaurus accession, CCLE name and lineage per line.

Quirks: names differ from the releases in GEO (``sample_id``, ``cmap_name``, ``cell_iname``); a missing value
is an empty cell or ``""``; ``qc_pass`` says whether a well passed; ``pert_dose`` is the dose as dispensed
(``9.99999``) and ``nearest_dose`` the step that the publisher groups replicates by; plates of several times
are named ``XH``.

Here: reading. Not here: what L1000 codes mean (``l1000``), which rows are genes (``l1000_genes``), ids, dose
units.
"""

from pathlib import Path
from typing import Final

import polars as pl

from etl.sources import l1000, l1000_genes
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.l1000_genes import GeneTable
from etl.sources.l1000_release import Release

CLUE: Final = "https://s3.amazonaws.com/macchiato.clue.io/builds/LINCS2020"

SPEC = SourceSpec(
    dataset_id="l1000_2020",
    title="L1000 Connectivity Map, CMap LINCS 2020 release, compounds",
    assay="l1000",
    readout="L1000 bead fluorescence of 978 landmark genes, normalized (Level 3, beta build)",
    value_scale="log2",
    files=(
        RemoteFile(
            role="expression",
            pattern="level3_beta_trt_cp_*.gctx",
            url=f"{CLUE}/level3/level3_beta_trt_cp_n1805898x12328.gctx",
        ),
        RemoteFile(
            role="controls",
            pattern="level3_beta_ctl_*.gctx",
            url=f"{CLUE}/level3/level3_beta_ctl_n188708x12328.gctx",
        ),
        RemoteFile(role="instances", pattern="instinfo_beta.txt*", url=f"{CLUE}/instinfo_beta.txt"),
        RemoteFile(
            role="genes", pattern="geneinfo_beta.txt*", url=f"{CLUE}/geneinfo_beta.txt", is_required=False
        ),
        RemoteFile(
            role="perturbagens",
            pattern="compoundinfo_beta.txt*",
            url=f"{CLUE}/compoundinfo_beta.txt",
            is_required=False,
        ),
        RemoteFile(
            role="cells", pattern="cellinfo_beta.txt*", url=f"{CLUE}/cellinfo_beta.txt", is_required=False
        ),
    ),
    license="not stated in the files; CLUE terms of use, LINCS data release policy",
    is_redistributable=False,
    access="open",
    release="CMap LINCS 2020, beta build",
    doi="10.1016/j.cell.2017.10.049",
    url="https://clue.io/data/CMap2020#LINCS2020",
)

FACTS: Final = (
    "nearest_dose",
    "pert_mfc_id",
    "cell_mfc_name",
    "rna_plate",
    "rna_well",
    "count_mean",
    "count_cv",
    "qc_f_logp",
    "qc_iqr",
    "qc_slope",
    "dyn_range",
    "inv_level_10",
    "build_name",
    "failure_mode",
    "project_code",
)
"""What the instance table says beyond the columns of a reported sample."""

NAMES: Final = {
    "sample_id": "inst_id",
    "cmap_name": "pert_iname",
    "cell_iname": "cell_id",
    "det_well": "well",
}
"""Columns that the other releases name differently, and what they are called there and here."""

ELSEWHERE: Final = ("genetic", "biologic")
"""Kinds whose values are in matrices that are not read."""

QC_VALUES: Final = ("0", "0.0", "1", "1.0")


class L1000Release2020(Release):
    """Adapter of the CMap LINCS 2020 release.

    A genetic or biologic instance keeps its kind: its matrix is not read. A well that the publisher marks as
    failed is of low quality; one without a mark is not.
    """

    spec = SPEC
    facts = FACTS
    gene_url = f"{CLUE}/geneinfo_beta.txt"
    matrices = ("expression", "controls")

    def read_genes(self, path: Path) -> GeneTable:
        """Read the gene table of this release.

        Raises:
            BadInputError: as ``l1000_genes.read_beta_genes``.
        """
        return l1000_genes.read_beta_genes(path, dataset_id=self.spec.dataset_id)

    def instances(self, raw: Path) -> pl.DataFrame:
        """Return the instance table with sample kinds.

        Raises:
            BadInputError: as ``Release.instances``, or an unknown mark in ``qc_pass``.
        """
        files, dataset_id = self.spec.locate(raw), self.spec.dataset_id
        columns = {*l1000.PERT_COLUMNS, "inst_id", "well"}.difference(NAMES.values())
        wanted = (*NAMES, *sorted(columns), "det_plate", "bead_batch", "qc_pass", *FACTS)
        table = l1000.read_table(files["instances"], wanted, dataset_id=dataset_id)
        # Asked here already, since a message names the column as the file does.
        table.require_present("sample_id")
        table.require_unique("sample_id")
        qc_pass = pl.col("qc_pass")
        table.require(qc_pass.is_null() | qc_pass.is_in(QC_VALUES), "qc_pass", "not 0 or 1")
        instances = table.rows.rename(NAMES).with_columns(
            pert_vehicle=pl.lit(None, pl.String),
            vendor_id="pert_id",
            is_low_quality=qc_pass.str.starts_with("0").fill_null(value=False),
        )
        return l1000.with_sample_kind(
            table.with_rows(instances), measured=self.measured(raw), elsewhere=ELSEWHERE
        )

    def perturbagens(self, raw: Path) -> pl.DataFrame | None:
        """Return one row per compound in the columns of ``ReportedCompound``; None without the table.

        Of several names the first in alphabetical order stands; targets and mechanisms are joined by ``|``.
        """
        path = self.spec.locate(raw).get("perturbagens")
        if path is None:
            return None
        columns = ("pert_id", "cmap_name", "target", "moa", "canonical_smiles", "inchi_key")
        table = l1000.read_table(path, columns, dataset_id=self.spec.dataset_id)
        table.require_present("pert_id")

        def first(column: str) -> pl.Expr:
            return pl.col(column).drop_nulls().sort().first()

        def every(column: str) -> pl.Expr:
            distinct = pl.col(column).drop_nulls().unique().sort()
            return pl.when(distinct.len() > 0).then(distinct.str.join("|"))

        return table.rows.group_by(compound_reported="pert_id").agg(
            name=first("cmap_name"),
            smiles=first("canonical_smiles"),
            inchikey=first("inchi_key"),
            mechanism=every("moa"),
            targets=every("target"),
        )

    def cells(self, raw: Path) -> pl.DataFrame | None:
        """Return the cell table in the columns of ``ReportedContext``; None where it is not there."""
        path = self.spec.locate(raw).get("cells")
        if path is None:
            return None
        columns = ("cell_iname", "cellosaurus_id", "ccle_name", "cell_lineage")
        table = l1000.read_table(path, columns, dataset_id=self.spec.dataset_id)
        table.require_present("cell_iname")
        table.require_unique("cell_iname")
        return table.rows.select(
            context_reported="cell_iname",
            accession="cellosaurus_id",
            model_id="ccle_name",
            tissue="cell_lineage",
        )
