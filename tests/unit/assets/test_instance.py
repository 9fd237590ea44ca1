"""The local Dagster instance: its policy is one, and needs no DAGSTER_HOME."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.instance import INSTANCE_POLICY

PROJECT = Path(__file__).parents[3]


def test_the_policy_beside_a_warehouse_is_the_projects_but_for_storage() -> None:
    project = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert project.pop("storage") == {"sqlite": {"base_dir": "warehouse/.dagster"}}
    assert yaml.safe_load(INSTANCE_POLICY) == project


def test_the_projects_instance_keeps_its_history_beside_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(PROJECT)) as instance:
        assert instance.get_runs_count() == 0
        assert not instance.telemetry_enabled
    assert (tmp_path / "warehouse" / ".dagster").is_dir()
