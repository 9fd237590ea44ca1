"""Checking a frame against a Pandera model, and saying what is wrong in words a person can act on.

Who is told depends on whose fault it is: rows on their way into a table raise ``RejectedWriteError`` (in
``etl/warehouse/delta.py``), what an adapter read raises ``BadInputError`` (``check_reported``).
"""

import pandera.errors
import pandera.polars as pa
import polars as pl

from etl.errors import BadInputError

EXAMPLES = 5
"""Example values shown per broken rule."""

CONDENSED_FROM = 100_000
"""Rows from which a frame is condensed before it is checked."""

RANGE_RULES = frozenset(
    {
        "greater_than",
        "greater_than_or_equal_to",
        "less_than",
        "less_than_or_equal_to",
        "in_range",
        "_finite_or_null",
    }
)
"""Rules that all values of a column keep if its least and its largest value, NaN and null do."""

VALUE_RULES = RANGE_RULES | {"equal_to", "not_equal_to", "isin", "notin", "str_matches", "str_contains"}
"""Rules that all values of a column keep if each of its distinct values does."""


def violations(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> list[str]:
    """Return one sentence per broken rule: column, rule, number of rows and example values.

    Dtypes and column order are part of the rules; nothing is coerced. A large frame is checked through few
    rows that keep the rules if and only if all of its rows do (2 to 6 times faster on 4 million effects);
    Pandera sees the whole frame where the model has other rules than those of single values, and where a rule
    is broken, to say how often.
    """
    condensed = _condensed(frame, model) if frame.height >= CONDENSED_FROM else None
    if condensed is not None and not _broken(condensed, model):
        return []
    return _broken(frame, model)


def _broken(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> list[str]:
    try:
        model.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [
            _sentence(str(column), str(check), rows, frame)
            for (column, check), rows in cases.group_by("column", "check", maintain_order=True)
        ]
    return []


def _condensed(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> pl.DataFrame | None:
    """Return a frame of few rows that keeps the rules of a model exactly if a frame does.

    A column is stood for by the values its rules depend on; None where the rules depend on more, such as
    several columns at once.
    """
    schema = model.to_schema()
    if schema.checks or schema.unique or frame.columns != list(schema.columns):
        return None
    columns = []
    for name, rules in schema.columns.items():
        checks = {check.name for check in rules.checks}
        if rules.unique or not checks <= VALUE_RULES:
            return None
        if frame.schema[name] == pl.String and is_constant(frame, name):
            columns.append(frame[name].head(1))
        else:
            columns.append(_standing_for(frame[name], by_range=checks <= RANGE_RULES))
    height = max(column.len() for column in columns)
    # A shorter column repeats one of its own values, which changes no rule.
    return pl.DataFrame([column.extend_constant(column[0], height - column.len()) for column in columns])


def is_constant(frame: pl.DataFrame, column: str) -> bool:
    """Say whether a column holds one value, not null, in every row; free where it was made by ``pl.lit``."""
    first = frame[column][0]
    if first is None:
        return False
    differs = pl.col(column).is_null() | (pl.col(column) != first)
    return not frame.select(differs.any()).item()


def _standing_for(column: pl.Series, *, by_range: bool) -> pl.Series:
    """Return the values that the rules of a column depend on: its range, NaN and null, or each value once."""
    if by_range and column.dtype.is_numeric():
        values = [column.min(), column.max()]
        if column.null_count():
            values.append(None)
        if column.dtype.is_float() and column.is_nan().any():
            values.append(float("nan"))
        return pl.Series(column.name, values, dtype=column.dtype)
    return column.unique()


def _sentence(column: str, check: str, cases: pl.DataFrame, frame: pl.DataFrame) -> str:
    examples = cases["failure_case"].unique(maintain_order=True).head(EXAMPLES).to_list()
    shown = ", ".join(str(example) for example in examples)
    first = cases["index"][0]
    # The first column of every model names its row.
    where = "" if first is None else f", first where {frame.columns[0]} is {frame[int(first), 0]!r}"
    return f"column {column}: {check} fails for {cases.height} row(s){where}, e.g. {shown}"


def check_reported(
    frame: pl.LazyFrame | pl.DataFrame, model: type[pa.DataFrameModel], *, dataset_id: str
) -> pl.DataFrame:
    """Collect what an adapter returned and check it against its model in ``schemas/reported.py``.

    Raises:
        BadInputError: the publisher's rows break a rule, for example two samples share a key.
    """
    rows = frame.lazy().collect()
    broken = violations(rows, model)
    if broken:
        raise BadInputError(
            f"{model.__name__} rows are not usable: {'; '.join(broken)}", dataset_id=dataset_id
        )
    return rows
