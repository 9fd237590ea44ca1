"""Agreement of replicates: planted, against plain loops, and its pairs."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from etl.agreement.profiles import Profiles
from etl.agreement.replicates import Read, compare_replicates
from etl.arrays import IntArray
from schemas.mart.replicate_agreement import REPLICATE_AGREEMENT

N_GENES = 200
RHO = "spearman_log2_fold_change"


def compound(number: int) -> str:
    return f"{chr(65 + number) * 14}-{'A' * 10}-N"


def plate(
    n_replicates: list[int], *, noise: float = 1.0, shared: float = 0.0, seed: int = 0
) -> tuple[pl.DataFrame, Read, np.ndarray]:
    """Samples of as many compounds as there are numbers, with their profiles."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(len(n_replicates), N_GENES)) + shared * rng.normal(size=N_GENES)
    of = np.repeat(np.arange(len(n_replicates)), n_replicates)
    order = rng.permutation(len(of))
    of = of[order]
    effect = (truth[of] + noise * rng.normal(size=(len(of), N_GENES))).astype(np.float32)
    samples = pl.DataFrame(
        {
            "sample_id": np.arange(len(of)),
            "condition_id": of.astype(np.int64) + 100,
            "compound_id": [compound(i) for i in of],
            "dose_um": [1.0] * len(of),
            "time_h": [24.0] * len(of),
            "vehicle_group": [""] * len(of),
        }
    )
    return samples, reader(effect), effect


def reader(effect: np.ndarray) -> Read:
    def read(rows: IntArray, *, is_tested: bool = True) -> Profiles:
        genes = np.arange(1, effect.shape[1] + 1, dtype=np.int32)
        return Profiles(rows, genes, effect[rows], effect[rows] * 2, np.abs(effect[rows]) > 1)

    return read


def test_values_are_those_of_plain_loops() -> None:
    samples, read, effect = plate([3, 2, 4, 6, 1])
    rows = compare_replicates("toy", "CVCL_0023", samples, read).agreement
    REPLICATE_AGREEMENT.model.validate(rows)
    assert set(rows["condition_id"]) == {100, 101, 102, 103}, "a single sample has no replicate"
    row = rows.filter(condition_id=100, metric=RHO).row(0, named=True)
    assert (row["n_replicates"], row["n_pairs"], row["n_pairs_possible"], row["n_defined"]) == (3, 3, 3, 3)
    mine = np.flatnonzero((samples["condition_id"] == 100).to_numpy())
    others = np.flatnonzero((samples["condition_id"] != 100).to_numpy())

    def rho(i: int, profile: np.ndarray) -> float:
        return float(spearmanr(effect[i], profile).statistic)

    pairs = [(a, b) for n, a in enumerate(mine) for b in mine[n + 1 :]]
    observed = np.array([rho(a, effect[b]) for a, b in pairs])
    peers = np.array([[(rho(a, effect[p]) + rho(b, effect[p])) / 2 for p in others] for a, b in pairs])
    centroid = effect[others].mean(axis=0)
    against = np.array([(rho(a, centroid) + rho(b, centroid)) / 2 for a, b in pairs])
    assert row["observed"] == pytest.approx(observed.mean(), abs=1e-9)
    assert (row["n_peers"], row["peer_mean"]) == (len(others), pytest.approx(peers.mean(), abs=1e-6))
    assert row["peer_delta"] == pytest.approx(observed.mean() - peers.mean(), abs=1e-6)
    below = (peers < observed[:, None]).sum(axis=1)
    assert row["peer_percentile"] == pytest.approx(((1 + below) / (1 + len(others))).mean())
    assert row["centroid"] == pytest.approx(against.mean(), abs=1e-5)
    assert row["centroid_delta"] == pytest.approx(observed.mean() - against.mean(), abs=1e-5)


def test_of_many_replicates_each_is_compared_with_the_next() -> None:
    samples, read, effect = plate([6, 2])
    rows = compare_replicates("toy", "CVCL_0023", samples, read).agreement.filter(
        condition_id=100, metric=RHO
    )
    assert rows.select("n_pairs", "n_pairs_possible").row(0) == (6, 15)
    ring = samples.with_row_index("row").filter(condition_id=100).sort("sample_id")["row"].to_list()
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    expected = np.mean([spearmanr(effect[a], effect[b]).statistic for a, b in pairs])
    assert rows["observed"].item() == pytest.approx(expected)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.01, 0.99, 1.0), (1.0, 0.4, 0.55), (30.0, -0.05, 0.05)])
def test_noise_lowers_agreement_and_not_that_of_peers(noise: float, low: float, high: float) -> None:
    samples, read, _ = plate([3] * 20, noise=noise)
    rows = compare_replicates("toy", "CVCL_0023", samples, read).agreement.filter(metric=RHO)
    assert low <= rows["observed"].mean() <= high  # type: ignore[operator]
    assert abs(rows["peer_mean"].mean()) < 0.03  # type: ignore[arg-type]


def test_what_all_compounds_share_is_in_the_centroid() -> None:
    samples, read, _ = plate([3] * 20, shared=2.0)
    rows = compare_replicates("toy", "CVCL_0023", samples, read).agreement.filter(metric=RHO)
    assert rows["centroid"].mean() > rows["peer_mean"].mean() > 0.5  # type: ignore[operator]


def test_blocks_and_reads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, read, _ = plate([3, 2, 4, 6, 1, 3, 3])
    whole = compare_replicates("toy", "CVCL_0023", samples, read).agreement
    monkeypatch.setattr("etl.agreement.replicates.SAMPLES_PER_BLOCK", 4)
    monkeypatch.setattr("etl.agreement.replicates.SAMPLES_PER_READ", 5)
    parts = compare_replicates("toy", "CVCL_0023", samples, read).agreement
    for name in ("observed", "peer_mean", "centroid", "peer_percentile"):
        np.testing.assert_allclose(parts[name].to_numpy(), whole[name].to_numpy(), atol=1e-6)


def test_doses_and_fits_keep_to_themselves() -> None:
    samples, read, _ = plate([2, 2, 2, 2])
    apart = samples.with_columns(
        dose_um=pl.when(pl.col("condition_id") < 102).then(pl.lit(1.0)).otherwise(pl.lit(2.0)),
        vehicle_group=pl.when(pl.col("condition_id") == 103).then(pl.lit("other")).otherwise(pl.lit("")),
    )
    rows = compare_replicates("toy", "CVCL_0023", apart, read).agreement.filter(metric=RHO)
    assert dict(rows.select("condition_id", "n_peers").iter_rows()) == {100: 2, 101: 2, 102: 0, 103: 0}
    assert rows.filter(n_peers=0)["centroid"].null_count() == 2


def test_no_samples_give_no_rows() -> None:
    samples, read, _ = plate([2])
    found = compare_replicates("toy", "CVCL_0023", samples.clear(), read)
    assert found.agreement.is_empty()
    assert found.retrieval.is_empty()


def test_a_sample_that_lacks_genes_is_left_out_and_the_others_keep_theirs() -> None:
    samples, _, effect = plate([3, 3, 2, 2])
    lame = int(samples.with_row_index("row").filter(condition_id=100)["row"][0])
    effect[lame, 50:] = np.nan
    rows = compare_replicates("toy", "CVCL_0023", samples, reader(effect)).agreement.filter(metric=RHO)
    assert rows.filter(condition_id=100).select("n_replicates", "n_pairs").row(0) == (2, 1)
    a, b = [i for i in np.flatnonzero((samples["condition_id"] == 100).to_numpy()) if i != lame]
    assert rows.filter(condition_id=100)["observed"].item() == pytest.approx(
        spearmanr(effect[a], effect[b]).statistic
    )
    assert rows.filter(condition_id=101)["n_peers"].item() == 6
