"""The warehouse as assets see it: read rows, publish rows with provenance and an account of them.

What a publication shows in the Dagster UI is decided here, once for all assets.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl

from assets.partitions import unit_of
from etl.accounting import RowAccount
from etl.harmonize.pubchem import PubChem
from etl.harmonize.pubchem_files import PubChemFiles, has_pubchem_files
from etl.harmonize.pubchem_rest import PubChemRest
from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.snapshots import PUBCHEM_CACHE
from etl.harmonize.structure_cache import StructureCache
from etl.provenance import REFERENCE, Provenance, provenance_of
from etl.settings import PubChemMode, Settings
from etl.sources import SOURCES
from etl.sources.base import Source
from etl.warehouse import delta
from etl.warehouse.fit_units import EFFECT_TABLES
from etl.warehouse.freshness import provenance_of_all, reference_sources
from etl.warehouse.scan import exists, scan
from schemas.core.reference_file import REFERENCE_FILE
from schemas.core.source_file import SOURCE_FILE
from schemas.table import Table

PREVIEW_ROWS = 5
COMMAND_TAG = "perturbhouse/command"
"""Tag of the runs that a command of this project executes; they complete themselves."""


class Warehouse(dg.ConfigurableResource):
    """Roots and services of one deployment; plain strings, so that any executor can carry them."""

    root: str
    raw: str
    cache: str
    pubchem_mode: str = "auto"
    pubchem_url: str = ""
    with_tautomer_keys: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> "Warehouse":
        """Return the resource that settings describe."""
        return cls(
            root=settings.root,
            raw=str(settings.raw),
            cache=str(settings.cache),
            pubchem_mode=settings.pubchem_mode,
            pubchem_url=settings.pubchem_url or "",
            with_tautomer_keys=settings.with_tautomer_keys,
        )

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make the same resource in another process."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    @property
    def raw_path(self) -> Path:
        """Folder of publishers' files, one folder per dataset."""
        return Path(self.raw)

    def raw_folder(self, dataset_id: str) -> Path:
        """Return the folder of a dataset's files."""
        return self.raw_path / dataset_id

    @property
    def cache_path(self) -> Path:
        """Folder of caches."""
        return Path(self.cache)

    @property
    def references(self) -> ReferenceFolder:
        """The identifier references; without their folder, what ships with the project."""
        folder = self.raw_path / REFERENCE
        return ReferenceFolder(folder if folder.is_dir() else None, self.cache_path)

    def pubchem(self, references: ReferenceFolder | None = None) -> PubChem:
        """Return PubChem, from its files where the reference folder holds them, else from its service.

        Args:
            references: another reference folder; the service is then not asked, only its earlier answers are.
        """
        folder = self.references if references is None else references
        if has_pubchem_files(folder):
            return PubChemFiles(folder)
        return PubChemRest(
            self.cache_path / PUBCHEM_CACHE,
            mode=cast("PubChemMode", self.pubchem_mode) if references is None else "offline",
            base_url=self.pubchem_url or None,
        )

    def structure_cache(self) -> StructureCache:
        """Return the cache of what was computed from structures; use as a context manager."""
        return StructureCache(self.cache_path / "structures.sqlite")

    def read(self, table: Table, dataset_id: str, context_id: str | None = None) -> pl.DataFrame:
        """Return the rows of a dataset, or of one of its contexts, in the order of the primary key."""
        rows = scan(table, root=self.root).filter(dataset_id=dataset_id)
        if context_id is not None:
            rows = rows.filter(context_id=context_id)
        return rows.collect().sort(table.primary_key)

    def scan_all(self, table: Table) -> pl.LazyFrame:
        """Return a table lazily; no rows where nothing has been written, as by a build of screens only."""
        if exists(table, root=self.root):
            return scan(table, root=self.root)
        return pl.LazyFrame(schema=table.polars_schema)

    def read_all(self, table: Table) -> pl.DataFrame:
        """Return all rows of a table, ordered by its primary key; none where nothing has been written."""
        return self.scan_all(table).collect().sort(table.primary_key)

    def names(self, table: Table, key: str) -> dict[str, str]:
        """Return the names that a table of the warehouse gives to its ids."""
        named = self.read_all(table).filter(pl.col("name").is_not_null()).select(key, "name")
        return dict(named.iter_rows())

    def publish(
        self,
        context: dg.AssetExecutionContext,
        table: Table,
        rows: pl.DataFrame,
        account: RowAccount | None = None,
    ) -> dg.MaterializeResult:
        """Replace the run's partition of a table (or all of it) by rows, and describe the publication."""
        with self.publishing(context, table, sources=rows if table is SOURCE_FILE else None) as publication:
            publication[table].add(rows)
        return publication.describe(table, account)

    def publish_reference(
        self, context: dg.AssetExecutionContext, name: str, rows: pl.DataFrame
    ) -> dg.MaterializeResult:
        """Replace the rows of one reference in ``core/reference_file``, and describe the publication."""
        where = {"reference": name}
        provenance = provenance_of(reference_sources(rows), run_id=context.run.run_id)
        with delta.replacing(self.root, {REFERENCE_FILE: where}, provenance=provenance) as staged:
            staged[REFERENCE_FILE.name].add(rows)
        publication = Publication(self.root, where, staged, rows, provenance)
        return publication.describe(REFERENCE_FILE, key=context.asset_key)

    @contextmanager
    def publishing(
        self, context: dg.AssetExecutionContext, *tables: Table, sources: pl.DataFrame | None = None
    ) -> Iterator["Publication"]:
        """Stage rows of tables in chunks; commit them in this order if the block ends well.

        Args:
            context: of the run, whose partition of each table is replaced.
            tables: tables of the same partition.
            sources: the files they rest on, where ``core/source_file`` does not hold them yet.
        """
        where = partition_of(context, tables[0])
        if sources is None:
            written = self.scan_all(SOURCE_FILE)
            rows = written.filter(dataset_id=where["dataset_id"]) if where else written
            sources = rows.collect().sort(SOURCE_FILE.primary_key)
        if where:
            provenance = provenance_of(sources, run_id=context.run.run_id)
        else:
            provenance = provenance_of_all(root=self.root, run_id=context.run.run_id)
        targets = dict.fromkeys(tables, where)
        with delta.replacing(self.root, targets, provenance=provenance) as staged:
            yield Publication(self.root, where, staged, sources, provenance)


@dataclass(frozen=True, slots=True)
class Publication:
    """Tables on their way into the warehouse, and what the UI shows of them once they are there.

    Args:
        root: warehouse root.
        where: the partition that is replaced; empty for whole tables.
        staged: rows of each table, by its name.
        sources: rows of ``core/source_file`` that the tables rest on.
        provenance: what every commit carries.
    """

    root: str
    where: Mapping[str, str]
    staged: Mapping[str, delta.Replacement]
    sources: pl.DataFrame
    provenance: Provenance

    def __getitem__(self, table: Table) -> delta.Replacement:
        return self.staged[table.name]

    def describe(
        self, table: Table, account: RowAccount | None = None, key: dg.AssetKey | None = None
    ) -> dg.MaterializeResult:
        """Return what the UI shows: row counts, account, preview, sources and version.

        Args:
            table: the table.
            account: of its rows.
            key: of the asset, where it is not named as its table.
        """
        rows = scan(table, root=self.root).filter(**self.where)
        metadata: dict[str, Any] = {
            "dagster/row_count": self[table].n_rows,
            "dagster/uri": delta.table_uri(self.root, table),
            "delta_version": delta.version(self.root, table),
            "preview": dg.MetadataValue.md(markdown_table(rows.head(PREVIEW_ROWS).collect())),
            "source_files": dg.MetadataValue.md(
                markdown_table(self.sources.select("path", "n_bytes", "sha256"))
            ),
        }
        if account is not None:
            metadata |= account_metadata(account)
        return dg.MaterializeResult(
            asset_key=table.name.split("/") if key is None else key,
            metadata=metadata,
            data_version=dg.DataVersion(self.provenance.fingerprint),
        )


UNIT, ROWS_IN, ROWS_OUT, DROPPED, NOTED = "counted", "rows_in", "rows_out", "dropped: ", "noted: "


def account_metadata(account: RowAccount) -> dict[str, int | str]:
    """Return a row account as metadata of a materialization."""
    counted: dict[str, int | str] = {
        UNIT: account.unit,
        ROWS_IN: account.n_in,
        ROWS_OUT: account.n_out,
    }
    return (
        counted
        | {f"{DROPPED}{reason}": n for reason, n in account.dropped.items()}
        | {f"{NOTED}{remark}": n for remark, n in account.noted.items()}
    )


def account_in(metadata: Mapping[str, dg.MetadataValue]) -> RowAccount | None:
    """Return the row account that ``account_metadata`` put into metadata, if there is one."""
    if ROWS_IN not in metadata:
        return None
    numbers = {key: cast("int", value.value) for key, value in metadata.items()}
    return RowAccount(
        n_in=numbers[ROWS_IN],
        n_out=numbers[ROWS_OUT],
        dropped={key.removeprefix(DROPPED): n for key, n in numbers.items() if key.startswith(DROPPED)},
        noted={key.removeprefix(NOTED): n for key, n in numbers.items() if key.startswith(NOTED)},
        unit=str(metadata[UNIT].value),
    )


def source_of(context: dg.AssetExecutionContext) -> Source:
    """Return the adapter of the run's dataset."""
    return SOURCES[context.partition_key]


def partition_of(context: dg.AssetExecutionContext, table: Table) -> dict[str, str]:
    """Return the partition of a table that a run replaces; empty where the table is one whole."""
    if table in EFFECT_TABLES:
        return unit_of(context.partition_key).where
    return {"dataset_id": context.partition_key} if "dataset_id" in table.partition_by else {}


def not_applicable(table: Table, reason: str) -> dg.MaterializeResult:
    """Return the materialization of a table that a dataset has no rows for; nothing is written."""
    return dg.MaterializeResult(asset_key=table.name.split("/"), metadata={"not_applicable": reason})


def markdown_table(rows: pl.DataFrame) -> str:
    """Return rows as a Markdown table."""
    with pl.Config(
        tbl_formatting="MARKDOWN",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_cols=-1,
        tbl_rows=-1,
        fmt_str_lengths=80,
        tbl_width_chars=60_000,
    ):
        return str(rows)
