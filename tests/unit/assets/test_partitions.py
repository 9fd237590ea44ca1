"""Partition keys of fit units: any label a publisher may have used, and back."""

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.partitions import FIT_UNITS, partition_key_of, register, unit_of, unregister_others
from etl.warehouse.fit_units import FitUnit

ODD = [
    "unresolved:own:HeLa/229... (p. 4)",
    "unresolved:own:50%25 \t\x00",
    "unresolved:own:α-TC1 …, 'a'=\"b\"",
]


@given(st.text(min_size=1))
def test_every_label_comes_back_from_its_key(label: str) -> None:
    unit = FitUnit("own", f"unresolved:own:{label}")
    assert unit_of(partition_key_of(unit)) == unit


def test_keys_are_accepted_by_dagster_and_stay_apart() -> None:
    units = [FitUnit("own", context) for context in [*ODD, "unresolved:own:HeLa/229%2E.. (p. 4)"]]
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, units)
        register(instance, units[:1])
        keys = instance.get_dynamic_partitions(FIT_UNITS)
    assert [unit_of(key) for key in keys] == units


@pytest.mark.parametrize("unit", [FitUnit("own", "CVCL_0023"), FitUnit("own", "unresolved:own:VOA-4698")])
def test_an_ordinary_key_is_the_name(unit: FitUnit) -> None:
    assert partition_key_of(unit) == f"{unit.dataset_id}/{unit.context_id}"


def test_only_what_a_dataset_has_lost_is_unregistered() -> None:
    kept, lost, other = FitUnit("own", "CVCL_0023"), FitUnit("own", ODD[0]), FitUnit("owner", "CVCL_0023")
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, [kept, lost, other])
        unregister_others(instance, [kept], dataset_id="own")
        assert [unit_of(key) for key in instance.get_dynamic_partitions(FIT_UNITS)] == [kept, other]
