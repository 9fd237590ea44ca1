"""Deflate64, the compression that zip calls method 9, undone in compiled code.

It is Deflate (RFC 1951) but for three things (PKWARE, APPNOTE, "Enhanced Deflating"): a match may lie 65,536
bytes back and not 32,768; the distance codes 30 and 31, unused in Deflate, begin at 32,769 and 49,153 with 14
further bits each; and length code 285 is 3 and 16 further bits, where in Deflate it is 258.

Here: the bytes of one stream. Not here: where they lie in an archive and what checks them (``zip_member``).
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from etl.arrays import IntArray

Bytes = NDArray[np.uint8]

PIECE_BYTES: Final = 4 << 20
"""Size of the pieces, but for the last; a piece is longer by what its last match has too much."""

_WINDOW = 1 << 16
_LONGEST_MATCH = 3 + (1 << 16) - 1
_LONGEST_CODE = 15
_N_LITERALS_AND_LENGTHS = 288
_N_DISTANCES = 32
_END_OF_BLOCK = 256

_LENGTH_BITS = np.array([0] * 8 + [bits for bits in range(1, 6) for _ in range(4)] + [16])
_LENGTH_BASE = 3 + np.concatenate([[0], np.cumsum(1 << _LENGTH_BITS[:-2]), [0]])
_DISTANCE_BITS = np.array([0, 0] + [bits for bits in range(15) for _ in range(2)])
_DISTANCE_BASE = 1 + np.concatenate([[0], np.cumsum(1 << _DISTANCE_BITS)[:-1]])
_CODE_LENGTH_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])

# What is kept from one piece to the next, by its place in an array.
_BIT, _PHASE, _IS_LAST, _N_STORED, _LITERAL_BITS, _DISTANCE_TABLE_BITS = range(6)
_AT_HEADER, _IN_STORED, _IN_CODED, _AT_END = range(4)

_FAULTS: Final = {
    -1: "the compressed data have no end",
    -2: "a block of an unknown type",
    -3: "code lengths that make no code",
    -4: "a code that is none",
    -5: "a match before the start",
    -6: "a stored block whose two lengths differ",
}


def inflate(data: Bytes) -> Iterator[bytes]:
    """Yield what a stream holds, in pieces of about ``PIECE_BYTES``.

    Args:
        data: the stream; what follows its last block is not looked at. May be a mapped file.

    Raises:
        ValueError: the stream is damaged or truncated; what comes before that place has been yielded, but
            for less than a piece.
    """
    buffer = np.zeros(_WINDOW + PIECE_BYTES + _LONGEST_MATCH, np.uint8)
    state = np.zeros(6, np.int64)
    literals = np.zeros(1 << _LONGEST_CODE, np.int64)
    distances = np.zeros(1 << _LONGEST_CODE, np.int64)
    n_before = 0
    while state[_PHASE] != _AT_END:
        first = _WINDOW - min(n_before, _WINDOW)
        end = _fill(data, buffer, first, state, literals, distances)
        if end < 0:
            raise ValueError(_FAULTS[end])
        n_before += end - _WINDOW
        yield buffer[_WINDOW:end].tobytes()
        buffer[:_WINDOW] = buffer[end - _WINDOW : end].copy()


@njit(cache=True, nogil=True)
def _fill(
    data: Bytes, buffer: Bytes, first: int, state: IntArray, literals: IntArray, distances: IntArray
) -> int:
    """Write the next piece behind the window, and return where it ends, or the number of a fault.

    Args:
        data: the stream.
        buffer: the window, of which what comes before ``first`` has never been written, and room for a piece.
        first: place in the buffer before which no match may lie.
        state: where the stream is.
        literals: table of the literals and lengths of the block that is being read.
        distances: table of its distances.
    """
    n_bits = len(data) * 8
    out = _WINDOW
    full = _WINDOW + PIECE_BYTES
    while out < full and state[_PHASE] != _AT_END:
        if state[_PHASE] == _AT_HEADER:
            fault = _read_header(data, state, literals, distances)
            if fault < 0:
                return fault
        elif state[_PHASE] == _IN_STORED:
            start = state[_BIT] // 8
            n = min(state[_N_STORED], full - out)
            if start + n > len(data):
                return -1
            for i in range(n):
                buffer[out + i] = data[start + i]
            out += n
            state[_BIT] += 8 * n
            state[_N_STORED] -= n
            if state[_N_STORED] == 0:
                state[_PHASE] = _AT_END if state[_IS_LAST] else _AT_HEADER
        else:
            out = _fill_coded(data, buffer, first, out, full, state, literals, distances)
            if out < 0:
                return out
        if state[_BIT] > n_bits:
            return -1
    return out


@njit(cache=True, nogil=True)
def _fill_coded(
    data: Bytes,
    buffer: Bytes,
    first: int,
    out: int,
    full: int,
    state: IntArray,
    literals: IntArray,
    distances: IntArray,
) -> int:
    """Write what a coded block holds until it ends or the buffer is full; as ``_fill``."""
    n_data = len(data)
    place = state[_BIT] // 8
    held, n_held = (
        np.int64(0),
        0,
    )  # bits that were taken from the data and not yet used: at most 56 of an int64
    literal_mask = (1 << state[_LITERAL_BITS]) - 1
    distance_mask = (1 << state[_DISTANCE_TABLE_BITS]) - 1
    skipped = state[_BIT] % 8
    if skipped:
        if place < n_data:
            held = np.int64(data[place]) >> skipped
        place += 1
        n_held = 8 - skipped
    while out < full:
        while n_held <= 48:
            if place < n_data:
                held |= np.int64(data[place]) << n_held
            elif place * 8 - n_held > n_data * 8:
                return -1
            place += 1
            n_held += 8
        entry = literals[held & literal_mask]
        used, symbol = entry & 15, entry >> 4
        if used == 0:
            return -4
        held >>= used
        n_held -= used
        if symbol < _END_OF_BLOCK:
            buffer[out] = symbol
            out += 1
            continue
        if symbol == _END_OF_BLOCK:
            state[_PHASE] = _AT_END if state[_IS_LAST] else _AT_HEADER
            break
        symbol -= _END_OF_BLOCK + 1
        if symbol >= len(_LENGTH_BASE):
            return -4
        used = _LENGTH_BITS[symbol]
        length = _LENGTH_BASE[symbol] + (held & ((1 << used) - 1))
        held >>= used
        n_held -= used
        while n_held <= 48:
            if place < n_data:
                held |= np.int64(data[place]) << n_held
            place += 1
            n_held += 8
        entry = distances[held & distance_mask]
        used, symbol = entry & 15, entry >> 4
        if used == 0:
            return -4
        held >>= used
        n_held -= used
        used = _DISTANCE_BITS[symbol]
        source = out - _DISTANCE_BASE[symbol] - (held & ((1 << used) - 1))
        held >>= used
        n_held -= used
        if source < first:
            return -5
        for i in range(length):
            buffer[out + i] = buffer[source + i]
        out += length
    state[_BIT] = place * 8 - n_held
    return out


@njit(cache=True, nogil=True)
def _read_header(data: Bytes, state: IntArray, literals: IntArray, distances: IntArray) -> int:
    """Read the header of a block and its codes; return the number of a fault, or zero."""
    state[_IS_LAST] = _bits(data, state, 1)
    kind = _bits(data, state, 2)
    if kind == 0:
        state[_BIT] = (state[_BIT] + 7) // 8 * 8
        state[_N_STORED] = _bits(data, state, 16)
        if _bits(data, state, 16) != state[_N_STORED] ^ 0xFFFF:
            return -6
        state[_PHASE] = _IN_STORED
        return 0
    lengths = np.zeros(_N_LITERALS_AND_LENGTHS + _N_DISTANCES, np.int64)
    n_literals, n_distances = _N_LITERALS_AND_LENGTHS, _N_DISTANCES
    if kind == 1:
        lengths[:144] = 8
        lengths[144:256] = 9
        lengths[256:280] = 7
        lengths[280:288] = 8
        lengths[288:] = 5
    elif kind == 2:
        n_literals = 257 + _bits(data, state, 5)
        n_distances = 1 + _bits(data, state, 5)
        n_lengths = 4 + _bits(data, state, 4)
        of_lengths = np.zeros(19, np.int64)
        for i in range(n_lengths):
            of_lengths[_CODE_LENGTH_ORDER[i]] = _bits(data, state, 3)
        table_bits = _make_table(of_lengths, literals)
        if table_bits < 0:
            return -3
        i = 0
        while i < n_literals + n_distances:
            entry = literals[_peek(data, state[_BIT], table_bits)]
            used, symbol = entry & 15, entry >> 4
            if used == 0:
                return -4
            state[_BIT] += used
            repeated, n = symbol, 1
            if symbol == 16:
                if i == 0:
                    return -3
                repeated, n = lengths[i - 1], 3 + _bits(data, state, 2)
            elif symbol == 17:
                repeated, n = 0, 3 + _bits(data, state, 3)
            elif symbol == 18:
                repeated, n = 0, 11 + _bits(data, state, 7)
            if i + n > n_literals + n_distances:
                return -3
            lengths[i : i + n] = repeated
            i += n
    else:
        return -2
    state[_LITERAL_BITS] = _make_table(lengths[:n_literals], literals)
    state[_DISTANCE_TABLE_BITS] = _make_table(lengths[n_literals : n_literals + n_distances], distances)
    if state[_LITERAL_BITS] < 0 or state[_DISTANCE_TABLE_BITS] < 0:
        return -3
    state[_PHASE] = _IN_CODED
    return 0


@njit(cache=True, nogil=True)
def _make_table(lengths: IntArray, table: IntArray) -> int:
    """Write the table of a canonical Huffman code, and return how many bits look a symbol up; -1 of no code.

    The entry at the bits that come next, the first as the lowest, is 16 times the symbol plus the length of
    its code; 0 where no code is. A code that does not use all bits up is one only if it has one symbol or
    none.
    """
    n_of_length = np.zeros(_LONGEST_CODE + 1, np.int64)
    for length in lengths:
        n_of_length[length] += 1
    n_symbols = len(lengths) - n_of_length[0]
    n_of_length[0] = 0
    longest, left = 1, 1
    next_code = np.zeros(_LONGEST_CODE + 1, np.int64)
    for length in range(1, _LONGEST_CODE + 1):
        left = 2 * left - n_of_length[length]
        if left < 0:
            return -1
        next_code[length] = 2 * (next_code[length - 1] + n_of_length[length - 1])
        if n_of_length[length]:
            longest = length
    if left > 0 and n_symbols > 1:
        return -1
    table[: 1 << longest] = 0
    for symbol in range(len(lengths)):
        length = lengths[symbol]
        if length == 0:
            continue
        code, backwards = next_code[length], 0
        next_code[length] += 1
        for _ in range(length):
            backwards = 2 * backwards + (code & 1)
            code >>= 1
        table[backwards : 1 << longest : 1 << length] = 16 * symbol + length
    return longest


@njit(cache=True, nogil=True)
def _bits(data: Bytes, state: IntArray, n: int) -> int:
    """Take the next bits, the first as the lowest."""
    value = _peek(data, state[_BIT], n)
    state[_BIT] += n
    return value


@njit(cache=True, nogil=True)
def _peek(data: Bytes, bit: int, n: int) -> int:
    """Return bits, at most 16, from a place on; zeros beyond the end, which ``_fill`` finds."""
    value = np.int64(0)
    for i in range(3):
        if bit // 8 + i < len(data):
            value |= np.int64(data[bit // 8 + i]) << (8 * i)
    return int((value >> (bit % 8)) & ((1 << n) - 1))
