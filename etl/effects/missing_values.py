"""Fits of genes whose values are missing in some samples: each gene on the samples that have one.

Belongs here: genes grouped by which samples they lack. Does not belong here: genes without gaps, which are
fitted all at once (:mod:`etl.effects.fit`). Every pattern of gaps is a design of its own, so that this path
suits small studies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from etl.arrays import FloatArray, IntArray, Matrix
from etl.effects.design import Design, Labels, build_design
from etl.effects.expression_tiles import DenseTiles
from etl.effects.fit import EffectFit, moderated_fit, plan_fit, require_choice
from etl.effects.input_checks import checked_log2, checked_shape
from etl.effects.linear_model import StandardError, combined_variance
from etl.expression.counts import SparseCounts


@dataclass(frozen=True, slots=True)
class _Held:
    """Effects and variance factors of all estimable conditions, C x G."""

    effect: FloatArray
    variance: FloatArray

    def rows(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        return self.effect[part].copy(), self.variance[part].copy()


def fit_with_missing_values(
    values: Matrix | SparseCounts,
    *,
    condition: Labels,
    plate: Labels | None,
    is_control: npt.ArrayLike,
    block: Labels | None = None,
    terms: Mapping[str, Labels] | None = None,
    robust: bool = True,
    trend: bool = True,
    standard_error: StandardError = "exact",
    min_replicates: int = 1,
) -> EffectFit:
    """Fit log2 values in which NaN means missing; arguments are those of ``estimate_effects``.

    A condition that a gene has no samples of, or cannot compare, has NaN for that gene. Residual degrees of
    freedom are the gene's own; a gene without any has the variance that the others suggest. The limma form
    of the standard error takes the correlation of coefficients from the design without gaps, as
    ``contrasts.fit`` does.
    """
    require_choice("standard_error", standard_error, get_args(StandardError))
    design = build_design(condition, plate, is_control, block=block, terms=terms)
    n_genes = checked_shape(values, design.n_samples)
    dense = checked_log2(values, may_be_missing=True).astype(np.float64)
    plan = plan_fit(design, min_replicates, standard_error, 1)
    estimable = plan.estimable
    position = np.full(design.n_treated, -1, dtype=np.int64)
    position[estimable] = np.arange(len(estimable))
    effect = np.full((len(estimable), n_genes), np.nan)
    variance = np.full((len(estimable), n_genes), np.nan)
    mean, sigma, residual_df = np.full(n_genes, np.nan), np.full(n_genes, np.nan), np.zeros(n_genes)

    for present, genes in _patterns(dense):
        mean[genes] = dense[np.ix_(present, genes)].mean(axis=0)
        part, treated = _without(design, present, condition, plate, is_control, block, terms)
        has_first_plate = bool((design.plate[present] == 0).any())
        own = plan_fit(part, 1, standard_error, 1, borrows_variance=True, has_first_plate=has_first_plate)
        fitted = own.model.fit(DenseTiles(dense[np.ix_(present, genes)], own.order))
        residual_df[genes] = max(own.equations.residual_df, 0)
        if own.equations.residual_df > 0:
            sigma[genes] = np.sqrt(fitted.residual_sum_of_squares / own.equations.residual_df)
        rows = position[treated[own.estimable]]
        known = rows >= 0
        at = np.ix_(rows[known], genes)
        effect[at] = fitted.difference[:, known].T
        if own.model.is_limma:
            of_treated, of_control = own.model.variance_parts
            correlation = plan.model.correlation[rows[known]]
            variance[at] = combined_variance(of_treated[known], of_control[known], correlation)[:, None]
        else:
            variance[at] = fitted.variance[0, known, None]
    return moderated_fit(
        plan,
        _Held(effect, variance),
        mean,
        sigma,
        residual_df,
        np.ones(n_genes, dtype=bool),
        robust=robust,
        trend=trend,
    )


def _patterns(values: FloatArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the samples that have a value, and the genes of which that is so; not genes without values."""
    packed = np.packbits(np.isfinite(values), axis=0)
    patterns, which = np.unique(packed, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        present = np.flatnonzero(np.unpackbits(patterns[:, number], count=values.shape[0]))
        if present.size:
            yield present, np.flatnonzero(np.ravel(which) == number)


def _without(
    design: Design,
    present: IntArray,
    condition: Labels,
    plate: Labels | None,
    is_control: npt.ArrayLike,
    block: Labels | None,
    terms: Mapping[str, Labels] | None,
) -> tuple[Design, IntArray]:
    """Return the design of some samples, and the condition of the whole design that each of its own is."""

    def cut(labels: Labels | None) -> np.ndarray | None:
        return None if labels is None else np.asarray(labels)[present]

    chosen = cut(condition)
    assert chosen is not None
    part = build_design(
        chosen,
        cut(plate),
        np.asarray(is_control)[present],
        block=cut(block),
        terms={name: np.asarray(labels)[present] for name, labels in (terms or {}).items()},
    )
    return part, np.searchsorted(design.treated, part.treated)
