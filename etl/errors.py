"""Errors that are meant for the user: one line that names where the trouble is and the rule it breaks.

Broken invariants of our own code stay ordinary exceptions; what belongs here is caused by input.
"""

from pathlib import Path


class PerturbhouseError(Exception):
    """An error whose text alone tells the user what to do; the command line prints it without traceback."""


class BadInputError(PerturbhouseError):
    """A publisher's file, or a value in it, that cannot be read as its format or its dataset promises.

    Args:
        rule: what was expected and what was found instead.
        dataset_id: the dataset being read.
        file: the file at fault.
        row: row or record in it, counted as the reader of the file would (first line is 1), or its key.
        column: column at fault.
    """

    def __init__(
        self,
        rule: str,
        *,
        dataset_id: str | None = None,
        file: Path | str | None = None,
        row: int | str | None = None,
        column: str | None = None,
    ) -> None:
        self.rule, self.dataset_id, self.file, self.row, self.column = rule, dataset_id, file, row, column
        super().__init__(rule)

    def __str__(self) -> str:
        places = {
            "": self.dataset_id,
            "file ": Path(self.file).name if self.file is not None else None,
            "row ": self.row,
            "column ": self.column,
        }
        where = ", ".join(f"{label}{place}" for label, place in places.items() if place is not None)
        return f"{where}: {self.rule}" if where else self.rule


class RejectedWriteError(PerturbhouseError):
    """Rows that break the schema of their table; nothing was written and the last version stands."""


class ConcurrentWriteError(PerturbhouseError):
    """Another process committed the same rows meanwhile; its version stands, the write can be repeated."""
