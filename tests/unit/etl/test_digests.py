"""Digests of files and code."""

import hashlib
import os
from pathlib import Path

import pytest

from etl import digests
from etl.digests import code_version, read_sha256, remember_sha256, sha256_of


def test_a_file_is_read_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"one")
    assert sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(digests, "read_sha256", lambda _: pytest.fail("it is read again"))
        sha256_of(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert sha256_of(path) == read_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_digest_may_come_from_who_has_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"one")
    remember_sha256(path, "told")
    assert sha256_of(path) == "told"


def test_code_that_decides_no_value_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("formats/gct.py", "sources/own.py", "extract/web.py", "sources/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(digests, "CODE", ("etl",))
    monkeypatch.setattr(digests.resources, "files", lambda _: tmp_path)

    def versions() -> tuple[str, str]:
        code_version.cache_clear()
        return code_version(), code_version("etl/formats", "etl/sources/other")

    try:
        whole, part = versions()
        for name in ("extract/web.py", "sources/notes.md"):
            (tmp_path / name).write_text("x = 2")
        assert versions() == (whole, part)
        (tmp_path / "sources" / "own.py").write_text("x = 2")
        assert versions() == (versions()[0], part)
        assert versions()[0] != whole
        (tmp_path / "formats" / "gct.py").write_text("x = 2")
        assert versions()[1] != part
    finally:
        code_version.cache_clear()
