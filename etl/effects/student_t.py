"""Two-sided tails of Student's t distribution, fast for millions of values and exact at any extreme.

Belongs here: p-values and their logarithm from t and degrees of freedom. Does not belong here: where t
comes from.

With a = df / 2 and x = df / (df + t^2) the two-sided p-value is the regularized incomplete beta I_x(a, 1/2).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from etl.effects.blocks import FloatArray

STEP = 1 / 128
"""Node distance in |t| of the table: cubic Hermite interpolation of log p then errs by less than 1e-11."""
TABLE_END = 38.0
"""Largest |t| in the table; the rare larger ones are computed one by one."""
TABLE_PAYS_FROM = 50_000
"""Number of values from which filling a table costs less than direct evaluation."""
FRACTION_TERMS = 400
LN_10 = float(np.log(10.0))


def two_sided_p(t: npt.ArrayLike, df: npt.ArrayLike) -> FloatArray:
    """Return P(abs(T) >= abs(t)); df may be infinite (the normal distribution). NaN stays NaN.

    Below about 1e-308 the result is 0: use :func:`two_sided_log10_p` to rank such values.

    >>> two_sided_p([0.0, 2.0, -2.0], [5.0, 5.0, np.inf]).round(4).tolist()
    [1.0, 0.1019, 0.0455]
    """
    magnitude = np.abs(np.asarray(t, dtype=np.float64))
    df = np.asarray(df, dtype=np.float64)
    if df.ndim == 0 and np.isfinite(df) and df >= 1 and magnitude.size >= TABLE_PAYS_FROM:
        return _tabulated_p(magnitude, float(df))
    return _direct_p(*np.broadcast_arrays(magnitude, df))


def two_sided_log10_p(t: npt.ArrayLike, df: npt.ArrayLike) -> FloatArray:
    """Return log10 of the two-sided p-value, finite wherever t is finite.

    From an absolute t of 3 on, I_x is taken from its continued fraction (NIST DLMF 8.17.22), whose leading
    factor x^a (1 - x)^(1/2) / (a B(a, 1/2)) is built in logarithms.

    >>> two_sided_log10_p([2.0, 1e60], [5.0, 100.0]).round(3).tolist()
    [-0.992, -5901.099]
    """
    magnitude, df = np.broadcast_arrays(
        np.abs(np.asarray(t, dtype=np.float64)), np.asarray(df, dtype=np.float64)
    )
    result = np.full(magnitude.shape, np.nan)
    normal, far = np.isinf(df), magnitude > 3.0
    known = np.isfinite(magnitude) & ~np.isnan(df)
    result[np.isinf(magnitude) & ~np.isnan(df)] = -np.inf
    result[normal & known] = np.log(2.0) + special.log_ndtr(-magnitude[normal & known])
    near = known & ~normal & ~far
    result[near] = np.log(_direct_p(magnitude[near], df[near]))
    tail = known & ~normal & far
    result[tail] = _log_p_fraction(magnitude[tail], df[tail])
    return result / LN_10


def _direct_p(magnitude: FloatArray, df: FloatArray) -> FloatArray:
    """Return the two-sided p-value of every pair, evaluated one by one."""
    # Where t is small, 1 - x = t^2 / (df + t^2) holds the digits that x has lost.
    square = magnitude * magnitude
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        near = special.betaincc(0.5, df / 2, square / (df + square))
        tail = special.betainc(df / 2, 0.5, df / (df + square))
        normal = 2.0 * special.ndtr(-magnitude)
    return np.where(np.isinf(df), normal, np.where(magnitude < 1.0, near, tail))


def _tabulated_p(magnitude: FloatArray, df: float) -> FloatArray:
    """Return two-sided p-values from a cubic Hermite table of log p."""
    cube, square, slope, log_p = _table(df)
    beyond = ~(magnitude < TABLE_END)
    position = np.where(beyond, 0.0, magnitude) / STEP
    index = position.astype(np.int32)
    position -= index
    p = cube[index]
    p *= position
    p += square[index]
    p *= position
    p += slope[index]
    p *= position
    p += log_p[index]
    np.exp(p, out=p)
    if beyond.any():
        p[beyond] = _direct_p(magnitude[beyond], np.full(np.count_nonzero(beyond), df))
    return p


@lru_cache(maxsize=2)
def _table(df: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the cubic, square, linear and constant coefficients of log p between nodes, with t in steps."""
    node = np.arange(int(TABLE_END / STEP) + 1) * STEP
    log_p = two_sided_log10_p(node, df) * LN_10
    log_density = _log_beta_factor(df / 2) - 0.5 * np.log(df) - (df + 1) / 2 * np.log1p(node**2 / df)
    slope = -2.0 * np.exp(log_density - log_p) * STEP
    rise = np.diff(log_p)
    square = 3 * rise - 2 * slope[:-1] - slope[1:]
    cube = slope[:-1] + slope[1:] - 2 * rise
    return cube, square, slope, log_p


def _log_beta_factor(a: npt.ArrayLike) -> FloatArray:
    """Return -log B(a, 1/2) = log Gamma(a + 1/2) - log Gamma(a) - log(pi) / 2.

    From a = 25 on by the series of the ratio of gamma functions (NIST DLMF 5.11.13), because the difference
    of two large logarithms loses digits.
    """
    a = np.asarray(a, dtype=np.float64)
    inverse = 1.0 / a
    series = 0.5 * np.log(a) - inverse / 8 + inverse**3 / 192 - inverse**5 / 640
    return np.where(a < 25, -special.betaln(a, 0.5), series - 0.5 * np.log(np.pi))


def _log_p_fraction(magnitude: FloatArray, df: FloatArray) -> FloatArray:
    """Return log I_x(a, 1/2) by the modified Lentz evaluation of its continued fraction; for |t| > 3."""
    a, b = df / 2, 0.5
    # log(t^2 / df), so that no square overflows.
    log_ratio = 2.0 * np.log(magnitude) - np.log(df)
    log_one_plus = np.logaddexp(0.0, log_ratio)
    log_x, log_1mx = -log_one_plus, log_ratio - log_one_plus
    x = np.exp(log_x)
    c = np.ones_like(x)
    d = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    fraction = d.copy()
    for m in range(1, FRACTION_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / (1.0 + even * d), 1.0 + even / c
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / (1.0 + odd * d), 1.0 + odd / c
        step = d * c
        fraction *= step
        if np.all(np.abs(step - 1.0) < 1e-15):
            break
    return a * log_x + b * log_1mx + _log_beta_factor(a) - np.log(a) + np.log(fraction)
