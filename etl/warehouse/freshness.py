"""What is stale: datasets whose tables were made from other files, or by other code, than there are now."""

from pathlib import Path

from etl.provenance import provenance_of, source_files
from etl.sources import SOURCES
from etl.sources.base import Source, TranscriptomicSource
from etl.warehouse.delta import committed_fingerprint
from etl.warehouse.scan import exists, scan
from schemas import TABLES
from schemas.core.source_file import SOURCE_FILE
from schemas.table import Table

OF_SCREENS_ONLY = ("core/viability", "mart/dose_response")
OF_EVERY_DATASET = ("core/source_file", "core/dataset", "core/compound_name", "core/context_name")


def tables_of(source: Source) -> list[Table]:
    """Return the tables that a dataset has rows in, those shared by all datasets left out."""
    per_dataset = [table for table in TABLES.values() if "dataset_id" in table.partition_by]
    if isinstance(source, TranscriptomicSource):
        return [table for table in per_dataset if table.name not in OF_SCREENS_ONLY]
    return [table for table in per_dataset if table.name in OF_SCREENS_ONLY + OF_EVERY_DATASET]


def tables_of_all() -> list[Table]:
    """Return the tables over all datasets."""
    return [table for table in TABLES.values() if "dataset_id" not in table.partition_by]


def available(raw_root: Path) -> list[str]:
    """Return the datasets that have a raw folder."""
    return [dataset_id for dataset_id in SOURCES if (raw_root / dataset_id).is_dir()]


def is_fresh(dataset_id: str, *, root: str, raw_root: Path) -> bool:
    """Say whether every table of a dataset was made from the files and by the code that are here now.

    Raises:
        BadInputError: a required file of the dataset is missing.
    """
    source = SOURCES[dataset_id]
    wanted = provenance_of(source_files(source, raw_root), run_id="").fingerprint
    where = {"dataset_id": dataset_id}
    return all(committed_fingerprint(root, table, where) == wanted for table in tables_of(source))


def are_shared_tables_fresh(*, root: str) -> bool:
    """Say whether every table over all datasets was made from what the datasets' tables were made from."""
    if not exists(SOURCE_FILE, root=root):
        return True
    wanted = provenance_of(scan(SOURCE_FILE, root=root).collect(), run_id="").fingerprint
    return all(committed_fingerprint(root, table, {}) == wanted for table in tables_of_all())


def stale(*, root: str, raw_root: Path) -> list[str]:
    """Return the datasets whose files are here and whose tables are missing or out of date.

    A refresh of any dataset makes the tables over all datasets anew. Where only these are out of date, as
    after a killed run, one dataset is named.
    """
    here = available(raw_root)
    datasets = [dataset_id for dataset_id in here if not is_fresh(dataset_id, root=root, raw_root=raw_root)]
    return datasets if datasets or are_shared_tables_fresh(root=root) else here[:1]
