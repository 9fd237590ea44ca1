"""Gene names that a spreadsheet turned into dates, such as ``1-Mar`` for MARCH1.

Which dates a text can be read as, and which genes have a name that becomes such a date. Zeeberg et al., BMC
Bioinformatics 5:80 (2004), describe the damage. What becomes of several candidates is decided in ``genes``.
"""

import datetime
from typing import Final

import polars as pl

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

SERIALS: Final = (36_526, 55_153)
"""Serial numbers of days from 2000 to 2050: what a date becomes in a column of numbers."""

_SERIAL_ZERO = datetime.date(1899, 12, 30)
_MONTH = (
    r"((?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))"
)
_DAY_MONTH = rf"^X?(\d{{1,2}})[-./ ]{_MONTH}$"
_MONTH_DAY = rf"^{_MONTH}[-./ ](\d{{1,2}})$"
_DAY_MONTH_YEAR = rf"^X?(\d{{1,2}})[-./ ]{_MONTH}[-./ ](\d{{2}}|\d{{4}})$"
_YEAR_MONTH_DAY = r"^X?(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?:[ .T]00[:.]00[:.]00)?$"
_TWO_NUMBERS_YEAR = r"^X?(\d{1,2})[-./](\d{1,2})[-./](\d{4})$"


def gene_candidates(labels: pl.DataFrame, dated: pl.DataFrame, *, n_labels: int) -> pl.DataFrame:
    """Return the genes whose names became the dates that labels are.

    Args:
        labels: row, key.
        dated: month, number, rank, gene_id, origin: the names at risk.
        n_labels: labels of the dataset; where half of them are serial numbers they are keys, not dates.

    Returns:
        row, restored_genes (those of the most trusted kind of name), all_genes, restored_in, for labels that
        are a date of some gene; the lists are sorted.
    """
    found = read_dates(labels, n_labels=n_labels).join(dated, on=["month", "number"], how="inner")
    best = pl.col("rank") == pl.col("rank").min()
    return (
        found.group_by("row")
        .agg(
            restored_genes=pl.col("gene_id").filter(best).unique().sort(),
            all_genes=pl.col("gene_id").unique().sort(),
            restored_in=pl.col("origin").filter(best).min(),
        )
        .sort("row")
    )


def read_dates(labels: pl.DataFrame, *, n_labels: int) -> pl.DataFrame:
    """Return every month and number that labels can be read as: row, month, number.

    The number is the day; where the day is the first, it may be the year's last two digits instead, as
    ``Sep-07`` is taken for September 2007. Of ``9/7/2024`` either number is the month.
    """
    key = pl.col("key")
    serials = labels.filter(key.str.contains(r"^\d{5}$")).with_columns(serial=key.cast(pl.Int32))
    serials = serials.filter(pl.col("serial").is_between(*SERIALS))
    if 2 * serials.height >= n_labels:
        serials = serials.clear()
    day = pl.lit(_SERIAL_ZERO) + pl.duration(days="serial")
    two = labels.with_columns(parts=key.str.extract_groups(_TWO_NUMBERS_YEAR))
    first, second, year = (pl.col("parts").struct.field(str(n)) for n in (1, 2, 3))
    readings = [
        _parts(labels, _DAY_MONTH, day=1, month=2),
        _parts(labels, _MONTH_DAY, day=2, month=1),
        _parts(labels, _DAY_MONTH_YEAR, day=1, month=2, year=3),
        _parts(labels, _YEAR_MONTH_DAY, day=3, month=2, year=1),
        two.select("row", day=first, month=second, year=year),
        two.select("row", day=second, month=first, year=year),
        serials.select("row", day=day.dt.day(), month=day.dt.month(), year=day.dt.year()).cast(
            {"day": pl.String, "month": pl.String, "year": pl.String}
        ),
    ]
    months = {name: number for number, name in enumerate(MONTHS, start=1)}
    month = pl.col("month").str.to_lowercase().str.head(3)
    dates = (
        pl.concat(readings)
        .drop_nulls(["day", "month"])
        .with_columns(
            month=month.replace(months).cast(pl.Int8, strict=False),
            day=pl.col("day").cast(pl.Int8),
            year=pl.col("year").cast(pl.Int16) % 100,
        )
        .filter(pl.col("month").is_between(1, 12))
    )
    by_day = dates.select("row", "month", number="day")
    by_year = dates.filter(pl.col("day") == 1, pl.col("year") >= 1).select("row", "month", number="year")
    return pl.concat([by_day, by_year.cast({"number": pl.Int8})]).unique().sort("row", "month", "number")


def _parts(
    labels: pl.DataFrame, pattern: str, *, day: int, month: int, year: int | None = None
) -> pl.DataFrame:
    key = pl.col("key")
    return labels.select(
        "row",
        day=key.str.extract(pattern, day),
        month=key.str.extract(pattern, month),
        year=pl.lit(None, pl.String) if year is None else key.str.extract(pattern, year),
    )
