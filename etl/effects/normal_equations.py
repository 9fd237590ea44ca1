"""Normal equations of ``~ 0 + condition + plate (+ further terms)``, reduced to small blocks of columns.

Belongs here: the elimination of conditions, the blocks it leaves, their inverse, and what it tells about rank
and estimability. Does not belong here: expression values, and which contrasts are wanted.

Notation: w are sample weights, W_c their sum over a condition, z_s the 0/1 vector of the Q columns (levels of
plate and further terms) of a site, m_c the weighted mean of z over the samples of a condition.

The condition block of the normal equations is diagonal, so conditions are eliminated first. One condition per
connected component, a control where there is one, is *pinned* at zero instead: the columns then stand for
its level on each plate. What is left for the columns is

    B = sum over pinned conditions of sum_i w_i z_i z_i'
      + sum over the others of sum_(i < j) (w_i w_j / W_c) (z_i - z_j) (z_i - z_j)'

which needs no subtraction of large numbers, and falls into blocks: plates that no eliminated condition links
do not meet. With controls on every plate and replicates of a treatment on a few plates, blocks have a few
columns however many plates there are; if every treated sample is a condition of its own, blocks are single
plates and the solution is the difference from the plate's control mean. With V = B^-1:

    b = V r,   r = sum_i w_i z_i (y_i - weighted mean of its condition; 0 for pinned ones)
    a_c = weighted mean of c - m_c' b          (0 for pinned ones)
    var(a_t - a_k) / sigma^2 = 1/W_t + (m_t - g)' V (m_t - g) + (1/W_k, unless k is pinned)

with g = 0 if k is pinned and m_k if not.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from etl.arrays import FloatArray, IntArray
from etl.effects.design import Design

DEPENDENT = 1e-9
"""Share of a column that may be left after the columns before it are removed for it to count as dependent."""
UNRELATED = 1e-7
"""Largest coefficient of a dependent column in a contrast that is not touched by it; rounding stays below."""
LOOP_UP_TO = 24
"""Block size up to which plain loops beat a call of LAPACK."""


class Layout(NamedTuple):
    """The design as flat arrays, for compiled loops over samples in the order of their cells."""

    cell_start: IntArray
    """First sample of each cell, E + 1."""
    condition_start: IntArray
    """First cell of each condition, K + 1."""
    cell_site: IntArray
    """Site of each cell, E."""
    is_pinned: npt.NDArray[np.bool_]
    """Conditions that are not eliminated, K."""
    site_columns: IntArray
    """Kept columns of each site, S x terms; -1 where the column is not in the model."""
    column_block: IntArray
    """Block of each kept column; the columns of a block are neighbours."""
    block_start: IntArray
    """First kept column of each block, blocks + 1."""
    block_offset: IntArray
    """Where each block begins in a flat array of squares; the last entry is their total size."""
    column_row: IntArray
    """What to add to a kept column of the same block to find entry (row, column) in that flat array."""
    cell_column: IntArray
    """Kept column of each cell where the plate is the only term; empty otherwise."""


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """The unweighted system of a design and what follows from it."""

    design: Design
    order: IntArray
    """Samples in the order of their cells, N."""
    layout: Layout
    inverse: FloatArray
    """V, block by block, flat."""
    kept: IntArray
    """Columns of the design that are in the model; the kept columns of the layout in their order."""
    dependent: IntArray
    """Columns of the design that follow from the others and stand at zero."""
    rank: int
    """Rank of the design matrix."""

    @property
    def residual_df(self) -> int:
        """Samples minus rank."""
        return self.design.n_samples - self.rank

    def leverages(self) -> FloatArray:
        """Return the diagonal of the hat matrix, N, in the order of the samples of the design."""
        size = self.design.cell_size.astype(np.float64)
        of_cell = _cell_leverages(size, self.inverse, self.layout)
        return np.clip(of_cell, 0.0, 1.0)[self.design.cell]

    def are_linked(self, site: IntArray, condition: IntArray) -> npt.NDArray[np.bool_]:
        """Say of (site, condition) pairs whether the condition's level at the site can be estimated."""
        design = self.design
        columns = design.site_columns[site]
        linked = (design.column_component[columns] == design.condition_component[condition, None]).all(axis=1)
        in_model = np.zeros(design.n_columns, dtype=bool)
        in_model[self.kept] = True
        for column in self.dependent:
            means, levels = self._fit_column(column)
            at_site = np.where(in_model[columns], levels[columns], 0.0).sum(axis=1)
            excess = (columns == column).any(axis=1) - (means[condition] + at_site)
            linked &= np.abs(excess) < UNRELATED
        empty = ~in_model
        empty[self.dependent] = False
        return linked & ~empty[columns].any(axis=1)

    def are_comparable(self, condition: IntArray, other: IntArray) -> npt.NDArray[np.bool_]:
        """Say of pairs of conditions whether their difference can be estimated."""
        component = self.design.condition_component
        comparable = component[condition] == component[other]
        for column in self.dependent:
            means, _ = self._fit_column(column)
            comparable &= np.abs(means[condition] - means[other]) < UNRELATED
        return comparable

    def null_space(self) -> FloatArray:
        """Return vectors that span what the design cannot tell, (conditions + columns) x their number.

        One per connected component (a constant moves from its plates to its conditions), and one per
        dependent column.
        """
        design = self.design
        used = np.unique(design.condition_component[np.unique(design.cell_condition)])
        null = np.zeros((design.n_conditions + design.n_columns, len(used) + len(self.dependent)))
        is_plate = design.column_term == 0
        for number, component in enumerate(used):
            null[: design.n_conditions, number] = design.condition_component == component
            null[design.n_conditions :, number] = -1.0 * (is_plate & (design.column_component == component))
        for number, column in enumerate(self.dependent, start=len(used)):
            means, levels = self._fit_column(column)
            null[: design.n_conditions, number] = -means
            null[design.n_conditions :, number] = -levels
            null[design.n_conditions + column, number] = 1.0
        return null

    def _fit_column(self, column: int) -> tuple[FloatArray, FloatArray]:
        """Return condition effects and column levels (of all columns) that reproduce a dependent column."""
        design = self.design
        y = (design.site_columns[design.site] == column).any(axis=1).astype(np.float64)[self.order]
        condition = np.empty(design.n_conditions)
        level = np.zeros(design.n_columns)
        of_kept = np.empty(len(self.kept))
        fit_gene(y, self.inverse, self.layout, condition, of_kept, np.empty(len(design.cell_site)))
        level[self.kept] = of_kept
        return condition, level


def reduce(design: Design) -> NormalEquations:
    """Return the reduced, unweighted normal equations of a design."""
    order = np.argsort(design.cell, kind="stable").astype(np.int64)
    is_pinned = _pinned(design)
    used = np.unique(design.site_columns[design.cell_site])
    layout, used = _layout(design, is_pinned, used)
    size = design.cell_size.astype(np.float64)
    system = np.empty(layout.block_offset[-1])
    accumulate(size, layout, system)
    dependent = np.zeros(0, dtype=np.int64)
    if design.n_terms > 1:
        is_dependent = _dependent_columns(system, layout)
        dependent = used[is_dependent]
        layout, used = _layout(design, is_pinned, np.sort(used[~is_dependent]))
        system = np.empty(layout.block_offset[-1])
        accumulate(size, layout, system)
    invert(system, layout)
    n_occupied = len(np.unique(design.cell_condition))
    return NormalEquations(
        design=design,
        order=order,
        layout=layout,
        inverse=system,
        kept=used,
        dependent=dependent,
        rank=n_occupied - int(np.count_nonzero(is_pinned)) + len(used),
    )


def _pinned(design: Design) -> npt.NDArray[np.bool_]:
    """Return True for one condition per component: its largest control, else its largest condition."""
    size = design.condition_size
    is_control = np.arange(design.n_conditions) >= design.n_treated
    rank = np.lexsort((-size, ~is_control, design.condition_component))
    component = design.condition_component[rank]
    is_first = np.ones(len(rank), dtype=bool)
    is_first[1:] = component[1:] != component[:-1]
    pinned = np.zeros(design.n_conditions, dtype=bool)
    pinned[rank[is_first]] = True
    return pinned & (size > 0)


def _layout(design: Design, is_pinned: npt.NDArray[np.bool_], used: IntArray) -> tuple[Layout, IntArray]:
    """Return the layout whose model holds the used columns, and these columns in its order.

    That is block after block; within a block columns keep their order: plates before further terms.
    """
    number = np.full(design.n_columns, -1, dtype=np.int64)
    number[used] = np.arange(len(used))
    site_columns = number[design.site_columns]

    # Columns meet through eliminated conditions, and through sites where there are several terms.
    cells = np.flatnonzero(~is_pinned[design.cell_condition])
    cell_columns = site_columns[design.cell_site[cells]]
    left = np.repeat(design.cell_condition[cells], design.n_terms) + len(used)
    right = cell_columns.ravel()
    if design.n_terms > 1:
        first = np.repeat(site_columns[:, 0], design.n_terms - 1)
        others = site_columns[:, 1:].ravel()
        left, right = np.concatenate([left, first]), np.concatenate([right, others])
    known = (left >= 0) & (right >= 0)
    n_nodes = len(used) + design.n_conditions
    graph = sparse.coo_array(
        (np.ones(int(known.sum()), dtype=np.int8), (left[known], right[known])), shape=(n_nodes, n_nodes)
    )
    _, component = connected_components(graph.tocsr(), directed=False)
    _, block = np.unique(component[: len(used)], return_inverse=True)
    by_block = np.argsort(block, kind="stable")
    number[used[by_block]] = np.arange(len(used))
    block_size = np.bincount(block).astype(np.int64)
    block_start = np.concatenate([[0], np.cumsum(block_size)]).astype(np.int64)
    block_offset = np.concatenate([[0], np.cumsum(block_size**2)]).astype(np.int64)
    column_block = block[by_block].astype(np.int64)
    start = block_start[column_block]
    column_row = (
        block_offset[column_block] + (np.arange(len(used)) - start) * block_size[column_block] - start
    )
    site_columns = np.ascontiguousarray(number[design.site_columns])
    layout = Layout(
        cell_start=np.concatenate([[0], np.cumsum(design.cell_size)]).astype(np.int64),
        condition_start=np.searchsorted(design.cell_condition, np.arange(design.n_conditions + 1)).astype(
            np.int64
        ),
        cell_site=design.cell_site.astype(np.int64),
        is_pinned=is_pinned,
        site_columns=site_columns,
        column_block=column_block,
        block_start=block_start,
        block_offset=block_offset,
        column_row=column_row,
        cell_column=site_columns[design.cell_site, 0] if design.n_terms == 1 else np.zeros(0, dtype=np.int64),
    )
    return layout, used[by_block]


def _dependent_columns(system: FloatArray, layout: Layout) -> npt.NDArray[np.bool_]:
    """Return True for columns that follow from those before them, by Cholesky factorization in that order."""
    dependent = np.zeros(len(layout.column_block), dtype=bool)
    for start, end, offset in zip(
        layout.block_start[:-1], layout.block_start[1:], layout.block_offset[:-1], strict=True
    ):
        n = end - start
        square = system[offset : offset + n * n].reshape(n, n)
        factor = np.zeros((n, n))
        for j in range(n):
            rest = square[j, j] - factor[j, :j] @ factor[j, :j]
            if rest <= DEPENDENT * square[j, j]:
                dependent[start + j] = True
                continue
            factor[j, j] = np.sqrt(rest)
            factor[j + 1 :, j] = (square[j + 1 :, j] - factor[j + 1 :, :j] @ factor[j, :j]) / factor[j, j]
    return dependent


@njit(cache=True, nogil=True, error_model="numpy")
def accumulate(cell_weight, layout, system):  # type: ignore[no-untyped-def]
    """Write the blocks of B for cell weights (E) into ``system``."""
    system[:] = 0.0
    if len(layout.cell_column):
        _accumulate_plates(cell_weight, layout, system)
        return
    n_terms = layout.site_columns.shape[1]
    columns = np.empty(2 * n_terms, dtype=np.int64)
    signs = np.empty(2 * n_terms)
    for condition in range(len(layout.is_pinned)):
        low, high = layout.condition_start[condition], layout.condition_start[condition + 1]
        if layout.is_pinned[condition]:
            for cell in range(low, high):
                n = 0
                for term in range(n_terms):
                    column = layout.site_columns[layout.cell_site[cell], term]
                    if column >= 0:
                        columns[n], signs[n] = column, 1.0
                        n += 1
                _add_outer(columns, signs, n, cell_weight[cell], layout, system)
        elif high - low > 1:
            total = 0.0
            for cell in range(low, high):
                total += cell_weight[cell]
            for one in range(low, high):
                for other in range(one + 1, high):
                    n = 0
                    for term in range(n_terms):
                        mine = layout.site_columns[layout.cell_site[one], term]
                        its = layout.site_columns[layout.cell_site[other], term]
                        if mine == its:
                            continue
                        if mine >= 0:
                            columns[n], signs[n] = mine, 1.0
                            n += 1
                        if its >= 0:
                            columns[n], signs[n] = its, -1.0
                            n += 1
                    share = cell_weight[one] * cell_weight[other] / total
                    _add_outer(columns, signs, n, share, layout, system)


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate_plates(cell_weight, layout, system):  # type: ignore[no-untyped-def]
    """Add what :func:`accumulate` adds where the plate is the only term: one column per cell.

    Links between plates are summed above the diagonal first; they make the rest of their block.
    """
    column, row = layout.cell_column, layout.column_row
    for condition in range(len(layout.is_pinned)):
        low, high = layout.condition_start[condition], layout.condition_start[condition + 1]
        if layout.is_pinned[condition]:
            for cell in range(low, high):
                p = column[cell]
                system[row[p] + p] += cell_weight[cell]
        elif high - low > 1:
            total = 0.0
            for cell in range(low, high):
                total += cell_weight[cell]
            to_share = 1.0 / total
            for one in range(low, high):
                # Cells of a condition ascend by plate, and so do the columns of a block.
                at, share = row[column[one]], cell_weight[one] * to_share
                for other in range(one + 1, high):
                    system[at + column[other]] -= share * cell_weight[other]
    for block in range(len(layout.block_offset) - 1):
        for p in range(layout.block_start[block], layout.block_start[block + 1]):
            for q in range(p + 1, layout.block_start[block + 1]):
                link = system[row[p] + q]
                system[row[q] + p] = link
                system[row[p] + p] -= link
                system[row[q] + q] -= link


@njit(cache=True, nogil=True, error_model="numpy")
def _add_outer(columns, signs, n, weight, layout, system):  # type: ignore[no-untyped-def]
    """Add weight times the outer product of a sparse vector to the block it lies in."""
    for i in range(n):
        row = layout.column_row[columns[i]]
        for j in range(n):
            system[row + columns[j]] += weight * signs[i] * signs[j]


@njit(cache=True, nogil=True, error_model="numpy")
def invert(system, layout):  # type: ignore[no-untyped-def]
    """Replace every block by its inverse; blocks are symmetric and positive definite."""
    for block in range(len(layout.block_offset) - 1):
        n = layout.block_start[block + 1] - layout.block_start[block]
        start = layout.block_offset[block]
        if n == 1:
            system[start] = 1.0 / system[start]
        elif n <= LOOP_UP_TO:
            _invert_small(system[start : start + n * n].reshape(n, n))
        else:
            square = system[start : start + n * n].reshape(n, n)
            square[:, :] = np.linalg.inv(square)


@njit(cache=True, nogil=True, error_model="numpy")
def _invert_small(square):  # type: ignore[no-untyped-def]
    """Invert a symmetric positive definite matrix in place, by its Cholesky factor."""
    n = square.shape[0]
    for j in range(n):
        for i in range(j, n):
            rest = square[i, j]
            for k in range(j):
                rest -= square[i, k] * square[j, k]
            square[i, j] = np.sqrt(rest) if i == j else rest / square[j, j]
    for j in range(n):  # the factor's inverse, in the lower triangle
        square[j, j] = 1.0 / square[j, j]
        for i in range(j + 1, n):
            rest = 0.0
            for k in range(j, i):
                rest -= square[i, k] * square[k, j]
            square[i, j] = rest / square[i, i]
    for i in range(n):
        for j in range(i + 1):
            rest = 0.0
            for k in range(i, n):
                rest += square[k, i] * square[k, j]
            square[j, i] = rest
    for i in range(n):
        for j in range(i):
            square[i, j] = square[j, i]


@njit(cache=True, nogil=True, error_model="numpy")
def solve(inverse, right, layout, solution):  # type: ignore[no-untyped-def]
    """Write V r into ``solution``."""
    for block in range(len(layout.block_offset) - 1):
        start, end = layout.block_start[block], layout.block_start[block + 1]
        row = layout.block_offset[block]
        for i in range(start, end):
            total = 0.0
            for j in range(start, end):
                total += inverse[row + j - start] * right[j]
            solution[i] = total
            row += end - start


@njit(cache=True, nogil=True, error_model="numpy")
def site_level(site, level, layout):  # type: ignore[no-untyped-def]
    """Return the sum of column levels at a site."""
    total = 0.0
    for term in range(layout.site_columns.shape[1]):
        column = layout.site_columns[site, term]
        if column >= 0:
            total += level[column]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def site_product(one, other, inverse, layout):  # type: ignore[no-untyped-def]
    """Return z_s' V z_s' of two sites."""
    total = 0.0
    n_terms = layout.site_columns.shape[1]
    for term in range(n_terms):
        column = layout.site_columns[one, term]
        if column < 0:
            continue
        row = layout.column_row[column]
        for other_term in range(n_terms):
            partner = layout.site_columns[other, other_term]
            if partner >= 0 and layout.column_block[partner] == layout.column_block[column]:
                total += inverse[row + partner]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def cell_levels(level, layout, of_cell):  # type: ignore[no-untyped-def]
    """Write the sum of column levels at every cell."""
    if len(layout.cell_column):
        for cell in range(len(of_cell)):
            of_cell[cell] = level[layout.cell_column[cell]]
    else:
        for cell in range(len(of_cell)):
            of_cell[cell] = site_level(layout.cell_site[cell], level, layout)


@njit(cache=True, nogil=True, error_model="numpy")
def solve_cells(cell_weight, cell_sum, inverse, layout, condition, level, of_cell):  # type: ignore[no-untyped-def]
    """Write condition effects (K), column levels (kept columns) and their sum at every cell (E).

    Cells come with their weights and weighted sums of values.
    """
    right = np.zeros(len(level))
    is_single = len(layout.cell_column) > 0
    for c in range(len(condition)):
        low, high = layout.condition_start[c], layout.condition_start[c + 1]
        mean = 0.0
        if not layout.is_pinned[c]:
            if high - low == 1:
                condition[c] = cell_sum[low] / cell_weight[low]
                continue  # deviations from the own mean add up to nothing
            if high > low:
                weight = 0.0
                for cell in range(low, high):
                    mean += cell_sum[cell]
                    weight += cell_weight[cell]
                mean /= weight
        condition[c] = mean
        for cell in range(low, high):
            deviation = cell_sum[cell] - mean * cell_weight[cell]
            if is_single:
                right[layout.cell_column[cell]] += deviation
            else:
                for term in range(layout.site_columns.shape[1]):
                    column = layout.site_columns[layout.cell_site[cell], term]
                    if column >= 0:
                        right[column] += deviation
    solve(inverse, right, layout, level)
    cell_levels(level, layout, of_cell)
    for c in range(len(condition)):
        low, high = layout.condition_start[c], layout.condition_start[c + 1]
        if layout.is_pinned[c] or high == low:
            continue
        if high - low == 1:
            condition[c] -= of_cell[low]
            continue
        along, weight = 0.0, 0.0
        for cell in range(low, high):
            along += cell_weight[cell] * of_cell[cell]
            weight += cell_weight[cell]
        condition[c] -= along / weight


@njit(cache=True, nogil=True, error_model="numpy")
def fit_gene(y, inverse, layout, condition, level, of_cell):  # type: ignore[no-untyped-def]
    """Fit one gene without weights; return its residual sum of squares.

    Writes condition effects (K), column levels (kept columns) and fitted values of cells (E); ``y`` is in the
    order of the cells.
    """
    n_cells = len(layout.cell_site)
    cell_weight, cell_sum = np.empty(n_cells), np.empty(n_cells)
    for cell in range(n_cells):
        start, end = layout.cell_start[cell], layout.cell_start[cell + 1]
        total = y[start]
        for i in range(start + 1, end):
            total += y[i]
        cell_sum[cell] = total
        cell_weight[cell] = end - start
    solve_cells(cell_weight, cell_sum, inverse, layout, condition, level, of_cell)
    residual = 0.0
    for c in range(len(condition)):
        effect = condition[c]
        for cell in range(layout.condition_start[c], layout.condition_start[c + 1]):
            fitted = effect + of_cell[cell]
            of_cell[cell] = fitted
            for i in range(layout.cell_start[cell], layout.cell_start[cell + 1]):
                residual += (y[i] - fitted) ** 2
    return residual


@njit(cache=True, nogil=True, error_model="numpy")
def _cell_leverages(size, inverse, layout):  # type: ignore[no-untyped-def]
    """Return the leverage of a sample of each cell: the variance of its fitted value."""
    leverage = np.empty(len(size))
    for c in range(len(layout.is_pinned)):
        low, high = layout.condition_start[c], layout.condition_start[c + 1]
        total = float(layout.cell_start[high] - layout.cell_start[low])
        mean_square = 0.0
        if not layout.is_pinned[c] and high - low > 1:
            for one in range(low, high):
                for other in range(low, high):
                    product = site_product(layout.cell_site[one], layout.cell_site[other], inverse, layout)
                    mean_square += size[one] * size[other] * product / total**2
        for cell in range(low, high):
            own = site_product(layout.cell_site[cell], layout.cell_site[cell], inverse, layout)
            if layout.is_pinned[c]:
                leverage[cell] = own
            elif high - low == 1:
                leverage[cell] = 1.0 / total
            else:
                toward = 0.0
                for other in range(low, high):
                    product = site_product(layout.cell_site[cell], layout.cell_site[other], inverse, layout)
                    toward += size[other] * product / total
                leverage[cell] = 1.0 / total + own - 2.0 * toward + mean_square
    return leverage
