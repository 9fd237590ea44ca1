"""Every dataset with a file cut off or missing, or with values it cannot have: one error that names it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.preflight import check_input
from etl.simulate import WRITERS, simulate_studies
from etl.sources import SOURCES
from etl.sources.base import ExpressionBlock, Source, TranscriptomicSource

NOT_READ = {
    "prism_secondary": ("collapsed",),
    "tahoe100m": ("gene_metadata", "sample_metadata"),
    "ctrpv2": ("averages",),
}
"""Tables that complete another layout than the simulated one, or stand in for one that is there."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    simulate_studies(raw, datasets=tuple(WRITERS))
    return raw


@pytest.fixture
def copied(simulated: Path, tmp_path: Path, dataset_id: str) -> Path:
    return shutil.copytree(simulated / dataset_id, tmp_path / dataset_id)


@pytest.mark.parametrize("dataset_id", WRITERS)
def test_a_file_that_is_cut_off_is_refused_by_name(copied: Path, dataset_id: str) -> None:
    for role, paths in SOURCES[dataset_id].spec.locate_all(copied).items():
        for path in paths if role not in NOT_READ.get(dataset_id, ()) else ():
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) * 2 // 3])
            with pytest.raises(BadInputError) as refused:
                check_input(SOURCES[dataset_id], copied, EMBEDDED_ONLY)
            assert dataset_id in str(refused.value) or path.name in str(refused.value), path.name
            path.write_bytes(whole)


@pytest.mark.parametrize("dataset_id", WRITERS)
def test_a_file_that_is_missing_is_named_with_where_to_get_it(copied: Path, dataset_id: str) -> None:
    spec = SOURCES[dataset_id].spec
    for file in spec.files:
        if not file.is_required:
            continue
        path = spec.locate(copied)[file.role]
        aside = path.rename(copied.parent / "aside")
        with pytest.raises(BadInputError) as refused:
            check_input(SOURCES[dataset_id], copied, EMBEDDED_ONLY)
        assert file.pattern in str(refused.value)
        assert file.url is None or file.url in str(refused.value)
        aside.rename(path)


TRANSCRIPTOMIC = [name for name in WRITERS if isinstance(SOURCES[name], TranscriptomicSource)]


class Altered:
    """A source whose samples or expression are changed on their way."""

    def __init__(self, source: Source, **methods: Callable[[Path], Any]) -> None:
        self._source = source
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def with_samples(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Any], Altered]:
    def alter(source: Any) -> Altered:
        return Altered(source, samples=lambda raw: change(source.samples(raw).collect()).lazy())

    return alter


def on_another_scale(source: Any) -> Altered:
    """Log values where counts are declared, and raw values where log2 is."""

    def expression(raw: Path) -> Iterator[ExpressionBlock]:
        for block in source.expression(raw):
            dense = block.values.toarray() if sparse.issparse(block.values) else block.values
            is_counts = source.spec.value_scale == "counts"
            values = np.log2(dense + 1) if is_counts else np.exp2(dense).round()
            yield ExpressionBlock(block.sample_keys, values.astype(np.float32))

    return Altered(source, expression=expression)


def without_a_sample(source: Any) -> Altered:
    def expression(raw: Path) -> Iterator[ExpressionBlock]:
        measured = source.samples(raw).filter(pl.col("sample_kind") == "compound").collect()["sample_key"]
        for block in source.expression(raw):
            kept = [row for row, key in enumerate(block.sample_keys) if key != measured[0]]
            yield ExpressionBlock([block.sample_keys[row] for row in kept], block.values[kept])

    return Altered(source, expression=expression)


def in_furlongs(rows: pl.DataFrame) -> pl.DataFrame:
    has_unit = pl.col("dose_unit").is_not_null()
    return rows.with_columns(dose_unit=pl.when(has_unit).then(pl.lit("furlong")))


def with_one_twice(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows.filter(pl.col("sample_kind") == "compound").head(1)])


def of_an_unknown_kind(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(sample_kind=pl.lit("magic"))


ALTERATIONS: dict[str, tuple[Callable[[Any], Altered], str]] = {
    "values on another scale": (on_another_scale, "counts are declared|be log2 expression|log2 is declared"),
    "a sample without values": (without_a_sample, "have no values"),
    "an unknown dose unit": (with_samples(in_furlongs), "furlong"),
    "a sample twice": (with_samples(with_one_twice), "more than once|unique"),
    "an unknown kind of sample": (with_samples(of_an_unknown_kind), "magic"),
}


@pytest.mark.parametrize("dataset_id", TRANSCRIPTOMIC)
def test_values_that_a_dataset_cannot_have_are_refused(simulated: Path, dataset_id: str) -> None:
    for name, (alter, told) in ALTERATIONS.items():
        source: Any = alter(SOURCES[dataset_id])
        with pytest.raises(BadInputError) as refused:
            check_input(source, simulated / dataset_id, EMBEDDED_ONLY)
        assert refused.match(told), name
        assert dataset_id in str(refused.value)
