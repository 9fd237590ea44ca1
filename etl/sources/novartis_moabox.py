"""Novartis MoA Box: 4,343 compounds on U-2 OS at four doses, 24 h, DRUG-seq, UMI counts of 156 plates.

Raw layout:

* ``Exp_gzip.RData``: the R list ``Exp``, 52 batches of 3 plates, ``Exp[[batch]][[plate]]`` with
  ``UMI.counts`` (59,594 genes × 384 wells, stored as doubles) and ``Annotation`` (data frame, one row per
  well, 18 columns);
* ``robust_RC_ReferenceControl_DMSO_wells.txt``: the two DMSO wells of each plate that the publisher compares
  treated wells with, by ``external_biosample_id``;
* ``MoABox_compounds_metadata.txt``: InChIKey, SMILES, CAS number and mechanism per ``cmpd_sample_id``.

Quirks: the rows of ``Annotation`` and the columns of ``UMI.counts`` have the same names, in different orders;
plates need not list their genes in one order; a gene is its symbol, assembly and chromosome
(``EDC3,grch38_15``); the table of compounds lists DMSO and water too, and water is what unused wells are said
to hold; positive controls are wells of the type ``SA`` like compounds, told by their ids; compounds have ids
and no names.

One pass over the counts takes as long as decompressing 29 GB. What is told of the wells is therefore kept
from the first pass on, for as long as the process lives and the file stays as it is.

Here: reading. Not here: R's format (``etl/formats/rdata.py``), genes to ids, dose units, library sizes.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

from etl.arrays import LARGEST_EXACT_FLOAT32
from etl.errors import BadInputError
from etl.formats import delimited, rdata
from etl.formats.delimited import TextTable
from etl.formats.matrix import require_identifiers
from etl.sources.base import ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

ZENODO: Final = "https://zenodo.org/records/14291446"
GITHUB: Final = "https://raw.githubusercontent.com/Novartis/DRUG-seq/main/data/Novartis_drugseq_U2OS_MoABox"

SPEC = SourceSpec(
    dataset_id="novartis_moabox",
    title="Novartis MoA Box: 4,343 compounds on U-2 OS by DRUG-seq",
    assay="drugseq",
    readout="UMI counts of 3' RNA sequencing of lysates in wells, 24 h",
    value_scale="counts",
    files=(
        RemoteFile(role="counts", pattern="Exp_gzip.RData", url=f"{ZENODO}/files/Exp_gzip.RData?download=1"),
        RemoteFile(
            role="reference_wells",
            pattern="robust_RC_ReferenceControl_DMSO_wells.txt",
            url=f"{ZENODO}/files/robust_RC_ReferenceControl_DMSO_wells.txt?download=1",
        ),
        RemoteFile(
            role="compounds",
            pattern="MoABox_compounds_metadata.txt",
            url=f"{GITHUB}/MoABox_compounds_metadata.txt",
        ),
    ),
    license="terms of the Zenodo record 14291446",
    is_redistributable=False,
    access="open",
    release="Zenodo 14291446",
    doi="10.5281/zenodo.14291446",
    url=ZENODO,
)

VARIABLE: Final = "Exp"
PLATE_DEPTH: Final = 2
LONGEST_COLUMN: Final = 10_000
"""A plate has 384 wells: what is longer is its counts, passed over where only the wells are read."""

WELLS_AT_ONCE: Final = 32
"""Wells that are made sparse together: finding the counts of a whole plate would take its size once more."""

COLUMNS: Final = (
    "batch_id",
    "plate_barcode",
    "well_id",
    "plate_replicate",
    "external_biosample_id",
    "cmpd_sample_id",
    "well_type",
    "cell_line_name",
    "concentration",
    "unit",
    "hours_post_treatment",
)
PLACED: Final = frozenset(
    {
        "batch_id",
        "plate_barcode",
        "well_id",
        "plate_replicate",
        "cell_line_name",
        "hours_post_treatment",
    }
)
"""Columns that stand in the sample table for every well; all others are annotations."""

REFERENCE_WELL: Final = "robust_reference_control"
"""Key of the annotation that says of a DMSO well whether the publisher uses it as a reference."""

KIND_BY_WELL_TYPE: Final = {"SA": "compound", "RC": "vehicle", "EMPTY": "empty"}
VEHICLE: Final = "CB-43-EP73"
WATER: Final = "EC-27-RY89"
POSITIVE_CONTROLS: Final = ("BD-11-DV28", "EA-18-FP00", "SE-15-AV21")

MISSING: Final = r"^\s*(NA)?\s*$"


class Plate(NamedTuple):
    """One plate of the file.

    Attributes:
        where: its place in the list, for messages.
        counts: genes × wells.
        wells: its annotation, as text, with ``sample_key``; ``is_measured`` says whether it has counts.
    """

    where: str
    counts: rdata.RMatrix
    wells: pl.DataFrame


class NovartisMoabox:
    """Adapter of the Novartis MoA Box."""

    spec = SPEC

    def samples(self, raw: Path) -> pl.LazyFrame:
        """Return one row per annotated well; those that the matrix lacks are ``empty``.

        ``is_low_quality`` marks the DMSO wells that the publisher found unfit as a reference.

        Raises:
            BadInputError: see ``_wells``.
        """
        is_treated = pl.col("well_type") == "SA"
        rows = self._wells(raw).select(
            "sample_key",
            "sample_kind",
            context_reported="cell_line_name",
            compound_reported=pl.when(is_treated).then("cmpd_sample_id"),
            dose=pl.when(is_treated).then("concentration"),
            dose_unit=pl.when(is_treated).then("unit"),
            time="hours_post_treatment",
            time_unit=pl.lit("h"),
            plate="plate_barcode",
            well="well_id",
            replicate="plate_replicate",
            batch="batch_id",
            vehicle_group=pl.lit(""),
            is_low_quality=(pl.col(REFERENCE_WELL) == "false").fill_null(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def annotations(self, raw: Path) -> pl.LazyFrame:
        """Return the columns without a place elsewhere, and which DMSO wells are references.

        Raises:
            BadInputError: as ``samples``.
        """
        return reported_facts(self._wells(raw), used={"sample_kind", "is_measured", *PLACED})

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the publisher's table, DMSO and water left out.

        Raises:
            BadInputError: a column is missing, or an id is missing or repeated.
        """
        table = _read_compounds(self.spec.locate(raw)["compounds"])
        rows = table.rows.filter(~pl.col("cmpd_sample_id").is_in([VEHICLE, WATER])).select(
            "smiles",
            compound_reported="cmpd_sample_id",
            inchikey="inchi_key",
            cas="cas_number",
            mechanism="moa",
        )
        return match_to_model(rows.sort("compound_reported"), ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label of the wells with counts.

        Raises:
            BadInputError: as ``samples``.
        """
        measured = self._wells(raw).filter(pl.col("sample_kind") != "empty")
        labels = measured["cell_line_name"].drop_nulls().unique().sort()
        return match_to_model(pl.DataFrame({"context_reported": labels}), ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene, in the order of the first plate, with the symbol before its chromosome.

        Raises:
            BadInputError: there is no plate, a gene is repeated, or as ``rdata.records``.
        """
        path = self.spec.locate(raw)["counts"]
        with closing(_plates(path, has_counts=False)) as plates:
            first = next(plates, None)
        keys = pl.Series(first.counts.row_names if first else [], dtype=pl.String)
        symbols = keys.str.replace(r",[^,]*$", "")
        return match_to_model(pl.DataFrame({"gene_reported": keys, "symbol": symbols}), ReportedGene)

    def expression(self, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the counts plate by plate; one of the published size is held as doubles (183 MB) meanwhile.

        Raises:
            BadInputError: a plate has other genes than the first, or numbers that a 32-bit float does not
                hold; or as ``rdata.records``.
        """
        path = self.spec.locate(raw)["counts"]
        genes: list[str] = []
        for plate in _plates(path, has_counts=True):
            genes = genes or plate.counts.row_names
            keys, values = plate.counts.column_names, _values(plate, genes, path)
            # Let go of the doubles before the next plate is read.
            del plate
            yield ExpressionBlock(keys, values)

    def _wells(self, raw: Path) -> pl.DataFrame:
        """Return the annotation of all wells with ``sample_kind`` and ``robust_reference_control``.

        Raises:
            BadInputError: a column or value is missing, a well is listed twice, an unknown well type or one
                that contradicts the compound, a compound that the table of compounds lacks, or a reference
                well that is no DMSO well; or as ``rdata.records``.
        """
        files = self.spec.locate(raw)
        status = files["counts"].stat()
        wells = TextTable(
            _read_wells(files["counts"], status.st_size, status.st_mtime_ns),
            self.spec.dataset_id,
            files["counts"],
            label="sample_key",
        )
        wells.require_present("plate_barcode", "well_id", "well_type", "cmpd_sample_id")
        wells.require_unique("sample_key")
        wells.require_unique("plate_barcode", "well_id")
        kind = pl.when("is_measured").then(_sample_kind(wells)).otherwise(pl.lit("empty"))
        _require_described(wells, _read_compounds(files["compounds"]))
        return _with_references(wells, files["reference_wells"]).with_columns(sample_kind=kind)


def _plates(path: Path, *, has_counts: bool) -> Generator[Plate]:
    """Yield the plates of the file, with their counts or only with what is said of them.

    Raises:
        BadInputError: there is no plate; a plate lacks one of its two parts, lists a gene or well twice, or
            has counts of wells that its annotation lacks; or as ``rdata.records``.
    """
    n_plates = 0
    longest = None if has_counts else LONGEST_COLUMN
    for where, value in rdata.records(path, VARIABLE, depth=PLATE_DEPTH, longest=longest):
        parts = value.by_name() if isinstance(value, rdata.RList) else {}
        if not {"UMI.counts", "Annotation"} <= set(parts):
            raise _fault(path, "a plate has UMI.counts and Annotation", where)
        counts = rdata.as_matrix(parts["UMI.counts"], path=path, where=f"{where}$UMI.counts")
        require_identifiers(counts.row_names, "gene", path)
        require_identifiers(counts.column_names, "well", path)
        annotation = rdata.as_table(parts["Annotation"], path=path, where=f"{where}$Annotation")
        yield Plate(where, counts, _as_text(annotation, counts, path, where))
        # The caller may have let go of the counts; so must this side.
        del value, parts, counts
        n_plates += 1
    if not n_plates:
        raise _fault(path, f"{VARIABLE} holds no plate", VARIABLE)


def _as_text(annotation: pl.DataFrame, counts: rdata.RMatrix, path: Path, where: str) -> pl.DataFrame:
    """Return the annotation of a plate as text; whole numbers have no decimal point, as R prints them."""
    decimal = pl.col(pl.Float64).cast(pl.String).str.replace(r"\.0$", "")
    texts = annotation.with_columns(decimal).cast(pl.String).rename({rdata.ROW_NAME: "sample_key"})
    measured = pl.Series(counts.column_names, dtype=pl.String)
    unlisted = measured.filter(~measured.is_in(texts["sample_key"].implode()))
    if unlisted.len():
        rule = f"{unlisted.len()} well(s) of UMI.counts are not in Annotation, the first is {unlisted[0]}"
        raise _fault(path, rule, where)
    table = delimited.text_table(
        texts,
        list(dict.fromkeys([*COLUMNS, *texts.columns])),
        dataset_id=SPEC.dataset_id,
        path=path,
        missing=MISSING,
        label="sample_key",
    )
    return table.rows.with_columns(is_measured=pl.col("sample_key").is_in(measured.implode()))


@lru_cache(maxsize=1)
def _read_wells(path: Path, _size: int, _changed: int) -> pl.DataFrame:
    """Return the annotation of all plates; size and time of the file are part of the key of the cache."""
    return pl.concat([plate.wells for plate in _plates(path, has_counts=False)], how="diagonal")


def _values(plate: Plate, genes: list[str], path: Path) -> sparse.csr_matrix:
    """Return the counts of a plate, wells × genes, in the order of ``genes``."""
    stored = plate.counts.values
    assert stored is not None
    parts = range(0, len(stored), WELLS_AT_ONCE)
    values = sparse.csr_matrix(
        sparse.vstack([sparse.csr_matrix(stored[i : i + WELLS_AT_ONCE]) for i in parts])
    )
    too_large = np.flatnonzero(np.abs(values.data) > LARGEST_EXACT_FLOAT32)
    if too_large.size:
        rule = f"a count up to {LARGEST_EXACT_FLOAT32} is expected, not {values.data[too_large[0]]}"
        raise _fault(path, rule, plate.where)
    values = values.astype(np.float32)
    if plate.counts.row_names != genes:
        position = {gene: index for index, gene in enumerate(genes)}
        other = next((gene for gene in plate.counts.row_names if gene not in position), None)
        if other is not None or len(plate.counts.row_names) != len(genes):
            shown = f", such as {other}" if other is not None else ""
            raise _fault(path, f"a plate has other genes than the first plate{shown}", plate.where)
        order = np.array([position[gene] for gene in plate.counts.row_names], dtype=values.indices.dtype)
        values = sparse.csr_matrix((values.data, order[values.indices], values.indptr), shape=values.shape)
        values.sort_indices()
    return values


def _sample_kind(wells: TextTable) -> pl.Expr:
    """Return the kind by well type and compound.

    Raises:
        BadInputError: an unknown type; a reference control that is not DMSO, or DMSO or water as a sample.
    """
    well_type, compound = pl.col("well_type"), pl.col("cmpd_sample_id")
    wells.require(well_type.is_in(list(KIND_BY_WELL_TYPE)), "well_type", "an unknown well type")
    is_right = (
        pl.when(well_type == "RC")
        .then(compound == VEHICLE)
        .when(well_type == "SA")
        .then(~compound.is_in([VEHICLE, WATER]))
        .otherwise(pl.lit(value=True))
    )
    wells.require(is_right, "cmpd_sample_id", "contradicts its well type")
    is_positive = (well_type == "SA") & compound.is_in(POSITIVE_CONTROLS)
    kind = well_type.replace_strict(KIND_BY_WELL_TYPE, return_dtype=pl.String)
    return pl.when(is_positive).then(pl.lit("positive_control")).otherwise(kind)


def _require_described(wells: TextTable, compounds: TextTable) -> None:
    """Check that the table of compounds knows what the treated wells hold."""
    known = compounds.rows["cmpd_sample_id"].implode()
    is_known = (pl.col("well_type") != "SA") | pl.col("cmpd_sample_id").is_in(known)
    wells.require(is_known, "cmpd_sample_id", f"a compound that {compounds.path.name} lacks")


def _with_references(wells: TextTable, path: Path) -> pl.DataFrame:
    """Add ``robust_reference_control``: true or false of a DMSO well, null of any other.

    Raises:
        BadInputError: as ``delimited.read``, or a listed well is missing, repeated or no DMSO well.
    """
    listed = delimited.read(
        path,
        ("external_biosample_id",),
        dataset_id=SPEC.dataset_id,
        separator="\t",
        missing=MISSING,
        is_quoted=True,
    )
    listed.require_present("external_biosample_id")
    listed.require_unique("external_biosample_id")
    is_vehicle = pl.col("well_type") == "RC"
    vehicles = wells.rows.filter(is_vehicle)["external_biosample_id"].implode()
    listed.require(
        pl.col("external_biosample_id").is_in(vehicles), "external_biosample_id", "no DMSO well of the counts"
    )
    is_listed = pl.col("external_biosample_id").is_in(listed.rows["external_biosample_id"].implode())
    said = pl.when(is_listed).then(pl.lit("true")).otherwise(pl.lit("false"))
    return wells.rows.with_columns(pl.when(is_vehicle).then(said).alias(REFERENCE_WELL))


def _read_compounds(path: Path) -> TextTable:
    table = delimited.read(
        path,
        ("cmpd_sample_id", "inchi_key", "smiles", "cas_number", "moa"),
        dataset_id=SPEC.dataset_id,
        separator="\t",
        missing=MISSING,
    )
    table.require_present("cmpd_sample_id")
    table.require_unique("cmpd_sample_id")
    return table


def _fault(path: Path, rule: str, where: str) -> BadInputError:
    return BadInputError(rule, dataset_id=SPEC.dataset_id, file=path, row=where)
