"""DepMap: expression of untreated cell lines, one dataset per release.

Raw layout: ``OmicsExpressionProteinCodingGenesTPMLogp1.csv``, log2(TPM + 1) of protein-coding genes; one
line per model, first its id (``ACH-000219``) under an empty name, then one column per gene, ``TP53 (7157)``:
symbol and Entrez id. 24Q4 has 1,673 models and 19,193 genes, 507 MB.

Quirks: the file does not state its release; the same model has other values in another one. Later releases
(25Q2 on) have another file name, and columns for profiles before the genes: not read.

Here: reading. Not here: ids, and what becomes of two columns of one gene (``etl.expression``).
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from etl.errors import BadInputError
from etl.formats import wide_csv
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene
from schemas.table import match_to_model, polars_schema

FILE: Final = "OmicsExpressionProteinCodingGenesTPMLogp1.csv"
RELEASES: Final = {"24Q2": "10.25452/figshare.plus.25880521.v1", "24Q4": "10.25452/figshare.plus.27993248.v1"}
"""Releases that are datasets, with the DOI of their deposit."""

MAX_LOG2_TPM: Final = 20.0
"""TPM of a sample add up to a million, whose log2(TPM + 1) is 19.93: larger values are not on this scale."""

_GENE = re.compile(r"^(\S.*?) \((\d{1,18})\)$")
_MODEL = r"^ACH-\d{6}$"
_FIRST_COLUMN = ("", "ModelID")


class DepmapExpression:
    """Adapter of one release.

    Args:
        release: of ``RELEASES``.
        symbols: symbols, as the file writes them, of the genes to read; None reads all. A model that is
            trained on the genes of another table, such as TCGA's, gives their list.
    """

    def __init__(self, release: str, symbols: Collection[str] | None = None) -> None:
        self.symbols = symbols
        self.spec = SourceSpec(
            dataset_id=f"depmap_{release.lower()}",
            title=f"DepMap, expression of cancer cell lines, release {release}",
            assay="rnaseq",
            readout="RNA sequencing of untreated lines, log2(TPM + 1) of protein-coding genes",
            value_scale="log2",
            files=(RemoteFile(role="expression", pattern=f"**/{FILE}"),),
            license="CC BY 4.0",
            is_redistributable=True,
            access="manual",
            release=release,
            doi=RELEASES[release],
            url="https://depmap.org/portal/data_page/?tab=allData",
        )

    def compounds(self, raw: Path) -> pl.LazyFrame:  # noqa: ARG002
        """Return no compounds: the lines are untreated."""
        return pl.LazyFrame(schema=polars_schema(ReportedCompound))

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per model, in file order.

        Raises:
            BadInputError: as ``wide_csv.read_labels``; a model id that is none, or comes twice.
        """
        path = self._path(raw)
        models = wide_csv.read_labels(path)
        labels = pl.DataFrame({"context_reported": models, "model_id": models}).with_row_index(
            "row", offset=2
        )
        for fault, wrong in (
            ("not a DepMap model id", labels.filter(~pl.col("model_id").str.contains(_MODEL))),
            ("the model has more than one line", labels.filter(pl.col("model_id").is_duplicated())),
        ):
            if wrong.height:
                rows = wrong.filter(pl.col("model_id") == wrong["model_id"][0])["row"].head(2)
                raise BadInputError(
                    f"{fault}: {wrong['model_id'][0]!r} ({wrong.height} such)",
                    dataset_id=self.spec.dataset_id,
                    file=path,
                    row=", ".join(map(str, rows)),
                )
        return match_to_model(labels.drop("row"), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per column that is read, in file order.

        Raises:
            BadInputError: a first column that holds no models, a column that is no gene with its Entrez id,
                or none of ``symbols``.
        """
        return match_to_model(self._columns(raw).drop("position"), ReportedGene)

    def context_expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the values of all models on the genes that are read, in file order.

        Raises:
            BadInputError: as ``genes`` and ``wide_csv.read_blocks``; a value that is no log2(TPM + 1).
        """
        path = self._path(raw)
        positions = self._columns(raw)["position"].to_numpy()
        header = wide_csv.read_header(path)
        for block in wide_csv.read_blocks(path, header):
            wrong = (block.values < 0) | (block.values > MAX_LOG2_TPM)
            if wrong.any():
                line, column = (int(position[0]) for position in np.nonzero(wrong))
                raise BadInputError(
                    f"{block.values[line, column]:g} is no log2(TPM + 1), which is from 0 to "
                    f"{MAX_LOG2_TPM:g} ({int(wrong.sum())} such value(s) in this part of the file)",
                    dataset_id=self.spec.dataset_id,
                    file=path,
                    row=block.first_row + line,
                    column=header[column + 1],
                )
            yield ExpressionBlock(block.labels, block.values[:, positions])

    def _path(self, raw: Path) -> Path:
        return self.spec.locate(raw)["expression"]

    def _columns(self, raw: Path) -> pl.DataFrame:
        """Return the genes that are read: gene_reported, symbol, entrez_id, position among the numbers."""
        path = self._path(raw)
        header = wide_csv.read_header(path)

        def refused(rule: str, column: str | None = None) -> BadInputError:
            return BadInputError(rule, dataset_id=self.spec.dataset_id, file=path, row=1, column=column)

        if header[0] not in _FIRST_COLUMN:
            raise refused("the first column holds the models and has no name, or ModelID", header[0])
        genes = []
        for position, name in enumerate(header[1:]):
            found = _GENE.match(name)
            if found is None:
                raise refused("not a gene as `SYMBOL (entrez id)`", name)
            if self.symbols is None or found[1] in self.symbols:
                genes.append((name, found[1], int(found[2]), position))
        if not genes:
            raise refused("none of the wanted genes has a column")
        names = ("gene_reported", "symbol", "entrez_id", "position")
        return pl.DataFrame(genes, schema=names, orient="row")
