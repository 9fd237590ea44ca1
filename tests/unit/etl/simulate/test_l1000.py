from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from etl.formats import gct, gctx
from etl.formats.matrix import AnnotatedMatrix


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="module")
def plate(simulated: Path) -> AnnotatedMatrix:
    return gct.read(only(simulated / "l1000_ljp005", "*.gct"))


@pytest.fixture(scope="module")
def phase1(simulated: Path) -> tuple[pl.DataFrame, AnnotatedMatrix]:
    folder = simulated / "l1000_phase1"
    instances = pl.read_csv(only(folder, "*_inst_info.txt"), separator="\t", infer_schema=False)
    return instances, gctx.read(only(folder, "*.gctx"))


def correlation_with_truth(truth: pl.DataFrame, effect: np.ndarray, symbols: list[str]) -> float:
    position = {symbol: index for index, symbol in enumerate(symbols)}
    rows = [position[symbol] for symbol in truth["symbol"]]
    return float(np.corrcoef(effect[rows], truth["log2_fold_change"].to_numpy())[0, 1])


def test_plate_is_named_as_published(simulated: Path) -> None:
    assert only(simulated / "l1000_ljp005", "*.gct").name == "LJP005_A375_24H_X1_B19_QNORM_n377x978.gct"


def test_plate_has_the_layout_of_the_published_file(simulated: Path, realdata: Path) -> None:
    def layout(path: Path) -> tuple[bytes, list[bytes], list[bytes], list[bytes]]:
        lines = path.read_bytes().split(b"\n")
        header = [line.split(b"\t")[:12] for line in lines[:38]]
        return lines[0], header[1], header[2], [line[0] for line in header[3:]]

    ours = only(simulated / "l1000_ljp005", "*.gct")
    theirs = only(realdata / "raw" / "l1000_ljp005", "*.gct")
    assert layout(ours) == layout(theirs)


def test_plate_metadata_uses_the_published_vocabulary(plate: AnnotatedMatrix, realdata: Path) -> None:
    real = gct.read(only(realdata / "raw" / "l1000_ljp005", "*.gct"))
    for field in (
        "cell_id",
        "pert_type",
        "pert_dose",
        "pert_dose_unit",
        "pert_idose",
        "pert_time",
        "pert_vehicle",
    ):
        assert set(plate.column_metadata[field]) == set(real.column_metadata[field]), field
    assert set(plate.row_metadata["pr_gene_id"]) == set(real.row_metadata["pr_gene_id"])


def test_plate_wells_share_one_distribution(plate: AnnotatedMatrix) -> None:
    ordered = np.sort(plate.values, axis=1)
    np.testing.assert_array_equal(ordered, np.broadcast_to(ordered[0], ordered.shape))
    assert ordered[0, 0] > 0
    assert ordered[0, -1] <= 15


def test_plate_wells_are_unique_and_counted(plate: AnnotatedMatrix) -> None:
    kinds = Counter(plate.column_metadata["pert_type"])
    assert kinds == {"trt_cp": 300, "ctl_vehicle": 30, "trt_poscon": 47}
    assert plate.column_metadata["det_well"].n_unique() == 377


@pytest.mark.parametrize("name", ["trametinib", "geldanamycin"])
def test_plate_shows_the_planted_effect(simulated: Path, plate: AnnotatedMatrix, name: str) -> None:
    wells = plate.column_metadata
    treated = ((wells["pert_iname"] == name) & (wells["pert_dose"] == "10")).to_numpy()
    vehicle = (wells["pert_type"] == "ctl_vehicle").to_numpy()
    truth = pl.read_parquet(simulated / "l1000_ljp005" / "truth" / "effects.parquet")
    truth = truth.filter((pl.col("compound") == name) & (pl.col("dose_um") == 10))
    effect = plate.values[treated].mean(axis=0) - plate.values[vehicle].mean(axis=0)
    assert correlation_with_truth(truth, effect, plate.row_metadata["pr_gene_symbol"].to_list()) > 0.9


def test_phase1_matrix_has_the_layout_of_the_published_file(simulated: Path, realdata: Path) -> None:
    def layout(path: Path) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}

        def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                is_one_chunk = item.chunks == item.shape == item.maxshape
                found[name] = (item.dtype, item.ndim, is_one_chunk, item.compression, item.compression_opts)
            else:
                found[name] = ()

        with h5py.File(path) as file:
            file.visititems(note)
        return found

    ours = layout(only(simulated / "l1000_phase1", "*.gctx"))
    assert ours == layout(only(realdata / "raw" / "l1000_phase1", "*.gctx"))


def test_phase1_instances_have_the_published_columns(
    phase1: tuple[pl.DataFrame, AnnotatedMatrix], realdata: Path
) -> None:
    path = only(realdata / "raw" / "l1000_phase1", "*_inst_info.txt")
    real = pl.read_csv(path, separator="\t", infer_schema=False)
    instances, _ = phase1
    assert instances.columns == real.columns
    assert set(instances["pert_type"]) == set(real["pert_type"])
    assert set(instances["pert_dose_unit"]) == set(real["pert_dose_unit"])


def test_phase1_row_ids_are_the_entrez_ids_of_the_landmarks(
    phase1: tuple[pl.DataFrame, AnnotatedMatrix],
) -> None:
    _, matrix = phase1
    assert len(matrix.row_ids) == 978
    assert all(row_id.isdigit() for row_id in matrix.row_ids)


def test_phase1_matrix_and_instances_agree(phase1: tuple[pl.DataFrame, AnnotatedMatrix]) -> None:
    instances, matrix = phase1
    assert instances["inst_id"].to_list() == matrix.column_ids
    assert set(instances["cell_id"]) == {"A375", "MCF7"}
    assert set(instances["pert_time"]) == {"6", "24", "48", "96"}


def test_phase1_doses_carry_float32_noise(phase1: tuple[pl.DataFrame, AnnotatedMatrix]) -> None:
    instances, _ = phase1
    treated = instances.filter(pl.col("pert_type") == "trt_cp")
    assert set(treated["pert_dose"]) == {"10", "3.32999992371", "3.33", "0.37", "-666"}
    assert treated.filter(pl.col("pert_dose") == "-666").height == 1


def test_phase1_has_a_plate_without_vehicle_that_shares_no_condition(
    phase1: tuple[pl.DataFrame, AnnotatedMatrix],
) -> None:
    instances, _ = phase1
    is_lonely = pl.col("rna_plate") == "CPC014_A375_24H_X1"
    lonely, others = instances.filter(is_lonely), instances.filter(~is_lonely)
    assert set(lonely["pert_type"]) == {"trt_cp"}
    key = ["pert_id", "pert_dose", "pert_time", "cell_id"]
    assert lonely.height == 4
    assert lonely.join(others, on=key).is_empty()


def test_phase1_has_a_time_without_vehicle(phase1: tuple[pl.DataFrame, AnnotatedMatrix]) -> None:
    instances, _ = phase1
    assert set(instances.filter(pl.col("pert_time") == "48")["pert_type"]) == {"trt_cp"}


def test_phase1_plates_differ_more_than_wells(phase1: tuple[pl.DataFrame, AnnotatedMatrix]) -> None:
    instances, matrix = phase1
    means, noise = [], []
    for replicate in (1, 2, 3):
        plate = instances["rna_plate"] == f"CPC006_A375_24H_X{replicate}"
        wells = matrix.values[(plate & (instances["pert_type"] == "ctl_vehicle")).to_numpy()]
        means.append(wells.mean(axis=0))
        noise.append(wells.var(axis=0, ddof=1) / len(wells))
    assert np.var(means, axis=0, ddof=1).mean() > 3 * np.mean(noise)


def test_phase1_shows_the_planted_effect(
    simulated: Path, phase1: tuple[pl.DataFrame, AnnotatedMatrix]
) -> None:
    instances, matrix = phase1
    effects = []
    for replicate in (1, 2, 3):
        plate = instances["rna_plate"] == f"CPC006_MCF7_24H_X{replicate}"
        treated = plate & (instances["pert_iname"] == "tanespimycin") & (instances["pert_dose"] == "10")
        vehicle = plate & (instances["pert_type"] == "ctl_vehicle")
        of_treated, of_vehicle = (matrix.values[rows.to_numpy()].mean(axis=0) for rows in (treated, vehicle))
        effects.append(of_treated - of_vehicle)
    truth = pl.read_parquet(simulated / "l1000_phase1" / "truth" / "effects.parquet").filter(
        (pl.col("compound") == "tanespimycin")
        & (pl.col("context_reported") == "MCF7")
        & (pl.col("dose_um") == 10)
        & (pl.col("time_h") == 24)
    )
    plate_file = gct.read(only(simulated / "l1000_ljp005", "*.gct")).row_metadata
    symbol = dict(zip(plate_file["pr_gene_id"], plate_file["pr_gene_symbol"], strict=True))
    symbols = [symbol[row_id] for row_id in matrix.row_ids]
    assert correlation_with_truth(truth, np.mean(effects, axis=0), symbols) > 0.9


def test_phase1_truth_names_nominal_doses(simulated: Path) -> None:
    truth = pl.read_parquet(simulated / "l1000_phase1" / "truth" / "effects.parquet")
    assert set(truth["dose_um"]) == {10.0, 3.33, 0.37}
