"""DILImap: bulk RNA sequencing of primary human hepatocytes under some 300 drugs, at multiples of their Cmax.

Raw layout, one h5ad for each of two parts (samples × genes; counts in ``X``, the symbol as name of a gene and
its Ensembl id in ``gene_id``):

* ``*validation*counts.h5ad``: public, from the authors' bucket;
* ``*training*counts.h5ad`` (optional): on request only, placed by hand;
* ``compound_DILI_labels.csv`` (optional): SMILES per compound, from the same bucket.

One dataset holds both parts, because they are one experiment by one protocol, and a dose of a compound is the
same condition in both. ``SPLIT`` stays as an annotation and tells them apart.

Quirks: names of observations repeat, within a file and between the two, so plate, well and library make the
sample key; counts may have fractions (expected counts of reads that map to several genes); one nominal dose
is written a little differently here and there; ``DMSO_replaced`` is a vehicle well that failed; ``LDH_QC`` is
empty where a well passed; the two other checks that the authors describe are left to the reader of the data.

Here: reading, and the flags of those checks. Not here: the rules of the checks (``dilimap_quality``) and of
the doses (``dilimap_doses``), ids, dose units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from scipy import sparse

from etl.errors import BadInputError
from etl.formats import delimited, h5ad
from etl.formats.delimited import TextTable
from etl.sources import bulk_h5ad, dilimap_doses, dilimap_quality
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene, ReportedSample
from schemas.table import match_to_model

BUCKET = "https://dilimap.s3.amazonaws.com/public/data"

SPEC = SourceSpec(
    dataset_id="dilimap",
    title="DILImap: drugs on primary human hepatocytes, bulk RNA sequencing (GSE308567)",
    assay="rnaseq",
    readout="read counts of bulk RNA sequencing of hepatocytes in wells, 24 h",
    value_scale="counts",
    files=(
        RemoteFile(
            role="validation",
            pattern="*validation*counts.h5ad",
            url=f"{BUCKET}/validation_data_counts.h5ad",
        ),
        RemoteFile(role="training", pattern="*training*counts.h5ad", is_required=False),
        RemoteFile(
            role="labels",
            pattern="compound_DILI_labels.csv",
            url=f"{BUCKET}/compound_DILI_labels.csv",
            is_required=False,
        ),
    ),
    license="Creative Commons as stated by the authors (GEO GSE308567); training counts by agreement only",
    is_redistributable=False,
    access="open",
    release="dilimap public/data; training counts on request from DILImap@cellarity.com",
    doi="10.1038/s41467-025-65690-3",
    url="https://dilimap.org",
)

PARTS: Final = ("training", "validation")

COLUMNS: Final = (
    "COMPOUND",
    "CONCENTRATION_UM",
    "TIMEPOINT_HOURS",
    "PLATE_NAME",
    "WELL_ID",
    "LIBRARY_ID",
    "BATCH_ID",
    "CMPD_DOSE",
    "LDH_QC",
)
SPECIES, DOSE_LEVEL = "SPECIES", "DOSE_LEVEL"
"""Columns that are checked where they are there."""

MISSING: Final = r"^(nan|NaN|None)$"
"""Not the empty text: it is what ``LDH_QC`` says of a well that passed."""

VEHICLE: Final = "DMSO"
FAILED_VEHICLE: Final = "DMSO_replaced"

CONTEXT: Final = "primary human hepatocytes"
"""The files name no cells: all wells hold these."""

MAX_LOG = 30.0
"""The largest count of a sequenced well is far above this, any log of a count below."""

EQUAL_TOTALS = 1e-3
"""Libraries differ; totals that agree to this are those of normalized values."""


class Dilimap:
    """Adapter of DILImap, both parts."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per well; its dose is the nominal one.

        ``is_low_quality`` marks the wells that fail the publisher's flag of cell death, or one of the two
        checks that the publisher describes.

        Raises:
            BadInputError: a column or a value is missing, a well is listed twice, a control is not known, the
                species is not human, a concentration is no number, the values are no counts, or as
                ``h5ad.read_table``.
        """
        wells = self._wells_with_quality(raw)
        is_treated = pl.col("sample_kind") == "compound"
        checks = pl.all_horizontal(
            "ldh_qc_pass", "rna_qc_pass", pl.col("rep_corr_qc_pass").fill_null(value=True)
        )
        rows = wells.select(
            "sample_key",
            "sample_kind",
            context_reported=pl.lit(CONTEXT),
            compound_reported=pl.when(is_treated).then("COMPOUND"),
            dose=pl.when(is_treated).then("nominal_dose").otherwise("CONCENTRATION_UM"),
            dose_unit=pl.lit("uM"),
            time="TIMEPOINT_HOURS",
            time_unit=pl.lit("h"),
            plate="PLATE_NAME",
            well="WELL_ID",
            batch="BATCH_ID",
            vehicle_group=pl.lit(""),
            is_low_quality=~checks,
        )
        return match_to_model(rows, ReportedSample)

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the treated wells, with SMILES where the table of labels has one.

        Raises:
            BadInputError: as ``samples`` but for the values, or a compound has two structures.
        """
        treated = self._wells(raw).filter(pl.col("sample_kind") == "compound")
        names = treated["COMPOUND"].unique().sort()
        rows = pl.DataFrame({"compound_reported": names, "name": names})
        structures = self._structures(raw)
        if structures is not None:
            rows = rows.join(structures, left_on="name", right_on="compound_name", how="left", validate="1:1")
        return match_to_model(rows.sort("compound_reported"), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return the hepatocytes, one row.

        Raises:
            BadInputError: a required file is missing.
        """
        self.spec.locate(raw)
        row = {"context_reported": CONTEXT, "accession": "CL_0000182", "tissue": "liver", "species": "human"}
        return match_to_model(pl.DataFrame([row]), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per Ensembl gene id, in the order of the validation file.

        Raises:
            BadInputError: a gene id is missing or repeated, or the two files have different genes.
        """
        genes = self._genes(raw, "validation")
        return match_to_model(genes.select(gene_reported="gene_id", symbol=h5ad.INDEX), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield all wells, part after part in file order, fractions rounded to the nearest whole count.

        Halves go to the even neighbour. Cutting fractions off instead would lower every sum; how many values
        of a well are rounded is its annotation ``n_fractional_counts``.

        Raises:
            BadInputError: as ``genes``; a value is negative or not finite.
        """
        keys = self._wells(raw)["sample_key"].to_list()
        start = 0
        for values in self._blocks(raw):
            stop = start + values.shape[0]
            yield ExpressionBlock(keys[start:stop], _whole(values))
            start = stop

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return what the quality checks measured, the concentration as written, and every other column.

        Raises:
            BadInputError: as ``samples``.
        """
        wells = self._wells_with_quality(raw)
        used = {*COLUMNS, "sample_kind", "nominal_dose"} - {
            "LIBRARY_ID",
            "CMPD_DOSE",
            "LDH_QC",
            "CONCENTRATION_UM",
        }
        return reported_facts(wells, used)

    def _wells(self, raw: Path) -> pl.DataFrame:
        """Return the wells of all parts as text, in the order of the counts.

        With ``part``, ``obs_name``, ``sample_key``, ``sample_kind`` and ``nominal_dose``.

        Raises:
            BadInputError: as ``samples`` but for the values.
        """
        files = self.spec.locate(raw)
        parts = [_read_part(files[part], part) for part in PARTS if part in files]
        rows = pl.concat(parts, how="diagonal")
        wells = TextTable(rows, self.spec.dataset_id, files["validation"], label="sample_key")
        wells.require_unique("sample_key")
        treated = rows.filter(pl.col("sample_kind") == "compound")
        nominal = dilimap_doses.with_nominal_doses(
            treated.select(
                "sample_key",
                compound="COMPOUND",
                dose="CONCENTRATION_UM",
                is_training=pl.col("part") == "training",
            )
        ).select("sample_key", "nominal_dose")
        return rows.join(nominal, on="sample_key", how="left", maintain_order="left")

    def _wells_with_quality(self, raw: Path) -> pl.DataFrame:
        """Return the wells with what is measured on them, under the names of the authors' package.

        ``log_totalRNA``, ``pct_mtRNA``, ``cross_rep_correlation``, the verdicts ``ldh_qc_pass``,
        ``rna_qc_pass`` and ``rep_corr_qc_pass``, and ``n_fractional_counts``. The limit on RNA is that of all
        wells of the files that are there.

        Raises:
            BadInputError: as ``samples``.
        """
        wells = self._wells(raw)
        genes = self._genes(raw, "validation")
        wells = wells.with_columns(
            plate="PLATE_NAME", well="WELL_ID", group=pl.coalesce("CMPD_DOSE", "COMPOUND")
        )
        is_mitochondrial = genes[h5ad.INDEX].str.starts_with("MT-").to_numpy()
        groups = wells.select("plate", "group").rows()
        measured = dilimap_quality.measure(groups, self._blocks(raw), is_mitochondrial)
        wells = pl.concat([wells, measured], how="horizontal")
        for part, path in self.spec.locate(raw).items():
            _require_counts(wells.filter(pl.col("part") == part), path)
        wells = dilimap_quality.with_replicate_verdict(dilimap_quality.with_rna_verdict(wells))
        is_alive = (pl.col("LDH_QC") == "") & (pl.col("COMPOUND") != FAILED_VEHICLE)
        wells = wells.with_columns(ldh_qc_pass=is_alive.fill_null(value=False))
        return wells.drop("plate", "well", "group", "total", "largest", "best_correlation")

    def _genes(self, raw: Path, part: str) -> pl.DataFrame:
        """Return symbol (``h5ad.INDEX``) and ``gene_id`` of the genes of a part, in file order."""
        path = self.spec.locate(raw)[part]
        table = bulk_h5ad.read_table(path, "var", ("gene_id",), dataset_id=self.spec.dataset_id)
        if table.rows.is_empty():
            raise table.error("the file has no genes")
        table.require_present("gene_id")
        table.require_unique("gene_id")
        return table.rows.select(h5ad.INDEX, "gene_id")

    def _blocks(self, raw: Path) -> Iterator[np.ndarray | sparse.csr_matrix]:
        """Yield the values of all parts on the genes of the validation file, as published.

        Raises:
            BadInputError: as ``expression``.
        """
        files = self.spec.locate(raw)
        axis = self._genes(raw, "validation")["gene_id"]
        for part in PARTS:
            if part not in files:
                continue
            order = _order_of(axis, self._genes(raw, part)["gene_id"], files[part])
            for start, values in bulk_h5ad.blocks(files[part]):
                _refuse_impossible(values, start, files[part])
                yield values if order is None else values[:, order]

    def _structures(self, raw: Path) -> pl.DataFrame | None:
        """Return ``compound_name`` and ``smiles`` of the table of labels; None where it is not there."""
        path = self.spec.locate(raw).get("labels")
        if path is None:
            return None
        table = delimited.read(
            path,
            ("compound_name", "smiles"),
            dataset_id=self.spec.dataset_id,
            separator=",",
            is_quoted=True,
            missing=bulk_h5ad.MISSING,
        )
        table.require_present("compound_name")
        distinct = table.distinct("compound_name", "smiles")
        distinct.require_unique("compound_name")
        return distinct.rows.select("compound_name", "smiles")


def _read_part(path: Path, part: str) -> pl.DataFrame:
    """Return the wells of one file as text, with ``part``, ``obs_name``, ``sample_key`` and ``sample_kind``.

    Raises:
        BadInputError: as ``Dilimap.samples``, for this file.
    """
    table = bulk_h5ad.read_table(path, "obs", COLUMNS, dataset_id=SPEC.dataset_id, missing=MISSING)
    if table.rows.is_empty():
        raise table.error("the file has no observations")
    table = table.with_rows(table.rows.with_columns(pl.exclude("LDH_QC").replace("", None)))
    table.require_present("COMPOUND", "PLATE_NAME", "WELL_ID")
    if SPECIES in table.rows.columns:
        species = pl.col(SPECIES).str.strip_chars().str.to_lowercase()
        table.require(species.is_in(["human", "homo sapiens"]), SPECIES, "a species other than human")
    key = pl.concat_str("PLATE_NAME", "WELL_ID", "LIBRARY_ID", separator="_", ignore_nulls=True)
    table = table.with_rows(table.rows.with_columns(sample_key=key, part=pl.lit(part)))
    table.require_unique("sample_key")
    # Text that is no number would be refused later as well, but without the file.
    table.with_numbers("CONCENTRATION_UM", "TIMEPOINT_HOURS")
    return _with_sample_kind(table).rename({h5ad.INDEX: "obs_name"})


def _with_sample_kind(table: TextTable) -> pl.DataFrame:
    """Return the wells with ``sample_kind``.

    Raises:
        BadInputError: a control, by its name or its dose level, that is no known vehicle.
    """
    name = pl.col("COMPOUND")
    is_vehicle = name.is_in([VEHICLE, FAILED_VEHICLE])
    is_control = name.str.to_uppercase().str.starts_with(VEHICLE)
    if DOSE_LEVEL in table.rows.columns:
        is_control = is_control | (pl.col(DOSE_LEVEL) == "Control").fill_null(value=False)
    rule = f"a control is {VEHICLE} or {FAILED_VEHICLE}; this one is not known"
    table.require(is_vehicle | ~is_control, "COMPOUND", rule)
    kind = pl.when(is_vehicle).then(pl.lit("vehicle")).otherwise(pl.lit("compound"))
    return table.rows.with_columns(sample_kind=kind)


def _order_of(axis: pl.Series, genes: pl.Series, path: Path) -> np.ndarray | None:
    """Return where each gene of the axis stands in a file; None where the file has them in that order.

    Raises:
        BadInputError: the file lacks a gene of the axis or has another: a gene that was not counted would
            look like one without reads.
    """
    if genes.equals(axis):
        return None
    known = set(axis)
    if others := known.symmetric_difference(genes):
        raise BadInputError(
            f"{len(others)} gene(s) are in one of the two files only, the first is {min(others)}; both must "
            "have the same",
            dataset_id=SPEC.dataset_id,
            file=path,
            column="gene_id",
        )
    position = {gene: place for place, gene in enumerate(genes)}
    return np.array([position[gene] for gene in axis])


def _refuse_impossible(values: np.ndarray | sparse.csr_matrix, start: int, path: Path) -> None:
    """Refuse a value that no count can be, before it is rounded to one.

    Raises:
        BadInputError: a value is negative or not finite.
    """
    data = values if isinstance(values, np.ndarray) else values.data
    wrong = ~(np.isfinite(data) & (data >= 0))
    if not wrong.any():
        return
    place = int(np.argmax(wrong))
    row = place // data.shape[1] if isinstance(values, np.ndarray) else _row_of(values, place)
    raise BadInputError(
        f"a count is a finite number, not negative, but {int(wrong.sum())} value(s) are not: "
        f"{data.ravel()[place]:g}",
        dataset_id=SPEC.dataset_id,
        file=path,
        row=f"observation {start + row + 1}",
    )


def _whole(values: np.ndarray | sparse.csr_matrix) -> np.ndarray | sparse.csr_matrix:
    """Return values rounded to whole numbers, halves to even."""
    return np.rint(values) if isinstance(values, np.ndarray) else values.rint()


def _row_of(values: sparse.csr_matrix, entry: int) -> int:
    return int(np.searchsorted(values.indptr, entry, side="right")) - 1


def _require_counts(wells: pl.DataFrame, path: Path) -> None:
    """Refuse fractions that are not those of expected counts: logarithms, and values scaled to one total.

    Args:
        wells: total, largest, n_fractional_counts of the wells of one file.
        path: the file.

    Raises:
        BadInputError: there are fractions, and no value is as large as a count, or all totals are equal.
    """
    if wells["n_fractional_counts"].sum() == 0:
        return
    largest, totals = wells["largest"].max(), wells.filter(pl.col("total") > 0)["total"]
    if isinstance(largest, float) and largest < MAX_LOG:
        fault = f"the largest is {largest:g}, so that they look like logarithms"
    elif totals.len() > 2 and totals.std() < EQUAL_TOTALS * totals.mean():  # type: ignore[operator]
        fault = "all wells have one total, so that they look normalized"
    else:
        return
    raise BadInputError(
        f"counts are declared, but {wells['n_fractional_counts'].sum()} values are fractional and {fault}",
        dataset_id=SPEC.dataset_id,
        file=path,
    )
