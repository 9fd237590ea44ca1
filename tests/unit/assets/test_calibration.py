"""The check of null calibration: what passes, what warns, and what it shows."""

import base64
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from assets.calibration_plot import bars, calibration_plot
from assets.checks import p_values_uniform
from assets.resources import Warehouse
from etl.provenance import Provenance
from etl.warehouse import delta
from schemas.mart.null_calibration import NULL_CALIBRATION


def calibration(context_id: str, share: float | None, n_tests: int = 10_000) -> dict[str, object]:
    tested = share is not None
    return {
        "dataset_id": "own",
        "context_id": context_id,
        "vehicle_group": "",
        "status": "ok" if tested else "too_few_controls",
        "n_control": 8,
        "n_held_out": 4,
        "n_conditions": 2,
        "n_tests": n_tests if tested else 0,
        "share_below_0_05": share,
        "share_below_0_001": share and share / 50,
        "share_significant": 0.0 if tested else None,
        "inflation": 1.0 if tested else None,
        "n_pairs_apart": 1 if tested else 0,
        "agreement_apart": 0.0 if tested else None,
        "agreement_apart_se": None,
        "agreement_same_plate": None,
        "histogram": np.full(20, n_tests // 20).tolist() if tested else [],
    }


def rows(*units: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(units), schema=NULL_CALIBRATION.polars_schema)


def evaluated(tmp_path: Path, units: Sequence[dict[str, object]]) -> dg.AssetCheckResult:
    warehouse = Warehouse(root=str(tmp_path), raw="", cache="")
    provenance = Provenance("test", "fingerprint", {})
    for unit in units:
        where = {name: str(unit[name]) for name in NULL_CALIBRATION.partition_by}
        delta.replace(warehouse.root, NULL_CALIBRATION, rows(unit), where, provenance=provenance)
    result = p_values_uniform(warehouse=warehouse)
    assert isinstance(result, dg.AssetCheckResult)
    return result


@pytest.mark.parametrize("share", [0.02, 0.05, 0.10])
def test_shares_near_5_percent_pass(tmp_path: Path, share: float) -> None:
    assert evaluated(tmp_path, [calibration("CVCL_0001", share), calibration("CVCL_0002", None)]).passed


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_a_share_far_from_5_percent_warns_and_names_the_unit_first(tmp_path: Path, share: float) -> None:
    result = evaluated(tmp_path, [calibration("CVCL_0001", 0.05), calibration("CVCL_0002", share)])
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert f"own/CVCL_0002 {share:.3f}" in str(result.description)
    listed = str(result.metadata["worst"].value)
    assert listed.index("CVCL_0002") < listed.index("CVCL_0001")
    assert str(result.metadata["plot"].value).startswith("![null calibration](data:image/png;base64,")


def test_few_tests_prove_nothing(tmp_path: Path) -> None:
    result = evaluated(tmp_path, [calibration("CVCL_0001", 0.5, n_tests=4_000)])
    assert result.passed
    assert result.metadata["with_enough_tests"].value == 0


def test_a_warehouse_without_any_null_test_passes_without_a_plot(tmp_path: Path) -> None:
    result = evaluated(tmp_path, [])
    assert result.passed
    assert "plot" not in result.metadata


@pytest.mark.parametrize("n_units", [1, 12])
def test_the_plot_is_an_image_that_grows_with_the_units(n_units: int) -> None:
    units = rows(*(calibration(f"CVCL_{number:04}", 0.05) for number in range(n_units)))
    _, encoded = calibration_plot(units).removesuffix(")").split("base64,")
    image = base64.b64decode(encoded)
    assert image.startswith(b"\x89PNG")
    n_panel_rows = -(-n_units // 4)
    assert int.from_bytes(image[20:24], "big") == round(n_panel_rows * 1.9 * 90)
    assert len(image) < 200_000


def test_bars_of_nothing_are_empty() -> None:
    assert bars([]) == ""
    assert bars([0, 0]) == "▁▁"
