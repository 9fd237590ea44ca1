"""Effects equal those of limma and edgeR on the reference sets, joined by name."""

import numpy as np
import polars as pl
import pytest

from etl.effects.design import build_design
from etl.effects.estimate import EffectEstimates
from etl.effects.filtering import filter_by_expression, min_group_size
from etl.effects.linear_model import PlateModel
from etl.effects.normalization import log_counts_per_million, tmm_factors
from etl.effects.voom import fit_mean_variance_trend, precision_weights
from tests.unit.etl.effects.conftest import by_contrast, by_gene, largest_relative_difference

EXACT = 1e-12
"""Relative tolerance of everything before t: least squares, variances, prior."""
TESTS = 1e-10
"""Relative tolerance of t (where |t| > 1e-4), p and adjusted p."""

MODERATED = {
    "l1000_plain": ("l1000_Y", "l1000_meta", "log2", False),
    "l1000_trend": ("l1000_Y", "l1000_meta", "log2", True),
    "edge_infdf_plain": ("edge_infdf_Y", "l1000_meta", "log2", False),
    "drugseq_voom_exact_plain": ("drugseq_N", "drugseq_meta", "counts", False),
}


def compare_fit(table, name: str, genes: list[str], effects: EffectEstimates, columns: list[str]) -> None:
    expected = table(f"{name}.genes")
    joined = expected.join(
        by_gene(genes, effects), on="gene", suffix="_found", validate="1:1", maintain_order="left"
    )
    assert joined.height == expected.height == np.count_nonzero(effects.is_tested)
    assert (expected["df.residual"] == effects.residual_df).all()
    for column in columns:
        assert largest_relative_difference(joined[f"{column}_found"], joined[column]) < EXACT, column


def joined_tests(table, name: str, genes: list[str], effects: EffectEstimates) -> pl.DataFrame:
    expected = table(f"{name}.toptable")
    found = by_contrast(genes, effects)
    joined = expected.join(
        found, on=["contrast", "gene"], suffix="_found", validate="1:1", maintain_order="left"
    )
    assert joined.height == expected.height
    return joined


def compare_tests(joined: pl.DataFrame) -> None:
    assert (joined["logFC_found"] - joined["logFC"]).abs().max() < EXACT
    clear = joined.filter(pl.col("t").abs() > 1e-4)
    assert largest_relative_difference(clear["t_found"], clear["t"]) < TESTS
    for column in ("P.Value", "adj.P.Val"):
        assert largest_relative_difference(joined[f"{column}_found"], joined[column]) < TESTS, column


@pytest.mark.parametrize("name", MODERATED)
def test_fit_and_prior_equal_limma(table, estimated, name: str) -> None:
    genes, effects = estimated(*MODERATED[name])
    compare_fit(
        table, name, genes, effects, ["Amean", "sigma", "s2.prior", "df.prior", "s2.post", "df.total"]
    )


@pytest.mark.parametrize("name", MODERATED)
def test_moderated_tests_equal_limma(table, estimated, name: str) -> None:
    genes, effects = estimated(*MODERATED[name])
    joined = joined_tests(table, name, genes, effects)
    compare_tests(joined)
    assert largest_relative_difference(joined["stdev.unscaled_found"], joined["stdev.unscaled"]) < EXACT


def test_constant_variance_has_infinite_prior_df(estimated) -> None:
    _, effects = estimated(*MODERATED["edge_infdf_plain"])
    assert np.isinf(effects.prior_df).all()
    assert (effects.total_df == effects.residual_df * 120).all()


def test_unbalanced_plates_equal_limma(table, estimated) -> None:
    genes, effects = estimated("edge_unbal_Y", "edge_unbal_meta")
    compare_fit(table, "edge_unbal", genes, effects, ["Amean", "sigma"])
    joined = joined_tests(table, "edge_unbal", genes, effects)
    assert (joined["logFC_found"] - joined["logFC"]).abs().max() < EXACT
    assert largest_relative_difference(joined["stdev.unscaled_found"], joined["stdev.unscaled"]) < EXACT


def test_confounded_conditions_are_not_estimated_and_the_others_equal_limma(table, estimated) -> None:
    genes, effects = estimated("edge_discon_Y", "edge_discon_meta")
    compare_fit(
        table,
        "edge_discon",
        genes,
        effects,
        ["Amean", "sigma", "s2.prior", "df.prior", "s2.post", "df.total"],
    )

    on_lost_plate = set(table("edge_discon_meta").filter(plate="P02")["cond"].unique())
    confounded = {
        condition
        for condition, status in zip(effects.conditions.tolist(), effects.status, strict=True)
        if status == "confounded_with_plate"
    }
    assert confounded == on_lost_plate
    assert len(confounded) == 20

    joined = joined_tests(table, "edge_discon", genes, effects)
    compare_tests(joined.filter(status="estimable"))
    lost = joined.filter(pl.col("contrast").is_in(list(on_lost_plate)))
    assert lost.height > 0
    assert lost["logFC"].is_not_null().all(), "R reports them all the same"
    assert lost.select(
        pl.col("logFC_found", "t_found", "P.Value_found", "adj.P.Val_found").is_nan().all()
    ).row(0) == (
        True,
        True,
        True,
        True,
    )


def test_rank_of_the_disconnected_design_equals_r(table, scalar) -> None:
    meta = table("edge_discon_meta")
    design = build_design(
        meta["cond"].to_numpy(), meta["plate"].to_numpy(), (meta["cond"] == "DMSO").to_numpy()
    )
    assert design.rank == scalar("edge_discon", "rank")
    assert design.n_components == 2


@pytest.fixture(scope="module")
def drugseq(table):
    meta, counts = table("drugseq_meta"), table("drugseq_N")
    assert meta["id"].equals(counts["id"])
    design = build_design(
        meta["cond"].to_numpy(), meta["plate"].to_numpy(), (meta["cond"] == "DMSO").to_numpy()
    )
    return PlateModel(design), counts.drop("id")


def test_leverages_and_count_filter_equal_edger(table, scalar, drugseq) -> None:
    model, counts = drugseq
    assert model.leverages.max() == pytest.approx(scalar("drugseq", "hat.max"), rel=EXACT)
    assert min_group_size(model.leverages) == pytest.approx(scalar("drugseq", "MinSampleSize"), rel=EXACT)
    assert model.leverages.sum() == pytest.approx(model.design.rank, rel=EXACT)
    found = filter_by_expression(
        counts.to_numpy(), counts.sum_horizontal().to_numpy(), min_group_size(model.leverages)
    )
    expected = table("drugseq.filterByExpr")
    assert expected["gene"].to_list() == counts.columns
    assert found.tolist() == (expected["keep"] == 1).to_list()


def test_every_voom_step_equals_limma(table, drugseq) -> None:
    model, counts = drugseq
    kept = table("drugseq.filterByExpr").filter(keep=1)["gene"].to_list()
    counts = counts.select(kept)
    sizes = table("drugseq.normfactors")
    assert sizes["id"].equals(table("drugseq_meta")["id"])

    library = counts.sum_horizontal().to_numpy()
    assert library.tolist() == sizes["lib.size"].to_list()
    factors = tmm_factors(counts.to_numpy(), library)
    assert np.abs(factors - sizes["TMM"].to_numpy()).max() < 1e-14

    effective = library * factors
    values = log_counts_per_million(counts.to_numpy(), effective)
    expected = table("drugseq.voom_E")
    columns = [kept.index(gene) for gene in expected["id"]]
    ids = sizes["id"].to_list()
    assert np.abs(values[:, columns] - expected.select(ids).to_numpy().T).max() < EXACT

    mean = values.mean(axis=0)
    coefficients = model.fit(values.copy())
    sigma = np.sqrt(coefficients.residual_sum_of_squares / model.design.residual_df)
    points = table("drugseq.voom_xy")
    shift = np.mean(np.log2(effective + 1)) - np.log2(1e6)
    assert np.abs(mean + shift - points["sx"].to_numpy()).max() < EXACT
    assert np.abs(np.sqrt(sigma) - points["sy"].to_numpy()).max() < EXACT

    trend = fit_mean_variance_trend(mean, sigma, effective)
    line = table("drugseq.voom_line")
    assert np.abs(trend.at(line["x"].to_numpy()) - line["y"].to_numpy()).max() < EXACT

    weights = precision_weights(model.fitted(coefficients), effective, trend)
    expected = table("drugseq.voom_weights")
    columns = [kept.index(gene) for gene in expected["id"]]
    assert np.max(np.abs(weights[:, columns] / expected.select(ids).to_numpy().T - 1)) < EXACT

    weighted, _ = model.fit_weighted(values.copy(), weights)
    sigma = np.sqrt(weighted.residual_sum_of_squares / model.design.residual_df)
    fit = table("drugseq.lmfit")
    assert fit["gene"].to_list() == kept
    assert np.max(np.abs(sigma / fit["sigma"].to_numpy() - 1)) < EXACT
