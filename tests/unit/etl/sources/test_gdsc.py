"""Both GDSC screens: the published fits, the names, and what fits and wells have in common."""

from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.screens import check_curves
from etl.simulate import gdsc
from etl.simulate.study import Study
from etl.simulate.workbooks import Cell, write_workbook
from etl.sources.base import AccountedScreen
from etl.sources.gdsc import Gdsc
from etl.sources.gdsc1 import Gdsc1
from etl.sources.gdsc2 import Gdsc2
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

FIT: dict[str, Cell] = dict.fromkeys(gdsc.FITTED_COLUMNS, 0) | {
    "DATASET": "GDSC2",
    "COSMIC_ID": 687600,
    "CELL_LINE_NAME": "T-T",
    "SANGER_MODEL_ID": "SIDM00322",
    "TCGA_DESC": "ESCA",
    "DRUG_ID": 1510,
    "DRUG_NAME": "Alphastat ",
    "PUTATIVE_TARGET": "A, B",
    "MIN_CONC": 0.01,
    "MAX_CONC": 10,
    "LN_IC50": 2,
    "AUC": 0.9,
}


def write(folder: Path, *changes: dict[str, Cell]) -> Path:
    path = folder / "GDSC2_fitted_dose_response_27Oct23.xlsx"
    rows = [list(gdsc.FITTED_COLUMNS), *(list((FIT | change).values()) for change in changes)]
    write_workbook(path, {"Sheet 1": rows})
    return path


@pytest.fixture(scope="module", params=[gdsc.GDSC1, gdsc.GDSC2])
def simulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Gdsc, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    gdsc.write(folder, Study(3), dataset_id=request.param)
    return {gdsc.GDSC1: Gdsc1(), gdsc.GDSC2: Gdsc2()}[request.param], folder


def test_a_published_fit_is_given_in_micromolar(tmp_path: Path) -> None:
    write(tmp_path, {})
    curves = check_reported(Gdsc2().curves(tmp_path), ReportedCurve, dataset_id="gdsc2")
    curve = {name: value for name, value in curves.row(0, named=True).items() if value is not None}
    assert curve.pop("ic50_um") == pytest.approx(7.389056)
    assert curve.pop("auc_kind").startswith("mean fitted viability")
    assert curve == {
        "context_reported": "T-T",
        "compound_reported": "1510",
        "experiment": "10",
        "replicate_level": "experiment",
        "min_dose_um": 0.01,
        "max_dose_um": 10.0,
        "auc": 0.9,
        "mean_viability": 0.9,
        "flags": [],
    }


def test_an_ic50_outside_the_tested_doses_is_kept_and_flagged(tmp_path: Path) -> None:
    write(tmp_path, {"LN_IC50": 5})
    curve = Gdsc2().curves(tmp_path).collect().row(0, named=True)
    assert curve["ic50_um"] == pytest.approx(148.413159)
    assert curve["flags"] == ["ic50_extrapolated_reported"]


def test_a_drug_fitted_at_two_top_doses_has_two_curves(tmp_path: Path) -> None:
    write(tmp_path, {}, {"MAX_CONC": 2})
    assert Gdsc2().curves(tmp_path).collect()["experiment"].to_list() == ["10", "2"]


def test_names_lose_outer_blanks_and_lines_of_similar_names_stay_two(tmp_path: Path) -> None:
    other = {"CELL_LINE_NAME": "TT", "SANGER_MODEL_ID": "NA", "TCGA_DESC": "UNCLASSIFIED", "COSMIC_ID": 1}
    write(tmp_path, {}, other)
    compounds = Gdsc2().compounds(tmp_path).select("compound_reported", "name", "targets").collect()
    contexts = Gdsc2().contexts(tmp_path).select("context_reported", "model_id", "tissue").collect()
    assert compounds.rows() == [("1510", "Alphastat", "A, B")]
    assert contexts.rows() == [("T-T", "SIDM00322", "ESCA"), ("TT", "1", None)]


def test_without_wells_there_are_no_measurements(tmp_path: Path) -> None:
    write(tmp_path, {})
    assert list(Gdsc2().measurements(tmp_path)) == []
    assert Gdsc2().account(tmp_path).n_in == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "row 2, 3: more than once: cell_line_name T-T, drug_id 1510, experiment 10"),
        ({"MAX_CONC": 10.0000001}, "row 2, 3: more than once"),
        ({"DATASET": "GDSC1"}, "row 3, column dataset: not GDSC2: 'GDSC1'"),
        ({"LN_IC50": "low"}, "row 3, column ln_ic50: not a number: 'low'"),
        ({"LN_IC50": 800}, "row 3, column ln_ic50: not a logarithm of a dose: 800.0"),
        ({"AUC": 1.2}, "row 3, column auc: not within 0 and 1: 1.2"),
        ({"MAX_CONC": 0}, "row 3, column max_conc: a dose that is not positive: 0.0"),
        ({"MIN_CONC": 20}, "row 3, column min_conc: a lowest dose that is not below the highest: 20.0"),
        ({"DRUG_ID": None}, "row 3, column drug_id: a missing value"),
    ],
)
def test_a_bad_fit_is_named(tmp_path: Path, change: dict[str, Cell], message: str) -> None:
    write(tmp_path, {}, change)
    with pytest.raises(BadInputError) as error:
        Gdsc2().curves(tmp_path).collect()
    assert message in str(error.value)
    assert str(error.value).startswith("gdsc2, file GDSC2_fitted_dose_response_27Oct23.xlsx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DRUG_NAME": "Betastat"}, "column drug_id: more than once: drug_id 1510"),
        ({"SANGER_MODEL_ID": "SIDM00484"}, "column cell_line_name: more than once: cell_line_name T-T"),
        ({"COSMIC_ID": 5}, "column cell_line_name: more than once: cell_line_name T-T"),
    ],
)
def test_an_id_that_means_two_things_is_refused(
    tmp_path: Path, change: dict[str, Cell], message: str
) -> None:
    write(tmp_path, {}, {"MAX_CONC": 2} | change)
    with pytest.raises(BadInputError, match=message):
        Gdsc2().compounds(tmp_path).collect()
        Gdsc2().contexts(tmp_path).collect()


def test_a_line_with_another_model_among_the_wells_is_refused(tmp_path: Path) -> None:
    gdsc.write(tmp_path, Study(3), dataset_id=gdsc.GDSC2)
    path = next(tmp_path.glob("*raw*.csv"))
    path.write_text(path.read_text().replace("SIDM00322", "SIDM00484"))
    with pytest.raises(BadInputError, match="column cell_line_name: more than once: cell_line_name T-T"):
        Gdsc2().contexts(tmp_path).collect()


def test_the_screens_state_an_account(simulated: tuple[Gdsc, Path]) -> None:
    assert isinstance(simulated[0], AccountedScreen)


def test_every_name_of_fits_and_wells_is_listed(simulated: tuple[Gdsc, Path]) -> None:
    source, raw = simulated
    dataset_id = source.spec.dataset_id
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id=dataset_id)
    contexts = check_reported(source.contexts(raw), ReportedContext, dataset_id=dataset_id)
    curves = source.curves(raw).collect()
    measured = pl.concat(source.measurements(raw))
    for rows in (curves, measured):
        assert set(rows["compound_reported"]) <= set(compounds["compound_reported"])
        assert set(rows["context_reported"]) == set(contexts["context_reported"])
    # Named by the table of compounds alone: it has wells and no fits.
    assert compounds.filter(compound_reported="1054")["name"].item() == "Palbociclib"
    assert compounds.filter(name="Selumetinib").height == 2
    assert compounds.filter(compound_reported="1012")["name"].item() == "Vorinostat"


def test_fits_and_wells_of_a_series_have_one_key(simulated: tuple[Gdsc, Path]) -> None:
    source, raw = simulated
    key = ["context_reported", "compound_reported", "experiment"]
    curves = check_reported(source.curves(raw), ReportedCurve, dataset_id=source.spec.dataset_id)
    measured = pl.concat(source.measurements(raw))
    check_reported(measured, ReportedMeasurement, dataset_id=source.spec.dataset_id)
    assert set(curves.join(measured, on=key, how="anti")["compound_reported"]) == {"1083"}
    assert set(measured.join(curves, on=key, how="anti")["compound_reported"]) == {"1054"}
    times = measured.select(*key, time_h=pl.col("time").cast(pl.Float64) * 24).unique()
    check_curves(curves, times, dataset_id=source.spec.dataset_id)
    ranges = measured.group_by(key).agg(low=pl.col("dose").cast(pl.Float64).min())
    both = curves.join(ranges, on=key)
    assert (both["low"] / both["min_dose_um"]).is_between(0.999, 1.001).all()


def test_measured_viability_is_that_of_the_truth(simulated: tuple[Gdsc, Path]) -> None:
    source, raw = simulated
    truth = pl.read_parquet(raw / "truth" / "curves.parquet")
    dose = pl.col("dose").cast(pl.Float64)
    true = 1 - (1 - pl.col("e_inf")) / (1 + (pl.col("ec50_um") / dose) ** pl.col("slope"))
    both = pl.concat(source.measurements(raw)).join(truth, on=["context_reported", "compound_reported"])
    difference = both.select(pl.col("viability") - true).to_series()
    assert abs(float(difference.mean() or 0)) < 0.01  # type: ignore[arg-type]
    assert float(difference.std() or 0) < 0.06  # type: ignore[arg-type]


def test_the_account_says_what_became_of_every_row(simulated: tuple[Gdsc, Path]) -> None:
    source, raw = simulated
    account = source.account(raw)
    n_lines = len(next(raw.glob("*raw*.csv")).read_text().splitlines()) - 1
    assert account.n_in == n_lines
    assert account.n_out == sum(block.height for block in source.measurements(raw))
    assert account.noted["plates"] == 21
    assert account.dropped["plate without blanks"] == account.n_out // 20


GOLDEN = {
    # dataset: fits, pairs by name, lines, DRUG_IDs, raw rows (screens.md, 1.1)
    "gdsc1": (Gdsc1(), 333_161, 315_094, 970, 403, 5_976_183),
    "gdsc2": (Gdsc2(), 242_036, 235_748, 969, 295, 15_069_449),
}


@pytest.mark.realdata
@pytest.mark.parametrize("dataset_id", GOLDEN)
def test_the_published_release_has_its_known_counts(realdata: Path, dataset_id: str) -> None:
    source, n_fits, n_pairs, n_lines, n_drugs, n_rows = GOLDEN[dataset_id]
    raw = realdata / "raw" / dataset_id
    if not raw.is_dir():
        pytest.skip(f"{dataset_id} is not among the real files")
    curves = check_reported(source.curves(raw), ReportedCurve, dataset_id=dataset_id)
    names = source.compounds(raw).select("compound_reported", "name").collect()
    named = curves.join(names, on="compound_reported")
    assert curves.height == n_fits
    assert named.select("context_reported", "name").n_unique() == n_pairs
    assert curves["context_reported"].n_unique() == n_lines
    assert curves["compound_reported"].n_unique() == n_drugs
    if "wells" in source.spec.locate(raw):
        assert source.account(raw).n_in == n_rows
