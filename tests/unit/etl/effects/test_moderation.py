"""The variance prior equals limma's, and its edges behave."""

import numpy as np
import pytest

from etl.effects.moderation import VariancePrior, fit_prior, inverse_trigamma, shrink

TOLERANCE = 1e-12


def largest(found: np.ndarray, expected) -> float:
    return float(np.max(np.abs(found / expected.to_numpy() - 1)))


def test_constant_prior_equals_fit_f_dist(table, scalar) -> None:
    prior = fit_prior(table("unit.fitFDist")["s2"].to_numpy(), 173)
    assert float(prior.variance) == pytest.approx(scalar("fitFDist", "scale"), rel=TOLERANCE)
    assert prior.df == pytest.approx(scalar("fitFDist", "df2"), rel=TOLERANCE)


def test_trended_prior_equals_fit_f_dist(table, scalar) -> None:
    genes = table("unit.fitFDist")
    prior = fit_prior(genes["s2"].to_numpy(), 173, covariate=genes["Amean"].to_numpy())
    assert largest(prior.variance, genes["scale_cov"]) < TOLERANCE
    assert prior.df == pytest.approx(scalar("fitFDist_cov", "df2"), rel=TOLERANCE)


def test_prior_with_unequal_residual_df_equals_fit_f_dist(table, scalar) -> None:
    genes = table("unit.unequal_input")
    prior = fit_prior(genes["s2"].to_numpy(), genes["df1"].to_numpy())
    assert float(prior.variance) == pytest.approx(scalar("fitFDist_unequal", "scale"), rel=TOLERANCE)
    assert prior.df == pytest.approx(scalar("fitFDist_unequal", "df2"), rel=TOLERANCE)


@pytest.mark.parametrize(("trend", "column"), [(False, "post"), (True, "post_t")])
def test_posterior_variances_equal_squeeze_var(table, trend: bool, column: str) -> None:
    genes, expected = table("unit.fitFDist"), table("unit.squeezeVar")
    assert genes["gene"].equals(expected["gene"])
    s2 = genes["s2"].to_numpy()
    prior = fit_prior(s2, 173, covariate=genes["Amean"].to_numpy() if trend else None)
    assert largest(shrink(s2, 173, prior), expected[column]) < TOLERANCE


def test_zero_variances_equal_squeeze_var(table, scalar) -> None:
    s2 = table("edge_zero.lmfit")["sigma"].to_numpy() ** 2
    assert (s2 == 0).any()
    prior = fit_prior(s2, 173)
    assert prior.df == pytest.approx(scalar("edge_zero", "df.prior"), rel=TOLERANCE)
    assert float(prior.variance) == pytest.approx(scalar("edge_zero", "var.prior"), rel=TOLERANCE)
    assert largest(shrink(s2, 173, prior), table("edge_zero.squeezeVar")["var.post"]) < TOLERANCE


def test_inverse_trigamma_equals_limma(table) -> None:
    points = table("unit.trigammaInverse")
    assert largest(inverse_trigamma(points["x"].to_numpy()), points["trigammaInverse"]) < TOLERANCE


def test_genes_without_residual_df_get_the_prior_and_do_not_shape_it() -> None:
    s2, df = np.array([0.5, 1.0, 2.0, 8.0, np.nan]), np.array([4, 4, 4, 4, 0])
    prior = fit_prior(s2, df)
    assert prior == fit_prior(s2[:4], 4)
    assert shrink(s2, df, prior)[4] == prior.variance


@pytest.mark.parametrize("s2", [[3.0], [], [0.0, 0.0, 0.0]])
def test_too_little_to_learn_from_leaves_variances_as_they_are(s2: list[float]) -> None:
    variance = np.array(s2)
    prior = fit_prior(variance, 5)
    assert prior.df == 0
    assert shrink(variance, 5, prior).tolist() == s2


def test_infinite_prior_df_replaces_every_variance() -> None:
    assert shrink(np.array([1.0, 2.0]), 3, VariancePrior(np.asarray(7.0), np.inf)).tolist() == [7.0, 7.0]
    equal = fit_prior(np.full(40, 2.0), 6)
    assert np.isinf(equal.df)
    assert float(equal.variance) == pytest.approx(2.0)


@pytest.mark.parametrize("n_genes", [2, 3, 10, 29, 30, 31])
def test_trend_of_few_genes_is_finite(n_genes: int) -> None:
    rng = np.random.default_rng(n_genes)
    prior = fit_prior(rng.chisquare(3, n_genes), 3, covariate=rng.normal(size=n_genes))
    assert np.isfinite(prior.variance).all()
    assert prior.df > 0


def test_trend_over_one_repeated_covariate_is_constant() -> None:
    prior = fit_prior(np.array([0.5, 1.0, 2.0, 8.0]), 4, covariate=np.full(4, 3.0))
    assert np.ptp(prior.variance) < 1e-12
