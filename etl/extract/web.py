"""Files over http and https.

Here: requests with ranges, redirects, and which statuses may pass. Not here: what an address of a
repository or an object store stands for (``addresses.py``), repeating (``patience.py``), files on disk
(``download.py``).

Ranges, validators and their statuses are those of RFC 9110 (sections 13.1.5, 14 and 15).
"""

import base64
import binascii
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3

from etl.extract.errors import FetchError, TransientFault, UselessPartialError
from etl.extract.transport import CHUNK_BYTES, Delivery, RemoteState

MAX_REDIRECTS: Final = 10
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone when the request is repeated."""

NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""Statuses by which servers refuse HEAD though they answer GET (signed addresses allow one method only)."""

REMEDIES: Final[Mapping[int, str]] = {
    401: "it needs a login: get the file in a browser and put it into the raw folder",
    403: "the server refuses it: it may need a registration, or the address has moved",
    404: "it is not there any more: look for its new address on the dataset's page",
    410: "it was withdrawn: look on the dataset's page",
    451: "it is withheld for legal reasons",
}
LONGEST_LISTING_BYTES: Final = 64 * 2**20
_CUTS = (urllib3.exceptions.HTTPError, HTTPException, OSError)


class Web:
    """Transport over http and https; safe to share between threads.

    Proxies and certificates are those of the environment (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``).

    Args:
        connect_timeout_s: longest wait for a connection.
        read_timeout_s: longest wait for the next bytes.
    """

    def __init__(self, *, connect_timeout_s: float = 20, read_timeout_s: float = 60) -> None:
        self._timeout_s = connect_timeout_s, read_timeout_s
        self._of_thread = threading.local()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()

    def state(self, address: str) -> RemoteState:
        """Return what the server says about a file: by HEAD, or by its first byte where HEAD is refused."""
        with self._asked("HEAD", address) as reply:
            if reply.status_code not in NO_HEAD:
                _check_status(reply)
                return _state_of(reply, n_bytes=_length_of(reply))
        with self._asked("GET", address, {"Range": "bytes=0-0"}) as reply:
            if reply.status_code == 416:  # an empty file has no first byte
                return _state_of(reply, n_bytes=_total_of(reply))
            _check_status(reply)
            n_bytes = _total_of(reply) if reply.status_code == 206 else _length_of(reply)
            return _state_of(reply, n_bytes=n_bytes)

    @contextmanager
    def deliver(self, address: str, *, start: int, known: RemoteState | None) -> Iterator[Delivery]:
        """Ask for the bytes of a file from ``start`` on, see ``Transport``."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and known is not None and known.validator is not None:
            headers["If-Range"] = known.validator
        with self._asked("GET", address, headers) as reply:
            if reply.status_code == 416 and start:
                state = _state_of(reply, n_bytes=_total_of(reply))
                if state.n_bytes != start or _is_other(state, known):
                    raise UselessPartialError
                yield Delivery(start, state, iter(()))
                return
            _check_status(reply)
            _refuse_encoded(reply, address)
            if reply.status_code == 206:
                state = _state_of(reply, n_bytes=_total_of(reply))
                if _start_of(reply) != start or _is_other(state, known):
                    raise UselessPartialError
                yield Delivery(start, state, _chunks_of(reply))
            else:
                yield Delivery(0, _state_of(reply, n_bytes=_length_of(reply)), _chunks_of(reply))

    def listing(self, address: str) -> tuple[bytes, str | None]:
        """Return a short document whole, and the address of the next page that it names, if any."""
        with self._asked("GET", address) as reply:
            _check_status(reply)
            content = bytearray()
            for chunk in _chunks_of(reply):
                content += chunk
                if len(content) > LONGEST_LISTING_BYTES:
                    raise FetchError("the list of files is too long to be one", url=address)
            following = reply.links.get("next", {}).get("url")
            return bytes(content), urljoin(address, following) if following else None

    @contextmanager
    def _asked(
        self, method: str, address: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Send a request, follow redirects, and yield the reply without its body."""
        asked = quote(address, safe=":/?#[]@!$&'()*+,;=%~")
        for _ in range(MAX_REDIRECTS + 1):
            with self._sent(method, asked, headers or {}) as reply:
                if reply.status_code not in REDIRECTS or "Location" not in reply.headers:
                    yield reply
                    return
                asked = _redirected(asked, reply.headers["Location"])
        raise FetchError(f"was redirected more than {MAX_REDIRECTS} times", url=address)

    def _sent(self, method: str, address: str, headers: Mapping[str, str]) -> requests.Response:
        try:
            return self._session().request(
                method,
                address,
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                allow_redirects=False,
                timeout=self._timeout_s,
            )
        except requests.exceptions.SSLError as fault:
            raise FetchError(
                "the server's certificate is not accepted", remedy="check the clock and the proxy"
            ) from fault
        except (requests.ConnectionError, requests.Timeout) as fault:
            raise TransientFault(
                f"no connection to {urlsplit(address).hostname} ({_cause(fault)})"
            ) from fault
        except (requests.RequestException, ValueError) as fault:
            raise FetchError(f"the request cannot be made ({_cause(fault)})") from fault

    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            session = requests.Session()
            session.headers["User-Agent"] = f"perturbhouse/{version('perturbhouse')}"
            self._of_thread.session = session
            self._sessions.append(session)
        kept: requests.Session = self._of_thread.session
        return kept


def _redirected(address: str, location: str) -> str:
    """Return where a redirect leads; never from https to http, where anyone could change the bytes."""
    target = urljoin(address, location)
    schemes = urlsplit(address).scheme, urlsplit(target).scheme
    if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
        raise FetchError(
            f"the server redirects from {schemes[0]} to {schemes[1]}, which is not followed",
            remedy="look for its address on the dataset's page",
        )
    return target


def _check_status(reply: requests.Response) -> None:
    status = reply.status_code
    if status in (200, 206):
        return
    said = f"HTTP {status} {reply.reason or ''}".strip()
    if status in PASSING:
        raise TransientFault(said, wait_s=_wait_asked_for(reply.headers.get("Retry-After")))
    if code := _store_code(reply):
        said = f"{said} ({code})"
    raise FetchError(said, remedy=REMEDIES.get(status, "look at the address in a browser"))


def _store_code(reply: requests.Response) -> str | None:
    """Return the code that S3 and GCS give in the XML of an error, such as ``UserProjectMissing``."""
    try:
        start = reply.raw.read(2_000, decode_content=False)
    except _CUTS:  # the status says enough
        return None
    found = re.search(rb"<Code>(\w{1,60})</Code>", start)
    return found[1].decode() if found else None


def _refuse_encoded(reply: requests.Response, address: str) -> None:
    """Refuse bytes that were compressed for the way, though that was not asked for: ranges count others.

    Some servers call a file that *is* compressed so: then its bytes are those of the file.
    """
    encoding = reply.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and not urlsplit(address).path.endswith((".gz", ".tgz")):
        raise FetchError(f"the server sends it {encoding}-encoded, though that was not asked for")


def _chunks_of(reply: requests.Response) -> Iterator[bytes]:
    """Yield bytes as they come, so that none is lost when the connection is cut."""
    try:
        while chunk := reply.raw.read1(CHUNK_BYTES, decode_content=False):
            yield chunk
    except _CUTS as fault:
        raise TransientFault(f"the connection was cut ({_cause(fault)})") from fault


def _state_of(reply: requests.Response, *, n_bytes: int | None) -> RemoteState:
    headers = reply.headers
    return RemoteState(n_bytes, headers.get("ETag"), headers.get("Last-Modified"), _digests_in(headers))


def _is_other(state: RemoteState, known: RemoteState | None) -> bool:
    """Say whether a part is of another version than was asked for: not all servers know ``If-Range``."""
    if known is None:
        return False
    pairs = [(state.n_bytes, known.n_bytes), (state.etag, known.etag)]
    if None in pairs[1]:  # servers of one site may agree on the tag and not on the date
        pairs.append((state.last_modified, known.last_modified))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _digests_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the MD5 that Google's storage states of an object as it is stored.

    >>> _digests_in({"x-goog-hash": "crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ=="})
    {'md5': '3a393d7377617f182829554763015b1d'}
    """
    found = re.search(r"md5=([A-Za-z0-9+/]{22}==)", headers.get("x-goog-hash", ""))
    if found is None or headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return {}
    return {"md5": binascii.hexlify(base64.b64decode(found[1])).decode()}


def _length_of(reply: requests.Response) -> int | None:
    text = reply.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _total_of(reply: requests.Response) -> int | None:
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", reply.headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def _start_of(reply: requests.Response) -> int | None:
    found = re.match(r"bytes (\d+)-", reply.headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def _wait_asked_for(stated: str | None) -> float | None:
    """Return the seconds of ``Retry-After``, which is a number or a date; None where it is neither.

    >>> _wait_asked_for("7"), _wait_asked_for("soon"), _wait_asked_for(None)
    (7.0, None, None)
    """
    text = (stated or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _cause(fault: BaseException) -> str:
    """Return the innermost reason in a few words: the libraries wrap it several times.

    Args:
        fault: what was raised.
    """
    inner: Any = fault
    for _ in range(6):
        wrapped = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(wrapped, BaseException):
            break
        inner = wrapped
    text = " ".join(str(inner).split())
    return (text or type(inner).__name__)[:160]
