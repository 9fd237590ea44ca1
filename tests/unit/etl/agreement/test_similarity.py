"""Each measure against SciPy or a plain loop, its edge rules, and profiles of known agreement."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ConstantInputWarning, spearmanr

from etl.agreement.similarity import direction_agreement, spearman

NAN = np.nan


def scipy_spearman(left: np.ndarray, right: np.ndarray) -> tuple[float, int]:
    """One row through SciPy, on the genes finite on both sides."""
    shared = np.isfinite(left) & np.isfinite(right)
    if shared.sum() < 2:
        return NAN, int(shared.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(left[shared], right[shared]).statistic), int(shared.sum())


def few_values(draw_from: list[float]) -> st.SearchStrategy[np.ndarray]:
    """Two stacked arrays of pairs × genes with ties, gaps and infinities."""
    shape = st.tuples(st.just(2), st.integers(1, 4), st.integers(0, 12))
    return shape.flatmap(lambda s: hnp.arrays(np.float32, s, elements=st.sampled_from(draw_from)))


@settings(max_examples=150, deadline=None)
@given(few_values([-2.0, -1.0, -0.0, 0.0, 0.5, 0.5, 3.0, 1e-30, NAN, np.inf, -np.inf]))
def test_spearman_is_scipys_row_by_row(sides: np.ndarray) -> None:
    expected = [scipy_spearman(left, right) for left, right in zip(*sides, strict=True)]
    rho, n_genes = spearman(*sides)
    np.testing.assert_allclose(rho, [e[0] for e in expected], atol=1e-14)
    np.testing.assert_array_equal(n_genes, [e[1] for e in expected])


@pytest.mark.parametrize("share_missing", [0.0, 0.2])
def test_spearman_is_scipys_on_profiles_of_realistic_size(share_missing: float) -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(2, 20, 978)).astype(np.float32).round(2)
    left[rng.random(left.shape) < share_missing] = NAN
    rho, n_genes = spearman(left, right)
    expected = [scipy_spearman(a, b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(rho, [e[0] for e in expected], rtol=1e-12)
    np.testing.assert_array_equal(n_genes, [e[1] for e in expected])
    assert rho.dtype == np.float64
    assert n_genes.dtype == np.int32


def test_spearman_edges() -> None:
    left = np.array([[1, 2, NAN, NAN], [5, 5, 5, 5], [1, 2, 3, 4], [1, NAN, 2, 3], [1, 1, 1, 9]])
    right = np.array([[NAN, NAN, 1, 2], [1, 2, 3, 4], [7, 7, 7, 7], [1, 2, NAN, NAN], [4, 3, 2, NAN]])
    rho, n_genes = spearman(left, right)
    assert np.isnan(rho).all()  # disjoint, constant left, constant right, one gene, constant where shared
    assert n_genes.tolist() == [0, 4, 4, 1, 3]


def test_a_perfect_correlation_is_exactly_one() -> None:
    values = np.random.default_rng(2).normal(size=(3, 20_000))
    assert spearman(values, np.exp(values)).rho.tolist() == [1.0] * 3
    assert spearman(values, -values).rho.tolist() == [-1.0] * 3


@settings(max_examples=150, deadline=None)
@given(
    effects=few_values([-2.0, -0.2, -0.0, 0.0, 0.2, 0.5, NAN, np.inf]),
    seed=st.integers(0, 100),
    min_abs=st.sampled_from([0.0, 0.2]),
)
def test_direction_is_that_of_a_plain_loop(effects: np.ndarray, seed: int, min_abs: float) -> None:
    p_choices = np.array([0.0, 0.01, 0.05, 0.5, NAN], dtype=np.float32)
    p_values = np.random.default_rng(seed).choice(p_choices, effects.shape)
    share, n_genes = direction_agreement(*effects, *p_values, min_abs_log2_fold_change=min_abs)
    for i in range(effects.shape[1]):
        equal = [
            np.sign(a) == np.sign(b)
            for a, b, p, q in zip(*effects[:, i], *p_values[:, i], strict=True)
            if np.isfinite(a) and np.isfinite(b) and p < np.float32(0.05) and q < np.float32(0.05)
            if min_abs == 0 or (abs(a) > np.float32(min_abs) and abs(b) > np.float32(min_abs))
        ]
        assert n_genes[i] == len(equal)
        np.testing.assert_equal(share[i], np.mean(equal) if equal else NAN)


def test_direction_edges() -> None:
    significant = np.full((1, 3), 0.01)
    zero = np.array([[0.0, 0.0, 1.0]])
    assert direction_agreement(zero, np.array([[-0.0, 1.0, 1.0]]), significant, significant).share == 2 / 3
    # With an effect threshold a zero is no longer significant.
    strict = direction_agreement(zero, zero, significant, significant, min_abs_log2_fold_change=0.2)
    assert (strict.share, strict.n_genes) == (1.0, 1)
    # No gene is significant on both sides.
    one_sided = direction_agreement(zero, zero, significant, np.array([[0.05, NAN, 0.5]]))
    assert np.isnan(one_sided.share)
    assert one_sided.n_genes == 0
    # The level is exclusive, and it can be chosen.
    assert direction_agreement(zero, zero, significant, significant, alpha=0.01).n_genes == 0
    assert direction_agreement(zero, zero, significant, significant, alpha=0.011).n_genes == 3


@pytest.mark.parametrize("kind", ["perfect", "attenuated", "sign_only", "none"])
def test_profiles_of_known_agreement(kind: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(50, 1000))
    p_values = np.where(np.abs(truth) > 1, 0.001, 0.5)
    other = {
        "perfect": truth,
        # A weaker assay: every effect shrunk and noise added.
        "attenuated": 0.5 * truth + rng.normal(scale=0.25, size=truth.shape),
        # Directions reproduce, sizes are drawn anew.
        "sign_only": np.sign(truth) * rng.exponential(size=truth.shape),
        "none": rng.normal(size=truth.shape),
    }[kind]
    rho, _ = spearman(truth, other)
    share, n_genes = direction_agreement(truth, other, p_values, p_values)
    low, high = {
        "perfect": (1, 1),
        "attenuated": (0.85, 0.92),
        "sign_only": (0.70, 0.80),
        "none": (-0.02, 0.02),
    }[kind]
    assert low <= rho.mean() <= high
    low, high = {"perfect": (1, 1), "attenuated": (0.97, 1), "sign_only": (1, 1), "none": (0.48, 0.52)}[kind]
    assert low <= share.mean() <= high
    np.testing.assert_array_equal(n_genes, (np.abs(truth) > 1).sum(axis=1))


def test_arrays_of_different_shapes_are_refused() -> None:
    one, other = np.zeros((2, 3)), np.zeros((2, 4))
    with pytest.raises(ValueError, match="shape"):
        spearman(one, other)
    with pytest.raises(ValueError, match="shape"):
        direction_agreement(one, one, one, other)
    with pytest.raises(ValueError, match="shape"):
        spearman(one[0], one[0])
