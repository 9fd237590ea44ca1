"""Jobs: the references, and the three parts of a build, one for each kind of partition.

A sensor chains these three (``sensors.py``).

A run is one process: its steps are short, or one. Runs go side by side.
"""

import dagster as dg

from assets.checks import CHECKS
from assets.definition import asset_key
from assets.references import GROUP
from etl.warehouse.fit_units import EFFECT_TABLES
from etl.warehouse.freshness import tables_of_all

_EFFECTS = dg.AssetSelection.assets(*map(asset_key, EFFECT_TABLES))
_SHARED = dg.AssetSelection.assets(*map(asset_key, tables_of_all()))
_REFERENCES = dg.AssetSelection.groups(GROUP)

read_references = dg.define_asset_job(
    "read_references",
    executor_def=dg.in_process_executor,
    selection=_REFERENCES.without_checks(),
    description="State which release of each identifier reference is here; PubChem's files are compiled.",
)

refresh = dg.define_asset_job(
    "refresh",
    executor_def=dg.in_process_executor,
    selection=(dg.AssetSelection.all() - _EFFECTS - _SHARED - _REFERENCES).without_checks(),
    description="Rebuild the tables of one dataset. Its stale fit units, then `share`, follow by sensor.",
)

effects = dg.define_asset_job(
    "effects",
    executor_def=dg.in_process_executor,
    selection=_EFFECTS.without_checks(),
    description="Fit one context of a dataset. `share` follows by sensor.",
)

share = dg.define_asset_job(
    "share",
    executor_def=dg.in_process_executor,
    selection=_SHARED.without_checks() | dg.AssetSelection.checks(*CHECKS),
    description="Rebuild the tables that all datasets share, and check across tables.",
)
