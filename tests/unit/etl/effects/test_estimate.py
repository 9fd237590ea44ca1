"""The public function: invariances, estimability, calibration of p-values, inputs that cannot be used."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from etl.effects import fit as fit_module
from etl.effects.estimate import EffectEstimates, estimate_effects
from etl.effects.fit import fit_effects
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts

SEEDS = st.integers(0, 2**32 - 1)
PER_TEST = ("log2_fold_change", "standard_error", "t_statistic", "p_value", "p_value_adjusted", "log_odds")
PER_GENE = ("mean_expression", "sigma", "prior_df", "prior_variance", "posterior_variance", "total_df")
WAYS: list[dict[str, Any]] = [
    {"scale": "log2"},
    {"scale": "log2", "replicates": "separate"},
    {"scale": "counts"},
    {"scale": "counts", "standard_error": "limma"},
    {"scale": "counts", "replicates": "separate"},
    {"scale": "counts", "replicates": "separate", "standard_error": "limma"},
    {"scale": "counts", "counts_method": "trend"},
    {"scale": "counts", "counts_method": "trend", "replicates": "separate"},
]
"""Every path through the fit."""


def name_of(way: dict[str, Any]) -> str:
    return "-".join(str(value) for value in way.values())


def layout(n_plates: int = 3, n_control: int = 4, conditions: str = "abcd") -> dict[str, np.ndarray]:
    """A plate map repeated on every plate."""
    names = np.array([""] * n_control + list(conditions))
    return {
        "condition": np.tile(names, n_plates),
        "plate": np.repeat(np.arange(n_plates), len(names)),
        "is_control": np.tile(names == "", n_plates),
    }


def uneven() -> dict[str, np.ndarray]:
    """Plates that hold different conditions; plate r holds no control and is linked by d."""
    plates = {"p": "000aab", "q": "00bbcd", "r": "ddee"}
    names = np.array(list("".join(plates.values())))
    return {
        "condition": names,
        "plate": np.repeat(list(plates), [len(held) for held in plates.values()]),
        "is_control": names == "0",
    }


def log2_values(rng: np.random.Generator, n_samples: int, n_genes: int = 25) -> np.ndarray:
    return rng.normal(8, 1, (n_samples, n_genes)) * np.sqrt(rng.chisquare(4, n_genes) / 4)


def count_values(rng: np.random.Generator, n_samples: int, n_genes: int = 60) -> np.ndarray:
    mean = rng.lognormal(3, 1.5, n_genes) * rng.lognormal(0, 0.3, (n_samples, 1))
    return rng.poisson(mean * rng.gamma(10, 0.1, (n_samples, n_genes)))


def values_for(scale: str, rng: np.random.Generator, n_samples: int, n_genes: int = 60) -> np.ndarray:
    return (log2_values if scale == "log2" else count_values)(rng, n_samples, n_genes)


def assert_same(
    one: EffectEstimates, other: EffectEstimates, tolerance: float, names: tuple[str, ...] = PER_TEST
) -> None:
    for name in names:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


def design_matrix(labels: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the dense design, and the columns of each treated condition and of its control."""
    control = np.asarray(labels["is_control"])
    block = np.asarray(labels.get("block", np.zeros(len(control))))
    names = np.array(
        [
            f"control {b}" if c else f"treated {x}"
            for x, c, b in zip(labels["condition"], control, block, strict=True)
        ]
    )
    conditions = np.unique(names)
    treated = np.flatnonzero([name.startswith("treated") for name in conditions])
    block_of = dict(zip(names, block, strict=True))
    wanted = [f"control {block_of[conditions[column]]}" for column in treated]
    # -1 where there is no such control
    against = np.array([np.append(np.flatnonzero(conditions == name), -1)[0] for name in wanted], dtype=int)
    terms = (labels["plate"], *labels.get("terms", {}).values())
    columns = [np.asarray(term)[:, None] == np.unique(term) for term in terms]
    return np.hstack([names[:, None] == conditions, *columns]).astype(float), treated, against


def least_squares(
    values: np.ndarray, labels: dict[str, Any], weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return effects, their unscaled standard deviations and residual variances by dense least squares.

    What is not estimable is NaN: its contrast is not a combination of the rows of the design.
    """
    matrix, treated, against = design_matrix(labels)
    contrast = np.zeros((len(treated), matrix.shape[1]))
    contrast[np.arange(len(treated)), treated] = 1
    contrast[np.flatnonzero(against >= 0), against[against >= 0]] = -1
    onto_rows = np.linalg.pinv(matrix) @ matrix
    known = (np.abs(contrast @ onto_rows - contrast).max(axis=1) < 1e-8) & (against >= 0)
    effect, sd = np.full((2, len(treated), values.shape[1]), np.nan)
    variance = np.empty(values.shape[1])
    residual_df = len(values) - np.linalg.matrix_rank(matrix)
    for gene in range(values.shape[1]):
        weight = np.ones(len(values)) if weights is None else weights[:, gene]
        root = np.sqrt(weight)
        inverse = np.linalg.pinv(root[:, None] * matrix)
        coefficients = inverse @ (root * values[:, gene])
        effect[known, gene] = contrast[known] @ coefficients
        sd[known, gene] = np.linalg.norm(contrast[known] @ inverse, axis=1)
        variance[gene] = (weight * (values[:, gene] - matrix @ coefficients) ** 2).sum() / residual_df
    return {"effect": effect, "sd": sd, "sigma": np.sqrt(variance), "residual_df": np.array(residual_df)}


def assert_equals_least_squares(effects: EffectEstimates, values: np.ndarray, labels: dict[str, Any]) -> None:
    expected = least_squares(values, labels)
    assert effects.residual_df == expected["residual_df"]
    np.testing.assert_allclose(effects.log2_fold_change, expected["effect"], atol=1e-9)
    np.testing.assert_allclose(
        effects.standard_error / np.sqrt(effects.posterior_variance), expected["sd"], rtol=1e-9
    )
    np.testing.assert_allclose(effects.sigma, expected["sigma"], rtol=1e-9)


# --- invariances --------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(WAYS))
def test_order_of_samples_does_not_matter(seed: int, way: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    labels = uneven()
    values = values_for(way["scale"], rng, len(labels["plate"]))
    order = rng.permutation(len(values))
    plain = estimate_effects(values, **labels, **way)
    shuffled = estimate_effects(values[order], **{k: v[order] for k, v in labels.items()}, **way)
    assert plain.is_tested.tolist() == shuffled.is_tested.tolist()
    assert_same(plain, shuffled, 1e-9, PER_GENE)
    if plain.samples is None or shuffled.samples is None:
        assert_same(plain, shuffled, 1e-9)
        return
    back = np.argsort(order[shuffled.samples])
    assert (order[shuffled.samples][back] == plain.samples).all()
    for name in PER_TEST:
        np.testing.assert_allclose(
            getattr(plain, name), getattr(shuffled, name)[back], rtol=1e-9, atol=1e-9, err_msg=name
        )


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(WAYS))
def test_order_of_genes_does_not_matter(seed: int, way: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    labels = uneven()
    values = values_for(way["scale"], rng, len(labels["plate"]))
    order = rng.permutation(values.shape[1])
    plain = estimate_effects(values, **labels, **way)
    shuffled = estimate_effects(values[:, order], **labels, **way)
    assert plain.is_tested[order].tolist() == shuffled.is_tested.tolist()
    for name in (*PER_TEST, *PER_GENE):
        np.testing.assert_allclose(
            getattr(plain, name)[..., order], getattr(shuffled, name), rtol=1e-9, atol=1e-9, err_msg=name
        )


@settings(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from(WAYS))
def test_labels_are_only_labels(seed: int, way: dict[str, Any]) -> None:
    labels = uneven()
    values = values_for(way["scale"], np.random.default_rng(seed), len(labels["plate"]))
    renamed = {name: np.char.add("x ", labels[name]) for name in ("condition", "plate")}
    plain = estimate_effects(values, **labels, **way)
    assert_same(plain, estimate_effects(values, **labels | renamed, **way), 0.0)
    if way.get("standard_error") != "limma":  # which is what it is on the plate that sorts first
        backwards = {"plate": np.array([{"p": 3, "q": 2, "r": 1}[plate] for plate in labels["plate"]])}
        assert_same(plain, estimate_effects(values, **labels | backwards, **way), 1e-9)


@settings(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from(["grouped", "separate"]))
def test_a_constant_per_plate_or_for_all_values_changes_nothing(seed: int, replicates: str) -> None:
    rng = np.random.default_rng(seed)
    labels = layout()
    values = log2_values(rng, len(labels["plate"]))

    def estimate(values: np.ndarray, *, trend: bool = True) -> EffectEstimates:
        return estimate_effects(values, **labels, scale="log2", replicates=replicates, trend=trend)

    plain = estimate(values)
    assert_same(plain, estimate(values + 3.5), 1e-9)
    assert_same(plain, estimate(values + rng.normal(0, 5, (3, 1))[labels["plate"]]), 1e-9)
    # With one constant per plate and gene the means move apart, and with them a trend.
    of_gene = rng.normal(0, 5, (3, values.shape[1]))[labels["plate"]]
    assert_same(estimate(values, trend=False), estimate(values + of_gene, trend=False), 1e-9)


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_threads_do_not_change_the_last_bit(way: dict[str, Any]) -> None:
    labels = layout(n_plates=12, conditions="abcdefghij")
    values = values_for(way["scale"], np.random.default_rng(3), len(labels["plate"]), 300)
    one, two = (estimate_effects(values, **labels, **way, n_threads=n) for n in (1, 2))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), err_msg=field.name)


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_effects_in_single_precision_are_those_of_double_precision(way: dict[str, Any]) -> None:
    labels = layout(n_plates=4)
    values = values_for(way["scale"], np.random.default_rng(4), len(labels["plate"]), 200)
    double, single = (fit_effects(values, **labels, **way, dtype=t) for t in (np.float64, np.float32))
    for one, other in zip(double.blocks(500), single.blocks(500), strict=True):
        assert other.log2_fold_change.dtype == other.standard_error.dtype == np.float32
        assert one.conditions.tolist() == other.conditions.tolist()
        np.testing.assert_allclose(other.log2_fold_change, one.log2_fold_change, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other.standard_error, one.standard_error, rtol=1e-5)
        np.testing.assert_allclose(other.unscaled_sd, one.unscaled_sd, rtol=1e-5)
    np.testing.assert_array_equal(single.posterior_variance, double.posterior_variance)


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_blocks_of_any_size_hold_the_same_effects(way: dict[str, Any]) -> None:
    labels = uneven()
    values = values_for(way["scale"], np.random.default_rng(5), len(labels["plate"]))
    fit = fit_effects(values, **labels, **way)
    whole = list(fit.blocks())
    small = list(fit.blocks(1))
    assert [block.conditions.tolist() for block in small] == [[i] for i in fit.estimable]
    for name in ("log2_fold_change", "standard_error", "unscaled_sd"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(block, name) for block in small]), getattr(whole[0], name)
        )


@pytest.mark.parametrize("way", [way for way in WAYS if way["scale"] == "counts"], ids=name_of)
def test_counts_that_are_fitted_part_by_part_give_the_same_effects(
    way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = uneven()
    counts = count_values(np.random.default_rng(6), len(labels["plate"]))
    whole = estimate_effects(counts, **labels, **way)
    monkeypatch.setattr(fit_module, "ENTRIES_AT_ONCE", counts.size // 7)
    assert_same(whole, estimate_effects(counts, **labels, **way), 0.0, PER_TEST + PER_GENE)


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.sampled_from([way for way in WAYS if "replicates" not in way]))
def test_separate_equals_grouped_where_every_sample_is_its_own_condition(
    seed: int, way: dict[str, Any]
) -> None:
    labels = layout(2) | {"condition": np.arange(16)}
    values = values_for(way["scale"], np.random.default_rng(seed), 16)
    grouped = estimate_effects(values, **labels, **way)
    separate = estimate_effects(values, **labels, **way, replicates="separate")
    assert separate.samples is not None
    assert separate.samples.tolist() == grouped.conditions.tolist()
    assert grouped.residual_df == separate.residual_df == 6
    # A treated sample adds nothing to the residual; single rounding errors pass through weights and priors.
    others = tuple(name for name in PER_TEST + PER_GENE if name not in ("prior_df", "total_df"))
    assert_same(grouped, separate, 1e-7, others)
    # The robust prior df is a root on the scale df / (1 + df), so that a large one is known less well.
    largest = np.nanmax(np.where(np.isfinite(grouped.prior_df), grouped.prior_df, 0.0))
    assert_same(grouped, separate, 1e-8 * (1.0 + largest), ("prior_df", "total_df"))


# --- what is estimated --------------------------------------------------------------------------------------


def test_conditions_on_one_plate_are_compared_with_its_controls() -> None:
    rng = np.random.default_rng(2)
    labels = layout(n_plates=1, conditions="aabb")
    values = log2_values(rng, 8)
    effects = estimate_effects(values, **labels, scale="log2")
    expected = values[4:6].mean(axis=0) - values[:4].mean(axis=0)
    np.testing.assert_allclose(effects.log2_fold_change[0], expected, atol=1e-12)
    assert effects.residual_df == 5
    assert effects.n_treated.tolist() == [2, 2]
    assert effects.n_control.tolist() == [4, 4]
    assert effects.n_plates.tolist() == [1, 1]
    assert effects.control_scope == ("same_plate", "same_plate")
    without_plate = estimate_effects(values, **labels | {"plate": None}, scale="log2")
    assert_same(effects, without_plate, 0.0)


def test_odd_labels_each_have_their_own_effect() -> None:
    names = ["A-1", "A.1", "A 1", "A_1", "γ", "𝛾"]
    values = np.random.default_rng(3).normal(8, 1, (15, 40))
    effects = estimate_effects(
        values,
        condition=["DMSO"] * 3 + names * 2,
        plate=["P-1"] * 15,
        is_control=[True] * 3 + [False] * 12,
        scale="log2",
    )
    assert effects.conditions.tolist() == sorted(names)
    for name, effect in zip(effects.conditions.tolist(), effects.log2_fold_change, strict=True):
        rows = [3 + names.index(name), 9 + names.index(name)]
        np.testing.assert_allclose(effect, values[rows].mean(axis=0) - values[:3].mean(axis=0), atol=1e-12)


def test_a_plate_without_control_is_linked_through_a_shared_condition() -> None:
    labels = uneven()
    values = log2_values(np.random.default_rng(5), len(labels["plate"]))
    effects = estimate_effects(values, **labels, scale="log2")
    assert effects.conditions.tolist() == ["a", "b", "c", "d", "e"]
    assert effects.control_scope == (*["same_plate"] * 3, *["linked_plates"] * 2)
    assert_equals_least_squares(effects, values, labels)


def test_a_plate_without_control_and_without_shared_condition_is_confounded() -> None:
    labels = uneven()
    labels["condition"] = np.where(labels["condition"] == "d", labels["plate"], labels["condition"])
    values = log2_values(np.random.default_rng(5), len(labels["plate"]))
    effects = estimate_effects(values, **labels, scale="log2")
    status = dict(zip(effects.conditions.tolist(), effects.status, strict=True))
    assert {c for c, s in status.items() if s == "confounded_with_plate"} == {"e", "r"}
    lost = [s != "estimable" for s in effects.status]
    for name in PER_TEST:
        assert np.isnan(getattr(effects, name)).all(axis=1).tolist() == lost, name
    assert [scope is None for scope in effects.control_scope] == lost
    assert_equals_least_squares(effects, values, labels)


def test_separate_replicates_need_a_control_on_their_plate() -> None:
    labels = uneven()
    for scale in ("log2", "counts"):
        values = values_for(scale, np.random.default_rng(5), len(labels["plate"]))
        effects = estimate_effects(values, **labels, scale=scale, replicates="separate")
        assert effects.samples is not None
        on_r = labels["plate"][effects.samples] == "r"
        assert [status == "confounded_with_plate" for status in effects.status] == on_r.tolist()
        assert np.isnan(effects.standard_error[on_r]).all()
        assert np.isfinite(effects.p_value[~on_r][:, effects.is_tested]).all()
        assert effects.residual_df == 3  # five controls on two plates


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_times_on_separate_plates_share_only_the_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    early, late = layout(2, conditions="abc"), layout(3, conditions="xyz")
    parts = [log2_values(rng, len(part["plate"])) for part in (early, late)]
    alone = [estimate_effects(v, **part, scale="log2") for v, part in zip(parts, (early, late), strict=True)]
    late = late | {"plate": late["plate"] + 2}
    joint_labels = {key: np.concatenate([early[key], late[key]]) for key in early}
    block = np.repeat([6, 24], [len(part) for part in parts])
    together = estimate_effects(np.vstack(parts), **joint_labels, block=block, scale="log2")

    assert set(together.status) == {"estimable"}
    assert together.residual_df == sum(one.residual_df for one in alone)
    np.testing.assert_allclose(
        together.log2_fold_change, np.vstack([one.log2_fold_change for one in alone]), atol=1e-10
    )
    unscaled = [one.standard_error / np.sqrt(one.posterior_variance) for one in (*alone, together)]
    np.testing.assert_allclose(unscaled[2], np.vstack(unscaled[:2]), rtol=1e-10)


def test_times_on_shared_plates_use_controls_of_their_time_and_plates_of_both() -> None:
    labels = {
        "condition": np.array(["", "", "a", "b", "", "x", "a", "", "", "x"]),
        "plate": np.array(list("ppppqqqqpp")),
        "is_control": np.array([True, True, False, False, True, False, False, True, True, False]),
        "block": np.array([6, 6, 6, 6, 24, 24, 6, 6, 24, 24]),
    }
    values = log2_values(np.random.default_rng(6), 10)
    effects = estimate_effects(values, **labels, scale="log2")
    assert effects.n_control.tolist() == [3, 3, 2]
    assert_equals_least_squares(effects, values, labels)


def test_no_control_at_the_time_of_a_condition_is_a_status() -> None:
    labels = layout(2) | {"block": np.tile([6, 6, 6, 6, 6, 6, 48, 48], 2)}
    for way in WAYS:
        values = values_for(way["scale"], np.random.default_rng(7), 16)
        effects = estimate_effects(values, **labels, **way)
        lost = np.isin(labels["condition"], ["c", "d"])
        lost = lost[effects.samples] if effects.samples is not None else np.array([False, False, True, True])
        assert [status == "no_control" for status in effects.status] == lost.tolist()
        assert np.isnan(effects.p_value[lost]).all()
        assert (effects.n_control == 0).tolist() == lost.tolist()
        assert np.isfinite(effects.p_value[~lost][:, effects.is_tested]).all()


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
def test_a_donor_that_crosses_plates_is_adjusted_for(replicates: str) -> None:
    rng = np.random.default_rng(8)
    labels: dict[str, Any] = layout(3)
    donor = rng.integers(0, 3, 24)
    values = log2_values(rng, 24)
    labels["terms"] = {"donor": donor}
    effects = estimate_effects(values, **labels, scale="log2", replicates=replicates)
    if replicates == "separate":
        labels["condition"] = np.array([f"{sample:02d}" for sample in range(24)])
    assert_equals_least_squares(effects, values, labels)
    shifted = estimate_effects(
        values + rng.normal(0, 3, (3, 1))[donor], **labels, scale="log2", replicates=replicates
    )
    assert_same(effects, shifted, 1e-9)


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_a_donor_nested_in_plates_changes_nothing(way: dict[str, Any]) -> None:
    labels = layout(4)
    values = values_for(way["scale"], np.random.default_rng(9), 32)
    with_donor = estimate_effects(values, **labels, **way, terms={"donor": labels["plate"] // 2})
    plain = estimate_effects(values, **labels, **way)
    assert set(with_donor.status) == {"estimable"}
    assert with_donor.residual_df == plain.residual_df
    # limma's form is taken at the reference level of every term; each level of the donor holds it here.
    names = PER_TEST if way.get("standard_error") != "limma" else ("log2_fold_change",)
    assert_same(with_donor, plain, 1e-9, names)


def test_a_donor_that_comes_with_a_treatment_is_a_status() -> None:
    labels = layout(2, conditions="aabb")
    donor = np.where(labels["condition"] == "b", "second", "first")
    for replicates in ("grouped", "separate"):
        effects = estimate_effects(
            log2_values(np.random.default_rng(10), 16),
            **labels,
            terms={"donor": donor},
            scale="log2",
            replicates=replicates,
        )
        names = effects.conditions.tolist()
        assert [s == "confounded_with_plate" for s in effects.status] == [name == "b" for name in names]
        assert np.isnan(effects.p_value).all(axis=1).tolist() == [name == "b" for name in names]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_any_layout_gives_least_squares_or_a_status(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 24))
    block = rng.integers(0, 2, n)
    labels: dict[str, Any] = {
        "condition": np.array([f"{c}{b}" for c, b in zip(rng.choice(list("abc"), n), block, strict=True)]),
        "plate": rng.integers(0, 4, n),
        "is_control": rng.random(n) < 0.4,
        "block": block,
    }
    if seed % 2:
        labels["terms"] = {"donor": rng.integers(0, 2, n)}
    values = log2_values(rng, n, 5)
    effects = estimate_effects(values, **labels, scale="log2", robust=False, trend=False)
    if effects.residual_df < 1:
        assert "estimable" not in effects.status
        assert np.isnan(effects.p_value).all()
        return
    assert_equals_least_squares(effects, values, labels)
    known = np.isfinite(effects.log2_fold_change[:, 0])
    assert [status == "estimable" for status in effects.status] == known.tolist()


# --- what cannot be estimated -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_no_control_at_all_keeps_every_condition(way: dict[str, Any]) -> None:
    labels = layout()
    values = values_for(way["scale"], np.random.default_rng(4), len(labels["plate"]))
    effects = estimate_effects(values, **labels | {"is_control": np.zeros(len(values), dtype=bool)}, **way)
    assert set(effects.status) == {"no_control"}
    assert len(effects.conditions) == (24 if "replicates" in way else 5)
    assert not effects.n_control.any()
    assert np.isnan(effects.p_value).all()


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_no_replicate_at_all_is_a_status(way: dict[str, Any]) -> None:
    labels = layout(n_plates=1, n_control=1)
    effects = estimate_effects(values_for(way["scale"], np.random.default_rng(4), 5), **labels, **way)
    assert effects.residual_df == 0
    assert set(effects.status) == {"no_residual_df"}
    assert np.isnan(effects.p_value).all()
    assert not effects.is_tested.any()


def test_more_conditions_and_plates_than_samples_can_tell_is_a_status() -> None:
    labels = {
        "condition": ["", "a", "", "b", "", "c"],
        "plate": [1, 1, 2, 2, 3, 3],
        "is_control": [True, False] * 3,
    }
    effects = estimate_effects(log2_values(np.random.default_rng(1), 6), **labels, scale="log2")
    assert effects.residual_df == 0
    assert set(effects.status) == {"no_residual_df"}


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_only_controls_gives_no_rows(way: dict[str, Any]) -> None:
    values = values_for(way["scale"], np.random.default_rng(5), 6)
    effects = estimate_effects(
        values, condition=[""] * 6, plate=[1, 1, 1, 2, 2, 2], is_control=[True] * 6, **way
    )
    assert effects.p_value.shape == (0, 60)
    assert np.isfinite(effects.sigma[effects.is_tested]).all()


def test_conditions_with_too_few_samples_are_a_status_and_still_serve_the_variance() -> None:
    labels = layout(2, conditions="aab")
    values = log2_values(np.random.default_rng(11), 14)
    everyone = estimate_effects(values, **labels, scale="log2")
    effects = estimate_effects(values, **labels, scale="log2", min_replicates=3)
    assert effects.status == ("estimable", "too_few_replicates")
    assert np.isnan(effects.p_value[1]).all()
    np.testing.assert_array_equal(effects.p_value[0], everyone.p_value[0])


def test_no_gene_with_enough_counts_is_a_status() -> None:
    labels = layout()
    counts = np.zeros((24, 6), dtype=int)
    counts[np.arange(24), np.arange(24) % 6] = 1
    effects = estimate_effects(counts, **labels, scale="counts")
    assert set(effects.status) == {"no_tested_gene"}
    assert np.isnan(effects.p_value).all()
    assert effects.control_scope == (None,) * 4


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
@pytest.mark.parametrize("level", [5.0, 0.1, 7.3])
def test_a_constant_gene_has_no_effect_and_does_not_break_the_others(level: float, replicates: str) -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(6), len(labels["plate"]))
    values[:, 0] = level
    effects = estimate_effects(values, **labels, scale="log2", replicates=replicates)
    assert np.isfinite(effects.p_value).all()
    assert (effects.log2_fold_change[:, 0] == 0).all()
    assert (effects.p_value[:, 0] == 1).all()
    # Alone, it has nothing to learn a variance from: rounding must not be taken for one.
    everything = estimate_effects(np.full_like(values, level), **labels, scale="log2", replicates=replicates)
    assert (everything.sigma == 0).all()
    assert np.isnan(everything.p_value).all()
    assert np.isnan(everything.log_odds).all()


# --- p-values -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def null_values() -> np.ndarray:
    """Normal data without effects; gene variances are scaled inverse chi-square with 6 df."""
    rng = np.random.default_rng(20261120)
    sd = np.sqrt(6 / rng.chisquare(6, 4000))
    return 8 + sd * rng.normal(size=(24, 4000)) + rng.normal(0, 2, (3, 4000))[np.repeat(range(3), 8)]


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
def test_p_values_are_uniform_where_nothing_was_done(null_values: np.ndarray, replicates: str) -> None:
    effects = estimate_effects(null_values, **layout(), scale="log2", replicates=replicates)
    for p in effects.p_value:
        # 1.95 / sqrt(4000): exceeded by chance once in a thousand tests.
        assert stats.kstest(p, "uniform").statistic < 0.0309
    assert effects.prior_df[0] == pytest.approx(6, rel=0.2)


def test_planted_effects_are_found_and_few_others(null_values: np.ndarray) -> None:
    labels = layout()
    rng = np.random.default_rng(12)
    truth = np.zeros((4, 4000))
    truth[:, :400] = rng.choice([-4.0, 4.0], (4, 400))
    for number, condition in enumerate("abcd"):
        null_values = null_values + np.where((labels["condition"] == condition)[:, None], truth[number], 0.0)
    effects = estimate_effects(null_values, **labels, scale="log2")
    found = effects.p_value_adjusted < 0.05
    assert found[:, :400].mean() > 0.9
    assert found[:, 400:].sum() / found.sum() < 0.06
    assert (np.sign(effects.log2_fold_change) == np.sign(truth))[:, :400][found[:, :400]].mean() > 0.999
    # The mean error has a standard deviation of 0.009.
    assert np.abs((effects.log2_fold_change - truth).mean()) < 0.03


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
def test_exact_standard_errors_are_the_spread_of_effects(replicates: str) -> None:
    labels = uneven()
    values = np.random.default_rng(13).normal(size=(len(labels["plate"]), 20_000))
    effects = estimate_effects(
        values, **labels, scale="log2", replicates=replicates, trend=False, robust=False
    )
    known = np.array([status == "estimable" for status in effects.status])
    spread = effects.log2_fold_change[known].var(axis=1)
    unscaled = (effects.standard_error / np.sqrt(effects.posterior_variance))[known, 0]
    # Five standard errors of a variance from 20,000 values.
    np.testing.assert_allclose(unscaled**2 / spread, 1.0, atol=5 * np.sqrt(2 / 20_000))


def test_every_p_value_adjusts_within_its_condition_only() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(7), len(labels["plate"]))
    plain = estimate_effects(values, **labels, scale="log2")
    assert (plain.p_value_adjusted >= plain.p_value).all()
    np.testing.assert_allclose(plain.p_value_adjusted.max(axis=1), plain.p_value.max(axis=1))
    expected = stats.false_discovery_control(plain.p_value, axis=1)
    np.testing.assert_allclose(plain.p_value_adjusted, expected, rtol=1e-12)
    overall = stats.false_discovery_control(plain.p_value.ravel()).reshape(plain.p_value.shape)
    np.testing.assert_allclose(plain.p_value_adjusted_overall, overall, rtol=1e-12)


def test_p_values_are_ranked_at_any_extreme() -> None:
    rng = np.random.default_rng(14)
    n_genes = 30
    labels = {
        "condition": np.repeat(["", "a"], [3000, 100]),
        "plate": None,
        "is_control": np.arange(3100) < 3000,
    }
    values = rng.normal(8, 1, (3100, n_genes))
    values[3000:] += np.linspace(0, 30, n_genes)
    effects = estimate_effects(values, **labels, scale="log2")
    t, p, log10_p = (np.ravel(x) for x in (effects.t_statistic, effects.p_value, effects.log10_p_value))
    assert np.abs(t).max() > 200
    assert ((np.abs(t) > 55) & (np.abs(t) < 65)).any()
    assert effects.total_df.min() > 3000
    assert np.isfinite(log10_p).all()
    assert (np.diff(log10_p[np.argsort(np.abs(t))]) < 0).all()
    assert (p == 0).tolist() == (log10_p < np.log10(np.finfo(float).tiny)).tolist()
    assert (p == 0).any()
    np.testing.assert_allclose(np.log10(p[p > 0]), log10_p[p > 0], rtol=1e-10, atol=1e-12)
    assert np.isfinite(effects.log_odds).all()
    assert np.isfinite(effects.p_value_adjusted).all()


# --- forms of the input -------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "csr_matrix": lambda counts: sparse.csr_matrix(counts.astype(np.float32)),
    "csc_matrix": sparse.csc_matrix,
    "SparseCounts": SparseCounts.from_matrix,
    "float32": lambda counts: counts.astype(np.float32),
    "uint16": lambda counts: counts.astype(np.uint16),
    "fortran": np.asfortranarray,
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("way", [way for way in WAYS if way["scale"] == "counts"], ids=name_of)
def test_all_forms_of_counts_give_identical_results(way: dict[str, Any]) -> None:
    labels = layout()
    counts = count_values(np.random.default_rng(3), len(labels["plate"]))
    counts[:, 5] = 0
    dense = estimate_effects(counts, **labels, **way)
    assert not dense.is_tested[5]
    assert np.isnan(dense.p_value[:, 5]).all()
    assert np.isnan(dense.sigma[5])
    for name, form in FORMS.items():
        other = estimate_effects(form(counts), **labels, **way)
        for field in PER_TEST + PER_GENE:
            np.testing.assert_array_equal(getattr(dense, field), getattr(other, field), err_msg=name)


@pytest.mark.parametrize("replicates", ["grouped", "separate"])
def test_all_forms_of_log2_values_give_identical_results(replicates: str) -> None:
    labels = layout()
    single = log2_values(np.random.default_rng(3), 24).astype(np.float32)
    single[:, :3] = np.round(single[:, :3])
    single[2, 4] = 0.0
    plain = estimate_effects(single, **labels, scale="log2", replicates=replicates)
    forms = {
        "float64": single.astype(np.float64),
        "fortran": np.asfortranarray(single),
        "sparse": sparse.csr_array(single),
        "list": single.tolist(),
    }
    for name, other in forms.items():
        effects = estimate_effects(other, **labels, scale="log2", replicates=replicates)
        assert_same(plain, effects, 1e-12)
        assert effects.log2_fold_change.dtype == np.float64, name
    whole = np.random.default_rng(4).integers(0, 20, (24, 10))
    assert_same(
        estimate_effects(whole, **labels, scale="log2", replicates=replicates),
        estimate_effects(whole.astype(float), **labels, scale="log2", replicates=replicates),
        0.0,
    )


def test_input_is_not_changed() -> None:
    labels = layout()
    for way in WAYS:
        values = values_for(way["scale"], np.random.default_rng(8), 24).astype(np.float64)
        before = values.copy()
        estimate_effects(values, **labels, **way)
        assert (values == before).all(), way


@pytest.mark.parametrize("n_genes", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_few_genes_do(way: dict[str, Any], n_genes: int) -> None:
    labels = layout()
    values = np.random.default_rng(9).poisson(100, (24, n_genes))
    if way["scale"] == "counts" and not n_genes:
        with pytest.raises(BadInputError, match="24 samples have no counts at all"):
            estimate_effects(values, **labels, **way)
        return
    effects = estimate_effects(values, **labels, **way)
    assert effects.p_value.shape == (12 if "replicates" in way else 4, n_genes)
    if n_genes > (way["scale"] == "counts"):
        assert set(effects.status) == {"estimable"}
        assert np.isfinite(effects.p_value).all()
    else:
        assert set(effects.status) == {"no_tested_gene"}


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_every_field_has_the_shape_it_states(way: dict[str, Any]) -> None:
    labels = layout()
    effects = estimate_effects(values_for(way["scale"], np.random.default_rng(9), 24), **labels, **way)
    n_conditions = 12 if "replicates" in way else 4
    for field in fields(effects):
        value = getattr(effects, field.name)
        if field.name in PER_TEST:
            assert value.shape == (n_conditions, 60)
            assert value.dtype == np.float64
        elif isinstance(value, np.ndarray):
            assert value.shape in ((n_conditions,), (60,)), field.name
    assert len(effects.status) == len(effects.control_scope) == n_conditions


# --- values that cannot be used -----------------------------------------------------------------------------


def broken(value: float, dtype: type = float) -> np.ndarray:
    counts = np.full((24, 5), 20, dtype=dtype)
    counts[3, 2] = value
    return counts


@pytest.mark.parametrize(
    "make", [np.asarray, sparse.csr_array, sparse.csc_array], ids=["dense", "csr", "csc"]
)
@pytest.mark.parametrize(
    ("scale", "values", "message"),
    [
        ("log2", broken(np.nan), "1 values are NaN or infinite.*sample 3; gene 2"),
        ("log2", broken(-np.inf), "1 values are NaN or infinite.*sample 3; gene 2"),
        (
            "log2",
            np.full((24, 5), np.nan),
            "120 values .*samples 0, 1, 2, 3, 4 and 19 more; genes 0, 1, 2, 3, 4$",
        ),
        ("counts", broken(np.inf), "1 value is NaN or infinite.*sample 3; gene 2"),
        ("counts", broken(np.nan), "1 value is NaN or infinite.*sample 3; gene 2"),
        ("counts", broken(-1), "1 value is negative.*sample 3; gene 2"),
        ("counts", broken(-1, int), "1 value is negative.*sample 3; gene 2"),
        ("counts", broken(0.5), "1 value is fractional.*sample 3; gene 2"),
        ("counts", broken(2**32, int), "1 value is above 4,294,967,295.*sample 3; gene 2"),
        (
            "counts",
            np.eye(24, 5, dtype=int),
            "19 samples have no counts at all: samples 5, 6, 7, 8, 9 and 14 more",
        ),
        ("log2", np.ones((23, 5)), r"shape \(23, 5\), but the labels describe 24 samples"),
        ("counts", np.ones((5, 24)), r"shape \(5, 24\), but the labels describe 24 samples"),
    ],
)
def test_unusable_values_are_named(make, scale: str, values: np.ndarray, message: str) -> None:
    for replicates in ("grouped", "separate"):
        with pytest.raises(BadInputError, match=message):
            estimate_effects(make(values), **layout(), scale=scale, replicates=replicates)


def test_samples_with_counts_in_untested_genes_only_are_named() -> None:
    counts = np.full((24, 5), 200)
    counts[7] = [0, 0, 0, 0, 3]
    counts[[i for i in range(24) if i != 7], 4] = 0
    with pytest.raises(
        BadInputError, match=r"1 samples have counts only in genes that do not pass.*sample 7"
    ):
        estimate_effects(counts, **layout(), scale="counts")


@pytest.mark.parametrize("scale", ["log2", "counts"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((24, 2), "x"), "numbers are needed"),
        (np.full((24, 2), None), "numbers are needed"),
        (np.full((24, 2), 1j), "numbers are needed"),
        (np.zeros(24), "one row per sample is needed"),
        (np.zeros((24, 2, 2)), "one row per sample is needed"),
    ],
)
def test_values_of_the_wrong_type_or_shape_are_named(scale: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        estimate_effects(values, **layout(), scale=scale)


def test_counts_are_no_log2_values() -> None:
    counts = SparseCounts.from_matrix(np.ones((24, 2), dtype=int))
    with pytest.raises(BadInputError, match="values are counts; log2 values are needed"):
        estimate_effects(counts, **layout(), scale="log2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "ln"}, "scale is one of 'log2', 'counts', not 'ln'"),
        ({"scale": "Log2"}, "scale is one of 'log2', 'counts', not 'Log2'"),
        ({"replicates": "pooled"}, "replicates are 'grouped' or 'separate', not 'pooled'"),
        ({"standard_error": "robust"}, "standard_error is one of 'exact', 'limma', not 'robust'"),
        ({"counts_method": "vst"}, "counts_method is one of 'voom', 'trend', not 'vst'"),
        ({"normalization": "quantile"}, "normalization is one of 'tmm', .*, not 'quantile'"),
        ({"missing_values": "impute"}, "missing_values is 'reject' or 'allow', not 'impute'"),
        ({"scale": "counts", "missing_values": "allow"}, "for log2 values with grouped replicates only"),
        ({"replicates": "separate", "missing_values": "allow"}, "with grouped replicates only"),
    ],
)
def test_unknown_words_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_effects(np.full((24, 2), 50), **layout(), **{"scale": "log2"} | arguments)


def test_a_single_counted_gene_is_not_tested() -> None:
    # Its counts are the library they are compared with.
    counts = np.random.default_rng(0).poisson(50, size=(6, 1))
    effects = estimate_effects(
        counts,
        condition=["", "", "", "a", "a", "a"],
        plate=None,
        is_control=[True] * 3 + [False] * 3,
        scale="counts",
    )
    assert [str(status) for status in effects.status] == ["no_tested_gene"]
    assert not effects.is_tested.any()


def test_values_whose_variance_overflows_are_refused() -> None:
    values = np.random.default_rng(0).normal(size=(6, 5)) * 1e160
    with pytest.raises(BadInputError, match="are they logarithms"):
        estimate_effects(
            values,
            condition=["", "", "", "a", "a", "a"],
            plate=None,
            is_control=[True] * 3 + [False] * 3,
            scale="log2",
        )


def test_limma_standard_errors_with_a_donor_term_are_those_of_treatment_contrasts() -> None:
    rng = np.random.default_rng(4)
    n = 60
    counts = rng.negative_binomial(3, 0.02, size=(n, 40))
    condition, plate, donor = rng.integers(0, 5, n), rng.integers(0, 3, n), rng.integers(0, 3, n)
    is_control = condition == 0
    arguments = {
        "condition": condition,
        "plate": plate,
        "is_control": is_control,
        "terms": {"donor": donor},
        "scale": "counts",
        "robust": False,
    }
    exact = estimate_effects(counts, **arguments)
    limma = estimate_effects(counts, **arguments, standard_error="limma")
    # Permuting the donors' names changes the reference level, and with it limma's form only.
    swapped = estimate_effects(counts, **arguments | {"terms": {"donor": 2 - donor}}, standard_error="limma")
    tested = exact.is_tested
    ratio = limma.standard_error[:, tested] / exact.standard_error[:, tested]
    assert 1e-4 < np.abs(ratio - 1).max() < 0.2
    assert np.abs(swapped.standard_error[:, tested] / limma.standard_error[:, tested] - 1).max() > 1e-5


def test_limma_standard_errors_of_a_gene_without_the_first_plate_use_the_last_one() -> None:
    rng = np.random.default_rng(7)
    condition = np.tile(["", "", "a", "b", "c"], 6)
    plate = np.repeat([0, 1, 2], 10)
    values = rng.normal(size=(30, 12))
    values[plate == 0, 0] = np.nan
    effects = estimate_effects(
        values,
        condition=condition,
        plate=plate,
        is_control=condition == "",
        scale="log2",
        missing_values="allow",
        standard_error="limma",
        robust=False,
        trend=False,
    )

    # s of ``~ 0 + condition + plate`` on the samples left, with the last plate as reference, and rho of all.
    def covariance(kept: np.ndarray, reference: int) -> np.ndarray:
        levels = np.array(["", "a", "b", "c"])
        columns = [condition[kept] == level for level in levels]
        columns += [plate[kept] == p for p in np.unique(plate[kept]) if p != reference]
        matrix = np.column_stack(columns).astype(float)
        return np.linalg.inv(matrix.T @ matrix)

    own, whole = covariance(plate > 0, 2), covariance(plate >= 0, 0)
    s = np.sqrt(np.diag(own))
    rho = whole[0, 1:4] / np.sqrt(whole[0, 0] * np.diag(whole)[1:4])
    expected = np.sqrt(s[1:4] ** 2 + s[0] ** 2 - 2 * rho * s[0] * s[1:4])
    found = effects.standard_error[:, 0] / np.sqrt(effects.posterior_variance[0])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
