import polars as pl
import pytest

from etl.unique_keys import UniqueKeys


@pytest.mark.parametrize(
    ("blocks", "n_repeated"),
    [
        ([], 0),
        ([["a", "b"]], 0),
        ([["a"], ["b"], []], 0),
        ([["a"], ["b", "a"], ["a"]], 2),
        ([["a", None], [None]], 1),
    ],
)
def test_keys_of_several_blocks_are_counted(blocks: list[list[str | None]], n_repeated: int) -> None:
    keys = UniqueKeys()
    for block in blocks:
        keys.add(pl.DataFrame({"key": block, "same": 1}, schema={"key": pl.String, "same": pl.Int64}))
    assert keys.n_repeated() == n_repeated


def test_columns_are_told_apart() -> None:
    keys = UniqueKeys()
    keys.add(pl.DataFrame({"a": ["x"], "b": ["y"]}))
    keys.add(pl.DataFrame({"a": ["y"], "b": ["x"]}))
    keys.add(pl.DataFrame({"a": ["xy"], "b": [""]}))
    assert keys.n_repeated() == 0
