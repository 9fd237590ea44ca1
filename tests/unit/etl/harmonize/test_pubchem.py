"""PubChem's answers, misses and failures, spoken by a small PUG REST server on loopback."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

import pubchempy
import pytest

from etl.errors import PerturbhouseError
from etl.harmonize.pubchem import PubChem, PubChemUnavailableError

NAMES = {"aspirin": [2244], "ambiguous": [30, 10, 20]}
SMILES = {2244: "CC(=O)OC1=CC=CC=C1C(=O)O", 10: "CCO", 20: "CCN"}
NOT_FOUND = {"Fault": {"Code": "PUGREST.NotFound", "Message": "No CID found"}}


class FakePubChem(ThreadingHTTPServer):
    """Answers names and SMILES; ``faults`` are sent first, one a request; ``requests`` records what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: list[int | float | bytes] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/rest/pug"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client gives up on a slow reply."""


class _Handler(BaseHTTPRequestHandler):
    server: FakePubChem

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        self.server.requests.append((self.path, form))
        if self.server.faults:
            fault = self.server.faults.pop(0)
            if isinstance(fault, float):
                time.sleep(fault)
            elif isinstance(fault, bytes):
                return self.reply(200, fault)
            else:
                return self.reply(fault, json.dumps({"Fault": {"Code": f"PUGREST.{fault}"}}).encode())
        return self.reply(*self.answer(form))

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        if "name" in form or "inchikey" in form:
            cids = NAMES.get(
                form.get("name", "aspirin" if form.get("inchikey", "").startswith("BSYN") else "")
            )
            found: dict[str, object] = {"IdentifierList": {"CID": cids}} if cids else NOT_FOUND
            return (200 if cids else 404), json.dumps(found).encode()
        asked = [int(cid) for cid in form["cid"].split(",")]
        if 666 in asked:
            return 400, json.dumps({"Fault": {"Code": "PUGREST.BadRequest"}}).encode()
        rows = [{"CID": cid, **({"SMILES": SMILES[cid]} if cid in SMILES else {})} for cid in asked]
        return 200, json.dumps({"PropertyTable": {"Properties": rows}}).encode()

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server() -> Iterator[FakePubChem]:
    with FakePubChem() as fake:
        thread = Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


@pytest.fixture
def connect(server: FakePubChem, tmp_path: Path) -> Iterator[Callable[..., PubChem]]:
    opened: list[PubChem] = []

    def open_(**options: object) -> PubChem:
        settings = {"base_url": server.url, "requests_per_second": 1000, "retry_wait_s": 0.001} | options
        opened.append(PubChem(tmp_path / "cache" / "pubchem.sqlite", **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for pubchem in opened:
        pubchem.close()


def test_all_candidates_of_a_name_come_in_pubchems_order(connect: Callable[..., PubChem]) -> None:
    assert connect().cids_by_name(["Aspirin", "ambiguous"]) == {"Aspirin": [2244], "ambiguous": [30, 10, 20]}


def test_an_unknown_name_is_an_empty_list_and_not_absent(connect: Callable[..., PubChem]) -> None:
    pubchem = connect()
    assert pubchem.cids_by_name(["no such thing"]) == {"no such thing": []}
    assert not pubchem.is_offline


def test_hits_and_misses_are_asked_once_in_all_runs(
    server: FakePubChem, connect: Callable[..., PubChem]
) -> None:
    first = connect()
    first.cids_by_name(["aspirin", "nothing"])
    first.structures_by_cid([2244, 999])
    n_requests = len(server.requests)
    again = connect(mode="offline")
    assert again.cids_by_name(["ASPIRIN", " nothing "]) == {"ASPIRIN": [2244], " nothing ": []}
    assert again.structures_by_cid([2244, 999]) == {2244: SMILES[2244]}
    assert len(server.requests) == n_requests
    assert (again.n_asked, again.n_from_cache, again.n_not_asked) == (0, 4, 0)


def test_offline_says_what_was_not_asked(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    pubchem = connect(mode="offline")
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.structures_by_cid([1, 2]) == {}
    assert (pubchem.n_not_asked, pubchem.offline_reason, server.requests) == (3, "mode is offline", [])


def test_structures_are_asked_in_batches(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    found = connect().structures_by_cid([*range(1, 151), 2244])
    assert found == SMILES
    assert [len(form["cid"].split(",")) for _, form in server.requests] == [100, 51]
    assert server.requests[0][0] == "/rest/pug/compound/cid/property/SMILES/JSON"


def test_a_refused_cid_does_not_cost_its_batch(connect: Callable[..., PubChem]) -> None:
    assert connect().structures_by_cid([10, 20, 666, 2244]) == SMILES


def test_cids_that_cannot_be_are_not_asked(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    assert connect().structures_by_cid([0, -666]) == {}
    assert server.requests == []


def test_inchikeys_are_looked_up(connect: Callable[..., PubChem]) -> None:
    assert connect().cids_by_inchikey(["BSYNRYMUTXBXSQ-UHFFFAOYSA-N"]) == {
        "BSYNRYMUTXBXSQ-UHFFFAOYSA-N": [2244]
    }


@pytest.mark.parametrize("fault", [503, 504, 500, b"<html>not json</html>"])
def test_a_busy_server_is_asked_again(
    server: FakePubChem, connect: Callable[..., PubChem], fault: int | bytes
) -> None:
    server.faults = [fault, fault]
    assert connect().cids_by_name(["aspirin"]) == {"aspirin": [2244]}
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_ends_the_asking(
    server: FakePubChem, connect: Callable[..., PubChem]
) -> None:
    server.faults = [503] * 3
    pubchem = connect(n_retries=2)
    assert pubchem.cids_by_name(["aspirin", "ambiguous"]) == {}
    assert pubchem.offline_reason is not None
    assert pubchem.offline_reason.startswith("ServerBusyError")
    assert (len(server.requests), pubchem.n_not_asked) == (3, 2)


def test_a_slow_reply_before_any_answer_means_offline(
    server: FakePubChem, connect: Callable[..., PubChem]
) -> None:
    server.faults = [0.6]
    pubchem = connect(timeout_s=0.1)
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.is_offline
    assert len(server.requests) == 1


def test_a_slow_reply_later_is_asked_again(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    pubchem = connect(timeout_s=0.2)
    pubchem.cids_by_name(["nothing"])
    server.faults = [0.6]
    assert pubchem.cids_by_name(["aspirin"]) == {"aspirin": [2244]}


def test_no_server_means_offline_for_the_rest_of_the_run(
    server: FakePubChem, connect: Callable[..., PubChem]
) -> None:
    pubchem = connect(base_url="http://127.0.0.1:9/rest/pug")
    assert pubchem.cids_by_name(["aspirin", "ambiguous"]) == {}
    assert pubchem.offline_reason is not None
    assert pubchem.offline_reason.startswith("URLError")
    assert pubchem.n_not_asked == 2


def test_a_proxy_that_refuses_means_offline(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    server.faults = [403]
    pubchem = connect()
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.is_offline


def test_mode_online_raises_when_pubchem_is_away(
    server: FakePubChem, connect: Callable[..., PubChem]
) -> None:
    server.faults = [503] * 5
    with pytest.raises(PubChemUnavailableError, match="does not answer"):
        connect(mode="online").cids_by_name(["aspirin"])


def test_failures_are_not_cached(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    server.faults = [503]
    assert connect(n_retries=0).cids_by_name(["aspirin"]) == {}
    assert connect().cids_by_name(["aspirin"]) == {"aspirin": [2244]}


def test_answers_survive_a_run_that_is_killed(
    server: FakePubChem, connect: Callable[..., PubChem], tmp_path: Path
) -> None:
    connect().cids_by_name(["aspirin"])  # not closed
    with sqlite3.connect(tmp_path / "cache" / "pubchem.sqlite") as reader:
        rows = reader.execute("SELECT kind, key, value, length(asked_at) FROM answer").fetchall()
    reader.close()
    assert rows == [("name", "aspirin", "[2244]", 25)]


def test_requests_keep_the_pace(server: FakePubChem, connect: Callable[..., PubChem]) -> None:
    start = time.monotonic()
    connect(requests_per_second=20).cids_by_name(["a", "b", "c"])
    assert time.monotonic() - start >= 2 / 20


def test_the_modules_own_settings_are_restored(connect: Callable[..., PubChem]) -> None:
    before = pubchempy.API_BASE
    connect().cids_by_name(["aspirin"])
    assert before == pubchempy.API_BASE


def test_a_cache_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pubchem.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(PerturbhouseError, match=r"pubchem\.sqlite is not a PubChem cache"):
        PubChem(path, mode="offline")
