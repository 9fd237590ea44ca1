"""The log odds equal limma's in every reference set, and their edges are limits."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from etl.effects.log_odds import log_odds
from etl.effects.student_t import two_sided_log10_p

SETS = [
    "l1000_plain",
    "l1000_trend",
    "l1000_robust",
    "l1000_trend_robust",
    "l1000_separate",
    "l1000_oneplate",
    "l1000_dupcor",
    "drugseq_voom_exact_plain",
    "drugseq_voom_exact_robust",
    "drugseq_voom_ref_plain",
    "drugseq_voom_ref_robust",
    "drugseq_limmatrend",
    "edge_discon",
    "edge_infdf_plain",
    "edge_infdf_trend_robust",
    "edge_na_allgenes_plain_default",
    "edge_na_plain_legacy",
    "edge_na_plain_new",
    "edge_na_trend_robust_legacy",
    "edge_na_trend_robust_new",
    "edge_unbal",
    "edge_zero_dropped_robust",
]


@pytest.mark.parametrize("name", SETS)
def test_log_odds_and_effect_variance_equal_limma(table, name: str) -> None:
    genes, tests = table(f"{name}.genes"), table(f"{name}.toptable")
    kept = tests["contrast"].unique(maintain_order=True)

    def block(column: str) -> np.ndarray:
        return tests[column].fill_null(np.nan).to_numpy().reshape(len(kept), -1)

    def per_gene(column: str) -> np.ndarray:
        return genes[column].fill_null(np.nan).to_numpy()

    assert tests["gene"].equals(pl.concat([genes["gene"]] * len(kept)))
    odds, v0 = log_odds(
        block("t"),
        block("stdev.unscaled"),
        per_gene("df.total"),
        per_gene("df.prior"),
        per_gene("s2.prior"),
    )
    expected = block("B")
    assert (np.isnan(odds) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(odds - expected) / (1 + np.abs(expected))) < 1e-12
    limma_v0 = table("scalars").filter(set=name, key="var.prior").sort("i")["value"].to_numpy()
    # The table holds every n-th contrast of those the scalars are of.
    assert v0 == pytest.approx(limma_v0[:: -(-len(limma_v0) // len(kept))], rel=1e-12)


def test_conversion_to_the_common_df_reaches_where_p_ends() -> None:
    rng = np.random.default_rng(2)
    t = rng.standard_t(200, (1, 400))
    df = np.full(400, 210.0)
    df[:2] = 190.0
    t[0, :2] = 1e7, 250.0
    log10_p = two_sided_log10_p(t[0], df)
    assert log10_p[:2].max() < -200
    assert log10_p[:2].min() < -700
    # The same p-values, all as t of the common df, found by bisection.
    same = t.copy()
    for gene in (0, 1):
        low, high = 1.0, 1e9
        for _ in range(200):
            middle = np.sqrt(low * high)
            too_small = two_sided_log10_p(middle, 210.0) > log10_p[gene]
            low, high = (middle, high) if too_small else (low, middle)
        same[0, gene] = low
    unbounded = (0.0, 1e12)
    _, v0 = log_odds(t, 0.3, df, 4.0, 0.2, effect_sd_limits=unbounded)
    _, expected = log_odds(same, 0.3, 210.0, 4.0, 0.2, effect_sd_limits=unbounded)
    assert v0 == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("t", [0.0, 2.0, 30.0])
def test_infinite_df_are_the_limit_of_large_ones(t: float) -> None:
    t_of_all = np.append(np.linspace(-2, 2, 199), t)[None]
    limit, v0 = log_odds(t_of_all, 0.5, np.inf, np.inf, 0.2)
    large, large_v0 = log_odds(t_of_all, 0.5, 1e12, 1e12, 0.2)
    assert np.isfinite(limit).all()
    assert large_v0 == pytest.approx(v0, rel=1e-8)
    assert large == pytest.approx(limit, rel=1e-8)


def test_effect_variance_is_recovered() -> None:
    rng = np.random.default_rng(8)
    n_genes, share, v, v0 = 200_000, 0.2, 0.25, 4.0
    responds = rng.random(n_genes) < share
    sd = np.sqrt(v + v0 * responds)
    t = (rng.normal(0, sd) / np.sqrt(v) / np.sqrt(rng.chisquare(40, n_genes) / 40))[None]
    odds, found = log_odds(t, np.sqrt(v), 40.0, 4.0, 1.0, share_of_effects=share)
    assert found[0] == pytest.approx(v0, rel=0.1)
    # Odds are probabilities: of the genes around an even chance half respond.
    probability = 1 / (1 + np.exp(-odds[0]))
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        inside = (probability > low) & (probability < high)
        observed = responds[inside].mean()
        assert abs(observed - probability[inside].mean()) < 4 * np.sqrt(0.25 / inside.sum()) + 0.01


def test_genes_without_test_do_not_count() -> None:
    t = stats.t.rvs(20, size=(2, 300), random_state=4)
    with_gaps = np.insert(t, [0, 100, 300], np.nan, axis=1)
    df = np.insert(np.full(300, 20.0), [0, 100, 300], np.nan)
    odds, v0 = log_odds(with_gaps, 0.5, df, 3.0, 0.2)
    expected, expected_v0 = log_odds(t, 0.5, 20.0, 3.0, 0.2)
    assert v0.tolist() == expected_v0.tolist()
    assert odds[~np.isnan(with_gaps)].tolist() == expected.ravel().tolist()
    assert np.isnan(odds).sum() == 6


def test_contrast_without_any_test_has_no_odds() -> None:
    odds, v0 = log_odds(np.array([[np.nan, np.nan], [1.0, 2.0]]), 0.5, 20.0, 3.0, 0.2)
    assert np.isnan(odds[0]).all()
    assert np.isnan(v0).tolist() == [True, False]
    assert np.isfinite(odds[1]).all()


def test_infinite_t_has_the_largest_odds() -> None:
    odds, _ = log_odds(np.array([[np.inf, 1e12, 50.0, 1.0, 0.0]]), 0.5, 20.0, 3.0, 0.2)
    assert np.isfinite(odds).all()
    assert odds[0, 0] == pytest.approx(odds[0, 1])
    assert (np.diff(odds[0, 1:]) < 0).all()


def test_impossible_settings_are_refused() -> None:
    t = np.ones((1, 3))
    with pytest.raises(ValueError, match="share of effects"):
        log_odds(t, 0.5, 20.0, 3.0, 0.2, share_of_effects=1.0)
    with pytest.raises(ValueError, match="limits"):
        log_odds(t, 0.5, 20.0, 3.0, 0.2, effect_sd_limits=(4.0, 0.1))
