"""Lowess equals R's, and its edges behave."""

import numpy as np
import pytest

from etl.effects.lowess import lowess, weighted_lowess


def test_lowess_equals_r(table) -> None:
    points = table("unit.lowess_f0.5")
    x = points["x"].to_numpy()
    curve = lowess(x, points["y"].to_numpy(), span=0.5)
    assert np.abs(curve.at(x) - points["fitted"].to_numpy()).max() < 1e-12
    assert len(curve.x) < 120


def test_lowess_of_the_robust_trend_equals_r(table) -> None:
    points = table("unit.loessFit_span0.4")
    x = points["x"].to_numpy()
    curve = lowess(x, points["y"].to_numpy(), span=0.4)
    assert np.abs(curve.at(x) - points["fitted"].to_numpy()).max() < 1e-12


def test_weighted_lowess_equals_limma(table) -> None:
    points = table("unit.weightedLowess")
    x = points["x"].to_numpy()
    curve = weighted_lowess(x, points["y"].to_numpy(), points["w"].to_numpy(), span=0.3)
    assert np.abs(curve.at(x) - points["fitted"].to_numpy()).max() < 1e-12
    assert len(curve.x) < len(x) / 2


def test_whole_weights_are_repeated_points() -> None:
    rng = np.random.default_rng(11)
    x, y, weight = rng.normal(size=60), rng.normal(size=60), rng.integers(1, 4, 60)
    repeated = weighted_lowess(np.repeat(x, weight), np.repeat(y, weight), np.ones(weight.sum()), span=0.5)
    np.testing.assert_allclose(weighted_lowess(x, y, weight, span=0.5).at(x), repeated.at(x), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 199, 200, 201, 5000])
def test_weighted_lowess_of_a_line_is_the_line(n: int) -> None:
    rng = np.random.default_rng(n)
    x = np.round(rng.normal(size=n), 2)
    curve = weighted_lowess(x, 3 * x - 1, rng.uniform(0.5, 2, n), span=1.0)
    assert (np.diff(curve.x) > 0).all()
    assert len(curve.x) <= 201
    np.testing.assert_allclose(curve.at(x), 3 * x - 1, atol=1e-9)


def test_points_without_weight_do_not_count() -> None:
    x = np.arange(30.0)
    y = np.where(np.arange(30) % 5, x, 1000.0)
    curve = weighted_lowess(x, y, np.where(np.arange(30) % 5, 1.0, 0.0), span=0.4)
    np.testing.assert_allclose(curve.at(x), x, atol=1e-9)


def test_ties_have_one_value_and_outliers_are_ignored() -> None:
    rng = np.random.default_rng(3)
    x = np.repeat(np.arange(40.0), 5)
    y = 3 * x + rng.normal(scale=0.1, size=200)
    y[100] += 20
    curve = lowess(x, y)
    assert len(np.unique(curve.x)) == len(curve.x)
    assert np.abs(curve.y - 3 * curve.x).max() < 0.5


def test_one_point_and_one_position() -> None:
    assert lowess(np.array([2.0]), np.array([5.0])).at(np.array([9.0])).tolist() == [5.0]
    stacked = lowess(np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 3.0]), span=1.0)
    assert len(stacked.x) == 1
    assert 2 < stacked.y[0] < 3
