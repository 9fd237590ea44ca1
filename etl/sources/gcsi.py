"""gCSI: the Genentech cell-line screen with growth-rate (GR) metrics, release 2019 v1.3.

Raw layout, tab-separated with a header, unquoted, ``NA`` for missing, also in the archive's ``OUTPUT/``:

* ``gCSI_GRmetrics_v1.3.tsv``: one row per drug, cell line and experiment: the published fits;
* ``gCSI_GRvalues_v1.3.tsv`` (optional): one row per dose of these: relative cell count, mean and SD.

An experiment (``2b``, ``11a``) is a batch: the same pair in two experiments is two curves. Doses are log10
molar. GEC50 and GR50 are molar too: the largest GEC50 stands exactly one decade above its top dose; read as
micromolar, all of them would lie far below the tested range.

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
    "R_square_GR",
    "pval_GR",
    "flat_fit_GR",
    "h_GR",
    "log10_conc_step",
)
VALUES: Final = ("log10Concentration", "GR", "relative_cell_count", "activities.mean", "activities.std")

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
        names = self._metrics(raw).rows["DrugName"].unique().sort()
        return match_to_model(pl.DataFrame({"compound_reported": names, "name": names}), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``CellLineName`` with its tissue.

        Raises:
            BadInputError: one line with two tissues.
        """
        lines = self._metrics(raw).distinct("CellLineName", "PrimaryTissue")
        lines.require_unique("CellLineName")
        rows = lines.rows.sort("CellLineName").select(context_reported="CellLineName", tissue="PrimaryTissue")
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per dose of GRvalues, or none where that file is not there.

        Viability is ``relative_cell_count``, the value behind the GR metrics. The standard deviation belongs
        to ``activities.mean`` and is given where that is the same number.

        Raises:
            BadInputError: a missing column, a value that is no number, a missing dose or viability, a
                negative deviation, or a dose that is repeated within an experiment.
        """
        path = self.spec.locate(raw).get("values")
        if path is None:
            return
        text = _read(path, VALUES)
        text.require_present("log10Concentration", "relative_cell_count")
        table = text.with_rows(text.rows.with_columns(dose="log10Concentration")).with_numbers(*VALUES)
        deviation = pl.col("activities.std")
        table.require(deviation.is_null() | (deviation >= 0), "activities.std", "a negative deviation")
        table.require_unique(*KEY, "log10Concentration")
        is_same_scale = (pl.col("activities.mean") - pl.col("relative_cell_count")).abs() <= SAME_SCALE
        rows = table.rows.select(
            "dose",
            context_reported="CellLineName",
            compound_reported="DrugName",
            experiment="ExperimentNumber",
            replicate=pl.lit(""),
            plate=pl.lit(""),
            well=pl.lit(""),
            dose_unit=pl.lit("log10 M"),
            time="TrtDuration",
            time_unit=pl.lit("h"),
            viability="relative_cell_count",
            viability_sd=pl.when(is_same_scale).then(deviation),
            growth_rate="GR",
            is_low_quality=pl.lit(value=False),
        )
        yield match_to_model(rows, ReportedMeasurement).collect()

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve.

        GR50, GEC50 and slope of a flat curve are placeholders (±Inf, 0, 0.0001) and become null with the flag
        ``gr_flat_reported``. A curve that is not flat but stays above GR 0.5 has GR50 = Inf: null as well,
        with the flag ``gr50_not_reached_reported``. Everything else is as published.

        Raises:
            BadInputError: a missing column, a value that is no number, or a key that is repeated.
        """
        table = self._metrics(raw).with_whole_numbers("N_conc")
        table = table.with_numbers(*METRICS).with_numbers("GR50", may_be_infinite=True)
        flat, n_doses, step = pl.col("flat_fit_GR"), pl.col("N_conc"), pl.col("log10_conc_step")
        table.require(flat.is_null() | flat.is_in([0.0, 1.0]), "flat_fit_GR", "neither 0 nor 1")
        table.require(n_doses.is_null() | (n_doses >= 1), "N_conc", "not a number of doses")
        table.require(step.is_null() | (step >= 0), "log10_conc_step", "a negative step")

        is_flat = flat.fill_null(0.0) == 1
        gr50, auc = pl.col("GR50"), pl.col("meanviability")
        flags = {
            "gr_flat_reported": is_flat,
            "gr50_not_reached_reported": ~is_flat & (gr50 == float("inf")),
            "gr_missing_reported": pl.col("GR_AOC").is_null(),
            "mean_viability_above_3": auc > MAX_MEAN_VIABILITY,
        }
        top = pl.col("maxlog10Concentration") + LOG10_UM_PER_M
        rows = table.rows.select(
            context_reported="CellLineName",
            compound_reported="DrugName",
            experiment="ExperimentNumber",
            replicate_level=pl.lit("experiment"),
            time="TrtDuration",
            time_unit=pl.lit("h"),
            n_points=n_doses.cast(pl.Int32),
            min_dose_um=pl.lit(10.0).pow(top - step * (n_doses - 1)),
            max_dose_um=pl.lit(10.0).pow(top),
            ec50_um=pl.when(~is_flat).then(pl.col("GEC50") * UM_PER_M),
            slope=pl.when(~is_flat).then("h_GR"),
            e_max="Emax",
            auc=auc,
            auc_kind=pl.when(auc.is_not_null()).then(pl.lit(AUC_KIND)),
            mean_viability=auc,
            gr50_um=pl.when(gr50.is_finite()).then(gr50 * UM_PER_M),
            gr_inf="GRinf",
            gr_max="GRmax",
            gr_aoc="GR_AOC",
            r_squared="R_square_GR",
            p_value="pval_GR",
            flags=flag_list(flags),
        )
        return match_to_model(rows, ReportedCurve)

    def _metrics(self, raw: Path) -> delimited.TextTable:
        table = _read(self.spec.locate(raw)["metrics"], ("GR50", "N_conc", *METRICS))
        table.require_unique(*KEY)
        return table


def _read(path: Path, numbers: tuple[str, ...]) -> delimited.TextTable:
    """Return texts and numbers of one of the files as text; blanks are normalized in names.

    Raises:
        BadInputError: as ``delimited.read``, or a row names no drug, line or experiment.
    """
    table = delimited.read(
        path, (*TEXTS, *numbers), dataset_id=SPEC.dataset_id, separator="\t", missing=r"^\s*NA\s*$"
    )
    names = pl.col(TEXTS).str.replace_all(r"\s+", " ").str.strip_chars()
    table = table.with_rows(table.rows.with_columns(names))
    table.require_present(*KEY)
    return table
