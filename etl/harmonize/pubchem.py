"""PubChem as a cached, polite and optional service.

Here: asking PUG REST through PubChemPy, remembering every answer, and knowing what was not asked. Not here:
which of several candidates a name means (``compounds.py``).

Three answers are told apart: PubChem knows it (candidates), PubChem does not know it (an empty list, cached
like any answer), and it was not asked (absent from the result, because the run is offline).
"""

import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.error import URLError

import pubchempy

from etl.errors import PerturbhouseError

CIDS_PER_REQUEST: Final = 100
"""Compounds asked for in one property request; PUG REST answers this within its 30 s limit."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, asked_at TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""
_NO_NETWORK = (URLError, TimeoutError, ConnectionError, HTTPException)
_BUSY = (pubchempy.ServerBusyError, pubchempy.ServerError, pubchempy.TimeoutError)
_MODULE_GLOBALS = threading.Lock()

_Key = TypeVar("_Key", str, int)
_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


class PubChemUnavailableError(PerturbhouseError):
    """PubChem cannot be reached although the run is set to need it (mode ``online``)."""


class PubChem:
    """Names, InChIKeys and CIDs looked up in PubChem; use as a context manager.

    Every answer is committed to the cache before the next question, so a killed run repeats nothing. The
    cache is a SQLite file with one row per question: kind, key, answer as JSON, time. Delete it to ask anew.

    Args:
        cache: SQLite file; created with its folder.
        mode: ``auto`` asks until the network fails and then goes on from the cache alone; ``online`` raises
            instead; ``offline`` never asks.
        base_url: PUG REST endpoint; None for PubChem's own.
        timeout_s: longest wait for an answer.
        requests_per_second: PubChem's usage policy allows 5.
        n_retries: repeats of a request that failed, with doubling waits.
        retry_wait_s: wait before the first repeat.

    Raises:
        PubChemUnavailableError: in mode ``online``, PubChem does not answer.
        PerturbhouseError: the cache is not a SQLite file.
    """

    def __init__(
        self,
        cache: Path,
        *,
        mode: Literal["auto", "online", "offline"] = "auto",
        base_url: str | None = None,
        timeout_s: float = 10,
        requests_per_second: float = 5,
        n_retries: int = 4,
        retry_wait_s: float = 1.0,
    ) -> None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(cache, timeout=30, isolation_level=None)
        try:
            self._db.execute(_SCHEMA)
        except sqlite3.DatabaseError as fault:
            self._db.close()
            raise PerturbhouseError(f"{cache.name} is not a PubChem cache ({fault}); delete it") from fault
        self._mode = mode
        self._base_url = base_url or pubchempy.API_BASE
        self._timeout_s, self._n_retries, self._retry_wait_s = timeout_s, n_retries, retry_wait_s
        self._pause_s = 1 / requests_per_second
        self._last_request = float("-inf")
        self._has_answered = False
        self._offline_reason = "mode is offline" if mode == "offline" else None
        self._n_asked = self._n_from_cache = self._n_not_asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the cache."""
        self._db.close()

    @property
    def is_offline(self) -> bool:
        """Whether only the cache is consulted."""
        return self._offline_reason is not None

    @property
    def offline_reason(self) -> str | None:
        """Why the run is offline; null while it is not."""
        return self._offline_reason

    @property
    def n_asked(self) -> int:
        """Keys answered by PubChem in this run."""
        return self._n_asked

    @property
    def n_from_cache(self) -> int:
        """Keys answered by the cache."""
        return self._n_from_cache

    @property
    def n_not_asked(self) -> int:
        """Keys without answer, because the run is offline."""
        return self._n_not_asked

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each name or CAS number, in PubChem's order; ``[]`` where it knows none.

        Names that were not asked are absent. Case and runs of spaces do not matter to PubChem, nor to the
        cache.
        """
        return self._cids("name", names, lambda name: " ".join(name.split()).casefold())

    def cids_by_inchikey(self, inchikeys: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each InChIKey, as :meth:`cids_by_name`."""
        return self._cids("inchikey", inchikeys, str.strip)

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        """Return the SMILES of each CID; CIDs that are unknown to PubChem or were not asked are absent."""
        wanted = sorted({cid for cid in cids if cid > 0})
        known: dict[int, str | None] = {}
        missing: list[int] = []
        for cid in wanted:
            cached = self._cached("smiles", str(cid))
            if cached is None:
                missing.append(cid)
            else:
                known[cid] = cached[0] if cached else None
        for start in range(0, len(missing), CIDS_PER_REQUEST):
            batch = missing[start : start + CIDS_PER_REQUEST]
            answers = self._structures(batch)
            if answers is None:
                self._n_not_asked += len(missing) - start
                break
            known |= answers
        return {cid: smiles for cid, smiles in known.items() if smiles is not None}

    def _structures(self, batch: Sequence[int]) -> dict[int, str | None] | None:
        """Ask for the SMILES of some CIDs; None where PubChem cannot be asked.

        One CID that PubChem refuses fails its whole batch; halving finds it.
        """
        try:
            rows = self._asked(lambda: pubchempy.get_properties(["smiles"], list(batch), "cid"))
        except pubchempy.BadRequestError:
            if len(batch) > 1:
                middle = len(batch) // 2
                first, second = self._structures(batch[:middle]), self._structures(batch[middle:])
                return None if first is None or second is None else first | second
            rows = []
        if rows is None:
            return None
        found: dict[int, str] = {row["CID"]: row["SMILES"] for row in rows if row.get("SMILES")}
        for cid in batch:
            self._remember("smiles", str(cid), [found[cid]] if cid in found else [])
        return {cid: found.get(cid) for cid in batch}

    def _cids(self, kind: str, keys: Iterable[str], normalize: Callable[[str], str]) -> dict[str, list[int]]:
        results: dict[str, list[int]] = {}
        for key in dict.fromkeys(keys):
            asked = normalize(key)
            cids = [] if not asked else self._cached(kind, asked)
            if cids is None:
                cids = self._asked_cids(kind, asked)
            if cids is None:
                self._n_not_asked += 1
            else:
                results[key] = cids
        return results

    def _asked_cids(self, kind: str, key: str) -> list[int] | None:
        try:
            cids = self._asked(lambda: pubchempy.get_cids(key, kind))
        except pubchempy.BadRequestError:  # PubChem cannot take the text as a name: it knows no such compound
            cids = []
        if cids is not None:
            cids = [int(cid) for cid in cids if int(cid) > 0]
            self._remember(kind, key, cids)
        return cids

    def _cached(self, kind: str, key: str) -> list[Any] | None:
        row = self._db.execute("SELECT value FROM answer WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        if row is None:
            return None
        self._n_from_cache += 1
        answer: list[Any] = json.loads(row[0])
        return answer

    def _remember(self, kind: str, key: str, answer: list[Any]) -> None:
        self._n_asked += 1
        self._db.execute(
            "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
            (kind, key, json.dumps(answer), datetime.now(UTC).isoformat(timespec="seconds")),
        )

    def _asked(self, question: Callable[[], _Answer]) -> _Answer | None:
        """Ask with throttling and retries; None where the run is or goes offline.

        Lack of network before any answer is taken as being offline at once; later it may be a hiccup.
        """
        if self.is_offline:
            return None
        for attempt in range(self._n_retries + 1):
            self._keep_pace()
            try:
                with self._configured():
                    answer = question()
            except (pubchempy.BadRequestError, pubchempy.NotFoundError):
                self._has_answered = True
                raise
            except (*_NO_NETWORK, *_BUSY, ValueError) as fault:  # ValueError: an answer that is not JSON
                reason = _described(fault)
                is_hopeless = (
                    isinstance(fault, _NO_NETWORK) and self._mode == "auto" and not self._has_answered
                )
                if is_hopeless or attempt == self._n_retries:
                    self._give_up(reason, fault)
                    return None
                _log.info("PubChem: %s; attempt %d of %d", reason, attempt + 1, self._n_retries + 1)
                time.sleep(self._retry_wait_s * 2**attempt)
            except (
                pubchempy.PubChemHTTPError
            ) as fault:  # refused, for instance by a proxy: asking again is no use
                self._give_up(_described(fault), fault)
                return None
            else:
                self._has_answered = True
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _give_up(self, reason: str, fault: Exception) -> None:
        if self._mode == "online":
            raise PubChemUnavailableError(f"PubChem does not answer: {reason}") from fault
        self._offline_reason = reason
        _log.warning("PubChem does not answer (%s); going on from the cache alone", reason)

    def _keep_pace(self) -> None:
        wait = self._last_request + self._pause_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._last_request = time.monotonic()

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Set endpoint and time limit for one request: PubChemPy takes neither as an argument."""
        with _MODULE_GLOBALS:
            before = pubchempy.API_BASE, socket.getdefaulttimeout()
            pubchempy.API_BASE = self._base_url
            socket.setdefaulttimeout(self._timeout_s)
            try:
                yield
            finally:
                pubchempy.API_BASE = before[0]
                socket.setdefaulttimeout(before[1])


def _described(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__
