"""Sorted tables on disk: whatever comes in, in whatever order, is found again by its key."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.errors import BadInputError
from etl.formats import keyed_parquet
from etl.formats.keyed_parquet import KeyedTable, build, open_table, read_manifest

SCHEMA = pl.Schema({"key": pl.String, "n": pl.Int64})
NUMBERS = pl.Schema({"key": pl.Int64, "n": pl.Int64})


def _frame(keys: list[Any], schema: pl.Schema = SCHEMA) -> pl.DataFrame:
    return pl.DataFrame({"key": keys, "n": range(len(keys))}, schema=schema)


def _build(
    folder: Path, chunks: Iterable[pl.DataFrame], schema: pl.Schema = SCHEMA, **options: Any
) -> KeyedTable:
    sizes = {"run_bytes": 2000, "part_bytes": 1000, "row_group_rows": 8} | options
    return build(folder, chunks, schema=schema, sort_by=["key", "n"], facts=lambda: {"made of": "x"}, **sizes)


def _chunks(frame: pl.DataFrame, n_rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, frame.height, n_rows):
        yield frame.slice(start, n_rows)


def _all_rows(table: KeyedTable) -> pl.DataFrame:
    generation = table.folder / table.manifest.generation
    return pl.concat(pl.read_parquet(generation / part["name"]) for part in table.manifest.parts)


@pytest.mark.parametrize("schema", [SCHEMA, NUMBERS], ids=["text", "numbers"])
@pytest.mark.parametrize("order", ["ascending", "descending", "mixed"])
def test_rows_are_found_by_their_key(tmp_path: Path, schema: pl.Schema, order: str) -> None:
    keys = [(n * 7919) % 1009 if order == "mixed" else n for n in range(1000)]
    keys = keys[::-1] if order == "descending" else keys
    made = _frame([f"k{n:04}" if schema is SCHEMA else n for n in keys], schema)
    table = _build(tmp_path / "table", _chunks(made, 30), schema)
    assert len(table.manifest.parts) > 5
    assert_frame_equal(_all_rows(table), made.sort("key", "n"))
    wanted = made["key"].sample(40, seed=1)
    expected = made.filter(pl.col("key").is_in(wanted.implode())).sort("key", "n")
    assert_frame_equal(table.lookup(wanted), expected)
    assert not list((tmp_path / "table").glob("*/runs"))


def test_the_order_of_the_input_does_not_matter(tmp_path: Path) -> None:
    made = _frame([f"k{n % 50}" for n in range(500)])
    one = _build(tmp_path / "one", _chunks(made, 20))
    other = _build(tmp_path / "other", _chunks(made.reverse(), 33))
    assert_frame_equal(_all_rows(one), _all_rows(other))


def test_what_is_repeated_null_or_unknown_is_no_trouble(tmp_path: Path) -> None:
    table = _build(tmp_path / "table", [_frame(["b", "a", "b"])])
    keys = pl.Series(["b", None, "b", "nothing", ""])
    assert table.lookup(keys).rows() == [("b", 0), ("b", 2)]
    assert table.lookup(pl.Series([], dtype=pl.String)).rows() == []
    assert table.lookup(pl.Series([None], dtype=pl.String)).schema == SCHEMA


def test_many_rows_of_one_key_stay_together(tmp_path: Path) -> None:
    made = _frame(["same"] * 300 + ["zz", "aa"])
    table = _build(
        tmp_path / "table", _chunks(made, 40), finish=lambda rows: rows.unique("key", keep="first")
    )
    assert table.lookup(pl.Series(["same", "aa"])).height == 2


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    table = _build(tmp_path / "table", [])
    assert (table.manifest.n_rows, table.schema) == (0, SCHEMA)
    assert table.lookup(pl.Series(["a"])).rows() == []


def test_only_row_groups_that_can_hold_a_key_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _build(tmp_path / "table", _chunks(_frame(list(range(0, 4000, 2)), NUMBERS), 100), NUMBERS)
    read: list[tuple[int, int]] = []
    rows = KeyedTable._rows
    monkeypatch.setattr(
        KeyedTable, "_rows", lambda self, part, slices: (read.extend(slices), rows(self, part, slices))[1]
    )
    assert table.lookup(pl.Series([10, 12, 2000, 2001, 99_999])).height == 3
    assert sum(n for _, n in read) <= 3 * 8


@given(st.lists(st.text(max_size=4), max_size=60), st.lists(st.text(max_size=4), max_size=10))
def test_a_look_up_is_a_semi_join(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], wanted: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    made = _frame(keys)
    table = _build(folder, _chunks(made, 7), run_bytes=200, part_bytes=100, row_group_rows=3)
    expected = made.filter(pl.col("key").is_in(wanted)).sort("key", "n")
    assert_frame_equal(table.lookup(pl.Series(wanted, dtype=pl.String)), expected)


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    _build(folder, [_frame(["old"])])

    def broken() -> Iterator[pl.DataFrame]:
        yield from _chunks(_frame([f"new {n}" for n in range(200)]), 20)
        raise BadInputError("the rest is missing", file="source.gz")

    with pytest.raises(BadInputError, match="the rest is missing"):
        _build(folder, broken())
    table = open_table(folder)
    assert table is not None
    assert table.lookup(pl.Series(["old"])).height == 1
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [table.manifest.generation]


def test_a_build_that_fails_first_leaves_no_table(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _build(tmp_path / "table", (_frame([str(1 // n)]) for n in [0]))
    assert open_table(tmp_path / "table") is None
    assert open_table(tmp_path / "nowhere") is None


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    (folder / "0123" / "runs").mkdir(parents=True)
    (folder / "0123" / "part-00000.parquet").write_bytes(b"half")
    assert open_table(folder) is None
    table = _build(folder, [_frame(["a"])])
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [table.manifest.generation]


def test_a_new_table_replaces_the_old_one(tmp_path: Path) -> None:
    old = _build(tmp_path, [_frame(["a", "b"])])
    new = _build(tmp_path, [_frame(["b", "c"])])
    assert new.lookup(pl.Series(["a", "c"])).rows() == [("c", 1)]
    assert old.manifest.generation != new.manifest.generation
    assert not (tmp_path / old.manifest.generation).exists()


def test_a_current_table_is_not_built_again(tmp_path: Path) -> None:
    old = _build(tmp_path, [_frame(["a"])])
    again = _build(tmp_path, (1 / 0 for _ in [0]), is_current=lambda found: found.facts == {"made of": "x"})
    assert again.manifest == old.manifest


def test_facts_can_be_restated(tmp_path: Path) -> None:
    table = _build(tmp_path / "table", [_frame(["a"])])
    restated = keyed_parquet.restate(tmp_path / "table", {"modified_at": "later"})
    assert restated.facts == {"made of": "x", "modified_at": "later"}
    assert (restated.built_at, restated.parts) == (table.manifest.built_at, table.manifest.parts)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadInputError, match=r"manifest\.json is missing"):
        keyed_parquet.restate(tmp_path / "nothing", {})


def test_the_manifest_tells_what_the_table_is(tmp_path: Path) -> None:
    table = _build(tmp_path, _chunks(_frame([f"k{n:03}" for n in range(300)]), 50))
    manifest = read_manifest(tmp_path)
    assert manifest == table.manifest
    assert manifest is not None
    assert (manifest.key, manifest.n_rows, manifest.facts) == ("key", 300, {"made of": "x"})
    assert sum(part["n_rows"] for part in manifest.parts) == 300
    assert (manifest.parts[0]["first"], manifest.parts[-1]["last"]) == ("k000", "k299")


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    table = _build(tmp_path / "names", _chunks(_frame([f"k{n:03}" for n in range(300)]), 50))
    part = tmp_path / "names" / table.manifest.generation / "part-00001.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(
        BadInputError, match=r"file names: the table is broken: part-00001.parquet has \d+ bytes"
    ):
        open_table(tmp_path / "names")
    part.write_bytes(b"\0" * len(whole))
    opened = open_table(tmp_path / "names")
    assert opened is not None
    with pytest.raises(BadInputError, match=r"part-00001.parquet cannot be read: .*delete the folder"):
        opened.lookup(pl.Series([f"k{n:03}" for n in range(300)]))
    part.unlink()
    with pytest.raises(BadInputError, match=r"part-00001\.parquet is missing"):
        open_table(tmp_path / "names")


def test_a_manifest_that_is_none_is_named_and_one_of_another_layout_is_no_table(tmp_path: Path) -> None:
    _build(tmp_path, [_frame(["a"])])
    path = tmp_path / "manifest.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"layout": keyed_parquet.LAYOUT + 1}))
    assert open_table(tmp_path) is None
    path.write_text(json.dumps({"layout": keyed_parquet.LAYOUT}))
    with pytest.raises(BadInputError, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path)
