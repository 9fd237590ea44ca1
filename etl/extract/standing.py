"""How a wanted file stands: to fetch, there and the same, there and another.

Here: comparing the raw folder, its record and what the server says. Nothing is written. Not here: fetching
(``fetch.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from etl.digests import read_sha256
from etl.extract.addresses import Offer
from etl.extract.download import Expected
from etl.extract.ledger import FetchedFile, is_intact, read_ledger
from etl.extract.transport import RemoteState
from etl.extract.wanted import Destination, Wanted

STATUSES: Final[Mapping[str, str]] = {
    "to fetch": "not there, or to be replaced; only in a dry run",
    "fetched": "downloaded in this run, verified and put in its place",
    "updated": "downloaded in this run in place of another version",
    "unchanged": "there as it was recorded, and the publisher still offers the same",
    "unchecked": "there as it was recorded; the publisher could not be asked",
    "found": "there before, put there by hand",
    "changed": "there, but the publisher now offers another version; kept",
    "altered": "there, but not as it was recorded; kept",
    "by hand": "not there, and only a person can get it",
}
"""What can be said of a wanted file after ``fetch``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one wanted file stands.

    Args:
        path: where it goes below the dataset's raw folder; the pattern of what comes by hand.
        url: the publisher's address; None for what comes by hand.
        status: one of ``STATUSES``.
        n_bytes: size of the download; None where nobody says.
        is_unpacked: whether its members are kept instead of it.
        is_required: whether the dataset cannot be read without it.
        sha256: digest of the download, once it is known.
        etag: entity tag of the version that is there.
        remark: what a person should know, one line; empty where there is nothing to say.
    """

    path: str
    url: str | None
    status: str
    n_bytes: int | None = None
    is_unpacked: bool = False
    is_required: bool = True
    sha256: str | None = None
    etag: str | None = None
    remark: str = ""


def standing(
    want: Wanted,
    destination: Destination,
    offer: Offer,
    raw: Path,
    *,
    is_only: bool,
    is_updated: bool,
    by_digest: bool,
) -> Standing:
    """Return how a file stands, given what the server says of it.

    Args:
        want: what it is wanted for.
        destination: where it goes.
        offer: the file at the publisher; its state is None where it could not be asked.
        raw: the dataset's raw folder.
        is_only: whether the address brings this file alone.
        is_updated: whether another version replaces what is there.
        by_digest: whether what is there is read and hashed, not only its size and time compared.
    """
    entry = read_ledger(raw).get(destination.path)
    state = offer.state or RemoteState()
    blank = Standing(
        destination.path,
        want.url,
        "to fetch",
        n_bytes=state.n_bytes,
        is_unpacked=destination.is_unpacked,
        is_required=want.is_required,
    )
    if entry is not None and all((raw / file.path).is_file() for file in entry.files):
        there = replace(blank, n_bytes=entry.n_bytes, sha256=entry.sha256, etag=entry.etag)
        return _standing_of_recorded(there, entry, offer, raw, is_updated=is_updated, by_digest=by_digest)
    if entry is not None:
        return replace(blank, remark="was fetched before, is not there any more")
    if (raw / destination.path).is_file() and not destination.is_unpacked:
        return _standing_of_found(blank, want, offer, raw, is_updated=is_updated)
    if is_only and is_served(want, raw):
        return replace(blank, status="found", remark="a file that serves for it is there")
    return blank


def expected(
    want: Wanted, destination: Destination, offer: Offer, entry: FetchedFile | None
) -> list[Expected]:
    """Return the digests that a download must have: pinned, stated by the publisher, recorded before.

    Args:
        want: what it is wanted for.
        destination: where it goes; a pin of a member is checked when it is unpacked.
        offer: the file at the publisher.
        entry: what was recorded of it, where that still binds.
    """
    digests = []
    pinned = None if destination.is_unpacked else want.sha256_of(destination.path)
    if pinned is not None:
        digests.append(Expected("sha256", pinned, "that the dataset pins"))
    if offer.state is not None:
        digests += [
            Expected(algorithm, digest, "that the publisher states")
            for algorithm, digest in sorted(offer.state.digests.items())
        ]
    if entry is not None:
        recorded = f"recorded on {entry.retrieved_at[:10]}"
        digests.append(
            Expected(
                "sha256", entry.sha256, recorded, "the publisher has replaced it; --update takes the new one"
            )
        )
    return digests


def _standing_of_recorded(
    there: Standing, entry: FetchedFile, offer: Offer, raw: Path, *, is_updated: bool, by_digest: bool
) -> Standing:
    altered = [file.path for file in entry.files if not is_intact(raw, file, by_digest=by_digest)]
    if altered:
        remark = f"{', '.join(altered[:3])} is not as it was fetched on {entry.retrieved_at[:10]}"
        return replace(there, status="to fetch" if is_updated else "altered", remark=remark)
    if offer.state is None:
        return replace(there, status="unchecked", remark="the publisher could not be asked")
    remark = _difference(entry, offer.state)
    if not remark:
        return replace(there, status="unchanged")
    if is_updated:
        return replace(there, status="to fetch", n_bytes=offer.state.n_bytes, remark=remark)
    return replace(there, status="changed", remark=remark)


def _standing_of_found(
    blank: Standing, want: Wanted, offer: Offer, raw: Path, *, is_updated: bool
) -> Standing:
    """Return how a file stands that is there without a record: by its size, and a digest if one is known."""
    path = raw / blank.path
    n_bytes, known = path.stat().st_size, offer.state or RemoteState()
    digest = want.sha256_of(blank.path) or known.digests.get("sha256")
    remark = ""
    if known.n_bytes not in (None, n_bytes):
        remark = (
            f"has {n_bytes:,} bytes, the publisher offers {known.n_bytes:,}: cut short or another release"
        )
    elif digest is not None and read_sha256(path) != digest.lower():
        remark = "has another SHA-256 than the publisher's: damaged or another release"
    there = replace(blank, n_bytes=n_bytes)
    if not remark:
        verified = "verified by its digest" if digest is not None else "no digest is known to verify it"
        return replace(there, status="found", remark=verified)
    return replace(
        blank if is_updated else there, status="to fetch" if is_updated else "changed", remark=remark
    )


def _difference(entry: FetchedFile, state: RemoteState) -> str:
    """Return how the publisher's file differs from what was fetched; empty where it does not."""
    since = f"since {entry.retrieved_at[:10]}"
    if state.n_bytes not in (None, entry.n_bytes):
        return f"the publisher's file has {state.n_bytes:,} bytes, {since} there are {entry.n_bytes:,}"
    if "sha256" in state.digests:
        same = state.digests["sha256"].lower() == entry.sha256
        return "" if same else f"the publisher states another SHA-256 {since}"
    if None not in (state.etag, entry.etag) and _opaque(state.etag) != _opaque(entry.etag):
        return f"the publisher's entity tag is another {since} ({entry.etag}, now {state.etag})"
    return ""


def _opaque(etag: str | None) -> str:
    """Return an entity tag without the mark of a weak one: servers add it where they compress."""
    return (etag or "").removeprefix("W/")


def is_served(want: Wanted, raw: Path) -> bool:
    """Say whether what is wanted is there already, under whatever names the patterns allow."""
    needed = [file.pattern for file in want.files if file.is_required] or want.patterns
    return all(any(raw.glob(pattern)) for pattern in needed)
