"""CCLE: the drug-response screen of the Cancer Cell Line Encyclopedia, file of 24 February 2015.

Raw layout: ``CCLE_NP24.2009_Drug_data_2015.02.24.csv``, comma-separated and quoted, one row per cell line and
compound. Doses (µM), activities and their deviations are comma lists inside one cell each, as long as
``Num Data`` says. An activity is the change of viability in percent: -53 is viability 0.47. ``EC50`` is
``NA`` unless ``FitType`` is ``Sigmoid``; an ``IC50`` that is not reached stands at the top dose, 8 µM.

Here: reading and the translation of the source's own codes. Not here: fits of ours, ids, dose units.
"""

import csv
import io
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError
from etl.sources.base import RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement
from schemas.table import polars_schema

SPEC = SourceSpec(
    dataset_id="ccle_2015",
    title="Cancer Cell Line Encyclopedia (CCLE), drug response, February 2015",
    assay="viability",
    readout="CellTiter-Glo luminescence, median activity per dose",
    value_scale="viability",
    files=(RemoteFile(role="drug_data", pattern="**/CCLE_NP24.2009_Drug_data_2015.02.24.csv"),),
    license="Broad Institute terms of use (not verified)",
    is_redistributable=False,
    access="manual",
    release="2015-02-24",
    doi="10.1038/nature11003",
)

CONTEXT, LINE_NAME, COMPOUND, TARGET = "CCLE Cell Line Name", "Primary Cell Line Name", "Compound", "Target"
DOSES, ACTIVITIES, DEVIATIONS = "Doses (uM)", "Activity Data (median)", "Activity SD"
N_DOSES, FIT_TYPE = "Num Data", "FitType"
EC50, IC50, AMAX, ACTIVITY_AREA = "EC50 (uM)", "IC50 (uM)", "Amax", "ActArea"

NAMES: Final = (CONTEXT, LINE_NAME, COMPOUND, TARGET)
LISTS: Final = (DOSES, ACTIVITIES, DEVIATIONS)
METRICS: Final = (EC50, IC50, AMAX, ACTIVITY_AREA)
COLUMNS: Final = (*NAMES, *LISTS, N_DOSES, FIT_TYPE, *METRICS)
KEY: Final = (CONTEXT, COMPOUND)
FIT_TYPES: Final = ("Sigmoid", "Linear", "Constant")

AUC_KIND = (
    "activity area: sum over doses of the fraction inhibited, 0 to the number of doses: high = sensitive"
)
PERCENT = 100


class Ccle2015:
    """Adapter of the CCLE drug-response file of 2015."""

    spec = SPEC

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per compound with its target.

        Raises:
            BadInputError: one compound with two targets.
        """
        path = self.spec.locate(raw)["drug_data"]
        compounds = _read(path).select(COMPOUND, TARGET).unique()
        _require_unique(compounds, (COMPOUND,), path)
        compounds = compounds.sort(COMPOUND).select(
            compound_reported=COMPOUND, name=COMPOUND, targets=pl.when(pl.col(TARGET) != "NA").then(TARGET)
        )
        return _in_order(compounds, ReportedCompound).lazy()

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per CCLE name; its tissue is what follows the first underscore.

        Raises:
            BadInputError: one CCLE name with two primary names.
        """
        path = self.spec.locate(raw)["drug_data"]
        lines = _read(path).select(CONTEXT, LINE_NAME).unique()
        _require_unique(lines, (CONTEXT,), path)
        lines = lines.sort(CONTEXT).select(
            context_reported=CONTEXT,
            name=LINE_NAME,
            model_id=CONTEXT,
            tissue=pl.col(CONTEXT).str.extract(r"^[^_]+_(.+)$", 1),
        )
        return _in_order(lines, ReportedContext).lazy()

    def measurements(self, raw: Path) -> pl.LazyFrame:
        """Return one row per dose of each cell.

        Viability is 1 + activity / 100, never clipped. The deviations of a curve are null where all of them
        are zero: single measurements. The file does not give the assay time, nor the number of wells.

        Raises:
            BadInputError: lists of unequal length, a value that is no number, a negative dose or deviation,
                or a dose that is repeated within a curve.
        """
        path = self.spec.locate(raw)["drug_data"]
        points = _points(_read(path), path)
        _require_unique(points, (*KEY, "dose"), path)
        has_deviation = (pl.col("deviation") > 0).any().over("row")
        rows = points.select(
            context_reported=CONTEXT,
            compound_reported=COMPOUND,
            experiment=pl.lit(""),
            replicate=pl.lit(""),
            dose=DOSES,
            dose_unit=pl.lit("uM"),
            viability=1 + pl.col("activity") / PERCENT,
            viability_sd=pl.when(has_deviation).then(pl.col("deviation") / PERCENT),
        )
        return _in_order(rows, ReportedMeasurement).lazy()

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve.

        An IC50 at the top dose gets the flag ``ic50_censored``; ``e_max`` is 1 + Amax / 100.

        Raises:
            BadInputError: as for :meth:`measurements`, or a metric or fit type that cannot be read.
        """
        path = self.spec.locate(raw)["drug_data"]
        table = _read(path)
        doses = (
            _points(table, path)
            .filter(pl.col("dose") > 0)
            .group_by("row")
            .agg(min_dose_um=pl.col("dose").min(), max_dose_um=pl.col("dose").max())
        )
        number = {column: _number(table, column, path) for column in METRICS}
        _require(
            table, table[FIT_TYPE].is_in(FIT_TYPES), FIT_TYPE, f"not one of {', '.join(FIT_TYPES)}", path
        )
        for column in (EC50, IC50):
            is_dose = number[column].is_null() | (number[column] > 0)
            _require(table, is_dose, column, "a dose that is not positive", path)
        rows = (
            table.join(doses, on="row", how="left", maintain_order="left")
            .with_columns(list(number.values()))
            .select(
                "min_dose_um",
                "max_dose_um",
                context_reported=CONTEXT,
                compound_reported=COMPOUND,
                experiment=pl.lit(""),
                replicate_level=pl.lit("pooled"),
                n_points=pl.col(N_DOSES).cast(pl.Int32),
                ec50_um=EC50,
                ic50_um=IC50,
                e_max=1 + pl.col(AMAX) / PERCENT,
                auc=ACTIVITY_AREA,
                auc_kind=pl.when(pl.col(ACTIVITY_AREA).is_not_null()).then(pl.lit(AUC_KIND)),
                flags=pl.concat_list(
                    pl.when(pl.col(IC50) >= pl.col("max_dose_um")).then(pl.lit("ic50_censored"))
                ).list.drop_nulls(),
            )
        )
        return _in_order(rows, ReportedCurve).lazy()


def _read(path: Path) -> pl.DataFrame:
    """Return the columns as text, with ``row``, the record in the file; blanks are normalized in names.

    Raises:
        BadInputError: the file is empty or ends within a line, a column is missing, a record is ragged or
            names no line or compound, a pair is repeated.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if not text.strip():
        raise BadInputError("the file is empty", dataset_id=SPEC.dataset_id, file=path)
    if not text.endswith("\n"):
        raise BadInputError(
            "the last line is not ended: the file is truncated",
            dataset_id=SPEC.dataset_id,
            file=path,
            row=text.count("\n") + 1,
        )
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header, *records = lines
    except csv.Error as fault:
        raise BadInputError(
            f"not readable as a table: {fault}", dataset_id=SPEC.dataset_id, file=path, row=lines.line_num
        ) from None
    for column in COLUMNS:
        if header.count(column) != 1:
            found = "missing" if column not in header else "repeated"
            raise BadInputError(
                f"the column is {found}", dataset_id=SPEC.dataset_id, file=path, column=column
            )
    if not records:
        raise BadInputError("a header and no rows", dataset_id=SPEC.dataset_id, file=path)
    for row, record in enumerate(records, start=2):
        if len(record) != len(header):
            rule = f"{len(record)} fields where the header has {len(header)}"
            raise BadInputError(rule, dataset_id=SPEC.dataset_id, file=path, row=row)
    table = pl.DataFrame(records, schema=dict.fromkeys(header, pl.String), orient="row")
    table = table.select(COLUMNS).with_row_index("row", offset=2)
    # The publisher's names carry non-breaking and trailing blanks in some copies of the file.
    table = table.with_columns(pl.col(NAMES).str.replace_all(r"\s+", " ").str.strip_chars())
    for column in KEY:
        is_named = ~table[column].is_in(["", "NA"])
        _require(table, is_named, column, "a missing name", path)
    _require_unique(table, KEY, path)
    return table


def _points(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return one row per entry of the lists, with ``dose``, ``activity`` and ``deviation`` as numbers."""
    is_count = table[N_DOSES].str.contains(r"^[1-9]\d{0,3}$")
    _require(table, is_count, N_DOSES, "not a number of doses", path)
    lists = table.with_columns(pl.col(LISTS).str.split(","))
    expected = table[N_DOSES].cast(pl.Int32)
    for column in LISTS:
        is_complete = lists[column].list.len().cast(pl.Int32) == expected
        _require(table, is_complete, column, f"a list without exactly {N_DOSES} entries", path)
    points = lists.explode(LISTS).with_columns(pl.col(LISTS).str.strip_chars())
    dose, activity, deviation = (_number(points, column, path, may_be_missing=False) for column in LISTS)
    _require(points, dose >= 0, DOSES, "a negative dose", path)
    _require(points, deviation >= 0, DEVIATIONS, "a negative deviation", path)
    return points.with_columns(dose=dose, activity=activity, deviation=deviation)


def _number(table: pl.DataFrame, column: str, path: Path, *, may_be_missing: bool = True) -> pl.Series:
    """Return a column as finite numbers, ``NA`` as null.

    Raises:
        BadInputError: anything else that is not a number.
    """
    text = table[column]
    value = text.cast(pl.Float64, strict=False)
    is_number = value.is_finite().fill_null(value=False)
    is_right = is_number | (text == "NA") if may_be_missing else is_number
    _require(table, is_right, column, "not a number", path)
    return value


def _require(table: pl.DataFrame, is_right: pl.Series, column: str, fault: str, path: Path) -> None:
    """Raise for the first row that is not right."""
    wrong = table.filter(~is_right)
    if wrong.height:
        raise BadInputError(
            f"{fault}: {wrong[column][0]!r} ({wrong.height} such)",
            dataset_id=SPEC.dataset_id,
            file=path,
            row=wrong["row"][0],
            column=column,
        )


def _require_unique(table: pl.DataFrame, key: tuple[str, ...], path: Path) -> None:
    repeated = table.filter(pl.struct(key).is_duplicated()).sort(key)
    if repeated.height:
        values = ", ".join(f"{column} {repeated[column][0]}" for column in key)
        same = repeated.filter(*(pl.col(column) == repeated[0, column] for column in key))
        rows = ", ".join(str(row) for row in same["row"]) if "row" in same.columns else None
        raise BadInputError(
            f"more than one row for {values} ({repeated.height} such rows)",
            dataset_id=SPEC.dataset_id,
            file=path,
            row=rows,
        )


def _in_order(rows: pl.DataFrame, model: type) -> pl.DataFrame:
    """Return the columns of ``model`` in its order and types, null where the source has no such thing."""
    schema = polars_schema(model)
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
    return rows.with_columns(absent).select(list(schema)).cast(schema)
