"""Benjamini-Hochberg against SciPy, row by row, and over a stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from etl.effects.multiple_testing import LONGEST_FAMILY, SignificanceCutoff, adjust_rows, benjamini_hochberg

ELEMENTS = st.one_of(st.floats(0, 1), st.floats(0, 0.05), st.sampled_from([np.nan, 0.05, 0.0, -0.0, 1.0]))
P_VALUES = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=ELEMENTS)


def assert_adjusted_by_row(p: np.ndarray) -> None:
    adjusted = benjamini_hochberg(p)
    for row, found in zip(p, adjusted, strict=True):
        known = ~np.isnan(row)
        assert np.isnan(found[~known]).all()
        if known.any():
            np.testing.assert_allclose(found[known], stats.false_discovery_control(row[known]), rtol=1e-12)


@given(P_VALUES)
def test_every_row_is_adjusted_on_its_own_without_its_gaps(p: np.ndarray) -> None:
    assert_adjusted_by_row(p)


@pytest.mark.parametrize(
    ("low", "high", "exponent"),
    [
        pytest.param(0.0, 1.0, 1.0, id="no effects"),
        pytest.param(0.0, 1.0, 30.0, id="effects everywhere"),
        pytest.param(0.3, 0.3 + 1e-12, 1.0, id="all in one place"),
        pytest.param(1 - 1e-12, 1.0, 1.0, id="all near 1"),
        pytest.param(0.0, 1e-300, 1.0, id="all near 0"),
        pytest.param(0.0, 1e-3, 80.0, id="over all magnitudes"),
    ],
)
def test_rows_as_long_as_a_transcriptome(low: float, high: float, exponent: float) -> None:
    rng = np.random.default_rng(3)
    p = low + (high - low) * rng.random((3, 12_000)) ** exponent
    assert_adjusted_by_row(p)
    p[:, ::3] = p[:, [0]]
    p[1, ::7] = np.nan
    assert_adjusted_by_row(p)


@pytest.mark.parametrize("descending", [False, True])
def test_rows_that_are_sorted_already(descending: bool) -> None:
    p = np.linspace(0.2, 0.2 + 1e-10, 5_000)[None]
    assert_adjusted_by_row(p[:, ::-1] if descending else p)


def test_order_of_p_is_kept() -> None:
    p = np.random.default_rng(1).random(20_000) ** 3
    adjusted = benjamini_hochberg(p)
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= p).all()


def test_no_p_value_at_all() -> None:
    assert benjamini_hochberg(np.empty((2, 0))).shape == (2, 0)
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()


def test_input_is_not_changed() -> None:
    p = np.array([0.04, 0.01])
    p.flags.writeable = False
    assert benjamini_hochberg(p).tolist() == [0.04, 0.02]


def test_what_is_no_probability_stays_within_memory() -> None:
    p = np.array([np.inf, -np.inf, -3.0, 1e300, np.nan, 0.5, 2.0])
    assert benjamini_hochberg(p).shape == p.shape


def test_families_too_long_for_positions_are_refused() -> None:
    endless = np.broadcast_to(0.5, (1, LONGEST_FAMILY + 1))
    with pytest.raises(ValueError, match="in one family"):
        adjust_rows(endless, endless)


@given(
    P_VALUES, st.sampled_from([0.01, 0.05, 0.3]), st.integers(1, 5), st.sampled_from([np.float32, np.float64])
)
def test_cutoff_of_a_stream_gives_the_set_of_the_whole(p, alpha: float, n_parts: int, dtype) -> None:
    p = p.astype(dtype)
    cutoff = SignificanceCutoff(alpha)
    for part in np.array_split(p.ravel(), n_parts):
        cutoff.add(part)
    significant = benjamini_hochberg(p.ravel()) <= alpha
    assert cutoff.n_tests == np.count_nonzero(~np.isnan(p))
    assert ((p.ravel() <= cutoff.value) == significant).all()
    assert cutoff.n_significant == significant.sum()


def test_parts_of_a_family_are_joined() -> None:
    p = np.random.default_rng(0).random(5_000) ** 4
    whole = SignificanceCutoff(0.05)
    whole.add(p)
    joined = SignificanceCutoff(0.05)
    for part in np.array_split(p, 3):
        elsewhere = SignificanceCutoff(0.05)
        elsewhere.add(part)
        joined.include(elsewhere)
    assert (joined.value, joined.n_tests) == (whole.value, 5_000)
    assert whole.n_significant > 100
    with pytest.raises(ValueError, match="one alpha"):
        whole.include(SignificanceCutoff(0.1))


def test_cutoff_can_be_asked_on_the_way() -> None:
    cutoff = SignificanceCutoff(0.05)
    assert (cutoff.value, cutoff.n_tests, cutoff.n_significant) == (-1.0, 0, 0)
    cutoff.add(np.array([0.5, 0.03]))
    assert cutoff.value == -1.0
    cutoff.add(np.array([0.001]))
    assert (cutoff.value, cutoff.n_significant) == (0.03, 2)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan])
def test_impossible_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SignificanceCutoff(alpha)
