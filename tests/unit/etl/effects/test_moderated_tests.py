"""Blocks of contrasts get the p-values and adjusted p-values of their parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from etl.effects.moderated_tests import VALUES_AT_A_TIME, ModeratedTests
from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.student_t import two_sided_p

N_GENES = 700


def study(n_contrasts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    df = np.full(N_GENES, 61.5)
    df[::20] = rng.uniform(4, 60, len(df[::20]))
    df[3], df[4] = np.inf, np.nan
    error = rng.uniform(0.1, 0.4, (n_contrasts, N_GENES))
    effect = error * rng.standard_t(60, error.shape)
    effect[:, :60] *= 12
    return df, effect, error


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_equal_their_steps(dtype) -> None:
    n_contrasts = 2 * VALUES_AT_A_TIME // N_GENES + 5
    df, effect, error = study(n_contrasts)
    effect, error = effect.astype(dtype), error.astype(dtype)
    p, adjusted = ModeratedTests(df).p_values(effect, error, dtype=dtype)
    expected = two_sided_p(effect.astype(np.float64) / error.astype(np.float64), df)
    assert p.dtype == adjusted.dtype == dtype
    tolerance = 1e-6 if dtype is np.float32 else 1e-11
    representable = np.isnan(expected) | (expected > np.finfo(dtype).tiny)
    np.testing.assert_allclose(p[representable], expected[representable], rtol=tolerance)
    np.testing.assert_allclose(adjusted, benjamini_hochberg(expected), rtol=tolerance, atol=1e-37)
    assert (np.isnan(p) == np.isnan(expected)).all()


def test_results_equal_limma(table) -> None:
    genes, tests = table("l1000_robust.genes"), table("l1000_robust.toptable")
    n_contrasts = tests["contrast"].n_unique()

    def block(column: str) -> np.ndarray:
        return tests[column].to_numpy().reshape(n_contrasts, -1)

    assert genes["df.total"].n_unique() > 10
    p, adjusted = ModeratedTests(genes["df.total"].to_numpy()).p_values(block("t"), np.ones(1))
    np.testing.assert_allclose(p, block("P.Value"), rtol=1e-11)
    np.testing.assert_allclose(adjusted, block("adj.P.Val"), rtol=1e-11)


def test_threads_share_one_instance_and_write_in_place() -> None:
    df, effect, error = study(400)
    tests = ModeratedTests(df)
    p, adjusted = np.empty(effect.shape), np.empty(effect.shape)

    def run(rows: np.ndarray) -> None:
        part = slice(rows[0], rows[-1] + 1)
        tests.p_values(effect[part], error[part], out=(p[part], adjusted[part]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, np.array_split(np.arange(400), 23)))
    whole, whole_adjusted = tests.p_values(effect, error)
    assert np.array_equal(p, whole, equal_nan=True)
    assert np.array_equal(adjusted, whole_adjusted, equal_nan=True)


def test_no_error_and_no_effect_is_no_test() -> None:
    effect = np.array([[0.0, 1.0, -2.0, 1.0, np.nan], [1.0, 1.0, 1.0, 1.0, 1.0]])
    error = np.array([[0.0, 0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, np.nan]])
    p, adjusted = ModeratedTests(np.full(5, 3.0)).p_values(effect, error)
    assert np.isnan(p[0]).tolist() == np.isnan(adjusted[0]).tolist() == [True, False, False, False, True]
    assert p[0, 1:3].tolist() == adjusted[0, 1:3].tolist() == [0.0, 0.0]
    assert adjusted[0, 3] == pytest.approx(p[0, 3])
    assert np.isnan(p[1]).tolist() == [False] * 4 + [True]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_empty_blocks(shape: tuple[int, int]) -> None:
    p, adjusted = ModeratedTests(np.full(shape[1], 5.0)).p_values(np.empty(shape), np.empty(shape))
    assert p.shape == adjusted.shape == shape


def test_shapes_that_do_not_match_are_refused() -> None:
    tests = ModeratedTests(np.full(3, 5.0))
    with pytest.raises(ValueError, match="contrasts x 3"):
        tests.p_values(np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="broadcast"):
        tests.p_values(np.ones((2, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="results are"):
        tests.p_values(np.ones((2, 3)), np.ones((2, 3)), out=(np.ones((2, 3)), np.ones((1, 3))))
