"""Precision weights: the trend, its look-up, and effects weighted by it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.effects.estimate import estimate_effects
from etl.effects.lowess import Curve
from etl.effects.normalization import normalization_factors
from etl.effects.voom import (
    TREND_FLOOR,
    fit_mean_variance_trend,
    library_shift,
    precision,
    precision_curve,
)
from tests.unit.etl.effects.test_estimate import count_values, design_matrix, least_squares, uneven


@given(
    st.lists(st.integers(-500, 2000), min_size=2, max_size=12, unique=True),
    st.lists(st.floats(0.1, 3), min_size=12, max_size=12),
    st.lists(st.floats(-10, 25), min_size=1, max_size=20),
)
def test_the_look_up_equals_interpolation(anchors: list[int], levels: list[float], at: list[float]) -> None:
    trend = Curve(np.sort(anchors) / 100, np.array(levels[: len(anchors)]))
    curve = precision_curve(trend)
    points = np.array([*at, *trend.x])
    found = np.array([precision(x, curve) for x in points])
    np.testing.assert_allclose(found, trend.at(points) ** -4, rtol=1e-10)


def test_the_look_up_is_exact_on_anchors_as_lowess_gives_them() -> None:
    x = np.linspace(-1, 17, 101) + np.random.default_rng(1).uniform(0, 0.1, 101)
    trend = Curve(x, 0.5 + 1 / (1 + np.exp(x - 5)))
    curve = precision_curve(trend)
    points = np.concatenate([x, np.nextafter(x, -1), np.nextafter(x, 99), np.linspace(-5, 25, 5000)])
    found = np.array([precision(point, curve) for point in points])
    np.testing.assert_allclose(found, trend.at(points) ** -4, rtol=1e-12)


@pytest.mark.parametrize("at", [-9.0, 0.0, 9.0])
def test_a_single_anchor_is_one_precision(at: float) -> None:
    assert precision(at, precision_curve(Curve(np.array([2.0]), np.array([0.5])))) == 16.0


def test_genes_without_any_variance_prefer_no_sample() -> None:
    trend = fit_mean_variance_trend(np.arange(40.0), np.zeros(40), np.zeros(3))
    assert (trend.y == 1).all()


def test_a_trend_that_falls_to_nothing_keeps_weights_finite() -> None:
    sigma = np.where(np.arange(60) < 30, 1.0, 0.0)
    trend = fit_mean_variance_trend(np.arange(60.0), sigma, np.zeros(3))
    assert trend.y.min() == pytest.approx(TREND_FLOOR * trend.y.max())
    assert np.isfinite(precision(59.0, precision_curve(trend)))


def test_the_trend_stands_on_mean_log_counts() -> None:
    shift = library_shift(np.array([1e6, 4e6]))
    trend = fit_mean_variance_trend(np.linspace(1, 9, 50), np.linspace(2, 1, 50), shift)
    assert trend.x[0] == pytest.approx(1 + shift.mean())
    assert trend.x[-1] == pytest.approx(9 + shift.mean())


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
@pytest.mark.parametrize("has_donor", [False, True])
def test_effects_of_counts_equal_dense_weighted_least_squares(replicates: str, has_donor: bool) -> None:
    rng = np.random.default_rng(8)
    labels: dict[str, Any] = uneven()
    n = len(labels["plate"])
    if has_donor:
        labels["terms"] = {"donor": rng.integers(0, 2, n)}
    counts = count_values(rng, n, 80)
    counts[:, :3] *= 3000  # beyond the table of logarithms
    effects = estimate_effects(counts, **labels, scale="counts", replicates=replicates, robust=False)
    if replicates == "separate":
        labels = labels | {"condition": np.array([f"{sample:02d}" for sample in range(n)])}

    tested = counts[:, effects.is_tested]
    library = tested.sum(axis=1) * normalization_factors(tested, tested.sum(axis=1).astype(float))
    values = np.log2((tested + 0.5) / (library + 1)[:, None] * 1e6)
    shift = library_shift(library)
    matrix, _, _ = design_matrix(labels)
    first = least_squares(values, labels)
    trend = fit_mean_variance_trend(values.mean(axis=0), first["sigma"], shift)
    fitted = matrix @ np.linalg.pinv(matrix) @ values
    expected = least_squares(values, labels, trend.at(fitted + shift[:, None]) ** -4)

    at = effects.is_tested
    assert effects.residual_df == expected["residual_df"]
    np.testing.assert_allclose(effects.mean_expression[at], values.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(effects.log2_fold_change[:, at], expected["effect"], atol=1e-9)
    np.testing.assert_allclose(effects.sigma[at], expected["sigma"], rtol=1e-9)
    unscaled = effects.standard_error / np.sqrt(effects.posterior_variance)
    np.testing.assert_allclose(unscaled[:, at], expected["sd"], rtol=1e-9)


def test_effects_of_log_counts_equal_dense_least_squares() -> None:
    labels = uneven()
    counts = count_values(np.random.default_rng(9), len(labels["plate"]), 80)
    effects = estimate_effects(counts, **labels, scale="counts", counts_method="trend")
    at = effects.is_tested
    tested = counts[:, at]
    library = tested.sum(axis=1) * normalization_factors(tested, tested.sum(axis=1).astype(float))
    prior = 2.0 * library / library.mean()
    values = np.log2((tested + prior[:, None]) / (library + 2 * prior)[:, None] * 1e6)
    expected = least_squares(values, labels)
    np.testing.assert_allclose(effects.log2_fold_change[:, at], expected["effect"], atol=1e-9)
    np.testing.assert_allclose(effects.sigma[at], expected["sigma"], rtol=1e-9)
