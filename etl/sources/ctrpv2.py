"""CTRPv2: the Cancer Therapeutics Response Portal of the Broad Institute, expanded data set of 2015 (v20).

Raw layout, tab-separated with a header, unquoted, lines ended as on Windows; files may lie in the archive's
folder. Numbers are printed by MATLAB (``2.225e-001``, ``Inf``).

* ``v20.meta.per_compound.txt``, ``v20.meta.per_cell_line.txt``: one row each per ``master_cpd_id``,
  ``master_ccl_id``; a combination is a compound named ``A:B (2:1 mol/mol)``;
* ``v20.meta.per_experiment.txt``: one row per experiment and date, so that an experiment has several;
* ``v20.data.curves_post_qc.txt``: one published curve per experiment and compound;
* ``v20.data.per_cpd_well.txt``: one row per well: log2 of the signal over the plate's mean of DMSO wells;
* ``v20.data.per_cpd_post_qc.txt``: averages per dose, read where the wells are not there;
* ``v20.data.per_cpd_pre_qc.txt``: read for ``qc_type`` alone: 1, the highest dose is rejected; 2, the two
  highest are; 3 and above, outliers were looked for, and which were found is not said.

Of curves and points (wells or averages) one must be there. The published curve, with x the log2 of the dose
in µM, is p4 + p3 / (1 + exp((x - p1) / |p2|)), its area the integral over 15 log2 units, whatever the number
of points that were fitted.

Here: reading and the translation of the source's own codes. Not here: fits of ours, ids, dose units.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError
from etl.flags import flag_list
from etl.formats import delimited
from etl.sources.base import RemoteFile, SourceSpec
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement
from schemas.table import match_to_model

ARCHIVE = (
    "https://ctd2-data.nci.nih.gov/Public/Broad/CTRPv2.0_2015_ctd2_ExpandedDataset/"
    "CTRPv2.0_2015_ctd2_ExpandedDataset.zip"
)
"""Holds all files, 342,737,645 bytes; its ``MANIFEST.txt`` has their MD5."""

SPEC = SourceSpec(
    dataset_id="ctrpv2",
    title="Cancer Therapeutics Response Portal, version 2 (CTRPv2), expanded data set",
    assay="viability",
    readout="CellTiter-Glo luminescence after 72 h",
    value_scale="viability",
    files=(
        RemoteFile(role="compounds", pattern="**/v20.meta.per_compound.txt", url=ARCHIVE),
        RemoteFile(role="cell_lines", pattern="**/v20.meta.per_cell_line.txt", url=ARCHIVE),
        RemoteFile(role="experiments", pattern="**/v20.meta.per_experiment.txt", url=ARCHIVE),
        RemoteFile(role="curves", pattern="**/v20.data.curves_post_qc.txt", url=ARCHIVE, is_required=False),
        RemoteFile(role="wells", pattern="**/v20.data.per_cpd_well.txt", url=ARCHIVE, is_required=False),
        RemoteFile(
            role="averages", pattern="**/v20.data.per_cpd_post_qc.txt", url=ARCHIVE, is_required=False
        ),
        RemoteFile(role="quality", pattern="**/v20.data.per_cpd_pre_qc.txt", url=ARCHIVE, is_required=False),
    ),
    license="CC BY 4.0",
    is_redistributable=True,
    access="open",
    release="v20, 2015",
    doi="10.1158/2159-8290.CD-15-0235",
    url="https://portals.broadinstitute.org/ctrp/",
)

EXPERIMENT, COMPOUND, LINE, DOSE = "experiment_id", "master_cpd_id", "master_ccl_id", "cpd_conc_umol"
NAME, SMILES, TOP_DOSE = "cpd_name", "cpd_smiles", "top_test_conc_umol"
LINE_NAME, SITE = "ccl_name", "ccle_primary_site"
PLATE, WELL_LOG2, AVERAGE, QC_TYPE = "assay_plate_barcode", "bsub_value_log2", "cpd_avg_pv", "qc_type"
N_POINTS, SLOPE, BASELINE = "conc_pts_fit", "p2_slope", "p4_baseline"
EC50, E_MAX, AREA = "apparent_ec50_umol", "pred_pv_high_conc", "area_under_curve"

KEY: Final = (EXPERIMENT, COMPOUND)
FIT: Final = (SLOPE, BASELINE, EC50, E_MAX, AREA)
POSITIVE: Final = ("ec50_um", "slope")
MISSING: Final = r"^\s*(NA|NaN)?\s*$"

TIME_H = "72"
AREA_LOG2_UNITS = 15
"""Width of the published integral: 16 doses, twofold apart. The number of fitted points is another number."""
AUC_KIND = "area under the curve over 15 log2 units of dose, 0 to about 15: low = sensitive"
MAX_MEAN_VIABILITY = 3.0
"""Above it a mean viability is flagged as implausible."""

N_REJECTED: Final = (1, 2)
"""The ``qc_type`` that say how many of the highest doses are rejected."""
SAME_DOSE = 0.001
"""Relative difference up to which doses of two files, printed with other digits, are one."""

BLOCK_BYTES: Final = 32 * 2**20
"""Text that is read at once, to a line: about 600,000 wells."""


class Ctrpv2:
    """Adapter of CTRPv2."""

    spec = SPEC

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``master_cpd_id``; a combination has the name and the SMILES of all its parts.

        Raises:
            BadInputError: a missing column, or an id that is missing or repeated.
        """
        rows = self._compounds(raw).rows.select(
            compound_reported=COMPOUND,
            name=NAME,
            smiles=SMILES,
            vendor_id="broad_cpd_id",
            mechanism="target_or_activity_of_compound",
            targets="gene_symbol_of_protein_target",
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``ccl_name``, of lines that were never screened, too.

        Raises:
            BadInputError: a missing column, or an id or name that is missing or repeated.
        """
        rows = self._lines(raw).rows.select(context_reported=LINE_NAME, tissue=SITE)
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per well, else per average, or none where neither file is there.

        Viability is 2 to the power of ``bsub_value_log2``, or ``cpd_avg_pv``. The replicate of a well is its
        plate; where a plate holds a compound more than once at one dose, the later wells of the file are
        replicates ``<plate>#2``, ``#3`` …, for the file gives no positions.

        Raises:
            BadInputError: no data at all, a missing column or value, a value that is no number, a negative
                dose, an experiment or compound that is not listed, or a curve of two ``qc_type``.
        """
        files = self._files(raw)
        contexts = self._contexts_of_experiments(raw)
        compounds = self._compounds(raw).rows.select(COMPOUND, is_listed=pl.lit(value=True))
        rejected = _lowest_rejected_doses(files.get("quality"))
        is_well = "wells" in files
        path = files.get("wells", files.get("averages"))
        value = WELL_LOG2 if is_well else AVERAGE
        columns = (*KEY, *((PLATE,) if is_well else ()), DOSE, value)
        occurrences = _Occurrences()
        for text in _blocks(path, columns) if path is not None else ():
            text.require_present(*columns)
            table = text.with_rows(text.rows.with_columns(dose=DOSE)).with_numbers(DOSE, value)
            table.require(pl.col(DOSE) >= 0, DOSE, "a negative dose")
            listed = _with_names(table, contexts, compounds)
            rows = listed.join(rejected, on=KEY, how="left", maintain_order="left")
            if is_well:
                number = occurrences.number(rows.select(*KEY, PLATE, DOSE))
                rows = rows.with_columns(
                    replicate=pl.when(number == 1).then(PLATE).otherwise(pl.format("{}#{}", PLATE, number)),
                    viability=pl.lit(2.0).pow(value),
                )
            else:
                rows = rows.with_columns(pl.lit("").alias(PLATE), replicate=pl.lit(""), viability=value)
            is_rejected = pl.col(DOSE) >= pl.col("lowest_rejected") * (1 - SAME_DOSE)
            reported = rows.select(
                "replicate",
                "dose",
                "viability",
                context_reported=LINE_NAME,
                compound_reported=COMPOUND,
                experiment=EXPERIMENT,
                plate=PLATE,
                well=pl.lit(""),
                dose_unit=pl.lit("uM"),
                time=pl.lit(TIME_H),
                time_unit=pl.lit("h"),
                n_wells=pl.lit(1 if is_well else None, pl.Int32),
                is_low_quality=is_rejected.fill_null(value=False),
            )
            yield match_to_model(reported, ReportedMeasurement).collect()

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published curve, or none where that file is not there.

        In powers of the dose the published curve is p4 + p3 / (1 + (dose / 2^p1)^h): 2^p1 is the EC50, and
        1 / (abs(p2) ln 2) the Hill slope h. ``mean_viability`` is the area over 15. Where a value of the fit
        is infinite, or the EC50 is not positive, it is null, with the flag ``fit_not_finite_reported``. The
        highest dose is that of the compound; the lowest is not published.

        Raises:
            BadInputError: no data at all, a missing column, a value that is no number, an experiment or
                compound that is not listed, or a curve that is repeated.
        """
        path = self._files(raw).get("curves")
        if path is None:
            return match_to_model(pl.DataFrame(schema={"context_reported": pl.String}), ReportedCurve)
        compounds = self._compounds(raw).with_numbers(TOP_DOSE)
        compounds.require(
            pl.col(TOP_DOSE).is_null() | (pl.col(TOP_DOSE) > 0), TOP_DOSE, "a dose that is not positive"
        )
        table = _whole(path, (*KEY, N_POINTS, *FIT))
        table.require_present(*KEY)
        table.require_unique(*KEY)
        table = table.with_whole_numbers(N_POINTS).with_numbers(*FIT, may_be_infinite=True)
        n_points = pl.col(N_POINTS)
        table.require(n_points.is_null() | (n_points >= 1), N_POINTS, "not a number of doses")
        tops = compounds.rows.select(COMPOUND, TOP_DOSE, is_listed=pl.lit(value=True))
        rows = _with_names(table, self._contexts_of_experiments(raw), tops)

        values = {
            "ec50_um": pl.col(EC50),
            "slope": 1 / (pl.col(SLOPE).abs() * math.log(2)),
            "e_inf": pl.col(BASELINE),
            "e_max": pl.col(E_MAX),
            "auc": pl.col(AREA),
            "mean_viability": pl.col(AREA) / AREA_LOG2_UNITS,
        }
        is_usable = {
            name: value.is_finite() & (value > 0) if name in POSITIVE else value.is_finite()
            for name, value in values.items()
        }
        flags = {
            "mean_viability_above_3": values["mean_viability"] > MAX_MEAN_VIABILITY,
            "fit_not_finite_reported": ~pl.all_horizontal(is_usable.values()),
        }
        reported = rows.select(
            context_reported=LINE_NAME,
            compound_reported=COMPOUND,
            experiment=EXPERIMENT,
            replicate_level=pl.lit("experiment"),
            time=pl.lit(TIME_H),
            time_unit=pl.lit("h"),
            n_points=n_points.cast(pl.Int32),
            max_dose_um=TOP_DOSE,
            auc_kind=pl.when(is_usable["auc"]).then(pl.lit(AUC_KIND)),
            **{name: pl.when(is_usable[name]).then(value) for name, value in values.items()},
            flags=flag_list(flags),
        )
        return match_to_model(reported, ReportedCurve)

    def _files(self, raw: Path) -> dict[str, Path]:
        """Return the files by role.

        Raises:
            BadInputError: a file of metadata is missing, or all files of curves and points are.
        """
        files = self.spec.locate(raw)
        if not files.keys() & {"curves", "wells", "averages"}:
            raise BadInputError(
                "neither curves nor points: v20.data.curves_post_qc.txt, v20.data.per_cpd_well.txt or "
                f"v20.data.per_cpd_post_qc.txt is needed; get them from {ARCHIVE}",
                dataset_id=SPEC.dataset_id,
            )
        return files

    def _compounds(self, raw: Path) -> delimited.TextTable:
        columns = (
            COMPOUND,
            NAME,
            "broad_cpd_id",
            TOP_DOSE,
            "gene_symbol_of_protein_target",
            "target_or_activity_of_compound",
            SMILES,
        )
        table = _read(self.spec.locate(raw)["compounds"], columns)
        table.require_present(COMPOUND)
        table.require_unique(COMPOUND)
        return table

    def _lines(self, raw: Path) -> delimited.TextTable:
        table = _read(self.spec.locate(raw)["cell_lines"], (LINE, LINE_NAME, SITE))
        table.require_present(LINE, LINE_NAME)
        table.require_unique(LINE)
        table.require_unique(LINE_NAME)
        return table

    def _contexts_of_experiments(self, raw: Path) -> pl.DataFrame:
        """Return ``experiment_id`` and ``ccl_name``, each experiment once.

        Raises:
            BadInputError: an experiment of two lines, or a line that is not listed.
        """
        dated = _read(self.spec.locate(raw)["experiments"], (EXPERIMENT, LINE))
        dated.require_present(EXPERIMENT, LINE)
        experiments = dated.distinct(EXPERIMENT, LINE)
        experiments.require_unique(EXPERIMENT)
        lines = self._lines(raw).rows.select(LINE, LINE_NAME)
        named = experiments.with_rows(
            experiments.rows.join(lines, on=LINE, how="left", maintain_order="left")
        )
        named.require(pl.col(LINE_NAME).is_not_null(), LINE, "not in v20.meta.per_cell_line.txt")
        return named.rows.select(EXPERIMENT, LINE_NAME)


class _Occurrences:
    """How often a key has been met, in the blocks before and in its own.

    Keys are kept as 64-bit hashes: among 12 million the chance that two different ones share one is 0.0004 %,
    and such a key would be numbered as a repeat, no more.
    """

    def __init__(self) -> None:
        self._seen: NDArray[np.uint64] = np.empty(0, np.uint64)

    def number(self, keys: pl.DataFrame) -> pl.Series:
        """Return for each row which occurrence of its key it is, the first being 1."""
        hashes = keys.hash_rows()
        here = pl.DataFrame({"key": hashes}).select(pl.int_range(1, pl.len() + 1).over("key")).to_series()
        values = hashes.to_numpy()
        first = np.searchsorted(self._seen, values, side="left")
        after = np.searchsorted(self._seen, values, side="right")
        self._seen = np.sort(np.concatenate([self._seen, values]), kind="stable")
        return here + pl.Series(after - first)


def _lowest_rejected_doses(path: Path | None) -> pl.DataFrame:
    """Return the lowest rejected dose, µM, of each experiment and compound of which the highest are rejected.

    The doses are those of the averages before quality control, so that averages from which the rejected ones
    are gone do not lose another.

    Raises:
        BadInputError: a value that is no number, or a curve of two ``qc_type``.
    """
    kinds: list[pl.DataFrame] = []
    doses: list[pl.DataFrame] = []
    schema: Mapping[str, type[pl.DataType]] = {EXPERIMENT: pl.String, COMPOUND: pl.String}
    for text in _blocks(path, (*KEY, DOSE, QC_TYPE)) if path is not None else ():
        text.require_present(*KEY, DOSE, QC_TYPE)
        table = text.with_numbers(DOSE).with_whole_numbers(QC_TYPE)
        table.require(pl.col(QC_TYPE) >= 0, QC_TYPE, "not a type of quality control")
        kinds.append(table.distinct(*KEY, QC_TYPE).rows.select("row", *KEY, QC_TYPE))
        doses.append(table.rows.filter(pl.col(QC_TYPE).is_in(N_REJECTED)).select(*KEY, QC_TYPE, DOSE))
    if path is None or not doses:
        return pl.DataFrame(schema={**schema, "lowest_rejected": pl.Float64})
    every_kind = delimited.TextTable(pl.concat(kinds), SPEC.dataset_id, path)
    every_kind.distinct(*KEY, QC_TYPE).require_unique(*KEY)
    highest = pl.col(DOSE).unique().sort(descending=True)
    return (
        pl.concat(doses)
        .group_by(*KEY)
        .agg(lowest_rejected=highest.head(pl.col(QC_TYPE).first()).last())
        .select(*schema, "lowest_rejected")
    )


def _with_names(table: delimited.TextTable, contexts: pl.DataFrame, compounds: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the line of their experiment and the columns of their compound.

    Args:
        table: rows with ``experiment_id`` and ``master_cpd_id``.
        contexts: ``experiment_id``, ``ccl_name``.
        compounds: ``master_cpd_id``, ``is_listed``, which is true, and what else is wanted.

    Raises:
        BadInputError: an experiment or compound that is not listed.
    """
    rows = table.rows.join(contexts, on=EXPERIMENT, how="left", maintain_order="left")
    joined = table.with_rows(rows.join(compounds, on=COMPOUND, how="left", maintain_order="left"))
    joined.require(pl.col(LINE_NAME).is_not_null(), EXPERIMENT, "not in v20.meta.per_experiment.txt")
    joined.require(pl.col("is_listed"), COMPOUND, "not in v20.meta.per_compound.txt")
    return joined.rows


def _read(path: Path, columns: tuple[str, ...]) -> delimited.TextTable:
    return delimited.read(path, columns, dataset_id=SPEC.dataset_id, separator="\t", missing=MISSING)


def _whole(path: Path, columns: tuple[str, ...]) -> delimited.TextTable:
    """Return columns of a large file as one table, without its other columns ever being in memory at once."""
    rows = pl.concat([block.rows for block in _blocks(path, columns)])
    return delimited.TextTable(rows, SPEC.dataset_id, path)


def _blocks(path: Path, columns: tuple[str, ...]) -> Iterator[delimited.TextTable]:
    """Yield columns of a large file as text, in file order, about ``BLOCK_BYTES`` of it at a time.

    Raises:
        BadInputError: as ``delimited.read``.
    """
    origin = delimited.TextTable(pl.DataFrame(), SPEC.dataset_id, path)
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
        if header == [""]:
            raise origin.error("the file is empty")
        for column in columns:
            if header.count(column) > 1:
                raise origin.error("the column is repeated", column=column)
        row = 2
        while text := file.read(BLOCK_BYTES) + file.readline():
            n_rows = text.count(b"\n") + (not text.endswith(b"\n"))
            if not text.endswith(b"\n"):
                rule = "the last line is not ended: the file is truncated"
                raise origin.error(rule, row=row + n_rows - 1)
            cells = _cells(text, header, origin, row)
            wanted = [pl.nth(header.index(name)).alias(name) for name in columns if name in header]
            named = cells.select(wanted).with_row_index("row", offset=row)
            yield delimited.text_table(named, columns, dataset_id=SPEC.dataset_id, path=path, missing=MISSING)
            row += n_rows
    if row == 2:
        raise origin.error("a header and no rows")


def _cells(text: bytes, header: list[str], origin: delimited.TextTable, first_row: int) -> pl.DataFrame:
    """Return all cells of whole lines as text.

    Raises:
        BadInputError: a line with more or fewer cells than the header, or text that is not UTF-8.
    """
    # Polars fills a short line, so the ends of cells are looked at before it reads: of as many as the header
    # has, the last and only the last is the end of a line.
    ends = np.frombuffer(text, np.uint8)
    ends = ends[(ends == ord("\t")) | (ends == ord("\n"))]
    n_rows = text.count(b"\n")
    if ends.size != n_rows * len(header) or (ends[len(header) - 1 :: len(header)] != ord("\n")).any():
        for row, line in enumerate(text.split(b"\n"), start=first_row):
            if (n_cells := line.count(b"\t") + 1) != len(header):
                raise origin.error(f"{n_cells} fields where the header has {len(header)}", row=row)
    try:
        # Polars inflates what starts like a compressed stream; an empty line before the text prevents that.
        return pl.read_csv(
            b"\n" + text,
            skip_lines=1,
            separator="\t",
            quote_char=None,
            has_header=False,
            infer_schema=False,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError as fault:
        raise origin.error(f"not readable as a table: {fault}", row=f"{first_row} or later") from fault
