"""Blocks of a samples x genes matrix, dense or sparse: how it is read a few genes or samples at a time.

Belongs here: cutting an axis and turning a cut into float64. Does not belong here: what is done with it.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Matrix: TypeAlias = np.ndarray | sparse.csr_array | sparse.csr_matrix | sparse.csc_array | sparse.csc_matrix

BLOCK_VALUES = 1_000_000
"""Values of one working array: 8 MB as float64, so the dozen arrays of a block stay near 100 MB."""


SHORTEST, LONGEST = 8, 1024
"""Bounds of a block's length: short blocks waste calls, long ones gain nothing."""


def block_length(width: int) -> int:
    """Return how many genes (or samples) a block may hold whose widest array has this many entries for each.

    >>> block_length(1000), block_length(10), block_length(10**9)
    (1000, 1024, 8)
    """
    return min(LONGEST, max(SHORTEST, BLOCK_VALUES // max(width, 1)))


def slices(n: int, length: int) -> Iterator[slice]:
    """Yield consecutive slices that cover an axis of n entries.

    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n, length):
        yield slice(start, min(start + length, n))


def by_gene(values: Matrix) -> Matrix:
    """Return the matrix in a layout whose columns are cheap to cut: sparse as CSC, dense as it is."""
    return values if isinstance(values, np.ndarray) else values.tocsc()


def dense_genes(values: Matrix, genes: slice) -> FloatArray:
    """Return a float64 copy of some columns, safe to change in place."""
    return _dense(values[:, genes])


def dense_samples(values: Matrix, samples: slice) -> FloatArray:
    """Return a float64 copy of some rows, safe to change in place."""
    return _dense(values[samples])


def _dense(block: Matrix) -> FloatArray:
    dense = block if isinstance(block, np.ndarray) else block.toarray()
    return np.array(dense, dtype=np.float64, order="C")
