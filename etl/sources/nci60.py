"""NCI-60: the dose responses of NCI's Developmental Therapeutics Program, the classic screen.

Raw layout: ``DOSERESP.zip`` with ``DOSERESP.csv``, or that file unpacked: comma-separated with a header, 18
columns, some 24 million rows, one per compound (``NSC``), experiment (``EXPID``), cell line and dose; values
are means over the determinations of the experiment, of which there is nearly always one.

* ``CONCENTRATION`` is the log10 of the dose in ``CONCENTRATION_UNIT``: ``M`` molar, ``u`` µg/ml, ``V`` by
  volume. ``LOG_HI_CONCENTRATION`` is that of the highest dose of the dilution series.
* ``AVERAGE_PTC`` is the treated signal as a percentage of the control, ``AVERAGE_GIPRCNT`` the same after the
  signal at the time of drug addition is taken off, from 100 (growth of the control) by 0 (none) to -100 (all
  cells dead). PTC has been recalculated by the publisher and is missing in some rows.
* ``EXPID`` begins with year and month, YYMM.
* A line is told by ``PANEL_NUMBER`` and ``CELL_NUMBER``; ``CELL_NAME`` is a label, one line may have several.
* The zip that NCI offers is compressed by Deflate64, users say, which many programs do not read.

The file is read as a stream, a block of lines at a time. What must be known of it as a whole (compounds, cell
names, repeated keys, rows without PTC) is found in one pass, and kept for as long as the process lives and
the file stays as it is.

Here: reading and the translation of the source's own codes. Not here: fits, ids, dose units.
"""

import csv
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.accounting import RowAccount
from etl.formats import zip_member
from etl.formats.delimited import TextTable
from etl.sources.base import RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement
from schemas.table import match_to_model

WIKI: Final = "https://wiki.nci.nih.gov/spaces/NCIDTPdata/pages/147193864/NCI-60+Growth+Inhibition+Data"

SPEC = SourceSpec(
    dataset_id="nci60",
    title="NCI-60 human tumor cell lines screen, dose responses",
    assay="viability",
    readout="sulforhodamine B absorbance after 48 h",
    value_scale="viability",
    files=(
        RemoteFile(
            role="responses",
            pattern="**/DOSERESP.*",
            url="https://wiki.nci.nih.gov/download/attachments/147193864/DOSERESP.zip?api=v2",
        ),
    ),
    license="public domain (work of the United States government)",
    is_redistributable=True,
    access="open",
    release="as downloaded: the publisher replaces the file several times a year",
    doi="10.1038/nrc1951",
    url=WIKI,
)

EXPERIMENT, PREFIX, COMPOUND = "EXPID", "PREFIX", "NSC"
UNIT, TOP_DOSE, DOSE = "CONCENTRATION_UNIT", "LOG_HI_CONCENTRATION", "CONCENTRATION"
PANEL, LINE = "PANEL_NAME", "CELL_NAME"
N_VALUES, PERCENT_OF_CONTROL, DEVIATION = "COUNT_PTC", "AVERAGE_PTC", "STDDEV_PTC"

KEY: Final = (LINE, PREFIX, COMPOUND, EXPERIMENT, TOP_DOSE, DOSE)
SURVEYED: Final = (*KEY, PANEL, PERCENT_OF_CONTROL)
MEASURED: Final = (*KEY, UNIT, N_VALUES, PERCENT_OF_CONTROL, DEVIATION)

UNITS: Final = {"M": "log10 M", "u": "log10 ug/ml", "V": "log10 v/v"}
PUBLIC_SERIES: Final = "S"
"""The series of numbers that ``NSC`` alone means; a number of another series is another compound."""
TIME_H: Final = "48"
"""Time of the classic screen."""
FIRST_YEAR, LAST_YEAR = 80, 23
"""Years of an ``EXPID`` in which there was no other screen: 1980 to 2023. Since then HTS384 takes 72 h, and
nothing in the file tells the two apart."""
PERCENT: Final = 100
WITHOUT_PERCENT: Final = "no percent of control (PTC), from which viability follows"
NUMBERED: Final = "measurements of a dose that its series has already, numbered"

BLOCK_BYTES: Final = 16 * 2**20
"""Text that is read at once, to a line: about 170,000 rows."""

_ESCAPED_QUOTE: Final = re.compile(rb'[^,\n]""')


class Survey(NamedTuple):
    """What is known of the file as a whole.

    Args:
        compounds: ``PREFIX``, ``NSC``, each pair once, sorted by number.
        lines: ``CELL_NAME``, ``PANEL_NAME``, each pair once, sorted.
        n_rows: rows of the file.
        n_without_percent: rows of them without PTC.
        n_numbered: rows with PTC whose key an earlier one has.
        repeated: hashes of the keys of these, each once.
    """

    compounds: pl.DataFrame
    lines: pl.DataFrame
    n_rows: int
    n_without_percent: int
    n_numbered: int
    repeated: NDArray[np.uint64]


class Nci60:
    """Adapter of the dose responses of the NCI-60 screen."""

    spec = SPEC

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per NSC number; the file says no more of a compound.

        Raises:
            BadInputError: as :meth:`measurements`.
        """
        compound = _compound()
        rows = self._survey(raw).compounds.select(compound_reported=compound, vendor_id=compound)
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``CELL_NAME``; its tissue is the panel, or all of them where it is in several.

        Raises:
            BadInputError: as :meth:`measurements`.
        """
        panels = self._survey(raw).lines.group_by(LINE, maintain_order=True).agg(PANEL)
        tissue = pl.col(PANEL).list.drop_nulls().list.join("; ")
        rows = panels.select(context_reported=LINE, tissue=pl.when(tissue != "").then(tissue))
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per row of the file that has a PTC; of the others see :meth:`account`.

        Viability is PTC / 100, never clipped. The replicate is the dilution series, named by the log10 of its
        highest dose as reported; rows that are still alike are ``<series>#2``, ``#3`` … in file order. The
        deviation of a single determination, which the file gives as 0, is null. The time is null where the
        experiment is not dated, or later than 2023.

        Raises:
            BadInputError: a damaged archive, a missing column or value, a row of another length, a value that
                is no number, a negative deviation, or an unknown unit.
        """
        repeated = self._survey(raw).repeated
        year = pl.col(EXPERIMENT).str.extract(r"^(\d\d)(?:0[1-9]|1[0-2])", 1).cast(pl.Int32)
        is_classic = (year <= LAST_YEAR) | (year >= FIRST_YEAR)
        n_met: dict[int, int] = {}
        for text in _blocks(self.spec.locate(raw)["responses"], MEASURED):
            text.require(pl.col(UNIT).is_in(list(UNITS)), UNIT, f"not one of {', '.join(UNITS)}")
            valued = text.with_rows(text.rows.filter(pl.col(PERCENT_OF_CONTROL).is_not_null()))
            table = valued.with_rows(valued.rows.with_columns(dose=DOSE))
            table = table.with_numbers(DOSE, PERCENT_OF_CONTROL, DEVIATION)
            table = table.with_whole_numbers(N_VALUES)
            deviation, n_values = pl.col(DEVIATION), pl.col(N_VALUES)
            table.require(deviation.is_null() | (deviation >= 0), DEVIATION, "a negative deviation")
            table.require(n_values.is_null() | (n_values >= 0), N_VALUES, "a negative number")
            series = _numbered(valued.rows.select(KEY), repeated, n_met)
            rows = table.rows.select(
                "dose",
                series.alias("replicate"),
                context_reported=LINE,
                compound_reported=_compound(),
                experiment=EXPERIMENT,
                plate=pl.lit(""),
                well=pl.lit(""),
                dose_unit=pl.col(UNIT).replace_strict(UNITS, return_dtype=pl.String),
                time=pl.when(is_classic).then(pl.lit(TIME_H)),
                time_unit=pl.when(is_classic).then(pl.lit("h")),
                viability=pl.col(PERCENT_OF_CONTROL) / PERCENT,
                viability_sd=pl.when(n_values > 1).then(deviation / PERCENT),
                n_wells=pl.when(n_values > 0).then(n_values).cast(pl.Int32),
                is_low_quality=pl.lit(value=False),
            )
            yield match_to_model(rows, ReportedMeasurement).collect()

    def curves(self, raw: Path) -> pl.LazyFrame:  # noqa: ARG002 - the file has none
        """Return no rows: GI50, TGI and LC50 are published in other files."""
        return match_to_model(pl.DataFrame(schema={"context_reported": pl.String}), ReportedCurve)

    def account(self, raw: Path) -> RowAccount:
        """Return the account of the rows of the file: measurements, and those that have no PTC.

        Raises:
            BadInputError: as :meth:`measurements`.
        """
        survey = self._survey(raw)
        n_without = survey.n_without_percent
        return RowAccount(
            n_in=survey.n_rows,
            n_out=survey.n_rows - n_without,
            dropped={WITHOUT_PERCENT: n_without} if n_without else {},
            noted={NUMBERED: survey.n_numbered} if survey.n_numbered else {},
            unit="rows of DOSERESP.csv",
        )

    def _survey(self, raw: Path) -> Survey:
        path = self.spec.locate(raw)["responses"]
        stat = path.stat()
        return _surveyed(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _surveyed(path: Path, _size: int, _changed: int) -> Survey:
    """Return the survey of a file; its size and time are part of the key of the cache."""
    compounds: list[pl.DataFrame] = []
    lines: list[pl.DataFrame] = []
    keys: list[NDArray[np.uint64]] = []
    n_rows = 0
    for table in _blocks(path, SURVEYED):
        compounds.append(table.distinct(PREFIX, COMPOUND).rows.select(PREFIX, COMPOUND))
        lines.append(table.distinct(LINE, PANEL).rows.select(LINE, PANEL))
        valued = table.rows.filter(pl.col(PERCENT_OF_CONTROL).is_not_null())
        keys.append(valued.select(KEY).hash_rows().to_numpy())
        n_rows += table.rows.height
    hashes = np.concatenate(keys)
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    return Survey(
        compounds=pl.concat(compounds).unique().sort(COMPOUND, PREFIX),
        lines=pl.concat(lines).unique().sort(LINE, PANEL),
        n_rows=n_rows,
        n_without_percent=n_rows - hashes.size,
        n_numbered=again.size,
        repeated=np.unique(again),
    )


def _compound() -> pl.Expr:
    """Return the key of a compound: its NSC number in the form in which registries list it."""
    other = pl.format("{}-{}", PREFIX, COMPOUND)
    return pl.when(pl.col(PREFIX) == PUBLIC_SERIES).then(pl.format("NSC{}", COMPOUND)).otherwise(other)


def _numbered(keys: pl.DataFrame, repeated: NDArray[np.uint64], n_met: dict[int, int]) -> pl.Series:
    """Return the series of each row, numbered where its key has been met before.

    Args:
        keys: columns of ``KEY``.
        repeated: hashes of the keys of several rows. That two keys share one is a chance of 0.002 % among 24
            million; both would be numbered, no more.
        n_met: how often each of them has been met; counted on.
    """
    series = keys[TOP_DOSE]
    if not repeated.size:
        return series
    hashes = keys.hash_rows()
    rows = np.flatnonzero(np.isin(hashes.to_numpy(), repeated))
    if not rows.size:
        return series
    names = series.to_list()
    for row, key in zip(rows.tolist(), hashes.gather(rows).to_list(), strict=True):
        n_met[key] = n_met.get(key, 0) + 1
        if n_met[key] > 1:
            names[row] = f"{names[row]}#{n_met[key]}"
    return pl.Series(series.name, names, dtype=pl.String)


def _blocks(path: Path, columns: tuple[str, ...]) -> Iterator[TextTable]:
    """Yield columns of the file as text without outer blanks, in file order, about ``BLOCK_BYTES`` at a time.

    The columns of ``KEY`` are there in every row, and ``NSC`` is a number. An empty cell is null.

    Raises:
        BadInputError: a damaged archive, an empty file, a missing or repeated column, a row of another length
            than the header, a missing value, or an unpacked file whose last line is not ended.
    """
    origin = TextTable(pl.DataFrame(), SPEC.dataset_id, path)
    is_archive = path.suffix.lower() == ".zip"
    file = cast(BinaryIO, zip_member.open_member(path, ".csv")) if is_archive else path.open("rb")
    with file:
        names = file.readline().decode("utf-8-sig", "replace").replace('"', "").split(",")
        header = [name.strip() for name in names]
        if header == [""]:
            raise origin.error("the file is empty")
        for column in columns:
            if header.count(column) != 1:
                rule = "the column is repeated" if column in header else "the column is missing"
                raise origin.error(rule, column=column)
        row = 2
        while text := file.read(BLOCK_BYTES) + file.readline():
            if not text.endswith(b"\n"):
                # An archive is known to be whole by its size and checksum.
                if not is_archive:
                    rule = "the last line is not ended: the file is truncated"
                    raise origin.error(rule, row=row + text.count(b"\n"))
                text += b"\n"
            cells = _cells(text, header, columns, origin, row)
            table = origin.with_rows(_without_blanks(cells).with_row_index("row", offset=row))
            table.require_present(*KEY)
            yield table.with_whole_numbers(COMPOUND)
            row += table.rows.height
    if row == 2:
        raise origin.error("a header and no rows")


def _without_blanks(cells: pl.DataFrame) -> pl.DataFrame:
    text = pl.all().str.strip_chars()
    return cells.with_columns(pl.when(text != "").then(text).name.keep())


def _cells(
    text: bytes, header: list[str], columns: tuple[str, ...], origin: TextTable, first_row: int
) -> pl.DataFrame:
    """Return columns of whole lines as text.

    Polars fills a short line and, where it reads all columns, refuses a long one. So if all lines together
    have the separators that they should have and Polars reads them, none is short.

    Raises:
        BadInputError: a line with more or fewer cells than the header, or text that is not UTF-8.
    """
    n_rows = text.count(b"\n")
    names = [f"column_{place}" for place in range(len(header))]
    wanted = [pl.col(names[header.index(column)]).alias(column) for column in columns]
    # Where no separator stands between quotes, which the number of separators shows, quotes mean nothing.
    has_odd_quotes = b'"' in text and _ESCAPED_QUOTE.search(text) is not None
    plain = text if has_odd_quotes else text.replace(b'"', b"")
    if not has_odd_quotes and plain.count(b",") == n_rows * (len(header) - 1):
        try:
            # Polars inflates what starts like a compressed stream; an empty line before the text prevents it.
            cells = pl.read_csv(
                b"\n" + plain,
                skip_lines=1,
                quote_char=None,
                has_header=False,
                schema=dict.fromkeys(names, pl.String),
            )
        except pl.exceptions.PolarsError:
            pass  # what is wrong is told below
        else:
            if cells.height == n_rows:
                return cells.select(wanted)
    records = _split_one_by_one(text, len(header), origin, first_row)
    return pl.DataFrame(records, schema=dict.fromkeys(names, pl.String), orient="row").select(wanted)


def _split_one_by_one(text: bytes, n_columns: int, origin: TextTable, first_row: int) -> list[list[str]]:
    """Return the cells of whole lines, read in Python; a line is one row."""
    try:
        lines = text.decode().split("\n")[:-1]
    except UnicodeDecodeError as fault:
        row = first_row + text.count(b"\n", 0, fault.start)
        raise origin.error("text that is not UTF-8", row=row) from fault
    records: list[list[str]] = []
    for row, line in enumerate(lines, start=first_row):
        try:
            record = next(csv.reader([line.rstrip("\r")], strict=True), [])
        except csv.Error as fault:
            raise origin.error(f"not readable as a table: {fault}", row=row) from fault
        if len(record) != n_columns:
            raise origin.error(f"{len(record)} fields where the header has {n_columns}", row=row)
        records.append(record)
    return records
