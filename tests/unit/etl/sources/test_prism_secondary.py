"""PRISM's secondary screen: fold changes and curves as published, what cannot be read refused by name."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.preflight import check_input
from etl.simulate import prism_secondary as simulated_prism
from etl.simulate.study import Study
from etl.sources.base import ScreenSource
from etl.sources.prism_secondary import SCREEN_RANK, PrismSecondary
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

ID = "prism_secondary"
LINES = "secondary-screen-cell-line-info.csv"
CURVES = "secondary-screen-dose-response-curve-parameters.csv"
WELLS = "secondary-screen-logfold-change.csv"
TREATMENTS = "secondary-screen-replicate-treatment-info.csv"
VORINOSTAT = "BRD-K81418486-001-02-3"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / ID
    folder.mkdir()
    simulated_prism.write(folder, Study(3))
    return folder


@pytest.fixture
def raw(simulated: Path, tmp_path: Path) -> Path:
    folder = tmp_path / ID
    folder.mkdir()
    for path in simulated.glob("*.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def measured(raw: Path) -> pl.DataFrame:
    blocks = list(PrismSecondary().measurements(raw))
    return check_reported(pl.concat(blocks), ReportedMeasurement, dataset_id=ID)


def curves(raw: Path) -> pl.DataFrame:
    return check_reported(PrismSecondary().curves(raw), ReportedCurve, dataset_id=ID)


def alter(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    """Change the cells of a file whose cells hold no commas."""
    cells = [line.split(",") for line in path.read_text().splitlines()]
    change(cells)
    path.write_text("\n".join(",".join(row) for row in cells) + "\n")


def test_it_is_a_screen_that_passes_as_a_whole(raw: Path) -> None:
    assert isinstance(PrismSecondary(), ScreenSource)
    check_input(PrismSecondary(), raw, EMBEDDED_ONLY)


def test_viability_is_two_to_the_fold_change_and_never_capped(raw: Path) -> None:
    alter(raw / WELLS, lambda cells: cells[1].__setitem__(1, "1.5"))
    first = measured(raw).row(0, named=True)
    assert first["viability"] == pytest.approx(2**1.5)
    assert (first["dose_unit"], first["time"], first["experiment"]) == ("uM", "120", "MTS006")
    assert first["replicate"] == first["plate"] == "PMTS006_X1"


def test_cells_without_a_value_are_no_measurements(raw: Path) -> None:
    lines = (raw / WELLS).read_text().splitlines()[1:]
    n_controls = simulated_prism.N_REPLICATES
    cells = [line.split(",")[1:-n_controls] for line in lines]
    n_empty = sum(cell == "" for row in cells for cell in row)
    assert n_empty > 0
    assert measured(raw).height == sum(map(len, cells)) - n_empty


def test_a_line_that_failed_its_identity_check_is_kept_and_marked(raw: Path) -> None:
    rows = measured(raw)
    failed = rows.filter("is_low_quality")
    assert set(failed["context_reported"]) == {"ACH-000219_FAILED_STR"}
    contexts = check_reported(PrismSecondary().contexts(raw), ReportedContext, dataset_id=ID)
    models = dict(contexts.select("context_reported", "model_id").iter_rows())
    assert models["ACH-000219_FAILED_STR"] is None
    assert models["ACH-000219"] == "ACH-000219"
    assert set(rows["context_reported"]) == set(models)


def test_a_compound_twice_on_a_plate_is_two_replicates(raw: Path) -> None:
    key = ["context_reported", "compound_reported", "experiment", "replicate", "plate", "well", "dose"]
    rows = measured(raw)
    assert rows.select(key).is_unique().all()
    again = rows.filter(pl.col("replicate").str.contains("#"))
    assert set(again["compound_reported"]) == {VORINOSTAT}
    assert set(again["replicate"]) == {f"PMTS006_X{number}#2" for number in (1, 2, 3)}
    assert set(again["plate"]) == {f"PMTS006_X{number}" for number in (1, 2, 3)}


def test_all_screens_of_a_compound_are_kept(raw: Path) -> None:
    trametinib = curves(raw).filter(pl.col("context_reported") == "ACH-000681")
    found = trametinib.group_by("compound_reported").agg(pl.col("experiment").sort())
    assert sorted(found["experiment"].to_list())[-1] == ["MTS006", "MTS010"]
    assert set(curves(raw)["experiment"]) <= set(SCREEN_RANK)


def test_compounds_have_names_structures_and_registry_ids(raw: Path) -> None:
    compounds = check_reported(PrismSecondary().compounds(raw), ReportedCompound, dataset_id=ID)
    row = compounds.filter(compound_reported=VORINOSTAT).row(0, named=True)
    assert (row["name"], row["vendor_id"]) == ("vorinostat", VORINOSTAT)
    assert row["smiles"]
    assert compounds.height == len(simulated_prism.NAMES)


def test_published_curves_are_on_one_scale(raw: Path) -> None:
    rows = curves(raw)
    assert (rows["mean_viability"] == rows["auc"]).all()
    assert rows["mean_viability"].is_between(0, 1).all()
    assert rows["ic50_um"].null_count() > 0
    assert set(rows["replicate_level"]) == {"experiment"}


def test_a_dose_that_cannot_be_is_null_and_flagged(raw: Path) -> None:
    def change(cells: list[list[str]]) -> None:
        cells[1][cells[0].index("ec50")] = "Inf"
        cells[2][cells[0].index("ec50")] = "0"

    alter(raw / CURVES, change)
    rows = curves(raw)
    assert rows["ec50_um"][:2].to_list() == [None, None]
    assert rows["flags"][:3].to_list() == [["fit_not_finite_reported"]] * 2 + [[]]


def test_collapsed_fold_changes_are_read_where_the_wells_are_not_there(raw: Path) -> None:
    for name in (WELLS, TREATMENTS):
        (raw / name).rename(
            raw
            / name.replace("logfold", "replicate-collapsed-logfold").replace(
                "replicate-treatment", "replicate-collapsed-treatment"
            )
        )
    rows = measured(raw)
    assert set(rows["plate"]) == {""}
    assert rows["viability"].is_finite().all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (WELLS, lambda c: c[2].__setitem__(3, "high"), "row 3, .*not a finite number: 'high'"),
        (WELLS, lambda c: c[0].__setitem__(1, "nowhere"), "column nowhere: 1 column.* are not listed"),
        (WELLS, lambda c: c[2].__setitem__(0, "ACH-999999"), "row 3: 'ACH-999999' is not listed"),
        (TREATMENTS, lambda c: c[1].__setitem__(3, "-1"), "row 2, column dose: a dose that is not positive"),
        (TREATMENTS, lambda c: c[1].__setitem__(3, "ten"), "row 2, column dose: not a number"),
        (TREATMENTS, lambda c: c[2].__setitem__(0, c[1][0]), "row 2, 3, column column_name: more than once"),
        (TREATMENTS, lambda c: c[0].__setitem__(3, "amount"), "column dose: the column is missing"),
        (CURVES, lambda c: c.append(c[1]), "row 2, .*: more than once"),
        (CURVES, lambda c: c[1].__setitem__(8, "low"), "row 2, column auc: not a number"),
        (CURVES, lambda c: c[1].__setitem__(-1, "ACH-9"), "row 2, column row_name: not listed"),
        (LINES, lambda c: c.append(c[1]), "row 2, 9, column row_name: more than once"),
    ],
)
def test_what_cannot_be_read_is_named(raw: Path, name: str, change: Callable, message: str) -> None:
    alter(raw / name, change)
    with pytest.raises(BadInputError, match=message) as refused:
        check_input(PrismSecondary(), raw, EMBEDDED_ONLY)
    assert refused.value.dataset_id == ID


def test_fold_changes_without_their_treatments_are_refused(raw: Path) -> None:
    (raw / TREATMENTS).unlink()
    with pytest.raises(BadInputError, match="cannot be read without secondary-screen-replicate-treatment"):
        list(PrismSecondary().measurements(raw))


def test_neither_curves_nor_fold_changes_are_refused(raw: Path) -> None:
    (raw / CURVES).unlink()
    (raw / WELLS).unlink()
    with pytest.raises(BadInputError, match="neither curves nor fold changes"):
        PrismSecondary().curves(raw)


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / ID
    if not raw.is_dir():
        pytest.skip(f"{ID} is not among the real files")
    rows = curves(raw)
    assert rows["compound_reported"].n_unique() == 1_448
    assert 489 <= rows["context_reported"].n_unique() <= 499
    assert set(rows["experiment"]) == set(SCREEN_RANK)
