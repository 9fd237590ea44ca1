import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.formats import mex


@pytest.fixture(scope="module")
def counted(simulated: Path) -> mex.CountMatrix:
    return mex.read(simulated / "drugseq_kp6490")


@pytest.fixture(scope="module")
def plate_map(simulated: Path) -> pl.DataFrame:
    return pl.read_csv(simulated / "drugseq_kp6490" / "metadata.csv", infer_schema=False)


@pytest.fixture(scope="module")
def wells(counted: mex.CountMatrix, plate_map: pl.DataFrame) -> pl.DataFrame:
    """Wells with counts, in the order of the matrix."""
    barcodes = pl.DataFrame({"Barcode": counted.barcodes})
    return barcodes.join(plate_map, on="Barcode", how="left", maintain_order="left")


def test_plate_map_has_the_published_columns_and_line_ends(simulated: Path, realdata: Path) -> None:
    ours = (simulated / "drugseq_kp6490" / "metadata.csv").read_bytes()
    theirs = (realdata / "raw" / "drugseq_kp6490" / "metadata.csv").read_bytes()
    assert ours.split(b"\n")[0] == theirs.split(b"\n")[0]
    assert ours.count(b"\r\n") == ours.count(b"\n") == theirs.count(b"\n")


def test_plate_map_uses_the_published_vocabulary(plate_map: pl.DataFrame, realdata: Path) -> None:
    real = pl.read_csv(realdata / "raw" / "drugseq_kp6490" / "metadata.csv", infer_schema=False)
    for column in ("Species", "Model_type", "Time", "Unit", "Unit_1", "Sample_type"):
        assert set(plate_map[column]) == set(real[column]), column


def test_matrix_opens_like_the_published_one(simulated: Path, realdata: Path) -> None:
    def opening(folder: Path) -> list[bytes]:
        with gzip.open(folder / "matrix.mtx.gz") as file:
            return [file.readline(), file.readline()]

    assert opening(simulated / "drugseq_kp6490") == opening(realdata / "raw" / "drugseq_kp6490")


def test_plate_map_fills_two_plates_with_unique_barcodes(plate_map: pl.DataFrame) -> None:
    assert plate_map.height == plate_map["Barcode"].n_unique() == 384
    assert plate_map.group_by("Plate_ID").len()["len"].to_list() == [192, 192]
    assert plate_map.select("Plate_ID", "Well_ID").is_unique().all()


def test_some_wells_of_the_plate_map_have_no_counts(wells: pl.DataFrame) -> None:
    assert wells.height == 360
    assert wells["Well_ID"].null_count() == 0


def test_every_context_has_vehicle_on_both_plates(wells: pl.DataFrame) -> None:
    vehicle = wells.filter(pl.col("Treatment_1") == "DMSO").select("Cell_type", "Plate_ID").unique()
    assert vehicle.height == 6
    assert set(vehicle["Cell_type"]) == {"A375", "MCF7", "VOA-4698"}


def test_features_are_versioned_and_hold_copies_on_y(counted: mex.CountMatrix) -> None:
    ids = counted.features["feature_id"]
    assert ids.str.contains(r"^ENSG\d{11}\.\d+(_PAR_Y)?$").all()
    on_y = ids.filter(ids.str.ends_with("_PAR_Y")).str.strip_suffix("_PAR_Y")
    assert len(on_y) >= 3
    assert on_y.is_in(ids.to_list()).all()


def test_one_well_has_a_tiny_library(counted: mex.CountMatrix) -> None:
    library = np.sort(np.asarray(counted.counts.sum(axis=1)).ravel())
    median = np.median(library)
    assert library[0] < 0.1 * median
    assert library[1] > 0.1 * median
    assert 50_000 < median < 150_000


def test_counts_vary_more_than_poisson(counted: mex.CountMatrix, wells: pl.DataFrame) -> None:
    is_control = (
        (wells["Treatment_1"] == "DMSO")
        & (wells["Cell_type"] == "A375")
        & wells["Plate_ID"].str.ends_with("1")
    )
    counts = counted.counts[np.flatnonzero(is_control.to_numpy())].toarray().astype(float)
    share = counts / counts.sum(axis=1, keepdims=True) * np.median(counts.sum(axis=1))
    abundant = share.mean(axis=0) > 50
    assert np.median(share.var(axis=0, ddof=1)[abundant] / share.mean(axis=0)[abundant]) > 1.5


def test_counts_show_the_planted_effect(
    simulated: Path, counted: mex.CountMatrix, wells: pl.DataFrame
) -> None:
    counts = counted.counts.toarray().astype(float)
    log2_share = np.log2((counts + 0.5) / counts.sum(axis=1, keepdims=True) * 1e6)
    of_line = wells["Cell_type"] == "A375"
    treated = of_line & (wells["Treatment_1"] == "Trametinib") & (wells["Concentration_1"] == "10")
    vehicle = of_line & (wells["Treatment_1"] == "DMSO")
    effects = []
    for plate in wells.filter(treated)["Plate_ID"].unique().sort():
        on_plate = wells["Plate_ID"] == plate
        of_treated, of_vehicle = (
            log2_share[(rows & on_plate).to_numpy()].mean(axis=0) for rows in (treated, vehicle)
        )
        effects.append(of_treated - of_vehicle)
    effect = np.mean(effects, axis=0)

    truth = pl.read_parquet(simulated / "drugseq_kp6490" / "truth" / "effects.parquet").filter(
        (pl.col("compound_reported") == "Trametinib")
        & (pl.col("context_reported") == "A375")
        & (pl.col("dose_um") == 10)
    )
    unversioned = counted.features["feature_id"].str.split(".").list.first()
    position = {gene: index for index, gene in reversed(list(enumerate(unversioned.to_list())))}
    rows = np.array([position[gene] for gene in truth["ensembl_gene_id"]])
    abundant = counts[:, rows].mean(axis=0) > 30
    planted = truth["log2_fold_change"].to_numpy()
    assert np.corrcoef(effect[rows][abundant], planted[abundant])[0, 1] > 0.9
