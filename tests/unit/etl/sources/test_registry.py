"""The registry: built-in adapters, and those that installed packages bring."""

from importlib.metadata import EntryPoint

import pytest

import etl.sources
from etl.errors import PerturbhouseError
from etl.sources import BUILT_IN, SOURCES, registered_sources
from etl.sources.base import ContextExpressionSource, ScreenSource, TranscriptomicSource
from etl.sources.gcsi import Gcsi


def with_entry_points(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    points = [EntryPoint(name, value, "perturbhouse.sources") for name, value in entries]
    monkeypatch.setattr(etl.sources, "entry_points", lambda **_: points)


class InHouse(Gcsi):
    class Spec:
        dataset_id = "in_house"

    spec = Spec()  # type: ignore[assignment]


def test_every_adapter_speaks_one_protocol_and_has_its_page() -> None:
    from pathlib import Path

    for source in BUILT_IN:
        dataset_id = source.spec.dataset_id
        assert SOURCES[dataset_id] is source
        protocols = (TranscriptomicSource, ScreenSource, ContextExpressionSource)
        assert sum(isinstance(source, protocol) for protocol in protocols) == 1
        assert (Path(__file__).parents[4] / "docs" / "datasets" / f"{dataset_id}.md").is_file()


def test_an_installed_package_adds_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _: InHouse)
    with_entry_points(monkeypatch, ("in_house", "package:InHouse"))
    assert isinstance(registered_sources()["in_house"], InHouse)


@pytest.mark.parametrize("name", ["gcsi", "another"])
def test_an_id_that_is_taken_or_not_the_adapters_own_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _: InHouse)
    with_entry_points(monkeypatch, (name, "package:InHouse"))
    with pytest.raises(PerturbhouseError, match="must carry its adapter's own dataset id"):
        registered_sources()
