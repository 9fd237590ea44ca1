"""Null calibration: are p-values uniform where nothing was done?

Belongs here: vehicle samples held out as if they were treated, tested against the other vehicle samples of
their plates, and what their p-values say. Does not belong here: tests of treated samples.

Held-out samples are drawn with a fixed seed: from every plate and block with at least ``MIN_CONTROLS``
controls a quarter of them, at least one. Null conditions are made of as many samples as real conditions
usually have (or as were held out, if fewer), on different plates where there are several. If the model is
right their p-values are uniform. Spatial effects and correlated wells show as an excess of small ones;
outlier wells, which stand among the controls too and raise the variance, as few moderate and too many
extreme ones.

Their profiles are compared, too: null conditions without a plate in common share nothing, so that their
correlation over genes is zero on average. Wells that differ for a reason which is no treatment (their place
on the plate) make some pairs alike and others opposite: its standard error rises. Null conditions on one
plate share its other vehicle samples, which makes them alike: that is what shared controls are worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from etl.arrays import IntArray
from etl.effects.design import Labels
from etl.effects.fit import Scale, fit_effects
from etl.effects.input_checks import EmptyLibraryError
from etl.effects.moderated_tests import ModeratedTests
from etl.expression.counts import SparseCounts

MIN_CONTROLS = 3
"""Controls of a plate and block from which one can be held out."""
HELD_OUT_SHARE = 0.25
MAX_CONDITIONS = 60
"""Null conditions that are tested at most, drawn from all blocks; more tell nothing new."""
BINS = 20
SIGNIFICANCE = 0.05
NORMAL_MEDIAN = float(special.ndtri(0.75) ** 2)
"""Median of a squared standard normal, 0.4549."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """P-values of null conditions, summed up; shares are NaN where nothing could be tested."""

    status: str
    """``ok``, or why there is no test."""
    n_control: int
    n_held_out: int
    n_conditions: int
    n_tests: int
    share_below_0_05: float
    share_below_0_001: float
    share_significant: float
    """Share of tests with adjusted p-value below 0.05."""
    inflation: float
    """Median of squared normal scores over that of a uniform."""
    n_pairs_apart: int
    """Pairs of null conditions without a plate in common."""
    agreement_apart: float
    """Mean Spearman correlation of their fold changes; 0 if nothing but chance makes them alike."""
    agreement_apart_se: float
    """Its standard error, from leaving out one null condition at a time."""
    agreement_same_plate: float
    """The same mean over pairs with a plate in common."""
    histogram: IntArray
    """Tests in 20 bins of p-value; empty where there is none."""


def null_calibration(
    values: np.ndarray | SparseCounts,
    *,
    plate: Labels,
    block: Labels,
    scale: Scale,
    terms: Mapping[str, Labels] | None = None,
    replicates_of_conditions: int = 1,
    seed: int = 0,
    n_threads: int = 1,
) -> Calibration:
    """Test held-out control samples against the others.

    Args:
        values: control samples x genes.
        plate: one label per sample.
        block: one label per sample, such as the time point.
        scale: ``log2`` or ``counts``.
        terms: further terms of the model, as in the fit that is calibrated.
        replicates_of_conditions: samples of a null condition.
        seed: decides which samples are held out.
        n_threads: threads of the fit.

    Returns:
        a calibration; where too few controls or no residual degree of freedom are left its status says so.
    """
    n_control = len(plate)
    null = _null_conditions(np.asarray(plate), np.asarray(block), replicates_of_conditions, seed)
    held_out = null >= 0
    if not held_out.any():
        return _impossible("too_few_controls", n_control)
    try:
        fit = fit_effects(
            values,
            condition=null,
            plate=plate,
            is_control=~held_out,
            scale=scale,
            block=block,
            terms=terms,
            n_threads=n_threads,
            dtype=np.float32,
        )
    except EmptyLibraryError as error:
        # As in the fit that is calibrated, such samples are left out.
        kept = np.setdiff1d(np.arange(n_control), error.samples)
        calibration = null_calibration(
            values.select(kept) if isinstance(values, SparseCounts) else values[kept],
            plate=np.asarray(plate)[kept],
            block=np.asarray(block)[kept],
            scale=scale,
            terms={name: np.asarray(labels)[kept] for name, labels in (terms or {}).items()},
            replicates_of_conditions=replicates_of_conditions,
            seed=seed,
            n_threads=n_threads,
        )
        return replace(calibration, n_control=n_control)
    tests = ModeratedTests(fit.total_df)
    p_values, n_significant = [], 0
    profiles = []
    for part in fit.blocks():
        profiles.append(np.asarray(part.log2_fold_change, dtype=np.float32))
        p, adjusted = tests.p_values(part.log2_fold_change, part.standard_error)
        p_values.append(p[np.isfinite(p)])
        n_significant += int(np.count_nonzero(adjusted < SIGNIFICANCE))
    p = np.concatenate(p_values) if p_values else np.zeros(0)
    if not p.size:
        status = "too_few_controls" if fit.residual_df < 1 else "no_tested_gene"
        return _impossible(status, n_control)
    median = float(np.median(p))
    return Calibration(
        status="ok",
        n_control=n_control,
        n_held_out=int(np.count_nonzero(held_out)),
        n_conditions=len(fit.estimable),
        n_tests=p.size,
        share_below_0_05=float(np.mean(p < 0.05)),
        share_below_0_001=float(np.mean(p < 0.001)),
        share_significant=n_significant / p.size,
        inflation=float(special.ndtri(median / 2) ** 2) / NORMAL_MEDIAN,
        **_agreement(np.concatenate(profiles), _plates_of(null, np.asarray(plate))[fit.estimable]),
        histogram=np.histogram(p, bins=BINS, range=(0.0, 1.0))[0],
    )


def _plates_of(null: IntArray, plate: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Say which plates each null condition is on; shape (conditions, plates)."""
    _, code = np.unique(plate, return_inverse=True)
    is_on = np.zeros((null.max() + 1, code.max() + 1), dtype=np.bool_)
    is_on[null[null >= 0], code[null >= 0]] = True
    return is_on


def _agreement(profiles: npt.NDArray[np.float32], is_on: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return mean rank correlations of null conditions with and without a plate in common."""
    finite = np.isfinite(profiles).all(axis=0)
    rho = np.corrcoef(stats.rankdata(profiles[:, finite], axis=1)) if finite.sum() > 1 else None
    n = len(profiles)
    if rho is None or n < 2:
        rho = np.full((n, n), np.nan)
    is_shared = (is_on.astype(np.int64) @ is_on.T.astype(np.int64)) > 0
    is_pair = ~np.eye(n, dtype=np.bool_) & np.isfinite(rho)
    apart, together = is_pair & ~is_shared, is_pair & is_shared
    values = np.where(apart, rho, 0.0)
    n_apart = int(apart.sum()) // 2
    mean = values.sum() / 2 / n_apart if n_apart else np.nan
    left_pairs = n_apart - apart.sum(axis=1)
    has_rest = left_pairs > 0
    without = (values.sum() / 2 - values.sum(axis=1))[has_rest] / left_pairs[has_rest]
    m = len(without)
    error = np.sqrt((m - 1) / m * np.square(without - without.mean()).sum()) if m > 1 else np.nan
    return {
        "n_pairs_apart": n_apart,
        "agreement_apart": float(mean),
        "agreement_apart_se": float(error),
        "agreement_same_plate": float(rho[together].mean()) if together.any() else np.nan,
    }


def _null_conditions(
    plate: npt.NDArray[np.generic], block: npt.NDArray[np.generic], size: int, seed: int
) -> IntArray:
    """Return the null condition of each sample, -1 for those that stay controls."""
    rng = np.random.default_rng(seed)
    _, plate_code = np.unique(plate, return_inverse=True)
    _, block_code = np.unique(block, return_inverse=True)
    conditions: list[list[int]] = []
    for one_block in range(block_code.max(initial=-1) + 1):
        held: list[tuple[float, int]] = []
        in_block = block_code == one_block
        for one_plate in np.unique(plate_code[in_block]):
            members = np.flatnonzero(in_block & (plate_code == one_plate))
            if len(members) < MIN_CONTROLS:
                continue
            n_held = max(1, int(HELD_OUT_SHARE * len(members)))
            chosen = rng.permutation(members)[:n_held]
            # First one sample of every plate, then the second of each: neighbours are on different plates.
            held += [(turn + rng.random(), int(sample)) for turn, sample in enumerate(chosen)]
        samples = [sample for _, sample in sorted(held)]
        own_size = min(size, max(1, len(samples)))
        starts = range(0, len(samples) - own_size + 1, own_size)
        conditions += [samples[start : start + own_size] for start in starts]
    null = np.full(len(plate), -1, dtype=np.int64)
    for number, chosen_condition in enumerate(np.sort(rng.permutation(len(conditions))[:MAX_CONDITIONS])):
        null[conditions[chosen_condition]] = number
    return null


def _impossible(status: str, n_control: int) -> Calibration:
    return Calibration(
        status=status,
        n_control=n_control,
        n_held_out=0,
        n_conditions=0,
        n_tests=0,
        share_below_0_05=np.nan,
        share_below_0_001=np.nan,
        share_significant=np.nan,
        inflation=np.nan,
        n_pairs_apart=0,
        agreement_apart=np.nan,
        agreement_apart_se=np.nan,
        agreement_same_plate=np.nan,
        histogram=np.zeros(0, dtype=np.int64),
    )
