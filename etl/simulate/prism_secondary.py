"""Simulated PRISM secondary screen: fold changes of pooled lines in wide tables, and fitted curves.

Six lines and one that failed its identity check; eight compounds at eight doses, fourfold from 10 µM, on
three replicate plates of a screen; one compound in two screens. Some cells hold no value, one plate holds a
compound twice at one dose, and every plate has vehicle wells.
"""

import csv
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, Compound
from etl.simulate.depmap import MODELS
from etl.simulate.landing import write_truth
from etl.simulate.screens import TRUTH_COLUMNS
from etl.simulate.study import Curve, Study

Values = NDArray[np.float64]

PRISM: Final = "prism_secondary"
PREFIX: Final = "secondary-screen"
DOSES: Final = 10.0 / 4.0 ** np.arange(8)[::-1]
N_REPLICATES: Final = 3
LOG2_SD: Final = 0.12
LEAST_VIABILITY: Final = 0.01
SHARE_MISSING: Final = 0.02
NAMES: Final = (
    "vorinostat",
    "paclitaxel",
    "crizotinib",
    "bortezomib",
    "selumetinib",
    "vemurafenib",
    "trametinib",
    "JQ1",
)
SCREENS: Final = dict.fromkeys(NAMES, ("MTS006",)) | {"trametinib": ("MTS006", "MTS010")}
"""Screens of each compound."""
FAILED: Final = ("ACH-000219_FAILED_STR", "A375")
"""The line that failed, and the one whose biology it has."""
REPEATED: Final = ("vorinostat", 7)
"""Compound and dose that stand twice on each plate."""

CURVE_COLUMNS: Final = (
    "broad_id",
    "depmap_id",
    "ccle_name",
    "screen_id",
    "upper_limit",
    "lower_limit",
    "slope",
    "r2",
    "auc",
    "ec50",
    "ic50",
    "name",
    "moa",
    "target",
    "disease.area",
    "indication",
    "smiles",
    "phase",
    "passed_str_profiling",
    "row_name",
)
TREATMENT_COLUMNS: Final = (
    "column_name",
    "broad_id",
    "name",
    "dose",
    "screen_id",
    "moa",
    "target",
    "disease.area",
    "indication",
    "smiles",
    "phase",
    "detection_plate",
    "compound_plate",
    "perturbation_type",
)
LINE_COLUMNS: Final = (
    "row_name",
    "depmap_id",
    "ccle_name",
    "primary_tissue",
    "secondary_tissue",
    "passed_str_profiling",
)


def write(folder: Path, study: Study) -> None:
    """Write the five files and the true curves."""
    rng = study.rng(PRISM)
    lines = [(model, line) for model, line in MODELS if model.startswith("ACH-000")]
    lines.append(FAILED)
    ccle = {line.name: line.ccle[0] if line.ccle else "" for line in LINES}
    tissue = {line.name: line.tissue.lower() for line in LINES}
    compounds = [next(one for one in COMPOUNDS if one.name == name) for name in NAMES]
    treatments = [
        _treatment(compound, screen, replicate, dose)
        for compound in compounds
        for screen in SCREENS[compound.name]
        for replicate in range(1, N_REPLICATES + 1)
        for dose in range(len(DOSES))
        for _ in range(1 + ((compound.name, dose) == REPEATED))
    ]
    for number, one in enumerate(treatments):
        one["column_name"] = f"{one['detection_plate']}::{number:05}::{one['screen_id']}"
    controls = [_control(f"PMTS006_X{replicate}", replicate) for replicate in range(1, N_REPLICATES + 1)]
    curves: list[dict[str, str]] = []
    truth: list[tuple[str, str, str, float, float, float]] = []
    rows: list[list[str]] = []
    for label, name in lines:
        line = next(one for one in LINES if one.name == name)
        values: list[str] = []
        for compound in compounds:
            curve = study.curve(compound, line)
            if label != FAILED[0]:
                truth.append(
                    (label, _broad(compound), compound.name, curve.ec50_um, curve.slope, curve.e_inf)
                )
            curves += [_curve(compound, curve, each, label, ccle[name]) for each in SCREENS[compound.name]]
        for one in treatments:
            compound = next(each for each in compounds if _broad(each) == one["broad_id"])
            exact = study.curve(compound, line).viability(np.array([float(one["dose"])]))[0]
            change = np.log2(max(exact, LEAST_VIABILITY)) + rng.normal(0, LOG2_SD)
            values.append("" if rng.random() < SHARE_MISSING else f"{change:.6f}")
        rows.append([label, *values, *(f"{rng.normal(0, LOG2_SD):.6f}" for _ in controls)])
    _write(
        folder / f"{PREFIX}-cell-line-info.csv", LINE_COLUMNS, [_line(*one, ccle, tissue) for one in lines]
    )
    _write(folder / f"{PREFIX}-dose-response-curve-parameters.csv", CURVE_COLUMNS, curves)
    _write(folder / f"{PREFIX}-replicate-treatment-info.csv", TREATMENT_COLUMNS, [*treatments, *controls])
    with (folder / f"{PREFIX}-logfold-change.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *(one["column_name"] for one in (*treatments, *controls))])
        table.writerows(rows)
    write_truth(folder, "curves", pl.DataFrame(truth, schema=TRUTH_COLUMNS, orient="row"))


def _broad(compound: Compound) -> str:
    """Return the registry id of a sample: that of the compound, a batch and a supplier."""
    return f"{compound.pert_id}-001-02-3"


def _facts(compound: Compound) -> dict[str, str]:
    return {
        "broad_id": _broad(compound),
        "name": compound.name,
        "moa": compound.mechanism.name,
        "target": compound.mechanism.target,
        "smiles": compound.smiles,
        "phase": "Launched",
        "disease.area": "oncology",
        "indication": "",
    }


def _treatment(compound: Compound, screen: str, replicate: int, dose: int) -> dict[str, str]:
    return _facts(compound) | {
        "dose": f"{DOSES[dose]:.10g}",
        "screen_id": screen,
        "detection_plate": f"P{screen}_X{replicate}",
        "compound_plate": f"P{screen}",
        "perturbation_type": "experimental_treatment",
    }


def _control(plate: str, number: int) -> dict[str, str]:
    return {
        "column_name": f"{plate}::DMSO{number}::MTS006",
        "name": "DMSO",
        "screen_id": "MTS006",
        "detection_plate": plate,
        "perturbation_type": "vehicle_control",
    }


def _line(label: str, name: str, ccle: dict[str, str], tissue: dict[str, str]) -> dict[str, str]:
    passed = label != FAILED[0]
    return {
        "row_name": label,
        "depmap_id": label if passed else "",
        "ccle_name": ccle[name] if passed else "",
        "primary_tissue": tissue[name],
        "passed_str_profiling": str(passed).upper(),
    }


def _curve(compound: Compound, curve: Curve, screen: str, label: str, ccle: str) -> dict[str, str]:
    """Return the published curve: here the true one, as a good fit of many wells would be."""
    passed = label != FAILED[0]
    fine = 10.0 ** np.linspace(np.log10(DOSES[0]), np.log10(DOSES[-1]), 401)
    gap = 0.5 - curve.e_inf
    ic50 = curve.ec50_um * (0.5 / gap) ** (1 / curve.slope) if gap > 0 else np.inf
    return _facts(compound) | {
        "depmap_id": label if passed else "",
        "ccle_name": ccle if passed else "",
        "screen_id": screen,
        "upper_limit": "1",
        "lower_limit": f"{curve.e_inf:.6g}",
        "slope": f"{curve.slope:.6g}",
        "r2": "0.95",
        "auc": f"{np.clip(curve.viability(fine), 0, 1).mean():.6g}",
        "ec50": f"{curve.ec50_um:.6g}",
        "ic50": f"{ic50:.6g}" if DOSES[0] <= ic50 <= DOSES[-1] else "NA",
        "passed_str_profiling": str(passed).upper(),
        "row_name": label,
    }


def _write(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
