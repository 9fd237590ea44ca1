"""The command line, as a newcomer types it."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest


def perturbhouse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from assets.cli import main; main()", *arguments],
        env=os.environ | {"PERTURBHOUSE_PUBCHEM": "offline", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def root(demo) -> str:
    return demo[0].root


def test_help_lists_every_command() -> None:
    shown = perturbhouse("--help")
    assert shown.returncode == 0
    commands = (
        "demo",
        "fetch",
        "build",
        "tables",
        "describe",
        "query",
        "export",
        "l1000-signatures",
        "triples",
        "study-triples",
        "unresolved",
        "reference-diff",
        "ui",
    )
    for command in commands:
        assert command in shown.stdout


def test_tables_lists_rows_datasets_size_and_version_and_says_what_is_simulated(root: str) -> None:
    shown = perturbhouse("tables", "--root", root)
    assert shown.returncode == 0
    assert "mart/differential_expression" in shown.stdout
    assert "Simulated, not measured: ccle_2015, depmap_24q4" in shown.stdout


def test_describe_shows_columns_and_rows(root: str) -> None:
    shown = perturbhouse("describe", "mart/condition", "--root", root)
    assert shown.returncode == 0
    assert "One row per condition" in shown.stdout
    assert "is_estimable" in shown.stdout


def test_query_prints_a_result(root: str) -> None:
    shown = perturbhouse("query", "SELECT count(*) AS n FROM core.dataset", "--root", root)
    assert shown.returncode == 0
    assert "9" in shown.stdout


def test_export_leaves_out_what_may_not_be_passed_on(root: str, tmp_path: Path) -> None:
    out = tmp_path / "conditions.parquet"
    shown = perturbhouse("export", "mart/condition", str(out), "--root", root)
    assert shown.returncode == 0
    assert "593 rows of mart/condition" in shown.stdout
    shown = perturbhouse("export", "mart/condition", str(out), "--redistributable-only", "--root", root)
    assert shown.stdout.startswith("0 rows of mart/condition")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "mart/nothing", "out.parquet"], "no table 'mart/nothing'"),
        (["describe", "mart/nothing"], "no table 'mart/nothing'"),
        (["build", "nothing"], "unknown dataset 'nothing'"),
        (["fetch", "nothing"], "unknown dataset 'nothing'"),
        (["query", "SELECT nothing"], "SQL:"),
        (["query", ""], "one SELECT"),
        (["query", "CREATE TABLE x AS SELECT 1"], "one SELECT"),
        (["tables"], "there is no warehouse"),
        (["build"], "no dataset has a folder"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_1(arguments: list[str], told: str, tmp_path: Path) -> None:
    shown = perturbhouse(*arguments, "--root", str(tmp_path))
    assert shown.returncode == 1
    assert told in shown.stderr
    assert "Traceback" not in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1


def test_a_root_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = perturbhouse("demo", "--root", str(tmp_path / "file"))
    assert shown.returncode == 1
    assert "Not a directory" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    shown = perturbhouse("--debug", "describe", "mart/nothing", "--root", str(tmp_path))
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr


def test_a_failed_dataset_is_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    (tmp_path / "raw" / "gcsi").mkdir(parents=True)
    shown = perturbhouse("build", "--root", str(tmp_path / "warehouse"), "--raw", str(tmp_path / "raw"))
    assert shown.returncode == 1
    assert "gcsi failed" in shown.stderr
    assert "no file matches" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_agreement_is_one_row_per_pair_of_datasets_and_of_replicates(root: str) -> None:
    shown = perturbhouse("agreement", "--metric", "direction_agreement", "--root", root)
    assert shown.returncode == 0, shown.stderr
    assert "l1000_ljp005 –" in shown.stdout
    assert "replicates of" in shown.stdout
    assert f"{root}/reports/agreement.html" in shown.stdout.replace("\n", "")
    refused = perturbhouse("agreement", "--metric", "nothing", "--root", root)
    assert refused.returncode == 1
    assert "no metric 'nothing'" in refused.stderr


def test_agreement_of_standardized_effects_is_computed_on_request(root: str) -> None:
    shown = perturbhouse("agreement", "--standardize", "dataset", "--root", root)
    assert shown.returncode == 0, shown.stderr
    assert "over the dataset" in shown.stdout
    assert "l1000_ljp005 –" in shown.stdout
    refused = perturbhouse(
        "agreement", "--standardize", "dataset", "--metric", "direction_agreement", "--root", root
    )
    assert refused.returncode == 1
    assert "is no metric of standardized effects" in refused.stderr


def test_triples_are_one_row_per_compound_and_line(root: str, tmp_path: Path) -> None:
    out = tmp_path / "triples.csv"
    shown = perturbhouse("triples", "ccle_2015", "auc", str(out), "--root", root)
    assert shown.returncode == 0, shown.stderr
    rows = pl.read_csv(out)
    assert rows.columns == ["drug", "line", "response", "n_experiments"]
    assert rows.select("drug", "line").is_unique().all()
    assert f"{rows.height:,} triples written" in shown.stdout
    refused = perturbhouse("triples", "ccle_2015", "potency", str(out), "--root", root)
    assert refused.returncode == 1
    assert "no column of numbers 'potency'" in refused.stderr + refused.stdout
