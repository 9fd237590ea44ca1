"""Lowess: a robust locally linear curve through scattered points (Cleveland 1979).

Belongs here: the smoother itself, and its variant for points of unequal weight. Does not belong here: what
the points are.

Local fits are made at *anchors* at most ``delta`` apart and the curve is linear between them, as in
Cleveland's published description of the fast version; with delta = 1 % of the range there are about a
hundred anchors however many points there are, so the result is kept as those anchors.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numba import njit

from etl.arrays import FloatArray, IntArray

DELTA_SHARE = 0.01
"""Anchor distance as a share of the range of x."""
ROBUSTNESS_STEPS = 3
"""Refits with bisquare weights after the first fit."""
NEARLY_AT, NEARLY_OUT = 0.001, 0.999
"""Shares of a window's half-width within which its weights are exactly 1, and beyond which 0."""
ANCHORS = 200
"""Anchors of the weighted variant, about; fewer points are all anchors."""
BISECTIONS = 70
"""Halvings of the range: any half-width above 1e-5 of it is then exact."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A piecewise linear curve, constant beyond its ends."""

    x: FloatArray
    """Anchor positions, ascending."""
    y: FloatArray
    """Curve at the anchors."""

    def at(self, x: FloatArray) -> FloatArray:
        """Return the curve at x."""
        return np.interp(x, self.x, self.y)


@dataclass(frozen=True, slots=True)
class _Windows:
    """The points each anchor's local fit uses, by position in the sorted data."""

    anchor: IntArray
    first: IntArray
    end: IntArray
    """One beyond the last."""


def lowess(x: FloatArray, y: FloatArray, *, span: float = 0.5) -> Curve:
    """Return the lowess curve of y on x.

    Each anchor is fitted by a straight line to its floor(span n) nearest points with tricube weights
    (1 - (r / h)^3)^3, where h is the largest of their distances r; then three times again with the weights
    multiplied by the bisquare (1 - (e / 6 s)^2)^2 of the residuals e, s their median magnitude. Where all
    points of a window coincide within 0.1 % of the range the line is a mean.

    Args:
        x: positions, n.
        y: values, n; both finite.
        span: share of the points in each local fit.

    >>> curve = lowess(np.arange(10.0), 2.0 * np.arange(10.0) + 1.0)
    >>> curve.at(np.array([0.0, 4.5, 99.0])).round(9).tolist()
    [1.0, 10.0, 19.0]
    """
    order = np.argsort(x, kind="stable")
    x, y = np.asarray(x, dtype=np.float64)[order], np.asarray(y, dtype=np.float64)[order]
    n = len(x)
    if n < 2:
        return Curve(x, y)
    n_local = max(2, min(n, int(span * n + 1e-7)))
    extent = float(x[-1] - x[0])
    windows = _nearest_windows(x, _anchors(x, DELTA_SHARE * extent), n_local)

    robustness = np.ones(n)
    for step in range(ROBUSTNESS_STEPS + 1):
        level = _local_levels(
            x, y, robustness, windows.anchor, windows.first, windows.end, extent, NEARLY_AT, NEARLY_OUT
        )
        if step == ROBUSTNESS_STEPS:
            break
        residual = np.abs(y - np.interp(x, x[windows.anchor], level))
        scale = 6.0 * float(np.median(residual))
        if scale <= 1e-7 * float(residual.mean()):
            break  # more than half of the points are on the curve: there is no scale to weigh the rest by
        robustness = _bisquare(residual, scale)
    return Curve(x[windows.anchor], level)


def weighted_lowess(x: FloatArray, y: FloatArray, weight: FloatArray, *, span: float) -> Curve:
    """Return the locally linear curve of y on x for points of unequal weight, without robustness steps.

    Each anchor is fitted by a straight line to the points around it that hold the share ``span`` of all
    weight, with their weights times tricube weights: as :func:`lowess` would with every point repeated
    ``weight`` times. Anchors are the first and the last point and, from one anchor to the next, the first
    point farther than delta, the smallest distance of which about 200 cover the range: where points are so
    sparse that they are farther apart anyway, each is an anchor.

    Args:
        x: positions, n >= 1.
        y: values, n; both finite.
        weight: >= 0, n, not all zero.
        span: share of the weight in each local fit, > 0 and <= 1.

    >>> x = np.arange(10.0)
    >>> weighted_lowess(x, 1.0 + 2.0 * x, 1.0 + x, span=0.5).at(np.array([0.0, 4.5])).round(9).tolist()
    [1.0, 10.0]
    """
    order = np.argsort(x, kind="stable")
    x, y, weight = (np.asarray(column, dtype=np.float64)[order] for column in (x, y, weight))
    extent = float(x[-1] - x[0])
    windows = _weighted_windows(x, weight, _spread_anchors(x), span)
    level = _local_levels(x, y, weight, windows.anchor, windows.first, windows.end, extent, 0.0, 1.0)
    return Curve(x[windows.anchor], level)


def _anchors(x: FloatArray, delta: float) -> list[int]:
    """Return the positions at which a local fit is made, one per distinct x among them.

    From one anchor the next is the last point within delta of it, or the next distinct point if there is
    none.
    """
    anchors = [0]
    while True:
        at = anchors[-1]
        beyond_ties = int(np.searchsorted(x, x[at], side="right"))
        if beyond_ties >= len(x):
            return anchors
        within = int(np.searchsorted(x, x[at] + delta, side="right")) - 1
        anchors.append(max(within, beyond_ties))


def _spread_anchors(x: FloatArray) -> list[int]:
    """Return the positions of about 200 anchors, one per distinct x among them.

    delta is the smallest that any number k of the widest gaps allows when they are jumped over by an anchor
    each: the sum of the other gaps over the other anchors.
    """
    n, delta = len(x), 0.0
    if n > ANCHORS:
        covered = np.cumsum(np.sort(np.diff(x)))
        anchors_left = ANCHORS - np.arange(n - 2, -1, -1)
        delta = float((covered[anchors_left > 0] / anchors_left[anchors_left > 0]).min())
    anchors = [0]
    while True:
        beyond = int(np.searchsorted(x - x[anchors[-1]], delta, side="right"))
        if beyond >= n:
            break
        anchors.append(beyond)
    if x[anchors[-1]] < x[-1]:
        anchors.append(n - 1)
    return anchors


def _nearest_windows(x: FloatArray, anchors: list[int], n_local: int) -> _Windows:
    """Return the n_local nearest points of each anchor; of two equally far ends the left one is kept."""
    last_start = len(x) - n_local

    def start(at: float) -> int:
        def is_settled(i: int) -> bool:
            return bool(at - x[i] <= x[i + n_local] - at)

        return bisect_left(range(last_start), True, key=is_settled)

    first = np.array([start(x[anchor]) for anchor in anchors])
    return _Windows(np.array(anchors), first, first + n_local)


def _weighted_windows(x: FloatArray, weight: FloatArray, anchors: list[int], span: float) -> _Windows:
    """Return the smallest symmetric neighbourhood of each anchor that holds the given share of the weight.

    The half-widths of all anchors are bisected together, down to neighbouring floating point numbers, so
    that the farthest point is within.
    """
    below = np.concatenate([[0.0], np.cumsum(weight)])
    wanted = span * below[-1]
    at = x[anchors]

    def ends(half_width: FloatArray) -> tuple[IntArray, IntArray]:
        first = np.searchsorted(x, at - half_width, side="left")
        return first, np.searchsorted(x, at + half_width, side="right")

    short, enough = np.zeros(at.shape), np.full(at.shape, x[-1] - x[0])
    # A little more than the range, because at +- half-width is rounded.
    enough += 4 * np.spacing(np.abs(x).max())
    for _ in range(BISECTIONS):
        middle = (short + enough) / 2
        first, end = ends(middle)
        holds = below[end] - below[first] >= wanted
        enough, short = np.where(holds, middle, enough), np.where(holds, short, middle)
    return _Windows(np.array(anchors), *ends(enough))


@njit(cache=True, nogil=True, error_model="numpy")
def _local_levels(
    x: FloatArray,
    y: FloatArray,
    factor: FloatArray,
    anchor: IntArray,
    first: IntArray,
    end: IntArray,
    extent: float,
    nearly_at: float,
    nearly_out: float,
) -> FloatArray:
    """Return each window's weighted straight line at its anchor; the anchor's own y if all weights vanish.

    Weights are the factors times (1 - (r / h)^3)^3 with h the distance of the farthest point; the latter is
    exactly 1 within the share ``nearly_at`` of h and 0 beyond ``nearly_out``.
    """
    level = np.empty(len(anchor))
    for k in range(len(anchor)):
        at = x[anchor[k]]
        half_width = max(at - x[first[k]], x[end[k] - 1] - at)
        near, far = nearly_at * half_width, nearly_out * half_width
        total, sum_x, sum_xx, sum_y, sum_xy = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(first[k], end[k]):
            offset = x[i] - at
            distance = abs(offset)
            if distance > far:
                continue
            weight = factor[i]
            if distance > near:
                share = distance / half_width
                body = 1.0 - share * share * share
                weight *= body * body * body
            total += weight
            sum_x += weight * offset
            sum_xx += weight * offset * offset
            sum_y += weight * y[i]
            sum_xy += weight * offset * y[i]
        if total <= 0.0:
            level[k] = y[anchor[k]]
            continue
        mean_x, mean_y = sum_x / total, sum_y / total
        spread = sum_xx / total - mean_x * mean_x
        level[k] = mean_y
        if spread > (0.001 * extent) ** 2:
            level[k] -= mean_x * (sum_xy / total - mean_x * mean_y) / spread
    return level


def _bisquare(residual: FloatArray, scale: float) -> FloatArray:
    """Return (1 - (r / scale)^2)^2, exactly 1 within 0.1 % and 0 beyond 99.9 % of the scale."""
    weight = (1.0 - np.minimum(residual / scale, 1.0) ** 2) ** 2
    weight[residual <= 0.001 * scale] = 1.0
    weight[residual > 0.999 * scale] = 0.0
    return weight
