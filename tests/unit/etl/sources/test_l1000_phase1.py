import gzip
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.sources import l1000_release
from etl.sources.base import TranscriptomicSource
from etl.sources.l1000_ljp005 import L1000Ljp005
from etl.sources.l1000_phase1 import L1000Phase1
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene, ReportedSample

HEADER = (
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
)
RNA_PLATE = "CPC020_A375_6H_X2"
PLATE = f"{RNA_PLATE}_B4_DUO52HI53LO"


def instance(well: str, **changes: str) -> dict[str, str]:
    """Return a treated instance of one plate."""
    texts = (
        f"{PLATE}:{well}",
        RNA_PLATE,
        well,
        "BRD-K55044200",
        "amoxicillin",
        "trt_cp",
        "9.99999046326",
        "um",
        "6",
        "h",
        "A375",
    )
    return dict(zip(HEADER, texts, strict=True)) | changes


VEHICLE = {
    "pert_id": "DMSO",
    "pert_iname": "DMSO",
    "pert_type": "ctl_vehicle",
    "pert_dose": "-666.000000",
    "pert_dose_unit": "-666",
}
SHRNA = {"pert_id": "TRCN0000061833", "pert_iname": "LMNA", "pert_type": "trt_sh", "cell_id": "VCAP"}


def table(rows: Sequence[dict[str, str]]) -> bytes:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def write(
    folder: Path,
    *instances: dict[str, str],
    measured: Sequence[str] | None = None,
    genes: Sequence[str] = ("5720", "466"),
) -> Path:
    """Write matrix and instance table; value = position of the sample plus a tenth per gene."""
    ids = [row["inst_id"] for row in instances] if measured is None else list(measured)
    with h5py.File(folder / "GSE92742_test_Level3_INF_mlr12k.gctx", "w") as file:
        file["/0/META/ROW/id"] = np.array(genes, dtype="S")
        file["/0/META/COL/id"] = np.array(ids, dtype="S")
        file["/0/DATA/0/matrix"] = np.arange(len(ids))[:, None] + np.arange(len(genes)) / 10
    (folder / "GSE92742_test_inst_info.txt").write_bytes(table(instances))
    return folder


def write_genes(folder: Path, *rows: tuple[str, str, str]) -> None:
    names = ("pr_gene_id", "pr_gene_symbol", "pr_is_lm")
    text = table([dict(zip(names, row, strict=True)) for row in rows])
    (folder / "GSE92742_Broad_LINCS_gene_info.txt").write_bytes(text)


def write_perturbagens(folder: Path, *rows: tuple[str, ...]) -> None:
    names = ("pert_id", "pert_iname", "pert_type", "inchi_key", "canonical_smiles", "pubchem_cid")
    text = table([dict(zip(names, row, strict=True)) for row in rows])
    (folder / "GSE92742_Broad_LINCS_pert_info.txt.gz").write_bytes(gzip.compress(text))


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(L1000Phase1().samples(raw), ReportedSample, dataset_id="l1000_phase1")


def test_is_a_transcriptomic_source() -> None:
    assert isinstance(L1000Phase1(), TranscriptomicSource)


def test_the_plate_is_the_detection_plate_of_the_instance_id(tmp_path: Path) -> None:
    row = samples(write(tmp_path, instance("P17"))).row(0, named=True)
    assert (row["plate"], row["well"], row["replicate"], row["batch"]) == (PLATE, "P17", "X2", None)


@pytest.mark.parametrize(
    ("plate", "replicate"),
    [
        ("CPC020_A549_6H_X1.L2_B4_DUO52HI53LO", "X1.L2"),
        ("KDC005_VCAP_120H_X3_F1B4_DUO52HI53LO", "X3"),
        ("CPC020_X1_6H_X2_B4", "X2"),
        ("ODD_NAME", None),
    ],
)
def test_the_replicate_is_the_tag_after_the_time(tmp_path: Path, plate: str, replicate: str | None) -> None:
    rows = samples(write(tmp_path, instance("P17", inst_id=f"{plate}:P17")))
    assert rows["replicate"].to_list() == [replicate]


def test_dose_and_time_stay_verbatim(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, instance("P17"), instance("A18", **VEHICLE)))
    assert rows.select("dose", "dose_unit", "time", "time_unit").rows() == [
        ("9.99999046326", "um", "6", "h"),
        (None, None, "6", "h"),
    ]


def test_an_instance_that_the_matrix_lacks_is_empty_and_describes_nothing(tmp_path: Path) -> None:
    absent = instance("B02", pert_id="BRD-K00000001", cell_id="PC3")
    raw = write(tmp_path, instance("P17"), absent, measured=[f"{PLATE}:P17"])
    assert samples(raw).select("sample_kind", "compound_reported").rows() == [
        ("compound", "BRD-K55044200"),
        ("empty", None),
    ]
    assert L1000Phase1().compounds(raw).collect()["compound_reported"].to_list() == ["BRD-K55044200"]
    assert L1000Phase1().contexts(raw).collect()["context_reported"].to_list() == ["A375"]


def test_a_sample_of_the_matrix_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), measured=[f"{PLATE}:P17", f"{PLATE}:P18", f"{PLATE}:P19"])
    with pytest.raises(BadInputError, match=rf"2 sample\(s\) of the matrix are not listed.*{PLATE}:P18"):
        L1000Phase1().samples(raw)


def test_an_instance_listed_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), instance("P17"), measured=[f"{PLATE}:P17"])
    with pytest.raises(
        BadInputError, match=rf"row 2, 3, column inst_id: more than once: inst_id {PLATE}:P17"
    ):
        L1000Phase1().samples(raw)


def test_an_instance_id_without_plate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="row 2, column inst_id: not <plate>:<well>: 'P17'"):
        L1000Phase1().samples(write(tmp_path, instance("P17", inst_id="P17")))


def test_genetic_instances_stay_as_such_and_are_no_context(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), instance("C18", **SHRNA))
    assert samples(raw).row(1, named=True)["sample_kind"] == "genetic"
    contexts = check_reported(L1000Phase1().contexts(raw), ReportedContext, dataset_id="l1000_phase1")
    assert contexts["context_reported"].to_list() == ["A375"]


def test_header_names_are_normalized(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    path = raw / "GSE92742_test_inst_info.txt"
    path.write_bytes(path.read_bytes().replace(b"pert_dose_unit", b" Pert dose-Unit "))
    assert samples(raw)["dose_unit"].to_list() == ["um"]


def test_quotes_are_text(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17", pert_iname='5"-deoxy'), instance("P18", pert_iname='5"-deoxy'))
    assert L1000Phase1().compounds(raw).collect()["name"].to_list() == ['5"-deoxy']


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_micro_sign_survives_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    raw = write(tmp_path, instance("P17", pert_dose_unit="µM"))
    path = raw / "GSE92742_test_inst_info.txt"
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    assert samples(raw)["dose_unit"].to_list() == ["µM"]


def test_a_gzipped_table_is_read(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    plain = (raw / "GSE92742_test_inst_info.txt").rename(raw / "plain").read_bytes()
    (raw / "GSE92742_test_inst_info.txt.gz").write_bytes(gzip.compress(plain))
    assert samples(raw).height == 1


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    plain = (raw / "GSE92742_test_inst_info.txt").rename(raw / "plain").read_bytes()
    (raw / "GSE92742_test_inst_info.txt.gz").write_bytes(gzip.compress(plain)[:-20])
    with pytest.raises(BadInputError, match=r"inst_info\.txt\.gz: cannot be decompressed"):
        L1000Phase1().samples(raw)


def test_a_ragged_line_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17", cell_id="A375\tmore"))
    with pytest.raises(BadInputError, match="row 2: 12 fields where the header has 11"):
        L1000Phase1().samples(raw)


@pytest.mark.parametrize("column", ["inst_id", "rna_well", "pert_type", "pert_dose_unit", "cell_id"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, instance("P17"))
    path = raw / "GSE92742_test_inst_info.txt"
    path.write_bytes(path.read_bytes().replace(column.encode() + b"\t", b"other\t"))
    if column == "cell_id":
        path.write_bytes(path.read_bytes().replace(b"\tcell_id\n", b"\tother\n"))
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        L1000Phase1().samples(raw)


def test_structures_come_from_the_perturbagen_table(tmp_path: Path) -> None:
    raw = write(
        tmp_path, instance("P17"), instance("P18", pert_id="BRD-K2"), instance("P19", pert_id="BRD-K3")
    )
    key = "LSQZJLSUYDQPKJ-NJBDSQKTSA-N"
    write_perturbagens(
        raw,
        ("BRD-K55044200", "amoxicillin trihydrate", "trt_cp", f"InChIKey={key}", "CC1(C)S", "33613"),
        ("BRD-K2", "-666", "trt_cp", "restricted", "restricted", "-666"),
        ("BRD-K9", "not profiled", "trt_cp", "-666", "C", "1"),
    )
    compounds = check_reported(L1000Phase1().compounds(raw), ReportedCompound, dataset_id="l1000_phase1")
    columns = ("compound_reported", "name", "smiles", "inchikey", "pubchem_cid", "vendor_id")
    assert compounds.select(columns).rows() == [
        ("BRD-K2", "amoxicillin", None, None, None, "BRD-K2"),
        ("BRD-K3", "amoxicillin", None, None, None, "BRD-K3"),
        ("BRD-K55044200", "amoxicillin trihydrate", "CC1(C)S", key, 33613, "BRD-K55044200"),
    ]


def test_a_perturbagen_listed_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    row = ("BRD-K55044200", "amoxicillin", "trt_cp", "-666", "-666", "-666")
    write_perturbagens(raw, row, row)
    with pytest.raises(BadInputError, match=r"pert_info\.txt\.gz, row 2, 3, column pert_id: more than once"):
        L1000Phase1().compounds(raw)


def test_a_pubchem_cid_that_is_no_number_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    write_perturbagens(raw, ("BRD-K55044200", "amoxicillin", "trt_cp", "-666", "-666", "CID33613"))
    with pytest.raises(BadInputError, match="row 2, column pubchem_cid: not a whole number: 'CID33613'"):
        L1000Phase1().compounds(raw)


def test_a_matrix_of_landmarks_needs_no_gene_table(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    genes = check_reported(L1000Phase1().genes(raw), ReportedGene, dataset_id="l1000_phase1")
    assert genes.rows() == [("5720", None, 5720), ("466", None, 466)]


def test_only_landmarks_are_kept_where_the_gene_table_tells_them(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), instance("P18"), genes=("5720", "16", "466"))
    write_genes(raw, ("16", "AARS1", "0"), ("466", "ATF1", "1"), ("5720", "PSME1", "1"))
    assert L1000Phase1().genes(raw).collect().rows() == [("5720", "PSME1", 5720), ("466", "ATF1", 466)]
    (block,) = L1000Phase1().expression(raw)
    np.testing.assert_allclose(block.values, [[0.0, 0.2], [1.0, 1.2]], rtol=1e-6)


def test_inferred_genes_are_not_taken_for_measured_ones(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"), genes=[str(number) for number in range(1, 980)])
    with pytest.raises(BadInputError, match="of 979 genes 978 are measured, and only the gene table tells"):
        L1000Phase1().genes(raw)


def test_a_gene_that_the_gene_table_lacks_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    write_genes(raw, ("5720", "PSME1", "1"))
    with pytest.raises(BadInputError, match=r"1 gene\(s\) of the matrix are not listed.*the first is 466"):
        L1000Phase1().genes(raw)


def test_a_gene_table_without_landmarks_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, instance("P17"))
    write_genes(raw, ("5720", "PSME1", "0"), ("466", "ATF1", "0"))
    with pytest.raises(BadInputError, match="column pr_is_lm: no gene of the matrix is a landmark"):
        L1000Phase1().genes(raw)


def test_row_ids_that_are_no_entrez_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"row 200814_at, .*not a whole number: '200814_at'"):
        L1000Phase1().genes(write(tmp_path, instance("P17"), genes=("200814_at",)))


def test_an_entrez_id_that_lost_its_last_digit_is_restored(tmp_path: Path) -> None:
    genes = L1000Phase1().genes(write(tmp_path, instance("P17"), genes=("38865", "5720"))).collect()
    assert genes.select("gene_reported", "entrez_id").rows() == [("38865", 388650), ("5720", 5720)]


def test_an_id_is_not_restored_where_the_whole_one_is_there(tmp_path: Path) -> None:
    genes = L1000Phase1().genes(write(tmp_path, instance("P17"), genes=("38865", "388650"))).collect()
    assert genes["entrez_id"].to_list() == [38865, 388650]


def test_blocks_hold_each_sample_once_with_its_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(l1000_release, "BLOCK_BYTES", 100)
    wells = [f"A{number:02}" for number in range(1, 12)]
    raw = write(tmp_path, *(instance(well) for well in wells))
    blocks = list(L1000Phase1().expression(raw))
    assert len(blocks) > 1
    assert [key for block in blocks for key in block.sample_keys] == [f"{PLATE}:{well}" for well in wells]
    np.testing.assert_allclose(np.vstack([block.values for block in blocks])[:, 0], np.arange(11))


@pytest.mark.realdata
def test_the_published_subset(realdata: Path) -> None:
    raw, source = realdata / "raw" / "l1000_phase1", L1000Phase1()
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"vehicle": 288, "compound": 79, "genetic": 214}
    assert set(rows["vehicle_group"]) == {""}
    assert rows["plate"].n_unique() == 66
    assert rows["replicate"].null_count() == 0
    treated = rows.filter(pl.col("sample_kind") == "compound")
    assert set(treated.select("dose", "dose_unit").rows()) == {("10", "um")}
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id="l1000_phase1")
    assert set(compounds["compound_reported"]) == set(treated["compound_reported"])
    assert compounds.height == 18
    assert source.contexts(raw).collect().height == 8
    (block,) = source.expression(raw)
    assert block.values.shape == (581, 978)
    assert set(block.sample_keys) == set(rows["sample_key"])


@pytest.mark.realdata
def test_restored_ids_are_those_of_the_same_landmarks_elsewhere(realdata: Path) -> None:
    genes = check_reported(
        L1000Phase1().genes(realdata / "raw" / "l1000_phase1"), ReportedGene, dataset_id="l1000_phase1"
    )
    others = L1000Ljp005().genes(realdata / "raw" / "l1000_ljp005").collect()
    assert set(genes["entrez_id"]) == set(others["entrez_id"])
    is_restored = genes["gene_reported"] != genes["entrez_id"].cast(pl.String)
    assert is_restored.sum() == 9


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / "l1000_phase1"
    if not any(raw.glob("GSE92742*_Level3_*n1319138x12328*.gctx")):
        pytest.skip("only a subset of l1000_phase1 is among the real files")
    rows = samples(raw)
    assert rows.height == 1_319_138
    vehicles, treated = (rows.filter(sample_kind=kind) for kind in ("vehicle", "compound"))
    # The reference keeps DMSO and compounds of the lines that have both.
    both = set(vehicles.filter(vehicle_group="")["context_reported"]) & set(treated["context_reported"])
    assert len(both) == 70
    kept = [part.filter(pl.col("context_reported").is_in(both)) for part in (vehicles, treated)]
    assert kept[0].filter(vehicle_group="").height == 27_170
    assert sum(part.height for part in kept) == 699_276
    assert L1000Phase1().genes(raw).collect().height == 978
