"""Names of files: which are plain, and which a pattern means.

Here: texts. Not here: folders on disk.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qs, urlsplit

WILDCARDS: Final = re.compile(r"[*?\[]")
ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


def is_plain(name: str) -> bool:
    r"""Say whether a text is a file name and nothing else on any system.

    >>> [is_plain(name) for name in ("a.tsv", "10μM.xlsx", "", "..", "a/b", "a\\b", "c:x", "a\n")]
    [True, True, False, False, False, False, False, False]
    """
    return (
        name not in ("", ".", "..")
        and not re.search(r'[\x00-\x1f\x7f/\\:<>|"*?]', name)
        and len(name.encode()) <= 255
    )


def is_archive(name: str) -> bool:
    """Say whether a file can be unpacked, by its name."""
    return name.lower().endswith(ARCHIVES)


def file_named_in(url: str) -> str | None:
    """Return the file that a query names, as download scripts have it.

    >>> file_named_in("https://host/download?path=Metadata&file=Compounds.txt")
    'Compounds.txt'
    """
    return parse_qs(urlsplit(url).query).get("file", [None])[0]


def matches(path: str, pattern: str) -> bool:
    """Say whether ``Path.glob`` would find a path by a pattern.

    >>> [matches(path, "**/metrics.tsv") for path in ("metrics.tsv", "a/b/metrics.tsv", "metrics.tsv.gz")]
    [True, True, False]
    """
    return _matches(PurePosixPath(path).parts, PurePosixPath(pattern).parts)


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(path[start:], pattern[1:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
