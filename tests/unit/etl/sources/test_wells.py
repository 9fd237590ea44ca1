"""Wells from numbers, and facts without a column."""

from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.formats.delimited import TextTable
from etl.sources.wells import reported_facts, well_of


def table(rows: list[str | None], columns: list[str | None]) -> TextTable:
    frame = pl.DataFrame({"r": rows, "c": columns}, schema={"r": pl.String, "c": pl.String})
    return TextTable(frame.with_row_index("row", offset=1), "toy", Path("t.csv"))


def test_numbers_from_1_make_a_well_and_a_missing_one_makes_none() -> None:
    wells = table(["1", "4.0", "16", None, "2"], ["1", "9", "24", "3", None])
    found = wells.rows.select(well_of(wells, "r", "c").alias("well"))["well"].to_list()
    assert found == ["A1", "D9", "P24", None, None]


@pytest.mark.parametrize(
    ("row", "column", "told"),
    [
        ("0", "1", "row 1, column r: not within 1 and 16: '0'"),
        ("17", "1", "row 1, column r: not within 1 and 16: '17'"),
        ("1", "25", "row 1, column c: not within 1 and 24: '25'"),
        ("A", "1", "row 1, column r: not a whole number: 'A'"),
        ("1", "2.5", "row 1, column c: not a whole number: '2.5'"),
    ],
)
def test_a_number_that_a_plate_lacks_is_refused(row: str, column: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        well_of(table([row], [column]), "r", "c")


def test_every_filled_cell_without_a_place_is_a_fact() -> None:
    rows = pl.DataFrame(
        {
            "sample_key": ["a", "b"],
            "n": [1, None],
            "text": ["", "x"],
            "plate": ["p", "p"],
            "flag": [True, False],
        }
    )
    facts = reported_facts(rows, used={"plate"}).collect().sort("sample_key", "key")
    assert facts.rows() == [
        ("a", "flag", "true"),
        ("a", "n", "1"),
        ("b", "flag", "false"),
        ("b", "text", "x"),
    ]
