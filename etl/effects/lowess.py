"""Lowess: a robust locally linear curve through scattered points (Cleveland 1979).

Belongs here: the smoother itself. Does not belong here: what the points are.

Local fits are made at *anchors* at most ``delta`` apart and the curve is linear between them, as in
Cleveland's published description of the fast version; with delta = 1 % of the range there are about a
hundred anchors however many points there are, so the result is kept as those anchors.
"""

from dataclasses import dataclass

import numpy as np

from etl.effects.blocks import FloatArray

DELTA_SHARE = 0.01
"""Anchor distance as a share of the range of x."""
ROBUSTNESS_STEPS = 3
"""Refits with bisquare weights after the first fit."""


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
class _Window:
    """The points a local fit uses, by position in the sorted data, and their distance weights."""

    points: slice
    weight: FloatArray
    """Tricube weights; zero from 0.999 of the half-width on."""
    centred_x: FloatArray
    """x minus the anchor."""


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
    anchors = _anchors(x, DELTA_SHARE * extent)
    windows = [_window(x, anchor, n_local) for anchor in anchors]

    robustness = np.ones(n)
    for step in range(ROBUSTNESS_STEPS + 1):
        level = np.array(
            [
                _local_fit(window, y[window.points], robustness[window.points], extent, y[anchor])
                for anchor, window in zip(anchors, windows, strict=True)
            ]
        )
        if step == ROBUSTNESS_STEPS:
            break
        residual = np.abs(y - np.interp(x, x[anchors], level))
        scale = 6.0 * float(np.median(residual))
        if scale < 1e-7 * float(residual.mean()):
            break  # more than half of the points are on the curve: there is no scale to weigh the rest by
        robustness = _bisquare(residual, scale)
    return Curve(x[anchors], level)


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


def _window(x: FloatArray, anchor: int, n_local: int) -> _Window:
    """Return the n_local nearest points of an anchor; of two equally far ends the left one is kept."""
    last_start = len(x) - n_local
    starts = np.arange(last_start)
    settled = x[anchor] - x[starts] <= x[starts + n_local] - x[anchor]
    start = int(np.argmax(settled)) if settled.any() else last_start
    points = slice(start, start + n_local)
    centred = x[points] - x[anchor]
    distance = np.abs(centred)
    half_width = float(distance.max())
    weight = np.where(distance <= 0.999 * half_width, 1.0, 0.0)
    body = (distance > 0.001 * half_width) & (weight > 0)
    weight[body] = (1.0 - (distance[body] / half_width) ** 3) ** 3
    return _Window(points, weight, centred)


def _local_fit(window: _Window, y: FloatArray, robustness: FloatArray, extent: float, own: float) -> float:
    """Return a window's weighted straight line at its anchor; the own value if all weights vanish."""
    weight = window.weight * robustness
    total = float(weight.sum())
    if total <= 0:
        return own
    weight /= total
    mean = float(weight @ window.centred_x)
    spread = float(weight @ (window.centred_x - mean) ** 2)
    if np.sqrt(spread) > 0.001 * extent:
        weight *= 1.0 - mean / spread * (window.centred_x - mean)
    return float(weight @ y)


def _bisquare(residual: FloatArray, scale: float) -> FloatArray:
    """Return (1 - (r / scale)^2)^2, exactly 1 within 0.1 % and 0 beyond 99.9 % of the scale."""
    weight = (1.0 - np.minimum(residual / scale, 1.0) ** 2) ** 2
    weight[residual <= 0.001 * scale] = 1.0
    weight[residual > 0.999 * scale] = 0.0
    return weight
