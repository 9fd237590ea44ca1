"""Simulated sci-Plex 3 in the layout of GSM4150378: nuclei, their hashes, and counts as triplets.

Three lines on two plates each for 24 h, and A549 on two more for 72 h; a plate holds three wells of vehicle
and four compounds at four doses. As published: counts on human and mouse genes, ordered by cell, genes of a
cell in no order; nuclei with weak hashes, with hashes of no well (``NA`` for the treatment), and of the well
of reverse transcription that the publisher leaves out; barcodes that hold ambient RNA only; names with a
parenthesis, and one with a question mark for a lost character.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, Compound
from etl.simulate.landing import write_gzip, write_truth
from etl.simulate.study import Study, Treatment, true_effects

SCIPLEX3: Final = "sciplex3"
PREFIX: Final = "GSM4150378_sciPlex3_"
SCREEN: Final = f"{PREFIX}A549_MCF7_K562_"
COUNTS: Final = f"{SCREEN}screen_UMI.count.matrix.gz"
GENES: Final = f"{SCREEN}screen_gene.annotations.txt.gz"
CELLS: Final = f"{SCREEN}screen_cell.annotations.txt.gz"
WELLS: Final = f"{SCREEN}hashTable_metadata.txt.gz"
NUCLEI: Final = f"{PREFIX}pData.txt.gz"

NUCLEUS_COLUMNS: Final = [
    "cell",
    "sample",
    "Size_Factor",
    "n.umi",
    "hash_umis_W",
    "pval_W",
    "qval_W",
    "top_to_second_best_ratio_W",
    "top_oligo_W",
    "hash_umis_P",
    "pval_P",
    "qval_P",
    "top_to_second_best_ratio_P",
    "top_oligo_P",
    "rt_well",
    "lig_well",
    "pcr_well",
    "pcr_plate",
    "culture_plate",
    "rt_plate",
    "lig_plate",
    "Combo",
    "well_oligo",
    "plate_oligo",
    "cell_type",
    "replicate",
    "time_point",
    "drug_dose",
    "catalog_number",
    "vehicle",
    "dose_pattern",
    "dose_character",
    "dose",
    "treatment",
    "pathway_level_1",
    "pathway_level_2",
    "product_name",
    "target",
    "pathway",
]

WELL_COLUMNS: Final = [
    "well_oligo",
    "plate_oligo",
    "cell_type",
    "replicate",
    "time_point",
    "drug_dose",
    "Combo",
    "catalog_number",
    "vehicle",
    "dose_pattern",
    "dose_character",
    "dose",
    "treatment",
    "CAS.Number",
    "M.w.",
    "name",
    "SMILES",
]


@dataclass(frozen=True, slots=True)
class Listed:
    """A compound as the vendor lists it; ``name`` is the one in the catalogue."""

    catalog_number: str
    product_name: str
    cas: str
    name: str
    target: str
    pathway: str

    @property
    def compound(self) -> Compound:
        """The compound of the catalogue."""
        return next(one for one in COMPOUNDS if one.name == self.name)


LISTED: Final = (
    Listed("S1047", "Vorinostat (SAHA, MK0683)", "149647-78-9", "vorinostat", "HDAC", "Epigenetics"),
    Listed("S2673", "Trametinib (GSK1120212)", "871700-17-3", "trametinib", "MEK", "MAPK"),
    Listed(
        "S1141", "Tanespimycin (17-AAG)", "75747-14-7", "tanespimycin", "HSP (e.g. HSP90)", "Cytoskeletal"
    ),
    # The vendor's name lost a character before the parenthesis.
    Listed("S1068", "Crizotinib?(PF-02341066)", "877399-52-5", "crizotinib", "c-Met,ALK", "Protein kinase"),
)
VEHICLE: Final = "S0000"

LINES_HERE: Final = {"A549": "A549", "K562": "HT29", "MCF7": "MCF7"}
"""Label here: the line whose invented biology it borrows."""

DOSES_NM: Final = (10, 100, 1_000, 10_000)
VEHICLE_WELLS: Final = 3
NUCLEI_OF_WELL: Final = 22
N_HUMAN, N_MOUSE = 800, 60
UMI_OF_NUCLEUS: Final = 700
MOUSE_SHARE: Final = 0.004
NOT_OF_A_WELL: Final = 0.04
"""Share of nuclei whose pair of hashes is none of the screen."""

WEAK_HASH, AMBIENT, LEFT_OUT = 0.08, 0.05, 0.01
"""Shares of nuclei: with a weak hash of plate or well, ambient, and of the well that is left out."""


@dataclass(frozen=True, slots=True)
class Well:
    """One well of a plate; ``listed`` is None for the vehicle."""

    plate: str
    oligo: str
    line: str
    replicate: str
    time_h: int
    dose_nm: int
    pattern: int
    listed: Listed | None

    @property
    def catalog_number(self) -> str:
        """Catalogue number, of the vehicle too."""
        return VEHICLE if self.listed is None else self.listed.catalog_number

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated well."""
        if self.listed is None:
            return None
        return Treatment(
            compound=self.listed.compound,
            line=next(line for line in LINES if line.name == LINES_HERE[self.line]),
            context_reported=self.line,
            compound_reported=self.listed.catalog_number,
            dose_um=self.dose_nm / 1_000,
            time_h=float(self.time_h),
        )


def write(folder: Path, study: Study) -> None:
    """Write the five files and the truth."""
    wells = list(_wells())
    genes, measured = _genes(study)
    nuclei, counts = _nuclei(study, wells, measured, genes.height)
    write_gzip(folder / GENES, _lines([("id", "gene_short_name"), *genes.rows()], " "))
    write_gzip(folder / CELLS, _lines([(one["cell"], one["sample"]) for one in nuclei], "\t"))
    write_gzip(folder / NUCLEI, _r_table(NUCLEUS_COLUMNS, nuclei))
    write_gzip(folder / WELLS, _lines([WELL_COLUMNS, *(_well_row(well) for well in wells)], "\t"))
    write_gzip(folder / COUNTS, _triplets(study, counts))
    treatments = dict.fromkeys(one for well in wells if (one := well.treatment) is not None)
    write_truth(folder, "effects", true_effects(study, list(treatments), measured))


def _wells() -> Iterator[Well]:
    plates = [(line, replicate, 24) for replicate in ("rep1", "rep2") for line in LINES_HERE]
    plates += [("A549", replicate, 72) for replicate in ("rep1", "rep2")]
    for number, (line, replicate, time_h) in enumerate(plates, start=1):
        contents: list[tuple[Listed | None, int, int]] = [
            (None, 0, pattern % 4 + 1) for pattern in range(VEHICLE_WELLS)
        ]
        contents += [(one, dose, step) for one in LISTED for step, dose in enumerate(DOSES_NM, start=1)]
        for place, (listed, dose, pattern) in enumerate(contents):
            # Hashes are named by column first, as they were pipetted.
            oligo = f"plate{number + 1}_{'ABCDEFGH'[place % 8]}{place // 8 + 1}"
            yield Well(f"plate{number}", oligo, line, replicate, time_h, dose, pattern, listed)


def _genes(study: Study) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return ids and names of all genes, mouse genes after human ones, and positions of the human ones."""
    baseline = np.mean([study.baseline(line) for line in LINES if line.name in LINES_HERE.values()], axis=0)
    measured = np.sort(np.argsort(-baseline, kind="stable")[:N_HUMAN])
    human = study.genes[measured].select(
        id=pl.format("ENSG{}.{}", pl.col("gene_id").cast(pl.String).str.zfill(11), pl.col("gene_id") % 9 + 1),
        name=pl.coalesce("symbol", pl.format("AC{}.1", "gene_id")).str.replace_all(" ", ""),
    )
    mouse = [(f"ENSMUSG{number:011}.1", f"Mouse{number}") for number in range(1, N_MOUSE + 1)]
    return pl.concat([human, pl.DataFrame(mouse, schema=human.schema, orient="row")]), measured


def _nuclei(
    study: Study, wells: Sequence[Well], measured: NDArray[np.int64], n_genes: int
) -> tuple[list[dict[str, object]], NDArray[np.int64]]:
    """Return the rows of ``pData`` and the counts, nuclei × genes, in one random order."""
    rng = study.rng(SCIPLEX3, "nuclei")
    rows: list[dict[str, object]] = []
    counts = []
    for well in wells:
        share = _share(study, well, measured, n_genes)
        for _ in range(int(rng.poisson(NUCLEI_OF_WELL))):
            mean = 40 if rng.random() < AMBIENT else UMI_OF_NUCLEUS * rng.lognormal(0, 0.5)
            counts.append(rng.poisson(mean * share))
            rows.append(_nucleus(rng, len(rows), well, int(counts[-1].sum())))
    order = rng.permutation(len(rows))
    return [rows[position] for position in order], np.array(counts)[order]


def _share(study: Study, well: Well, measured: NDArray[np.int64], n_genes: int) -> NDArray[np.float64]:
    line = next(line for line in LINES if line.name == LINES_HERE[well.line])
    expected = study.baseline(line)[measured]
    if (one := well.treatment) is not None:
        effect = study.log2_fold_change(one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h)
        expected = expected + effect[measured]
    human = np.exp2(expected)
    n_mouse = n_genes - len(measured)
    mouse = np.full(n_mouse, MOUSE_SHARE / n_mouse)
    return np.concatenate([human / human.sum() * (1 - MOUSE_SHARE), mouse])


def _nucleus(rng: np.random.Generator, number: int, well: Well, n_umi: int) -> dict[str, object]:
    weak = rng.choice(["", "P", "W"], p=[1 - WEAK_HASH, WEAK_HASH / 2, WEAK_HASH / 2])
    rt_well = 1 if rng.random() < LEFT_OUT else int(rng.integers(2, 385))
    pcr_well = f"{'ABCDEFGH'[int(rng.integers(8))]}{int(rng.integers(1, 13)):02}"
    row: dict[str, object] = dict.fromkeys(NUCLEUS_COLUMNS)
    row |= {
        "cell": f"{pcr_well}_E09_RT_BC_{rt_well}_Lig_BC_{number + 1}",
        "sample": "Chem3_Screen2",
        "Size_Factor": round(n_umi / UMI_OF_NUCLEUS, 6),
        "n.umi": n_umi,
        "rt_well": rt_well,
        "lig_well": number % 384 + 1,
        "pcr_well": pcr_well,
        "pcr_plate": "E09",
        "rt_plate": (rt_well - 1) // 96 + 1,
        "lig_plate": number % 384 // 96 + 1,
        "culture_plate": well.plate,
        "Combo": f"{well.oligo}{well.plate}",
        "vehicle": False,
        **_hash(rng, "P", well.plate, is_weak=weak == "P"),
        **_hash(rng, "W", well.oligo, is_weak=weak == "W"),
    }
    return row if rng.random() < NOT_OF_A_WELL else row | _treatment(well)


def _hash(rng: np.random.Generator, kind: str, oligo: str, *, is_weak: bool) -> dict[str, object]:
    n_umis = int(rng.integers(1, 5)) if is_weak else int(rng.integers(20, 300))
    # No second best hash was seen.
    is_infinite = rng.random() < 0.02
    return {
        f"hash_umis_{kind}": n_umis,
        f"pval_{kind}": 0.2 if is_weak else 1e-40,
        f"qval_{kind}": 0.3 if is_weak else 1e-39,
        f"top_to_second_best_ratio_{kind}": "Inf" if is_infinite else round(float(rng.uniform(5.1, 90)), 6),
        f"top_oligo_{kind}": oligo,
    }


def _treatment(well: Well) -> dict[str, object]:
    listed = well.listed
    return {
        "well_oligo": well.oligo,
        "plate_oligo": well.plate,
        "cell_type": well.line,
        "replicate": well.replicate,
        "time_point": well.time_h,
        "drug_dose": f"{'S0001' if listed is None else well.catalog_number}_{well.pattern}",
        "catalog_number": well.catalog_number,
        "vehicle": listed is None,
        "dose_pattern": well.pattern,
        "dose_character": well.dose_nm,
        "dose": well.dose_nm,
        "treatment": well.catalog_number,
        "pathway_level_1": "Vehicle" if listed is None else f"{listed.pathway} signaling",
        "pathway_level_2": "Vehicle" if listed is None else f"{listed.target} activity",
        "product_name": "Vehicle" if listed is None else listed.product_name,
        "target": "Vehicle" if listed is None else listed.target,
        "pathway": "Vehicle" if listed is None else listed.pathway,
    }


def _well_row(well: Well) -> list[str]:
    listed = well.listed
    known = _treatment(well) | {"Combo": f"{well.oligo}{well.plate}", "vehicle": str(listed is None).upper()}
    described = {"CAS.Number": "NA", "M.w.": "NA", "name": "NA", "SMILES": "NA"}
    if listed is not None:
        described |= {"CAS.Number": listed.cas, "M.w.": "400.1", "name": listed.product_name}
        described |= {"SMILES": listed.compound.smiles}
    return [str((known | described)[column]) for column in WELL_COLUMNS]


def _lines(rows: Sequence[Sequence[object]], separator: str) -> bytes:
    return "".join(separator.join(str(cell) for cell in row) + "\n" for row in rows).encode()


def _r_table(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> bytes:
    """Return what R's ``write.table`` writes without names of rows."""

    def cell(value: object) -> str:
        if value is None:
            return "NA"
        if isinstance(value, bool):
            return str(value).upper()
        return f'"{value}"' if isinstance(value, str) and value != "Inf" else str(value)

    header = [f'"{column}"' for column in columns]
    return _lines([header, *([cell(row[column]) for column in columns] for row in rows)], " ")


def _triplets(study: Study, counts: NDArray[np.int64]) -> bytes:
    """Return the counts above zero, ordered by cell, genes of a cell in no order."""
    rng = study.rng(SCIPLEX3, "triplets")
    cells, genes = np.nonzero(counts)
    order = np.lexsort((rng.random(len(cells)), cells))
    cells, genes = cells[order], genes[order]
    frame = pl.DataFrame({"gene": genes + 1, "cell": cells + 1, "count": counts[cells, genes]})
    return frame.write_csv(include_header=False, separator="\t").encode()
