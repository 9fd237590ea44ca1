"""What the published numbers of CTRPv2 mean, seen on simulated files, and the whole dataset in one go."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import integrate

from etl.harmonize.compound_kinds import combination_parts
from etl.harmonize.screens import check_curves, curve_times, harmonize_measurements
from etl.simulate import ctrpv2
from etl.simulate.study import Study
from etl.sources.ctrpv2 import Ctrpv2
from schemas.core.viability import VIABILITY

KEY = ["context_reported", "compound_reported", "experiment"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ctrpv2")
    ctrpv2.write(folder, Study(20240101))
    return folder


@pytest.fixture(scope="module")
def published(simulated: Path) -> pl.DataFrame:
    """Curves with the numbers of the file beside them."""
    file = table(simulated, "data.curves_post_qc").select(
        pl.col("experiment_id").alias("experiment"),
        pl.col("master_cpd_id").alias("compound_reported"),
        pl.col("p1_center", "p2_slope", "p3_total_decline", "p4_baseline").cast(pl.Float64),
    )
    return Ctrpv2().curves(simulated).collect().join(file, on=["experiment", "compound_reported"])


@pytest.fixture(scope="module")
def wells(simulated: Path) -> pl.DataFrame:
    return pl.concat(Ctrpv2().measurements(simulated))


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(folder / ctrpv2.FOLDER / f"v20.{name}.txt", separator="\t", infer_schema=False)


def test_the_ec50_is_two_to_the_centre_in_micromolar(published: pl.DataFrame) -> None:
    finite = published.drop_nulls("ec50_um")
    assert finite.height == published.height - 1
    # Both numbers have four digits: of a centre below 10 the last is 0.001.
    assert (finite["ec50_um"].log(2) - finite["p1_center"]).abs().max() < 0.002


@pytest.mark.parametrize("p2", [-0.05, 0.36, 0.7213, -1.4427, 5.0])
def test_a_logistic_curve_in_log2_dose_is_a_hill_curve(tmp_path: Path, simulated: Path, p2: float) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("meta.per_compound", "meta.per_cell_line", "meta.per_experiment"):
        table(simulated, name).write_csv(folder / f"v20.{name}.txt", separator="\t")
    one = table(simulated, "data.curves_post_qc").head(1).with_columns(p2_slope=pl.lit(f"{p2}"))
    one.write_csv(folder / "v20.data.curves_post_qc.txt", separator="\t")
    curve = Ctrpv2().curves(folder).collect().row(0, named=True)
    p1, p3, p4 = (float(one[name][0]) for name in ("p1_center", "p3_total_decline", "p4_baseline"))

    x = np.linspace(p1 - 6, p1 + 6, 49)
    logistic = p4 + p3 / (1 + np.exp((x - p1) / abs(p2)))
    hill = curve["e_inf"] + p3 / (1 + (2**x / 2**p1) ** curve["slope"])
    assert hill == pytest.approx(logistic, abs=1e-12)


def test_the_area_over_15_is_the_mean_of_the_curve_over_the_doses(
    published: pl.DataFrame, wells: pl.DataFrame
) -> None:
    tops = {one.name: one.top_um for one in ctrpv2.SUBSTANCES}
    names = {str(one.master_cpd_id): one.name for one in ctrpv2.SUBSTANCES}
    for row in published.drop_nulls("ec50_um").iter_rows(named=True):
        top = np.log2(tops[names[row["compound_reported"]]])

        def viability(x: float, row: dict = row) -> float:
            decline = row["p3_total_decline"] / (1 + (2**x / row["ec50_um"]) ** row["slope"])
            return row["e_inf"] + decline

        area, _ = integrate.quad(viability, top - 15, top, points=[np.log2(row["ec50_um"])])
        assert row["mean_viability"] == pytest.approx(area / 15, abs=0.002), row["compound_reported"]
        assert row["e_max"] == pytest.approx(viability(top), abs=0.002)
    averages = wells.group_by(KEY).agg(mean=pl.col("viability").filter(~pl.col("is_low_quality")).mean())
    both = published.join(averages, on=KEY)
    assert (both["mean"] - both["mean_viability"]).abs().max() < 0.12


def test_the_area_over_the_number_of_points_would_be_another_number(published: pl.DataFrame) -> None:
    assert set(published["n_points"]) == {14, 15, 16}
    fewer = published.filter(pl.col("n_points") == 14)
    assert (fewer["auc"] / fewer["n_points"] - fewer["mean_viability"]).min() > 0.02


def test_published_fits_are_near_the_truth(simulated: Path, published: pl.DataFrame) -> None:
    truth = pl.read_parquet(simulated / "truth" / "curves.parquet")
    both = published.join(truth, on=KEY[:2], suffix="_true")
    strong = both.filter(pl.col("e_inf_true") < 0.6)
    assert strong.height > 40
    assert (strong["ec50_um"] / strong["ec50_um_true"]).log10().abs().max() < 0.2
    assert (strong["e_inf"] - strong["e_inf_true"]).abs().max() < 0.1


def test_what_the_archive_is_odd_in_is_simulated(simulated: Path, wells: pl.DataFrame) -> None:
    experiments = table(simulated, "meta.per_experiment")
    assert (experiments.height, experiments["experiment_id"].n_unique()) == (9, 7)
    assert set(table(simulated, "data.per_cpd_pre_qc")["qc_type"]) == {"0", "1", "2", "3"}
    assert sum(
        combination_parts(name) is not None for name in table(simulated, "meta.per_compound")["cpd_name"]
    )
    assert wells["replicate"].str.contains("#2").sum() == 2
    low = wells.filter("is_low_quality").group_by(*KEY, "plate").agg(n=pl.col("dose").n_unique())
    assert set(low["n"]) == {1, 2}
    curves = (simulated / ctrpv2.FOLDER / "v20.data.curves_post_qc.txt").read_bytes()
    assert curves.endswith(b"\r\n")
    assert b"\tInf\t" in curves


def test_headers_are_the_published_ones(simulated: Path, realdata: Path) -> None:
    for name in ("per_compound", "per_cell_line", "per_experiment"):
        file = f"v20.meta.{name}.txt"
        ours, theirs = simulated / ctrpv2.FOLDER / file, realdata / "raw" / "ctrpv2" / file
        assert ours.read_bytes().split(b"\n")[0] == theirs.read_bytes().split(b"\n")[0]


def test_identifiers_are_the_published_ones(simulated: Path, realdata: Path) -> None:
    for name, key in (
        ("per_compound", ["master_cpd_id", "cpd_name", "top_test_conc_umol"]),
        ("per_cell_line", ["master_ccl_id", "ccl_name", "ccle_primary_site"]),
    ):
        path = realdata / "raw" / "ctrpv2" / f"v20.meta.{name}.txt"
        theirs = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
        assert table(simulated, f"meta.{name}").join(theirs, on=key, how="anti").is_empty()


def test_the_same_seed_gives_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    ctrpv2.write(tmp_path, Study(20240101))
    for path in simulated.rglob("*.txt"):
        assert (tmp_path / path.relative_to(simulated)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("left_out", "n_rows", "n_low"),
    [
        ((), 2_242, 54),
        (("per_cpd_pre_qc",), 2_242, 0),
        (("per_cpd_well",), 1_087, 0),
        (("per_cpd_well", "per_cpd_post_qc"), 0, 0),
        (("curves_post_qc",), 2_242, 54),
    ],
)
def test_measurements_and_curves_agree_with_each_other(
    simulated: Path, tmp_path: Path, left_out: tuple[str, ...], n_rows: int, n_low: int
) -> None:
    for path in simulated.rglob("v20.*.txt"):
        if path.suffixes[-2].removeprefix(".") not in left_out:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    source = Ctrpv2()
    names = {
        "compound_names": source.compounds(tmp_path)
        .select("compound_reported", dataset_id=pl.lit("ctrpv2"), compound_id="compound_reported")
        .collect(),
        "context_names": source.contexts(tmp_path)
        .select("context_reported", dataset_id=pl.lit("ctrpv2"), context_id="context_reported")
        .collect(),
    }
    viability = VIABILITY.empty()
    for block in source.measurements(tmp_path):
        rows, account = harmonize_measurements(block, dataset_id="ctrpv2", **names)
        assert account.n_in == account.n_out
        viability = pl.concat([viability, rows])
    low = viability.filter(pl.col("qc_flags").list.contains("low_quality_reported"))
    assert (viability.height, low.height) == (n_rows, n_low)
    assert viability.select(VIABILITY.primary_key).is_unique().all()
    curves = source.curves(tmp_path).collect()
    check_curves(curves, curve_times(viability), dataset_id="ctrpv2")
    if n_rows and curves.height:
        assert curves.join(viability, on=KEY, how="anti").is_empty()
