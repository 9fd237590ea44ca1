"""Library factors and log counts per million against edgeR, trimming with ties, and extremes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from etl.effects import normalization
from etl.effects.normalization import normalization_factors
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts
from tests.unit.etl.effects.conftest import log_counts

EDGER = {
    "tmm": ("TMM", 1e-14),
    "rle": ("RLE", 1e-13),
    "upper_quartile": ("upperquartile", 1e-14),
    # How edgeR weighs and ranks singletons is not published in full.
    "tmmwsp": ("TMMwsp", 3e-5),
}


@pytest.fixture(scope="module")
def drugseq(table):
    counts = table("drugseq_N").drop("id")
    expected = table("drugseq.filterByExpr")
    assert expected["gene"].to_list() == counts.columns
    return SparseCounts.from_matrix(counts.to_numpy()), (expected["keep"] == 1).to_numpy()


@pytest.mark.parametrize("method", EDGER)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_factors_equal_edger(table, drugseq, method: str, n_threads: int) -> None:
    counts, keep = drugseq
    expected = table("drugseq.normfactors")
    library = counts.library_sizes(keep)
    assert library.tolist() == expected["lib.size"].to_list()
    found = normalization_factors(counts, library, keep, method=method, n_threads=n_threads)
    column, tolerance = EDGER[method]
    assert np.abs(found / expected[column].to_numpy() - 1).max() < tolerance


def test_upper_quartiles_equal_edger(table, drugseq) -> None:
    counts, keep = drugseq
    upper = normalization._upper_quartiles(counts, keep, 1) / counts.library_sizes(keep)
    assert upper == pytest.approx(table("drugseq.normfactors")["f75"].to_numpy(), rel=1e-14)


def test_log_counts_with_a_prior_equal_edger(table, drugseq) -> None:
    counts, _ = drugseq
    expected, sizes = table("drugseq.logcpm_prior2"), table("drugseq.normfactors")
    genes = table("drugseq_N").columns[1:]
    columns = [genes.index(gene) for gene in expected["id"]]
    values = counts.to_csr().toarray()[:, columns]
    library = (sizes["lib.size"] * sizes["TMM"]).to_numpy()
    wanted = expected.select(sizes["id"].to_list()).to_numpy().T
    prior = 2.0 * library / library.mean()
    assert np.abs(log_counts(values, library, prior) - wanted).max() < 1e-13


def expected_tmm(counts: np.ndarray, library: np.ndarray, reference: int) -> np.ndarray:
    """TMM as its formulas read, with ranks by a full sort."""
    factors = []
    r, library_r = counts[reference], library[reference]
    for y, n in zip(counts, library, strict=True):
        both = (y > 0) & (r > 0)
        a, b = y[both] / n, r[both] / library_r
        m, mean = np.log2(a / b), (np.log2(a) + np.log2(b)) / 2
        if not len(m) or np.abs(m).max() < 1e-6:
            factors.append(1.0)
            continue
        kept = np.ones(len(m), dtype=bool)
        for values, share in ((m, 0.3), (mean, 0.05)):
            low = int(len(m) * share) + 1
            rank = stats.rankdata(values)
            kept &= (rank >= low) & (rank <= len(m) + 1 - low)
        weight = 1 / ((n - y[both]) / (n * y[both]) + (library_r - r[both]) / (library_r * r[both]))
        factors.append(2 ** (weight[kept] @ m[kept] / weight[kept].sum()) if kept.any() else 1.0)
    return np.array(factors) / np.exp(np.log(factors).mean())


@given(hnp.arrays(np.int64, st.tuples(st.just(4), st.integers(1, 60)), elements=st.integers(0, 5)))
@settings(max_examples=300)
def test_trimming_without_a_sort_equals_trimming_by_average_rank(counts: np.ndarray) -> None:
    # One gene apart keeps libraries above zero and makes the upper quartile no guide to the reference.
    counts = np.column_stack([counts, [1000, 900, 1200, 800]])
    library = counts.sum(axis=1).astype(float)
    found = normalization_factors(counts, library)
    assert any(np.allclose(found, expected_tmm(counts, library, r), rtol=1e-12) for r in range(4))


@given(
    hnp.arrays(np.float64, st.integers(1, 80), elements=st.sampled_from([-40.0, -1.5, -1.0, 0.0, 0.25, 9.0])),
    st.sampled_from([0.05, 0.3]),
)
def test_limits_hold_exactly_the_values_of_inner_average_ranks(values: np.ndarray, share: float) -> None:
    low = int(len(values) * share) + 1
    rank = stats.rankdata(values)
    least, most = normalization._limits(values, values.min(), values.max(), share, np.empty((2, len(values))))
    expected = (rank >= low) & (rank <= len(values) + 1 - low)
    assert ((values >= least) & (values <= most)).tolist() == expected.tolist()


@given(
    hnp.arrays(
        np.int64,
        st.tuples(st.integers(1, 5), st.integers(1, 30)),
        elements=st.sampled_from([0, 1, 2, 3, 2046, 2047, 2048, 90_000]),
    ),
    st.data(),
)
def test_upper_quartiles_count_zeros_and_reach_large_counts(counts: np.ndarray, data: st.DataObject) -> None:
    keep = data.draw(hnp.arrays(bool, counts.shape[1]).filter(np.any))
    found = normalization._upper_quartiles(SparseCounts.from_matrix(counts), keep, 2)
    assert found == pytest.approx(np.quantile(counts[:, keep], 0.75, axis=1))


def test_kept_genes_give_the_factors_of_a_matrix_without_the_others() -> None:
    generator = np.random.default_rng(1)
    counts, keep = generator.poisson(4.0, (8, 300)), generator.random(300) < 0.6
    library = counts[:, keep].sum(axis=1).astype(float)
    for method in EDGER:
        expected = normalization_factors(counts[:, keep], library, method=method)
        for values in (counts, sparse.csr_array(counts), SparseCounts.from_matrix(counts)):
            assert normalization_factors(values, library, keep, method=method).tolist() == expected.tolist()
        assert np.prod(expected) == pytest.approx(1.0)
        assert expected.max() > 1.001


def test_the_order_of_samples_does_not_choose_the_reference() -> None:
    counts = np.random.default_rng(5).poisson(0.4, (9, 200))
    library = counts.sum(axis=1).astype(float)
    forward = normalization_factors(counts, library)
    backward = normalization_factors(counts[::-1], library[::-1])
    assert backward[::-1] == pytest.approx(forward, rel=1e-14)


@pytest.mark.parametrize("method", ["tmm", "tmmwsp"])
def test_mostly_empty_libraries_do_not_fail(method: str) -> None:
    counts = np.zeros((5, 100))
    counts[np.arange(5), np.arange(5)] = 7
    assert normalization_factors(counts, counts.sum(axis=1), method=method).tolist() == [1.0] * 5


def test_none_leaves_libraries_as_they_are() -> None:
    counts = np.array([[1, 2], [30, 4]])
    assert normalization_factors(counts, counts.sum(axis=1), method="none").tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("method", "message"),
    [("rle", "no gene has counts in every sample"), ("upper_quartile", "2 samples is 0.*sample 0")],
)
def test_methods_that_need_counts_say_so(method: str, message: str) -> None:
    counts = np.array([[5, 0, 0, 0, 0], [0, 5, 0, 0, 0], [0, 5, 5, 5, 5]])
    with pytest.raises(BadInputError, match=message):
        normalization_factors(counts, counts.sum(axis=1), method=method)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="tmm, tmmwsp, rle, upper_quartile, none, not 'median'"):
        normalization_factors(np.ones((2, 2)), np.full(2, 2.0), method="median")


def test_where_most_upper_quartiles_are_zero_the_reference_has_the_most_root_counts() -> None:
    rng = np.random.default_rng(2)
    counts = np.zeros((9, 40), dtype=np.int64)
    counts[:, :8] = rng.poisson(4, (9, 8))
    counts[0, :3] += 400  # the largest library, on three genes
    counts[1] = rng.poisson(9, 40)  # the broadest
    library = counts.sum(axis=1).astype(float)
    found = normalization_factors(counts, library)
    assert normalization._most_root_counts(SparseCounts.from_matrix(counts), np.ones(40, dtype=bool)) == 1
    # Relative to sample 1: its own factor is 1 before all are scaled to a product of 1.
    order = [1, 0, *range(2, 9)]
    np.testing.assert_allclose(normalization_factors(counts[order], library[order]), found[order], rtol=1e-12)
