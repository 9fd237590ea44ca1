"""Dose-response fits beside SciPy's, one curve after another.

    python benchmarks/dose_response.py                      # 300,000 curves of nine doses: the size of GDSC
    python benchmarks/dose_response.py --curves 30000

Curves of nine doses over four decades are simulated: EC50s from a decade below to a decade above the doses,
slopes around 1, drops of any size, noise of 0.07, so that a part is flat and a part cut off, as in screens.
All are fitted by ``fit_curves`` with all that it says of them (intervals, flags, tests). Of a sample SciPy's
``curve_fit`` is run as a script would, once per curve from one start (the ratio of speeds), and
``least_squares`` from five starts in the same box (the objective to beat).
"""

import argparse
import resource
import time
import warnings

import numpy as np
import polars as pl
from scipy.optimize import OptimizeWarning, curve_fit, least_squares

from etl.dose_response.fit import MODELS, fit_curves
from etl.dose_response.hill import viability

DOSES = 10.0 ** np.linspace(-3, 1, 9)
NOISE = 0.07
BOX = MODELS["log_logistic_3"]
TOLERANCE = 1e-6
FLOOR = 1e-12
"""Sums of squares below it are equal: an exact curve leaves none."""


def simulate(n_curves: int) -> np.ndarray:
    """Return viabilities, curves x doses."""
    rng = np.random.default_rng(1)
    low, high = np.log10(DOSES[[0, -1]])
    exact = viability(
        np.log10(DOSES),
        log10_ec50=rng.uniform(low - 1, high + 1, n_curves)[:, None],
        slope=np.exp(rng.normal(0, 0.6, n_curves))[:, None],
        e_inf=rng.uniform(0, 1, n_curves)[:, None],
    )
    return exact + rng.normal(0, NOISE, exact.shape)


def curve(x: np.ndarray, log10_ec50: float, slope: float, e_inf: float) -> np.ndarray:
    """Return viabilities at log10 doses, in the plain NumPy that a script has."""
    return e_inf + (1 - e_inf) / (1 + 10 ** (slope * (x - log10_ec50)))


def box_of(x: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the lower and upper bounds of log10 EC50, slope and e_inf."""
    low = [x.min() - BOX.ec50_margin, BOX.slope[0], BOX.e_inf[0]]
    return low, [x.max() + BOX.ec50_margin, BOX.slope[1], BOX.e_inf[1]]


def seconds_of_curve_fit(values: np.ndarray) -> float:
    """Return how long SciPy takes for some curves, one start each."""
    x = np.log10(DOSES)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        for row in values:
            try:
                curve_fit(curve, x, row, p0=[x.mean(), 1.0, 0.5], bounds=box_of(x))
            except RuntimeError:  # no convergence within its limit of evaluations
                continue
    return time.perf_counter() - start


def best_of_five(values: np.ndarray) -> np.ndarray:
    """Return SciPy's least sum of squares of each curve, from five starts."""
    x = np.log10(DOSES)
    starts = [
        (middle, slope, 0.5) for middle, slope in zip(np.linspace(-3, 1, 5), (1, 3, 1, 3, 1), strict=True)
    ]
    best = []
    for row in values:
        ends = [
            least_squares(
                lambda theta, row=row: curve(x, *theta) - row, start, bounds=box_of(x), xtol=1e-14, ftol=1e-14
            ).cost
            for start in starts
        ]
        best.append(2 * min(ends))
    return np.array(best)


def main() -> None:
    """Fit, compare and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--curves", type=int, default=300_000)
    parser.add_argument("--sample", type=int, default=1_000, help="curves that SciPy fits")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    values = simulate(chosen.curves)
    n = len(values)
    points = pl.DataFrame(
        {
            "curve_id": np.repeat(np.arange(n), len(DOSES)),
            "dose_um": np.tile(DOSES, n),
            "viability": values.ravel(),
        }
    )
    start = time.perf_counter()
    fit_curves(points.head(10 * len(DOSES)))
    print(f"compiled or loaded in {time.perf_counter() - start:.1f} s")
    before, start = time.process_time(), time.perf_counter()
    fits = fit_curves(points, n_threads=chosen.threads)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{n:,} curves of {len(DOSES)} doses: {seconds:.1f} s ({cpu:.1f} s of CPU), "
        f"{n / seconds:,.0f} curves/s, peak {peak / 1e9:.2f} GB"
    )
    sample = np.random.default_rng(2).choice(n, min(chosen.sample, n), replace=False)
    theirs = seconds_of_curve_fit(values[sample]) / len(sample)
    print(f"SciPy curve_fit: {theirs * 1e3:.2f} ms a curve; {theirs / (seconds / n):,.0f} times ours")
    ours = fits["rmse"].to_numpy()[sample] ** 2 * len(DOSES)
    excess = ours - best_of_five(values[sample])
    limit = TOLERANCE * ours + FLOOR
    print(
        f"sum of squares within {TOLERANCE:g} of the best of five starts, or below it: "
        f"{np.mean(excess <= limit):.2%} of {len(sample):,}; below it by more: {np.mean(excess < -limit):.2%}"
    )


if __name__ == "__main__":
    main()
