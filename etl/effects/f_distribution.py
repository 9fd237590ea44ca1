"""The F distribution of variance ratios: density, tails at any extreme, and quantiles.

Belongs here: F(df1, df2) and its limit chi2(df1) / df1 for infinite df2. Does not belong here: what the
ratios are.

With a = df1 / 2, b = df2 / 2 and w = df1 f / df2 the upper tail is the regularized incomplete beta function
I_x(b, a) at x = 1 / (1 + w), and the lower tail I_y(a, b) at y = w / (1 + w) (NIST DLMF 8.17).
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from etl.arrays import FloatArray

SMALLEST_DIRECT_TAIL = 1e-290
"""Smaller tails are close to the end of the floating point numbers: their logarithm is a series."""


def log_density_of_log(z: npt.ArrayLike, df1: npt.ArrayLike, df2: float) -> FloatArray:
    """Return the log density of z = log f, where f ~ F(df1, df2) (twice Fisher's z, 1924).

        log p(z) = a log(df1 / df2) + a z - (a + b) log(1 + df1 e^z / df2) - log B(a, b)

    For infinite df2 it is a log a + a z - a e^z - log Gamma(a).

    >>> log_density_of_log([0.0], 2, 2).round(6).tolist()  # e^z / (1 + e^z)^2
    [-1.386294]
    """
    z, a = np.asarray(z, dtype=np.float64), np.asarray(df1, dtype=np.float64) / 2
    if np.isinf(df2):
        return a * (np.log(a) + z - np.exp(z)) - special.gammaln(a)
    b = df2 / 2
    return a * (np.log(a / b) + z) - (a + b) * np.log1p(a / b * np.exp(z)) - special.betaln(a, b)


def tails(f: npt.ArrayLike, df1: npt.ArrayLike, df2: float) -> tuple[FloatArray, FloatArray]:
    """Return P(F <= f) and P(F > f), each without cancellation; 0 below about 1e-308.

    >>> [tail.round(4).tolist() for tail in tails([1.0, 9.0], 2, np.inf)]
    [[0.6321, 0.9999], [0.3679, 0.0001]]
    """
    f, df1 = np.asarray(f, dtype=np.float64), np.asarray(df1, dtype=np.float64)
    return _lower(f, df1, df2), upper_tail(f, df1, df2)


def upper_tail(f: npt.ArrayLike, df1: npt.ArrayLike, df2: float) -> FloatArray:
    """Return P(F > f).

    >>> upper_tail([0.0, 1.0, 9.0], 2, 2).round(4).tolist()
    [1.0, 0.5, 0.1]
    """
    f, df1 = np.asarray(f, dtype=np.float64), np.asarray(df1, dtype=np.float64)
    if np.isinf(df2):
        return special.gammaincc(df1 / 2, df1 * f / 2)
    return special.betainc(df2 / 2, df1 / 2, df2 / (df2 + df1 * f))


def log_upper_tail(f: float, df1: float, df2: float) -> float:
    """Return log P(F > f) for finite df2, finite at any finite f.

    Where the tail leaves the floating point numbers it is the series (NIST DLMF 8.17.8)

        I_x(b, a) = x^b (1 - x)^a / (b B(b, a)) (1 + sum of prod (b + a + k) / (b + 1 + k) x),

    whose terms fall at once because x is then far below its mean b / (a + b).

    >>> round(log_upper_tail(9.0, 2, 2), 6), round(log_upper_tail(1e40, 6, 30), 4)
    (-2.302585, -1352.4968)
    """
    tail = float(upper_tail(f, df1, df2))
    if tail > SMALLEST_DIRECT_TAIL:
        return math.log(tail)
    a, b = df1 / 2, df2 / 2
    odds = df2 / (df1 * f)
    x = odds / (1 + odds)
    term, total, k = 1.0, 1.0, 0
    while term > total * 1e-17:
        term *= (b + a + k) / (b + 1 + k) * x
        total += term
        k += 1
    return b * math.log(x) + a * math.log1p(-x) - math.log(b) - float(special.betaln(b, a)) + math.log(total)


def quantile(p: float, df1: float, df2: float) -> float:
    """Return f with P(F <= f) = p, for 0 < p < 1.

    >>> round(quantile(0.9, 2, 2), 6), round(quantile(0.9, 2, np.inf), 6)
    (9.0, 2.302585)
    """
    if np.isinf(df2):
        return float(special.gammaincinv(df1 / 2, p) / (df1 / 2))
    return float(special.fdtri(df1, df2, p))


def with_df1(f: FloatArray, df1: FloatArray, new_df1: float, df2: float) -> FloatArray:
    """Return the values of F(new_df1, df2) that have the tail probabilities of f under F(df1, df2).

    The smaller tail is matched, so that no digits are lost at either end; beyond 1e-290 it counts as that.

    >>> with_df1(np.array([0.5, 9.0]), np.array([4.0, 2.0]), 4.0, 2.0).round(4).tolist()
    [0.5, 9.2434]
    """
    lower, upper = (np.maximum(tail, SMALLEST_DIRECT_TAIL) for tail in tails(f, df1, df2))
    x = special.betaincinv(df2 / 2, new_df1 / 2, np.minimum(upper, 0.5))
    y = special.betaincinv(new_df1 / 2, df2 / 2, np.minimum(lower, 0.5))
    odds = np.where(upper < lower, (1 - x) / x, y / (1 - y))
    return np.where(df1 == new_df1, f, odds * df2 / new_df1)


def _lower(f: FloatArray, df1: FloatArray, df2: float) -> FloatArray:
    if np.isinf(df2):
        return special.gammainc(df1 / 2, df1 * f / 2)
    w = df1 * f
    return special.betainc(df1 / 2, df2 / 2, w / (df2 + w))
