"""Bad input is refused with dataset, place and rule before any table of the dataset is touched."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from assets.build import build
from etl.simulate import simulate_studies
from etl.warehouse.contents import table_contents

LJP005, PHASE1, KP6490, GCSI, CCLE = "l1000_ljp005", "l1000_phase1", "drugseq_kp6490", "gcsi", "ccle_2015"


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def cell(path: Path, row: int, column: str, value: str, separator: str = "\t") -> None:
    """Put a value into a cell of a plain delimited table."""
    lines = path.read_text(encoding="utf-8").split("\n")
    fields = lines[row].split(separator)
    fields[lines[0].split(separator).index(column)] = value
    lines[row] = separator.join(fields)
    path.write_text("\n".join(lines), encoding="utf-8")


def only(folder: Path, pattern: str) -> Path:
    [path] = folder.glob(pattern)
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def truncated_gct(raw: Path) -> None:
    truncate(only(raw / LJP005, "*.gct"))


def gct_with_wrong_counts(raw: Path) -> None:
    replace_text(only(raw / LJP005, "*.gct"), "978\t377", "978\t378")


def gct_with_a_word_for_a_number(raw: Path) -> None:
    path = only(raw / LJP005, "*.gct")
    lines = path.read_text().split("\n")
    fields = lines[-2].split("\t")
    fields[-1] = "high"
    lines[-2] = "\t".join(fields)
    path.write_text("\n".join(lines))


def truncated_gctx(raw: Path) -> None:
    truncate(only(raw / PHASE1, "*.gctx"))


def raw_counts_for_log2(raw: Path) -> None:
    with h5py.File(only(raw / PHASE1, "*.gctx"), "r+") as file:
        values = file["0/DATA/0/matrix"]
        values[...] = (2.0 ** values[...]).round()


def not_a_number(raw: Path) -> None:
    with h5py.File(only(raw / PHASE1, "*.gctx"), "r+") as file:
        file["0/DATA/0/matrix"][5, 7] = float("nan")


def missing_column(raw: Path) -> None:
    replace_text(only(raw / PHASE1, "*inst_info*"), "pert_dose\t", "dose\t")


def unknown_unit(raw: Path) -> None:
    cell(only(raw / PHASE1, "*inst_info*"), compound_row(raw), "pert_dose_unit", "furlong")


def negative_dose(raw: Path) -> None:
    cell(only(raw / PHASE1, "*inst_info*"), compound_row(raw), "pert_dose", "-3")


def duplicate_sample(raw: Path) -> None:
    path = only(raw / PHASE1, "*inst_info*")
    lines = path.read_text().rstrip("\n").split("\n")
    path.write_text("\n".join([*lines, lines[1]]) + "\n")


def unknown_kind(raw: Path) -> None:
    cell(only(raw / PHASE1, "*inst_info*"), 1, "pert_type", "trt_magic")


def missing_file(raw: Path) -> None:
    only(raw / PHASE1, "*inst_info*").unlink()


def not_gzip(raw: Path) -> None:
    path = raw / KP6490 / "matrix.mtx.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))


def fractional_counts(raw: Path) -> None:
    path = raw / KP6490 / "matrix.mtx.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace("integer", "real", 1).split("\n")
    text[-2] += ".5"
    path.write_bytes(gzip.compress("\n".join(text).encode()))


def empty_matrix(raw: Path) -> None:
    path = raw / KP6490 / "matrix.mtx.gz"
    header = gzip.decompress(path.read_bytes()).decode().split("\n")
    n_genes, n_wells, _ = next(line for line in header if not line.startswith("%")).split()
    text = f"%%MatrixMarket matrix coordinate integer general\n%\n{n_genes} {n_wells} 0\n"
    path.write_bytes(gzip.compress(text.encode()))


def barcode_nobody_knows(raw: Path) -> None:
    path = raw / KP6490 / "barcodes.tsv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    path.write_bytes(gzip.compress("\n".join(["NNNNNNNNNN", *lines[1:]]).encode()))


def truncated_table(raw: Path) -> None:
    truncate(only(raw / GCSI, "*GRmetrics*"))


def unequal_lists(raw: Path) -> None:
    replace_text(only(raw / CCLE, "*.csv"), ".0025,.0080,", ".0025,")


def broken_reference(raw: Path) -> None:
    (raw / "reference").mkdir()
    (raw / "reference" / "hgnc_complete_set.txt").write_text("symbol\nTP53\n")


def cut_reference(raw: Path) -> None:
    (raw / "reference").mkdir()
    table = gzip.compress(b"pert_id\tpert_iname\n" * 500)
    (raw / "reference" / "lincs_pertinfo.tsv.gz").write_bytes(table[:-20])


def blank_compound(raw: Path) -> None:
    cell(only(raw / PHASE1, "*inst_info*"), compound_row(raw), "pert_id", "\x1c")


def endless_cell_label(raw: Path) -> None:
    cell(only(raw / PHASE1, "*inst_info*"), compound_row(raw), "cell_id", "x" * 400)


def compound_row(raw: Path) -> int:
    lines = only(raw / PHASE1, "*inst_info*").read_text().split("\n")
    return next(number for number, line in enumerate(lines) if "trt_cp" in line)


def curve_of_two_times(raw: Path) -> None:
    cell(only(raw / GCSI, "*GRvalues*"), 2, "TrtDuration", "48")


CASES: dict[Callable[[Path], None], tuple[str, str]] = {
    truncated_gct: (LJP005, "LJP005_A375"),
    gct_with_wrong_counts: (LJP005, "378"),
    gct_with_a_word_for_a_number: (LJP005, "high"),
    truncated_gctx: (PHASE1, ".gctx"),
    raw_counts_for_log2: (PHASE1, "cannot be log2 expression"),
    not_a_number: (PHASE1, "not a finite number"),
    missing_column: (PHASE1, "column pert_dose"),
    unknown_unit: (PHASE1, "furlong"),
    negative_dose: (PHASE1, "-3"),
    duplicate_sample: (PHASE1, "more than once"),
    unknown_kind: (PHASE1, "trt_magic"),
    missing_file: (PHASE1, "no file matches"),
    not_gzip: (KP6490, "matrix.mtx.gz"),
    fractional_counts: (KP6490, "matrix.mtx.gz"),
    empty_matrix: (KP6490, "empty"),
    barcode_nobody_knows: (KP6490, "NNNNNNNNNN"),
    truncated_table: (GCSI, "GRmetrics"),
    unequal_lists: (CCLE, "row 2"),
    curve_of_two_times: (GCSI, "of another time than their measurements"),
    blank_compound: (PHASE1, "blank"),
    endless_cell_label: (PHASE1, "more than 180 bytes"),
    broken_reference: (CCLE, "hgnc_complete_set.txt"),
    cut_reference: (CCLE, "lincs_pertinfo.tsv.gz"),
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_refused_and_every_table_stays_as_it_was(
    spoil: Callable[[Path], None], demo, simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    dataset_id, told = CASES[spoil]
    raw = tmp_path / "raw"
    shutil.copytree(simulated_raw / dataset_id, raw / dataset_id)
    spoil(raw)
    built_before = Path(demo[0].root)
    warehouse = make_warehouse(built_before, raw)
    before = table_contents(root=warehouse.root)
    built = build([dataset_id], warehouse)
    assert built.rebuilt == ()
    assert dataset_id in built.failed[dataset_id], "the error names the dataset"
    assert told in built.failed[dataset_id]
    assert "\n" not in built.failed[dataset_id], "the error is one line"
    assert table_contents(root=warehouse.root) == before


def test_one_bad_dataset_does_not_stop_the_others(
    simulated_raw: Path, tmp_path: Path, make_warehouse
) -> None:
    raw = tmp_path / "raw"
    for dataset_id in (GCSI, CCLE):
        shutil.copytree(simulated_raw / dataset_id, raw / dataset_id)
    truncated_table(raw)
    built = build([], make_warehouse(tmp_path / "warehouse", raw))
    assert set(built.failed) == {GCSI}
    assert built.rebuilt == (CCLE,)


def test_simulated_files_are_never_written_over_published_ones(tmp_path: Path) -> None:
    from etl.errors import PerturbhouseError

    folder = tmp_path / GCSI
    folder.mkdir()
    (folder / "gCSI_GRmetrics_v1.3.tsv").write_text("published")
    with pytest.raises(PerturbhouseError, match="not simulated"):
        simulate_studies(tmp_path)
    assert (folder / "gCSI_GRmetrics_v1.3.tsv").read_text() == "published"
