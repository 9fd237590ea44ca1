"""The winsorized prior resists hypervariable genes and finds them."""

import numpy as np
import pytest
from scipy import special

from etl.effects.f_distribution import upper_tail
from etl.effects.moderation import fit_prior
from etl.effects.robust_prior import _quadrature, outlier_df, winsorized_moments


def test_quadrature_equals_r(table) -> None:
    expected = table("unit.gaussquad128")
    node, weight = _quadrature()
    np.testing.assert_allclose(node, expected["nodes"].to_numpy(), rtol=1e-12, atol=1e-15)
    # R's weights carry the rounding of an eigenvector; at the ends they are the less exact of the two.
    np.testing.assert_allclose(weight, expected["weights"].to_numpy(), rtol=1e-10)


@pytest.mark.parametrize("trend", [False, True])
def test_tail_probabilities_equal_r(table, trend: bool) -> None:
    genes = table("unit.fitFDist")
    s2 = genes["s2"].to_numpy()
    prior = fit_prior(s2, 173, covariate=genes["Amean"].to_numpy() if trend else None, robust=True)
    suffix = "_cov" if trend else ""
    tail = upper_tail(s2 / prior.variance, 173, float(prior.df.max()))
    np.testing.assert_allclose(tail, genes[f"tail.p{suffix}"].to_numpy(), rtol=1e-11)
    np.testing.assert_allclose(prior.df, genes[f"df2.shrunk{suffix}"].to_numpy(), rtol=1e-11)


@pytest.mark.parametrize(("df1", "df2"), [(3.0, 4.0), (173.0, 3.3), (40.0, np.inf), (5000.0, 300.0)])
def test_moments_equal_those_of_a_fine_grid_of_quantiles(df1: float, df2: float) -> None:
    p = np.clip((np.arange(200_000) + 0.5) / 200_000, 0.05, 0.9)
    f = special.fdtri(df1, df2, p) if np.isfinite(df2) else special.gammaincinv(df1 / 2, p) / (df1 / 2)
    mean, variance = winsorized_moments(df1, df2, (0.05, 0.1))
    assert mean == pytest.approx(np.log(f).mean(), rel=1e-6, abs=1e-9)
    assert variance == pytest.approx(np.log(f).var(), rel=1e-6)


def test_hypervariable_genes_change_a_plain_prior_but_not_a_robust_one() -> None:
    rng = np.random.default_rng(1)
    clean = 0.2 * rng.f(10, 8, 4000)
    spoiled = clean.copy()
    spoiled[:120] *= 500.0
    plain, robust = fit_prior(spoiled, 10), fit_prior(spoiled, 10, robust=True)
    assert float(plain.df) < 3
    assert float(robust.df.max()) == pytest.approx(8, rel=0.25)
    assert float(robust.variance) == pytest.approx(0.2, rel=0.1)
    assert robust.df[:120].max() < 0.5
    assert np.mean(robust.df[120:] < 0.9 * robust.df.max()) < 0.06


@pytest.mark.parametrize("trend", [False, True])
def test_outliers_of_genes_with_one_common_variance(trend: bool) -> None:
    rng = np.random.default_rng(7)
    s2 = rng.chisquare(20, 2000) / 20
    s2[:40] *= 200.0
    s2[40:] **= 0.9  # less spread than noise alone: winsorized, the prior df are infinite
    prior = fit_prior(s2, 20, covariate=rng.normal(size=2000) if trend else None, robust=True)
    assert np.isinf(prior.df).mean() > 0.9
    assert prior.df[:40].max() < 1e-6


def test_prior_df_never_falls_as_the_tail_probability_rises() -> None:
    rng = np.random.default_rng(3)
    ratio = np.append(rng.f(9, 3, 300), [90.0, 4000.0])
    df = rng.integers(3, 9, 302).astype(float)
    gene_df = outlier_df(ratio, df, tail_df=3.0, prior_df=4.0)
    by_tail = gene_df[np.argsort(upper_tail(ratio, df, 3.0))]
    assert (np.diff(by_tail) >= 0).all()
    assert by_tail[0] < 1
    assert by_tail[-1] == 4


def test_variances_beyond_the_floating_point_tail_are_ranked() -> None:
    ratio = np.append(np.random.default_rng(3).f(40, 60, 300), 1e60)
    gene_df = outlier_df(ratio, np.full(301, 40.0), tail_df=60.0, prior_df=60.0)
    assert 0 < gene_df[-1] < 0.1
    assert np.isfinite(gene_df).all()


@pytest.mark.parametrize("trend", [False, True])
@pytest.mark.parametrize("n_zero", [1, 50, 400])
def test_zero_variances_are_survived(trend: bool, n_zero: int) -> None:
    rng = np.random.default_rng(9)
    s2 = 0.2 * rng.f(10, 8, 500)
    s2[:n_zero] = 0.0
    prior = fit_prior(s2, 10, covariate=rng.normal(size=500) if trend else None, robust=True)
    assert np.isfinite(prior.variance).all()
    assert (prior.df > 0).all()
