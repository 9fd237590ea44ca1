"""P-values of vehicle samples held out against the others."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from etl.effects.calibration import (
    MAX_CONDITIONS,
    MIN_CONTROLS,
    _agreement,
    _null_conditions,
    null_calibration,
)
from etl.expression.counts import SparseCounts

PLATES, WELLS, GENES = 20, 8, 400


def vehicles() -> dict[str, Any]:
    plate = np.repeat(np.arange(PLATES), WELLS)
    return {"plate": plate, "block": np.full(len(plate), 24.0), "scale": "log2"}


@pytest.fixture(scope="module")
def null_values() -> np.ndarray:
    rng = np.random.default_rng(1)
    sd = np.sqrt(5 / rng.chisquare(5, GENES))
    of_plate = np.repeat(rng.normal(0, 1, (PLATES, GENES)), WELLS, axis=0)
    return 8 + sd * rng.normal(size=(PLATES * WELLS, GENES)) + of_plate


@pytest.mark.parametrize("size", [1, 3])
def test_p_values_of_good_plates_are_uniform(null_values: np.ndarray, size: int) -> None:
    found = null_calibration(null_values, **vehicles(), replicates_of_conditions=size)
    assert found.status == "ok"
    assert found.n_control == 160
    assert found.n_conditions == 40 // size
    assert found.n_held_out == 40 // size * size
    assert found.n_tests == found.n_conditions * GENES == found.histogram.sum()
    assert 0.03 < found.share_below_0_05 < 0.07
    assert found.share_below_0_001 < 0.003
    assert found.share_significant < 0.001
    assert found.inflation == pytest.approx(1.0, abs=0.1)
    # Each of 20 bins holds 1/20 of the tests.
    assert np.abs(found.histogram / found.n_tests - 0.05).max() < 0.015


@pytest.mark.parametrize("size", [1, 2])
def test_vehicles_of_different_plates_agree_on_nothing(null_values: np.ndarray, size: int) -> None:
    found = null_calibration(null_values, **vehicles(), replicates_of_conditions=size)
    assert found.n_pairs_apart > 100
    assert abs(found.agreement_apart) < 3 * found.agreement_apart_se
    assert abs(found.agreement_apart) < 0.01
    assert 0.001 < found.agreement_apart_se < 0.01
    # Two of eight wells are held out; both are compared with the mean of the same six: 1/6 over 1 + 1/6.
    if size == 1:
        assert found.agreement_same_plate == pytest.approx(1 / 7, abs=0.04)


def test_wells_that_differ_on_every_plate_raise_the_spread_of_agreement(null_values: np.ndarray) -> None:
    pattern = np.random.default_rng(5).normal(0, 2, GENES)
    at_edge = (np.arange(len(null_values)) % WELLS < 3)[:, None]
    clean, spoilt = (
        null_calibration(v, **vehicles()) for v in (null_values, null_values + at_edge * pattern)
    )
    assert spoilt.agreement_apart_se > 4 * clean.agreement_apart_se


def test_pairs_apart_are_those_of_a_plain_loop(null_values: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(5, 60)).astype(np.float32)
    is_on = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    found = _agreement(profiles, is_on)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    rho = {(i, j): spearmanr(profiles[i], profiles[j]).statistic for i, j in pairs}
    apart = [pair for pair in pairs if not (is_on[pair[0]] & is_on[pair[1]]).any()]
    assert found["n_pairs_apart"] == len(apart)
    assert found["agreement_apart"] == pytest.approx(np.mean([rho[pair] for pair in apart]))
    together = [rho[pair] for pair in pairs if pair not in apart]
    assert found["agreement_same_plate"] == pytest.approx(np.mean(together))
    without = [np.mean([rho[pair] for pair in apart if left_out not in pair]) for left_out in range(5)]
    expected = np.sqrt(4 / 5 * np.square(without - np.mean(without)).sum())
    assert found["agreement_apart_se"] == pytest.approx(expected)


def test_p_values_of_good_counts_are_uniform() -> None:
    rng = np.random.default_rng(2)
    mean = rng.lognormal(4, 1, GENES) * rng.lognormal(0, 0.3, (PLATES * WELLS, 1))
    counts = rng.poisson(mean * rng.gamma(20, 1 / 20, mean.shape))
    labels = vehicles() | {"scale": "counts"}
    found = null_calibration(SparseCounts.from_matrix(counts), **labels, replicates_of_conditions=2)
    assert found.status == "ok"
    assert 0.03 < found.share_below_0_05 < 0.07
    assert found.inflation == pytest.approx(1.0, abs=0.15)
    dense = null_calibration(counts, **labels, replicates_of_conditions=2)
    np.testing.assert_array_equal(dense.histogram, found.histogram)


def test_wells_at_the_edge_that_differ_are_seen(null_values: np.ndarray) -> None:
    """One well of eight is off on every plate: the variance takes part of it in, and most p-values rise."""
    at_edge = (np.arange(len(null_values)) % WELLS == 0)[:, None]
    clean, spoilt = (null_calibration(v, **vehicles()) for v in (null_values, null_values + 12 * at_edge))
    assert spoilt.share_significant > 0.03 > 50 * clean.share_significant
    assert spoilt.inflation < 0.6
    assert np.abs(spoilt.histogram / spoilt.n_tests - 0.05).max() > 0.03


def test_plates_whose_wells_differ_inflate_the_smallest_p_values(null_values: np.ndarray) -> None:
    """Two of twenty plates are noisy: one variance for all is too small for them."""
    is_bad = (np.arange(len(null_values)) < 2 * WELLS)[:, None]
    noise = np.random.default_rng(3).normal(0, 6, null_values.shape)
    clean, spoilt = (null_calibration(v, **vehicles()) for v in (null_values, null_values + is_bad * noise))
    assert spoilt.share_below_0_001 > 0.01 > 5 * clean.share_below_0_001
    assert spoilt.share_significant > 10 * clean.share_significant


def test_a_donor_in_the_model_is_in_its_calibration(null_values: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    donor = np.tile(np.arange(4), 40)
    values = null_values + rng.normal(0, 10, (4, GENES))[donor]
    plain = null_calibration(null_values, **vehicles(), terms={"donor": donor})
    adjusted = null_calibration(values, **vehicles(), terms={"donor": donor})
    # Its differences take part in the mean expression only, and so in the trend of the prior.
    assert adjusted.share_below_0_05 == pytest.approx(plain.share_below_0_05, abs=0.005)
    without = null_calibration(values, **vehicles())
    assert without.share_below_0_001 < plain.share_below_0_001 / 2


def test_the_seed_decides_and_nothing_else(null_values: np.ndarray) -> None:
    first, again, other = (null_calibration(null_values, **vehicles(), seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.histogram, again.histogram)
    assert first.share_below_0_05 == again.share_below_0_05
    assert (first.histogram != other.histogram).any()
    threaded = null_calibration(null_values, **vehicles(), n_threads=2)
    np.testing.assert_array_equal(first.histogram, threaded.histogram)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 100),
)
def test_held_out_samples_leave_most_controls_on_every_plate(
    places: list[tuple[int, int]], size: int, seed: int
) -> None:
    plate, block = np.array(places).T
    null = _null_conditions(plate, block, size, seed)
    for one in set(places):
        here = (plate == one[0]) & (block == one[1])
        held = np.count_nonzero(null[here] >= 0)
        assert held <= max(1, here.sum() // 4)
        if held:
            assert here.sum() >= MIN_CONTROLS
    conditions = np.unique(null[null >= 0])
    assert conditions.tolist() == list(range(len(conditions)))
    for condition in conditions:
        members = null == condition
        assert len(np.unique(block[members])) == 1
        held = np.count_nonzero(null[block == block[members][0]] >= 0)
        assert members.sum() == min(size, held)


def test_samples_of_a_null_condition_stand_on_different_plates() -> None:
    plate = np.repeat(np.arange(6), 12)
    null = _null_conditions(plate, np.zeros(72), 3, 0)
    for condition in range(6):
        assert len(np.unique(plate[null == condition])) == 3


def test_conditions_that_are_larger_than_what_is_held_out_take_all_of_it() -> None:
    null = _null_conditions(np.repeat([1, 2], 4), np.zeros(8), 9, 0)
    assert np.count_nonzero(null == 0) == 2
    assert null.max() == 0


def test_no_more_conditions_than_needed_are_tested() -> None:
    plate = np.repeat(np.arange(100), 4)
    null = _null_conditions(plate, np.zeros(400), 1, 0)
    assert null.max() == MAX_CONDITIONS - 1
    assert np.count_nonzero(null >= 0) == MAX_CONDITIONS


@pytest.mark.parametrize(("n_control", "plate"), [(0, []), (2, [1, 1]), (6, [1, 1, 2, 2, 3, 3])])
@pytest.mark.parametrize("scale", ["log2", "counts"])
def test_too_few_controls_is_a_status(n_control: int, plate: list[int], scale: str) -> None:
    found = null_calibration(np.full((n_control, 5), 30), plate=plate, block=[24.0] * n_control, scale=scale)
    assert found.status == "too_few_controls"
    assert (found.n_control, found.n_tests, found.n_held_out) == (n_control, 0, 0)
    assert np.isnan(found.share_below_0_05)
    assert not found.histogram.size


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        ("counts", np.eye(8, 5, dtype=int) + np.eye(8, 5, -4, dtype=int)),
        ("log2", np.full((8, 5), 0.1)),
    ],
)
def test_nothing_to_test_is_a_status(scale: str, values: np.ndarray) -> None:
    found = null_calibration(values, plate=[1] * 8, block=[24.0] * 8, scale=scale)
    assert found.status == "no_tested_gene"
    assert np.isnan(found.inflation)
