"""Simulated CMap LINCS 2020 release: two GCTX, and the instance, gene, compound and cell tables (``beta``).

Dirty values: doses as dispensed beside the nearest step, ``""`` and empty cells for what is missing, a
compound on several rows, wells that failed quality control, genetic instances whose matrix is not there, a
plate of several times named ``XH``, and controls whose genes stand in another order than those of the
compounds. Not here: the plates and their values (``l1000_plates``).
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from etl.simulate import l1000_plates
from etl.simulate.l1000_plates import Instance
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, true_effects

EMPTY = '""'
OUT_OF_SCOPE = ("trt_xpr", "trt_lig")
DISPENSED = {10.0: "9.99999", 1.11: "1.10999", 0.12: "0.12", 0.37: "0.37"}
"""Doses as the instance table prints them."""

FAILED_QC = 3
"""Treated wells that the publisher marks as failed."""

CELLS = {
    "A375": ("CVCL_0132", "A375_SKIN", "skin"),
    "MCF7": ("CVCL_0031", "MCF7_BREAST", "breast"),
    "NPC.CAS9": ("", "", "central_nervous_system"),
}


def write(folder: Path, study: Study) -> tuple[Path, Path]:
    """Write the release and its truth; return the paths of the two matrices."""
    compounds = l1000_plates.regular_compounds()
    wells = l1000_plates.instances(study, folder.name, early_h=6, compounds=compounds)
    wells += _plate_of_several_times(wells)
    wells.append(Instance("LIG001_MCF7_24H_X1_B20", "D07", "MCF7", 24, "trt_lig", "CYT-EGF", "EGF"))
    held = [well for well in wells if well.pert_type not in OUT_OF_SCOPE and not well.has_failed]
    positions, genes = l1000_plates.genes(study)
    values = l1000_plates.expression(study, held, folder.name, positions)
    row_ids = genes["entrez_id"].cast(pl.String).to_list()
    paths = []
    for name, is_control, step in (("trt_cp", False, 1), ("ctl", True, -1)):
        rows = [index for index, well in enumerate(held) if (well.compound is None) == is_control]
        path = folder / f"level3_beta_{name}_n{len(rows)}x{genes.height}.gctx"
        l1000_plates.write_gctx(
            path,
            values[rows][:, ::step],
            row_ids=row_ids[::step],
            column_ids=[held[index].key for index in rows],
        )
        paths.append(path)
    _write_instances(folder / "instinfo_beta.txt", wells)
    l1000_plates.write_table(folder / "geneinfo_beta.txt", [_gene(*row) for row in genes.iter_rows()])
    _write_compounds(folder / "compoundinfo_beta.txt")
    _write_cells(folder / "cellinfo_beta.txt")
    write_truth(folder, "effects", true_effects(study, l1000_plates.conditions(held), study.landmarks))
    return paths[0], paths[1]


def _plate_of_several_times(wells: list[Instance]) -> list[Instance]:
    """Return a plate ``XH``: some wells of regular plates again, at two times."""
    plate = "ABY001_A375_XH_X1_B15"
    by_time = [
        [well for well in wells if well.label == "A375" and well.time_h == time_h and not well.has_failed]
        for time_h in (6, 24)
    ]
    chosen = [*by_time[0][:12], *by_time[1][:12]]
    return [
        replace(well, plate=plate, well=position)
        for well, position in zip(chosen, l1000_plates.WELLS[24:], strict=False)
    ]


def _write_instances(path: Path, wells: list[Instance]) -> None:
    failed = {well.key for well in [well for well in wells if well.compound is not None][5 : 5 + FAILED_QC]}
    l1000_plates.write_table(path, [_instance(well, passed=well.key not in failed) for well in wells])


def _instance(well: Instance, *, passed: bool) -> dict[str, str]:
    dose, nearest = "", ""
    if well.dose_um is not None:
        dose, nearest = DISPENSED[well.dose_um], str(well.dose_um)
    elif well.pert_type == "ctl_vehicle":
        dose = "0.1"
    unit = "" if not dose else "%" if well.compound is None else "uM"
    return {
        "bead_batch": well.plate.rsplit("_", 1)[-1].lower(),
        "nearest_dose": nearest,
        "pert_dose": dose,
        "pert_dose_unit": unit,
        "pert_idose": f"{nearest} {unit}".strip(),
        "pert_time": str(well.time_h),
        "pert_itime": f"{well.time_h} h",
        "pert_time_unit": "h",
        "cell_mfc_name": well.label,
        "pert_mfc_id": f"{well.pert_id}-001-01-1" if well.compound is not None else well.pert_id,
        "det_plate": well.plate,
        "det_well": well.well,
        "rna_plate": well.plate.rsplit("_", 1)[0],
        "rna_well": well.well,
        "count_mean": "61",
        "count_cv": "24",
        "qc_f_logp": "7.2",
        "qc_iqr": "8.41",
        "qc_slope": "58",
        "pert_id": well.pert_id,
        "sample_id": well.key,
        "pert_type": well.pert_type,
        "cell_iname": well.label,
        "qc_pass": "1" if passed else "0",
        "dyn_range": "14.2",
        "inv_level_10": "4851",
        "build_name": "",
        "failure_mode": "" if passed else "dyn_range",
        "project_code": well.plate[:3],
        "cmap_name": well.name,
    }


def _gene(entrez_id: int, symbol: str, space: str) -> dict[str, str]:
    return {
        "gene_id": str(entrez_id),
        "gene_symbol": symbol,
        "ensembl_id": "",
        "gene_title": f"{symbol} (simulated)",
        "gene_type": "protein-coding",
        "src": "NCBI",
        "feature_space": space,
    }


def _write_compounds(path: Path) -> None:
    """Write a row per target; the first compound has two, and an alias."""
    rows = []
    for index, compound in enumerate(l1000_plates.regular_compounds()):
        target = compound.mechanism.target or EMPTY
        row = {
            "pert_id": compound.pert_id,
            "cmap_name": compound.name,
            "target": target,
            "moa": compound.mechanism.name,
            "canonical_smiles": compound.smiles,
            "inchi_key": EMPTY,
            "compound_aliases": EMPTY,
        }
        rows.append(row)
        if index == 0:
            rows.append({**row, "target": "HDAC6", "compound_aliases": f"{compound.name}-alias"})
    l1000_plates.write_table(path, rows)


def _write_cells(path: Path) -> None:
    rows = [
        {
            "cell_iname": label,
            "cellosaurus_id": accession,
            "donor_age": "",
            "donor_age_death": "",
            "donor_disease_age_onset": "",
            "doubling_time": "",
            "growth_medium": "",
            "provider_catalog_id": "",
            "feature_id": "",
            "cell_type": "tumor",
            "donor_ethnicity": "",
            "donor_sex": "",
            "donor_tumor_phase": "",
            "cell_lineage": lineage,
            "primary_disease": "",
            "subtype": "",
            "provider_name": "",
            "growth_pattern": "adherent",
            "ccle_name": ccle_name,
            "cell_alias": "",
        }
        for label, (accession, ccle_name, lineage) in CELLS.items()
    ]
    l1000_plates.write_table(path, rows)
