"""Checks of the expression values that a user hands in, before any arithmetic.

Belongs here: rules whose breach is an error in the data. Does not belong here: checks of labels
(:mod:`etl.effects.design`), of counts (:mod:`etl.expression.counts`), and guesses whether values are counts
or logarithms.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from etl.arrays import FloatArray, IntArray, Matrix
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts, named

CHECKED_AT_ONCE = 4_000_000
"""Values that are checked at a time."""


class EmptyLibraryError(BadInputError):
    """Samples hold no count in any gene that is tested.

    Args:
        samples: positions of these samples.
        what: what they lack.
    """

    def __init__(self, samples: IntArray, what: str) -> None:
        super().__init__(f"{len(samples)} samples have {what}: {named('sample', samples)}")
        self.samples = samples


def checked_shape(values: Matrix | SparseCounts, n_samples: int) -> int:
    """Return the number of genes of a matrix with one row per sample.

    Raises:
        BadInputError: the shape does not fit the labels.
    """
    shape = values.shape if hasattr(values, "shape") else np.asarray(values).shape
    if len(shape) != 2 or shape[0] != n_samples:
        raise BadInputError(
            f"values have shape {tuple(shape)}, but the labels describe {n_samples} samples: "
            "one row per sample is needed"
        )
    return int(shape[1])


def checked_log2(values: Matrix | SparseCounts, *, may_be_missing: bool = False) -> np.ndarray:
    """Return log2 values as a dense matrix.

    Raises:
        BadInputError: values are no numbers, or one of them is infinite or NaN (unless NaN is allowed).
    """
    if isinstance(values, SparseCounts):
        raise BadInputError("values are counts; log2 values are needed, or scale='counts'")
    dense = values.toarray() if isinstance(values, sparse.spmatrix | sparse.sparray) else np.asarray(values)
    if dense.dtype.kind not in "fiub":
        raise BadInputError(f"values have the type {dense.dtype}, numbers are needed")
    if dense.dtype not in (np.float32, np.float64):
        dense = dense.astype(np.float64)
    rule, bad = (
        ("are infinite; a value is finite or missing (NaN)", np.isinf)
        if may_be_missing
        else ("are NaN or infinite; every value must be finite", lambda part: ~np.isfinite(part))
    )
    _reject(dense, bad, rule)
    return dense


def reject_empty_samples(library_size: FloatArray, what: str) -> None:
    """Raise EmptyLibraryError naming the samples whose library is empty."""
    empty = np.flatnonzero(library_size == 0)
    if empty.size:
        raise EmptyLibraryError(empty, what)


def _reject(values: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray], rule: str) -> None:
    """Raise BadInputError naming the first samples and genes whose value breaks a rule."""
    found = [np.zeros((2, 0), dtype=np.int64)]
    step = max(1, CHECKED_AT_ONCE // max(1, values.shape[1]))
    for start in range(0, values.shape[0], step):
        bad = is_bad(values[start : start + step])
        if bad.any():
            sample, gene = np.nonzero(bad)
            found.append(np.stack([sample + start, gene]))
    samples, genes = np.concatenate(found, axis=1)
    if len(samples):
        raise BadInputError(
            f"{len(samples)} values {rule}: {named('sample', np.unique(samples))}; "
            f"{named('gene', np.unique(genes))}"
        )
