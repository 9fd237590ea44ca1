"""Every table: names that agree, columns that are described, dtypes that Delta can hold."""

import polars as pl
import pytest

from schemas import TABLES
from schemas.table import Table
from schemas.vocabularies import SAMPLE_FLAGS

STORABLE = (
    pl.String,
    pl.Boolean,
    pl.Int32,
    pl.Int64,
    pl.Float32,
    pl.Float64,
    pl.Date,
    pl.Datetime,
    pl.List,
)

every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@every_table
def test_every_column_is_described_and_storable(table: Table) -> None:
    for name, column in table.columns.items():
        assert column.description, f"{table.name}.{name} has no description"
        assert column.description.endswith("."), f"{table.name}.{name}: a description is a sentence"
        assert isinstance(table.polars_schema[name], STORABLE), f"{table.name}.{name} cannot be stored"


@every_table
def test_a_table_is_named_after_its_module_and_layer(table: Table) -> None:
    layer, name = table.name.split("/")
    assert table.model.__module__ == f"schemas.{layer}.{name}"
    assert table.layer == layer


@every_table
def test_the_first_line_of_the_model_says_what_a_row_is(table: Table) -> None:
    assert table.grain.startswith("One row per ")


@every_table
def test_key_columns_are_never_null(table: Table) -> None:
    nullable = [name for name in table.primary_key if table.columns[name].nullable]
    assert not nullable


@every_table
def test_units_stand_in_the_names(table: Table) -> None:
    for name, column in table.columns.items():
        unit = (column.metadata or {}).get("unit")
        suffix = {"µM": "_um", "h": "_h"}.get(unit or "")
        if suffix:
            assert suffix in name, f"{table.name}.{name} is in {unit}"


def test_a_record_that_names_an_unknown_column_is_refused() -> None:
    known = TABLES["core/gene"]
    with pytest.raises(AssertionError, match="unknown columns"):
        Table(name="core/gene", model=known.model, primary_key=("no_such_column",))


def test_an_unknown_flag_and_a_control_with_a_dose_break_the_sample_schema(sample_row: dict) -> None:
    from etl.validation import violations

    table = TABLES["core/sample"]
    good = pl.DataFrame([sample_row], schema=table.polars_schema)
    assert violations(good, table.model) == []
    flagged = good.with_columns(qc_flags=pl.lit(["no_such_flag"]))
    assert "known_flags" in violations(flagged, table.model)[0]
    assert "dose_zero" in SAMPLE_FLAGS
    dosed_control = good.with_columns(is_control=pl.lit(value=True), control_kind=pl.lit("vehicle"))
    assert "controls" in violations(dosed_control, table.model)[0]


def test_a_nullable_float_may_be_null_but_not_nan_or_infinite(sample_row: dict) -> None:
    from etl.validation import violations

    table = TABLES["core/sample"]
    for value, is_fine in ((None, True), (float("nan"), False), (float("inf"), False)):
        rows = pl.DataFrame([sample_row | {"time_h": value}], schema=table.polars_schema)
        assert (violations(rows, table.model) == []) is is_fine
