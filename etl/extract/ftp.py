"""Files over anonymous ftp (RFC 959; SIZE, MDTM and REST of RFC 3659), in passive mode.

Here: the protocol. Not here: repeating (``patience.py``), files on disk (``download.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ftplib import FTP, error_perm, error_proto, error_reply, error_temp
from socket import socket
from urllib.parse import unquote, urlsplit

from etl.extract.errors import FetchError, TransientFault, UselessPartialError
from etl.extract.transport import CHUNK_BYTES, Delivery, RemoteState

_CUTS = (error_temp, error_reply, error_proto, EOFError, OSError)


class Ftp:
    """Transport over ftp; each call has a connection of its own.

    Args:
        timeout_s: longest wait for a connection or the next bytes.
    """

    def __init__(self, *, timeout_s: float = 60) -> None:
        self._timeout_s = timeout_s

    def state(self, address: str) -> RemoteState:
        """Return size and time of change; ftp knows no entity tags."""
        with self._connected(address) as (ftp, path):
            return _state(ftp, path)

    @contextmanager
    def deliver(self, address: str, *, start: int, known: RemoteState | None) -> Iterator[Delivery]:
        """Ask for the bytes of a file from ``start`` on, see ``Transport``."""
        with self._connected(address) as (ftp, path):
            state = _state(ftp, path)
            facts = state.n_bytes, state.last_modified
            if start and known is not None and facts != (known.n_bytes, known.last_modified):
                raise UselessPartialError
            try:
                data = ftp.transfercmd(f"RETR {path}", rest=start or None)
            except error_perm as fault:
                if start and str(fault)[:3] in ("500", "501", "502", "504"):  # REST is not known here
                    raise UselessPartialError from fault
                raise
            with data:
                yield Delivery(start, state, _chunks(ftp, data))

    @contextmanager
    def _connected(self, address: str) -> Iterator[tuple[FTP, str]]:
        """Log in and yield the connection with the path of the file; it is not kept."""
        parts = urlsplit(address)
        path = unquote(parts.path)
        if any(character in path for character in "\r\n\0"):
            raise FetchError("the address holds a line break")
        ftp = FTP(timeout=self._timeout_s)  # noqa: S321 - public files; what they must be is checked by digest
        try:
            ftp.connect(parts.hostname or "", parts.port or 21)
            ftp.login()
            ftp.voidcmd("TYPE I")
            yield ftp, path
        except error_perm as fault:
            said = " ".join(str(fault).split())[:160]
            raise FetchError(f"ftp: {said}", remedy="look for its address on the dataset's page") from fault
        except _CUTS as fault:
            raise TransientFault(f"no ftp connection to {parts.hostname} ({fault})") from fault
        finally:
            ftp.close()


def _state(ftp: FTP, path: str) -> RemoteState:
    last_modified = None
    with suppress(error_perm):  # an old server does not know MDTM
        last_modified = ftp.voidcmd(f"MDTM {path}")[4:].strip()
    return RemoteState(n_bytes=ftp.size(path), last_modified=last_modified)


def _chunks(ftp: FTP, data: socket) -> Iterator[bytes]:
    try:
        while chunk := data.recv(CHUNK_BYTES):
            yield chunk
        data.close()
        ftp.voidresp()  # the server says whether that was all
    except (*_CUTS, error_perm) as fault:
        raise TransientFault(f"the connection was cut ({fault})") from fault
