"""Least squares of one design for many genes, in tiles of genes, without the samples x coefficients matrix.

Belongs here: coefficients, residual variances and the variance factors of what is wanted, unweighted and with
voom weights. Does not belong here: the algebra of the reduced system (:mod:`etl.effects.normal_equations`),
which contrasts make sense, and moderation.

What is wanted are *comparisons*: a treated condition against a control (its effect), or, if replicates are
separate, the level of a control at the site of a treated sample, from which the sample's own value is then
subtracted. Both are linear in the coefficients, with variance factors

    exact   var(treated - control)
    limma   s_t^2 + s_k^2 - 2 rho s_t s_k

The second is what ``limma::contrasts.fit`` reports of a weighted fit: the standard deviations s of the two
coefficients of ``~ 0 + condition + plate`` are the gene's own, their correlation rho is that of the
unweighted fit (Smyth 2004 gives the exact form; limma's documentation states the approximation). It depends
on which plate comes first. Without weights both are equal.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray, IntArray
from etl.effects.expression_tiles import Tiles
from etl.effects.normal_equations import (
    UNRELATED,
    NormalEquations,
    accumulate,
    fit_gene,
    invert,
    site_level,
    site_product,
    solve,
    solve_cells,
)
from etl.effects.voom import PrecisionCurve, precision

StandardError = Literal["exact", "limma"]
NOTHING = np.zeros(0, dtype=np.int64)
TILE_VALUES = 250_000
"""Values of one tile: 2 MB, which stays in the cache while its genes are fitted."""


class Comparisons(NamedTuple):
    """What a fit is asked for, as flat arrays; an entry is a comparison."""

    condition: IntArray
    """Treated condition of each comparison; -1 for the level of the control at a site."""
    site: IntArray
    """Site of each comparison whose condition is -1."""
    control: IntArray
    """Control condition of each."""
    base: IntArray
    """Base of each: distinct vectors g that variances are measured from."""
    base_control: IntArray
    """Control of each base."""
    base_vector: FloatArray
    """Reference of each base, bases x kept columns; of the limma form."""
    is_limma: bool
    """Whether variances have the limma form, measured from reference levels."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Least squares results of G genes; arrays are gene-major, so that threads write apart."""

    difference: np.ndarray
    """Treated minus control, or the level of the control at the site; G x comparisons."""
    variance: np.ndarray
    """Variance factor at sigma = 1, G x comparisons; 1 x comparisons without weights."""
    control_variance: np.ndarray
    """Second variance of the limma form, s_k^2, G x comparisons; empty for exact variances."""
    mean: FloatArray
    """Mean of the values over samples, G."""
    residual_sum_of_squares: FloatArray
    """Weighted residual sum of squares, G."""


class LinearModel:
    """One reduced design and the comparisons wanted of it.

    Args:
        equations: the reduced system.
        condition: treated condition of each comparison, or -1 for the level of its control at ``site``.
        site: site of each comparison whose condition is -1; ignored otherwise.
        control: control condition of each comparison.
        standard_error: form of the variances of weighted fits.
        has_first_plate: whether the plate that sorts first holds the first plate of the whole study, which
            matters to the limma form where some samples are left out.
        n_threads: threads over genes.
    """

    def __init__(
        self,
        equations: NormalEquations,
        *,
        condition: IntArray = NOTHING,
        site: IntArray = NOTHING,
        control: IntArray = NOTHING,
        standard_error: StandardError = "exact",
        has_first_plate: bool = True,
        n_threads: int = 1,
    ) -> None:
        self.equations = equations
        self.is_limma = standard_error == "limma"
        self.n_threads = n_threads
        base_control, base = np.unique(control, return_inverse=True)
        base_vector = np.zeros((len(base_control), len(equations.kept)))
        if self.is_limma:
            base_vector = _reference_vectors(equations, base_control, has_first_plate)
        self.comparisons = Comparisons(
            condition=condition.astype(np.int64),
            site=site.astype(np.int64),
            control=control.astype(np.int64),
            base=base.astype(np.int64),
            base_control=base_control.astype(np.int64),
            base_vector=base_vector,
            is_limma=self.is_limma,
        )

    @property
    def n_comparisons(self) -> int:
        """Comparisons that a fit returns."""
        return len(self.comparisons.control)

    @cached_property
    def _unweighted(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Variance parts at equal weights: of the treated (or all of it), the control, their covariance."""
        parts = tuple(np.empty(self.n_comparisons) for _ in range(3))
        layout = self.equations.layout
        size = np.diff(layout.cell_start).astype(np.float64)
        _variances(size, self.equations.inverse, layout, self.comparisons, *parts)
        return parts  # type: ignore[return-value]

    @property
    def variance_parts(self) -> tuple[FloatArray, FloatArray]:
        """Variance factors s_t^2 and s_k^2 of the two coefficients of each comparison at equal weights."""
        return self._unweighted[:2]

    @cached_property
    def correlation(self) -> FloatArray:
        """Correlation of the two coefficients of each comparison at equal weights; for the limma form.

        A treated sample that is subtracted from a level has a variance of its own, 1 at equal weights.
        """
        treated, control, covariance = self._unweighted
        own = np.where(self.comparisons.condition < 0, 1.0, 0.0)
        return covariance / np.sqrt((own + treated) * control)

    def fit(self, tiles: Tiles, *, dtype: npt.DTypeLike = np.float64) -> Fitted:
        """Return the unweighted fit; ``tiles`` give values in the order of ``equations.order``."""
        n_genes, n = tiles.n_genes, self.n_comparisons
        difference = np.empty((n_genes, n), dtype=dtype)
        mean, rss = np.empty(n_genes), np.empty(n_genes)
        layout, inverse, wanted = self.equations.layout, self.equations.inverse, self.comparisons

        def fit_tile(genes: slice) -> None:
            _fit_tile(tiles.tile(genes), inverse, layout, wanted, difference[genes], mean[genes], rss[genes])

        over_genes(fit_tile, n_genes, len(self.equations.order), self.n_threads)
        treated, control, covariance = self._unweighted
        variance = treated + control - 2.0 * covariance
        return Fitted(difference, variance[None, :], np.empty((0, n)), mean, rss)

    def fit_with_precision(
        self,
        tiles: Tiles,
        library_shift: FloatArray,
        curve: PrecisionCurve,
        *,
        dtype: npt.DTypeLike = np.float64,
    ) -> Fitted:
        """Return the fit weighted by the precision of each value at its unweighted fitted value.

        Args:
            tiles: log counts per million in the order of ``equations.order``.
            library_shift: what turns log counts per million into log counts, N, in that order.
            curve: precision at a log count.
            dtype: of differences and variances.
        """
        n_genes, n = tiles.n_genes, self.n_comparisons
        difference = np.empty((n_genes, n), dtype=dtype)
        variance = np.empty((n_genes, n), dtype=dtype)
        control_variance = np.empty((n_genes if self.is_limma else 0, n), dtype=dtype)
        mean, rss = np.empty(n_genes), np.empty(n_genes)
        layout, inverse, wanted = self.equations.layout, self.equations.inverse, self.comparisons

        def fit_tile(genes: slice) -> None:
            _fit_tile_with_precision(
                tiles.tile(genes),
                library_shift,
                curve,
                inverse,
                layout,
                wanted,
                difference[genes],
                variance[genes],
                control_variance[genes],
                mean[genes],
                rss[genes],
            )

        over_genes(fit_tile, n_genes, len(self.equations.order), self.n_threads)
        return Fitted(difference, variance, control_variance, mean, rss)


def over_genes(run: Callable[[slice], None], n_genes: int, n_samples: int, n_threads: int) -> None:
    """Run a function on tiles of genes that cover the axis, in threads where there are several."""
    length = max(1, min(64, TILE_VALUES // max(n_samples, 1)))
    tiles = [slice(start, min(start + length, n_genes)) for start in range(0, n_genes, length)]
    if n_threads <= 1 or len(tiles) < 2:
        for tile in tiles:
            run(tile)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(run, tiles):
            pass


def _reference_vectors(equations: NormalEquations, controls: IntArray, has_first_plate: bool) -> FloatArray:
    """Return what R's coefficient of each control adds to ours: weights of kept columns, controls x columns.

    R leaves the first level of every term out of the design matrix (treatment contrasts), and its QR drops
    every column that follows from those before it; these stand at zero. Ours has other columns at zero. Two
    solutions differ by a vector of the null space, which the columns that R has at zero determine.
    """
    design = equations.design
    null = equations.null_space()
    of_conditions, of_columns = null[: design.n_conditions], null[design.n_conditions :]
    first = [np.flatnonzero(design.column_term == term)[0] for term in range(design.n_terms)]
    first = first if has_first_plate else first[1:]
    at_zero: list[int] = []
    for column in [*first, *np.flatnonzero(design.column_occupied)[::-1].tolist()]:
        wider = [*at_zero, column]
        if np.linalg.matrix_rank(of_columns[wider], tol=UNRELATED) == len(wider):
            at_zero = wider
        if len(at_zero) == null.shape[1]:
            break
    weights = np.linalg.solve(of_columns[at_zero].T, of_conditions[controls].T).T
    vector = np.zeros((len(controls), design.n_columns))
    vector[:, at_zero] = -weights
    return vector[:, equations.kept]


@njit(cache=True, nogil=True, error_model="numpy")
def _base_vectors(cell_weight, inverse, layout, wanted, vector, product, square):  # type: ignore[no-untyped-def]
    """Write g (bases x kept columns), V g and g' V g of every base."""
    for b in range(len(wanted.base_control)):
        vector[b, :] = 0.0
        if wanted.is_limma:
            vector[b, :] = wanted.base_vector[b]
        elif not layout.is_pinned[wanted.base_control[b]]:
            control = wanted.base_control[b]
            low, high = layout.condition_start[control], layout.condition_start[control + 1]
            total = 0.0
            for cell in range(low, high):
                total += cell_weight[cell]
            for cell in range(low, high):
                for term in range(layout.site_columns.shape[1]):
                    column = layout.site_columns[layout.cell_site[cell], term]
                    if column >= 0:
                        vector[b, column] += cell_weight[cell] / total
        solve(inverse, vector[b], layout, product[b])
        square[b] = 0.0
        for column in range(vector.shape[1]):
            square[b] += vector[b, column] * product[b, column]


@njit(cache=True, nogil=True, error_model="numpy")
def _own_terms(condition, cell_weight, inverse, layout, product):  # type: ignore[no-untyped-def]
    """Return 1 / W_c, m' V m and m' (V g) of a condition."""
    low, high = layout.condition_start[condition], layout.condition_start[condition + 1]
    total = 0.0
    for cell in range(low, high):
        total += cell_weight[cell]
    quadratic = 0.0
    toward = 0.0
    is_single = len(layout.cell_column) > 0
    for one in range(low, high):
        weight = cell_weight[one]
        between = 0.0
        if is_single:
            column = layout.cell_column[one]
            row = layout.column_row[column]
            own = inverse[row + column]
            for other in range(low, one):
                between += cell_weight[other] * inverse[row + layout.cell_column[other]]
            toward += weight * product[column]
        else:
            site = layout.cell_site[one]
            own = site_product(site, site, inverse, layout)
            for other in range(low, one):
                between += cell_weight[other] * site_product(site, layout.cell_site[other], inverse, layout)
            toward += weight * site_level(site, product, layout)
        quadratic += weight * (weight * own + 2.0 * between)
    inverse_total = 1.0 / total
    return inverse_total, quadratic * inverse_total * inverse_total, toward * inverse_total


@njit(cache=True, nogil=True, error_model="numpy")
def _variances(cell_weight, inverse, layout, wanted, treated, control, covariance):  # type: ignore[no-untyped-def]
    """Write variance parts of all comparisons: exact ones whole into ``treated``, else s_t^2 and s_k^2."""
    if len(layout.cell_column) and _are_simple(wanted, layout):
        _plate_variances(cell_weight, inverse, layout, wanted, treated)
        control[:] = 0.0
        covariance[:] = 0.0
        return
    n_bases, n_columns = len(wanted.base_control), len(layout.column_block)
    vector, product = np.empty((n_bases, n_columns)), np.empty((n_bases, n_columns))
    square = np.empty(n_bases)
    _base_vectors(cell_weight, inverse, layout, wanted, vector, product, square)
    base_variance = np.zeros(n_bases)  # of the control's coefficient
    base_weight = np.zeros(n_bases)  # 1 / W_k, where the control is not pinned
    base_between = np.empty((n_bases, n_columns))  # V m_k, for covariances
    mean = np.empty(n_columns)
    for b in range(n_bases):
        k = wanted.base_control[b]
        base_between[b, :] = 0.0
        if layout.is_pinned[k]:
            base_variance[b] = square[b]
            continue
        own, quadratic, toward = _own_terms(k, cell_weight, inverse, layout, product[b])
        base_weight[b] = own
        base_variance[b] = own + quadratic - 2.0 * toward + square[b]
        if wanted.is_limma:
            mean[:] = 0.0
            low, high = layout.condition_start[k], layout.condition_start[k + 1]
            for cell in range(low, high):
                for term in range(layout.site_columns.shape[1]):
                    column = layout.site_columns[layout.cell_site[cell], term]
                    if column >= 0:
                        mean[column] += cell_weight[cell] * own
            solve(inverse, mean, layout, base_between[b])
    for i in range(len(wanted.control)):
        b = wanted.base[i]
        if wanted.condition[i] >= 0:
            own, quadratic, toward = _own_terms(wanted.condition[i], cell_weight, inverse, layout, product[b])
        else:
            own = 0.0
            quadratic = site_product(wanted.site[i], wanted.site[i], inverse, layout)
            toward = site_level(wanted.site[i], product[b], layout)
        through_columns = max(quadratic - 2.0 * toward + square[b], 0.0)
        if wanted.is_limma:
            treated[i] = own + through_columns
            control[i] = base_variance[b]
            between = 0.0
            if not layout.is_pinned[wanted.control[i]]:
                if wanted.condition[i] >= 0:
                    _, _, between = _own_terms(
                        wanted.condition[i], cell_weight, inverse, layout, base_between[b]
                    )
                else:
                    between = site_level(wanted.site[i], base_between[b], layout)
                own_toward = 0.0
                for column in range(n_columns):
                    own_toward += vector[b, column] * base_between[b, column]
                between -= own_toward
            covariance[i] = between - toward + square[b]
        else:
            treated[i] = own + base_weight[b] + through_columns
            control[i] = 0.0
            covariance[i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _are_simple(wanted, layout):  # type: ignore[no-untyped-def]
    """Say whether all variances are measured from zero: exact ones against pinned controls."""
    for b in range(len(wanted.base_control)):
        if wanted.is_limma or not layout.is_pinned[wanted.base_control[b]]:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _plate_variances(cell_weight, inverse, layout, wanted, variance):  # type: ignore[no-untyped-def]
    """Write 1 / W_t + m_t' V m_t of every comparison where the plate is the only term."""
    column, row = layout.cell_column, layout.column_row
    for i in range(len(wanted.control)):
        if wanted.condition[i] < 0:
            p = layout.site_columns[wanted.site[i], 0]
            variance[i] = inverse[row[p] + p]
            continue
        low = layout.condition_start[wanted.condition[i]]
        high = layout.condition_start[wanted.condition[i] + 1]
        total, quadratic = 0.0, 0.0
        for one in range(low, high):
            p, weight = column[one], cell_weight[one]
            total += weight
            between = 0.0
            for other in range(low, one):
                between += cell_weight[other] * inverse[row[p] + column[other]]
            quadratic += weight * (weight * inverse[row[p] + p] + 2.0 * between)
        own = 1.0 / total
        variance[i] = own + quadratic * own * own


@njit(cache=True, nogil=True, error_model="numpy")
def _differences(condition, level, layout, wanted, shift, difference):  # type: ignore[no-untyped-def]
    """Write what the coefficients say of every comparison; levels get the shift back that centring took."""
    for i in range(len(wanted.control)):
        if wanted.condition[i] >= 0:
            difference[i] = condition[wanted.condition[i]] - condition[wanted.control[i]]
        else:
            difference[i] = shift + condition[wanted.control[i]] + site_level(wanted.site[i], level, layout)


@njit(cache=True, nogil=True, error_model="numpy")
def _centre(y):  # type: ignore[no-untyped-def]
    """Subtract the mean from values in place and return it; equal values become exactly zero."""
    first, total = y[0], 0.0
    for i in range(len(y)):
        y[i] -= first
        total += y[i]
    mean = total / len(y)
    for i in range(len(y)):
        y[i] -= mean
    return first + mean


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_tile(tile, inverse, layout, wanted, difference, mean, residual):  # type: ignore[no-untyped-def]
    """Fit the genes of a tile (genes x N) without weights."""
    condition, level = np.empty(len(layout.is_pinned)), np.empty(len(layout.column_block))
    of_cell = np.empty(len(layout.cell_site))
    for gene in range(tile.shape[0]):
        y = tile[gene]
        mean[gene] = _centre(y)
        residual[gene] = fit_gene(y, inverse, layout, condition, level, of_cell)
        _differences(condition, level, layout, wanted, mean[gene], difference[gene])


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_tile_with_precision(  # type: ignore[no-untyped-def]
    tile,
    library_shift,
    curve,
    inverse,
    layout,
    wanted,
    difference,
    variance,
    control_variance,
    mean,
    residual,
):
    """Fit the genes of a tile without weights, then with the precision expected at the fitted values."""
    n_cells = len(layout.cell_site)
    condition, level = np.empty(len(layout.is_pinned)), np.empty(len(layout.column_block))
    weight, cell_weight, cell_sum = np.empty(tile.shape[1]), np.empty(n_cells), np.empty(n_cells)
    of_cell, system = np.empty(n_cells), np.empty(len(inverse))
    treated, control = np.empty(len(wanted.control)), np.empty(len(wanted.control))
    covariance = np.empty(len(wanted.control))
    for gene in range(tile.shape[0]):
        y = tile[gene]
        mean[gene] = _centre(y)
        fit_gene(y, inverse, layout, condition, level, of_cell)
        # Only ratios of weights enter the solve; a common scale keeps them near one whatever their unit.
        total = 0.0
        for cell in range(n_cells):
            fitted = mean[gene] + of_cell[cell]
            for i in range(layout.cell_start[cell], layout.cell_start[cell + 1]):
                weight[i] = precision(fitted + library_shift[i], curve)
                total += weight[i]
        scale = total / len(weight)
        to_one = 1.0 / scale
        for cell in range(n_cells):
            w_sum, wy_sum = 0.0, 0.0
            for i in range(layout.cell_start[cell], layout.cell_start[cell + 1]):
                weight[i] *= to_one
                w_sum += weight[i]
                wy_sum += weight[i] * y[i]
            cell_weight[cell] = w_sum
            cell_sum[cell] = wy_sum
        accumulate(cell_weight, layout, system)
        invert(system, layout)
        solve_cells(cell_weight, cell_sum, system, layout, condition, level, of_cell)
        rss = 0.0
        for c in range(len(condition)):
            effect = condition[c]
            for cell in range(layout.condition_start[c], layout.condition_start[c + 1]):
                fitted = effect + of_cell[cell]
                for i in range(layout.cell_start[cell], layout.cell_start[cell + 1]):
                    rss += weight[i] * (y[i] - fitted) ** 2
        residual[gene] = rss * scale
        _differences(condition, level, layout, wanted, mean[gene], difference[gene])
        _variances(cell_weight, system, layout, wanted, treated, control, covariance)
        for i in range(len(treated)):
            variance[gene, i] = treated[i] * to_one
        if len(control_variance):
            for i in range(len(control)):
                control_variance[gene, i] = control[i] * to_one


def combined_variance(treated: np.ndarray, control: np.ndarray, correlation: FloatArray) -> np.ndarray:
    """Return s_t^2 + s_k^2 - 2 rho s_t s_k, limma's variance of a contrast of a weighted fit."""
    return treated + control - 2.0 * correlation * np.sqrt(treated * control)
