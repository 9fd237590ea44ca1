"""The prior by likelihood equals limma's where residual df differ, and weighs outliers down."""

import numpy as np
import pytest

from etl.effects.moderation import fit_prior

TOLERANCE = 1e-9
"""The maximum of the likelihood is flat: the rounding of its terms moves it by up to 1e-10."""


@pytest.mark.parametrize("robust", [False, True])
def test_constant_prior_equals_limma(table, scalar, robust: bool) -> None:
    genes = table("unit.unequal_input")
    key = "fitFDistUnequalDF1_robust" if robust else "fitFDistUnequalDF1"
    prior = fit_prior(genes["s2"].to_numpy(), genes["df1"].to_numpy(), robust=robust)
    assert float(prior.variance) == pytest.approx(scalar(key, "scale"), rel=TOLERANCE)
    assert float(prior.df) == pytest.approx(scalar(key, "df2"), rel=TOLERANCE)


@pytest.mark.parametrize("robust", [False, True])
def test_trended_prior_equals_limma(table, scalar, robust: bool) -> None:
    genes, expected = table("unit.unequal_input"), table("unit.fitFDistUnequalDF1")
    prior = fit_prior(
        genes["s2"].to_numpy(),
        genes["df1"].to_numpy(),
        covariate=table("unit.fitFDist")["Amean"].to_numpy(),
        robust=robust,
    )
    key = "fitFDistUnequalDF1_robust_cov" if robust else "fitFDistUnequalDF1_cov"
    column = "scale_robcov" if robust else "scale_cov"
    np.testing.assert_allclose(prior.variance, expected[column].to_numpy(), rtol=TOLERANCE)
    assert float(prior.df) == pytest.approx(scalar(key, "df2"), rel=TOLERANCE)


@pytest.mark.parametrize("trend", [False, True])
def test_planted_prior_is_found_although_most_genes_have_few_df(trend: bool) -> None:
    rng = np.random.default_rng(4)
    df = np.where(np.arange(6000) % 3, 2, 60)
    level = rng.uniform(-1, 1, 6000)
    s2 = 0.3 * np.exp(level if trend else 0 * level) * rng.f(df, 7)
    prior = fit_prior(s2, df, covariate=level if trend else None)
    assert float(prior.df) == pytest.approx(7, rel=0.1)
    expected = 0.3 * np.exp(level if trend else 0 * level)
    assert np.abs(np.log(prior.variance / expected)).max() < 0.25
    assert np.abs(np.log(prior.variance / expected)).mean() < 0.06


def test_outliers_count_less_and_have_fewer_prior_df() -> None:
    rng = np.random.default_rng(8)
    df = rng.integers(8, 13, 3000)
    s2 = 0.3 * rng.f(df, 30)
    s2[:100] *= 300.0
    plain, robust = fit_prior(s2, df), fit_prior(s2, df, robust=True)
    assert float(plain.df) < 5
    assert float(robust.df.max()) > 2 * float(plain.df)
    assert np.median(robust.df[:100]) < 0.5
    assert robust.df[:100].max() < 0.5 * robust.df.max()
    assert np.mean(robust.df[100:] == robust.df.max()) > 0.9


def test_one_common_variance_has_prior_df_near_the_end_of_the_search() -> None:
    rng = np.random.default_rng(6)
    df = rng.integers(8, 13, 3000)
    prior = fit_prior(0.3 * rng.chisquare(df) / df, df)
    assert 200 < float(prior.df) < 10_000
