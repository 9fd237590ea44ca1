"""Effects equal those of limma and edgeR on the reference sets, joined by name."""

import numpy as np
import polars as pl
import pytest

from etl.effects.design import build_design
from etl.effects.estimate import EffectEstimates
from etl.effects.expression_tiles import DenseTiles
from etl.effects.filtering import filter_by_expression, min_group_size
from etl.effects.linear_model import LinearModel
from etl.effects.normal_equations import reduce
from etl.effects.normalization import normalization_factors
from etl.effects.voom import fit_mean_variance_trend, library_shift, precision, precision_curve
from tests.unit.etl.effects.conftest import by_contrast, by_gene, largest_relative_difference, log_counts

EXACT = 1e-12
"""Relative tolerance of everything before t: least squares, variances, prior."""
TESTS = 1e-10
"""Relative tolerance of t (where |t| > 1e-4), p and adjusted p; absolute and relative of log odds."""
LIKELIHOOD = 1e-10
"""Relative tolerance of a prior that is the flat maximum of a likelihood: unequal residual df."""

L1000 = {"values": "l1000_Y", "meta": "l1000_meta"}
DRUGSEQ = {"values": "drugseq_N", "meta": "drugseq_meta", "scale": "counts"}
GAPS = {
    "values": "edge_na_Y",
    "meta": "l1000_meta",
    "missing_values": "allow",
    "standard_error": "limma",
}
PLAIN = {"trend": False, "robust": False}

SETS = {
    "l1000_plain": L1000 | PLAIN,
    "l1000_trend": L1000 | {"trend": True, "robust": False},
    "l1000_robust": L1000 | {"trend": False, "robust": True},
    "l1000_trend_robust": L1000,
    "l1000_separate": L1000 | {"n_genes": 120, "replicates": "separate"},
    "l1000_oneplate": L1000 | {"n_genes": 120, "plates": ("P00",)},
    "edge_unbal": {"values": "edge_unbal_Y", "meta": "edge_unbal_meta"},
    "edge_discon": {"values": "edge_discon_Y", "meta": "edge_discon_meta"} | PLAIN,
    "edge_infdf_plain": {"values": "edge_infdf_Y", "meta": "l1000_meta"} | PLAIN,
    "edge_infdf_trend_robust": {"values": "edge_infdf_Y", "meta": "l1000_meta"},
    "edge_zero_dropped_robust": {
        "values": "edge_zero_Y",
        "meta": "l1000_meta",
        "trend": False,
        "left_out": (3, 4),
    },
    "edge_na_plain_new": GAPS | PLAIN | {"left_out": (5, 6)},
    "edge_na_trend_robust_new": GAPS | {"left_out": (5, 6)},
    "edge_na_allgenes_plain_default": GAPS | PLAIN,
    "drugseq_voom_exact_plain": DRUGSEQ | {"robust": False},
    "drugseq_voom_exact_robust": DRUGSEQ,
    "drugseq_voom_ref_plain": DRUGSEQ | {"robust": False, "standard_error": "limma"},
    "drugseq_voom_ref_robust": DRUGSEQ | {"standard_error": "limma"},
    "drugseq_limmatrend": DRUGSEQ | {"counts_method": "trend", "robust": False},
    "drugseq_separate_robust": DRUGSEQ | {"replicates": "separate", "standard_error": "limma"},
}
"""How each set was made; defaults are log2 values, trend and robust prior, exact standard errors."""

OVERALL_DIFFERS = {"edge_discon", "edge_na_allgenes_plain_default"}
"""R also tests confounded contrasts there, so that its family of all tests is larger."""


@pytest.mark.parametrize("name", sorted(set(SETS) - {"drugseq_separate_robust"}))
def test_fit_and_prior_equal_limma(table, estimated, name: str) -> None:
    genes, effects = estimated(**SETS[name])
    expected = table(f"{name}.genes").with_columns(pl.col(pl.Float64).fill_nan(None))
    joined = expected.join(
        by_gene(genes, effects), on="gene", suffix="_found", validate="1:1", maintain_order="left"
    )
    assert joined.height == expected.height
    if SETS[name].get("scale") == "counts":
        assert joined.height == np.count_nonzero(effects.is_tested)
    for column in ("Amean", "sigma", "df.residual", "s2.prior", "df.prior", "s2.post", "df.total"):
        tolerance = LIKELIHOOD if "edge_na" in name else EXACT
        found = largest_relative_difference(joined[f"{column}_found"], joined[column])
        assert found < tolerance, column


@pytest.mark.parametrize("name", sorted(SETS))
def test_moderated_tests_equal_limma(table, estimated, name: str) -> None:
    genes, effects = estimated(**SETS[name])
    joined = joined_tests(table, name, genes, effects).filter(status="estimable")
    assert joined.height > 500
    assert (joined["logFC_found"] - joined["logFC"]).abs().max() < EXACT
    scaled = (joined["B_found"] - joined["B"]).abs() / (1 + joined["B"].abs())
    assert (joined["B_found"].is_null() == joined["B"].is_null()).all()
    assert scaled.max() < TESTS
    clear = joined.filter(pl.col("t").abs() > 1e-4)
    assert largest_relative_difference(clear["t_found"], clear["t"]) < TESTS
    columns = {"P.Value", "adj.P.Val", "stdev.unscaled"}
    if "adj.P.across_found" in joined.columns and name not in OVERALL_DIFFERS:
        columns.add("adj.P.across")
    for column in columns:
        tolerance = EXACT if column == "stdev.unscaled" else TESTS
        assert largest_relative_difference(joined[f"{column}_found"], joined[column]) < tolerance, column


def joined_tests(table, name: str, genes: list[str], effects: EffectEstimates) -> pl.DataFrame:
    expected = table(f"{name}.toptable").with_columns(pl.col(pl.Float64).fill_nan(None))
    found = by_contrast(genes, effects)
    joined = expected.join(
        found, on=["contrast", "gene"], suffix="_found", validate="1:1", maintain_order="left"
    )
    assert joined.height == expected.height
    return joined


def test_constant_variance_has_infinite_prior_df(estimated) -> None:
    _, effects = estimated(**SETS["edge_infdf_plain"])
    assert np.isinf(effects.prior_df).all()
    assert (effects.total_df == effects.residual_df * 120).all()


def test_confounded_conditions_are_not_estimated_though_r_reports_them(table, estimated) -> None:
    genes, effects = estimated(**SETS["edge_discon"])
    on_lost_plate = set(table("edge_discon_meta").filter(plate="P02")["cond"].unique())
    confounded = {
        condition
        for condition, status in zip(effects.conditions.tolist(), effects.status, strict=True)
        if status == "confounded_with_plate"
    }
    assert confounded == on_lost_plate
    assert len(confounded) == 20
    joined = joined_tests(table, "edge_discon", genes, effects)
    lost = joined.filter(pl.col("contrast").is_in(list(on_lost_plate)))
    assert lost.height > 0
    assert lost["logFC"].is_not_null().all(), "R reports them all the same"
    for column in ("logFC_found", "t_found", "P.Value_found", "adj.P.Val_found", "B_found"):
        assert lost[column].is_null().all(), column


def test_rank_of_the_disconnected_design_equals_r(table, scalar) -> None:
    meta = table("edge_discon_meta")
    design = build_design(
        meta["cond"].to_numpy(), meta["plate"].to_numpy(), (meta["cond"] == "DMSO").to_numpy()
    )
    assert reduce(design).rank == scalar("edge_discon", "rank")
    assert design.n_components == 2


@pytest.fixture(scope="module")
def drugseq(table):
    meta, counts = table("drugseq_meta"), table("drugseq_N")
    assert meta["id"].equals(counts["id"])
    design = build_design(
        meta["cond"].to_numpy(), meta["plate"].to_numpy(), (meta["cond"] == "DMSO").to_numpy()
    )
    return reduce(design), counts.drop("id")


def test_leverages_and_count_filter_equal_edger(table, scalar, drugseq) -> None:
    equations, counts = drugseq
    leverages = equations.leverages()
    assert leverages.max() == pytest.approx(scalar("drugseq", "hat.max"), rel=EXACT)
    assert min_group_size(leverages) == pytest.approx(scalar("drugseq", "MinSampleSize"), rel=EXACT)
    assert leverages.sum() == pytest.approx(equations.rank, rel=EXACT)
    found = filter_by_expression(
        counts.to_numpy(), counts.sum_horizontal().to_numpy(), min_group_size(leverages)
    )
    expected = table("drugseq.filterByExpr")
    assert expected["gene"].to_list() == counts.columns
    assert found.tolist() == (expected["keep"] == 1).to_list()


def test_every_voom_step_equals_limma(table, drugseq) -> None:
    equations, counts = drugseq
    kept = table("drugseq.filterByExpr").filter(keep=1)["gene"].to_list()
    counts = counts.select(kept)
    sizes = table("drugseq.normfactors")
    assert sizes["id"].equals(table("drugseq_meta")["id"])

    library = counts.sum_horizontal().to_numpy()
    assert library.tolist() == sizes["lib.size"].to_list()
    factors = normalization_factors(counts.to_numpy(), library)
    assert np.abs(factors - sizes["TMM"].to_numpy()).max() < 1e-14

    effective = library * factors
    values = log_counts(counts.to_numpy(), effective)
    expected = table("drugseq.voom_E")
    columns = [kept.index(gene) for gene in expected["id"]]
    ids = sizes["id"].to_list()
    assert np.abs(values[:, columns] - expected.select(ids).to_numpy().T).max() < EXACT

    # With every sample as a comparison of its own condition, differences give the fitted values.
    tiles, order = DenseTiles(values, equations.order), equations.order
    fitted = LinearModel(equations).fit(tiles)
    sigma = np.sqrt(fitted.residual_sum_of_squares / equations.residual_df)
    points = table("drugseq.voom_xy")
    shift = library_shift(effective)
    assert np.abs(fitted.mean + np.mean(shift) - points["sx"].to_numpy()).max() < EXACT
    assert np.abs(np.sqrt(sigma) - points["sy"].to_numpy()).max() < EXACT

    trend = fit_mean_variance_trend(fitted.mean, sigma, shift)
    line = table("drugseq.voom_line")
    assert np.abs(trend.at(line["x"].to_numpy()) - line["y"].to_numpy()).max() < EXACT

    curve = precision_curve(trend)
    matrix = np.zeros((len(order), equations.design.n_conditions + equations.design.n_columns))
    matrix[np.arange(len(order)), equations.design.condition] = 1
    matrix[np.arange(len(order)), equations.design.n_conditions + equations.design.plate] = 1
    expected_values = matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0]
    weights = np.array(
        [[precision(x, curve) for x in row] for row in expected_values[:, columns] + shift[:, None]]
    )
    expected = table("drugseq.voom_weights").select(ids).to_numpy().T
    assert np.max(np.abs(weights / expected - 1)) < EXACT

    weighted = LinearModel(equations).fit_with_precision(tiles, shift[order], curve)
    sigma = np.sqrt(weighted.residual_sum_of_squares / equations.residual_df)
    fit = table("drugseq.lmfit")
    assert fit["gene"].to_list() == kept
    assert np.max(np.abs(sigma / fit["sigma"].to_numpy() - 1)) < EXACT


def test_the_fit_of_separate_replicates_on_counts_equals_limma(table, estimated) -> None:
    genes, effects = estimated(**SETS["drugseq_separate_robust"])
    expected = table("drugseq_separate.lmfit")
    found = by_gene(genes, effects).filter(pl.col("sigma").is_not_null())
    joined = expected.join(found, on="gene", suffix="_found", validate="1:1", maintain_order="left")
    assert joined.height == found.height == expected.height
    for column in ("Amean", "sigma", "df.residual"):
        assert largest_relative_difference(joined[f"{column}_found"], joined[column]) < EXACT, column


def test_limmas_standard_errors_depend_on_the_plate_order_and_exact_ones_do_not(estimated, table) -> None:
    meta, counts = table("drugseq_meta"), table("drugseq_N")
    from etl.effects.estimate import estimate_effects

    def estimate(form: str, first: str) -> EffectEstimates:
        plate = meta["plate"].replace({first: f" {first}"}).to_numpy()
        return estimate_effects(
            counts.drop("id").to_numpy(),
            condition=meta["cond"].to_numpy(),
            plate=plate,
            is_control=(meta["cond"] == "DMSO").to_numpy(),
            scale="counts",
            standard_error=form,
        )

    plates = sorted(meta["plate"].unique())
    exact = [estimate("exact", plate) for plate in (plates[0], plates[-1])]
    limma = [estimate("limma", plate) for plate in (plates[0], plates[-1])]
    tested = exact[0].is_tested
    ratio = limma[0].standard_error[:, tested] / limma[1].standard_error[:, tested]
    assert np.abs(ratio - 1).max() > 1e-3
    np.testing.assert_allclose(
        exact[0].standard_error[:, tested], exact[1].standard_error[:, tested], rtol=1e-10
    )
    np.testing.assert_allclose(
        limma[0].log2_fold_change[:, tested], exact[0].log2_fold_change[:, tested], atol=1e-10
    )
