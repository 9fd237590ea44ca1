"""GDSC's wells: the raw table of intensities to viability of the wells that hold one drug alone.

Raw layout: comma-separated with a header, ``NA`` for missing, 15 million rows. A plate is a ``BARCODE``
(digits, or text such as ``018_996_0005436``) and holds one expansion (``CELL_ID``) of one cell line. A well
is a ``POSITION``, numbered along the rows of the plate, and has one row per ``TAG``:

* ``L12-D3-S``, ``R1-D1-S``: third highest dose of library drug 12, highest of reference drug 1, alone;
* ``…-C``: a drug in a combination; ``A1-…``: its anchor; ``PC…``: positive control;
* ``B``: blank, no cells; ``NC-0``: untreated; ``NC-1``: vehicle;
* ``DMSO`` (backfill, beside another tag), ``UN-USED``, ``SC`` (seeding control), ``FAIL``.

A library number is a drug within a plate layout (``DRUGSET_ID``); a drug can have two, with other doses.

Here: reading, which rows are measurements and why the others are not. Not here: the scale of a plate
(``plate_normalization``), the published fits and the names (``gdsc``).
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.formats.delimited import TextTable
from etl.formats.xlsx import column_name
from etl.sources.plate_normalization import BLANK, CONTROL, FAULTS, NO_BLANKS, TREATED, Average, normalize
from schemas.reported import ReportedMeasurement
from schemas.table import match_to_model

PLATE: Final = "BARCODE"
CONSTANTS: Final = ("SCAN_ID", "CELL_ID", "CELL_LINE_NAME", "DRUGSET_ID", "DURATION")
"""What a plate has one of."""
LINE: Final = ("CELL_LINE_NAME", "SANGER_MODEL_ID", "COSMIC_ID")
WELL: Final = ("POSITION", "TAG", "DRUG_ID", "CONC", "INTENSITY")
COLUMNS: Final = (PLATE, *CONSTANTS, *LINE[1:], *WELL)

MISSING: Final = ("", "NA")
BLOCK_ROWS: Final = 2_000_000
BATCH_ROWS: Final = 500_000
"""Rows of the file that are text at a time."""

TREATMENT: Final = r"^([LR]\d+)(-D\d+)?-S$"
FAILURE: Final = "failure marker"
NEGATIVE: Final = "negative control"
OTHER_NEGATIVE: Final = "negative control of the kind that is not used"
OTHER_DRUG: Final = ("drug in a combination", "anchor drug alone", "positive control")
UNKNOWN: Final = "unknown tag"
KINDS: Final[Mapping[str, str]] = {
    TREATMENT: TREATED,
    r"^(L|R|A|PC)\d+(-D\d+)?-C$": OTHER_DRUG[0],
    r"^A\d+(-D\d+)?-S$": OTHER_DRUG[1],
    r"^PC-?\d+(-D\d+-S)?$": OTHER_DRUG[2],
    r"^B$": BLANK,
    r"^NC-\d+$": OTHER_NEGATIVE,
    r"^DMSO$": "backfill marker",
    r"^UN-USED$": "unused well",
    r"^SC$": "seeding control",
    r"^FAIL$": FAILURE,
}
"""Pattern of a tag, and what its rows are; the first that matches holds."""
MARKERS: Final = ("DMSO", "UN-USED", "SC")
"""Tags whose rows say nothing about a drug or a scale: counted, and not kept."""

KIND: Final = pl.Enum([*dict.fromkeys(KINDS.values()), CONTROL, UNKNOWN])

WITHOUT_DRUG: Final = "treatment tag without drug or dose"
MIXTURE: Final = "well with several drugs"
SAME: Final = "same treatment of a well under another tag"
WITHOUT_INTENSITY: Final = "no intensity"

FORMATS: Final = ((96, 12), (384, 24), (1536, 48))
"""Wells of a plate and its columns."""
EXAMPLES: Final = 3
"""Plates that a remark names."""


@dataclass(frozen=True, slots=True)
class Wells:
    """The measurements of a raw table.

    Args:
        measurements: rows of ``ReportedMeasurement``, in file order.
        plates: one row per plate, sorted: plate, context_reported, n_blanks, n_controls, blank, control, and
            fault, which says why its wells are no measurements, or is null.
        account: rows of the file in, measurements out, and what the others are.
    """

    measurements: pl.DataFrame
    plates: pl.DataFrame
    account: RowAccount

    def blocks(self) -> Iterator[pl.DataFrame]:
        """Yield the measurements in blocks."""
        yield from self.measurements.iter_slices(BLOCK_ROWS)


def read_wells(
    path: Path,
    *,
    dataset_id: str,
    negative_control: str,
    blank: Average = "mean",
    control: Average = "mean",
    clip: tuple[float, float] | None = None,
) -> Wells:
    """Read a raw table.

    A well is a measurement where it holds one library or reference drug and nothing else of interest, and
    its plate has a scale. It is of low quality where another tag of it is ``FAIL``; control wells with that
    tag are not used. Its experiment is the highest dose of its series, which is drug and library number in a
    plate layout.

    Args:
        path: the table.
        dataset_id: for messages.
        negative_control: tag of the wells that are viability 1. Another kind is never taken instead:
            untreated and vehicle wells differ.
        blank: how blanks are averaged, as in ``normalize``.
        control: how negative controls are averaged.
        clip: bounds of viability.

    Raises:
        BadInputError: a file that cannot be read as a table, a missing column, a row without plate, tag or
            its full number of fields, a position, dose or intensity that is no number or none that can be, a
            plate with two lines, expansions, scans, layouts or durations, a well with two intensities, or no
            plate with a scale.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    wells, plates, counts = _read(table, negative_control)
    n_rows, n_treated = sum(counts.values()), counts.pop(TREATED, 0)
    failed = wells.filter(kind=FAILURE)["well_code"].unique()
    controls = _controls(wells, failed)
    treated, dropped = _treated(table.with_rows(wells), plates)
    del wells
    columns = ["plate", "role", "intensity"]
    normalized = normalize(
        pl.concat([controls.select(columns), treated], how="diagonal"),
        blank=blank,
        control=control,
        clip=clip,
    )
    scales = (
        plates.select("plate_code", plate=PLATE, context_reported="CELL_LINE_NAME")
        .join(normalized.plates.rename({"plate": "plate_code"}), on="plate_code", how="left")
        .with_columns(pl.col("n_blanks", "n_controls").fill_null(0))
        .with_columns(fault=pl.when(n_blanks=0).then(pl.lit(NO_BLANKS)).otherwise("fault"))
        .drop("plate_code")
        .sort("plate")
    )
    if scales["fault"].null_count() == 0:
        raise BadInputError(
            f"no plate has blanks (tag B) and negative controls (tag {negative_control}) above them",
            dataset_id=dataset_id,
            file=path,
        )
    faulty = normalized.wells["fault"].drop_nulls().value_counts()
    measured = normalized.wells.filter(pl.col("fault").is_null())
    measurements = _measurements(measured, plates, failed)
    names = {BLANK: "blank", CONTROL: f"{NEGATIVE} {negative_control}"}
    counts = {names.get(kind, kind): n for kind, n in counts.items()} | dropped | dict(faulty.iter_rows())
    account = RowAccount(
        unit="rows of wells",
        n_in=n_rows,
        n_out=n_treated - sum(dropped.values()) - sum(faulty["count"]),
        dropped={reason: n for reason, n in sorted(counts.items()) if n},
        noted=_remarks(scales, measurements),
    )
    assert account.n_out == measurements.height
    return Wells(measurements, scales, account)


def read_names(path: Path, *, dataset_id: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the drugs that are alone in a well (``DRUG_ID``), and the lines with their ids (``LINE``).

    Each has ``row``, the first of the file that names it; a missing id is null.

    Raises:
        BadInputError: as ``read_wells`` where the file is no table or lacks a column.
    """
    table = TextTable(pl.DataFrame(), dataset_id, path)
    is_drug = pl.col("TAG").str.contains(TREATMENT) & pl.col("DRUG_ID").is_not_null()
    drugs, lines = [], []
    for rows in _batches(table):
        drugs.append(rows.filter(is_drug).group_by("DRUG_ID").agg(pl.col("row").min()))
        lines.append(rows.group_by(LINE).agg(pl.col("row").min()))
    found = pl.concat(drugs).group_by("DRUG_ID").agg(pl.col("row").min())
    named = pl.concat(lines).group_by(LINE).agg(pl.col("row").min())
    return found.sort("row"), named.sort("row")


def experiment(top_dose_um: pl.Series) -> pl.Series:
    """Return the name of a series of doses: its highest, µM, to six significant digits.

    >>> experiment(pl.Series([10.0, 0.1000001, 1.99999999])).to_list()
    ['10', '0.1', '2']
    """
    distinct = top_dose_um.drop_nulls().unique()
    names = pl.Series([f"{dose:.6g}" for dose in distinct], dtype=pl.String)
    return top_dose_um.replace_strict(distinct, names, return_dtype=pl.String).cast(pl.String)


def _read(table: TextTable, negative_control: str) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Return the rows that say something of a drug or a scale, the plates, and the number of rows by kind."""
    tags, plates, wells = [], [], []
    position = pl.col("POSITION").cast(pl.UInt32, strict=False)
    for rows in _batches(table):
        table.with_rows(rows).require(
            pl.col("INTENSITY") != "", "INTENSITY", "nothing, or a line with too few fields"
        )
        tagged = rows.group_by("TAG").agg(pl.len(), pl.col("row").min())
        kinds = _kinds(table.with_rows(tagged), negative_control)
        tags.append(kinds.group_by("kind").agg(pl.col("len").sum()))
        plates.append(rows.group_by(PLATE, *CONSTANTS).agg(pl.col("row").min(), position.max()))
        said = rows.filter(~pl.col("TAG").is_in(MARKERS)).select("row", PLATE, *WELL)
        said = said.join(kinds.select("TAG", "kind", "library"), on="TAG", maintain_order="left")
        wells.append(_with_numbers(table.with_rows(said)))
    found = pl.concat(plates).group_by(PLATE, *CONSTANTS).agg(pl.col("row").min(), pl.col("POSITION").max())
    numbered = _plates(table.with_rows(found))
    code = pl.col("plate_code").cast(pl.UInt64) * (FORMATS[-1][0] + 1) + pl.col("position")
    return (
        pl.concat(wells)
        .join(numbered.select(PLATE, "plate_code"), on=PLATE, maintain_order="left")
        .with_columns(well_code=code)
        .drop(PLATE),
        numbered,
        dict(pl.concat(tags).group_by("kind").agg(pl.col("len").sum()).iter_rows()),
    )


def _batches(table: TextTable) -> Iterator[pl.DataFrame]:
    """Yield the rows as text: ``row`` and ``COLUMNS``, in file order.

    Missing values are null but in INTENSITY, the last column: nothing stands there where a line is too short.
    """
    with table.path.open("rb") as file:
        first = file.readline()
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        last = file.read(1)
    if not first.strip():
        raise table.error("the file is empty")
    if last != b"\n":
        raise table.error("the last line is not ended: the file is truncated")
    if size == len(first):
        raise table.error("a header and no rows")
    header = next(csv.reader([first.decode("utf-8-sig", "replace").rstrip("\r\n")]))
    for column in COLUMNS:
        if header.count(column) != 1:
            rule = "the column is missing" if column not in header else "the column is repeated"
            raise table.error(rule, column=column)
    # All columns are read: Polars counts the fields of a line only then.
    text = pl.scan_csv(
        table.path,
        schema={str(place): pl.String for place in range(len(header))},
        has_header=False,
        skip_lines=1,
        empty_string_is_null=False,
        glob=False,
        row_index_name="row",
        row_index_offset=2,
    )
    names = {str(header.index(column)): column for column in COLUMNS}
    others = pl.col("INTENSITY", "row")
    filled = pl.exclude("INTENSITY", "row")
    try:
        for batch in text.collect_batches(chunk_size=BATCH_ROWS, engine="streaming"):
            yield (
                batch.select("row", *names)
                .rename(names)
                .select(others, pl.when(~filled.is_in(MISSING)).then(filled).name.keep())
            )
    except pl.exceptions.PolarsError as fault:
        reason = " ".join(str(fault).split()).split(" You might want")[0]
        raise table.error(f"cannot be read as a table: {reason}") from None


def _kinds(table: TextTable, negative_control: str) -> pl.DataFrame:
    """Return tags with what their rows are and, of a treatment, the library number."""
    table.require_present("TAG")
    tag = pl.col("TAG")
    kind: pl.Expr = pl.lit(UNKNOWN)
    for pattern, name in reversed(list(KINDS.items())):
        kind = pl.when(tag.str.contains(pattern)).then(pl.lit(name)).otherwise(kind)
    kind = pl.when(tag == negative_control).then(pl.lit(CONTROL)).otherwise(kind)
    return table.rows.with_columns(kind=kind.cast(KIND), library=tag.str.extract(TREATMENT, 1))


def _plates(table: TextTable) -> pl.DataFrame:
    """Return one row per plate: its constants, a number, and how many columns its layout has."""
    table.require_present(PLATE, *CONSTANTS)
    table.with_rows(table.rows.sort("row")).require_unique(PLATE)
    last = pl.col("POSITION").max().over("DRUGSET_ID")
    largest, _ = FORMATS[-1]
    table.require(pl.col("POSITION") <= largest, "POSITION", f"not a position of a plate of {largest} wells")
    n_columns: pl.Expr = pl.lit(FORMATS[-1][1])
    for n_wells, columns in reversed(FORMATS[:-1]):
        n_columns = pl.when(last <= n_wells).then(pl.lit(columns)).otherwise(n_columns)
    return (
        table.rows.with_columns(n_columns=n_columns.cast(pl.UInt32))
        .sort(PLATE)
        .with_row_index("plate_code")
        .drop("row", "POSITION")
    )


def _with_numbers(table: TextTable) -> pl.DataFrame:
    """Return wells with numbers for texts; the dose is kept as text too."""
    intensity = pl.col("INTENSITY")
    rows = table.rows.with_columns(
        position=pl.col("POSITION").cast(pl.UInt32, strict=False),
        conc=pl.col("CONC").cast(pl.Float64, strict=False),
        intensity=intensity.cast(pl.Float64, strict=False),
    )
    table = table.with_rows(rows)
    table.require(pl.col("position") >= 1, "POSITION", "not a position")
    is_dose = pl.col("CONC").is_null() | (pl.col("conc").is_finite() & (pl.col("conc") >= 0))
    table.require(is_dose, "CONC", "not a dose")
    table.require((intensity == "NA") | pl.col("intensity").is_finite(), "INTENSITY", "not a number")
    return rows.drop("POSITION", "INTENSITY", "TAG")


def _controls(wells: pl.DataFrame, failed: pl.Series) -> pl.DataFrame:
    """Return the blanks and controls that make the scale of their plates, each well once."""
    return (
        wells.filter(pl.col("kind").is_in([BLANK, CONTROL]))
        .filter(pl.col("intensity").is_not_null() & ~pl.col("well_code").is_in(failed.implode()))
        .unique(["well_code", "kind"], keep="first", maintain_order=True)
        .select(
            "intensity",
            plate="plate_code",
            role=pl.col("kind").cast(pl.String),
        )
    )


def _treated(table: TextTable, plates: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the wells with one drug alone, each once, with the top dose of their series; why others not."""
    wells = table.rows
    dropped: dict[str, int] = {}

    def kept(rows: pl.DataFrame, is_right: pl.Expr, reason: str) -> pl.DataFrame:
        right = rows.filter(is_right)
        dropped[reason] = rows.height - right.height
        return right

    rows = wells.filter(kind=TREATED)
    rows = kept(rows, pl.col("DRUG_ID").is_not_null() & pl.col("CONC").is_not_null(), WITHOUT_DRUG)
    rows = rows.join(plates.select("plate_code", "DRUGSET_ID"), on="plate_code", maintain_order="left")
    top = rows.group_by("DRUGSET_ID", "library", "DRUG_ID").agg(top=pl.col("conc").max())
    rows = rows.join(top, on=["DRUGSET_ID", "library", "DRUG_ID"], maintain_order="left").drop("DRUGSET_ID")

    others = wells.filter(pl.col("kind").is_in(OTHER_DRUG))["well_code"].unique()
    rows = kept(rows, ~pl.col("well_code").is_in(others.implode()), MIXTURE)
    is_repeated = rows["well_code"].is_duplicated()
    repeated = rows.filter(is_repeated)
    if repeated.height:
        of_well = repeated.group_by("well_code").agg(
            pl.struct("DRUG_ID", "conc").n_unique().alias("n_treatments"),
            pl.col("intensity").n_unique().alias("n_intensities"),
        )
        contradicting = of_well.filter(pl.col("n_intensities") > 1)["well_code"]
        table.with_rows(repeated).require(
            ~pl.col("well_code").is_in(contradicting.implode()), "intensity", "a well with two intensities"
        )
        mixed = of_well.filter(pl.col("n_treatments") > 1)["well_code"]
        rows = rows.with_columns(_is_repeated=is_repeated)
        before = dropped[MIXTURE]
        rows = kept(rows, ~pl.col("well_code").is_in(mixed.implode()), MIXTURE)
        dropped[MIXTURE] += before
        rows = kept(rows, ~pl.col("_is_repeated") | pl.col("well_code").is_first_distinct(), SAME)
    rows = kept(rows, pl.col("intensity").is_not_null(), WITHOUT_INTENSITY)
    columns = ("intensity", "DRUG_ID", "CONC", "position", "well_code", "top")
    return rows.select(*columns, plate="plate_code", role=pl.lit(TREATED)), dropped


def _measurements(wells: pl.DataFrame, plates: pl.DataFrame, failed: pl.Series) -> pl.DataFrame:
    """Return measurements in the columns of ``ReportedMeasurement``."""
    is_failed = wells["well_code"].is_in(failed.implode())
    rows = wells.select(
        "plate",
        "position",
        "viability",
        compound_reported="DRUG_ID",
        dose="CONC",
        experiment=experiment(wells["top"]),
        is_low_quality=is_failed,
    )
    places = plates.rename({"plate_code": "plate"})
    names = _well_names(rows.select("plate", "position").join(places, on="plate").drop("plate"))
    rows = rows.join(places, on="plate", maintain_order="left").join(
        names, on=["position", "n_columns"], maintain_order="left"
    )
    measured = rows.select(
        "compound_reported",
        "experiment",
        "well",
        "dose",
        "viability",
        "is_low_quality",
        context_reported="CELL_LINE_NAME",
        replicate="CELL_ID",
        plate=PLATE,
        dose_unit=pl.lit("uM"),
        time="DURATION",
        time_unit=pl.lit("days"),
        n_wells=pl.lit(1, pl.Int32),
    )
    return match_to_model(measured, ReportedMeasurement).collect()


def _well_names(positions: pl.DataFrame) -> pl.DataFrame:
    """Return the name of every well (position, n_columns); rows beyond Z are AA, AB and so on."""
    distinct = positions.select("position", "n_columns").unique()
    names = [
        f"{column_name((position - 1) // n_columns)}{(position - 1) % n_columns + 1:02}"
        for position, n_columns in distinct.iter_rows()
    ]
    return distinct.with_columns(well=pl.Series(names, dtype=pl.String))


def _remarks(plates: pl.DataFrame, measurements: pl.DataFrame) -> dict[str, int]:
    """Return what an account says of plates and measurements; plates without scale by name, the first few."""
    remarks = {"plates": plates.height, "wells marked FAIL": int(measurements["is_low_quality"].sum())}
    for fault in FAULTS:
        names = plates.filter(fault=fault)["plate"]
        shown = ", ".join(names.head(EXAMPLES)) + (", …" if names.len() > EXAMPLES else "")
        remarks[f"{fault}: {shown}"] = names.len()
    return {remark: n for remark, n in remarks.items() if n}
