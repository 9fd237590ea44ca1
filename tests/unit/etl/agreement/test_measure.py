"""Whole studies with planted agreement, through baselines, retrieval and summary: they are told apart."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import norm, spearmanr

from etl.agreement.baselines import PeerScores, chosen
from etl.agreement.matching import match_conditions
from etl.agreement.measure import loader, measure
from etl.agreement.summary import overview, summarize
from etl.effects.multiple_testing import benjamini_hochberg
from etl.errors import BadInputError
from schemas import TABLES
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE
from schemas.mart.agreement_summary import AGREEMENT_SUMMARY
from schemas.mart.replicate_agreement import REPLICATE_AGREEMENT
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL
from schemas.mart.retrieval import RETRIEVAL
from schemas.vocabularies import AGREEMENT_BASELINES, AGREEMENT_METRICS

N_GENES, N_COMPOUNDS = 300, 24
CONTEXTS = ("CVCL_0023", "CVCL_0031")
ERROR = 0.5
RHO = "spearman_log2_fold_change"
NO_REPLICATES = REPLICATE_AGREEMENT.empty(), REPLICATE_RETRIEVAL.empty()


class Simulated(NamedTuple):
    conditions: pl.DataFrame
    effects: pl.LazyFrame


def compound(number: int) -> str:
    return f"{chr(65 + number % 26) * 14}-{'A' * 10}-N"


def study(kind: str, *, n_compounds: int = N_COMPOUNDS, seed: int = 0) -> Simulated:
    """Datasets a and b in two contexts: ``perfect``, ``attenuated``, ``sign_only``, ``none`` or ``batch``."""
    rng = np.random.default_rng(seed)
    # A tenth of the genes responds to a compound, in all contexts alike.
    responds = rng.random((n_compounds, N_GENES)) < 0.15
    truth = responds * rng.normal(0, 3, (n_compounds, N_GENES))
    batch = {dataset: rng.normal(0, 1.5, N_GENES) for dataset in "ab"}
    conditions, effects = [], []
    number = 0
    for dataset in "ab":
        for context in CONTEXTS:
            for i in range(n_compounds):
                number += 1
                mean = {
                    "perfect": truth[i],
                    "attenuated": truth[i] * (1 if dataset == "a" else 0.4),
                    "sign_only": np.sign(truth[i]) * rng.exponential(3, N_GENES),
                    "none": responds[i] * rng.normal(0, 3, N_GENES),
                    # The assay does the same to everything, the compound nothing that is shared.
                    "batch": batch[dataset] + responds[i] * rng.normal(0, 3, N_GENES),
                }[kind]
                effect = (mean + rng.normal(0, ERROR, N_GENES)).astype(np.float32)
                p = benjamini_hochberg(2 * norm.sf(np.abs(effect) / ERROR)[None])[0]
                unit = {"dataset_id": dataset, "context_id": context, "condition_id": number}
                conditions.append(
                    unit
                    | {"compound_id": compound(i), "dose_um": 1.0 if dataset == "a" else 2.0, "time_h": 24.0}
                    | {"vehicle_group": "", "is_estimable": True, "n_treated": 2 + i % 3}
                )
                effects.append(
                    pl.DataFrame(
                        {
                            "gene_id": np.arange(1, N_GENES + 1, dtype=np.int32),
                            "log2_fold_change": effect,
                            "standard_error": np.full(N_GENES, ERROR, dtype=np.float32),
                            "p_value_adjusted": p.astype(np.float32),
                        }
                    ).select(*(pl.lit(value).alias(name) for name, value in unit.items()), pl.all())
                )
    frame = pl.DataFrame(conditions).with_columns(pl.col("condition_id").cast(pl.Int64))
    rows = pl.concat(effects).with_columns(pl.col("condition_id").cast(pl.Int64))
    return Simulated(frame.with_columns(pl.col("n_treated").cast(pl.Int32)), rows.lazy())


def measured(simulated: Simulated, **options: Any) -> tuple[pl.DataFrame, ...]:
    """Return matches, and rows of agreement, baseline and retrieval."""
    matches, _ = match_conditions(simulated.conditions)
    load = loader(simulated.conditions, simulated.effects)
    parts = list(measure(matches, simulated.conditions, load, **options))
    return matches, *(pl.concat(rows) for rows in zip(*parts, strict=True))


def summed_up(simulated: Simulated) -> pl.DataFrame:
    return summarize(*measured(simulated), *NO_REPLICATES)


def value(summary: pl.DataFrame, metric: str, baseline: str = "none", quantity: str = "observed") -> float:
    row = summary.filter(
        context_id="", max_fold=10.0, metric=metric, baseline=baseline, quantity=quantity, side="both"
    )
    return float(row["mean"].item())


@pytest.fixture(scope="module")
def summaries() -> dict[str, pl.DataFrame]:
    return {kind: summed_up(study(kind)) for kind in ("perfect", "attenuated", "sign_only", "none", "batch")}


def test_planted_agreement_is_told_apart(summaries: dict[str, pl.DataFrame]) -> None:
    delta = {kind: value(one, RHO, "target_peers", "delta") for kind, one in summaries.items()}
    assert delta["perfect"] > delta["attenuated"] > 0.2
    assert delta["sign_only"] > 0.1
    assert abs(delta["none"]) < 0.02
    assert abs(delta["batch"]) < 0.03
    rank = {kind: value(one, "retrieval_rank_cosine_t") for kind, one in summaries.items()}
    assert rank["perfect"] > 0.999
    assert rank["attenuated"] > 0.99
    assert 0.4 < rank["none"] < 0.6
    assert 0.4 < rank["batch"] < 0.6


def test_what_an_assay_does_to_everything_shows_at_home_only(summaries: dict[str, pl.DataFrame]) -> None:
    batch = summaries["batch"]
    assert value(batch, RHO, "source_peers", "baseline") > 0.4
    assert value(batch, RHO, "source_centroid", "baseline") > 0.5
    assert abs(value(batch, RHO, "target_peers", "baseline")) < 0.1
    assert value(batch, RHO, "source_peers", "delta") < -0.4
    assert abs(value(summaries["none"], RHO, "source_centroid", "baseline")) < 0.05


def test_signs_agree_where_only_signs_do(summaries: dict[str, pl.DataFrame]) -> None:
    for kind in ("perfect", "attenuated", "sign_only"):
        assert value(summaries[kind], "direction_agreement") > 0.95, kind
    assert value(summaries["perfect"], "spearman_significant") > 0.9
    assert value(summaries["sign_only"], "spearman_significant") < 0.9
    assert 0.35 < value(summaries["none"], "direction_agreement") < 0.65


def test_a_compound_that_does_the_same_in_other_cells_is_seen_there(
    summaries: dict[str, pl.DataFrame],
) -> None:
    perfect = summaries["perfect"]
    assert abs(value(perfect, RHO, "other_contexts", "delta")) < 0.02
    assert value(perfect, RHO, "both_different", "delta") > 0.3
    assert abs(value(perfect, RHO, "both_different", "baseline")) < 0.02


def test_intervals_hold_the_mean_and_say_how_they_were_made(summaries: dict[str, pl.DataFrame]) -> None:
    summary = summaries["attenuated"]
    AGREEMENT_SUMMARY.model.validate(summary)
    given = summary.filter(ci_status="bca")
    assert (given["ci_low"] <= given["mean"]).all()
    assert (given["mean"] <= given["ci_high"]).all()
    assert summary.select(AGREEMENT_SUMMARY.primary_key).is_unique().all()
    # Doses are twofold apart: nothing is exact, and thresholds from two on are the same.
    folds = summary.filter(context_id="", metric=RHO, quantity="observed", side="both")
    assert dict(folds.select("max_fold", "n_rows").iter_rows()) == {1.0: 0, 2.0: 48, 3.0: 48, 10.0: 48}
    assert folds.filter(max_fold=1.0)["ci_status"].item() == "not_estimable"


def test_baselines_are_those_of_plain_loops() -> None:
    simulated = study("attenuated", n_compounds=12)
    matches, _, baseline, _ = measured(simulated)
    assert baseline.height == matches.height * len(AGREEMENT_METRICS) * len(AGREEMENT_BASELINES) * 2
    AGREEMENT_BASELINE.model.validate(baseline)
    wide = simulated.effects.collect().pivot("gene_id", index="condition_id", values="log2_fold_change")
    profile = {row[0]: np.array(row[1:]) for row in wide.iter_rows()}
    facts = {row["condition_id"]: row for row in simulated.conditions.to_dicts()}
    match = matches.row(5, named=True)
    left, right = match["left_condition_id"], match["right_condition_id"]
    observed = spearmanr(profile[left], profile[right]).statistic

    def others(dataset: str, context: str, *, same: bool) -> list[int]:
        return [
            condition
            for condition, fact in facts.items()
            if fact["dataset_id"] == dataset
            and fact["context_id"] == context
            and (fact["compound_id"] == match["compound_id"]) == same
        ]

    here, there = match["context_id"], next(c for c in CONTEXTS if c != match["context_id"])
    expected = {
        "source_peers": others("a", here, same=False),
        "target_peers": others("b", here, same=False),
        "other_contexts": others("b", there, same=True),
        "both_different": others("b", there, same=False),
    }
    rows = baseline.filter(left_condition_id=left, right_condition_id=right, metric=RHO, side="left")
    for name, peers in expected.items():
        scores = np.array([spearmanr(profile[left], profile[peer]).statistic for peer in peers])
        row = rows.filter(baseline=name).row(0, named=True)
        assert row["n_peers"] == len(peers), name
        assert row["mean"] == pytest.approx(scores.mean(), abs=1e-6), name
        assert row["delta"] == pytest.approx(observed - scores.mean(), abs=1e-6), name
        below = (scores < observed - 1e-9).sum() + (np.abs(scores - observed) <= 1e-9).sum() / 2
        assert row["percentile"] == pytest.approx((1 + below) / (1 + len(peers))), name
        if len(peers) > 1:
            assert row["sd"] == pytest.approx(scores.std(ddof=1), abs=1e-6), name
    for name, peers in (
        ("source_centroid", expected["source_peers"]),
        ("target_centroid", expected["target_peers"]),
    ):
        mean = np.mean([profile[peer] for peer in peers], axis=0)
        row = rows.filter(baseline=name).row(0, named=True)
        assert row["mean"] == pytest.approx(spearmanr(profile[left], mean).statistic, abs=1e-5), name
        assert (row["n_peers"], row["percentile"]) == (len(peers), None)


def test_retrieval_is_that_of_a_plain_sort() -> None:
    simulated = study("sign_only", n_compounds=12)
    matches, _, _, retrieval = measured(simulated)
    RETRIEVAL.model.validate(retrieval)
    assert retrieval.height == 2 * matches.height * 4 * 2
    wide = simulated.effects.collect().pivot("gene_id", index="condition_id", values="log2_fold_change")
    profile = {row[0]: np.array(row[1:]) for row in wide.iter_rows()}
    match = matches.row(3, named=True)
    candidates = simulated.conditions.filter(dataset_id="a", context_id=match["context_id"])["condition_id"]
    query = match["right_condition_id"]
    scores = {c: spearmanr(profile[query], profile[c]).statistic for c in candidates}
    rank = 1 + sum(score > scores[match["left_condition_id"]] for score in scores.values())
    row = retrieval.filter(condition_id=query, similarity=RHO, positives="matched").row(0, named=True)
    assert (row["best_rank"], row["n_candidates"], row["n_positives"]) == (rank, 12, 1)
    assert row["is_first"] == (rank == 1)


def test_a_cell_of_fewer_than_ten_compounds_is_matched_and_not_summed_up() -> None:
    simulated = study("perfect", n_compounds=9)
    matches, agreement, *rest = measured(simulated)
    assert matches.height == 18
    assert set(matches["n_compounds"]) == {9}
    assert agreement.height == 18 * len(AGREEMENT_METRICS)
    summary = summarize(matches, agreement, *rest, *NO_REPLICATES)
    assert set(summary["n_rows"]) == {0}
    smaller = summarize(matches, agreement, *rest, *NO_REPLICATES, min_compounds=9)
    assert value(smaller, RHO) > 0.3


def test_wells_weigh_matches_within_a_compound_only() -> None:
    simulated = study("attenuated", n_compounds=12)
    more = simulated.conditions.filter(dataset_id="b").with_columns(
        condition_id=pl.col("condition_id") + 1000,
        dose_um=pl.lit(0.5),
        n_treated=pl.lit(40, pl.Int32),
    )
    effects = simulated.effects.collect()
    noise = effects.filter(dataset_id="b").with_columns(
        condition_id=pl.col("condition_id") + 1000,
        log2_fold_change=pl.Series(np.random.default_rng(1).normal(size=12 * 2 * N_GENES), dtype=pl.Float32),
    )
    both = Simulated(pl.concat([simulated.conditions, more]), pl.concat([effects, noise]).lazy())
    matches, agreement, *rest = measured(both)
    assert matches.height == 48, "both doses are twofold from 1 µM"
    summary = summarize(matches, agreement, *rest, *NO_REPLICATES)
    row = summary.filter(
        context_id="", max_fold=10.0, metric=RHO, baseline="none", side="both", quantity="observed"
    ).row(0, named=True)
    weights = matches.select(
        "left_condition_id", "right_condition_id", w=pl.col("left_n_treated") * pl.col("right_n_treated")
    )
    rows = agreement.filter(metric=RHO).join(weights, on=["left_condition_id", "right_condition_id"])
    unit = rows.group_by("compound_id", "context_id").agg(
        plain=pl.col("observed").mean(),
        weighed=(pl.col("observed") * pl.col("w")).sum() / pl.col("w").sum(),
    )
    assert row["mean"] == pytest.approx(unit["plain"].mean())
    assert row["mean_by_wells"] == pytest.approx(unit["weighed"].mean())
    assert row["mean_by_wells"] < row["mean"] - 0.1


def test_a_choice_of_peers_depends_on_seed_and_key_alone() -> None:
    rows = np.arange(1000)
    assert chosen(rows, 50, 1, "a").tolist() == chosen(rows, 50, 1, "a").tolist()
    assert chosen(rows, 50, 1, "a").tolist() != chosen(rows, 50, 1, "b").tolist()
    assert chosen(rows, 50, 1, "a").tolist() != chosen(rows, 50, 2, "a").tolist()
    assert chosen(rows, 0, 1, "a").tolist() == rows.tolist() == chosen(rows, 2000, 1, "a").tolist()


def test_few_peers_are_close_to_all() -> None:
    simulated = study("attenuated")
    everyone, few = (measured(simulated, n_peers=n)[2] for n in (0, 12))
    keys = list(AGREEMENT_BASELINE.primary_key)
    both = few.join(everyone, on=keys, suffix="_all").filter(metric=RHO, baseline="source_peers")
    assert (both["n_peers"] <= 12).all()
    assert set(both["n_peers_all"]) == {N_COMPOUNDS - 1}
    assert both.select((pl.col("mean") - pl.col("mean_all")).mean()).item() == pytest.approx(0, abs=0.01)


def test_the_order_of_rows_does_not_matter() -> None:
    simulated = study("attenuated", n_compounds=12)
    shuffled = Simulated(
        simulated.conditions.sample(fraction=1, shuffle=True, seed=1),
        simulated.effects.collect().sample(fraction=1, shuffle=True, seed=2).lazy(),
    )
    for one, other in zip(measured(simulated), measured(shuffled), strict=True):
        key = [name for name in one.columns if name not in ("fold",)]
        assert_frame_equal(one.sort(key), other.sort(key), abs_tol=1e-6)


def test_conditions_that_lack_genes_have_no_peers_and_are_still_compared() -> None:
    simulated = study("perfect", n_compounds=12)
    lame = simulated.effects.filter(~((pl.col("condition_id") == 1) & (pl.col("gene_id") > 40)))
    matches, agreement, baseline, _ = measured(Simulated(simulated.conditions, lame))
    of_lame = agreement.filter(left_condition_id=1, metric=RHO)
    assert of_lame.select("n_genes", "status").row(0) == (40, "ok")
    assert baseline.filter(left_condition_id=1)["n_peers"].sum() == 0
    others = baseline.filter(pl.col("left_condition_id") != 1, baseline="source_peers", metric=RHO)
    assert set(others.filter(side="left")["n_peers"]) == {10, 11}
    assert matches.height == 24


def test_sums_over_peers_are_those_of_single_scores() -> None:
    rng = np.random.default_rng(0)
    observed = {"m": np.array([0.1, np.nan, 0.3])}
    scores = rng.uniform(-1, 1, (3, 7))
    scores[0, :3] = np.nan
    blockwise, single = PeerScores(observed), PeerScores(observed)
    is_own = np.zeros(scores.shape, dtype=bool)
    is_own[2, 5] = True
    blockwise.add(np.arange(3), {"m": scores[:, :4]}, is_own[:, :4])
    blockwise.add(np.array([2, 0, 1]), {"m": scores[[2, 0, 1], 4:]}, is_own[[2, 0, 1], 4:])
    scores[is_own] = np.nan
    single.add_single(np.repeat(np.arange(3), 7), {"m": scores.ravel()})
    for one in (blockwise, single):
        n, mean = one.means("m")
        assert n.tolist() == [4, 7, 6]
        np.testing.assert_allclose(mean, np.nanmean(scores, axis=1))
        np.testing.assert_allclose(one.spread("m"), np.nanstd(scores, axis=1, ddof=1))
        below = (scores < observed["m"][:, None]).sum(axis=1)
        np.testing.assert_allclose(one.percentile("m")[[0, 2]], ((1 + below) / (1 + n))[[0, 2]])
        assert np.isnan(one.percentile("m")[1])


def test_an_overview_is_one_row_per_pair(summaries: dict[str, pl.DataFrame]) -> None:
    table = overview(summaries["perfect"], RHO)
    assert table["datasets"].to_list() == ["a –\nb"]
    assert table["compounds"].item() == str(N_COMPOUNDS)
    assert "[" in table["observed"].item()
    assert overview(summaries["perfect"], "retrieval_rank_cosine_t").columns[-1] == "minus_chance"
    with pytest.raises(BadInputError, match="no metric 'nothing'"):
        overview(summaries["perfect"], "nothing")


def test_nothing_to_compare_gives_no_rows() -> None:
    simulated = study("none", n_compounds=2)
    matches, _ = match_conditions(simulated.conditions.filter(dataset_id="a"))
    load = loader(simulated.conditions, simulated.effects)
    assert list(measure(matches, simulated.conditions, load)) == []
    empty = [TABLES[f"mart/{name}"].empty() for name in ("agreement", "agreement_baseline", "retrieval")]
    assert summarize(matches, *empty, *NO_REPLICATES).is_empty()
