"""The plots of agreement: images where there are means, a sentence where there are none."""

import base64

import polars as pl
import pytest

from assets.agreement_plot import forest, heatmap
from etl.agreement.report import BASELINE_LABELS
from schemas import TABLES


def rows(*given: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(given), schema=TABLES["mart/agreement_summary"].polars_schema)


def mean(
    value: float | None, right: str = "b", baseline: str = "none", **changed: object
) -> dict[str, object]:
    return {
        "left_dataset_id": "a",
        "right_dataset_id": right,
        "context_id": "",
        "max_fold": 10.0,
        "metric": "spearman_log2_fold_change",
        "baseline": baseline,
        "side": "both",
        "quantity": "observed" if baseline == "none" else "delta",
        "mean": value,
        "ci_low": value,
        "ci_high": value,
        "ci_status": "degenerate",
    } | changed


def size(markdown: str) -> tuple[int, int]:
    _, encoded = markdown.removesuffix(")").split("base64,")
    image = base64.b64decode(encoded)
    assert image.startswith(b"\x89PNG")
    assert len(image) < 200_000
    return int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")


def test_the_heatmap_grows_with_the_datasets() -> None:
    two, three = heatmap(rows(mean(0.5))), heatmap(rows(mean(0.5), mean(-0.2, "c")))
    assert two.startswith("![agreement of pairs of datasets](data:image/png;base64,")
    assert size(two) < size(three)
    assert size(heatmap(rows(mean(0.5), mean(None, "c")))) == size(two)


def test_the_forest_has_a_panel_for_each_pair_with_deltas() -> None:
    one = [mean(0.1, baseline=baseline) for baseline in BASELINE_LABELS]
    without_interval = mean(0.1, "c", "source_peers", ci_low=None, ci_high=None, ci_status="not_estimable")
    single, double = forest(rows(*one)), forest(rows(*one, without_interval))
    assert single.startswith("![agreement beyond baselines](data:image/png;base64,")
    assert size(double)[0] == 2 * size(single)[0]
    assert size(forest(rows(*one, mean(None, "c", "source_peers")))) == size(single)


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": None},
        {"context_id": "CVCL_0001"},
        {"max_fold": 3.0},
        {"metric": "cosine_t"},
        {"side": "left"},
        {"quantity": "baseline"},
        {"right_dataset_id": "a"},
    ],
)
def test_other_rows_are_not_drawn(changed: dict[str, object]) -> None:
    assert heatmap(rows(mean(0.5) | changed)) == "No pair of datasets has a mean correlation."
    drawn = forest(rows(mean(0.5, baseline="source_peers") | changed))
    assert drawn == "No pair of datasets has a difference to a baseline."


def test_nothing_is_a_sentence() -> None:
    assert not heatmap(rows()).startswith("!")
    assert not forest(rows()).startswith("!")
