"""Simulated NCI-60 dose responses: one long table in a zip, as NCI offers it.

Nine compounds on eight cell names, of which two pairs are spellings of one line; five doses, tenfold from the
top. Some compounds are screened in two experiments; one has two dilution series in an experiment, one ten
doses at half-log steps, one a cell line under two numbers. An extract is dosed in µg/ml, another by volume.
Some rows lack the percentage of the control, some are means of two determinations, some names have blanks.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine
from etl.simulate.landing import write_truth
from etl.simulate.screens import TRUTH_COLUMNS
from etl.simulate.study import Curve, Study

NCI60: Final = "nci60"
ARCHIVE: Final = "DOSERESP.zip"
MEMBER: Final = "DOSERESP.csv"

COLUMNS: Final = (
    "RELEASE_DATE",
    "EXPID",
    "PREFIX",
    "NSC",
    "CONCENTRATION_UNIT",
    "LOG_HI_CONCENTRATION",
    "CONCENTRATION",
    "PANEL_NUMBER",
    "CELL_NUMBER",
    "PANEL_NAME",
    "CELL_NAME",
    "PANEL_CODE",
    "COUNT_GIPRCNT",
    "AVERAGE_GIPRCNT",
    "STDDEV_GIPRCNT",
    "COUNT_PTC",
    "AVERAGE_PTC",
    "STDDEV_PTC",
)

RELEASE_DATE: Final = "20240101"
FIRST, SECOND = "0303RS52", "1109NS81"
N_DOSES: Final = 5
NOISE: Final = 0.03
LEAST_VIABILITY: Final = 0.005
SHARE_AT_START: Final = 0.3
"""Signal when the drug is added, as a share of that of the control at the end."""
SHARE_WITHOUT_PERCENT: Final = 0.03
SHARE_OF_TWO: Final = 0.05
"""Rows that are means of two determinations."""


@dataclass(frozen=True, slots=True)
class Label:
    """A cell name of the file.

    Args:
        written: the name as the file writes it, with its blanks.
        of: name of the line in the catalogue.
        panel: name of the panel.
        code: its abbreviation.
        number: number of the panel and of the line in it.
        experiments: experiments in which the name is used.
    """

    written: str
    of: str
    panel: str
    code: str
    number: tuple[int, int]
    experiments: tuple[str, ...] = (FIRST, SECOND)

    @property
    def line(self) -> CellLine:
        """The line of the catalogue."""
        return next(line for line in LINES if line.name == self.of)


LABELS: Final = (
    Label("A549/ATCC", "A549", "Non-Small Cell Lung Cancer", "LNS", (1, 4)),
    Label("A549", "A549", "Non-Small Cell Lung Cancer", "LNS", (1, 104), (SECOND,)),
    Label("MCF7", "MCF7", "Breast Cancer", "BRE", (12, 1)),
    Label("MCF7/ATCC ", "MCF7", "Breast Cancer", "BRE", (12, 101), (SECOND,)),
    Label("PC-3", "PC3", "Prostate Cancer", "PRO", (11, 1)),
    Label("HT29 ", "HT29", "Colon Cancer", "COL", (4, 1)),
    Label("A-375", "A375", "Melanoma ", "MEL", (10, 50), (FIRST,)),
    Label("HEPG2", "HEPG2", "Liver Cancer", "LIV", (20, 1), (FIRST,)),
)

NUMBERS: Final = {
    "vorinostat": 701852,
    "paclitaxel": 125973,
    "bortezomib": 681239,
    "tanespimycin": 330507,
    "etoposide": 141540,
    "topotecan": 609699,
    "erlotinib": 718781,
}
"""NSC number of the compounds of the catalogue."""
EXTRACTS: Final = ((900001, "u", "etoposide"), (900002, "V", "topotecan"))
"""Number, unit of dose, and the compound whose curve the extract borrows."""
TOP_LOG10_M: Final = {"paclitaxel": "-6", "bortezomib": "-6", "tanespimycin": "-5"}
"""log10 molar highest dose; -4 elsewhere."""
REPEATED: Final = ("vorinostat", "etoposide", "paclitaxel")
"""Compounds that are screened in both experiments, the others in the first alone."""
SECOND_SERIES: Final = ("etoposide", SECOND, "-5")
"""Compound and experiment with a second dilution series, and its highest dose."""
HALF_LOG: Final = ("topotecan", FIRST)
TWO_NUMBERS: Final = ("erlotinib", "MCF7", (12, 201))
"""Compound and cell name that the file has under two numbers in one experiment, and the other number."""


def write(folder: Path, study: Study) -> None:
    """Write the archive and the true curves of what is dosed in moles."""
    rng = study.rng(NCI60)
    catalogue = {compound.name: compound for compound in COMPOUNDS}
    rows: list[str] = []
    truth: list[tuple[str, str, str, float, float, float]] = []
    molar = [(number, "M", name) for name, number in NUMBERS.items()]
    for number, unit, name in (*molar, *EXTRACTS):
        experiments = (FIRST, SECOND) if unit == "M" and name in REPEATED else (FIRST,)
        for label in LABELS:
            used = [experiment for experiment in experiments if experiment in label.experiments]
            curve = study.curve(catalogue[name], label.line)
            if used and unit == "M":
                reported = (label.written.strip(), f"NSC{number}", name)
                truth.append((*reported, curve.ec50_um, curve.slope, curve.e_inf))
            for experiment in used:
                head = [RELEASE_DATE, experiment, "S", str(number), unit]
                tops = [TOP_LOG10_M.get(name, "-4") if unit == "M" else "2"]
                if unit == "M" and (name, experiment) == SECOND_SERIES[:2]:
                    tops.append(SECOND_SERIES[2])
                numbers = [label.number]
                if unit == "M" and (name, label.written) == TWO_NUMBERS[:2]:
                    numbers.append(TWO_NUMBERS[2])
                step = 0.5 if unit == "M" and (name, experiment) == HALF_LOG else 1.0
                for top in tops:
                    for panel_and_cell in numbers:
                        rows += _series(rng, head, top, step, label, panel_and_cell, curve)
    _write_archive(folder / ARCHIVE, rows)
    write_truth(folder, "curves", pl.DataFrame(truth, schema=TRUTH_COLUMNS, orient="row"))


def _series(
    rng: np.random.Generator,
    head: list[str],
    top: str,
    step: float,
    label: Label,
    number: tuple[int, int],
    curve: Curve,
) -> list[str]:
    """Return the lines of one dilution series, the lowest dose first."""
    lines = []
    place = [*map(str, number), label.panel, label.written, label.code]
    # An extract has no moles: its curve is that of the compound that it borrows, from 100 µM.
    shift = 6 if head[-1] == "M" else 0
    for index in reversed(range(round(N_DOSES / step))):
        dose = float(top) - step * index
        exact = curve.viability(np.array([10.0 ** (dose + shift)]))[0]
        n = 2 if rng.random() < SHARE_OF_TWO else 1
        values = np.clip(exact + rng.normal(0, NOISE, n), LEAST_VIABILITY, None)
        growth = np.where(
            values >= SHARE_AT_START,
            (values - SHARE_AT_START) / (1 - SHARE_AT_START),
            (values - SHARE_AT_START) / SHARE_AT_START,
        )
        percent = ["", "", ""] if rng.random() < SHARE_WITHOUT_PERCENT else _summary(values)
        lines.append(",".join([*head, top, f"{dose:g}", *place, *_summary(growth), *percent]))
    return lines


def _summary(values: np.ndarray) -> list[str]:
    """Return number, mean and deviation of determinations, in percent, as the file writes them."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return [
        str(len(values)),
        *(f"{100 * value:.4f}".rstrip("0").rstrip(".") for value in (values.mean(), deviation)),
    ]


def _write_archive(path: Path, rows: list[str]) -> None:
    """Write the table into an archive whose bytes depend on nothing else."""
    text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), text, zipfile.ZIP_DEFLATED)
