from pathlib import Path

import polars as pl
import pytest

from etl.formats import xlsx
from etl.simulate import gdsc
from etl.simulate.study import Study

IDS = (gdsc.GDSC1, gdsc.GDSC2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in IDS}
    for name, folder in folders.items():
        gdsc.write(folder, Study(1), dataset_id=name)
    return folders


def raw(folder: Path) -> pl.DataFrame:
    return pl.read_csv(next(folder.glob("*raw*.csv")), infer_schema=False)


@pytest.mark.parametrize("name", IDS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    folders: dict, name: str, tmp_path: Path
) -> None:
    for seed in (1, 2):
        gdsc.write(tmp_path, Study(seed), dataset_id=name)
        is_same = [
            path.read_bytes() == (folders[name] / path.name).read_bytes()
            for path in tmp_path.iterdir()
            if path.name.startswith("GDSC")
        ]
        assert is_same == [seed == 1] * 2


@pytest.mark.parametrize("name", IDS)
def test_files_have_the_published_columns(folders: dict, name: str) -> None:
    assert raw(folders[name]).columns == list(gdsc.RAW_COLUMNS)
    with xlsx.opened(next(folders[name].glob("*fitted*.xlsx"))) as workbook:
        assert next(workbook.rows()).cells == list(gdsc.FITTED_COLUMNS)


@pytest.mark.parametrize("name", IDS)
def test_wells_are_as_odd_as_published_ones(folders: dict, name: str) -> None:
    rows = raw(folders[name])
    plates = rows.group_by("BARCODE").agg(
        pl.col("CELL_LINE_NAME").n_unique(), pl.col("TAG").is_in(["B"]).any().alias("has_blanks")
    )
    assert plates.height == 3 * len(gdsc.SCREENED_LINES)
    assert (plates["CELL_LINE_NAME"] == 1).all()
    assert plates.filter(~pl.col("has_blanks")).height == 1
    assert gdsc.TEXT_BARCODE in rows["BARCODE"]
    assert (rows.group_by("CELL_LINE_NAME").agg(pl.col("CELL_ID").n_unique())["CELL_ID"] == 2).all()
    assert {"TT", "T-T"} <= set(rows["CELL_LINE_NAME"])
    wells = rows.group_by("BARCODE", "POSITION").agg(pl.len(), pl.col("INTENSITY").n_unique())
    assert wells["len"].max() == 3
    assert (wells["INTENSITY"] == 1).all()


def test_each_screen_has_its_own_controls_doses_and_plates(folders: dict) -> None:
    first, second = (raw(folders[name]) for name in IDS)
    assert "NC-1" not in set(first["TAG"])
    assert {"NC-0", "NC-1"} <= set(second["TAG"])
    assert first["POSITION"].cast(pl.Int64).max() == 384
    assert second["POSITION"].cast(pl.Int64).max() == 1536
    n_doses = {
        name: rows.filter(pl.col("TAG").str.contains(r"^L\d+-D\d+-S$"), DRUG_ID=drug)["CONC"].n_unique()
        for name, rows, drug in (("first", first, "1"), ("short", first, "1062"), ("second", second, "1"))
    }
    assert n_doses == {"first": 9, "short": 5, "second": 7}
