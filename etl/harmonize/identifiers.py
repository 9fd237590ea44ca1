"""Stateless ids of samples and conditions, and the ids of what could not be resolved.

The rules are frozen: an id that changes breaks every table that was written with it. Polars' own ``hash`` is
not used because it changes between releases.
"""

from hashlib import blake2b

import polars as pl

from etl.errors import BadInputError

SEPARATOR = "\x1f"
"""ASCII unit separator between the parts of a key; a part that contains it is refused."""

CONDITION_KEY = ("dataset_id", "context_id", "compound_id", "dose_um", "time_h", "vehicle_group")
"""What tells conditions apart, in the order in which it is hashed."""

_MEASURED = ("compound_id", "dose_um", "time_h")


def sample_ids(dataset_id: str, keys: pl.Series) -> pl.Series:
    """Return the sample id of each publisher's sample key.

    Raises:
        BadInputError: a key is missing or contains the unit separator.
    """
    name = keys.name or "sample_key"
    if n_missing := keys.null_count():
        raise BadInputError(f"{n_missing} sample keys are missing", dataset_id=dataset_id, column=name)
    _refuse_separator(keys.alias(name), dataset_id)
    return pl.Series("sample_id", [_digest(dataset_id, key) for key in keys], dtype=pl.Int64)


def condition_ids(frame: pl.DataFrame) -> pl.Series:
    """Return the condition id of each row, null where compound, dose or time is null.

    Doses are expected in their canonical form (``doses.canonical_dose``); a number enters the hash as the
    shortest text that reads back as the same double, so that 10 and 10.0 are one dose in every locale.

    Raises:
        BadInputError: dataset, context or vehicle group is missing, a number is not finite, or a text
            contains the unit separator.
    """
    rows = frame.select(
        pl.col(name).cast(pl.Float64) + 0.0 if name in ("dose_um", "time_h") else pl.col(name)
        for name in CONDITION_KEY
    )
    for name in ("dataset_id", "context_id", "vehicle_group"):
        if n_missing := rows[name].null_count():
            raise BadInputError(f"{n_missing} rows without {name} cannot have a condition", column=name)
    measured = rows.filter(pl.all_horizontal(pl.col(_MEASURED).is_not_null())).unique()
    for name in CONDITION_KEY:
        if measured[name].dtype.is_float():
            if not measured[name].is_finite().all():
                raise BadInputError("a condition needs a finite number", column=name)
        else:
            _refuse_separator(measured[name], None)
    ids = [
        _digest(*(repr(part) if isinstance(part, float) else part for part in row)) for row in measured.rows()
    ]
    keyed = measured.with_columns(condition_id=pl.Series(ids, dtype=pl.Int64))
    return rows.join(keyed, on=CONDITION_KEY, how="left", maintain_order="left")["condition_id"]


def unresolved_id(dataset_id: str, label: str) -> str:
    """Return the id under which an unresolved compound or context is kept.

    >>> unresolved_id("gdsc2", "Compound 7")
    'unresolved:gdsc2:Compound 7'

    Raises:
        BadInputError: the label is blank.
    """
    text = " ".join(label.splitlines()).strip()
    if not text:
        raise BadInputError("a reported key is blank", dataset_id=dataset_id)
    return f"unresolved:{dataset_id}:{text}"


def _digest(*parts: str) -> int:
    """Return the first 8 bytes of BLAKE2b over the joined parts as a big-endian signed integer."""
    return int.from_bytes(blake2b(SEPARATOR.join(parts).encode()).digest()[:8], "big", signed=True)


def _refuse_separator(texts: pl.Series, dataset_id: str | None) -> None:
    if texts.str.contains(SEPARATOR, literal=True).any():
        raise BadInputError(
            "a key contains the unit separator U+001F", dataset_id=dataset_id, column=texts.name
        )
