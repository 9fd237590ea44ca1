"""Every file of every dataset, cut off or taken away: one error that names it, before a table is touched."""

import shutil
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.preflight import check_input
from etl.simulate import WRITERS, simulate_studies
from etl.sources import SOURCES

NOT_READ = {"tahoe100m": ("gene_metadata", "sample_metadata")}
"""Tables that complete another layout than the simulated one."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    simulate_studies(raw, datasets=tuple(WRITERS))
    return raw


@pytest.fixture
def copied(simulated: Path, tmp_path: Path, dataset_id: str) -> Path:
    return shutil.copytree(simulated / dataset_id, tmp_path / dataset_id)


@pytest.mark.parametrize("dataset_id", WRITERS)
def test_a_file_that_is_cut_off_is_refused_by_name(copied: Path, dataset_id: str) -> None:
    for role, paths in SOURCES[dataset_id].spec.locate_all(copied).items():
        for path in paths if role not in NOT_READ.get(dataset_id, ()) else ():
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) * 2 // 3])
            with pytest.raises(BadInputError) as refused:
                check_input(SOURCES[dataset_id], copied, EMBEDDED_ONLY)
            assert dataset_id in str(refused.value) or path.name in str(refused.value), path.name
            path.write_bytes(whole)


@pytest.mark.parametrize("dataset_id", WRITERS)
def test_a_file_that_is_missing_is_named_with_where_to_get_it(copied: Path, dataset_id: str) -> None:
    spec = SOURCES[dataset_id].spec
    for file in spec.files:
        if not file.is_required:
            continue
        path = spec.locate(copied)[file.role]
        aside = path.rename(copied.parent / "aside")
        with pytest.raises(BadInputError) as refused:
            check_input(SOURCES[dataset_id], copied, EMBEDDED_ONLY)
        assert file.pattern in str(refused.value)
        assert file.url is None or file.url in str(refused.value)
        aside.rename(path)
