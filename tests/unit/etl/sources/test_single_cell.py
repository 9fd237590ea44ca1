"""The wrapper that makes profiles of cells: once, and anew when what they rest on is another."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.expression.pseudobulk import CellBlock
from etl.sources.base import AnnotatedSource, ExpressionBlock, SourceSpec, TranscriptomicSource
from etl.sources.single_cell import STORE, Pseudobulked, SingleCellSource
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

SPEC = SourceSpec(
    dataset_id="cells",
    title="",
    assay="snrna",
    readout="",
    value_scale="counts",
    files=(),
    license="",
    is_redistributable=False,
    access="open",
    release="",
)
N_GENES = 300


class Cells:
    """Six cells of two wells; the sixth is too poor, the fifth has no well. Counts how often it is read."""

    spec = SPEC
    profile_key: tuple[str, ...] = ("well",)

    def __init__(self) -> None:
        self.n_read = 0

    def files(self, raw: Path) -> Mapping[str, Path]:
        return {"cells": raw / "cells.txt"}

    def compounds(self, raw: Path) -> pl.LazyFrame:  # noqa: ARG002
        return match_to_model(pl.DataFrame({"compound_reported": ["c"]}), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:  # noqa: ARG002
        return match_to_model(pl.DataFrame({"context_reported": ["A549"]}), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:  # noqa: ARG002
        genes = pl.DataFrame({"gene_reported": [f"g{i}" for i in range(N_GENES)]})
        return match_to_model(genes, ReportedGene)

    def cells(self, raw: Path) -> Iterator[CellBlock]:  # noqa: ARG002
        self.n_read += 1
        counts = np.repeat([[1], [2], [3], [4], [5], [0]], N_GENES, axis=1)
        cells = pl.DataFrame({"cell_id": list("abcdef"), "well": ["A1", "B1", "A1", "A1", None, "A1"]})
        for part in (slice(0, 2), slice(2, 6)):
            yield CellBlock(cells[part], sparse.csr_matrix(counts[part]))

    def profiles(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:  # noqa: ARG002
        rows = profiles.select(
            "sample_key",
            "well",
            pl.col("n_cells").cast(pl.Int32),
            sample_kind=pl.lit("vehicle"),
            context_reported=pl.lit("A549"),
            plate=pl.lit("1"),
            vehicle_group=pl.lit(""),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def facts(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:  # noqa: ARG002
        rows = profiles.select("sample_key", key=pl.lit("colour"), value=pl.lit("blue"))
        return match_to_model(rows, ReportedAnnotation)


def dense(block: ExpressionBlock) -> np.ndarray:
    return block.values if isinstance(block.values, np.ndarray) else block.values.toarray()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "cells.txt").write_text("1")
    return tmp_path


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Cells(), SingleCellSource)
    assert isinstance(Pseudobulked(Cells()), TranscriptomicSource)
    assert isinstance(Pseudobulked(Cells()), AnnotatedSource)


def test_cells_are_summed_counted_and_accounted_for(raw: Path) -> None:
    source = Pseudobulked(Cells())
    samples = check_reported(source.samples(raw), ReportedSample, dataset_id="cells")
    assert samples.select("sample_key", "n_cells").rows() == [("A1", 3), ("B1", 1)]
    (block,) = source.expression(raw)
    assert list(block.sample_keys) == ["A1", "B1"]
    assert block.values.dtype == np.float32
    np.testing.assert_array_equal(dense(block), np.repeat([[8], [2]], N_GENES, axis=1))
    account = source.account(raw)
    assert (account.n_in, account.n_out) == (6, 4)
    dropped = {reason: n for reason, n in account.dropped.items() if n}
    assert dropped == {"no well": 1, "n_genes below 50": 1}


def test_annotations_are_the_thirds_and_the_facts_of_the_source(raw: Path) -> None:
    facts = check_reported(
        Pseudobulked(Cells()).annotations(raw), ReportedAnnotation, dataset_id="cells"
    ).filter(pl.col("sample_key") == "A1")
    assert facts.filter(pl.col("key") == "colour")["value"].to_list() == ["blue"]
    of_thirds = facts.filter(pl.col("key").str.starts_with("n_cells_third_"))
    assert of_thirds["value"].cast(pl.Int64).sum() == 3
    assert facts.height == 7


def test_cells_are_read_once_for_all_methods_and_processes(raw: Path) -> None:
    first, second = Cells(), Cells()
    for _ in range(2):
        Pseudobulked(first).samples(raw)
        list(Pseudobulked(first).expression(raw))
    Pseudobulked(second).annotations(raw)
    assert (first.n_read, second.n_read) == (1, 0)


def test_another_file_or_seed_or_a_deleted_store_makes_profiles_anew(raw: Path) -> None:
    cells = Cells()
    Pseudobulked(cells).samples(raw)
    (raw / "cells.txt").write_text("22")
    Pseudobulked(cells).samples(raw)
    assert cells.n_read == 2
    Pseudobulked(cells, seed=1).samples(raw)
    assert cells.n_read == 3
    for path in sorted((raw / STORE).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Pseudobulked(cells, seed=1).samples(raw)
    assert cells.n_read == 4


def test_a_folder_that_cannot_be_written_is_one_clear_error(raw: Path) -> None:
    (raw / STORE).write_text("in the way")
    with pytest.raises(BadInputError, match=r"cells, file .pseudobulk: profiles are kept in .pseudobulk"):
        Pseudobulked(Cells()).samples(raw)


def test_an_assay_without_filters_is_refused(raw: Path) -> None:
    cells = Cells()
    cells.spec = replace(SPEC, assay="drugseq")
    with pytest.raises(BadInputError, match="there are filters of scrna, snrna, not of drugseq"):
        Pseudobulked(cells).samples(raw)


def test_a_refused_reading_leaves_the_profiles_that_were_there(raw: Path) -> None:
    class Faulty(Cells):
        def cells(self, raw: Path) -> Iterator[CellBlock]:
            yield from super().cells(raw)
            raise BadInputError("the file is truncated")

    before = Pseudobulked(Cells()).samples(raw).collect()
    with pytest.raises(BadInputError, match="truncated"):
        Pseudobulked(Faulty(), seed=1).samples(raw)
    cells = Cells()
    assert Pseudobulked(cells).samples(raw).collect().equals(before)
    assert cells.n_read == 0
