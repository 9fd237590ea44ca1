"""Parity with CurveCurator: its fits of CTRPv2 curves up to 40 µM, found again from the same points.

Its fit has four parameters, the control as a point at dose zero, and helper points: every dose once more, and
values interpolated halfway between doses, until they are at most half of log10(10/3) apart. RMSE, R² and F
are of the measured points alone. Its optimizer ends a little above the least sum of squares in some curves,
which bounds what can be asked for.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from etl.arrays import FloatArray
from etl.dose_response.hill import viability
from etl.dose_response.kernel import Box, SeriesFits, fit_series

DOSES = np.array([12, 24, 49, 97, 190, 390, 780, 1600, 3100, 6200, 12e3, 25e3, 50e3, 1e5, 2e5, 4e5]) * 1e-10
"""Molar, as in the file's parameters; the control stands before them."""


class Parity(NamedTuple):
    published: pl.DataFrame
    fits: SeriesFits
    least: FloatArray
    """Sum of squares of the published parameters on the points they were fitted to."""


@pytest.fixture(scope="module")
def parity(realdata: Path) -> Parity:
    path = realdata / "raw" / "ctrpv2" / "curvecurator_exp40" / "curves_40.0.txt"
    published = pl.read_csv(path, separator="\t", infer_schema_length=None)
    x = np.log10(DOSES)
    helpers = np.sort(np.concatenate([x, (x[1:] + x[:-1]) / 2]))
    series = []
    for values in published.select(f"Ratio {i}" for i in range(1, 17)).to_numpy():
        has = np.isfinite(values)
        within = helpers[(helpers >= x[has].min()) & (helpers <= x[has].max())]
        at = np.concatenate([[-np.inf], x[has], within])
        order = np.argsort(at, kind="stable")
        series.append(
            (at[order], np.concatenate([[1], values[has], np.interp(within, x[has], values[has])])[order])
        )
    first = np.concatenate([[0], np.cumsum([len(at) for at, _ in series])])
    bounds = np.ones((2, len(series))) * [[x[0] - 2], [x[-1] + 2]]
    fits = fit_series(
        np.concatenate([at for at, _ in series]),
        np.concatenate([values for _, values in series]),
        np.ones(first[-1]),
        first,
        Box(*bounds, slope=(0.01, 10), e_0=(1e-4, 1e6), e_inf=(1e-4, 1e6)),
    )
    parameters = published.select("pEC50", "Curve Slope", "Curve Front", "Curve Back").to_numpy()
    least = np.array(
        [
            np.square(values - viability(at, log10_ec50=-p, slope=s, e_0=front, e_inf=back)).sum()
            for (at, values), (p, s, front, back) in zip(series, parameters, strict=True)
        ]
    )
    return Parity(published, fits, least)


@pytest.mark.realdata
def test_our_sum_of_squares_is_not_above_theirs(parity: Parity) -> None:
    excess = parity.fits.residual / parity.least - 1
    assert len(excess) == 1_211
    assert np.mean(excess < 1e-8) > 0.99
    assert excess.max() < 0.01
    assert np.mean(excess < -1e-3) > 0.02, "some of their curves end above the least"


@pytest.mark.realdata
def test_where_the_optimum_is_the_same_so_are_the_parameters(parity: Parity) -> None:
    is_same = np.abs(parity.fits.residual / parity.least - 1) < 1e-6
    assert is_same.mean() > 0.95
    is_clear = (
        is_same & parity.published["Curve Regulation"].is_in(["up", "down"]).fill_null(value=False).to_numpy()
    )
    assert is_clear.sum() > 530
    fits, published = parity.fits, parity.published
    for ours, name, tolerance in (
        (-fits.log10_ec50, "pEC50", 1e-4),
        (fits.slope, "Curve Slope", 2e-3),
        (fits.e_0, "Curve Front", 1e-5),
        (fits.e_inf, "Curve Back", 1e-4),
    ):
        assert np.abs(ours - published[name].to_numpy())[is_clear].max() < tolerance, name


@pytest.mark.realdata
def test_quality_of_the_same_curves_is_the_same(parity: Parity) -> None:
    is_same = np.abs(parity.fits.residual / parity.least - 1) < 1e-6
    published, fits = parity.published, parity.fits
    values = published.select(f"Ratio {i}" for i in range(17)).to_numpy()[is_same]
    at = np.concatenate([[-np.inf], np.log10(DOSES)])
    curve = {name: getattr(fits, name)[is_same, None] for name in ("log10_ec50", "slope", "e_0", "e_inf")}
    n = np.isfinite(values).sum(axis=1)
    rest = np.nansum(np.square(values - viability(at, **curve)), axis=1)
    total = np.nansum(np.square(values - np.nanmean(values, axis=1, keepdims=True)), axis=1)
    null = np.square(published["Null RMSE"].to_numpy()[is_same]) * n
    f_value = np.maximum((null - rest) / rest * n / 4, 0)
    expected = published.filter(pl.Series(is_same))
    np.testing.assert_allclose(np.sqrt(rest / n), expected["Curve RMSE"], rtol=2e-5)
    np.testing.assert_allclose(np.maximum(1 - rest / total, 0), expected["Curve R2"], atol=5e-5)
    np.testing.assert_allclose(f_value, expected["Curve F_Value"], rtol=1e-3, atol=1e-3)
