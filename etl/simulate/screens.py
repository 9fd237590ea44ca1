"""Simulated drug-response screens in the publishers' tables: gCSI growth rates, CCLE curves.

Both measure the same true viability curves with noise of their own. The published metrics are fitted to
the noisy points, as a publisher would, so that they differ from the truth by what the noise does.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, special

from etl.simulate.catalogue import CCLE, GCSI, LINES, CellLine, Compound, compounds_of
from etl.simulate.landing import write_truth
from etl.simulate.study import Curve, Study, hill

Values = NDArray[np.float64]

TRUTH_COLUMNS = {
    "context_reported": pl.String,
    "compound_reported": pl.String,
    "compound": pl.String,
    "ec50_um": pl.Float64,
    "slope": pl.Float64,
    "e_inf": pl.Float64,
}


def _fit(
    dose: Values, response: Values, *, slopes: tuple[float, float], lowest: float
) -> tuple[float, float, float]:
    """Least-squares (EC50, slope, asymptote) of a curve that is 1 at dose 0; EC50 at most tenfold outside."""

    def residual(parameters: Values) -> Values:
        log10_ec50, slope, asymptote = parameters
        return asymptote + (1 - asymptote) * (1 - hill(dose, 10**log10_ec50, slope)) - response

    log10_dose = np.log10(dose)
    least = float(np.clip(response.min(), lowest + 0.01, 0.98))
    bounds = ([log10_dose.min() - 1, slopes[0], lowest], [log10_dose.max() + 1, slopes[1], 1.0])
    # From the middle of the tested range, and from below it for curves that are down at the lowest dose.
    starts = ([log10_dose.mean(), 1.2, least], [log10_dose.min() - 0.9, 2.0, least])
    fits = [optimize.least_squares(residual, start, bounds=bounds) for start in starts]
    log10_ec50, slope, asymptote = min(fits, key=lambda fit: fit.cost).x
    return float(10**log10_ec50), float(slope), float(asymptote)


def _truth(rows: list[tuple[str, str, str, Curve]]) -> pl.DataFrame:
    cells = [(context, name, compound, c.ec50_um, c.slope, c.e_inf) for context, name, compound, c in rows]
    return pl.DataFrame(cells, schema=TRUTH_COLUMNS, orient="row")


# --- gCSI ---------------------------------------------------------------------------------------------------

GR_VALUES_COLUMNS = (
    "DrugName",
    "CellLineName",
    "PrimaryTissue",
    "ExperimentNumber",
    "TrtDuration",
    "doublingtime",
    "log10Concentration",
    "GR",
    "relative_cell_count",
    "activities.mean",
    "activities.std",
    "Norm_CellLineName",
    "Norm_DrugName",
)

GR_METRICS_COLUMNS = (
    "DrugName",
    "CellLineName",
    "PrimaryTissue",
    "ExperimentNumber",
    "TrtDuration",
    "doublingtime",
    "maxlog10Concentration",
    "GR_AOC",
    "meanviability",
    "GRmax",
    "Emax",
    "GRinf",
    "GEC50",
    "GR50",
    "R_square_GR",
    "pval_GR",
    "flat_fit_GR",
    "h_GR",
    "N_conc",
    "log10_conc_step",
    "Norm_CellLineName",
    "Norm_DrugName",
    "GR_05uM_fit",
)

GCSI_TIME_H = 72
GCSI_N_DOSES = 9
GCSI_STEP = 0.47712125
"""log10 dose step of the published series: a factor of 3."""
GCSI_TOP_LOG10_M = {
    "Paclitaxel": -7.0,
    "Vincristine": -7.0,
    "Bortezomib": -6.0,
    "AZD-8055": -6.0,
    "17-AAG": -6.0,
}
"""log10 molar top dose of the potent compounds; -5 elsewhere."""
GCSI_REPEATED = ("Erlotinib", "JQ1", "Vorinostat")
"""Compounds of which some lines are screened in a second experiment."""
GCSI_WITHOUT_GR = (("Vincristine", "HEPG2"), ("Crizotinib", "PC3"), ("Etoposide", "HEPG2"))
"""Curves whose growth-rate metrics the publisher leaves out (``NA``)."""
GCSI_SATURATED = ("Bortezomib", "HT29")
"""The curve that is down at every tested dose: flat below one half, so that GR50 is minus infinity."""
GCSI_SATURATED_EC50_UM = 1e-6


def write_gcsi(folder: Path, study: Study) -> None:
    """Write the values, the metrics and the true curves."""
    rng = study.rng(GCSI)
    values: list[list[str]] = []
    metrics: list[list[str]] = []
    truth: list[tuple[str, str, str, Curve]] = []
    for compound in compounds_of(GCSI):
        for index, line in enumerate(line for line in LINES if line.gcsi is not None):
            curve = study.curve(compound, line)
            if (compound.reported[GCSI], line.name) == GCSI_SATURATED:
                curve = replace(curve, ec50_um=GCSI_SATURATED_EC50_UM)
            experiments = ["2b" if index % 2 else "2c"]
            if compound.reported[GCSI] in GCSI_REPEATED and index < 3:
                experiments.append("11a")
            for experiment in experiments:
                more_values, one_metric = _gcsi_experiment(rng, compound, line, curve, experiment)
                values += more_values
                metrics.append(one_metric)
            truth.append((str(line.gcsi), compound.reported[GCSI], compound.name, curve))
    _write_tsv(folder / "gCSI_GRvalues_v1.3.tsv", GR_VALUES_COLUMNS, values)
    _write_tsv(folder / "gCSI_GRmetrics_v1.3.tsv", GR_METRICS_COLUMNS, metrics)
    write_truth(folder, "curves", _truth(truth))


def _gcsi_experiment(
    rng: np.random.Generator, compound: Compound, line: CellLine, curve: Curve, experiment: str
) -> tuple[list[list[str]], list[str]]:
    drug = compound.reported[GCSI]
    top = GCSI_TOP_LOG10_M.get(drug, -5.0)
    log10_molar = top - GCSI_STEP * np.arange(GCSI_N_DOSES)[::-1]
    dose_molar: Values = np.power(10.0, log10_molar)
    relative = np.clip(curve.viability(dose_molar * 1e6) + rng.normal(0, 0.03, GCSI_N_DOSES), 0.005, None)
    deviation = np.abs(rng.normal(0.03, 0.01, GCSI_N_DOSES))
    growth_rate = _growth_rate(relative, line.doubling_time_h)

    head = [drug, str(line.gcsi), line.tissue, experiment, str(GCSI_TIME_H), _number(line.doubling_time_h)]
    names = [_stripped(line.gcsi), _stripped(drug)]
    values = [
        [*head, _number(x), f"{gr:.3f}", _number(rv), _number(rv), _number(sd), *names]
        for x, gr, rv, sd in zip(log10_molar, growth_rate, relative, deviation, strict=True)
    ]
    # Means and extremes of viability are complete even where the growth-rate metrics are not.
    viability = (_number(float(relative.mean())), _number(float(relative[-2:].min())))
    if (drug, line.name) in GCSI_WITHOUT_GR:
        fields = dict.fromkeys(GR_METRICS_COLUMNS, "NA")
    else:
        fields = _gr_metrics(dose_molar, growth_rate)
        fields |= {"maxlog10Concentration": _number(top), "log10_conc_step": _number(GCSI_STEP)}
    fields |= dict(zip(GR_METRICS_COLUMNS[:6], head, strict=True))
    fields |= {"meanviability": viability[0], "Emax": viability[1]}
    fields |= {"Norm_CellLineName": names[0], "Norm_DrugName": names[1]}
    return values, [fields[name] for name in GR_METRICS_COLUMNS]


def _growth_rate(relative: Values, doubling_time_h: float) -> Values:
    """GR = 2·RV^(Td/T) − 1 (Hafner et al. 2016), RV the final cell count relative to the vehicle."""
    return 2 * relative ** (doubling_time_h / GCSI_TIME_H) - 1


def _gr_metrics(dose_molar: Values, growth_rate: Values) -> dict[str, str]:
    """Metrics of one curve as published, doses molar; a flat one (F-test, p >= 0.05) has GR50 infinite."""
    ec50, slope, asymptote = _fit(dose_molar, growth_rate, slopes=(0.1, 5.0), lowest=-1.0)
    fitted = asymptote + (1 - asymptote) * (1 - hill(dose_molar, ec50, slope))
    total = float(((growth_rate - growth_rate.mean()) ** 2).sum())
    rest = float(((growth_rate - fitted) ** 2).sum())
    n_points = len(dose_molar)
    f_value = max(0.0, (total - rest) / 2) / (rest / (n_points - 3))
    p_value = float(special.fdtrc(2, n_points - 3, f_value))
    is_flat = p_value >= 0.05
    if is_flat:
        ec50, slope, asymptote = 0.0, 1e-4, float(growth_rate.mean())
        gr50 = np.inf if asymptote > 0.5 else -np.inf
        at_half_um = asymptote
    else:
        gr50 = ec50 * (0.5 / (0.5 - asymptote)) ** (1 / slope) if asymptote < 0.5 else np.inf
        at_half_um = float(asymptote + (1 - asymptote) * (1 - hill(0.5e-6, ec50, slope)))
    return {
        "GR_AOC": _number(float((1 - growth_rate).mean())),
        "GRmax": f"{growth_rate[-2:].min():.3f}",
        "GRinf": _number(asymptote),
        "GEC50": _number(ec50),
        "GR50": _number(gr50),
        "R_square_GR": _number(1 - rest / total),
        "pval_GR": _number(p_value),
        "flat_fit_GR": str(int(is_flat)),
        "h_GR": "1e-04" if is_flat else _number(slope),
        "N_conc": str(n_points),
        "GR_05uM_fit": _number(at_half_um),
    }


def _stripped(name: str | None) -> str:
    """Name as the publisher normalizes it: upper case, letters and digits only."""
    return "".join(letter for letter in str(name).upper() if letter.isalnum())


def _number(value: float) -> str:
    """Number as R prints it: 15 digits, ``Inf`` for infinity, no ``.0``."""
    if np.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.15g}"


def _write_tsv(path: Path, columns: Sequence[str], rows: list[list[str]]) -> None:
    path.write_bytes("".join("\t".join(row) + "\n" for row in [list(columns), *rows]).encode())


# --- CCLE ---------------------------------------------------------------------------------------------------

CCLE_COLUMNS = (
    "CCLE Cell Line Name",
    "Primary Cell Line Name",
    "Compound",
    "Target",
    "Doses (uM)",
    "Activity Data (median)",
    "Activity SD",
    "Num Data",
    "FitType",
    "EC50 (uM)",
    "IC50 (uM)",
    "Amax",
    "ActArea",
)

CCLE_DOSES = (".0025", ".0080", ".025", ".080", ".25", ".80", "2.53", "8")
"""Dose series as the publisher writes it, µM."""
CCLE_TOP_UM = 8.0
CCLE_SHORT_SERIES = ("Topotecan", "PC3")
"""The curve of which the publisher gives seven doses, without the lowest."""


def write_ccle(folder: Path, study: Study) -> Path:
    """Write the curves and their truth; return the path of the table."""
    rng = study.rng(CCLE)
    rows: list[list[str]] = []
    truth: list[tuple[str, str, str, Curve]] = []
    for compound in compounds_of(CCLE):
        for line in LINES:
            if line.ccle is None:
                continue
            curve = study.curve(compound, line)
            rows.append(_ccle_curve(rng, compound, line, curve))
            truth.append((line.ccle[0], compound.reported[CCLE], compound.name, curve))
    # Quotes only where a cell holds commas, lines end as on Windows: the publisher's spreadsheet export.
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows([list(CCLE_COLUMNS), *rows])
    path = folder / "CCLE_NP24.2009_Drug_data_2015.02.24.csv"
    path.write_bytes(buffer.getvalue().encode())
    write_truth(folder, "curves", _truth(truth))
    return path


def _ccle_curve(rng: np.random.Generator, compound: Compound, line: CellLine, curve: Curve) -> list[str]:
    assert line.ccle is not None
    texts = CCLE_DOSES[1:] if (compound.name.capitalize(), line.name) == CCLE_SHORT_SERIES else CCLE_DOSES
    dose = np.array([float(text) for text in texts])
    activity = 100 * (curve.viability(dose) - 1) + rng.normal(0, 4, len(dose))
    deviation = np.abs(rng.normal(4, 3, len(dose))) + 0.02
    viability = 1 + activity / 100
    ec50, slope, asymptote = _fit(dose, viability, slopes=(0.3, 4.0), lowest=0.0)
    is_sigmoid = float(viability.max() - viability.min()) > 0.25 and ec50 <= CCLE_TOP_UM
    half = ec50 * (0.5 / (0.5 - asymptote)) ** (1 / slope) if asymptote < 0.5 else np.inf
    # The publisher writes the top dose where one half is not reached.
    ic50 = float(np.clip(half, dose.min(), CCLE_TOP_UM)) if is_sigmoid else CCLE_TOP_UM
    if is_sigmoid:
        kind, ec50_text, largest = "Sigmoid", f"{ec50:.9f}", 100 * (asymptote - 1)
    else:
        kind, ec50_text, largest = "Constant", "NA", float(activity.mean())
    area = float(np.clip(-activity / 100, 0, None).sum())
    return [
        *line.ccle,
        compound.reported[CCLE],
        compound.mechanism.target,
        ",".join(texts),
        ",".join(_three_digits(value) for value in activity),
        ",".join(_three_digits(value) for value in deviation),
        str(len(dose)),
        kind,
        ec50_text,
        f"{ic50:.10g}",
        f"{largest:.8f}",
        f"{area:.4f}".rstrip("0").rstrip("."),
    ]


def _three_digits(value: float) -> str:
    """Number as the publisher writes it inside a list: few digits, no zero before the point."""
    text = f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
