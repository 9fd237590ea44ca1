"""All drug-response screens and the expression of their lines, from simulated files to one scale."""

from pathlib import Path

import polars as pl
import pytest

from assets.build import Built, build
from assets.resources import Warehouse
from etl.simulate import WRITERS, simulate_studies
from etl.sources import SOURCES
from etl.sources.base import ContextExpressionSource, ScreenSource
from etl.warehouse.scan import scan
from schemas.mart.dose_response import DOSE_RESPONSE

SCREENS = tuple(name for name in WRITERS if isinstance(SOURCES[name], ScreenSource))
LINES = tuple(name for name in WRITERS if isinstance(SOURCES[name], ContextExpressionSource))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    simulate_studies(folder, datasets=(*SCREENS, *LINES))
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_warehouse, raw: Path) -> tuple[Warehouse, Built]:
    warehouse = make_warehouse(tmp_path_factory.mktemp("warehouse"), raw)
    return warehouse, build([], warehouse)


def test_all_are_built_in_one_command(built: tuple[Warehouse, Built]) -> None:
    _, result = built
    assert result.failed == {}
    assert set(result.rebuilt) == {*SCREENS, *LINES}
    assert [text for text in result.warnings if "_in_" in text or "unique" in text] == []


@pytest.mark.parametrize("dataset_id", SCREENS)
def test_every_measurement_is_accounted_for(built: tuple[Warehouse, Built], dataset_id: str) -> None:
    warehouse, result = built
    account = result.accounts[dataset_id]["core/viability"]
    stored = scan("core/viability", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    assert account.n_in - sum(account.dropped.values()) == account.n_out == stored.height > 0


@pytest.mark.parametrize("dataset_id", SCREENS)
def test_every_pair_has_one_pooled_curve(built: tuple[Warehouse, Built], dataset_id: str) -> None:
    warehouse, _ = built
    rows = scan(DOSE_RESPONSE, root=warehouse.root).filter(dataset_id=dataset_id).collect()
    pair = ["context_reported", "compound_reported"]
    pooled = rows.filter(replicate_level="pooled")
    assert pooled.select(pair).is_unique().all()
    measured = scan("core/viability", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    fitted_pairs = measured.filter(~pl.col("qc_flags").list.contains("low_quality_reported")).select(pair)
    assert fitted_pairs.unique().join(pooled, on=pair, how="anti").is_empty()
    assert pooled["model"].is_in(["log_logistic_3"]).mean() > 0.8


@pytest.mark.parametrize("dataset_id", SCREENS)
def test_the_true_curves_are_found_on_one_scale(
    built: tuple[Warehouse, Built], raw: Path, dataset_id: str
) -> None:
    warehouse, _ = built
    truth = pl.read_parquet(raw / dataset_id / "truth" / "curves.parquet")
    fitted = (
        scan(DOSE_RESPONSE, root=warehouse.root)
        .filter(dataset_id=dataset_id, replicate_level="pooled")
        .filter(
            pl.col("ec50_um").is_between(pl.col("min_dose_um"), pl.col("max_dose_um")), pl.col("e_inf") < 0.5
        )
        .collect()
    )
    both = fitted.join(
        truth.rename({"ec50_um": "true_ec50_um", "e_inf": "true_e_inf"}),
        on=["context_reported", "compound_reported"],
    )
    assert both.height >= 5
    distance = (both["ec50_um"].log10() - both["true_ec50_um"].log10()).abs()
    assert distance.median() < 0.2, "the unit of doses"
    assert (both["e_inf"] - both["true_e_inf"]).abs().median() < 0.15, "the scale of responses"


@pytest.mark.parametrize("dataset_id", LINES)
def test_lines_have_expression_of_known_genes(built: tuple[Warehouse, Built], dataset_id: str) -> None:
    warehouse, _ = built
    rows = scan("core/context_expression", root=warehouse.root).filter(dataset_id=dataset_id).collect()
    responses = scan(DOSE_RESPONSE, root=warehouse.root).collect()
    assert set(rows["context_id"]) & set(responses["context_id"]), "features and responses of the same lines"
    known = scan("core/gene", root=warehouse.root).collect()
    assert rows.join(known, on="gene_id", how="anti").is_empty()
