"""VCPI: what the releases of the Virtual Cell Pharmacology Initiative have in common.

Raw layout. The publisher's client hands a release over as three frames; each is saved as a Parquet file:

* ``data.parquet``: wide UMI counts, a column ``gene_id`` (Ensembl ids without version, and ``ERCC-…``
  spike-ins), then a column per sample, named by its ``sequenced_id``;
* ``metadata.parquet``: one row per sample: ``sequenced_id``, ``job_id``, ``container_id`` (plate), ``row_id``
  and ``column_id`` (numbers), ``compound`` (a UUID), ``user_compound_id``, ``compound_concentration`` with
  its unit, ``cell_line``, ``timepoint`` (``24h``), ``is_control``, and measures of quality;
* ``chemistry.parquet``: one row per compound: ``compound``, ``user_compound_id``, structure and properties.

Quirks: any column may be text or number; rows of metadata and chemistry repeat; ``is_control`` covers the
vehicle and positive controls, told apart by ``user_compound_id``; the concentration of the vehicle is a
percentage; many ``user_compound_id`` are bare numbers, which are no names.

Here: reading. Not here: what a release is called (``vcpi_0001``, ``vcpi_0002``), ids, dose units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from etl.arrays import LARGEST_EXACT_FLOAT32
from etl.errors import BadInputError
from etl.formats import parquet_table
from etl.formats.delimited import TextTable
from etl.formats.matrix import require_identifiers
from etl.sources.base import BLOCK_BYTES, ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts, well_of
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

CLIENT: Final = "https://github.com/virtualcell-vcpi/vcpi-client"

VEHICLE: Final = "DMSO"
TRUE: Final = ("true", "1", "yes")
FALSE: Final = ("false", "0", "no")
"""Texts of ``is_control``, in lower case."""

COLUMNS: Final = (
    "sequenced_id",
    "job_id",
    "container_id",
    "row_id",
    "column_id",
    "compound",
    "user_compound_id",
    "compound_concentration",
    "compound_concentration_unit",
    "cell_line",
    "timepoint",
    "is_control",
)
PLACED: Final = frozenset(
    {"job_id", "container_id", "row_id", "column_id", "compound", "cell_line", "timepoint"}
)
"""Columns that have a place in the sample table; the others are annotations."""

CHEMISTRY: Final = ("compound", "user_compound_id", "smiles", "inchi_key")
CANONICAL: Final = "canonical_smiles"
"""A second structure, which not every release gives."""

MISSING: Final = r"^\s*(?i:na|nan|none|null)?\s*$"

_BYTES_PER_COUNT: Final = 28
"""At once exist, per count: as stored, as float64 (8 and 8 bytes), as float32 and as CSR (4 and up to 8)."""


def file_list() -> tuple[RemoteFile, ...]:
    """Return the files of a release; all are saved by hand from the publisher's client."""
    return tuple(
        RemoteFile(role=name, pattern=f"{name}.parquet") for name in ("data", "metadata", "chemistry")
    )


class Release(Protocol):
    """What a release states of itself."""

    spec: SourceSpec


class Vcpi:
    """The methods of an adapter, for a class that is a ``Release``."""

    def samples(self: Release, raw: Path) -> pl.LazyFrame:
        """Return one row per distinct sample of the metadata; those without counts are ``empty``.

        Raises:
            BadInputError: see ``_wells``.
        """
        is_treated = pl.col("user_compound_id") != VEHICLE
        has_unit = pl.col("timepoint").str.contains("[A-Za-z]")
        rows = _wells(self.spec, raw).select(
            "sample_kind",
            "well",
            sample_key="sequenced_id",
            context_reported="cell_line",
            compound_reported=pl.when(is_treated).then("compound"),
            # The concentration of the vehicle is a percentage.
            dose=pl.when(is_treated).then("compound_concentration"),
            dose_unit=pl.when(is_treated).then("compound_concentration_unit"),
            time="timepoint",
            time_unit=pl.when(~has_unit).then(pl.lit("h")),
            plate="container_id",
            batch="job_id",
            vehicle_group=pl.lit(""),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def annotations(self: Release, raw: Path) -> pl.LazyFrame:
        """Return the columns of the metadata that have no place elsewhere, measures of quality among them.

        Raises:
            BadInputError: as ``samples``, but for the counts.
        """
        table = _metadata(self.spec, raw)
        return reported_facts(table.rows.rename({"sequenced_id": "sample_key"}), used={"row", *PLACED})

    def compounds(self: Release, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the treated samples with counts, with its structure.

        Raises:
            BadInputError: as ``samples``, or a compound whose structure or id is given in two ways.
        """
        treated = _wells(self.spec, raw).filter(pl.col("sample_kind").is_in(["compound", "positive_control"]))
        keys = treated.group_by(compound_reported="compound").agg(stated=pl.col("user_compound_id").min())
        described = _chemistry(self.spec, raw)
        vendor_id = pl.coalesce("user_compound_id", "stated")
        rows = (
            keys.drop_nulls("compound_reported")
            .sort("compound_reported")
            .join(
                described, left_on="compound_reported", right_on="compound", how="left", maintain_order="left"
            )
            .select(
                "compound_reported",
                # A number is an id of the publisher's and names nothing.
                name=pl.when(~vendor_id.str.contains(r"^\d+$")).then(vendor_id),
                smiles=pl.coalesce("smiles", CANONICAL),
                inchikey="inchi_key",
                vendor_id=vendor_id,
            )
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self: Release, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label of the samples with counts.

        Raises:
            BadInputError: as ``samples``.
        """
        measured = _wells(self.spec, raw).filter(pl.col("sample_kind") != "empty")
        labels = measured["cell_line"].drop_nulls().unique().sort()
        return match_to_model(pl.DataFrame({"context_reported": labels}), ReportedContext)

    def genes(self: Release, raw: Path) -> pl.LazyFrame:
        """Return one row per feature, in file order; spike-ins are features, too.

        Raises:
            BadInputError: a file that is no Parquet, no column ``gene_id``, an id that is missing or
                repeated.
        """
        with _Counts(self.spec, raw) as counts:
            ids = counts.gene_ids()
        return match_to_model(pl.DataFrame({"gene_reported": ids}), ReportedGene)

    def expression(self: Release, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the counts of all samples, in the order of the columns.

        Raises:
            BadInputError: as ``genes``, a count that is missing, no number or beyond 2**24.
        """
        with _Counts(self.spec, raw) as counts:
            genes = counts.gene_ids()
            step = max(1, BLOCK_BYTES // (_BYTES_PER_COUNT * len(genes)))
            for start in range(0, len(counts.sample_keys), step):
                keys = counts.sample_keys[start : start + step]
                yield ExpressionBlock(keys, counts.read(keys, genes))


class _Counts:
    """The open matrix of a release: genes × samples, a column per sample."""

    def __init__(self, spec: SourceSpec, raw: Path) -> None:
        self.path = spec.locate(raw)["data"]
        self._spec = spec
        try:
            self._file = pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as fault:
            raise self.error(f"the file is no complete Parquet file: {fault}") from fault
        names = self._file.schema_arrow.names
        if names.count("gene_id") != 1:
            raise self.error("one column is called gene_id, but not here", column="gene_id")
        self.sample_keys = [name for name in names if name != "gene_id"]
        if not self.sample_keys or not self._file.metadata.num_rows:
            raise self.error("the matrix is empty")
        require_identifiers(self.sample_keys, "column", self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def error(self, rule: str, *, row: str | None = None, column: str | None = None) -> BadInputError:
        return BadInputError(rule, dataset_id=self._spec.dataset_id, file=self.path, row=row, column=column)

    def gene_ids(self) -> list[str]:
        ids = [gene or "" for gene in self._columns(["gene_id"])["gene_id"].cast(pl.String).to_list()]
        require_identifiers(ids, "gene", self.path)
        return ids

    def read(self, keys: list[str], genes: list[str]) -> sparse.csr_matrix:
        """Return the counts of some samples, samples × genes."""
        columns = self._columns(keys)
        for name, dtype in columns.schema.items():
            if not dtype.is_numeric():
                raise self.error(f"counts are numbers, not {dtype}", column=name)
        missing = next((column for column in columns if column.null_count()), None)
        if missing is not None:
            row = genes[int(missing.is_null().arg_max() or 0)]
            raise self.error("a missing count", row=row, column=missing.name)
        values = columns.cast(pl.Float64).to_numpy()
        too_large = np.argwhere(np.abs(values) > LARGEST_EXACT_FLOAT32)
        if len(too_large):
            gene, sample = too_large[0]
            rule = f"a count up to {LARGEST_EXACT_FLOAT32} is expected, not {values[gene, sample]}"
            raise self.error(rule, row=genes[gene], column=keys[sample])
        return sparse.csr_matrix(values.T.astype(np.float32))

    def _columns(self, names: list[str]) -> pl.DataFrame:
        try:
            frame = pl.from_arrow(self._file.read(columns=names))
        except (pa.ArrowException, OSError) as fault:
            raise self.error(f"columns cannot be read: {fault}") from fault
        assert isinstance(frame, pl.DataFrame)
        return frame.select(names)


def _wells(spec: SourceSpec, raw: Path) -> pl.DataFrame:
    """Return the metadata with ``sample_kind`` and ``well``.

    Raises:
        BadInputError: a column is missing, a sample is missing, described in two ways, or in the counts but
            not in the metadata; a control flag or a position that is none.
    """
    table = _metadata(spec, raw)
    with _Counts(spec, raw) as counts:
        measured = counts.sample_keys
    table.require_listed(measured, "sequenced_id", what="sample(s) of the counts")
    flag = pl.col("is_control").str.to_lowercase()
    table.require(flag.is_in([*TRUE, *FALSE]), "is_control", "neither true nor false")
    kind = (
        pl.when(pl.col("user_compound_id") == VEHICLE)
        .then(pl.lit("vehicle"))
        .when(flag.is_in(TRUE))
        .then(pl.lit("positive_control"))
        .otherwise(pl.lit("compound"))
    )
    is_measured = pl.col("sequenced_id").is_in(measured)
    return table.rows.with_columns(
        sample_kind=pl.when(is_measured).then(kind).otherwise(pl.lit("empty")),
        well=well_of(table, "row_id", "column_id"),
    )


def _metadata(spec: SourceSpec, raw: Path) -> TextTable:
    """Read all columns of the metadata, each distinct row once."""
    table = parquet_table.read(
        spec.locate(raw)["metadata"], COLUMNS, dataset_id=spec.dataset_id, missing=MISSING, has_others=True
    )
    table = table.distinct(*(name for name in table.rows.columns if name != "row"))
    table.require_present("sequenced_id", "user_compound_id", "is_control", "row_id", "column_id")
    table.require_unique("sequenced_id")
    return table


def _chemistry(spec: SourceSpec, raw: Path) -> pl.DataFrame:
    """Read the compounds: ``CHEMISTRY`` and ``CANONICAL``, each compound once."""
    table = parquet_table.read(
        spec.locate(raw)["chemistry"], CHEMISTRY, dataset_id=spec.dataset_id, missing=MISSING, has_others=True
    )
    if CANONICAL not in table.rows.columns:
        table = table.with_rows(table.rows.with_columns(pl.lit(None, pl.String).alias(CANONICAL)))
    table = table.with_rows(table.rows.select("row", *CHEMISTRY, CANONICAL)).distinct(*CHEMISTRY, CANONICAL)
    table.require_present("compound")
    table.require_unique("compound")
    return table.rows.drop("row")
