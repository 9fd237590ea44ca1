from pathlib import Path

import pytest

from etl.simulate import vcpi as simulated
from etl.simulate.study import Study
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.vcpi_0002 import Vcpi0002
from etl.validation import check_reported
from schemas.reported import ReportedSample


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Vcpi0002(), TranscriptomicSource)
    assert isinstance(Vcpi0002(), AnnotatedSource)


def test_the_simulated_release(tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(3), "vcpi_0002")
    rows = check_reported(Vcpi0002().samples(tmp_path), ReportedSample, dataset_id="vcpi_0002")
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 60, "vehicle": 16, "positive_control": 8}
    assert rows["batch"].unique().to_list() == ["tvc-kdl-010"]


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / "vcpi_0002"
    if not raw.is_dir():
        pytest.skip("vcpi_0002 is not among the real files")
    rows = check_reported(Vcpi0002().samples(raw), ReportedSample, dataset_id="vcpi_0002")
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 17_791, "vehicle": 406, "positive_control": 813}
    features = Vcpi0002().genes(raw).collect()["gene_reported"]
    assert (features.len(), features.str.starts_with("ERCC-").sum()) == (78_778, 92)
