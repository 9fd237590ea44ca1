import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from etl.dose_response.hill import log10_ic50, mean_viability, viability

middles = st.floats(-4, 4)
slopes = st.floats(0.1, 10)
floors = st.floats(0, 1)


def test_viability_falls_from_one_to_e_inf_through_half_the_drop_at_ec50() -> None:
    values = viability(np.array([-50.0, 1.0, 50.0]), log10_ec50=1.0, slope=2.0, e_inf=0.4)
    np.testing.assert_allclose(values, [1.0, 0.7, 0.4])


@given(middle=middles, slope=slopes, floor=floors, low=st.floats(-4, 0), width=st.floats(0.5, 6))
def test_closed_form_mean_is_the_numerical_integral(
    middle: float, slope: float, floor: float, low: float, width: float
) -> None:
    parameters = {"log10_ec50": middle, "slope": slope, "e_inf": floor}
    high = low + width
    inside = [middle] if low < middle < high else None
    area, _ = quad(lambda x: float(viability(x, **parameters)), low, high, points=inside, limit=200)
    assert float(mean_viability(low, high, **parameters)) == pytest.approx(area / width, abs=1e-7)


def test_mean_viability_of_extreme_curves_does_not_overflow() -> None:
    means = mean_viability(-3.0, 3.0, log10_ec50=[-400.0, 400.0], slope=10.0, e_inf=0.0)
    np.testing.assert_allclose(means, [0.0, 1.0], atol=1e-12)


def test_mean_viability_of_a_window_without_width_is_not_a_number() -> None:
    assert np.isnan(mean_viability(1.0, 1.0, log10_ec50=0.0, slope=1.0, e_inf=0.0))


@given(middle=middles, slope=slopes, floor=st.floats(0, 0.49))
def test_viability_at_the_ic50_is_one_half(middle: float, slope: float, floor: float) -> None:
    parameters = {"log10_ec50": middle, "slope": slope, "e_inf": floor}
    assert float(viability(log10_ic50(**parameters), **parameters)) == pytest.approx(0.5, abs=1e-9)


def test_a_curve_that_stays_above_one_half_has_no_ic50() -> None:
    assert np.isnan(log10_ic50(log10_ec50=0.0, slope=1.0, e_inf=[0.5, 0.8])).all()
