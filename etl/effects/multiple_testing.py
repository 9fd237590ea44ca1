"""False discovery rates: Benjamini-Hochberg adjustment over the last axis.

Belongs here: adjusting p-values that are given. Does not belong here: which tests form one family.
"""

import numpy as np
import numpy.typing as npt

from etl.effects.blocks import FloatArray


def benjamini_hochberg(p_value: npt.ArrayLike) -> FloatArray:
    """Return p-values adjusted by Benjamini & Hochberg (1995), each row (last axis) one family.

    With m finite p-values sorted ascending, adjusted_(i) = min over j >= i of min(1, m p_(j) / j). NaN
    stays NaN and does not count in m.

    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p_value, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # NaN sorts last
    adjusted = np.take_along_axis(p, order, axis=-1)
    n_tests = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    adjusted *= n_tests / np.arange(1, p.shape[-1] + 1)
    np.minimum(adjusted, 1.0, out=adjusted)
    # fmin passes over the NaN at the end instead of spreading them.
    running = np.fmin.accumulate(adjusted[..., ::-1], axis=-1)[..., ::-1]
    result = np.empty_like(p)
    np.put_along_axis(result, order, running, axis=-1)
    return result
