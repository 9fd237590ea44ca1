"""A run that is killed in the middle of its look-ups repeats none that had succeeded."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.pug_rest import PugRest, serving

N_NAMES = 1000
_LONGEST_S = 60.0
# PubChemPy reads all root certificates for each request, which would be most of this test's time.
_LOOK_UPS = """
import functools, ssl, sys
from pathlib import Path
from etl.harmonize.pubchem_rest import PubChemRest

ssl.create_default_context = functools.cache(ssl.create_default_context)

names = [f"name {n}" for n in range(int(sys.argv[3]))]
with PubChemRest(
    Path(sys.argv[1]), base_url=sys.argv[2], mode="online", requests_per_second=1e6, requests_per_minute=10**6
) as pubchem:
    found = pubchem.cids_by_name(names)
    print(len(found), pubchem.n_asked, pubchem.n_from_cache)
"""


def _start(cache: Path, server: PugRest) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _LOOK_UPS, str(cache), server.url, str(N_NAMES)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def _kill_after(process: subprocess.Popen[str], server: PugRest, n_requests: int) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while len(server.requests) < n_requests and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "killed while it was asking"


def _cached_names(cache: Path) -> set[str]:
    database = sqlite3.connect(cache)
    names = {name for (name,) in database.execute("SELECT key FROM answer")}
    database.close()
    return names


def test_no_look_up_that_succeeded_is_asked_again(tmp_path: Path) -> None:
    cache = tmp_path / "pubchem.sqlite"
    with serving() as server:
        server.names = None
        _kill_after(_start(cache, server), server, 300)
        first = _cached_names(cache)
        _kill_after(_start(cache, server), server, 650)
        second = _cached_names(cache)
        last = _start(cache, server)
        told, _ = last.communicate(timeout=_LONGEST_S)
    assert 250 < len(first) < len(second) < N_NAMES
    assert last.returncode == 0
    assert told.split() == [str(N_NAMES), str(N_NAMES - len(second)), str(len(second))]
    asked = server.names_asked()
    assert len(asked) == N_NAMES
    repeated = {name for name, n in asked.items() if n > 1}
    assert not repeated & first
    # Of each kill, the one look-up that was under way may have reached the server and not the cache.
    assert len(repeated) <= 2
