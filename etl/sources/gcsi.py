"""gCSI: the Genentech cell-line screen with growth-rate (GR) metrics, release 2019 v1.3.

Raw layout, tab-separated with a header, unquoted, ``NA`` for missing, also in the archive's ``OUTPUT/``:

* ``gCSI_GRmetrics_v1.3.tsv``: one row per drug, cell line and experiment: the published fits;
* ``gCSI_GRvalues_v1.3.tsv`` (optional): one row per dose of these: relative cell count, mean and SD.

An experiment (``2b``, ``11a``) is a batch: the same pair in two experiments is two curves. Doses are log10
molar. GEC50 and GR50 are molar too: the largest GEC50 stands exactly one decade above its top dose; read as
micromolar, all of them would lie far below the tested range.

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

ARCHIVE = "http://research-pub.gene.com/gCSI_GRvalues2019/gCSI_GRdata_v1.3.tsv.tar.gz"
"""Holds both files; plain http, and no digest is published."""

SPEC = SourceSpec(
    dataset_id="gcsi",
    title="Genentech Cell Line Screening Initiative (gCSI), growth-rate release 2019",
    assay="viability",
    readout="CellTiter-Glo luminescence after 72 h",
    value_scale="viability",
    files=(
        RemoteFile(role="metrics", pattern="**/gCSI_GRmetrics_v1.3.tsv", url=ARCHIVE),
        RemoteFile(role="values", pattern="**/gCSI_GRvalues_v1.3.tsv", url=ARCHIVE, is_required=False),
    ),
    license="not stated by the publisher",
    is_redistributable=False,
    access="open",
    release="2019 v1.3",
    url="http://research-pub.gene.com/gCSI_GRvalues2019/",
)

KEY: Final = ("DrugName", "CellLineName", "ExperimentNumber")
TEXTS: Final = (*KEY, "PrimaryTissue", "TrtDuration")
METRICS: Final = (
    "maxlog10Concentration",
    "GR_AOC",
    "meanviability",
    "GRmax",
    "Emax",
    "GRinf",
    "GEC50",
    "GR50",
    "R_square_GR",
    "pval_GR",
    "flat_fit_GR",
    "h_GR",
    "N_conc",
    "log10_conc_step",
)
VALUES: Final = ("log10Concentration", "relative_cell_count", "activities.mean", "activities.std")

AUC_KIND = "mean viability over the tested doses: low = sensitive"
MAX_MEAN_VIABILITY = 3.0
"""Above it a mean viability is flagged as implausible."""
SAME_SCALE = 1e-6
"""Largest difference of ``activities.mean`` from ``relative_cell_count`` that counts as none."""

LOG10_UM_PER_M = 6
UM_PER_M = 1e6


class Gcsi:
    """Adapter of gCSI."""

    spec = SPEC

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``DrugName``, the publisher's only name of the compound."""
        names = _read_metrics(self.spec.locate(raw)["metrics"]).select("DrugName").unique().sort("DrugName")
        return _in_order(names.select(compound_reported="DrugName", name="DrugName"), ReportedCompound).lazy()

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``CellLineName`` with its tissue.

        Raises:
            BadInputError: one line with two tissues.
        """
        path = self.spec.locate(raw)["metrics"]
        lines = _read_metrics(path).select("CellLineName", "PrimaryTissue").unique()
        _require_unique(lines, ("CellLineName",), path)
        lines = lines.sort("CellLineName").select(context_reported="CellLineName", tissue="PrimaryTissue")
        return _in_order(lines, ReportedContext).lazy()

    def measurements(self, raw: Path) -> pl.LazyFrame:
        """Return one row per dose of GRvalues, or none where that file is not there.

        Viability is ``relative_cell_count``, the value behind the GR metrics. The standard deviation belongs
        to ``activities.mean`` and is given where that is the same number.

        Raises:
            BadInputError: a missing column, a value that is no number, a missing dose or viability, a
                negative deviation, or a dose that is repeated within an experiment.
        """
        path = self.spec.locate(raw).get("values")
        if path is None:
            return pl.LazyFrame(schema=polars_schema(ReportedMeasurement))
        table = _read(path, (*TEXTS, *VALUES))
        number = {column: _number(table, column, path) for column in VALUES}
        for column in ("log10Concentration", "relative_cell_count"):
            _require(table, number[column].is_not_null(), column, "a missing value", path)
        deviation = number["activities.std"]
        _require(table, deviation.is_null() | (deviation >= 0), deviation.name, "a negative deviation", path)
        _require_unique(table, (*KEY, "log10Concentration"), path)
        is_same_scale = (number["activities.mean"] - number["relative_cell_count"]).abs() <= SAME_SCALE
        rows = table.select(
            context_reported="CellLineName",
            compound_reported="DrugName",
            experiment="ExperimentNumber",
            replicate=pl.lit(""),
            dose="log10Concentration",
            dose_unit=pl.lit("log10 M"),
            time=_or_null("TrtDuration"),
            time_unit=pl.lit("h"),
            viability=number["relative_cell_count"],
            viability_sd=pl.when(is_same_scale).then(deviation),
        )
        return _in_order(rows, ReportedMeasurement).lazy()

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve.

        GR50, GEC50 and slope of a flat curve are placeholders (±Inf, 0, 0.0001) and become null with the flag
        ``gr_flat_reported``. A curve that is not flat but stays above GR 0.5 has GR50 = Inf: null as well,
        and ``gr_inf`` >= 0.5 says why. Everything else is as published.

        Raises:
            BadInputError: a missing column, a value that is no number, or a key that is repeated.
        """
        path = self.spec.locate(raw)["metrics"]
        table = _read_metrics(path)
        number = {c: _number(table, c, path, may_be_infinite=c == "GR50") for c in METRICS}
        is_flag = number["flat_fit_GR"].is_null() | number["flat_fit_GR"].is_in([0.0, 1.0])
        _require(table, is_flag, "flat_fit_GR", "neither 0 nor 1", path)
        n_doses = number["N_conc"]
        is_count = n_doses.is_null() | ((n_doses >= 1) & (n_doses == n_doses.round()))
        _require(table, is_count, "N_conc", "not a number of doses", path)
        step = number["log10_conc_step"]
        _require(table, step.is_null() | (step >= 0), "log10_conc_step", "a negative step", path)

        is_flat = number["flat_fit_GR"].fill_null(0.0) == 1
        flags = {
            "gr_flat_reported": is_flat,
            "gr_missing_reported": number["GR_AOC"].is_null(),
            "mean_viability_above_3": number["meanviability"].fill_null(0.0) > MAX_MEAN_VIABILITY,
        }
        top = number["maxlog10Concentration"] + LOG10_UM_PER_M
        gr50 = pl.when(number["GR50"].is_finite()).then(number["GR50"] * UM_PER_M)
        rows = table.select(
            context_reported="CellLineName",
            compound_reported="DrugName",
            experiment="ExperimentNumber",
            replicate_level=pl.lit("experiment"),
            time=_or_null("TrtDuration"),
            time_unit=pl.lit("h"),
            n_points=n_doses.cast(pl.Int32),
            min_dose_um=pl.lit(10.0).pow(pl.lit(top - step * (n_doses - 1))),
            max_dose_um=pl.lit(10.0).pow(pl.lit(top)),
            ec50_um=pl.when(~is_flat).then(number["GEC50"] * UM_PER_M),
            slope=pl.when(~is_flat).then(number["h_GR"]),
            e_max=number["Emax"],
            auc=number["meanviability"],
            auc_kind=pl.when(number["meanviability"].is_not_null()).then(pl.lit(AUC_KIND)),
            gr50_um=gr50,
            gr_inf=number["GRinf"],
            gr_max=number["GRmax"],
            gr_aoc=number["GR_AOC"],
            r_squared=number["R_square_GR"],
            p_value=number["pval_GR"],
            flags=pl.concat_list(
                [pl.when(is_set).then(pl.lit(flag)) for flag, is_set in flags.items()]
            ).list.drop_nulls(),
        )
        return _in_order(rows, ReportedCurve).lazy()


def _read_metrics(path: Path) -> pl.DataFrame:
    table = _read(path, (*TEXTS, *METRICS))
    _require_unique(table, KEY, path)
    return table


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return the wanted columns as text, with ``row``, the line in the file; blanks are normalized in names.

    Raises:
        BadInputError: the file is empty or ends within a line, a column is missing, a line is ragged.
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
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header, *records = lines
    except csv.Error as fault:
        raise BadInputError(
            f"not readable as a table: {fault}", dataset_id=SPEC.dataset_id, file=path, row=lines.line_num
        ) from None
    for column in columns:
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
    table = table.select(columns).with_row_index("row", offset=2)
    table = table.with_columns(pl.col(TEXTS).str.replace_all(r"\s+", " ").str.strip_chars())
    for column in KEY:
        is_named = ~table[column].is_in(["", "NA"])
        _require(table, is_named, column, "a missing name", path)
    return table


def _number(table: pl.DataFrame, column: str, path: Path, *, may_be_infinite: bool = False) -> pl.Series:
    """Return a column as numbers, ``NA`` as null.

    Raises:
        BadInputError: anything else that is not a number, or infinity where it means nothing.
    """
    text = table[column]
    value = text.cast(pl.Float64, strict=False).fill_nan(None)
    is_number = value.is_not_null() if may_be_infinite else value.is_finite().fill_null(value=False)
    _require(table, (text == "NA") | is_number, column, "not a number", path)
    return value


def _require(table: pl.DataFrame, is_right: pl.Series, column: str, fault: str, path: Path) -> None:
    """Raise for the first row that is not right."""
    wrong = table.filter(~is_right)
    if wrong.height:
        raise BadInputError(
            f"{fault}: {wrong[column][0]!r} ({wrong.height} row(s))",
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


def _or_null(column: str) -> pl.Expr:
    return pl.when(pl.col(column) != "NA").then(pl.col(column))


def _in_order(rows: pl.DataFrame, model: type) -> pl.DataFrame:
    """Return the columns of ``model`` in its order and types, null where the source has no such thing."""
    schema = polars_schema(model)
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
    return rows.with_columns(absent).select(list(schema)).cast(schema)
