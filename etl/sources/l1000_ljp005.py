"""L1000 plate LJP005 (LINCS joint project): A375, 24 h, 59 compounds at six doses, Level 3.

Raw layout: one GCT 1.3, ``LJP005_A375_24H_X1_B19_QNORM_n377x978.gct``: 978 landmark genes x 377 wells of one
384-well detection plate, log2, quantile-normalized. All about wells and genes stands in the file itself:

* rows are Affymetrix probe ids with ``pr_gene_id`` (Entrez) and ``pr_gene_symbol``;
* columns are instances, ``<det_plate>:<well>``, with 35 metadata fields; ``-666`` marks what is missing;
* ``pert_dose`` with ``pert_dose_unit`` and ``pert_idose`` (``10.0 um``) say the same; the former is read;
* ``trt_poscon`` wells (geldanamycin, mitoxantrone, radicicol, withaferin-a) have doses like any compound;
* ``x_hmsl_id`` is the compound's id at Harvard Medical School, for where ``pert_id`` is no BRD id.

Here: reading. Not here: what L1000 codes mean (``l1000``), ids, dose units.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import delimited, gct
from etl.formats.matrix import AnnotatedMatrix
from etl.sources import l1000
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from schemas.reported import ReportedGene
from schemas.table import match_to_model

SPEC = SourceSpec(
    dataset_id="l1000_ljp005",
    title="L1000 LINCS joint project, plate LJP005 of A375 after 24 h",
    assay="l1000",
    readout="L1000 bead fluorescence of 978 landmark genes, quantile-normalized (Level 3)",
    value_scale="log2",
    files=(RemoteFile(role="expression", pattern="LJP005_*_QNORM_*.gct"),),
    license="not stated in the file; LINCS data release policy",
    is_redistributable=False,
    access="manual",
    release="QNORM, plate LJP005_A375_24H_X1_B19",
    doi="10.1016/j.cell.2017.10.049",
    url="https://github.com/cmap/cmapPy",
)


FIELDS: Final = ("det_plate", "det_well", "bead_batch", "pert_vehicle", "x_hmsl_id", *l1000.PERT_COLUMNS)
"""Column metadata that is read."""


class L1000Ljp005:
    """Adapter of the LJP005 plate."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per well of the plate that was profiled.

        Raises:
            BadInputError: as ``gct.read`` and ``l1000.with_sample_kind``, or a metadata field is missing.
        """
        return l1000.reported_samples(self._instances(raw))

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per treated ``pert_id``.

        Raises:
            BadInputError: as ``samples``.
        """
        return l1000.reported_compounds(self._instances(raw))

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``cell_id``.

        Raises:
            BadInputError: as ``samples``.
        """
        return l1000.reported_contexts(self._instances(raw))

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per probe, in file order.

        Raises:
            BadInputError: as ``gct.read``, a metadata field is missing, or an Entrez id is no number.
        """
        path, matrix = self._read(raw)
        probes = self._metadata(matrix.row_metadata, ("id", "pr_gene_id", "pr_gene_symbol"), path)
        probes = probes.with_whole_numbers("pr_gene_id")
        rows = probes.rows.select(gene_reported="id", symbol="pr_gene_symbol", entrez_id="pr_gene_id")
        return match_to_model(rows, ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the plate in one block: at most 384 wells x 978 genes, 1.5 MB.

        Raises:
            BadInputError: as ``gct.read``.
        """
        _, matrix = self._read(raw)
        yield ExpressionBlock(matrix.column_ids, matrix.values)

    def _read(self, raw: Path) -> tuple[Path, AnnotatedMatrix]:
        path = self.spec.locate(raw)["expression"]
        return path, gct.read(path)

    def _metadata(self, metadata: pl.DataFrame, fields: Sequence[str], path: Path) -> delimited.TextTable:
        return delimited.text_table(
            metadata, fields, dataset_id=self.spec.dataset_id, path=path, missing=l1000.MISSING, label="id"
        )

    def _instances(self, raw: Path) -> pl.DataFrame:
        path, matrix = self._read(raw)
        wells = self._metadata(matrix.column_metadata, FIELDS, path)
        is_brd = pl.col("pert_id").str.starts_with("BRD-")
        instances = wells.rows.with_columns(
            inst_id="id",
            well="det_well",
            vendor_id=pl.when(is_brd).then("pert_id").otherwise(pl.coalesce("x_hmsl_id", "pert_id")),
        )
        return l1000.with_sample_kind(wells.with_rows(instances), measured=matrix.column_ids)
