"""Exports: whole files, and without what may not be passed on."""

from pathlib import Path

import polars as pl
import pytest

from etl.errors import PerturbhouseError
from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.export import export
from schemas.core.dataset import DATASET
from tests.unit.etl.warehouse.conftest import COMPOUNDS, EFFECTS


@pytest.fixture
def root(tmp_path: Path, provenance: Provenance, effect_rows, compound_rows) -> str:
    root = str(tmp_path / "warehouse")
    facts = {"title": "t", "assay": "l1000", "readout": "r", "value_scale": "log2", "license": "l"}
    for dataset_id, is_free in (("free", True), ("closed", False)):
        row = (
            dict.fromkeys(DATASET.polars_schema)
            | facts
            | {
                "dataset_id": dataset_id,
                "is_redistributable": is_free,
                "access": "open",
                "release": "1",
                "is_simulated": False,
                "n_samples": 1,
                "n_compounds": 1,
                "n_contexts": 1,
            }
        )
        where = {"dataset_id": dataset_id}
        rows = pl.DataFrame([row], schema=DATASET.polars_schema)
        delta.replace(root, DATASET, rows, where, provenance=provenance)
        effects = effect_rows(dataset_id, 1 if is_free else 2)
        where |= {"context_id": effects["context_id"][0]}
        delta.replace(root, EFFECTS, effects, where, provenance=provenance)
    delta.replace(root, COMPOUNDS, compound_rows(a="A"), {}, provenance=provenance)
    return root


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_all_rows_or_only_those_that_may_be_passed_on(root: str, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"effects{suffix}"
    read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
    assert export(EFFECTS, out, root=root) == 6
    assert set(read(out)["dataset_id"]) == {"free", "closed"}
    assert export(EFFECTS, out, redistributable_only=True, root=root) == 3
    assert set(read(out)["dataset_id"]) == {"free"}
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_table_of_all_datasets_is_refused_where_one_must_stay(root: str, tmp_path: Path) -> None:
    assert export("core/compound", tmp_path / "compounds.parquet", root=root) == 1
    with pytest.raises(PerturbhouseError, match="among them closed, which may not be passed on"):
        export("core/compound", tmp_path / "free.parquet", redistributable_only=True, root=root)
    assert not (tmp_path / "free.parquet").exists()


def test_another_suffix_is_refused(root: str, tmp_path: Path) -> None:
    with pytest.raises(PerturbhouseError, match=r"one of \.parquet, \.csv"):
        export(EFFECTS, tmp_path / "effects.xlsx", root=root)
