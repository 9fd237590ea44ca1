"""What every way of transport offers: the state of a remote file, and its bytes from a position on.

Here: the words that ``web.py``, ``ftp.py`` and ``download.py`` share. Not here: any protocol.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

CHUNK_BYTES: Final = 2**20
"""Bytes read at once, at most."""


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What a server says about a file without sending it; None for what it does not say.

    Args:
        n_bytes: size of the whole file.
        etag: HTTP entity tag, with its quotes.
        last_modified: time of the last change, as the server writes it.
        digests: hexadecimal digests that the publisher states, by algorithm (``sha256``, ``md5``).
    """

    n_bytes: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def validator(self) -> str | None:
        """What tells this version in ``If-Range``: a strong entity tag, else the date (RFC 9110, 13.1.5)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file on its way.

    Args:
        start: position of the first byte that comes; 0 where the server starts anew.
        state: of the whole file.
        chunks: the bytes; raises ``TransientFault`` where they end too early.
    """

    start: int
    state: RemoteState
    chunks: Iterator[bytes]


class Transport(Protocol):
    """One protocol. Methods raise ``TransientFault`` for what may pass, ``FetchError`` for what will not."""

    def state(self, address: str) -> RemoteState:
        """Return what the server says about a file."""
        ...

    def deliver(
        self, address: str, *, start: int, known: RemoteState | None
    ) -> AbstractContextManager[Delivery]:
        """Ask for the bytes of a file from ``start`` on, provided that it still is the version ``known``.

        Raises:
            UselessPartialError: the server offers another version, or has no byte at ``start``.
        """
        ...
