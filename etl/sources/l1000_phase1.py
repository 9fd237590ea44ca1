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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import gctx
from etl.sources import l1000, l1000_genes
from etl.sources.base import BLOCK_BYTES, ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.l1000_genes import GeneSpace
from schemas.reported import ReportedGene
from schemas.table import match_to_model

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


FACTS: Final = ("rna_plate",)
"""What the instance table says beyond the columns of a reported sample."""


class L1000Phase1:
    """Adapter of L1000 phase 1.

    Args:
        gene_space: genes to read; inferred ones only where a user asks for them, since the registered dataset
            holds what was measured.
    """

    spec = SPEC

    def __init__(self, gene_space: GeneSpace = "landmark") -> None:
        self.gene_space: GeneSpace = gene_space

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per instance of the table; those that the matrix lacks are ``empty``.

        Raises:
            BadInputError: as ``gctx.read_annotation``, ``l1000.read_table`` and ``l1000.with_sample_kind``.
        """
        return l1000.reported_samples(self._instances(raw))

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return the plate of lysates, and what is stated as the dose of a control.

        Raises:
            BadInputError: as ``samples``.
        """
        return l1000.reported_annotations(self._instances(raw), FACTS)

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per treated ``pert_id``, with structures where the perturbagen table is there.

        Raises:
            BadInputError: as ``samples``, a perturbagen listed twice, or a PubChem CID that is no number.
        """
        return l1000.reported_compounds(self._instances(raw), self._perturbagens(raw))

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``cell_id`` in scope.

        Raises:
            BadInputError: as ``samples``.
        """
        return l1000.reported_contexts(self._instances(raw))

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene of the gene space, in file order.

        Raises:
            BadInputError: as ``l1000_genes.read_geo_genes`` and ``l1000_genes.wanted_rows``.
        """
        return match_to_model(self._genes(raw).drop("position"), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield all instances of the matrix on the genes of the gene space, in file order.

        Raises:
            BadInputError: as ``genes`` and ``gctx.blocks``.
        """
        path = self.spec.locate(raw)["expression"]
        instances = gctx.read_annotation(path).column_ids
        positions = self._genes(raw)["position"].to_numpy()
        for block in gctx.blocks(path, rows=positions, block_bytes=BLOCK_BYTES):
            yield ExpressionBlock([instances[column] for column in block.columns], block.values)

    def _instances(self, raw: Path) -> pl.DataFrame:
        files = self.spec.locate(raw)
        table = l1000.read_table(
            files["instances"],
            ("inst_id", "rna_well", *FACTS, *l1000.PERT_COLUMNS),
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
        measured = gctx.read_annotation(files["expression"]).column_ids
        return l1000.with_sample_kind(table.with_rows(instances), measured=measured)

    def _perturbagens(self, raw: Path) -> pl.DataFrame | None:
        """Return the perturbagen table in the columns of ``ReportedCompound``; None where it is not there."""
        path = self.spec.locate(raw).get("perturbagens")
        if path is None:
            return None
        return l1000.read_perturbagens(path, dataset_id=self.spec.dataset_id, has_pubchem_cid=True)

    def _genes(self, raw: Path) -> pl.DataFrame:
        files, dataset_id = self.spec.locate(raw), self.spec.dataset_id
        genes = None
        if "genes" in files:
            genes = l1000_genes.read_geo_genes(
                files["genes"], dataset_id=dataset_id, gene_space=self.gene_space
            )
        return l1000_genes.wanted_rows(
            files["expression"],
            genes,
            dataset_id=dataset_id,
            gene_space=self.gene_space,
            restored_ids=LOST_DIGIT,
            gene_url=f"{GEO}_gene_info.txt.gz",
        )
