"""Reference tables of differential expression, read once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from etl.effects.estimate import EffectEstimates, estimate_effects
from etl.effects.expression_tiles import CountTiles
from etl.expression.counts import SparseCounts

Table = Callable[[str], pl.DataFrame]


@pytest.fixture(scope="session")
def table(reference_dir: Path) -> Table:
    """Reference table by name."""

    @cache
    def read(name: str) -> pl.DataFrame:
        return pl.read_parquet(reference_dir / "differential_expression" / f"{name}.parquet")

    return read


@pytest.fixture(scope="session")
def scalar(table: Table) -> Callable[[str, str], float]:
    """Reference number by set and key."""

    def read(group: str, key: str) -> float:
        return table("scalars").filter(set=group, key=key, i=1)["value"].item()

    return read


@pytest.fixture(scope="session")
def estimated(table: Table) -> Callable[..., tuple[list[str], EffectEstimates]]:
    """Genes and our estimates of a reference input."""

    @cache
    def estimate(
        values: str,
        meta: str,
        n_genes: int | None = None,
        plates: tuple[str, ...] | None = None,
        left_out: tuple[int, ...] = (),
        **arguments: Any,
    ) -> tuple[list[str], EffectEstimates]:
        """Estimate on the first genes without some of them, and on the samples of some plates."""
        joined = table(meta).select("id", "plate", "cond").join(table(values), on="id", validate="1:1")
        if plates is not None:
            joined = joined.filter(pl.col("plate").is_in(plates))
        genes = joined.columns[3:][:n_genes]
        genes = [gene for position, gene in enumerate(genes) if position not in left_out]
        effects = estimate_effects(
            joined.select(genes).to_numpy(),
            condition=(
                (joined["cond"] + "_" + joined["id"]).to_numpy()
                if arguments.get("replicates") == "separate"
                else joined["cond"].to_numpy()
            ),
            plate=joined["plate"].to_numpy(),
            is_control=(joined["cond"] == "DMSO").to_numpy(),
            **{"scale": "log2"} | arguments,
        )
        return genes, effects

    return estimate


def log_counts(counts: np.ndarray, library: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """Log counts per million as a fit sees them, samples x genes."""
    by_gene = SparseCounts.from_matrix(counts).by_gene()
    tiles = CountTiles(by_gene, np.arange(len(library)), np.asarray(library, dtype=np.float64), prior)
    return tiles.tile(slice(0, tiles.n_genes)).T


def by_gene(genes: list[str], effects: EffectEstimates) -> pl.DataFrame:
    """Per-gene results under the names of the reference."""
    return pl.DataFrame(
        {
            "gene": genes,
            "Amean": effects.mean_expression,
            "sigma": effects.sigma,
            "df.residual": effects.residual_df_of_gene,
            "s2.prior": effects.prior_variance,
            "df.prior": effects.prior_df,
            "s2.post": effects.posterior_variance,
            "df.total": effects.total_df,
        }
    ).fill_nan(None)


def by_contrast(genes: list[str], effects: EffectEstimates) -> pl.DataFrame:
    """Results of every condition and gene under the names of the reference."""
    n_conditions, n_genes = effects.log2_fold_change.shape
    return pl.DataFrame(
        {
            "contrast": np.repeat(effects.conditions, n_genes),
            "gene": np.tile(genes, n_conditions),
            "status": np.repeat([str(status) for status in effects.status], n_genes),
            "logFC": effects.log2_fold_change.ravel(),
            "t": effects.t_statistic.ravel(),
            "P.Value": effects.p_value.ravel(),
            "adj.P.Val": effects.p_value_adjusted.ravel(),
            "adj.P.across": effects.p_value_adjusted_overall.ravel(),
            "B": effects.log_odds.ravel(),
            "stdev.unscaled": (effects.standard_error / np.sqrt(effects.posterior_variance)).ravel(),
        }
    ).fill_nan(None)


def largest_relative_difference(found: pl.Series, expected: pl.Series) -> float:
    """Largest |found - expected| / |expected|; equal infinities and gaps on both sides do not differ."""
    assert (found.is_null() == expected.is_null()).all(), "gaps in different places"
    a, b = found.drop_nulls().to_numpy(), expected.drop_nulls().to_numpy()
    differs = a != b
    assert np.isfinite(b[differs]).all()
    if not differs.any():
        return 0.0
    with np.errstate(divide="ignore"):
        return float(np.max(np.abs(a[differs] - b[differs]) / np.abs(b[differs])))
