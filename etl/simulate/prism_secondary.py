"""Simulated PRISM secondary screen: fold changes of pooled lines in wide tables, and fitted curves.

Six lines, one of them in two pools, and one that failed its identity check; eight compounds at eight doses,
fourfold from 10 µM, on three replicate plates of a screen; one compound in two screens, one in the second
pool only. Some cells hold no value, one plate holds a compound twice at one dose, and every plate has a
vehicle and a positive control. Fold changes are given per well, and collapsed over replicates.
"""

import csv
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.depmap import INVENTED, MODELS
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
SCREENS: Final = dict.fromkeys(NAMES, ("MTS006",)) | {
    "trametinib": ("MTS006", "MTS010"),
    "JQ1": ("HTS002",),
}
"""Screens of each compound."""
FAILED: Final = ("PR500_ACH-000219_FAILED_STR", "A375")
"""The line that failed, and the one whose biology it has."""
SECOND_POOL: Final = ("PR300_ACH-000681", "PR500_ACH-000681")
"""Labels of the line that is in two pools, by pool."""
OF_SECOND_POOL: Final = ("JQ1",)
"""Compounds that this line is screened with in the second pool; with the others it is in the first."""
CONTROLS: Final = (("vehicle_control", "DMSO", 0.0), ("positive_control", "bortezomib", -4.0))
"""``perturbation_type``, name and mean fold change of the controls of a plate."""
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
COLLAPSED_COLUMNS: Final = tuple(
    name
    for name in TREATMENT_COLUMNS
    if name not in ("detection_plate", "compound_plate", "perturbation_type")
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
    """Write the files and the true curves."""
    lines = _lines()
    compounds = [next(one for one in COMPOUNDS if one.name == name) for name in NAMES]
    treatments = _treatments(compounds)
    controls = [
        _control(replicate, kind, name)
        for replicate in range(1, N_REPLICATES + 1)
        for kind, name, _ in CONTROLS
    ]
    truth: list[tuple[str, str, str, float, float, float]] = []
    curves: list[dict[str, str]] = []
    for label, line in lines:
        for compound in compounds:
            if not _is_screened(label, compound):
                continue
            curve = study.curve(compound, line)
            curves += [_curve(compound, curve, each, label, line) for each in SCREENS[compound.name]]
            if label != FAILED[0]:
                metrics = (curve.ec50_um, curve.slope, curve.e_inf)
                truth.append((label, _broad(compound), compound.name, *metrics))
    changes = _fold_changes(study, lines, compounds, treatments)
    rng = study.rng(PRISM, "controls")
    means = [mean for _ in range(N_REPLICATES) for _, _, mean in CONTROLS]
    of_controls = rng.normal(means, LOG2_SD, (len(lines), len(means)))
    collapsed, medians = _collapsed(treatments, changes)
    labels = [label for label, _ in lines]

    def path(name: str) -> Path:
        return folder / f"{PREFIX}-{name}.csv"

    _write(path("cell-line-info"), LINE_COLUMNS, [_line(*one) for one in lines])
    _write(path("dose-response-curve-parameters"), CURVE_COLUMNS, curves)
    wells = [*treatments, *controls]
    _write(path("replicate-treatment-info"), TREATMENT_COLUMNS, wells)
    _write_wide(path("logfold-change"), labels, wells, np.hstack([changes, of_controls]))
    _write(path("replicate-collapsed-treatment-info"), COLLAPSED_COLUMNS, collapsed)
    _write_wide(path("replicate-collapsed-logfold-change"), labels, collapsed, medians)
    write_truth(folder, "curves", pl.DataFrame(truth, schema=TRUTH_COLUMNS, orient="row"))


def _lines() -> list[tuple[str, CellLine]]:
    """Return the labels, and the lines whose biology they have."""
    by_name = {line.name: line for line in LINES}
    lines = [
        (f"PR500_{model}", by_name[name])
        for model, name in MODELS
        if model not in INVENTED and by_name[name].ccle
    ]
    second = dict(lines)[SECOND_POOL[1]]
    return [*lines, (SECOND_POOL[0], second), (FAILED[0], by_name[FAILED[1]])]


def _is_screened(label: str, compound: Compound) -> bool:
    return label not in SECOND_POOL or (label == SECOND_POOL[0]) == (compound.name in OF_SECOND_POOL)


def _treatments(compounds: list[Compound]) -> list[dict[str, str]]:
    """Return what each well is treated with."""
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
    return treatments


def _fold_changes(
    study: Study,
    lines: list[tuple[str, CellLine]],
    compounds: list[Compound],
    treatments: list[dict[str, str]],
) -> Values:
    """Return log2 fold changes, lines × treatments, NaN where there is no value."""
    rng = study.rng(PRISM)
    by_id = {_broad(compound): compound for compound in compounds}
    changes = np.full((len(lines), len(treatments)), np.nan)
    for row, (label, line) in enumerate(lines):
        for column, one in enumerate(treatments):
            compound = by_id[one["broad_id"]]
            exact = study.curve(compound, line).viability(np.array([float(one["dose"])]))[0]
            if _is_screened(label, compound) and rng.random() >= SHARE_MISSING:
                changes[row, column] = np.log2(max(exact, LEAST_VIABILITY)) + rng.normal(0, LOG2_SD)
    return changes


def _collapsed(treatments: list[dict[str, str]], changes: Values) -> tuple[list[dict[str, str]], Values]:
    """Return a treatment per compound, dose and screen, and the medians of its wells."""
    columns: dict[str, list[int]] = {}
    for column, one in enumerate(treatments):
        columns.setdefault(f"{one['broad_id']}::{one['dose']}::{one['screen_id']}", []).append(column)
    collapsed = [treatments[wells[0]] | {"column_name": name} for name, wells in columns.items()]
    medians = pl.DataFrame(changes.T).fill_nan(None)
    return collapsed, np.column_stack([medians[wells].median().row(0) for wells in columns.values()]).astype(
        np.float64
    )


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


def _control(replicate: int, kind: str, name: str) -> dict[str, str]:
    plate = f"PMTS006_X{replicate}"
    return {
        "column_name": f"{plate}::{name}::MTS006",
        "name": name,
        "screen_id": "MTS006",
        "detection_plate": plate,
        "perturbation_type": kind,
    }


def _names(label: str, line: CellLine) -> dict[str, str]:
    """Return what both tables of lines say of a label: a line that failed has no names."""
    passed = label != FAILED[0]
    return {
        "row_name": label,
        "depmap_id": label.partition("_")[2] if passed else "",
        "ccle_name": line.ccle[0] if line.ccle and passed else "",
        "passed_str_profiling": str(passed).upper(),
    }


def _line(label: str, line: CellLine) -> dict[str, str]:
    return _names(label, line) | {"primary_tissue": line.tissue.lower()}


def _curve(compound: Compound, curve: Curve, screen: str, label: str, line: CellLine) -> dict[str, str]:
    """Return the published curve: here the true one, as a good fit of many wells would be."""
    fine = 10.0 ** np.linspace(np.log10(DOSES[0]), np.log10(DOSES[-1]), 401)
    gap = 0.5 - curve.e_inf
    ic50 = curve.ec50_um * (0.5 / gap) ** (1 / curve.slope) if gap > 0 else np.inf
    return {
        **_facts(compound),
        **_names(label, line),
        "screen_id": screen,
        "upper_limit": "1",
        "lower_limit": f"{curve.e_inf:.6g}",
        "slope": f"{curve.slope:.6g}",
        "r2": "0.95",
        "auc": f"{np.clip(curve.viability(fine), 0, 1).mean():.6g}",
        "ec50": f"{curve.ec50_um:.6g}",
        "ic50": f"{ic50:.6g}" if DOSES[0] <= ic50 <= DOSES[-1] else "NA",
    }


def _write(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def _write_wide(path: Path, labels: list[str], treatments: list[dict[str, str]], changes: Values) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *(one["column_name"] for one in treatments)])
        for label, row in zip(labels, changes, strict=True):
            table.writerow([label, *("" if np.isnan(value) else f"{value:.6f}" for value in row)])
