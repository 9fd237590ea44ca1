"""Priors and posterior variances equal limma's in every mode, and their edges behave."""

import numpy as np
import polars as pl
import pytest
from scipy.interpolate import CubicSpline

from etl.effects.moderation import VariancePrior, _trend_basis, fit_prior, inverse_trigamma, shrink, total_df

CLOSED_FORM = 1e-12
"""Largest relative difference where nothing is searched for."""
SEARCHED = 1e-11
"""The same where prior df come from a search: its steps are R's, its end the rounding of the integrals."""
MAXIMIZED = 1e-9
"""The same where they maximize a likelihood, which is flat there: its rounding moves the maximum more."""


def largest(found: np.ndarray, expected: pl.Series) -> float:
    """Largest relative difference; equal infinities do not differ."""
    a, b = np.broadcast_to(found, len(expected)), expected.to_numpy()
    differs = a != b
    return float(np.max(np.abs(a[differs] / b[differs] - 1), initial=0.0))


def assert_all_equal(genes: pl.DataFrame, prior: VariancePrior, tolerance: float) -> None:
    """Every per-gene number of a reference fit is found again."""
    variance, df = genes["sigma"].to_numpy() ** 2, genes["df.residual"].to_numpy()
    assert largest(prior.variance, genes["s2.prior"]) < tolerance
    assert largest(prior.df, genes["df.prior"]) < tolerance
    assert largest(shrink(variance, df, prior), genes["s2.post"]) < tolerance
    assert largest(total_df(df, prior), genes["df.total"]) < tolerance


def test_constant_prior_equals_fit_f_dist(table, scalar) -> None:
    prior = fit_prior(table("unit.fitFDist")["s2"].to_numpy(), 173)
    assert float(prior.variance) == pytest.approx(scalar("fitFDist", "scale"), rel=CLOSED_FORM)
    assert float(prior.df) == pytest.approx(scalar("fitFDist", "df2"), rel=CLOSED_FORM)


def test_trended_prior_equals_fit_f_dist(table, scalar) -> None:
    genes = table("unit.fitFDist")
    prior = fit_prior(genes["s2"].to_numpy(), 173, covariate=genes["Amean"].to_numpy())
    assert largest(prior.variance, genes["scale_cov"]) < CLOSED_FORM
    assert float(prior.df) == pytest.approx(scalar("fitFDist_cov", "df2"), rel=CLOSED_FORM)


def test_moments_of_unequal_residual_df_equal_fit_f_dist(table, scalar) -> None:
    genes, covariate = table("unit.unequal_input"), table("unit.fitFDist")["Amean"].to_numpy()
    s2, df = genes["s2"].to_numpy(), genes["df1"].to_numpy()
    prior = fit_prior(s2, df, legacy=True)
    assert float(prior.variance) == pytest.approx(scalar("fitFDist_unequal", "scale"), rel=CLOSED_FORM)
    assert float(prior.df) == pytest.approx(scalar("fitFDist_unequal", "df2"), rel=CLOSED_FORM)
    trended = fit_prior(s2, df, covariate=covariate, legacy=True)
    assert float(trended.df) == pytest.approx(scalar("fitFDist_unequal_cov", "df2"), rel=CLOSED_FORM)


@pytest.mark.parametrize(
    ("trend", "robust", "columns"),
    [
        (False, False, {"post": "post"}),
        (True, False, {"post": "post_t", "prior": "prior_t"}),
        (False, True, {"post": "post_r", "df": "dfp_r"}),
        (True, True, {"post": "post_tr", "prior": "prior_tr", "df": "dfp_tr"}),
    ],
)
def test_posterior_variances_equal_squeeze_var(table, trend: bool, robust: bool, columns: dict) -> None:
    genes, expected = table("unit.fitFDist"), table("unit.squeezeVar")
    assert genes["gene"].equals(expected["gene"])
    s2 = genes["s2"].to_numpy()
    prior = fit_prior(s2, 173, covariate=genes["Amean"].to_numpy() if trend else None, robust=robust)
    found = {"post": shrink(s2, 173, prior), "prior": prior.variance, "df": prior.df}
    for name, column in columns.items():
        assert largest(found[name], expected[column]) < SEARCHED


@pytest.mark.parametrize(
    ("name", "trend", "robust"),
    [
        ("l1000_plain", False, False),
        ("l1000_trend", True, False),
        ("l1000_robust", False, True),
        ("l1000_trend_robust", True, True),
        ("l1000_separate", True, True),
        ("l1000_oneplate", True, True),
        ("l1000_dupcor", True, True),
        ("edge_unbal", True, True),
        ("edge_discon", False, False),
        ("edge_infdf_plain", False, False),
        ("edge_infdf_trend_robust", True, True),
        ("edge_zero_dropped_robust", False, True),
        ("drugseq_limmatrend", True, False),
        ("drugseq_voom_ref_robust", False, True),
        ("drugseq_voom_exact_robust", False, True),
        ("drugseq_voom_exact_plain", False, False),
    ],
)
def test_fits_with_equal_residual_df_equal_limma(table, name: str, trend: bool, robust: bool) -> None:
    genes = table(f"{name}.genes")
    prior = fit_prior(
        genes["sigma"].to_numpy() ** 2,
        genes["df.residual"].to_numpy(),
        covariate=genes["Amean"].to_numpy() if trend else None,
        robust=robust,
    )
    assert_all_equal(genes, prior, SEARCHED)


@pytest.mark.parametrize(
    ("name", "trend_robust", "legacy", "tolerance"),
    [
        ("edge_na_plain_legacy", False, True, CLOSED_FORM),
        ("edge_na_trend_robust_legacy", True, True, SEARCHED),
        ("edge_na_plain_new", False, False, MAXIMIZED),
        ("edge_na_trend_robust_new", True, False, MAXIMIZED),
        ("edge_na_plain_new", False, None, MAXIMIZED),
        ("edge_na_trend_robust_new", True, None, MAXIMIZED),
    ],
)
def test_fits_with_missing_values_equal_limma(
    table, name: str, trend_robust: bool, legacy: bool | None, tolerance: float
) -> None:
    genes = table(f"{name}.genes")
    prior = fit_prior(
        genes["sigma"].to_numpy() ** 2,
        genes["df.residual"].to_numpy(),
        covariate=genes["Amean"].to_numpy() if trend_robust else None,
        robust=trend_robust,
        legacy=legacy,
    )
    assert_all_equal(genes, prior, tolerance)


def test_a_gene_without_any_value_equals_limma(table) -> None:
    genes = table("edge_na_allgenes_plain_default.genes")
    sigma = genes["sigma"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    df = genes["df.residual"].to_numpy()
    assert (df == 0).any()
    assert np.isnan(sigma[df == 0]).all()
    prior = fit_prior(sigma**2, df)
    assert float(prior.df) == pytest.approx(genes["df.prior"][0], rel=MAXIMIZED)
    with_data = genes.filter(pl.col("df.residual") > 0)
    found = shrink(sigma**2, df, prior)
    assert largest(found[df > 0], with_data["s2.post"]) < MAXIMIZED
    assert largest(total_df(df, prior), genes["df.total"]) < MAXIMIZED
    assert (found[df == 0] == prior.variance).all()


def test_zero_variances_equal_squeeze_var(table, scalar) -> None:
    s2 = table("edge_zero.lmfit")["sigma"].to_numpy() ** 2
    assert (s2 == 0).any()
    prior = fit_prior(s2, 173)
    assert float(prior.df) == pytest.approx(scalar("edge_zero", "df.prior"), rel=CLOSED_FORM)
    assert float(prior.variance) == pytest.approx(scalar("edge_zero", "var.prior"), rel=CLOSED_FORM)
    assert largest(shrink(s2, 173, prior), table("edge_zero.squeezeVar")["var.post"]) < CLOSED_FORM


def test_zero_variances_equal_robust_squeeze_var(table, scalar) -> None:
    s2, expected = table("edge_zero.lmfit")["sigma"].to_numpy() ** 2, table("edge_zero.squeezeVar_robust")
    prior = fit_prior(s2, 173, robust=True)
    assert float(prior.variance) == pytest.approx(scalar("edge_zero_robust", "var.prior"), rel=SEARCHED)
    assert largest(prior.df, expected["df.prior"]) < SEARCHED
    assert largest(shrink(s2, 173, prior), expected["var.post"]) < SEARCHED


def test_inverse_trigamma_equals_limma(table) -> None:
    points = table("unit.trigammaInverse")
    assert largest(inverse_trigamma(points["x"].to_numpy()), points["trigammaInverse"]) < CLOSED_FORM


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("trend", [False, True])
@pytest.mark.parametrize("legacy", [True, False])
def test_genes_without_data_do_not_shape_the_prior(robust: bool, trend: bool, legacy: bool) -> None:
    rng = np.random.default_rng(5)
    s2, covariate = 0.3 * rng.f(6, 5, 80), rng.normal(size=80)
    s2[:3] *= 60.0
    df = np.where(np.arange(80) % 2, 6, 7)
    alone = fit_prior(s2, df, covariate=covariate if trend else None, robust=robust, legacy=legacy)
    more, more_df = np.append(s2, [np.nan, np.nan, 0.0]), np.append(df, [0, 0, 0])
    more_covariate = np.append(covariate, [np.nan, covariate[7], covariate.max() + 1])
    prior = fit_prior(
        more, more_df, covariate=more_covariate if trend else None, robust=robust, legacy=legacy
    )

    posterior = shrink(more, more_df, prior)
    np.testing.assert_allclose(posterior[:80], shrink(s2, df, alone), rtol=1e-13)
    if trend:
        assert np.isnan(posterior[80])
        assert posterior[81] == pytest.approx(alone.variance[7], rel=1e-12)
        assert np.isfinite(posterior[82])
    else:
        assert posterior[80:].tolist() == [float(prior.variance)] * 3
    np.testing.assert_allclose(
        np.broadcast_to(prior.df, 83)[80:], np.max(prior.df)
    )  # no reason to call them outliers


@pytest.mark.parametrize("s2", [[3.0], [], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("robust", [False, True])
def test_too_little_to_learn_from_leaves_variances_as_they_are(s2: list[float], robust: bool) -> None:
    variance = np.array(s2)
    prior = fit_prior(variance, 5, robust=robust)
    assert prior.df == 0
    assert shrink(variance, 5, prior).tolist() == s2
    assert np.isnan(shrink(variance, 0, prior)).all()


def test_infinite_prior_df_replaces_every_variance() -> None:
    infinite = VariancePrior(np.asarray(7.0), np.asarray(np.inf))
    assert shrink(np.array([1.0, 2.0]), 3, infinite).tolist() == [7.0, 7.0]
    assert total_df([3, 4], infinite).tolist() == [7.0, 7.0]
    equal = fit_prior(np.full(40, 2.0), 6)
    assert np.isinf(equal.df)
    assert float(equal.variance) == pytest.approx(2.0)


def test_each_gene_is_shrunk_by_its_own_prior_df() -> None:
    prior = VariancePrior(np.array([1.0, 1.0, 1.0, np.nan]), np.array([np.inf, 4.0, 0.0, 4.0]))
    posterior = shrink(np.array([9.0, 9.0, 9.0, np.nan]), np.array([4, 4, 4, 0]), prior)
    np.testing.assert_array_equal(posterior, [1.0, 5.0, 9.0, np.nan])
    assert total_df([4, 4, 4, 0], prior).tolist() == [12.0, 8.0, 4.0, 4.0]


def test_prior_of_equal_df_is_by_moments_unless_asked_otherwise() -> None:
    s2 = 0.3 * np.random.default_rng(2).f(6, 5, 200)
    assert fit_prior(s2, 6).df == fit_prior(s2, 6, legacy=True).df
    assert fit_prior(s2, 6).df != fit_prior(s2, 6, legacy=False).df
    assert float(fit_prior(s2, 6, legacy=False).df) == pytest.approx(5, rel=0.5)


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("n_genes", [2, 3, 4, 10, 29, 30, 31])
def test_trend_of_few_genes_is_finite(n_genes: int, robust: bool) -> None:
    rng = np.random.default_rng(n_genes)
    prior = fit_prior(rng.chisquare(3, n_genes), 3, covariate=rng.normal(size=n_genes), robust=robust)
    assert np.isfinite(prior.variance).all()
    assert (prior.df > 0) == (n_genes > 2), "two variances teach nothing about others"


def test_trend_over_one_repeated_covariate_is_constant() -> None:
    prior = fit_prior(np.array([0.5, 1.0, 2.0, 8.0]), 4, covariate=np.full(4, 3.0))
    assert np.ptp(prior.variance) < 1e-12


@pytest.mark.parametrize("tails", [(0.0, 0.1), (0.05, 0.5), (-0.1, 0.1)])
def test_winsorized_shares_out_of_range_are_refused(tails: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1/2"):
        fit_prior(np.ones(5), 3, robust=True, winsor_tails=tails)


@pytest.mark.parametrize(("n_genes", "n_columns"), [(2, 1), (5, 2), (6, 3), (29, 3), (30, 4), (500, 4)])
def test_the_trend_of_few_genes_has_fewer_columns(n_genes: int, n_columns: int) -> None:
    x = np.random.default_rng(n_genes).normal(size=n_genes)
    basis, _ = _trend_basis(x, x)
    assert basis.shape[1] == np.linalg.matrix_rank(basis) == n_columns
    if n_columns > 2:
        # Its span is that of the natural splines through values at evenly spaced quantiles.
        knots = np.quantile(x, np.linspace(0, 1, n_columns))
        natural = np.column_stack(
            [CubicSpline(knots, unit, bc_type="natural")(x) for unit in np.eye(n_columns)]
        )
        fitted = basis @ np.linalg.lstsq(basis, natural, rcond=None)[0]
        np.testing.assert_allclose(fitted, natural, atol=1e-10)


def test_equal_covariates_leave_no_trend() -> None:
    s2 = np.random.default_rng(3).chisquare(5, 40)
    flat, constant = fit_prior(s2, 5, covariate=np.full(40, 7.0)), fit_prior(s2, 5)
    assert flat.df == pytest.approx(float(constant.df))
    np.testing.assert_allclose(flat.variance, float(constant.variance))
