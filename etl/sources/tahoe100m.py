"""Tahoe-100M: 379 compounds on a pool of 50 cancer lines, 100 million cells (Vevo and Parse, 2025).

Raw layout, one of two:

    plate<n>_filt_*.h5ad   one file per plate, as the Arc Virtual Cell Atlas has them: cells x genes, CSR; in
                           obs plate, sample, drug, drugname_drugconc, cell_line, and quality of the cell
    **/train-*.parquet     as on Hugging Face: one row per cell, with lists (``tahoe100m_shards``)

and the tables ``gene_metadata``, ``sample_metadata``, ``drug_metadata`` and ``cell_line_metadata`` (parquet),
which the second form needs and the first is completed by.

Quirks: the concentration stands in the text of a Python list (``tahoe100m_conditions``); the well is the
number before the first ``_`` of a barcode, 1 to 96, counted along rows; names of drugs may end in a blank; a
plate is ``plate3`` or ``3``.

Both forms give the same keys of profiles. Here: reading. Not here: which cells are good, names, units.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from etl.errors import BadInputError
from etl.formats import h5ad, parquet_table
from etl.formats.delimited import TextTable
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.tahoe100m_conditions import VEHICLE, Conditions
from etl.sources.tahoe100m_shards import ShardReader
from etl.sources.wells import reported_facts
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)
from schemas.table import match_to_model

if TYPE_CHECKING:
    from etl.expression.pseudobulk import CellBlock

N_PLATES: Final = 14
HUB: Final = "hf://datasets/tahoebio/Tahoe-100M"
SHARDS: Final = "**/train-*.parquet"

GENES, SAMPLES, DRUGS, LINES = "gene_metadata", "sample_metadata", "drug_metadata", "cell_line_metadata"
"""Tables beside the cells; also their roles."""

SPEC = SourceSpec(
    dataset_id="tahoe100m",
    title="Tahoe-100M: 379 compounds on 50 cancer cell lines, single cells",
    assay="scrna",
    readout="transcript counts of split-pool single-cell RNA sequencing, summed per well and cell line, 24 h",
    value_scale="counts",
    files=(
        *(
            RemoteFile(f"plate_{number}", f"plate{number}_filt_*.h5ad", is_required=False)
            for number in range(1, N_PLATES + 1)
        ),
        RemoteFile("shards", SHARDS, f"{HUB}/data/train-*.parquet", is_required=False, is_many=True),
        *(
            RemoteFile(name, f"**/{name}.parquet", f"{HUB}/metadata/{name}.parquet", is_required=False)
            for name in (GENES, SAMPLES, DRUGS, LINES)
        ),
    ),
    license="CC0-1.0 (data card on Hugging Face)",
    is_redistributable=True,
    access="open",
    release="2025-02-25",
    doi="10.1101/2025.02.20.639398",
    url="https://huggingface.co/datasets/tahoebio/Tahoe-100M",
)

TIME_H: Final = "24"

ROWS_AT_ONCE: Final = 2_000_000
"""Rows of ``obs`` that are read at once where only distinct values are wanted."""

_OBS: Final = (
    "plate",
    "sample",
    "drug",
    "drugname_drugconc",
    "cell_line",
    "gene_count",
    "tscp_count",
    "pcnt_mito",
)
_ENSEMBL: Final = ("ensembl_id", "gene_id", "ensembl_gene_id")
"""Columns of ``var`` under which files name the Ensembl id, where they do."""

_MISSING: Final = r"^\s*(nan|NaN|None)?\s*$"
_FACTS: Final = ("moa-broad", "human-approved", "clinical-trials")


class Tahoe100m:
    """Adapter of the cells of Tahoe-100M."""

    spec = SPEC
    profile_key: tuple[str, ...] = ("plate", "well", "sample", "cell_line", "drug", "dose", "dose_unit")

    def files(self, raw: Path) -> Mapping[str, Path]:
        """Return plates or shards in order, and the tables beside them.

        Raises:
            BadInputError: there are neither or both, or a table is missing that the second form needs.
        """
        plates, located = self._plates(raw), self.spec.locate(raw)
        parts = self.spec.locate_all(raw).get("shards", [])
        shards = {path.relative_to(raw).as_posix(): path for path in parts}
        if bool(plates) == bool(shards):
            found = "both are" if plates else "neither is"
            rule = f"cells are plate<n>_filt_*.h5ad or {SHARDS}, but {found} in the raw folder"
            raise BadInputError(rule, dataset_id=self.spec.dataset_id)
        tables = {name: located[name] for name in (GENES, SAMPLES, DRUGS, LINES) if name in located}
        if shards and (missing := [name for name in (GENES, SAMPLES, LINES) if name not in tables]):
            rule = f"beside shards there is {missing[0]}.parquet, but not here"
            raise BadInputError(f"{rule}; get it from {HUB}/metadata/", dataset_id=self.spec.dataset_id)
        return plates | shards | tables

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per drug, with structure, CID and mechanism where the table of drugs is there.

        Raises:
            BadInputError: as ``files``, or a drug is listed twice or has no whole number as its CID.
        """
        drugs = self._conditions(raw).filter(pl.col("drug") != VEHICLE)["drug"].unique().sort()
        rows = pl.DataFrame({"drug": drugs}).join(
            self._drugs(raw), on="drug", how="left", maintain_order="left", validate="1:1"
        )
        settled = _repairs()
        joined = rows.join(settled, on="drug", how="left", maintain_order="left", validate="1:1")
        described = joined.select(
            compound_reported="drug",
            name="drug",
            smiles="canonical_smiles",
            pubchem_cid=pl.coalesce("pubchem_cid", "settled_cid"),
            mechanism="moa-fine",
            targets="targets",
        )
        return match_to_model(described, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell line: accession, and name, DepMap id and organ where they are known.

        Raises:
            BadInputError: as ``files``, or a line with two names.
        """
        path = self.files(raw).get(LINES)
        if path is None:
            listed = self._distinct(raw, ("cell_line", "cell_name")).rename({"cell_line": "context_reported"})
            rows = listed.select("context_reported", name="cell_name")
        else:
            columns = ("Cell_ID_Cellosaur", "cell_name", "Cell_ID_DepMap", "Organ")
            # One row per line and driver mutation.
            table = self._table(path, columns).distinct(*columns)
            rows = table.rows.filter(pl.col("Cell_ID_Cellosaur").is_not_null()).select(
                context_reported="Cell_ID_Cellosaur",
                name="cell_name",
                model_id="Cell_ID_DepMap",
                tissue=pl.col("Organ").str.to_lowercase(),
            )
        where = path if path is not None else raw
        table = TextTable(rows, self.spec.dataset_id, where, label="context_reported")
        table.require_unique("context_reported")
        label = pl.col("context_reported")
        accession = pl.when(label.str.contains(r"^CVCL_[A-Z0-9]{4}$")).then(label)
        return match_to_model(
            rows.sort("context_reported").with_columns(accession=accession), ReportedContext
        )

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per gene: the Ensembl id where a table gives it, else the symbol.

        Raises:
            BadInputError: as ``files``, or a gene or token is listed twice.
        """
        plates = self._plates(raw)
        located = self.files(raw)
        path = next(iter(plates.values())) if plates else located[GENES]
        rows = self._genes_of_plate(path, located.get(GENES)) if plates else self._tokens(path)
        table = TextTable(rows, self.spec.dataset_id, path, label="gene_reported")
        table.require_unique("gene_reported")
        return match_to_model(rows.select("gene_reported", "symbol"), ReportedGene)

    def cells(self, raw: Path) -> "Iterator[CellBlock]":
        """Yield all cells, plate after plate or shard after shard.

        Raises:
            BadInputError: as ``files``; plates with different genes; a condition that is no list of one drug,
                concentration and unit, or names another drug than the cell; a sample or token that the tables
                lack; a first element that is no mark; or as ``h5ad.observed_blocks``.
        """
        plates = self._plates(raw)
        yield from self._cells_of_plates(raw, plates) if plates else self._cells_of_shards(raw)

    def profiles(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return one row per well and cell line.

        Raises:
            BadInputError: a well with two samples or conditions.
        """
        table = TextTable(profiles, self.spec.dataset_id, raw, label="sample_key")
        table.require_unique("plate", "well", "cell_line")
        is_vehicle = pl.col("drug") == VEHICLE
        rows = profiles.select(
            "sample_key",
            "plate",
            "well",
            "dose",
            "dose_unit",
            sample_kind=pl.when(is_vehicle).then(pl.lit("vehicle")).otherwise(pl.lit("compound")),
            context_reported="cell_line",
            compound_reported=pl.when(~is_vehicle).then("drug"),
            time=pl.lit(TIME_H),
            time_unit=pl.lit("h"),
            vehicle_group=pl.lit(""),
            n_cells=pl.col("n_cells").cast(pl.Int32),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def facts(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return the publisher's name of the well, and what the table of drugs says of its drug."""
        rows = profiles.select("sample_key", "drug", "sample").join(
            self._drugs(raw), on="drug", how="left", maintain_order="left", validate="m:1"
        )
        return reported_facts(rows.select("sample_key", "sample", *_FACTS))

    def _plates(self, raw: Path) -> dict[str, Path]:
        """Return the plates that are there, by number."""
        located = self.spec.locate(raw)
        roles = [f"plate_{number}" for number in range(1, N_PLATES + 1)]
        return {role: located[role] for role in roles if role in located}

    def _cells_of_plates(self, raw: Path, plates: Mapping[str, Path]) -> "Iterator[CellBlock]":
        from etl.expression.pseudobulk import CellBlock

        located, genes = self.files(raw), self.genes(raw).collect()
        conditions = Conditions(self.spec.dataset_id)
        for path in plates.values():
            of_plate = self._genes_of_plate(path, located.get(GENES))
            if not of_plate.equals(genes.select("gene_reported", "symbol")):
                rule = "all plates have the same genes in the same order, but this one has not"
                raise BadInputError(rule, dataset_id=self.spec.dataset_id, file=path)
            for obs, counts in h5ad.observed_blocks(path, _OBS):
                cells = obs.rename({h5ad.INDEX: "barcode"}).with_columns(
                    n_genes="gene_count", n_counts="tscp_count", fraction_mito="pcnt_mito"
                )
                table = TextTable(cells, self.spec.dataset_id, path, label="barcode")
                is_share = pl.col("pcnt_mito").fill_nan(None).is_between(0, 1).fill_null(value=True)
                table.require(is_share, "pcnt_mito", "a share of counts is 0 to 1")
                yield CellBlock(self._keyed(cells, conditions, path), counts, path)

    def _cells_of_shards(self, raw: Path) -> "Iterator[CellBlock]":
        from etl.expression.pseudobulk import CellBlock

        located = self.files(raw)
        tokens = self._tokens(located[GENES])["token_id"].to_numpy()
        reader = ShardReader(tokens, self.spec.dataset_id)
        conditions, samples = Conditions(self.spec.dataset_id), self._samples(located[SAMPLES])
        for path in (path for name, path in located.items() if name.endswith(".parquet")):
            for rows, counts in reader.blocks(path):
                cells = rows.rename({"BARCODE_SUB_LIB_ID": "barcode", "cell_line_id": "cell_line"}).join(
                    samples, on="sample", how="left", maintain_order="left", validate="m:1"
                )
                table = TextTable(cells, self.spec.dataset_id, path, label="barcode")
                is_listed = pl.col("drugname_drugconc").is_not_null()
                table.require(is_listed, "sample", f"a sample that {located[SAMPLES].name} lacks")
                yield CellBlock(self._keyed(cells, conditions, path), counts, path)

    def _keyed(self, cells: pl.DataFrame, conditions: Conditions, path: Path) -> pl.DataFrame:
        """Return cells with their id and the columns of the key."""
        texts = cells.with_columns(pl.col("plate", "drug", "barcode").cast(pl.String).str.strip_chars())
        known = conditions.of(texts["drugname_drugconc"], path)
        joined = texts.join(
            known, on="drugname_drugconc", how="left", maintain_order="left", nulls_equal=True
        )
        table = TextTable(joined, self.spec.dataset_id, path, label="barcode")
        is_same = (pl.col("drug") == pl.col("drug_listed")).fill_null(value=True)
        table.require(is_same, "drug", "the condition of the cell names another drug than")
        plate = pl.col("plate").str.replace(r"^(\d+)$", "plate$1")
        return joined.with_columns(
            plate, cell_id=pl.concat_str(plate, pl.lit("|"), "barcode"), well=_well("barcode")
        ).drop("drug_listed", "drugname_drugconc", "barcode")

    def _conditions(self, raw: Path) -> pl.DataFrame:
        """Return the distinct conditions: drug, dose, unit."""
        located = self.files(raw)
        conditions = Conditions(self.spec.dataset_id)
        if SAMPLES in located and not self._plates(raw):
            listed, path = self._samples(located[SAMPLES])["drugname_drugconc"], located[SAMPLES]
        else:
            listed = self._distinct(raw, ("drugname_drugconc",))["drugname_drugconc"]
            path = next(iter(located.values()))
        known = conditions.of(listed, path).drop_nulls("drug_listed")
        return known.select("dose", "dose_unit", drug="drug_listed")

    def _distinct(self, raw: Path, columns: tuple[str, ...]) -> pl.DataFrame:
        """Return the distinct values of columns of ``obs`` over all plates, read some rows at a time."""
        found = []
        for path in self._plates(raw).values():
            n_rows = h5ad.matrix_shape(path)[0]
            for start in range(0, n_rows, ROWS_AT_ONCE):
                part = h5ad.read_obs(path, columns, rows=slice(start, start + ROWS_AT_ONCE))
                found.append(part.select(pl.col(columns).cast(pl.String)).unique())
        return pl.concat(found).unique().drop_nulls(columns[0]).sort(columns)

    def _genes_of_plate(self, path: Path, listed: Path | None) -> pl.DataFrame:
        names = [name for name in _ENSEMBL if name in h5ad.column_names(path, "var")][:1]
        var = h5ad.read_var(path, names).rename({h5ad.INDEX: "symbol"})
        if names:
            ensembl = var[names[0]].cast(pl.String)
        elif listed is not None:
            table = TextTable(self._tokens(listed), self.spec.dataset_id, listed, label="symbol")
            table.require_unique("symbol")
            known = table.rows.select("symbol", "gene_reported")
            ensembl = var.join(known, on="symbol", how="left", maintain_order="left")["gene_reported"]
        else:
            ensembl = pl.Series([None] * var.height, dtype=pl.String)
        return var.select(gene_reported=pl.coalesce(ensembl, "symbol"), symbol="symbol")

    def _tokens(self, path: Path) -> pl.DataFrame:
        """Return ``token_id``, ``gene_reported``, ``symbol`` of the table of genes."""
        table = self._table(path, ("token_id", "ensembl_id", "gene_symbol")).with_whole_numbers("token_id")
        table.require(pl.col("token_id") >= 0, "token_id", "a token is a number from 0")
        table.require_unique("token_id")
        return table.rows.select(
            "token_id", gene_reported=pl.coalesce("ensembl_id", "gene_symbol"), symbol="gene_symbol"
        )

    def _samples(self, path: Path) -> pl.DataFrame:
        table = self._table(path, ("sample", "drugname_drugconc"))
        table.require_present("sample", "drugname_drugconc")
        table.require_unique("sample")
        return table.rows.select("sample", "drugname_drugconc")

    def _drugs(self, raw: Path) -> pl.DataFrame:
        """Return the table of drugs, names without blanks around them; empty where it is not there."""
        columns = ("drug", "targets", "canonical_smiles", "pubchem_cid", "moa-fine", *_FACTS)
        path = self.spec.locate(raw).get(DRUGS)
        if path is None:
            empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
            return empty.cast({"pubchem_cid": pl.Int64})
        table = self._table(path, columns)
        table = table.with_rows(table.rows.with_columns(pl.col("drug").str.strip_chars()))
        table.require_present("drug")
        table.require_unique("drug")
        return table.with_whole_numbers("pubchem_cid").rows.select(columns)

    def _table(self, path: Path, columns: tuple[str, ...]) -> TextTable:
        """Return columns of a small table as text."""
        return parquet_table.read(
            path, columns, dataset_id=self.spec.dataset_id, missing=_MISSING, list_separator=", "
        )


def _well(barcode: str) -> pl.Expr:
    """Return the well of a barcode: its leading number counts wells along rows; null where it does not."""
    number = pl.col(barcode).str.extract(r"^(\d{1,3})_", 1).cast(pl.Int32) - 1
    letter = pl.lit(list("ABCDEFGH")).list.get((number // 12).clip(0, 7))
    well = pl.concat_str(letter, (number % 12 + 1).cast(pl.String))
    return pl.when(number.is_between(0, 95)).then(well)


def _repairs() -> pl.DataFrame:
    """Return the CIDs that a person has settled, by drug."""
    table = files("etl.sources").joinpath("repairs", "tahoe100m_compounds.csv").read_bytes()
    return pl.read_csv(table, infer_schema=False).select(
        "drug", settled_cid=pl.col("pubchem_cid").cast(pl.Int64)
    )
