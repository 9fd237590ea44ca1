"""DILImap: the nominal doses of a compound, where plates and releases write one dose a little differently.

Here: which reported concentrations of one compound are the same nominal dose, and how it is written. Not
here: units, and the three significant digits of every canonical dose (``etl/harmonize/doses.py``).
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import polars as pl

MAX_LOG10_RATIO = 0.015
"""Concentrations within a factor of 1.035 of an anchor are one nominal dose; dose steps are far wider."""


class ReportedDose(NamedTuple):
    """A distinct concentration of a compound.

    Attributes:
        value: the concentration.
        text: how the publisher writes it.
        n_samples: samples that have it.
        is_training: whether the training data have it.
    """

    value: float
    text: str
    n_samples: int
    is_training: bool

    @property
    def n_decimals(self) -> int:
        """Digits behind the point of the shortest way to write it: 0 of ``30.0``, 2 of ``0.35``."""
        exponent = Decimal(self.text).normalize().as_tuple().exponent
        return max(0, -int(exponent))


def nominal_doses(doses: Sequence[ReportedDose]) -> dict[float, str]:
    """Return the nominal dose, as text, of every positive concentration of one compound.

    Greedy clustering on the ratio. Concentrations are taken in turn, those of the training data first, then
    the more frequent, then the lower: each joins the nearest anchor within ``MAX_LOG10_RATIO``, else it
    becomes an anchor. A cluster is written as its member with the fewest decimals, the more frequent and then
    the lower of equals; of members of the training data only, where it has any. Neither depends on the order
    of rows.

    Args:
        doses: distinct concentrations; zero, the dose of controls, is left alone.

    >>> training, rare = ReportedDose(1.0, "1.0", 3, True), ReportedDose(1.02, "1.02", 9, False)
    >>> nominal_doses([rare, training, ReportedDose(3.3, "3.3", 3, False)])
    {1.0: '1.0', 1.02: '1.0', 3.3: '3.3'}
    """
    clusters: dict[float, list[ReportedDose]] = {}
    for dose in sorted(doses, key=lambda one: (not one.is_training, -one.n_samples, one.value)):
        if not dose.value > 0:
            continue
        distances = {anchor: abs(math.log10(dose.value / anchor)) for anchor in clusters}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is None or distances[nearest] > MAX_LOG10_RATIO:
            clusters[dose.value] = [dose]
        else:
            clusters[nearest].append(dose)
    nominal = {
        member.value: _representative(members).text for members in clusters.values() for member in members
    }
    return dict(sorted(nominal.items()))


def with_nominal_doses(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with ``nominal_dose`` as text: null where the dose is, as written where it is not positive.

    Args:
        rows: ``compound``, ``dose`` (text of a number), ``is_training``; one row per treated sample.
    """
    numbered = rows.with_columns(value=pl.col("dose").cast(pl.Float64))
    distinct = (
        numbered.drop_nulls("value")
        .group_by("compound", "value")
        .agg(pl.col("dose").min().alias("text"), pl.len().alias("n_samples"), pl.col("is_training").any())
        .sort("compound", "value")
    )
    found = [
        {"compound": compound, "value": value, "nominal_dose": text}
        for (compound,), part in distinct.group_by("compound", maintain_order=True)
        for value, text in nominal_doses(
            [ReportedDose(*row) for row in part.drop("compound").iter_rows()]
        ).items()
    ]
    schema = {"compound": pl.String, "value": pl.Float64, "nominal_dose": pl.String}
    named = numbered.join(
        pl.DataFrame(found, schema=schema), on=["compound", "value"], how="left", maintain_order="left"
    )
    return named.with_columns(pl.coalesce("nominal_dose", "dose").alias("nominal_dose")).drop("value")


def _representative(members: list[ReportedDose]) -> ReportedDose:
    of_training = [member for member in members if member.is_training]
    return min(of_training or members, key=lambda one: (one.n_decimals, -one.n_samples, one.value))
