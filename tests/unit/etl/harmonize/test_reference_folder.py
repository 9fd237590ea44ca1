"""Finding references, and parsing each of them once."""

from pathlib import Path

import polars as pl

from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

READ: list[Path] = []


def read(path: Path) -> pl.DataFrame:
    READ.append(path)
    return pl.DataFrame({"line": path.read_text().splitlines()})


def test_files_are_found_once_and_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    folder = ReferenceFolder(tmp_path)
    assert [folder.name_of(path) for path in folder.find("*.txt", "a*")] == ["a.txt", "b.txt"]
    assert EMBEDDED_ONLY.find("*") == []


def test_a_file_is_parsed_again_only_when_it_changes(tmp_path: Path) -> None:
    READ.clear()
    path, folder = tmp_path / "a.txt", ReferenceFolder(tmp_path, tmp_path / "cache")
    path.write_text("one\ntwo")
    first = folder.parsed(path, read)
    assert folder.parsed(path, read).equals(first)
    assert len(READ) == 1
    path.write_text("one\ntwo\nthree")
    assert folder.parsed(path, read).height == 3
    assert len(READ) == 2
    assert len(list((tmp_path / "cache" / "reference").iterdir())) == 1


def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    READ.clear()
    (tmp_path / "a.txt").write_text("one")
    folder = ReferenceFolder(tmp_path)
    folder.parsed(tmp_path / "a.txt", read)
    folder.parsed(tmp_path / "a.txt", read)
    assert len(READ) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
