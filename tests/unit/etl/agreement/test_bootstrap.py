"""Intervals of clustered means: SciPy's BCa where clusters are single rows, coverage, and edges."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import bootstrap

from etl.agreement import bootstrap as module
from etl.agreement.bootstrap import clustered_means

NAN = np.nan


def scipys(data: tuple[np.ndarray, ...], statistic: Callable, resampled: np.ndarray) -> tuple[float, float]:
    """SciPy's BCa interval from given resamples."""
    given = SimpleNamespace(bootstrap_distribution=resampled)
    interval = bootstrap(
        data, statistic, n_resamples=0, paired=True, method="BCa", bootstrap_result=given
    ).confidence_interval
    return interval.low, interval.high


@pytest.mark.parametrize("shape", ["skewed", "normal"])
def test_without_clusters_the_interval_is_scipys(shape: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(0, 1, 60) if shape == "skewed" else rng.normal(2, 1, 60)
    ours = clustered_means(values[:, None], np.arange(60), seed=1)
    low, high = scipys((values,), np.mean, module._drawn(60, 2_000, 1) @ values / 60)
    assert ours.status.tolist() == ["bca"]
    assert ours.low[0] == pytest.approx(low, rel=1e-9)
    assert ours.high[0] == pytest.approx(high, rel=1e-9)


def test_a_clustered_mean_is_scipys_bootstrap_over_clusters() -> None:
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(30), rng.integers(1, 8, 30))
    values = rng.exponential(1, 30)[cluster] + rng.normal(0, 0.3, len(cluster))
    sums, counts = np.bincount(cluster, values), np.bincount(cluster)

    def mean(s: np.ndarray, n: np.ndarray, axis: int = -1) -> np.ndarray:
        return s.sum(axis=axis) / n.sum(axis=axis)

    drawn = module._drawn(30, 2_000, 1)
    low, high = scipys((sums, counts), mean, drawn @ sums / (drawn @ counts))
    ours = clustered_means(values[:, None], cluster, seed=1)
    assert ours.low[0] == pytest.approx(low, rel=1e-9)
    assert ours.high[0] == pytest.approx(high, rel=1e-9)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    n_clusters, n_studies = 40, 400
    cluster = np.repeat(np.arange(n_clusters), 4)
    values = rng.normal(0, 1, (n_clusters, n_studies))[cluster] + rng.normal(
        0, 0.5, (len(cluster), n_studies)
    )
    means = clustered_means(values, cluster, seed=9)
    assert 0.91 < np.mean((means.low <= 0) & (means.high >= 0)) < 0.97


def test_rows_without_a_value_do_not_count() -> None:
    rng = np.random.default_rng(6)
    values, cluster = rng.normal(size=(30, 1)), np.arange(30) // 2
    gaps = np.vstack([values, [[NAN]] * 4])
    one = clustered_means(gaps, np.concatenate([cluster, [0, 1, 2, 3]]))
    other = clustered_means(values, cluster)
    for name in ("mean", "low", "high", "n_finite", "n_clusters"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize(
    ("values", "cluster", "status"),
    [
        ([1.0, 2.0, 3.0], [0, 0, 0], "not_estimable"),
        ([NAN, NAN], [0, 1], "not_estimable"),
        ([2.0, 2.0, 2.0], [0, 1, 2], "degenerate"),
        ([1.0, 3.0], [0, 1], "percentile_fallback"),
        ([1.0, 3.0, 9.0], [0, 1, 2], "bca"),
    ],
)
def test_where_an_interval_cannot_be_given_it_says_so(
    values: list[float], cluster: list[int], status: str
) -> None:
    means = clustered_means(np.array(values)[:, None], np.array(cluster))
    assert means.status.tolist() == [status]
    assert np.isnan(means.low[0]) == (status == "not_estimable")
    if status == "degenerate":
        assert means.low[0] == means.high[0] == 2
    if status in ("bca", "percentile_fallback"):
        assert means.low[0] <= means.mean[0] <= means.high[0]


def test_many_quantities_are_each_what_they_are_alone() -> None:
    rng = np.random.default_rng(7)
    values, cluster = rng.normal(size=(50, 700)), rng.integers(0, 12, 50)
    values[rng.random(values.shape) < 0.3] = NAN
    together = clustered_means(values, cluster, seed=3)
    for column in (0, 511, 512, 699):
        alone = clustered_means(values[:, [column]], cluster, seed=3)
        for name in ("mean", "low", "high"):
            assert getattr(together, name)[column] == pytest.approx(getattr(alone, name)[0], rel=1e-12)


def test_no_rows_and_no_quantities() -> None:
    assert clustered_means(np.zeros((0, 2)), np.zeros(0, dtype=int)).status.tolist() == ["not_estimable"] * 2
    assert len(clustered_means(np.zeros((3, 0)), np.arange(3)).mean) == 0
