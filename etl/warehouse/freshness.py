"""What is stale: tables made from other files, or by other code, than there are now.

A dataset's tables are judged by its files, a fit unit by what the dataset's tables were made from, and the
tables over all datasets by what all of those were made from.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import polars as pl

from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.snapshots import Reference, snapshot
from etl.provenance import Provenance, fingerprint, provenance_of, source_files
from etl.sources import SOURCES
from etl.sources.base import AnnotatedSource, ContextExpressionSource, Source, TranscriptomicSource
from etl.warehouse.delta import committed_fingerprint, committed_fingerprints
from etl.warehouse.fit_units import EFFECT_TABLES, FitUnit, fit_units
from etl.warehouse.scan import exists, scan
from schemas import TABLES
from schemas.core.expression import EXPRESSION
from schemas.core.reference_file import REFERENCE_FILE
from schemas.core.source_file import SOURCE_FILE
from schemas.mart.condition import CONDITION
from schemas.table import Table

OF_SCREENS_ONLY = ("core/viability", "mart/dose_response")
OF_ANNOTATED_SOURCES_ONLY = ("core/sample_annotation",)
OF_CONTEXT_EXPRESSION_ONLY = ("core/context_expression",)
OF_EVERY_DATASET = ("core/source_file", "core/dataset", "core/compound_name", "core/context_name")


def tables_of(source: Source) -> list[Table]:
    """Return the tables that are made per dataset and that this dataset has rows in."""
    per_dataset = [
        table
        for table in TABLES.values()
        if "dataset_id" in table.partition_by and table not in EFFECT_TABLES
    ]
    if isinstance(source, TranscriptomicSource):
        absent: tuple[str, ...] = OF_SCREENS_ONLY + OF_CONTEXT_EXPRESSION_ONLY
        if not isinstance(source, AnnotatedSource):
            absent += OF_ANNOTATED_SOURCES_ONLY
        return [table for table in per_dataset if table.name not in absent]
    if isinstance(source, ContextExpressionSource):
        own: tuple[str, ...] = ("core/gene_name", *OF_CONTEXT_EXPRESSION_ONLY)
    else:
        own = OF_SCREENS_ONLY
    return [table for table in per_dataset if table.name in own + OF_EVERY_DATASET]


def tables_of_all() -> list[Table]:
    """Return the tables over all datasets."""
    return [table for table in TABLES.values() if not table.partition_by]


def available(raw_root: Path) -> list[str]:
    """Return the datasets that have a raw folder."""
    return [dataset_id for dataset_id in SOURCES if (raw_root / dataset_id).is_dir()]


def is_fresh(dataset_id: str, *, root: str, raw_root: Path) -> bool:
    """Say whether every table made per dataset rests on the files and the code that are here now.

    Raises:
        BadInputError: a required file of the dataset is missing.
    """
    source = SOURCES[dataset_id]
    wanted = provenance_of(source_files(source, raw_root), run_id="").fingerprint
    where = {"dataset_id": dataset_id}
    return all(committed_fingerprint(root, table, where) == wanted for table in tables_of(source))


def reference_sources(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of ``core/reference_file`` as the sources of their own commit.

    The answers of a service have no hash: how many there are, and since when, stands for one.
    """
    told = pl.concat_str(pl.col("release", "n_records"), separator=" ", ignore_nulls=True)
    return rows.select("path", sha256=pl.coalesce("sha256", told))


def is_reference_fresh(reference: Reference, folder: ReferenceFolder, *, root: str) -> bool:
    """Say whether the warehouse states the files of a reference that are here now; none is nothing to state.

    Raises:
        BadInputError: a file cannot be read.
    """
    rows = snapshot(reference, folder)
    committed = committed_fingerprint(root, REFERENCE_FILE, {"reference": reference.name})
    if rows.is_empty() and committed is None:
        return True
    return committed == provenance_of(reference_sources(rows), run_id="").fingerprint


def stale_units(*, root: str, dataset_ids: Collection[str] | None = None) -> dict[FitUnit, int]:
    """Return the fit units whose effects are missing or out of date, with their number of samples.

    A unit is judged by the stored expression of its dataset. Where this itself was made by other code, or
    from other files than ``core/source_file`` lists, the dataset has to be built first: no unit is named.

    Args:
        root: warehouse root.
        dataset_ids: only these datasets.
    """
    units = fit_units(root=root, dataset_ids=dataset_ids)
    if not units:
        return {}
    sources = scan(SOURCE_FILE, root=root).collect()
    wanted = {
        dataset_id: provenance_of(sources.filter(dataset_id=dataset_id), run_id="").fingerprint
        for dataset_id in {unit.dataset_id for unit in units}
    }
    expression = committed_fingerprints(root, EXPRESSION)
    effects = [committed_fingerprints(root, table) for table in EFFECT_TABLES]
    return {
        unit: n_samples
        for unit, n_samples in units.items()
        if expression.get(frozenset({("dataset_id", unit.dataset_id)})) == wanted[unit.dataset_id]
        and any(made.get(frozenset(unit.where.items())) != wanted[unit.dataset_id] for made in effects)
    }


def provenance_of_all(*, root: str, run_id: str) -> Provenance:
    """Return the provenance of a write that rests on all datasets: their files, and the effects there are.

    The effects are named one by one, because a fit unit can be missing and come later.
    """
    written = exists(SOURCE_FILE, root=root)
    sources = (
        scan(SOURCE_FILE, root=root).collect() if written else pl.DataFrame(schema=SOURCE_FILE.polars_schema)
    )
    provenance = provenance_of(sources, run_id=run_id)
    effects = [f"{sorted(where)} {made}" for where, made in committed_fingerprints(root, CONDITION).items()]
    return replace(provenance, fingerprint=fingerprint([provenance.fingerprint, *effects]))


def are_shared_tables_fresh(*, root: str) -> bool:
    """Say whether every table over all datasets was made from what the datasets' tables were made from."""
    if not exists(SOURCE_FILE, root=root):
        return True
    wanted = provenance_of_all(root=root, run_id="").fingerprint
    return all(committed_fingerprint(root, table, {}) == wanted for table in tables_of_all())


def stale(*, root: str, raw_root: Path) -> list[str]:
    """Return the datasets whose files are here and whose tables or effects are missing or out of date.

    A refresh of any dataset makes the tables over all datasets anew. Where only these are out of date, as
    after a killed run, one dataset is named.
    """
    here = available(raw_root)
    unfitted = {unit.dataset_id for unit in stale_units(root=root)}
    datasets = [
        dataset_id
        for dataset_id in here
        if dataset_id in unfitted or not is_fresh(dataset_id, root=root, raw_root=raw_root)
    ]
    return datasets if datasets or are_shared_tables_fresh(root=root) else here[:1]
