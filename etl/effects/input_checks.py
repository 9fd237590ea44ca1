"""Checks of the expression values that a user hands in, before any arithmetic.

Belongs here: rules whose breach is an error in the data. Does not belong here: checks of labels
(:mod:`etl.effects.design`), and guesses whether values are counts or logarithms.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from etl.effects.blocks import FloatArray, Matrix, block_length, slices
from etl.errors import BadInputError

SHOWN = 5
"""Samples or genes that an error names."""


def checked_matrix(values: Matrix, n_samples: int) -> Matrix:
    """Return the values as a two-dimensional matrix with one row per sample.

    Raises:
        BadInputError: the shape does not fit, or a value is NaN or infinite.
    """
    if not sparse.issparse(values):
        values = np.asarray(values)
    if values.ndim != 2 or values.shape[0] != n_samples:
        raise BadInputError(
            f"values have shape {values.shape}, but the labels describe {n_samples} samples: "
            "one row per sample is needed"
        )
    if values.dtype.kind not in "fiub":
        raise BadInputError(f"values have the type {values.dtype}, numbers are needed")
    if values.dtype.kind == "f":
        _reject(values, np.isfinite, "are NaN or infinite; every value must be finite")
    return values


def checked_library_sizes(counts: Matrix) -> FloatArray:
    """Return the counts per sample.

    Raises:
        BadInputError: a count is negative or fractional, or a sample has no counts.
    """
    if counts.dtype.kind in "fi":
        _reject(counts, lambda part: part >= 0, "are negative; counts are needed")
    if counts.dtype.kind == "f":
        _reject(counts, lambda part: part == np.floor(part), "are fractional; counts are needed")
    library_size = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    reject_empty_samples(library_size, "no counts at all")
    return library_size


def reject_empty_samples(library_size: FloatArray, what: str) -> None:
    """Raise BadInputError naming the samples whose library is empty."""
    empty = np.flatnonzero(library_size == 0)
    if empty.size:
        raise BadInputError(f"{len(empty)} samples have {what}: {_named('sample', empty)}")


def _reject(values: Matrix, is_good: Callable[[np.ndarray], np.ndarray], rule: str) -> None:
    """Raise BadInputError naming the first samples and genes whose value breaks a rule."""
    if not isinstance(values, np.ndarray):
        good = is_good(values.data)
        if good.all():
            return
        entries = values.tocoo()
        samples, genes = entries.coords
        samples, genes = samples[~good], genes[~good]
    else:
        found = [np.zeros((2, 0), dtype=np.int64)]
        for cut in slices(values.shape[1], block_length(values.shape[0])):
            good = is_good(values[:, cut])
            if not good.all():
                sample, gene = np.nonzero(~good)
                found.append(np.stack([sample, gene + cut.start]))
        samples, genes = np.concatenate(found, axis=1)
    if len(samples):
        raise BadInputError(
            f"{len(samples)} values {rule}: {_named('sample', np.unique(samples))}; "
            f"{_named('gene', np.unique(genes))}"
        )


def _named(kind: str, positions: np.ndarray) -> str:
    """Return a short list of positions.

    >>> _named("gene", np.arange(7))
    'genes 0, 1, 2, 3, 4 and 2 more'
    """
    shown = ", ".join(str(position) for position in positions[:SHOWN])
    more = f" and {len(positions) - SHOWN} more" if len(positions) > SHOWN else ""
    return f"{kind}{'s' if len(positions) > 1 else ''} {shown}{more}"
