"""L1000: a release as its adapters have it, one table of instances and one or several matrices.

Here: the methods of an adapter. Not here: which files a release has and how its tables name things (the
adapters), what L1000 codes mean (``l1000``), which rows of a matrix are genes (``l1000_genes``).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from etl.errors import BadInputError
from etl.formats import gctx
from etl.sources import l1000, l1000_genes
from etl.sources.base import BLOCK_BYTES, ExpressionBlock, SourceSpec
from etl.sources.l1000_genes import GeneSpace, GeneTable
from schemas.reported import ReportedGene
from schemas.table import match_to_model


class Release(ABC):
    """Adapter of a release.

    A subclass states its class attributes and how its tables are read. Roles of files: ``instances``, those
    of ``matrices``, and ``genes`` (optional for matrices of landmarks only).

    Attributes:
        spec: the dataset.
        facts: what the instance table says beyond the columns of a reported sample.
        gene_url: where the gene table is offered.
        matrices: roles of the matrices, in the order in which they are read.
        restored_ids: whole gene ids by what is left of them in the matrix.

    Args:
        gene_space: genes to read; inferred ones only where a user asks for them, since the registered dataset
            holds what was measured.
    """

    spec: SourceSpec
    facts: ClassVar[tuple[str, ...]]
    gene_url: ClassVar[str]
    matrices: ClassVar[tuple[str, ...]] = ("expression",)
    restored_ids: ClassVar[Mapping[str, str]] = {}

    def __init__(self, gene_space: GeneSpace = "landmark") -> None:
        self.gene_space: GeneSpace = gene_space

    @abstractmethod
    def instances(self, raw: Path) -> pl.DataFrame:
        """Return the instances with their sample kind, as ``l1000.with_sample_kind`` does.

        Raises:
            BadInputError: as ``l1000.read_table``, ``l1000.with_sample_kind`` and ``measured``.
        """

    def perturbagens(self, raw: Path) -> pl.DataFrame | None:  # noqa: ARG002
        """Return what is known of compounds, in columns of ``ReportedCompound``; None where nothing is."""
        return None

    def cells(self, raw: Path) -> pl.DataFrame | None:  # noqa: ARG002
        """Return what is known of cell labels, in columns of ``ReportedContext``; None where nothing is."""
        return None

    def read_genes(self, path: Path) -> GeneTable:
        """Read the gene table.

        Raises:
            BadInputError: as ``l1000_genes.read_geo_genes``.
        """
        return l1000_genes.read_geo_genes(path, dataset_id=self.spec.dataset_id, gene_space=self.gene_space)

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per instance of the table; those that the matrices lack are ``empty``.

        Raises:
            BadInputError: as ``instances``.
        """
        return l1000.reported_samples(self.instances(raw))

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return ``facts``, and what is stated as the dose of a control.

        Raises:
            BadInputError: as ``instances``.
        """
        return l1000.reported_annotations(self.instances(raw), self.facts)

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per treated ``pert_id``, with structures where a perturbagen table is there.

        Raises:
            BadInputError: as ``instances`` and ``perturbagens``.
        """
        return l1000.reported_compounds(self.instances(raw), self.perturbagens(raw))

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label in scope, with what the cell table says of it.

        Raises:
            BadInputError: as ``instances`` and ``cells``.
        """
        return l1000.reported_contexts(self.instances(raw), self.cells(raw))

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene of the gene space, in the order of the first matrix.

        Raises:
            BadInputError: as ``read_genes`` and ``l1000_genes.wanted_rows``, or matrices of other genes.
        """
        return match_to_model(self._axes(raw)[self.matrices[0]].drop("position"), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the instances of all matrices on the genes of the gene space, in file order.

        Raises:
            BadInputError: as ``genes`` and ``gctx.blocks``.
        """
        files, axes = self.spec.locate(raw), self._axes(raw)
        for role in self.matrices:
            keys = gctx.read_annotation(files[role]).column_ids
            positions = axes[role]["position"].to_numpy()
            for block in gctx.blocks(files[role], rows=positions, block_bytes=BLOCK_BYTES):
                yield ExpressionBlock([keys[column] for column in block.columns], block.values)

    def measured(self, raw: Path) -> list[str]:
        """Return the instances of all matrices.

        Raises:
            BadInputError: as ``gctx.read_annotation``, or an instance in two matrices.
        """
        files = self.spec.locate(raw)
        measured: list[str] = []
        for role in self.matrices:
            found = gctx.read_annotation(files[role]).column_ids
            if twice := sorted(set(measured) & set(found)):
                raise BadInputError(
                    f"{len(twice)} sample(s) stand in both matrices, the first is {twice[0]}",
                    dataset_id=self.spec.dataset_id,
                    file=files[role],
                )
            measured += found
        return measured

    def _axes(self, raw: Path) -> dict[str, pl.DataFrame]:
        """Return the wanted rows of each matrix by its role, all in the order of the first."""
        files = self.spec.locate(raw)
        genes = self.read_genes(files["genes"]) if "genes" in files else None
        axes: dict[str, pl.DataFrame] = {}
        for role in self.matrices:
            wanted = l1000_genes.wanted_rows(
                files[role],
                genes,
                dataset_id=self.spec.dataset_id,
                gene_space=self.gene_space,
                restored_ids=self.restored_ids,
                gene_url=self.gene_url,
            )
            axes[role] = wanted if not axes else self._aligned(wanted, axes[self.matrices[0]], files[role])
        return axes

    def _aligned(self, wanted: pl.DataFrame, first: pl.DataFrame, path: Path) -> pl.DataFrame:
        aligned = first.select("gene_reported").join(
            wanted, on="gene_reported", how="inner", maintain_order="left"
        )
        if not aligned.height == first.height == wanted.height:
            different = np.setxor1d(first["gene_reported"].to_list(), wanted["gene_reported"].to_list())
            raise BadInputError(
                f"the matrices differ in {len(different)} gene(s), the first is {different[0]}",
                dataset_id=self.spec.dataset_id,
                file=path,
            )
        return aligned
