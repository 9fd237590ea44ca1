"""What every dataset states about itself, and the methods an adapter has.

An adapter is a small class with a ``spec``. Its methods take the dataset's raw folder and return what the
publisher reports, in the columns of ``schemas/reported.py``: publisher's words, nothing resolved, no service
asked, nothing dropped. The only translation it makes is of the source's own codes (a missing marker to null,
a well type to a sample kind).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import polars as pl
from scipy import sparse

from etl.accounting import RowAccount
from etl.errors import BadInputError

BLOCK_BYTES = 256 * 2**20
"""Upper size of one expression block: bounds the memory of every step that streams expression."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a dataset, or many of one kind.

    Args:
        role: what the file is to the adapter (``"expression"``, ``"instances"``, …), unique in the dataset.
        pattern: glob below the raw folder; a pattern rather than a name where releases differ in it.
        url: where the publisher offers it; None where it comes by hand.
        sha256: digest the publisher or this project pins; None where releases are many.
        is_required: whether the dataset cannot be read without it.
        is_many: whether several files may match, such as the parts of a table.
    """

    role: str
    pattern: str
    url: str | None = None
    sha256: str | None = None
    is_required: bool = True
    is_many: bool = False


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Facts about a dataset; the columns of ``core/dataset`` that do not have to be counted."""

    dataset_id: str
    title: str
    assay: str
    readout: str
    value_scale: Literal["counts", "log2", "viability"]
    files: tuple[RemoteFile, ...]
    license: str
    is_redistributable: bool
    access: Literal["open", "registration", "manual"]
    release: str
    doi: str | None = None
    url: str | None = None

    def locate(self, raw: Path) -> dict[str, Path]:
        """Return the path of every file that is there, by role; of many, the first by name.

        Raises:
            BadInputError: as ``locate_all``.
        """
        return {role: paths[0] for role, paths in self.locate_all(raw).items()}

    def locate_all(self, raw: Path) -> dict[str, list[Path]]:
        """Return the paths of the files of every role of which there are any, sorted.

        Raises:
            BadInputError: a required file is missing, or several match the pattern of one file.
        """
        found: dict[str, list[Path]] = {}
        for file in self.files:
            matches = sorted(raw.glob(file.pattern)) if raw.is_dir() else []
            if len(matches) > 1 and not file.is_many:
                names = ", ".join(path.name for path in matches)
                raise BadInputError(
                    f"{len(matches)} files match {file.pattern} ({names}); keep one",
                    dataset_id=self.dataset_id,
                )
            if matches:
                found[file.role] = matches
            elif file.is_required:
                origin = f"; get it from {file.url}" if file.url else ""
                raise BadInputError(
                    f"no file matches {file.pattern} in {self.dataset_id}/ of the raw folder{origin}",
                    dataset_id=self.dataset_id,
                )
        return found


@dataclass(frozen=True, slots=True)
class ExpressionBlock:
    """Values of some samples on all genes of the dataset.

    Args:
        sample_keys: publisher's sample keys, one per row.
        values: samples × genes, genes in the order of the adapter's ``genes``; dense float32, or CSR.
    """

    sample_keys: Sequence[str]
    values: np.ndarray | sparse.csr_matrix


@runtime_checkable
class Source(Protocol):
    """What every adapter has."""

    spec: SourceSpec

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per reported compound (``ReportedCompound``)."""
        ...

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per reported cell label (``ReportedContext``)."""
        ...


@runtime_checkable
class AnnotatedSource(Source, Protocol):
    """A source that says more about its samples than ``ReportedSample`` has columns for."""

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return one row per sample and fact (``ReportedAnnotation``); a fact that is missing has no row."""
        ...


@runtime_checkable
class TranscriptomicSource(Source, Protocol):
    """One expression profile per well or pseudobulk."""

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per sample (``ReportedSample``)."""
        ...

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene (``ReportedGene``), in the order of the value axis."""
        ...

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the values of all samples, each sample once, in blocks of at most ``BLOCK_BYTES``."""
        ...


@runtime_checkable
class ContextExpressionSource(Source, Protocol):
    """Expression of untreated cell lines: what models of response know a line by."""

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene (``ReportedGene``), in the order of the value axis."""
        ...

    def context_expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield log2(TPM + 1) of every cell label of ``contexts``, each once, as the keys of the blocks."""
        ...


@runtime_checkable
class ScreenSource(Source, Protocol):
    """A drug-response screen."""

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per measured value (``ReportedMeasurement``), at the deepest public level.

        Blocks have at most some millions of rows; their order, and which rows stand in which, do not matter.
        """
        ...

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve (``ReportedCurve``); may be empty."""
        ...


@runtime_checkable
class AccountedScreen(ScreenSource, Protocol):
    """A screen with rows in its files that are no measurements: controls, combinations, values missing."""

    def account(self, raw: Path) -> RowAccount:
        """Return rows of the files in and measurements out, and what the others are."""
        ...
