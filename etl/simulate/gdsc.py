"""Simulated GDSC screens in the layout of release 8.5: fits as a workbook, intensities of wells as CSV.

Seven lines, two of them TT and T-T, on three plates each, of two expansions. GDSC2 is laid out as 1,536 wells
with seven half-log doses and vehicle wells as controls, GDSC1 as 384 wells with nine twofold doses (five
fourfold ones of a drug) and untreated wells. As published, and more often: wells have several tags, some are
marked FAIL, names end in blanks, two ids have one name, one id is in two libraries, one barcode is text, a
drug has fits and no wells, another has wells and no fits, and a plate has no blanks.

The published metrics are those of the true curves, with noise.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Curve, Study
from etl.simulate.workbooks import Cell, write_workbook

GDSC1: Final = "gdsc1"
GDSC2: Final = "gdsc2"

RELEASE: Final = "27Oct23"

FITTED_COLUMNS: Final = (
    "DATASET",
    "NLME_RESULT_ID",
    "NLME_CURVE_ID",
    "COSMIC_ID",
    "CELL_LINE_NAME",
    "SANGER_MODEL_ID",
    "TCGA_DESC",
    "DRUG_ID",
    "DRUG_NAME",
    "PUTATIVE_TARGET",
    "PATHWAY_NAME",
    "COMPANY_ID",
    "WEBRELEASE",
    "MIN_CONC",
    "MAX_CONC",
    "LN_IC50",
    "AUC",
    "RMSE",
    "Z_SCORE",
)
RAW_COLUMNS: Final = (
    "RESEARCH_PROJECT",
    "BARCODE",
    "SCAN_ID",
    "DATE_CREATED",
    "SCAN_DATE",
    "CELL_ID",
    "MASTER_CELL_ID",
    "COSMIC_ID",
    "CELL_LINE_NAME",
    "SANGER_MODEL_ID",
    "SEEDING_DENSITY",
    "DRUGSET_ID",
    "ASSAY",
    "DURATION",
    "POSITION",
    "TAG",
    "DRUG_ID",
    "CONC",
    "INTENSITY",
)
COMPOUND_COLUMNS: Final = ("DRUG_ID", "SCREENING_SITE", "DRUG_NAME", "SYNONYMS", "TARGET", "TARGET_PATHWAY")


@dataclass(frozen=True, slots=True)
class ScreenedLine:
    """A line under its name here.

    Args:
        name: cell line name.
        model: Sanger model id.
        tcga: class of TCGA.
        line: whose invented biology it has.
    """

    name: str
    model: str
    tcga: str | None
    line: CellLine


def _catalogued(name: str) -> CellLine:
    return next(line for line in LINES if line.name == name)


SCREENED_LINES: Final = (
    ScreenedLine("A375", "SIDM00795", "SKCM", _catalogued("A375")),
    ScreenedLine("MCF7", "SIDM00148", "BRCA", _catalogued("MCF7")),
    ScreenedLine("A549", "SIDM00903", "LUAD", _catalogued("A549")),
    ScreenedLine("PC-3", "SIDM00088", "PRAD", _catalogued("PC3")),
    ScreenedLine("HT-29", "SIDM00136", "COREAD", _catalogued("HT29")),
    ScreenedLine("TT", "SIDM00484", "UNCLASSIFIED", CellLine("TT", tissue="Thyroid")),
    ScreenedLine("T-T", "SIDM00322", "ESCA", CellLine("T-T", tissue="Oesophagus")),
)
FIRST_COSMIC_ID: Final = 99_000_001
"""COSMIC ids are invented; the ids of the models are Sanger's."""


@dataclass(frozen=True, slots=True)
class Series:
    """A drug in a library: its id and name here, its name in the catalogue, its highest dose in µM."""

    drug_id: int
    drug_name: str
    compound: str
    top_um: float
    library: str
    is_fitted: bool = True
    has_wells: bool = True

    @property
    def catalogued(self) -> Compound:
        """The compound of the catalogue."""
        return next(one for one in COMPOUNDS if one.name == self.compound)


SERIES: Final = (
    Series(1, "Erlotinib", "erlotinib", 10.0, "L1"),
    Series(119, "Lapatinib", "lapatinib", 10.0, "L2"),
    Series(1012, "Vorinostat ", "vorinostat", 10.0, "L3"),
    Series(1047, "Nutlin-3a (-)", "nutlin-3", 10.0, "L4"),
    Series(1062, "Selumetinib", "selumetinib", 4.0, "L5"),
    Series(1736, "Selumetinib", "selumetinib", 10.0, "L6"),
    Series(1080, "Paclitaxel", "paclitaxel", 0.1, "L7"),
    Series(1080, "Paclitaxel", "paclitaxel", 1.0, "L8"),
    Series(1191, "Bortezomib", "bortezomib", 0.1, "L9"),
    Series(1372, "Trametinib", "trametinib", 1.0, "L10"),
    Series(1373, "Dabrafenib", "dabrafenib", 2.5, "R1"),
    Series(1083, "Crizotinib", "crizotinib", 10.0, "L11", has_wells=False),
    Series(1054, "Palbociclib", "palbociclib", 10.0, "L12", is_fitted=False),
)
"""One id in two libraries (1080), two ids of one name (Selumetinib), one without wells, one without fits."""

WITHOUT_ID: Final = "L13"
"""Library of the plan that was never filled: its wells have no drug."""
FEW_DOSES: Final = "L5"
"""The library of GDSC1 that has five doses instead of nine."""
POSITIVE_CONTROL_ID: Final = 1862
ANCHOR: Final = "A1"

PLATES_PER_LINE: Final = 3
TEXT_BARCODE: Final = "018_996_0005436"
WITHOUT_BLANKS: Final = ("A549", 2)
"""Line and number of the plate whose blanks were not read."""
N_FAILED: Final = 2
"""Treated wells of each plate that are marked as failed."""

BLANK_INTENSITY: Final = 4_000.0
CONTROL_INTENSITY: Final = 210_000.0
WELL_CV: Final = 0.04


@dataclass(frozen=True, slots=True)
class Screen:
    """How a screen is laid out.

    Args:
        name: as files are named.
        n_wells: of a plate.
        n_columns: of a plate.
        n_doses: of a series.
        step: factor between doses.
        negative: tag of the controls, and of further wells that are none here.
        assay: code of the assay.
        drugset: number of the layout.
        first_barcode: of the numbered plates.
    """

    name: str
    n_wells: int
    n_columns: int
    n_doses: int
    step: float
    negative: tuple[str, ...]
    assay: str
    drugset: int
    first_barcode: int

    def doses(self, series: Series) -> list[float]:
        """Return the doses of a series, highest first."""
        is_short = self.name == "GDSC1" and series.library == FEW_DOSES
        n_doses, step = (5, 4.0) if is_short else (self.n_doses, self.step)
        return [series.top_um / step**place for place in range(n_doses)]


SCREENS: Final[Mapping[str, Screen]] = {
    GDSC1: Screen("GDSC1", 384, 24, 9, 2.0, ("NC-0",), "s", 44, 3_000),
    GDSC2: Screen("GDSC2", 1536, 48, 7, 10**0.5, ("NC-1", "NC-0"), "Glo", 159, 100_000),
}


@dataclass(frozen=True, slots=True)
class Tagged:
    """One row of a well of a layout: its tag and, of a drug, what is in it."""

    position: int
    tag: str
    drug_id: int | None = None
    compound: Compound | None = None
    dose_um: float = 0.0


def write(folder: Path, study: Study, *, dataset_id: str) -> None:
    """Write fits, wells, the table of compounds, and the true curves of a screen."""
    screen = SCREENS[dataset_id]
    curves = {
        (line.name, series.compound): study.curve(series.catalogued, line.line)
        for line in SCREENED_LINES
        for series in SERIES
    }
    rng = study.rng(dataset_id)
    _write_csv(
        folder / f"{screen.name}_public_raw_data_{RELEASE}.csv", RAW_COLUMNS, _raw_rows(screen, study, rng)
    )
    fits = list(_fitted_rows(screen, curves, rng))
    write_workbook(
        folder / f"{screen.name}_fitted_dose_response_{RELEASE}.xlsx", {"Sheet 1": [FITTED_COLUMNS, *fits]}
    )
    _write_csv(folder / "screened_compounds_rel_8.5.csv", COMPOUND_COLUMNS, _compound_rows())
    truth = [
        (line.name, str(series.drug_id), series.compound, curve.ec50_um, curve.slope, curve.e_inf)
        for line in SCREENED_LINES
        for series in {one.drug_id: one for one in SERIES}.values()
        for curve in [curves[line.name, series.compound]]
    ]
    names = ("context_reported", "compound_reported", "compound", "ec50_um", "slope", "e_inf")
    write_truth(folder, "curves", pl.DataFrame(truth, schema=names, orient="row"))


write_gdsc1 = partial(write, dataset_id=GDSC1)
write_gdsc2 = partial(write, dataset_id=GDSC2)


def _layout(screen: Screen, rng: np.random.Generator) -> list[Tagged]:
    """Return the rows of a plate, by position: one for each tag of a well."""
    edge = {
        *range(1, screen.n_columns + 1),
        *range(screen.n_wells - screen.n_columns + 1, screen.n_wells + 1),
    }
    free = iter(
        rng.permutation([place for place in range(1, screen.n_wells + 1) if place not in edge]).tolist()
    )
    rows = [Tagged(place, "UN-USED") for place in sorted(edge)]
    treated: list[int] = []
    for series in SERIES:
        for number, dose in enumerate(screen.doses(series) if series.has_wells else [], start=1):
            place = next(free)
            treated.append(place)
            tag = f"{series.library}-D{number}-S"
            rows += [
                Tagged(place, tag, series.drug_id, series.catalogued, dose),
                Tagged(place, "DMSO"),
            ]
    rows += [Tagged(place, "FAIL") for place in treated[3 : 3 + N_FAILED]]
    # The reference drug's top dose has a library tag too.
    reference = next(row for row in rows if row.tag == "R1-D1-S")
    rows.append(
        Tagged(reference.position, "L14-D1-S", reference.drug_id, reference.compound, reference.dose_um)
    )
    rows += [Tagged(next(free), f"{WITHOUT_ID}-D{number}-S") for number in (1, 2)]
    library, anchor = SERIES[0], SERIES[1]
    for place in (next(free), next(free)):
        rows += [
            Tagged(place, f"{library.library}-D1-C", library.drug_id, library.catalogued, library.top_um),
            Tagged(place, f"{ANCHOR}-C", anchor.drug_id, anchor.catalogued, 1.0),
        ]
    rows.append(Tagged(next(free), f"{ANCHOR}-S", anchor.drug_id, anchor.catalogued, 1.0))
    positive = next(one for one in COMPOUNDS if one.name == "mitoxantrone")
    rows += [Tagged(next(free), tag, POSITIVE_CONTROL_ID, positive, 10.0) for tag in ("PC-1", "PC1-D1-S")]
    rows += [Tagged(next(free), "B") for _ in range(12)]
    rows += [Tagged(next(free), screen.negative[0]) for _ in range(16)]
    rows += [Tagged(next(free), tag) for tag in screen.negative[1:] for _ in range(4)]
    rows += [Tagged(next(free), "SC") for _ in range(2)]
    return sorted(rows, key=lambda row: row.position)


def _raw_rows(screen: Screen, study: Study, rng: np.random.Generator) -> Iterator[list[str]]:
    layout = _layout(screen, rng)
    for index, line in enumerate(SCREENED_LINES):
        for number in range(PLATES_PER_LINE):
            plate = index * PLATES_PER_LINE + number
            barcode = TEXT_BARCODE if plate == 1 else str(screen.first_barcode + plate)
            head = [
                f"Sanger_{screen.name}",
                barcode,
                str(7_000 + plate),
                "2015-03-02T00:00:00Z",
                "2015-03-06T00:00:00Z",
                str(500 + 2 * index + number // 2),
                str(50 + index),
                str(FIRST_COSMIC_ID + index),
                line.name,
                line.model,
                "250",
                str(screen.drugset),
                screen.assay,
                "3",
            ]
            intensities = _intensities(layout, line, study, rng)
            for row, intensity in zip(layout, intensities, strict=True):
                if row.tag == "B" and (line.name, number) == WITHOUT_BLANKS:
                    continue
                drug = ["NA", "NA"] if row.drug_id is None else [str(row.drug_id), f"{row.dose_um:.6g}"]
                yield [*head, str(row.position), row.tag, *drug, str(round(intensity))]


def _intensities(
    layout: list[Tagged], line: ScreenedLine, study: Study, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return one intensity per row; the rows of a well have the same."""
    viability = dict.fromkeys((row.position for row in layout), 1.0)
    for row in layout:
        if row.tag in {"B", "UN-USED"}:
            viability[row.position] = 0.0
        elif row.compound is not None:
            effect = study.curve(row.compound, line.line).viability(np.array([row.dose_um]))
            viability[row.position] *= float(effect[0])
    level = CONTROL_INTENSITY * rng.lognormal(0, 0.2)
    noise = {place: rng.normal(1, WELL_CV) for place in viability}
    values = [
        (BLANK_INTENSITY + viability[row.position] * (level - BLANK_INTENSITY)) * noise[row.position]
        for row in layout
    ]
    return np.array(values, dtype=np.float64)


def _fitted_rows(
    screen: Screen, curves: Mapping[tuple[str, str], Curve], rng: np.random.Generator
) -> Iterator[list[Cell]]:
    number = 0
    for series in SERIES:
        if not series.is_fitted:
            continue
        doses = screen.doses(series)
        found = [
            _metrics(curves[line.name, series.compound], doses[-1], doses[0], rng) for line in SCREENED_LINES
        ]
        ln_ic50 = np.array([one[0] for one in found])
        z_score = (ln_ic50 - ln_ic50.mean()) / ln_ic50.std(ddof=1)
        for index, (line, metrics) in enumerate(zip(SCREENED_LINES, found, strict=True)):
            number += 1
            yield [
                screen.name,
                343,
                15_900_000 + number,
                FIRST_COSMIC_ID + index,
                line.name,
                line.model,
                line.tcga,
                series.drug_id,
                series.drug_name,
                series.catalogued.mechanism.target,
                "Other",
                1000,
                "Y",
                float(f"{doses[-1]:.6g}"),
                series.top_um,
                round(metrics[0], 6),
                round(metrics[1], 6),
                round(float(rng.uniform(0.01, 0.12)), 6),
                round(float(z_score[index]), 6),
            ]


def _metrics(curve: Curve, low_um: float, top_um: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return LN_IC50 and AUC; a curve that stays above one half has its IC50 far beyond the doses."""
    if curve.e_inf < 0.5:
        ic50 = curve.ec50_um * (0.5 / (0.5 - curve.e_inf)) ** (1 / curve.slope)
    else:
        ic50 = top_um * 10 ** (1 + curve.e_inf)
    viability = curve.viability(np.geomspace(low_um, top_um, 100))
    auc = float(np.clip(viability.mean() + rng.normal(0, 0.01), 0.005, 0.995))
    return float(np.log(ic50) + rng.normal(0, 0.1)), auc


def _compound_rows() -> Iterator[list[str]]:
    for series in {one.drug_id: one for one in SERIES}.values():
        synonyms = f"{series.compound}, {series.compound.upper()}"
        target = series.catalogued.mechanism.target
        yield [str(series.drug_id), "SANGER", series.drug_name, synonyms, target, "Other"]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[list[str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([list(columns), *rows])
    path.write_bytes(buffer.getvalue().encode())
