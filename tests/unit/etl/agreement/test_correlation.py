"""Correlations of groups against SciPy, and intervals against SciPy, formulas and plain resampling."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from scipy.stats import t as student_t

from etl.agreement.correlation import (
    cluster_intervals,
    correlate,
    median_interval,
    pearson_interval,
    spearman_interval,
)

VALUES = st.sampled_from([-3.0, 0.1, 0.1, 0.3, 0.7, 1e3])
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b"]), VALUES, VALUES), max_size=24)


def by_scipy(left: np.ndarray, right: np.ndarray) -> tuple[float | None, float | None]:
    if len(left) < 3 or len(set(left)) == 1 or len(set(right)) == 1:
        return None, None
    return float(pearsonr(left, right).statistic), float(spearmanr(left, right).statistic)


@settings(max_examples=150)
@given(PAIRS)
def test_groups_with_ties_and_constants_are_scipys(rows: list[tuple[str, float, float]]) -> None:
    pairs = pl.DataFrame(rows, schema={"g": pl.String, "left": pl.Float64, "right": pl.Float64}, orient="row")
    found = correlate(pairs, ["g"])
    assert found["g"].to_list() == sorted({g for g, _, _ in rows})
    for row in found.iter_rows(named=True):
        group = pairs.filter(g=row["g"])
        left, right = group["left"].to_numpy(), group["right"].to_numpy()
        pearson, spearman = by_scipy(left, right)
        assert row["n_pairs"] == group.height
        assert row["pearson"] == (None if pearson is None else pytest.approx(pearson, abs=1e-12))
        assert row["spearman"] == (None if spearman is None else pytest.approx(spearman, abs=1e-12))
        assert row["is_constant"] == (len(set(left)) == 1 or len(set(right)) == 1)


def test_a_narrow_series_far_from_zero_keeps_its_digits() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 50))
    pairs = pl.DataFrame({"g": 1, "left": x * 1e-4 + 1e6, "right": x + y})
    assert correlate(pairs, ["g"])["pearson"][0] == pytest.approx(pearsonr(x, x + y).statistic, abs=1e-5)


def test_standard_deviations_are_those_of_samples() -> None:
    found = correlate(pl.DataFrame({"g": 1, "left": [1.0, 2.0, 4.0], "right": [1.0, 1.0, 1.0]}), ["g"])
    assert found.select("sd_left", "sd_right").row(0) == pytest.approx((np.std([1, 2, 4], ddof=1), 0.0))


@pytest.mark.parametrize("n", [4, 9, 250])
def test_the_interval_of_pearson_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    result = pearsonr(x, 0.5 * x + rng.normal(size=n))
    low, high = pearson_interval([result.statistic], [n])
    expected = result.confidence_interval(0.95)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_spearman_has_the_variance_of_bonett_and_wright() -> None:
    low, high = spearman_interval([0.5], [28])
    half = 1.959963984540054 * (1.125 / 25) ** 0.5
    assert (low[0], high[0]) == pytest.approx(
        (np.tanh(np.arctanh(0.5) - half), np.tanh(np.arctanh(0.5) + half))
    )


def test_both_theoretical_intervals_cover_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    true_r, n, repeats = 0.6, 40, 2_000
    true_rho = 6 / np.pi * np.arcsin(true_r / 2)
    x = rng.normal(size=(repeats, n))
    y = true_r * x + np.sqrt(1 - true_r**2) * rng.normal(size=(repeats, n))
    pairs = pl.DataFrame({"g": np.repeat(np.arange(repeats), n), "left": x.ravel(), "right": y.ravel()})
    found = correlate(pairs, ["g"])
    for name, truth, interval in (
        ("pearson", true_r, pearson_interval),
        ("spearman", true_rho, spearman_interval),
    ):
        low, high = interval(found[name].to_numpy(), found["n_pairs"].to_numpy())
        assert 0.93 < np.mean((low < truth) & (truth < high)) < 0.97


def test_no_interval_without_degrees_of_freedom_or_at_a_perfect_correlation() -> None:
    for interval in (pearson_interval, spearman_interval):
        low, high = interval([0.5, 1.0, -1.0, np.nan], [3, 10, 10, 10])
        assert np.isnan(low).all()
        assert np.isnan(high).all()


def clustered(rng: np.random.Generator, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose clusters have levels of their own on both sides."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    level = rng.normal(size=len(sizes))[cluster]
    return cluster, level + rng.normal(size=len(cluster)), level + rng.normal(size=len(cluster))


def test_cluster_intervals_are_those_of_resamples_written_out() -> None:
    rng = np.random.default_rng(5)
    cluster, left, right = clustered(rng, rng.integers(1, 40, size=12))
    left = left.round(1)  # ties
    found = cluster_intervals(cluster, left, right, n_resamples=400, seed=7)
    drawn = np.random.default_rng(7).multinomial(12, np.full(12, 1 / 12), size=400)
    resampled = []
    for times in drawn:
        rows = np.repeat(np.arange(len(cluster)), times[cluster])
        resampled.append((pearsonr(left[rows], right[rows])[0], spearmanr(left[rows], right[rows])[0]))
    spread = np.arctanh(resampled).std(axis=0, ddof=1) * np.sqrt(12 / 11)
    for which, r in enumerate((pearsonr(left, right)[0], spearmanr(left, right)[0])):
        half = student_t.ppf(0.975, 11) * spread[which]
        expected = (np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half))
        assert found[which] == pytest.approx(expected, abs=(1e-10, 0.005)[which])


def test_cluster_intervals_know_that_pairs_of_a_cluster_are_not_independent() -> None:
    cluster, left, right = clustered(np.random.default_rng(6), np.full(20, 100))
    found = cluster_intervals(cluster, left, right, n_resamples=1_000, seed=0)
    low, high = pearson_interval([np.corrcoef(left, right)[0, 1]], [len(left)])
    for ends in found:
        assert ends[1] - ends[0] > 2 * (high[0] - low[0])


def test_cluster_intervals_are_the_same_for_the_same_seed_only() -> None:
    data = clustered(np.random.default_rng(8), np.full(8, 20))
    first = cluster_intervals(*data, n_resamples=200, seed=1)
    assert cluster_intervals(*data, n_resamples=200, seed=1) == first
    assert cluster_intervals(*data, n_resamples=200, seed=2) != first


def test_cluster_intervals_cover_the_truth_about_95_times_in_100() -> None:
    """Levels of variance 1 and, within clusters, correlation 0.5: together 0.75."""
    rng = np.random.default_rng(11)
    truth = {"pearson": 0.75, "spearman": 6 / np.pi * np.arcsin(0.375)}
    covered = dict.fromkeys(truth, 0)
    for repeat in range(150):
        level, x, noise = (rng.normal(size=shape) for shape in ((60, 1), (60, 20), (60, 20)))
        left, right = (level + x).ravel(), (level + 0.5 * x + 0.75**0.5 * noise).ravel()
        found = cluster_intervals(np.repeat(np.arange(60), 20), left, right, n_resamples=200, seed=repeat)
        for name, value in truth.items():
            low, high = getattr(found, name)
            covered[name] += low < value < high
    assert all(0.88 < n / 150 < 0.99 for n in covered.values()), covered


def test_resamples_without_any_spread_leave_no_interval() -> None:
    found = cluster_intervals(np.arange(5), np.ones(5), np.arange(5.0), n_resamples=50, seed=0)
    assert np.isnan(found.pearson).all()
    assert np.isnan(found.spearman).all()


def test_the_interval_of_a_median_is_that_of_resamples_written_out() -> None:
    values = np.random.default_rng(9).normal(size=15)
    drawn = np.random.default_rng(4).integers(15, size=(300, 15))
    medians = [np.median(values[rows]) for rows in drawn]
    found = median_interval(values, n_resamples=300, seed=4)
    assert found == pytest.approx(tuple(np.quantile(medians, [0.025, 0.975])))
