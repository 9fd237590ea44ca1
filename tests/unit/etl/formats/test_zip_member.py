"""The one file of a zip archive is read as a stream, and an archive that cannot be trusted says so."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.formats.zip_member import open_member

TEXT = b"".join(b"%d,row %d\n" % (n, n * n) for n in range(20_000))


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, method)
    return path


def as_deflate64(path: Path) -> None:
    """Say that a member is compressed by Deflate64, which it is: its text holds no match of 258 bytes."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[8:10] = data[entry + 10 : entry + 12] = struct.pack("<H", 9)
    path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_member_is_read_whole_and_in_lines(tmp_path: Path, method: int) -> None:
    path = archive(tmp_path / "a.zip", {"folder/": b"", "__MACOSX/T.csv": b"x", "folder/T.CSV": TEXT}, method)
    with open_member(path, ".csv") as file:
        assert file.readline() == b"0,row 0\n"
        assert file.readline() + file.read() == TEXT[8:]
        assert file.read(10) == b""


def test_an_empty_member_is_empty(tmp_path: Path) -> None:
    with open_member(archive(tmp_path / "a.zip", {"t.csv": b""}), ".csv") as file:
        assert file.read() == b""


def test_a_member_of_method_9_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"t.csv": TEXT})
    as_deflate64(path)
    with pytest.raises(NotImplementedError), zipfile.ZipFile(path) as file:
        file.read("t.csv")
    with open_member(path, ".csv") as member:
        assert member.read() == TEXT


@pytest.mark.parametrize(
    ("members", "names"), [({"a.txt": b"1"}, "none"), ({"a.csv": b"1", "b.csv": b"2"}, "a.csv, b.csv")]
)
def test_one_file_is_expected(tmp_path: Path, members: dict[str, bytes], names: str) -> None:
    path = archive(tmp_path / "a.zip", members)
    with pytest.raises(BadInputError, match=rf"file a.zip: one .csv file is expected .*: {names}$"):
        open_member(path, ".csv")


def replaced(at: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize("is_deflate64", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-30], "no zip archive, or it is truncated"),
        (lambda data: data[: len(data) // 2], "no zip archive, or it is truncated"),
        (lambda _: b"1,plain text\n", "no zip archive"),
        (lambda _: b"", "no zip archive"),
        (replaced(3000, bytes(200)), "cannot be decompressed|checksum|bytes where the archive says"),
        (replaced(0, b"XX"), "t.csv: is not where the archive says"),
        (
            lambda data: replaced(data.index(b"PK\x01\x02") + 16, b"\0\0\0\1")(data),
            "t.csv: the checksum is wrong",
        ),
        (
            lambda data: replaced(data.index(b"PK\x01\x02") + 24, struct.pack("<I", len(TEXT) + 1))(data),
            rf"t.csv: {len(TEXT)} bytes where the archive says {len(TEXT) + 1}",
        ),
        (
            lambda data: replaced(data.index(b"PK\x01\x02") + 20, struct.pack("<I", 10**6))(data),
            "t.csv: the archive is truncated",
        ),
        (
            lambda data: replaced(data.index(b"PK\x01\x02") + 20, struct.pack("<I", 5000))(data),
            "cannot be decompressed: the compressed data have no end|t.csv: the compressed data have no end",
        ),
        (lambda data: replaced(data.index(b"PK\x01\x02") + 8, b"\x01")(data), "t.csv is encrypted"),
        (lambda data: replaced(data.index(b"PK\x01\x02") + 10, b"\x62")(data), r"unknown way \(method 98\)"),
    ],
)
def test_an_archive_that_cannot_be_trusted_is_refused(
    tmp_path: Path, is_deflate64: bool, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = archive(tmp_path / "a.zip", {"t.csv": TEXT})
    if is_deflate64:
        as_deflate64(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInputError, match=rf"file a.zip: .*({message})"), open_member(path, ".csv") as file:
        file.read()


def test_a_stream_is_read_once_and_lazily(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"t.csv": TEXT})
    path.write_bytes(replaced(path.read_bytes().index(b"PK\x01\x02") + 16, b"\0\0\0\1")(path.read_bytes()))
    with open_member(path, ".csv") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == b"0,row 0\n"
