"""Row accounts: how many rows went into a step, how many came out, and why they differ."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class RowAccount:
    """Rows in and out of a step, or what else it counts.

    Args:
        n_in: rows read.
        n_out: rows kept.
        dropped: rows not kept, by reason; they add up to ``n_in - n_out``.
        noted: rows kept but flagged or resolved in some way, by remark.
        unit: what is counted, in the plural.
    """

    n_in: int
    n_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    unit: str = "rows"

    def __post_init__(self) -> None:
        assert self.n_in - sum(self.dropped.values()) == self.n_out, f"unbalanced row account: {self}"


def merged(n_in: int, n_out: int, *, unit: str) -> RowAccount:
    """Return the account of a step that makes one row of several that mean the same.

    >>> merged(5, 3, unit="names")
    RowAccount(n_in=5, n_out=3, dropped={'same as another': 2}, noted={}, unit='names')
    """
    return RowAccount(n_in, n_out, {"same as another": n_in - n_out} if n_in > n_out else {}, unit=unit)


def with_parts(whole: RowAccount, parts: RowAccount) -> RowAccount:
    """Return an account whose remarks also say what its rows were made of.

    >>> with_parts(RowAccount(1, 1, unit="samples"), RowAccount(9, 7, {"no well": 2}, unit="cells")).noted
    {'cells read': 9, 'cells added up': 7, 'cells dropped: no well': 2}
    """
    dropped = {f"{parts.unit} dropped: {reason}": n for reason, n in parts.dropped.items()}
    remarks = {f"{parts.unit} read": parts.n_in, f"{parts.unit} added up": parts.n_out, **dropped}
    return replace(whole, noted={**whole.noted, **remarks})


def chained(first: RowAccount, second: RowAccount) -> RowAccount:
    """Return the account of two steps, of which the second takes what the first keeps.

    >>> chained(RowAccount(9, 7, {"empty": 2}, unit="rows"), RowAccount(7, 6, {"zero": 1}, unit="doses"))
    RowAccount(n_in=9, n_out=6, dropped={'empty': 2, 'zero': 1}, noted={}, unit='doses')
    """
    assert first.n_out == second.n_in, f"the steps do not follow each other: {first}, {second}"
    return RowAccount(
        first.n_in,
        second.n_out,
        dict(Counter(first.dropped) + Counter(second.dropped)),
        {**first.noted, **second.noted},
        unit=second.unit,
    )


def total(accounts: Iterable[RowAccount]) -> RowAccount:
    """Return the sum of the accounts of a step's parts.

    >>> total([RowAccount(3, 2, {"empty": 1}), RowAccount(5, 4, {"empty": 1}, {"vehicle": 2})])
    RowAccount(n_in=8, n_out=6, dropped={'empty': 2}, noted={'vehicle': 2}, unit='rows')
    """
    parts = list(accounts)
    return RowAccount(
        n_in=sum(part.n_in for part in parts),
        n_out=sum(part.n_out for part in parts),
        dropped=dict(sum((Counter(part.dropped) for part in parts), Counter())),
        noted=dict(sum((Counter(part.noted) for part in parts), Counter())),
        unit=parts[0].unit if parts else "rows",
    )
