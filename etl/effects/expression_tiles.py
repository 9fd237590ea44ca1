"""Expression of a few genes at a time, gene-major, on the scale that is fitted.

Belongs here: cutting tiles out of dense values or out of counts, and counts to log counts per million.
Does not belong here: what is done with a tile.
"""

from typing import Protocol

import numpy as np
from numba import njit

from etl.arrays import FloatArray, IntArray
from etl.effects.voom import LOG2_MILLION
from etl.expression.counts import GeneMajorCounts

VOOM_PRIOR = 0.5
"""Added to every count before the logarithm (Law et al. 2014)."""
TABLE_LENGTH = 4096
"""Counts whose logarithm is looked up; larger ones are rare."""


class Tiles(Protocol):
    """Values by gene."""

    n_genes: int

    def tile(self, genes: slice) -> FloatArray:
        """Return a fresh genes x samples array, samples in the order of the fit."""
        ...


class DenseTiles:
    """Tiles of a dense samples x genes matrix.

    Args:
        values: N x G.
        order: rows in the order of the fit.
    """

    def __init__(self, values: np.ndarray, order: IntArray) -> None:
        self.n_genes = values.shape[1]
        self._values, self._order = values, order

    def tile(self, genes: slice) -> FloatArray:
        """Return a fresh genes x samples array."""
        return self._values[self._order, genes].T.astype(np.float64, order="C")


class CountTiles:
    """Tiles of log2((count + prior) / (library + 2 prior) * 1e6).

    With a prior of 0.5 that is the expression value of voom (Law et al. 2014).

    Args:
        counts: counts of the tested genes.
        order: samples in the order of the fit.
        effective_library: library size times normalization factor, N, in the order of the counts.
        prior: added to each count, N; None for voom's 0.5.
    """

    def __init__(
        self,
        counts: GeneMajorCounts,
        order: IntArray,
        effective_library: FloatArray,
        prior: FloatArray | None = None,
    ) -> None:
        self.n_genes = len(counts.indptr) - 1
        self._counts = counts
        self._position = np.empty(len(order), dtype=np.int64)
        self._position[order] = np.arange(len(order))
        given = np.full(len(order), VOOM_PRIOR) if prior is None else prior
        self._prior = given[order]
        self._shift = LOG2_MILLION - np.log2(effective_library[order] + 2.0 * self._prior)
        self._zero = np.log2(self._prior) + self._shift
        n_table = TABLE_LENGTH if prior is None else 0
        self._table = np.log2(np.arange(n_table) + VOOM_PRIOR)

    def tile(self, genes: slice) -> FloatArray:
        """Return a fresh genes x samples array."""
        tile = np.empty((genes.stop - genes.start, len(self._position)))
        _fill(
            self._counts.indptr[genes.start : genes.stop + 1],
            self._counts.sample,
            self._counts.count,
            self._position,
            self._prior,
            self._shift,
            self._zero,
            self._table,
            tile,
        )
        return tile


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(indptr, sample, count, position, prior, shift, zero, table, tile):  # type: ignore[no-untyped-def]
    """Write log counts of the genes between ``indptr`` into a tile."""
    for gene in range(tile.shape[0]):
        row = tile[gene]
        row[:] = zero
        for entry in range(indptr[gene], indptr[gene + 1]):
            at = position[sample[entry]]
            value = count[entry]
            if value < len(table):
                row[at] = table[value] + shift[at]
            else:
                row[at] = np.log2(value + prior[at]) + shift[at]
