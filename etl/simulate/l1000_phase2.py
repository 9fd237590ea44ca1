"""Simulated L1000 phase 2 (GSE70138) as GEO has it: GCTX, instance, gene, perturbagen and cell tables.

Dirty values: doses and times printed as floats, ``-666.0`` and ``-666``, one plate whose unit is ``µM`` in
Latin-1, a line that the cell table lacks (``SNUC4``), a restricted structure, a compound that only the table
of phase 1 describes, an instance without values. Not here: the plates and their values (``l1000_plates``).
"""

from pathlib import Path

import polars as pl

from etl.simulate import l1000_plates
from etl.simulate.l1000_plates import Instance
from etl.simulate.landing import write_gzip, write_truth
from etl.simulate.study import Study, true_effects

SENTINEL = "-666"
RESTRICTED = "BRD-K99999999"
"""A perturbagen whose structure the publisher keeps; it is not profiled."""

VORINOSTAT_CID = 5311
"""PubChem CID of the first compound of the regular plates."""

MICROMOLAR_PLATE = "LJP005_MCF7_24H_X3_B19"
"""The plate whose table was written with the micro sign."""


def write(folder: Path, study: Study) -> Path:
    """Write the release and its truth; return the path of the matrix."""
    compounds = l1000_plates.regular_compounds()
    wells = l1000_plates.instances(study, folder.name, early_h=3, compounds=compounds)
    measured = [well for well in wells if not well.has_failed]
    positions, genes = l1000_plates.genes(study)
    values = l1000_plates.expression(study, measured, folder.name, positions)
    matrix = (
        folder / f"GSE70138_Broad_LINCS_Level3_INF_mlr12k_n{len(measured)}x{genes.height}_2017-03-06.gctx"
    )
    l1000_plates.write_gctx(
        matrix,
        values,
        row_ids=genes["entrez_id"].cast(pl.String).to_list(),
        column_ids=[well.key for well in measured],
    )
    instances = folder / "GSE70138_Broad_LINCS_inst_info_2017-03-06.txt"
    l1000_plates.write_table(instances, [_instance(well) for well in wells], encoding="latin-1")
    l1000_plates.write_table(
        folder / "GSE70138_Broad_LINCS_gene_info_2017-03-06.txt",
        [_gene(*row) for row in genes.iter_rows()],
    )
    _write_perturbagens(folder)
    _write_cells(folder)
    effects = true_effects(study, l1000_plates.conditions(measured), study.landmarks)
    write_truth(folder, "effects", effects)
    return matrix


def _instance(well: Instance) -> dict[str, str]:
    unit = "µM" if well.plate == MICROMOLAR_PLATE else "um"
    return {
        "inst_id": well.key,
        "cell_id": well.label,
        "det_plate": well.plate,
        "det_well": well.well,
        "pert_mfc_id": f"{well.pert_id}-001-01-1" if well.compound is not None else well.pert_id,
        "pert_dose": "-666.0" if well.dose_um is None else str(well.dose_um),
        "pert_dose_unit": SENTINEL if well.dose_um is None else unit,
        "pert_id": well.pert_id,
        "pert_iname": well.name,
        "pert_type": well.pert_type,
        "pert_time": f"{well.time_h}.0",
        "pert_time_unit": "h",
    }


def _gene(entrez_id: int, symbol: str, space: str) -> dict[str, str]:
    return {
        "pr_gene_id": str(entrez_id),
        "pr_gene_symbol": symbol,
        "pr_gene_title": f"{symbol} (simulated)",
        "pr_is_lm": "1" if space == "landmark" else "0",
        "pr_is_bing": "0" if space == "inferred" else "1",
    }


def _write_perturbagens(folder: Path) -> None:
    """Write the table of phase 2, and that of phase 1, which alone has PubChem CIDs."""
    rows = [
        {
            "pert_id": compound.pert_id,
            "canonical_smiles": compound.smiles,
            "inchi_key": SENTINEL,
            "pert_iname": compound.name,
            "pert_type": "trt_cp",
        }
        for compound in l1000_plates.regular_compounds()[1:]
    ]
    restricted = {"pert_id": RESTRICTED, "canonical_smiles": "restricted", "inchi_key": "restricted"}
    rows.append({**restricted, "pert_iname": RESTRICTED, "pert_type": "trt_cp"})
    rows.append(
        {
            "pert_id": "DMSO",
            "canonical_smiles": "CS(=O)C",
            "inchi_key": "IAZDPXIOMUYVGZ-UHFFFAOYSA-N",
            "pert_iname": "DMSO",
            "pert_type": "ctl_vehicle",
        }
    )
    l1000_plates.write_table(folder / "GSE70138_Broad_LINCS_pert_info_2017-03-06.txt", rows)
    first = l1000_plates.regular_compounds()[0]
    header = "pert_id\tpert_iname\tpert_type\tis_touchstone\tinchi_key_prefix\tinchi_key\tcanonical_smiles"
    row = f"{first.pert_id}\t{first.name}\ttrt_cp\t1\t-666\t-666\t{first.smiles}"
    table = f"{header}\tpubchem_cid\n{row}\t{VORINOSTAT_CID}\n"
    write_gzip(folder / "GSE92742_Broad_LINCS_pert_info.txt.gz", table.encode())


def _write_cells(folder: Path) -> None:
    sites = {"A375": "skin", "MCF7": "breast", "NPC.CAS9": "central nervous system"}
    rows = [
        {
            "cell_id": label,
            "cell_type": "cell line",
            "base_cell_id": label.partition(".")[0],
            "precursor_cell_id": SENTINEL,
            "modification": "stable CAS9" if label.endswith(".CAS9") else SENTINEL,
            "sample_type": "tumor" if site != "central nervous system" else "primary",
            "primary_site": site,
            "subtype": SENTINEL,
            "original_growth_pattern": "adherent",
            "provider_catalog_id": SENTINEL,
            "original_source_vendor": SENTINEL,
            "donor_age": SENTINEL,
            "donor_sex": SENTINEL,
            "donor_ethnicity": SENTINEL,
        }
        for label, site in sites.items()
    ]
    l1000_plates.write_table(folder / "GSE70138_Broad_LINCS_cell_info_2017-04-28.txt", rows)
