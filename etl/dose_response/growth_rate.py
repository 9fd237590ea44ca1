"""Growth-rate (GR) curves: their metrics, after Hafner et al. 2016 (doi 10.1038/nmeth.3853).

    GR(c) = 2 ** (log2(x(c) / x0) / log2(x_ctrl / x0)) - 1 = 2 * RV ** (Td / T) - 1
    GR(c) = GRinf + (1 - GRinf) / (1 + (c / GEC50) ** slope)

Here: the growth rate of a relative viability, and what follows from a fitted curve. Not here: the least
squares (``fit``).
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

GROWTH_COLUMNS: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "gr50_um": pl.Float64,
    "gec50_um": pl.Float64,
    "gr_slope": pl.Float64,
    "gr_inf": pl.Float64,
    "gr_max": pl.Float64,
    "gr_aoc": pl.Float64,
    "flags": pl.List(pl.String),
}


def fit_growth_rates(points: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(schema={"curve_id": points.schema["curve_id"], **GROWTH_COLUMNS})
