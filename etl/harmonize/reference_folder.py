"""The folder of identifier references, and the parsed form of its files kept beside the caches.

A reference is parsed once per release and code version, not once per dataset: what a reader made of a file is
kept as Parquet, under the digests of both. What the files mean is known to ``compounds``, ``contexts`` and
``genes``; which release each of them is, to ``snapshots``.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from etl.digests import code_version, sha256_of

Reader = Callable[[Path], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class ReferenceFolder:
    """Where identifier references are, and where what is made of them is kept.

    Args:
        path: the folder; None where there is none: only embedded tables are used.
        cache: folder of caches; None to keep nothing.
    """

    path: Path | None = None
    cache: Path | None = None

    def find(self, *patterns: str) -> list[Path]:
        """Return the files that match any of the glob patterns, each once, sorted by path."""
        if self.path is None:
            return []
        return sorted({path for pattern in patterns for path in self.path.glob(pattern) if path.is_file()})

    def name_of(self, path: Path) -> str:
        """Return the path of a file below the folder, as it is told to users."""
        assert self.path is not None, "files are found in a folder"
        return path.relative_to(self.path).as_posix()

    def parsed(self, path: Path, read: Reader) -> pl.DataFrame:
        """Return what a reader makes of a file; read anew only where file or code have changed.

        Args:
            path: the file.
            read: a module-level function; its name is part of the key.
        """
        if self.cache is None:
            return read(path)
        key = "\n".join((sha256_of(path), read.__module__, read.__qualname__, code_version()))
        prefix = f"{path.name}-{read.__qualname__}-"
        kept = self.cache / "reference" / f"{prefix}{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"
        if kept.is_file():
            return pl.read_parquet(kept)
        frame = read(path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        outdated = [other for other in kept.parent.glob("*.parquet") if other.name.startswith(prefix)]
        staged = kept.with_suffix(f".{uuid.uuid4().hex}")
        frame.write_parquet(staged)
        staged.replace(kept)
        for other in outdated:
            other.unlink(missing_ok=True)
        return frame


EMBEDDED_ONLY = ReferenceFolder()
"""No folder: what ships with the project."""
