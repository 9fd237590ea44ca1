import numpy as np
import polars as pl
import pytest
from scipy.integrate import trapezoid

from etl.dose_response.growth_rate import GROWTH_COLUMNS, fit_growth_rates, growth_rate
from etl.dose_response.hill import viability

DOSES = 10.0 ** np.linspace(-3, 1, 9)


def points(values: np.ndarray, curve_id: int = 0, doses: np.ndarray = DOSES) -> pl.DataFrame:
    return pl.DataFrame({"curve_id": curve_id, "dose_um": doses, "growth_rate": values})


def curve(gr_inf: float, *, gec50: float = 0.1, slope: float = 1.3) -> np.ndarray:
    return viability(np.log10(DOSES), log10_ec50=np.log10(gec50), slope=slope, e_inf=gr_inf)


def test_growth_rates_of_viabilities() -> None:
    found = growth_rate([1.0, 0.5, 0.0, -0.1], doubling_time_h=[36, 36, 36, 36], time_h=72)
    np.testing.assert_allclose(found[:3], [1.0, 2 * 0.5**0.5 - 1, -1.0])
    assert np.isnan(found[3])


@pytest.mark.parametrize("gr_inf", [-0.8, 0.0, 0.3])
def test_planted_parameters_come_back_and_gr50_is_where_the_curve_is_one_half(gr_inf: float) -> None:
    row = fit_growth_rates(points(curve(gr_inf))).row(0, named=True)
    assert row["gec50_um"] == pytest.approx(0.1, rel=1e-5)
    assert row["gr_slope"] == pytest.approx(1.3, rel=1e-5)
    assert row["gr_inf"] == pytest.approx(gr_inf, abs=1e-6)
    assert row["gr50_um"] == pytest.approx(0.1 * (0.5 / (0.5 - gr_inf)) ** (1 / 1.3), rel=1e-5)
    assert row["flags"] == []


def test_observed_metrics_are_those_of_the_means_of_doses() -> None:
    values = curve(-0.5) + np.array([0, 0.1, -0.1, 0, 0, 0.05, 0, -0.2, 0.1])
    twice = pl.concat([points(values + 0.03), points(values - 0.03)])
    row = fit_growth_rates(twice).row(0, named=True)
    assert row["gr_max"] == pytest.approx(min(values[-2:]))
    x = np.log10(DOSES)
    assert row["gr_aoc"] == pytest.approx(trapezoid(1 - values, x) / (x[-1] - x[0]))


def test_a_flat_curve_has_its_mean_and_no_gr50() -> None:
    values = np.array([1.0, 0.98, 1.02, 1.0, 0.99, 1.01, 1.0, 0.97, 1.03])
    row = fit_growth_rates(points(values)).row(0, named=True)
    assert (row["gr50_um"], row["gec50_um"], row["gr_slope"]) == (None, None, None)
    assert row["gr_inf"] == pytest.approx(values.mean())
    assert row["flags"] == ["gr_flat"]


def test_a_curve_that_stays_above_one_half_does_not_reach_gr50() -> None:
    row = fit_growth_rates(points(curve(0.7))).row(0, named=True)
    assert row["gr50_um"] is None
    assert row["gec50_um"] == pytest.approx(0.1, rel=1e-4)
    assert row["flags"] == ["gr50_not_reached"]


def test_a_gr50_outside_the_doses_is_flagged() -> None:
    row = fit_growth_rates(points(curve(-0.9, gec50=30.0))).row(0, named=True)
    assert row["gr50_um"] > 10
    assert row["flags"] == ["gr50_extrapolated"]


def test_curves_of_few_doses_have_no_row_and_no_points_no_rows() -> None:
    short = points(curve(0.0)[:4], doses=DOSES[:4])
    assert fit_growth_rates(short).is_empty()
    assert fit_growth_rates(short.clear()).columns == ["curve_id", *GROWTH_COLUMNS]
