"""Doses in µM and treatment times in hours, from the publisher's text and unit.

Only the meaning of numbers and units is decided here. What a missing or zero dose means for a sample is the
caller's business.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import overload

import polars as pl

from etl.errors import BadInputError

SIGNIFICANT_DIGITS = 3
"""Digits of the canonical dose: more only separates float32 noise, fewer would merge real dose steps."""

_UM_PER_UNIT: Mapping[str, float] = {
    **dict.fromkeys(("pm", "picomolar", "pmol/l"), 1e-6),
    **dict.fromkeys(("nm", "nanomolar", "nmol/l"), 1e-3),
    **dict.fromkeys(("um", "μm", "micromolar", "umol/l", "μmol/l"), 1.0),
    **dict.fromkeys(("mm", "millimolar", "mmol/l"), 1e3),
    **dict.fromkeys(("m", "molar", "mol/l"), 1e6),
}
UNITS_WITHOUT_MOLARITY = ("ug/ml", "log10 ug/ml", "log10 v/v")
"""Units that adapters give where a dose is by weight or volume, which no molar dose follows from."""
_LOG_MOLAR = frozenset({"log10m", "log10(m)", "log10[m]", "log10molar"})
_H_PER_UNIT: Mapping[str, float] = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 1.0),
    **dict.fromkeys(("d", "day", "days"), 24.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 1 / 60),
}
_QUANTITY = re.compile(
    r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(?P<unit>\D.*)?", re.I | re.S
)


@overload
def canonical_dose(dose: pl.Series) -> pl.Series: ...
@overload
def canonical_dose(dose: pl.Expr) -> pl.Expr: ...
def canonical_dose(dose: pl.Series | pl.Expr) -> pl.Series | pl.Expr:
    """Return doses rounded to three significant digits, each the double nearest to its decimal text.

    Rounding goes through decimal text because scaling by powers of ten leaves values such as
    0.37000000000000005, which would be a dose of its own in every key.

    >>> canonical_dose(pl.Series([3.32999992371, 0.119999997318, 0.37, 12345.0])).to_list()
    [3.33, 0.12, 0.37, 12300.0]
    """
    if isinstance(dose, pl.Expr):
        return dose.map_batches(canonical_dose, return_dtype=pl.Float64)
    values = dose.cast(pl.Float64)
    distinct = values.drop_nulls().unique()
    rounded = [float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0 for value in distinct]
    return values.replace_strict(distinct, pl.Series(rounded, dtype=pl.Float64), return_dtype=pl.Float64)


def dose_um(dose: pl.Series, unit: pl.Series, *, dataset_id: str, keys: pl.Series | None = None) -> pl.Series:
    """Return canonical doses in µM.

    The number may carry its own unit (``10.0uM``) where ``unit`` is null. A null dose stays null; zero is
    returned as 0.0. ``keys`` name the rows in an error.

    Raises:
        BadInputError: a unit that is unknown or missing, a dose that is negative or no finite number.
    """
    return canonical_dose(
        _converted(dose, unit, _micromolar, dataset_id=dataset_id, column="dose", keys=keys)
    )


def time_h(time: pl.Series, unit: pl.Series, *, dataset_id: str, keys: pl.Series | None = None) -> pl.Series:
    """Return treatment times in hours; rules as for :func:`dose_um`, without rounding.

    Raises:
        BadInputError: a unit that is unknown or missing, a time that is negative or no finite number.
    """
    return _converted(time, unit, _hours, dataset_id=dataset_id, column="time", keys=keys)


def _micromolar(number: float, unit: str) -> float:
    if unit in _LOG_MOLAR:
        return 10.0 ** (number + 6)
    return number * _UM_PER_UNIT[unit]


def _hours(number: float, unit: str) -> float:
    return number * _H_PER_UNIT[unit]


def _converted(
    texts: pl.Series,
    units: pl.Series,
    convert: Callable[[float, str], float],
    *,
    dataset_id: str,
    column: str,
    keys: pl.Series | None,
) -> pl.Series:
    """Convert each distinct (text, unit) once and put the results back in the order of the rows."""
    pairs = pl.DataFrame({"text": texts.cast(pl.String), "unit": units.cast(pl.String)})
    distinct = pairs.filter(pl.col("text").is_not_null()).unique()
    values = []
    for text, unit in distinct.iter_rows():
        try:
            values.append(_quantity(text, unit, convert, what=column))
        except ValueError as fault:
            same = pairs.select(
                (pl.col("text") == text) & pl.col("unit").eq_missing(pl.lit(unit, pl.String))
            ).to_series()
            raise BadInputError(
                f"{fault} (value {text!r}, unit {unit!r}, {same.sum()} rows)",
                dataset_id=dataset_id,
                row=None if keys is None else str(keys.filter(same.fill_null(value=False))[0]),
                column=column,
            ) from None
    known = distinct.with_columns(value=pl.Series(values, dtype=pl.Float64))
    joined = pairs.join(known, on=["text", "unit"], how="left", nulls_equal=True, maintain_order="left")
    return joined["value"].alias(texts.name)


def _quantity(text: str, unit: str | None, convert: Callable[[float, str], float], *, what: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"a {what} that is not a number")
    number = float(match["number"])
    stated = [_normalized(given) for given in (unit, match["unit"]) if given is not None and given.strip()]
    if not stated:
        raise ValueError(f"a {what} without unit")
    try:
        value, *others = [convert(number, name) for name in stated]
    except KeyError:
        raise ValueError(f"a {what} in an unknown unit") from None
    except OverflowError:
        raise ValueError(f"a {what} that is not finite") from None
    if any(other != value for other in others):
        raise ValueError(f"a {what} with two units that contradict each other")
    if not math.isfinite(value):
        raise ValueError(f"a {what} that is not finite")
    if value < 0:
        raise ValueError(f"a negative {what}")
    return value + 0.0


def _normalized(unit: str) -> str:
    """Drop case and spaces; case folding also turns the micro sign U+00B5 into the Greek mu U+03BC."""
    return "".join(unit.split()).casefold()
