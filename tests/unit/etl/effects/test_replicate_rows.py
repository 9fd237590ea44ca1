"""Effects of single samples: their own values minus the level of the controls on their plate."""

import numpy as np
import pytest

from etl.effects.estimate import estimate_effects
from etl.effects.lowess import Curve
from etl.effects.normalization import normalization_factors
from etl.effects.replicate_rows import CountReplicates, DenseReplicates, mean_log_counts
from etl.effects.voom import fit_mean_variance_trend, library_shift, precision, precision_curve
from etl.expression.counts import SparseCounts
from tests.unit.etl.effects.test_estimate import count_values, layout, log2_values, uneven

CURVE = precision_curve(Curve(np.array([-1.0, 3.0, 9.0, 16.0]), np.array([1.2, 1.0, 0.6, 0.5])))
LIBRARY = np.array([900_000.0, 1_100_000.0, 2_000_000.0, 800_000.0])


@pytest.fixture
def counts() -> np.ndarray:
    """Zeros, counts within and beyond the table of logarithms, and one that needs 32 bits."""
    return np.array([[0, 1, 4095, 7], [3, 0, 4096, 0], [70_000, 12, 0, 1], [0, 0, 5, 4097]])


def log_counts(counts: np.ndarray) -> np.ndarray:
    return np.log2((counts + 0.5) / (LIBRARY + 1)[:, None] * 1e6)


def replicates(counts: np.ndarray, is_tested: np.ndarray, *, is_limma: bool, n_threads: int):
    rng = np.random.default_rng(1)
    shape = (2, int(is_tested.sum()))
    level, level_variance, control_variance = rng.normal(5, 1, shape), rng.random(shape), rng.random(shape)
    correlation = np.array([0.3, -0.2])
    rows = CountReplicates(
        SparseCounts.from_matrix(counts),
        LIBRARY,
        is_tested,
        samples=np.array([3, 0, 2]),
        pair=np.array([1, 0, 1]),
        level=level,
        level_variance=level_variance,
        control_variance=control_variance if is_limma else np.empty((2, 0)),
        correlation=correlation if is_limma else np.zeros(0),
        curve=CURVE,
        dtype=np.dtype(np.float64),
        n_threads=n_threads,
    )
    return rows, level, level_variance, control_variance, correlation


@pytest.mark.parametrize("is_limma", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_of_counts_are_values_minus_levels(counts: np.ndarray, is_limma: bool, n_threads: int) -> None:
    is_tested = np.array([True, False, True, True])
    rows, level, level_variance, control_variance, correlation = replicates(
        counts, is_tested, is_limma=is_limma, n_threads=n_threads
    )
    effect, variance = rows.rows(slice(0, 3))
    values = log_counts(counts)[:, is_tested][[3, 0, 2]]
    np.testing.assert_allclose(effect, values - level[[1, 0, 1]], rtol=1e-12, atol=1e-12)
    shift = library_shift(LIBRARY)[[3, 0, 2], None]
    own = 1 / np.vectorize(lambda x: precision(x, CURVE))(values + shift) + level_variance[[1, 0, 1]]
    if is_limma:
        other, rho = control_variance[[1, 0, 1]], correlation[[1, 0, 1], None]
        own = own + other - 2 * rho * np.sqrt(own * other)
    np.testing.assert_allclose(variance, own, rtol=1e-12)


def test_any_part_of_the_rows_can_be_asked_for_again(counts: np.ndarray) -> None:
    rows, *_ = replicates(counts, np.ones(4, dtype=bool), is_limma=False, n_threads=1)
    whole = rows.rows(slice(0, 3))
    for start, stop in ((0, 1), (1, 3), (2, 3), (0, 3)):
        for part, all_of_it in zip(rows.rows(slice(start, stop)), whole, strict=True):
            np.testing.assert_array_equal(part, all_of_it[start:stop])


def test_rows_of_dense_values_are_values_minus_levels() -> None:
    values = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    level = np.random.default_rng(3).normal(size=(2, 3))
    rows = DenseReplicates(
        values,
        np.array([3, 1]),
        np.array([1, 0]),
        level,
        np.array([1.5, 1.25]),
        np.dtype(np.float64),
    )
    effect, variance = rows.rows(slice(0, 2))
    np.testing.assert_array_equal(effect, values[[3, 1]].astype(float) - level[[1, 0]])
    np.testing.assert_array_equal(variance, [[1.25], [1.5]])
    variance[:] = 0
    np.testing.assert_array_equal(rows.rows(slice(0, 2))[1], [[1.25], [1.5]])


@pytest.mark.parametrize("n_threads", [1, 3])
def test_mean_log_counts_are_the_means_of_log_counts(counts: np.ndarray, n_threads: int) -> None:
    is_tested = np.array([True, True, False, True])
    found = mean_log_counts(SparseCounts.from_matrix(counts), LIBRARY, is_tested, n_threads)
    np.testing.assert_allclose(found, log_counts(counts).mean(axis=0)[is_tested], rtol=1e-12)


def test_mean_log_counts_of_many_samples_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(4)
    many = SparseCounts.from_matrix(rng.poisson(2.0, (1300, 9)))
    library, tested = rng.uniform(1e5, 1e6, 1300), np.ones(9, dtype=bool)
    one, three = (mean_log_counts(many, library, tested, n) for n in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_log2_effects_are_values_minus_the_control_mean_of_the_plate() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(5), 24)
    effects = estimate_effects(values, **labels, scale="log2", replicates="separate")
    assert effects.samples is not None
    controls = [values[(labels["plate"] == p) & labels["is_control"]].mean(axis=0) for p in range(3)]
    expected = values[effects.samples] - np.array(controls)[labels["plate"][effects.samples]]
    np.testing.assert_allclose(effects.log2_fold_change, expected, atol=1e-12)
    assert effects.residual_df == 9
    unscaled = effects.standard_error / np.sqrt(effects.posterior_variance)
    np.testing.assert_allclose(unscaled, np.sqrt(1 + 1 / 4), rtol=1e-12)


def test_limmas_form_of_counts_equals_its_closed_form() -> None:
    """sqrt(1/w_i + 1/S_p) on the reference plate, the other form elsewhere; S_p sums control weights."""
    labels = uneven()
    on = np.isin(labels["plate"], ["p", "q"])
    labels = {name: array[on] for name, array in labels.items()}
    counts = count_values(np.random.default_rng(6), int(on.sum()), 70)
    effects, exact = (
        estimate_effects(counts, **labels, scale="counts", replicates="separate", standard_error=form)
        for form in ("limma", "exact")
    )
    at = effects.is_tested
    tested = counts[:, at]
    library = tested.sum(axis=1) * normalization_factors(tested, tested.sum(axis=1).astype(float))
    shift = library_shift(library)
    values = np.log2((tested + 0.5) / (library + 1)[:, None] * 1e6)
    of_plate = {p: (labels["plate"] == p) & labels["is_control"] for p in ("p", "q")}
    fitted = values.copy()
    for rows in of_plate.values():
        fitted[rows] = values[rows].mean(axis=0)
    sigma = np.sqrt(((values - fitted) ** 2).sum(axis=0) / 3)
    trend = fit_mean_variance_trend(values.mean(axis=0), sigma, shift)
    weight = trend.at(fitted + shift[:, None]) ** -4
    total = {p: weight[rows].sum(axis=0) for p, rows in of_plate.items()}
    n_p, n_q = 3, 2
    rho = (1 / n_p) / np.sqrt((1 + 1 / n_q + 1 / n_p) / n_p)
    assert effects.samples is not None
    for row, sample in enumerate(effects.samples):
        plate = labels["plate"][sample]
        own = 1 / weight[sample] + 1 / total[plate]
        found = effects.standard_error[row, at] / np.sqrt(effects.posterior_variance[at])
        found_exact = exact.standard_error[row, at] / np.sqrt(exact.posterior_variance[at])
        np.testing.assert_allclose(found_exact, np.sqrt(own), rtol=1e-9)
        if plate == "q":
            a, b = own + 1 / total["p"], 1 / total["p"]
            own = a + b - 2 * rho * np.sqrt(a * b)
        np.testing.assert_allclose(found, np.sqrt(own), rtol=1e-9)
    np.testing.assert_array_equal(effects.log2_fold_change, exact.log2_fold_change)
