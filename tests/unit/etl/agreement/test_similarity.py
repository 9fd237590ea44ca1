"""Every metric against SciPy and plain sets, pair by pair, with ties and without; known agreement."""

import warnings

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from etl.agreement.similarity import (
    CONTINUOUS,
    METRICS,
    Signatures,
    all_metrics,
    correlations,
    discrete,
    products,
)

NAN = np.nan


def block(
    rng: np.random.Generator, n_rows: int, n_genes: int, share: float, digits: int | None = None
) -> Signatures:
    effect = rng.normal(size=(n_rows, n_genes)).astype(np.float32)
    t = (effect * rng.uniform(0.5, 2, effect.shape)).astype(np.float32)
    if digits is not None:
        effect, t = effect.round(digits), t.round(digits)
    return Signatures(effect, t, rng.random(effect.shape) < share)


def correlation(x: np.ndarray, y: np.ndarray, how: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "spearman":
            return float(spearmanr(x, y).statistic) if len(x) > 1 else NAN
        if how == "pearson":
            return float(pearsonr(x, y).statistic)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def top(x: np.ndarray, among: np.ndarray, k: int) -> set[int]:
    genes = np.flatnonzero(among)
    return set(genes[np.argsort(-np.abs(x[genes]), kind="stable")][:k].tolist())


def expected(a: Signatures, b: Signatures, i: int, j: int) -> dict[str, float]:
    """Every metric of one pair, as it is defined."""
    x, y = (s.log2_fold_change[r].astype(np.float64) for s, r in ((a, i), (b, j)))
    u, v = (s.t[r].astype(np.float64) for s, r in ((a, i), (b, j)))
    mine, theirs = a.is_significant[i], b.is_significant[j]
    found = {}
    for name in CONTINUOUS:
        how, _, value = name.partition("_")
        found[name] = correlation(*((u, v) if value == "t" else (x, y)), how)
    found["spearman_significant"] = (
        correlation(x[mine], y[mine], "spearman") + correlation(x[theirs], y[theirs], "spearman")
    ) / 2
    both = mine & theirs
    strong = both & (np.abs(x) > np.float32(0.2)) & (np.abs(y) > np.float32(0.2))
    for name, among in (("direction_agreement", both), ("direction_agreement_02", strong)):
        found[name] = float((np.sign(x) == np.sign(y))[among].mean()) if among.any() else NAN
    n = min(mine.sum(), theirs.sum())
    for name, k in (("overlap_50", 50), ("overlap_100", 100), ("overlap_200", 200), ("overlap_n", n)):
        is_given = 0 < k <= n
        found[name] = len(top(x, mine, k) & top(y, theirs, k)) / k if is_given else NAN
    k = min(50, len(x) // 2)
    order = [np.argsort(w, kind="stable") for w in (u, v)]
    ends = [set(order[0][part]) & set(order[1][part]) for part in (slice(k), slice(len(x) - k, None))]
    found["signed_overlap_50"] = sum(map(len, ends)) / 2 / k if k else NAN
    return found


@pytest.mark.parametrize(
    ("n_genes", "share", "digits"),
    [
        (977, 0.3, None),
        (977, 0.3, 1),
        (977, 0.6, 4),
        (977, 0.2, 3),
        (300, 0.9, 2),
        (130, 0.05, None),
        (64, 0.02, 0),
        (3, 0.5, None),
    ],
)
def test_every_metric_is_what_it_is_defined_as(n_genes: int, share: float, digits: int | None) -> None:
    rng = np.random.default_rng(n_genes)
    a, b = block(rng, 6, n_genes, share, digits), block(rng, 5, n_genes, share, digits)
    rows = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    found = {
        name: one.ravel() for name, one in all_metrics(a, np.arange(len(a)), b, np.arange(len(b))).items()
    }
    assert set(found) == set(METRICS)
    exact = correlations(a, b, *rows) | discrete(a, b, *rows)
    for at, (i, j) in enumerate(zip(*rows, strict=True)):
        plain = expected(a, b, i, j)
        for name, values in found.items():
            assert values[at] == pytest.approx(plain[name], abs=3e-6, nan_ok=True), name
        for name, one in exact.items():
            assert one.value[at] == pytest.approx(plain[name], abs=1e-12, nan_ok=True), name


def test_a_signature_with_itself_is_perfect() -> None:
    a = block(np.random.default_rng(0), 4, 500, 0.6)
    rows = np.arange(4)
    for name, one in discrete(a, a, rows, rows).items():
        np.testing.assert_allclose(one.value, 1, err_msg=name)
    for name, matrix in products(a, rows, a, rows).items():
        np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5, err_msg=name)
    rising = Signatures(np.exp(a.log2_fold_change), a.t, a.is_significant)
    assert correlations(a, rising, rows, rows)["spearman_log2_fold_change"].value.tolist() == [1.0] * 4


def test_a_constant_signature_has_no_correlation() -> None:
    flat = np.full((2, 40), 0.3, dtype=np.float32)
    flat[1] = 0
    a = Signatures(flat, flat, np.ones(flat.shape, dtype=bool))
    b = block(np.random.default_rng(0), 2, 40, 0.5)
    for name, matrix in products(a, np.arange(len(a)), b, np.arange(len(b))).items():
        assert np.isnan(matrix[1]).all(), name
        assert np.isnan(matrix[0]).all() == (not name.startswith("cosine")), name
    for name, one in correlations(a, b, np.array([0, 1]), np.array([0, 1])).items():
        assert np.isnan(one.value).tolist() == [not name.startswith("cosine"), True], name
    found = discrete(a, b, np.array([0, 1]), np.array([0, 1]))
    assert np.isnan(found["spearman_significant"].value).all()


def test_blocks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Signatures(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), np.zeros((2, 3), bool))


def test_a_mean_profile_is_measured_over_the_genes_of_the_other() -> None:
    rng = np.random.default_rng(8)
    a, mean = block(rng, 5, 400, 0.4), Signatures(*rng.normal(size=(2, 5, 400)), None)
    rows = np.arange(5)
    found = discrete(a, mean, rows, rows)
    for i in rows:
        x, y, mine = a.log2_fold_change[i], mean.log2_fold_change[i], a.is_significant[i]
        n = int(mine.sum())
        everything = np.ones(400, dtype=bool)
        assert found["spearman_significant"].value[i] == pytest.approx(spearmanr(x[mine], y[mine]).statistic)
        assert found["direction_agreement"].value[i] == (np.sign(x) == np.sign(y))[mine].mean()
        strong = mine & (np.abs(x) > np.float32(0.2))
        assert found["direction_agreement_02"].value[i] == (np.sign(x) == np.sign(y))[strong].mean()
        for name, k in (("overlap_50", 50), ("overlap_n", n)):
            assert found[name].value[i] == len(top(x, mine, k) & top(y, everything, k)) / k


@pytest.mark.parametrize("kind", ["perfect", "attenuated", "sign_only", "none"])
def test_profiles_of_known_agreement(kind: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(50, 1000)).astype(np.float32)
    other = {
        "perfect": truth,
        # A weaker assay: every effect shrunk and noise added.
        "attenuated": 0.5 * truth + rng.normal(scale=0.25, size=truth.shape),
        # Directions reproduce, sizes are drawn anew.
        "sign_only": np.sign(truth) * rng.exponential(size=truth.shape),
        "none": rng.normal(size=truth.shape),
    }[kind]
    is_significant = np.abs(truth) > 1
    sides = Signatures(truth, truth, is_significant), Signatures(other, other, is_significant)
    rows = np.arange(50)
    means = {
        name: one.value.mean()
        for name, one in (correlations(*sides, rows, rows) | discrete(*sides, rows, rows)).items()
    }
    low, high = {
        "perfect": (1, 1),
        "attenuated": (0.85, 0.92),
        "sign_only": (0.70, 0.80),
        "none": (-0.02, 0.02),
    }[kind]
    assert low <= means["spearman_log2_fold_change"] <= high
    low, high = {"perfect": (1, 1), "attenuated": (0.97, 1), "sign_only": (1, 1), "none": (0.48, 0.52)}[kind]
    assert low <= means["direction_agreement"] <= high
    low, high = {
        "perfect": (1, 1),
        "attenuated": (0.6, 0.9),
        "sign_only": (0.07, 0.15),
        "none": (0.03, 0.07),
    }[kind]
    assert low <= means["signed_overlap_50"] <= high
