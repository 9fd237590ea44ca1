"""Relevance of dose responses: what the score must do, and the file of CurveCurator."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import f as f_distribution

from etl.dose_response.relevance import relevance


def test_it_grows_with_significance_and_with_effect() -> None:
    scores = relevance([1, 1, 1], [0.5, 0.1, 0.01], [10] * 3, [-1.0] * 3).score
    assert (np.diff(scores) > 0).all()
    scores = relevance([1] * 4, [0.1] * 4, [10] * 4, [-0.01, 0.3, -1.0, 3.0]).score
    assert (np.diff(scores) > 0).all()


def test_a_huge_effect_leaves_the_p_value() -> None:
    one = relevance([1.0], [0.2], [12], [1e9])
    assert one.score == pytest.approx(-np.log10(one.p_value))


def test_what_barely_passes_both_limits_is_not_relevant() -> None:
    freedom = (0.8 - 1 / (6**4 / 10 + 4)) * 7.5
    at_alpha = f_distribution.isf(0.05, 5, freedom)
    residual = 1 / (1 + at_alpha * 4 / 10)
    one = relevance([1.0], [residual], [10], [0.3])
    assert one.f_statistic == pytest.approx(at_alpha)
    assert one.f_adjusted == pytest.approx(at_alpha / 4), "both halve the root of F there"


def test_a_flat_curve_and_an_exact_one_have_scores() -> None:
    flat, exact, no_effect = relevance([1, 1, 1], [1.1, 0, 0.1], [8] * 3, [0.1, -2, 0]).score
    assert flat == no_effect == 0
    assert exact > 2


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="five points"):
        relevance([1.0], [0.1], [4], [1.0])


@pytest.mark.realdata
def test_scores_of_curve_curator_are_found_again(realdata: Path) -> None:
    path = realdata / "raw" / "ctrpv2" / "curvecurator_exp40" / "curves_40.0.txt"
    published = pl.read_csv(path, separator="\t", infer_schema_length=None)
    n_points = np.isfinite(published.select(f"Ratio {i}" for i in range(17)).to_numpy()).sum(axis=1)
    null = 1 + published["Curve F_Value"].to_numpy() * 4 / n_points
    ours = relevance(null, np.ones(len(null)), n_points, published["Curve Fold Change"])
    assert len(null) == 1_211
    for found, name in (
        (ours.f_adjusted, "Curve F_Value SAM Corrected"),
        (-np.log10(ours.p_value), "Curve Log P_Value"),
        (ours.score, "Curve Relevance Score"),
    ):
        np.testing.assert_allclose(found, published[name], rtol=1e-9, atol=1e-9, err_msg=name)
