"""What a spec asks for, and what it is called below the raw folder."""

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest

from etl.extract.errors import FetchError
from etl.extract.names import WILDCARDS, matches
from etl.extract.wanted import Destination, Wanted, wanted
from etl.sources import SOURCES
from etl.sources.base import RemoteFile, SourceSpec


@pytest.mark.parametrize(
    ("pattern", "name", "path", "is_unpacked"),
    [
        ("GSE1*_inst_info.txt*", "GSE1_x_inst_info.txt.gz", "GSE1_x_inst_info.txt.gz", False),
        ("GSE1*_Level3_*.gctx", "GSE1_Level3_n5.gctx.gz", "GSE1_Level3_n5.gctx.gz", True),
        ("**/metrics.tsv", "all.tar.gz", "all.tar.gz", True),
        ("data/*.parquet", "train-0.parquet", "data/train-0.parquet", False),
        ("data/values.tsv", "values.tsv.gz", "data/values.tsv.gz", True),
        ("compounds.xlsx", "41592_MOESM3_ESM.xlsx", "compounds.xlsx", False),
        ("wells.txt", "content", "wells.txt", False),
    ],
)
def test_the_pattern_decides_name_and_unpacking(
    pattern: str, name: str, path: str, is_unpacked: bool
) -> None:
    want = Wanted(f"https://host/{name}", (RemoteFile("role", pattern),))
    assert want.destination(name, is_only=True) == Destination(path, is_unpacked)


def test_a_query_may_name_the_file() -> None:
    url = "https://host/download?path=Metadata&file=SampleTable_LSM.txt"
    want = Wanted(url, (RemoteFile("role", "SampleTable_*.txt"),))
    assert want.destination("download", is_only=True) == Destination("SampleTable_LSM.txt", is_unpacked=False)


def test_every_part_of_a_table_in_many_files_has_its_place() -> None:
    [want] = [want for want in wanted(SOURCES["tahoe100m"].spec) if want.url and "train" in want.url]
    for name in ("train-00000-of-03388.parquet", "train-03387-of-03388.parquet"):
        assert want.destination(name, is_only=False) == Destination(name, is_unpacked=False)


@pytest.mark.parametrize("pattern", ["plate*.h5ad", "plate1.h5ad"])
def test_a_file_that_no_pattern_is_for_is_an_error(pattern: str) -> None:
    want = Wanted("s3://bucket/*.csv", (RemoteFile("role", pattern),))
    with pytest.raises(FetchError, match=r"^notes\.csv from s3://.*: the dataset asks for plate"):
        want.destination("notes.csv", is_only=False)


def test_an_archive_of_several_roles_is_wanted_once(spec_of: Callable[..., SourceSpec]) -> None:
    metrics = RemoteFile("metrics", "**/metrics.tsv", "https://host/all.tar.gz", sha256="aa")
    values = RemoteFile("values", "**/values.tsv", "https://host/all.tar.gz", is_required=False)
    by_hand = RemoteFile("map", "map.csv", is_required=False)
    archive, hand = wanted(spec_of(metrics, values, by_hand))
    assert archive == Wanted("https://host/all.tar.gz", (metrics, values))
    assert archive.is_required
    assert archive.sha256_of("x/metrics.tsv") == "aa"
    assert archive.sha256_of("x/values.tsv") is None
    assert hand == Wanted(None, (by_hand,))
    assert not hand.is_required


@pytest.mark.parametrize("dataset_id", sorted(SOURCES))
def test_every_registered_address_has_a_place_that_its_adapter_finds(dataset_id: str) -> None:
    for want in wanted(SOURCES[dataset_id].spec):
        name = unquote(urlsplit(want.url or "").path.rpartition("/")[2])
        if want.url is None or WILDCARDS.search(name):
            continue
        destination = want.destination(name, is_only=True)
        found = any(matches(destination.path, pattern) for pattern in want.patterns)
        assert found != destination.is_unpacked
