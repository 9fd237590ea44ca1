import gzip
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.contexts import resolve_contexts
from etl.harmonize.doses import dose_um, time_h
from etl.simulate import l1000_phase2 as simulated_phase2
from etl.simulate.study import Study
from etl.sources import l1000_release
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.l1000_genes import GeneSpace
from etl.sources.l1000_phase2 import L1000Phase2
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

PLATE = "LJP005_A375_24H_X2_B19"


def instance(well: str, **changes: str) -> dict[str, str]:
    """Return a treated instance of one plate, in the publisher's columns."""
    return {
        "inst_id": f"{PLATE}:{well}",
        "cell_id": "A375",
        "det_plate": PLATE,
        "det_well": well,
        "pert_mfc_id": "BRD-K55044200-001-02-3",
        "pert_dose": "10.0",
        "pert_dose_unit": "um",
        "pert_id": "BRD-K55044200",
        "pert_iname": "amoxicillin",
        "pert_type": "trt_cp",
        "pert_time": "24.0",
        "pert_time_unit": "h",
    } | changes


VEHICLE = {
    "pert_mfc_id": "DMSO",
    "pert_id": "DMSO",
    "pert_iname": "DMSO",
    "pert_type": "ctl_vehicle",
    "pert_dose": "-666.0",
    "pert_dose_unit": "-666",
}


def table(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> None:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))


def write(
    folder: Path,
    *instances: dict[str, str],
    measured: Sequence[str] | None = None,
    genes: Sequence[str] = ("5720", "466"),
    encoding: str = "utf-8",
) -> Path:
    """Write matrix and instance table; value = position of the sample plus a tenth per gene."""
    ids = [row["inst_id"] for row in instances] if measured is None else list(measured)
    with h5py.File(folder / "GSE70138_Broad_LINCS_Level3_INF_mlr12k.gctx", "w") as file:
        file["/0/META/ROW/id"] = np.array(genes, dtype="S")
        file["/0/META/COL/id"] = np.array(ids, dtype="S")
        file["/0/DATA/0/matrix"] = np.arange(len(ids))[:, None] + np.arange(len(genes)) / 10
    table(folder / "GSE70138_Broad_LINCS_inst_info_2017-03-06.txt", *instances, encoding=encoding)
    return folder


def write_genes(folder: Path, *rows: tuple[str, str, str, str]) -> None:
    names = ("pr_gene_id", "pr_gene_symbol", "pr_is_lm", "pr_is_bing")
    path = folder / "GSE70138_Broad_LINCS_gene_info_2017-03-06.txt"
    table(path, *(dict(zip(names, row, strict=True)) for row in rows))


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(L1000Phase2().samples(raw), ReportedSample, dataset_id="l1000_phase2")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("simulated") / "l1000_phase2"
    raw.mkdir()
    simulated_phase2.write(raw, Study(20240101))
    return raw


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(L1000Phase2(), TranscriptomicSource)
    assert isinstance(L1000Phase2(), AnnotatedSource)


def test_a_treated_well_as_a_whole(tmp_path: Path) -> None:
    assert samples(write(tmp_path, instance("P17"))).row(0, named=True) == {
        "sample_key": f"{PLATE}:P17",
        "sample_kind": "compound",
        "context_reported": "A375",
        "compound_reported": "BRD-K55044200",
        "dose": "10.0",
        "dose_unit": "um",
        "time": "24.0",
        "time_unit": "h",
        "plate": PLATE,
        "well": "P17",
        "replicate": "X2",
        "batch": None,
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_sentinels_printed_as_floats_are_missing(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, instance("A03", **VEHICLE), instance("A04", pert_dose="-666.0")))
    assert rows.select("sample_kind", "dose", "dose_unit").rows() == [
        ("vehicle", None, None),
        ("compound", None, "um"),
    ]


def test_the_amount_of_solvent_of_a_control_is_no_dose_but_is_kept(tmp_path: Path) -> None:
    percent = VEHICLE | {"pert_dose": "0.1", "pert_dose_unit": "%"}
    raw = write(tmp_path, instance("A03", **percent), instance("A04"))
    assert samples(raw)["dose_unit"].to_list() == [None, "um"]
    facts = check_reported(L1000Phase2().annotations(raw), ReportedAnnotation, dataset_id="l1000_phase2")
    assert sorted(facts.rows()) == [
        (f"{PLATE}:A03", "pert_dose", "0.1"),
        (f"{PLATE}:A03", "pert_dose_unit", "%"),
        (f"{PLATE}:A03", "pert_mfc_id", "DMSO"),
        (f"{PLATE}:A04", "pert_mfc_id", "BRD-K55044200-001-02-3"),
    ]


@pytest.mark.parametrize(("unit", "encoding"), [("µM", "latin-1"), ("µM", "utf-8"), ("\u03bcM", "utf-8")])
def test_a_micro_sign_and_a_greek_mu_mean_the_same_in_either_encoding(
    tmp_path: Path, unit: str, encoding: str
) -> None:
    rows = samples(write(tmp_path, instance("P17", pert_dose_unit=unit), encoding=encoding))
    assert rows["dose_unit"].to_list() == [unit]
    assert dose_um(rows["dose"], rows["dose_unit"], dataset_id="l1000_phase2").to_list() == [10.0]


def test_a_unit_that_nobody_knows_is_refused_when_doses_are_converted(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, instance("P17", pert_dose_unit="furlong")))
    with pytest.raises(BadInputError, match=rf"row {PLATE}:P17, column dose: a dose in an unknown unit"):
        dose_um(rows["dose"], rows["dose_unit"], dataset_id="l1000_phase2", keys=rows["sample_key"])


def test_a_control_of_another_name_is_a_vehicle_group_of_its_own(tmp_path: Path) -> None:
    water = VEHICLE | {"pert_id": "H2O", "pert_iname": "H2O"}
    rows = samples(write(tmp_path, instance("A03", **VEHICLE), instance("A04", **water)))
    assert rows["vehicle_group"].to_list() == ["", "H2O"]


@pytest.mark.parametrize(
    ("pert_type", "kind"),
    [("trt_poscon", "positive_control"), ("ctl_untrt", "untreated"), ("trt_xpr", "genetic"),
     ("trt_oe.mut", "genetic"), ("ctl_vector", "genetic"), ("trt_lig", "biologic")],
)  # fmt: skip
def test_every_instance_keeps_a_row_with_its_kind(tmp_path: Path, pert_type: str, kind: str) -> None:
    rows = samples(write(tmp_path, instance("P17", pert_type=pert_type)))
    assert rows["sample_kind"].to_list() == [kind]


def test_an_unknown_pert_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="row 2, column pert_type: an unknown pert_type: 'trt_new'"):
        samples(write(tmp_path, instance("P17", pert_type="trt_new")))


def test_instances_and_matrix_are_reconciled_both_ways(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), instance("P18"), measured=[f"{PLATE}:P17"])
    assert samples(raw)["sample_kind"].to_list() == ["compound", "empty"]
    (tmp_path / "more").mkdir()
    raw = write(tmp_path / "more", instance("P17"), measured=[f"{PLATE}:P17", f"{PLATE}:P19"])
    with pytest.raises(BadInputError, match=r"1 sample\(s\) of the matrix are not listed.*P19"):
        samples(raw)


def test_an_instance_listed_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), instance("P17"), measured=[f"{PLATE}:P17"])
    with pytest.raises(BadInputError, match="row 2, 3, column inst_id: more than once"):
        samples(raw)


@pytest.mark.parametrize("column", ["det_plate", "det_well", "pert_mfc_id", "pert_type"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    row = instance("P17")
    measured = [row["inst_id"]]
    del row[column]
    raw = tmp_path
    write(raw, instance("P17"), measured=measured)
    table(raw / "GSE70138_Broad_LINCS_inst_info_2017-03-06.txt", row)
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        samples(raw)


def test_a_missing_instance_table_is_named_with_its_origin(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    (raw / "GSE70138_Broad_LINCS_inst_info_2017-03-06.txt").unlink()
    with pytest.raises(BadInputError, match=r"no file matches GSE70138\*inst_info.*get it from https://ftp"):
        samples(raw)


def test_a_truncated_matrix_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, *(instance(f"A{number:02}") for number in range(1, 25)))
    path = raw / "GSE70138_Broad_LINCS_Level3_INF_mlr12k.gctx"
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(BadInputError, match=r"mlr12k\.gctx: .*(truncated|cannot be read)"):
        list(L1000Phase2().expression(raw))


def test_the_cid_comes_from_the_table_of_phase_1_and_the_rest_from_that_of_phase_2(tmp_path: Path) -> None:
    raw = write(
        tmp_path, instance("P17"), instance("P18", pert_id="BRD-K2"), instance("P19", pert_id="BRD-K3")
    )
    columns = ("pert_id", "canonical_smiles", "inchi_key", "pert_iname", "pert_type")
    path = raw / "GSE70138_Broad_LINCS_pert_info_2017-03-06.txt"
    row = ("BRD-K55044200", "CC1(C)S", "LSQZJLSUYDQPKJ-NJBDSQKTSA-N", "amoxicillin trihydrate", "trt_cp")
    table(path, dict(zip(columns, row, strict=True)))
    header = "pert_id\tpert_iname\tinchi_key\tcanonical_smiles\tpubchem_cid"
    rows = "BRD-K55044200\tAMOX\t-666\tC\t33613\nBRD-K2\tsecond\t-666\trestricted\t-666"
    (raw / "GSE92742_Broad_LINCS_pert_info.txt.gz").write_bytes(gzip.compress(f"{header}\n{rows}\n".encode()))
    compounds = check_reported(L1000Phase2().compounds(raw), ReportedCompound, dataset_id="l1000_phase2")
    shown = ("compound_reported", "name", "smiles", "inchikey", "pubchem_cid", "vendor_id")
    assert compounds.select(shown).rows() == [
        ("BRD-K2", "second", None, None, None, "BRD-K2"),
        ("BRD-K3", "amoxicillin", None, None, None, "BRD-K3"),
        ("BRD-K55044200", row[3], row[1], row[2], 33613, "BRD-K55044200"),
    ]


def test_a_line_that_the_cell_table_lacks_stays_and_resolves_through_the_curated_table(
    tmp_path: Path,
) -> None:
    raw = write(tmp_path, instance("P17"), instance("P18", cell_id="SNUC4"))
    table(raw / "GSE70138_Broad_LINCS_cell_info_2017-04-28.txt", {"cell_id": "A375", "primary_site": "skin"})
    contexts = check_reported(L1000Phase2().contexts(raw), ReportedContext, dataset_id="l1000_phase2")
    assert contexts.select("context_reported", "tissue").rows() == [("A375", "skin"), ("SNUC4", None)]
    resolved, _ = resolve_contexts(contexts, dataset_id="l1000_phase2", reference=load_context_reference())
    assert resolved["context_id"].to_list() == ["CVCL_0132", "CVCL_5111"]


def test_a_cell_listed_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    row = {"cell_id": "A375", "primary_site": "skin"}
    table(raw / "GSE70138_Broad_LINCS_cell_info_2017-04-28.txt", row, row)
    with pytest.raises(BadInputError, match="row 2, 3, column cell_id: more than once"):
        L1000Phase2().contexts(raw)


@pytest.mark.parametrize(
    ("gene_space", "expected"),
    [("landmark", ["466"]), ("best_inferred", ["16", "466"]), ("all", ["5720", "16", "466"])],
)
def test_the_gene_space_chooses_the_rows(tmp_path: Path, gene_space: GeneSpace, expected: list[str]) -> None:
    raw = write(tmp_path, instance("P17"), genes=("5720", "16", "466"))
    write_genes(raw, ("16", "AARS1", "0", "1"), ("466", "ATF1", "1", "1"), ("5720", "PSME1", "0", "0"))
    source = L1000Phase2(gene_space)
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id="l1000_phase2")
    assert genes["gene_reported"].to_list() == expected
    (block,) = source.expression(raw)
    values = {"5720": 0.0, "16": 0.1, "466": 0.2}
    np.testing.assert_allclose(block.values, [[values[gene] for gene in expected]], rtol=1e-6)


def test_inferred_genes_are_not_taken_for_measured_ones(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), genes=[str(number) for number in range(1, 980)])
    with pytest.raises(BadInputError, match="of 979 genes 978 are measured, and only the gene table tells"):
        L1000Phase2().genes(raw)


def test_a_gene_that_is_not_said_to_be_measured_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    write_genes(raw, ("5720", "PSME1", "-666", "1"), ("466", "ATF1", "1", "1"))
    with pytest.raises(BadInputError, match="not said to be landmark or not; the first is 5720"):
        L1000Phase2().genes(raw)


def test_blocks_hold_each_sample_once_with_its_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(l1000_release, "BLOCK_BYTES", 100)
    wells = [f"A{number:02}" for number in range(1, 12)]
    raw = write(tmp_path, *(instance(well) for well in wells))
    blocks = list(L1000Phase2().expression(raw))
    assert len(blocks) > 1
    assert [key for block in blocks for key in block.sample_keys] == [f"{PLATE}:{well}" for well in wells]
    np.testing.assert_allclose(np.vstack([block.values for block in blocks])[:, 0], np.arange(11))


def test_results_do_not_depend_on_the_order_of_the_instance_table(tmp_path: Path) -> None:
    rows = [instance(f"A{number:02}", pert_id=f"BRD-K{number}") for number in range(1, 6)]
    folders = [tmp_path / name for name in ("one", "other")]
    for folder, order in zip(folders, (rows, rows[::-1]), strict=True):
        folder.mkdir()
        write(folder, *order, measured=[row["inst_id"] for row in rows])
    one, other = (samples(folder).sort("sample_key") for folder in folders)
    assert one.equals(other)
    source = L1000Phase2()
    assert source.compounds(folders[0]).collect().equals(source.compounds(folders[1]).collect())


def test_a_simulated_release_is_read_as_it_was_written(simulated: Path) -> None:
    rows = samples(simulated)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 204, "vehicle": 89, "untreated": 1, "empty": 1, "genetic": 2}
    assert set(rows["replicate"]) == {"X1", "X2", "X3"}
    assert set(rows.filter(pl.col("sample_kind") == "vehicle")["vehicle_group"]) == {"", "H2O"}
    kept = rows.filter(~pl.col("sample_kind").is_in(["genetic", "empty"]))
    doses = dose_um(kept["dose"], kept["dose_unit"], dataset_id="l1000_phase2")
    assert set(doses.drop_nulls()) == {10.0, 1.11, 0.37, 0.12}
    assert set(time_h(kept["time"], kept["time_unit"], dataset_id="l1000_phase2")) == {3.0, 24.0, 48.0}
    blocks = list(L1000Phase2().expression(simulated))
    assert {key for block in blocks for key in block.sample_keys} == set(
        rows.filter(pl.col("sample_kind") != "empty")["sample_key"]
    )
    assert all(block.values.shape[1] == 978 for block in blocks)


def test_a_simulated_release_has_a_plate_without_vehicle(simulated: Path) -> None:
    lonely = samples(simulated).filter(pl.col("plate") == "REP.A001_A375_24H_X1_B22")
    assert set(lonely["sample_kind"]) == {"compound"}


def test_a_simulated_release_shows_the_planted_effect(simulated: Path) -> None:
    rows = samples(simulated).filter(pl.col("plate").str.starts_with("LJP005_A375_24H"))
    (block,) = L1000Phase2().expression(simulated)
    position = {key: index for index, key in enumerate(block.sample_keys)}
    chosen = (
        rows.filter((pl.col("compound_reported") == "BRD-K12343256") & (pl.col("dose") == "10.0")),
        rows.filter((pl.col("sample_kind") == "vehicle") & (pl.col("vehicle_group") == "")),
    )
    treated, vehicle = (
        block.values[[position[key] for key in part["sample_key"] if key in position]].mean(axis=0)
        for part in chosen
    )
    effect = dict(zip(L1000Phase2().genes(simulated).collect()["symbol"], treated - vehicle, strict=True))
    truth = pl.read_parquet(simulated / "truth" / "effects.parquet").filter(
        (pl.col("compound_reported") == "BRD-K12343256")
        & (pl.col("context_reported") == "A375")
        & (pl.col("dose_um") == 10)
        & (pl.col("time_h") == 24)
    )
    found = [effect[symbol] for symbol in truth["symbol"]]
    assert np.corrcoef(found, truth["log2_fold_change"])[0, 1] > 0.9


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / "l1000_phase2"
    if not raw.is_dir():
        pytest.skip("l1000_phase2 is not among the real files")
    rows = samples(raw)
    assert rows.height == 345_976
    vehicles, treated = (rows.filter(sample_kind=kind) for kind in ("vehicle", "compound"))
    # The reference keeps DMSO and compounds of the lines that have both.
    both = set(vehicles.filter(vehicle_group="")["context_reported"]) & set(treated["context_reported"])
    assert len(both) == 30
    kept = [part.filter(pl.col("context_reported").is_in(both)) for part in (vehicles, treated)]
    assert kept[0].filter(vehicle_group="").height == 19_258
    assert sum(part.height for part in kept) == 333_680
    assert L1000Phase2().genes(raw).collect().height == 978
