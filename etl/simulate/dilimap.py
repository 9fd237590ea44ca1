"""Simulated DILImap study in the authors' layout: bulk counts of hepatocytes, training and validation part.

Two plates for each part: four wells of every dose of three drugs, eight of the vehicle. With the known
quirks: names of observations that repeat, counts with fractions, a nominal dose that is written differently
in the two parts, wells that fail each of the quality checks, ``DMSO_replaced``, and a drug under two names of
which the table of labels knows one. One part is stored sparse and the other dense.
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
from etl.simulate.catalogue import ANTIBIOTIC, COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects

DILIMAP: Final = "dilimap"
TRAINING_FILE, VALIDATION_FILE = "adata_training_counts.h5ad", "adata_validation_counts.h5ad"
LABELS_FILE: Final = "compound_DILI_labels.csv"

CONTEXT: Final = "primary human hepatocytes"
"""What the adapter calls the cells; the files have no column for them."""

IMIPRAMINE: Final = Compound(
    "imipramine", "BRD-K38436528", "CN(C)CCCN1c2ccccc2CCc2ccccc21", ANTIBIOTIC, 20.0, 0.8
)
"""A drug that the catalogue lacks, here without effect."""

TRAINING: Final = {
    "Crizotinib": ("crizotinib", ("0.3", "1.0", "3.3", "10.0")),
    "Lapatinib": ("lapatinib", ("1.0", "3.3", "10.0", "30.0")),
    "Imipramine2": ("imipramine", ("1.0", "3.0", "10.0", "30.0")),
}
VALIDATION: Final = {
    "Lapatinib": ("lapatinib", ("1.0", "3.31", "10.0", "30.4")),
    "Imipramine": ("imipramine", ("1.0", "3.0", "10.0", "30.0")),
    "Amoxicillin": ("amoxicillin", ("12.5", "40.0", "125.0", "400.0")),
}
"""Name here: name in the catalogue, and doses in µM as written; Lapatinib's are nominally equal."""

WELLS_PER_DOSE, VEHICLE_WELLS = 4, 8
PLATES_PER_PART: Final = 2
TIME_H: Final = 24.0

MITOCHONDRIAL: Final = {
    "MT-ND1": "ENSG00000198888",
    "MT-CO1": "ENSG00000198804",
    "MT-CO2": "ENSG00000198712",
    "MT-CO3": "ENSG00000198938",
    "MT-CYB": "ENSG00000198727",
}
MITOCHONDRIAL_SHARE, STRESSED_SHARE = 0.04, 0.15
"""Share of the reads that is mitochondrial in a healthy well, and in the one that fails for it."""
MEDIAN_READS: Final = 3_000_000
LIBRARY_SD: Final = 0.2
LOW_LIBRARY: Final = 0.05
DISPERSION: Final = 0.003
"""Replicates of bulk libraries on one plate correlate above 0.99."""
PLATE_SD: Final = 0.15
FRACTIONAL_SHARE: Final = 0.1
"""Genes whose reads are shared with others, so that their counts are expected values."""


@dataclass(frozen=True, slots=True)
class Well:
    """One well; ``compound`` is None for the vehicle, ``fault`` says how it fails."""

    part: str
    plate: str
    name: str
    dose: str
    compound: Compound | None = None
    fault: str = ""

    @property
    def line(self) -> CellLine:
        """The line whose biology the hepatocytes borrow."""
        return next(line for line in LINES if line.name == "HEPG2")

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated well."""
        if self.compound is None:
            return None
        # Doses that are nominally one are one condition.
        nominal = {"3.31": "3.3", "30.4": "30.0"}.get(self.dose, self.dose)
        return Treatment(self.compound, self.line, CONTEXT, self.name, float(nominal), TIME_H)


def write(folder: Path, study: Study, *, with_training: bool = True) -> None:
    """Write both parts, or the public one only, the table of labels and the truth."""
    parts = {"validation": VALIDATION_FILE} | ({"training": TRAINING_FILE} if with_training else {})
    symbols = [*study.genes["symbol"], *MITOCHONDRIAL]
    ids = [f"ENSG{number:011d}" for number in study.genes["gene_id"]] + list(MITOCHONDRIAL.values())
    treatments: dict[Treatment, None] = {}
    for part, file in parts.items():
        wells = list(_wells(part))
        counts = _counts(study, wells, part)
        values = sparse.csr_matrix(counts) if part == "validation" else counts
        obs = _obs(wells, study.rng(DILIMAP, "layout", part))
        h5ad.write(folder / file, values, obs=obs, var=pl.DataFrame({"gene": symbols, "gene_id": ids}))
        treatments |= dict.fromkeys(one for well in wells if (one := well.treatment) is not None)
    _write_labels(folder / LABELS_FILE)
    write_truth(folder, "effects", true_effects(study, list(treatments), np.arange(study.genes.height)))


def _wells(part: str) -> Iterator[Well]:
    catalogue = {compound.name: compound for compound in (*COMPOUNDS, IMIPRAMINE)}
    for number in range(PLATES_PER_PART):
        plate = f"DILI-{part[0].upper()}{number + 1:02d}"
        for replicate in range(VEHICLE_WELLS):
            fault = "low library" if number == replicate == 0 else ""
            yield Well(part, plate, "DMSO", "0.0", fault=fault)
        yield Well(part, plate, "DMSO_replaced", "0.0", fault="dead")
        for name, (of, doses) in (TRAINING if part == "training" else VALIDATION).items():
            faults = {(1, 0): "mitochondrial", (2, 1): "unlike", (3, 2): "dead", (3, 3): "dead"}
            for step, dose in enumerate(doses):
                for replicate in range(WELLS_PER_DOSE):
                    is_faulty = number == 0 and name in {"Crizotinib", "Amoxicillin"}
                    fault = faults.get((step, replicate), "") if is_faulty else ""
                    yield Well(part, plate, name, dose, catalogue[of], fault)


def _counts(study: Study, wells: list[Well], part: str) -> NDArray[np.float32]:
    """Expected counts, wells × genes with the mitochondrial ones last."""
    rng = study.rng(DILIMAP, "noise", part)
    n_genes, n_mitochondrial = study.genes.height, len(MITOCHONDRIAL)
    shift = {plate: rng.normal(0, PLATE_SD, n_genes) for plate in sorted({well.plate for well in wells})}
    counts = np.empty((len(wells), n_genes + n_mitochondrial))
    for row, well in zip(counts, wells, strict=True):
        expected = study.baseline(well.line) + shift[well.plate]
        if (one := well.treatment) is not None:
            expected = expected + study.log2_fold_change(
                one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h
            )
        if well.fault == "unlike":
            expected = expected + rng.normal(0, 1.5, n_genes)
        mitochondrial = STRESSED_SHARE if well.fault == "mitochondrial" else MITOCHONDRIAL_SHARE
        share = np.exp2(expected) / np.exp2(expected).sum() * (1 - mitochondrial)
        share = np.append(share, np.full(n_mitochondrial, mitochondrial / n_mitochondrial))
        reads = MEDIAN_READS * np.exp(rng.normal(0, LIBRARY_SD))
        mean = share * (reads * LOW_LIBRARY if well.fault == "low library" else reads)
        row[:] = rng.poisson(rng.gamma(1 / DISPERSION, DISPERSION * mean))
    is_shared = rng.random(counts.shape[1]) < FRACTIONAL_SHARE
    fractions = np.round(rng.random(counts.shape), 2) * is_shared * (counts > 0)
    return np.maximum(counts - fractions, 0).astype(np.float32)


def _obs(wells: list[Well], rng: np.random.Generator) -> pl.DataFrame:
    places = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
    free = {plate: iter(rng.permutation(places)) for plate in sorted({well.plate for well in wells})}
    rows = [
        {
            # As published, not a name of one well: replicates share it.
            "sample": f"{well.name}_{well.dose}",
            "COMPOUND": well.name,
            "CONCENTRATION_UM": float(well.dose),
            "TIMEPOINT_HOURS": TIME_H,
            "PLATE_NAME": well.plate,
            "WELL_ID": str(next(free[well.plate])),
            "LIBRARY_ID": f"LIB{number:04d}",
            "SPECIES": "Human",
            "BATCH_ID": f"B{well.plate[-1]}",
            "SPLIT": well.part,
            "DOSE_LEVEL": "Control" if well.compound is None else f"D{well.dose}",
            "CMPD_DOSE": f"{well.name}_{well.dose}",
            "LDH_QC": "FAIL" if well.fault == "dead" and well.compound else "",
        }
        for number, well in enumerate(wells, start=1)
    ]
    return pl.DataFrame(rows)


def _write_labels(path: Path) -> None:
    """Write the table of labels: structures and the class of liver injury, invented here."""
    catalogue = {compound.name: compound for compound in (*COMPOUNDS, IMIPRAMINE)}
    known = {name: of for name, (of, _) in (TRAINING | VALIDATION).items() if name != "Imipramine2"}
    rows = [
        {"compound_name": name, "smiles": catalogue[of].smiles, "DILI_label": "M" if number % 2 else "N"}
        for number, (name, of) in enumerate(sorted(known.items()))
    ]
    pl.DataFrame(rows).write_csv(path)
