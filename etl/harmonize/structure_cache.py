"""What was computed from a structure, kept in a file: a later run computes only what is new.

Here: keeping rows under the digest of their input and of the rules that made them. What the rows mean is
known to whoever computes them (``structures.py``).
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache as once
from importlib.resources import files
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rdkit import Chem, rdBase

from etl.errors import PerturbhouseError
from etl.harmonize.sqlite_cache import transaction

Row = tuple[str | bool | None, ...]
"""What is kept of one input: texts, truth values and nulls, all that JSON returns as it was."""

BUSY_TIMEOUT_S: Final = 60
"""Longest wait for another process that is writing."""

RULE_FILES: Final = ("structures.py", "reference/salt_formers.csv")
"""Files of this package that decide what is computed from a structure."""

_INPUTS_PER_QUERY: Final = 10_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS result (
    rules TEXT NOT NULL, task TEXT NOT NULL, input TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (rules, task, input)
) WITHOUT ROWID
"""
_FIND: Final = """
SELECT input, value FROM result
WHERE rules = ? AND task = ? AND input IN (SELECT value FROM json_each(?))
"""


@once
def rules_version() -> str:
    """Return a digest of all that decides a row: ``RULE_FILES`` and the releases of RDKit and InChI."""
    digest = hashlib.blake2b(digest_size=8)
    for name in RULE_FILES:
        digest.update(name.encode() + b"\0" + files("etl.harmonize").joinpath(name).read_bytes())
    digest.update(f"{rdBase.rdkitVersion}\0{Chem.GetInchiVersion()}".encode())
    return digest.hexdigest()


class StructureCache:
    """Rows computed from structures, in a SQLite file; use as a context manager.

    Several processes may use one file: each call of :meth:`put_many` is one transaction. Rows of other rules
    are deleted when the file is opened, since no later version of the rules returns to them.

    Args:
        file: the SQLite file; created with its folder.
        rules: digest of all that decides the rows; None for that of the present rules.

    Raises:
        PerturbhouseError: the file is no structure cache, is damaged, or another process holds it for longer
            than ``BUSY_TIMEOUT_S``. Every method raises this.
    """

    def __init__(self, file: Path, *, rules: str | None = None) -> None:
        self._file, self._rules = file, rules or rules_version()
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._faults():
            self._db = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            with self._transaction():
                self._db.execute(_SCHEMA)
                self._db.execute("DELETE FROM result WHERE rules <> ?", (self._rules,))
        except PerturbhouseError:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get_many(self, task: str, inputs: Iterable[str]) -> dict[str, Row]:
        """Return the rows of those inputs that are known, by input.

        Args:
            task: what was computed.
            inputs: the texts it was computed from, verbatim.
        """
        found: dict[str, Row] = {}
        for some in _batches(inputs, _INPUTS_PER_QUERY):
            texts = {_digest(text): text for text in some}
            with self._faults():
                rows = self._db.execute(_FIND, (self._rules, task, json.dumps(list(texts)))).fetchall()
                found |= {texts[digest]: tuple(json.loads(value)) for digest, value in rows}
        return found

    def put_many(self, task: str, rows: Mapping[str, Row]) -> None:
        """Keep the rows of many inputs, in one transaction; a row that is there already is replaced."""
        kept = [(self._rules, task, _digest(text), json.dumps(row)) for text, row in rows.items()]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", kept)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing, with faults told."""
        with self._faults(), transaction(self._db):
            yield

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Tell the user which file is at fault, and what to do."""
        try:
            yield
        except (sqlite3.Error, json.JSONDecodeError) as fault:
            raise PerturbhouseError(
                f"structure cache {self._file.name} cannot be used ({fault}); if no other process is writing "
                "to it, delete it: it is computed anew"
            ) from fault


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _batches(inputs: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(inputs)
    while some := list(islice(remaining, size)):
        yield some
