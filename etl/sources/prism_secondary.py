"""PRISM Repurposing, secondary screen (19Q4; 20Q2 on the DepMap portal): pooled lines, told apart by barcode.

Raw layout, comma-separated, cells with commas quoted:

* ``secondary-screen-dose-response-curve-parameters.csv``: one published curve per line, compound and screen;
* ``secondary-screen-logfold-change.csv``: log2 fold changes of replicate plates over the plate's vehicle, one
  line of the table per cell line, one column per treated well, named as in
* ``secondary-screen-replicate-treatment-info.csv``: compound, dose (µM), screen and detection plate of each;
* ``secondary-screen-replicate-collapsed-logfold-change.csv`` with
  ``secondary-screen-replicate-collapsed-treatment-info.csv``: the same, replicates collapsed by the
  publisher; read where the first two are not there;
* ``secondary-screen-cell-line-info.csv``: ``depmap_id`` and names of each ``row_name``.

Of curves and fold changes one must be there. Releases name some columns otherwise (``ALIASES``). A
``row_name`` is a DepMap id, or one behind its pool (``PR500_ACH-000007``): a line of two pools has two. A
line that failed the identity check has one that ends in ``_FAILED_STR`` and no ``depmap_id``: its values are
marked. Screens overlap: a compound may be in several, of which MTS010 is the latest and preferred
(``SCREEN_RANK``); all are kept.

Viability is two to the power of the fold change, and never capped: the publisher's own fits cap it at 2,
others at 1.03. Here: reading and the translation of the source's own codes. Not here: fits of ours, ids, and
the long tables of later single-dose releases (``LFC``, ``LFC_cb`` or ``l2fc`` per ``row_id`` and
``profile_id``).
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.flags import flag_list
from etl.formats import delimited, wide_csv
from etl.sources.base import RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement
from schemas.table import match_to_model

FIGSHARE = "https://figshare.com/articles/dataset/PRISM_Repurposing_19Q4_Dataset/9393293"
"""Offers the files one by one; their addresses change with each version."""

PREFIX: Final = "secondary-screen"

SPEC = SourceSpec(
    dataset_id="prism_secondary",
    title="PRISM Repurposing, secondary screen, 19Q4",
    assay="viability",
    readout="barcode abundance of pooled lines after 120 h, over the plate's vehicle wells",
    value_scale="viability",
    files=(
        RemoteFile(role="lines", pattern=f"**/{PREFIX}-cell-line-info.csv"),
        RemoteFile(
            role="curves", pattern=f"**/{PREFIX}-dose-response-curve-parameters.csv", is_required=False
        ),
        RemoteFile(role="wells", pattern=f"**/{PREFIX}-logfold-change.csv", is_required=False),
        RemoteFile(role="treatments", pattern=f"**/{PREFIX}-replicate-treatment-info.csv", is_required=False),
        RemoteFile(
            role="collapsed", pattern=f"**/{PREFIX}-replicate-collapsed-logfold-change.csv", is_required=False
        ),
        RemoteFile(
            role="collapsed_treatments",
            pattern=f"**/{PREFIX}-replicate-collapsed-treatment-info.csv",
            is_required=False,
        ),
    ),
    license="CC BY 4.0",
    is_redistributable=True,
    access="manual",
    release="19Q4",
    doi="10.1038/s43018-019-0018-6",
    url=FIGSHARE,
)

SCREEN_RANK: Final = ("MTS010", "MTS006", "MTS005", "HTS002")
"""Screens, the preferred one first: MTS010 screened oncology compounds again."""

LINE, MODEL, CCLE, COMPOUND, SCREEN, DOSE = (
    "row_name",
    "depmap_id",
    "ccle_name",
    "broad_id",
    "screen_id",
    "dose",
)
COLUMN, PLATE, KIND, PASSED = "column_name", "detection_plate", "perturbation_type", "passed_str_profiling"
TREATED: Final = "experimental_treatment"
"""``perturbation_type`` of compounds under study; others are controls, which have no dose series."""
FAILED: Final = "_FAILED_STR"
COMPOUND_FACTS: Final = ("name", "moa", "target", "smiles")
FIT: Final = ("upper_limit", "lower_limit", "slope", "r2", "auc", "ec50", "ic50")
KEY: Final = (LINE, COMPOUND, SCREEN)
MISSING: Final = r"^\s*(NA|NaN)?\s*$"

ALIASES: Final[Mapping[str, str]] = {
    LINE: "row_id",
    COLUMN: "profile_id",
    COMPOUND: "SampleID",
    "name": "CompoundName",
    "target": "GeneSymbolOfTargets",
}
"""What later releases call a column of 19Q4; read where the column itself is not there."""

TIME_H = "120"
AUC_KIND = "mean of the fitted curve, clipped to 0 to 1, over the tested log2 doses: low = sensitive"
BLOCK_ROWS: Final = 500_000
"""Measurements of a block, but at least those of one line."""
CONTROL, NO_VALUE = "wells of controls", "no value"
OF_FAILED = "of lines that failed their identity check"


@dataclass(frozen=True, slots=True)
class FoldChanges:
    """The wide table of fold changes, before its numbers are read.

    Args:
        path: the file.
        header: its columns.
        treated: those of compounds under study: position among the numbers, compound, screen, dose, plate
            and replicate.
        lines: the lines that may stand in it, and whether their values are marked as failed.
        lines_file: where these are listed, for messages.
    """

    path: Path
    header: list[str]
    treated: pl.DataFrame
    lines: Mapping[str, bool]
    lines_file: str

    def blocks(self) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Yield labels of some lines and their values (lines × treated columns), NaN where there is none.

        Raises:
            BadInputError: a value that is no number, or a line that is not listed.
        """
        positions = self.treated["position"].to_numpy()
        n_lines = max(1, BLOCK_ROWS // max(1, len(positions)))
        for block in wide_csv.read_blocks(self.path, self.header, may_be_missing=True):
            labels = [label.strip('"') for label in block.labels]
            for row, label in enumerate(labels, start=block.first_row):
                if label not in self.lines:
                    rule = f"{label!r} is not listed in {self.lines_file}"
                    raise BadInputError(rule, dataset_id=SPEC.dataset_id, file=self.path, row=row)
            for start in range(0, len(labels), n_lines):
                part = slice(start, start + n_lines)
                yield labels[part], block.values[part, positions]


class PrismSecondary:
    """Adapter of the secondary screen."""

    spec = SPEC

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``broad_id`` of curves and treatments.

        Raises:
            BadInputError: no data at all, a missing column, or a compound of two names.
        """
        files = self._files(raw)
        named = [
            _read(files[role], (COMPOUND, *COMPOUND_FACTS))
            if role == "curves"
            else self._treatments(files[role], is_well=role == "treatments")
            for role in ("curves", "treatments", "collapsed_treatments")
            if role in files
        ]
        for table in named:
            present = table.with_rows(_compounds(table.rows).drop_nulls("name"))
            present.distinct(COMPOUND, "name").require_unique(COMPOUND)
        # Of a compound with several lists of targets the longest says most.
        columns = [COMPOUND, *COMPOUND_FACTS]
        facts = pl.concat([_compounds(table.rows).select(columns).unique() for table in named])
        longest = pl.col("target").fill_null("").str.len_chars()
        ordered = facts.sort(
            COMPOUND, longest, *COMPOUND_FACTS, descending=[False, True, *[False] * 4], nulls_last=True
        )
        first = ordered.unique(COMPOUND, keep="first", maintain_order=True)
        rows = first.select(
            "name",
            "smiles",
            compound_reported=COMPOUND,
            vendor_id=COMPOUND,
            mechanism="moa",
            targets="target",
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``row_name`` with its DepMap model, CCLE name and tissue.

        A line that failed its identity check is known by its label alone.

        Raises:
            BadInputError: a missing column, or a line that is missing or repeated.
        """
        is_known = ~pl.col(LINE).str.ends_with(FAILED)
        rows = self._lines(raw).rows.select(
            context_reported=LINE,
            name=pl.when(is_known).then(CCLE),
            model_id=pl.when(is_known).then(pl.coalesce(MODEL, CCLE)),
            tissue="primary_tissue",
        )
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per fold change of a treated well, else per collapsed one, or none.

        A cell of the table without a value is no measurement. The replicate is the detection plate; of a
        compound that a plate holds more than once at one dose the later columns are ``<plate>#2``, ``#3`` ….

        Raises:
            BadInputError: no data at all, a missing file, column or dose, a value that is no number, a well
                or line that is not listed, or a well of two treatments.
        """
        table = self._fold_changes(raw)
        if table is None:
            return
        for labels, values in table.blocks():
            line, column = np.nonzero(~np.isnan(values))
            changes = values[line, column].astype(np.float64)
            label = pl.Series(labels, dtype=pl.String)[line]
            is_failed = pl.Series([table.lines[one] for one in labels], dtype=pl.Boolean)[line]
            rows = table.treated[column].select(
                "dose",
                "replicate",
                context_reported=label,
                compound_reported=COMPOUND,
                experiment=SCREEN,
                plate=PLATE,
                well=pl.lit(""),
                dose_unit=pl.lit("uM"),
                time=pl.lit(TIME_H),
                time_unit=pl.lit("h"),
                viability=pl.Series(np.exp2(changes)),
                is_low_quality=is_failed,
            )
            yield match_to_model(rows, ReportedMeasurement).collect()

    def account(self, raw: Path) -> RowAccount:
        """Return the account of the fold changes: measurements, and why the others are none.

        Raises:
            BadInputError: as ``measurements``.
        """
        unit = "fold changes"
        table = self._fold_changes(raw)
        if table is None:
            return RowAccount(0, 0, unit=unit)
        n_lines = n_missing = n_out = n_failed = 0
        for labels, values in table.blocks():
            n_values = np.count_nonzero(~np.isnan(values), axis=1)
            n_lines += len(labels)
            n_missing += values.size - int(n_values.sum())
            n_out += int(n_values.sum())
            n_failed += int(n_values[[table.lines[label] for label in labels]].sum())
        n_columns = len(table.header) - 1
        dropped = {CONTROL: n_lines * (n_columns - table.treated.height), NO_VALUE: n_missing}
        return RowAccount(
            n_in=n_lines * n_columns,
            n_out=n_out,
            dropped={reason: count for reason, count in dropped.items() if count},
            noted={OF_FAILED: n_failed} if n_failed else {},
            unit=unit,
        )

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve, or none where that file is not there.

        ``slope`` is positive where viability falls (``_slope_sign``). What is not finite, and a dose that
        is not positive, is null with the flag ``fit_not_finite_reported``. IC50 is null where the publisher
        gives none: the curve does not cross one half within the doses. ``upper_limit`` has no column.

        Raises:
            BadInputError: no data at all, a missing column, a value that is no number, a curve that is
                repeated, or a line that is not listed.
        """
        path = self._files(raw).get("curves")
        if path is None:
            return match_to_model(pl.DataFrame(schema={"context_reported": pl.String}), ReportedCurve)
        table = _read(path, (*KEY, *FIT))
        table.require_present(*KEY)
        table.require_unique(*KEY)
        table.require(
            pl.col(LINE).is_in(self._lines(raw).rows[LINE].implode()),
            LINE,
            f"not listed in {self.spec.locate(raw)['lines'].name}",
        )
        table = table.with_numbers(*FIT, may_be_infinite=True)
        doses = {"ec50_um": pl.col("ec50"), "ic50_um": pl.col("ic50")}
        is_usable = {name: dose.is_finite() & (dose > 0) for name, dose in doses.items()}
        finite = {
            name: pl.when(pl.col(column).is_finite()).then(column)
            for name, column in {
                "e_inf": "lower_limit",
                "r_squared": "r2",
                "auc": "auc",
                "mean_viability": "auc",
            }.items()
        }
        given = [pl.col(column).is_not_null() & ~pl.col(column).is_finite() for column in FIT]
        not_positive = [dose <= 0 for dose in doses.values()]
        rows = table.rows.select(
            context_reported=LINE,
            compound_reported=COMPOUND,
            experiment=SCREEN,
            replicate_level=pl.lit("experiment"),
            time=pl.lit(TIME_H),
            time_unit=pl.lit("h"),
            auc_kind=pl.when(pl.col("auc").is_finite()).then(pl.lit(AUC_KIND)),
            **{name: pl.when(is_usable[name]).then(dose) for name, dose in doses.items()},
            **finite,
            slope=pl.when(pl.col("slope").is_finite()).then(pl.col("slope") * _slope_sign(table.rows)),
            flags=flag_list({"fit_not_finite_reported": pl.any_horizontal(*given, *not_positive)}),
        )
        return match_to_model(rows, ReportedCurve)

    def _files(self, raw: Path) -> dict[str, Path]:
        """Return the files by role.

        Raises:
            BadInputError: the table of lines is missing, all of curves and fold changes are, or fold changes
                come without their treatments.
        """
        files = self.spec.locate(raw)
        if not files.keys() & {"curves", "wells", "collapsed"}:
            rule = f"neither curves nor fold changes are in the raw folder; get them from {FIGSHARE}"
            raise BadInputError(rule, dataset_id=SPEC.dataset_id)
        for values, treatments in (("wells", "treatments"), ("collapsed", "collapsed_treatments")):
            if values in files and treatments not in files:
                pattern = next(file.pattern for file in SPEC.files if file.role == treatments)
                rule = f"{files[values].name} cannot be read without {pattern.removeprefix('**/')}"
                raise BadInputError(rule, dataset_id=SPEC.dataset_id)
        return files

    def _fold_changes(self, raw: Path) -> FoldChanges | None:
        """Return the fold changes of wells, else the collapsed ones; None where neither is there.

        Raises:
            BadInputError: as ``measurements``, before the numbers are read.
        """
        files = self._files(raw)
        is_well = "wells" in files
        values, treatments = ("wells", "treatments") if is_well else ("collapsed", "collapsed_treatments")
        if values not in files:
            return None
        path = files[values]
        header = wide_csv.read_header(path)
        names = [name.strip('"') for name in header[1:]]
        listed = self._treatments(files[treatments], is_well=is_well)
        named = pl.DataFrame({COLUMN: names}, schema={COLUMN: pl.String}).with_row_index("position")
        named = named.join(listed.rows, on=COLUMN, how="left", maintain_order="left")
        if (unlisted := named.filter(pl.col(KIND).is_null())).height:
            rule = f"{unlisted.height} column(s) are not listed in {files[treatments].name}"
            raise BadInputError(rule, dataset_id=SPEC.dataset_id, file=path, column=unlisted[COLUMN][0])
        did_not_pass = (pl.col(PASSED).str.to_lowercase() == "false").fill_null(value=False)
        lines = self._lines(raw).rows.select(
            LINE, is_failed=pl.col(LINE).str.ends_with(FAILED) | did_not_pass
        )
        return FoldChanges(
            path=path,
            header=header,
            treated=_with_replicates(named.filter(pl.col(KIND) == TREATED)),
            lines=dict(lines.iter_rows()),
            lines_file=files["lines"].name,
        )

    def _lines(self, raw: Path) -> delimited.TextTable:
        columns = (LINE, MODEL, CCLE, "primary_tissue")
        table = _read(self.spec.locate(raw)["lines"], columns, optional=(PASSED,))
        table.require_present(LINE)
        table.require_unique(LINE)
        return table

    def _treatments(self, path: Path, *, is_well: bool) -> delimited.TextTable:
        """Return what each column of fold changes was treated with; collapsed ones have no plate."""
        needed = (COLUMN, COMPOUND, DOSE, SCREEN, *COMPOUND_FACTS)
        if is_well:
            table = _read(path, (*needed, KIND, PLATE))
        else:
            table = _read(path, needed, optional=(KIND,))
            kind = pl.col(KIND) if table.rows[KIND].is_not_null().any() else pl.lit(TREATED)
            table = table.with_rows(table.rows.with_columns(kind.alias(KIND), pl.lit("").alias(PLATE)))
        table.require_present(COLUMN, KIND)
        table.require_unique(COLUMN)
        treated = table.with_rows(table.rows.filter(pl.col(KIND) == TREATED))
        treated.require_present(COMPOUND, DOSE, SCREEN, *((PLATE,) if is_well else ()))
        treated.with_numbers(DOSE).require(pl.col(DOSE) > 0, DOSE, "a dose that is not positive")
        return table


def _compounds(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of curves or treatments that name a compound under study, which controls do not."""
    named = rows.filter(pl.col(COMPOUND).is_not_null())
    return named.filter(pl.col(KIND) == TREATED) if KIND in named.columns else named


def _with_replicates(treated: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of fold changes with the replicate that each is."""
    number = pl.int_range(1, pl.len() + 1).over(COMPOUND, SCREEN, DOSE, PLATE)
    repeated = pl.format("{}#{}", PLATE, number)
    return treated.with_columns(replicate=pl.when(number == 1).then(PLATE).otherwise(repeated))


def _slope_sign(curves: pl.DataFrame) -> int:
    """Return 1 where the file's slopes are positive for falling curves, -1 where they are negative.

    Both forms of the four-parameter log-logistic are in use for these data: ``lower + (upper - lower) /
    (1 + (dose/ec50)^slope)``, which falls where the slope is positive, and the one of the publisher's refit,
    ``upper + (lower - upper) / (1 + (dose/ec50)^slope)``, which falls where it is negative. The file tells
    which: at the IC50 the curve is one half, so that ``slope · ln(ic50/ec50)`` is ``ln((upper - 0.5) / (0.5 -
    lower))`` in the first form, and minus that in the second. Curves with an IC50 vote; without any, the
    slopes are as published.
    """
    upper, lower, slope, ec50, ic50 = (
        pl.col(name) for name in ("upper_limit", "lower_limit", "slope", "ec50", "ic50")
    )
    numbers = [one.is_finite() for one in (upper, lower, slope, ec50, ic50)]
    telling = curves.filter(*numbers, lower < 0.5, upper > 0.5, ec50 > 0, ic50 > 0)
    votes = telling.select((slope * (ic50 / ec50).log() * ((upper - 0.5) / (0.5 - lower)).log()).sign().sum())
    return -1 if votes.item() < 0 else 1


def _names(path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the columns that a file is asked for by the name that it has for them.

    Raises:
        BadInputError: such a column is repeated.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    found = {
        ALIASES[column] if column not in header and ALIASES.get(column) in header else column: column
        for column in (*columns, *optional)
    }
    for name in found:
        if header.count(name) > 1:
            rule = "the column is repeated"
            raise BadInputError(rule, dataset_id=SPEC.dataset_id, file=path, column=name)
    return {name: column for name, column in found.items() if name in header or column in columns}


def _read(path: Path, columns: tuple[str, ...], *, optional: tuple[str, ...] = ()) -> delimited.TextTable:
    """Return columns of a table as text; an optional one that is not there is null.

    Raises:
        BadInputError: as ``delimited.read``.
    """
    names = _names(path, columns, optional)
    table = delimited.read(
        path, tuple(names), dataset_id=SPEC.dataset_id, separator=",", missing=MISSING, is_quoted=True
    )
    absent = [pl.lit(None, pl.String).alias(name) for name in optional if name not in names.values()]
    return table.with_rows(table.rows.rename(names).with_columns(absent))
