"""The identifier references as assets of their own: which release of each this warehouse was built with.

One asset per reference, ``raw/reference/<name>``; each writes its part of ``core/reference_file``. Reading a
reference here also leaves its parsed form in the cache, so that the datasets after it start at once.
"""

import dagster as dg

from assets.definition import facts, reference_key
from assets.resources import Warehouse
from etl.harmonize.snapshots import REFERENCES, Reference, snapshot
from schemas.core.reference_file import REFERENCE_FILE

GROUP = "reference"


def reference_asset(reference: Reference) -> dg.AssetsDefinition:
    """Return the asset of a reference."""

    @dg.asset(
        **facts(REFERENCE_FILE, ()) | {"key": reference_key(reference.name), "group_name": GROUP},
        description=f"{reference.title}: release, date and hash of its files. Never materialized where none "
        "of them is in the reference folder.",
        pool=f"reference_{reference.name}",
    )
    def files(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        return warehouse.publish_reference(context, reference.name, snapshot(reference, warehouse.references))

    return files


REFERENCE_ASSETS = [reference_asset(reference) for reference in REFERENCES]
