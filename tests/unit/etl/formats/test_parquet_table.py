"""Small Parquet files as tables of text."""

from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.formats import parquet_table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    frame = pl.DataFrame(
        {
            "a": [" x ", "nan"],
            "n": [3.0, 2.5],
            "whole": [7, None],
            "many": [["p", "q"], []],
            "z": [True, False],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def read(path: Path, *columns: str, **options: object) -> pl.DataFrame:
    return parquet_table.read(path, columns, dataset_id="toy", missing="^(nan)?$", **options).rows  # type: ignore[arg-type]


def test_cells_are_text_and_whole_numbers_have_no_point(path: Path) -> None:
    rows = read(path, "n", "a", "whole")
    assert rows.columns == ["row", "n", "a", "whole"]
    assert rows.rows() == [(1, "3", "x", "7"), (2, "2.5", None, None)]


def test_other_columns_and_lists_come_where_they_are_asked_for(path: Path) -> None:
    rows = read(path, "a", has_others=True, list_separator="; ")
    assert rows.columns == ["row", "a", "n", "whole", "many", "z"]
    assert rows["many"].to_list() == ["p; q", None]
    assert rows["z"].to_list() == ["true", "false"]


def test_what_is_no_such_table_is_refused(path: Path) -> None:
    with pytest.raises(BadInputError, match="column many: a column holds one value a row"):
        read(path, "many")
    with pytest.raises(BadInputError, match="column b: the column is missing"):
        read(path, "b")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInputError, match=r"toy, file t\.parquet: the file is no complete Parquet file"):
        read(path, "a")
