"""Simulated DRUG-seq study in the layout of KP-6490: UMI counts as MEX and a plate map.

Two plates of 192 wells, because one plate has no plate effects. Wells hold two cell lines and a primary
culture that no reference knows. Some wells of the plate map have no counts, as published; one well has a
tiny library. Genes carry versioned Ensembl ids, some twice (``_PAR_Y``) and some that no reference knows.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import KP6490, LINES, CellLine, Compound, compounds_of
from etl.simulate.landing import write_gzip, write_truth
from etl.simulate.study import PSEUDOAUTOSOMAL, Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts

PLATES = ("KP-6490-24hr-1", "KP-6490-24hr-2")
ROWS, COLUMNS = "ABCDEFGH", range(1, 25)
CONCENTRATIONS = ("10", "1", "0.1")
POSITIVE_CONTROLS = frozenset({"paclitaxel", "doxorubicin", "mitoxantrone"})
TIME_H = 24

METADATA_COLUMNS = (
    "Plate_ID",
    "Well_ID",
    "Row",
    "Column",
    "Species",
    "Cell_type",
    "Model_type",
    "Time",
    "Unit",
    "Treatment_1",
    "Concentration_1",
    "Unit_1",
    "Sample_type",
    "Barcode",
)

VEHICLE_WELLS, MEDIA_WELLS = 8, 6
"""Wells per line and plate; the primary culture has half as many vehicle wells and no medium wells."""

N_WELLS_WITHOUT_COUNTS = 24
MEDIAN_UMI = 90_000
LIBRARY_SD, PLATE_LIBRARY_SD = 0.35, 0.15
"""Standard deviations of the natural logarithm of the library size, between wells and between plates."""
PLATE_SD = 0.25
"""Standard deviation, log2, of a plate's shift of one gene."""
LOW_LIBRARY = 0.02
"""Share of its counts that the failed well keeps."""


@dataclass(frozen=True, slots=True)
class Well:
    """One well of the plate map; ``compound`` is None for vehicle and medium."""

    line: CellLine
    content: str
    sample_type: str
    concentration: str = "0"
    compound: Compound | None = None

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated well."""
        if self.compound is None:
            return None
        return Treatment(
            compound=self.compound,
            line=self.line,
            context_reported=str(self.line.drugseq),
            compound_reported=self.content,
            dose_um=float(self.concentration),
            time_h=TIME_H,
        )


def write(folder: Path, study: Study) -> None:
    """Write barcodes, features, matrix, plate map and truth."""
    rng = study.rng(KP6490, "layout")
    wells, positions = _plate_map(rng)
    barcodes = _barcodes(rng, len(wells))
    _write_metadata(folder / "metadata.csv", wells, positions, barcodes)

    measured = np.sort(rng.choice(len(wells), len(wells) - N_WELLS_WITHOUT_COUNTS, replace=False))
    # The published matrix lists its wells by barcode, not by position.
    measured = measured[np.argsort(np.array(barcodes)[measured])]
    counts = _counts(study, [wells[i] for i in measured], [positions[i][0] for i in measured])
    features, rows = _features(study)
    matrix = np.zeros((len(features), len(measured)), dtype=np.int64)
    matrix[rows] = counts.T
    write_gzip(folder / "barcodes.tsv.gz", "".join(f"{barcodes[i]}\n" for i in measured).encode())
    write_gzip(folder / "features.tsv.gz", "".join(f"{line}\n" for line in features).encode())
    write_gzip(folder / "matrix.mtx.gz", _matrix_market(matrix))

    # Only conditions with counts have a truth to be found.
    treatments = dict.fromkeys(one for i in measured if (one := wells[i].treatment) is not None)
    truth = true_effects(study, list(treatments), np.arange(study.genes.height))
    write_truth(folder, "effects", truth)


def _plate_map(rng: np.random.Generator) -> tuple[list[Well], list[tuple[str, str, int]]]:
    wells: list[Well] = []
    positions: list[tuple[str, str, int]] = []
    for plate in PLATES:
        contents = _plate_contents()
        slots = [(plate, row, column) for row in ROWS for column in COLUMNS]
        assert len(contents) == len(slots), f"{len(contents)} wells planned for {len(slots)}"
        order = rng.permutation(len(contents))
        wells += [contents[index] for index in order]
        positions += slots
    return wells, positions


def _plate_contents() -> list[Well]:
    lines = [line for line in LINES if line.drugseq is not None]
    wells: list[Well] = []
    for line in lines:
        is_primary = line.ccle is None
        n_vehicle = VEHICLE_WELLS // 2 if is_primary else VEHICLE_WELLS
        wells += [Well(line, "DMSO", "Vehicle_control")] * n_vehicle
        if not is_primary:
            wells += [Well(line, "Media", "Vehicle_control")] * MEDIA_WELLS
        for compound in compounds_of(KP6490):
            if is_primary and compound.name not in {"trametinib", "paclitaxel"}:
                continue
            sample_type = "Positive_control" if compound.name in POSITIVE_CONTROLS else "Sample"
            for concentration in CONCENTRATIONS[:1] if is_primary else CONCENTRATIONS:
                well = Well(line, compound.reported[KP6490], sample_type, concentration, compound)
                wells += [well] * 2
    # Medium fills the rest of the plate.
    rest = len(ROWS) * len(COLUMNS) - len(wells)
    return wells + [Well(lines[0], "Media", "Vehicle_control")] * rest


def _barcodes(rng: np.random.Generator, count: int) -> list[str]:
    barcodes: dict[str, None] = {}
    while len(barcodes) < count:
        barcodes["".join(rng.choice(list("ACGT"), 10))] = None
    return list(barcodes)


def _write_metadata(
    path: Path, wells: list[Well], positions: list[tuple[str, str, int]], barcodes: list[str]
) -> None:
    lines = [",".join(METADATA_COLUMNS)]
    for well, (plate, row, column), barcode in zip(wells, positions, barcodes, strict=True):
        place = [plate, f"{row}{column:02d}", row, str(column)]
        culture = ["Human", str(well.line.drugseq), "2D-adherent", str(TIME_H), "h"]
        lines.append(
            ",".join([*place, *culture, well.content, well.concentration, "uM", well.sample_type, barcode])
        )
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())


def _counts(study: Study, wells: list[Well], plates: list[str]) -> NDArray[np.int64]:
    """UMI counts, wells x universe: negative binomial around library size times expected share."""
    rng = study.rng(KP6490, "noise")
    n_genes = study.genes.height
    is_coding = study.genes["biotype"].fill_null("").str.contains("protein").to_numpy()
    plate_shift = {plate: rng.normal(0, PLATE_SD, n_genes) for plate in PLATES}
    plate_library = {plate: rng.normal(0, PLATE_LIBRARY_SD) for plate in PLATES}
    failed = next(i for i, well in enumerate(wells) if well.sample_type == "Sample")
    counts = np.empty((len(wells), n_genes), dtype=np.int64)
    for index, (well, plate) in enumerate(zip(wells, plates, strict=True)):
        expected = study.baseline(well.line) + plate_shift[plate] - np.where(is_coding, 0.0, 4.0)
        if (one := well.treatment) is not None:
            expected = expected + study.log2_fold_change(
                one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h
            )
        library = MEDIAN_UMI * np.exp(plate_library[plate] + rng.normal(0, LIBRARY_SD))
        counts[index] = draw_counts(rng, expected, library * LOW_LIBRARY if index == failed else library)
    return counts


def _features(study: Study) -> tuple[list[str], NDArray[np.int64]]:
    """Lines of the feature table, and the row in it of every gene of the universe."""
    rng = study.rng(KP6490, "features")
    unknown = study.unknown_gene_ids(6)
    lines: list[str] = []
    rows: list[int] = []
    for gene_id, symbol in study.genes.select("gene_id", "symbol").iter_rows():
        versioned = f"ENSG{gene_id:011d}.{rng.integers(1, 20)}"
        rows.append(len(lines))
        lines.append(f"{versioned}\t{symbol}\tGene Expression")
        if gene_id in PSEUDOAUTOSOMAL:
            # The copy on Y: aligners count for it only what the copy on X does not take, which is nothing.
            lines.append(f"{versioned}_PAR_Y\t{symbol}\tGene Expression")
    lines += [f"ENSG{number:011d}.1\tENSG{number:011d}\tGene Expression" for number in unknown]
    return lines, np.array(rows)


def _matrix_market(matrix: NDArray[np.int64]) -> bytes:
    """Integer coordinates, one-based, well after well."""
    well, gene = np.nonzero(matrix.T)
    buffer = io.BytesIO()
    buffer.write(b"%%MatrixMarket matrix coordinate integer general\n%\n")
    buffer.write(f"{matrix.shape[0]} {matrix.shape[1]} {len(gene)}\n".encode())
    entries = pl.DataFrame({"gene": gene + 1, "well": well + 1, "count": matrix[gene, well]})
    entries.write_csv(buffer, include_header=False, separator=" ")
    return buffer.getvalue()
