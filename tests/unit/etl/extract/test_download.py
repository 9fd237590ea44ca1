"""One download: continued, verified, given up with a reason."""

from hashlib import md5, sha256
from pathlib import Path

import pytest

from etl.extract.addresses import Offer
from etl.extract.download import Downloaded, Expected, download
from etl.extract.errors import ChecksumError, FetchError, NoSpaceError
from etl.extract.ftp import Ftp
from etl.extract.patience import Patience
from etl.extract.transport import RemoteState
from etl.extract.web import Web
from tests.unit.etl.extract.file_servers import Fault, FileServer, FtpServer, serving

CONTENT = bytes(range(256)) * 400
OTHER = CONTENT[::-1]


@pytest.fixture
def get(tmp_path: Path, web: Web, patience: Patience):
    def run(url: str, **options: object) -> Downloaded:
        transport = Ftp(timeout_s=2) if url.startswith("ftp") else options.pop("web", web)
        offer = Offer("values.tsv", url, options.pop("state", None))  # type: ignore[arg-type]
        patient = options.pop("patience", patience)
        return download(offer, tmp_path / "x.part", transport=transport, patience=patient, **options)  # type: ignore[arg-type]

    return run


def test_a_file_arrives_whole_with_its_digest_and_version(server: FileServer, get, tmp_path: Path) -> None:
    url = server.put("/values.tsv", CONTENT)
    seen: list[tuple[int, int | None]] = []
    found = get(url, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert found.sha256 == sha256(CONTENT).hexdigest()
    assert found.state == RemoteState(len(CONTENT), server.files["/values.tsv"].etag)
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_continued_where_it_was_cut(server: FileServer, get, tmp_path: Path) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(cut=1_000), Fault(cut=500)]
    get(url)
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-", "bytes=1500-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: FileServer, get, tmp_path: Path) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.knows_ranges = False
    server.faults = [Fault(cut=1_000)]
    get(url)
    assert (tmp_path / "x.part").read_bytes() == CONTENT


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_another_version_is_never_appended_to_the_first(
    server: FileServer, get, tmp_path: Path, knows_if_range: bool
) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.knows_if_range = knows_if_range
    server.faults = [Fault(cut=1_000)] + [Fault(status=503)] * 3
    with pytest.raises(FetchError):
        get(url)
    assert (tmp_path / "x.part").stat().st_size == 1_000
    server.put("/values.tsv", OTHER)
    server.faults = []
    assert get(url).sha256 == sha256(OTHER).hexdigest()
    assert (tmp_path / "x.part").read_bytes() == OTHER


def test_without_validator_or_digest_nothing_is_continued(server: FileServer, get, tmp_path: Path) -> None:
    url = server.put("/values.tsv", CONTENT, has_etag=False)
    (tmp_path / "x.part").write_bytes(b"rest of something")
    get(url)
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_what_was_pieced_together_wrongly_is_fetched_once_more(
    server: FileServer, get, tmp_path: Path
) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(cut=1_000)] + [Fault(status=503)] * 3
    with pytest.raises(FetchError):
        get(url)
    (tmp_path / "x.part").write_bytes(b"\0" * 1_000)  # a disk that lost what it had promised
    server.faults = []
    pinned = Expected("sha256", sha256(CONTENT).hexdigest(), "that the dataset pins")
    assert get(url, expected=[pinned]).n_bytes == len(CONTENT)
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_a_complete_part_needs_no_bytes(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    first = get(url)
    assert get(url) == first
    assert server.ranges()[-1] == f"bytes={len(CONTENT)}-"


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_digest_names_both_and_leaves_nothing(
    server: FileServer, get, tmp_path: Path, algorithm: str
) -> None:
    url = server.put("/values.tsv", CONTENT)
    found = (sha256 if algorithm == "sha256" else md5)(CONTENT).hexdigest()
    with pytest.raises(ChecksumError, match=f"has {algorithm} {found}, but the digest that .* is 00ff"):
        get(url, expected=[Expected(algorithm, "00ff", "that the publisher states")])
    assert list(tmp_path.iterdir()) == []
    assert len(server.ranges()) == 1


def test_a_length_that_is_promised_and_never_sent_is_given_up(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    longer = {"Content-Length": str(len(CONTENT) + 7)}
    server.faults = [Fault(headers=longer, cut=len(CONTENT)), Fault(status=416)] * 9
    with pytest.raises(FetchError, match="changes at the publisher while it is fetched; run it again later"):
        get(url)


def test_a_connection_that_always_ends_too_early_is_given_up(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(cut=1_000)] + [Fault(cut=0)] * 9
    with pytest.raises(FetchError, match=r"cut.* \(4 times in a row\); run it again: what is there is kept"):
        get(url)


def test_a_length_other_than_the_listed_one_is_refused(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    with pytest.raises(FetchError, match="offers 102,400 bytes, but the publisher lists 5"):
        get(url, state=RemoteState(5))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "may need a registration"), (404, "not there any more"), (418, "in a browser")],
)
def test_a_refusal_is_not_repeated_and_says_what_to_do(
    server: FileServer, get, status: int, remedy: str
) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(status=status)]
    with pytest.raises(FetchError, match=f"HTTP {status}.*{remedy}"):
        get(url)
    assert len(server.asked) == 1


def test_a_bucket_that_bills_the_reader_is_named_so(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(status=400, body=b"<Error><Code>UserProjectMissing</Code></Error>")]
    with pytest.raises(FetchError, match=r"HTTP 400 Bad Request \(UserProjectMissing\)"):
        get(url)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(server: FileServer, get, status: int) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(status=status, headers={"Retry-After": "0"}), Fault(status=status)]
    assert get(url).n_bytes == len(CONTENT)


def test_a_wait_of_an_hour_is_left_to_the_user(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(FetchError, match=r"HTTP 429 .*: the server asks to wait 3600 s; run it again later"):
        get(url)


def test_a_server_that_stays_down_is_given_up(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(status=500)] * 9
    with pytest.raises(FetchError, match=r"HTTP 500 .* \(4 times in a row\); run it again"):
        get(url)


def test_a_silent_server_is_left_and_asked_for_the_rest(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT)
    server.faults = [Fault(stall=2_000)]
    impatient = Web(read_timeout_s=0.1)
    assert get(url, web=impatient).n_bytes == len(CONTENT)
    assert server.ranges() == [None, "bytes=2000-"]
    impatient.close()


def test_no_server_at_all_is_one_line(get) -> None:
    with pytest.raises(FetchError, match=r"^no connection to 127.0.0.1 \(.*refused.*\) \(4 times"):
        get("http://127.0.0.1:9/values.tsv")


def test_a_login_page_is_not_taken_for_the_file(server: FileServer, get) -> None:
    url = server.put("/values.tsv", b"\n<!DOCTYPE html><title>Log in</title>")
    with pytest.raises(FetchError, match="a web page instead of the file; open the address in a browser"):
        get(url)


def test_redirects_are_followed_each_time_anew(server: FileServer, get) -> None:
    signed = server.put("/signed", CONTENT)
    url = server.url("/values.tsv")
    server.faults = [
        Fault(status=302, headers={"Location": signed}),
        Fault(cut=1_000),
        Fault(status=307, headers={"Location": "/signed"}),
    ]
    assert get(url).n_bytes == len(CONTENT)
    assert [path for _, path, _ in server.asked] == ["/values.tsv", "/signed"] * 2


def test_a_circle_of_redirects_ends(server: FileServer, get) -> None:
    url = server.url("/values.tsv")
    server.faults = [Fault(status=302, headers={"Location": "/values.tsv"})] * 20
    with pytest.raises(FetchError, match="redirected more than 10 times"):
        get(url)


def test_https_never_becomes_http(
    server: FileServer, get, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = server.put("/values.tsv", CONTENT)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(certificate) as secure:
        secure.faults = [Fault(status=302, headers={"Location": plain})]
        with pytest.raises(FetchError, match="redirects from https to http, which is not followed"):
            get(secure.url("/values.tsv"))
        assert get(secure.put("/values.tsv", CONTENT)).n_bytes == len(CONTENT)
    assert server.asked == []


def test_a_certificate_that_nobody_vouches_for_is_refused(get, certificate: Path) -> None:
    with serving(certificate) as secure, pytest.raises(FetchError, match="certificate is not accepted"):
        get(secure.put("/values.tsv", CONTENT))


def test_compression_on_the_way_is_refused(server: FileServer, get) -> None:
    url = server.put("/values.tsv", CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="sends it gzip-encoded"):
        get(url)
    assert get(server.put("/values.tsv.gz", CONTENT, headers={"Content-Encoding": "gzip"})).n_bytes > 0


def test_a_full_disk_is_one_line_and_keeps_the_part(
    server: FileServer, get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("etl.extract.download._Part.append", full)
    with pytest.raises(NoSpaceError, match="the disk is full; free some space"):
        get(server.put("/values.tsv", CONTENT))
    assert (tmp_path / "x.part").exists()


def test_an_empty_file_is_a_file(server: FileServer, get, tmp_path: Path) -> None:
    assert get(server.put("/values.tsv", b"")).n_bytes == 0
    assert (tmp_path / "x.part").read_bytes() == b""


def test_ftp_is_continued_where_it_was_cut(ftp_server: FtpServer, get, tmp_path: Path) -> None:
    ftp_server.files["/pub/values.tsv"] = (CONTENT, "20170306000000")
    ftp_server.cuts = [1_000, 0]
    found = get(ftp_server.url("/pub/values.tsv"))
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert found.state == RemoteState(len(CONTENT), None, "20170306000000")
    assert ftp_server.rests == [1_000, 1_000]


def test_ftp_of_another_version_starts_anew(
    ftp_server: FtpServer, get, tmp_path: Path, patience: Patience
) -> None:
    ftp_server.files["/values.tsv"] = (CONTENT, "20170306000000")
    ftp_server.cuts = [1_000, 0, 0, 0]
    with pytest.raises(FetchError, match="426 cut"):
        get(ftp_server.url("/values.tsv"))
    ftp_server.files["/values.tsv"] = (OTHER, "20180101000000")
    get(ftp_server.url("/values.tsv"))
    assert (tmp_path / "x.part").read_bytes() == OTHER


def test_ftp_names_what_is_not_there(ftp_server: FtpServer, get) -> None:
    with pytest.raises(FetchError, match="ftp: 550 no such file; look for its address"):
        get(ftp_server.url("/values.tsv"))
