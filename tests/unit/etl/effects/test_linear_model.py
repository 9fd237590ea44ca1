"""Least squares against a dense solution, on random layouts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.effects.design import Design, build_design
from etl.effects.linear_model import PlateModel

SEEDS = st.integers(0, 2**32 - 1)


def random_design(rng: np.random.Generator) -> Design:
    """One or two blocks on a few plates, with gaps, so that components and ranks vary."""
    n = int(rng.integers(12, 40))
    block = rng.integers(0, 2, n)
    condition = np.char.add(rng.choice(list("abc"), n), block.astype(str))
    plate = rng.integers(0, 3, n) + (3 * block if rng.random() < 0.5 else 0)
    return build_design(condition, plate, rng.random(n) < 0.3, block=block)


def dense_solution(design: Design, values: np.ndarray, weights: np.ndarray):
    """Coefficients, residual sum of squares, hat diagonal and contrast sd of one gene by pseudo-inverse."""
    x = np.hstack([np.eye(design.n_conditions)[design.condition], np.eye(design.n_plates)[design.plate]])
    root = np.sqrt(weights)
    solution = np.linalg.lstsq(x * root[:, None], values * root, rcond=None)[0]
    residual = values - x @ solution
    inverse = np.linalg.pinv(x.T @ (x * weights[:, None]), rcond=1e-10)
    effects, sds = [], []
    for i in range(len(design.treated)):
        contrast = np.zeros(x.shape[1])
        contrast[i], contrast[design.control[i]] = 1, -1
        effects.append(contrast @ solution)
        sds.append(np.sqrt(contrast @ inverse @ contrast))
    hat = np.einsum("ij,jk,ik->i", x, inverse, x)
    return np.array(effects), np.array(sds), (weights * residual**2).sum(), hat, x @ solution


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_unweighted_fit_equals_dense_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    values = rng.normal(8, 2, (design.n_samples, 3))
    model = PlateModel(design)
    fit = model.fit(values.copy())
    ok = design.estimable
    for gene in range(3):
        effects, sds, rss, hat, fitted = dense_solution(design, values[:, gene], np.ones(design.n_samples))
        np.testing.assert_allclose(model.contrasts(fit)[ok, gene], effects[ok], atol=1e-9)
        np.testing.assert_allclose(model.unscaled_sd[ok], sds[ok], rtol=1e-8)
        np.testing.assert_allclose(fit.residual_sum_of_squares[gene], rss, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.leverages, hat, atol=1e-8)
        np.testing.assert_allclose(model.fitted(fit)[:, gene], fitted, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_weighted_fit_equals_dense_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    values = rng.normal(8, 2, (design.n_samples, 3))
    weights = rng.gamma(1.0, 1.0, values.shape) * 10.0 ** rng.integers(-6, 6) + 1e-9
    model = PlateModel(design)
    fit, unscaled_sd = model.fit_weighted(values.copy(), weights.copy())
    ok = design.estimable
    assert np.isnan(unscaled_sd).all(axis=1).sum() == len(design.treated) - len(ok)
    for gene in range(3):
        # The dense check squares the design, so weights are brought near one for it.
        unit = weights[:, gene].mean()
        effects, sds, rss, _, fitted = dense_solution(design, values[:, gene], weights[:, gene] / unit)
        np.testing.assert_allclose(model.contrasts(fit)[ok, gene], effects[ok], atol=1e-6)
        np.testing.assert_allclose(unscaled_sd[ok, gene] * np.sqrt(unit), sds[ok], rtol=1e-6)
        np.testing.assert_allclose(fit.residual_sum_of_squares[gene] / unit, rss, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(model.fitted(fit)[:, gene], fitted, atol=1e-6)


def test_equal_weights_give_the_unweighted_fit() -> None:
    rng = np.random.default_rng(5)
    design = build_design(["", "", "a", "a", "b", "b"], [1, 2, 1, 2, 1, 1], [True, True] + [False] * 4)
    values = rng.normal(size=(6, 2))
    model = PlateModel(design)
    plain = model.fit(values.copy())
    weighted, sd = model.fit_weighted(values.copy(), np.full(values.shape, 4.0))
    np.testing.assert_allclose(model.contrasts(weighted), model.contrasts(plain), atol=1e-14)
    np.testing.assert_allclose(sd[:, 0] * 2, model.unscaled_sd, rtol=1e-14)


def test_a_large_common_level_costs_no_digits() -> None:
    rng = np.random.default_rng(6)
    design = build_design(["", "", "a", "a"] * 3, [1, 2, 1, 2] * 3, [True, True, False, False] * 3)
    values = np.round(rng.normal(size=(12, 1)), 6)
    model = PlateModel(design)
    low, high = model.fit(values.copy()), model.fit(values + 2.0**20)
    np.testing.assert_allclose(high.residual_sum_of_squares, low.residual_sum_of_squares, rtol=1e-8)


def test_an_exact_fit_has_no_residual() -> None:
    design = build_design(["", "", "a", "a"], [1, 2, 1, 2], [True, True, False, False])
    fit = PlateModel(design).fit(np.array([[1.0], [2.0], [11.0], [12.0]]))
    assert fit.residual_sum_of_squares[0] < 1e-28
