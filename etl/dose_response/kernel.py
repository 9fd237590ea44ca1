"""Compiled least squares of log-logistic curves, one curve at a time, many curves on several threads.

    f(x) = e_0 (1 - k) + e_inf k,    k = 1 / (1 + exp(-z)),    z = ln(10) slope (x - log10 EC50)

Here: the grid of starts, the descent from each, robust reweighting, and the sums that tests and intervals
need. Not here: frames, what is said about a fit (``fit``), and the curve's own formulas (``hill``).

**Projection.** For a given EC50 and slope the plateaus are a linear least-squares problem in a box, solved in
closed form. What is left is a function of two numbers, EC50 and slope (variable projection, Golub & Pereyra
1973, SIAM J. Numer. Anal. 10:413). Its second derivatives are exact: the Schur complement of those of the
sum of squares. Newton steps with them need few iterations also where residuals are large, where those of
Gauss and Newton crawl.

**Replicates.** Values at one dose are merged to their weighted mean first: the sum of squares is that of the
means plus the scatter around them, which no parameter changes. A robust fit takes them one by one.

**Units.** Log doses are taken relative to the middle of the curve and rounded to 2^-32 decades (a part in two
billion of the dose), so that the arithmetic does not depend on the unit of the dose.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from etl.arrays import FloatArray, IntArray, slices

LN10: Final = math.log(10.0)
START_SLOPES: Final = (0.3, 0.7, 1.5, 3.5, 8.0)
"""Slopes of the start grid; those outside the bounds are moved onto them."""
OUTER_STARTS: Final = (0.1, 0.25, 0.5, 1.0)
"""EC50s of the start grid outside the tested doses, as shares of the way to the bound."""
BLOCK_CURVES: Final = 2048
"""Curves of one task of a thread."""

_MAX_ITERATIONS = 200
_MAX_DAMPING = 1e12
_RELATIVE_TOLERANCE = 1e-12
_TIE = 1e-9
_LARGEST_EXPONENT = 700.0
_X_STEP = 2.0**-32
_BOUND_TOLERANCE = 1e-9
_SINGULAR = 1e-10
"""A pivot of the correlation matrix of the parameters below this makes it singular."""

CAUCHY: Final = 2.385
"""Tuning constant of the Cauchy weight 1 / (1 + (u / c)^2): 95 % efficiency under normal errors."""
MAD_TO_SD: Final = 1.4826
SCALE_FLOOR: Final = 1e-3
"""Smallest scale of the residuals in a robust fit: a thousandth of the viability of the control."""
_ROBUST_ITERATIONS = 50
_ROBUST_SEARCHES = 3
"""Robust iterations that search from all starts; the later ones only descend from where they are."""
_ROBUST_TOLERANCE = 1e-6

_SLOTS = 10
_EC50, _SLOPE, _E_0, _E_INF, _RESIDUAL, _TOTAL, _EC50_SE, _IC50_SE, _LINE_T, _RISE = range(_SLOTS)


@dataclass(frozen=True, slots=True)
class Box:
    """Where the parameters may lie; an equal pair fixes a parameter.

    Args:
        log10_ec50_low: lowest log10 EC50 of each curve.
        log10_ec50_high: highest log10 EC50 of each curve.
        slope: lowest and highest slope, both positive.
        e_0: lowest and highest upper plateau (dose zero).
        e_inf: lowest and highest lower plateau (infinite dose).
    """

    log10_ec50_low: FloatArray
    log10_ec50_high: FloatArray
    slope: tuple[float, float]
    e_0: tuple[float, float]
    e_inf: tuple[float, float]


class SeriesFits(NamedTuple):
    """One number per curve in each array; NaN where there is none."""

    log10_ec50: FloatArray
    slope: FloatArray
    e_0: FloatArray
    e_inf: FloatArray
    residual: FloatArray
    """Weighted sum of squared residuals; with the robust weights where the fit is robust."""
    total: FloatArray
    """The same around the weighted mean."""
    log10_ec50_se: FloatArray
    """Standard error of log10 EC50; NaN where EC50 or slope stands on its bound or the matrix is singular."""
    log10_ic50_se: FloatArray
    """Standard error of the log10 dose where the curve is 0.5; NaN also where it never is."""
    line_t: FloatArray
    """t of the slope of the straight line through the values over log dose, on n - 2 degrees of freedom."""
    largest_rise: FloatArray
    """Largest rise of the mean value from one dose to a later one; 0 where it only falls."""


def fit_series(
    log10_dose: FloatArray,
    value: FloatArray,
    weight: FloatArray,
    first: IntArray,
    box: Box,
    *,
    robust: bool = False,
    n_threads: int | None = None,
) -> SeriesFits:
    """Fit every series; points of a series stand together, sorted by dose.

    Args:
        log10_dose: of each point, any unit; minus infinity is a vehicle, which lies on the upper plateau.
        value: of each point, finite.
        weight: of each point, positive.
        first: position of the first point of each series, and the number of points at the end: series + 1.
            Each has at least three finite doses.
        box: bounds; an EC50 is in the unit of the doses.
        robust: weigh points by their residuals (Cauchy, see ``docs/methods/dose_response.md``).
        n_threads: threads over blocks of curves, by default one per processor.
    """
    n_series = len(first) - 1
    if n_series == 0:
        return SeriesFits(*np.empty((_SLOTS, 0)))
    lowest = np.minimum.reduceat(np.where(np.isfinite(log10_dose), log10_dose, np.inf), first[:-1])
    centre = (lowest + log10_dose[first[1:] - 1]) / 2
    x = np.round((log10_dose - np.repeat(centre, np.diff(first))) / _X_STEP) * _X_STEP
    limits = np.array([*np.log(box.slope), *box.e_0, *box.e_inf])
    ec50_limits = np.column_stack([box.log10_ec50_low - centre, box.log10_ec50_high - centre])
    ec50_limits = np.round(ec50_limits / _X_STEP) * _X_STEP
    start_slopes = np.unique(np.clip(np.log(START_SLOPES), limits[0], limits[1]))
    # Copies: numba would compile the kernel again for arrays that are not to be written.
    value, weight, first = value.astype(float), weight.astype(float), first.astype(np.int64)
    found = np.empty((n_series, _SLOTS))

    def fit_block(block: slice) -> None:
        _fit_block(
            block.start,
            block.stop,
            first,
            x,
            value,
            weight,
            ec50_limits,
            limits,
            start_slopes,
            robust,
            found,
        )

    with ThreadPoolExecutor(n_threads or os.cpu_count() or 1) as threads:
        list(threads.map(fit_block, slices(n_series, BLOCK_CURVES)))
    found[:, _EC50] += centre
    found[:, _SLOPE] = np.exp(found[:, _SLOPE])
    # exp(log(bound)) is not always the bound.
    found[:, _SLOPE] = np.clip(found[:, _SLOPE], *box.slope)
    return SeriesFits(*np.ascontiguousarray(found.T))


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_block(
    begin: int,
    end: int,
    first: IntArray,
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    ec50_limits: FloatArray,
    limits: FloatArray,
    start_slopes: FloatArray,
    robust: bool,
    found: FloatArray,
) -> None:
    """Fit the series from ``begin`` to before ``end``."""
    longest = 0
    for series in range(begin, end):
        longest = max(longest, first[series + 1] - first[series])
    merged = np.empty((3, longest))
    killed, squares = np.empty(longest), np.empty(longest)
    starts = np.empty((7, 2 * longest + 2 * len(OUTER_STARTS)))
    box = np.empty(8)
    box[2:] = limits
    for series in range(begin, end):
        points = slice(first[series], first[series + 1])
        own_x, own_y, own_weight = x[points], y[points], weight[points]
        n = own_x.size
        box[0], box[1] = ec50_limits[series]
        n_doses, scatter = _merge(own_x, own_y, own_weight, merged)
        doses, means, weights = merged[0, :n_doses], merged[1, :n_doses], merged[2, :n_doses]
        if robust:
            used = own_weight.copy()
            middle, log_slope, variance = _fit_robust(
                own_x, own_y, own_weight, used, doses, box, start_slopes, starts, killed, squares
            )
            e_0, e_inf, residual = _project(own_x, own_y, used, middle, log_slope, box, killed)
            total = _around_mean(own_y, used)
            ec50_se, ic50_se = _standard_errors(
                own_x, own_weight, middle, log_slope, e_0, e_inf, box, killed, variance
            )
        else:
            middle, log_slope = _search(doses, means, weights, doses, box, start_slopes, starts, killed)
            e_0, e_inf, residual = _project(doses, means, weights, middle, log_slope, box, killed)
            residual += scatter
            total = _around_mean(own_y, own_weight)
            freedom = n - _n_parameters(box)
            variance = residual / freedom if freedom > 0 else math.nan
            ec50_se, ic50_se = _standard_errors(
                doses, weights, middle, log_slope, e_0, e_inf, box, killed, variance
            )
        row = found[series]
        row[_EC50], row[_SLOPE], row[_E_0], row[_E_INF] = middle, log_slope, e_0, e_inf
        row[_RESIDUAL], row[_TOTAL], row[_EC50_SE], row[_IC50_SE] = residual, total, ec50_se, ic50_se
        row[_LINE_T] = _line_t(doses, means, weights, scatter, n)
        row[_RISE] = _largest_rise(doses, means)


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(x: FloatArray, y: FloatArray, weight: FloatArray, merged: FloatArray) -> tuple[int, float]:
    """Write dose, weighted mean and weight of each dose; return their number and the scatter around means."""
    n_doses, scatter, start = 0, 0.0, 0
    while start < x.size:
        stop, total, moment = start, 0.0, 0.0
        while stop < x.size and x[stop] == x[start]:
            total += weight[stop]
            moment += weight[stop] * y[stop]
            stop += 1
        mean = moment / total if stop > start + 1 else y[start]
        for i in range(start, stop):
            scatter += weight[i] * (y[i] - mean) ** 2
        merged[0, n_doses], merged[1, n_doses], merged[2, n_doses] = x[start], mean, total
        n_doses += 1
        start = stop
    return n_doses, scatter


@njit(cache=True, nogil=True, error_model="numpy")
def _around_mean(y: FloatArray, weight: FloatArray) -> float:
    """Return the weighted sum of squares around the weighted mean."""
    total, moment = 0.0, 0.0
    for i in range(y.size):
        total += weight[i]
        moment += weight[i] * (y[i] - y[0])
    mean, square = y[0] + moment / total, 0.0
    for i in range(y.size):
        square += weight[i] * (y[i] - mean) ** 2
    return square


@njit(cache=True, nogil=True, error_model="numpy")
def _n_parameters(box: FloatArray) -> int:
    """Return how many parameters are not fixed."""
    n = 0
    for parameter in range(4):
        if box[2 * parameter] < box[2 * parameter + 1]:
            n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _plateaus(
    a: float, b: float, c: float, p: float, q: float, box: FloatArray
) -> tuple[float, float, float]:
    """Minimize a e_0^2 + 2 b e_0 e_inf + c e_inf^2 - 2 p e_0 - 2 q e_inf in the box.

    Returns:
        e_0, e_inf and the value there. A plateau that no point says anything about equals the other as far
        as its bounds allow.
    """
    low_0, high_0, low_inf, high_inf = box[4], box[5], box[6], box[7]
    tiny = 1e-300
    if low_0 == high_0:
        e_0 = low_0
        e_inf = min(max((q - b * e_0) / c if c > tiny else e_0, low_inf), high_inf)
        return e_0, e_inf, a * e_0 * e_0 + 2 * b * e_0 * e_inf + c * e_inf * e_inf - 2 * (p * e_0 + q * e_inf)
    determinant = a * c - b * b
    if determinant > 1e-13 * a * c:
        e_0, e_inf = (p * c - q * b) / determinant, (q * a - p * b) / determinant
        if low_0 <= e_0 <= high_0 and low_inf <= e_inf <= high_inf:
            return e_0, e_inf, -(p * e_0 + q * e_inf)
    best_0, best_inf, best = low_0, low_inf, math.inf
    for edge in range(4):
        if edge < 2:
            e_0 = low_0 if edge == 0 else high_0
            e_inf = min(max((q - b * e_0) / c if c > tiny else e_0, low_inf), high_inf)
        else:
            e_inf = low_inf if edge == 2 else high_inf
            e_0 = min(max((p - b * e_inf) / a if a > tiny else e_inf, low_0), high_0)
        value = a * e_0 * e_0 + 2 * b * e_0 * e_inf + c * e_inf * e_inf - 2 * (p * e_0 + q * e_inf)
        if value < best:
            best_0, best_inf, best = e_0, e_inf, value
    return best_0, best_inf, best


@njit(cache=True, nogil=True, error_model="numpy")
def _project(
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    middle: float,
    log_slope: float,
    box: FloatArray,
    killed: FloatArray,
) -> tuple[float, float, float]:
    """Return the best plateaus for an EC50 and a slope, and their sum of squares; write k of each point."""
    rate = LN10 * math.exp(log_slope)
    a = b = c = p = q = 0.0
    for i in range(x.size):
        z = min(max(rate * (x[i] - middle), -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        small = math.exp(-abs(z))
        k = (1.0 if z >= 0 else small) / (1.0 + small)
        left, w = (small if z >= 0 else 1.0) / (1.0 + small), weight[i]
        killed[i] = k
        a += w * left * left
        b += w * left * k
        c += w * k * k
        p += w * left * y[i]
        q += w * k * y[i]
    e_0, e_inf, _ = _plateaus(a, b, c, p, q, box)
    residual = 0.0
    for i in range(x.size):
        error = y[i] - (e_0 + (e_inf - e_0) * killed[i])
        residual += weight[i] * error * error
    return e_0, e_inf, residual


@njit(cache=True, nogil=True, error_model="numpy")
def _derivatives(
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    middle: float,
    log_slope: float,
    e_0: float,
    e_inf: float,
    box: FloatArray,
    killed: FloatArray,
) -> tuple[float, float, float, float, float, float, float]:
    """Return first and second derivatives of half the projected sum of squares, and the scale of each axis.

    Axes are log10 EC50 (m) and log slope (s). Plateaus on a bound are held there.

    Returns:
        d/dm, d/ds, d2/dm2, d2/dmds, d2/ds2, and the sums of squares of df/dm and df/ds.
    """
    rate, drop = LN10 * math.exp(log_slope), e_0 - e_inf
    gradient_m = gradient_s = mm = ms = ss = scale_m = scale_s = 0.0
    m_0 = m_inf = s_0 = s_inf = a = b = c = 0.0
    for i in range(x.size):
        k, w = killed[i], weight[i]
        left = 1.0 - k
        error = y[i] - (e_0 - drop * k)
        bend = k * left
        z = min(max(rate * (x[i] - middle), -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        by_m, by_s = rate * bend, -z * bend
        f_m, f_s = drop * by_m, drop * by_s
        turn = left - k
        gradient_m -= w * error * f_m
        gradient_s -= w * error * f_s
        scale_m += w * f_m * f_m
        scale_s += w * f_s * f_s
        mm += w * error * drop * bend * turn * rate * rate
        ms += w * (f_m * f_s - error * drop * rate * bend * (turn * z + 1.0))
        ss += w * error * drop * bend * z * (turn * z + 1.0)
        m_0 += w * (f_m * left - error * by_m)
        m_inf += w * (f_m * k + error * by_m)
        s_0 += w * (f_s * left - error * by_s)
        s_inf += w * (f_s * k + error * by_s)
        a += w * left * left
        b += w * left * k
        c += w * k * k
    mm += scale_m
    ss += scale_s
    is_free_0, is_free_inf = box[4] < e_0 < box[5], box[6] < e_inf < box[7]
    determinant = a * c - b * b
    if is_free_0 and is_free_inf and determinant > 1e-13 * a * c:
        mm -= (c * m_0 * m_0 - 2 * b * m_0 * m_inf + a * m_inf * m_inf) / determinant
        ms -= (c * m_0 * s_0 - b * (m_0 * s_inf + m_inf * s_0) + a * m_inf * s_inf) / determinant
        ss -= (c * s_0 * s_0 - 2 * b * s_0 * s_inf + a * s_inf * s_inf) / determinant
    elif is_free_inf and c > 1e-300:
        mm -= m_inf * m_inf / c
        ms -= m_inf * s_inf / c
        ss -= s_inf * s_inf / c
    elif is_free_0 and a > 1e-300:
        mm -= m_0 * m_0 / a
        ms -= m_0 * s_0 / a
        ss -= s_0 * s_0 / a
    return gradient_m, gradient_s, mm, ms, ss, scale_m, scale_s


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    middle: float,
    log_slope: float,
    box: FloatArray,
    killed: FloatArray,
) -> tuple[float, float, float]:
    """Go down from a start by damped Newton steps in the box; return EC50, log slope and sum of squares.

    A parameter on its bound is held while the gradient points outward; a step that would leave the box ends
    on it. The descent ends when a step gains, or promises to gain, no more than rounding.
    """
    low_m, high_m, low_s, high_s = box[0], box[1], box[2], box[3]
    e_0, e_inf, residual = _project(x, y, weight, middle, log_slope, box, killed)
    damping = 1e-4
    for _ in range(_MAX_ITERATIONS):
        if residual <= 1e-28:
            break
        gradient_m, gradient_s, mm, ms, ss, scale_m, scale_s = _derivatives(
            x, y, weight, middle, log_slope, e_0, e_inf, box, killed
        )
        is_held_m = (middle <= low_m and gradient_m > 0) or (middle >= high_m and gradient_m < 0)
        is_held_s = (log_slope <= low_s and gradient_s > 0) or (log_slope >= high_s and gradient_s < 0)
        if is_held_m or is_held_s:
            ms = 0.0
        if is_held_m:
            gradient_m, mm = 0.0, 1.0
        if is_held_s:
            gradient_s, ss = 0.0, 1.0
        # Where the curve is flat a parameter has no influence: a floor keeps its step finite.
        scale_m, scale_s = scale_m + 1e-8, scale_s + 1e-8
        is_done, is_accepted = False, False
        while damping < _MAX_DAMPING:
            damped_m, damped_s = mm + damping * scale_m, ss + damping * scale_s
            determinant = damped_m * damped_s - ms * ms
            if damped_m <= 0 or damped_s <= 0 or determinant <= 1e-12 * damped_m * damped_s:
                damping *= 10
                continue
            step_m = (ms * gradient_s - damped_s * gradient_m) / determinant
            step_s = (ms * gradient_m - damped_m * gradient_s) / determinant
            if -(step_m * gradient_m + step_s * gradient_s) <= 1e-15 * residual:
                is_done = True
                break
            there_m = min(max(middle + step_m, low_m), high_m)
            there_s = min(max(log_slope + step_s, low_s), high_s)
            new_0, new_inf, new = _project(x, y, weight, there_m, there_s, box, killed)
            if new < residual:
                gain = residual - new
                is_done = gain <= _RELATIVE_TOLERANCE * residual and damping <= 1e-2
                middle, log_slope, e_0, e_inf, residual = there_m, there_s, new_0, new_inf, new
                damping = max(damping / 10, 1e-12)
                is_accepted = True
                break
            damping = max(damping * 10, 1e-4)
        if is_done or not is_accepted:
            break
    return middle, log_slope, residual


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    doses: FloatArray,
    box: FloatArray,
    start_slopes: FloatArray,
    starts: FloatArray,
    killed: FloatArray,
) -> tuple[float, float]:
    """Return EC50 and log slope of the lowest end of the descents from the best EC50 of each start slope.

    EC50s of the grid are the doses, the middles between them, and some outside. Of ends that differ by
    rounding alone the first start's wins.
    """
    n = _grid(doses, box, starts[0])
    middles, power, a, b, c, p, q = starts
    best_m = best_s = math.nan
    best = math.inf
    for log_slope in start_slopes:
        rate = LN10 * math.exp(log_slope)
        for j in range(n):
            power[j] = math.exp(min(max(rate * middles[j], -300.0), 300.0))
            a[j] = b[j] = c[j] = p[j] = q[j] = 0.0
        for i in range(x.size):
            decay = math.exp(min(max(-rate * x[i], -300.0), 300.0))
            w, wy = weight[i], weight[i] * y[i]
            for j in range(n):
                k = 1.0 / (1.0 + power[j] * decay)
                left = 1.0 - k
                a[j] += w * left * left
                b[j] += w * left * k
                c[j] += w * k * k
                p[j] += wy * left
                q[j] += wy * k
        chosen, lowest, size = 0, math.inf, 0.0
        for i in range(x.size):
            size += weight[i] * y[i] * y[i]
        for j in range(n):
            value = _plateaus(a[j], b[j], c[j], p[j], q[j], box)[2]
            if value < lowest - 1e-12 * size:
                chosen, lowest = j, value
        middle, slope, residual = _descend(x, y, weight, middles[chosen], log_slope, box, killed)
        if residual < best * (1 - _TIE) - 1e-18:
            best_m, best_s, best = middle, slope, residual
    return best_m, best_s


@njit(cache=True, nogil=True, error_model="numpy")
def _grid(doses: FloatArray, box: FloatArray, middles: FloatArray) -> int:
    """Write the EC50s of the start grid and return their number."""
    begin = 1 if doses[0] == -math.inf else 0
    low, high, n = doses[begin], doses[-1], 0
    for share in OUTER_STARTS:
        middles[n] = min(max(low + share * (box[0] - low), box[0]), box[1])
        middles[n + 1] = min(max(high + share * (box[1] - high), box[0]), box[1])
        n += 2
    for i in range(begin, doses.size):
        middles[n] = min(max(doses[i], box[0]), box[1])
        n += 1
        if i + 1 < doses.size:
            middles[n] = min(max((doses[i] + doses[i + 1]) / 2, box[0]), box[1])
            n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_robust(
    x: FloatArray,
    y: FloatArray,
    weight: FloatArray,
    used: FloatArray,
    doses: FloatArray,
    box: FloatArray,
    start_slopes: FloatArray,
    starts: FloatArray,
    killed: FloatArray,
    sizes: FloatArray,
) -> tuple[float, float, float]:
    """Iterate weighted fits; write the last weights to ``used``, return EC50, log slope, variance.

    Scale is the median of the absolute residuals without the smallest p - 1 (p parameters, which make that
    many nearly zero) over 0.6745. The variance is that of an estimate by Huber (1981, Robust Statistics,
    section 7.6): s^2 sum psi(u)^2 / (n - p) / mean(psi'(u))^2.
    """
    n, n_parameters = x.size, _n_parameters(box)
    middle, log_slope = _search(x, y, weight, doses, box, start_slopes, starts, killed)
    scale = SCALE_FLOOR
    for iteration in range(_ROBUST_ITERATIONS):
        e_0, e_inf, _ = _project(x, y, used, middle, log_slope, box, killed)
        for i in range(n):
            sizes[i] = math.sqrt(weight[i]) * abs(y[i] - (e_0 + (e_inf - e_0) * killed[i]))
        ordered = np.sort(sizes[:n])[min(n_parameters, n) - 1 :]
        scale = max(MAD_TO_SD * np.median(ordered), SCALE_FLOOR)
        change = 0.0
        for i in range(n):
            new = weight[i] / (1.0 + (sizes[i] / (CAUCHY * scale)) ** 2)
            change = max(change, abs(new - used[i]) / weight[i])
            used[i] = new
        if change < _ROBUST_TOLERANCE:
            break
        if iteration < _ROBUST_SEARCHES:
            middle, log_slope = _search(x, y, used, doses, box, start_slopes, starts, killed)
        else:
            middle, log_slope, _ = _descend(x, y, used, middle, log_slope, box, killed)
    squares = derivatives = 0.0
    for i in range(n):
        u = sizes[i] / scale
        cauchy = 1.0 / (1.0 + (u / CAUCHY) ** 2)
        squares += (u * cauchy) ** 2
        derivatives += cauchy * cauchy * (1.0 - (u / CAUCHY) ** 2)
    variance = math.nan
    if n > n_parameters and derivatives > 0:
        variance = scale * scale * squares / (n - n_parameters) / (derivatives / n) ** 2
    return middle, log_slope, variance


@njit(cache=True, nogil=True, error_model="numpy")
def _standard_errors(
    x: FloatArray,
    weight: FloatArray,
    middle: float,
    log_slope: float,
    e_0: float,
    e_inf: float,
    box: FloatArray,
    killed: FloatArray,
    variance: float,
) -> tuple[float, float]:
    """Return standard errors of log10 EC50 and log10 IC50 by the Jacobian, NaN where they cannot be given.

    A plateau on its bound is held; EC50 or slope on its bound makes both NaN. That of IC50 is by the delta
    method. ``killed`` is at the parameters given.
    """
    is_inside = (
        middle - box[0] > _BOUND_TOLERANCE
        and box[1] - middle > _BOUND_TOLERANCE
        and log_slope - box[2] > _BOUND_TOLERANCE
        and box[3] - log_slope > _BOUND_TOLERANCE
    )
    if not is_inside or not variance >= 0:
        return math.nan, math.nan
    slope = math.exp(log_slope)
    rate, drop = LN10 * slope, e_0 - e_inf
    normal = np.zeros((4, 4))
    row, target = np.empty(4), np.zeros(4)
    for i in range(x.size):
        k = killed[i]
        z = min(max(rate * (x[i] - middle), -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        bend = drop * k * (1.0 - k)
        row[0], row[1], row[2], row[3] = rate * bend, -z * bend, 1.0 - k, k
        for g in range(4):
            for h in range(4):
                normal[g, h] += weight[i] * row[g] * row[h]
    target[0] = 1.0
    crosses = e_0 > 0.5 > e_inf
    if crosses:
        target[1] = -math.log10((e_0 - 0.5) / (0.5 - e_inf)) / slope
        target[2] = 1.0 / (rate * (e_0 - 0.5))
        target[3] = 1.0 / (rate * (0.5 - e_inf))
    is_free = (
        True,
        True,
        e_0 - box[4] > _BOUND_TOLERANCE and box[5] - e_0 > _BOUND_TOLERANCE,
        e_inf - box[6] > _BOUND_TOLERANCE and box[7] - e_inf > _BOUND_TOLERANCE,
    )
    root = np.zeros((4, 4))
    forward = np.zeros((2, 4))
    ec50_square = ic50_square = 0.0
    for g in range(4):
        if not is_free[g]:
            continue
        if not normal[g, g] > 0:
            return math.nan, math.nan
        pivot = normal[g, g]
        for h in range(g):
            if is_free[h]:
                entry = normal[g, h]
                for j in range(h):
                    entry -= root[g, j] * root[h, j]
                root[g, h] = entry / root[h, h]
                pivot -= root[g, h] ** 2
        if pivot <= _SINGULAR * normal[g, g]:
            return math.nan, math.nan
        root[g, g] = math.sqrt(pivot)
        # With N = R R', the variance of c' theta is |R^-1 c|^2: substitution along the way.
        forward[0, g], forward[1, g] = (1.0 if g == 0 else 0.0), target[g]
        for h in range(g):
            if is_free[h]:
                forward[0, g] -= root[g, h] * forward[0, h]
                forward[1, g] -= root[g, h] * forward[1, h]
        forward[0, g] /= root[g, g]
        forward[1, g] /= root[g, g]
        ec50_square += forward[0, g] ** 2
        ic50_square += forward[1, g] ** 2
    ic50_se = math.sqrt(variance * ic50_square) if crosses else math.nan
    return math.sqrt(variance * ec50_square), ic50_se


@njit(cache=True, nogil=True, error_model="numpy")
def _line_t(doses: FloatArray, means: FloatArray, weights: FloatArray, scatter: float, n: int) -> float:
    """Return t of the straight line through the values over log dose; infinite where it is exact."""
    begin = 1 if doses[0] == -math.inf else 0
    total = x_mean = y_mean = 0.0
    for i in range(begin, doses.size):
        total += weights[i]
        x_mean += weights[i] * doses[i]
        y_mean += weights[i] * means[i]
    x_mean, y_mean = x_mean / total, y_mean / total
    xx = xy = 0.0
    for i in range(begin, doses.size):
        xx += weights[i] * (doses[i] - x_mean) ** 2
        xy += weights[i] * (doses[i] - x_mean) * (means[i] - y_mean)
    slope, spread = xy / xx, scatter
    for i in range(begin, doses.size):
        spread += weights[i] * (means[i] - y_mean - slope * (doses[i] - x_mean)) ** 2
    if slope == 0.0:
        return 0.0
    return slope * math.sqrt(xx * max(n - 2, 0) / spread)


@njit(cache=True, nogil=True, error_model="numpy")
def _largest_rise(doses: FloatArray, means: FloatArray) -> float:
    """Return the largest rise of the mean from one dose to a later one."""
    begin = 1 if doses[0] == -math.inf else 0
    lowest, rise = math.inf, 0.0
    for i in range(begin, doses.size):
        lowest = min(lowest, means[i])
        rise = max(rise, means[i] - lowest)
    return rise
