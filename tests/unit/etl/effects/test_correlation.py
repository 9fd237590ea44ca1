"""Correlation of samples within blocks, and generalized least squares, against limma and against matrices."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.effects.correlation import (
    CorrelatedFit,
    consensus_correlation,
    fit_correlated,
    whiten,
)
from etl.errors import BadInputError
from tests.unit.etl.effects.conftest import largest_relative_difference

EXACT = 1e-12
"""Both sides iterate to the maximum of the same likelihood, so that correlations agree like the rest."""


@pytest.fixture(scope="module")
def plates(table):
    meta = table("l1000_meta")
    values = meta.select("id").join(table("l1000_Y"), on="id", maintain_order="left").drop("id")
    genes = values.columns[:120]
    conditions = meta["cond"].unique().sort().to_list()
    design = np.stack([(meta["cond"] == condition).to_numpy() for condition in conditions], axis=1)
    return genes, values.select(genes).to_numpy(), conditions, design.astype(float), meta["plate"].to_numpy()


@pytest.fixture(scope="module")
def fitted(plates, scalar) -> CorrelatedFit:
    _, values, _, design, block = plates
    return fit_correlated(values, design, block, scalar("l1000_dupcor", "consensus"))


def test_consensus_correlation_equals_limma(table, scalar, plates) -> None:
    _, values, _, design, block = plates
    found = consensus_correlation(values, design, block)
    expected = (
        table("scalars").filter(set="l1000_dupcor", key="atanh.correlations").sort("i")["value"].to_numpy()
    )
    assert np.abs(np.arctanh(found.by_gene) - expected).max() < EXACT
    assert found.consensus == pytest.approx(scalar("l1000_dupcor", "consensus"), rel=EXACT)


def test_correlated_fit_equals_limma(table, plates, fitted) -> None:
    genes, values, _, _, _ = plates
    expected = table("l1000_dupcor.genes")
    assert expected["gene"].to_list() == genes
    assert (expected["df.residual"] == fitted.residual_df).all()
    assert largest_relative_difference(pl.Series(fitted.sigma), expected["sigma"]) < EXACT
    assert largest_relative_difference(pl.Series(values.mean(axis=0)), expected["Amean"]) < EXACT


def test_contrasts_of_the_correlated_fit_equal_limma(table, plates, fitted) -> None:
    genes, _, conditions, _, _ = plates
    expected = table("l1000_dupcor.toptable")
    contrasts = expected["contrast"].unique(maintain_order=True).to_list()
    weights = np.zeros((len(contrasts), len(conditions)))
    weights[np.arange(len(contrasts)), [conditions.index(contrast) for contrast in contrasts]] = 1.0
    weights[:, conditions.index("DMSO")] = -1.0
    effects, unscaled_sd = fitted.contrasts(weights)
    found = pl.DataFrame(
        {
            "contrast": np.repeat(contrasts, len(genes)),
            "gene": np.tile(genes, len(contrasts)),
            "effect": effects.ravel(),
            "unscaled_sd": np.repeat(unscaled_sd, len(genes)),
        }
    )
    joined = expected.join(found, on=["contrast", "gene"], validate="1:1")
    assert joined.height == expected.height == len(contrasts) * len(genes)
    assert (joined["effect"] - joined["logFC"]).abs().max() < EXACT
    assert largest_relative_difference(joined["unscaled_sd"], joined["stdev.unscaled"]) < EXACT


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.floats(0.0, 0.95), st.integers(0, 2**31))
def test_whitening_is_a_root_of_the_inverse_covariance(
    block: list[int], correlation: float, seed: int
) -> None:
    labels = np.array(block)
    covariance = np.where(labels[:, None] == labels, correlation, 0.0)
    np.fill_diagonal(covariance, 1.0)
    values = np.random.default_rng(seed).normal(size=(len(block), 2))
    whitened = whiten(values, labels, correlation)
    expected = values.T @ np.linalg.solve(covariance, values)
    np.testing.assert_allclose(whitened.T @ whitened, expected, rtol=1e-9, atol=1e-9)


def test_a_known_correlation_is_recovered() -> None:
    generator = np.random.default_rng(11)
    block = np.repeat(np.arange(60), 4)
    design = np.eye(3)[np.arange(240) % 3]
    values = (
        np.sqrt(0.4) * generator.normal(size=(60, 400))[block]
        + np.sqrt(0.6) * generator.normal(size=(240, 400))
        + design @ generator.normal(size=(3, 400))
    )
    found = consensus_correlation(values, design, block)
    # 400 genes, each with a standard error of about 0.06.
    assert found.consensus == pytest.approx(0.4, abs=0.015)


def test_correlations_stop_before_the_covariance_is_singular() -> None:
    block = np.repeat(np.arange(5), 2)
    mean = np.repeat(np.arange(5.0), 2)
    opposite = np.tile([1.0, -1.0], 5)
    values = np.stack([mean + 1e-9 * opposite, opposite + 1e-9 * mean], axis=1)
    found = consensus_correlation(values, np.ones((10, 1)), block)
    assert found.by_gene == pytest.approx([0.99, -0.99])


def test_a_constant_gene_has_no_correlation_and_no_say() -> None:
    values = np.random.default_rng(2).normal(size=(12, 5))
    block = np.repeat(np.arange(4), 3)
    alone = consensus_correlation(values, np.ones((12, 1)), block)
    beside = consensus_correlation(np.column_stack([values, np.full(12, 7.3)]), np.ones((12, 1)), block)
    assert np.isnan(beside.by_gene).tolist() == [False] * 5 + [True]
    assert beside.consensus == alone.consensus


@pytest.mark.parametrize(
    ("design", "block", "message"),
    [
        (np.ones((4, 1)), [1, 2, 3, 4], "no two samples share a block"),
        (np.ones((4, 2)), [1, 1, 2, 2], "2 columns but only rank 1"),
        (np.eye(4), [1, 1, 2, 2], "leave no residual"),
        (np.eye(2)[[0, 0, 1, 1]], [1, 1, 2, 2], "tells all blocks apart"),
        (np.ones((4, 1)), [1, 1, 2], "block has shape"),
        (np.ones((3, 1)), [1, 1, 2, 2], "the design has shape"),
    ],
)
def test_what_has_no_correlation_is_an_error(design: np.ndarray, block: list[int], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        consensus_correlation(np.arange(8.0).reshape(4, 2) ** 2, design, block)


def test_constant_genes_only_are_an_error() -> None:
    with pytest.raises(BadInputError, match="no gene varies"):
        consensus_correlation(np.full((4, 2), 0.1), np.ones((4, 1)), [1, 1, 2, 2])


@pytest.mark.parametrize("correlation", [1.0, -0.5, np.nan])
def test_an_impossible_correlation_is_an_error(correlation: float) -> None:
    with pytest.raises(BadInputError, match="cannot have the correlation"):
        whiten(np.ones((3, 1)), ["a", "a", "a"], correlation)
