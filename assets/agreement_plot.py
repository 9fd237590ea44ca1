"""The plots of agreement between datasets: a heatmap of correlations, and deltas with their intervals.

Belongs here: the drawing. Does not belong here: the means (``etl.agreement.summary``), and the page that
explains them (``etl.agreement.report``).
"""

import base64
from io import BytesIO
from typing import Any, Final

import polars as pl

from etl.agreement.report import BASELINE_LABELS, SPEARMAN, WIDEST

COLUMNS: Final = 2
WIDTH, HEIGHT = 5.2, 2.3
"""Inches of a panel of deltas."""
CELL, LABELS = 0.85, 1.8
"""Inches of a cell of the heatmap, and of the names beside it."""


def heatmap(summary: pl.DataFrame) -> str:
    """Return a Markdown image of the mean Spearman correlation of each pair of datasets.

    Where there is nothing to draw, a sentence says so instead.

    Args:
        summary: rows of ``mart/agreement_summary``.
    """
    rows = _of_all_genes(summary).filter(pl.col("quantity") == "observed", pl.col("baseline") == "none")
    rows = rows.drop_nulls("mean")
    if rows.is_empty():
        return "No pair of datasets has a mean correlation."
    datasets = sorted({*rows["left_dataset_id"], *rows["right_dataset_id"]})
    place = {dataset: number for number, dataset in enumerate(datasets)}
    size = len(datasets)
    grid = [[float("nan")] * size for _ in datasets]
    figure = _figure(LABELS + size * CELL + 0.8, LABELS * 0.7 + size * CELL * 0.7)
    axes = figure.subplots()
    for left, right, mean in rows.select("left_dataset_id", "right_dataset_id", "mean").iter_rows():
        for x, y in ((place[left], place[right]), (place[right], place[left])):
            grid[y][x] = mean
            axes.text(x, y, f"{mean:z.2f}", ha="center", va="center", fontsize=8)
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(grid, vmin=-1.0, vmax=1.0, cmap="RdBu", alpha=0.6, aspect="auto")
    axes.set_xticks(range(size), datasets, rotation=30, ha="right", fontsize=7)
    axes.set_yticks(range(size), datasets, fontsize=7)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("mean Spearman correlation, all genes", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return _markdown(figure, "agreement of pairs of datasets")


def forest(summary: pl.DataFrame) -> str:
    """Return a Markdown image of how far each pair of datasets agrees beyond each baseline.

    Points are mean deltas of the Spearman correlation over all genes, lines their 95 % intervals. A pair
    without any delta has no panel; where there is none at all, a sentence says so instead.

    Args:
        summary: rows of ``mart/agreement_summary``.
    """
    rows = _of_all_genes(summary).filter(
        pl.col("quantity") == "delta", pl.col("baseline").is_in(list(BASELINE_LABELS))
    )
    rows = rows.drop_nulls("mean").sort("left_dataset_id", "right_dataset_id")
    if rows.is_empty():
        return "No pair of datasets has a difference to a baseline."
    pairs = rows.partition_by("left_dataset_id", "right_dataset_id", maintain_order=True)
    n_columns = min(COLUMNS, len(pairs))
    n_rows = -(-len(pairs) // n_columns)
    figure = _figure(n_columns * WIDTH, n_rows * HEIGHT + 0.3)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
    names = list(BASELINE_LABELS)
    for panel, of_pair in zip(panels, pairs, strict=False):
        for baseline, mean, low, high in of_pair.select("baseline", "mean", "ci_low", "ci_high").iter_rows():
            y = names.index(baseline)
            panel.plot([mean], [y], "o", color="#2b6a99", markersize=4)
            if low is not None and high is not None:
                panel.plot([low, high], [y, y], color="#2b6a99", linewidth=1.5)
        panel.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
        panel.set_title(f"{of_pair['left_dataset_id'][0]} × {of_pair['right_dataset_id'][0]}", fontsize=8)
        panel.set_yticks(range(len(names)), list(BASELINE_LABELS.values()), fontsize=7)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="x", labelsize=7, labelbottom=True)
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    figure.supxlabel("Spearman correlation of matches minus that of the baseline", fontsize=8)
    return _markdown(figure, "agreement beyond baselines")


def _of_all_genes(summary: pl.DataFrame) -> pl.DataFrame:
    return summary.filter(
        pl.col("metric") == SPEARMAN,
        pl.col("context_id") == "",
        pl.col("max_fold") == WIDEST,
        pl.col("side") == "both",
        pl.col("left_dataset_id") != pl.col("right_dataset_id"),
    )


def _figure(width: float, height: float) -> Any:
    # matplotlib takes half a second to load, and only these plots need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _markdown(figure: Any, title: str) -> str:
    image = BytesIO()
    figure.savefig(image, format="png", dpi=90)
    return f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
