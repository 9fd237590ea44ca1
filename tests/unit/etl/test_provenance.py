"""What was read is hashed; the fingerprint follows files and code, not their order or place."""

import hashlib
from pathlib import Path

import pytest

from etl import provenance
from etl.errors import BadInputError
from etl.provenance import is_simulated, provenance_of, source_files
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.single_cell import Pseudobulked
from etl.validation import violations
from schemas.core.source_file import SOURCE_FILE


class Toy:
    """An adapter outside this project's packages."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec


def toy(**changes: str | bool | None) -> Toy:
    return Toy(spec(**changes))


def spec(**changes: str | bool | None) -> SourceSpec:
    return SourceSpec(
        dataset_id="toy",
        title="Toy",
        assay="viability",
        readout="none",
        value_scale="viability",
        files=(RemoteFile(role="table", pattern="*.csv", url="https://example.org/t.csv", **changes),),  # type: ignore[arg-type]
        license="none",
        is_redistributable=False,
        access="open",
        release="1",
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "t.csv").write_text("a,b\n1,2\n")
    return tmp_path


def test_files_references_and_marker_are_listed_with_their_hashes(raw: Path) -> None:
    (raw / "reference").mkdir()
    (raw / "reference" / "genes.txt").write_text("TP53")
    (raw / "toy" / "SIMULATED.json").write_text("{}")
    files = source_files(toy(), raw)
    adapter, *paths = files["path"].to_list()
    assert paths == ["reference/genes.txt", "toy/SIMULATED.json", "toy/t.csv"]
    assert adapter.startswith("adapter/"), "the code of another package's adapter counts as input"
    assert files["sha256"][3] == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert files["url"].to_list() == [None, None, None, "https://example.org/t.csv"]
    assert violations(files, SOURCE_FILE.model) == []
    assert is_simulated(files)


def test_a_missing_file_says_where_to_get_it_and_an_optional_one_nothing(raw: Path) -> None:
    (raw / "toy" / "t.csv").unlink()
    with pytest.raises(BadInputError, match=r"toy: no file matches \*.csv .* https://example.org/t.csv"):
        source_files(toy(), raw)
    assert source_files(toy(is_required=False), raw)["path"].str.starts_with("adapter/").all()


def test_two_files_for_one_role_are_refused(raw: Path) -> None:
    (raw / "toy" / "u.csv").write_text("")
    with pytest.raises(BadInputError, match=r"2 files match .*t.csv, u.csv"):
        source_files(toy(), raw)


def test_every_file_of_a_role_of_many_is_a_source(raw: Path) -> None:
    (raw / "toy" / "u.csv").write_text("a,b\n3,4\n")
    many = toy(is_many=True)
    assert many.spec.locate(raw / "toy") == {"table": raw / "toy" / "t.csv"}
    first = source_files(many, raw)
    assert {"toy/t.csv", "toy/u.csv"} <= set(first["path"])
    (raw / "toy" / "u.csv").write_text("a,b\n3,5\n")
    fingerprints = {
        provenance_of(files, run_id="a").fingerprint for files in (first, source_files(many, raw))
    }
    assert len(fingerprints) == 2


def test_the_adapter_of_cells_is_a_source_and_not_what_adds_them_up(raw: Path) -> None:
    wrapped = source_files(Pseudobulked(toy()), raw)  # type: ignore[arg-type]
    assert wrapped["path"].to_list() == source_files(toy(), raw)["path"].to_list()
    assert wrapped["path"].str.starts_with("adapter/").any()


def test_a_file_that_is_not_the_pinned_one_is_refused(raw: Path) -> None:
    with pytest.raises(BadInputError, match=r"t.csv: has SHA-256 .* pins 000000"):
        source_files(toy(sha256="0" * 64), raw)


def test_the_fingerprint_follows_content_and_code(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = provenance_of(source_files(toy(), raw), run_id="a").fingerprint
    assert provenance_of(source_files(toy(), raw), run_id="b").fingerprint == first
    (raw / "toy" / "t.csv").write_text("a,b\n1,3\n")
    changed = provenance_of(source_files(toy(), raw), run_id="a").fingerprint
    assert changed != first
    monkeypatch.setattr(provenance, "code_version", lambda: "another")
    assert provenance_of(source_files(toy(), raw), run_id="a").fingerprint != changed
