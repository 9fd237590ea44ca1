"""PubChem's answers, misses and failures, spoken by a PUG REST server on loopback."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pubchempy
import pytest

from etl.errors import PerturbhouseError
from etl.harmonize.pubchem import PubChem, PubChemUnavailableError
from etl.harmonize.pubchem_cache import CachedAnswers, PubChemCache, cached_answers
from etl.harmonize.pubchem_pace import BLOCKED_WAIT_S, LONGEST_WAIT_S
from etl.harmonize.pubchem_rest import PubChemRest
from tests.pug_rest import (
    ASPIRIN_KEY,
    ETHANOL_KEY,
    REFUSED_CID,
    FakeClock,
    PugRest,
    Reply,
    serving,
    throttled,
)

SMILES = {2244: "CC(=O)OC1=CC=CC=C1C(=O)O", 10: "CCO", 20: "CCN"}
UNKNOWN_KEY = "AAAAAAAAAAAAAA-UHFFFAOYSA-N"
Connect = Callable[..., PubChemRest]


@pytest.fixture
def server() -> Iterator[PugRest]:
    with serving() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def connect(server: PugRest, clock: FakeClock, tmp_path: Path) -> Iterator[Connect]:
    opened: list[PubChemRest] = []

    def open_(**options: object) -> PubChemRest:
        settings = {"base_url": server.url, "clock": clock} | options
        opened.append(PubChemRest(tmp_path / "cache" / "pubchem.sqlite", **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for pubchem in opened:
        pubchem.close()


def test_it_is_a_pubchem(connect: Connect) -> None:
    with connect() as opened:
        pubchem: PubChem = opened
        assert (pubchem.origin, pubchem.is_local, pubchem.is_offline) == ("PubChem REST", False, False)


def test_all_candidates_of_a_name_come_in_pubchems_order(connect: Connect) -> None:
    assert connect().cids_by_name(["Aspirin", "ambiguous"]) == {"Aspirin": [2244], "ambiguous": [30, 10, 20]}


def test_an_unknown_name_is_an_empty_list_and_not_absent(connect: Connect) -> None:
    pubchem = connect()
    assert pubchem.cids_by_name(["no such thing", " "]) == {"no such thing": [], " ": []}
    assert not pubchem.is_offline


def test_hits_and_misses_are_asked_once_in_all_runs(server: PugRest, connect: Connect) -> None:
    first = connect()
    first.cids_by_name(["aspirin", "nothing"])
    first.structures_by_cid([2244, 999])
    first.parents_by_cid([4000])
    n_requests = len(server.requests)
    again = connect(mode="offline")
    assert again.cids_by_name(["ASPIRIN", " nothing "]) == {"ASPIRIN": [2244], " nothing ": []}
    assert again.structures_by_cid([2244, 999]) == {2244: SMILES[2244]}
    assert again.parents_by_cid([4000]) == {4000: 2244}
    assert len(server.requests) == n_requests
    assert (again.n_asked, again.n_from_cache, again.n_not_asked) == (0, 5, 0)


def test_spellings_that_pubchem_takes_as_one_are_asked_once(server: PugRest, connect: Connect) -> None:
    found = connect().cids_by_name(["aspirin", "Aspirin", " ASPIRIN  "])
    assert found == {"aspirin": [2244], "Aspirin": [2244], " ASPIRIN  ": [2244]}
    assert len(server.requests) == 1


def test_offline_says_what_was_not_asked(server: PugRest, connect: Connect) -> None:
    pubchem = connect(mode="offline")
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.cids_by_inchikey([ASPIRIN_KEY]) == {}
    assert pubchem.structures_by_cid([1, 2]) == {}
    assert pubchem.parents_by_cid([1]) == {}
    assert (pubchem.n_not_asked, pubchem.offline_reason, server.requests) == (5, "mode is offline", [])


def test_structures_are_asked_in_batches(server: PugRest, connect: Connect) -> None:
    found = connect().structures_by_cid([*range(1, 151), 2244])
    assert found == SMILES
    assert [len(form["cid"].split(",")) for _, form in server.requests] == [100, 51]
    assert server.requests[0][0] == "/rest/pug/compound/cid/property/SMILES/JSON"


def test_a_refused_cid_does_not_cost_its_batch(connect: Connect) -> None:
    assert connect().structures_by_cid([10, 20, REFUSED_CID, 2244]) == SMILES


def test_cids_that_cannot_be_are_not_asked(server: PugRest, connect: Connect) -> None:
    pubchem = connect()
    assert pubchem.structures_by_cid([0, -666]) == {}
    assert pubchem.parents_by_cid([0, -666]) == {}
    assert server.requests == []


def test_a_compound_without_other_parent_is_its_own(connect: Connect) -> None:
    assert connect().parents_by_cid([4000, 2244]) == {4000: 2244, 2244: 2244}


def test_inchikeys_are_asked_in_one_request(server: PugRest, connect: Connect) -> None:
    found = connect().cids_by_inchikey([ETHANOL_KEY, UNKNOWN_KEY, f" {ASPIRIN_KEY} ", "not a key"])
    assert found == {ETHANOL_KEY: [10, 30], UNKNOWN_KEY: [], f" {ASPIRIN_KEY} ": [2244], "not a key": []}
    [(path, form)] = server.requests
    assert path == "/rest/pug/compound/inchikey/property/InChIKey/JSON"
    assert form == {"inchikey": f"{ETHANOL_KEY},{UNKNOWN_KEY},{ASPIRIN_KEY}"}


@pytest.mark.parametrize("status", [400, 404])
def test_no_inchikey_is_unknown_for_the_sake_of_another(
    server: PugRest, connect: Connect, status: int
) -> None:
    server.replies = [Reply(status)]
    assert connect().cids_by_inchikey([UNKNOWN_KEY, ASPIRIN_KEY]) == {UNKNOWN_KEY: [], ASPIRIN_KEY: [2244]}
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, headers=throttled(service="Black")),
        Reply(503, b"<html>maintenance</html>"),
        Reply(504),
        Reply(500),
        Reply(502),
        Reply(429),
        Reply(200, b"<html>not json</html>"),
        Reply(200, b'{"IdentifierList": {"CID": [2244]'),
        Reply(200, b'{"Waiting": {"ListKey": "1"}}'),
        Reply(200, b"{}"),
        Reply(200, b"[1]"),
        Reply(200, b'{"IdentifierList": {"CID": [2244]}}', cut=12),
    ],
)
def test_a_reply_that_is_no_answer_is_asked_again(server: PugRest, connect: Connect, reply: Reply) -> None:
    pubchem = connect()
    pubchem.cids_by_name(["nothing"])
    server.replies = [reply, reply]
    assert pubchem.cids_by_name(["aspirin"]) == {"aspirin": [2244]}
    assert (len(server.requests), pubchem.is_offline) == (4, False)


def test_broken_properties_are_asked_again(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(200, b'{"PropertyTable": {"Properties": [{"SMILES": "C"}]}}')]
    assert connect().structures_by_cid([10]) == {10: "CCO"}


def test_retries_wait_longer_and_longer_and_always_the_same(
    server: PugRest, connect: Connect, clock: FakeClock
) -> None:
    server.replies = [Reply(500)] * 4
    connect().cids_by_name(["aspirin"])
    assert len(clock.slept) == 4
    for n, slept in enumerate(clock.slept):
        assert 0.5 * 2**n <= slept <= 2**n
    first, clock.slept = clock.slept, []
    server.replies = [Reply(500)] * 4
    connect(hits_max_age_days=0).cids_by_name(["aspirin"])
    assert clock.slept == pytest.approx(first)


def test_a_server_that_stays_busy_ends_the_asking(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(503)] * 3
    pubchem = connect(n_retries=2)
    assert pubchem.cids_by_name(["aspirin", "ambiguous"]) == {}
    assert pubchem.offline_reason is not None
    assert pubchem.offline_reason.startswith("ServerBusyError")
    assert (len(server.requests), pubchem.n_not_asked) == (3, 2)


def test_a_slow_reply_before_any_answer_means_offline(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(after_s=0.4, is_answer=True)]
    pubchem = connect(timeout_s=0.1)
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.is_offline
    assert len(server.requests) == 1


def test_a_slow_reply_later_is_asked_again(server: PugRest, connect: Connect) -> None:
    pubchem = connect(timeout_s=0.2)
    pubchem.cids_by_name(["nothing"])
    server.replies = [Reply(after_s=0.4, is_answer=True)]
    assert pubchem.cids_by_name(["aspirin"]) == {"aspirin": [2244]}


def test_no_server_means_offline_for_the_rest_of_the_run(connect: Connect) -> None:
    pubchem = connect(base_url="http://127.0.0.1:9/rest/pug")
    assert pubchem.cids_by_name(["aspirin", "ambiguous"]) == {}
    assert pubchem.offline_reason is not None
    assert pubchem.offline_reason.startswith("URLError")
    assert pubchem.n_not_asked == 2


def test_a_proxy_that_refuses_means_offline(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(403)]
    pubchem = connect()
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.is_offline
    assert len(server.requests) == 1


def test_mode_online_raises_when_pubchem_is_away(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(503)] * 5
    with pytest.raises(PubChemUnavailableError, match="does not answer"):
        connect(mode="online").cids_by_name(["aspirin"])


def test_failures_are_not_cached(server: PugRest, connect: Connect) -> None:
    server.replies = [Reply(503)]
    assert connect(n_retries=0).cids_by_name(["aspirin"]) == {}
    assert connect().cids_by_name(["aspirin"]) == {"aspirin": [2244]}


def test_what_was_answered_before_a_failure_is_kept(server: PugRest, connect: Connect) -> None:
    answer = Reply(is_answer=True)
    server.replies = [answer, answer, Reply(403)]
    pubchem = connect()
    assert pubchem.cids_by_name(["aspirin", "nothing", "ambiguous"]) == {"aspirin": [2244], "nothing": []}
    assert (pubchem.n_asked, pubchem.n_not_asked) == (2, 1)


def test_requests_keep_five_a_second(connect: Connect, clock: FakeClock) -> None:
    connect().cids_by_name(list("abcdef"))
    assert clock.slept == pytest.approx([0.2] * 5)


def test_requests_keep_the_limit_of_a_minute(connect: Connect, clock: FakeClock) -> None:
    connect(requests_per_minute=4).cids_by_name(list("abcdefghi"))
    assert clock.slept == pytest.approx([0.2, 0.2, 0.2, 59.4, 0.2, 0.2, 0.2, 59.4])


@pytest.mark.parametrize(
    ("stated", "pause_s"),
    [
        (throttled(), 0.2),
        (throttled(count="Yellow"), 0.4),
        (throttled(running_time="Red"), 1.0),
        (throttled(count="Yellow", service="Red"), 1.0),
        (throttled(service="Busy"), 1.0),
        (throttled(count="Black"), BLOCKED_WAIT_S),
        ({"X-Throttling-Control": "too many requests per second or blacklisted"}, BLOCKED_WAIT_S),
        ({"X-Throttling-Control": "Weather status: Sunny (12%)"}, 0.2),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "86400"}, LONGEST_WAIT_S),
        ({"Retry-After": "soon"}, 0.2),
        ({"Retry-After": format_datetime(datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC), usegmt=True)}, 9.0),
    ],
)
@pytest.mark.parametrize("status", [404, 503])
def test_the_pace_follows_the_state_of_the_service(
    server: PugRest, connect: Connect, clock: FakeClock, stated: dict[str, str], pause_s: float, status: int
) -> None:
    server.replies = [Reply(status, headers=stated), Reply(is_answer=True)]
    connect(retry_wait_s=0.001).cids_by_name(["aspirin", "ambiguous"])
    assert clock.slept[0] == pytest.approx(pause_s)
    if status == 503:  # green again
        assert clock.slept[1] == pytest.approx(0.2)


def test_the_settings_of_pubchempy_are_restored(server: PugRest, connect: Connect) -> None:
    before = pubchempy.API_BASE, pubchempy.urlopen
    server.replies = [Reply(403)]
    connect().cids_by_name(["aspirin"])
    assert before == (pubchempy.API_BASE, pubchempy.urlopen)


def test_an_address_that_is_no_web_address_is_refused(connect: Connect) -> None:
    with pytest.raises(PerturbhouseError, match="no web address: 'file:///etc'"):
        connect(base_url="file:///etc")


def test_misses_are_asked_again_after_their_time_and_hits_are_not(
    server: PugRest, connect: Connect, clock: FakeClock
) -> None:
    pubchem = connect()
    pubchem.cids_by_name(["aspirin", "newcomer"])
    assert server.names is not None
    server.names["newcomer"] = [77]
    clock.seconds += timedelta(days=89).total_seconds()
    assert pubchem.cids_by_name(["newcomer"]) == {"newcomer": []}
    clock.seconds += timedelta(days=2).total_seconds()
    assert pubchem.cids_by_name(["aspirin", "newcomer"]) == {"aspirin": [2244], "newcomer": [77]}
    assert server.names_asked() == {"aspirin": 1, "newcomer": 2}


def test_an_old_answer_is_better_than_none(server: PugRest, connect: Connect, clock: FakeClock) -> None:
    connect().cids_by_name(["aspirin", "nothing"])
    clock.seconds += timedelta(days=1000).total_seconds()
    offline = connect(mode="offline", hits_max_age_days=1)
    assert offline.cids_by_name(["aspirin", "nothing", "new"]) == {"aspirin": [2244], "nothing": []}
    assert (offline.n_from_cache, offline.n_not_asked) == (2, 1)


def test_the_cache_says_when_its_answers_were_given(
    connect: Connect, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "cache" / "pubchem.sqlite"
    assert cached_answers(path) == CachedAnswers(0, 0, None, None)
    assert not path.exists()
    pubchem = connect()
    pubchem.cids_by_name(["aspirin"])
    clock.seconds = 3600
    pubchem.cids_by_name(["nothing"])
    first = datetime(2026, 1, 1, tzinfo=UTC)
    expected = CachedAnswers(2, 1, oldest=first, newest=first + timedelta(hours=1))
    assert cached_answers(path) == pubchem.cached_answers() == expected


def test_answers_survive_a_run_that_is_killed(connect: Connect, tmp_path: Path) -> None:
    connect().cids_by_name(["aspirin"])  # not closed
    with sqlite3.connect(tmp_path / "cache" / "pubchem.sqlite") as reader:
        rows = reader.execute("SELECT kind, key, value, length(asked_at) FROM answer").fetchall()
    reader.close()
    assert rows == [("name", "aspirin", "[2244]", 25)]


def test_a_cache_from_before_versions_is_used(server: PugRest, connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "pubchem.sqlite"
    path.parent.mkdir()
    old = sqlite3.connect(path)
    old.execute(
        "CREATE TABLE answer (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, "
        "asked_at TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
    )
    old.execute("INSERT INTO answer VALUES ('name', 'old one', '[5]', '2025-12-31T00:00:00+00:00')")
    old.commit()
    old.close()
    assert connect().cids_by_name(["Old one", "aspirin"]) == {"Old one": [5], "aspirin": [2244]}
    assert len(server.requests) == 1


def test_a_cache_of_a_newer_version_is_refused(connect: Connect, tmp_path: Path) -> None:
    connect()
    with sqlite3.connect(tmp_path / "cache" / "pubchem.sqlite") as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(PerturbhouseError, match=r"pubchem\.sqlite was written by a newer version"):
        connect()


def test_a_cache_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pubchem.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(PerturbhouseError, match=r"pubchem\.sqlite is not a PubChem cache"):
        PubChemRest(path, mode="offline")


def test_threads_and_other_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "pubchem.sqlite"
    caches = [PubChemCache(path) for _ in range(2)]  # two connections, as two processes have
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def write(n: int) -> None:
        for key in range(25):
            caches[n % 2].put("name", {f"{n}-{key}": [n]}, now)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cached_answers(path).n_answers == 100
    for cache in caches:
        cache.close()


def test_threads_may_share_a_client(server: PugRest, connect: Connect) -> None:
    server.names = None
    pubchem = connect()
    names = [f"n{n}" for n in range(40)]
    threads = [threading.Thread(target=pubchem.cids_by_name, args=(names[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pubchem.n_asked == 40
    assert server.names_asked() == dict.fromkeys(names, 1)


def test_recorded_replies_of_pubchem_are_understood(
    server: PugRest, connect: Connect, realdata: Path
) -> None:
    pubchem = connect()
    recorded = realdata / "raw" / "pubchem"
    properties = recorded / "rest__pug__compound__cid__property__JSON-fe5d3a-POST.json"
    server.replies = [Reply(200, properties.read_bytes())]
    # Recorded before PubChem renamed the property: there is a row, and no SMILES of today's name.
    assert pubchem.structures_by_cid([5564]) == {}
    server.replies = [Reply(200, properties.read_bytes())]
    assert pubchem.cids_by_inchikey(["XEFQLINVKFYRCS-UHFFFAOYSA-N"]) == {
        "XEFQLINVKFYRCS-UHFFFAOYSA-N": [5564]
    }
