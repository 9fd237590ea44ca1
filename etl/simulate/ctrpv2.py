"""Simulated CTRPv2 in the layout of the archive of 2015: wells, averages, fitted curves and their metadata.

Seven experiments on six lines, one line twice; nine compounds and a combination at sixteen doses, twofold
apart, on two plates each. As published: an experiment that ran on two days has two rows, a line was never
screened, numbers are MATLAB's, lines end as on Windows. Curves are fitted to the averages as the publisher
does: a logistic curve in log2 dose that starts at 1, or one from 1 to 0 where the first has its centre above
the highest dose. Some have their highest dose, or two, or an outlier rejected.

Not written: what no adapter reads (``per_cpd_avg``, ``media_comp``, column descriptions, manifest).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, special

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.screens import TRUTH_COLUMNS
from etl.simulate.study import Study

Values = NDArray[np.float64]

CTRPV2: Final = "ctrpv2"
FOLDER: Final = "CTRPv2.0_2015_ctd2_ExpandedDataset"

N_DOSES: Final = 16
N_PLATES: Final = 2
"""Plates that hold each compound, all its doses on each."""
LOG2_SD: Final = 0.08
LEAST_VIABILITY: Final = 0.01

LINE_IDS: Final = {"A375": 30, "A549": 35, "HEPG2": 366, "HT29": 451, "MCF7": 646, "PC3": 932}
"""Name of the line here and in the catalogue: its ``master_ccl_id``."""
NOT_SCREENED: Final = ("101", "BXPC3", "pancreas")
EXPERIMENTS: Final = {1: "A375", 2: "MCF7", 3: "A549", 4: "PC3", 5: "HT29", 6: "HEPG2", 7: "A375"}
ON_TWO_DAYS: Final = (2, 7)
"""Experiments with two rows, which differ in the date alone."""

REPEATED_WELL: Final = (3, "vorinostat")
"""Experiment and compound whose highest dose stands twice on each plate."""
WITHOUT_EC50: Final = (4, "PLX-4032")
"""The curve whose centre is so high that its EC50 is printed as infinite."""
INFINITE_CENTRE: Final = 1_100.0


@dataclass(frozen=True, slots=True)
class Substance:
    """A compound of the screen, or a combination, as the publisher lists it.

    Args:
        master_cpd_id: publisher's id.
        name: ``cpd_name``.
        top_um: highest dose; of a combination, of all parts together.
        parts: names in the catalogue, and what share of the dose each is.
        registry_id: ``broad_cpd_id``; that of the catalogue where there is one part.
    """

    master_cpd_id: int
    name: str
    top_um: float
    parts: dict[str, float]
    registry_id: str = ""

    @property
    def compounds(self) -> list[Compound]:
        """The compounds in it."""
        return [next(one for one in COMPOUNDS if one.name == name) for name in self.parts]


SUBSTANCES: Final = (
    Substance(26956, "paclitaxel", 66, {"paclitaxel": 1}),
    Substance(50134, "tanespimycin", 33, {"tanespimycin": 1}),
    Substance(56554, "vorinostat", 33, {"vorinostat": 1}),
    Substance(348991, "selumetinib", 270, {"selumetinib": 1}),
    Substance(411737, "bortezomib", 0.13, {"bortezomib": 1}),
    Substance(616354, "JQ-1", 66, {"JQ1": 1}),
    Substance(628603, "crizotinib", 66, {"crizotinib": 1}),
    Substance(649420, "PLX-4032", 33, {"vemurafenib": 1}),
    Substance(
        660133,
        "selumetinib:PLX-4032 (8:1 mol/mol)",
        150,
        {"selumetinib": 8 / 9, "vemurafenib": 1 / 9},
        "BRD-M58862563",
    ),
    Substance(687418, "trametinib", 66, {"trametinib": 1}),
)

CURVE_COLUMNS: Final = (
    "experiment_id",
    "conc_pts_fit",
    "fit_num_param",
    "p1_conf_int_high",
    "p1_conf_int_low",
    "p2_conf_int_high",
    "p2_conf_int_low",
    "p4_conf_int_high",
    "p4_conf_int_low",
    "p1_center",
    "p2_slope",
    "p3_total_decline",
    "p4_baseline",
    "apparent_ec50_umol",
    "pred_pv_high_conc",
    "area_under_curve",
    "master_cpd_id",
)

COLUMNS: Final = {
    "data.curves_post_qc": CURVE_COLUMNS,
    "data.per_cpd_well": (
        "experiment_id",
        "assay_plate_barcode",
        "raw_value_log2",
        "bsub_value_log2",
        "dmso_zscore_log2",
        "cpd_conc_umol",
        "master_cpd_id",
    ),
    "data.per_cpd_pre_qc": (
        "experiment_id",
        "cpd_conc_umol",
        "cpd_avg_pv",
        "num_conc_pts",
        "qc_type",
        "master_cpd_id",
    ),
    "data.per_cpd_post_qc": (
        "experiment_id",
        "cpd_conc_umol",
        "cpd_avg_pv",
        "cpd_expt_avg_log2",
        "cpd_pred_pv",
        "master_cpd_id",
    ),
    "meta.per_assay_plate": (
        "experiment_id",
        "assay_plate_barcode",
        "dmso_plate_avg_log2",
        "dmso_expt_std_log2",
    ),
    "meta.per_experiment": (
        "experiment_id",
        "run_id",
        "experiment_date",
        "culture_media",
        "baseline_signal",
        "cells_per_well",
        "growth_mode",
        "snp_fp_status",
        "master_ccl_id",
    ),
    "meta.per_cell_line": (
        "master_ccl_id",
        "ccl_name",
        "ccl_availability",
        "ccle_primary_site",
        "ccle_primary_hist",
        "ccle_hist_subtype_1",
    ),
    "meta.per_compound": (
        "master_cpd_id",
        "cpd_name",
        "broad_cpd_id",
        "top_test_conc_umol",
        "cpd_status",
        "inclusion_rationale",
        "gene_symbol_of_protein_target",
        "target_or_activity_of_compound",
        "source_name",
        "source_catalog_id",
        "cpd_smiles",
    ),
}
"""Columns of each file, by the middle of its name."""


@dataclass(slots=True)
class _Tables:
    """Rows of each file."""

    rows: dict[str, list[Sequence[object]]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def add(self, name: str, *cells: object) -> None:
        """Add a row to a file."""
        assert len(cells) == len(COLUMNS[name])
        self.rows[name].append(cells)

    def write(self, folder: Path) -> None:
        """Write all files."""
        folder.mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            lines = ("\t".join(map(str, row)) + "\r\n" for row in [COLUMNS[name], *rows])
            (folder / f"v20.{name}.txt").write_bytes("".join(lines).encode())


@dataclass(frozen=True, slots=True)
class _Logistic:
    """A published curve over x, the log2 of the dose in µM; it starts at 1.

    Args:
        centre: x of half the decline.
        slope: width of the decline, positive.
        baseline: where it ends.
        half_widths: of the 95 % confidence intervals of the three; infinite where there is none.
        n_parameters: how many of the three were fitted.
    """

    centre: float
    slope: float
    baseline: float
    half_widths: tuple[float, float, float] = (np.inf, np.inf, np.inf)
    n_parameters: int = 2

    def at(self, x: Values) -> Values:
        """Return the fitted viability."""
        return self.baseline + (1 - self.baseline) * special.expit(-(x - self.centre) / self.slope)

    def area(self, low: float, high: float) -> float:
        """Return the integral from one log2 dose to another: that of the logistic is a softplus."""
        ends = np.logaddexp(0, (np.array([low, high]) - self.centre) / self.slope)
        survival = (high - low) - self.slope * float(ends[1] - ends[0])
        return self.baseline * (high - low) + (1 - self.baseline) * survival


def write(folder: Path, study: Study) -> None:
    """Write the archive's files, in its folder, and the true curves of the single compounds."""
    rng = study.rng(CTRPV2)
    tables = _Tables()
    for substance in SUBSTANCES:
        _add_compound(tables, substance)
    for name, line_id in LINE_IDS.items():
        tables.add("meta.per_cell_line", line_id, name, "ccle;public", _site(_line(name)), "carcinoma", "")
    identifier, name, site = NOT_SCREENED
    tables.add("meta.per_cell_line", identifier, name, "ccle;public", site, "carcinoma", "ductal_carcinoma")
    for experiment, line_name in EXPERIMENTS.items():
        _add_experiment(tables, rng, study, experiment, _line(line_name))
    tables.write(folder / FOLDER)
    write_truth(folder, "curves", _truth(study))


def _add_compound(tables: _Tables, substance: Substance) -> None:
    compounds = substance.compounds
    is_combination = len(compounds) > 1
    tables.add(
        "meta.per_compound",
        substance.master_cpd_id,
        substance.name,
        substance.registry_id or compounds[0].pert_id,
        f"{substance.top_um:.2E}",
        "probe",
        "combination" if is_combination else "pilot-set",
        ";".join(one.mechanism.target for one in compounds),
        ";".join(one.mechanism.name for one in compounds),
        "" if is_combination else "Selleck",
        "",
        ".".join(one.smiles for one in compounds),
    )


def _add_experiment(
    tables: _Tables, rng: np.random.Generator, study: Study, experiment: int, line: CellLine
) -> None:
    for date in ("20120723", "20120724")[: 2 if experiment in ON_TWO_DAYS else 1]:
        tables.add(
            "meta.per_experiment",
            experiment,
            f"7024-01-A01-02-{experiment:02d}",
            date,
            "RPMI001",
            _matlab(float(rng.uniform(0.05, 0.3))),
            500,
            "adherent",
            "SNP-not-tested" if experiment == 4 else "SNP-matched-reference",
            LINE_IDS[line.name],
        )
    controls = {f"BR{experiment:05d}{side}": rng.normal(17, 0.2) for side in range(1, N_PLATES + 1)}
    for plate, mean in controls.items():
        tables.add("meta.per_assay_plate", experiment, plate, f"{mean:.4f}", f"{LOG2_SD:.4f}")
    for position, substance in enumerate(SUBSTANCES):
        qc_type = max(0, (experiment + 3 * position) % 9 - 5)
        _add_curve(tables, rng, study, experiment, line, substance, controls, qc_type)


def _add_curve(
    tables: _Tables,
    rng: np.random.Generator,
    study: Study,
    experiment: int,
    line: CellLine,
    substance: Substance,
    controls: dict[str, float],
    qc_type: int,
) -> None:
    x = np.log2(substance.top_um) + np.arange(1.0 - N_DOSES, 1.0)
    doses = [f"{dose:.2g}" for dose in np.exp2(x)]
    expected = np.log2(np.clip(_viability(study, substance, line, np.exp2(x)), LEAST_VIABILITY, None))
    is_kept = np.ones(N_DOSES, dtype=bool)
    if qc_type in (1, 2):
        is_kept[-qc_type:] = False
    elif qc_type == 3:
        is_kept[N_DOSES // 2] = False
    # What is rejected is so because it stands out.
    expected = np.where(is_kept, expected, expected + 1.5)

    n_wells = np.ones(N_DOSES, dtype=int)
    n_wells[-1] += (experiment, substance.name) == REPEATED_WELL
    index = np.repeat(np.arange(N_DOSES), n_wells)
    log2_ratios = []
    for plate, control in controls.items():
        measured = expected[index] + rng.normal(0, LOG2_SD, len(index))
        log2_ratios.append([float(measured[index == position].mean()) for position in range(N_DOSES)])
        for well, value in zip(index, measured, strict=True):
            numbers = (f"{value + control:.4f}", f"{value:.4f}", f"{value / LOG2_SD:.3f}", doses[well])
            tables.add("data.per_cpd_well", experiment, plate, *numbers, substance.master_cpd_id)

    log2_average = np.mean(log2_ratios, axis=0)
    average = np.exp2(log2_average)
    curve = _fitted(x[is_kept], average[is_kept])
    if (experiment, substance.name) == WITHOUT_EC50:
        curve = _Logistic(centre=INFINITE_CENTRE, slope=curve.slope, baseline=0.0)
    predicted = curve.at(x)
    for position, dose in enumerate(doses):
        before = (dose, _matlab(average[position]), N_DOSES, qc_type)
        tables.add("data.per_cpd_pre_qc", experiment, *before, substance.master_cpd_id)
        if is_kept[position]:
            after = (
                _matlab(average[position]),
                f"{log2_average[position]:.4f}",
                _matlab(predicted[position]),
            )
            tables.add("data.per_cpd_post_qc", experiment, dose, *after, substance.master_cpd_id)

    # The sign of the slope is that of the publisher's formula, 1 / (1 + exp(-(x - p1) / p2)).
    centres = (curve.centre, -curve.slope, curve.baseline)
    bounds = [
        _matlab(centre + sign * width)
        for centre, width in zip(centres, curve.half_widths, strict=True)
        for sign in (1, -1)
    ]
    with np.errstate(over="ignore"):
        ec50_um = float(np.exp2(curve.centre))
    fitted = (curve.centre, -curve.slope, 1 - curve.baseline, curve.baseline, ec50_um, predicted[-1])
    metrics = [_matlab(value) for value in (*fitted, curve.area(x[0], x[-1]))]
    counts = (experiment, int(is_kept.sum()), curve.n_parameters)
    tables.add("data.curves_post_qc", *counts, *bounds, *metrics, substance.master_cpd_id)


def _viability(study: Study, substance: Substance, line: CellLine, dose_um: Values) -> Values:
    """Return the true viability; parts of a combination act independently of each other (Bliss 1939)."""
    viability = np.ones_like(dose_um)
    for compound, share in zip(substance.compounds, substance.parts.values(), strict=True):
        viability *= study.curve(compound, line).viability(share * dose_um)
    return viability


def _fitted(x: Values, viability: Values) -> _Logistic:
    """Return the least-squares curve: of three parameters, or of two where its centre is above all doses."""

    def misfit(parameters: Values) -> Values:
        centre, slope, *rest = parameters
        return _Logistic(centre, slope, rest[0] if rest else 0.0).at(x) - viability

    below = np.flatnonzero(viability < 0.5)
    start = float(x[below[0]] if len(below) else np.median(x))
    lowest, highest = [x[0] - 20, 0.05, -0.5], [x[-1] + 20, 15.0, 2.0]
    fit = optimize.least_squares(misfit, [start, 0.8, 0.1], bounds=(lowest, highest))
    if fit.x[0] > x[-1]:
        fit = optimize.least_squares(misfit, [start, 0.8], bounds=(lowest[:2], highest[:2]))
    n_parameters = len(fit.x)
    variance = 2 * fit.cost / (len(x) - n_parameters) * np.linalg.pinv(fit.jac.T @ fit.jac).diagonal()
    widths = [*(1.96 * np.sqrt(variance)), np.inf][:3]
    baseline = float(fit.x[2]) if n_parameters == 3 else 0.0
    half_widths = (float(widths[0]), float(widths[1]), float(widths[2]))
    return _Logistic(float(fit.x[0]), float(fit.x[1]), baseline, half_widths, n_parameters)


def _truth(study: Study) -> pl.DataFrame:
    rows = []
    for substance in SUBSTANCES:
        if len(substance.parts) > 1:
            continue
        (compound,) = substance.compounds
        for name in LINE_IDS:
            curve = study.curve(compound, _line(name))
            numbers = (curve.ec50_um, curve.slope, curve.e_inf)
            rows.append((name, str(substance.master_cpd_id), compound.name, *numbers))
    return pl.DataFrame(rows, schema=TRUTH_COLUMNS, orient="row")


def _line(name: str) -> CellLine:
    return next(line for line in LINES if line.name == name)


def _site(line: CellLine) -> str:
    """Primary site as the CCLE name has it: ``large_intestine``."""
    assert line.ccle is not None
    return line.ccle[0].partition("_")[2].lower()


def _matlab(value: float) -> str:
    """Number as the publisher's tables have it: four digits, three of the exponent, ``Inf``."""
    if np.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    return f"{mantissa}e{exponent[0]}{int(exponent[1:]):03d}"
