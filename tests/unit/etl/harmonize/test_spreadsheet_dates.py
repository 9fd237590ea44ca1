"""Dates that gene names became, and the numbers they can be read as."""

import polars as pl
import pytest

from etl.harmonize.spreadsheet_dates import gene_candidates, read_dates


def dates(*keys: str, n_labels: int = 100) -> list[tuple[int, int]]:
    labels = pl.DataFrame({"row": range(len(keys)), "key": keys}, schema={"row": pl.UInt32, "key": pl.String})
    return read_dates(labels, n_labels=n_labels).select("month", "number").rows()


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("1-Mar", [(3, 1)]),
        ("01-Mar", [(3, 1)]),
        ("Mar-01", [(3, 1)]),
        ("Sep-07", [(9, 7)]),
        ("2-Sep", [(9, 2)]),
        ("X7.Sep", [(9, 7)]),
        ("7-Sept", [(9, 7)]),
        ("15-September", [(9, 15)]),
        ("2001/03/01", [(3, 1)]),
        ("2024-09-07 00:00:00", [(9, 7)]),
        ("2007-09-01", [(9, 1), (9, 7)]),
        ("1-Sep-07", [(9, 1), (9, 7)]),
        ("9/7/2024", [(7, 9), (9, 7)]),
        ("31/3/2024", [(3, 31)]),
        ("45176", [(9, 7)]),
        ("12345", []),
        ("SEPT7", []),
        ("MARCH1", []),
        ("1-Mai", []),
        ("TP53", []),
    ],
)
def test_a_label_is_read_as_every_date_it_may_be(key: str, read: list[tuple[int, int]]) -> None:
    assert dates(key) == read


def test_serial_numbers_are_keys_where_half_of_the_labels_are_such() -> None:
    assert dates("45176", "45177", n_labels=4) == []
    assert dates("45176", n_labels=4) == [(9, 7)]


def test_the_most_trusted_kind_of_name_comes_first_and_all_are_kept() -> None:
    dated = pl.DataFrame(
        [(12, 1, 4, 30, "a"), (12, 1, 3, 20, "b"), (12, 2, 4, 40, "a")],
        schema={
            "month": pl.Int8,
            "number": pl.Int8,
            "rank": pl.Int8,
            "gene_id": pl.Int32,
            "origin": pl.String,
        },
        orient="row",
    )
    labels = pl.DataFrame({"row": [5, 6], "key": ["1-Dec", "3-Dec"]}, schema_overrides={"row": pl.UInt32})
    found = gene_candidates(labels, dated, n_labels=100)
    assert found.rows() == [(5, [20], [20, 30], "b")]
