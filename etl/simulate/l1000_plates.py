"""Plates of the later L1000 releases: what was done to each well, its values, and the GCTX that holds them.

The design is one for phase 2 and the 2020 release, with what makes the real ones hard: plate effects, derived
lines, a plate without vehicle, a time without vehicle, a second solvent, a treated well without dose, failed
wells, genetic perturbations, and genes that are inferred beside those that are measured. Not here: the tables
around the matrix, which each release lays out in its own way (``l1000_phase2``, ``l1000_2020``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.study import Study, Treatment
from etl.sources.wells import N_COLUMNS_384, ROWS_384

DOSES: Final = (10.0, 1.11, 0.12)
WELLS: Final = tuple(f"{row}{column:02d}" for row in ROWS_384 for column in range(1, N_COLUMNS_384 + 1))
"""Wells of a 384-well plate in reading order."""
N_VEHICLE: Final = 8
N_BEST_INFERRED, N_INFERRED = 30, 20
"""Genes beside the landmarks; the real releases have 9,196 and 2,154."""

PLATE_SD, NOISE_SD = 0.25, 0.22
"""Standard deviations, log2: of a plate's shift of one gene, and of a gene among the wells of a plate."""

LABELS: Final = {"A375": "A375", "MCF7": "MCF7", "SNUC4": "HT29", "NPC.CAS9": "A549"}
"""Cell labels, and the line whose biology each has. The second last is missing from the publisher's cell
table; the last is a derived line that no reference knows."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One well of a detection plate; ``pert_type`` and names are the publisher's."""

    plate: str
    well: str
    label: str
    time_h: int
    pert_type: str
    pert_id: str
    name: str
    compound: Compound | None = None
    dose_um: float | None = None
    has_failed: bool = False

    @property
    def key(self) -> str:
        """The publisher's key of the well."""
        return f"{self.plate}:{self.well}"

    @property
    def line(self) -> CellLine:
        """The line that the label stands for in the truth."""
        return next(line for line in LINES if line.name == LABELS[self.label])

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated well whose dose is known."""
        if self.compound is None or self.dose_um is None:
            return None
        return Treatment(
            compound=self.compound,
            line=self.line,
            context_reported=self.label,
            compound_reported=self.pert_id,
            dose_um=self.dose_um,
            time_h=self.time_h,
        )


def instances(study: Study, purpose: str, *, early_h: int, compounds: Sequence[Compound]) -> list[Instance]:
    """Return the wells of the study in the order of the publisher's table.

    Args:
        study: the truth.
        purpose: dataset, for the random layout.
        early_h: the early time of the release (3 h in phase 2, 6 h in the 2020 release).
        compounds: compounds of the regular plates, each at every dose.
    """
    rng = study.rng(purpose, "layout")
    first = compounds[0]
    wells: list[Instance] = []
    for label, time_h, n_replicates in (
        ("A375", 24, 3),
        ("A375", early_h, 2),
        ("MCF7", 24, 3),
        ("SNUC4", 24, 2),
    ):
        for replicate in range(1, n_replicates + 1):
            plate = f"LJP005_{label}_{time_h}H_X{replicate}_B19"
            wells += _regular(plate, label, time_h, compounds, rng)
    # A derived line on a plate of its own.
    wells += _regular("LJP006_NPC.CAS9_24H_X1_B20", "NPC.CAS9", 24, compounds, rng)
    # A treated well without dose belongs to no condition.
    regular = "LJP005_A375_24H_X1_B19"
    wells.append(_treated(regular, "P23", "A375", 24, first, None))
    # Another solvent is a vehicle group of its own; medium alone is no reference.
    wells.append(Instance(regular, "P20", "A375", 24, "ctl_vehicle", "H2O", "H2O"))
    wells.append(Instance(regular, "P21", "A375", 24, "ctl_untrt", "UnTrt", "UnTrt"))
    # A plate without vehicle that shares no condition with another one, and a time without any vehicle.
    for index, compound in enumerate(compounds[:3]):
        wells.append(_treated("REP.A001_A375_24H_X1_B22", WELLS[40 + index], "A375", 24, compound, 0.37))
        wells.append(_treated("REP.A002_MCF7_48H_X1_B22", WELLS[60 + index], "MCF7", 48, compound, 10.0))
    # Genetic perturbations are outside the warehouse, counted.
    wells.append(Instance("XPR001_A375_96H_X1_B21", "C05", "A375", 96, "trt_xpr", "BRDN0001", "TP53"))
    wells.append(Instance("XPR001_A375_96H_X1_B21", "C06", "A375", 96, "ctl_vector", "BRDN0002", "EMPTY"))
    # A well that the publisher lists, and that failed.
    position = next(index for index, well in enumerate(wells) if well.compound is not None)
    wells[position] = replace(wells[position], has_failed=True)
    return wells


def genes(study: Study) -> tuple[NDArray[np.int64], pl.DataFrame]:
    """Return the genes of the matrix: positions in ``study.genes``; entrez_id, symbol, space.

    ``space`` is ``landmark``, ``best inferred`` or ``inferred``. The order is by Entrez id as text, in which
    measured and inferred genes are mixed.
    """
    is_known = study.genes["entrez_id"].is_not_null().to_numpy()
    others = np.flatnonzero(is_known & ~study.genes["is_landmark"].to_numpy())
    inferred = others[: N_BEST_INFERRED + N_INFERRED]
    spaces = ["landmark"] * len(study.landmarks)
    spaces += ["best inferred"] * N_BEST_INFERRED + ["inferred"] * N_INFERRED
    positions = np.concatenate([study.landmarks, inferred])
    table = study.genes[positions].select("entrez_id", "symbol", space=pl.Series(spaces))
    order = table["entrez_id"].cast(pl.String).arg_sort().to_numpy()
    return positions[order], table[order]


def expression(
    study: Study, wells: Sequence[Instance], purpose: str, measured: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return log2 values, wells x genes: baseline + plate + effect + noise, within the scanner's range.

    Args:
        study: the truth.
        wells: the wells of the matrix.
        purpose: dataset, for the noise.
        measured: positions of the genes in ``study.genes``.
    """
    rng = study.rng(purpose, "noise")
    plates = dict.fromkeys(well.plate for well in wells)
    shifts = {plate: rng.normal(0, PLATE_SD, len(measured)) for plate in plates}
    values = np.empty((len(wells), len(measured)))
    for index, well in enumerate(wells):
        expected = study.baseline(well.line)[measured] + shifts[well.plate]
        treatment = well.treatment
        if treatment is not None:
            effect = study.log2_fold_change(
                treatment.compound, treatment.line, dose_um=treatment.dose_um, time_h=treatment.time_h
            )
            expected = expected + effect[measured]
        values[index] = expected + rng.normal(0, NOISE_SD, len(measured))
    return np.clip(values, 0, 15).astype(np.float32)


def conditions(wells: Sequence[Instance]) -> list[Treatment]:
    """Return each condition of the wells once."""
    return list(dict.fromkeys(well.treatment for well in wells if well.treatment is not None))


def write_gctx(
    path: Path, values: NDArray[np.float32], *, row_ids: Sequence[str], column_ids: Sequence[str]
) -> None:
    """Write a matrix without metadata as the large releases have it: float32 in chunks, fixed-length ids."""
    # Times in the object headers would make equal files differ.
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "0/DATA/0/matrix",
            data=values,
            chunks=(min(64, values.shape[0]), values.shape[1]),
            compression="gzip",
            compression_opts=6,
            track_times=False,
        )
        for axis, ids in (("COL", column_ids), ("ROW", row_ids)):
            texts = np.array([text.encode() for text in ids])
            file.create_dataset(f"0/META/{axis}/id", data=texts, track_times=False)


def write_table(path: Path, rows: Sequence[dict[str, str]], *, encoding: str = "utf-8") -> None:
    """Write a tab-separated table whose header is the keys of the first row."""
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))


def regular_compounds() -> tuple[Compound, ...]:
    """Return the compounds of the regular plates: those that the reference can resolve, six of them."""
    return tuple(compound for compound in COMPOUNDS if compound.is_in_reference)[:6]


def _regular(
    plate: str, label: str, time_h: int, compounds: Sequence[Compound], rng: np.random.Generator
) -> list[Instance]:
    contents: list[tuple[Compound, float] | None] = [None] * N_VEHICLE
    contents += [(compound, dose) for compound in compounds for dose in DOSES]
    places = np.sort(rng.choice(len(WELLS) - 24, len(contents), replace=False))
    wells = []
    for place, index in zip(places, rng.permutation(len(contents)), strict=True):
        content = contents[index]
        if content is None:
            wells.append(Instance(plate, WELLS[place], label, time_h, "ctl_vehicle", "DMSO", "DMSO"))
        else:
            wells.append(_treated(plate, WELLS[place], label, time_h, *content))
    return wells


def _treated(
    plate: str, well: str, label: str, time_h: int, compound: Compound, dose_um: float | None
) -> Instance:
    return Instance(plate, well, label, time_h, "trt_cp", compound.pert_id, compound.name, compound, dose_um)
