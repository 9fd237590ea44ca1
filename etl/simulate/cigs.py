"""Simulated CIGS libraries in the layout of the publication: workbooks of counts, samples and compounds.

The bioactive compounds: two lines, three replicate plates each, and three plates of HEK293T that the
publisher leaves out. The traditional medicines: two lines at two doses, two plates each, whose samples and
plates have the same numbers again. A panel of landmark genes, some of their names as a spreadsheet and R
leave them, differently in different files; one sample per file with a tiny library; wells without cells and
with purified RNA; treatments and names in the odd spellings that the publication has.

The lines of the study stand in: HEK293T responds as A549 does, MDA-MB-231 as MCF7.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts
from etl.simulate.workbooks import Cell, write_workbook

MCE: Final = "cigs_mce"
TCM: Final = "cigs_tcm"

LICENCE: Final = "Note: All these datasets are for non-commercial research use only"
COMPOUNDS_FILE: Final = "41592_2025_2781_MOESM3_ESM.xlsx"
MCE_SHEET, TCM_SHEET = "Supplementary Table 3", "Supplementary Table 4"

CAS: Final = {
    "vorinostat": "149647-78-9",
    "panobinostat": "404950-80-7",
    "selumetinib": "606143-52-6",
    "trametinib": "871700-17-3",
    "lapatinib": "231277-92-2",
    "erlotinib": "183321-74-6",
    "bortezomib": "179324-69-7",
    "topotecan": "123948-87-8",
    "palbociclib": "571190-30-2",
    "paclitaxel": "33069-62-4",
    "vincristine": "57-22-7",
    "geldanamycin": "30562-34-6",
}
MCE_NUMBERS: Final = {
    "vorinostat": "HY-10221",
    "panobinostat": "HY-10224",
    "selumetinib": "HY-50706",
    "trametinib": "HY-10999",
    "lapatinib": "HY-50898",
    "erlotinib": "HY-50896",
    "bortezomib": "HY-10227",
    "palbociclib": "HY-50767",
}
TCM_NUMBERS: Final = {
    "paclitaxel": "Cpd0021",
    "vincristine": "Cpd0133",
    "geldanamycin": "Cpd0164",
    "amoxicillin": "Cpd0165",
    "topotecan": "Cpd0166",
}
SHARED_CAS: Final = "33289-85-9"
"""Stands beside two compounds of the traditional medicines, one of them ``Cpd0165``."""

WRAPPED: Final = {"vincristine": "Vincris\ntine", "geldanamycin": "Geldanamycin   \n"}
"""Names as a narrow column leaves them."""

DATE: Final = datetime.date(2024, 9, 7)
ODD_GENES: Final = ("SEPT7", "HLA-A", "NKX2-1")
"""Genes beside the landmarks whose names come changed: as a date, and with dots for hyphens."""

N_GENES: Final = 300
N_VEHICLE, N_JQ1, N_BLANK = 6, 2, 1
MEDIAN_LIBRARY: Final = 60_000
LIBRARY_SD, PLATE_SD = 0.2, 0.15
LOW_LIBRARY: Final = 0.02


@dataclass(frozen=True, slots=True)
class SimulatedSubset:
    """One pair of files."""

    counts: str
    metadata: str
    key: str
    label: str
    line: CellLine
    dose: str
    plates: tuple[str, ...]


def _line(name: str) -> CellLine:
    return next(line for line in LINES if line.name == name)


def _mce_plates(label: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"MCE{number}_{label}_24H_X{copy}" for number in numbers for copy in (1, 2, 3))


_MCE_NAME: Final = "MCE_Bioactive_Compounds_{}_10μM_{}.xlsx"
MCE_SUBSETS: Final = (
    SimulatedSubset(
        _MCE_NAME.format("HEK293T", "Counts"),
        _MCE_NAME.format("HEK293T", "MetaData"),
        "HEK293T_10uM",
        "cell_293T",
        _line("A549"),
        "10",
        _mce_plates("293T", 1, 4),
    ),
    SimulatedSubset(
        _MCE_NAME.format("MDA_MB_231", "Counts"),
        _MCE_NAME.format("MDA_MB_231", "MetaData"),
        "MDA_MB_231_10uM",
        "cell_231",
        _line("MCF7"),
        "10",
        _mce_plates("231", 1),
    ),
)
TCM_SUBSETS: Final = tuple(
    SimulatedSubset(
        f"TCM_Compounds_{name}_{dose}_Counts.xlsx",
        f"TCM_Compounds_{name}_{dose}_MetaData.xlsx",
        f"{name}_{dose}uM",
        label,
        line,
        dose,
        ("1", "2"),
    )
    for name, label, line in (("HEK293T", "293T", _line("A549")), ("MDA_MB_231", "231", _line("MCF7")))
    for dose in ("10", "20")
)


@dataclass(frozen=True, slots=True)
class Well:
    """One sample; ``compound`` is None for controls."""

    sample_id: str
    plate: str
    position: int
    treatment: str
    compound: Compound | None
    is_failed: bool = False


def write_mce(folder: Path, study: Study) -> None:
    """Write the library of bioactive compounds and its truth."""
    _write(folder, study, MCE, MCE_SUBSETS, MCE_NUMBERS)


def write_tcm(folder: Path, study: Study) -> None:
    """Write the library of traditional medicines and its truth."""
    _write(folder, study, TCM, TCM_SUBSETS, TCM_NUMBERS)


def _write(
    folder: Path, study: Study, dataset_id: str, subsets: Sequence[SimulatedSubset], numbers: dict[str, str]
) -> None:
    panel = study.landmarks[:N_GENES]
    symbols = study.genes["symbol"].gather(panel).to_list()
    treatments: dict[Treatment, None] = {}
    for position, subset in enumerate(subsets):
        rng = study.rng(dataset_id, subset.key)
        wells = _wells(rng, subset, numbers, is_mce=dataset_id == MCE)
        counts = _counts(study, rng, subset, wells, panel)
        header = _header(symbols, dataset_id, position)
        rows: list[list[Cell]] = [
            [LICENCE],
            header,
            *([well.sample_id, *row] for well, row in zip(wells, counts.tolist(), strict=True)),
        ]
        write_workbook(folder / subset.counts, {"Sheet1": rows})
        table = _mce_samples(wells, subset) if dataset_id == MCE else _tcm_samples(wells, subset, position)
        write_workbook(folder / subset.metadata, {"Sheet1": table})
        treatments |= dict.fromkeys(
            Treatment(well.compound, subset.line, subset.label, _number(well), float(subset.dose), 24)
            for well in wells
            if well.compound is not None
        )
    write_workbook(folder / COMPOUNDS_FILE, {MCE_SHEET: _mce_compounds(), TCM_SHEET: _tcm_compounds()})
    write_truth(folder, "effects", true_effects(study, list(treatments), panel))


def _number(well: Well) -> str:
    return well.treatment.replace("Compd", "Cpd")


def _wells(
    rng: np.random.Generator, subset: SimulatedSubset, numbers: dict[str, str], *, is_mce: bool
) -> list[Well]:
    by_name = {compound.name: compound for compound in COMPOUNDS}
    contents: list[tuple[str, Compound | None]] = [
        (number, by_name[name]) for name, number in numbers.items() for _ in range(2 if not is_mce else 1)
    ]
    contents += [("DMSO", None)] * N_VEHICLE + [("JQ1", by_name["JQ1"])] * N_JQ1
    if is_mce:
        contents += [("Blank", None), ("RNA", None)] * N_BLANK
    wells: list[Well] = []
    for plate in subset.plates:
        for position, index in enumerate(rng.permutation(len(contents))):
            treatment, compound = contents[index]
            # Half of the files spell the numbers of the traditional medicines otherwise.
            if subset.dose == "20":
                treatment = treatment.replace("Cpd", "Compd")
            sample_id = f"{plate}_{position + 1}" if is_mce else str(len(wells) + 1)
            wells.append(Well(sample_id, plate, position, treatment, compound))
    failed = next(i for i, well in enumerate(wells) if well.compound is not None)
    wells[failed] = replace(wells[failed], is_failed=True)
    return wells


def _counts(
    study: Study,
    rng: np.random.Generator,
    subset: SimulatedSubset,
    wells: Sequence[Well],
    panel: NDArray[np.int64],
) -> NDArray[np.int64]:
    """UMI counts, samples × genes."""
    n_genes = len(panel) + len(ODD_GENES)
    baseline = np.concatenate([study.baseline(subset.line)[panel], np.full(len(ODD_GENES), 8.0)])
    shift = {plate: rng.normal(0, PLATE_SD, n_genes) for plate in subset.plates}
    counts = np.empty((len(wells), n_genes), dtype=np.int64)
    for index, well in enumerate(wells):
        expected = baseline + shift[well.plate]
        if well.compound is not None:
            expected[: len(panel)] += study.log2_fold_change(
                well.compound, subset.line, dose_um=float(subset.dose), time_h=24
            )[panel]
        library = MEDIAN_LIBRARY * np.exp(rng.normal(0, LIBRARY_SD))
        is_low = well.is_failed or well.treatment in {"Blank", "RNA"}
        counts[index] = draw_counts(rng, expected, library * LOW_LIBRARY if is_low else library)
    return counts


def _header(symbols: list[str], dataset_id: str, position: int) -> list[Cell]:
    """The first file has a date and hyphens, the others what R makes of them."""
    sample_id = "Sample_id" if dataset_id == MCE else "Sample_unique_id"
    odd: list[Cell] = [DATE, *ODD_GENES[1:]]
    if position:
        odd = ["X7.Sep", *(symbol.replace("-", ".", 1) for symbol in ODD_GENES[1:])]
        odd[2] = "NKX2.1"
    return [sample_id, *symbols, *odd]


def _mce_samples(wells: Sequence[Well], subset: SimulatedSubset) -> list[list[Cell]]:
    rows: list[list[Cell]] = [
        [LICENCE],
        [
            "unique_ID",
            "experiment_no",
            "sample_plate",
            "sample_row",
            "sample_column",
            "cell_id",
            "pert_itime",
            "pert_idose",
            "sample",
            "treatment",
        ],
    ]
    for well in wells:
        row, column = divmod(well.position, 24)
        is_treated = well.compound is not None
        quantities = ["24 h", f"{subset.dose} uM"] if is_treated else ["-666", "-666"]
        experiment = well.plate.split("_")[0]
        place: list[Cell] = [experiment, well.plate, row + 1, column + 1, subset.label]
        rows.append([well.sample_id, *place, *quantities, f"S{well.position + 1}", well.treatment])
    return rows


def _tcm_samples(wells: Sequence[Well], subset: SimulatedSubset, position: int) -> list[list[Cell]]:
    library = "Library" if position % 2 else "library"
    rows: list[list[Cell]] = [["Sample_unique_id", "Treat", "Plate", library, "Cell", "Dose", "Time"]]
    for well in wells:
        quantities = [f"{subset.dose}uM", "24h"] if well.compound is not None else ["-666", "-666"]
        label: Cell = int(subset.label) if subset.label.isdigit() else subset.label
        rows.append(
            [int(well.sample_id), well.treatment, int(well.plate), f"L{well.plate}", label, *quantities]
        )
    return rows


def _mce_compounds() -> list[list[Cell]]:
    by_name = {compound.name: compound for compound in COMPOUNDS}
    rows: list[list[Cell]] = [
        ["Supplementary Table 3. Bioactive compounds used in this study"],
        ["Compound Name", "Catalog Number", "CAS Number", "MoA", "Clinical Information", "Approved Type"],
    ]
    for name, number in MCE_NUMBERS.items():
        mechanism = by_name[name].mechanism.name
        rows.append([name.capitalize(), number, CAS[name], mechanism, "Launched", None])
    return rows


def _tcm_compounds() -> list[list[Cell]]:
    rows: list[list[Cell]] = [
        ["Supplementary Table 4. Compounds of traditional Chinese medicine used in this study"],
        ["Compound Name", "Catalog Number", "Catalog Number"],
    ]
    for name, number in TCM_NUMBERS.items():
        cas = SHARED_CAS if number in {"Cpd0165", "Cpd0166"} else CAS[name]
        rows.append([WRAPPED.get(name, name.capitalize()), number, cas])
    return rows
