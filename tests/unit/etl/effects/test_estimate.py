"""The public function: invariances, statuses, inputs that cannot be used."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from etl.effects.estimate import EffectEstimates, estimate_effects
from etl.errors import BadInputError

SEEDS = st.integers(0, 2**32 - 1)
PER_TEST = ("log2_fold_change", "standard_error", "t_statistic", "p_value", "p_value_adjusted")


def layout(n_plates: int = 3, n_control: int = 4, conditions: str = "abcd") -> dict[str, np.ndarray]:
    """A plate map repeated on every plate."""
    names = np.array([""] * n_control + list(conditions))
    return {
        "condition": np.tile(names, n_plates),
        "plate": np.repeat(np.arange(n_plates), len(names)),
        "is_control": np.tile(names == "", n_plates),
    }


def log2_values(rng: np.random.Generator, n_samples: int, n_genes: int = 25) -> np.ndarray:
    return rng.normal(8, 1, (n_samples, n_genes)) * np.sqrt(rng.chisquare(4, n_genes) / 4)


def count_values(rng: np.random.Generator, n_samples: int, n_genes: int = 60) -> np.ndarray:
    mean = rng.lognormal(3, 1.5, n_genes) * rng.lognormal(0, 0.3, (n_samples, 1))
    return rng.poisson(mean * rng.gamma(10, 0.1, (n_samples, n_genes)))


def assert_same(
    one: EffectEstimates, other: EffectEstimates, tolerance: float, names: tuple[str, ...] = PER_TEST
) -> None:
    for name in names:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from(["log2", "counts"]))
def test_order_of_samples_does_not_matter(seed: int, scale: str) -> None:
    rng = np.random.default_rng(seed)
    labels = layout()
    values = (log2_values if scale == "log2" else count_values)(rng, len(labels["plate"]))
    order = rng.permutation(len(values))
    plain = estimate_effects(values, **labels, scale=scale)
    shuffled = estimate_effects(values[order], **{k: v[order] for k, v in labels.items()}, scale=scale)
    assert plain.is_tested.tolist() == shuffled.is_tested.tolist()
    assert_same(plain, shuffled, 1e-7)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_a_constant_per_plate_or_for_all_values_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = layout()
    values = log2_values(rng, len(labels["plate"]))
    plain = estimate_effects(values, **labels, scale="log2")
    by_plate = rng.normal(0, 5, (3, values.shape[1]))[labels["plate"]]
    assert_same(plain, estimate_effects(values + by_plate, **labels, scale="log2"), 1e-8)
    assert_same(plain, estimate_effects(values + 3.5, **labels, scale="log2"), 1e-8)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_disconnected_blocks_share_only_the_variance(seed: int) -> None:
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


def test_sparse_counts_and_other_types_give_the_same_result() -> None:
    rng = np.random.default_rng(3)
    labels = layout()
    counts = count_values(rng, len(labels["plate"]))
    counts[:, 5] = 0
    dense = estimate_effects(counts, **labels, scale="counts")
    assert not dense.is_tested[5]
    assert np.isnan(dense.p_value[:, 5]).all()
    assert np.isnan(dense.sigma[5])
    for other in (
        sparse.csr_array(counts),
        sparse.csr_matrix(counts.astype(np.float32)),
        counts.astype(np.float32),
    ):
        assert_same(dense, estimate_effects(other, **labels, scale="counts"), 1e-12)


def test_no_control_at_all_keeps_every_condition() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(4), len(labels["plate"]))
    effects = estimate_effects(
        values, **labels | {"is_control": np.zeros(len(values), dtype=bool)}, scale="log2"
    )
    assert set(effects.status) == {"no_control"}
    assert len(effects.conditions) == 5
    assert effects.n_control.tolist() == [0] * 5
    assert np.isnan(effects.p_value).all()
    assert np.isfinite(effects.sigma).all()


def test_no_replicate_at_all_is_a_status() -> None:
    labels = layout(n_plates=1, n_control=1)
    for scale, values in (("log2", np.ones((5, 3))), ("counts", np.full((5, 3), 50))):
        effects = estimate_effects(values, **labels, scale=scale)
        assert effects.residual_df == 0
        assert set(effects.status) == {"no_residual_df"}
        assert effects.p_value.shape == (4, 3)
        assert np.isnan(effects.p_value).all()
        assert not effects.is_tested.any()


def test_no_gene_with_enough_counts_is_a_status() -> None:
    labels = layout()
    counts = np.zeros((24, 6), dtype=int)
    counts[np.arange(24), np.arange(24) % 6] = 1
    effects = estimate_effects(counts, **labels, scale="counts")
    assert set(effects.status) == {"no_tested_gene"}
    assert np.isnan(effects.p_value).all()


def test_only_controls_gives_no_rows() -> None:
    values = log2_values(np.random.default_rng(5), 6, 4)
    effects = estimate_effects(
        values, condition=[""] * 6, plate=[1, 1, 1, 2, 2, 2], is_control=[True] * 6, scale="log2"
    )
    assert effects.p_value.shape == (0, 4)
    assert np.isfinite(effects.sigma).all()


def test_constant_genes_do_not_break_the_others() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(6), len(labels["plate"]))
    values[:, 0] = 5.0
    effects = estimate_effects(values, **labels, scale="log2")
    assert np.isfinite(effects.p_value).all()
    assert effects.log2_fold_change[:, 0].tolist() == [0.0] * 4
    everything = estimate_effects(np.full_like(values, 5.0), **labels, scale="log2")
    assert np.isnan(everything.p_value).all()


def test_every_p_value_adjusts_within_its_condition_only() -> None:
    labels = layout()
    values = log2_values(np.random.default_rng(7), len(labels["plate"]))
    plain = estimate_effects(values, **labels, scale="log2")
    assert (plain.p_value_adjusted >= plain.p_value).all()
    np.testing.assert_allclose(plain.p_value_adjusted.max(axis=1), plain.p_value.max(axis=1))


def test_input_is_not_changed() -> None:
    labels = layout()
    for scale, values in (
        ("log2", log2_values(np.random.default_rng(8), 24)),
        ("counts", count_values(np.random.default_rng(8), 24).astype(np.float64)),
    ):
        before = values.copy()
        estimate_effects(values, **labels, scale=scale)
        assert (values == before).all()


def test_every_field_has_the_shape_it_states() -> None:
    labels = layout()
    effects = estimate_effects(count_values(np.random.default_rng(9), 24), **labels, scale="counts")
    for field in fields(effects):
        value = getattr(effects, field.name)
        if field.name in PER_TEST:
            assert value.shape == (4, 60)
            assert value.dtype == np.float64
        elif isinstance(value, np.ndarray):
            assert value.shape in ((4,), (60,)), field.name


def broken(value: float, dtype: type = float) -> np.ndarray:
    counts = np.full((24, 5), 20, dtype=dtype)
    counts[3, 2] = value
    return counts


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("scale", "values", "message"),
    [
        ("log2", broken(np.nan), "1 values are NaN or infinite.*sample 3; gene 2"),
        ("counts", broken(np.inf), "1 values are NaN or infinite.*sample 3; gene 2"),
        ("counts", broken(-1), "1 values are negative.*sample 3; gene 2"),
        ("counts", broken(-1, int), "1 values are negative.*sample 3; gene 2"),
        ("counts", broken(0.5), "1 values are fractional.*sample 3; gene 2"),
        (
            "counts",
            np.eye(24, 5, dtype=int),
            "19 samples have no counts at all: samples 5, 6, 7, 8, 9 and 14 more",
        ),
        ("log2", np.ones((23, 5)), r"shape \(23, 5\), but the labels describe 24 samples"),
    ],
)
def test_unusable_values_are_named(make, scale: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        estimate_effects(make(values), **layout(), scale=scale)


def test_values_that_are_no_numbers_are_named() -> None:
    with pytest.raises(BadInputError, match="numbers are needed"):
        estimate_effects(np.full((24, 2), "x"), **layout(), scale="log2")


def test_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="'log2' or 'counts'"):
        estimate_effects(np.ones((24, 2)), **layout(), scale="ln")
