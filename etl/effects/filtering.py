"""Count filter: which genes hold enough counts in enough samples to be tested.

Belongs here: the rule. Does not belong here: normalization and tests of what is kept.

The rule is the one of Chen, Lun & Smyth (2016) with its published defaults, for a design: a gene is kept when

* its counts per million reach that of 10 counts in a library of median size in at least n samples, and
* its counts total at least 15.

n is 1 / (largest leverage), the smallest number of samples that stand behind any coefficient; above 10 it
grows with slope 0.7 only.
"""

import numpy as np
import numpy.typing as npt

from etl.effects.blocks import FloatArray, Matrix, block_length, dense_samples, slices

MIN_COUNT = 10.0
MIN_TOTAL_COUNT = 15.0
LARGE_GROUP = 10.0
SHARE_OF_LARGE_GROUP = 0.7
TOLERANCE = 1e-14
"""Slack on the number of samples and on totals, which leverages reach only up to rounding."""


def min_group_size(leverages: FloatArray) -> float:
    """Return the number of samples in which a gene must be expressed.

    >>> min_group_size(np.array([0.25, 0.5])), min_group_size(np.array([0.05, 0.02]))
    (2.0, 17.0)
    """
    size = 1.0 / float(leverages.max())
    return size if size <= LARGE_GROUP else LARGE_GROUP + (size - LARGE_GROUP) * SHARE_OF_LARGE_GROUP


def filter_by_expression(
    counts: Matrix, library_size: FloatArray, min_samples: float
) -> npt.NDArray[np.bool_]:
    """Return True for the genes that hold enough counts to be tested.

    Args:
        counts: N x G, dense or CSR.
        library_size: counts per sample, N, positive.
        min_samples: samples in which a gene must reach the cut-off, from :func:`min_group_size`.
    """
    n_samples, n_genes = counts.shape
    cutoff = MIN_COUNT / float(np.median(library_size)) * 1e6
    enough = np.zeros(n_genes, dtype=np.int64)
    total = np.zeros(n_genes)
    # By samples, which both layouts cut cheaply: the rule needs sums over samples only.
    for samples in slices(n_samples, block_length(n_genes)):
        block = dense_samples(counts, samples)
        total += block.sum(axis=0)
        # count * 1e6 / library, in this order: a count exactly at the cut-off must not flip by rounding.
        block *= 1e6
        block /= library_size[samples, None]
        enough += np.count_nonzero(block >= cutoff, axis=0)
    return (enough >= min_samples - TOLERANCE) & (total >= MIN_TOTAL_COUNT - TOLERANCE)
