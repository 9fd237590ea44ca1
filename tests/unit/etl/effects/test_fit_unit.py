"""Fit units: which samples take part, what becomes of them, and rows that fit their tables."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from etl.accounting import RowAccount
from etl.effects import fit as fit_module
from etl.effects.estimate import estimate_effects
from etl.effects.fit_unit import NO_TESTED_COUNTS, REASONS, FittedUnit, fit_context
from etl.effects.multiple_testing import benjamini_hochberg
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts
from etl.validation import violations
from schemas.core.sample import SAMPLE
from schemas.mart.condition import CONDITION
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.mart.replicate_effect import REPLICATE_EFFECT

CAFFEINE = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
GENES = np.arange(1, 41, dtype=np.int32) * 3


class Rows(NamedTuple):
    """Everything a fit unit adds to the mart."""

    effects: pl.DataFrame
    replicates: pl.DataFrame
    conditions: pl.DataFrame
    gene_variance: pl.DataFrame
    calibration: pl.DataFrame
    account: RowAccount
    replicate_account: RowAccount


def samples(*rows: dict) -> pl.DataFrame:
    blank = dict.fromkeys(SAMPLE.polars_schema)
    common = blank | {
        "dataset_id": "toy",
        "assay": "l1000",
        "context_id": "CVCL_0023",
        "time_h": 24.0,
        "plate": "P1",
        "vehicle_group": "",
        "qc_flags": [],
        "context_reported": "A549",
    }
    numbered = [
        common | {"sample_id": number, "sample_key": f"w{number}"} | row for number, row in enumerate(rows)
    ]
    return pl.DataFrame(numbered, schema=SAMPLE.polars_schema)


def vehicle(**changes: object) -> dict:
    return {"sample_kind": "vehicle", "is_control": True, "control_kind": "vehicle"} | changes


def treated(condition_id: int, **changes: object) -> dict:
    return {
        "sample_kind": "compound",
        "is_control": False,
        "compound_id": CAFFEINE,
        "condition_id": condition_id,
        "dose_um": 1.0 + condition_id,
    } | changes


def stacked(chunks: Iterator[pl.DataFrame], empty: pl.Schema) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=empty), *chunks])


def rows_of(unit: FittedUnit) -> Rows:
    """Return all rows of a unit, after showing that they fit their tables and are sorted by key."""
    found = Rows(
        effects=stacked(unit.effect_rows(), DIFFERENTIAL_EXPRESSION.polars_schema),
        replicates=stacked(unit.replicate_rows(), REPLICATE_EFFECT.polars_schema),
        conditions=unit.condition_rows(),
        gene_variance=unit.gene_variance_rows(),
        calibration=unit.calibration_rows(),
        account=unit.account,
        replicate_account=unit.replicate_account,
    )
    tables = (DIFFERENTIAL_EXPRESSION, REPLICATE_EFFECT, CONDITION, GENE_VARIANCE, NULL_CALIBRATION)
    for frame, table in zip(found[:5], tables, strict=True):
        assert violations(frame, table.model) == [], table.name
        assert not frame.select(table.primary_key).is_duplicated().any(), table.name
    for frame, table in ((found.effects, DIFFERENTIAL_EXPRESSION), (found.replicates, REPLICATE_EFFECT)):
        keys = frame.select(table.primary_key)
        assert keys.equals(keys.sort(table.primary_key)), table.name
    assert found.calibration.height == 1
    status = found.conditions["status"]
    assert ((status == "estimable") == found.conditions["is_estimable"]).all()
    assert (found.conditions["reason"].is_null() == found.conditions["is_estimable"]).all()
    assert (found.conditions["control_scope"].is_not_null() == found.conditions["is_estimable"]).all()
    with_effect = found.conditions.filter("is_estimable")["condition_id"].sort().to_list()
    assert found.effects["condition_id"].unique().sort().to_list() == with_effect
    per_condition = found.effects.group_by("condition_id").agg(
        tested=pl.len(), significant=(pl.col("p_value_adjusted") < 0.05).sum()
    )
    counted = found.conditions.join(per_condition, on="condition_id", how="left").fill_null(0)
    assert (counted["tested"] == counted["n_genes_tested"]).all()
    assert (counted["significant"] == counted["n_genes_significant"]).all()
    return found


def log2_of(frame: pl.DataFrame) -> np.ndarray:
    return np.random.default_rng(3).normal(8, 1, (frame.height, GENES.size))


def fitted_values(frame: pl.DataFrame, values: np.ndarray | SparseCounts, **arguments: Any) -> Rows:
    scale = "counts" if isinstance(values, SparseCounts) else "log2"
    [unit] = fit_context(
        frame, frame["sample_id"].to_numpy(), GENES, values, **{"value_scale": scale} | arguments
    )
    return rows_of(unit)


def fitted(*rows: dict) -> Rows:
    frame = samples(*rows)
    return fitted_values(frame, log2_of(frame))


def test_rows_of_all_tables_belong_to_the_unit() -> None:
    found = fitted(*[vehicle()] * 4, *[treated(7)] * 2, *[treated(5)] * 2)
    assert found.effects.height == 2 * GENES.size
    assert found.replicates.height == 4 * GENES.size
    assert found.replicates["sample_id"].unique().sort().to_list() == [4, 5, 6, 7]
    assert found.effects["gene_id"].unique().sort().to_list() == GENES.tolist()
    for frame in found[:5]:
        assert frame.select("dataset_id", "context_id").unique().rows() == [("toy", "CVCL_0023")]
    conditions = found.conditions.sort("condition_id")
    assert conditions["condition_id"].to_list() == [5, 7]
    assert conditions["n_treated"].to_list() == [2, 2]
    assert conditions["n_control"].to_list() == [4, 4]
    assert conditions["dose_um"].to_list() == [6.0, 8.0]
    assert conditions["residual_df"].to_list() == [5.0, 5.0]
    assert found.account == RowAccount(8, 8, {}, {"conditions estimable": 2}, unit="samples")
    assert found.replicate_account == RowAccount(4, 4, {}, unit="treated samples")


def test_gene_variances_are_those_of_both_designs() -> None:
    found = fitted(*[vehicle()] * 4, *[treated(7)] * 2, *[treated(5)] * 2)
    by_design = found.gene_variance.partition_by("replicates", as_dict=True)
    assert set(by_design) == {("grouped",), ("separate",)}
    assert by_design["grouped",]["residual_df"].unique().to_list() == [5.0]
    assert by_design["separate",]["residual_df"].unique().to_list() == [3.0]
    for (design,), effects in ((("grouped",), found.effects), (("separate",), found.replicates)):
        variance = by_design[design,]
        assert variance["gene_id"].to_list() == GENES.tolist()
        factor = effects.join(variance, on="gene_id").select(
            factor=pl.col("standard_error") ** 2 / pl.col("posterior_variance")
        )["factor"]
        expected = {"grouped": 1 / 2 + 1 / 4, "separate": 1 + 1 / 4}[design]
        np.testing.assert_allclose(factor.to_numpy(), expected, rtol=1e-5)


def test_effects_are_treated_minus_vehicle() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    values = np.random.default_rng(3).normal(8, 0.1, (5, GENES.size))
    values[3:, 4] += 3
    found = fitted_values(frame, values)
    expected = values[3:].mean(axis=0) - values[:3].mean(axis=0)
    np.testing.assert_allclose(found.effects["log2_fold_change"].to_numpy(), expected, atol=1e-6)
    assert found.effects.sort("p_value")["gene_id"][0] == GENES[4]


def test_replicate_effects_are_values_minus_the_vehicle_mean_of_the_plate() -> None:
    frame = samples(
        *[vehicle(plate="P1")] * 3,
        *[vehicle(plate="P2")] * 2,
        treated(7, plate="P2"),
        treated(7, plate="P1"),
        treated(9, plate="P3"),
    )
    values = log2_of(frame)
    found = fitted_values(frame, values)
    effect = found.replicates["log2_fold_change"].to_numpy().reshape(2, GENES.size)
    np.testing.assert_allclose(effect[0], values[5] - values[3:5].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(effect[1], values[6] - values[:3].mean(axis=0), atol=1e-6)
    assert found.replicate_account == RowAccount(3, 2, {"confounded_with_plate": 1}, unit="treated samples")


def test_rows_are_those_of_the_library_function() -> None:
    rng = np.random.default_rng(5)
    frame = samples(
        *[vehicle(plate=plate) for plate in "pppqqq"],
        *[treated(number, plate=plate) for number in (4, 2, 8) for plate in "pq"],
        treated(2, plate="r"),
        treated(6, plate="r"),
    )
    counts = rng.poisson(rng.lognormal(4, 1, GENES.size) * rng.gamma(20, 0.05, (14, GENES.size)))
    counts[:, 11] = 0
    found = fitted_values(frame, SparseCounts.from_matrix(counts))
    for replicates, rows in (("grouped", found.effects), ("separate", found.replicates)):
        effects = estimate_effects(
            counts,
            condition=frame["condition_id"].fill_null(0).to_numpy(),
            plate=frame["plate"].to_numpy(),
            is_control=frame["is_control"].to_numpy(),
            scale="counts",
            replicates=replicates,
        )
        known = np.flatnonzero([status == "estimable" for status in effects.status])
        at = np.ix_(known, effects.is_tested)
        assert not effects.is_tested[11]
        names = ["log2_fold_change", "standard_error"]
        names += ["p_value", "p_value_adjusted"] if replicates == "grouped" else []
        assert rows.height == effects.p_value[at].size
        for name in names:
            expected = getattr(effects, name)[at].ravel()
            np.testing.assert_allclose(rows[name].to_numpy(), expected, rtol=2e-5, atol=1e-6, err_msg=name)
        assert rows["gene_id"].unique().sort().to_list() == GENES[effects.is_tested].tolist()
    scopes = dict(found.conditions.select("condition_id", "control_scope").rows())
    assert scopes == {2: "linked_plates", 4: "same_plate", 6: "linked_plates", 8: "same_plate"}


def test_chunks_hold_the_same_rows_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*[vehicle()] * 4, *[treated(number) for number in (9, 3, 5, 7) for _ in range(2)]]
    whole = fitted(*rows)
    monkeypatch.setattr(fit_module.EffectFit.blocks, "__defaults__", (GENES.size,))
    frame = samples(*rows)
    [unit] = fit_context(frame, frame["sample_id"].to_numpy(), GENES, log2_of(frame), value_scale="log2")
    chunks = list(unit.effect_rows())
    assert [chunk["condition_id"].unique().to_list() for chunk in chunks] == [[3], [5], [7], [9]]
    assert pl.concat(chunks).equals(whole.effects)
    assert pl.concat(unit.replicate_rows()).equals(whole.replicates)
    assert unit.condition_rows().equals(whole.conditions)


def test_significance_over_the_unit_is_that_of_all_its_p_values() -> None:
    frame = samples(*[vehicle()] * 6, *[treated(number) for number in range(1, 9) for _ in range(3)])
    values = np.random.default_rng(7).normal(8, 0.3, (frame.height, GENES.size))
    values[6:] += np.repeat(np.random.default_rng(8).normal(0, 0.5, (8, GENES.size)), 3, axis=0)
    found = fitted_values(frame, values)
    p = found.effects["p_value"].to_numpy().astype(float)
    significant = benjamini_hochberg(p) <= 0.05
    assert 20 < significant.sum() < 300
    cutoffs = found.conditions["p_value_cutoff"].unique().to_list()
    assert cutoffs == [p[significant].max()]
    counts = found.effects.filter(pl.Series(significant)).group_by("condition_id").len()
    expected = found.conditions.join(counts, on="condition_id", how="left")["len"].fill_null(0)
    assert (found.conditions["n_genes_significant_unit"] == expected).all()


def test_where_nothing_is_significant_there_is_no_cutoff() -> None:
    found = fitted(*[vehicle()] * 4, *[treated(7)] * 4)
    assert found.effects["p_value_adjusted"].min() > 0.05
    assert found.conditions["p_value_cutoff"].to_list() == [None]
    assert found.conditions["n_genes_significant_unit"].to_list() == [0]


def test_samples_that_take_no_part_are_counted_by_reason() -> None:
    found = fitted(
        *[vehicle()] * 3,
        *[treated(7)] * 2,
        {"sample_kind": "untreated", "is_control": True, "control_kind": "untreated"},
        treated(7, qc_flags=["low_library"]),
        treated(0) | {"condition_id": None, "dose_um": None, "qc_flags": ["dose_missing"]},
        treated(0) | {"condition_id": None, "time_h": None, "qc_flags": ["time_missing"]},
        vehicle(time_h=None, qc_flags=["time_missing"]),
    )
    assert found.account.dropped == {"untreated": 1, "low_library": 1, "dose_missing": 1, "time_missing": 2}
    assert (found.account.n_in, found.account.n_out) == (10, 5)
    assert found.conditions["n_treated"].to_list() == [2]
    assert found.conditions["n_control"].to_list() == [3]


@pytest.mark.parametrize(
    ("rows", "status", "reason"),
    [
        ([treated(7)] * 3, "no_control", "no vehicle sample at 24.0 h"),
        ([vehicle(time_h=6.0)] * 3 + [treated(7)] * 3, "no_control", "no vehicle sample at 24.0 h"),
        (
            [vehicle(), treated(7)],
            "no_residual_df",
            "the fit unit has no replicate to take a variance from",
        ),
        (
            [vehicle()] * 3 + [treated(7, plate="P2")] * 2,
            "confounded_with_plate",
            "no plate, donor or shared condition links it to a vehicle sample at 24.0 h",
        ),
        (
            [vehicle(donor_id="a")] * 3 + [treated(7, donor_id="b")] * 2,
            "confounded_with_plate",
            "no plate, donor or shared condition links it to a vehicle sample at 24.0 h",
        ),
        (
            [vehicle()] * 3 + [treated(7, qc_flags=["low_quality_reported"])],
            "no_usable_sample",
            "every sample of it failed quality control or has no counts",
        ),
    ],
)
def test_what_cannot_be_estimated_is_a_row_with_a_reason_and_no_effect(
    rows: list, status: str, reason: str
) -> None:
    found = fitted(*rows)
    assert found.conditions["status"].to_list() == [status]
    assert found.conditions["reason"].to_list() == [reason]
    assert found.conditions["is_estimable"].to_list() == [False]
    assert found.conditions["n_genes_tested"].to_list() == [0]
    assert found.effects.is_empty()
    assert found.replicates.is_empty()
    assert found.account.noted == {f"conditions {status}": 1}


def test_every_status_has_a_reason_in_words() -> None:
    too_few = REASONS["too_few_replicates"].format(n_treated=1)
    assert too_few == "1 treated sample(s) only"
    assert set(REASONS) == set(CONDITION.model.to_schema().columns["status"].metadata["vocabulary"]) - {
        "estimable"
    }


def test_a_unit_without_treated_samples_has_an_account_and_a_calibration() -> None:
    rng = np.random.default_rng(1)
    found = fitted(*[vehicle(plate=plate) for plate in "pqr" for _ in range(6)])
    assert found.conditions.is_empty()
    assert found.gene_variance.is_empty()
    assert found.effects.is_empty()
    assert (found.account.n_in, found.account.n_out) == (18, 18)
    assert found.calibration["status"].to_list() == ["ok"]
    frame = samples(*[vehicle()] * 5)
    counts = SparseCounts.from_matrix(rng.poisson(100, (5, GENES.size)))
    assert fitted_values(frame, counts).conditions.is_empty()


def test_a_condition_of_which_no_sample_is_usable_keeps_a_row_with_the_reason() -> None:
    failed = treated(9, qc_flags=["low_quality_reported"])
    found = fitted(*[vehicle()] * 3, *[treated(7)] * 2, failed, failed)
    assert found.conditions["status"].to_list() == ["estimable", "no_usable_sample"]
    assert found.conditions["n_treated"].to_list() == [2, 0]
    assert found.conditions["n_control"].to_list() == [3, 3]
    assert found.account.dropped == {"low_quality_reported": 2}
    assert found.effects["condition_id"].unique().to_list() == [7]


@pytest.mark.parametrize("n_left_out", [1, 2])
def test_a_sample_with_counts_in_untested_genes_only_is_left_out_and_the_others_are_fitted(
    n_left_out: int,
) -> None:
    frame = samples(*[vehicle()] * 4, *[treated(7)] * 3, *[treated(8)] * 2)
    counts = np.random.default_rng(3).poisson(100, (9, GENES.size))
    counts[:, 5] = 0
    lost = [8, 4][:n_left_out]
    counts[lost] = 0
    counts[lost, 5] = 3
    found = fitted_values(frame, SparseCounts.from_matrix(counts))
    assert found.account.dropped == {NO_TESTED_COUNTS: n_left_out}
    rest = np.setdiff1d(np.arange(9), lost)
    alone = fitted_values(frame[rest], SparseCounts.from_matrix(counts[rest]))
    assert alone.account.dropped == {}
    assert found.effects.equals(alone.effects)
    assert found.replicates.equals(alone.replicates)
    assert found.gene_variance.equals(alone.gene_variance)
    assert found.conditions.equals(alone.conditions)
    assert found.conditions["n_treated"].to_list() == [4 - n_left_out, 1]
    assert not found.replicates["sample_id"].is_in(lost).any()


def test_a_vehicle_with_counts_in_untested_genes_only_is_left_out_too() -> None:
    frame = samples(*[vehicle()] * 4, *[treated(7)] * 3)
    counts = np.random.default_rng(3).poisson(100, (7, GENES.size))
    counts[:, 5] = 0
    counts[0] = 0
    counts[0, 5] = 3
    found = fitted_values(frame, SparseCounts.from_matrix(counts))
    assert found.account.dropped == {NO_TESTED_COUNTS: 1}
    assert found.conditions["n_control"].to_list() == [3]
    assert found.calibration["n_control"].to_list() == [3]


def test_a_condition_whose_only_sample_is_left_out_keeps_a_row() -> None:
    frame = samples(*[vehicle()] * 4, *[treated(7)] * 3, treated(8))
    counts = np.random.default_rng(3).poisson(100, (8, GENES.size))
    counts[:, 5] = 0
    counts[7] = 0
    counts[7, 5] = 3
    found = fitted_values(frame, SparseCounts.from_matrix(counts))
    rows = dict(found.conditions.select("condition_id", "status").rows())
    assert rows == {7: "estimable", 8: "no_usable_sample"}


def test_a_sample_without_stored_counts_is_counted_and_its_condition_kept() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2, treated(8))
    counts = SparseCounts.from_matrix(np.random.default_rng(3).poisson(100, (5, GENES.size)))
    [unit] = fit_context(frame, np.arange(5), GENES, counts, value_scale="counts")
    found = rows_of(unit)
    assert found.account.dropped == {"no counts": 1}
    assert found.conditions["status"].to_list() == ["estimable", "no_usable_sample"]


def test_samples_in_any_order_take_their_own_values() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2, *[treated(5)] * 2)
    values = log2_of(frame)
    order = np.array([3, 6, 0, 2, 5, 1, 4])
    [unit] = fit_context(frame[order], frame["sample_id"].to_numpy(), GENES, values, value_scale="log2")
    expected = fitted_values(frame, values)
    found = rows_of(unit)
    assert found.effects.equals(expected.effects)
    assert found.replicates.equals(expected.replicates)


def test_where_no_gene_varies_nothing_is_called_estimable() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    for level in (5.0, 7.3):
        found = fitted_values(frame, np.full((5, GENES.size), level))
        assert found.conditions["status"].to_list() == ["no_tested_gene"]
        assert found.effects.is_empty()


def test_where_no_gene_has_enough_counts_nothing_is_called_estimable() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    found = fitted_values(frame, SparseCounts.from_matrix(np.eye(5, GENES.size, dtype=int)))
    assert found.conditions["status"].to_list() == ["no_tested_gene"]
    assert found.gene_variance.is_empty()
    assert found.replicate_account.dropped == {"no_tested_gene": 2}


def test_a_constant_gene_among_others_has_an_effect_of_zero() -> None:
    frame = samples(*[vehicle()] * 4, *[treated(7)] * 3)
    values = log2_of(frame)
    values[:, 6] = 7.3
    found = fitted_values(frame, values)
    row = found.effects.filter(gene_id=GENES[6])
    assert row.select("log2_fold_change", "p_value").rows() == [(0.0, 1.0)]


def test_conditions_are_compared_with_vehicles_of_their_time() -> None:
    rows = [
        *[vehicle(time_h=6.0)] * 3,
        *[vehicle(time_h=24.0)] * 2,
        *[treated(1, time_h=6.0)] * 2,
        *[treated(2, time_h=24.0)] * 2,
        *[treated(3, time_h=48.0)] * 2,
    ]
    found = fitted(*rows)
    conditions = found.conditions.sort("condition_id")
    assert conditions["status"].to_list() == ["estimable", "estimable", "no_control"]
    assert conditions["n_control"].to_list() == [3, 2, 0]
    assert conditions["reason"].to_list() == [None, None, "no vehicle sample at 48.0 h"]
    values = log2_of(samples(*rows))
    effect = found.effects["log2_fold_change"].to_numpy().reshape(2, GENES.size)
    np.testing.assert_allclose(effect[1], values[7:9].mean(axis=0) - values[3:5].mean(axis=0), atol=1e-5)


def test_donors_are_adjusted_for_where_every_sample_names_one() -> None:
    donors = ["a", "a", "b", "b", "a", "b", "b"]
    rows = [*[vehicle()] * 4, *[treated(7)] * 3]
    named = samples(*[row | {"donor_id": donor} for row, donor in zip(rows, donors, strict=True)])
    values = log2_of(named)
    shifted = values + 5 * (np.array(donors) == "b")[:, None]
    for replicates in ("effects", "replicates"):
        plain, moved = (getattr(fitted_values(named, v), replicates) for v in (values, shifted))
        np.testing.assert_allclose(plain["log2_fold_change"], moved["log2_fold_change"], atol=1e-5)
        np.testing.assert_allclose(plain["standard_error"], moved["standard_error"], rtol=1e-4)
    assert fitted_values(named, values).conditions["residual_df"].to_list() == [4.0]
    partly = named.with_columns(donor_id=pl.when(pl.col("sample_id") > 0).then("donor_id"))
    assert fitted_values(partly, values).conditions["residual_df"].to_list() == [5.0]
    one = named.with_columns(donor_id=pl.lit("a"))
    assert fitted_values(one, values).conditions["residual_df"].to_list() == [5.0]


def test_the_calibration_is_that_of_the_model_with_donors() -> None:
    donors = [donor for _ in range(12) for donor in "abc"]
    frame = samples(*[vehicle(donor_id=donor, plate=f"P{n // 12}") for n, donor in enumerate(donors)])
    values = log2_of(frame)
    shifted = values + 20 * (np.array(donors) == "b")[:, None]
    plain, moved = (fitted_values(frame, v).calibration for v in (values, shifted))
    assert plain["status"].to_list() == ["ok"]
    assert moved["histogram"].to_list() == plain["histogram"].to_list()


def test_vehicle_groups_are_fitted_apart() -> None:
    rows = [
        treated(1),
        vehicle(vehicle_group="0.6 %"),
        vehicle(),
        vehicle(vehicle_group="0.6 %"),
        vehicle(),
        treated(2, vehicle_group="0.6 %"),
        treated(2, vehicle_group="0.6 %"),
        vehicle(),
    ]
    frame = samples(*rows)
    values = log2_of(frame)
    units = [rows_of(u) for u in fit_context(frame, np.arange(8), GENES, values, value_scale="log2")]
    assert [unit.conditions["condition_id"].to_list() for unit in units] == [[1], [2]]
    assert [unit.conditions["n_control"].to_list() for unit in units] == [[3], [2]]
    assert [unit.calibration["vehicle_group"].to_list() for unit in units] == [[""], ["0.6 %"]]
    assert [unit.account.n_in for unit in units] == [4, 4]
    expected = values[0] - values[[2, 4, 7]].mean(axis=0)
    np.testing.assert_allclose(units[0].effects["log2_fold_change"].to_numpy(), expected, atol=1e-5)


def test_values_that_are_not_stored_fail_the_unit_visibly() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    values = log2_of(frame)
    values[4, 2] = np.nan
    with pytest.raises(BadInputError, match=r"1 values are NaN or infinite.*sample 4; gene 2"):
        fitted_values(frame, values)
