"""What the SQLite files of caches have in common: several processes write them side by side."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit all or nothing; the write lock is taken first.

    Of two that read and then want to write one would fail at once; like this, it waits.

    Args:
        db: a connection without transactions of its own (``isolation_level=None``).
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
