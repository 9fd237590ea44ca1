"""Unpacking what was downloaded, without trusting it.

Here: zip, tar (plain, gzip, bzip2, xz) and single compressed files. Nothing leaves the given folder: members
are written there under numbers, and whoever calls puts them in their places when all of them are good. An
archive with an absolute path, ``..``, a link, a device, an encrypted or doubled member is refused as a whole;
so is one that grows too much.

Not here: which archives to unpack (``wanted.py``).
"""

import bz2
import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from etl.extract.disk import disk_error
from etl.extract.errors import FetchError, NoSpaceError, UnsafeArchiveError
from etl.extract.names import is_plain
from etl.extract.transport import CHUNK_BYTES

TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_DAMAGE = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    NotImplementedError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may grow to.

    Args:
        n_members: members, at most.
        ratio: unpacked bytes a packed byte, at most; gzip cannot exceed 1,032.
        free_ratio_bytes: unpacked bytes for which the ratio is not asked.
        n_bytes: unpacked bytes in all, at most: what the disk can take.
    """

    n_members: int = 100_000
    ratio: float = 200.0
    free_ratio_bytes: int = 2**30
    n_bytes: int = 2**62


@dataclass(frozen=True, slots=True)
class Member:
    """A member that was unpacked.

    Args:
        path: its path in the archive.
        staged: where its bytes are now.
        n_bytes: size.
        sha256: digest.
    """

    path: str
    staged: Path
    n_bytes: int
    sha256: str


def unpack(archive: Path, name: str, staging: Path, *, limits: Limits) -> list[Member]:
    """Unpack every regular file of an archive into ``staging``, an empty folder, under numbers.

    Args:
        archive: the file.
        name: what the archive is called; its end says what it is, and a single compressed file is called by
            what comes before it.
        staging: where the members go.
        limits: what is refused.

    Raises:
        UnsafeArchiveError: a member or the whole is not to be trusted.
        NoSpaceError: the disk cannot take it.
        FetchError: the archive is damaged.
    """
    budget = _Budget(name, archive.stat().st_size, limits)
    try:
        with _members(archive, name, budget) as members:
            return [
                _write(path, stream, staging / str(n), budget) for n, (path, stream) in enumerate(members)
            ]
    except _DAMAGE as fault:
        raise FetchError(f"the archive is damaged ({fault})", file=name) from fault
    except OSError as fault:
        if fault.errno is None:  # so says bz2 that it cannot read on
            raise FetchError(f"the archive is damaged ({fault})", file=name) from fault
        raise disk_error(fault, name) from fault


class _Budget:
    """Counts what an archive has grown to, and knows the paths it has taken."""

    def __init__(self, name: str, packed_bytes: int, limits: Limits) -> None:
        self.name, self._limits = name, limits
        self._most = max(limits.free_ratio_bytes, int(packed_bytes * limits.ratio))
        self._n_bytes = 0
        self._paths: set[str] = set()

    def take_path(self, path: str) -> None:
        """Count a member.

        Raises:
            UnsafeArchiveError: there are too many, or its path is not one below a folder, or taken.
        """
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or not all(is_plain(part) for part in path.split("/")):
            raise self.refusal(f"its member {path!r} has no plain path")
        if parts[0].startswith("."):
            raise self.refusal(f"its member {path!r} is hidden")
        if path.casefold() in self._paths:
            raise self.refusal(f"it holds {path!r} twice")
        self._paths.add(path.casefold())
        if len(self._paths) > self._limits.n_members:
            raise self.refusal(f"it holds more than {self._limits.n_members:,} files")

    def take_bytes(self, n_bytes: int) -> None:
        """Count unpacked bytes.

        Raises:
            UnsafeArchiveError: they are too many for the size of the archive.
            NoSpaceError: they are too many for the disk.
        """
        self._n_bytes += n_bytes
        if self._n_bytes > self._most:
            raise self.refusal(f"it grows beyond {self._most:,} bytes, more than any real data of its size")
        if self._n_bytes > self._limits.n_bytes:
            raise NoSpaceError(
                f"the disk cannot take it unpacked ({self._limits.n_bytes:,} bytes are free)",
                file=self.name,
                remedy="free some space and run it again",
            )

    def refusal(self, what: str) -> UnsafeArchiveError:
        return UnsafeArchiveError(
            f"the archive is not unpacked: {what}",
            file=self.name,
            remedy="look at it; if it is good, unpack it by hand into the raw folder",
        )


@contextmanager
def _members(archive: Path, name: str, budget: _Budget) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Yield path and bytes of each regular file, one after the other."""
    ending = name.lower()
    if ending.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened, budget)
    elif ending.endswith(TARS):
        with tarfile.open(archive, mode="r|*") as opened_tar:
            yield _tar_members(opened_tar, budget)
    else:
        suffix = PurePosixPath(ending).suffix
        with _opened(archive, suffix) as stream:
            yield iter([(PurePosixPath(name[: -len(suffix)]).name, stream)])


def _opened(archive: Path, suffix: str) -> IO[bytes]:
    """Open a single compressed file for reading."""
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.open(archive, "rb"))
    return cast("IO[bytes]", bz2.open(archive, "rb") if suffix == ".bz2" else lzma.open(archive, "rb"))


def _zip_members(opened: zipfile.ZipFile, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    for entry in opened.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise budget.refusal(f"its member {entry.filename!r} is a link or a device")
        if entry.flag_bits & 1:
            raise budget.refusal(f"its member {entry.filename!r} is encrypted")
        if entry.is_dir():
            continue
        with opened.open(entry) as stream:
            yield entry.filename, stream


def _tar_members(opened: tarfile.TarFile, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    for entry in opened:
        if entry.isdir():
            continue
        if not entry.isreg():
            raise budget.refusal(f"its member {entry.name!r} is a link or a device")
        stream = opened.extractfile(entry)
        assert stream is not None, "a regular member has bytes"
        yield entry.name.removeprefix("./"), stream


def _write(path: str, stream: IO[bytes], staged: Path, budget: _Budget) -> Member:
    budget.take_path(path)
    digest, n_bytes = hashlib.sha256(), 0
    with staged.open("xb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            budget.take_bytes(len(chunk))
            file.write(chunk)
            digest.update(chunk)
            n_bytes += len(chunk)
    return Member(path, staged, n_bytes, digest.hexdigest())
