"""Transcriptomic datasets that the demo leaves out, from files in their publishers' layouts to effects."""

import polars as pl
import pytest

from assets.build import Built, build
from assets.resources import Warehouse
from etl.simulate import DEMO, WRITERS, simulate_studies
from etl.sources import SOURCES
from etl.sources.base import TranscriptomicSource
from etl.warehouse.scan import scan

OTHERS = tuple(
    name for name in WRITERS if name not in DEMO and isinstance(SOURCES[name], TranscriptomicSource)
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_warehouse) -> tuple[Warehouse, Built]:
    raw = tmp_path_factory.mktemp("raw")
    simulate_studies(raw, datasets=OTHERS)
    warehouse = make_warehouse(tmp_path_factory.mktemp("warehouse"), raw)
    return warehouse, build([], warehouse)


def test_every_source_has_a_simulated_study() -> None:
    assert set(WRITERS) == set(SOURCES)


def test_all_are_built_in_one_command(built: tuple[Warehouse, Built]) -> None:
    _, result = built
    assert result.failed == {}
    assert result.failed_units == {}
    assert set(result.rebuilt) == set(OTHERS)
    assert [text for text in result.warnings if "_in_" in text or "unique" in text] == []
    for dataset_id in OTHERS:
        account = result.accounts[dataset_id]["core/sample"]
        assert account.n_in - sum(account.dropped.values()) == account.n_out > 0


@pytest.mark.parametrize("dataset_id", OTHERS)
def test_each_has_estimable_effects_and_names_that_resolve(
    built: tuple[Warehouse, Built], dataset_id: str
) -> None:
    warehouse, _ = built
    conditions = scan("mart/condition", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    assert conditions.filter("is_estimable").height > 5
    for entity in ("compound", "context", "gene"):
        names = scan(f"core/{entity}_name", root=warehouse.root).filter(dataset_id=dataset_id).collect()
        assert names.filter(pl.col("method") != "unresolved").height > 0.5 * names.height, entity


@pytest.mark.parametrize("dataset_id", OTHERS)
def test_what_publishers_say_beyond_the_columns_is_kept(
    built: tuple[Warehouse, Built], dataset_id: str
) -> None:
    warehouse, _ = built
    facts = scan("core/sample_annotation", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    samples = scan("core/sample", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    assert facts["sample_id"].is_in(samples["sample_id"].implode()).all()
    assert facts.height >= samples.height
