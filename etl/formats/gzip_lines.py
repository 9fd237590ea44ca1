"""Large gzipped text, read as blocks of whole lines in bounded memory.

Here: decompression in a stream, line numbers, the digest of what was read. Not here: what the lines mean, and
tables small enough to be read at once (``delimited.py``).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from isal import isal_zlib

from etl.errors import BadInputError

BLOCK_BYTES: Final = 16 << 20
"""Text of a block."""

_READ_BYTES = 256 << 10
_GZIP = 31
"""What zlib calls gzip with the largest window."""

Progress = Callable[[str, int, int], None]
"""Told the name of a file, the bytes of it that have been read, and its size."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, UTF-8.

    Args:
        first_line: number of the first line; the first of the file is 1.
        text: the lines, each ended.
    """

    first_line: int
    text: bytes


@dataclass(slots=True)
class GzipLines:
    """The lines of a gzip file, of one or several members; iterate once.

    Args:
        path: the file.
        block_bytes: text of a block, which is at most twice as long where its lines are not longer.
        progress: told how far the reading is.
        sha256: of the compressed file, once all blocks have been taken; empty before.
        n_lines: lines read so far.
        n_bytes: text read so far.
    """

    path: Path
    block_bytes: int = BLOCK_BYTES
    progress: Progress | None = None
    sha256: str = field(default="", init=False)
    n_lines: int = field(default=0, init=False)
    n_bytes: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            BadInputError: the file is no gzip, is damaged or truncated; lines before that place are yielded.
        """
        held: list[bytes] = []
        n_held = 0
        for piece in self._decompressed():
            held.append(piece)
            n_held += len(piece)
            if n_held >= self.block_bytes:
                lines, _, rest = b"".join(held).rpartition(b"\n")
                held, n_held = [rest], len(rest)
                if lines:
                    yield self._block(lines + b"\n")
        if rest := b"".join(held):
            yield self._block(rest if rest.endswith(b"\n") else rest + b"\n")

    def _block(self, text: bytes) -> Block:
        block = Block(self.n_lines + 1, text)
        self.n_lines += text.count(b"\n")
        self.n_bytes += len(text)
        return block

    def _decompressed(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        size, n_read = self.path.stat().st_size, 0
        member: Any = None
        with self.path.open("rb") as file:
            while compressed := file.read(_READ_BYTES):
                digest.update(compressed)
                n_read += len(compressed)
                while compressed:
                    if member is None or member.eof:
                        member = isal_zlib.decompressobj(_GZIP)
                    try:
                        piece = member.decompress(compressed, self.block_bytes)
                    except isal_zlib.error as fault:  # type: ignore[misc] # wrong stub
                        raise self._error(f"cannot be decompressed: {fault}") from fault
                    compressed = member.unused_data if member.eof else member.unconsumed_tail
                    if piece:
                        yield piece
                if self.progress is not None:
                    self.progress(self.path.name, n_read, size)
        if member is None or not member.eof:
            raise self._error("the file is truncated: its gzip stream has no end")
        self.sha256 = digest.hexdigest()

    def _error(self, rule: str) -> BadInputError:
        return BadInputError(rule, file=self.path, row=f"after {self.n_lines}")
