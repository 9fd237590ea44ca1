"""PRISM Repurposing, secondary screen (19Q4; 20Q2 on the DepMap portal): pooled lines, told apart by barcode.

Raw layout, comma-separated, cells with commas quoted:

* ``secondary-screen-dose-response-curve-parameters.csv``: one published curve per line, compound and screen;
* ``secondary-screen-logfold-change.csv``: log2 fold changes of replicate plates over the plate's vehicle, one
  line of the table per cell line, one column per treated well, named as in
* ``secondary-screen-replicate-treatment-info.csv``: compound, dose (µM), screen and detection plate of each;
* ``secondary-screen-replicate-collapsed-logfold-change.csv`` with
  ``secondary-screen-replicate-collapsed-treatment-info.csv``: the same, replicates collapsed by the
  publisher; read where the first two are not there;
* ``secondary-screen-cell-line-info.csv``: ``depmap_id`` and tissue of each ``row_name``.

Of curves and fold changes one must be there. A line that failed the identity check has a ``row_name`` that
ends in ``_FAILED_STR`` and no ``depmap_id``: its values are marked. Screens overlap: a compound may be in
several, of which MTS010 is the latest and preferred (``SCREEN_RANK``); all are kept.

Viability is two to the power of the fold change, and never capped: the publisher's own fits cap it at 2,
others at 1.03. Here: reading and the translation of the source's own codes. Not here: fits of ours, ids.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

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

LINE, MODEL, COMPOUND, SCREEN, DOSE = "row_name", "depmap_id", "broad_id", "screen_id", "dose"
COLUMN, PLATE, KIND = "column_name", "detection_plate", "perturbation_type"
TREATED: Final = "experimental_treatment"
"""``perturbation_type`` of compounds under study; others are controls, which have no dose series."""
FAILED: Final = "_FAILED_STR"
COMPOUND_FACTS: Final = ("name", "moa", "target", "smiles")
FIT: Final = ("upper_limit", "lower_limit", "slope", "r2", "auc", "ec50", "ic50")
KEY: Final = (LINE, COMPOUND, SCREEN)
MISSING: Final = r"^\s*(NA)?\s*$"

TIME_H = "120"
AUC_KIND = "mean of the fitted curve, clipped to 0 to 1, over the tested log2 doses: low = sensitive"


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
            _read(files[role], (COMPOUND, *COMPOUND_FACTS)).distinct(COMPOUND, *COMPOUND_FACTS)
            for role in ("curves", "treatments", "collapsed_treatments")
            if role in files
        ]
        for table in named:
            table.distinct(COMPOUND, "name").require_unique(COMPOUND)
        # Of a compound with several lists of targets the longest says most.
        facts = pl.concat([table.rows for table in named]).drop_nulls(COMPOUND)
        longest = pl.col("target").fill_null("").str.len_chars()
        first = facts.sort(COMPOUND, longest, descending=[False, True]).unique(
            COMPOUND, keep="first", maintain_order=True
        )
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
        """Return one row per ``row_name`` with its DepMap model and tissue.

        Raises:
            BadInputError: a missing column, or a line that is missing or repeated.
        """
        rows = self._lines(raw).rows.select(context_reported=LINE, model_id=MODEL, tissue="primary_tissue")
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per fold change of a treated well, else per collapsed one, or none.

        A cell of the table without a value is no measurement. The replicate is the detection plate; of a
        compound that a plate holds more than once at one dose the later columns are ``<plate>#2``, ``#3`` ….

        Raises:
            BadInputError: no data at all, a missing file, column or dose, a value that is no number, a well
                or line that is not listed, or a well of two treatments.
        """
        files = self._files(raw)
        is_well = "wells" in files
        values, treatments = ("wells", "treatments") if is_well else ("collapsed", "collapsed_treatments")
        if values not in files:
            return
        path = files[values]
        wells = self._treatments(files[treatments], is_well=is_well)
        header = wide_csv.read_header(path)
        positions = pl.DataFrame({COLUMN: header[1:]}).with_row_index("position")
        named = positions.join(wells.rows, on=COLUMN, how="left", maintain_order="left")
        if (unlisted := named.filter(pl.col(COMPOUND).is_null())).height:
            rule = f"{unlisted.height} column(s) are not listed in {files[treatments].name}"
            raise BadInputError(rule, dataset_id=SPEC.dataset_id, file=path, column=unlisted[COLUMN][0])
        treated = _with_replicates(named.filter(pl.col(KIND) == TREATED))
        lines = set(self._lines(raw).rows[LINE])
        for block in wide_csv.read_blocks(path, header, may_be_missing=True):
            for row, label in enumerate(block.labels):
                if label not in lines:
                    rule = f"{label!r} is not listed in {files['lines'].name}"
                    raise BadInputError(
                        rule, dataset_id=SPEC.dataset_id, file=path, row=block.first_row + row
                    )
                yield _of_line(label, block.values[row, treated["position"].to_numpy()], treated)

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve, or none where that file is not there.

        ``slope`` and ``ec50`` are as published; a dose that is not positive and finite is null, with the flag
        ``fit_not_finite_reported``.

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
                "slope": "slope",
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

    def _lines(self, raw: Path) -> delimited.TextTable:
        table = _read(self.spec.locate(raw)["lines"], (LINE, MODEL, "primary_tissue"))
        table.require_present(LINE)
        table.require_unique(LINE)
        return table

    def _treatments(self, path: Path, *, is_well: bool) -> delimited.TextTable:
        """Return what each column of fold changes was treated with."""
        plate = (PLATE,) if is_well else ()
        table = _read(path, (COLUMN, COMPOUND, DOSE, SCREEN, KIND, *plate))
        table.require_present(COLUMN, KIND)
        table.require_unique(COLUMN)
        treated = table.with_rows(table.rows.filter(pl.col(KIND) == TREATED))
        treated.require_present(COMPOUND, DOSE, SCREEN, *plate)
        treated.with_numbers(DOSE).require(pl.col(DOSE) > 0, DOSE, "a dose that is not positive")
        controls = pl.col(KIND) != TREATED
        rows = table.rows.with_columns(pl.when(controls).then(pl.lit("")).otherwise(COMPOUND).alias(COMPOUND))
        return table.with_rows(rows if is_well else rows.with_columns(pl.lit("").alias(PLATE)))


def _with_replicates(treated: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of fold changes with the replicate that each is."""
    number = pl.int_range(1, pl.len() + 1).over(COMPOUND, SCREEN, DOSE, PLATE)
    repeated = pl.format("{}#{}", PLATE, number)
    return treated.with_columns(replicate=pl.when(number == 1).then(PLATE).otherwise(repeated))


def _of_line(label: str, values: np.ndarray, treated: pl.DataFrame) -> pl.DataFrame:
    """Return the measurements of one line."""
    facts: Mapping[str, object] = {"context_reported": label, "is_low_quality": label.endswith(FAILED)}
    rows = treated.select(
        *(pl.lit(value).alias(name) for name, value in facts.items()),
        "dose",
        "replicate",
        compound_reported=COMPOUND,
        experiment=SCREEN,
        plate=PLATE,
        well=pl.lit(""),
        dose_unit=pl.lit("uM"),
        time=pl.lit(TIME_H),
        time_unit=pl.lit("h"),
        viability=pl.lit(2.0).pow(pl.lit(pl.Series(values.astype(np.float64)).fill_nan(None))),
    )
    return match_to_model(rows.drop_nulls("viability"), ReportedMeasurement).collect()


def _read(path: Path, columns: tuple[str, ...]) -> delimited.TextTable:
    return delimited.read(
        path, columns, dataset_id=SPEC.dataset_id, separator=",", missing=MISSING, is_quoted=True
    )
