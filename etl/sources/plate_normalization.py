"""Intensities of wells to viability, plate by plate, between the plate's own blanks and controls.

Here: what blanks and negative controls of a plate amount to, whether they can carry a scale, and the scale.
Not here: which wells of a publisher's file are blanks, controls or treated (the adapters), and averages over
replicates, which come last.

viability = (intensity − blank) / (control − blank), with one blank and one control per plate, each the mean
or the median over its wells: 0 without cells, 1 untreated. It is what the publishers of plate screens do
(Vis et al., Pharmacogenomics 17, 691, 2016); they also clip it to 0 and 1 before they fit, which here is an
argument, because noise that is cut off on one side is a bias.
"""

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

Average = Literal["mean", "median", "mean_above_5"]
"""How the wells of a kind are made one number; ``mean_above_5``: the mean where there are more than 5 wells,
else the median, which one outlier among few cannot move (the rule of PharmacoGx)."""

FEW_WELLS: Final = 5

BLANK: Final = "blank"
CONTROL: Final = "control"
TREATED: Final = "treated"

NO_BLANKS: Final = "plate without blanks"
NO_CONTROLS: Final = "plate without negative controls"
NO_WINDOW: Final = "plate whose negative controls are not above its blanks"
FAULTS: Final = (NO_BLANKS, NO_CONTROLS, NO_WINDOW)
"""Why a plate has no scale, in the order in which they are found."""


@dataclass(frozen=True, slots=True)
class NormalizedPlates:
    """Wells on the scale of their plates.

    Args:
        wells: the treated wells in their order and with all their columns; ``viability`` is null, and
            ``fault`` not, where the plate has no scale.
        plates: one row per plate, sorted: plate, n_blanks, n_controls, blank, control, fault.
    """

    wells: pl.DataFrame
    plates: pl.DataFrame


def normalize(
    wells: pl.DataFrame,
    *,
    blank: Average = "mean",
    control: Average = "mean",
    clip: tuple[float, float] | None = None,
) -> NormalizedPlates:
    """Return the viability of the treated wells of each plate.

    Args:
        wells: ``plate`` (of any type), ``role`` (``BLANK``, ``CONTROL`` or ``TREATED``), ``intensity``
            (finite), and any other columns, one row per well.
        blank: how the blanks of a plate are averaged.
        control: how its negative controls are averaged.
        clip: lowest and highest viability; None leaves all as they are.

    >>> wells = pl.DataFrame({
    ...     "plate": ["p"] * 4,
    ...     "role": ["blank", "control", "treated", "treated"],
    ...     "intensity": [10.0, 110.0, 60.0, 120.0],
    ... })
    >>> normalize(wells).wells["viability"].to_list()
    [0.5, 1.1]
    >>> normalize(wells, clip=(0.0, 1.0)).wells["viability"].to_list()
    [0.5, 1.0]
    """
    plates = _scales(wells, blank=blank, control=control)
    scale = plates.select("plate", "fault", _blank="blank", _window=pl.col("control") - pl.col("blank"))
    viability = (pl.col("intensity") - pl.col("_blank")) / pl.col("_window")
    if clip is not None:
        viability = viability.clip(*clip)
    treated = (
        wells.filter(pl.col("role") == TREATED)
        .join(scale, on="plate", how="left", maintain_order="left")
        .with_columns(viability=pl.when(pl.col("fault").is_null()).then(viability))
        .drop("_blank", "_window")
    )
    return NormalizedPlates(treated, plates)


def _scales(wells: pl.DataFrame, *, blank: Average, control: Average) -> pl.DataFrame:
    """Return what each plate's blanks and controls amount to, and what is wrong with it."""
    is_blank, is_control = (pl.col("role") == role for role in (BLANK, CONTROL))
    plates = wells.group_by("plate").agg(
        n_blanks=is_blank.sum(),
        n_controls=is_control.sum(),
        blank=_average(pl.col("intensity").filter(is_blank), blank),
        control=_average(pl.col("intensity").filter(is_control), control),
    )
    fault = (
        pl.when(n_blanks=0)
        .then(pl.lit(NO_BLANKS))
        .when(n_controls=0)
        .then(pl.lit(NO_CONTROLS))
        .when(pl.col("control") <= pl.col("blank"))
        .then(pl.lit(NO_WINDOW))
    )
    return plates.with_columns(fault=fault).sort("plate")


def _average(values: pl.Expr, kind: Average) -> pl.Expr:
    if kind == "mean_above_5":
        return pl.when(values.len() > FEW_WELLS).then(values.mean()).otherwise(values.median())
    return values.mean() if kind == "mean" else values.median()
