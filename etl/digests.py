"""SHA-256 of files, and a digest of the code that decides values."""

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

CODE: Final = ("schemas", "etl")
NO_VALUES: Final = ("etl/extract", "etl/simulate")
"""Parts of them that decide no value of a table: the files they write are hashed themselves."""


def read_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as it is now, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; read once in a process while size and time stay the same."""
    key = _state_of(path)
    if key not in _DIGESTS:
        _DIGESTS[key] = read_sha256(path)
    return _DIGESTS[key]


def remember_sha256(path: Path, sha256: str) -> None:
    """Take over the SHA-256 of a file from who has read it, so that many gigabytes are not read again."""
    _DIGESTS[_state_of(path)] = sha256


_DIGESTS: dict[tuple[Path, int, int, int], str] = {}


def _state_of(path: Path) -> tuple[Path, int, int, int]:
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino


@cache
def code_version(*within: str) -> str:
    """Return a digest of everything in the packages that decide values: their code and embedded tables.

    Args:
        within: what paths start with, such as ``etl/formats``, if only these matter.
    """
    digest = hashlib.blake2b(digest_size=8)
    for package in CODE:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*")):
            name = f"{package}/{path.relative_to(root).as_posix()}"
            is_meant = name.startswith(within) if within else not name.startswith(NO_VALUES)
            if path.suffix in {".py", ".csv", ".parquet"} and is_meant:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
