import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.optimize import least_squares

from etl.dose_response.fit import FIT_COLUMNS, fit_curves
from etl.dose_response.hill import viability

DOSES = np.array([0.0025, 0.008, 0.025, 0.08, 0.25, 0.8, 2.53, 8.0])


def curve(values: object, *, curve_id: int = 0, doses: np.ndarray = DOSES) -> pl.DataFrame:
    return pl.DataFrame(
        {"curve_id": curve_id, "dose_um": doses, "viability": values},
        schema_overrides={"viability": pl.Float64},
    )


def simulated(n_curves: int, *, sd: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return points of curves with their EC50 among the doses, and the parameters behind them."""
    rng = np.random.default_rng(seed)
    truth = pl.DataFrame(
        {
            "curve_id": np.arange(n_curves),
            "true_log10_ec50": rng.uniform(-2, 0.5, n_curves),
            "true_slope": rng.uniform(0.6, 4, n_curves),
            "true_e_inf": rng.uniform(0.02, 0.5, n_curves),
        }
    )
    exact = viability(
        np.log10(DOSES),
        log10_ec50=truth["true_log10_ec50"].to_numpy()[:, None],
        slope=truth["true_slope"].to_numpy()[:, None],
        e_inf=truth["true_e_inf"].to_numpy()[:, None],
    )
    noisy = exact + rng.normal(0, sd, exact.shape)
    return pl.concat(curve(row, curve_id=i) for i, row in enumerate(noisy)), truth


def test_planted_parameters_are_recovered_from_exact_points() -> None:
    points, truth = simulated(200, sd=0.0, seed=1)
    fits = fit_curves(points).join(truth, on="curve_id")
    np.testing.assert_allclose(fits["ec50_um"].log10(), fits["true_log10_ec50"], atol=1e-4)
    np.testing.assert_allclose(fits["slope"], fits["true_slope"], rtol=1e-3)
    np.testing.assert_allclose(fits["e_inf"], fits["true_e_inf"], atol=1e-4)
    assert fits["r_squared"].min() == pytest.approx(1.0)


def test_planted_parameters_are_recovered_without_bias_from_noisy_points() -> None:
    points, truth = simulated(500, sd=0.03, seed=2)
    fits = fit_curves(points).join(truth, on="curve_id")
    error = fits["ec50_um"].log10() - fits["true_log10_ec50"]
    assert abs(error.median()) < 0.02
    assert fits.select(pl.corr(pl.col("ec50_um").log10(), "true_log10_ec50")).item() > 0.95
    assert fits["rmse"].median() == pytest.approx(0.03 * np.sqrt(5 / 8), rel=0.1)


def test_no_fit_is_worse_than_that_of_scipy_from_many_starts() -> None:
    points, _ = simulated(40, sd=0.1, seed=3)
    fits = fit_curves(points)
    x = np.log10(DOSES)
    for (curve_id,), own in points.group_by("curve_id"):
        y = own.sort("dose_um")["viability"].to_numpy()

        def residuals(theta: np.ndarray, y: np.ndarray = y) -> np.ndarray:
            return viability(x, log10_ec50=theta[0], slope=theta[1], e_inf=theta[2]) - y

        box = ([x.min() - 2, 0.1, 0], [x.max() + 2, 10, 1])
        starts = [(e, h, 0.3) for e in (-2, -1, 0, 1) for h in (0.5, 2, 6)]
        best = min(
            least_squares(residuals, start, bounds=box, xtol=1e-12, ftol=1e-12).cost for start in starts
        )
        mine = fits.filter(curve_id=curve_id)["rmse"][0] ** 2 * len(x) / 2
        assert mine <= best * (1 + 1e-3)


@given(factor=st.sampled_from([1e-6, 0.01, 0.37, 3.0, 1e3]))
@settings(max_examples=5, deadline=None)
def test_scaling_the_doses_scales_ec50_and_leaves_the_rest(factor: float) -> None:
    points, _ = simulated(50, sd=0.05, seed=4)
    fits = fit_curves(points)
    scaled = fit_curves(points.with_columns(pl.col("dose_um") * factor))
    doses = [name for name in FIT_COLUMNS if name.endswith("_um")]
    back = scaled.with_columns(pl.col(doses) / factor)
    # One window of auc_global for all screens: it cannot move with the doses.
    assert_frame_equal(back.drop("auc_global"), fits.drop("auc_global"), rel_tol=1e-6, abs_tol=1e-9)


def test_order_of_points_and_company_of_other_curves_do_not_matter() -> None:
    points, _ = simulated(20, sd=0.05, seed=5)
    longer = curve([1.0] * 8 + [0.5] * 8, curve_id=99, doses=np.tile(DOSES, 2))
    together = fit_curves(pl.concat([longer, points]).sample(fraction=1, shuffle=True, seed=0))
    assert_frame_equal(together.filter(pl.col("curve_id") != 99), fit_curves(points), rel_tol=1e-6)


def test_auc_is_the_mean_viability_over_the_tested_window() -> None:
    fit = fit_curves(curve([0.3] * 8)).row(0, named=True)
    assert fit["auc"] == pytest.approx(0.3, abs=1e-3)
    assert (fit["auc_min_dose_um"], fit["auc_max_dose_um"]) == (0.0025, 8.0)


def test_too_few_doses_are_not_fitted_but_described() -> None:
    fit = fit_curves(curve([1.0, 0.9, 0.5, 0.2], doses=DOSES[:4])).row(0, named=True)
    assert fit["flags"] == ["too_few_points"]
    assert (fit["n_points"], fit["e_max"], fit["min_dose_um"]) == (4, 0.2, 0.0025)
    assert fit["ec50_um"] is None
    assert fit["auc"] is None


def test_values_that_are_not_finite_are_no_points() -> None:
    fit = fit_curves(curve([1.0, None, float("nan"), float("inf"), 0.9, 0.5, 0.2, 0.1])).row(0, named=True)
    assert (fit["n_points"], fit["min_dose_um"]) == (5, 0.0025)


def test_a_curve_without_any_finite_value_keeps_its_row() -> None:
    fit = fit_curves(curve([None] * 8)).row(0, named=True)
    assert (fit["n_points"], fit["e_max"], fit["flags"]) == (0, None, ["too_few_points"])


def test_no_points_give_no_rows_in_the_same_columns() -> None:
    assert fit_curves(curve([1.0] * 8).head(0)).columns == ["curve_id", *FIT_COLUMNS]


def test_a_constant_curve_is_flat_and_has_no_r_squared() -> None:
    fit = fit_curves(curve([1.0] * 8)).row(0, named=True)
    assert "flat" in fit["flags"]
    assert fit["r_squared"] is None


def test_a_clear_response_is_not_flat() -> None:
    fit = fit_curves(curve([1.0, 1.0, 0.98, 0.8, 0.5, 0.2, 0.1, 0.08])).row(0, named=True)
    assert fit["flags"] == []
    assert fit["ic50_um"] == pytest.approx(0.25, rel=0.1)


def test_a_rising_curve_is_flagged() -> None:
    fit = fit_curves(curve([1.0, 1.05, 1.1, 1.12, 1.2, 1.24, 1.3, 1.35])).row(0, named=True)
    assert "rising" in fit["flags"]


def test_an_ec50_below_the_tested_doses_is_flagged() -> None:
    fit = fit_curves(curve([0.3, 0.2, 0.12, 0.06, 0.03, 0.02, 0.01, 0.01])).row(0, named=True)
    assert "ec50_extrapolated" in fit["flags"]


def test_a_curve_that_falls_below_zero_stands_on_the_bound_of_e_inf() -> None:
    fit = fit_curves(curve([1.0, 0.9, 0.5, 0.1, -0.1, -0.2, -0.2, -0.2])).row(0, named=True)
    assert fit["e_inf"] == 0
    assert "on_bound" in fit["flags"]


def test_e_max_is_the_mean_observed_at_the_highest_dose() -> None:
    doses = np.append(DOSES, 8.0)
    fit = fit_curves(curve([1, 1, 1, 0.9, 0.7, 0.4, 0.3, 0.1, 0.3], doses=doses)).row(0, named=True)
    assert (fit["e_max"], fit["n_points"]) == (pytest.approx(0.2), 8)


def test_a_dose_that_is_not_positive_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="positive"):
        fit_curves(curve([1.0] * 8, doses=DOSES - DOSES[0]))


def planted(n_curves: int, *, sd: float, seed: int, e_0: float = 1.0) -> pl.DataFrame:
    """Return 12 doses × 2 replicates of curves with EC50 0.3 µM, slope 1.5 and e_inf 0.2."""
    doses = np.repeat(10.0 ** np.linspace(-3, 1.5, 12), 2)
    exact = viability(np.log10(doses), log10_ec50=np.log10(0.3), slope=1.5, e_inf=0.2, e_0=e_0)
    noisy = exact + np.random.default_rng(seed).normal(0, sd, (n_curves, len(doses)))
    return pl.concat(curve(row, curve_id=i, doses=doses) for i, row in enumerate(noisy))


def test_four_parameters_find_the_upper_plateau() -> None:
    points = planted(20, sd=0.02, seed=1, e_0=0.8)
    four, three = fit_curves(points, model="log_logistic_4"), fit_curves(points)
    assert four["e_0"].mean() == pytest.approx(0.8, abs=0.01)
    assert four["ec50_um"].log10().mean() == pytest.approx(np.log10(0.3), abs=0.03)
    assert set(three["e_0"]) == {1.0}
    assert (four["rmse"] < three["rmse"]).all()


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    fits = fit_curves(planted(2_000, sd=0.05, seed=2))
    ic50 = 0.3 * (0.5 / 0.3) ** (1 / 1.5)
    for name, truth in (("ec50", 0.3), ("ic50", ic50)):
        covers = fits.select(
            (pl.col(f"{name}_low_um") <= truth) & (truth <= pl.col(f"{name}_high_um"))
        ).to_series()
        assert covers.null_count() == 0
        assert covers.mean() == pytest.approx(0.95, abs=0.015), name


def test_there_is_no_interval_of_a_flat_curve_nor_on_a_bound() -> None:
    flat = fit_curves(curve([1.0, 0.98, 1.02, 1.0, 0.99, 1.01, 1.0, 0.97]))
    at_bound = fit_curves(curve([1, 1, 1, 1, 1, 0.02, 0.01, 0.02]))
    assert flat["ec50_low_um"].to_list() == at_bound["ec50_low_um"].to_list() == [None]
    assert "on_bound" in at_bound["flags"][0]


def test_a_weight_counts_like_so_many_points() -> None:
    points = planted(5, sd=0.05, seed=3)
    weights = pl.int_range(pl.len()) % 3 + 1
    weighted = points.with_columns(weight=weights.cast(pl.Float64))
    repeated = points.with_columns(n=weights).select(pl.all().repeat_by("n").explode())
    names = ["ec50_um", "slope", "e_inf", "auc"]
    assert_frame_equal(fit_curves(weighted).select(names), fit_curves(repeated).select(names), rel_tol=1e-6)


def test_a_robust_fit_hardly_sees_an_outlier() -> None:
    points = planted(30, sd=0.02, seed=4)
    one = pl.int_range(pl.len()).over("curve_id") == 14
    spoilt = points.with_columns(pl.when(one).then(pl.col("viability") + 1.5).otherwise("viability"))
    truth = np.log10(0.3)
    errors = {
        robust: (fit_curves(spoilt, robust=robust)["ec50_um"].log10() - truth).abs().median()
        for robust in (True, False)
    }
    assert errors[True] < 0.03 < 0.08 < errors[False]


def test_results_do_not_depend_on_threads() -> None:
    points = simulated(300, sd=0.1, seed=6)[0]
    assert_frame_equal(fit_curves(points, n_threads=1), fit_curves(points, n_threads=3), check_exact=True)


def test_a_dent_is_flagged_as_not_monotone() -> None:
    fit = fit_curves(curve([1.0, 0.95, 0.3, 0.9, 0.5, 0.3, 0.15, 0.1])).row(0, named=True)
    assert "non_monotone" in fit["flags"]
    assert "rising" not in fit["flags"]


def test_the_global_window_is_the_same_for_all_screens() -> None:
    fits = fit_curves(planted(1, sd=0.0, seed=1))
    x = np.linspace(-4, 2, 20_001)
    numeric = np.mean(viability(x, log10_ec50=np.log10(0.3), slope=1.5, e_inf=0.2))
    assert fits["auc_global"][0] == pytest.approx(numeric, abs=1e-4)
