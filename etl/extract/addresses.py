"""What an address in a ``SourceSpec`` stands for: one file, or those of a repository that match a pattern.

=============================================== ====================================================
address                                         read as
=============================================== ====================================================
``https://…``, ``http://…``, ``ftp://…``        that file
``https://zenodo.org/records/<id>/files/<name>`` a file of a Zenodo record, with the MD5 it states
``hf://datasets/<owner>/<name>[@rev]/<path>``   a file of a Hugging Face dataset, with its SHA-256
``s3://<bucket>/<key>``                         a public object of Amazon S3
``gs://<bucket>/<object>``                      a public object of Google Cloud Storage
=============================================== ====================================================

In the last path part of all but the first, ``*``, ``?`` and ``[…]`` match file names (not across ``/``).

Public buckets are plain https servers that know ranges and entity tags, so one transport serves them all.
Not here: buckets that need a login; what they hold is put into the raw folder with the tools of their owner.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from etl.extract.errors import FetchError
from etl.extract.names import WILDCARDS, is_plain
from etl.extract.patience import Patience
from etl.extract.transport import RemoteState
from etl.extract.web import Web

MAX_PAGES: Final = 10_000
"""Pages of a listing, at most; S3 and GCS give 1,000 names a page."""

_ZENODO_FILE: Final = re.compile(r"/records?/(\d+)/files/(.+?)(?:/content)?")
_HF_PATH: Final = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([^/]+))?/(.+)")


@dataclass(frozen=True, slots=True)
class Services:
    """Base addresses of the services; others for a mirror or a test.

    Args:
        s3: None for Amazon's, where the bucket is part of the host name.
    """

    zenodo: str = "https://zenodo.org"
    hugging_face: str = "https://huggingface.co"
    s3: str | None = None
    gcs: str = "https://storage.googleapis.com"

    def bucket(self, scheme: str, name: str) -> str:
        """Return the address of a bucket, without the last slash."""
        if scheme == "gs":
            return f"{self.gcs}/{name}"
        if self.s3 is not None:
            return f"{self.s3}/{name}"
        # A name with dots is not covered by the certificate of *.s3.amazonaws.com.
        return f"https://s3.amazonaws.com/{name}" if "." in name else f"https://{name}.s3.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Offer:
    """One file that can be downloaded.

    Args:
        name: its file name at the publisher.
        address: where its bytes are: http, https or ftp.
        state: what a listing says about it; None where nothing has been asked yet.
    """

    name: str
    address: str
    state: RemoteState | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Looks up what addresses stand for."""

    web: Web
    patience: Patience
    services: Services = field(default_factory=Services)

    def offers(self, url: str) -> list[Offer]:
        """Return the files that an address stands for, sorted by name; at least one.

        Raises:
            FetchError: the address is of no known form, a listing cannot be read or holds no such file, or
                a name in it is no plain file name.
        """
        offers = sorted(self._offers(url), key=lambda offer: offer.name)
        if not offers:
            raise FetchError("no file there has such a name", url=url, remedy="look on the dataset's page")
        names = [offer.name for offer in offers]
        for name in names:
            if not is_plain(name) or names.count(name) > 1:
                raise FetchError(f"{name!r} is no file name, or there are several of it", url=url)
        return offers

    def _offers(self, url: str) -> Iterator[Offer]:
        parts = urlsplit(url)
        if parts.scheme in ("s3", "gs"):
            yield from self._of_bucket(parts.scheme, parts.netloc, url.split("://", 1)[1].partition("/")[2])
        elif parts.scheme == "hf":
            yield from self._of_hugging_face(url)
        elif parts.hostname == "zenodo.org" and (found := _ZENODO_FILE.fullmatch(parts.path)):
            yield from self._of_zenodo(found[1], unquote(found[2]))
        elif parts.scheme in ("http", "https", "ftp") and parts.hostname:
            yield Offer(unquote(parts.path.rpartition("/")[2]), url)
        else:
            raise FetchError("no address that can be fetched", url=url)

    def _of_bucket(self, scheme: str, bucket: str, key: str) -> Iterator[Offer]:
        """Yield an object, or those that match; GCS answers S3's ListObjectsV2 too."""
        base = self.services.bucket(scheme, bucket)
        folder, _, name = key.rpartition("/")
        if not WILDCARDS.search(name):
            yield Offer(name, f"{base}/{quote(key)}")
            return
        start = WILDCARDS.split(name)[0]
        prefix = f"{folder}/{start}" if folder else start
        asked = {"list-type": "2", "prefix": prefix, "delimiter": "/"}
        for _ in range(MAX_PAGES):
            page = self._xml(f"{base}?{urlencode(asked)}")
            for entry in page.iterfind("{*}Contents"):
                found = entry.findtext("{*}Key", "")
                if fnmatchcase(found.rpartition("/")[2], name):
                    state = RemoteState(int(entry.findtext("{*}Size", "0")), entry.findtext("{*}ETag"))
                    yield Offer(found.rpartition("/")[2], f"{base}/{quote(found)}", state)
            token = page.findtext("{*}NextContinuationToken")
            if not token:
                return
            asked["continuation-token"] = token
        raise FetchError(
            f"the list of files has more than {MAX_PAGES} pages", url=f"{scheme}://{bucket}/{key}"
        )

    def _of_hugging_face(self, url: str) -> Iterator[Offer]:
        """Yield files of a dataset: their folder is listed, with the SHA-256 of those kept in LFS."""
        found = _HF_PATH.fullmatch(url.removeprefix("hf://datasets/"))
        if found is None:
            raise FetchError("is not of the form hf://datasets/<owner>/<name>[@revision]/<path>", url=url)
        repository, revision, path = found[1], quote(found[2] or "main", safe=""), found[3]
        folder, _, name = path.rpartition("/")
        base = f"{self.services.hugging_face}/api/datasets/{repository}/tree/{revision}"
        page: str | None = f"{base}/{quote(folder)}" if folder else base
        for _ in range(MAX_PAGES):
            if page is None:
                return
            entries, page = self._json(page)
            for entry in entries:
                last = entry["path"].rpartition("/")[2]
                if entry["type"] == "file" and (last == name or fnmatchcase(last, name)):
                    files = f"{self.services.hugging_face}/datasets/{repository}/resolve/{revision}"
                    oid = entry.get("lfs", {}).get("oid")
                    digests = {"sha256": oid.removeprefix("sha256:")} if oid else {}
                    yield Offer(
                        last, f"{files}/{quote(entry['path'])}", RemoteState(entry["size"], digests=digests)
                    )
        raise FetchError(f"the list of files has more than {MAX_PAGES} pages", url=url)

    def _of_zenodo(self, record: str, name: str) -> Iterator[Offer]:
        """Yield files of a record with the MD5 that Zenodo states of each."""
        facts, _ = self._json(f"{self.services.zenodo}/api/records/{record}")
        for entry in facts["files"]:
            key = entry["key"]
            if key == name or fnmatchcase(key, name):
                algorithm, _, digest = entry.get("checksum", "").partition(":")
                digests = {algorithm: digest} if algorithm in ("md5", "sha256") else {}
                address = f"{self.services.zenodo}/api/records/{record}/files/{quote(key)}/content"
                yield Offer(key, address, RemoteState(entry["size"], digests=digests))

    def _json(self, address: str) -> tuple[Any, str | None]:
        content, following = self.patience.ask(lambda: self.web.listing(address))
        try:
            return json.loads(content), following
        except ValueError as fault:
            raise FetchError("the list of files cannot be read", url=address) from fault

    def _xml(self, address: str) -> ElementTree.Element:
        content, _ = self.patience.ask(lambda: self.web.listing(address))
        try:
            return ElementTree.fromstring(content)  # noqa: S314 - expat limits what entities may grow to
        except ElementTree.ParseError as fault:
            raise FetchError("the list of files cannot be read", url=address) from fault


def host_of(address: str) -> str:
    """Return the server that an address asks, the unit of politeness."""
    return urlsplit(address).netloc
