"""Baselines: what a matched condition scores against conditions that it does not match.

Here: who the peers of a condition are, which of them are looked at, their scores, and what is left of an
observed value beside them. Not here: the metrics, the observed values, and means over matches.

Peers have the same context, dose and time, and another compound. In the home dataset they share its assay
with the condition, so that they tell how much of an agreement is assay (``source``); in the other dataset
they are what the match competes with (``target``). The mean profile of all peers, the centroid, has less
noise than any profile, which makes it a hard baseline. The own compound in other contexts tells what of it
does not depend on the cells (``other_contexts``); other compounds there share neither (``both_different``).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from etl.agreement.context_pairs import (
    Block,
    BlockPair,
    ContextData,
    ContextPair,
    Load,
    block_of,
    observed_values,
    other_contexts,
    usual_genes,
)
from etl.agreement.matching import DOSE_TOLERANCE, MAX_FOLD
from etl.agreement.similarity import METRICS, Signatures, all_metrics, correlations, discrete
from etl.arrays import BoolArray, FloatArray, IntArray, slices
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE

N_PEERS: Final = 512
"""Peers of a context, dose and time that are looked at one by one; centroids are of all."""
N_CONTEXTS: Final = 4
"""Other contexts that are looked at: those with most of the matched compounds."""
SEED: Final = 20260505
PAIRS_PER_BLOCK: Final = 512
TIE: Final = 1e-9

SIDES: Final = ("left", "right")
PEERS: Final = ("source_peers", "target_peers")
CENTROIDS: Final = ("source_centroid", "target_centroid")
ELSEWHERE: Final = ("other_contexts", "both_different")

Scored = Mapping[str, NDArray[Any]]
"""Scores by metric, in single or double precision."""


class PeerScores:
    """What peers score, summed up for each of some observed values, filled in block by block.

    Args:
        observed: values by metric; shape (pairs,), NaN where not defined.
    """

    def __init__(self, observed: Scored) -> None:
        self._observed = observed
        n_pairs = next(iter(observed.values())).size
        # n, sum, sum of squares (of values within -1 and 1: nothing is lost), number below.
        self._sums = {metric: np.zeros((4, n_pairs)) for metric in observed}

    def add(self, pairs: IntArray, scores: Scored, is_own: BoolArray) -> None:
        """Add scores of peers; undefined ones do not count.

        Args:
            pairs: each at most once.
            scores: by metric; shape (pairs, peers).
            is_own: peers that are none, for they have the compound of the pair; shape (pairs, peers).
        """
        for metric, values in scores.items():
            _add_scores(values, is_own, self._observed[metric], pairs, self._sums[metric])

    def add_single(self, pairs: IntArray, scores: Scored) -> None:
        """Add one score to each of some pairs, which may repeat; shape (pairs,)."""
        for metric, values in scores.items():
            of = np.flatnonzero(np.isfinite(values))
            difference = values[of] - self._observed[metric][pairs[of]]
            below = np.where(np.abs(difference) <= TIE, 0.5, difference < 0)
            for row, added in enumerate((np.ones(of.size), values[of], values[of] ** 2, below)):
                np.add.at(self._sums[metric][row], pairs[of], added)

    def means(self, metric: str) -> tuple[IntArray, FloatArray]:
        """Return the number of peers with a value and their mean, NaN without one."""
        n, total, *_ = self._sums[metric]
        return n.astype(np.int64), np.divide(total, n, out=np.full(n.size, np.nan), where=n > 0)

    def spread(self, metric: str) -> FloatArray:
        """Return the standard deviation of the peers' scores (n - 1), NaN for fewer than two."""
        n, total, squares, _ = self._sums[metric]
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        return np.where(n > 1, np.sqrt(variance), np.nan)

    def percentile(self, metric: str) -> FloatArray:
        """Return (1 + peers below the observed value) / (1 + peers), ties half, NaN without any."""
        n, _, _, below = self._sums[metric]
        is_defined = (n > 0) & np.isfinite(self._observed[metric])
        return np.where(is_defined, (1 + below) / (1 + n), np.nan)


class Centroids:
    """Mean profiles of all other compounds with the dose and the time of a condition.

    Args:
        block: conditions of one context of one dataset.
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        self._stratum = strata(block)
        signatures = block.signatures
        n_strata = int(self._stratum.max(initial=-1)) + 1
        self._n = np.bincount(self._stratum, minlength=n_strata)
        self._sums = np.zeros((2, n_strata, signatures.n_genes))
        for sums, values in zip(self._sums, (signatures.log2_fold_change, signatures.t), strict=True):
            for stratum in range(n_strata):
                sums[stratum] = values[self._stratum == stratum].sum(axis=0, dtype=np.float64)

    def of(self, rows: IntArray, compounds: IntArray) -> tuple[Signatures, IntArray]:
        """Return the mean profiles for some rows, without conditions of a compound, and how many they are of.

        Args:
            rows: conditions whose dose and time the peers have.
            compounds: the compound left out of each.
        """
        block, signatures = self._block, self._block.signatures
        stratum = self._stratum[rows]
        sums, n = self._sums[:, stratum], self._n[stratum].copy()
        for i, (which, compound) in enumerate(zip(stratum, compounds, strict=True)):
            own = np.flatnonzero((self._stratum == which) & (block.compound == compound))
            n[i] -= own.size
            sums[0, i] -= signatures.log2_fold_change[own].sum(axis=0, dtype=np.float64)
            sums[1, i] -= signatures.t[own].sum(axis=0, dtype=np.float64)
        means = (sums / np.maximum(n, 1)[:, None]).astype(np.float32)
        return Signatures(means[0], means[1], None), n


def baselines(
    pair: ContextPair,
    agreement: pl.DataFrame,
    conditions: pl.DataFrame,
    load: Load,
    *,
    n_peers: int = N_PEERS,
    n_contexts: int = N_CONTEXTS,
    seed: int = SEED,
) -> pl.DataFrame:
    """Return the baselines of the matches of one context of two datasets.

    Args:
        pair: the context with its matches.
        agreement: rows of ``mart/agreement`` of these matches.
        conditions: ``dataset_id``, ``context_id`` and ``compound_id`` of all conditions with effects.
        load: reads one context of a dataset.
        n_peers: peers that are looked at one by one, at most; 0 for all.
        n_contexts: other contexts that are looked at, at most.
        seed: of the choice of peers; a choice depends on it, the dataset, context, dose and time alone.

    Returns:
        Rows of ``mart/agreement_baseline``: every match, metric, baseline and side.
    """
    observed = observed_values(agreement, pair.matches)
    scores = {
        (name, side): PeerScores(observed) for name in (*PEERS, *CENTROIDS, *ELSEWHERE) for side in SIDES
    }
    centroid_sizes = {
        (name, side): np.zeros(pair.matches.height, np.int64) for name in CENTROIDS for side in SIDES
    }
    elsewhere = {
        side: other_contexts(dataset, pair.context_id, pair.matches["compound_id"], conditions, n_contexts)
        for side, dataset in (("left", pair.right_dataset), ("right", pair.left_dataset))
    }
    for blocks in pair.blocks:
        _add_peers(pair, blocks, scores, n_peers, seed)
        _add_centroids(blocks, scores, centroid_sizes)
        for side, dataset in (("left", pair.right_dataset), ("right", pair.left_dataset)):
            for context in elsewhere[side]:
                per_context = -(-n_peers // max(len(elsewhere[side]), 1))
                _add_elsewhere(pair, blocks, side, dataset, context, load, scores, per_context, seed)
    return _rows(pair, observed, scores, centroid_sizes)


def strata(block: Block) -> IntArray:
    """Return a code of dose and time of each row."""
    _, codes = np.unique(np.stack([block.dose, block.time], axis=1), axis=0, return_inverse=True)
    return codes.ravel().astype(np.int64)


def chosen(rows: IntArray, n_peers: int, seed: int, key: str) -> IntArray:
    """Return at most ``n_peers`` of some rows, in their order, the same for the same seed and key; 0: all."""
    if not 0 < n_peers < len(rows):
        return rows
    digest = hashlib.blake2b(f"{seed}|{key}".encode(), digest_size=8).digest()
    picked = np.random.default_rng(int.from_bytes(digest)).choice(len(rows), n_peers, replace=False)
    return rows[np.sort(picked)]


def _add_peers(
    pair: ContextPair,
    blocks: BlockPair,
    scores: Mapping[tuple[str, str], PeerScores],
    n_peers: int,
    seed: int,
) -> None:
    codes = {side: strata(blocks.side(side)[0]) for side in SIDES}
    datasets = {"left": pair.left_dataset, "right": pair.right_dataset}
    both = np.stack([codes[side][blocks.side(side)[1]] for side in SIDES], axis=1)
    for stratum in np.unique(both, axis=0):
        members = np.flatnonzero((both == stratum).all(axis=1))
        peers = {}
        for side, code in zip(SIDES, stratum, strict=True):
            block = blocks.side(side)[0]
            rows = np.flatnonzero(codes[side] == code)
            key = f"{datasets[side]}|{pair.context_id}|{block.dose[rows[0]]:g}|{block.time[rows[0]]:g}"
            peers[side] = chosen(rows, n_peers, seed, key)
        for part in slices(len(members), PAIRS_PER_BLOCK):
            at = members[part]
            for side, other in (("left", "right"), ("right", "left")):
                block, rows = blocks.side(side)
                for name, theirs in zip(PEERS, (side, other), strict=True):
                    peer_block = blocks.side(theirs)[0]
                    found = all_metrics(block.signatures, rows[at], peer_block.signatures, peers[theirs])
                    is_own = block.compound[rows[at]][:, None] == peer_block.compound[peers[theirs]]
                    scores[name, side].add(blocks.matches[at], found, is_own)


def _add_centroids(
    blocks: BlockPair,
    scores: Mapping[tuple[str, str], PeerScores],
    sizes: Mapping[tuple[str, str], IntArray],
) -> None:
    centroids = {side: Centroids(blocks.side(side)[0]) for side in SIDES}
    for part in slices(len(blocks.matches), PAIRS_PER_BLOCK):
        own = blocks.left.compound[blocks.left_rows[part]]
        means = {side: centroids[side].of(blocks.side(side)[1][part], own) for side in SIDES}
        at = blocks.matches[part]
        for side, other in (("left", "right"), ("right", "left")):
            block, rows = blocks.side(side)
            for name, theirs in zip(CENTROIDS, (side, other), strict=True):
                mean, n = means[theirs]
                everyone = np.arange(len(mean))
                found = correlations(block.signatures, mean, rows[part], everyone) | discrete(
                    block.signatures, mean, rows[part], everyone
                )
                values = {metric: np.where(n > 0, one.value, np.nan) for metric, one in found.items()}
                scores[name, side].add_single(at, values)
                sizes[name, side][at] = n


def _add_elsewhere(
    pair: ContextPair,
    blocks: BlockPair,
    side: str,
    dataset_id: str,
    context_id: str,
    load: Load,
    scores: Mapping[tuple[str, str], PeerScores],
    n_peers: int,
    seed: int,
) -> None:
    """Add the scores of a side's conditions with those of the other dataset in another context."""
    data = load(dataset_id, context_id)
    here, rows = blocks.side(side)
    partner, partner_rows = blocks.side("right" if side == "left" else "left")
    dose, time = partner.dose[partner_rows], partner.time[partner_rows]
    treatments = np.unique(np.stack([dose, time], axis=1), axis=0)
    compounds = pl.concat([pair.compounds, data.conditions["compound_id"]]).unique().sort()
    code = compounds.search_sorted(pair.compounds).to_numpy()[here.compound[rows]]
    wanted, peers = _wanted(data, compounds, code, treatments, n_peers, seed, f"{dataset_id}|{context_id}")
    genes = np.intersect1d(here.gene_ids, data.profiles.gene_ids)
    looked_at = ContextData(data.conditions[wanted], data.profiles.part(wanted, genes))
    everyone = np.arange(len(wanted))
    there = block_of(looked_at, everyone, usual_genes(looked_at.profiles, everyone), compounds)
    axis = np.isin(here.gene_ids, there.gene_ids)
    unique_rows, at_row = np.unique(rows, return_inverse=True)
    grid = np.ix_(unique_rows, axis)
    own = here.signatures
    queries = Signatures(own.log2_fold_change[grid], own.t[grid], own.is_significant[grid])
    match, same = _nearest_dose(code, dose, time, there)
    found = correlations(queries, there.signatures, at_row[match], same) | discrete(
        queries, there.signatures, at_row[match], same
    )
    scores["other_contexts", side].add_single(
        blocks.matches[match], {metric: one.value for metric, one in found.items()}
    )
    for treatment, ids in zip(treatments, peers, strict=True):
        members = np.flatnonzero((dose == treatment[0]) & (time == treatment[1]))
        candidates = there.rows_of(ids)
        candidates = candidates[candidates >= 0]
        for part in slices(len(members) if len(candidates) else 0, PAIRS_PER_BLOCK):
            at = members[part]
            several = all_metrics(queries, at_row[at], there.signatures, candidates)
            is_own = code[at][:, None] == there.compound[candidates]
            scores["both_different", side].add(blocks.matches[at], several, is_own)


def _wanted(
    data: ContextData,
    compounds: pl.Series,
    code: IntArray,
    treatments: FloatArray,
    n_peers: int,
    seed: int,
    key: str,
) -> tuple[IntArray, list[IntArray]]:
    """Return the rows of a context that are looked at, and the peers of each dose and time by their ids."""
    conditions = data.conditions
    compound = compounds.search_sorted(conditions["compound_id"]).to_numpy()
    doses, times = conditions["dose_um"].to_numpy(), conditions["time_h"].to_numpy()
    peers = []
    is_wanted = np.isin(compound, code)
    for dose, time in treatments:
        rows = np.flatnonzero((doses == dose) & (times == time))
        picked = chosen(rows, n_peers, seed, f"{key}|{dose:g}|{time:g}")
        is_wanted[picked] = True
        peers.append(data.profiles.row_ids[picked])
    return np.flatnonzero(is_wanted), peers


def _nearest_dose(
    compound: IntArray, dose: FloatArray, time: FloatArray, there: Block
) -> tuple[IntArray, IntArray]:
    """Return for each condition the rows of its compound and time with the nearest dose, within tenfold."""
    wanted = pl.DataFrame({"i": np.arange(len(compound)), "compound": compound, "dose": dose, "time": time})
    offered = pl.DataFrame(
        {"j": np.arange(len(there.ids)), "compound": there.compound, "other": there.dose, "time": there.time}
    )
    distance = (pl.col("dose").log10() - pl.col("other").log10()).abs()
    near = (
        wanted.join(offered, on=["compound", "time"])
        .with_columns(distance=distance)
        .filter(pl.col("distance") <= np.log10(MAX_FOLD) + DOSE_TOLERANCE)
        .filter(pl.col("distance") <= pl.col("distance").min().over("i") + DOSE_TOLERANCE)
        .sort("i", "j")
    )
    return near["i"].to_numpy(), near["j"].to_numpy()


def _rows(
    pair: ContextPair,
    observed: Scored,
    scores: Mapping[tuple[str, str], PeerScores],
    centroid_sizes: Mapping[tuple[str, str], IntArray],
) -> pl.DataFrame:
    named = pair.matches.select(list(AGREEMENT_BASELINE.polars_schema)[:4])
    of_match = np.stack([observed[metric] for metric in METRICS])
    nothing = np.full(of_match.shape, np.nan)
    match, metric = np.tile(np.arange(named.height), len(METRICS)), np.repeat(METRICS, named.height)
    rows = [pl.DataFrame(schema=AGREEMENT_BASELINE.polars_schema)]
    for (baseline, side), one in scores.items():
        n, mean = (np.stack(values) for values in zip(*map(one.means, METRICS), strict=True))
        sizes = centroid_sizes.get((baseline, side))
        if sizes is None:
            spread, percentile = (np.stack([*map(what, METRICS)]) for what in (one.spread, one.percentile))
        else:
            n, spread, percentile = np.broadcast_to(sizes, n.shape), nothing, nothing
        columns = {
            "mean": np.clip(mean, -1, 1),
            "sd": spread,
            "delta": np.clip(of_match - mean, -2, 2),
            "percentile": percentile,
        }
        rows.append(
            named[match].with_columns(
                metric=pl.Series(metric),
                baseline=pl.lit(baseline),
                side=pl.lit(side),
                n_peers=pl.Series(n.ravel(), dtype=pl.Int32),
                **{name: pl.Series(values.ravel()).fill_nan(None) for name, values in columns.items()},
            )
        )
    return pl.concat(rows)


@njit(cache=True, nogil=True)
def _add_scores(
    scores: NDArray[Any],
    is_own: BoolArray,
    observed: FloatArray,
    pairs: IntArray,
    sums: FloatArray,
) -> None:
    """Add to the number, sum, sum of squares, and number below the observed of each of some pairs."""
    for i in range(len(pairs)):
        pair = pairs[i]
        n, total, squares, below = 0, 0.0, 0.0, 0.0
        for j in range(scores.shape[1]):
            score = np.float64(scores[i, j])
            if is_own[i, j] or not np.isfinite(score):
                continue
            n += 1
            total += score
            squares += score * score
            difference = score - observed[pair]
            below += 0.5 if abs(difference) <= TIE else 1.0 if difference < 0 else 0.0
        sums[0, pair] += n
        sums[1, pair] += total
        sums[2, pair] += squares
        sums[3, pair] += below
