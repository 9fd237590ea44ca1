"""The simulated NCI-60 archive holds every oddity that the adapter has a rule for, around known curves."""

import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.simulate import nci60
from etl.simulate.study import Study
from etl.sources.nci60 import NUMBERED, WITHOUT_PERCENT, Nci60

SERIES = ["context_reported", "compound_reported", "experiment", "replicate"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nci60")
    nci60.write(folder, Study(20240101))
    return folder


@pytest.fixture(scope="module")
def table(simulated: Path) -> pl.DataFrame:
    with zipfile.ZipFile(simulated / nci60.ARCHIVE) as archive:
        return pl.read_csv(archive.read(nci60.MEMBER), infer_schema=False)


@pytest.fixture(scope="module")
def measured(simulated: Path) -> pl.DataFrame:
    return pl.concat(Nci60().measurements(simulated))


def test_the_table_has_the_columns_of_the_published_one(table: pl.DataFrame) -> None:
    assert table.columns == list(nci60.COLUMNS)
    assert len(table.columns) == 18


def test_what_the_file_is_odd_in_is_simulated(table: pl.DataFrame) -> None:
    assert set(table["CONCENTRATION_UNIT"]) == {"M", "u", "V"}
    assert table["AVERAGE_PTC"].null_count() > 0
    assert table.filter(pl.col("AVERAGE_PTC").is_null())["AVERAGE_GIPRCNT"].null_count() == 0
    assert set(table["COUNT_PTC"].drop_nulls()) == {"1", "2"}
    assert {"A549", "A549/ATCC", "MCF7", "MCF7/ATCC ", "HT29 "} <= set(table["CELL_NAME"])
    curve = ["NSC", "EXPID", "CELL_NAME", "CONCENTRATION_UNIT"]
    counts = table.group_by(curve).agg(
        n_series=pl.col("LOG_HI_CONCENTRATION").n_unique(),
        n_numbers=pl.col("CELL_NUMBER").n_unique(),
        n_doses=pl.col("CONCENTRATION").n_unique(),
    )
    assert set(counts["n_series"]) == {1, 2}
    assert set(counts["n_numbers"]) == {1, 2}
    assert set(counts["n_doses"]) == {5, 6, 10}
    experiments = table.group_by("NSC", "CELL_NAME").agg(n=pl.col("EXPID").n_unique())
    assert set(experiments["n"]) == {1, 2}


def test_every_row_is_a_measurement_or_is_accounted_for(
    simulated: Path, table: pl.DataFrame, measured: pl.DataFrame
) -> None:
    account = Nci60().account(simulated)
    assert (account.n_in, account.n_out) == (table.height, measured.height)
    assert account.dropped == {WITHOUT_PERCENT: table["AVERAGE_PTC"].null_count()}
    assert measured.select(*SERIES, "dose").is_unique().all()
    assert account.noted == {NUMBERED: measured["replicate"].str.contains("#2").sum()}
    assert account.noted[NUMBERED] > 0


def test_viability_scatters_around_the_true_curve(simulated: Path, measured: pl.DataFrame) -> None:
    truth = pl.read_parquet(simulated / "truth" / "curves.parquet")
    molar = measured.filter(dose_unit="log10 M")
    joined = molar.join(truth, on=SERIES[:2])
    assert joined.height == molar.height
    dose = 10.0 ** (joined["dose"].cast(pl.Float64).to_numpy() + 6)
    ec50, slope, e_inf = (joined[name].to_numpy() for name in ("ec50_um", "slope", "e_inf"))
    residual = joined["viability"].to_numpy() - (e_inf + (1 - e_inf) / (1 + (dose / ec50) ** slope))
    assert abs(residual.mean()) < 0.01
    assert residual.std() == pytest.approx(nci60.NOISE, abs=0.006)


def test_growth_percent_is_zero_where_the_signal_is_that_of_the_start(table: pl.DataFrame) -> None:
    single = table.filter(pl.col("COUNT_PTC") == "1").select(
        growth=pl.col("AVERAGE_GIPRCNT").cast(pl.Float64), percent=pl.col("AVERAGE_PTC").cast(pl.Float64)
    )
    start = 100 * nci60.SHARE_AT_START
    assert ((single["growth"] >= 0) == (single["percent"] >= start)).all()
    grown = single.filter(pl.col("growth") > 0)
    np.testing.assert_allclose(
        grown["percent"].to_numpy(),
        start + grown["growth"].to_numpy() * (1 - nci60.SHARE_AT_START),
        atol=1e-3,
    )
    assert single["growth"].min() >= -100


def test_the_same_seed_gives_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    nci60.write(tmp_path, Study(20240101))
    for name in (nci60.ARCHIVE, "truth/curves.parquet"):
        assert (tmp_path / name).read_bytes() == (simulated / name).read_bytes()
