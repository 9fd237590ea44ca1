"""Recomputed against published metrics: what is compared with what, and how far they differ."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from etl.dose_response.reconcile import COMPARISONS, reconcile, reconciliation_account
from etl.errors import BadInputError
from etl.validation import violations
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.response_reconciliation import RESPONSE_RECONCILIATION
from schemas.vocabularies import RECONCILED_METRICS


def curves(n: int = 0, **columns: object) -> pl.DataFrame:
    """Curves of a dataset, tested from 0.01 to 10 µM; what is not given is null."""
    frame = pl.DataFrame(columns) if columns else pl.DataFrame({"slope": [None] * n})
    stated = {
        "dataset_id": "toy",
        "replicate_level": "pooled",
        "min_dose_um": 0.01,
        "max_dose_um": 10.0,
        "qc_flags": [],
    }
    filled = frame.with_columns(
        pl.lit(value, DOSE_RESPONSE.polars_schema[name]).alias(name)
        for name, value in stated.items()
        if name not in frame.columns
    )
    return (
        filled.lazy()
        .match_to_schema(DOSE_RESPONSE.polars_schema, missing_columns="insert", integer_cast="upcast")
        .collect()
    )


def row_of(reconciliation: pl.DataFrame, metric: str, level: str = "pooled") -> dict:
    found = reconciliation.filter(metric=metric, replicate_level=level)
    assert found.height == 1
    return found.row(0, named=True)


def reconciled(frame: pl.DataFrame) -> pl.DataFrame:
    """The reconciliation of these curves, which keeps the rules of its table."""
    reconciliation = reconcile(frame)
    assert violations(reconciliation, RESPONSE_RECONCILIATION.model) == []
    return reconciliation


def test_differences_and_correlations_are_those_of_numpy_and_scipy() -> None:
    rng = np.random.default_rng(1)
    published = rng.normal(size=40).round(1)
    recomputed = published + rng.normal(0, 0.05, size=40)
    frame = curves(auc=recomputed, mean_viability_reported=published)
    row = row_of(reconciled(frame), "mean_viability")
    difference = recomputed - published
    assert row == {
        "dataset_id": "toy",
        "replicate_level": "pooled",
        "metric": "mean_viability",
        "n_both": 40,
        "n_recomputed_only": 0,
        "n_published_only": 0,
        "pearson": pytest.approx(pearsonr(recomputed, published).statistic),
        "spearman": pytest.approx(spearmanr(recomputed, published).statistic),
        "median_difference": pytest.approx(np.median(difference)),
        "median_absolute_difference": pytest.approx(np.median(np.abs(difference))),
        "p95_absolute_difference": pytest.approx(np.quantile(np.abs(difference), 0.95)),
        "tolerance": 0.05,
        "share_within_tolerance": pytest.approx(np.mean(np.abs(difference) <= 0.05)),
        "status": "ok",
    }


def test_doses_are_compared_as_logarithms_and_a_dose_of_zero_has_none() -> None:
    frame = curves(ec50_um=[1.0, 10.0, 0.1, 1.0], ec50_um_reported=[10.0, 100.0, 1.0, 0.0])
    row = row_of(reconciled(frame), "log10_ec50")
    assert (row["n_both"], row["n_recomputed_only"], row["median_difference"]) == (3, 1, -1.0)


def test_ic50s_at_or_beyond_the_tested_doses_do_not_count() -> None:
    frame = curves(
        ic50_um=[1.0, 1.0, 20.0, 0.001, None, 1.0],
        ic50_um_reported=[1.0, 10.0, 5.0, 0.01, 2.0, 1.0],
        qc_flags=pl.Series(
            [[], ["ic50_censored"], [], ["ic50_at_lowest_dose"], [], []], dtype=pl.List(pl.String)
        ),
    )
    row = row_of(reconciled(frame), "log10_ic50")
    assert (row["n_both"], row["n_recomputed_only"], row["n_published_only"]) == (2, 1, 2)
    assert row["status"] == "too_few_curves"


def test_published_parameters_of_a_growth_rate_curve_meet_those_of_a_growth_rate_curve() -> None:
    """gCSI publishes GEC50, slope and R² of the growth rate beside GR metrics."""
    growth = {"gr_inf_reported": [0.1] * 3, "gr_inf": [0.2] * 3}
    parameters = {"ec50_um_reported": [1.0, 2.0, 3.0], "slope_reported": [1.0, 2.0, 3.0]}
    fits = {
        "ec50_um": [9.0] * 3,
        "slope": [9.0] * 3,
        "gec50_um": [1.0, 2.0, 3.0],
        "gr_slope": [1.0, 2.0, 3.0],
    }
    r_squared = {"r_squared": [0.5] * 3, "r_squared_reported": [0.9] * 3}
    found = reconciled(curves(**growth, **parameters, **fits, **r_squared))
    for metric in ("log10_gec50", "gr_slope"):
        assert row_of(found, metric)["n_both"] == 3
        assert row_of(found, metric)["median_absolute_difference"] == 0.0
    for metric in ("log10_ec50", "slope", "r_squared"):
        assert (row_of(found, metric)["n_both"], row_of(found, metric)["n_recomputed_only"]) == (0, 3)
    without = reconciled(curves(**parameters, **fits))
    assert row_of(without, "log10_ec50")["n_both"] == 3
    assert row_of(without, "log10_gec50")["n_both"] == 0


def test_rows_enter_at_the_level_of_what_is_published() -> None:
    frame = curves(
        replicate_level=["experiment"] * 4 + ["pooled"] * 2 + ["replicate"] * 4,
        e_max=[0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3],
        e_max_reported=[0.1, 0.2, 0.3, None, None, None, None, None, None, None],
    )
    found = reconciled(frame)
    assert set(found["replicate_level"]) == {"experiment"}
    row = row_of(found, "e_max", "experiment")
    assert (row["n_both"], row["n_recomputed_only"], row["status"]) == (3, 1, "ok")


def test_a_side_that_does_not_vary_has_differences_but_no_correlation() -> None:
    row = row_of(reconciled(curves(e_inf=[0.5] * 4, e_inf_reported=[0.1, 0.2, 0.3, 0.4])), "e_inf")
    assert (row["status"], row["pearson"], row["spearman"]) == ("constant", None, None)
    assert row["median_difference"] == pytest.approx(0.25)


def test_each_dataset_is_reconciled_alone() -> None:
    frame = curves(
        dataset_id=["toy"] * 3 + ["other"] * 3,
        gr_aoc=[0.1, 0.2, 0.3] * 2,
        gr_aoc_reported=[0.1, 0.2, 0.3, 0.3, 0.2, 0.1],
    )
    found = reconciled(frame).filter(metric="gr_aoc")
    assert dict(found.select("dataset_id", "pearson").iter_rows()) == pytest.approx({"other": -1, "toy": 1})


def test_every_metric_is_compared_and_every_comparison_is_a_metric() -> None:
    assert list(COMPARISONS) == list(RECONCILED_METRICS)


def test_without_published_metrics_there_is_nothing_to_reconcile() -> None:
    assert reconcile(curves(ec50_um=[1.0, 2.0])).equals(RESPONSE_RECONCILIATION.empty())


def test_the_account_counts_comparisons_by_status() -> None:
    found = reconcile(curves(e_max=[0.1, 0.2, 0.3], e_max_reported=[0.1, 0.2, 0.3], slope=[1.0, 2.0, 3.0]))
    assert reconciliation_account(found).noted == {"ok": 1, "too_few_curves": 1}


def test_a_missing_column_is_named() -> None:
    frame = curves(e_max=[0.1], e_max_reported=[0.1])
    with pytest.raises(BadInputError, match=r"column gr_aoc: .*no such column"):
        reconcile(frame.drop("gr_aoc"))
    with pytest.raises(BadInputError, match=r"column e_max: .*Float64.*String"):
        reconcile(frame.with_columns(pl.col("e_max").cast(pl.String)))
