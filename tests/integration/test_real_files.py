"""The main job on real published files; their counts are those of the specification and of the files."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from assets.build import Built, build
from assets.resources import Warehouse
from etl.errors import BadInputError
from etl.formats import gct, mex
from etl.warehouse.contents import table_contents
from etl.warehouse.integrity import REFERENCES, dangling
from etl.warehouse.scan import scan

pytestmark = pytest.mark.realdata

Real = tuple[Warehouse, Built]


@pytest.fixture(scope="module")
def real(realdata: Path, tmp_path_factory: pytest.TempPathFactory, make_warehouse) -> Real:
    warehouse = make_warehouse(tmp_path_factory.mktemp("real"), realdata / "raw")
    datasets = ["l1000_ljp005", "l1000_phase1", "drugseq_kp6490", "gcsi", "ccle_2015"]
    return warehouse, build(datasets, warehouse)


def test_all_five_datasets_are_built(real: Real) -> None:
    assert real[1].failed == {}
    assert len(real[1].rebuilt) == 5


@pytest.mark.parametrize(
    ("dataset_id", "n_in", "n_out", "dropped"),
    [
        ("l1000_ljp005", 377, 377, {}),
        ("l1000_phase1", 581, 367, {"genetic": 214}),
        ("drugseq_kp6490", 384, 95, {"empty": 289}),
    ],
)
def test_samples_in_and_out(real: Real, dataset_id: str, n_in: int, n_out: int, dropped: dict) -> None:
    account = real[1].accounts[dataset_id]["core/sample"]
    assert (account.n_in, account.n_out, dict(account.dropped)) == (n_in, n_out, dropped)


def test_curves_and_measurements(real: Real) -> None:
    root = real[0].root
    curves = scan("mart/dose_response", root=root).group_by("dataset_id").len().collect()
    assert dict(curves.iter_rows()) == {"gcsi": 16_688, "ccle_2015": 11_670}
    assert scan("core/viability", root=root).select(pl.len()).collect().item() == 93_251


def test_conditions_estimated_and_not(real: Real) -> None:
    conditions = scan("mart/condition", root=real[0].root).group_by("dataset_id", "status").len().collect()
    assert {(dataset, status): n for dataset, status, n in conditions.iter_rows()} == {
        ("l1000_ljp005", "estimable"): 351,
        ("l1000_phase1", "estimable"): 8,
        ("l1000_phase1", "confounded_with_plate"): 17,
        ("drugseq_kp6490", "estimable"): 64,
    }


def test_known_active_compounds_move_more_genes_than_inert_doses(real: Real) -> None:
    """A375 carries BRAF V600E: its MEK and BRAF inhibitors act; a JAK and an EGFR inhibitor do little."""
    root = real[0].root
    names = scan("core/compound_name", root=root).filter(dataset_id="l1000_ljp005")
    conditions = (
        scan("mart/condition", root=root)
        .filter(dataset_id="l1000_ljp005")
        .join(names.select("compound_id", name="name_reported"), on="compound_id")
        .select("name", "dose_um", "n_genes_significant")
        .collect()
    )
    by_dose = dict(conditions.group_by("dose_um").agg(pl.col("n_genes_significant").median()).iter_rows())
    assert by_dose[10.0] > 2 * by_dose[0.04]
    at_10 = dict(conditions.filter(pl.col("dose_um") == 10.0).drop("dose_um").iter_rows())
    assert all(at_10[name] > 300 for name in ("trametinib", "vemurafenib", "PLX-4720", "AZD-8330"))
    assert all(at_10[name] < 50 for name in ("ruxolitinib", "erlotinib"))


def test_every_id_stands_in_the_table_it_refers_to(real: Real) -> None:
    for reference in REFERENCES:
        assert dangling(reference, root=real[0].root).to_list() == [], reference


def test_the_traps_are_refused_clearly(realdata: Path) -> None:
    with pytest.raises(BadInputError, match="declares_15_metadata_rows_carries_1"):
        gct.read(realdata / "traps" / "declares_15_metadata_rows_carries_1.gct")
    with pytest.raises(BadInputError, match=r"plain_text_named.mtx.gz.*gzip"):
        mex.read_counts(realdata / "traps" / "plain_text_named.mtx.gz")


@pytest.mark.parametrize(
    ("trap", "dataset_id", "landed"),
    [
        (
            "declares_15_metadata_rows_carries_1.gct",
            "l1000_ljp005",
            "LJP005_A375_24H_QNORM_n25x50.gct",
        ),
        ("plain_text_named.mtx.gz", "drugseq_kp6490", "matrix.mtx.gz"),
    ],
)
def test_a_trap_in_a_raw_folder_is_refused_before_anything_is_published(
    realdata: Path,
    simulated_raw: Path,
    tmp_path: Path,
    make_warehouse,
    trap: str,
    dataset_id: str,
    landed: str,
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(simulated_raw / dataset_id, raw / dataset_id)
    for replaced in [*(raw / dataset_id).glob("*.gct"), *(raw / dataset_id).glob("matrix*")]:
        replaced.unlink()
    shutil.copyfile(realdata / "traps" / trap, raw / dataset_id / landed)
    warehouse = make_warehouse(tmp_path / "warehouse", raw)
    built = build([dataset_id], warehouse)
    assert dataset_id in built.failed[dataset_id]
    assert landed in built.failed[dataset_id]
    assert table_contents(root=warehouse.root) == []
