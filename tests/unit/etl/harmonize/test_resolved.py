import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.resolved import with_resolved_ids

NAMES = pl.DataFrame(
    {
        "dataset_id": ["toy", "toy", "other"],
        "context_reported": ["A", "B", "A"],
        "context_id": ["CVCL_0001", "CVCL_0002", "CVCL_0003"],
    }
)


def reported(*labels: str | None) -> pl.DataFrame:
    return pl.DataFrame({"context_reported": labels}, schema={"context_reported": pl.String})


def test_ids_are_those_of_the_dataset_in_the_order_of_the_rows() -> None:
    rows = with_resolved_ids(reported("B", "A", "B"), "context", NAMES, dataset_id="toy")
    assert rows["context_id"].to_list() == ["CVCL_0002", "CVCL_0001", "CVCL_0002"]


def test_a_row_that_reports_nothing_has_no_id() -> None:
    rows = with_resolved_ids(reported(None), "context", NAMES, dataset_id="toy")
    assert rows["context_id"].to_list() == [None]


def test_names_that_are_not_listed_are_counted_and_the_first_is_named() -> None:
    with pytest.raises(BadInputError) as error:
        with_resolved_ids(reported("A", "X", "Y", "X"), "context", NAMES, dataset_id="toy")
    assert str(error.value) == (
        "toy, column context_reported: context 'X' is not in the dataset's own list "
        "(2 such name(s) in 3 row(s))"
    )
