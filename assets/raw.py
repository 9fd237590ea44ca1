"""The files that are read: found, hashed, listed in ``core/source_file``.

Their hashes are the data version that makes everything downstream stale or fresh.
"""

import dagster as dg

from assets.definition import per_dataset
from assets.resources import Warehouse, source_of
from etl.preflight import check_input
from etl.provenance import source_files
from schemas.core.source_file import SOURCE_FILE


@dg.asset(**per_dataset(SOURCE_FILE))
def source_file(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Every file the dataset's build reads, with its SHA-256; all of them read and found usable."""
    source = source_of(context)
    files = source_files(source, warehouse.raw_path)
    check_input(source, warehouse.raw_folder(source.spec.dataset_id), warehouse.references)
    return warehouse.publish(context, SOURCE_FILE, files)
