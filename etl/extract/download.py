"""Downloading one file: continued where it was cut, verified when it is complete.

The bytes go to a part file; beside it stands of which version they are. Whoever starts again, in this process
or another, continues it, provided that the server still offers that version or that a digest will tell.

Here: one file under a temporary name. Not here: its place and its record (``fetch.py``), protocols
(``web.py``, ``ftp.py``).
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from etl.extract.addresses import Offer
from etl.extract.disk import disk_error
from etl.extract.errors import ChecksumError, FetchError, TransientFault, UselessPartialError
from etl.extract.patience import Patience, interrupted
from etl.extract.transport import CHUNK_BYTES, RemoteState, Transport

MAX_RESTARTS: Final = 3
"""How often a download may have to start anew before it is given up."""

_WEB_PAGES: Final = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True)
class Expected:
    """A digest that a file must have.

    Args:
        algorithm: ``sha256`` or ``md5``.
        digest: hexadecimal.
        origin: who says so, as it reads after "the digest".
        remedy: what to do where it differs.
    """

    algorithm: str
    digest: str
    origin: str
    remedy: str = "run it again; if it stays so, the publisher has replaced the file"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was downloaded."""

    n_bytes: int
    sha256: str
    state: RemoteState


def download(
    offer: Offer,
    part: Path,
    *,
    transport: Transport,
    patience: Patience,
    expected: Sequence[Expected] = (),
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Downloaded:
    """Download a file to ``part``, continuing what is there, and verify it.

    Args:
        offer: what to download.
        part: temporary file, in an existing folder; nobody else may write it meanwhile.
        transport: protocol of the address.
        patience: how faults are waited out.
        expected: digests that it must have.
        progress: told bytes so far and bytes in all, where known.

    Raises:
        ChecksumError: the complete file has another digest; the part is deleted.
        NoSpaceError: the disk is full; the part is kept.
        FetchError: it cannot be got; the part is kept.
    """
    wrong: ChecksumError | None = None
    for _ in range(MAX_RESTARTS):
        with _Part(part, offer.address, {wanted.algorithm for wanted in expected}) as so_far:
            was_continued = so_far.n_bytes > 0
            try:
                was_continued |= _complete(so_far, offer, transport, patience, progress)
                so_far.sync()
            except UselessPartialError:
                so_far.discard()
                continue
            except OSError as fault:
                raise disk_error(fault, offer.name) from fault
            wrong = _mismatch(so_far, expected)
            if wrong is None:
                return Downloaded(so_far.n_bytes, so_far.digest("sha256"), so_far.known)
            so_far.discard()
        if not was_continued:  # what was pieced together deserves another try, what came at once does not
            break
    raise wrong or FetchError("it changes at the publisher while it is fetched", remedy="run it again later")


def forget(part: Path) -> None:
    """Delete a part file and what is known of it."""
    part.unlink(missing_ok=True)
    _facts_of(part).unlink(missing_ok=True)


def _mismatch(so_far: "_Part", expected: Sequence[Expected]) -> ChecksumError | None:
    for wanted in expected:
        found = so_far.digest(wanted.algorithm)
        if found != wanted.digest.lower():
            return ChecksumError(
                f"has {wanted.algorithm} {found}, but the digest {wanted.origin} is {wanted.digest}",
                remedy=wanted.remedy,
            )
    return None


def _complete(
    so_far: "_Part",
    offer: Offer,
    transport: Transport,
    patience: Patience,
    progress: Callable[[int, int | None], None],
) -> bool:
    """Take bytes until all are there; return whether that took more than one attempt."""
    best, n_faults, n_attempts = so_far.n_bytes, 0, 0
    while True:
        n_attempts += 1
        try:
            _take(so_far, offer, transport, patience, progress)
        except TransientFault as fault:
            # Only what was never reached before is a gain: a server without ranges starts at 0 each time.
            n_faults = 1 if so_far.n_bytes >= best + patience.gain_bytes else n_faults + 1
            best = max(best, so_far.n_bytes)
            patience.wait_out(fault, n_faults)
        else:
            return n_attempts > 1


def _take(
    so_far: "_Part",
    offer: Offer,
    transport: Transport,
    patience: Patience,
    progress: Callable[[int, int | None], None],
) -> None:
    with transport.deliver(offer.address, start=so_far.n_bytes, known=so_far.known) as delivery:
        total = delivery.state.n_bytes
        listed = offer.state.n_bytes if offer.state is not None else None
        if None not in (total, listed) and total != listed:
            raise FetchError(
                f"the server offers {total:,} bytes, but the publisher lists {listed:,}",
                remedy="run it again later",
            )
        if delivery.start == 0:
            so_far.begin(delivery.state)
        progress(so_far.n_bytes, total)
        for chunk in delivery.chunks:
            if patience.stop.is_set():
                raise interrupted()
            if so_far.n_bytes == 0:
                _refuse_web_page(chunk, offer.name)
            try:
                so_far.append(chunk)
            except OSError as fault:
                raise disk_error(fault, offer.name) from fault
            progress(so_far.n_bytes, total)
    if total is not None and so_far.n_bytes < total:
        raise TransientFault(f"the connection was cut after {so_far.n_bytes:,} of {total:,} bytes")
    if total is not None and so_far.n_bytes > total:
        raise UselessPartialError


def _refuse_web_page(start: bytes, name: str) -> None:
    """Refuse a page that stands in for a file, as servers send it that want a login or a confirmation."""
    if start[:512].lstrip().lower().startswith(_WEB_PAGES) and not name.endswith((".html", ".htm")):
        raise FetchError(
            "the server sends a web page instead of the file",
            remedy="open the address in a browser: it may ask for a login or a confirmation",
        )


class _Part:
    """The bytes of a download so far, hashed as they come, and the version they are of."""

    def __init__(self, path: Path, address: str, algorithms: set[str]) -> None:
        self._path, self._address = path, address
        self._algorithms = {"sha256", *algorithms}
        self.known, self.n_bytes = RemoteState(), 0
        self._file = path.open("ab", buffering=0)  # what was received survives the process
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}
        self._resume(has_digest=bool(algorithms))

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, state: RemoteState) -> None:
        """Start at the first byte of a version."""
        self._empty()
        self.known = state
        facts = {key: value for key, value in asdict(state).items() if key != "digests"}
        staged = _facts_of(self._path).with_suffix(".new")
        staged.write_text(json.dumps({"address": self._address, **facts}))
        staged.replace(_facts_of(self._path))

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        for digest in self._digests.values():
            digest.update(chunk)
        self.n_bytes += len(chunk)

    def digest(self, algorithm: str) -> str:
        return self._digests[algorithm].hexdigest()

    def sync(self) -> None:
        """Have the disk keep the bytes before they get their final name."""
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Forget everything."""
        self._empty()
        forget(self._path)

    def _empty(self) -> None:
        self._file.truncate(0)
        self.known, self.n_bytes = RemoteState(), 0
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}

    def _resume(self, *, has_digest: bool) -> None:
        """Take over what is there, if it can be continued: its version is known, or a digest will tell."""
        known = _read_facts(_facts_of(self._path), self._address)
        if known is None or not (known.validator or has_digest):
            self._empty()
            return
        self.known = known
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self.n_bytes += len(chunk)
                for digest in self._digests.values():
                    digest.update(chunk)


def _facts_of(part: Path) -> Path:
    return part.with_suffix(".json")


def _read_facts(path: Path, address: str) -> RemoteState | None:
    """Return the version that a part is of; None where it is of another address or was cut while written."""
    try:
        facts = json.loads(path.read_text())
        if facts["address"] != address:
            return None
        return RemoteState(facts["n_bytes"], facts["etag"], facts["last_modified"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
