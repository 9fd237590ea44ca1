"""Counting noise of simulated sequencing: what a well's library shows of the expression expected in it."""

import numpy as np
from numpy.typing import NDArray

DISPERSION, DISPERSION_OF_SCARCE = 0.03, 0.3
"""Dispersion of abundant genes, and what is added at a mean of zero: beyond counting noise, scarce genes vary
more from well to well."""


def draw_counts(
    rng: np.random.Generator, log2_expression: NDArray[np.float64], library: float
) -> NDArray[np.int64]:
    """Return negative binomial counts of one well.

    Args:
        rng: source of randomness.
        log2_expression: expected expression of each gene, on any scale.
        library: expected total count.
    """
    share = np.exp2(log2_expression)
    mean = share / share.sum() * library
    dispersion = DISPERSION + DISPERSION_OF_SCARCE / (1 + mean)
    return rng.poisson(rng.gamma(1 / dispersion, dispersion * mean))
