"""Deflate64 is undone as Deflate where the two are one, and by its own rules where they differ."""

import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.formats.deflate64 import PIECE_BYTES, inflate

LENGTH_STARTS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115)
LENGTH_STARTS += (131, 163, 195, 227)
LENGTH_BITS = (0,) * 8 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4,) * 4 + (5,) * 4

Step = bytes | tuple[int, int]
"""Literal bytes, or a match: its length and how far it lies back."""


class Bits:
    """Bits as Deflate packs them, the first as the lowest of a byte."""

    def __init__(self) -> None:
        self.value, self.n = 0, 0

    def add(self, value: int, n: int) -> None:
        self.value |= value << self.n
        self.n += n

    def add_code(self, code: int, n: int) -> None:
        """Add a Huffman code, whose highest bit comes first."""
        self.add(int(f"{code:0{n}b}"[::-1], 2), n)

    def packed(self) -> bytes:
        return self.value.to_bytes((self.n + 7) // 8, "little")


def encoded(steps: Iterable[Step]) -> bytes:
    """One block of Deflate64 in the fixed code."""
    bits = Bits()
    bits.add(1, 1)
    bits.add(1, 2)
    for step in steps:
        if isinstance(step, bytes):
            for byte in step:
                add_symbol(bits, byte)
        else:
            add_length(bits, step[0])
            add_distance(bits, step[1])
    add_symbol(bits, 256)
    return bits.packed()


def add_symbol(bits: Bits, symbol: int) -> None:
    if symbol < 144:
        bits.add_code(0x30 + symbol, 8)
    elif symbol < 256:
        bits.add_code(0x190 + symbol - 144, 9)
    elif symbol < 280:
        bits.add_code(symbol - 256, 7)
    else:
        bits.add_code(0xC0 + symbol - 280, 8)


def add_length(bits: Bits, length: int) -> None:
    if length > 257:
        add_symbol(bits, 285)
        bits.add(length - 3, 16)
        return
    code = max(code for code, start in enumerate(LENGTH_STARTS) if start <= length)
    add_symbol(bits, 257 + code)
    bits.add(length - LENGTH_STARTS[code], LENGTH_BITS[code])


def add_distance(bits: Bits, distance: int) -> None:
    start, code = 1, 0
    while start + (1 << (n := max(0, code // 2 - 1))) <= distance:
        start, code = start + (1 << n), code + 1
    bits.add_code(code, 5)
    bits.add(distance - start, n)


def expanded(steps: Iterable[Step]) -> bytes:
    text = bytearray()
    for step in steps:
        if isinstance(step, bytes):
            text += step
        else:
            length, distance = step
            for _ in range(length):
                text.append(text[-distance])
    return bytes(text)


def deflated(text: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return stream.compress(text) + stream.flush()


def inflated(data: bytes) -> bytes:
    return b"".join(inflate(np.frombuffer(data, np.uint8)))


@given(st.binary(max_size=2000), st.sampled_from([0, 1, 6, 9]))
def test_what_deflate_and_deflate64_share_is_read_as_zlib_does(text: bytes, level: int) -> None:
    assert inflated(deflated(text, level, zlib.Z_HUFFMAN_ONLY)) == text


def test_matches_and_codes_of_a_text_are_read_as_zlib_does() -> None:
    rng = np.random.default_rng(5)
    text = b"".join(b"%d,%.4f,LINE-%d\n" % (n, rng.normal(), rng.integers(60)) for n in range(20_000))
    assert inflated(deflated(text)) == text


def test_stored_blocks_and_pieces_fit_together() -> None:
    text = np.random.default_rng(6).bytes(2 * PIECE_BYTES + 12_345)
    pieces = list(inflate(np.frombuffer(deflated(text), np.uint8)))
    assert b"".join(pieces) == text
    assert [len(piece) for piece in pieces[:2]] == [PIECE_BYTES, PIECE_BYTES]


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    found: list[Step] = [draw(st.binary(min_size=1, max_size=20))]
    size = len(found[0])
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            literal = draw(st.binary(min_size=1, max_size=20))
            found.append(literal)
            size += len(literal)
        else:
            length = draw(st.one_of(st.integers(3, 300), st.integers(258, 65_538)))
            found.append((length, draw(st.integers(1, min(size, 65_536)))))
            size += length
    return found


@given(steps())
def test_long_and_far_matches_are_read(found: list[Step]) -> None:
    assert inflated(encoded(found)) == expanded(found)


@pytest.mark.parametrize("distance", [32_768, 32_769, 49_152, 49_153, 65_536])
def test_a_match_may_lie_64_kib_back(distance: int) -> None:
    found: list[Step] = [np.random.default_rng(7).bytes(65_536), (65_538, distance), b"end"]
    assert inflated(encoded(found)) == expanded(found)


def test_a_match_reaches_back_into_the_piece_before() -> None:
    found: list[Step] = [b"0123456789", *[(65_538, 7)] * 70, (258, 65_536), b"end"]
    whole = expanded(found)
    assert len(whole) > PIECE_BYTES + 65_536
    assert inflated(encoded(found)) == whole


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "a stored block whose two lengths differ"),
        (b"\x07", "a block of an unknown type"),
        (encoded([b"a" * 500])[:-40], "the compressed data have no end"),
        (deflated(b"a" * 500, 0)[:-40], "the compressed data have no end"),
        (encoded([b"abc", (5, 4)]), "a match before the start"),
        (b"\x01\x05\x00\x00\x00hello", "a stored block whose two lengths differ"),
        # A dynamic block of which all code lengths have one bit: more than there is room for.
        (b"\x05\x40" + b"\x49" * 8, "code lengths that make no code"),
    ],
)
def test_a_damaged_stream_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        inflated(data)


@given(st.binary(max_size=200), st.integers(0, 2**31))
def test_rubbish_ends_in_an_error_or_an_end(head: bytes, seed: int) -> None:
    stream = deflated(np.random.default_rng(seed).bytes(300) * 3)
    damaged = stream[: len(stream) // 2] + head
    with suppress(ValueError):
        assert len(inflated(damaged)) < 10 * PIECE_BYTES


def archived(text: bytes, data: bytes, name: str = "TABLE.csv") -> bytes:
    """A zip archive with one member of method 9."""
    crc, encoded_name = zlib.crc32(text), name.encode()
    sizes = (crc, len(data), len(text), len(encoded_name))
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 21, 0, 9, 0, 33, *sizes, 0) + encoded_name
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 21, 21, 0, 9, 0, 33, *sizes, 0, 0, 0, 0, 0, 0)
    entry += encoded_name
    at = len(local) + len(data)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), at, 0)
    return local + data + entry + end


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_reads_the_streams_of_these_tests_as_this_does(tmp_path: Path) -> None:
    found: list[Step] = [np.random.default_rng(8).bytes(65_536), (65_538, 49_153), (258, 32_769), (3, 65_536)]
    path = tmp_path / "table.zip"
    path.write_bytes(archived(expanded(found), encoded(found)))
    done = subprocess.run(["unzip", "-p", str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expanded(found) == inflated(encoded(found))
