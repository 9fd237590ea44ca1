"""The F distribution agrees with SciPy's, and reaches further."""

import numpy as np
import pytest
from scipy import stats

from etl.effects.f_distribution import log_density_of_log, log_upper_tail, quantile, tails, with_df1

DF = [(3.0, 4.0), (173.0, 3.3), (6.0, 900.0), (40.0, np.inf)]


def reference(df1: float, df2: float):
    return stats.f(df1, df2) if np.isfinite(df2) else stats.gamma(df1 / 2, scale=2 / df1)


@pytest.mark.parametrize(("df1", "df2"), DF)
def test_density_tails_and_quantiles_equal_scipy(df1: float, df2: float) -> None:
    f = np.array([0.02, 0.5, 1.0, 1.7, 30.0])
    known = reference(df1, df2)
    np.testing.assert_allclose(
        log_density_of_log(np.log(f), df1, df2), known.logpdf(f) + np.log(f), rtol=1e-10
    )
    lower, upper = tails(f, df1, df2)
    np.testing.assert_allclose(lower, known.cdf(f), rtol=1e-11)
    np.testing.assert_allclose(upper, known.sf(f), rtol=1e-11)
    assert quantile(0.9, df1, df2) == pytest.approx(known.ppf(0.9), rel=1e-12)


def test_log_tail_continues_where_the_tail_underflows() -> None:
    # Beyond the floating point numbers the tail is nearly a power of f: its slope is -df2 / 2.
    f = np.array([1e10, 1e20, 1e40, 1e41])
    log_tail = np.array([log_upper_tail(float(one), 12.0, 40.0) for one in f])
    assert log_tail[0] == pytest.approx(stats.f.logsf(1e10, 12, 40), rel=1e-12)
    assert log_tail[1] > -1000 > log_tail[2] > -np.inf
    assert np.diff(log_tail)[[0, 2]] == pytest.approx([-20 * np.log(1e10), -20 * np.log(10)], rel=1e-8)
    by_series = log_upper_tail(2e3, 200.0, 150.0)
    assert by_series < np.log(1e-80)


def test_log_tail_is_continuous_where_the_series_begins() -> None:
    f = np.geomspace(2e14, 8e15, 400)
    slope = np.diff([log_upper_tail(float(one), 12.0, 40.0) for one in f]) / np.diff(np.log(f))
    assert (np.exp(-20 * np.log(f[[0, -1]])) < [1e-280, 1e-300]).all()
    assert np.abs(slope + 20).max() < 1e-9


@pytest.mark.parametrize("df2", [1.5, 12.0, 800.0])
def test_values_of_another_df_keep_their_tail_probability(df2: float) -> None:
    f = np.geomspace(1e-3, 1e2, 25)
    moved = with_df1(f, np.full(25, 5.0), 30.0, df2)
    before, after = tails(f, 5.0, df2), tails(moved, 30.0, df2)
    np.testing.assert_allclose(np.minimum(*after), np.minimum(*before), rtol=1e-9)
    assert (np.diff(moved) > 0).all()
    np.testing.assert_array_equal(with_df1(f, np.full(25, 30.0), 30.0, df2), f)


def test_values_beyond_every_tail_stay_finite_when_moved() -> None:
    moved = with_df1(np.array([0.0, 1e-60, 1e5, 1e80]), np.full(4, 20.0), 40.0, 900.0)
    assert (moved > 0).all()
    assert np.isfinite(moved).all()
    assert moved[1] < 1e-6 < 1 < moved[2]
