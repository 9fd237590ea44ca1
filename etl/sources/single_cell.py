"""Single-cell sources: what their adapters have, and the wrapper that makes profiles of their cells.

Here: the protocol, and where finished profiles are kept. Not here: adding cells up
(``etl/expression/pseudobulk.py``), which cells are good (``etl/expression/quality_control.py``), and file
formats.

The registry holds ``Pseudobulked(Adapter())``: to all that reads it, a transcriptomic source like any other.
Modules that compile code are imported when cells are read: every command imports the registry.
"""

import inspect
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import polars as pl

from etl.digests import code_version, sha256_of
from etl.errors import BadInputError
from etl.sources.base import ExpressionBlock, Source
from etl.sources.wells import reported_facts

if TYPE_CHECKING:
    from etl.accounting import RowAccount
    from etl.expression.pseudobulk import CellBlock, Profiles

STORE: Final = ".pseudobulk"
"""Folder of the finished profiles below the raw folder of the dataset."""

CODE_OF_PROFILES: Final = ("etl/expression", "etl/formats", "etl/sources/single_cell")
"""What decides the profiles of any source."""

SEED: Final = 20_200_103
"""Seed of the thirds. It is part of what a store states; another one makes other thirds."""


@runtime_checkable
class SingleCellSource(Source, Protocol):
    """One row of counts per cell; many cells make a profile.

    Attributes:
        profile_key: columns of ``CellBlock.cells`` that make a profile, as text. Whatever must be constant
            within one belongs here. A cell that lacks one of them belongs to no profile and is counted.
    """

    profile_key: tuple[str, ...]

    def files(self, raw: Path) -> Mapping[str, Path]:
        """Return every file that decides a profile, by a name that is its own."""
        ...

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene (``ReportedGene``), in the order of the counts."""
        ...

    def cells(self, raw: Path) -> "Iterator[CellBlock]":
        """Yield all cells, each once, in bounded memory."""
        ...

    def profiles(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return one row per profile (``ReportedSample``).

        Args:
            raw: the raw folder.
            profiles: ``sample_key``, the columns of ``profile_key``, ``n_cells``.
        """
        ...

    def facts(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return what the publisher says of profiles beyond these columns (``ReportedAnnotation``)."""
        ...


class Pseudobulked:
    """A single-cell source as one of profiles: sums over the cells that pass the filters of its assay.

    The first method that needs profiles makes them, in one pass over the cells, and keeps them in
    ``.pseudobulk`` below the raw folder of the dataset; every further one opens what is there. They are made
    anew when a file, the code, the key, a filter or the seed is another. The folder is derived: it may be
    deleted at any time, and should not be published.

    Args:
        source: adapter of the cells.
        seed: of the three random thirds of each profile.
    """

    def __init__(self, source: SingleCellSource, *, seed: int = SEED) -> None:
        self.source, self.seed = source, seed
        self.spec = source.spec

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per reported compound (``ReportedCompound``)."""
        return self.source.compounds(raw)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per reported cell label (``ReportedContext``)."""
        return self.source.contexts(raw)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene (``ReportedGene``), in the order of the value axis."""
        return self.source.genes(raw)

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per profile with at least one good cell; its key is that of the profile.

        Raises:
            BadInputError: as ``finished`` or the source's ``profiles``.
        """
        return self.source.profiles(raw, self.finished(raw).samples)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the summed counts of all profiles, in the order of their keys.

        Raises:
            BadInputError: as ``finished``, or a sum that float32 cannot hold exactly.
        """
        for block in self.finished(raw).blocks():
            yield ExpressionBlock(block.sample_keys, block.values)

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return the cells and counts of each third of a profile, and the facts of the source.

        Raises:
            BadInputError: as ``finished`` or the source's ``facts``.
        """
        samples = self.finished(raw).samples
        of_thirds = samples.select("sample_key", pl.selectors.contains("_third_"))
        return pl.concat([reported_facts(of_thirds), self.source.facts(raw, samples)])

    def account(self, raw: Path) -> "RowAccount":
        """Return the account of cells: read, added up, and dropped by the first reason that held."""
        return self.finished(raw).account

    def finished(self, raw: Path) -> "Profiles":
        """Return the finished profiles; makes them where they are missing or not of these files and code.

        Raises:
            BadInputError: the folder of profiles cannot be written, the assay has no filters, or as the
                source's ``cells`` and ``pseudobulk``.
        """
        from etl.expression.pseudobulk import pseudobulk
        from etl.expression.quality_control import CELL_FILTERS

        if self.spec.assay not in CELL_FILTERS:
            rule = f"cells are filtered by assay, and there are filters of {', '.join(CELL_FILTERS)}"
            raise BadInputError(f"{rule}, not of {self.spec.assay}", dataset_id=self.spec.dataset_id)
        inputs = self._inputs(raw)
        return pseudobulk(
            self.source.cells(raw),
            key=self.source.profile_key,
            genes=self.source.genes(raw).collect(),
            filters=CELL_FILTERS[self.spec.assay],
            seed=self.seed,
            store=self._store(raw),
            inputs=inputs,
        )

    def _inputs(self, raw: Path) -> dict[str, str]:
        """Return what the profiles depend on: the files and the code that reads them and adds them up.

        Of the code only what has a part in it, the adapter with the modules that begin with its name: to make
        profiles of a hundred million cells anew takes hours.
        """
        adapter = type(self.source)
        code = code_version(*CODE_OF_PROFILES, adapter.__module__.replace(".", "/"))
        files = dict(self.source.files(raw))
        if (module := inspect.getsourcefile(adapter)) is not None:
            files["adapter"] = Path(module)
        return {name: sha256_of(path) for name, path in files.items()} | {"code": code}

    def _store(self, raw: Path) -> Path:
        store = raw / STORE
        try:
            store.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=store):
                return store
        except OSError as fault:
            rule = (
                f"profiles are kept in {STORE} of the raw folder, which cannot be written: {fault.strerror}"
            )
            raise BadInputError(rule, dataset_id=self.spec.dataset_id, file=store) from fault
