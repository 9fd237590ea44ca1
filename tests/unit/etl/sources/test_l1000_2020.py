from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.doses import dose_um
from etl.simulate import l1000_2020 as simulated_2020
from etl.simulate.study import Study
from etl.sources import l1000_2020, l1000_release
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.l1000_2020 import L1000Release2020
from etl.sources.l1000_genes import GeneSpace
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

DATASET_ID = "l1000_2020"
PLATE = "REP.A001_A375_24H_X2_B22"


def instance(well: str, **changes: str) -> dict[str, str]:
    """Return a treated instance of one plate, in the publisher's columns."""
    return {
        "bead_batch": "b22",
        "nearest_dose": "10",
        "pert_dose": "9.99999",
        "pert_dose_unit": "uM",
        "pert_idose": "10 uM",
        "pert_time": "24",
        "pert_itime": "24 h",
        "pert_time_unit": "h",
        "cell_mfc_name": "A375",
        "pert_mfc_id": "BRD-K55044200-001-02-3",
        "det_plate": PLATE,
        "det_well": well,
        "rna_plate": "REP.A001_A375_24H_X2",
        "rna_well": well,
        "count_mean": "61",
        "count_cv": "24",
        "qc_f_logp": "7.2",
        "qc_iqr": "8.41",
        "qc_slope": "58",
        "pert_id": "BRD-K55044200",
        "sample_id": f"{PLATE}:{well}",
        "pert_type": "trt_cp",
        "cell_iname": "A375",
        "qc_pass": "1",
        "dyn_range": "14.2",
        "inv_level_10": "4851",
        "build_name": "",
        "failure_mode": "",
        "project_code": "REP",
        "cmap_name": "amoxicillin",
    } | changes


VEHICLE = {
    "pert_mfc_id": "DMSO",
    "pert_id": "DMSO",
    "cmap_name": "DMSO",
    "pert_type": "ctl_vehicle",
    "pert_dose": "",
    "nearest_dose": "",
    "pert_dose_unit": "",
}


def table(path: Path, *rows: dict[str, str]) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode())


def matrix(path: Path, ids: Sequence[str], genes: Sequence[str], first: int = 0) -> None:
    """Write a matrix; value = position of the sample, counted from ``first``, plus a tenth of the gene id."""
    with h5py.File(path, "w") as file:
        file["/0/META/ROW/id"] = np.array(genes, dtype="S")
        file["/0/META/COL/id"] = np.array(ids, dtype="S")
        offsets = np.array([int(gene) for gene in genes]) / 10
        file["/0/DATA/0/matrix"] = (first + np.arange(len(ids))[:, None] + offsets).astype(np.float32)


def write(
    folder: Path,
    *instances: dict[str, str],
    compounds: Sequence[str],
    controls: Sequence[str],
    genes: Sequence[str] = ("2", "1"),
    control_genes: Sequence[str] | None = None,
) -> Path:
    matrix(folder / "level3_beta_trt_cp_n1x2.gctx", compounds, genes)
    of_controls = genes if control_genes is None else control_genes
    matrix(folder / "level3_beta_ctl_n1x2.gctx", controls, of_controls, first=100)
    table(folder / "instinfo_beta.txt", *instances)
    return folder


def release(folder: Path, **changes: str) -> Path:
    """Write a release of a treated well, with changes, and a vehicle well."""
    wells = (instance("P17", **changes), instance("A03", **VEHICLE))
    return write(folder, *wells, compounds=[f"{PLATE}:P17"], controls=[f"{PLATE}:A03"])


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(L1000Release2020().samples(raw), ReportedSample, dataset_id=DATASET_ID)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("simulated") / DATASET_ID
    raw.mkdir()
    simulated_2020.write(raw, Study(20240101))
    return raw


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(L1000Release2020(), TranscriptomicSource)
    assert isinstance(L1000Release2020(), AnnotatedSource)


def test_a_treated_and_a_vehicle_well_as_a_whole(tmp_path: Path) -> None:
    treated = {
        "sample_key": f"{PLATE}:P17",
        "sample_kind": "compound",
        "context_reported": "A375",
        "compound_reported": "BRD-K55044200",
        "dose": "9.99999",
        "dose_unit": "uM",
        "time": "24",
        "time_unit": "h",
        "plate": PLATE,
        "well": "P17",
        "replicate": "X2",
        "batch": "b22",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }
    vehicle = {
        "sample_key": f"{PLATE}:A03",
        "sample_kind": "vehicle",
        "compound_reported": None,
        "dose": None,
        "dose_unit": None,
        "well": "A03",
    }
    assert samples(release(tmp_path)).rows(named=True) == [treated, treated | vehicle]


def test_a_dose_as_dispensed_becomes_the_nominal_one(tmp_path: Path) -> None:
    rows = samples(release(tmp_path))
    assert dose_um(rows["dose"], rows["dose_unit"], dataset_id=DATASET_ID).to_list() == [10.0, None]


@pytest.mark.parametrize(
    ("qc_pass", "is_low_quality"), [("1", False), ("1.0", False), ("0", True), ("0.0", True), ("", False)]
)
def test_a_well_that_failed_is_marked_and_kept(tmp_path: Path, qc_pass: str, is_low_quality: bool) -> None:
    rows = samples(release(tmp_path, qc_pass=qc_pass))
    assert rows.select("sample_kind", "is_low_quality").row(0) == ("compound", is_low_quality)


def test_an_unknown_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="row 2, column qc_pass: not 0 or 1: 'maybe'"):
        samples(release(tmp_path, qc_pass="maybe"))


def test_the_replicate_of_a_plate_of_several_times_is_its_tag(tmp_path: Path) -> None:
    assert samples(release(tmp_path, det_plate="ABY001_A375_XH_X1_B15"))["replicate"][0] == "X1"


@pytest.mark.parametrize(
    ("pert_type", "kind"),
    [("trt_xpr", "genetic"), ("trt_si", "genetic"), ("ctl_vector", "genetic"), ("trt_lig", "biologic"),
     ("trt_aby", "biologic"), ("trt_cp", "empty"), ("ctl_untrt", "empty")],
)  # fmt: skip
def test_an_instance_of_a_matrix_that_is_not_read_keeps_its_kind(
    tmp_path: Path, pert_type: str, kind: str
) -> None:
    wells = (instance("P17"), instance("A03", **VEHICLE), instance("B04", pert_type=pert_type))
    raw = write(tmp_path, *wells, compounds=[f"{PLATE}:P17"], controls=[f"{PLATE}:A03"])
    assert samples(raw)["sample_kind"].to_list() == ["compound", "vehicle", kind]


def test_an_instance_listed_twice_is_refused_under_the_name_of_the_file(tmp_path: Path) -> None:
    raw = write(
        tmp_path,
        instance("P17"),
        instance("P17"),
        instance("A03", **VEHICLE),
        compounds=[f"{PLATE}:P17"],
        controls=[f"{PLATE}:A03"],
    )
    with pytest.raises(BadInputError, match="row 2, 3, column sample_id: more than once"):
        samples(raw)


def test_a_sample_in_both_matrices_is_refused(tmp_path: Path) -> None:
    key = f"{PLATE}:P17"
    raw = write(tmp_path, instance("P17"), compounds=[key], controls=[key])
    with pytest.raises(BadInputError, match=rf"1 sample\(s\) stand in both matrices, the first is {key}"):
        samples(raw)


def test_a_sample_of_a_matrix_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), compounds=[f"{PLATE}:P17"], controls=[f"{PLATE}:A03"])
    with pytest.raises(BadInputError, match=r"1 sample\(s\) of the matrix are not listed.*A03"):
        samples(raw)


@pytest.mark.parametrize("column", ["sample_id", "cmap_name", "cell_iname", "qc_pass", "nearest_dose"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = release(tmp_path)
    path = raw / "instinfo_beta.txt"
    path.write_bytes(path.read_bytes().replace(column.encode(), b"other", 1))
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        samples(raw)


@pytest.mark.parametrize("name", ["level3_beta_ctl_n1x2.gctx", "instinfo_beta.txt"])
def test_a_missing_file_is_named_with_its_origin(tmp_path: Path, name: str) -> None:
    raw = release(tmp_path)
    (raw / name).unlink()
    with pytest.raises(BadInputError, match="get it from https://s3"):
        samples(raw)


def test_a_truncated_matrix_is_refused(tmp_path: Path) -> None:
    raw = release(tmp_path)
    path = raw / "level3_beta_ctl_n1x2.gctx"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(BadInputError, match=r"level3_beta_ctl_n1x2\.gctx: .*cannot be opened"):
        samples(raw)


def test_annotations_are_what_has_no_column(tmp_path: Path) -> None:
    percent = VEHICLE | {"pert_dose": "0.1", "pert_dose_unit": "%"}
    raw = write(
        tmp_path,
        instance("P17", failure_mode="dyn_range"),
        instance("A03", **percent),
        instance("B04", pert_type="trt_xpr"),
        compounds=[f"{PLATE}:P17"],
        controls=[f"{PLATE}:A03"],
    )
    facts = check_reported(L1000Release2020().annotations(raw), ReportedAnnotation, dataset_id=DATASET_ID)
    of_treated = dict(facts.filter(sample_key=f"{PLATE}:P17").select("key", "value").rows())
    given = instance("P17", failure_mode="dyn_range")
    assert of_treated == {name: given[name] for name in l1000_2020.FACTS if given[name]}
    of_vehicle = dict(facts.filter(sample_key=f"{PLATE}:A03").select("key", "value").rows())
    assert (of_vehicle["pert_dose"], of_vehicle["pert_dose_unit"]) == ("0.1", "%")
    assert facts.filter(sample_key=f"{PLATE}:B04").is_empty()


def test_a_compound_on_several_rows_becomes_one_in_any_order(tmp_path: Path) -> None:
    columns = ("pert_id", "cmap_name", "target", "moa", "canonical_smiles", "inchi_key", "compound_aliases")
    key = "LSQZJLSUYDQPKJ-NJBDSQKTSA-N"
    rows = [
        ("BRD-K55044200", "amoxicillin", "PBP2", "cell wall inhibitor", "CC1(C)S", key, '""'),
        ("BRD-K55044200", "amoxicillin", "PBP1", "cell wall inhibitor", "CC1(C)S", key, "amox"),
        ("BRD-K9", "not profiled", '""', '""', "restricted", "", '""'),
    ]
    for folder, order in (("one", rows), ("other", rows[::-1])):
        raw = tmp_path / folder
        raw.mkdir()
        release(raw)
        table(raw / "compoundinfo_beta.txt", *(dict(zip(columns, row, strict=True)) for row in order))
        compounds = check_reported(L1000Release2020().compounds(raw), ReportedCompound, dataset_id=DATASET_ID)
        shown = ("compound_reported", "name", "smiles", "inchikey", "mechanism", "targets")
        assert compounds.select(shown).rows() == [
            ("BRD-K55044200", "amoxicillin", "CC1(C)S", key, "cell wall inhibitor", "PBP1|PBP2")
        ]


def test_a_compound_that_the_table_lacks_keeps_its_name(tmp_path: Path) -> None:
    compounds = L1000Release2020().compounds(release(tmp_path)).collect()
    assert compounds.select("compound_reported", "name", "vendor_id").rows() == [
        ("BRD-K55044200", "amoxicillin", "BRD-K55044200")
    ]


def test_the_name_of_a_compound_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [instance("P17", cmap_name="beta"), instance("P18", cmap_name="alpha")]
    for folder, order in (("one", rows), ("other", rows[::-1])):
        raw = tmp_path / folder
        raw.mkdir()
        keys = [row["sample_id"] for row in rows]
        write(raw, *order, instance("A03", **VEHICLE), compounds=keys, controls=[f"{PLATE}:A03"])
        assert L1000Release2020().compounds(raw).collect()["name"].to_list() == ["alpha"]


def test_accession_and_ccle_name_come_from_the_cell_table(tmp_path: Path) -> None:
    raw = release(tmp_path)
    columns = ("cell_iname", "cellosaurus_id", "ccle_name", "cell_lineage")
    table(
        raw / "cellinfo_beta.txt", dict(zip(columns, ("A375", "CVCL_0132", "A375_SKIN", "skin"), strict=True))
    )
    contexts = check_reported(L1000Release2020().contexts(raw), ReportedContext, dataset_id=DATASET_ID)
    assert contexts.drop("name", "species").rows() == [("A375", "CVCL_0132", "A375_SKIN", "skin")]


@pytest.mark.parametrize(
    ("gene_space", "expected"),
    [("landmark", ["1"]), ("best_inferred", ["2", "1"]), ("all", ["3", "2", "1"])],
)
def test_the_gene_space_chooses_the_rows(tmp_path: Path, gene_space: GeneSpace, expected: list[str]) -> None:
    wells = (instance("P17"), instance("A03", **VEHICLE))
    raw = write(
        tmp_path, *wells, compounds=[f"{PLATE}:P17"], controls=[f"{PLATE}:A03"], genes=("3", "2", "1")
    )
    columns = ("gene_id", "gene_symbol", "feature_space")
    spaces = (("1", "A1BG", "landmark"), ("2", "A2M", "best inferred"), ("3", "A2MP1", "inferred"))
    table(raw / "geneinfo_beta.txt", *(dict(zip(columns, row, strict=True)) for row in spaces))
    source = L1000Release2020(gene_space)
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id=DATASET_ID)
    assert genes["gene_reported"].to_list() == expected
    assert all(block.values.shape[1] == len(expected) for block in source.expression(raw))


def test_an_unknown_gene_space_is_refused(tmp_path: Path) -> None:
    raw = release(tmp_path)
    columns = ("gene_id", "gene_symbol", "feature_space")
    rows = (("1", "A1BG", "landmark"), ("2", "A2M", "guessed"))
    table(raw / "geneinfo_beta.txt", *(dict(zip(columns, row, strict=True)) for row in rows))
    with pytest.raises(BadInputError, match="not said to be landmark or not; the first is 2"):
        L1000Release2020().genes(raw)


def test_controls_with_genes_in_another_order_are_put_in_that_of_the_compounds(tmp_path: Path) -> None:
    wells = (instance("P17"), instance("A03", **VEHICLE))
    raw = write(
        tmp_path,
        *wells,
        compounds=[f"{PLATE}:P17"],
        controls=[f"{PLATE}:A03"],
        genes=("2", "1", "7"),
        control_genes=("7", "1", "2"),
    )
    source = L1000Release2020()
    assert source.genes(raw).collect()["entrez_id"].to_list() == [2, 1, 7]
    compounds, controls = source.expression(raw)
    np.testing.assert_allclose(compounds.values, [[0.2, 0.1, 0.7]], rtol=1e-5)
    np.testing.assert_allclose(controls.values, [[100.2, 100.1, 100.7]], rtol=1e-5)
    assert list(controls.sample_keys) == [f"{PLATE}:A03"]


def test_matrices_of_different_genes_are_refused(tmp_path: Path) -> None:
    wells = (instance("P17"), instance("A03", **VEHICLE))
    raw = write(
        tmp_path,
        *wells,
        compounds=[f"{PLATE}:P17"],
        controls=[f"{PLATE}:A03"],
        control_genes=("2", "9"),
    )
    with pytest.raises(BadInputError, match=r"differ in 2 gene\(s\), the first is 1"):
        L1000Release2020().genes(raw)


def test_blocks_hold_each_sample_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l1000_release, "BLOCK_BYTES", 100)
    wells = [instance(f"A{number:02}") for number in range(1, 9)]
    controls = [instance(f"B{number:02}", **VEHICLE) for number in range(1, 9)]
    keys = [[row["sample_id"] for row in rows] for rows in (wells, controls)]
    raw = write(tmp_path, *controls, *wells, compounds=keys[0], controls=keys[1])
    blocks = list(L1000Release2020().expression(raw))
    assert len(blocks) > 2
    assert [key for block in blocks for key in block.sample_keys] == keys[0] + keys[1]
    values = np.vstack([block.values for block in blocks])[:, 1]
    np.testing.assert_allclose(values, [*np.arange(8) + 0.1, *np.arange(8) + 100.1], rtol=1e-5)


def test_a_simulated_release_is_read_as_it_was_written(simulated: Path) -> None:
    rows = samples(simulated)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {
        "compound": 221,
        "vehicle": 96,
        "untreated": 1,
        "genetic": 2,
        "biologic": 1,
        "empty": 1,
    }
    assert rows["is_low_quality"].sum() == simulated_2020.FAILED_QC
    treated = rows.filter(pl.col("sample_kind") == "compound")
    doses = dose_um(treated["dose"], treated["dose_unit"], dataset_id=DATASET_ID)
    assert set(doses.drop_nulls()) == {10.0, 1.11, 0.37, 0.12}
    of_plate = treated.filter(pl.col("plate").str.contains("_XH_"))
    assert set(of_plate["time"]) == {"6", "24"}


def test_a_simulated_release_shows_the_planted_effect(simulated: Path) -> None:
    rows = samples(simulated).filter(pl.col("plate").str.starts_with("LJP005_MCF7_24H"))
    blocks = list(L1000Release2020().expression(simulated))
    values = np.vstack([block.values for block in blocks])
    keys = [key for block in blocks for key in block.sample_keys]
    position = {key: index for index, key in enumerate(keys)}
    chosen = (
        rows.filter((pl.col("compound_reported") == "BRD-K81418486") & (pl.col("dose") == "9.99999")),
        rows.filter(pl.col("sample_kind") == "vehicle"),
    )
    treated, vehicle = (values[[position[key] for key in part["sample_key"]]].mean(axis=0) for part in chosen)
    symbols = L1000Release2020().genes(simulated).collect()["symbol"]
    effect = dict(zip(symbols, treated - vehicle, strict=True))
    truth = pl.read_parquet(simulated / "truth" / "effects.parquet").filter(
        (pl.col("compound_reported") == "BRD-K81418486")
        & (pl.col("context_reported") == "MCF7")
        & (pl.col("dose_um") == 10)
        & (pl.col("time_h") == 24)
    )
    found = [effect[symbol] for symbol in truth["symbol"]]
    assert np.corrcoef(found, truth["log2_fold_change"])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    again = tmp_path / DATASET_ID
    again.mkdir()
    simulated_2020.write(again, Study(20240101))
    names = sorted(path.name for path in simulated.iterdir() if path.is_file())
    assert [name for name in names if (again / name).read_bytes() != (simulated / name).read_bytes()] == []


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / "l1000_2020"
    if not raw.is_dir():
        pytest.skip("l1000_2020 is not among the real files")
    rows = samples(raw)
    assert rows.height == 3_026_460
    assert rows.filter(pl.col("sample_kind") == "compound").height == 1_805_898
    assert L1000Release2020().genes(raw).collect().height == 978
