"""Roots are found within their tolerance and within few evaluations."""

import math

import pytest

from etl.effects.root_finding import find_root


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8, 1e-14])
@pytest.mark.parametrize(
    ("function", "low", "high", "root"),
    [
        (lambda x: math.exp(x) - 2, 0.0, 5.0, math.log(2)),
        (lambda x: x**9, -1.0, 4.0, 0.0),
        (lambda x: math.copysign(1.0, x - 0.3), 0.0, 1.0, 0.3),
        (lambda x: 1 - x, 0.0, 7.0, 1.0),
    ],
)
def test_root_is_within_tolerance(function, low: float, high: float, root: float, tolerance: float) -> None:
    calls = []

    def counted(x: float) -> float:
        calls.append(x)
        return function(x)

    assert find_root(counted, low, high, tolerance=tolerance) == pytest.approx(root, abs=1.01 * tolerance)
    assert len(calls) < 120
    assert all(low <= x <= high for x in calls)


def test_ends_may_be_roots() -> None:
    assert find_root(lambda x: x, 0.0, 1.0, tolerance=1e-9) == 0
    assert find_root(lambda x: x - 1, 0.0, 1.0, tolerance=1e-9) == 1


def test_a_function_without_change_of_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="same sign"):
        find_root(lambda x: x * x + 1, -1.0, 1.0, tolerance=1e-9)
