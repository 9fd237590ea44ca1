"""Blocks of whole lines come out of a gzip stream, and a damaged one says so."""

import gzip
import hashlib
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.formats.gzip_lines import GzipLines

LINES = b"".join(b"%d\tsynonym %d\n" % (n, n) for n in range(5000))


def _read(path: Path, block_bytes: int = 1000) -> tuple[GzipLines, list[tuple[int, bytes]]]:
    lines = GzipLines(path, block_bytes)
    return lines, [(block.first_line, block.text) for block in lines]


def test_blocks_are_whole_lines_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(LINES))
    lines, blocks = _read(path)
    assert b"".join(text for _, text in blocks) == LINES
    assert len(blocks) > 1
    assert all(text.startswith(b"%d\t" % (first - 1)) and text.endswith(b"\n") for first, text in blocks)
    assert (lines.n_lines, lines.n_bytes) == (5000, len(LINES))
    assert lines.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_members_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(LINES[:1234]) + gzip.compress(b"") + gzip.compress(LINES[1234:]))
    assert b"".join(text for _, text in _read(path)[1]) == LINES


def test_a_last_line_without_end_and_lines_longer_than_a_block_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(b"a" * 5000 + b"\nlast"))
    lines, blocks = _read(path)
    assert b"".join(text for _, text in blocks) == b"a" * 5000 + b"\nlast\n"
    assert lines.n_lines == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "truncated: its gzip stream has no end"),
        (lambda _: b"", "truncated"),
        (lambda data: data[:2000] + b"\0" * 60 + data[2060:], "cannot be decompressed"),
        (lambda data: data + b"rubbish as long as a header", "cannot be decompressed"),
        (lambda data: data + b"rubbish", "no end"),
        (lambda _: b"1\tplain text\n", "cannot be decompressed"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "CID-SMILES.gz"
    path.write_bytes(damage(gzip.compress(LINES)))
    with pytest.raises(BadInputError, match=rf"file CID-SMILES.gz, row after \d+: .*{message}"):
        _read(path)


def test_progress_ends_with_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(LINES))
    told: list[tuple[str, int, int]] = []
    for _ in GzipLines(path, progress=lambda *where: told.append(where)):
        pass
    assert told[-1] == ("lines.gz", path.stat().st_size, path.stat().st_size)
