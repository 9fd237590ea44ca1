"""What addresses of repositories and object stores stand for."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import md5, sha256

import boto3
import pytest

from etl.extract.addresses import Addresses, Offer, Services
from etl.extract.errors import FetchError
from etl.extract.patience import Patience
from etl.extract.transport import RemoteState
from etl.extract.web import Web
from tests.unit.etl.extract.file_servers import FileServer

CONTENT = b"0123456789" * 50


@pytest.fixture
def addresses(server: FileServer, web: Web, patience: Patience) -> Addresses:
    base = server.url("")
    return Addresses(web, patience, Services(zenodo=base, hugging_face=base, s3=base, gcs=base))


def put_json(server: FileServer, path: str, content: object, **headers: str) -> None:
    server.put(path, json.dumps(content).encode(), headers=headers)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/suppl/GSE1_a.gctx.gz", "GSE1_a.gctx.gz"),
        ("https://host/MCE_10%CE%BCM_Counts.xlsx?x=1", "MCE_10μM_Counts.xlsx"),
        ("ftp://host/pub/a.txt", "a.txt"),
    ],
)
def test_a_plain_address_is_one_file(addresses: Addresses, url: str, name: str) -> None:
    assert addresses.offers(url) == [Offer(name, url)]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "a/b.txt", "https:///a", "https://host/", "https://host/..", "https://h/a%2Fb"],
)
def test_other_addresses_are_refused(addresses: Addresses, url: str) -> None:
    with pytest.raises(FetchError):
        addresses.offers(url)


def test_a_file_of_a_zenodo_record_comes_with_its_md5(addresses: Addresses, server: FileServer) -> None:
    digest = md5(CONTENT).hexdigest()
    files = [
        {"key": "Exp gzip.RData", "size": 500, "checksum": f"md5:{digest}"},
        {"key": "wells.txt", "size": 3, "checksum": "md5:00"},
    ]
    put_json(server, "/api/records/14291446", {"files": files})
    found = addresses.offers("https://zenodo.org/records/14291446/files/Exp%20gzip.RData?download=1")
    content = server.url("/api/records/14291446/files/Exp%20gzip.RData/content")
    assert found == [Offer("Exp gzip.RData", content, RemoteState(500, digests={"md5": digest}))]
    both = addresses.offers("https://zenodo.org/records/14291446/files/*")
    assert [offer.name for offer in both] == ["Exp gzip.RData", "wells.txt"]
    with pytest.raises(FetchError, match="no file there has such a name"):
        addresses.offers("https://zenodo.org/records/14291446/files/other.txt")


def test_files_of_a_hugging_face_dataset_are_listed_page_by_page(
    addresses: Addresses, server: FileServer
) -> None:
    tree = "/api/datasets/own/Cells/tree/main/data"
    digest = sha256(CONTENT).hexdigest()

    def entry(name: str, **more: object) -> dict[str, object]:
        return {"type": "file", "path": f"data/{name}", "size": 500, "oid": "0a", **more}

    second = server.url(f"{tree}?cursor=2")
    put_json(
        server,
        f"{tree}?cursor=2",
        [entry("b.parquet", lfs={"oid": digest, "size": 500}), {"type": "directory", "path": "data/c"}],
    )
    put_json(server, tree, [entry("a.parquet"), entry("README.md")], Link=f'<{second}>; rel="next"')
    files = server.url("/datasets/own/Cells/resolve/main/data")
    assert addresses.offers("hf://datasets/own/Cells/data/*.parquet") == [
        Offer("a.parquet", f"{files}/a.parquet", RemoteState(500)),
        Offer("b.parquet", f"{files}/b.parquet", RemoteState(500, digests={"sha256": digest})),
    ]
    put_json(server, "/api/datasets/own/Cells/tree/v1.0", [{"type": "file", "path": "genes.csv", "size": 1}])
    (genes,) = addresses.offers("hf://datasets/own/Cells@v1.0/genes.csv")
    assert genes.address == server.url("/datasets/own/Cells/resolve/v1.0/genes.csv")
    with pytest.raises(FetchError, match="is not of the form hf://datasets/"):
        addresses.offers("hf://models/own")


def test_an_object_is_an_address_of_its_bucket(server: FileServer, web: Web, patience: Patience) -> None:
    public = Addresses(web, patience)
    found = [
        public.offers(url)[0].address for url in ("s3://data/x/a b.h5ad", "s3://my.data/a", "gs://data/x/a")
    ]
    assert found == [
        "https://data.s3.amazonaws.com/x/a%20b.h5ad",
        "https://s3.amazonaws.com/my.data/a",
        "https://storage.googleapis.com/data/x/a",
    ]


def test_a_listing_names_no_paths(addresses: Addresses, server: FileServer) -> None:
    put_json(server, "/api/records/1", {"files": [{"key": "../x.txt", "size": 3}]})
    with pytest.raises(FetchError, match=r"'\.\./x\.txt' is no file name"):
        addresses.offers("https://zenodo.org/records/1/files/*")


@pytest.mark.parametrize("url", ["https://zenodo.org/records/1/files/a", "s3://bucket/a*"])
def test_a_listing_that_cannot_be_read_is_one_line(
    addresses: Addresses, server: FileServer, url: str
) -> None:
    server.put("/api/records/1", b"<html>")
    server.put("/bucket", b"{}")
    with pytest.raises(FetchError, match="the list of files cannot be read"):
        addresses.offers(url)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server with a public bucket of a few objects."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )
        client.create_bucket(Bucket="open-data", ACL="public-read")
        for key in ("set/plate1.h5ad", "set/plate2.h5ad", "set/notes.txt", "set/sub/plate3.h5ad"):
            client.put_object(Bucket="open-data", Key=key, Body=CONTENT, ACL="public-read")
        yield endpoint
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("scheme", ["s3", "gs"])  # Google's storage answers the same question
def test_objects_of_a_public_bucket_are_found_without_a_login(
    s3: str, web: Web, patience: Patience, scheme: str
) -> None:
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    addresses = Addresses(web, patience, Services(s3=s3, gcs=s3))
    found = addresses.offers(f"{scheme}://open-data/set/plate*.h5ad")
    assert [offer.address for offer in found] == [f"{s3}/open-data/set/plate{n}.h5ad" for n in (1, 2)]
    assert {offer.state.n_bytes for offer in found if offer.state} == {500}
    with web.deliver(found[0].address, start=490, known=found[0].state) as delivery:
        assert (delivery.start, b"".join(delivery.chunks)) == (490, b"0123456789")
        assert delivery.state.etag == (found[0].state and found[0].state.etag)
    with pytest.raises(FetchError, match="no file there has such a name"):
        addresses.offers(f"{scheme}://open-data/other/*")


def test_a_listing_of_a_bucket_goes_on_to_its_last_page(addresses: Addresses, server: FileServer) -> None:
    page = "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{}</ListBucketResult>"
    entry = "<Contents><Key>a{}.csv</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>"
    asked = "/bucket?list-type=2&prefix=a&delimiter=/"
    more = "<NextContinuationToken>t</NextContinuationToken>"
    server.put(asked, page.format(entry.format(1) + more).encode())
    server.put(f"{asked}&continuation-token=t", page.format(entry.format(2)).encode())
    assert [offer.name for offer in addresses.offers("gs://bucket/a*.csv")] == ["a1.csv", "a2.csv"]
