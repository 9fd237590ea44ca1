"""What PubChem has been asked, and what it said when.

Here: the SQLite file of answers, misses included, each with its time. Not here: asking (``pubchem_rest.py``).
Several processes and threads may use one file at once: every answer is a transaction of its own, so that a
killed run loses none.
"""

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from etl.errors import PerturbhouseError
from etl.harmonize.sqlite_cache import transaction

VERSION: Final = 1
"""Of the file; version 0 is the same table, written before versions were counted."""

_LOCK_TIMEOUT_S: Final = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS answer (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, asked_at TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given.

    Args:
        value: what PubChem knows; empty where it knows nothing.
        asked_at: when, UTC.
    """

    value: list[Any]
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class CachedAnswers:
    """What a cache holds.

    Args:
        n_answers: questions answered, misses included.
        n_misses: those of which PubChem knew nothing.
        oldest: when the first of them was given, UTC; null where there is none.
        newest: when the last of them was given, UTC; null where there is none.
    """

    n_answers: int
    n_misses: int
    oldest: datetime | None
    newest: datetime | None


class PubChemCache:
    """The SQLite file: one row per question, with kind, key, answer as JSON, and time.

    Args:
        path: the file; created with its folder.

    Raises:
        PerturbhouseError: the file is not such a cache, or a newer version of this project has written it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(path.name)
        except sqlite3.DatabaseError as fault:
            self._db.close()
            raise PerturbhouseError(f"{path.name} is not a PubChem cache ({fault}); delete it") from fault
        except PerturbhouseError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, kind: str, key: str) -> Answer | None:
        """Return the answer to a question; null where it was never asked."""
        with self._lock:
            row = self._db.execute(
                "SELECT value, asked_at FROM answer WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else Answer(json.loads(row[0]), datetime.fromisoformat(row[1]))

    def put(self, kind: str, answers: Mapping[str, list[Any]], asked_at: datetime) -> None:
        """Keep the answers to questions of one kind, all or none; they replace older ones."""
        stamp = asked_at.astimezone(UTC).isoformat(timespec="seconds")
        rows = [(kind, key, json.dumps(value), stamp) for key, value in answers.items()]
        with self._lock, transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)", rows)

    def answers(self) -> CachedAnswers:
        """Return how many answers there are, and when they were given."""
        with self._lock:
            n, n_misses, oldest, newest = self._db.execute(
                "SELECT count(*), coalesce(sum(value = '[]'), 0), min(asked_at), max(asked_at) FROM answer"
            ).fetchone()
        first, last = (None if stamp is None else datetime.fromisoformat(stamp) for stamp in (oldest, newest))
        return CachedAnswers(n, n_misses, first, last)

    def _prepare(self, name: str) -> None:
        with transaction(self._db):
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise PerturbhouseError(
                    f"{name} was written by a newer version of this project (cache version {version}, "
                    f"here {VERSION}); update, or use another cache folder"
                )
            self._db.execute(_TABLE)
            if version < VERSION:
                self._db.execute(f"PRAGMA user_version = {VERSION}")


def cached_answers(path: Path) -> CachedAnswers:
    """Return what a cache holds, without creating it; nothing where there is no such file.

    Raises:
        PerturbhouseError: as :class:`PubChemCache`.
    """
    if not path.is_file():
        return CachedAnswers(0, 0, None, None)
    cache = PubChemCache(path)
    try:
        return cache.answers()
    finally:
        cache.close()
