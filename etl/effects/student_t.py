"""Two-sided tails of Student's t distribution, fast for billions of values and exact at any extreme.

Belongs here: p-values and their logarithm from t and degrees of freedom. Does not belong here: where t
comes from, and what is done with p.

With a = df / 2, w = t^2 / df, x = 1 / (1 + w) and y = w / (1 + w) the two-sided p-value is the regularized
incomplete beta I_x(a, 1/2). It is split into a power, which carries all of its range, and a factor of
moderate size:

    p = x^a R(t),   x^a = exp(-a log1p(w))

One by one (``_power_and_factor``), R comes from the series of the complement where t is small, and from the
even part of the continued fraction of I_x elsewhere (NIST DLMF 8.17.8 and 8.17.22; DiDonato & Morris 1992,
ACM TOMS 18:360), written so that no difference of nearly equal numbers is left however large df is.

By the block (``StudentTails``), R is a polynomial fitted once per df. As Shepherd & Laframboise (1981, Math.
Comp. 36:249) do for the normal distribution, the half line is mapped to q = k s / (t + k s), s = sqrt(1 + w),
and R / q is a polynomial of degree 18 in q. The relative error of p is then below 1e-12, and below 4e-12
from df = 1e4 on.
"""

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from etl.arrays import FloatArray

LN_10 = math.log(10.0)
HALF_LOG_PI = 0.5 * math.log(math.pi)
DEGREE = 18
SCALE = 2.5
"""k of the map from t to q: with it the coefficients fall fastest for every df."""
NORMAL_DF = 1e20
"""Stands for infinite df in a block: at an absolute t of 38, where p ends, both differ by 1e-14."""
LARGEST_T = 1e150
"""A larger t counts as this one in a block, so that no square overflows; infinity has p = 0."""
LOWEST_POWER = -708.0
"""Logarithm of the power below which p counts as 0 in a block: the end of the normal numbers."""
BLOCK_PAYS_FROM = 300
"""Number of values from which fitting a polynomial costs less than evaluation one by one."""
TERMS = 2000
"""Bound of the loops; fewer than 100 terms are needed for df >= 0.5."""
NODES = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
"""Chebyshev nodes, at which a polynomial is fitted."""
CHEBYSHEV_FROM_NODES = np.polynomial.chebyshev.chebvander(NODES, DEGREE).T * (2.0 / (DEGREE + 1))
CHEBYSHEV_FROM_NODES[0] /= 2.0
"""Chebyshev coefficients of the polynomial through values at the nodes."""
POWERS_FROM_CHEBYSHEV = np.zeros((DEGREE + 1, DEGREE + 1))
for _degree in range(DEGREE + 1):
    POWERS_FROM_CHEBYSHEV[DEGREE - _degree :, _degree] = (
        np.polynomial.Chebyshev.basis(_degree).convert(kind=np.polynomial.Polynomial).coef[::-1]
    )
"""Coefficients of the powers, highest first; integers, so that small high coefficients stay exact."""
CHUNK = 512
"""Values per pass: the working arrays of a block stay in the first-level cache."""

LOG2_E = 1.0 / math.log(2.0)
LN_2_HIGH, LN_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""log 2 in two parts, the first with trailing zeros, so that its small multiples are exact."""
ROUNDING = 1.5 * 2.0**52
"""Added to a small number it leaves the nearest integer in the low bits."""
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


def two_sided_p(t: npt.ArrayLike, df: npt.ArrayLike) -> FloatArray:
    """Return P(abs(T) >= abs(t)) for df > 0, which may be infinite (the normal distribution).

    NaN stays NaN. Below about 1e-308 the result is 0: use :func:`two_sided_log10_p` to rank such values.

    >>> two_sided_p([0.0, 2.0, -2.0], [5.0, 5.0, np.inf]).round(4).tolist()
    [1.0, 0.1019, 0.0455]
    """
    t, df = np.asarray(t, dtype=np.float64), np.asarray(df, dtype=np.float64)
    if df.size == 1 and t.size >= BLOCK_PAYS_FROM:
        p = np.abs(t).reshape(1, -1)
        StudentTails(np.broadcast_to(df.reshape(1), (t.size,))).t_to_p(p)
        return p.reshape(np.broadcast_shapes(t.shape, df.shape))
    power, factor = _one_by_one(t, df)
    with np.errstate(under="ignore", invalid="ignore"):
        return np.exp(power) * factor


def two_sided_log10_p(t: npt.ArrayLike, df: npt.ArrayLike) -> FloatArray:
    """Return log10 of the two-sided p-value, finite wherever t is finite and df > 0 is finite.

    >>> two_sided_log10_p([2.0, 1e60], [5.0, 100.0]).round(3).tolist()
    [-0.992, -5901.099]
    """
    power, factor = _one_by_one(np.asarray(t, dtype=np.float64), np.asarray(df, dtype=np.float64))
    return (power + np.log(factor)) / LN_10


class StudentTails:
    """Two-sided p-values of blocks of t whose columns (genes) each have their own df; prepared once.

    Most columns share one df: their coefficients are constants of the inner loop. The few others (outlier
    genes of a robust prior) are evaluated with a coefficient array each.
    """

    def __init__(self, df: npt.ArrayLike) -> None:
        """Fit one polynomial per distinct df.

        Args:
            df: degrees of freedom of each column, > 0, G; infinite for the normal distribution; NaN or 0 for
                columns without a test, whose p is NaN.
        """
        df = np.asarray(df, dtype=np.float64)
        finite = np.where(df > 0, np.minimum(df, NORMAL_DF), np.nan)
        distinct, which, size = np.unique(finite, return_inverse=True, return_counts=True)
        parameters = _fit_factors(distinct)
        common = int(np.argmax(np.where(np.isnan(distinct), 0, size))) if df.size else 0
        self._common = tuple(parameters[:, common].tolist()) if df.size else (math.nan,) * (DEGREE + 5)
        self._columns = np.flatnonzero(which != common)
        self._own = np.ascontiguousarray(parameters[:, which[self._columns]])

    def t_to_p(self, block: FloatArray) -> None:
        """Replace every t of a C-contiguous block of float64, rows x G, by its p-value; without the GIL."""
        _block_tails(block, self._common, self._columns, self._own)


@njit(cache=True, nogil=True, error_model="numpy")
def _log_norm(a: float) -> float:
    """Return -log B(a, 1/2) = log Gamma(a + 1/2) - log Gamma(a) - log(pi) / 2.

    From a = 25 on by the series of the ratio of gamma functions (NIST DLMF 5.11.13), because the difference
    of two large logarithms loses digits.
    """
    if a < 25.0:
        return math.lgamma(a + 0.5) - math.lgamma(a) - HALF_LOG_PI
    inverse = 1.0 / a
    series = inverse / 8 - inverse**3 / 192 + inverse**5 / 640 - 17 * inverse**7 / 14336
    return 0.5 * math.log(a) - series - HALF_LOG_PI


@njit(cache=True, nogil=True, error_model="numpy")
def _power_and_factor(t: float, df: float, log_norm: float) -> tuple[float, float]:
    """Return (u, v) with p = exp(u) v, so that log p stays finite where p does not.

    u is log x^a, and 0 where t is small. Infinite df are the limit a -> inf with a w = t^2 / 2.
    """
    t = abs(t)
    if t != t or not df > 0:
        return math.nan, math.nan
    if t == 0.0:
        return 0.0, 1.0
    if t == math.inf:
        return -math.inf, 1.0
    a, normal = 0.5 * df, df == math.inf
    if normal:
        power, x, y, df_y = -0.5 * t * t, 1.0, 0.0, t * t
        norm = t / math.sqrt(2 * math.pi)
    else:
        ratio = t / math.sqrt(df)
        if ratio < 1e8:
            w = ratio * ratio
            power, x, y = -a * math.log1p(w), 1.0 / (1.0 + w), w / (1.0 + w)
        else:
            power, x, y = -2.0 * a * math.log(ratio), 1.0 / ratio / ratio, 1.0
        df_y = df * y
        norm = math.exp(log_norm) * math.sqrt(y)
    if y < 0.7 and (t < 1.0 or (t < 2.0 and y <= 0.5)):
        # 1 - p = 2 x^a y^(1/2) / B sum_k y^k (a + 1/2)_k / (3/2)_k, all terms positive.
        term = total = 1.0
        for k in range(TERMS):
            term *= (0.5 * t * t if normal else (a + 0.5 + k) * y) / (1.5 + k)
            total += term
            if term < 1e-17 * total:
                break
        return 0.0, 1.0 - 2.0 * norm * math.exp(power) * total
    # I_x = x^a y^(1/2) / B / (beta_1 + alpha_2 / (beta_2 + ...)) by the modified Lentz method. The term
    # a - (a + b) x of the published form is (df y - x) / 2 when b = 1/2, which has nothing to cancel.
    level = 0.5 * (df_y - x) + 1.0
    fraction = numerator = level if normal else a * level / (a + 1.0)
    denominator = 0.0
    for m in range(1, TERMS):
        if normal:
            alpha, beta = m * (0.5 - m), level + 2.0 * m
        else:
            c = a + 2.0 * m - 1.0
            alpha = ((a + m - 1.0) / c) * ((a + m - 0.5) / c) * (m * (0.5 - m)) * (x * x)
            beta = m + m * (0.5 - m) * x / c + (a + m) * (level + m * (2.0 - x)) / (c + 2.0)
        denominator = 1.0 / (beta + alpha * denominator)
        numerator = beta + alpha / numerator
        step = numerator * denominator
        fraction *= step
        if abs(step - 1.0) < 1e-16:
            break
    return power, norm / fraction


@njit(cache=True, nogil=True, error_model="numpy")
def _pairs_power_and_factor(t: FloatArray, df: FloatArray, power: FloatArray, factor: FloatArray) -> None:
    """Evaluate every pair of t and df; runs of one df share its constant."""
    last, log_norm = math.nan, math.nan
    for i in range(t.size):
        if df[i] != last:
            last = df[i]
            log_norm = _log_norm(0.5 * last)
        power[i], factor[i] = _power_and_factor(t[i], last, log_norm)


def _one_by_one(t: FloatArray, df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return power and factor of every pair, in the shape of both broadcast."""
    shape = np.broadcast_shapes(t.shape, df.shape)
    # Copies: numba would compile the kernel again for arrays that are not to be written.
    t, df = np.broadcast_to(t, shape).flatten(), np.broadcast_to(df, shape).flatten()
    power, factor = np.empty(t.size), np.empty(t.size)
    _pairs_power_and_factor(t, df, power, factor)
    return power.reshape(shape), factor.reshape(shape)


def _fit_factors(df: FloatArray) -> FloatArray:
    """Return what a block needs of every df, as columns of (DEGREE + 5) x len(df); NaN where df is NaN.

    The rows are a, 1 / df, slope and offset of the map from q to [-1, 1], and the coefficients, highest power
    first. They fall so fast that powers serve as well as Chebyshev polynomials.
    """
    lowest = SCALE / (SCALE + np.sqrt(df))
    q = lowest + (1.0 - lowest) * (NODES[:, None] + 1.0) / 2.0
    # q = k s / (t + k s) solved for t: with g = k (1 - q) / q, t = g s and s^2 = 1 / (1 - g^2 / df).
    g = SCALE * (1.0 - q) / q
    t = g / np.sqrt(1.0 - g * g / df)
    power, factor = _one_by_one(t.T, df[:, None])
    w = np.where(power.T == 0.0, t * t / df, 0.0)
    ratio = factor.T * np.exp(0.5 * df * np.log1p(w)) / q
    slope = 2.0 / (1.0 - lowest)
    return np.vstack(
        [0.5 * df, 1.0 / df, slope, 1.0 - slope, POWERS_FROM_CHEBYSHEV @ (CHEBYSHEV_FROM_NODES @ ratio)]
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _exp(x: float) -> float:
    """Return e^x for x in [-708, 0]: written out because a call of the C library is no vector loop."""
    shifted = x * LOG2_E + ROUNDING
    k = shifted - ROUNDING
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    # The low bits of the shifted number are k: moved up, they are added to the exponent.
    bits = np.float64(p).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)
    return np.int64(bits).view(np.float64)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _log1p(w: float) -> float:
    """Return log(1 + w) for finite w >= 0, relative to w exact; written out as ``_exp`` is."""
    u = 1.0 + w
    lost = w - (u - 1.0)
    bits = np.float64(u).view(np.int64)
    k = (bits - SQRT_HALF_BITS) >> 52
    f = np.int64(bits - (k << 52)).view(np.float64) - 1.0
    # log(1 + f) = 2 artanh(s) with |s| < 0.172.
    s = f / (2.0 + f)
    z = s * s
    p = 2.0 / 21.0
    p = p * z + 2.0 / 19.0
    p = p * z + 2.0 / 17.0
    p = p * z + 2.0 / 15.0
    p = p * z + 2.0 / 13.0
    p = p * z + 2.0 / 11.0
    p = p * z + 2.0 / 9.0
    p = p * z + 2.0 / 7.0
    p = p * z + 2.0 / 5.0
    p = p * z + 2.0 / 3.0
    n = float(k)
    return n * LN_2_HIGH + (2.0 * s + (s * z * p + (lost / u + n * LN_2_LOW)))


@njit(cache=True, nogil=True, error_model="numpy")
def _joined(t: float, power: float, factor: float) -> float:
    """Return exp(power) x factor with the edges: p <= 1, 0 at infinity and beyond the range, NaN kept."""
    p = min(_exp(max(power, LOWEST_POWER)) * factor, 1.0)
    p = p if power > LOWEST_POWER else 0.0
    p = 0.0 if abs(t) == math.inf else p
    return p if t == t and factor == factor else math.nan


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _block_tails(
    block: FloatArray, common: tuple[float, ...], columns: npt.NDArray[np.int64], own: FloatArray
) -> None:
    """Replace t by p: all columns with the common df, then those with their own."""
    n_columns, n_own = block.shape[1], columns.size
    # The coefficients are spelled out: only then do they stay in registers and the loop is vectorized.
    half_df, inverse_df, slope, offset, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = common[:14]
    c10, c11, c12, c13, c14, c15, c16, c17, c18 = common[14:]
    own_t = np.empty(n_own)
    power, factor, q, z = np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK)
    for row in range(block.shape[0]):
        values = block[row]
        for j in range(n_own):
            own_t[j] = values[columns[j]]
        for start in range(0, n_columns, CHUNK):
            t = values[start : start + CHUNK]
            for i in range(t.size):
                magnitude = min(abs(t[i]), LARGEST_T)
                w = magnitude * magnitude * inverse_df
                s = SCALE * math.sqrt(1.0 + w)
                share = s / (magnitude + s)
                x = share * slope + offset
                r = ((((c0 * x + c1) * x + c2) * x + c3) * x + c4) * x + c5
                r = ((((r * x + c6) * x + c7) * x + c8) * x + c9) * x + c10
                r = ((((r * x + c11) * x + c12) * x + c13) * x + c14) * x + c15
                r = ((r * x + c16) * x + c17) * x + c18
                factor[i] = r * share
                power[i] = -half_df * _log1p(w)
            for i in range(t.size):
                t[i] = _joined(t[i], power[i], factor[i])
        for start in range(0, n_own, CHUNK):
            t = own_t[start : start + CHUNK]
            stop = start + t.size
            for i in range(t.size):
                magnitude = min(abs(t[i]), LARGEST_T)
                w = magnitude * magnitude * own[1, start + i]
                s = SCALE * math.sqrt(1.0 + w)
                q[i] = s / (magnitude + s)
                z[i] = q[i] * own[2, start + i] + own[3, start + i]
                power[i] = -own[0, start + i] * _log1p(w)
                factor[i] = own[4, start + i]
            for k in range(5, own.shape[0]):
                coefficients = own[k, start:stop]
                for i in range(t.size):
                    factor[i] = factor[i] * z[i] + coefficients[i]
            for i in range(t.size):
                values[columns[start + i]] = _joined(t[i], power[i], factor[i] * q[i])
