"""CIGS: what the two libraries of the Chemical-Induced Gene Signatures resource have in common.

Raw layout. Each library comes in *subsets*, one per cell line and dose, each a pair of workbooks:

* ``…_Counts.xlsx``: a line of licence, a header (the name of the samples' column, then 3,407 gene symbols),
  one row of UMI counts per sample;
* ``…_MetaData.xlsx``: a line of notes in some files, a header, one row per sample.

The compounds of both stand in one workbook, a supplement of the publication
(``41592_2025_2781_MOESM3_ESM.xlsx``), a sheet per library, a title above the header.

Quirks: the Greek mu in file names; ``-666`` for a missing value, also as dose and time of controls; symbols
that a spreadsheet or R changed, and not in all files the same way (``repairs/cigs_genes.csv``); line breaks
inside names; samples of different subsets under the same id. Dose and time are those of the subset, and what
a row says is checked against it.

Here: reading both, and the publisher's rule of quality. Not here: files and columns of a library
(``cigs_mce``, ``cigs_tcm``), ids, units.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import polars as pl

from etl.errors import BadInputError
from etl.formats import xlsx, xlsx_matrix
from etl.formats.delimited import TextTable
from etl.sources.base import BLOCK_BYTES, ExpressionBlock, RemoteFile, SourceSpec
from etl.sources.wells import reported_facts
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

HOME: Final = "https://cigs.iomicscloud.com"
DOI: Final = "10.1038/s41592-025-02781-5"
LICENSE: Final = "non-commercial research use only, as the files state"

COMPOUND_TABLE: Final = RemoteFile(
    role="compounds",
    pattern="41592_2025_2781_MOESM3_ESM.xlsx",
    url="https://static-content.springer.com/esm/art%3A10.1038%2Fs41592-025-02781-5/MediaObjects/"
    "41592_2025_2781_MOESM3_ESM.xlsx",
)

TIME_H: Final = "24"
"""Treatment time of every subset, which controls do not state."""

MISSING: Final = r"^\s*(-666(\.0+)?)?\s*$"

HEK293T: Final = "HEK293T"
MDA_MB_231: Final = "MDA-MB-231"
LINE_BY_LABEL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cell_293T", "293T", "293"), HEK293T),
    **dict.fromkeys(("cell_MDA_MB_231", "cell_231", "MDA_MB_231", "231"), MDA_MB_231),
}

KIND_BY_CONTROL: Final[Mapping[str, str]] = {
    "DMSO": "vehicle",
    "JQ1": "positive_control",
    "BLANK": "empty",
    "RNA": "empty",
}
"""What is not of the library, in upper case. Blank wells hold no cells, RNA wells purified RNA."""

COUNTS_HEADER: Final = r"sample_id|sample_unique_id"

FENCE: Final = 1.5
MIN_FOR_FENCE: Final = 4
"""A library below the first quartile by this many interquartile ranges, log2, fails; of fewer samples,
none."""

_QUANTITY: Final = r"^\s*([0-9.]+)\s*(\D*)\s*$"


@dataclass(frozen=True, slots=True)
class Subset:
    """Samples of one cell line and dose, published as one pair of files.

    Args:
        key: name, unique in the library; prefix of sample keys.
        counts: name of the workbook with counts; a pattern.
        metadata: name of the workbook with samples; a pattern.
        line: cell line.
        dose_um: dose of all its compounds, µM.
    """

    key: str
    counts: str
    metadata: str
    line: str
    dose_um: str

    @property
    def files(self) -> tuple[RemoteFile, RemoteFile]:
        """The pair of files."""
        url = f"{HOME}/docs/cigs/"
        counts, metadata = (name.replace("*", "%CE%BC") for name in (self.counts, self.metadata))
        return (
            RemoteFile(role=f"counts {self.key}", pattern=self.counts, url=url + counts),
            RemoteFile(role=f"samples {self.key}", pattern=self.metadata, url=url + metadata),
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Names, in plain form, of the columns of a library's sample table.

    Args:
        sample_id: id of a sample, unique in the subset.
        treatment: catalogue number or control.
        cell: label of the cell line.
        dose: dose with unit.
        time: time with unit.
        others: further columns that ``Library.placed`` needs.
    """

    sample_id: str
    treatment: str
    cell: str
    dose: str
    time: str
    others: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that must be there."""
        return (self.sample_id, self.treatment, self.cell, self.dose, self.time, *self.others)


class Library(Protocol):
    """What a library states of itself beside its ``SourceSpec``."""

    spec: SourceSpec
    subsets: tuple[Subset, ...]
    columns: Columns
    compound_sheet: str
    compound_columns: tuple[str, ...]
    catalogue_number: str

    def placed(self, table: TextTable, subset: Subset) -> pl.DataFrame:
        """Return the rows of a sample table with plate, well, replicate, batch and is_excluded added."""
        ...


def file_list(subsets: tuple[Subset, ...]) -> tuple[RemoteFile, ...]:
    """Return the files of a library: those of its subsets and the table of compounds."""
    return (*(file for subset in subsets for file in subset.files), COMPOUND_TABLE)


class Cigs:
    """The methods of an adapter, for a class that is a ``Library``."""

    def samples(self: Library, raw: Path) -> pl.LazyFrame:
        """Return one row per sample of the tables; those without counts, blanks and RNA are ``empty``.

        Raises:
            BadInputError: see ``_wells``, or counts that cannot be read.
        """
        wells = _wells(self, raw).join(
            _libraries(self, raw), on="sample_key", how="left", maintain_order="left"
        )
        is_treated = pl.col("sample_kind").is_in(["compound", "positive_control"])
        rows = wells.select(
            "sample_key",
            "sample_kind",
            "plate",
            "well",
            "replicate",
            "batch",
            "time",
            "time_unit",
            context_reported="cell",
            compound_reported=pl.when(is_treated).then("treatment"),
            dose=pl.when(is_treated).then("dose"),
            dose_unit=pl.when(is_treated).then("dose_unit"),
            vehicle_group=pl.lit(""),
            is_low_quality=pl.col("is_excluded") | failed_library(),
        )
        return match_to_model(rows, ReportedSample)

    def annotations(self: Library, raw: Path) -> pl.LazyFrame:
        """Return the subset, and the columns of the sample tables that do not say cell line or place.

        Id, treatment, dose and time are kept in the publisher's words; controls of different kinds, and the
        spellings of a number, are told apart only by them.

        Raises:
            BadInputError: as ``samples``, but for the counts.
        """
        located, frames = self.spec.locate(raw), []
        for subset in self.subsets:
            table = _sample_table(self, located[f"samples {subset.key}"])
            rows = table.rows.with_columns(
                sample_key=_key(subset, pl.col(self.columns.sample_id)), subset=pl.lit(subset.key)
            )
            placed = {"row", self.columns.cell, *self.columns.others}
            frames.append(reported_facts(rows, used=placed))
        return pl.concat(frames)

    def compounds(self: Library, raw: Path) -> pl.LazyFrame:
        """Return one row per compound of the treated samples with counts, as the publication describes it.

        Raises:
            BadInputError: as ``samples``, but for the counts.
        """
        treated = _wells(self, raw).filter(pl.col("sample_kind").is_in(["compound", "positive_control"]))
        keys = treated.select(compound_reported=pl.col("treatment").unique().sort())
        described = _compound_table(self, self.spec.locate(raw)["compounds"])
        is_number = pl.col("compound_reported").str.contains(self.catalogue_number)
        compounds = keys.join(
            described, on="compound_reported", how="left", maintain_order="left", validate="1:1"
        ).with_columns(
            name=pl.when(is_number).then("name").otherwise(pl.coalesce("name", "compound_reported")),
            vendor_id=pl.when(is_number).then("compound_reported"),
        )
        return match_to_model(_repaired_compounds(compounds), ReportedCompound)

    def contexts(self: Library, raw: Path) -> pl.LazyFrame:
        """Return one row per cell label of the samples in scope, with the line's name.

        Raises:
            BadInputError: as ``samples``, but for the counts.
        """
        in_scope = _wells(self, raw).filter(pl.col("sample_kind") != "empty")
        labels = in_scope.select(context_reported=pl.col("cell").unique().sort())
        name = pl.col("context_reported").replace_strict(LINE_BY_LABEL, return_dtype=pl.String)
        return match_to_model(labels.with_columns(name=name), ReportedContext)

    def genes(self: Library, raw: Path) -> pl.LazyFrame:
        """Return one row per gene, in the order and words of the first subset's file.

        Raises:
            BadInputError: a symbol that is missing or repeated, or files that do not hold the same genes.
        """
        names = _gene_names(self, raw)[self.subsets[0].key]
        rows = pl.DataFrame({"gene_reported": names, "symbol": [_restored(name) for name in names]})
        return match_to_model(rows, ReportedGene)

    def expression(self: Library, raw: Path) -> Iterator[ExpressionBlock]:
        """Yield the counts of all subsets, on the gene axis of the first, in file order.

        Raises:
            BadInputError: as ``genes`` and ``xlsx_matrix.blocks``.
        """
        located, names = self.spec.locate(raw), _gene_names(self, raw)
        for subset in self.subsets:
            order = _order(names[subset.key], names[self.subsets[0].key])
            path = located[f"counts {subset.key}"]
            # A block in another order is copied.
            size = BLOCK_BYTES if order is None else BLOCK_BYTES // 2
            for keys, values in xlsx_matrix.blocks(path, header=COUNTS_HEADER, block_bytes=size):
                prefixed = [f"{subset.key}.{key}" for key in keys]
                yield ExpressionBlock(prefixed, values if order is None else values[:, order])


def failed_library() -> pl.Expr:
    """Return whether a sample fails by its total count, by the rule of the publisher's code.

    A sample fails if log2 of its total is below Q1 − 1.5 (Q3 − Q1), quartiles (linear between values) over
    the samples of its subset that hold cells, are not excluded and have counts. A sample without any count
    fails.

    Needs the columns subset, sample_kind, is_excluded and total; a sample without counts does not fail.
    """
    log2 = pl.col("total").log(2)
    is_measured = (pl.col("sample_kind") != "empty") & ~pl.col("is_excluded") & (pl.col("total") > 0)
    of_subset = pl.when(is_measured).then(log2)
    low, high = (of_subset.quantile(share, interpolation="linear").over("subset") for share in (0.25, 0.75))
    is_enough = of_subset.count().over("subset") >= MIN_FOR_FENCE
    is_outlier = is_enough & is_measured & (log2 < low - FENCE * (high - low))
    return (is_outlier | (pl.col("total") == 0)).fill_null(value=False)


def _sample_table(library: Library, path: Path) -> TextTable:
    """Read a sample table as text without outer blanks."""
    columns = library.columns
    table = xlsx.read_table(
        path,
        columns.all,
        dataset_id=library.spec.dataset_id,
        header=f"^{columns.sample_id}$",
        missing=MISSING,
    )
    table = table.with_rows(table.rows.with_columns(pl.col(pl.String).str.strip_chars()))
    table.require_present(columns.sample_id, columns.treatment, columns.cell)
    table.require_unique(columns.sample_id)
    return table


def _wells(library: Library, raw: Path) -> pl.DataFrame:
    """Return the samples of all subsets with their kind and what was done to them.

    Returns:
        subset, sample_key, sample_kind, treatment, cell, dose, dose_unit, time, time_unit, plate, well,
        replicate, batch, is_excluded.

    Raises:
        BadInputError: a column is missing, an id is missing, repeated, or in the counts but not in the table,
            a label or a treatment that nobody knows, a cell line, dose or time that is not the subset's.
    """
    located = library.spec.locate(raw)
    known = _compound_table(library, located["compounds"])["compound_reported"]
    frames = []
    for subset in library.subsets:
        table = _sample_table(library, located[f"samples {subset.key}"])
        _check_subset(table, library.columns, subset)
        counts = located[f"counts {subset.key}"]
        measured = xlsx_matrix.read_sample_keys(counts, header=COUNTS_HEADER)
        sample_id = library.columns.sample_id
        table.require_listed(measured, sample_id, what=f"sample(s) of {counts.name}")
        kind = _sample_kind(table, library, known)
        is_measured = pl.col(sample_id).is_in(measured)
        frames.append(
            library.placed(table, subset).select(
                "plate",
                "well",
                "replicate",
                "batch",
                "is_excluded",
                subset=pl.lit(subset.key),
                sample_key=_key(subset, pl.col(sample_id)),
                sample_kind=pl.when(is_measured).then(kind).otherwise(pl.lit("empty")),
                treatment=_treatment(library),
                cell=library.columns.cell,
                dose=pl.lit(subset.dose_um),
                dose_unit=_unit(library.columns.dose, "uM"),
                time=pl.lit(TIME_H),
                time_unit=_unit(library.columns.time, "h"),
            )
        )
    return pl.concat(frames)


def _check_subset(table: TextTable, columns: Columns, subset: Subset) -> None:
    """Check that cell line, dose and time, where a row states them, are those of its file."""
    line = pl.col(columns.cell).replace_strict(LINE_BY_LABEL, default=None, return_dtype=pl.String)
    table.require(line.is_not_null(), columns.cell, "a label of no known cell line")
    table.require(line == subset.line, columns.cell, f"not {subset.line}, whose file this is")
    for column, expected in ((columns.dose, subset.dose_um), (columns.time, TIME_H)):
        number = pl.col(column).str.extract(_QUANTITY, 1).cast(pl.Float64, strict=False)
        is_right = pl.col(column).is_null() | (number == float(expected))
        table.require(is_right, column, f"not {expected}, as in all of this file")


def _unit(column: str, usual: str) -> pl.Expr:
    """Return the unit that is stated beside a number; the usual one where none is."""
    unit = pl.col(column).str.extract(_QUANTITY, 2).str.strip_chars()
    return pl.when(unit != "").then(unit).otherwise(pl.lit(usual))


def _treatment(library: Library) -> pl.Expr:
    """Return treatments as the table of compounds writes them: ``Compd0165`` is ``Cpd0165`` there."""
    return pl.col(library.columns.treatment).str.replace(r"^Compd(\d)", "Cpd${1}")


def _sample_kind(table: TextTable, library: Library, known: pl.Series) -> pl.Expr:
    treatment = _treatment(library)
    control = treatment.str.to_uppercase().replace_strict(
        KIND_BY_CONTROL, default=None, return_dtype=pl.String
    )
    is_compound = treatment.str.contains(library.catalogue_number) | treatment.is_in(known.implode())
    kind = pl.coalesce(control, pl.when(is_compound).then(pl.lit("compound")))
    rule = "neither a known control nor a compound of the library"
    table.require(kind.is_not_null(), library.columns.treatment, rule)
    return kind


def _key(subset: Subset, sample_id: pl.Expr) -> pl.Expr:
    return pl.lit(f"{subset.key}.") + sample_id


def _libraries(library: Library, raw: Path) -> pl.DataFrame:
    """Return the total count of every sample of the matrices: sample_key, total."""
    located, frames = library.spec.locate(raw), []
    for subset in library.subsets:
        path = located[f"counts {subset.key}"]
        for keys, values in xlsx_matrix.blocks(path, header=COUNTS_HEADER, block_bytes=BLOCK_BYTES // 4):
            totals = values.sum(axis=1, dtype=np.float64)
            frames.append(
                pl.DataFrame({"sample_key": keys, "total": totals}).with_columns(
                    sample_key=_key(subset, pl.col("sample_key"))
                )
            )
    return pl.concat(frames)


def _compound_table(library: Library, path: Path) -> pl.DataFrame:
    """Return what the publication says of the library's compounds, by ``compound_reported``.

    The columns are taken by position: one header calls two columns ``Catalog Number``.

    Raises:
        BadInputError: as ``xlsx.read_table``, a compound without number, or one that is described in two
            ways.
    """
    table = xlsx.read_table(
        path,
        library.compound_columns,
        dataset_id=library.spec.dataset_id,
        header="catalog",
        missing=r"^\s*(NA|N/A|-)?\s*$",
        sheet=library.compound_sheet,
        is_by_position=True,
    )
    # Narrow columns left line breaks and runs of blanks inside the texts.
    clean = pl.col(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    table = table.with_rows(table.rows.with_columns(clean)).distinct(*library.compound_columns)
    table.require_present("compound_reported")
    table.require_unique("compound_reported")
    return table.rows.drop("row")


def _repaired_compounds(compounds: pl.DataFrame) -> pl.DataFrame:
    """Return compounds without the CAS numbers that are known to be another's, and with what is right."""
    repairs = _repairs("cigs_compounds.csv").select(
        "compound_reported", wrong_cas="cas", pubchem_cid=pl.col("pubchem_cid").cast(pl.Int64)
    )
    joined = compounds.join(repairs, on="compound_reported", how="left", maintain_order="left")
    is_wrong = (pl.col("cas") == pl.col("wrong_cas")).fill_null(value=False)
    return joined.with_columns(
        cas=pl.when(~is_wrong).then("cas"), pubchem_cid=pl.when(is_wrong).then("pubchem_cid")
    ).select(pl.all().exclude("wrong_cas", "clinical_information", "approval"))


def _gene_names(library: Library, raw: Path) -> dict[str, list[str]]:
    """Return the gene names of every subset's counts; all hold the same genes."""
    located, dataset_id = library.spec.locate(raw), library.spec.dataset_id
    found = {
        subset.key: xlsx_matrix.read_gene_names(located[f"counts {subset.key}"], header=COUNTS_HEADER)
        for subset in library.subsets
    }
    first = library.subsets[0]
    expected = sorted(map(_restored, found[first.key]))
    for subset in library.subsets[1:]:
        names = sorted(map(_restored, found[subset.key]))
        if names != expected:
            differing = sorted(set(names) ^ set(expected)) or ["a symbol that is repeated"]
            rule = (
                f"other genes than in {located[f'counts {first.key}'].name}: {len(differing)} differ, "
                f"the first is {differing[0]}"
            )
            raise BadInputError(rule, dataset_id=dataset_id, file=located[f"counts {subset.key}"])
    return found


def _order(names: list[str], wanted: list[str]) -> list[int] | None:
    """Return the positions in ``names`` of the genes in ``wanted``; None where they are in this order."""
    keys = list(map(_restored, wanted))
    if list(map(_restored, names)) == keys:
        return None
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(_restored(name), []).append(position)
    return [positions[key].pop(0) for key in keys]


def _restored(name: str) -> str:
    return _SYMBOL_BY_REPORTED.get(name, name)


def _repairs(name: str) -> pl.DataFrame:
    return pl.read_csv(files("etl.sources").joinpath("repairs", name).read_bytes(), infer_schema=False)


_SYMBOL_BY_REPORTED: Final = dict(_repairs("cigs_genes.csv").select("reported", "symbol").iter_rows())
