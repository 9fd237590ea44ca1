"""Agreement of replicates: how far single treated samples of one condition say the same.

Here: which samples are paired, their peers, and means over the pairs of a condition. Not here: effects of
single samples, and the metrics. What replicates of one dataset do not agree on, no two datasets can be asked
for; but single samples are noisier than the fits of conditions, so that this is no upper bound of those.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import Final, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.accounting import RowAccount
from etl.agreement.baselines import N_PEERS, SEED, PeerScores, chosen
from etl.agreement.context_pairs import SHARE_MEASURED, measures_most
from etl.agreement.matching import MIN_COMPOUNDS
from etl.agreement.profiles import Profiles
from etl.agreement.replicate_retrieval import Samples, joined, retrieval_rows, search
from etl.agreement.similarity import METRICS, Signatures, all_metrics, correlations, discrete
from etl.arrays import BoolArray, FloatArray, IntArray, slices
from schemas.mart.replicate_agreement import REPLICATE_AGREEMENT
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL

ALL_PAIRS_UP_TO: Final = 4
"""Replicates of a condition up to which all pairs are compared; of more, each with the next, in a ring."""
SAMPLES_PER_BLOCK: Final = 256
SAMPLES_PER_READ: Final = 1024

SAMPLE_COLUMNS: Final = ("sample_id", "condition_id", "compound_id", "dose_um", "time_h", "vehicle_group")


class Read(Protocol):
    """What reads the profiles of some rows."""

    def __call__(self, rows: IntArray, *, is_tested: bool = True) -> Profiles:
        """Return the profiles of rows; untested ones have no significant gene, and cost no p-values."""
        ...


class Replicates(NamedTuple):
    """Rows of two tables, of one context of a dataset."""

    agreement: pl.DataFrame
    retrieval: pl.DataFrame


class _PairValues(NamedTuple):
    """What pairs of samples score; by metric of ``METRICS`` and pair, NaN where not defined."""

    condition: IntArray
    """Condition of each pair."""
    n_peers: IntArray
    observed: FloatArray
    peer_mean: FloatArray
    peer_percentile: FloatArray
    centroid: FloatArray


class _Sums(NamedTuple):
    """Sums of profiles over samples."""

    log2_fold_change: FloatArray
    t: FloatArray


def compare_replicates(
    dataset_id: str,
    context_id: str,
    samples: pl.DataFrame,
    read: Read,
    *,
    n_peers: int = N_PEERS,
    seed: int = SEED,
) -> Replicates:
    """Compare the replicates of every condition of one context that has two or more.

    Peers are samples of other compounds with the same dose and time, of the same fit. What a pair scores with
    a peer is the mean of its two samples; likewise with the centroid, the mean profile of all samples of
    other compounds. Where a fit has samples of ``MIN_COMPOUNDS`` compounds at a time, each replicate also
    searches ``n_peers`` of them, at any dose, for the others of its condition.

    Args:
        dataset_id: the dataset.
        context_id: the context.
        samples: ``SAMPLE_COLUMNS`` of the treated samples that have effects, in the order of their rows.
        read: returns the profiles of some rows.
        n_peers: peers that are looked at one by one, at most; 0 for all.
        seed: of the choice of peers; a choice depends on it, the dataset, context, dose and time alone.

    Returns:
        Rows of ``mart/replicate_agreement`` and ``mart/replicate_retrieval``, sorted by their keys; none of a
        condition whose samples lack genes that the others of the fit have.
    """
    compared, searched, usable = [], [], []
    numbered = samples.select(*SAMPLE_COLUMNS).with_row_index("row")
    for _, of_fit in numbered.group_by("vehicle_group", maintain_order=True):
        genes, is_complete = _usual_genes(of_fit["row"].to_numpy().astype(np.int64), read)
        usable.append(of_fit.filter(pl.Series(is_complete)))
        for (time,), at_time in usable[-1].group_by("time_h", maintain_order=True):
            key = f"{dataset_id}|{context_id}|{time:g}"
            candidates = _candidates(at_time, read, genes, n_peers, seed, key)
            for (dose,), stratum in at_time.group_by("dose_um", maintain_order=True):
                key = f"{dataset_id}|{context_id}|{dose:g}|{time:g}"
                peers = _Peers(stratum, read, genes, n_peers, seed, key)
                for rows in _blocks(stratum):
                    block = _read_samples(rows, read, genes)
                    compared.append(_compare(block, peers))
                    if candidates is not None:
                        searched.append(search(block, candidates))
    agreement = pl.DataFrame(schema=REPLICATE_AGREEMENT.polars_schema)
    retrieval = pl.DataFrame(schema=REPLICATE_RETRIEVAL.polars_schema)
    if compared:
        agreement = _means(dataset_id, context_id, pl.concat(usable), compared)
    if searched:
        retrieval = retrieval_rows(dataset_id, context_id, pl.concat(usable), joined(searched))
    return Replicates(agreement, retrieval)


def replicate_account(rows: pl.DataFrame) -> RowAccount:
    """Return how many values of each metric are given."""
    undefined = rows.filter(pl.col("observed").is_null()).group_by("metric").len().sort("metric")
    noted = {f"{metric} undefined": n for metric, n in undefined.iter_rows()}
    return RowAccount(rows.height, rows.height, noted=noted, unit="values")


class _Peers:
    """Samples with one dose and time: those looked at one by one, and the sums of all."""

    def __init__(
        self,
        stratum: pl.DataFrame,
        read: Read,
        genes: BoolArray,
        n_peers: int,
        seed: int,
        key: str,
    ) -> None:
        rows = stratum["row"].to_numpy().astype(np.int64)
        self.samples = _read_samples(stratum[chosen(np.arange(len(rows)), n_peers, seed, key)], read, genes)
        self.n = len(rows)
        n_genes = int(genes.sum())
        self.sums = _Sums(np.zeros(n_genes), np.zeros(n_genes))
        for part in slices(len(rows), SAMPLES_PER_READ):
            some = _signatures(read, rows[part], genes, is_tested=False)
            self.sums.log2_fold_change[:] += some.log2_fold_change.sum(axis=0, dtype=np.float64)
            self.sums.t[:] += some.t.sum(axis=0, dtype=np.float64)


def _usual_genes(rows: IntArray, read: Read) -> tuple[BoolArray, BoolArray]:
    """Return the genes of ``usual_genes``, and which rows measured all of them, reading part by part."""
    parts = []
    for part in slices(len(rows), SAMPLES_PER_READ):
        is_measured = read(rows[part], is_tested=False).is_measured
        n_genes = is_measured.shape[1]
        parts.append(np.packbits(is_measured, axis=1))
    # Bits of the whole fit are kept, so that each profile is read once.
    is_rich = measures_most(
        np.concatenate([np.bitwise_count(bits).sum(axis=1, dtype=np.int64) for bits in parts])
    )
    measured, first = np.zeros(n_genes, dtype=np.int64), 0
    for bits in parts:
        rich = bits[is_rich[first : first + len(bits)]]
        measured += np.unpackbits(rich, axis=1, count=n_genes).sum(axis=0, dtype=np.int64)
        first += len(bits)
    genes: BoolArray = measured >= SHARE_MEASURED * is_rich.sum()
    wanted = np.packbits(genes)
    return genes, np.concatenate([((bits & wanted) == wanted).all(axis=1) for bits in parts])


def _blocks(stratum: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the samples of whole compounds, some hundred at a time, where a condition has replicates."""
    has_replicates = (pl.len().over("condition_id") > 1).any().over("compound_id")
    sized = stratum.sort("compound_id", "condition_id", "sample_id").filter(has_replicates)
    per_compound = sized.group_by("compound_id", maintain_order=True).len()
    block = per_compound.select("compound_id", block=(pl.col("len").cum_sum() - 1) // SAMPLES_PER_BLOCK)
    for _, members in sized.join(block, on="compound_id", maintain_order="left").group_by(
        "block", maintain_order=True
    ):
        yield members.drop("block")


def _pairs(condition: NDArray[np.int64]) -> tuple[IntArray, IntArray]:
    """Return the pairs of samples (places in the block) that are compared."""
    found: list[tuple[int, int]] = []
    bounds = np.flatnonzero(np.concatenate([[True], condition[1:] != condition[:-1], [True]]))
    for start, end in pairwise(bounds):
        members = range(int(start), int(end))
        if len(members) <= ALL_PAIRS_UP_TO:
            found += combinations(members, 2)
        else:
            found += [(one, members[(i + 1) % len(members)]) for i, one in enumerate(members)]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _compare(block: Samples, peers: _Peers) -> _PairValues:
    signatures, others = block.signatures, peers.samples
    one, other = _pairs(block.condition)
    scores = correlations(signatures, signatures, one, other) | discrete(signatures, signatures, one, other)
    observed = {metric: score.value for metric, score in scores.items()}
    against = PeerScores(observed)
    everyone = np.arange(len(signatures)), np.arange(len(others.signatures))
    with_peers = all_metrics(signatures, everyone[0], others.signatures, everyone[1])
    against.add(
        np.arange(len(one)),
        {metric: (values[one] + values[other]) / 2 for metric, values in with_peers.items()},
        block.compound[one][:, None] == others.compound,
    )
    centroid = _centroid_scores(signatures, block.compound, peers)
    n_peers, peer_mean = (np.stack(values) for values in zip(*map(against.means, METRICS), strict=True))
    return _PairValues(
        block.condition[one],
        n_peers,
        np.stack([observed[metric] for metric in METRICS]),
        peer_mean,
        np.stack([against.percentile(metric) for metric in METRICS]),
        np.stack([(centroid[metric][one] + centroid[metric][other]) / 2 for metric in METRICS]),
    )


def _centroid_scores(
    signatures: Signatures, compound: NDArray[np.str_], peers: _Peers
) -> Mapping[str, FloatArray]:
    """Return the scores of samples with the mean profile of the samples of other compounds."""
    names, code = np.unique(compound, return_inverse=True)
    means = np.empty((2, len(names), signatures.n_genes), dtype=np.float32)
    n = np.empty(len(names))
    for i in range(len(names)):
        own = np.flatnonzero(code == i)
        n[i] = peers.n - own.size
        for mean, total, values in zip(
            means, peers.sums, (signatures.log2_fold_change, signatures.t), strict=True
        ):
            mean[i] = (total - values[own].sum(axis=0, dtype=np.float64)) / max(n[i], 1)
    centroids = Signatures(means[0], means[1], None)
    rows = np.arange(len(signatures))
    found = correlations(signatures, centroids, rows, code) | discrete(signatures, centroids, rows, code)
    return {name: np.where(n[code] > 0, score.value, np.nan) for name, score in found.items()}


def _means(dataset_id: str, context_id: str, samples: pl.DataFrame, parts: list[_PairValues]) -> pl.DataFrame:
    """Return means over the pairs of each condition."""
    condition, n_peers, observed, peer_mean, percentile, centroid = (
        np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)
    )
    columns = {
        "observed": observed,
        "peer_mean": peer_mean,
        "peer_delta": observed - peer_mean,
        "peer_percentile": percentile,
        "centroid": centroid,
        "centroid_delta": observed - centroid,
    }
    pairs = pl.DataFrame(
        {
            "condition_id": np.tile(condition, len(METRICS)),
            "metric": pl.Series(METRICS)[np.repeat(np.arange(len(METRICS)), len(condition))],
            "n_peers": n_peers.ravel(),
            **{name: values.ravel() for name, values in columns.items()},
        }
    )
    counted = samples.group_by("condition_id", "compound_id", "time_h").agg(
        n_replicates=pl.len().cast(pl.Int32)
    )
    n = pl.col("n_replicates")
    return (
        pairs.with_columns(pl.col(list(columns)).fill_nan(None))
        .group_by("condition_id", "metric")
        .agg(
            pl.col(list(columns)).mean(),
            n_pairs=pl.len().cast(pl.Int32),
            n_defined=pl.col("observed").count().cast(pl.Int32),
            n_peers=pl.col("n_peers").max().cast(pl.Int32),
        )
        .join(counted, on="condition_id")
        .with_columns(
            dataset_id=pl.lit(dataset_id),
            context_id=pl.lit(context_id),
            n_pairs_possible=(n * (n - 1) // 2).cast(pl.Int32),
        )
        .select(list(REPLICATE_AGREEMENT.polars_schema))
        .sort(REPLICATE_AGREEMENT.primary_key)
    )


def _candidates(
    at_time: pl.DataFrame, read: Read, genes: BoolArray, n_candidates: int, seed: int, key: str
) -> Samples | None:
    """Return samples of a time that are searched, None where there are too few compounds or no replicates."""
    has_replicates = at_time["condition_id"].is_duplicated().any()
    if at_time["compound_id"].n_unique() < MIN_COMPOUNDS or not has_replicates:
        return None
    rows = chosen(np.arange(at_time.height), n_candidates, seed, key)
    return _read_samples(at_time[rows], read, genes, is_tested=False)


def _read_samples(rows: pl.DataFrame, read: Read, genes: BoolArray, *, is_tested: bool = True) -> Samples:
    """Return some samples in their order, read in that of the rows."""
    row = rows["row"].to_numpy().astype(np.int64)
    order = np.argsort(row)
    signatures = read(row[order], is_tested=is_tested).signatures(np.argsort(order), genes)
    return Samples(row, rows["condition_id"].to_numpy(), rows["compound_id"].to_numpy(), signatures)


def _signatures(read: Read, rows: IntArray, genes: BoolArray, *, is_tested: bool = True) -> Signatures:
    return read(rows, is_tested=is_tested).signatures(np.arange(len(rows)), genes)
