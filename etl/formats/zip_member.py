"""The one large file of a zip archive, read as a stream in bounded memory.

Here: where the file lies in the archive, decompression, and the checks that the archive offers: size and
CRC-32. Deflate64, which Windows gives to a file of more than 2 GB, is read as well (``deflate64``). Not here:
unpacking archives into files (``etl/extract/archives.py``), and what the bytes mean.
"""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from isal import isal_zlib

from etl.errors import BadInputError

_READ_BYTES: Final = 256 << 10
_PIECE_BYTES: Final = 4 << 20
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
"""Of the header before a member: its signature, and the lengths of the name and of what follows the name."""
_SIGNATURE: Final = b"PK\x03\x04"
_RAW_DEFLATE: Final = -15
_DEFLATE64: Final = 9
_IS_ENCRYPTED: Final = 0x1


def open_member(path: Path, suffix: str) -> io.BufferedReader:
    """Return the only file of a zip archive whose name ends so, to be read once from its start.

    Args:
        path: the archive.
        suffix: end of the name, lower case; that of the member may be of any case.

    Raises:
        BadInputError: the file is no zip archive, or it is truncated; it holds no such file or several; the
            file in it is encrypted or compressed in a way that is not known. While it is read: it is damaged,
            or is not what size and checksum say.
    """
    member = _only_member(path, suffix)
    return io.BufferedReader(_Stream(_checked(path, member)), _PIECE_BYTES)


def _only_member(path: Path, suffix: str) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as fault:
        rule = f"no zip archive, or it is truncated: {fault}"
        raise BadInputError(rule, file=path) from fault
    found = [one for one in members if one.filename.lower().endswith(suffix) and not _is_shadow(one)]
    if len(found) != 1:
        names = ", ".join(one.filename for one in found) or "none"
        raise BadInputError(f"one {suffix} file is expected in the archive, there are: {names}", file=path)
    if found[0].flag_bits & _IS_ENCRYPTED:
        raise BadInputError(f"{found[0].filename} is encrypted", file=path)
    return found[0]


def _is_shadow(member: zipfile.ZipInfo) -> bool:
    """Say whether a member is what macOS lays beside each file of an archive."""
    return member.filename.startswith("__MACOSX/")


def _checked(path: Path, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member, and compare their number and checksum with what the archive says."""
    size, crc = 0, 0
    for piece in _decompressed(path, member):
        size += len(piece)
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if size != member.file_size:
        raise _error(path, member, f"{size} bytes where the archive says {member.file_size}")
    if crc != member.CRC:
        raise _error(path, member, "the checksum is wrong")


def _decompressed(path: Path, member: zipfile.ZipInfo) -> Iterator[bytes]:
    start = _start(path, member)
    if member.compress_type == zipfile.ZIP_STORED:
        yield from _compressed(path, member, start)
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        yield from _inflated(path, member, start)
    elif member.compress_type == _DEFLATE64:
        # It is compiled, and most archives have no need of it.
        from etl.formats import deflate64

        # Of a mapped file only the pages that are being read are in memory.
        data = np.memmap(path, np.uint8, mode="r", offset=start, shape=(member.compress_size,))
        try:
            yield from deflate64.inflate(data)
        except ValueError as fault:
            raise _error(path, member, f"cannot be decompressed: {fault}") from fault
    else:
        raise _error(path, member, f"compressed in an unknown way (method {member.compress_type})")


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the compressed bytes begin; all of them are there."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        raise _error(path, member, "is not where the archive says")
    _, n_name, n_extra = _LOCAL_HEADER.unpack(header)
    start: int = member.header_offset + _LOCAL_HEADER.size + n_name + n_extra
    if start + member.compress_size > path.stat().st_size:
        raise _error(path, member, "the archive is truncated")
    return start


def _compressed(path: Path, member: zipfile.ZipInfo, start: int) -> Iterator[bytes]:
    left = member.compress_size
    with path.open("rb") as file:
        file.seek(start)
        while left and (piece := file.read(min(_READ_BYTES, left))):
            left -= len(piece)
            yield piece


def _inflated(path: Path, member: zipfile.ZipInfo, start: int) -> Iterator[bytes]:
    stream = isal_zlib.decompressobj(_RAW_DEFLATE)
    for compressed in _compressed(path, member, start):
        while compressed and not stream.eof:
            try:
                piece = stream.decompress(compressed, _PIECE_BYTES)
            except isal_zlib.error as fault:  # type: ignore[misc] # wrong stub
                raise _error(path, member, f"cannot be decompressed: {fault}") from fault
            compressed = stream.unconsumed_tail
            if piece:
                yield piece
    if not stream.eof:
        raise _error(path, member, "the compressed data have no end")


def _error(path: Path, member: zipfile.ZipInfo, rule: str) -> BadInputError:
    return BadInputError(f"{member.filename}: {rule}", file=path)


class _Stream(io.RawIOBase):
    """What an iterator of bytes yields, as a binary file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what a buffered reader gives
        """Fill a buffer as far as one piece goes; nothing at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n
