"""The code location: the only module that Dagster loads."""

import dagster as dg

from assets import core, mart, raw, references
from assets.checks import CHECKS
from assets.jobs import effects, read_references, refresh, share
from assets.resources import Warehouse
from assets.schedules import weekly_references, weekly_refresh
from assets.sensors import complete_refresh
from etl.settings import settings_from

ASSETS = [
    asset
    for asset in dg.load_assets_from_modules([raw, references, core, mart])
    if isinstance(asset, dg.AssetsDefinition)
]

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[read_references, refresh, effects, share],
    schedules=[weekly_references, weekly_refresh],
    sensors=[complete_refresh],
    resources={"warehouse": Warehouse.from_settings(settings_from())},
)
