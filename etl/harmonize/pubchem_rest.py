"""PubChem as a cached, polite and optional service.

Here: asking PUG REST through PubChemPy, repeating what failed, and remembering every answer. Not here: the
pace (``pubchem_pace.py``), the cache file (``pubchem_cache.py``), and which of several candidates a name
means (``compounds.py``).
"""

import io
import logging
import random
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pubchempy

from etl.errors import PerturbhouseError
from etl.harmonize.pubchem import PubChemUnavailableError
from etl.harmonize.pubchem_cache import Answer, CachedAnswers, PubChemCache
from etl.harmonize.pubchem_pace import REQUESTS_PER_MINUTE, REQUESTS_PER_SECOND, Clock, Pace, SystemClock

KEYS_PER_REQUEST: Final = 100
"""CIDs or InChIKeys asked for in one property request; PUG REST answers this within its 30 s limit."""

LONGEST_RETRY_WAIT_S: Final = 60.0

_NO_NETWORK = (URLError, TimeoutError, ConnectionError, HTTPException)
_BUSY = (pubchempy.ServerBusyError, pubchempy.ServerError, pubchempy.TimeoutError)
_BUSY_CODES = (429, 502)
"""Statuses of load balancers and proxies that PubChemPy has no class for."""

_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_MODULE_GLOBALS = threading.Lock()

_Key = TypeVar("_Key", str, int)
_Reply = TypeVar("_Reply")
_log = logging.getLogger(__name__)


class _StrangeReplyError(ValueError):
    """A reply of status 200 that is not what was asked for; also what ``json`` raises is a ValueError."""


class PubChemRest:
    """PubChem asked through PUG REST, one request at a time; implements ``PubChem``.

    Every answer is committed to the cache before the next request, so a killed run repeats nothing, and
    processes may share the cache. Each process keeps the limits for itself: let only one ask at a time.
    An answer that is too old is asked again, and used all the same where PubChem cannot be reached.

    Args:
        cache: SQLite file; created with its folder.
        mode: ``auto`` asks until the network fails and then goes on from the cache alone; ``online`` raises
            instead; ``offline`` never asks.
        base_url: PUG REST endpoint; None for PubChem's own.
        timeout_s: longest wait for the next part of a reply.
        requests_per_second: PubChem's usage policy allows 5.
        requests_per_minute: PubChem's usage policy allows 400.
        n_retries: repeats of a request that failed, with doubling waits.
        retry_wait_s: wait before the first repeat, up to half of it taken off by a jitter that depends on
            the question alone.
        misses_max_age_days: after this time what PubChem did not know is asked again; None for never.
        hits_max_age_days: after this time what PubChem knew is asked again; None for never.
        clock: what tells and passes the time.

    Raises:
        PubChemUnavailableError: in mode ``online``, PubChem does not answer.
        PerturbhouseError: the cache is not one or is of a newer version, or the endpoint is no web address.
    """

    def __init__(
        self,
        cache: Path,
        *,
        mode: Literal["auto", "online", "offline"] = "auto",
        base_url: str | None = None,
        timeout_s: float = 30,
        requests_per_second: float = REQUESTS_PER_SECOND,
        requests_per_minute: int = REQUESTS_PER_MINUTE,
        n_retries: int = 4,
        retry_wait_s: float = 1.0,
        misses_max_age_days: float | None = 90,
        hits_max_age_days: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._base_url = base_url or pubchempy.API_BASE
        if not self._base_url.startswith(("https://", "http://")):
            raise PerturbhouseError(f"the address of PUG REST is no web address: {self._base_url!r}")
        self._mode, self._timeout_s = mode, timeout_s
        self._n_retries, self._retry_wait_s = n_retries, retry_wait_s
        self._max_age_days = {True: hits_max_age_days, False: misses_max_age_days}
        self._clock: Clock = clock or SystemClock()
        self._pace = Pace(requests_per_second, requests_per_minute, self._clock)
        self._has_answered = False
        self._offline_reason = "mode is offline" if mode == "offline" else None
        self._n_asked = self._n_from_cache = self._n_not_asked = 0
        self._counting = threading.Lock()
        self._cache = PubChemCache(cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()

    @property
    def origin(self) -> str:
        """Which PubChem answers."""
        return "PubChem REST"

    @property
    def is_local(self) -> bool:
        """False: every question that the cache cannot answer is a request."""
        return False

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

    def cached_answers(self) -> CachedAnswers:
        """Return how many answers the cache holds, and when they were given."""
        return self._cache.answers()

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each name, in PubChem's order; ``[]`` where it knows none.

        One request a name: PUG REST takes no lists of them. Names that were not asked are absent. Case and
        runs of spaces do not matter to PubChem, nor to the cache.
        """
        wanted = {name: " ".join(name.split()).casefold() for name in names}
        answers = self._answers("name", wanted.values(), self._ask_names)
        return {
            name: [*answers[key]] if key else [] for name, key in wanted.items() if not key or key in answers
        }

    def cids_by_inchikey(self, inchikeys: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each InChIKey, as :meth:`cids_by_name`; what has not its form is not asked."""
        wanted = {text: text.strip() for text in inchikeys}
        keys = [key for key in wanted.values() if _INCHIKEY.fullmatch(key)]
        answers = self._answers("inchikey", keys, self._ask_inchikeys)
        answers |= {key: [] for key in wanted.values() if not _INCHIKEY.fullmatch(key)}
        return {text: [*answers[key]] for text, key in wanted.items() if key in answers}

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        """Return the SMILES of each CID; CIDs that are unknown to PubChem or were not asked are absent."""
        keys = [str(cid) for cid in sorted({cid for cid in cids if cid > 0})]
        answers = self._answers("smiles", keys, self._ask_structures)
        return {int(key): answers[key][0] for key in keys if answers.get(key)}

    def parents_by_cid(self, cids: Iterable[int]) -> dict[int, int]:
        """Return PubChem's parent of each CID: itself where it names no other; CIDs not asked are absent.

        One request a CID: the reply to a list of them does not say whose parent is whose.
        """
        keys = [str(cid) for cid in sorted({cid for cid in cids if cid > 0})]
        answers = self._answers("parent", keys, self._ask_parents)
        return {int(key): min(answers[key], default=int(key)) for key in keys if key in answers}

    def _answers(
        self, kind: str, keys: Iterable[str], ask: Callable[[list[str]], Iterator[dict[str, list[Any]]]]
    ) -> dict[str, list[Any]]:
        """Return answers from the cache, else from PubChem; keys that have none are absent."""
        answers: dict[str, list[Any]] = {}
        outdated: dict[str, list[Any]] = {}
        missing: list[str] = []
        for key in dict.fromkeys(keys):
            cached = self._cache.get(kind, key) if key else None
            if cached is not None and not self._is_outdated(cached):
                answers[key] = cached.value
            elif key:
                missing.append(key)
                if cached is not None:
                    outdated[key] = cached.value
        self._count(n_from_cache=len(answers))
        n_asked = 0
        for given in ask(missing):
            self._cache.put(kind, given, self._clock.now())
            self._count(n_asked=len(given))
            n_asked += len(given)
            answers |= given
        kept = {key: value for key, value in outdated.items() if key not in answers}
        self._count(n_from_cache=len(kept), n_not_asked=len(missing) - n_asked - len(kept))
        return answers | kept

    def _ask_names(self, names: list[str]) -> Iterator[dict[str, list[Any]]]:
        for name in names:
            cids = self._cids(name, "name")
            if cids is None:
                return
            yield {name: cids}

    def _ask_parents(self, cids: list[str]) -> Iterator[dict[str, list[Any]]]:
        for cid in cids:
            parents = self._cids(cid, "cid", cids_type="parent")
            if parents is None:
                return
            yield {cid: parents}

    def _ask_inchikeys(self, inchikeys: list[str]) -> Iterator[dict[str, list[Any]]]:
        """Ask in batches, for CIDs with their InChIKeys: a list of CIDs alone would not say whose is whose.

        Where a batch is refused or nothing of it is found, its keys are asked one by one, so that no key is
        taken as unknown for the sake of another one.
        """
        for batch in _batches(inchikeys):
            try:
                rows = self._properties(batch, "inchikey", "InChIKey")
            except pubchempy.BadRequestError:
                rows = []
            if rows is None:
                return
            if rows:
                found: dict[str, list[Any]] = {inchikey: [] for inchikey in batch}
                for row in rows:
                    if row.get("InChIKey") in found:
                        found[row["InChIKey"]].append(row["CID"])
                yield found
                continue
            for inchikey in batch:
                cids = self._cids(inchikey, "inchikey")
                if cids is None:
                    return
                yield {inchikey: cids}

    def _ask_structures(self, cids: list[str]) -> Iterator[dict[str, list[Any]]]:
        for batch in _batches(cids):
            answers = self._structures(batch)
            if answers is None:
                return
            yield answers

    def _structures(self, batch: Sequence[str]) -> dict[str, list[Any]] | None:
        """Ask for the SMILES of some CIDs; None where PubChem cannot be asked.

        One CID that PubChem refuses fails its whole batch; halving finds it.
        """
        try:
            rows = self._properties(batch, "cid", "SMILES")
        except pubchempy.BadRequestError:
            if len(batch) > 1:
                middle = len(batch) // 2
                first, second = self._structures(batch[:middle]), self._structures(batch[middle:])
                return None if first is None or second is None else first | second
            rows = []
        if rows is None:
            return None
        found = {str(row["CID"]): [row["SMILES"]] for row in rows if row.get("SMILES")}
        return {cid: found.get(cid, []) for cid in batch}

    def _cids(self, key: str, namespace: str, **options: str) -> list[Any] | None:
        """Ask for the CIDs of one key; None where PubChem cannot be asked."""

        def question() -> list[int]:
            return _cids_in(pubchempy.get_json(key, namespace, "compound", "cids", **options))

        try:
            return self._asked(question, key)
        except pubchempy.BadRequestError:  # PubChem cannot take the text as a key: it knows no such compound
            return []

    def _properties(self, keys: Sequence[str], namespace: str, property_: str) -> list[dict[str, Any]] | None:
        """Ask for a property of the compounds of several keys; None where PubChem cannot be asked."""

        def question() -> list[dict[str, Any]]:
            joined = ",".join(keys)
            return _rows_in(pubchempy.get_json(joined, namespace, "compound", f"property/{property_}"))

        return self._asked(question, keys[0])

    def _asked(self, question: Callable[[], _Reply], label: str) -> _Reply | None:
        """Ask with pace and retries; None where the run is or goes offline.

        Lack of network before any answer is taken as being offline at once; later it may be a hiccup.
        """
        if self.is_offline:
            return None
        for attempt in range(self._n_retries + 1):
            try:
                with self._configured():
                    reply = question()
            except (pubchempy.BadRequestError, pubchempy.NotFoundError):
                self._has_answered = True
                raise
            except (*_NO_NETWORK, pubchempy.PubChemHTTPError, ValueError) as fault:
                if not self._is_worth_repeating(fault) or attempt == self._n_retries:
                    self._give_up(_described(fault), fault)
                    return None
                reason, n_attempts = _described(fault), self._n_retries + 1
                _log.info("PubChem: %s; attempt %d of %d", reason, attempt + 1, n_attempts)
                self._pace.postpone(self._retry_delay_s(label, attempt))
            else:
                self._has_answered = True
                return reply
        raise AssertionError("the last attempt returns or raises")

    def _is_worth_repeating(self, fault: Exception) -> bool:
        """Say whether a failure may pass: not a refusal, nor a network that never was there."""
        if isinstance(fault, pubchempy.PubChemHTTPError):
            return isinstance(fault, _BUSY) or fault.code in _BUSY_CODES
        return not isinstance(fault, _NO_NETWORK) or self._mode != "auto" or self._has_answered

    def _retry_delay_s(self, label: str, attempt: int) -> float:
        jitter = random.Random(f"{label}:{attempt}").uniform(0.5, 1)  # noqa: S311 (no secret)
        return min(self._retry_wait_s * 2**attempt, LONGEST_RETRY_WAIT_S) * jitter

    def _give_up(self, reason: str, fault: Exception) -> None:
        if self._mode == "online":
            raise PubChemUnavailableError(f"PubChem does not answer: {reason}") from fault
        self._offline_reason = reason
        _log.warning("PubChem does not answer (%s); going on from the cache alone", reason)

    def _is_outdated(self, answer: Answer) -> bool:
        days = self._max_age_days[bool(answer.value)]
        return days is not None and self._clock.now() - answer.asked_at > timedelta(days=days)

    def _count(self, *, n_asked: int = 0, n_from_cache: int = 0, n_not_asked: int = 0) -> None:
        with self._counting:
            self._n_asked += n_asked
            self._n_from_cache += n_from_cache
            self._n_not_asked += n_not_asked

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Wait for the pace, then lend PubChemPy the endpoint and the way to open it for one request.

        PubChemPy takes neither a time limit nor a look at the headers of a reply; both are in ``_open``.
        """
        with _MODULE_GLOBALS:
            self._pace.wait()
            before = pubchempy.API_BASE, pubchempy.urlopen
            pubchempy.API_BASE, pubchempy.urlopen = self._base_url, self._open
            try:
                yield
            finally:
                pubchempy.API_BASE, pubchempy.urlopen = before

    def _open(
        self, url: str, data: bytes | None = None, *, context: ssl.SSLContext | None = None
    ) -> io.BytesIO:
        """Open an address as ``urlopen`` does, read it whole, and heed what the headers say."""
        try:
            with urlopen(url, data, self._timeout_s, context=context) as reply:  # noqa: S310 (checked)
                self._pace.heed(reply.headers)
                return io.BytesIO(reply.read())
        except HTTPError as fault:
            self._pace.heed(fault.headers)
            raise


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), KEYS_PER_REQUEST):
        yield [*keys[start : start + KEYS_PER_REQUEST]]


def _cids_in(reply: Any) -> list[int]:
    """Return the CIDs of a reply; none where PubChem found nothing, which PubChemPy tells as null."""
    if reply is None:
        return []
    try:
        cids = [int(cid) for cid in reply["IdentifierList"].get("CID", [])]
    except (KeyError, TypeError, AttributeError) as fault:
        raise _StrangeReplyError("a reply without list of CIDs") from fault
    return list(dict.fromkeys(cid for cid in cids if cid > 0))


def _rows_in(reply: Any) -> list[dict[str, Any]]:
    """Return the properties in a reply, a row for each compound; none where PubChem found nothing."""
    if reply is None:
        return []
    try:
        return [{**row, "CID": int(row["CID"])} for row in reply["PropertyTable"]["Properties"]]
    except (KeyError, TypeError) as fault:
        raise _StrangeReplyError("a reply without table of properties") from fault


def _described(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__
