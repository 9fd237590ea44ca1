"""Screens of known agreement: what is paired, what the metrics are, and which alarms tell what is wrong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from etl.agreement.screens import (
    CURVE_COLUMNS,
    METRICS,
    SANITY_BANDS,
    agreement_account,
    beside_bands,
    compare_screens,
)
from etl.dose_response.hill import log10_ic50, mean_viability, viability
from etl.errors import BadInputError
from etl.sources.ccle_2015 import Ccle2015
from etl.sources.gcsi import Gcsi
from etl.validation import violations
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.screen_agreement import SCREEN_AGREEMENT
from schemas.vocabularies import SCREEN_ALARMS

N_COMPOUNDS, N_LINES = 12, 60
SHAPE = (N_COMPOUNDS, N_LINES)
SCHEMA = {name: DOSE_RESPONSE.polars_schema[name] for name in CURVE_COLUMNS}
KEYS = [f"{letter * 14}-UHFFFAOYSA-N" for letter in "ABCDEFGHIJKL"]
LINES = [f"CVCL_{number:04d}" for number in range(N_LINES)]


def curve(**columns: object) -> dict[str, object]:
    """One fitted curve of the pooled level, EC50 1 µM, tested from 0.01 to 10 µM."""
    values: dict[str, object] = {
        "dataset_id": "one",
        "context_id": LINES[0],
        "compound_id": KEYS[0],
        "replicate_level": "pooled",
        "model": "log_logistic_3",
        "min_dose_um": 0.01,
        "max_dose_um": 10.0,
        "ec50_um": 1.0,
        "slope": 1.0,
        "e_inf": 0.0,
        "ic50_um": 1.0,
        "auc": 0.6,
        "auc_global": 0.6,
        "qc_flags": [],
        "mean_viability_reported": None,
    }
    return values | columns


def curves(*rows: Mapping[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA)


def screen(dataset_id: str, log10_ec50: np.ndarray, *, low: float = -3.0, high: float = 2.0) -> pl.DataFrame:
    """A screen of all compounds on all lines, whose curves differ in EC50 only."""
    shape = {"log10_ec50": log10_ec50.ravel(), "slope": 1.2, "e_inf": 0.1}
    ic50 = log10_ic50(**shape)
    area = mean_viability(low, high, **shape)
    frame = pl.DataFrame(
        {
            "context_id": np.tile(LINES, N_COMPOUNDS),
            "compound_id": np.repeat(KEYS, N_LINES),
            "ec50_um": 10.0 ** shape["log10_ec50"],
            "ic50_um": 10.0**ic50,
            "auc": area,
            "auc_global": mean_viability(-4.0, 2.0, **shape),
            "mean_viability_reported": area,
        }
    ).with_columns(
        dataset_id=pl.lit(dataset_id),
        replicate_level=pl.lit("pooled"),
        model=pl.lit("log_logistic_3"),
        min_dose_um=pl.lit(10.0**low),
        max_dose_um=pl.lit(10.0**high),
        slope=pl.lit(1.2),
        e_inf=pl.lit(0.1),
        qc_flags=pl.lit([], pl.List(pl.String)),
    )
    return frame.select(CURVE_COLUMNS)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """log10 EC50 of compounds × lines: compounds differ more than lines do."""
    rng = np.random.default_rng(1)
    return rng.normal(-0.5, 0.6, size=(N_COMPOUNDS, 1)) + rng.normal(0, 0.3, size=SHAPE)


def row_of(agreement: pl.DataFrame, metric: str, scope: str = "pooled", compound: str = "") -> dict:
    found = agreement.filter(metric=metric, scope=scope, compound=compound)
    assert found.height == 1
    return found.row(0, named=True)


def alarms_of(agreement: pl.DataFrame) -> set[str]:
    return set(agreement["alarms"].explode().drop_nulls())


def compared(*frames: pl.DataFrame, **options: object) -> pl.DataFrame:
    """The agreement of these screens, which keeps the rules of its table."""
    agreement = compare_screens(pl.concat(frames), n_resamples=200, **options)
    assert violations(agreement, SCREEN_AGREEMENT.model) == []
    assert agreement.select(SCREEN_AGREEMENT.primary_key).is_unique().all()
    return agreement


def test_equal_screens_agree_perfectly_and_look_like_the_same_rows(truth: np.ndarray) -> None:
    agreement = compared(screen("one", truth), screen("two", truth))
    assert agreement["pearson"].to_list() == pytest.approx([1.0] * agreement.height, abs=1e-9)
    assert agreement["spearman"].to_list() == pytest.approx([1.0] * agreement.height, abs=1e-9)
    assert set(agreement.filter(pl.col("scope") == "pooled")["median_difference"]) == {0.0}
    assert alarms_of(agreement) == {"same_rows_suspected"}


def test_noise_attenuates_by_the_reliability_and_pooling_flatters(truth: np.ndarray) -> None:
    """log10 EC50 of variance 0.09 within compounds, and noise of 0.09 a side: r is 0.5 within them."""
    rng = np.random.default_rng(2)
    left, right = (truth + rng.normal(0, 0.3, size=SHAPE) for _ in range(2))
    agreement = compared(screen("one", left), screen("two", right))
    centred, pooled = (row_of(agreement, "log10_ec50", scope) for scope in ("centred", "pooled"))
    median = row_of(agreement, "log10_ec50", "median_of_compounds")
    assert centred["pearson"] == pytest.approx(0.5, abs=0.08)
    assert median["pearson"] == pytest.approx(0.5, abs=0.1)
    assert pooled["pearson"] > centred["pearson"] + 0.2
    for row in (centred, pooled, median):
        assert row["pearson_low"] < row["pearson"] < row["pearson_high"]
        assert row["spearman_low"] < row["spearman"] < row["spearman_high"]
        assert (row["status"], row["interval"]) == ("ok", "compound_bootstrap")
    assert (median["share_positive"], median["n_compounds_50"], median["n_compounds"]) == (1.0, 12, 12)
    assert alarms_of(agreement) == set()


def test_unrelated_screens_have_intervals_around_zero() -> None:
    rng = np.random.default_rng(3)
    one, two = (screen(name, rng.normal(0, 0.5, size=SHAPE)) for name in ("one", "two"))
    agreement = compared(one, two)
    for metric in METRICS:
        for scope in ("pooled", "centred", "median_of_compounds"):
            row = row_of(agreement, metric, scope)
            assert row["pearson_low"] < 0.05
            assert row["pearson_high"] > -0.05
            assert abs(row["spearman"]) < 0.15


def test_values_are_scipys(truth: np.ndarray) -> None:
    noise = np.random.default_rng(4).normal(0, 0.2, size=SHAPE)
    one, two = screen("one", truth), screen("two", truth + noise)
    agreement = compared(one, two)
    both = one.join(two, on=["context_id", "compound_id"], suffix="_two", maintain_order="left")
    x, y = both["auc"].to_numpy(), both["auc_two"].to_numpy()
    pooled = row_of(agreement, "auc_tested")
    assert pooled["pearson"] == pytest.approx(pearsonr(x, y).statistic)
    assert pooled["spearman"] == pytest.approx(spearmanr(x, y).statistic)
    assert pooled["median_difference"] == pytest.approx(np.median(x - y))
    assert pooled["sd_ratio"] == pytest.approx(x.std() / y.std())
    x, y = x.reshape(SHAPE), y.reshape(SHAPE)
    centred = row_of(agreement, "auc_tested", "centred")
    x_centred, y_centred = ((side - side.mean(axis=1, keepdims=True)).ravel() for side in (x, y))
    assert centred["pearson"] == pytest.approx(pearsonr(x_centred, y_centred).statistic)
    assert centred["spearman"] == pytest.approx(spearmanr(x_centred, y_centred).statistic)
    single = [pearsonr(a, b) for a, b in zip(x, y, strict=True)]
    for key, expected in zip(KEYS, single, strict=True):
        row = row_of(agreement, "auc_tested", "compound", key)
        assert row["pearson"] == pytest.approx(expected.statistic)
        assert row["pearson_low"] == pytest.approx(expected.confidence_interval().low)
        assert (row["n_pairs"], row["n_contexts"], row["n_compounds"]) == (N_LINES, N_LINES, 1)
        assert row["interval"] == "fisher_z"
    median = row_of(agreement, "auc_tested", "median_of_compounds")
    assert median["pearson"] == pytest.approx(np.median([expected.statistic for expected in single]))
    assert median["median_difference"] == pytest.approx(np.median(np.median(x - y, axis=1)))


def test_a_flipped_direction_is_told(truth: np.ndarray) -> None:
    noise = np.random.default_rng(5).normal(0, 0.2, size=SHAPE)
    flipped = screen("two", truth + noise).with_columns(mean_viability_reported=1 - pl.col("auc"))
    agreement = compared(screen("one", truth), flipped)
    told = agreement.filter(pl.col("alarms").list.contains("direction_mixed_suspected"))
    assert set(told["metric"]) == {"mean_viability_reported"}
    assert set(told["scope"]) == {"pooled", "centred", "median_of_compounds"}


def test_a_flipped_direction_is_told_where_compounds_are_too_few_to_resample(truth: np.ndarray) -> None:
    one = screen("one", truth).filter(pl.col("compound_id") == KEYS[0])
    flipped = one.with_columns(dataset_id=pl.lit("two"), auc=1 - pl.col("auc"))
    agreement = compared(one, flipped)
    row = row_of(agreement, "auc_tested")
    assert (row["status"], row["pearson_high"]) == ("too_few_compounds", None)
    assert row["alarms"] == ["direction_mixed_suspected"]


@pytest.mark.parametrize("power", [3, -6])
def test_a_unit_mistaken_is_told(truth: np.ndarray, power: int) -> None:
    noise = np.random.default_rng(6).normal(0, 0.2, size=SHAPE)
    doses = pl.col("min_dose_um", "max_dose_um", "ec50_um", "ic50_um")
    shifted = screen("two", truth + noise).with_columns(doses * 10.0**power)
    agreement = compared(screen("one", truth), shifted)
    told = agreement.filter(pl.col("alarms").list.contains("unit_mismatch_suspected"))
    assert {"pooled", "compound"} == set(told["scope"])
    assert {"log10_ic50", "log10_ec50"} == set(told["metric"])
    assert row_of(agreement, "log10_ic50")["median_difference"] == pytest.approx(-power, abs=0.1)


def test_a_logarithm_of_another_base_is_told(truth: np.ndarray) -> None:
    noise = np.random.default_rng(7).normal(0, 0.15, size=SHAPE)
    mistaken = screen("two", truth + noise).with_columns(
        pl.col("ec50_um", "ic50_um").pow(np.log(10)), min_dose_um=pl.lit(1e-9), max_dose_um=pl.lit(1e9)
    )
    row = row_of(compared(screen("one", truth), mistaken), "log10_ic50")
    assert row["sd_ratio"] == pytest.approx(1 / np.log(10), rel=0.05)
    assert row["alarms"] == ["unit_mismatch_suspected"]


def test_a_mean_viability_that_is_no_fraction_is_told(truth: np.ndarray) -> None:
    noise = np.random.default_rng(8).normal(0, 0.2, size=SHAPE)
    area = screen("two", truth + noise).with_columns(mean_viability_reported=15 * pl.col("auc"))
    agreement = compared(screen("one", truth), area)
    assert row_of(agreement, "mean_viability_reported")["alarms"] == ["unit_mismatch_suspected"]
    assert row_of(agreement, "auc_tested")["alarms"] == []


def test_few_pairs_raise_no_alarm(truth: np.ndarray) -> None:
    few = pl.col("context_id").is_in(LINES[:9]) & (pl.col("compound_id") == KEYS[0])
    agreement = compared(screen("one", truth).filter(few), screen("two", truth).filter(few))
    assert row_of(agreement, "auc_tested")["pearson"] == pytest.approx(1.0)
    assert alarms_of(agreement) == set()


def test_the_shared_window_is_the_mean_of_both_curves_over_the_doses_both_tested(
    truth: np.ndarray,
) -> None:
    other = truth + np.random.default_rng(9).normal(0, 0.3, size=SHAPE)
    agreement = compared(screen("one", truth, low=-3, high=1), screen("two", other, low=-1, high=2))
    dose = np.linspace(-1, 1, 4001)
    areas = [
        np.trapezoid(viability(dose[:, None], log10_ec50=middle.ravel(), slope=1.2, e_inf=0.1), dose, axis=0)
        / 2
        for middle in (truth, other)
    ]
    row = row_of(agreement, "auc_shared_window")
    assert row["pearson"] == pytest.approx(np.corrcoef(*areas)[0, 1], abs=1e-6)
    assert row["median_difference"] == pytest.approx(np.median(areas[0] - areas[1]), abs=1e-6)
    assert row["median_left"] == pytest.approx(np.median(areas[0]), abs=1e-6)


def test_windows_narrower_than_half_a_decade_are_counted_not_compared(truth: np.ndarray) -> None:
    agreement = compared(screen("one", truth, low=-3, high=0), screen("two", truth, low=-0.3, high=2))
    row = row_of(agreement, "auc_shared_window")
    n_all = N_COMPOUNDS * N_LINES
    assert (row["n_pairs"], row["n_undefined"], row["n_narrow_window"]) == (0, n_all, n_all)
    assert (row["status"], row["pearson"], row["interval"]) == ("too_few_lines", None, "none")
    assert row_of(agreement, "auc_tested")["n_pairs"] == n_all
    wide = compared(screen("one", truth, low=-3, high=0), screen("two", truth, low=-0.5, high=2))
    assert row_of(wide, "auc_shared_window")["n_narrow_window"] == 0


def test_doses_count_inside_the_tested_ones_only() -> None:
    lines = [{"context_id": line} for line in LINES[:4]]
    one = [curve(**line) for line in lines]
    outside = {"ic50_um": 20.0, "ec50_um": 20.0}
    flat = {"ic50_um": None, "qc_flags": ["flat"]}
    two = [
        curve(dataset_id="two", **(line | change))
        for line, change in zip(lines, [{}, outside, flat, {}], strict=True)
    ]
    agreement = compared(curves(*one, *two))
    for metric in ("log10_ic50", "log10_ec50"):
        row = row_of(agreement, metric)
        assert (row["n_pairs"], row["n_undefined"], row["status"]) == (2, 2, "too_few_lines")
    assert row_of(agreement, "auc_shared_window")["n_pairs"] == 4


def test_an_unfitted_curve_has_published_metrics_only() -> None:
    """gCSI without its values: one row per experiment, nothing pooled."""
    one = [curve(context_id=line, mean_viability_reported=0.1 * n) for n, line in enumerate(LINES[:5])]
    unfitted = dict.fromkeys(("ec50_um", "slope", "e_inf", "ic50_um", "auc", "auc_global"))
    two = [
        curve(
            dataset_id="two",
            context_id=line,
            mean_viability_reported=0.1 * n + shift,
            replicate_level="experiment",
            model="none",
            **unfitted,
        )
        for n, line in enumerate(LINES[:5])
        for shift in (-0.2, 0.0)
    ]
    agreement = compared(curves(*one, *two))
    row = row_of(agreement, "mean_viability_reported")
    assert (row["n_pairs"], row["n_curves_left"], row["n_curves_right"]) == (5, 5, 10)
    assert row["median_difference"] == pytest.approx(0.1)  # the mean of both experiments lies 0.1 lower
    assert row["status"] == "too_few_compounds"
    assert row["pearson"] == pytest.approx(1.0)
    assert row_of(agreement, "auc_shared_window")["n_undefined"] == 5
    assert row_of(agreement, "auc_shared_window")["n_narrow_window"] == 0


def test_several_curves_of_a_pair_become_the_mean_of_their_metric() -> None:
    lines = LINES[:3]
    one = [curve(context_id=line, ic50_um=1.0, auc=0.6) for line in lines]
    two = [
        curve(dataset_id="two", context_id=line, ic50_um=ic50, auc=auc, min_dose_um=low)
        for line in lines
        for ic50, auc, low in ((0.1, 0.2, 0.01), (10.0, 0.8, 9.0))
    ]
    agreement = compared(curves(*one, *two))
    assert row_of(agreement, "auc_tested")["median_right"] == pytest.approx(0.5)
    assert row_of(agreement, "log10_ic50")["median_right"] == pytest.approx(0.0)
    shared = row_of(agreement, "auc_shared_window")
    # The second curve of each pair shares less than half a decade with the first screen's.
    assert (shared["n_curves_left"], shared["n_curves_right"], shared["n_narrow_window"]) == (3, 3, 0)
    assert shared["status"] == "constant"


def test_implausible_published_values_and_other_levels_do_not_count() -> None:
    flagged = {"mean_viability_reported": 9.0, "qc_flags": ["mean_viability_above_3"]}
    one = [curve(context_id=line, mean_viability_reported=0.5) for line in LINES[:4]]
    two = [curve(dataset_id="two", context_id=line, mean_viability_reported=0.5) for line in LINES[:3]]
    replicate = curve(dataset_id="two", context_id=LINES[0], replicate_level="replicate", auc=99.0)
    agreement = compared(
        curves(*one, *two, replicate, curve(dataset_id="two", context_id=LINES[3], **flagged))
    )
    reported = row_of(agreement, "mean_viability_reported")
    assert (reported["n_pairs"], reported["n_undefined"]) == (3, 1)
    assert row_of(agreement, "auc_tested")["n_curves_right"] == 4
    assert row_of(agreement, "auc_tested")["median_right"] == pytest.approx(0.6)


def test_what_is_unresolved_matches_nothing() -> None:
    unknown = {"compound_id": "unresolved:one:X"}
    nowhere = {"context_id": "unresolved:one:Y"}
    rows = [curve(dataset_id=name, **change) for name in ("one", "two") for change in (unknown, nowhere, {})]
    assert row_of(compared(curves(*rows)), "auc_tested")["n_pairs"] == 1
    nothing = compared(curves(*[row for row in rows if row["compound_id"] != KEYS[0]]))
    assert row_of(nothing, "auc_tested")["n_pairs"] == 0


def test_the_skeleton_joins_stereoisomers_and_their_mixtures() -> None:
    other = f"{'A' * 14}-QMMMGPOBSA-N"
    names = {"one": (KEYS[0], f"mixture:{KEYS[0]}+{KEYS[1]}"), "two": (other, f"mixture:{other}+{KEYS[1]}")}
    rows = [
        curve(dataset_id=dataset, compound_id=compound, context_id=line)
        for dataset, compounds in names.items()
        for compound in compounds
        for line in LINES[:3]
    ]
    assert row_of(compared(curves(*rows)), "auc_tested")["n_pairs"] == 0
    agreement = compared(curves(*rows), compound_key="skeleton")
    found = agreement.filter(pl.col("metric") == "auc_tested", pl.col("scope") == "compound")["compound"]
    assert found.to_list() == ["A" * 14, f"mixture:{'A' * 14}+{'B' * 14}"]
    assert set(agreement["compound_key"]) == {"skeleton"}


def test_screens_without_anything_in_common_still_have_their_rows() -> None:
    agreement = compared(curves(curve(), curve(dataset_id="two", context_id=LINES[1])))
    assert agreement.height == 3 * len(METRICS)
    assert set(agreement["status"]) == {"too_few_lines", "too_few_compounds"}
    assert agreement["n_pairs"].sum() == 0


def test_three_lines_give_a_correlation_without_interval() -> None:
    rows = [
        curve(dataset_id=name, context_id=line, auc=value)
        for name, values in (("one", (0.1, 0.2, 0.3)), ("two", (0.2, 0.1, 0.4)))
        for line, value in zip(LINES, values, strict=False)
    ]
    row = row_of(compared(curves(*rows)), "auc_tested", "compound", KEYS[0])
    assert row["spearman"] == pytest.approx(0.5)
    assert (row["spearman_low"], row["interval"], row["status"]) == (None, "none", "too_few_lines")


def test_neither_row_order_nor_another_screen_changes_a_value(truth: np.ndarray) -> None:
    rng = np.random.default_rng(10)
    frames = [screen(name, truth + rng.normal(0, 0.2, size=SHAPE)) for name in ("one", "two")]
    third = screen("a_third", truth).with_columns(compound_id="A" + pl.col("compound_id").str.slice(1))
    alone = compared(*frames)
    shuffled = compared(pl.concat([*frames, third]).sample(fraction=1, shuffle=True, seed=1))
    of_both = shuffled.filter(left_dataset_id="one", right_dataset_id="two")
    keys = list(SCREEN_AGREEMENT.primary_key)
    assert of_both.select(keys).equals(alone.select(keys))
    for column in ("pearson", "pearson_low", "spearman", "spearman_high", "median_difference"):
        assert of_both[column].to_list() == pytest.approx(alone[column].to_list(), abs=1e-12)
    assert shuffled.select("left_dataset_id", "right_dataset_id").n_unique() == 3


def test_a_pair_of_known_screens_is_held_against_its_band(truth: np.ndarray) -> None:
    rng = np.random.default_rng(11)
    one = screen("gdsc1", truth)
    for noise, observed_alarms in ((1.5, ["below_sanity_band"]), (0.35, [])):
        two = screen("gdsc2", truth + rng.normal(0, noise, size=SHAPE))
        agreement = compared(one, two)
        pooled = row_of(agreement, "auc_shared_window")
        assert pooled["alarms"] == observed_alarms
        bands = beside_bands(agreement).filter(measure="pooled_pearson").row(0, named=True)
        assert bands["observed"] == pooled["pearson"]
        assert (bands["usual_low"], bands["usual_high"]) == (0.7, 0.9)
        assert bands["is_usual"] == (observed_alarms == [])
    others = beside_bands(compared(one, screen("two", truth)))
    assert others.select("measure", "observed", "usual_low", "is_usual").rows() == [
        ("share_positive", 1.0, 0.8, True)
    ]


def test_bands_are_keyed_in_alphabetical_order_and_lie_above_their_alarm() -> None:
    for (left, right), band in SANITY_BANDS.items():
        assert left < right
        assert band.alarm_below < band.pooled_pearson[0] < band.pooled_pearson[1]
        assert band.median_spearman[0] < band.median_spearman[1]


def test_the_account_counts_what_is_given_and_the_alarms(truth: np.ndarray) -> None:
    agreement = compared(screen("one", truth), screen("two", truth))
    account = agreement_account(agreement)
    assert account.n_out == agreement.height
    assert account.noted["compound ok"] == N_COMPOUNDS * len(METRICS)
    assert set(account.noted) & set(SCREEN_ALARMS) == {"same_rows_suspected"}


def test_one_screen_alone_has_no_agreement(truth: np.ndarray) -> None:
    assert compare_screens(screen("one", truth)).equals(SCREEN_AGREEMENT.empty())
    assert compare_screens(curves()).is_empty()


def test_bad_input_is_named(truth: np.ndarray) -> None:
    one = screen("one", truth)
    with pytest.raises(BadInputError, match=r"column auc: .*no such column"):
        compare_screens(one.drop("auc"))
    with pytest.raises(BadInputError, match=r"column slope: .*Float64.*String"):
        compare_screens(one.with_columns(pl.col("slope").cast(pl.String)))
    with pytest.raises(BadInputError, match="'cas' is none of parent, skeleton"):
        compare_screens(one, compound_key="cas")


@pytest.mark.realdata
def test_published_areas_of_gcsi_and_ccle_agree_as_an_assay_alike_should(realdata: Path) -> None:
    """By names without punctuation; the build compares by ids, which need no such guess."""
    sources = {"ccle_2015": Ccle2015(), "gcsi": Gcsi()}
    frames = [
        source.curves(realdata / "raw" / name)
        .select(
            "replicate_level",
            dataset_id=pl.lit(name),
            context_id=pl.col("context_reported").str.extract(r"^([^_]+)"),
            compound_id="compound_reported",
            model=pl.lit("none"),
            qc_flags="flags",
            mean_viability_reported="mean_viability",
        )
        .with_columns(pl.col("context_id", "compound_id").str.to_uppercase().str.replace_all("[^A-Z0-9]", ""))
        .match_to_schema(SCHEMA, missing_columns="insert")
        .collect()
        for name, source in sources.items()
    ]
    agreement = compared(*frames)
    pooled = row_of(agreement, "mean_viability_reported")
    median = row_of(agreement, "mean_viability_reported", "median_of_compounds")
    assert pooled["n_compounds"] == median["n_compounds"] == 6
    assert pooled["n_pairs"] > 1_000
    assert 0.7 < pooled["pearson"] < 0.9
    assert 0.3 < median["spearman"] < 0.6
    assert median["share_positive"] == 1.0
    assert alarms_of(agreement) == set()
