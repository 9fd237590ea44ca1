"""Tails of t equal R's, in the table and outside it."""

import numpy as np
import pytest

from etl.effects.student_t import TABLE_PAYS_FROM, two_sided_log10_p, two_sided_p


def test_p_equals_r(table) -> None:
    grid = table("unit.pt")
    found, expected = two_sided_p(grid["t"].to_numpy(), grid["df"].to_numpy()), grid["two.sided"].to_numpy()
    representable = expected > 1e-300
    assert np.max(np.abs(found[representable] / expected[representable] - 1)) < 1e-9
    assert (found[~representable] <= 1e-299).all()


def test_log_p_equals_r_where_p_underflows(table) -> None:
    grid = table("unit.pt")
    found = two_sided_log10_p(grid["t"].to_numpy(), grid["df"].to_numpy())
    expected = (grid["log.upper"].to_numpy() + np.log(2)) / np.log(10)
    assert expected.min() < -8000
    assert np.max(np.abs(found - expected)) < 1e-9


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0, 176.3, 2e4, 1e7])
def test_table_equals_direct_evaluation(df: float) -> None:
    t = np.concatenate([np.linspace(-60, 60, TABLE_PAYS_FROM), [np.nan, np.inf, 1e9]])
    tabulated = two_sided_p(t, df)
    direct = np.concatenate([two_sided_p(part, df) for part in np.array_split(t, 5)])
    assert np.isnan(tabulated[-3])
    assert tabulated[-2] == 0
    seen = direct > 1e-300
    # From df = 1e6 on rounding of the continued fraction, which grows with df, is what limits the table.
    assert np.max(np.abs(tabulated[seen] / direct[seen] - 1)) < max(1e-10, 3e-16 * df)
    assert (tabulated[:-3] <= 1).all()


def test_log_p_is_finite_and_ordered_at_any_extreme() -> None:
    t = np.logspace(-300, 300, 601)
    for df in (1.0, 7.0, 200.0, 1e6):
        log_p = two_sided_log10_p(t, df)
        assert np.isfinite(log_p).all()
        assert (np.diff(log_p) <= 0).all()
        assert (np.diff(log_p[310:]) < 0).all()


def test_missing_t_stays_missing() -> None:
    assert np.isnan(two_sided_p([np.nan, 1.0], [3.0, np.nan])).all()
    assert np.isnan(two_sided_log10_p([np.nan, 1.0], [3.0, np.nan])).all()


def test_infinite_t_has_no_p_left() -> None:
    assert two_sided_p([np.inf, -np.inf], [3.0, np.inf]).tolist() == [0.0, 0.0]
    assert two_sided_log10_p([np.inf, -np.inf], [3.0, np.inf]).tolist() == [-np.inf, -np.inf]
