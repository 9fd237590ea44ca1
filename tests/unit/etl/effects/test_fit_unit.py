"""Fit units: which samples take part, what becomes of them, and rows that fit their tables."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.effects.fit_unit import fit_unit, fit_units
from etl.validation import violations
from schemas.core.sample import SAMPLE
from schemas.mart.condition import CONDITION
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.gene_variance import GENE_VARIANCE

CAFFEINE = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
GENES = np.arange(1, 41, dtype=np.int32)


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


def fitted(*rows: dict):
    frame = samples(*rows)
    values = np.random.default_rng(3).normal(8, 1, (frame.height, GENES.size))
    return fit_unit(frame, values, GENES, value_scale="log2")


def test_rows_fit_their_tables() -> None:
    unit = fitted(*[vehicle()] * 4, *[treated(7)] * 2, *[treated(5)] * 2)
    assert violations(unit.conditions, CONDITION.model) == []
    assert violations(unit.gene_variance, GENE_VARIANCE.model) == []
    effects = pl.concat(unit.effect_rows())
    assert violations(effects, DIFFERENTIAL_EXPRESSION.model) == []
    assert effects.height == 2 * GENES.size
    assert unit.conditions["condition_id"].to_list() == [5, 7]
    assert unit.conditions["n_treated"].to_list() == [2, 2]
    assert unit.conditions["dose_um"].to_list() == [6.0, 8.0]
    assert unit.account.noted == {"conditions estimable": 2}


def test_effects_are_treated_minus_vehicle() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    values = np.random.default_rng(3).normal(8, 0.1, (5, GENES.size))
    values[3:, 4] += 3
    unit = fit_unit(frame, values, GENES, value_scale="log2")
    effects = pl.concat(unit.effect_rows())
    expected = values[3:].mean(axis=0) - values[:3].mean(axis=0)
    np.testing.assert_allclose(effects["log2_fold_change"].to_numpy(), expected, rtol=1e-6)
    assert effects.sort("p_value")["gene_id"][0] == 5


def test_samples_that_take_no_part_are_counted_by_reason() -> None:
    unit = fitted(
        *[vehicle()] * 3,
        *[treated(7)] * 2,
        {"sample_kind": "untreated", "is_control": True, "control_kind": "untreated"},
        treated(7, qc_flags=["low_library"]),
        treated(0) | {"condition_id": None, "dose_um": None, "qc_flags": ["dose_missing"]},
    )
    assert unit.account.dropped == {"untreated": 1, "low_library": 1, "dose_missing": 1}
    assert unit.conditions["n_treated"].to_list() == [2]


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([treated(7)] * 3, "no_control"),
        ([vehicle(), treated(7)], "no_residual_df"),
        ([vehicle()] * 3 + [treated(7, plate="P2")] * 2, "confounded_with_plate"),
        ([vehicle(time_h=6.0)] * 3 + [treated(7)] * 3, "no_control"),
    ],
)
def test_what_cannot_be_estimated_is_a_row_with_a_reason_and_no_effect(rows: list, status: str) -> None:
    unit = fitted(*rows)
    assert unit.conditions["status"].to_list() == [status]
    assert unit.conditions["is_estimable"].to_list() == [False]
    assert unit.conditions["n_genes_tested"].to_list() == [0]
    assert violations(unit.conditions, CONDITION.model) == []
    assert list(unit.effect_rows()) == []


def test_a_unit_without_treated_samples_has_nothing_to_fit_but_an_account() -> None:
    unit = fitted(*[vehicle()] * 3)
    assert unit.conditions.is_empty()
    assert unit.gene_variance.is_empty()
    assert list(unit.effect_rows()) == []
    assert (unit.account.n_in, unit.account.n_out) == (3, 3)


def test_a_condition_of_which_no_sample_is_usable_keeps_a_row_with_the_reason() -> None:
    failed = treated(9, qc_flags=["low_quality_reported"])
    unit = fitted(*[vehicle()] * 3, *[treated(7)] * 2, failed, failed)
    assert unit.conditions["status"].to_list() == ["estimable", "no_usable_sample"]
    assert unit.conditions["n_treated"].to_list() == [2, 0]
    assert unit.conditions["n_control"].to_list() == [3, 3]
    assert violations(unit.conditions, CONDITION.model) == []
    assert unit.account.dropped == {"low_quality_reported": 2}
    assert pl.concat(unit.effect_rows())["condition_id"].unique().to_list() == [7]
    alone = fitted(*[vehicle()] * 3, failed)
    assert alone.conditions["status"].to_list() == ["no_usable_sample"]


def test_a_sample_without_stored_counts_is_counted_and_its_condition_kept() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2, treated(8))
    counts = np.random.default_rng(3).poisson(100, (5, GENES.size))

    def read_matrix(_: str):
        return frame["sample_id"].to_numpy()[:5], GENES, sparse.csr_matrix(counts)

    [unit] = fit_units(frame, read_matrix, value_scale="counts")
    assert unit.account.dropped == {"no counts": 1}
    assert unit.conditions["status"].to_list() == ["estimable", "no_usable_sample"]


def test_where_no_gene_varies_nothing_is_called_estimable() -> None:
    frame = samples(*[vehicle()] * 3, *[treated(7)] * 2)
    unit = fit_unit(frame, np.full((5, GENES.size), 5.0), GENES, value_scale="log2")
    assert unit.conditions["status"].to_list() == ["no_tested_gene"]
    assert violations(unit.conditions, CONDITION.model) == []
    assert list(unit.effect_rows()) == []


def test_vehicle_groups_and_contexts_are_fitted_apart() -> None:
    rows = [
        vehicle(),
        vehicle(),
        treated(1),
        vehicle(vehicle_group="0.6 %"),
        vehicle(vehicle_group="0.6 %"),
        treated(2, vehicle_group="0.6 %"),
        vehicle(context_id="CVCL_0031"),
        vehicle(context_id="CVCL_0031"),
        treated(3, context_id="CVCL_0031"),
    ]
    frame = samples(*rows)
    values = np.random.default_rng(3).normal(8, 1, (frame.height, GENES.size))

    def read_matrix(context_id: str):
        ids = frame.filter(context_id=context_id)["sample_id"].to_numpy()
        return ids, GENES, values[ids]

    units = list(fit_units(frame, read_matrix, value_scale="log2"))
    assert [unit.conditions["condition_id"].to_list() for unit in units] == [[1], [2], [3]]
    assert [unit.conditions["n_control"].to_list() for unit in units] == [[2], [2], [2]]
