"""Simulated DRUG-seq study in the layout of the Novartis MoA Box: an R workspace and two tables of text.

Two batches of three replicate plates; of each plate only rows A to D, with the published places: compounds at
four doses from column 1 on, DMSO in column 23, positive controls in column 24, and unused wells that are said
to hold water. Each batch tests compounds of its own. Two DMSO wells of a plate are robust references.

As published: ``Annotation`` is in another order than the columns of ``UMI.counts``, genes carry assembly and
chromosome, some compounds have no structure, DMSO has separate charges, a positive control is tested in the
dose series of one batch as well. One plate lists its genes in reverse, one well has no counts at all.

The lines of the study stand in: U-2 OS responds as A549 does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rdkit import Chem

from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.simulate import rdata
from etl.simulate.catalogue import COMPOUNDS, LINES, PROTEASOME, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import PSEUDOAUTOSOMAL, Study, Treatment, true_effects
from etl.simulate.umi_counts import draw_counts

MOABOX: Final = "novartis_moabox"
LABEL: Final = "U-2 OS"

N_PLATES: Final = 3
DOSES: Final = (0.01, 0.1, 1.0, 10.0)
ROWS: Final = "ABCD"
VEHICLE, WATER = "CB-43-EP73", "EC-27-RY89"
VEHICLE_COLUMN, CONTROL_COLUMN = 23, 24
N_ROBUST: Final = 2
MEDIAN_UMI: Final = 60_000
LIBRARY_SD, PLATE_SD = 0.3, 0.2
EMPTY_SHARE: Final = 0.002
"""Counts of a well without cells, as a share of those of a well with cells."""
N_GENES: Final = 700

BATCHES: Final = {
    13: ("vorinostat", "trametinib", "bortezomib", "paclitaxel", "doxorubicin", "JQ1", "amoxicillin"),
    2: ("panobinostat", "selumetinib", "palbociclib", "topotecan", "nutlin-3", "AZD-8055"),
}
"""Compounds of each batch; the list of R is in no order."""

WITHOUT_STRUCTURE: Final = ("JQ1", "nutlin-3")
CAS: Final = {"vorinostat": "149647-78-9", "bortezomib": "179324-69-7", "paclitaxel": "33069-62-4"}

HOMOHARRINGTONINE: Final = Compound(
    "homoharringtonine",
    "BRD-K76674262",
    "COC(=O)C[C@](O)(CCCC(C)(C)O)C(=O)O[C@@H]1C(OC)=C[C@]23CCCN2CCc2cc4c(cc2[C@H]13)OCO4",
    PROTEASOME,
    0.05,
    0.1,
)
"""A positive control that the catalogue lacks; it borrows the biology of proteasome inhibitors."""

POSITIVE: Final = {"EA-18-FP00": HOMOHARRINGTONINE, "SE-15-AV21": None, "BD-11-DV28": None}
"""Positive controls; those that are no compound of the study do nothing here."""


@dataclass(frozen=True, slots=True)
class Well:
    """One well of a plate."""

    place: str
    well_type: str
    cmpd_sample_id: str
    dose_um: float | None
    compound: Compound | None = None


def write(folder: Path, study: Study) -> None:
    """Write the workspace, the table of compounds, the list of reference wells and the truth."""
    rng = study.rng(MOABOX, "layout")
    names = [name for batch in BATCHES.values() for name in batch]
    ids = dict(zip(names, _sample_ids(rng, len(names)), strict=True))
    panel = _panel(study)
    robust: list[str] = []
    batches: dict[str, rdata.Value] = {}
    treatments: dict[Treatment, None] = {}
    for batch, held in BATCHES.items():
        wells = _wells(held, ids)
        batches[str(batch)] = _batch(study, batch, wells, panel, robust)
        for well in wells:
            if well.compound is not None and well.dose_um is not None:
                one = Treatment(well.compound, _line(), LABEL, well.cmpd_sample_id, well.dose_um, 24)
                treatments[one] = None
    rdata.write(folder / "Exp_gzip.RData", "Exp", batches)
    _write_lines(
        folder / "robust_RC_ReferenceControl_DMSO_wells.txt",
        ["external_biosample_id\tcmpd_sample_id", *(f"{name}\t{VEHICLE}" for name in robust)],
    )
    _write_lines(folder / "MoABox_compounds_metadata.txt", _compound_lines(ids))
    write_truth(folder, "effects", true_effects(study, list(treatments), panel))


def _sample_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Return ids of the publisher's form, ``JA-88-IO52``, each once."""
    letters, digits = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), list("0123456789")
    found: dict[str, None] = {}
    while len(found) < count:
        first, second = ("".join(rng.choice(letters, 2)) for _ in range(2))
        number, last = ("".join(rng.choice(digits, 2)) for _ in range(2))
        found[f"{first}-{number}-{second}{last}"] = None
    return list(found)


def _line() -> CellLine:
    return next(line for line in LINES if line.name == "A549")


def _panel(study: Study) -> NDArray[np.int64]:
    """Positions of the measured genes: landmarks first, and genes that lie on both X and Y."""
    both = np.flatnonzero(study.genes["gene_id"].is_in(PSEUDOAUTOSOMAL).to_numpy())
    return np.unique(np.concatenate([study.landmarks[:N_GENES], both]))


def _wells(held: tuple[str, ...], ids: dict[str, str]) -> list[Well]:
    """Return the wells of every plate of a batch: replicate plates have one layout."""
    by_name = {compound.name: compound for compound in COMPOUNDS}
    places = [f"{row}{column:02d}" for column in range(1, VEHICLE_COLUMN) for row in ROWS]
    series = [(ids[name], by_name[name], dose) for name in held for dose in DOSES]
    if "vorinostat" in held:
        series += [("EA-18-FP00", HOMOHARRINGTONINE, dose) for dose in DOSES[:2]]
    wells = [
        Well(place, "SA", sample_id, dose, compound)
        for place, (sample_id, compound, dose) in zip(places, series, strict=False)
    ]
    wells += [Well(place, "EMPTY", WATER, None) for place in places[len(series) : len(series) + 4]]
    wells += [Well(f"{row}{VEHICLE_COLUMN}", "RC", VEHICLE, None) for row in ROWS]
    controls = zip(ROWS, POSITIVE.items(), strict=False)
    wells += [Well(f"{row}{CONTROL_COLUMN}", "SA", one, 10.0, drug) for row, (one, drug) in controls]
    return wells


def _batch(
    study: Study, batch: int, wells: list[Well], panel: NDArray[np.int64], robust: list[str]
) -> dict[str, rdata.Value]:
    """Return the plates of a batch, and add their reference wells to ``robust``."""
    rng = study.rng(MOABOX, "batch", str(batch))
    genes = _gene_names(study, panel)
    plates: dict[str, rdata.Value] = {}
    for replicate in range(1, N_PLATES + 1):
        barcode = f"VH0201{batch:02d}{replicate:02d}"
        indices = _barcodes(rng, len(wells))
        biosamples = _sample_ids(rng, len(wells))
        counts = _counts(study, wells, panel, rng)
        if batch == 2 and replicate == N_PLATES:
            # A treated well that failed altogether.
            counts[0] = 0
        order = np.argsort(indices)
        is_reversed = batch == 2 and replicate == 2
        step = -1 if is_reversed else 1
        plates[barcode] = {
            "UMI.counts": rdata.Matrix(
                genes[::step],
                [f"{barcode}_{indices[i]}" for i in order],
                counts[order][:, ::step].astype(float),
            ),
            "Annotation": _annotation(batch, replicate, barcode, wells, indices, biosamples),
        }
        vehicles = [name for well, name in zip(wells, biosamples, strict=True) if well.well_type == "RC"]
        robust += sorted(vehicles)[:N_ROBUST]
    return plates


def _barcodes(rng: np.random.Generator, count: int) -> list[str]:
    barcodes: dict[str, None] = {}
    while len(barcodes) < count:
        barcodes["".join(rng.choice(list("ACGT"), 10))] = None
    return list(barcodes)


def _gene_names(study: Study, panel: NDArray[np.int64]) -> list[str]:
    """Return the gene keys, symbol, assembly and chromosome; and three that the study does not have."""
    reference = load_gene_reference(EMBEDDED_ONLY).genes.select("gene_id", "chromosome")
    genes = study.genes[panel].join(reference, on="gene_id", how="left", maintain_order="left")
    # What lies on X and Y is listed under X; the copy on Y counts nothing.
    place = pl.col("chromosome").str.split(",").list.first()
    names = genes.select(pl.format("{},grch38_{}", "symbol", place)).to_series()
    return [*names, "PLCXD1,grch38_Y", "AC000000.1,grch38_1", "AC000001.1,grch38_KI270711.1"]


def _counts(
    study: Study, wells: list[Well], panel: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """UMI counts of a plate, wells × genes: negative binomial around library size times expected share."""
    baseline = study.baseline(_line())[panel] + rng.normal(0, PLATE_SD, len(panel))
    counts = np.zeros((len(wells), len(panel) + 3), dtype=np.int64)
    for row, well in zip(counts, wells, strict=True):
        expected = baseline
        if well.compound is not None and well.dose_um is not None:
            effect = study.log2_fold_change(well.compound, _line(), dose_um=well.dose_um, time_h=24)
            expected = expected + effect[panel]
        library = MEDIAN_UMI * np.exp(rng.normal(0, LIBRARY_SD))
        is_empty = well.well_type == "EMPTY"
        row[: len(panel)] = draw_counts(rng, expected, library * EMPTY_SHARE if is_empty else library)
    return counts


def _annotation(
    batch: int, replicate: int, barcode: str, wells: list[Well], indices: list[str], biosamples: list[str]
) -> pl.DataFrame:
    doses = [well.dose_um if well.dose_um is not None else 0.0 for well in wells]
    return pl.DataFrame(
        {
            "row_name": [f"{barcode}_{index}" for index in indices],
            "batch_id": [batch] * len(wells),
            "plate_barcode": [barcode] * len(wells),
            "plate_index": ["GCGCTCTA"] * len(wells),
            "well_id": [well.place for well in wells],
            "plate_replicate": [replicate] * len(wells),
            "well_index": indices,
            "col": [int(well.place[1:]) for well in wells],
            "row": [ROWS.index(well.place[0]) + 1 for well in wells],
            "biosample_id": [1_997_000 + batch * 1_000 + replicate * 100 + i for i in range(len(wells))],
            "external_biosample_id": biosamples,
            "cmpd_sample_id": [well.cmpd_sample_id for well in wells],
            "well_type": [well.well_type for well in wells],
            "cell_line_name": [LABEL] * len(wells),
            "cell_line_ncn": ["FH55-48QE"] * len(wells),
            "concentration": doses,
            "unit": ["uM"] * len(wells),
            "hours_post_treatment": ["24.0"] * len(wells),
            "Sample": [
                f"{well.cmpd_sample_id}_{dose:g}uM_24.0hr_{batch}"
                for well, dose in zip(wells, doses, strict=True)
            ],
        }
    )


def _compound_lines(ids: dict[str, str]) -> list[str]:
    """Return the table of compounds: what is under study, the positive controls, DMSO and water."""
    by_name = {compound.name: compound for compound in COMPOUNDS}
    rows = [
        (sample_id, "" if name in WITHOUT_STRUCTURE else by_name[name].smiles, CAS.get(name, ""), name)
        for name, sample_id in ids.items()
    ]
    mechanisms = {name: by_name[name].mechanism.name for name in ids}
    lines = [
        "\t".join([sample_id, _inchikey(smiles), smiles, cas, mechanisms[name] if smiles else ""])
        for sample_id, smiles, cas, name in rows
    ]
    structures = {one: drug.smiles if drug else "" for one, drug in POSITIVE.items()}
    structures |= {VEHICLE: "C[S+](C)[O-]", WATER: "O"}
    lines += ["\t".join([one, _inchikey(smiles), smiles, "", ""]) for one, smiles in structures.items()]
    return ["cmpd_sample_id\tinchi_key\tsmiles\tcas_number\tmoa", *sorted(lines)]


def _inchikey(smiles: str) -> str:
    return Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)) if smiles else ""


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
