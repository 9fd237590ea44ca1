"""Partitions: the datasets of the registry, and the fit units of the warehouse.

Fit units are dynamic partitions: they are known once ``core/sample`` of their dataset is there. A grid of
datasets and contexts would be mostly holes, which the UI would show as missing and offer to backfill.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

import dagster as dg

from etl.sources import SOURCES
from etl.warehouse.fit_units import FitUnit

datasets = dg.StaticPartitionsDefinition(list(SOURCES))
FIT_UNITS = "fit_units"
fit_units = dg.DynamicPartitionsDefinition(name=FIT_UNITS)

FORBIDDEN = re.compile(r"[%\x00-\x1f\x7f]|\.(?=\.\.)")
"""What a Dagster partition key cannot contain, control characters and three dots in a row; and the escape."""


def partition_key_of(unit: FitUnit) -> str:
    """Return the partition key of a fit unit: its name, percent-encoded where Dagster forbids a character.

    >>> partition_key_of(FitUnit("own", "unresolved:own:50% DMSO..."))
    'own/unresolved:own:50%25 DMSO%2E..'
    """
    return FORBIDDEN.sub(lambda found: f"%{ord(found[0]):02X}", str(unit))


def unit_of(partition_key: str) -> FitUnit:
    """Return the fit unit of a partition key.

    >>> unit_of("own/unresolved:own:50%25 DMSO%2E..")
    FitUnit(dataset_id='own', context_id='unresolved:own:50% DMSO...')
    """
    dataset_id, _, context_id = unquote(partition_key).partition("/")
    return FitUnit(dataset_id, context_id)


def register(instance: dg.DagsterInstance, units: Iterable[FitUnit]) -> None:
    """Add the partitions of fit units to an instance; those it has are left alone."""
    instance.add_dynamic_partitions(FIT_UNITS, [partition_key_of(unit) for unit in units])


def unregister_others(instance: dg.DagsterInstance, units: Iterable[FitUnit], *, dataset_id: str) -> None:
    """Remove the partitions of a dataset from an instance but for those of the units that it still has."""
    kept = {partition_key_of(unit) for unit in units}
    for key in instance.get_dynamic_partitions(FIT_UNITS):
        if unit_of(key).dataset_id == dataset_id and key not in kept:
            instance.delete_dynamic_partition(FIT_UNITS, key)
