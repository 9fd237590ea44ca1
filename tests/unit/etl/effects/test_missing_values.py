"""Genes with gaps are each fitted on the samples that have a value."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.effects.estimate import EffectEstimates, estimate_effects
from etl.errors import BadInputError
from tests.unit.etl.effects.test_estimate import (
    PER_GENE,
    PER_TEST,
    assert_same,
    layout,
    least_squares,
    log2_values,
    uneven,
)


def estimate(values: np.ndarray, labels: dict[str, Any], **arguments: Any) -> EffectEstimates:
    return estimate_effects(values, **labels, **{"scale": "log2", "missing_values": "allow"} | arguments)


def cut(labels: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return the labels of some samples."""
    terms = {name: np.asarray(term)[rows] for name, term in labels.get("terms", {}).items()}
    return {name: array[rows] for name, array in labels.items() if name != "terms"} | {"terms": terms}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_every_gene_equals_least_squares_on_its_own_samples(seed: int, has_donor: bool) -> None:
    rng = np.random.default_rng(seed)
    labels: dict[str, Any] = uneven()
    n = len(labels["plate"])
    if has_donor:
        labels["terms"] = {"donor": rng.integers(0, 2, n)}
    values = log2_values(rng, n, 12)
    values[rng.random(values.shape) < rng.choice([0.05, 0.3, 0.6])] = np.nan
    effects = estimate(values, labels, robust=False, trend=False)
    for gene in range(12):
        present = np.isfinite(values[:, gene])
        if not present.any():
            assert np.isnan(effects.log2_fold_change[:, gene]).all()
            continue
        own = cut(labels, present)
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = least_squares(values[present][:, [gene]], own)
        assert effects.residual_df_of_gene[gene] == expected["residual_df"]
        there = np.isin(effects.conditions, own["condition"][~own["is_control"]])
        estimable = np.array([status == "estimable" for status in effects.status])
        found = effects.log2_fold_change[:, gene]
        assert np.isnan(found[~there]).all()
        np.testing.assert_allclose(
            found[there & estimable], expected["effect"][estimable[there], 0], atol=1e-8
        )
        if expected["residual_df"] > 0:
            assert effects.sigma[gene] == pytest.approx(expected["sigma"][0], rel=1e-7, abs=1e-12)
        if np.isfinite(effects.posterior_variance[gene]) and effects.posterior_variance[gene] > 0:
            unscaled = effects.standard_error[:, gene] / np.sqrt(effects.posterior_variance[gene])
            np.testing.assert_allclose(
                unscaled[there & estimable], expected["sd"][estimable[there], 0], rtol=1e-8
            )


@pytest.mark.parametrize("arguments", [{}, {"robust": False, "trend": False}, {"standard_error": "limma"}])
def test_without_gaps_it_is_the_fit_of_all_genes_at_once(arguments: dict[str, Any]) -> None:
    labels = uneven()
    values = log2_values(np.random.default_rng(1), len(labels["plate"]), 60)
    plain = estimate(values, labels, **arguments, missing_values="reject")
    allowed = estimate(values, labels, **arguments)
    assert plain.status == allowed.status
    assert_same(plain, allowed, 1e-10, PER_TEST + PER_GENE)


def test_a_gene_without_residual_df_is_tested_with_the_variance_of_the_others(estimated) -> None:
    genes, effects = estimated(
        "edge_na_Y",
        "l1000_meta",
        missing_values="allow",
        standard_error="limma",
        trend=False,
        robust=False,
    )
    gene = genes.index("G00232")  # three values: a control and two conditions on one plate
    assert effects.residual_df_of_gene[gene] == 0
    assert np.isnan(effects.sigma[gene])
    assert effects.total_df[gene] == effects.prior_df[gene]
    expected = {  # limma 3.62.2: edge_na_allgenes_plain_default.toptable
        "c0080": (0.1048, 0.20686442720659107, 0.85256896428663731, 0.97292311355209837, -4.613110023201779),
        "c0087": (0.1226, 0.24199979749641245, 0.82815759560697122, 0.98550753877229569, -4.6127065869214272),
    }
    for condition, numbers in expected.items():
        row = effects.conditions.tolist().index(condition)
        fields = ("log2_fold_change", "t_statistic", "p_value", "p_value_adjusted", "log_odds")
        found = [getattr(effects, name)[row, gene] for name in fields]
        np.testing.assert_allclose(found, numbers, rtol=1e-9)
    assert np.isfinite(effects.p_value[:, gene]).sum() == 2


def test_a_gene_without_any_value_has_none_and_changes_no_other() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(2), 24, 40)
    with_gap = np.insert(values, 7, np.nan, axis=1)
    plain, effects = estimate(values, labels), estimate(with_gap, labels)
    for name in PER_TEST:
        array = getattr(effects, name)
        assert np.isnan(array[:, 7]).all()
        np.testing.assert_allclose(np.delete(array, 7, axis=1), getattr(plain, name), rtol=1e-10, atol=1e-12)


def test_a_gene_without_controls_has_no_effect_and_a_condition_without_values_neither() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(3), 24, 40)
    values[labels["is_control"], 3] = np.nan
    values[labels["condition"] == "b", 5] = np.nan
    effects = estimate(values, labels)
    assert set(effects.status) == {"estimable"}
    assert np.isnan(effects.p_value[:, 3]).all()
    assert np.isnan(effects.p_value[:, 5]).tolist() == [False, True, False, False]
    assert np.isfinite(effects.sigma).all()


def test_a_sample_without_values_counts_for_no_gene() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(4), 24, 40)
    values[9] = np.nan
    rows = np.arange(24) != 9
    without = estimate(values[rows], cut(labels, rows), missing_values="reject")
    assert_same(estimate(values, labels), without, 1e-10, PER_TEST + PER_GENE)


@pytest.mark.parametrize("standard_error", ["exact", "limma"])
@pytest.mark.parametrize("min_replicates", [3, 9])
def test_conditions_with_too_few_samples_stay_out_of_every_gene(
    standard_error: str, min_replicates: int
) -> None:
    labels = uneven()
    values = log2_values(np.random.default_rng(5), len(labels["plate"]))
    values[0, 0] = np.nan
    effects = estimate(values, labels, standard_error=standard_error, min_replicates=min_replicates)
    few = effects.n_treated < min_replicates
    assert [status == "too_few_replicates" for status in effects.status] == few.tolist()
    assert np.isnan(effects.p_value).all(axis=1).tolist() == few.tolist()


def test_no_residual_df_at_all_is_a_status() -> None:
    labels = {"condition": ["", "a", "b"], "plate": None, "is_control": [True, False, False]}
    effects = estimate(np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]]), labels)
    assert set(effects.status) == {"no_residual_df"}
    assert np.isnan(effects.p_value).all()


def test_infinite_values_are_never_missing_ones() -> None:
    values = log2_values(np.random.default_rng(6), 24)
    values[3, 2], values[4, 2] = np.inf, np.nan
    with pytest.raises(BadInputError, match=r"1 values are infinite.*sample 3; gene 2"):
        estimate(values, layout())
    with pytest.raises(BadInputError, match=r"2 values are NaN or infinite.*samples 3, 4; gene 2"):
        estimate(values, layout(), missing_values="reject")


def test_values_are_not_changed() -> None:
    values = log2_values(np.random.default_rng(7), 24)
    values[3, 2] = np.nan
    before = values.copy()
    estimate(values, layout())
    np.testing.assert_array_equal(values, before)
