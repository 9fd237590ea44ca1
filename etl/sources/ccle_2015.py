"""CCLE: the drug-response screen of the Cancer Cell Line Encyclopedia, file of 24 February 2015.

Raw layout: ``CCLE_NP24.2009_Drug_data_2015.02.24.csv``, comma-separated and quoted, one row per cell line and
compound. Doses (µM), activities and their deviations are comma lists inside one cell each, as long as
``Num Data`` says. An activity is the change of viability in percent: -53 is viability 0.47. ``EC50`` is
``NA`` unless ``FitType`` is ``Sigmoid``; an ``IC50`` that is not reached stands at the top dose, 8 µM,
one below the tested range at the lowest, 0.0025 µM.

Here: reading and the translation of the source's own codes. Not here: fits of ours, ids, dose units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from etl.flags import flag_list
from etl.formats import delimited
from etl.sources.base import RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement
from schemas.table import match_to_model

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
        compounds = self._table(raw).distinct(COMPOUND, TARGET)
        compounds.require_unique(COMPOUND)
        rows = compounds.rows.sort(COMPOUND).select(compound_reported=COMPOUND, name=COMPOUND, targets=TARGET)
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per CCLE name; its tissue is what follows the first underscore.

        Raises:
            BadInputError: one CCLE name with two primary names.
        """
        lines = self._table(raw).distinct(CONTEXT, LINE_NAME)
        lines.require_unique(CONTEXT)
        rows = lines.rows.sort(CONTEXT).select(
            context_reported=CONTEXT,
            name=LINE_NAME,
            model_id=CONTEXT,
            tissue=pl.col(CONTEXT).str.extract(r"^[^_]+_(.+)$", 1),
        )
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per dose of each cell.

        Viability is 1 + activity / 100, never clipped. The deviations of a curve are null where all of them
        are zero: single measurements. The file does not give the assay time, nor the number of wells.

        Raises:
            BadInputError: lists of unequal length, a value that is no number, a negative dose or deviation,
                or a dose that is repeated within a curve.
        """
        points = _points(self._table(raw))
        points.require_unique(*KEY, DOSES)
        has_deviation = (pl.col(DEVIATIONS) > 0).any().over("row")
        rows = points.rows.select(
            context_reported=CONTEXT,
            compound_reported=COMPOUND,
            experiment=pl.lit(""),
            replicate=pl.lit(""),
            plate=pl.lit(""),
            well=pl.lit(""),
            dose="dose",
            dose_unit=pl.lit("uM"),
            viability=1 + pl.col(ACTIVITIES) / PERCENT,
            viability_sd=pl.when(has_deviation).then(pl.col(DEVIATIONS) / PERCENT),
            is_low_quality=pl.lit(value=False),
        )
        yield match_to_model(rows, ReportedMeasurement).collect()

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve.

        An IC50 at the top dose gets the flag ``ic50_censored``, one at the lowest dose
        ``ic50_at_lowest_dose``, a constant fit ``constant_fit_reported``; ``e_max`` is 1 + Amax / 100.

        Raises:
            BadInputError: as for :meth:`measurements`, or a metric or fit type that cannot be read.
        """
        text = self._table(raw)
        doses = (
            _points(text)
            .rows.filter(pl.col(DOSES) > 0)
            .group_by("row")
            .agg(min_dose_um=pl.col(DOSES).min(), max_dose_um=pl.col(DOSES).max())
        )
        table = text.with_numbers(*METRICS)
        fit_type, ic50 = pl.col(FIT_TYPE), pl.col(IC50)
        table.require(fit_type.is_in(FIT_TYPES), FIT_TYPE, f"not one of {', '.join(FIT_TYPES)}")
        for column in (EC50, IC50):
            is_dose = pl.col(column).is_null() | (pl.col(column) > 0)
            table.require(is_dose, column, "a dose that is not positive")
        flags = {
            "ic50_censored": ic50 >= pl.col("max_dose_um"),
            "ic50_at_lowest_dose": ic50 <= pl.col("min_dose_um"),
            "constant_fit_reported": fit_type == "Constant",
        }
        rows = table.rows.join(doses, on="row", how="left", maintain_order="left").select(
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
            mean_viability=1 - pl.col(ACTIVITY_AREA) / pl.col(N_DOSES),
            flags=flag_list(flags),
        )
        return match_to_model(rows, ReportedCurve)

    def _table(self, raw: Path) -> delimited.TextTable:
        """Return the file as text, numbers of doses apart; blanks are normalized in names.

        Raises:
            BadInputError: as ``delimited.read``, a row names no line or compound, a pair is repeated, or a
                number of doses is none.
        """
        table = delimited.read(
            self.spec.locate(raw)["drug_data"],
            COLUMNS,
            dataset_id=SPEC.dataset_id,
            separator=",",
            is_quoted=True,
            missing=r"^\s*NA\s*$",
        )
        # The publisher's names carry non-breaking and trailing blanks in some copies of the file.
        names = pl.col(NAMES).str.replace_all(r"\s+", " ").str.strip_chars()
        table = table.with_rows(table.rows.with_columns(names))
        table.require_present(*KEY)
        table.require_unique(*KEY)
        table = table.with_whole_numbers(N_DOSES)
        table.require(pl.col(N_DOSES) >= 1, N_DOSES, "not a number of doses")
        return table


def _points(table: delimited.TextTable) -> delimited.TextTable:
    """Return one row per entry of the lists: these as numbers, and ``dose``, the dose as text."""
    lists = table.rows.with_columns(pl.col(LISTS).str.split(","))
    for column in LISTS:
        is_complete = lists[column].list.len() == lists[N_DOSES]
        table.require(is_complete, column, f"a list without exactly {N_DOSES} entries")
    entries = lists.explode(LISTS).with_columns(pl.col(LISTS).str.strip_chars()).with_columns(dose=DOSES)
    points = table.with_rows(entries).with_numbers(*LISTS)
    points.require(pl.col(DOSES) >= 0, DOSES, "a negative dose")
    points.require(pl.col(DEVIATIONS) >= 0, DEVIATIONS, "a negative deviation")
    return points
