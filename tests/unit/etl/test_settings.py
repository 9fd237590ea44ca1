"""Settings come from an environment, and a wrong one is said."""

from pathlib import Path

import pytest

from etl.errors import PerturbhouseError
from etl.settings import settings_from, storage_options


def test_defaults_are_beside_the_root() -> None:
    settings = settings_from({"PERTURBHOUSE_ROOT": "data/house"})
    assert settings.raw == Path("data/house/raw")
    assert settings.cache == Path("data/house/.cache")
    assert settings.pubchem_mode == "auto"


def test_a_root_in_an_object_store_keeps_files_on_this_machine() -> None:
    settings = settings_from({"PERTURBHOUSE_ROOT": "s3://bucket/prefix"})
    assert settings.root == "s3://bucket/prefix"
    assert "s3:" not in str(settings.cache)


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PerturbhouseError, match="'never'; choose auto, online or offline"):
        settings_from({"PERTURBHOUSE_PUBCHEM": "never"})


def test_only_remote_roots_take_storage_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert storage_options("warehouse") is None
    assert (storage_options("s3://bucket") or {})["AWS_REGION"] == "eu-west-1"
