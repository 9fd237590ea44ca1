"""sci-Plex 3: 188 compounds on A549, K562 and MCF7, nuclei told apart by hashes (GEO GSM4150378).

Raw layout (names end in ``.gz`` as published):

    *UMI.count.matrix        tab-separated gene index, cell index, count, from 1, ordered by cell
    *gene.annotations.txt    versioned Ensembl id and name, human and mouse
    *cell.annotations.txt    cell and sample, in the order of the matrix
    *pData.txt               one row per nucleus: hashes and their quality, well, plate, treatment
    *hashTable_metadata.txt  one row per well: compound with SMILES and CAS number (optional)

Quirks: ``n.umi`` counts mouse genes too, which the mixed genome of the alignment brings; a nucleus whose two
hashes name no well of the screen has ``NA`` for its treatment; doses are nM, which the file does not say;
the hash of a well (``plate6_A9``) names the plate of hashes, that of a plate (``plate44``) where cells grew;
one name has a question mark for a character that was lost. Compounds are keyed by their catalogue number
(Selleck), so that no name decides; ``S0000`` is the vehicle.

Here: reading. Not here: counts of cells that fail the assay's filters, names, units.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from scipy import sparse

from etl.formats.cell_triplets import read_axis, read_r_table, triplet_blocks
from etl.formats.delimited import TextTable, read
from etl.sources.base import RemoteFile, SourceSpec
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

SUPPLEMENT: Final = (
    "https://ftp.ncbi.nlm.nih.gov/geo/samples/GSM4150nnn/GSM4150378/suppl/GSM4150378_sciPlex3_"
)
SCREEN: Final = f"{SUPPLEMENT}A549_MCF7_K562_"

SPEC = SourceSpec(
    dataset_id="sciplex3",
    title="sci-Plex 3: 188 compounds on three cancer cell lines, single nuclei (GSE139944)",
    assay="snrna",
    readout="UMI counts of sci-RNA-seq3 on hashed nuclei, summed per well, 24 h and 72 h",
    value_scale="counts",
    files=(
        RemoteFile("counts", "*UMI.count.matrix*", f"{SCREEN}screen_UMI.count.matrix.gz"),
        RemoteFile("genes", "*gene.annotations*", f"{SCREEN}screen_gene.annotations.txt.gz"),
        RemoteFile("cells", "*cell.annotations*", f"{SCREEN}screen_cell.annotations.txt.gz"),
        RemoteFile("nuclei", "*pData*", f"{SUPPLEMENT}pData.txt.gz"),
        RemoteFile("wells", "*hashTable_metadata*", f"{SCREEN}hashTable_metadata.txt.gz", is_required=False),
    ),
    license="none stated; public in GEO (GSE139944)",
    is_redistributable=False,
    access="open",
    release="GSM4150378, 2019-12-05",
    doi="10.1126/science.aax6234",
    url="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSM4150378",
)

VEHICLE: Final = "S0000"

HASH_COUNTS_AT_LEAST: Final = 5
HASH_RATIO_AT_LEAST: Final = 5
LEFT_OUT_RT_WELL: Final = 1
"""Of its nuclei the publisher's analysis keeps those with at least 5 UMIs on the plate's and on the well's
hash, each at least 5 times the second best, but for those of one well of reverse transcription."""

HUMAN: Final = r"^ENSG\d"

ACCESSION_BY_LINE: Final = {"A549": "CVCL_0023", "K562": "CVCL_0004", "MCF7": "CVCL_0031"}

_QUALITY: Final = ("hash_umis_P", "top_to_second_best_ratio_P", "hash_umis_W", "top_to_second_best_ratio_W")
_TREATMENT: Final = ("cell_type", "replicate", "time_point", "catalog_number", "dose")
_OF_COMPOUND: Final = ("catalog_number", "product_name", "target", "pathway_level_2")
_FACTS: Final = ("pathway", "pathway_level_1")
_HASHES: Final = ("top_oligo_P", "top_oligo_W", *_QUALITY)
_NUCLEI: Final = ("cell", "n.umi", "rt_well", "vehicle", *_HASHES, *_TREATMENT)


class Sciplex3:
    """Adapter of the nuclei of sci-Plex 3."""

    spec = SPEC
    profile_key: tuple[str, ...] = (
        "plate",
        "well",
        "cell_line",
        "replicate",
        "time",
        "catalog_number",
        "dose",
    )

    def files(self, raw: Path) -> Mapping[str, Path]:
        """Return the files by role; the table of wells decides no profile, but is one of them."""
        return self.spec.locate(raw)

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per catalogue number, with SMILES and CAS number where the table of wells is there.

        Raises:
            BadInputError: a column is missing, or a catalogue number has two names, targets or structures.
        """
        table = self._nuclei(raw, _OF_COMPOUND)
        rows = table.rows.filter(pl.col("catalog_number").is_not_null(), pl.col("catalog_number") != VEHICLE)
        described = table.with_rows(rows).distinct(*_OF_COMPOUND)
        described.require_unique("catalog_number")
        joined = described.rows.join(
            self._structures(raw), on="catalog_number", how="left", maintain_order="left", validate="1:1"
        ).join(_repairs(), on="catalog_number", how="left", maintain_order="left", validate="1:1")
        is_meant = pl.col("product_name").str.starts_with(pl.col("name_starts_with"))
        rows = joined.sort("catalog_number").select(
            "smiles",
            "cas",
            compound_reported="catalog_number",
            name="product_name",
            vendor_id="catalog_number",
            pubchem_cid=pl.when(is_meant).then(pl.col("pubchem_cid").cast(pl.Int64)),
            mechanism="pathway_level_2",
            targets="target",
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per cell line.

        Raises:
            BadInputError: a column is missing.
        """
        labels = self._nuclei(raw, ("cell_type",)).rows["cell_type"].drop_nulls().unique().sort()
        rows = pl.DataFrame({"context_reported": labels}).with_columns(
            accession=pl.col("context_reported").replace_strict(
                ACCESSION_BY_LINE, default=None, return_dtype=pl.String
            )
        )
        return match_to_model(rows, ReportedContext)

    def genes(self, raw: Path) -> pl.LazyFrame:
        """Return one row per human gene, in file order; mouse genes are no part of the screen.

        Raises:
            BadInputError: as ``read_axis``.
        """
        table = self._genes(raw)
        rows = table.rows.filter(pl.col("id").str.contains(HUMAN))
        return match_to_model(rows.select(gene_reported="id", symbol="gene_short_name"), ReportedGene)

    def cells(self, raw: Path) -> "Iterator[CellBlock]":
        """Yield all nuclei, in file order, with their counts on human genes.

        A nucleus whose plate or well hash does not meet the publisher's criteria has no plate or no well, and
        one without a treatment no cell line: it belongs to no profile and is counted.

        Raises:
            BadInputError: nuclei of the matrix and of the table are not the same; counts of a nucleus do not
                add up to its ``n.umi``; a vehicle that is none; or as ``read_r_table``, ``read_axis`` and
                ``triplet_blocks``.
        """
        from etl.expression.pseudobulk import CellBlock

        located = self.spec.locate(raw)
        genes, nuclei = self._genes(raw).rows, self._ordered_nuclei(raw)
        place = _places(genes["id"].str.contains(HUMAN).to_numpy())
        blocks = triplet_blocks(
            located["counts"],
            n_genes=genes.height,
            n_cells=nuclei.rows.height,
            dataset_id=self.spec.dataset_id,
        )
        for start, counts in blocks:
            rows = nuclei.with_rows(nuclei.rows[start : start + counts.shape[0]])
            found = pl.Series(np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel())
            rule = f"counts of {located['counts'].name} add up to another n.umi"
            rows.require(rows.rows["n.umi"] == found, "n.umi", rule)
            yield CellBlock(
                rows.rows.select("cell_id", *self.profile_key), _on(counts, place), located["counts"]
            )

    def profiles(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return one row per well with good nuclei.

        Raises:
            BadInputError: a well with two treatments.
        """
        table = TextTable(profiles, self.spec.dataset_id, self.spec.locate(raw)["nuclei"], label="sample_key")
        table.require_unique("plate", "well")
        is_vehicle = pl.col("catalog_number") == VEHICLE
        rows = profiles.select(
            "sample_key",
            "plate",
            "replicate",
            "time",
            "dose",
            sample_kind=pl.when(is_vehicle).then(pl.lit("vehicle")).otherwise(pl.lit("compound")),
            context_reported="cell_line",
            compound_reported=pl.when(~is_vehicle).then("catalog_number"),
            dose_unit=pl.lit("nM"),
            time_unit=pl.lit("h"),
            well=pl.col("well").str.replace(r"^plate\d+_", ""),
            vehicle_group=pl.lit(""),
            n_cells=pl.col("n_cells").cast(pl.Int32),
            is_low_quality=pl.lit(value=False),
        )
        return match_to_model(rows, ReportedSample)

    def facts(self, raw: Path, profiles: pl.DataFrame) -> pl.LazyFrame:
        """Return the hash of the well, and the pathways under which the publisher lists its compound.

        Raises:
            BadInputError: a column is missing, or a catalogue number has two pathways.
        """
        listed = self._nuclei(raw, ("catalog_number", *_FACTS)).distinct("catalog_number", *_FACTS)
        listed.require_unique("catalog_number")
        rows = profiles.select("sample_key", "catalog_number", well_oligo="well").join(
            listed.rows, on="catalog_number", how="left", maintain_order="left"
        )
        return reported_facts(rows.select("sample_key", "well_oligo", *_FACTS))

    def _genes(self, raw: Path) -> TextTable:
        path = self.spec.locate(raw)["genes"]
        return read_axis(path, ("id", "gene_short_name"), dataset_id=self.spec.dataset_id)

    def _nuclei(self, raw: Path, columns: tuple[str, ...]) -> TextTable:
        return read_r_table(self.spec.locate(raw)["nuclei"], columns, dataset_id=self.spec.dataset_id)

    def _ordered_nuclei(self, raw: Path) -> TextTable:
        """Return the nuclei in the order of the matrix: id, ``n.umi`` and the columns of the key."""
        table = self._nuclei(raw, _NUCLEI)
        table.require_present("cell")
        table.require_unique("cell")
        table = table.with_numbers(*_QUALITY, may_be_infinite=True).with_whole_numbers("n.umi", "rt_well")
        has_treatment, is_vehicle = pl.col("catalog_number").is_not_null(), pl.col("vehicle") == "TRUE"
        is_right = ~has_treatment | (is_vehicle == (pl.col("catalog_number") == VEHICLE))
        table.require(is_right, "catalog_number", f"the vehicle is {VEHICLE}, and only it; this breaks that")
        listed = read_axis(
            self.spec.locate(raw)["cells"], ("cell", "sample"), dataset_id=self.spec.dataset_id
        )
        _require_all(listed, table.rows, "the table of nuclei")
        _require_all(table, listed.rows, "the cells of the matrix")
        keyed = table.rows.select("row", "cell", "n.umi", *_key()).rename({"cell": "cell_id"})
        order = listed.rows.select(cell_id="cell")
        return table.with_rows(order.join(keyed, on="cell_id", how="left", maintain_order="left"))

    def _structures(self, raw: Path) -> pl.DataFrame:
        """Return SMILES and CAS number by catalogue number."""
        columns = {"catalog_number": "catalog_number", "SMILES": "smiles", "CAS.Number": "cas"}
        path = self.spec.locate(raw).get("wells")
        if path is None:
            return pl.DataFrame(schema=dict.fromkeys(columns.values(), pl.String))
        table = read(
            path,
            tuple(columns),
            dataset_id=self.spec.dataset_id,
            separator="\t",
            missing=r"^\s*(NA|<NA>)?\s*$",
            is_quoted=True,
        ).distinct(*columns)
        table = table.with_rows(table.rows.filter(pl.col("catalog_number") != VEHICLE))
        table.require_unique("catalog_number")
        return table.rows.select(*columns).rename(columns)


def _key() -> list[pl.Expr]:
    """Return the columns of the key; plate and well where their hash can be trusted."""

    def is_trusted(hashed: str) -> pl.Expr:
        has_counts = pl.col(f"hash_umis_{hashed}") >= HASH_COUNTS_AT_LEAST
        has_ratio = pl.col(f"top_to_second_best_ratio_{hashed}") >= HASH_RATIO_AT_LEAST
        return has_counts & has_ratio

    is_kept = pl.col("rt_well") != LEFT_OUT_RT_WELL
    return [
        pl.when(is_trusted("P") & is_kept).then("top_oligo_P").alias("plate"),
        pl.when(is_trusted("W")).then("top_oligo_W").alias("well"),
        pl.col("cell_type").alias("cell_line"),
        pl.col("replicate"),
        pl.col("time_point").alias("time"),
        pl.col("catalog_number"),
        pl.col("dose"),
    ]


def _require_all(table: TextTable, others: pl.DataFrame, where: str) -> None:
    """Check that every cell of a table is among others."""
    table.require(pl.col("cell").is_in(others["cell"].implode()), "cell", f"a cell that {where} lacks")


def _places(is_kept: np.ndarray) -> np.ndarray:
    """Return where each gene goes among those kept; -1 where it is not kept."""
    return np.where(is_kept, np.cumsum(is_kept) - 1, -1).astype(np.int32)


def _on(counts: sparse.csr_matrix, place: np.ndarray) -> sparse.csr_matrix:
    """Return the counts on the genes that are kept; genes stay in order."""
    gene = place[counts.indices]
    is_kept = gene >= 0
    starts = np.concatenate([[0], np.cumsum(is_kept)])[counts.indptr]
    shape = (counts.shape[0], int(place.max(initial=-1)) + 1)
    return sparse.csr_matrix((counts.data[is_kept], gene[is_kept], starts), shape=shape)


def _repairs() -> pl.DataFrame:
    """Return the CIDs that a person has settled, by catalogue number and the beginning of the name."""
    table = files("etl.sources").joinpath("repairs", "sciplex3_compounds.csv").read_bytes()
    return pl.read_csv(table, infer_schema=False).select("catalog_number", "name_starts_with", "pubchem_cid")
