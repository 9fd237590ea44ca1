"""Simulated OP3 study in the layout of the NeurIPS 2023 release: a published pseudobulk as h5ad.

Three donors on two plates each; a well holds one treatment, and four cell types are told apart in it. Six
compounds under study, two positive controls and the vehicle, one dose each, one well per donor. As published:
profiles of ten cells or fewer are missing, ``control`` is true for positive controls too, the vehicle has a
structure and a dose, names hold blanks, brackets and semicolons, and genes are symbols, some of which no
reference knows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from etl.simulate import h5ad
from etl.simulate.catalogue import COMPOUNDS, HDAC, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts

OP3: Final = "op3"
FILE: Final = "pseudobulk_filtered_with_uns.h5ad"

BELINOSTAT: Final = Compound(
    "belinostat",
    "BRD-K17743125",
    "ONC(=O)/C=C/c1cccc(c1)S(=O)(=O)Nc1ccccc1",
    HDAC,
    0.05,
    0.1,
    1.4,
)
"""A positive control that the catalogue lacks."""

STUDIED: Final = {
    "Vorinostat": "vorinostat",
    "Selumetinib": "selumetinib",
    "Trametinib": "trametinib",
    "Crizotinib": "crizotinib",
    "Lapatinib (free base)": "lapatinib",
    "Tanespimycin;17-AAG": "tanespimycin",
}
"""Name here: name in the catalogue."""

CELL_TYPES: Final = {
    "T cells": ("MCF7", 160),
    "NK cells": ("A549", 70),
    "B cells": ("PC3", 45),
    "Myeloid cells": ("HEPG2", 18),
}
"""Cell type: the line whose invented biology it borrows, and the mean number of its cells in a well."""

DONORS: Final = ("Donor 1", "Donor 2", "Donor 3")
PLATES_PER_DONOR: Final = 2
WELLS_PER_CONTROL: Final = 4
TIME_H: Final = 24.0
MIN_CELLS: Final = 11
UMI_PER_CELL: Final = 1_800
N_GENES: Final = 1_500
PLATE_SD: Final = 0.2
"""Standard deviation, log2, of a plate's shift of one gene."""
UNKNOWN_SYMBOLS: Final = ("AC000000.1", "AL000000.2", "RP00-000A0.3")


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a well; ``compound`` is None for the vehicle."""

    sm_name: str
    split: str
    dose_um: float
    compound: Compound | None = None

    @property
    def smiles(self) -> str:
        """Structure as the file lists it, the vehicle's too."""
        return "CS(C)=O" if self.compound is None else self.compound.smiles


@dataclass(frozen=True, slots=True)
class Profile:
    """One cell type of one well."""

    plate: str
    well: str
    donor: str
    cell_type: str
    content: Content
    n_cells: int
    n_cells_of_well: int

    @property
    def line(self) -> CellLine:
        """The line whose biology the cell type borrows."""
        return next(line for line in LINES if line.name == CELL_TYPES[self.cell_type][0])

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated profile."""
        if self.content.compound is None:
            return None
        return Treatment(
            compound=self.content.compound,
            line=self.line,
            context_reported=self.cell_type,
            compound_reported=self.content.sm_name,
            dose_um=self.content.dose_um,
            time_h=TIME_H,
        )


def write(folder: Path, study: Study) -> None:
    """Write the pseudobulk file and the truth."""
    profiles = [one for one in _profiles(study) if one.n_cells >= MIN_CELLS]
    # The published profiles are in the order of their names.
    profiles.sort(key=lambda one: (one.plate, one.well, one.cell_type))
    measured = _measured(study)
    symbols = [*study.genes["symbol"][measured], *UNKNOWN_SYMBOLS]
    counts = np.pad(_counts(study, profiles, measured), [(0, 0), (0, len(UNKNOWN_SYMBOLS))])
    h5ad.write(
        folder / FILE,
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=_obs(profiles),
        var=pl.DataFrame({"gene": symbols}),
    )
    treatments = dict.fromkeys(one for profile in profiles if (one := profile.treatment) is not None)
    write_truth(folder, "effects", true_effects(study, list(treatments), measured))


def _profiles(study: Study) -> Iterator[Profile]:
    rng = study.rng(OP3, "layout")
    wells = [f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 13)]
    for number, donor in enumerate(DONORS):
        for half in range(PLATES_PER_DONOR):
            plate = f"plate_{number * PLATES_PER_DONOR + half}"
            contents = _contents(half)
            for content, place in zip(contents, rng.permutation(len(wells)), strict=False):
                n_cells = {name: int(rng.poisson(mean)) for name, (_, mean) in CELL_TYPES.items()}
                for cell_type, count in n_cells.items():
                    of_well = sum(n_cells.values())
                    yield Profile(plate, wells[place], donor, cell_type, content, count, of_well)


def _contents(half: int) -> list[Content]:
    """Contents of one plate: all controls, and the compounds of its half of the library."""
    catalogue = {compound.name: compound for compound in COMPOUNDS}
    vehicle = Content("Dimethyl Sulfoxide", "control", 14.1)
    dabrafenib = Content("Dabrafenib", "control", 1.0, catalogue["dabrafenib"])
    belinostat = Content("Belinostat", "control", 0.1, BELINOSTAT)
    controls = [vehicle, dabrafenib, belinostat] * WELLS_PER_CONTROL
    splits = ("train", "public_test", "private_test")
    studied = [
        Content(name, splits[index % 3], 1.0, catalogue[of])
        for index, (name, of) in enumerate(STUDIED.items())
    ]
    return controls + studied[half::PLATES_PER_DONOR]


def _measured(study: Study) -> NDArray[np.int64]:
    """Positions of the genes that the publisher's filter leaves: the most abundant ones."""
    lines = {line.name: line for line in LINES}
    baseline = np.mean([study.baseline(lines[name]) for name, _ in CELL_TYPES.values()], axis=0)
    return np.sort(np.argsort(-baseline, kind="stable")[:N_GENES])


def _counts(study: Study, profiles: list[Profile], measured: NDArray[np.int64]) -> NDArray[np.int64]:
    """UMI counts, profiles × genes: negative binomial around number of cells times expected share."""
    rng = study.rng(OP3, "noise")
    shift = {plate: rng.normal(0, PLATE_SD, len(measured)) for plate in sorted({p.plate for p in profiles})}
    counts = np.empty((len(profiles), len(measured)), dtype=np.int64)
    for row, profile in zip(counts, profiles, strict=True):
        expected = study.baseline(profile.line)[measured] + shift[profile.plate]
        if (one := profile.treatment) is not None:
            effect = study.log2_fold_change(one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h)
            expected = expected + effect[measured]
        row[:] = draw_counts(rng, expected, profile.n_cells * UMI_PER_CELL)
    return counts


def _obs(profiles: list[Profile]) -> pl.DataFrame:
    number = {name: 9000 + i for i, name in enumerate(sorted({p.content.sm_name for p in profiles}))}
    rows = [
        {
            "plate_well_celltype_reannotated": f"{one.plate}_{one.well}_{one.cell_type}",
            "dose_uM": one.content.dose_um,
            "timepoint_hr": TIME_H,
            "well": one.well,
            "container_format": "96 Well Plate",
            "row": one.well[0],
            "col": int(one.well[1:]),
            "plate_name": one.plate,
            "cell_type": one.cell_type,
            "split": one.content.split,
            "donor_id": one.donor,
            "sm_name": one.content.sm_name,
            "sm_lincs_id": f"LSM-{number[one.content.sm_name]}",
            "SMILES": one.content.smiles,
            "control": one.content.split == "control",
            "library_id": f"Library - {one.plate[-1]}{one.well[0]}",
            "cell_count_by_well_celltype": one.n_cells,
            "cell_count_by_plate_well": one.n_cells_of_well,
        }
        for one in profiles
    ]
    return pl.DataFrame(rows)
