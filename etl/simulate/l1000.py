"""Simulated L1000 Level 3 studies in the Broad's formats: an LJP005 plate (GCT 1.3), phase 1 plates (GCTX).

Both hold the 978 landmark genes in log2. ``l1000_ljp005`` is one plate of A375 at 24 h, six doses, normalized
so that all wells share one distribution. ``l1000_phase1`` is many plates of two lines and two times, with
what makes the real one hard: plate effects, doses printed with float32 noise, genetic perturbations, a
plate without vehicle, a treated well without dose and a time without vehicle.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.l1000_plates import WELLS
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects

SENTINEL = "-666"
DMSO = "DMSO"

ROW_FIELDS = (
    "pr_analyte_id",
    "pr_analyte_num",
    "pr_bset_id",
    "pr_lua_id",
    "pr_pool_id",
    "pr_gene_id",
    "pr_gene_symbol",
    "pr_gene_title",
    "pr_is_bing",
    "pr_is_inf",
    "pr_is_lmark",
)

COLUMN_FIELDS = (
    "qc_slope",
    "qc_f_logp",
    "qc_iqr",
    "bead_batch",
    "bead_revision",
    "bead_set",
    "cell_id",
    "det_mode",
    "det_plate",
    "det_well",
    "mfc_plate_dim",
    "mfc_plate_id",
    "mfc_plate_name",
    "mfc_plate_quad",
    "mfc_plate_well",
    "pert_dose",
    "pert_dose_unit",
    "pert_id",
    "pert_id_vendor",
    "pert_idose",
    "pert_iname",
    "pert_itime",
    "pert_mfc_desc",
    "pert_mfc_id",
    "pert_time",
    "pert_time_unit",
    "pert_type",
    "pert_vehicle",
    "pool_id",
    "rna_plate",
    "rna_well",
    "x_hmsl_id",
    "count_mean",
    "count_cv",
    "provenance_code",
)

INSTANCE_COLUMNS = (
    "inst_id",
    "rna_plate",
    "rna_well",
    "pert_id",
    "pert_iname",
    "pert_type",
    "pert_dose",
    "pert_dose_unit",
    "pert_time",
    "pert_time_unit",
    "cell_id",
    "distil_id",
)

LJP005_DOSES = ("10", "3.33", "1.11", "0.37", "0.12", "0.04")
POSITIVE_CONTROLS = ("geldanamycin", "mitoxantrone")
LJP005_VEHICLE_WELLS = 30
LJP005_EMPTY_WELLS = frozenset({"A01", "A02", "B01", "B02", "A24", "P24"})
PLATE_SD, WELL_SD = 0.25, 0.04
"""Standard deviations, log2: of a plate's shift of one gene, and of a well's shift of all genes."""


@dataclass(frozen=True, slots=True)
class Well:
    """One well of an L1000 plate; ``dose`` is the publisher's text, ``dose_um`` the nominal value."""

    rna_plate: str
    det_plate: str
    position: str
    line: CellLine
    kind: str
    pert_id: str
    name: str
    compound: Compound | None
    dose: str
    dose_um: float | None
    time_h: int

    @property
    def key(self) -> str:
        """The publisher's sample key."""
        return f"{self.det_plate}:{self.position}"

    @property
    def treatment(self) -> Treatment | None:
        """The condition of a treated well whose dose is known."""
        if self.compound is None or self.dose_um is None:
            return None
        return Treatment(
            compound=self.compound,
            line=self.line,
            context_reported=self.line.name,
            compound_reported=self.pert_id,
            dose_um=self.dose_um,
            time_h=self.time_h,
        )


def _treated(
    plate: tuple[str, str],
    position: str,
    line: CellLine,
    compound: Compound,
    dose: str,
    time_h: int,
    kind: str = "trt_cp",
) -> Well:
    return Well(
        rna_plate=plate[0],
        det_plate=plate[1],
        position=position,
        line=line,
        kind=kind,
        pert_id=compound.pert_id,
        name=compound.name,
        compound=compound,
        dose=dose,
        # The publisher prints some doses as float32; the nominal dose has three digits.
        dose_um=None if dose == SENTINEL else float(f"{float(dose):.3g}"),
        time_h=time_h,
    )


def _untreated(
    plate: tuple[str, str],
    position: str,
    line: CellLine,
    time_h: int,
    kind: str = "ctl_vehicle",
    pert_id: str = DMSO,
    name: str = DMSO,
) -> Well:
    return Well(
        rna_plate=plate[0],
        det_plate=plate[1],
        position=position,
        line=line,
        kind=kind,
        pert_id=pert_id,
        name=name,
        compound=None,
        dose=SENTINEL,
        dose_um=None,
        time_h=time_h,
    )


def _line(name: str) -> CellLine:
    return next(line for line in LINES if line.name == name)


def _conditions(wells: list[Well]) -> list[Treatment]:
    return list(dict.fromkeys(well.treatment for well in wells if well.treatment is not None))


def _expression(study: Study, wells: list[Well], dataset_id: str) -> NDArray[np.float64]:
    """Log2 values, wells x landmark genes: baseline + plate + effect + noise, cut to the scanner's range."""
    rng = study.rng(dataset_id, "noise")
    landmarks = study.landmarks
    n_genes = len(landmarks)
    noise_sd = np.clip(rng.lognormal(np.log(0.22), 0.5, n_genes), 0.08, 1.2)
    shifts = {
        plate: rng.normal(0, PLATE_SD, n_genes) for plate in dict.fromkeys(well.rna_plate for well in wells)
    }
    values = np.empty((len(wells), n_genes))
    for index, well in enumerate(wells):
        expected = study.baseline(well.line)[landmarks] + shifts[well.rna_plate] + rng.normal(0, WELL_SD)
        if well.treatment is not None:
            dose_um, time_h = well.treatment.dose_um, well.treatment.time_h
            effect = study.log2_fold_change(
                well.treatment.compound, well.line, dose_um=dose_um, time_h=time_h
            )
            expected = expected + effect[landmarks]
        values[index] = expected + rng.normal(0, 1, n_genes) * noise_sd
    return np.clip(values, 0, 15)


def _quantile_normalized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give every well the mean distribution of all wells."""
    target = np.sort(values, axis=1).mean(axis=0)
    ranks = values.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return target[ranks]


# --- LJP005: one plate, GCT 1.3 -----------------------------------------------------------------------------


def write_ljp005(folder: Path, study: Study) -> Path:
    """Write the plate and its truth; return the path of the GCT file."""
    wells = _ljp005_wells(study)
    values = _quantile_normalized(_expression(study, wells, folder.name))
    rng = study.rng(folder.name, "annotation")
    column_fields: dict[str, list[str]] = {name: [] for name in COLUMN_FIELDS}
    for well in wells:
        for name, text in _column_metadata(well, rng).items():
            column_fields[name].append(text)
    genes = study.genes[study.landmarks]
    rows = _row_metadata(genes, rng)
    n_genes, n_wells = len(rows), len(wells)
    lines = [
        "#1.3",
        "\t".join(str(count) for count in (n_genes, n_wells, len(ROW_FIELDS), len(COLUMN_FIELDS))),
        "\t".join(["id", *ROW_FIELDS, *(well.key for well in wells)]),
    ]
    lines += ["\t".join([name, *["na"] * len(ROW_FIELDS), *column_fields[name]]) for name in COLUMN_FIELDS]
    lines += [
        "\t".join([*row, *(f"{value:.4f}" for value in column)])
        for row, column in zip(rows, values.T, strict=True)
    ]
    path = folder / f"{wells[0].det_plate}_QNORM_n{n_wells}x{n_genes}.gct"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    write_truth(folder, "effects", true_effects(study, _conditions(wells), study.landmarks))
    return path


def _ljp005_wells(study: Study) -> list[Well]:
    plate = ("LJP005_A375_24H_X1", "LJP005_A375_24H_X1_B19")
    line = _line("A375")
    contents: list[tuple[Compound | None, str]] = [(None, SENTINEL)] * LJP005_VEHICLE_WELLS
    for compound in COMPOUNDS:
        repeats = 4 if compound.name in POSITIVE_CONTROLS else 2
        contents += [(compound, dose) for dose in LJP005_DOSES for _ in range(repeats)]
    positions = [position for position in WELLS if position not in LJP005_EMPTY_WELLS]
    order = study.rng("l1000_ljp005", "layout").permutation(len(contents))
    wells = []
    for position, index in zip(
        positions, sorted(range(len(contents)), key=lambda i: int(order[i])), strict=False
    ):
        found, dose = contents[index]
        if found is None:
            wells.append(_untreated(plate, position, line, 24))
        else:
            kind = "trt_poscon" if found.name in POSITIVE_CONTROLS else "trt_cp"
            wells.append(_treated(plate, position, line, found, dose, 24, kind))
    # One well of the real plate failed and is not in its file.
    failed = next(index for index, well in enumerate(wells) if well.kind == "trt_poscon")
    return wells[:failed] + wells[failed + 1 :]


def _column_metadata(well: Well, rng: np.random.Generator) -> dict[str, str]:
    is_vehicle = well.kind == "ctl_vehicle"
    is_positive = well.kind == "trt_poscon"
    fields = dict.fromkeys(COLUMN_FIELDS, SENTINEL)
    fields |= {
        "qc_slope": str(rng.integers(55, 63)),
        "qc_f_logp": f"{rng.uniform(4.6, 9.5):.1f}",
        "qc_iqr": f"{rng.uniform(6.3, 11.2):.2f}",
        "bead_batch": "b19",
        "bead_revision": "r2",
        "bead_set": "dp52,dp53",
        "cell_id": well.line.name,
        "det_mode": "duo",
        "det_plate": well.det_plate,
        "det_well": well.position,
        "pert_id": well.pert_id,
        "pert_iname": well.name,
        "pert_itime": f"{well.time_h} h",
        "pert_mfc_desc": well.name if is_vehicle else well.name.upper(),
        "pert_mfc_id": "dmso" if is_vehicle else f"{well.pert_id}-001-01-1",
        "pert_time": str(well.time_h),
        "pert_time_unit": "h",
        "pert_type": well.kind,
        "pool_id": "epsilon",
        "rna_plate": well.rna_plate,
        "rna_well": well.position,
        "count_mean": str(rng.integers(45, 75)),
        "count_cv": str(rng.integers(21, 27)),
        "provenance_code": "KMV+F2D+INO+QNO",
    }
    if not is_positive:
        fields |= {"mfc_plate_name": "C-5001-01-LM6-004", "mfc_plate_well": well.position}
    if not is_vehicle:
        fields |= {
            "pert_dose": well.dose,
            "pert_dose_unit": "um",
            "pert_idose": f"{float(well.dose)} um",
            "pert_vehicle": DMSO,
        }
    return fields


def _row_metadata(genes: pl.DataFrame, rng: np.random.Generator) -> list[list[str]]:
    probes = rng.choice(np.arange(200_001, 223_000), genes.height, replace=False)
    suffixes = rng.choice(["at", "s_at", "x_at"], genes.height, p=[0.6, 0.3, 0.1])
    beads = rng.permutation(np.arange(100, 5_000))[: genes.height]
    rows = []
    for index, (entrez_id, symbol) in enumerate(genes.select("entrez_id", "symbol").iter_rows()):
        # Two beads share one analyte; it starts at 11, since the first ten are invariant controls.
        analyte = 11 + index // 2
        bead_set = ("dp52", "dp53")[index % 2]
        rows.append(
            [
                f"{probes[index]}_{suffixes[index]}",
                f"Analyte {analyte}",
                str(analyte),
                bead_set,
                f"LUA-{beads[index]}",
                "epsilon",
                str(entrez_id),
                symbol,
                f"{symbol} (simulated)",
                "1",
                "1",
                "1",
            ]
        )
    return rows


# --- phase 1: many plates, GCTX and instance table ----------------------------------------------------------

FLOAT32_NOISE = {"3.33": "3.32999992371"}
"""Doses as phase 1 prints them: three digits through float32."""


def write_phase1(folder: Path, study: Study) -> tuple[Path, Path]:
    """Write the matrix, the instance table and their truth; return the paths of the first two."""
    wells = _phase1_wells(study)
    values = _expression(study, wells, folder.name).astype(np.float32)
    genes = study.genes[study.landmarks]
    matrix = folder / f"GSE92742_subset_Level3_INF_mlr12k_n{len(wells)}x{genes.height}.gctx"
    _write_gctx(
        matrix,
        values,
        row_ids=genes["entrez_id"].cast(pl.String).to_list(),
        column_ids=[w.key for w in wells],
    )
    lines = ["\t".join(INSTANCE_COLUMNS)]
    for well in wells:
        unit = SENTINEL if well.dose == SENTINEL else "um"
        lines.append(
            "\t".join(
                [
                    well.key,
                    well.rna_plate,
                    well.position,
                    well.pert_id,
                    well.name,
                    well.kind,
                    well.dose,
                    unit,
                    str(well.time_h),
                    "h",
                    well.line.name,
                    well.key,
                ]
            )
        )
    instances = folder / "GSE92742_subset_inst_info.txt"
    instances.write_bytes(("\n".join(lines) + "\n").encode())
    write_truth(folder, "effects", true_effects(study, _conditions(wells), study.landmarks))
    return matrix, instances


def _phase1_plate(batch: str, line: CellLine, time_h: int, replicate: int) -> tuple[str, str]:
    rna_plate = f"{batch}_{line.name}_{time_h}H_X{replicate}"
    return rna_plate, f"{rna_plate}_B{replicate + 2}_DUO52HI53LO"


def _phase1_wells(study: Study) -> list[Well]:
    rng = study.rng("l1000_phase1", "layout")
    by_name = {compound.name: compound for compound in COMPOUNDS}
    a375, mcf7 = _line("A375"), _line("MCF7")
    wells: list[Well] = []

    # The regular plates: every compound at two doses, eight vehicle wells, replicates on separate plates.
    for line, time_h, n_replicates in ((a375, 24, 3), (a375, 6, 2), (mcf7, 24, 3), (mcf7, 6, 2)):
        for replicate in range(1, n_replicates + 1):
            plate = _phase1_plate("CPC006", line, time_h, replicate)
            positions = iter([WELLS[index] for index in sorted(rng.choice(len(WELLS), 64, replace=False))])
            wells += [_untreated(plate, next(positions), line, time_h) for _ in range(8)]
            for compound in COMPOUNDS:
                for dose in ("10", "3.33"):
                    # The third replicate comes from a release that prints clean doses.
                    text = dose if replicate == 3 else FLOAT32_NOISE.get(dose, dose)
                    wells.append(_treated(plate, next(positions), line, compound, text, time_h))

    # A treated well without dose: belongs to no condition.
    plate = _phase1_plate("CPC006", a375, 24, 1)
    wells.append(_treated(plate, "P23", a375, by_name["vorinostat"], SENTINEL, 24))

    # A plate without vehicle whose conditions stand on no other plate: confounded with the plate.
    plate = _phase1_plate("CPC014", a375, 24, 1)
    for index, name in enumerate(("vorinostat", "trametinib", "bortezomib", "etoposide")):
        wells.append(_treated(plate, WELLS[40 + index], a375, by_name[name], "0.37", 24))

    # A time without any vehicle well.
    plate = _phase1_plate("CPC015", mcf7, 48, 1)
    for index, name in enumerate(("vorinostat", "palbociclib", "GDC-0941")):
        wells.append(_treated(plate, WELLS[60 + index], mcf7, by_name[name], "10", 48))

    # Genetic perturbations and their vectors: outside the warehouse, counted.
    for replicate in (1, 2):
        plate = _phase1_plate("KDC005", a375, 96, replicate)
        for position, kind, pert_id, name in (
            ("C18", "trt_sh", "TRCN0000061833", "LMNA"),
            ("E12", "ctl_vector", "TRCN0000072188", "GFP"),
            ("F06", "ctl_vector", "TRCN0000072237", "lacZ"),
        ):
            wells.append(_untreated(plate, position, a375, 96, kind, pert_id, name))
    return wells


def _write_gctx(
    path: Path, values: NDArray[np.float32], *, row_ids: list[str], column_ids: list[str]
) -> None:
    """Write the layout of the published subset: float64 from float32, one chunk, gzip 6, fixed-length ids."""
    # Times in the object headers would make equal files differ.
    options = {"compression": "gzip", "compression_opts": 6, "track_times": False}
    with h5py.File(path, "w") as file:
        matrix = values.astype(np.float64)
        file.create_dataset(
            "0/DATA/0/matrix", data=matrix, chunks=matrix.shape, maxshape=matrix.shape, **options
        )
        for name, ids, width in (("COL", column_ids, 50), ("ROW", row_ids, 6)):
            texts = np.array([text.encode() for text in ids], dtype=f"S{width}")
            file.create_dataset(
                f"0/META/{name}/id", data=texts, chunks=texts.shape, maxshape=texts.shape, **options
            )
