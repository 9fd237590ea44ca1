"""The code location: the only module that Dagster loads."""

import dagster as dg

from assets import core, mart, raw
from assets.checks import CHECKS
from assets.jobs import effects, refresh, share
from assets.resources import Warehouse
from assets.schedules import weekly_refresh
from assets.sensors import complete_refresh
from etl.settings import settings_from

ASSETS = [
    asset
    for asset in dg.load_assets_from_modules([raw, core, mart])
    if isinstance(asset, dg.AssetsDefinition)
]

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[refresh, effects, share],
    schedules=[weekly_refresh],
    sensors=[complete_refresh],
    resources={"warehouse": Warehouse.from_settings(settings_from())},
)
