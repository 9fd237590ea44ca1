"""Which files a dataset's ``SourceSpec`` asks for, and what they are called below its raw folder.

Here: reading the spec. Not here: asking a server (``addresses.py``), which files are there (``standing.py``).
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from etl.extract.errors import FetchError
from etl.extract.names import WILDCARDS, file_named_in, is_archive, is_plain, matches
from etl.sources.base import RemoteFile, SourceSpec


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one address is to bring: the files of one role, or an archive with those of several.

    Args:
        url: the publisher's address; None for what comes by hand.
        files: what the spec says of them.
    """

    url: str | None
    files: tuple[RemoteFile, ...]

    @property
    def is_required(self) -> bool:
        """Whether the dataset cannot be read without it."""
        return any(file.is_required for file in self.files)

    @property
    def patterns(self) -> list[str]:
        """Return what matches the files below the raw folder."""
        return [file.pattern for file in self.files]

    def sha256_of(self, path: str) -> str | None:
        """Return the digest that is pinned for a file, by its path below the raw folder."""
        pinned = [file.sha256 for file in self.files if matches(path, file.pattern)]
        return next((digest for digest in pinned if digest is not None), None)

    def destination(self, name: str, *, is_only: bool) -> "Destination":
        """Return where a download goes, by the name that the publisher gives it.

        A name that the pattern matches is kept. An archive whose own name no pattern matches is unpacked. Any
        other file is called as the pattern says, where that is a plain name.

        Args:
            name: the publisher's name of the file.
            is_only: whether the address brings this file alone.

        Raises:
            FetchError: the spec asks for a file of another name.
        """
        assert self.url is not None, "what comes by hand goes where a person puts it"
        *folders, last = PurePosixPath(self.files[0].pattern).parts
        plain = [part for part in folders if part != "**"]
        folder = "/".join(plain) if not any(map(WILDCARDS.search, plain)) else ""
        named = file_named_in(self.url)
        for candidate in (name, named) if named is not None and is_plain(named) else (name,):
            path = f"{folder}/{candidate}" if folder else candidate
            if any(matches(path, pattern) for pattern in self.patterns):
                return Destination(path, is_unpacked=False)
        if is_archive(name):
            return Destination(f"{folder}/{name}" if folder else name, is_unpacked=True)
        if is_only and is_plain(last):
            return Destination(f"{folder}/{last}" if folder else last, is_unpacked=False)
        raise FetchError(f"the dataset asks for {self.files[0].pattern}", file=name, url=self.url)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a download goes.

    Args:
        path: below the dataset's raw folder; of an archive that is unpacked, where it would lie.
        is_unpacked: whether its members are kept instead of it.
    """

    path: str
    is_unpacked: bool


def wanted(spec: SourceSpec) -> list[Wanted]:
    """Return what to get for a dataset, by address, in the order of the spec."""
    by_url: dict[str, list[RemoteFile]] = {}
    for file in spec.files:
        by_url.setdefault(file.url or f"\0{file.role}", []).append(file)
    return [Wanted(None if url.startswith("\0") else url, tuple(files)) for url, files in by_url.items()]
