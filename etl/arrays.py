"""Types of the arrays that numerical modules work on, and cutting an axis into slices."""

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Matrix: TypeAlias = np.ndarray | sparse.csr_array | sparse.csr_matrix | sparse.csc_array | sparse.csc_matrix

LARGEST_EXACT_FLOAT32: Final = 2**24
"""Up to here a 32-bit float holds every whole number."""


def slices(n: int, length: int) -> Iterator[slice]:
    """Yield consecutive slices that cover an axis of n entries.

    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n, length):
        yield slice(start, min(start + length, n))
