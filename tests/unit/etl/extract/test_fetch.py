"""Fetching a dataset: what is there afterwards, what is said of it, and what is left alone."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Thread

import pytest
from rich.console import Console

from etl.errors import BadInputError, PerturbhouseError
from etl.extract.addresses import Services
from etl.extract.errors import AccessError, ChecksumError, FetchError, NoSpaceError, UnsafeArchiveError
from etl.extract.fetch import Options, fetch
from etl.extract.ledger import LEDGER, read_ledger
from etl.extract.standing import STATUSES, Standing
from etl.extract.terminal import fetch_to_terminal
from etl.provenance import SIMULATED_MARKER
from etl.sources.base import RemoteFile, SourceSpec
from tests.unit.etl.extract.file_servers import Fault, FileServer, FtpServer

CONTENT = b"gene\tvalue\n" * 1_000
OTHER = b"gene\tother\n" * 1_000

SpecOf = Callable[..., SourceSpec]


@pytest.fixture
def spec(server: FileServer, spec_of: SpecOf) -> SourceSpec:
    """A dataset of one file."""
    return spec_of(RemoteFile("values", "values.tsv", server.put("/pub/values.tsv", CONTENT)))


@pytest.fixture
def values(tmp_path: Path) -> Path:
    return tmp_path / "toy" / "values.tsv"


def statuses(rows: list[Standing]) -> dict[str, str]:
    assert {row.status for row in rows} <= set(STATUSES)
    return {row.path: row.status for row in rows}


def files_below(folder: Path) -> list[str]:
    """Names of all files but the locks of the working folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def tarred(**members: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.replace("_tsv", ".tsv"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def test_a_file_is_placed_and_recorded(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    (row,) = fetch(spec, tmp_path, options=options)
    assert values.read_bytes() == CONTENT
    assert files_below(tmp_path / "toy") == [LEDGER, "values.tsv"]
    digest = sha256(CONTENT).hexdigest()
    assert (row.status, row.n_bytes, row.sha256) == ("fetched", len(CONTENT), digest)
    entry = read_ledger(tmp_path / "toy")["values.tsv"]
    assert (entry.url, entry.sha256, entry.n_bytes) == (spec.files[0].url, digest, len(CONTENT))
    assert entry.etag == server.files["/pub/values.tsv"].etag
    assert entry.retrieved_at.endswith("+00:00")


def test_what_is_there_is_asked_about_and_not_fetched_again(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "unchanged"}
    assert len(server.ranges()) == 1


def test_a_dry_run_says_sizes_and_writes_nothing(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    (row,) = fetch(spec, tmp_path, options=replace(options, is_dry_run=True))
    assert (row.status, row.n_bytes) == ("to fetch", len(CONTENT))
    assert list(tmp_path.iterdir()) == []
    assert server.ranges() == []


@pytest.mark.parametrize("status", [403, 405])
def test_a_server_without_head_is_asked_for_one_byte(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options, status: int
) -> None:
    server.head_status = status
    (row,) = fetch(spec, tmp_path, options=replace(options, is_dry_run=True))
    assert row.n_bytes == len(CONTENT)
    assert server.ranges() == ["bytes=0-0"]


def test_another_version_is_reported_and_replaced_only_on_request(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    server.put("/pub/values.tsv", OTHER)
    (row,) = fetch(spec, tmp_path, options=options)
    assert row.status == "changed"
    assert "the publisher's entity tag is another since" in row.remark
    assert values.read_bytes() == CONTENT
    assert statuses(fetch(spec, tmp_path, options=replace(options, is_updated=True))) == {
        "values.tsv": "updated"
    }
    assert values.read_bytes() == OTHER
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "unchanged"}


def test_another_size_is_seen_without_any_tag(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    server.put("/pub/values.tsv", CONTENT, has_etag=False)
    fetch(spec, tmp_path, options=options)
    server.put("/pub/values.tsv", CONTENT + b"more", has_etag=False)
    (row,) = fetch(spec, tmp_path, options=options)
    assert (row.status, "11,004 bytes" in row.remark) == ("changed", True)


def test_what_was_altered_is_reported_and_replaced_only_on_request(
    spec: SourceSpec, tmp_path: Path, values: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    values.write_bytes(OTHER)
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "altered"}
    assert values.read_bytes() == OTHER
    fetch(spec, tmp_path, options=replace(options, is_updated=True))
    assert values.read_bytes() == CONTENT


def test_only_reading_finds_what_size_and_time_hide(
    spec: SourceSpec, tmp_path: Path, values: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    time_ns = values.stat().st_mtime_ns
    values.write_bytes(OTHER)
    os.utime(values, ns=(time_ns, time_ns))
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "unchanged"}
    assert statuses(fetch(spec, tmp_path, options=replace(options, by_digest=True))) == {
        "values.tsv": "altered"
    }


def test_a_deleted_file_must_come_back_as_it_was(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    values.unlink()
    server.put("/pub/values.tsv", OTHER)
    with pytest.raises(ChecksumError, match=r"the digest recorded on \d{4}-.*--update takes the new one"):
        fetch(spec, tmp_path, options=options)
    assert not values.exists()
    server.put("/pub/values.tsv", CONTENT)
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "fetched"}


def test_a_pinned_digest_is_enforced_and_nothing_is_placed(
    spec: SourceSpec, tmp_path: Path, values: Path, options: Options
) -> None:
    pinned = replace(spec, files=(replace(spec.files[0], sha256="0" * 64),))
    with pytest.raises(ChecksumError) as raised:
        fetch(pinned, tmp_path, options=options)
    assert str(raised.value) == (
        f"values.tsv from {spec.files[0].url}: has sha256 {sha256(CONTENT).hexdigest()}, but the digest that "
        f"the dataset pins is {'0' * 64}; run it again; if it stays so, the publisher has replaced the file"
    )
    assert files_below(tmp_path) == []
    right = replace(spec, files=(replace(spec.files[0], sha256=sha256(CONTENT).hexdigest()),))
    fetch(right, tmp_path, options=options)
    assert values.read_bytes() == CONTENT


def test_an_unreachable_publisher_does_not_make_fetched_files_useless(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    fetch(spec, tmp_path, options=options)
    server.head_status = 404
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "unchecked"}


def test_a_list_that_cannot_be_read_does_not_either(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options
) -> None:
    listing = {"files": [{"key": "values.tsv", "size": len(CONTENT)}]}
    server.put("/api/records/7", json.dumps(listing).encode())
    server.put("/api/records/7/files/values.tsv/content", CONTENT)
    spec = spec_of(RemoteFile("values", "values.tsv", "https://zenodo.org/records/7/files/values.tsv"))
    here = replace(options, services=Services(zenodo=server.url("")))
    assert statuses(fetch(spec, tmp_path, options=here)) == {"values.tsv": "fetched"}
    del server.files["/api/records/7"]
    assert statuses(fetch(spec, tmp_path, options=here)) == {"values.tsv": "unchecked"}


def test_files_put_there_by_hand_are_left_alone_and_compared(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    values.parent.mkdir()
    values.write_bytes(CONTENT)
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "found"}
    values.write_bytes(CONTENT[:50])
    (row,) = fetch(spec, tmp_path, options=options)
    assert (row.status, row.remark) == (
        "changed",
        "has 50 bytes, the publisher offers 11,000: cut short or another release",
    )
    assert values.stat().st_size == 50
    assert server.ranges() == []


def test_a_file_of_another_name_that_serves_is_not_fetched_beside(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options
) -> None:
    spec = spec_of(RemoteFile("values", "values.tsv*", server.put("/values.tsv.gz", CONTENT)))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "values.tsv").write_bytes(CONTENT)
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv.gz": "found"}
    assert server.ranges() == []


def test_several_files_come_side_by_side_and_few_at_a_time(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options
) -> None:
    urls = [server.put(f"/plate{n}.csv", CONTENT + bytes([n])) for n in range(6)]
    spec = spec_of(*(RemoteFile(f"plate{n}", f"plate{n}.csv", url) for n, url in enumerate(urls)))
    server.gate = Barrier(2)
    seen: dict[str, int] = {}
    fetch(spec, tmp_path, options=options, progress=lambda path, done, _: seen.update({path: done}))
    assert server.most_at_once == 2
    assert seen == {f"plate{n}.csv": len(CONTENT) + 1 for n in range(6)}
    assert len(read_ledger(tmp_path / "toy")) == 6


def test_one_file_that_fails_does_not_stop_the_others(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options
) -> None:
    a, b, c = (RemoteFile(n, f"{n}.csv", server.put(f"/{n}.csv", CONTENT)) for n in "abc")
    with pytest.raises(ChecksumError, match=r"^b\.csv from http"):
        fetch(spec_of(a, replace(b, sha256="00"), c), tmp_path, options=options)
    assert files_below(tmp_path / "toy") == [LEDGER, "a.csv", "c.csv"]
    (tmp_path / "toy" / "c.csv").unlink()
    with pytest.raises(FetchError, match=r"^toy: 2 of 2 files could not be fetched; the first: b\.csv from"):
        fetch(spec_of(a, replace(b, sha256="00"), replace(c, sha256="00")), tmp_path, options=options)


def test_an_archive_is_unpacked_and_not_kept(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options
) -> None:
    url = server.put("/all.tar.gz", tarred(metrics_tsv=CONTENT, README=b"hello"))
    spec = spec_of(
        RemoteFile("metrics", "**/metrics.tsv", url, sha256=sha256(CONTENT).hexdigest()),
        RemoteFile("values", "**/values.tsv", url, is_required=False),
    )
    (row,) = fetch(spec, tmp_path, options=options)
    assert (row.path, row.status, row.is_unpacked) == ("all.tar.gz", "fetched", True)
    assert files_below(tmp_path / "toy") == [LEDGER, "README", "metrics.tsv"]
    assert spec.locate(tmp_path / "toy") == {"metrics": tmp_path / "toy" / "metrics.tsv"}
    assert statuses(fetch(spec, tmp_path, options=options)) == {"all.tar.gz": "unchanged"}
    (tmp_path / "toy" / "README").unlink()
    assert statuses(fetch(spec, tmp_path, options=options)) == {"all.tar.gz": "fetched"}
    assert files_below(tmp_path / "toy") == [LEDGER, "README", "metrics.tsv"]


@pytest.mark.parametrize(
    ("members", "error", "text"),
    [
        ({"metrics_tsv": OTHER}, ChecksumError, "its member metrics.tsv has sha256"),
        ({"other": OTHER}, FetchError, r"holds no file that matches \*\*/metrics\.tsv"),
        ({"metrics_tsv": CONTENT, "mine": b""}, FetchError, "its member mine is there already"),
        ({"metrics_tsv": CONTENT, "../mine": b""}, UnsafeArchiveError, "has no plain path"),
    ],
)
def test_an_archive_that_is_not_as_it_should_be_places_nothing(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options, members, error, text
) -> None:
    url = server.put("/all.tar.gz", tarred(**members))
    spec = spec_of(RemoteFile("metrics", "**/metrics.tsv", url, sha256=sha256(CONTENT).hexdigest()))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "mine").write_text("mine")
    with pytest.raises(error, match=text):
        fetch(spec, tmp_path, options=options)
    assert [name for name in files_below(tmp_path) if ".fetching" not in name] == ["toy/mine"]
    assert (tmp_path / "toy" / "mine").read_text() == "mine"


@pytest.mark.parametrize("access", ["registration", "manual"])
def test_what_only_a_person_can_get_is_said_in_full(
    server: FileServer, spec_of: SpecOf, tmp_path: Path, options: Options, access: str
) -> None:
    spec = spec_of(
        RemoteFile("counts", "*GeneCounts.h5"),
        RemoteFile("plates", "Metadata.csv", server.put("/Metadata.csv", CONTENT)),
        access=access,
        url="https://publisher.example/data",
        license="non-commercial",
    )
    with pytest.raises(AccessError) as raised:
        fetch(spec, tmp_path, options=options)
    text = str(raised.value)
    assert "\n" not in text
    for part in (
        "toy: ",
        "https://publisher.example/data",
        "(licence: non-commercial)",
        str(tmp_path / "toy"),
    ):
        assert part in text
    assert f"*GeneCounts.h5, Metadata.csv from {server.url('/Metadata.csv')}" in text
    assert server.asked == []
    rows = fetch(spec, tmp_path, options=replace(options, is_dry_run=True))
    assert statuses(rows) == {"*GeneCounts.h5": "by hand", "Metadata.csv": "by hand"}
    (tmp_path / "toy").mkdir()
    for name in ("GDP_GeneCounts.h5", "Metadata.csv"):
        (tmp_path / "toy" / name).write_bytes(CONTENT)
    there = {"GDP_GeneCounts.h5": "found", "Metadata.csv": "found"}
    assert statuses(fetch(spec, tmp_path, options=options)) == there


def test_open_files_are_fetched_before_the_rest_is_asked_for(
    spec: SourceSpec, tmp_path: Path, values: Path, options: Options
) -> None:
    more = replace(spec, files=(*spec.files, RemoteFile("map", "map.csv")))
    with pytest.raises(AccessError, match=r"some of its files come by hand.*: map\.csv$"):
        fetch(more, tmp_path, options=options)
    assert values.exists()
    optional = replace(more, files=(*spec.files, RemoteFile("map", "map.csv", is_required=False)))
    assert statuses(fetch(optional, tmp_path, options=options))["map.csv"] == "by hand"


def test_a_full_disk_is_seen_before_anything_is_fetched(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.extract.fetch.free_bytes", lambda _: 10_999)
    with pytest.raises(NoSpaceError, match="11,000 bytes are needed at least, 10,999 are free; free some"):
        fetch(spec, tmp_path, options=options)
    assert server.ranges() == []
    assert list(tmp_path.iterdir()) == []


def test_simulated_files_are_not_mixed_with_real_ones(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / SIMULATED_MARKER).write_text("{}")
    with pytest.raises(PerturbhouseError, match="holds simulated files"):
        fetch(spec, tmp_path, options=options)
    assert server.asked == []


@pytest.mark.parametrize("content", ["{", "[]", '{"files": {"a": {"url": 1}}}'])
def test_a_damaged_record_is_named(spec: SourceSpec, tmp_path: Path, options: Options, content: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / LEDGER).write_text(content)
    with pytest.raises(BadInputError, match=r"toy, file \.fetched\.json: is no record of fetched files"):
        fetch(spec, tmp_path, options=options)


def test_an_error_names_file_address_event_and_remedy(
    spec: SourceSpec, server: FileServer, tmp_path: Path, options: Options
) -> None:
    del server.files["/pub/values.tsv"]
    with pytest.raises(FetchError) as raised:
        fetch(spec, tmp_path, options=options)
    assert str(raised.value) == (
        f"values.tsv from {server.url('/pub/values.tsv')}: HTTP 404 Not Found; it is not there any more: "
        "look for its new address on the dataset's page"
    )


def test_ftp_is_fetched_like_the_rest(
    ftp_server: FtpServer, spec_of: SpecOf, tmp_path: Path, values: Path, options: Options
) -> None:
    ftp_server.files["/pub/values.tsv"] = (CONTENT, "20170306000000")
    spec = spec_of(RemoteFile("values", "values.tsv", ftp_server.url("/pub/values.tsv")))
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "fetched"}
    assert values.read_bytes() == CONTENT


FETCH_IN_A_PROCESS = """
import sys
from pathlib import Path
from etl.extract.fetch import fetch
from etl.sources.base import RemoteFile, SourceSpec

spec = SourceSpec(
    dataset_id="toy", title="Toy", assay="l1000", readout="", value_scale="log2", license="CC0-1.0",
    is_redistributable=True, access="open", release="1",
    files=(RemoteFile("values", "values.tsv", sys.argv[1]),),
)
print(fetch(spec, Path(sys.argv[2]))[0].status)
"""


def start(server: FileServer, raw: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH_IN_A_PROCESS, server.url("/pub/values.tsv"), str(raw)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_killed_process_leaves_what_the_next_one_continues(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    server.faults = [Fault(stall=4_000)]
    process = start(server, tmp_path)
    parts = tmp_path / "toy" / ".fetching"
    wait_until(lambda: sum(path.stat().st_size for path in parts.glob("*.part")) == 4_000)
    process.kill()
    process.communicate()
    assert not values.exists()
    assert statuses(fetch(spec, tmp_path, options=options)) == {"values.tsv": "fetched"}
    assert values.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=4000-"]


def test_two_processes_fetch_one_file_once(
    spec: SourceSpec, server: FileServer, tmp_path: Path, values: Path, options: Options
) -> None:
    server.faults = [Fault(stall=4_000)]
    other = start(server, tmp_path)
    wait_until(lambda: server.n_at_once == 1)
    own: list[Standing] = []
    waiting = Thread(target=lambda: own.extend(fetch(spec, tmp_path, options=options)))
    waiting.start()
    wait_until(lambda: [method for method, *_ in server.asked].count("HEAD") == 2)
    server.release.set()
    assert other.communicate(timeout=20)[0].strip() == "fetched"
    waiting.join(10)
    assert statuses(own) == {"values.tsv": "unchanged"}
    assert len(server.ranges()) == 1
    assert values.read_bytes() == CONTENT


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_the_terminal_shows_licence_sizes_and_total(
    spec: SourceSpec, tmp_path: Path, options: Options, is_dry_run: bool
) -> None:
    console = Console(file=io.StringIO(), width=200)
    rows = fetch_to_terminal(spec, tmp_path, replace(options, is_dry_run=is_dry_run), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Licence: CC0-1.0 (may be passed on). Access: open." in shown
    assert "values.tsv" in shown
    assert "11.0 kB" in shown
    total = "To fetch: 1 file(s), 11.0 kB" if is_dry_run else "Fetched 1 of 1 file(s), 11.0 kB"
    assert total in shown
    assert len(rows) == 1
