"""Fits equal those of the full design matrix, for any layout of conditions on plates and further terms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.effects.design import Design, build_design, control_design
from etl.effects.expression_tiles import DenseTiles
from etl.effects.linear_model import LinearModel
from etl.effects.lowess import Curve
from etl.effects.normal_equations import reduce
from etl.effects.voom import precision, precision_curve

CURVE = precision_curve(Curve(np.array([-2.0, 0.0, 1.0, 3.0]), np.array([1.3, 1.1, 0.8, 0.6])))


def design_matrix(design: Design) -> np.ndarray:
    """One column per condition, then one per level of every term."""
    conditions = np.eye(design.n_conditions)[design.condition]
    columns = (design.site_columns[design.site][:, :, None] == np.arange(design.n_columns)).sum(axis=1)
    return np.hstack([conditions, columns]).astype(float)


@st.composite
def layouts(draw: st.DrawFn) -> Design:
    n = draw(st.integers(6, 30))

    def labels(most: int) -> list[int]:
        return draw(st.lists(st.integers(0, most), min_size=n, max_size=n))

    is_control = np.array(labels(2)) == 0
    terms = {"donor": labels(2)} if draw(st.booleans()) else None
    return build_design(labels(4), labels(3), is_control, terms=terms)


def estimable_pairs(design: Design) -> tuple[np.ndarray, np.ndarray]:
    treated = np.flatnonzero(design.control >= 0)
    return treated, design.control[treated]


@given(layouts())
@settings(max_examples=60, deadline=None)
def test_rank_leverages_and_estimability_follow_from_the_design_matrix(design: Design) -> None:
    equations, matrix = reduce(design), design_matrix(design)
    rank = np.linalg.matrix_rank(matrix)
    assert equations.rank == rank
    hat = matrix @ np.linalg.pinv(matrix)
    np.testing.assert_allclose(equations.leverages(), np.diag(hat), atol=1e-9)
    treated, control = estimable_pairs(design)
    null_space = np.linalg.svd(matrix)[2][rank:]
    contrasts = np.zeros((len(treated), matrix.shape[1]))
    contrasts[np.arange(len(treated)), treated] = 1
    contrasts[np.arange(len(treated)), control] = -1
    expected = np.abs(contrasts @ null_space.T).max(axis=1, initial=0) < 1e-8
    assert equations.are_comparable(treated, control).tolist() == expected.tolist()


@given(layouts(), st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_effects_and_their_variances_equal_least_squares(design: Design, seed: int) -> None:
    equations, matrix = reduce(design), design_matrix(design)
    treated, control = estimable_pairs(design)
    known = equations.are_comparable(treated, control)
    treated, control = treated[known], control[known]
    values = np.random.default_rng(seed).normal(size=(design.n_samples, 3))
    model = LinearModel(equations, condition=treated, site=np.full(len(treated), -1), control=control)
    contrasts = np.zeros((len(treated), matrix.shape[1]))
    contrasts[np.arange(len(treated)), treated] = 1
    contrasts[np.arange(len(treated)), control] -= 1

    fitted = model.fit(DenseTiles(values, equations.order))
    inverse = np.linalg.pinv(matrix)
    np.testing.assert_allclose(fitted.difference.T, contrasts @ inverse @ values, atol=1e-9)
    np.testing.assert_allclose(
        fitted.variance[0], np.einsum("ij,jk,ik->i", contrasts, inverse @ inverse.T, contrasts), atol=1e-9
    )
    residual = values - matrix @ inverse @ values
    np.testing.assert_allclose(fitted.residual_sum_of_squares, (residual**2).sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(fitted.mean, values.mean(axis=0), atol=1e-12)

    shift = np.linspace(0, 2, design.n_samples)
    weighted = model.fit_with_precision(DenseTiles(values, equations.order), shift[equations.order], CURVE)
    fitted_values = matrix @ inverse @ values
    for gene in range(3):
        weight = np.array([precision(x, CURVE) for x in fitted_values[:, gene] + shift])
        root = np.sqrt(weight)[:, None]
        inverse_weighted = np.linalg.pinv(root * matrix)
        coefficients = inverse_weighted @ (root[:, 0] * values[:, gene])
        np.testing.assert_allclose(weighted.difference[gene], contrasts @ coefficients, atol=1e-8)
        np.testing.assert_allclose(
            weighted.variance[gene],
            np.einsum("ij,jk,ik->i", contrasts, inverse_weighted @ inverse_weighted.T, contrasts),
            atol=1e-8,
        )
        rest = values[:, gene] - matrix @ coefficients
        assert weighted.residual_sum_of_squares[gene] == pytest.approx((weight * rest**2).sum(), abs=1e-8)


@given(layouts(), st.integers(0, 10))
@settings(max_examples=40, deadline=None)
def test_levels_of_controls_are_predictions_of_the_design_of_controls(design: Design, seed: int) -> None:
    alone, samples = control_design(design)
    if not len(samples):
        return
    equations, matrix = reduce(alone), design_matrix(alone)
    sites, controls = np.divmod(np.arange(len(design.site_columns) * alone.n_conditions), alone.n_conditions)
    rank = np.linalg.matrix_rank(matrix)
    assert equations.rank == rank
    wanted = np.zeros((len(sites), matrix.shape[1]))
    wanted[np.arange(len(sites)), controls] = 1
    for term in range(design.n_terms):
        wanted[np.arange(len(sites)), alone.n_conditions + design.site_columns[sites, term]] += 1
    null_space = np.linalg.svd(matrix)[2][rank:]
    linked = equations.are_linked(sites, controls)
    assert linked.tolist() == (np.abs(wanted @ null_space.T).max(axis=1, initial=0) < 1e-8).tolist()

    values = np.random.default_rng(seed).normal(size=(len(samples), 2))
    model = LinearModel(
        equations, condition=np.full(linked.sum(), -1), site=sites[linked], control=controls[linked]
    )
    fitted = model.fit(DenseTiles(values, equations.order))
    inverse = np.linalg.pinv(matrix)
    np.testing.assert_allclose(fitted.difference.T, wanted[linked] @ inverse @ values, atol=1e-9)
    np.testing.assert_allclose(
        fitted.variance[0],
        np.einsum("ij,jk,ik->i", wanted[linked], inverse @ inverse.T, wanted[linked]),
        atol=1e-9,
    )


def test_large_blocks_are_solved_as_small_ones_are() -> None:
    # One treatment on every plate ties forty plates into one block.
    plate = np.repeat(np.arange(40), 4)
    condition = np.tile(["", "", "everywhere", "once"], 40).astype(object)
    condition[3::4] = [f"once {p // 2}" for p in range(40)]
    is_control = np.tile([True, True, False, False], 40)
    design = build_design(condition, plate, is_control)
    equations, matrix = reduce(design), design_matrix(design)
    assert np.diff(equations.layout.block_start).max() == 40
    treated, control = estimable_pairs(design)
    values = np.random.default_rng(1).normal(size=(160, 2))
    model = LinearModel(equations, condition=treated, site=np.full(len(treated), -1), control=control)
    fitted = model.fit(DenseTiles(values, equations.order))
    coefficients = np.linalg.pinv(matrix) @ values
    np.testing.assert_allclose(fitted.difference.T, coefficients[treated] - coefficients[control], atol=1e-9)


def test_threads_do_not_change_a_result() -> None:
    rng = np.random.default_rng(5)
    design = build_design(rng.integers(0, 40, 300), rng.integers(0, 6, 300), rng.random(300) < 0.2)
    equations = reduce(design)
    treated, control = estimable_pairs(design)
    values = rng.normal(size=(300, 500))
    results = [
        LinearModel(
            equations, condition=treated, site=np.full(len(treated), -1), control=control, n_threads=n
        ).fit_with_precision(DenseTiles(values, equations.order), np.zeros(300), CURVE)
        for n in (1, 3)
    ]
    assert np.array_equal(results[0].difference, results[1].difference)
    assert np.array_equal(results[0].variance, results[1].variance)


def r_design(design: Design) -> tuple[list[int], np.ndarray]:
    """Columns of ``~ 0 + condition + plate + ...`` that R's QR keeps, and which of them are conditions."""
    candidates = [(c, design.condition == c) for c in np.unique(design.condition)]
    for column in range(design.n_columns):
        is_first = column == np.flatnonzero(design.column_term == design.column_term[column])[0]
        if not is_first:
            candidates.append((-1, (design.site_columns[design.site] == column).any(axis=1)))
    matrix, conditions = np.zeros((design.n_samples, 0)), []
    for condition, column in candidates:
        wider = np.column_stack([matrix, column.astype(float)])
        if np.linalg.matrix_rank(wider) > matrix.shape[1]:
            matrix = wider
            conditions.append(condition)
    return conditions, matrix


@given(layouts())
@settings(max_examples=60, deadline=None)
def test_limmas_parts_are_those_of_the_coefficients_that_r_keeps(design: Design) -> None:
    equations = reduce(design)
    treated, control = estimable_pairs(design)
    known = equations.are_comparable(treated, control)
    treated, control = treated[known], control[known]
    if not len(treated):
        return
    model = LinearModel(
        equations,
        condition=treated,
        site=np.full(len(treated), -1),
        control=control,
        standard_error="limma",
    )
    conditions, matrix = r_design(design)
    covariance = np.linalg.inv(matrix.T @ matrix)
    at = {condition: position for position, condition in enumerate(conditions)}
    t, k = [at[c] for c in treated], [at[c] for c in control]
    of_treated, of_control = model.variance_parts
    np.testing.assert_allclose(of_treated, covariance[t, t], rtol=1e-9)
    np.testing.assert_allclose(of_control, covariance[k, k], rtol=1e-9)
    np.testing.assert_allclose(
        model.correlation, covariance[t, k] / np.sqrt(covariance[t, t] * covariance[k, k]), atol=1e-9
    )
