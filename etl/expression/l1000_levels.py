"""L1000 levels above Level 3: robust z-scores of wells, signatures of replicates, and the quality of these.

Here: the definitions of the Connectivity Map as functions on arrays, wells x genes:

    Level 3  log2 expression, normalized (the adapters)
    Level 4  robust z-score of each gene in each well against its plate: ``level_4``
    Level 5  moderated z-score (MODZ) of the replicates of a condition: ``moderated_z``, ``level_5``
    quality  replicate correlation (cc_q75), signature strength (ss_ngene), transcriptional activity (TAS)

Not here: which wells are replicates of each other (the caller's groups), tables, and effects with standard
errors (``etl.effects``), which this warehouse uses: a z-score of Level 5 has no standard error, and its size
depends on how many wells of a plate respond.

Sources: Subramanian et al., Cell 171 (2017), 1437-1452, STAR Methods; the documentation and the published
programs of the Connectivity Map (cmapM, cmapPy) for what the article leaves open. What was checked against
published values stands in ``docs/methods/l1000_levels.md``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from etl.errors import BadInputError

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.str_] | npt.NDArray[np.object_] | npt.NDArray[np.integer]

MAD_SCALE: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

MIN_MAD: Final = 0.1
"""Floor of the median absolute deviation, log2: a gene that hardly varies on a plate gets no huge z-score."""

MAX_ABS_Z: Final = 10.0
"""Level 4 is not clipped; before replicates are combined it is, so that no single value makes a signature."""

MIN_WEIGHT: Final = 0.01
"""Floor of the raw weight of a replicate: one that agrees with no other counts little, but not nothing."""

STRENGTH_CUTOFF: Final = 2.0
"""A gene counts as changed where its absolute z-score reaches this."""

N_LANDMARKS: Final = 978
N_EXTREME: Final = 100
"""Genes at each end whose mean makes the signal strength."""

MIN_FACTOR: Final = 0.001
"""Floor of either factor of the activity score, which keeps an order among signatures without any change."""

N_SORTED: Final = 4
"""Genes whose values order the wells of a group."""

BATCH_VALUES: Final = 20_000_000
"""Values of one batch of equally large groups, about 160 MB."""


class Consensus(NamedTuple):
    """The moderated z-score of some replicates.

    Attributes:
        values: signature, shape (genes,).
        weights: weight of each replicate, positive, sum 1, shape (replicates,).
        correlations: Spearman correlation of each two replicates, shape (replicates, replicates), diagonal 1.
    """

    values: Floats
    weights: npt.NDArray[np.float64]
    correlations: npt.NDArray[np.float64]


class Strength(NamedTuple):
    """Genes that a signature changes, per signature.

    Attributes:
        n_up: genes at or above the cutoff.
        n_down: genes at or below minus the cutoff.
    """

    n_up: npt.NDArray[np.int64]
    n_down: npt.NDArray[np.int64]

    @property
    def n_genes(self) -> npt.NDArray[np.int64]:
        """Genes changed in either direction: ss_ngene."""
        return self.n_up + self.n_down


@dataclass(frozen=True, slots=True, eq=False)
class Signatures:
    """Level 5 of many groups of replicates; a row per group, groups sorted.

    Attributes:
        groups: label of each group.
        values: moderated z-scores, groups x genes.
        weights: weight of each well in its group, in the order of the wells given.
        n_replicates: wells of each group.
        cc_q75: replicate correlation; NaN for a group of one well.
        ss_ngene: landmark genes changed, after adjustment for the number of replicates.
        tas: transcriptional activity score, 0 to 1; NaN for a group of one well.
    """

    groups: npt.NDArray
    values: Floats
    weights: npt.NDArray[np.float64]
    n_replicates: npt.NDArray[np.int64]
    cc_q75: npt.NDArray[np.float64]
    ss_ngene: npt.NDArray[np.int64]
    tas: npt.NDArray[np.float64]


def robust_z(values: Floats, reference: Floats | None = None, *, min_mad: float = MIN_MAD) -> Floats:
    """Return the robust z-scores of the wells of one plate.

        z = (x - median) / (1.4826 * max(MAD, min_mad)),   MAD = median(abs(x - median))

    with median and MAD of each gene over the reference. The median of the reference is removed and not its
    mean, so a plate on which less than half of the wells respond keeps its zero.

    Args:
        values: log2 expression, wells x genes.
        reference: the wells that median and MAD come from, wells x genes. By default all of ``values``:
            population control, the publisher's choice for Level 4. Vehicle control: the vehicle wells.
        min_mad: floor of the MAD, log2.

    Returns:
        z-scores, shape and precision of ``values``; NaN for a gene that is NaN in the reference.

    Raises:
        BadInputError: the reference holds no well.

    >>> robust_z(np.array([[1.0], [2.0], [4.0]])).round(4).ravel().tolist()
    [-0.6745, 0.0, 1.349]
    """
    baseline = np.asarray(values if reference is None else reference, dtype=np.float64)
    if not len(baseline):
        raise BadInputError("a robust z-score needs at least one reference well")
    median = np.median(baseline, axis=0)
    mad = np.median(np.abs(baseline - median), axis=0)
    return ((values - median) / (MAD_SCALE * np.maximum(mad, min_mad))).astype(values.dtype, copy=False)


def level_4(
    values: Floats,
    plates: Labels,
    is_reference: npt.NDArray[np.bool_] | None = None,
    *,
    min_reference: int = 1,
    min_mad: float = MIN_MAD,
) -> Floats:
    """Return the robust z-score of every well against its own plate (Level 4).

    Args:
        values: Level 3, log2 expression, wells x genes.
        plates: detection plate of each well.
        is_reference: the vehicle wells, for vehicle control. By default every well of the plate is its
            reference (population control), which is what the publisher releases as Level 4.
        min_reference: reference wells that a plate needs.
        min_mad: floor of the MAD, log2.

    Returns:
        z-scores, shape and precision of ``values``; NaN on a plate with too few reference wells.

    Raises:
        BadInputError: as many plates or marks as wells are not given.
    """
    _check_length("plates", plates, len(values))
    if is_reference is not None:
        _check_length("is_reference", is_reference, len(values))
    scores = np.full_like(values, np.nan)
    for wells in _members(np.asarray(plates)):
        reference = wells if is_reference is None else wells[is_reference[wells]]
        if len(reference) >= max(1, min_reference):
            scores[wells] = robust_z(values[wells], values[reference], min_mad=min_mad)
    return scores


def moderated_z(
    scores: Floats,
    landmarks: npt.NDArray[np.integer] | None = None,
    *,
    max_abs_z: float = MAX_ABS_Z,
    min_weight: float = MIN_WEIGHT,
) -> Consensus:
    """Return the moderated z-score (MODZ) of the replicates of one condition.

    A weighted mean of the replicates. With rho_ij the Spearman correlation of replicates i and j over the
    landmark genes, and the sum over the other replicates j,

        raw_i = max(min_weight, 1/2 * sum_j max(rho_ij, 0)),   weight_i = raw_i / sum_k raw_k

    The published programs of the Connectivity Map differ in the scale of the raw weight (half the sum in
    cmapM, the mean in cmapPy). That matters only where the floor is reached; the scale here is cmapM's. Ties
    have their average rank. A replicate without any variation correlates with none (0).

    Args:
        scores: Level 4, replicates x genes.
        landmarks: positions of the genes that correlations are taken over; all by default.
        max_abs_z: scores are clipped to plus and minus this first.
        min_weight: floor of the raw weight.

    Returns:
        Signature, weights and correlations. One replicate is its own signature, with weight 1; two have equal
        weights.

    Raises:
        BadInputError: no replicate, or a score that is not finite.
    """
    if not len(scores):
        raise BadInputError("a signature needs at least one replicate")
    clipped = _clipped(scores, max_abs_z)
    directions = _rank_directions(clipped if landmarks is None else clipped[:, landmarks])
    correlations = _correlations(directions[None])
    weights = _weights(correlations, min_weight)
    values = np.einsum("r,rg->g", weights[0], clipped).astype(scores.dtype, copy=False)
    return Consensus(values, weights[0], correlations[0])


def replicate_correlation(correlations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the upper quartile of the pairwise correlations of replicates (cc_q75).

    The quartile of the published programs: MATLAB's ``prctile``, which is Hazen's (linear between the
    midpoints of the steps of the distribution). Negative correlations count as they are.

    Args:
        correlations: shape (..., replicates, replicates).

    Returns:
        Shape (...); NaN for fewer than two replicates.

    >>> float(replicate_correlation(np.array([[1, 0.2, 0.4], [0.2, 1, 0.6], [0.4, 0.6, 1]])).round(3))
    0.55
    """
    above = np.triu_indices(correlations.shape[-1], k=1)
    pairs = correlations[..., above[0], above[1]]
    if not pairs.shape[-1]:
        return np.full(pairs.shape[:-1], np.nan)
    return np.quantile(pairs, 0.75, axis=-1, method="hazen")


def signature_strength(
    signatures: Floats,
    n_replicates: npt.NDArray[np.integer] | int = 1,
    *,
    cutoff: float = STRENGTH_CUTOFF,
) -> Strength:
    """Return how many genes each signature changes (ss_ngene).

        n_up = sum(z * sqrt(n) >= cutoff),   n_down = sum(z * sqrt(n) <= -cutoff)

    A mean over n replicates has a spread of 1 / sqrt(n): the factor makes signatures of different n
    comparable. With n = 1 the counts are those that older releases call ``ngenes_modulated_up_lm`` and
    ``..._dn_lm``.

    Args:
        signatures: Level 5 on the landmark genes, signatures x genes.
        n_replicates: replicates of each signature, or of all.
        cutoff: absolute z-score from which a gene counts.
    """
    adjusted = signatures * np.sqrt(np.broadcast_to(n_replicates, len(signatures)))[:, None]
    return Strength((adjusted >= cutoff).sum(axis=1), (adjusted <= -cutoff).sum(axis=1))


def signal_strength(signatures: Floats, *, n_extreme: int = N_EXTREME) -> npt.NDArray[np.float64]:
    """Return the mean of the highest minus the mean of the lowest z-scores of each signature (distil_ss).

    Args:
        signatures: Level 5 on the landmark genes, signatures x genes.
        n_extreme: genes at each end.

    Raises:
        BadInputError: fewer genes than both ends need.
    """
    if signatures.shape[1] < 2 * n_extreme:
        rule = f"the signal strength needs {2 * n_extreme} genes, not {signatures.shape[1]}"
        raise BadInputError(rule)
    ordered = np.sort(signatures.astype(np.float64), axis=1)
    return ordered[:, -n_extreme:].mean(axis=1) - ordered[:, :n_extreme].mean(axis=1)


def transcriptional_activity(
    ss_ngene: npt.NDArray[np.integer], cc_q75: npt.NDArray[np.float64], *, n_genes: int = N_LANDMARKS
) -> npt.NDArray[np.float64]:
    """Return the transcriptional activity score (TAS): strong and reproducible signatures are near 1.

        TAS = sqrt(max(ss_ngene, 0.001) * max(cc_q75, 0.001)) / sqrt(n_genes)

    The geometric mean of the share of genes changed and the replicate correlation.

    Args:
        ss_ngene: genes changed, of ``signature_strength`` with the number of replicates.
        cc_q75: replicate correlation; NaN where there is one replicate.
        n_genes: genes that ``ss_ngene`` counts among.

    Returns:
        Score, 0 to 1; NaN where ``cc_q75`` is.

    >>> transcriptional_activity(np.array([489]), np.array([0.5])).round(6).tolist()
    [0.5]
    """
    strength = np.maximum(ss_ngene, MIN_FACTOR)
    return np.sqrt(strength * np.clip(cc_q75, MIN_FACTOR, 1.0)) / np.sqrt(n_genes)


def level_5(
    scores: Floats,
    groups: Labels,
    landmarks: npt.NDArray[np.integer] | None = None,
    *,
    max_abs_z: float = MAX_ABS_Z,
    min_weight: float = MIN_WEIGHT,
) -> Signatures:
    """Return the signatures of all groups of replicates with their quality (Level 5).

    As ``moderated_z`` for every group, groups of the same size together.

    Args:
        scores: Level 4, wells x genes. Wells without a score (a plate without reference) are left out first.
        groups: the group of each well. The publisher's are wells of one compound, dose, time and line on the
            replicate plates of one experiment.
        landmarks: positions of the genes for correlations, strength and activity; all by default.
        max_abs_z: scores are clipped to plus and minus this first.
        min_weight: floor of the raw weight.

    Raises:
        BadInputError: as many groups as wells are not given, no well, or a score that is not finite.
    """
    _check_length("groups", groups, len(scores))
    if not len(scores):
        raise BadInputError("signatures need at least one well")
    labels, inverse, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    clipped = _clipped(scores, max_abs_z)
    measured = clipped if landmarks is None else clipped[:, landmarks]
    values = np.empty((len(labels), scores.shape[1]), dtype=scores.dtype)
    weights = np.empty(len(scores))
    cc_q75 = np.empty(len(labels))
    # A sum depends on its order to the last digit: wells of a group follow their values, not the caller.
    order = np.lexsort((*clipped.T[:N_SORTED], inverse))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size, chosen in _batches(sizes, scores.shape[1]):
        wells = order[starts[chosen][:, None] + np.arange(size)]
        correlations = _correlations(_rank_directions(measured[wells]))
        weights[wells] = shares = _weights(correlations, min_weight)
        values[chosen] = np.einsum("gr,grf->gf", shares, clipped[wells])
        cc_q75[chosen] = replicate_correlation(correlations)
    changed = signature_strength(values if landmarks is None else values[:, landmarks], sizes).n_genes
    n_genes = measured.shape[1]
    return Signatures(
        groups=labels,
        values=values,
        weights=weights,
        n_replicates=sizes,
        cc_q75=cc_q75,
        ss_ngene=changed,
        tas=transcriptional_activity(changed, cc_q75, n_genes=n_genes),
    )


def _check_length(name: str, labels: npt.NDArray, n_wells: int) -> None:
    if len(labels) != n_wells:
        raise BadInputError(f"{name} has an entry per well: {n_wells}, not {len(labels)}")


def _members(labels: npt.NDArray) -> list[npt.NDArray[np.int64]]:
    """Return the positions of the members of each label, labels sorted."""
    _, inverse = np.unique(labels, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1) if len(order) else []


def _clipped(scores: Floats, max_abs_z: float) -> npt.NDArray[np.float64]:
    if not np.isfinite(scores).all():
        well, gene = np.argwhere(~np.isfinite(scores))[0]
        raise BadInputError("a z-score that is not finite", row=int(well), column=str(gene))
    return np.clip(scores.astype(np.float64), -max_abs_z, max_abs_z)


def _rank_directions(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the ranks along the last axis, centred and of length 1; 0 where all values are equal."""
    ranks = rankdata(scores, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def _correlations(directions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the correlations between the replicates of each group, groups x replicates x replicates."""
    correlations = np.clip(directions @ np.swapaxes(directions, 1, 2), -1.0, 1.0)
    diagonal = np.arange(correlations.shape[1])
    correlations[:, diagonal, diagonal] = 1.0
    return correlations


def _weights(correlations: npt.NDArray[np.float64], min_weight: float) -> npt.NDArray[np.float64]:
    """Return the weights of the replicates of each group, groups x replicates."""
    agreement = (np.maximum(correlations, 0.0).sum(axis=2) - 1.0) / 2
    raw = np.maximum(agreement, min_weight)
    return raw / raw.sum(axis=1, keepdims=True)


def _batches(sizes: npt.NDArray[np.int64], n_genes: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield a size and groups of it, so that a batch stays below ``BATCH_VALUES``."""
    for size in np.unique(sizes).tolist():
        alike = np.flatnonzero(sizes == size)
        step = max(1, BATCH_VALUES // (size * n_genes))
        for first in range(0, len(alike), step):
            yield size, alike[first : first + step]
