"""The publishers' columns behind the triples: names word for word, rows in file order, faults named."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.errors import BadInputError, PerturbhouseError
from etl.response.study_files import read_responses
from etl.simulate.workbooks import Cell, write_workbook

CTRPV2 = {
    "v20.data.curves_post_qc.txt": (
        "experiment_id\tapparent_ec50_umol\tarea_under_curve\tmaster_cpd_id\n"
        "2\t0.5\t14.5\t10\n"
        "1\t1e14\t9.5\t11\n"
    ),
    "v20.meta.per_experiment.txt": "experiment_id\trun_id\tmaster_ccl_id\n1\ta\t7\n1\tb\t8\n2\tc\t7\n",
    "v20.meta.per_cell_line.txt": "master_ccl_id\tccl_name\n7\tA375\n8\tMCF7\n",
    "v20.meta.per_compound.txt": "master_cpd_id\tcpd_name\n10\tBRD 1:x (1:1 mol/mol)\n11\terlotinib\n",
}


def ctrpv2(folder: Path, **changed: str) -> Path:
    for name, text in CTRPV2.items():
        (folder / name).write_text(changed.get(name.split(".")[-2], text), newline="")
    return folder


def gdsc2(folder: Path, *rows: tuple[Cell, ...], header: tuple[Cell, ...] | None = None) -> Path:
    names = header or ("DATASET", "CELL_LINE_NAME", "DRUG_NAME", "LN_IC50", "AUC")
    write_workbook(folder / "GDSC2_fitted_dose_response_27Oct23.xlsx", {"Sheet 1": [names, *rows]})
    return folder


def responses(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    schema = {"line": pl.String, "drug": pl.String, "response": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_ctrpv2_curves_get_the_names_of_line_and_compound_and_the_last_run_counts(tmp_path: Path) -> None:
    rows = read_responses("ctrpv2", "area_under_curve", ctrpv2(tmp_path))
    expected = responses(("A375", "BRD 1:x (1:1 mol/mol)", 14.5), ("MCF7", "erlotinib", 9.5))
    assert_frame_equal(rows, expected)


def test_gdsc_names_keep_their_trailing_blanks(tmp_path: Path) -> None:
    raw = gdsc2(
        tmp_path,
        ("GDSC2", "T-T", "JAK1_8517 ", -1.5, 0.9),
        ("GDSC2", "A375", 123138, 2.0, None),
    )
    assert_frame_equal(
        read_responses("gdsc2", "LN_IC50", raw),
        responses(("T-T", "JAK1_8517 ", -1.5), ("A375", "123138", 2.0)),
    )
    assert read_responses("gdsc2", "AUC", raw)["response"].to_list() == [0.9, None]


def test_gcsi_has_the_normalized_names_and_its_infinities(tmp_path: Path) -> None:
    (tmp_path / "OUTPUT").mkdir()
    (tmp_path / "OUTPUT" / "gCSI_GRmetrics_v1.3.tsv").write_text(
        "Norm_CellLineName\tNorm_DrugName\tGR50\nT.T\tX\t-Inf\nA375\tX\tNA\nA375\tY\t1e-06\n"
    )
    rows = read_responses("gcsi", "GR50", tmp_path)
    assert_frame_equal(rows, responses(("T.T", "X", float("-inf")), ("A375", "X", None), ("A375", "Y", 1e-6)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"per_experiment": "experiment_id\tmaster_ccl_id\n1\t7\n"},
            "row 2, column experiment_id: not listed",
        ),
        ({"per_cell_line": "master_ccl_id\tccl_name\n8\tMCF7\n"}, "column master_ccl_id: not listed in v20"),
        (
            {"per_compound": "master_cpd_id\tname\n10\tx\n"},
            "per_compound.txt, column cpd_name: the column is",
        ),
        (
            {"curves_post_qc": CTRPV2["v20.data.curves_post_qc.txt"].replace("9.5", "high")},
            "row 3, column area_under_curve: not a number: 'high'",
        ),
    ],
)
def test_a_fault_of_ctrpv2_is_named(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_responses("ctrpv2", "area_under_curve", ctrpv2(tmp_path, **changed))


def test_a_missing_name_and_a_missing_column_of_gdsc_are_named(tmp_path: Path) -> None:
    raw = gdsc2(tmp_path, ("GDSC2", "A375", None, 1.0, 0.5))
    with pytest.raises(BadInputError, match="row 2, column drug_name: a missing value"):
        read_responses("gdsc2", "AUC", raw)
    raw = gdsc2(tmp_path, ("A375", "x", 1.0), header=("CELL_LINE_NAME", "DRUG_NAME", "LN_IC50"))
    with pytest.raises(BadInputError, match="column auc: the column is missing"):
        read_responses("gdsc2", "AUC", raw)


def test_a_missing_file_two_files_and_an_unknown_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="gdsc2: no file matches GDSC2_fitted"):
        read_responses("gdsc2", "AUC", tmp_path)
    for date in ("24Jul22", "27Oct23"):
        (tmp_path / f"GDSC2_fitted_dose_response_{date}.xlsx").touch()
    with pytest.raises(BadInputError, match="2 files match"):
        read_responses("gdsc2", "AUC", tmp_path)
    with pytest.raises(PerturbhouseError, match="not 'prism'"):
        read_responses("prism", "auc", tmp_path)
