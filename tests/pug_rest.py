"""A PUG REST server on loopback that speaks PubChem's protocol: forms, faults, throttling, broken replies."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit

ALL_GREEN = "Request Count status: Green (0%), Request Time status: Green (0%), Service status: Green (20%)"
ASPIRIN_KEY = "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
ETHANOL_KEY = "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
REFUSED_CID = 666
"""A CID that makes the server refuse the whole request."""

CODES = {400: "BadRequest", 404: "NotFound", 500: "ServerError", 503: "ServerBusy", 504: "Timeout"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends instead of an answer.

    ``body`` is JSON of a fault by default; ``cut`` bytes of it are promised and not sent; ``after_s`` passes
    before anything is sent.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    after_s: float = 0.0
    is_answer: bool = False


class PugRest(ThreadingHTTPServer):
    """Knows a few compounds; ``replies`` are sent first, one a request; ``requests`` records what came.

    Compounds and names are in dictionaries that a test may change. ``names`` of None knows every name.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names: dict[str, list[int]] | None = {"aspirin": [2244], "ambiguous": [30, 10, 20]}
        self.smiles = {2244: "CC(=O)OC1=CC=CC=C1C(=O)O", 10: "CCO", 20: "CCN"}
        self.inchikeys = {ASPIRIN_KEY: [2244], ETHANOL_KEY: [10, 30]}
        self.parents = {4000: [2244]}
        self.replies: list[Reply] = []
        self.throttling: str | None = ALL_GREEN
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/rest/pug"

    def names_asked(self) -> Counter[str]:
        """How often each name was asked."""
        return Counter(form["name"] for _, form in self.requests if "name" in form)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client gives up on a slow reply."""


class _Handler(BaseHTTPRequestHandler):
    server: PugRest

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        with self.server.lock:
            self.server.requests.append((self.path, form))
            reply = self.server.replies.pop(0) if self.server.replies else Reply(is_answer=True)
        time.sleep(reply.after_s)
        status, answer = self.answer(form) if reply.is_answer else (reply.status, reply.body)
        if answer is None:
            code = CODES.get(status, "ServerError")
            answer = _json({"Fault": {"Code": f"PUGREST.{code}", "Message": "as a test wants it"}})
        self.send_response(status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if self.server.throttling is not None and "X-Throttling-Control" not in reply.headers:
            self.send_header("X-Throttling-Control", self.server.throttling)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[: len(answer) - reply.cut])

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        path = urlsplit(self.path)
        if path.path.endswith("/compound/name/cids/JSON"):
            name = form["name"]
            return _cids([1] if self.server.names is None else self.server.names.get(name, []))
        if path.path.endswith("/compound/inchikey/cids/JSON"):
            return _cids(self.server.inchikeys.get(form["inchikey"], []))
        if path.path.endswith("/compound/inchikey/property/InChIKey/JSON"):
            keys = form["inchikey"].split(",")
            known = [(cid, key) for key in keys for cid in self.server.inchikeys.get(key, [])]
            return _properties([{"CID": cid, "InChIKey": key} for cid, key in known])
        cids = [int(cid) for cid in form["cid"].split(",")]
        if REFUSED_CID in cids:
            return 400, _json({"Fault": {"Code": "PUGREST.BadRequest", "Message": "Invalid CID"}})
        if path.path.endswith("/compound/cid/cids/JSON"):
            assert parse_qs(path.query) == {"cids_type": ["parent"]}
            return _cids([parent for cid in cids for parent in self.server.parents.get(cid, [])])
        assert path.path.endswith("/compound/cid/property/SMILES/JSON"), path
        smiles = self.server.smiles
        return _properties([{"CID": c, **({"SMILES": smiles[c]} if c in smiles else {})} for c in cids])

    def log_message(self, *args: object) -> None:
        """Keep the test output quiet."""


class FakeClock:
    """A clock on which hours pass at once; ``slept`` holds every wait."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.start = datetime(2026, 1, 1, tzinfo=UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def elapsed_s(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@contextmanager
def serving() -> Iterator[PugRest]:
    """Run a server in a thread for as long as the block lasts."""
    with PugRest() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def throttled(count: str = "Green", running_time: str = "Green", service: str = "Green") -> dict[str, str]:
    """The header in which PubChem states how near its limits a client is."""
    stated = (
        f"Request Count status: {count} (60%), Request Time status: {running_time} (0%), "
        f"Service status: {service} (20%)"
    )
    return {"X-Throttling-Control": stated}


def _cids(cids: list[int]) -> tuple[int, bytes]:
    if cids:
        return 200, _json({"IdentifierList": {"CID": cids}})
    fault = {"Code": "PUGREST.NotFound", "Message": "No CID found", "Details": ["No CID found that matches"]}
    return 404, _json({"Fault": fault})


def _properties(rows: list[dict[str, object]]) -> tuple[int, bytes]:
    return (200, _json({"PropertyTable": {"Properties": rows}})) if rows else _cids([])


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
