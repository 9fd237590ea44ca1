"""The simulated DepMap release: its models are DepMap's, and the same seed gives the same bytes."""

from pathlib import Path

import polars as pl
import pytest

from etl.simulate import depmap
from etl.simulate.catalogue import LINES
from etl.simulate.study import Study
from etl.sources.depmap_expression import FILE


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    written = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        depmap.write(tmp_path / name, Study(seed))
        written.append((tmp_path / name / FILE).read_bytes())
    one, again, other = written
    assert one == again != other


def test_tpm_add_up_to_a_million() -> None:
    assert depmap.true_tpm(Study(1), "A549")["tpm"].sum() == pytest.approx(1e6)


@pytest.mark.realdata
def test_models_are_published_models(realdata: Path) -> None:
    real = pl.read_csv(realdata / "raw" / "reference" / "depmap_24Q2" / "Model.csv", infer_schema=False)
    ccle_names = dict(real.select("ModelID", "CCLEName").iter_rows())
    expected = {line.name: line.ccle and line.ccle[0] for line in LINES}
    for model, line in depmap.MODELS:
        if model in depmap.INVENTED:
            assert model not in ccle_names
        else:
            assert ccle_names[model] == expected[line]
