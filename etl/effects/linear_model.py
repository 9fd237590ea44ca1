"""Least squares of ``~ 0 + condition + plate`` for many genes, without the samples x coefficients matrix.

Belongs here: normal equations of the two-way layout, unweighted and weighted, and the exact variance
factors of contrasts. Does not belong here: which contrasts make sense (:mod:`etl.effects.design`),
variances of genes (:mod:`etl.effects.moderation`).

The condition block of the normal equations is diagonal, so conditions are eliminated first. With cell weights
W_cp (sum of sample weights of condition c on plate p) and W_c = sum_p W_cp, the plates are left with

    S[p, q] = - sum_c W_cp W_cq / W_c    (p != q),      S[p, p] = - sum of the rest of the row,

the Laplacian of a graph whose nodes are plates. It has one zero eigenvalue per connected component, so one
plate per component is fixed at zero; estimable contrasts do not depend on which. Building the diagonal from
the others avoids the subtraction W_p - sum_c W_cp^2 / W_c. With V the inverse of what is left (zero rows
and columns for fixed plates) and m_c the plate shares W_cp / W_c of a condition:

    plate effects      b = V r,    r_p = sum of w (y - weighted mean of its condition) over the samples of p
    condition effects  a_c = weighted mean of c - m_c' b
    var(a_t - a_k)     = sigma^2 (1/W_t + 1/W_k + (m_t - m_k)' V (m_t - m_k))

Weighted systems are solved gene by gene in one batch; unweighted ones share one V. Values are centred per
gene and then within conditions before anything is squared, so nothing large cancels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from etl.effects.blocks import FloatArray, IntArray, block_length
from etl.effects.design import Design


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Least squares solution of a block of b genes."""

    condition: FloatArray
    """Condition effects, K x b; each connected component has one arbitrary constant against its plates."""
    plate: FloatArray
    """Plate effects, P x b; zero on the reference plate of each component."""
    residual_sum_of_squares: FloatArray
    """Weighted residual sum of squares, b."""


@dataclass(frozen=True, slots=True)
class _Elimination:
    """What is left of the normal equations after the conditions are eliminated; the last axis is the gene."""

    condition_weight: FloatArray
    """W_c, K x b."""
    share: FloatArray
    """W_cp / W_c of every cell, E x b."""
    inverse: FloatArray
    """V, P x P x b."""


class PlateModel:
    """The model ``~ 0 + condition + plate`` of one design, ready to be fitted to blocks of genes.

    Args:
        design: conditions, plates and contrasts.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self._sum_over_condition = _indicator(design.condition, design.n_conditions)
        self._sum_over_plate = _indicator(design.plate, design.n_plates)
        self._sum_over_cell = _indicator(design.cell, len(design.cell_size))
        self._cells_of_condition = _indicator(design.cell_condition, design.n_conditions)
        self._first, self._second = _pairs_within(design.cell_condition)
        key = _plate_pair(design.cell_plate[self._first], design.cell_plate[self._second], design.n_plates)
        links, link = np.unique(key, return_inverse=True)
        self._link_plates = np.divmod(links, design.n_plates)
        self._sum_over_link = _indicator(link, len(links))
        self._free = _free_plates(design)

    @property
    def genes_per_block(self) -> int:
        """Genes that fit a weighted block within the memory bound."""
        design = self.design
        return block_length(max(design.n_samples, design.n_plates**2, len(self._first)))

    @cached_property
    def _unweighted(self) -> _Elimination:
        return self._eliminate(self.design.cell_size[:, None].astype(np.float64))

    @cached_property
    def unscaled_sd(self) -> FloatArray:
        """Standard deviation of each of the C contrasts at sigma = 1, unweighted; NaN where not estimable."""
        return np.sqrt(self._contrast_variance(self._unweighted)[:, 0])

    @cached_property
    def leverages(self) -> FloatArray:
        """Diagonal of the hat matrix, N, from the plate inverse: without an N x coefficients matrix."""
        system, design = self._unweighted, self.design
        share, inverse = system.share[:, 0], system.inverse[:, :, 0]
        own = inverse[design.cell_plate, design.cell_plate]
        between = inverse[design.cell_plate[self._first], design.cell_plate[self._second]]
        toward = share * own
        np.add.at(toward, self._first, share[self._second] * between)
        np.add.at(toward, self._second, share[self._first] * between)
        mean = self._cells_of_condition @ (share * toward)
        of_cell = 1.0 / system.condition_weight[design.cell_condition, 0] + own - 2.0 * toward
        of_cell += mean[design.cell_condition]
        return np.clip(of_cell, 0.0, 1.0)[design.cell]

    def fit(self, values: FloatArray) -> Coefficients:
        """Return the unweighted least squares solution.

        Args:
            values: N x b, finite; overwritten.
        """
        system, design = self._unweighted, self.design
        size = system.condition_weight
        centre = values.mean(axis=0)
        values -= centre
        mean = (self._sum_over_condition @ values) / size
        values -= mean[design.condition]
        plate = system.inverse[:, :, 0] @ (self._sum_over_plate @ values)
        along = self._cells_of_condition @ (system.share * plate[design.cell_plate])
        values -= (plate[design.cell_plate] - along[design.cell_condition])[design.cell]
        return Coefficients(
            condition=mean - along + centre,
            plate=plate,
            residual_sum_of_squares=np.einsum("ij,ij->j", values, values),
        )

    def fit_weighted(self, values: FloatArray, weights: FloatArray) -> tuple[Coefficients, FloatArray]:
        """Return the weighted least squares solution and the exact unscaled sd of every contrast, C x b.

        Args:
            values: N x b, finite; overwritten.
            weights: N x b, positive: inverse variances up to the gene's sigma^2.
        """
        design = self.design
        # Only ratios of weights enter the solve; a common scale keeps them near one whatever their unit.
        scale = weights.mean(axis=0)
        weights = weights / scale
        system = self._eliminate(self._sum_over_cell @ weights)
        centre = values.mean(axis=0)
        values -= centre
        mean = (self._sum_over_condition @ (weights * values)) / system.condition_weight
        values -= mean[design.condition]
        right = self._sum_over_plate @ (weights * values)
        plate = np.einsum("pqb,qb->pb", system.inverse, right)
        along = self._cells_of_condition @ (system.share * plate[design.cell_plate])
        values -= (plate[design.cell_plate] - along[design.cell_condition])[design.cell]
        coefficients = Coefficients(
            condition=mean - along + centre,
            plate=plate,
            residual_sum_of_squares=np.einsum("ij,ij,ij->j", weights, values, values) * scale,
        )
        return coefficients, np.sqrt(self._contrast_variance(system) / scale)

    def fitted(self, coefficients: Coefficients) -> FloatArray:
        """Return the fitted values of every sample, N x b."""
        design = self.design
        of_cell = coefficients.condition[design.cell_condition] + coefficients.plate[design.cell_plate]
        return of_cell[design.cell]

    def contrasts(self, coefficients: Coefficients) -> FloatArray:
        """Return treated minus control for the C treated conditions, C x b; NaN where not estimable."""
        effects = np.full((len(self.design.treated), coefficients.condition.shape[1]), np.nan)
        rows = self.design.estimable
        effects[rows] = coefficients.condition[rows] - coefficients.condition[self.design.control[rows]]
        return effects

    def _eliminate(self, cell_weight: FloatArray) -> _Elimination:
        """Return the plate system that these cell weights (E x b) leave, inverted."""
        design, n_genes = self.design, cell_weight.shape[1]
        condition_weight = self._cells_of_condition @ cell_weight
        share = cell_weight / condition_weight[design.cell_condition]
        inverse = np.zeros((design.n_plates, design.n_plates, n_genes))
        if len(self._free):
            link_weight = self._sum_over_link @ (share[self._first] * cell_weight[self._second])
            laplacian = np.zeros((n_genes, design.n_plates, design.n_plates))
            one, other = self._link_plates
            laplacian[:, one, other] = -link_weight.T
            laplacian[:, other, one] = -link_weight.T
            diagonal = np.arange(design.n_plates)
            laplacian[:, diagonal, diagonal] = -laplacian.sum(axis=2)
            kept = laplacian[:, self._free[:, None], self._free]
            inverse[self._free[:, None], self._free] = np.moveaxis(np.linalg.inv(kept), 0, 2)
        return _Elimination(condition_weight, share, inverse)

    def _contrast_variance(self, system: _Elimination) -> FloatArray:
        """Return the variance factor of every contrast, C x b; NaN where not estimable."""
        design, share = self.design, system.share
        variance = np.full((len(design.treated), share.shape[1]), np.nan)
        rows = design.estimable
        if not rows.size:
            return variance
        own = self._cells_of_condition @ (share**2 * system.inverse[design.cell_plate, design.cell_plate])
        own += 2.0 * (self._pairs_of_condition @ self._pair_terms(system))
        cross = np.empty_like(share)
        for control in np.unique(design.control[rows]):
            cells = np.flatnonzero(design.cell_condition == control)
            toward = np.einsum("pqb,qb->pb", system.inverse[:, design.cell_plate[cells]], share[cells])
            compared = np.zeros(design.n_conditions, dtype=bool)
            compared[rows[design.control[rows] == control]] = True
            of_compared = np.flatnonzero(compared[design.cell_condition])
            cross[of_compared] = share[of_compared] * toward[design.cell_plate[of_compared]]
        between = self._cells_of_condition[rows] @ cross
        control = design.control[rows]
        weight = system.condition_weight
        through_plates = np.maximum(own[rows] + own[control] - 2.0 * between, 0.0)
        variance[rows] = 1.0 / weight[rows] + 1.0 / weight[control] + through_plates
        return variance

    def _pair_terms(self, system: _Elimination) -> FloatArray:
        """Return share x share x V for every pair of cells of one condition."""
        plates = self.design.cell_plate
        terms = system.inverse[plates[self._first], plates[self._second]]
        terms *= system.share[self._first]
        terms *= system.share[self._second]
        return terms

    @cached_property
    def _pairs_of_condition(self) -> sparse.csr_array:
        return _indicator(self.design.cell_condition[self._first], self.design.n_conditions)


def _indicator(group: IntArray, n_groups: int) -> sparse.csr_array:
    """Return the n_groups x len(group) matrix of ones that sums rows of a matrix by group."""
    members = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])
    return sparse.csr_array((np.ones(len(group)), members, starts), shape=(n_groups, len(group)))


def _pairs_within(group: IntArray) -> tuple[IntArray, IntArray]:
    """Return all pairs i < j of equal entries of a sorted array.

    >>> [index.tolist() for index in _pairs_within(np.array([0, 0, 0, 1, 2, 2]))]
    [[0, 0, 1, 4], [1, 2, 2, 5]]
    """
    end = np.searchsorted(group, group, side="right")
    later = end - np.arange(len(group)) - 1
    first = np.repeat(np.arange(len(group)), later)
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later)
    return first, first + 1 + step


def _plate_pair(one: IntArray, other: IntArray, n_plates: int) -> IntArray:
    """Return one number per unordered pair of plates."""
    return np.minimum(one, other) * n_plates + np.maximum(one, other)


def _free_plates(design: Design) -> IntArray:
    """Return all plates but the largest of each component, which is the reference."""
    size = np.bincount(design.plate, minlength=design.n_plates)
    order = np.lexsort((-size, design.plate_component))
    is_reference = np.ones(design.n_plates, dtype=bool)
    is_reference[1:] = np.diff(design.plate_component[order]) != 0
    return np.sort(order[~is_reference])
