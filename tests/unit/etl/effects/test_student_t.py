"""Tails of t equal R's and exact sums, one by one and by the block."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from etl.effects.student_t import BLOCK_PAYS_FROM, StudentTails, two_sided_log10_p, two_sided_p

DF = st.one_of(st.floats(0.5, 1e10), st.sampled_from([0.5, 1.0, 2.0, 30.0, 1e10, np.inf]))


def by_block(t: np.ndarray, df: float) -> np.ndarray:
    assert t.size >= BLOCK_PAYS_FROM
    return two_sided_p(t, df)


def one_by_one(t: np.ndarray, df: float) -> np.ndarray:
    return two_sided_p(t, np.full(t.size, df))


def exact_log10_p(t: float, df: int) -> float:
    """Finite sum for even df (Abramowitz & Stegun 26.7.4), with as many digits as the subtraction costs."""
    with localcontext() as context:
        context.prec = 50 + int(df * max(0.0, np.log10(t)) + df)
        square = Decimal(t) ** 2
        cosine_square = df / (df + square)
        term = total = Decimal(1)
        for k in range(1, df // 2):
            term *= cosine_square * (2 * k - 1) / (2 * k)
            total += term
        return float((1 - (1 - cosine_square).sqrt() * total).log10())


def test_p_equals_r(table) -> None:
    grid = table("unit.pt")
    found, expected = two_sided_p(grid["t"].to_numpy(), grid["df"].to_numpy()), grid["two.sided"].to_numpy()
    representable = expected > 1e-300
    # Rounding of the exponent: p = 1e-300 is e^-690, and 690 has an absolute error of 1e-13.
    assert np.max(np.abs(found[representable] / expected[representable] - 1)) < 3e-13
    assert (found[~representable] <= 1e-299).all()


def test_log_p_equals_r_where_p_underflows(table) -> None:
    grid = table("unit.pt")
    found = two_sided_log10_p(grid["t"].to_numpy(), grid["df"].to_numpy())
    expected = (grid["log.upper"].to_numpy() + np.log(2)) / np.log(10)
    assert expected.min() < -8000
    assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) < 1e-13


@pytest.mark.parametrize("df", [2, 4, 10, 24, 48, 52, 200])
@pytest.mark.parametrize("t", [1e-5, 0.3, 0.99, 1.0, 1.5, 1.99, 2.0, 5.0, 60.0, 1e4, 1e12])
def test_log_p_equals_exact_sum(t: float, df: int) -> None:
    expected = exact_log10_p(t, df)
    assert two_sided_log10_p(t, df) == pytest.approx(expected, rel=2e-15 * df, abs=1e-14)


@pytest.mark.parametrize("df", [0.5, 0.7, 1.0, 2.5, 30.0, 176.3, 2e4, 1e5, 1e7, 1e10, np.inf])
def test_block_equals_one_by_one(df: float) -> None:
    t = np.concatenate([np.linspace(-60, 60, 20_001), np.logspace(-300, 150, 2_000)])
    block, single = by_block(t, df), one_by_one(t, df)
    seen = single > 1e-300
    assert np.max(np.abs(block[seen] / single[seen] - 1)) < 5e-12
    assert (block[~seen] <= 1e-299).all()


@pytest.mark.parametrize("df", [0.5, 1.0, 2.5, 30.0, 176.3, 2e4, 1e7, np.inf])
@pytest.mark.parametrize("p_of", [by_block, one_by_one])
def test_p_falls_with_t(p_of, df: float) -> None:
    t = np.concatenate([np.linspace(0, 50, 200_000), np.logspace(2, 140, 500)])
    p = p_of(t, df)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.max(p[1:] / np.maximum(p[:-1], 5e-324), where=p[:-1] > 0, initial=0.0) <= 1 + 1e-12


@given(st.floats(0, 12), DF)
def test_p_equals_scipy(t: float, df: float) -> None:
    # The side of the incomplete beta that keeps the digits: SciPy's distribution errs by 3e-9 at small t.
    if np.isinf(df):
        expected = 2 * special.ndtr(-t)
    elif t < 1:
        expected = special.betaincc(0.5, df / 2, t * t / (df + t * t))
    else:
        expected = special.betainc(df / 2, 0.5, df / (df + t * t))
    # Beyond df = 1e5 it is SciPy that loses digits, as x nears 1.
    assert two_sided_p(t, df) == pytest.approx(expected, rel=1e-11 if df < 1e5 or t < 1 else 1e-15 * df)


@given(st.floats(0, 1e100), DF.filter(np.isfinite))
def test_log_p_is_finite_and_never_rises(t: float, df: float) -> None:
    log_p = two_sided_log10_p([t, t * (1 + 1e-6), t * 2, t + 1], df)
    assert np.isfinite(log_p).all()
    assert log_p[0] <= 0
    assert (log_p[1:] <= log_p[0] + 1e-13 * np.abs(log_p[0])).all()


def test_log_p_is_ordered_from_the_smallest_to_the_largest_t() -> None:
    t = np.logspace(-300, 300, 601)
    for df in (1.0, 7.0, 200.0, 1e6, 1e10):
        log_p = two_sided_log10_p(t, df)
        assert np.isfinite(log_p).all()
        assert (np.diff(log_p) <= 0).all()
        assert (np.diff(log_p[301:]) < 0).all()


def test_normal_log_p_reaches_where_p_ends() -> None:
    t = np.array([0.5, 3.0, 37.0, 60.0, 1e5])
    expected = (np.log(2) + special.log_ndtr(-t)) / np.log(10)
    assert two_sided_log10_p(t, np.inf) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("n", [2, BLOCK_PAYS_FROM])
def test_missing_t_or_df_stays_missing(n: int) -> None:
    with_gap = np.full(n, 1.0)
    with_gap[0] = np.nan
    assert np.isnan(two_sided_p(with_gap, 3.0)).tolist() == [True] + [False] * (n - 1)
    assert np.isnan(two_sided_log10_p(with_gap, 3.0)).tolist() == [True] + [False] * (n - 1)
    for df in (np.nan, 0.0, -1.0):
        assert np.isnan(two_sided_p(np.ones(n), df)).all()
        assert np.isnan(two_sided_log10_p(np.ones(n), df)).all()


@pytest.mark.parametrize("df", [0.5, 3.0, 1e10, np.inf])
def test_infinite_t_has_no_p_left(df: float) -> None:
    t = np.tile([np.inf, -np.inf], BLOCK_PAYS_FROM)
    assert (by_block(t, df) == 0).all()
    assert (one_by_one(t, df) == 0).all()
    assert (two_sided_log10_p(t, df) == -np.inf).all()


def test_columns_of_a_block_have_their_own_df() -> None:
    rng = np.random.default_rng(5)
    df = np.full(1200, 40.0)
    df[::2] = rng.choice([3.0, 7.5, np.inf, np.nan, 0.0, 1e6], 600)
    t = rng.normal(0, 4, (3, 1200))
    block = t.copy()
    StudentTails(df).t_to_p(block)
    expected = two_sided_p(t, df)
    assert (np.isnan(block) == np.isnan(expected)).all()
    assert 0 < np.isnan(block).sum() < 900
    np.testing.assert_allclose(block, expected, rtol=5e-12)


@pytest.mark.parametrize("df", [[], [np.nan, np.nan]])
def test_columns_without_any_df(df: list[float]) -> None:
    block = np.ones((2, len(df)))
    StudentTails(np.array(df)).t_to_p(block)
    assert np.isnan(block).all()


def test_shapes_are_those_of_numpy() -> None:
    assert two_sided_p(np.ones((4, 1)), np.ones(3)).shape == (4, 3)
    assert two_sided_p(np.ones((20, 30)), 5.0).shape == (20, 30)
    assert two_sided_p(np.ones((20, 30)), np.full((1, 1, 1), 5.0)).shape == (1, 20, 30)
    assert two_sided_p(1.0, 5.0).shape == ()
    assert two_sided_p(np.empty((2, 0)), 5.0).shape == (2, 0)
