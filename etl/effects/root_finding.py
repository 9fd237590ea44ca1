"""Root of a function of one variable by the algorithm of Dekker and Brent (Brent 1973, chapter 4).

Belongs here: the search, step by step as R makes it. Does not belong here: the functions.

SciPy's ``brentq`` stops at other points of the same tolerance, up to 1e-8 x df from R's in the degrees of
freedom this is used for. (SciPy's bounded ``minimize_scalar`` does make the same steps as R.)
"""

from collections.abc import Callable

import numpy as np

MACHINE_PRECISION = float(np.finfo(np.float64).eps)
MOST_STEPS = 1000


def find_root(function: Callable[[float], float], low: float, high: float, *, tolerance: float) -> float:
    """Return a root of a continuous function with function(low) and function(high) of opposite sign.

    Every step keeps the best point b, the one before it a, and a point c on the other side of the root. The
    next point is that of the line through two points or of the inverse parabola through three, if it lies
    well inside b..c and the last step was a real advance; else the middle of b..c. It ends when c is within
    ``tolerance`` of b.

    >>> round(find_root(lambda x: x * x - 2, 0.0, 2.0, tolerance=1e-12), 10)
    1.4142135624
    """
    a, b = low, high
    f_a, f_b = function(a), function(b)
    if f_a == 0:
        return a
    if (f_a > 0) == (f_b > 0) and f_b != 0:
        raise ValueError(f"the function has the same sign at {low} and {high}")
    c, f_c = a, f_a
    for _ in range(MOST_STEPS):
        last_step = b - a
        if abs(f_c) < abs(f_b):
            a, b, c = b, c, b
            f_a, f_b, f_c = f_b, f_c, f_b
        smallest_step = 2 * MACHINE_PRECISION * abs(b) + tolerance / 2
        middle = (c - b) / 2
        if abs(middle) <= smallest_step or f_b == 0:
            return b
        step = middle
        if abs(last_step) >= smallest_step and abs(f_a) > abs(f_b):
            p, q = _interpolation(a, b, c, f_a, f_b, f_c)
            within_interval = p < 1.5 * middle * q - abs(smallest_step * q) / 2
            if within_interval and p < abs(last_step * q / 2):
                step = p / q
        if abs(step) < smallest_step:
            step = smallest_step if step > 0 else -smallest_step
        a, f_a = b, f_b
        b += step
        f_b = function(b)
        if (f_b > 0) == (f_c > 0):
            c, f_c = a, f_a
    return b


def _interpolation(a: float, b: float, c: float, f_a: float, f_b: float, f_c: float) -> tuple[float, float]:
    """Return numerator >= 0 and denominator of the interpolated step from b."""
    s = f_b / f_a
    if a == c:
        p, q = (c - b) * s, 1 - s
    else:
        q, r = f_a / f_c, f_b / f_c
        p = s * ((c - b) * q * (q - r) - (b - a) * (r - 1))
        q = (q - 1) * (r - 1) * (s - 1)
    return (p, -q) if p > 0 else (-p, q)
