"""Errors name the place, most general first, and only the places that are known."""

from pathlib import Path

from etl.errors import BadInputError


def test_the_text_names_dataset_file_row_column_and_rule() -> None:
    error = BadInputError(
        "a negative dose", dataset_id="gcsi", file=Path("raw/gcsi/x.tsv"), row=7, column="dose"
    )
    assert str(error) == "gcsi, file x.tsv, row 7, column dose: a negative dose"
    assert str(BadInputError("a negative dose")) == "a negative dose"


def test_a_place_learnt_later_is_named_too() -> None:
    error = BadInputError("truncated", file="m.gct")
    error.dataset_id = "l1000_ljp005"
    assert str(error) == "l1000_ljp005, file m.gct: truncated"
