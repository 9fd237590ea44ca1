"""How alike two effect profiles are: row-wise measures on two arrays of pairs × genes.

Here: the measures and the rule of which genes enter each. Not here: which profiles are compared, tables, and
any summary over pairs.

Row i of the left array is compared with row i of the right one; a gene that was not measured is NaN. Every
measure returns its value and the number of genes it rests on, and is NaN, never 0, where it is not defined.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

MIN_GENES = 2
"""A correlation of fewer points is not defined."""

Matrix = NDArray[np.floating]


class Spearman(NamedTuple):
    """Rank correlation of each pair."""

    rho: NDArray[np.float64]
    """In [−1, 1]; NaN where not defined; shape (pairs,)."""
    n_genes: NDArray[np.int32]
    """Genes finite on both sides; shape (pairs,)."""


class DirectionAgreement(NamedTuple):
    """Share of equal signs of each pair."""

    share: NDArray[np.float64]
    """In [0, 1]; NaN where not defined; shape (pairs,)."""
    n_genes: NDArray[np.int32]
    """Genes significant on both sides; shape (pairs,)."""


def spearman(left: Matrix, right: Matrix) -> Spearman:
    """Return the Pearson correlation of the ranks of each row's genes, ties given their average rank.

    Only genes finite on both sides enter, and ranks are taken among these. A row with fewer than 2 such
    genes, or with a side that is constant over them, yields NaN. Equals ``scipy.stats.spearmanr`` row by row.

    Args:
        left: effects, e.g. log2 fold changes; shape (pairs, genes).
        right: likewise, the same genes in the same order; shape (pairs, genes).

    Raises:
        ValueError: the arrays are not of one two-dimensional shape.

    >>> spearman(np.array([[1.0, 2.0, 3.0, np.nan]]), np.array([[1.0, 8.0, 27.0, 64.0]]))
    Spearman(rho=array([1.]), n_genes=array([3], dtype=int32))
    """
    _require_one_shape(left, right)
    is_shared = np.isfinite(left) & np.isfinite(right)
    n_genes = is_shared.sum(axis=1)
    # Ranks are multiples of 1/2 and so are their deviations: the sums below are exact, which makes a constant
    # side exactly 0 and a perfect correlation exactly 1.
    left_deviation = _rank_deviations(left, is_shared, n_genes)
    right_deviation = _rank_deviations(right, is_shared, n_genes)
    covariance = np.einsum("ij,ij->i", left_deviation, right_deviation)
    scale = np.sqrt(
        np.einsum("ij,ij->i", left_deviation, left_deviation)
        * np.einsum("ij,ij->i", right_deviation, right_deviation)
    )
    is_defined = (n_genes >= MIN_GENES) & (scale > 0)
    rho = np.full(len(n_genes), np.nan)
    np.divide(covariance, scale, out=rho, where=is_defined)
    return Spearman(np.clip(rho, -1.0, 1.0), n_genes.astype(np.int32))


def direction_agreement(
    left: Matrix,
    right: Matrix,
    left_p_adjusted: Matrix,
    right_p_adjusted: Matrix,
    *,
    alpha: float = 0.05,
    min_abs_log2_fold_change: float = 0.0,
) -> DirectionAgreement:
    """Return the share of genes with the same sign among the genes significant on both sides.

    A gene is significant on a side if its effect and adjusted p-value are finite and p < ``alpha``; with a
    positive ``min_abs_log2_fold_change``, also |effect| > that value. Both bounds are strict. sign(0) = 0 is
    a class of its own: 0 agrees with 0 only. A row without a shared significant gene yields NaN.

    Args:
        left: log2 fold changes; shape (pairs, genes).
        right: likewise, the same genes in the same order; shape (pairs, genes).
        left_p_adjusted: adjusted p-values of ``left``; shape (pairs, genes).
        right_p_adjusted: adjusted p-values of ``right``; shape (pairs, genes).
        alpha: significance level, exclusive.
        min_abs_log2_fold_change: effect threshold, exclusive; 0 means none, and keeps effects of exactly 0.

    Raises:
        ValueError: the arrays are not of one two-dimensional shape.

    >>> p = np.array([[0.01, 0.01, 0.2]])
    >>> direction_agreement(np.array([[1.0, -1.0, 1.0]]), np.array([[2.0, 3.0, 1.0]]), p, p)
    DirectionAgreement(share=array([0.5]), n_genes=array([2], dtype=int32))
    """
    _require_one_shape(left, right, left_p_adjusted, right_p_adjusted)
    is_shared = _is_significant(left, left_p_adjusted, alpha, min_abs_log2_fold_change)
    is_shared &= _is_significant(right, right_p_adjusted, alpha, min_abs_log2_fold_change)
    n_genes = is_shared.sum(axis=1)
    # Comparing classes instead of np.sign spares the NaN and infinity of genes that do not enter anyway.
    is_equal = ((left > 0) == (right > 0)) & ((left < 0) == (right < 0))
    share = np.full(len(n_genes), np.nan)
    np.divide((is_equal & is_shared).sum(axis=1), n_genes, out=share, where=n_genes > 0)
    return DirectionAgreement(share, n_genes.astype(np.int32))


def _rank_deviations(
    values: Matrix, is_shared: NDArray[np.bool_], n_genes: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Return each shared gene's rank minus the mean rank of its row, and 0 for genes that are not shared."""
    # Genes left out rank last, as infinities, so the others get the ranks they have among themselves.
    ranks = rankdata(np.where(is_shared, values, np.inf), method="average", axis=1)
    return np.where(is_shared, ranks - (n_genes[:, None] + 1) / 2, 0.0)


def _is_significant(
    effects: Matrix, p_adjusted: Matrix, alpha: float, min_abs_effect: float
) -> NDArray[np.bool_]:
    # A plain float takes the array's own type, so a Float32 p of 0.05 is not below 0.05 by rounding.
    is_significant = np.isfinite(effects) & np.isfinite(p_adjusted) & (p_adjusted < float(alpha))
    if min_abs_effect > 0:
        is_significant &= np.abs(effects) > float(min_abs_effect)
    return is_significant


def _require_one_shape(*arrays: Matrix) -> None:
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        message = f"expected arrays of one shape (pairs, genes), got {shapes}"
        raise ValueError(message)
