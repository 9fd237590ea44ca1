"""What a table was made from: hashes of the files read and of the code that read them.

Their combined fingerprint is what makes a table stale or fresh: it stands in the metadata of every commit.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from etl.digests import CODE, code_version, sha256_of
from etl.errors import BadInputError
from etl.extract.ledger import FetchedFile, read_ledger
from etl.sources.base import RemoteFile, Source
from etl.sources.single_cell import Pseudobulked
from schemas.core.source_file import SOURCE_FILE

REFERENCE = "reference"
"""Folder of the identifier references (Cellosaurus, HGNC, …) below the raw root."""

SIMULATED_MARKER = "SIMULATED.json"
"""File beside simulated raw files; its presence marks the dataset as simulated in ``core/dataset``."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who wrote a commit, with what code, from what.

    Args:
        run_id: the run that writes.
        fingerprint: of the inputs and the code, see ``fingerprint``.
        sources: SHA-256 of each file read, by path.
    """

    run_id: str
    fingerprint: str
    sources: dict[str, str]

    def as_metadata(self) -> dict[str, str]:
        """Return the provenance as the text pairs a Delta commit can carry."""
        return {
            "run_id": self.run_id,
            "fingerprint": self.fingerprint,
            "code_version": code_version(),
            "sources": json.dumps(self.sources, sort_keys=True),
        }


def fingerprint(parts: Iterable[str]) -> str:
    """Return one digest of several; their order does not matter."""
    return hashlib.blake2b("\n".join(sorted(parts)).encode(), digest_size=16).hexdigest()


def source_files(source: Source, raw_root: Path) -> pl.DataFrame:
    """Return the rows of ``core/source_file`` for a dataset: every file its build reads, hashed.

    Beside the publisher's files these are the identifier references of ``reference/``, the marker that
    simulated files carry, and the module of an adapter that another package brings: ``code_version`` does
    not cover it.

    Raises:
        BadInputError: a required file is missing, or has not the SHA-256 that the dataset pins.
    """
    spec = source.spec
    raw = raw_root / spec.dataset_id
    located = spec.locate_all(raw)
    facts = {path: file for file in spec.files for path in located.get(file.role, [])}
    fetched = {raw / file.path: entry for entry in read_ledger(raw).values() for file in entry.files}
    references = [path for path in (raw_root / REFERENCE).rglob("*") if path.is_file()]
    marker = [path for path in [raw / SIMULATED_MARKER] if path.is_file()]
    rows = [
        _row(path, spec.dataset_id, raw_root, facts.get(path), fetched.get(path))
        for path in (*facts, *references, *marker)
    ]
    adapter = type(source.source if isinstance(source, Pseudobulked) else source)
    module = adapter.__module__
    if module.split(".")[0] not in CODE and (code := inspect.getsourcefile(adapter)) is not None:
        path = Path(code)
        rows.append(_row(path, spec.dataset_id, path.parent, None, None) | {"path": f"adapter/{module}.py"})
    return pl.DataFrame(rows, schema=SOURCE_FILE.polars_schema).sort("path")


def _row(
    path: Path, dataset_id: str, raw_root: Path, file: RemoteFile | None, fetched: FetchedFile | None
) -> dict[str, object]:
    sha256 = sha256_of(path)
    if file is not None and file.sha256 not in (None, sha256):
        raise BadInputError(
            f"has SHA-256 {sha256[:12]}…, but the dataset pins {file.sha256}: truncated or another release",
            dataset_id=dataset_id,
            file=path,
        )
    return {
        "dataset_id": dataset_id,
        "path": path.relative_to(raw_root).as_posix(),
        "url": file.url if file is not None else None,
        "sha256": sha256,
        "n_bytes": path.stat().st_size,
        "etag": fetched.etag if fetched is not None else None,
        "retrieved_at": datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if fetched is None
        else datetime.fromisoformat(fetched.retrieved_at),
    }


def provenance_of(sources: pl.DataFrame, *, run_id: str) -> Provenance:
    """Return the provenance of a write that rests on these rows of ``core/source_file`` and today's code."""
    hashes = dict(sources.select("path", "sha256").sort("path").iter_rows())
    parts = [code_version(), *(f"{path} {sha256}" for path, sha256 in hashes.items())]
    return Provenance(run_id=run_id, fingerprint=fingerprint(parts), sources=hashes)


def is_simulated(sources: pl.DataFrame) -> bool:
    """Say whether rows of ``core/source_file`` tell of files that this project simulated."""
    return sources["path"].str.ends_with(SIMULATED_MARKER).any()
