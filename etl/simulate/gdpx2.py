"""Simulated DRUG-seq study in the layout of GDPx2: a table of wells and a matrix that R wrote to HDF5.

Two cell types on two plates each, three percentages of DMSO, each with vehicle wells of its own; low doses
share the low percentage, as in a dilution from one stock. Half of the rows of the table stand there twice.
Only vehicle wells of the lowest percentage carry ``is_neg_control``. Genes are symbols.

The lines of the study stand in: aortic smooth muscle cells respond as A549 does, dermal fibroblasts as PC3.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts

GDPX2: Final = "gdpx2"

CELLS: Final = {"human_aortic_smooth_muscle_cells": "A549", "human_dermal_fibroblast": "PC3"}
PLATES: Final = {
    "human_aortic_smooth_muscle_cells": ("1612103", "1612104"),
    "human_dermal_fibroblast": ("1626203", "1626204"),
}
PERCENTAGE_BY_DOSE: Final = {"95": "0.0625", "900": "0.1875", "3000": "0.625"}
STUDIED: Final = ("vorinostat", "trametinib", "bortezomib", "palbociclib", "paclitaxel", "amoxicillin")
POSITIVE: Final = {"geldanamycin": "Geldanamycin"}
N_VEHICLE, N_REPLICATES = 4, 2
N_GENES: Final = 600
MEDIAN_UMI: Final = 80_000
LIBRARY_SD, PLATE_SD = 0.25, 0.2
CHUNK: Final = (16, 128)

COLUMNS: Final = (
    "sample_id",
    "container_id",
    "column_id",
    "row_id",
    "analysis_id",
    "is_edge",
    "is_neg_control",
    "is_pos_control",
    "sample_type",
    "cell_line",
    "compound",
    "compound_concentration",
    "compound_concentration_unit",
    "timepoint",
    "percent_volume_dmso",
    "total_umi_count",
    "ngenes3",
    "percent_mitochondrial",
)


@dataclass(frozen=True, slots=True)
class Well:
    """One well; ``compound`` is None for the vehicle, whose concentration is its percentage."""

    cell: str
    plate: str
    name: str
    sample_type: str
    concentration: str
    percentage: str
    compound: Compound | None = None

    @property
    def line(self) -> CellLine:
        """The line that stands in for the cell type."""
        return next(line for line in LINES if line.name == CELLS[self.cell])


def write(folder: Path, study: Study) -> None:
    """Write the table of wells, the matrix and the truth."""
    rng = study.rng(GDPX2, "layout")
    wells = [well for cell in CELLS for plate in PLATES[cell] for well in _plate(rng, cell, plate)]
    # Landmarks first, so that the truth of other simulated datasets is found here, too.
    panel = study.landmarks[:N_GENES]
    counts = _counts(study, wells, panel)
    ids = [str(101_160_268 + position) for position in range(len(wells))]
    _write_metadata(folder / "Metadata.csv", rng, wells, ids, counts)
    order = rng.permutation(len(wells))
    symbols = study.genes["symbol"].gather(panel).to_list()
    write_matrix(
        folder / "GDPx2-GeneCounts.h5", symbols, [ids[index] for index in order], counts[order].astype(float)
    )
    treatments = dict.fromkeys(
        Treatment(well.compound, well.line, well.cell, well.name, float(well.concentration) / 1000, 24)
        for well in wells
        if well.compound is not None
    )
    write_truth(folder, "effects", true_effects(study, list(treatments), panel))


def _plate(rng: np.random.Generator, cell: str, plate: str) -> list[Well]:
    by_name = {compound.name: compound for compound in COMPOUNDS}
    wells: list[Well] = []
    for dose, percentage in PERCENTAGE_BY_DOSE.items():
        for name in STUDIED:
            label = name.capitalize()
            wells += [Well(cell, plate, label, "library", dose, percentage, by_name[name])] * N_REPLICATES
        vehicle = Well(cell, plate, "DMSO", "Ginkgo Neg Control - DMSO", percentage, percentage)
        wells += [vehicle] * N_VEHICLE
        for name, label in POSITIVE.items():
            kind = f"Ginkgo Pos Control - {label}"
            wells.append(Well(cell, plate, label, kind, "1000", percentage, by_name[name]))
    return [wells[index] for index in rng.permutation(len(wells))]


def _counts(study: Study, wells: list[Well], panel: NDArray[np.int64]) -> NDArray[np.int64]:
    """UMI counts, wells × genes."""
    rng = study.rng(GDPX2, "noise")
    shift = {well.plate: rng.normal(0, PLATE_SD, len(panel)) for well in wells}
    counts = np.empty((len(wells), len(panel)), dtype=np.int64)
    for index, well in enumerate(wells):
        expected = study.baseline(well.line)[panel] + shift[well.plate]
        if well.compound is not None:
            dose_um = float(well.concentration) / 1000
            effect = study.log2_fold_change(well.compound, well.line, dose_um=dose_um, time_h=24)
            expected = expected + effect[panel]
        counts[index] = draw_counts(rng, expected, MEDIAN_UMI * np.exp(rng.normal(0, LIBRARY_SD)))
    return counts


def _write_metadata(
    path: Path, rng: np.random.Generator, wells: list[Well], ids: list[str], counts: NDArray[np.int64]
) -> None:
    positions: dict[str, int] = {}
    lines = []
    for well, sample_id, row in zip(wells, ids, counts, strict=True):
        position = positions[well.plate] = positions.get(well.plate, -1) + 1
        column = divmod(position, 16)
        is_negative = well.compound is None and well.percentage == "0.0625"
        flags = ["FALSE", is_negative, well.sample_type.startswith("Ginkgo Pos")]
        fields = [
            *(sample_id, well.plate, column[0] + 1, column[1] + 1, "77001"),
            *(str(flag).upper() for flag in flags),
            *(well.sample_type, well.cell, well.name, well.concentration, "nM", "24", well.percentage),
            *(row.sum(), (row >= 3).sum(), f"{rng.uniform(4, 16):.2f}"),
        ]
        lines.append(",".join(map(str, fields)))
    repeated = [lines[index] for index in rng.choice(len(lines), len(lines) // 2, replace=False)]
    path.write_text("\n".join([",".join(COLUMNS), *lines, *repeated]) + "\n", encoding="utf-8")


def write_matrix(
    path: Path,
    genes: list[str],
    samples: list[str],
    values: NDArray[np.float64],
    *,
    is_sparse: bool = True,
    is_dense: bool = True,
) -> None:
    """Write a matrix as R does: names, a dense copy and one in compressed columns.

    Args:
        path: the file.
        genes: gene names.
        samples: sample names.
        values: samples × genes.
        is_sparse: whether to write the copy in compressed columns.
        is_dense: whether to write the dense copy.
    """
    # Without times, equal content gives equal bytes.
    with h5py.File(path, "w", track_order=False) as file:
        names = file.create_group(".gene_counts_dimnames")
        names.create_dataset("1", data=np.array(genes, dtype="S25"), track_times=False)
        names.create_dataset("2", data=np.array(samples, dtype="S9"), track_times=False)
        if is_dense:
            chunks = tuple(min(size, chunk) for size, chunk in zip(values.shape, CHUNK, strict=True))
            file.create_dataset(
                "gene_counts", data=values, chunks=chunks, compression="gzip", track_times=False
            )
        if is_sparse:
            columns = sparse.csc_matrix(values.T)
            group = file.create_group("sparse_matrix")
            parts = {
                "dimensions": np.array(columns.shape, dtype=np.int32),
                "i_indices": columns.indices.astype(np.int32),
                "j_ptr": columns.indptr.astype(np.int32),
                "values": columns.data,
            }
            for name, data in parts.items():
                group.create_dataset(name, data=data, track_times=False)
