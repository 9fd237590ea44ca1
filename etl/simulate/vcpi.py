"""Simulated DRUG-seq studies in the layout of VCPI: what the publisher's client hands over, as Parquet files.

One line on two plates, duplicates at six doses, eight vehicle wells a plate, positive controls. Genes are
Ensembl ids without version, some of them unknown, and spike-ins. Some rows of metadata and chemistry stand
there twice; the compounds' ids are bare numbers, the controls' are names.

The line of the study stands in: THP-1 responds as HT29 does.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts

VCPI_0001: Final = "vcpi_0001"
VCPI_0002: Final = "vcpi_0002"

JOBS: Final = {VCPI_0001: "tvc-bhr-009", VCPI_0002: "tvc-kdl-010"}
STUDIED: Final = {
    VCPI_0001: ("vorinostat", "trametinib", "palbociclib", "lapatinib", "amoxicillin"),
    VCPI_0002: ("vorinostat", "selumetinib", "tanespimycin", "erlotinib", "etoposide"),
}
POSITIVE: Final = {"geldanamycin": "Geldanamycin", "bortezomib": "Bortezomib"}
STANDS_IN: Final = next(line for line in LINES if line.name == "HT29")
LABEL: Final = "THP-1"
DOSES_NM: Final = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
N_VEHICLE, N_POSITIVE = 8, 2
N_GENES: Final = 1_000
N_UNKNOWN, N_SPIKE_INS = 4, 3
MEDIAN_UMI: Final = 60_000
LIBRARY_SD, PLATE_SD = 0.25, 0.2


@dataclass(frozen=True, slots=True)
class Well:
    """One well; ``compound`` is None for the vehicle."""

    plate: str
    user_compound_id: str
    concentration: float
    unit: str
    is_control: bool
    compound: Compound | None = None


def write(folder: Path, study: Study, dataset_id: str) -> None:
    """Write counts, metadata, chemistry and the truth of one release."""
    rng = study.rng(dataset_id, "layout")
    wells = [well for plate in ("1650001", "1650002") for well in _plate(rng, dataset_id, plate)]
    panel = np.unique(
        np.concatenate([study.landmarks, rng.permutation(study.genes.height)[: N_GENES // 10]])
    )[:N_GENES]
    counts = _counts(study, dataset_id, wells, panel)
    ids = [str(98_835_510 + position) for position in range(len(wells))]
    numbers = [*study.genes["gene_id"].gather(panel).to_list(), *study.unknown_gene_ids(N_UNKNOWN)]
    features = [f"ENSG{number:011d}" for number in numbers]
    features += [f"ERCC-{number:05d}" for number in range(2, 2 + N_SPIKE_INS)]
    rest = rng.poisson(2, (len(wells), N_UNKNOWN + N_SPIKE_INS))
    matrix = np.hstack([counts, rest]).astype(float)
    order = rng.permutation(len(wells))
    data = {"gene_id": features} | {ids[index]: matrix[index] for index in order}
    pl.DataFrame(data).write_parquet(folder / "data.parquet")
    _metadata(dataset_id, rng, wells, ids, counts).write_parquet(folder / "metadata.parquet")
    _chemistry(dataset_id).write_parquet(folder / "chemistry.parquet")
    treatments = dict.fromkeys(
        Treatment(
            well.compound,
            STANDS_IN,
            LABEL,
            compound_key(well.user_compound_id),
            well.concentration / 1000,
            24,
        )
        for well in wells
        if well.compound is not None
    )
    write_truth(folder, "effects", true_effects(study, list(treatments), panel))


def compound_key(user_compound_id: str) -> str:
    """Return the UUID under which the publisher keeps a compound."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, user_compound_id))


def _number(name: str) -> str:
    """Return the bare number that stands for a compound: its place in the catalogue."""
    return str(400_001 + next(i for i, compound in enumerate(COMPOUNDS) if compound.name == name))


def _plate(rng: np.random.Generator, dataset_id: str, plate: str) -> list[Well]:
    by_name = {compound.name: compound for compound in COMPOUNDS}
    wells = [
        Well(plate, _number(name), dose, "nM", is_control=False, compound=by_name[name])
        for name in STUDIED[dataset_id]
        for dose in DOSES_NM
    ]
    wells += [
        Well(plate, label, 10_000.0, "nM", is_control=True, compound=by_name[name])
        for name, label in POSITIVE.items()
        for _ in range(N_POSITIVE)
    ]
    wells += [Well(plate, "DMSO", 0.15, "%", is_control=True)] * N_VEHICLE
    return [wells[index] for index in rng.permutation(len(wells))]


def _counts(study: Study, dataset_id: str, wells: list[Well], panel: NDArray[np.int64]) -> NDArray[np.int64]:
    """UMI counts, wells × genes."""
    rng = study.rng(dataset_id, "noise")
    shift = {well.plate: rng.normal(0, PLATE_SD, len(panel)) for well in wells}
    counts = np.empty((len(wells), len(panel)), dtype=np.int64)
    for index, well in enumerate(wells):
        expected = study.baseline(STANDS_IN)[panel] + shift[well.plate]
        if well.compound is not None:
            dose_um = well.concentration / 1000
            expected = (
                expected + study.log2_fold_change(well.compound, STANDS_IN, dose_um=dose_um, time_h=24)[panel]
            )
        counts[index] = draw_counts(rng, expected, MEDIAN_UMI * np.exp(rng.normal(0, LIBRARY_SD)))
    return counts


def _metadata(
    dataset_id: str, rng: np.random.Generator, wells: list[Well], ids: list[str], counts: NDArray[np.int64]
) -> pl.DataFrame:
    positions: dict[str, int] = {}
    rows = []
    for well, sequenced_id, row in zip(wells, ids, counts, strict=True):
        position = positions[well.plate] = positions.get(well.plate, -1) + 1
        column, line = divmod(position, 16)
        rows.append(
            {
                "sequenced_id": int(sequenced_id),
                "job_id": JOBS[dataset_id],
                "container_id": int(well.plate),
                "row_id": line + 1,
                "column_id": column + 1,
                "is_edge": line in {0, 15} or column == 0,
                "compound": compound_key(well.user_compound_id),
                "user_compound_id": well.user_compound_id,
                "compound_concentration": well.concentration,
                "compound_concentration_unit": well.unit,
                "cell_line": LABEL,
                "timepoint": "24h",
                "is_control": well.is_control,
                "total_umi_count": int(row.sum()),
                "ngenes3": int((row >= 3).sum()),
                "percent_mitochondrial": round(float(rng.uniform(3, 15)), 3),
            }
        )
    return pl.DataFrame([*rows, *rows[:5]])


def _chemistry(dataset_id: str) -> pl.DataFrame:
    names = {name: _number(name) for name in STUDIED[dataset_id]} | POSITIVE
    smiles = {compound.name: compound.smiles for compound in COMPOUNDS}
    rows = [
        {
            "compound": compound_key(user_compound_id),
            "user_compound_id": user_compound_id,
            "smiles": smiles[name],
            "canonical_smiles": smiles[name],
            "inchi_key": None,
            "purity_pct": 98.0,
        }
        for name, user_compound_id in names.items()
    ]
    # A second lot of the first compound.
    schema_overrides = {"inchi_key": pl.String}
    return pl.DataFrame([*rows, rows[0] | {"purity_pct": 97.0}], schema_overrides=schema_overrides)
