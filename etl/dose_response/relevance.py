"""Relevance of a dose response: one score of significance and effect size, as CurveCurator defines it.

Bayer et al., Nature Communications 14 (2023), 7902. The F statistic of a four-parameter curve against a
constant does not follow the F distribution of linear models; theirs was calibrated by simulated flat series.
A fudge factor then takes away from F what a fold change below a limit cannot support, as SAM does for t.

Here: formulas on arrays. Not here: the fit. Only for curves of four free parameters: for three, the
calibration does not hold, and ``fit_curves`` gives the classical test.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution

from etl.arrays import FloatArray

NUMERATOR: Final = 5.0
"""Degrees of freedom of the numerator, calibrated."""
SHIFT: Final = 0.12
"""Location of the calibrated distribution: smaller F have p = 1."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """Scores of curves, one number each.

    Args:
        f_statistic: (null - residual) / residual · n / 4, of sums of squares; not below zero.
        p_value: by the calibrated distribution.
        f_adjusted: F after the fudge factor.
        score: -log10 of the calibrated p-value of ``f_adjusted``.
    """

    f_statistic: FloatArray
    p_value: FloatArray
    f_adjusted: FloatArray
    score: FloatArray


def relevance(
    null: ArrayLike,
    residual: ArrayLike,
    n_points: ArrayLike,
    log2_fold_change: ArrayLike,
    *,
    alpha: float = 0.05,
    fold_change_limit: float = 0.3,
) -> Relevance:
    """Score four-parameter curves.

    A score of at least -log10(``alpha``) together with a fold change beyond the limit is a regulated curve.

    Args:
        null: sums of squares around the best constant.
        residual: sums of squares around the curve.
        n_points: values of each curve, the control among them; at least five.
        log2_fold_change: log2 of the curve at the highest dose, over the control.
        alpha: level of significance.
        fold_change_limit: log2 fold change that matters.

    Raises:
        ValueError: a curve of fewer than five points.

    >>> relevance([1.0], [0.1], [10], [-2.0]).score.round(2).tolist()
    [2.38]
    """
    null, residual, n, fold_change = (
        np.asarray(one, dtype=np.float64) for one in (null, residual, n_points, log2_fold_change)
    )
    if (n < 5).any():
        message = "four parameters need five points at least"
        raise ValueError(message)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.maximum(null - residual, 0)
        statistic = np.where(gain > 0, gain / residual * n / 4, 0.0)
        freedom = (0.8 - 1 / ((n - 4) ** 4 / n + 4)) * (n - 2.5)
        fudge = fold_change_limit / np.sqrt(f_distribution.isf(alpha, NUMERATOR, freedom))
        adjusted = 1 / (1 / np.sqrt(statistic) + fudge / np.abs(fold_change)) ** 2
    return Relevance(
        f_statistic=statistic,
        p_value=f_distribution.sf(statistic, NUMERATOR, freedom, loc=SHIFT),
        f_adjusted=adjusted,
        score=-f_distribution.logsf(adjusted, NUMERATOR, freedom, loc=SHIFT) / np.log(10),
    )
