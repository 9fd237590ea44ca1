"""Retrieval of replicates: against plain loops, planted, with few candidates; never of the query itself."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from etl.agreement.profiles import Profiles
from etl.agreement.replicates import Read, compare_replicates
from etl.agreement.summary import summarize
from etl.arrays import IntArray
from schemas.mart.agreement import AGREEMENT
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE
from schemas.mart.condition_match import CONDITION_MATCH
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL
from schemas.mart.retrieval import RETRIEVAL

N_GENES, N_COMPOUNDS, N_REPLICATES = 120, 12, 3
DOSES = (1.0, 10.0)
RHO = "spearman_log2_fold_change"


def plate(noise: float, *, n_compounds: int = N_COMPOUNDS, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Every compound at two doses, a condition of single samples among them; samples in any order."""
    rng = np.random.default_rng(seed)
    rows = [
        {"condition_id": 100 + 2 * i + d, "compound_id": f"{chr(65 + i) * 14}-{'A' * 10}-N", "dose_um": dose}
        for i in range(n_compounds)
        for d, dose in enumerate(DOSES)
        for _ in range(1 if (i, d) == (0, 1) else N_REPLICATES)
    ]
    frame = pl.DataFrame(rows)[rng.permutation(len(rows))].with_columns(time_h=24.0, vehicle_group=pl.lit(""))
    _, of = np.unique(frame["compound_id"].to_numpy(), return_inverse=True)
    truth = rng.normal(size=(n_compounds, N_GENES))
    effect = (truth[of] + noise * rng.normal(size=(len(rows), N_GENES))).astype(np.float32)
    return frame.with_row_index("sample_id").with_columns(pl.col("sample_id").cast(pl.Int64)), effect


def reader(effect: np.ndarray) -> Read:
    def read(rows: IntArray, *, is_tested: bool = True) -> Profiles:
        genes = np.arange(1, effect.shape[1] + 1, dtype=np.int32)
        return Profiles(rows, genes, effect[rows], effect[rows] * 2, np.abs(effect[rows]) > 1)

    return read


def retrieval(samples: pl.DataFrame, effect: np.ndarray, n_peers: int = 512) -> pl.DataFrame:
    return compare_replicates("toy", "CVCL_0023", samples, reader(effect), n_peers=n_peers).retrieval


@pytest.mark.parametrize(("rule", "same"), [("matched", "condition_id"), ("compound", "compound_id")])
def test_ranks_are_those_of_plain_loops(rule: str, same: str) -> None:
    samples, effect = plate(2.0)
    rows = retrieval(samples, effect)
    REPLICATE_RETRIEVAL.model.validate(rows)
    assert rows.height == (2 * N_COMPOUNDS - 1) * 4 * 2, "a single sample does not search"
    rho = spearmanr(effect, axis=1).statistic
    for condition in (100, 111, 123):
        row = rows.filter(condition_id=condition, similarity=RHO, positives=rule).row(0, named=True)
        queries = np.flatnonzero((samples["condition_id"] == condition).to_numpy())
        ranks, aurocs = [], []
        for query in queries:
            others = np.delete(np.arange(samples.height), query)
            is_positive = (samples[same] == samples[same][int(query)]).to_numpy()[others]
            score = rho[query, others]
            ranks.append(1 + (score > score[is_positive].max()).sum())
            aurocs.append((score[is_positive][:, None] > score[~is_positive]).mean())
        assert (row["n_queries"], row["n_candidates"]) == (len(queries), samples.height - 1)
        assert row["n_positives"] == is_positive.sum()
        normalized = 1 - (np.array(ranks) - 1) / (samples.height - 2)
        assert row["normalized_rank"] == pytest.approx(normalized.mean())
        assert row["recall_1"] == pytest.approx(np.mean(np.array(ranks) == 1))
        assert row["recall_10"] == pytest.approx(np.mean(np.array(ranks) <= 10))
        assert row["auroc"] == pytest.approx(np.mean(aurocs))
        assert row["recall_1_null"] == pytest.approx(is_positive.sum() / (samples.height - 1))


def test_replicates_are_found_where_they_agree_and_by_chance_where_not() -> None:
    for noise, low, high in ((0.1, 0.999, 1.0), (1000.0, 0.4, 0.6)):
        rows = retrieval(*plate(noise)).filter(similarity="cosine_t", positives="compound")
        assert low <= rows["auroc"].mean() <= high  # type: ignore[operator]
    off = rows["normalized_rank"].mean() - rows["normalized_rank_null"].mean()  # type: ignore[operator]
    assert abs(off) < 0.06
    assert 0.4 < rows["p_value"].mean() < 0.6  # type: ignore[operator]


def test_of_few_candidates_those_of_the_condition_are_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, effect = plate(1.0)
    few = retrieval(samples, effect, n_peers=9).filter(similarity=RHO)
    matched = few.filter(positives="matched")
    assert matched.height == 2 * N_COMPOUNDS - 1
    assert (matched["n_positives"] == N_REPLICATES - 1).all()
    # Nine, and of the own condition those that are not among them; never the query.
    assert matched["n_candidates"].is_between(9 - 1, 9 + N_REPLICATES - 1).all()
    monkeypatch.setattr("etl.agreement.replicates.SAMPLES_PER_BLOCK", 4)
    parts = retrieval(samples, effect, n_peers=9).filter(similarity=RHO)
    for name in REPLICATE_RETRIEVAL.polars_schema:
        assert parts[name].to_list() == few[name].to_list(), "the choice depends on blocks"


def test_few_compounds_are_not_searched() -> None:
    assert retrieval(*plate(1.0, n_compounds=9)).is_empty()
    assert not retrieval(*plate(1.0, n_compounds=10)).is_empty()


def test_means_stand_beside_chance() -> None:
    samples, effect = plate(0.5)
    rows = compare_replicates("toy", "CVCL_0023", samples, reader(effect))
    nothing = (one.empty() for one in (CONDITION_MATCH, AGREEMENT, AGREEMENT_BASELINE, RETRIEVAL))
    summary = summarize(*nothing, rows.agreement, rows.retrieval, n_resamples=100)
    of_all = summary.filter(context_id="", metric="retrieval_rank_cosine_t", side="both")
    means = {
        (baseline, what): mean
        for baseline, what, mean in of_all.select("baseline", "quantity", "mean").iter_rows()
    }
    matched = rows.retrieval.filter(similarity="cosine_t", positives="matched")
    by_compound = matched.group_by("compound_id").agg(
        pl.col("normalized_rank", "normalized_rank_null", "p_value").mean()
    )
    assert means["none", "observed"] == pytest.approx(by_compound["normalized_rank"].mean())
    assert means["chance", "baseline"] == pytest.approx(by_compound["normalized_rank_null"].mean())
    assert means["chance", "delta"] == pytest.approx(means["none", "observed"] - means["chance", "baseline"])
    assert means["chance", "percentile"] == pytest.approx(1 - by_compound["p_value"].mean())
