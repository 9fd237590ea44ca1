"""Samples that share a random block, such as a donor or a plate: their correlation, and the fit that uses it.

Belongs here: one correlation for all genes (Smyth, Michaud & Scott 2005), and generalized least squares with
it. Does not belong here: blocks as fixed terms of the design (:mod:`etl.effects.design`), which need no
correlation but cost a degree of freedom for each block, and moderated tests.

The designs are dense: this path is for studies of some thousand samples and some hundred conditions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from etl.arrays import FloatArray
from etl.errors import BadInputError

TRIMMED = 0.15
"""Share of genes left out at each end when correlations are averaged."""
MARGIN = 0.01
"""Distance kept from the correlations at which the covariance is singular."""
NO_INFORMATION = 1e-10
"""Share of a block's size below which the design leaves nothing of a combination of blocks."""
N_STARTS = 64
"""Correlations at which the likelihood is looked at before its maximum is enclosed."""


@dataclass(frozen=True, slots=True)
class BlockCorrelation:
    """Correlation of two samples of one block."""

    consensus: float
    """tanh of the trimmed mean over genes of atanh(correlation)."""
    by_gene: FloatArray
    """Correlation of each gene, G; NaN where its values leave no residual."""


@dataclass(frozen=True, slots=True)
class CorrelatedFit:
    """Generalized least squares of G genes on p coefficients."""

    coefficients: FloatArray
    """p x G."""
    unscaled_covariance: FloatArray
    """Covariance of the coefficients over the variance of a gene, p x p."""
    sigma: FloatArray
    """Residual standard deviation, G."""
    residual_df: int

    def contrasts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the effects, C x G, and unscaled standard deviations, C, of combinations of coefficients.

        Args:
            weights: C x p.
        """
        return weights @ self.coefficients, np.sqrt(
            np.sum((weights @ self.unscaled_covariance) * weights, axis=1)
        )


def consensus_correlation(values: FloatArray, design: FloatArray, block: npt.ArrayLike) -> BlockCorrelation:
    """Return the correlation of samples of one block beside a fixed design (Smyth, Michaud & Scott 2005).

    The model of a gene is y = X b + Z u + e with a random effect u for each block, and its correlation
    var(u) / (var(u) + var(e)) is that of the largest restricted likelihood. With d the eigenvalues above 0 of
    Z' R Z, R the residual projection of X, and q the squares of Z' R y along its eigenvectors over d,

        -2 log L = df log(RSS - sum q + sum q / (1 + d t)) + sum log(1 + d t),  t = rho / (1 - rho)

    up to a constant; R knows the data only through these sums, so that a gene costs a few operations for each
    block. rho stays 0.01 above -1 / (m - 1), m the size of the largest block, and 0.01 below 1. Genes are
    combined as tanh of the 15 % trimmed mean of atanh(rho).

    Args:
        values: N x G, finite.
        design: N x p, of full column rank.
        block: one label per sample.

    Raises:
        BadInputError: no two samples share a block, the design is not of full rank, it leaves no residual or
            nothing that tells blocks apart, or no gene varies.

    >>> y = np.array([[1.0], [1.2], [3.0], [3.1], [5.2], [5.1]])
    >>> consensus_correlation(y, np.ones((6, 1)), ["a", "a", "b", "b", "c", "c"]).consensus
    0.99
    """
    codes, size = _blocks(block, len(values))
    if size.max() < 2:
        raise BadInputError("no two samples share a block: there is no correlation to estimate")
    basis, _ = _decomposed(design, len(values))
    residual = values - basis @ (basis.T @ values)
    indicator = np.zeros((len(values), len(size)))
    indicator[np.arange(len(values)), codes] = 1.0
    eigenvalue, vector = np.linalg.eigh(np.diag(size) - (basis.T @ indicator).T @ (basis.T @ indicator))
    informative = eigenvalue > NO_INFORMATION * size.max()
    if not informative.any():
        raise BadInputError("the design tells all blocks apart: they cannot be a random term beside it")
    eigenvalue, vector = eigenvalue[informative], vector[:, informative]
    squares = ((indicator @ vector).T @ residual) ** 2 / eigenvalue[:, None]
    residual_sum = np.sum(residual**2, axis=0)
    is_constant = residual_sum <= (len(values) * np.finfo(float).eps) ** 2 * np.sum(values**2, axis=0)
    if is_constant.all():
        raise BadInputError("no gene varies within the conditions: there is no correlation to estimate")

    by_gene = np.full(values.shape[1], np.nan)
    by_gene[~is_constant] = _likeliest(
        squares[:, ~is_constant],
        np.maximum(residual_sum - squares.sum(axis=0), 0.0)[~is_constant],
        eigenvalue,
        len(values) - basis.shape[1],
        MARGIN - 1.0 / (float(size.max()) - 1.0),
        1.0 - MARGIN,
    )
    return BlockCorrelation(_trimmed_consensus(by_gene[~is_constant]), by_gene)


def fit_correlated(
    values: FloatArray, design: FloatArray, block: npt.ArrayLike, correlation: float
) -> CorrelatedFit:
    """Return the generalized least squares fit of samples that are correlated within blocks.

    Args:
        values: N x G, finite.
        design: N x p, of full column rank.
        block: one label per sample.
        correlation: of two samples of one block, such as :func:`consensus_correlation` finds.

    Raises:
        BadInputError: the design is not of full rank or leaves no residual, or see :func:`whiten`.

    >>> y, block = np.array([[1.0], [1.2], [3.0], [3.1]]), ["a", "a", "b", "b"]
    >>> fit = fit_correlated(y, np.ones((4, 1)), block, correlation=0.5)
    >>> fit.coefficients.round(3).tolist(), fit.unscaled_covariance.round(3).tolist(), fit.residual_df
    ([[2.075]], [[0.375]], 3)
    """
    whitened = whiten(values, block, correlation)
    basis, triangle = _decomposed(whiten(design, block, correlation), len(values))
    scores = basis.T @ whitened
    inverse = np.linalg.inv(triangle)
    residual_df = len(values) - basis.shape[1]
    residual = whitened - basis @ scores
    return CorrelatedFit(
        coefficients=inverse @ scores,
        unscaled_covariance=inverse @ inverse.T,
        sigma=np.sqrt(np.sum(residual**2, axis=0) / residual_df),
        residual_df=residual_df,
    )


def whiten(values: FloatArray, block: npt.ArrayLike, correlation: float) -> FloatArray:
    """Return C^(-1/2) values, of which samples are no longer correlated within blocks.

    C is 1 on its diagonal and rho between samples of one block. Its symmetric root acts on a block of m as

        y -> (y - mean) / sqrt(1 - rho) + mean / sqrt(1 + (m - 1) rho)

    so that no matrix is formed. Least squares of whitened values on the whitened design is the generalized
    least squares fit, as with any other root.

    Args:
        values: N x k: expression, or the design.
        block: one label per sample.
        correlation: rho.

    Raises:
        BadInputError: rho is not above -1 / (largest block - 1) and below 1.

    >>> whiten(np.array([[1.0], [3.0], [5.0]]), ["a", "a", "b"], 0.75).round(4).tolist()
    [[-0.4881], [3.5119], [5.0]]
    """
    codes, size = _blocks(block, len(values))
    if not (correlation < 1.0 and 1.0 + (size.max() - 1.0) * correlation > 0.0):
        raise BadInputError(
            f"samples of one block cannot have the correlation {correlation:.6g}: with {size.max():.0f} in a "
            "block it is above -1 / (n - 1) and below 1"
        )
    member = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    sums = member @ values
    within = 1.0 / np.sqrt(1.0 - correlation)
    shift = (1.0 / np.sqrt(1.0 + (size - 1.0) * correlation) - within) / size
    return within * values + (shift[:, None] * sums)[codes]


def _blocks(block: npt.ArrayLike, n_samples: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the block of each sample as a code, and the samples of each block."""
    labels = np.asarray(block)
    if labels.shape != (n_samples,):
        raise BadInputError(f"block has shape {labels.shape}, but there are {n_samples} samples")
    _, codes, size = np.unique(labels, return_inverse=True, return_counts=True)
    return codes, size.astype(np.float64)


def _decomposed(design: FloatArray, n_samples: int) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis of the design, N x p, and the triangle that makes the design of it."""
    if design.ndim != 2 or len(design) != n_samples:
        raise BadInputError(f"the design has shape {design.shape}, but there are {n_samples} samples")
    rank, n_coefficients = int(np.linalg.matrix_rank(design)), design.shape[1]
    if rank < n_coefficients:
        raise BadInputError(f"the design has {n_coefficients} columns but only rank {rank}")
    if rank == n_samples:
        raise BadInputError(f"{n_samples} samples and {rank} coefficients leave no residual")
    basis, triangle = np.linalg.qr(design)
    return basis, triangle


def _likeliest(
    squares: FloatArray, rest: FloatArray, eigenvalue: FloatArray, df: int, lowest: float, highest: float
) -> FloatArray:
    """Return the correlation of the largest restricted likelihood of each gene, between two bounds.

    Args:
        squares: q of :func:`consensus_correlation`, informative blocks x G.
        rest: RSS - sum q, G.
        eigenvalue: d.
        df: residual degrees of freedom.
        lowest: lower bound.
        highest: upper bound.
    """
    starts = np.linspace(lowest, highest, N_STARTS)
    deviance = np.empty((N_STARTS, len(rest)))
    for row, start in zip(deviance, starts, strict=True):
        scale = 1.0 + eigenvalue * start / (1.0 - start)
        row[:] = df * np.log(rest + np.sum(squares / scale[:, None], axis=0)) + np.log(scale).sum()
    best = np.argmin(deviance, axis=0)
    below, above = starts[np.maximum(best - 1, 0)], starts[np.minimum(best + 1, N_STARTS - 1)]
    # The slope changes sign between the neighbours of the best start, or the maximum is a bound.
    for _ in range(60):
        middle = (below + above) / 2
        scale = 1.0 + eigenvalue[:, None] * (middle / (1.0 - middle))
        slope = np.sum(eigenvalue[:, None] / scale, axis=0) - df * np.sum(
            squares * eigenvalue[:, None] / scale**2, axis=0
        ) / (rest + np.sum(squares / scale, axis=0))
        is_rising = slope > 0
        above, below = np.where(is_rising, middle, above), np.where(is_rising, below, middle)
    return (below + above) / 2


def _trimmed_consensus(correlations: FloatArray) -> float:
    """Return tanh of the trimmed mean of atanh of correlations."""
    ascending = np.sort(np.arctanh(correlations))
    n_trimmed = int(TRIMMED * len(ascending))
    return float(np.tanh(ascending[n_trimmed : len(ascending) - n_trimmed].mean()))
