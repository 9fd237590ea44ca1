"""The log-logistic (Hill) curve and what follows from it.

    viability(c) = e_inf + (e_0 - e_inf) / (1 + (c / ec50) ** slope)

Here: values of the curve, its mean over a log window and its crossing of one half, in closed form and over
whole arrays of curves. Not here: how parameters are found (``fit``). The plateau without drug, e_0, is 1
unless it is given: viability is a fraction of the control. Doses are log10 throughout; any unit will do as
long as it is the same everywhere.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

LN10 = np.log(10.0)


def viability(
    log10_dose: ArrayLike,
    *,
    log10_ec50: ArrayLike,
    slope: ArrayLike,
    e_inf: ArrayLike,
    e_0: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Return the viability at a dose; arguments broadcast.

    >>> float(viability(0.0, log10_ec50=0.0, slope=2.0, e_inf=0.5))
    0.75
    """
    floor, top = np.asarray(e_inf, dtype=float), np.asarray(e_0, dtype=float)
    distance = np.asarray(log10_dose, dtype=float) - np.asarray(log10_ec50, dtype=float)
    return floor + (top - floor) * expit(-LN10 * np.asarray(slope, dtype=float) * distance)


def mean_viability(
    log10_low: ArrayLike,
    log10_high: ArrayLike,
    *,
    log10_ec50: ArrayLike,
    slope: ArrayLike,
    e_inf: ArrayLike,
    e_0: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Return the mean of the curve over log dose between two doses: low = sensitive.

    With x = log10 dose, window [a, b] and e = log10 EC50 the mean is

        e_0 - (e_0 - e_inf) / (slope (b - a)) * log10[(1 + 10^(slope (b - e))) / (1 + 10^(slope (a - e)))]

    A window without width yields NaN.

    >>> round(float(mean_viability(-3.0, 3.0, log10_ec50=0.0, slope=1.0, e_inf=0.0)), 6)
    0.5
    """
    low, high, middle, steepness, floor, top = (
        np.asarray(argument, dtype=float)
        for argument in (log10_low, log10_high, log10_ec50, slope, e_inf, e_0)
    )
    rate = LN10 * steepness
    # log(1 + exp(z)) without overflow: steep curves have exponents far above 700.
    drop = np.logaddexp(0, rate * (high - middle)) - np.logaddexp(0, rate * (low - middle))
    width = np.where(high > low, high - low, np.nan)
    return top - (top - floor) * drop / (rate * width)


def log10_ic50(
    *, log10_ec50: ArrayLike, slope: ArrayLike, e_inf: ArrayLike, e_0: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Return the log10 dose at which the curve crosses 0.5, NaN where it never does.

    The absolute IC50 is EC50 ((e_0 - 0.5) / (0.5 - e_inf)) ** (1 / slope); a curve with e_inf >= 0.5 stays
    above.

    >>> float(log10_ic50(log10_ec50=-1.0, slope=1.0, e_inf=0.0))
    -1.0
    """
    floor, top = np.asarray(e_inf, dtype=float), np.asarray(e_0, dtype=float)
    crosses = (top > 0.5) & (floor < 0.5)
    ratio = np.where(crosses, top - 0.5, np.nan) / np.where(crosses, 0.5 - floor, np.nan)
    return np.asarray(log10_ec50, dtype=float) + np.log10(ratio) / np.asarray(slope, dtype=float)
