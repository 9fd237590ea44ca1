from pathlib import Path

import numpy as np
import polars as pl
import pytest

CCLE = "CCLE_NP24.2009_Drug_data_2015.02.24.csv"
METRICS = "gCSI_GRmetrics_v1.3.tsv"


@pytest.fixture(scope="module")
def metrics(simulated: Path) -> pl.DataFrame:
    return pl.read_csv(simulated / "gcsi" / METRICS, separator="\t", infer_schema=False)


@pytest.fixture(scope="module")
def values(simulated: Path) -> pl.DataFrame:
    return pl.read_csv(simulated / "gcsi" / "gCSI_GRvalues_v1.3.tsv", separator="\t", infer_schema=False)


@pytest.fixture(scope="module")
def ccle(simulated: Path) -> pl.DataFrame:
    return pl.read_csv(simulated / "ccle_2015" / CCLE, infer_schema=False)


def test_gcsi_metrics_have_the_published_header(simulated: Path, realdata: Path) -> None:
    ours, theirs = simulated / "gcsi" / METRICS, realdata / "raw" / "gcsi" / METRICS
    assert ours.read_bytes().split(b"\n")[0] == theirs.read_bytes().split(b"\n")[0]


def test_gcsi_names_are_published_names(metrics: pl.DataFrame, realdata: Path) -> None:
    real = pl.read_csv(realdata / "raw" / "gcsi" / METRICS, separator="\t", infer_schema=False)
    for pair in (
        ("DrugName", "Norm_DrugName"),
        ("CellLineName", "Norm_CellLineName"),
        ("CellLineName", "PrimaryTissue", "doublingtime"),
    ):
        assert metrics.join(real, on=pair, how="anti").is_empty(), pair


def test_gcsi_holds_missing_and_infinite_metrics(metrics: pl.DataFrame) -> None:
    assert metrics.filter(pl.col("GR50") == "NA").height == 3
    assert metrics.filter(pl.col("GR50") == "-Inf").height == 1
    assert metrics.filter(pl.col("GR50") == "Inf").height > 10
    assert (metrics["Emax"] != "NA").all()
    flat = metrics.filter(pl.col("flat_fit_GR") == "1")
    assert flat.height > 5
    assert set(flat["h_GR"]) == {"1e-04"}
    assert set(flat["GEC50"]) == {"0"}


def test_gcsi_repeats_some_pairs_in_another_experiment(metrics: pl.DataFrame) -> None:
    assert set(metrics["ExperimentNumber"]) == {"2b", "2c", "11a"}
    pairs = metrics.group_by("DrugName", "CellLineName").len()
    assert pairs.filter(pl.col("len") == 2).height == 9
    assert metrics.select("DrugName", "CellLineName", "ExperimentNumber").is_unique().all()


def test_gcsi_values_and_metrics_describe_the_same_experiments(
    values: pl.DataFrame, metrics: pl.DataFrame
) -> None:
    key = ["DrugName", "CellLineName", "ExperimentNumber"]
    assert values.group_by(key).len()["len"].unique().to_list() == [9]
    assert values.select(key).unique().sort(key).equals(metrics.select(key).sort(key))


def test_gcsi_growth_rate_follows_from_the_cell_count(values: pl.DataFrame) -> None:
    relative, doubling = (values[name].cast(pl.Float64) for name in ("relative_cell_count", "doublingtime"))
    expected = 2 * relative.to_numpy() ** (doubling.to_numpy() / 72) - 1
    np.testing.assert_allclose(values["GR"].cast(pl.Float64).to_numpy(), expected, atol=0.0006)


def test_gcsi_values_scatter_around_the_true_curve(simulated: Path, values: pl.DataFrame) -> None:
    truth = pl.read_parquet(simulated / "gcsi" / "truth" / "curves.parquet")
    joined = values.join(
        truth, left_on=["CellLineName", "DrugName"], right_on=["context_reported", "compound_reported"]
    )
    assert joined.height == values.height
    dose_um = 10 ** (joined["log10Concentration"].cast(pl.Float64).to_numpy() + 6)
    ec50, slope, e_inf = (joined[name].to_numpy() for name in ("ec50_um", "slope", "e_inf"))
    expected = e_inf + (1 - e_inf) / (1 + (dose_um / ec50) ** slope)
    residual = joined["relative_cell_count"].cast(pl.Float64).to_numpy() - expected
    assert abs(residual.mean()) < 0.005
    assert residual.std() == pytest.approx(0.03, abs=0.005)


def test_ccle_has_the_published_header_and_line_ends(simulated: Path, realdata: Path) -> None:
    ours = (simulated / "ccle_2015" / CCLE).read_bytes()
    theirs = (realdata / "raw" / "ccle_2015" / CCLE).read_bytes()
    assert ours.split(b"\n")[0] == theirs.split(b"\n")[0]
    assert ours.count(b"\r\n") == ours.count(b"\n")


def test_ccle_names_and_dose_series_are_published_ones(ccle: pl.DataFrame, realdata: Path) -> None:
    real = pl.read_csv(realdata / "raw" / "ccle_2015" / CCLE, infer_schema=False)
    names = ["CCLE Cell Line Name", "Primary Cell Line Name"]
    assert ccle.join(real, on=names, how="anti").is_empty()
    assert set(ccle["Doses (uM)"]) <= set(real["Doses (uM)"])
    stripped = real["Compound"].str.strip_chars()
    assert ccle["Compound"].str.strip_chars().is_in(stripped.to_list()).all()


def test_ccle_writes_a_non_breaking_blank_after_one_compound(ccle: pl.DataFrame) -> None:
    assert ccle.filter(pl.col("Compound").str.ends_with("\N{NO-BREAK SPACE}"))["Compound"].n_unique() == 1


def test_ccle_lists_are_as_long_as_num_data(ccle: pl.DataFrame) -> None:
    for column in ("Doses (uM)", "Activity Data (median)", "Activity SD"):
        lengths = ccle[column].str.split(",").list.len().cast(pl.Int64)
        assert (lengths == ccle["Num Data"].cast(pl.Int64)).all(), column
    assert set(ccle["Num Data"]) == {"7", "8"}


def test_ccle_caps_the_ic50_at_the_top_dose_and_leaves_ec50_of_flat_curves_out(ccle: pl.DataFrame) -> None:
    ic50 = ccle["IC50 (uM)"].cast(pl.Float64)
    assert ic50.max() == 8
    assert (ic50 == 8).sum() > 10
    constant = ccle.filter(pl.col("FitType") == "Constant")
    assert set(constant["EC50 (uM)"]) == {"NA"}
    assert set(constant["IC50 (uM)"]) == {"8"}


def test_ccle_fits_recover_the_potency_of_responding_curves(simulated: Path, ccle: pl.DataFrame) -> None:
    truth = pl.read_parquet(simulated / "ccle_2015" / "truth" / "curves.parquet")
    joined = ccle.join(
        truth, left_on=["CCLE Cell Line Name", "Compound"], right_on=["context_reported", "compound_reported"]
    ).filter((pl.col("EC50 (uM)") != "NA") & (pl.col("e_inf") < 0.5))
    error = joined["EC50 (uM)"].cast(pl.Float64).log10() - joined["ec50_um"].log10()
    assert joined.height > 30
    assert float(np.median(np.abs(error.to_numpy()))) < 0.15


def test_both_screens_share_the_truth_of_a_pair(simulated: Path) -> None:
    gcsi, ccle = (
        pl.read_parquet(simulated / dataset_id / "truth" / "curves.parquet")
        .filter(pl.col("compound") == "tanespimycin")
        .select("ec50_um", "slope", "e_inf")
        for dataset_id in ("gcsi", "ccle_2015")
    )
    assert gcsi.equals(ccle)
