"""What was fetched, from where and when: ``.fetched.json`` in a dataset's raw folder.

Here: the record and its file. Not here: who decides by it (``fetch.py``).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from etl.digests import read_sha256
from etl.errors import BadInputError

LEDGER: Final = ".fetched.json"
WORK: Final = ".fetching"
"""Folder of part files and locks, in a dataset's raw folder."""

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it was put in its place.

    Args:
        path: below the dataset's raw folder.
        n_bytes: size.
        sha256: digest.
        mtime_ns: time of its last change; while it and the size stay, the file is not read again.
    """

    path: str
    n_bytes: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """What was downloaded under one name.

    Args:
        url: the publisher's address, as the dataset states it.
        sha256: digest of the download.
        n_bytes: its size.
        etag: entity tag of the server, if it gave one.
        last_modified: time of change that the server stated.
        retrieved_at: when it was complete, ISO 8601, UTC.
        files: what is kept of it: itself, or the members of an archive that was unpacked.
    """

    url: str
    sha256: str
    n_bytes: int
    etag: str | None
    last_modified: str | None
    retrieved_at: str
    files: tuple[LocalFile, ...]


def read_ledger(raw: Path) -> dict[str, FetchedFile]:
    """Return what was fetched into a dataset's raw folder, by path of the download; empty where nothing was.

    Raises:
        BadInputError: the record is damaged.
    """
    path = raw / LEDGER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: _fetched_file(facts) for name, facts in content["files"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise BadInputError(
            f"is no record of fetched files ({fault}); delete it, and what is there is recorded anew",
            dataset_id=raw.name,
            file=path,
        ) from fault


def record(raw: Path, name: str, fetched: FetchedFile) -> None:
    """Add a file to the record, or replace it; processes may do so side by side."""
    with FileLock(raw / WORK / "ledger.lock"):
        entries: Mapping[str, FetchedFile] = read_ledger(raw) | {name: fetched}
        content = {"version": VERSION, "files": {key: asdict(entries[key]) for key in sorted(entries)}}
        staged = raw / WORK / "ledger.new"
        staged.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        staged.replace(raw / LEDGER)


def local_file(path: str, staged: Path, sha256: str) -> LocalFile:
    """Return the facts of a file that is about to be moved to its place, which keeps size and time."""
    stat = staged.stat()
    return LocalFile(path, stat.st_size, sha256, stat.st_mtime_ns)


def is_intact(raw: Path, file: LocalFile, *, by_digest: bool) -> bool:
    """Say whether an existing file is as it was recorded; read only where its time differs or it is asked."""
    stat = (raw / file.path).stat()
    if stat.st_size != file.n_bytes:
        return False
    if stat.st_mtime_ns == file.mtime_ns and not by_digest:
        return True
    return read_sha256(raw / file.path) == file.sha256


def _fetched_file(facts: dict[str, Any]) -> FetchedFile:
    return FetchedFile(**facts | {"files": tuple(LocalFile(**file) for file in facts["files"])})
