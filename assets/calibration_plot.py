"""The plot of null calibration: p-values of vehicle against vehicle, one small histogram per fit unit.

Belongs here: the drawing. Does not belong here: which units are drawn and what is good (``checks.py``).
"""

import base64
from io import BytesIO

import numpy as np
import polars as pl

COLUMNS = 4
WIDTH, HEIGHT = 2.6, 1.9
"""Inches of a panel."""

BARS = "▁▂▃▄▅▆▇█"


def calibration_plot(units: pl.DataFrame) -> str:
    """Return a Markdown image of the p-value histograms of fit units, in their order.

    The dashed line is where all bars of a calibrated test end; the first bin is marked.

    Args:
        units: rows of ``mart/null_calibration`` that hold tests, at most a dozen.
    """
    # matplotlib takes half a second to load, and only this check draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_rows = -(-units.height // COLUMNS)
    figure = Figure(figsize=(COLUMNS * WIDTH, n_rows * HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, COLUMNS, squeeze=False, sharex=True).ravel()
    for panel, unit in zip(panels, units.iter_rows(named=True), strict=False):
        counts = np.asarray(unit["histogram"], dtype=np.float64)
        density = counts / counts.sum() * counts.size
        edges = np.linspace(0.0, 1.0, counts.size + 1)
        colors = ["#c44e52"] + ["#8da0b8"] * (counts.size - 1)
        panel.bar(edges[:-1], density, width=np.diff(edges), align="edge", color=colors)
        panel.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
        panel.set_title(f"{_title(unit)}: {unit['share_below_0_05']:.3f} below 0.05", fontsize=7)
        panel.tick_params(labelsize=6, labelbottom=True)
        panel.set_xlim(0.0, 1.0)
        panel.set_ylim(0.0, max(1.6, density.max() * 1.05))
    for panel in panels[units.height :]:
        panel.set_axis_off()
    figure.supxlabel("p-value of vehicle against vehicle", fontsize=8)
    figure.supylabel("density", fontsize=8)
    image = BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return f"![null calibration](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"


def bars(histogram: list[int]) -> str:
    """Return a histogram as a line of text, for places where a plot is too much.

    >>> bars([4, 8, 0, 8])
    '▄█▁█'
    """
    highest = max(histogram, default=0) or 1
    return "".join(BARS[round(count / highest * (len(BARS) - 1))] for count in histogram)


def _title(unit: dict[str, object]) -> str:
    dataset, group = unit["dataset_id"], unit["vehicle_group"]
    context = str(unit["context_id"]).removeprefix(f"unresolved:{dataset}:")
    return f"{dataset}\n{context} {group}"[:80].rstrip()
