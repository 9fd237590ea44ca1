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


def violations(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> list[str]:
    """Return one sentence per broken rule: column, rule, number of rows and example values.

    Dtypes and column order are part of the rules; nothing is coerced.
    """
    try:
        model.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [
            _sentence(str(column), str(check), rows, frame)
            for (column, check), rows in cases.group_by("column", "check", maintain_order=True)
        ]
    return []


def _sentence(column: str, check: str, cases: pl.DataFrame, frame: pl.DataFrame) -> str:
    examples = cases["failure_case"].unique(maintain_order=True).head(EXAMPLES).to_list()
    shown = ", ".join(str(example) for example in examples)
    first = cases["index"][0]
    # The first column of every model names its row.
    where = "" if first is None else f", first where {frame.columns[0]} is {frame[int(first), 0]!r}"
    return f"column {column}: {check} fails for {cases.height} row(s){where}, e.g. {shown}"


def check_reported(frame: pl.LazyFrame, model: type[pa.DataFrameModel], *, dataset_id: str) -> pl.DataFrame:
    """Collect what an adapter returned and check it against its model in ``schemas/reported.py``.

    Raises:
        BadInputError: the publisher's rows break a rule, for example two samples share a key.
    """
    rows = frame.collect()
    broken = violations(rows, model)
    if broken:
        raise BadInputError(
            f"{model.__name__} rows are not usable: {'; '.join(broken)}", dataset_id=dataset_id
        )
    return rows
