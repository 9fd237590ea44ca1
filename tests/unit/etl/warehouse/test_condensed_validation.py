"""Large frames are checked through few rows: the verdict and the words must not depend on that."""

from collections.abc import Callable

import polars as pl
import pytest

from etl import validation
from etl.validation import VALUE_RULES, is_constant, violations
from schemas import TABLES

EFFECTS = TABLES["mart/differential_expression"]
BIG_TABLES = [
    "core/expression",
    "mart/differential_expression",
    "mart/replicate_effect",
    "mart/gene_variance",
]
Rows = Callable[..., pl.DataFrame]
SPOILT = {
    "nothing": {},
    "above a bound": {"p_value": 1.5},
    "below a bound": {"standard_error": -0.1},
    "at a bound": {"p_value": 1.0, "standard_error": 0.0},
    "nan": {"log2_fold_change": float("nan")},
    "infinite": {"log2_fold_change": float("-inf")},
    "null": {"gene_id": None},
    "null text": {"context_id": None},
    "text": {"context_id": "A549"},
    "not above a bound": {"gene_id": 0},
}
ALLOWED = (SPOILT["nothing"], SPOILT["at a bound"])


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT.keys())
@pytest.mark.parametrize("place", [0, 7, 19], ids=["first", "middle", "last"])
def test_a_frame_is_told_the_same_of_whether_condensed_or_not(
    effect_rows: Rows, monkeypatch: pytest.MonkeyPatch, spoilt: dict, place: int
) -> None:
    rows = effect_rows("toy", 1, n_genes=20).with_row_index("row")
    is_place = pl.col("row") == place
    rows = rows.with_columns(
        pl.when(is_place).then(pl.lit(value, EFFECTS.polars_schema[name])).otherwise(name).alias(name)
        for name, value in spoilt.items()
    )
    if not spoilt:
        rows = rows.with_columns(dataset_id=pl.lit("toy"), context_id=pl.lit("CVCL_0001"))
    rows = rows.select(list(EFFECTS.polars_schema))
    whole = violations(rows, EFFECTS.model)
    assert (whole == []) is (spoilt in ALLOWED)
    monkeypatch.setattr(validation, "CONDENSED_FROM", 1)
    assert violations(rows, EFFECTS.model) == whole


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.with_columns(gene_id=pl.col("gene_id").cast(pl.Int64)),
        lambda rows: rows.drop("p_value"),
        lambda rows: rows.with_columns(extra=1),
        lambda rows: rows.select(reversed(rows.columns)),
    ],
    ids=["dtype", "missing column", "extra column", "order"],
)
def test_the_shape_of_a_condensed_frame_is_checked(
    effect_rows: Rows, monkeypatch: pytest.MonkeyPatch, spoil: Callable
) -> None:
    rows = spoil(effect_rows("toy", 1))
    whole = violations(rows, EFFECTS.model)
    monkeypatch.setattr(validation, "CONDENSED_FROM", 1)
    assert violations(rows, EFFECTS.model) == whole != []


@pytest.mark.parametrize("name", BIG_TABLES)
def test_the_big_tables_have_only_rules_that_can_be_condensed(name: str) -> None:
    schema = TABLES[name].model.to_schema()
    assert not schema.checks
    assert {check.name for column in schema.columns.values() for check in column.checks} <= VALUE_RULES


def test_rules_of_several_columns_are_checked_on_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TABLES["core/sample"].model
    rows = pl.DataFrame(schema=TABLES["core/sample"].polars_schema)
    assert model.to_schema().checks
    assert validation._condensed(rows, model) is None


def test_a_constant_column_is_recognised_and_null_is_no_constant() -> None:
    rows = pl.DataFrame({"same": ["a"] * 3, "null": ["a", None, "a"], "other": ["a", "b", "a"]})
    rows = rows.with_columns(literal=pl.lit("a"), nothing=pl.lit(None, pl.String))
    assert [is_constant(rows, name) for name in rows.columns] == [True, False, False, True, False]
