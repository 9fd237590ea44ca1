"""Lowess equals R's, and its edges behave."""

import numpy as np

from etl.effects.lowess import lowess


def test_lowess_equals_r(table) -> None:
    points = table("unit.lowess_f0.5")
    x = points["x"].to_numpy()
    curve = lowess(x, points["y"].to_numpy(), span=0.5)
    assert np.abs(curve.at(x) - points["fitted"].to_numpy()).max() < 1e-12
    assert len(curve.x) < 120


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
