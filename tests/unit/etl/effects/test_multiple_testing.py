"""Benjamini-Hochberg against SciPy, row by row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from etl.effects.multiple_testing import benjamini_hochberg

P_VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.one_of(st.floats(0, 1), st.just(np.nan), st.just(0.05)),
)


@given(P_VALUES)
def test_every_row_is_adjusted_on_its_own_without_its_gaps(p: np.ndarray) -> None:
    adjusted = benjamini_hochberg(p)
    for row, found in zip(p, adjusted, strict=True):
        known = ~np.isnan(row)
        assert np.isnan(found[~known]).all()
        if known.any():
            np.testing.assert_allclose(found[known], stats.false_discovery_control(row[known]), rtol=1e-12)


def test_no_p_value_at_all() -> None:
    assert benjamini_hochberg(np.empty((2, 0))).shape == (2, 0)
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()
