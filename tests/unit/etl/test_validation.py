"""A broken rule is one sentence: column, rule, how many rows, examples."""

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.validation import check_reported, violations
from schemas.mart.condition_match import ConditionMatch
from schemas.reported import ReportedContext
from schemas.table import polars_schema


def test_each_broken_rule_is_told_once_with_count_and_examples() -> None:
    row = dict.fromkeys(polars_schema(ReportedContext))
    rows = pl.DataFrame(
        [row | {"context_reported": name} for name in ("A549", "A549", "MCF7")],
        schema=polars_schema(ReportedContext),
    )
    [told] = violations(rows, ReportedContext)
    assert told.startswith("column context_reported: ")
    assert "2 row(s)" in told
    assert "A549" in told


def test_wrong_dtype_and_missing_column_are_told() -> None:
    told = " ".join(violations(pl.DataFrame({"fold": ["2"]}), ConditionMatch))
    assert "fold" in told
    assert "left_condition_id" in told


def test_what_an_adapter_read_is_the_publishers_fault() -> None:
    rows = pl.LazyFrame({"context_reported": [None]}, schema={"context_reported": pl.String})
    missing = rows.match_to_schema(polars_schema(ReportedContext), missing_columns="insert")
    with pytest.raises(BadInputError, match="toy: ReportedContext rows are not usable"):
        check_reported(missing, ReportedContext, dataset_id="toy")
