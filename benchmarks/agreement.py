"""Agreement at the size of the reference resource: matching, metrics with baselines, replicates, intervals.

    python benchmarks/agreement.py                 # 411,000 conditions in 12 datasets, 80,000 replicate pairs
    python benchmarks/agreement.py --share 0.05    # a twentieth of the replicates

Conditions are simulated at the sizes of the reference's table of datasets: its numbers of compounds,
contexts, doses and times, a part of the compounds shared, so that some 8,000 pairs match. Effects are random,
made when they are asked for; what making them takes is measured and left out. In the same run: the machine's
own rate of Float32 matrix products, that of the kernel of correlations, and a plain loop of SciPy over single
pairs.
"""

import argparse
import hashlib
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from etl.agreement.context_pairs import ContextData
from etl.agreement.matching import match, match_conditions
from etl.agreement.measure import measure
from etl.agreement.profiles import Profiles
from etl.agreement.replicates import compare_replicates as compare
from etl.agreement.similarity import CONTINUOUS, Signatures, products
from etl.agreement.summary import summarize
from etl.arrays import IntArray
from etl.effects.moderated_tests import ModeratedTests
from etl.warehouse.replicate_profiles import significant
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE

T = TypeVar("T")
PROFILES_IN_POOL = 2048
CUTOFF = 2.2
"""Absolute value from which on the effect of a condition is significant: 3 % of the genes are."""
STANDARD_ERROR, TOTAL_DF, ALPHA = 1.0, 40.0, 0.05
"""Of samples, a third of whose genes has effects of twice that size: 3 % of all are significant, too."""


@dataclass(frozen=True)
class Dataset:
    """Sizes of a dataset: conditions; compounds, of which shared ones; contexts; doses; times; genes."""

    name: str
    n_conditions: int
    n_compounds: int
    n_shared: int
    contexts: range
    doses: tuple[float, ...]
    times: tuple[float, ...]
    n_genes: int
    n_replicated: int


def doses(n: int) -> tuple[float, ...]:
    return tuple(float(f"{dose:.3g}") for dose in np.geomspace(0.04, 20, n))


DATASETS = (
    Dataset("cigs_mce", 21_819, 11_160, 3_400, range(2), (10.0,), (24.0,), 3_407, 21_426),
    Dataset("cigs_tcm", 7_117, 1_820, 1_000, range(2), (10.0, 20.0), (24.0,), 3_407, 7_020),
    Dataset("dilimap", 993, 250, 200, range(200, 201), doses(50), (24.0,), 20_000, 1_184),
    Dataset("gdpx2", 2_064, 86, 70, range(210, 214), doses(6), (24.0,), 20_000, 2_064),
    Dataset("l1000_phase1", 186_177, 20_162, 3_000, range(70), doses(12), (6.0, 24.0), 978, 2_517),
    Dataset("l1000_phase2", 98_929, 1_791, 1_400, range(55, 85), doses(18), (24.0,), 978, 2_614),
    Dataset("novartis", 15_276, 3_819, 1_400, range(220, 221), doses(4), (24.0,), 20_000, 15_276),
    Dataset("op3", 415, 105, 100, range(230, 234), (1.0,), (24.0,), 10_000, 541),
    Dataset("sciplex", 2_399, 187, 180, range(67, 70), (0.01, 0.1, 1.0, 10.0), (24.0,), 7_000, 2_224),
    Dataset("tahoe", 53_767, 378, 340, range(62, 110), (0.05, 0.5, 5.0), (24.0,), 20_000, 7_226),
    Dataset("vcpi_0001", 13_631, 2_272, 5, range(240, 241), doses(6), (24.0,), 20_000, 13_283),
    Dataset("vcpi_0002", 8_927, 1_488, 1, range(241, 242), doses(6), (24.0,), 20_000, 8_825),
)
GENES = {one.name: one.n_genes for one in DATASETS}


def conditions_of(one: Dataset, seed: int) -> pl.DataFrame:
    """Return the conditions of a dataset, all combinations until there are enough, in a random order."""
    rng = np.random.default_rng(seed)
    shared = [f"shared{i:05}" for i in rng.choice(4_000, one.n_shared, replace=False)]
    own = [f"{one.name}{i:05}" for i in range(one.n_compounds - one.n_shared)]
    axes = (
        ("compound_id", shared + own),
        ("context_id", [f"CVCL_{context:04}" for context in one.contexts]),
        ("dose_um", list(one.doses)),
        ("time_h", list(one.times)),
    )
    sizes = [len(values) for _, values in axes]
    n_all = int(np.prod(sizes))
    chosen = np.unravel_index(rng.choice(n_all, min(one.n_conditions, n_all), replace=False), sizes)
    columns = {name: np.array(values)[at] for (name, values), at in zip(axes, chosen, strict=True)}
    return pl.DataFrame(columns).with_columns(dataset_id=pl.lit(one.name))


def simulated_conditions() -> pl.DataFrame:
    """Return rows as of ``mart/condition``, with the columns that agreement reads."""
    frame = pl.concat([conditions_of(one, seed) for seed, one in enumerate(DATASETS)])
    return frame.with_row_index("condition_id").with_columns(
        pl.col("condition_id").cast(pl.Int64),
        vehicle_group=pl.lit(""),
        is_estimable=pl.lit(value=True),
        n_treated=pl.lit(3, pl.Int32),
    )


class Effects:
    """Random effects of any context, and the seconds that making them took."""

    def __init__(self, conditions: pl.DataFrame) -> None:
        self.seconds = 0.0
        self._by_unit = conditions.partition_by("dataset_id", "context_id", as_dict=True)

    def load(self, dataset_id: str, context_id: str) -> ContextData:
        """Return one context of a dataset; the same each time."""
        start = time.perf_counter()
        rows = self._by_unit[dataset_id, context_id].sort("condition_id")
        key = int.from_bytes(hashlib.blake2b(f"{dataset_id}{context_id}".encode(), digest_size=4).digest())
        rng = np.random.default_rng(key)
        effect = rng.standard_normal((rows.height, GENES[dataset_id]), dtype=np.float32)
        profiles = Profiles(
            rows["condition_id"].to_numpy(),
            np.arange(1, effect.shape[1] + 1, dtype=np.int32),
            effect,
            effect * np.float32(2),
            np.abs(effect) > CUTOFF,
        )
        self.seconds += time.perf_counter() - start
        return ContextData(rows, profiles)


class Samples:
    """Two samples of each of a dataset's replicated conditions in one context, and seconds of making them."""

    def __init__(self, one: Dataset, share: float) -> None:
        n = max(2, int(one.n_replicated * share))
        per_stratum = max(1, n // (len(one.doses) * len(one.contexts)))
        of = np.repeat(np.arange(n), 2)
        self.frame = pl.DataFrame(
            {
                "sample_id": np.arange(2 * n),
                "condition_id": of,
                "compound_id": np.char.add("C", of.astype(str)),
                "dose_um": (of // per_stratum).astype(float) + 1,
                "time_h": 24.0,
                "vehicle_group": "",
            }
        )
        self.seconds = 0.0
        rng = np.random.default_rng(7)
        self._pool = rng.standard_normal((PROFILES_IN_POOL, one.n_genes), dtype=np.float32)
        self._pool[:, : one.n_genes // 3] *= np.float32(2)
        self._genes = np.arange(1, one.n_genes + 1, dtype=np.int32)
        self._tests = ModeratedTests(np.full(one.n_genes, TOTAL_DF))

    def read(self, rows: IntArray, *, is_tested: bool = True) -> Profiles:
        """Return the profiles of some samples, tested as the warehouse's are."""
        start = time.perf_counter()
        effect = self._pool[(rows * 7919) % PROFILES_IN_POOL]
        error = np.full_like(effect, STANDARD_ERROR)
        self.seconds += time.perf_counter() - start
        is_significant = np.zeros(effect.shape, dtype=bool)
        if is_tested:
            is_significant = significant(effect, error, self._tests, ALPHA)
        return Profiles(rows, self._genes, effect, effect / error, is_significant)


def timed(what: str, work: Callable[[], T]) -> tuple[T, float]:
    """Do some work and print how long it took."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    print(f"{what:62}{seconds:9.1f} s   peak {peak_gb():5.2f} GB", flush=True)
    return result, seconds


def peak_gb() -> float:
    """Return the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def rates() -> None:
    """Print the rate of matrix products, of the kernel, and of a loop of SciPy."""
    n_genes, n_rows, n_peers = 10_000, 1_024, 512
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n, n_genes), dtype=np.float32) for n in (n_rows, n_peers))
    flops = 2 * n_rows * n_peers * n_genes
    left @ right.T
    best = min(_seconds(lambda: left @ right.T) for _ in range(3))
    print(f"Float32 matrix product: {flops / best / 1e9:.0f} GFLOP/s")
    blocks = [Signatures(one, one, np.zeros(one.shape, dtype=bool)) for one in (left, right)]
    sides = blocks[0], np.arange(n_rows), blocks[1], np.arange(n_peers)
    cold = _seconds(lambda: products(*sides))
    warm = min(_seconds(lambda: products(*sides)) for _ in range(3))
    total = flops * len(CONTINUOUS)
    print(
        f"six correlations of all pairs: {total / warm / 1e9:.0f} GFLOP/s (four products serve six), "
        f"{total / cold / 1e9:.0f} with ranking and scaling"
    )
    loop = _seconds(lambda: [spearmanr(left[i], right[i]) for i in range(100)]) / 100
    print(f"SciPy, pair by pair: {loop * len(CONTINUOUS) / (cold / (n_rows * n_peers)):,.0f} times as long")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the replicates")
    arguments = parser.parse_args()
    rates()
    conditions = simulated_conditions()
    print(f"{conditions.height:,} conditions in {len(DATASETS)} datasets")
    found, _ = timed("matching, at least ten compounds", lambda: match(conditions))
    everything, _ = match_conditions(conditions)
    kept = everything.filter(pl.col("n_compounds") >= 10)
    print(f"{found.height:,} matched pairs ({kept.height:,} in the table)")
    effects = Effects(conditions)
    parts, seconds = timed(
        "metrics, baselines (512 peers, 4 other contexts), retrieval",
        lambda: list(measure(kept, conditions, effects.load)),
    )
    agreement, baseline, retrieval = (pl.concat(rows) for rows in zip(*parts, strict=True))
    print(
        f"  of this {effects.seconds:.1f} s making effects; "
        f"{baseline.height:,} baselines, {retrieval.height:,} rankings"
    )
    n_peers = baseline.filter(pl.col("baseline").is_in(["source_peers", "target_peers"]))["n_peers"].sum()
    print(f"  {n_peers:,} scores of peers of {AGREEMENT_BASELINE.name}")
    replicates: list[pl.DataFrame] = []
    replicate_retrieval: list[pl.DataFrame] = []
    making: list[float] = []

    def compare_replicates() -> None:
        for one in DATASETS:
            start = time.perf_counter()
            samples = Samples(one, arguments.share)
            found = compare(one.name, "CVCL_0000", samples.frame, samples.read)
            replicates.append(found.agreement)
            replicate_retrieval.append(found.retrieval)
            making.append(samples.seconds)
            size = f"{samples.frame.height // 2:7,} pairs x {one.n_genes:6,} genes"
            print(f"  {one.name:16}{size} {time.perf_counter() - start:8.1f} s", flush=True)

    _, of_replicates = timed(
        "replicate pairs: tests, all metrics, 512 peers and centroid", compare_replicates
    )
    n_pairs = sum(rows.filter(metric="cosine_t")["n_pairs"].sum() for rows in replicates)
    print(f"  of this {sum(making):.1f} s making effects; {n_pairs:,} replicate pairs")
    together = seconds - effects.seconds + of_replicates - sum(making)
    print(f"metrics and baselines together, without making effects: {together:.0f} s")
    summary, _ = timed(
        "summaries: 2,000 resamples each",
        lambda: summarize(
            kept, agreement, baseline, retrieval, pl.concat(replicates), pl.concat(replicate_retrieval)
        ),
    )
    print(f"{summary.height:,} means with intervals")


if __name__ == "__main__":
    main()
