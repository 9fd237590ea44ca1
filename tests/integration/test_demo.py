"""The main job on the simulated studies: tables filled, consistent, repeatable, true to what was planted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from assets.build import Built, build
from assets.resources import Warehouse
from etl.errors import PerturbhouseError
from etl.validation import violations
from etl.warehouse.contents import table_contents
from etl.warehouse.integrity import REFERENCES, dangling
from etl.warehouse.scan import matrix, scan, to_anndata
from etl.warehouse.sql import query
from schemas import TABLES

Demo = tuple[Warehouse, Built]
SIMULATED = (
    "l1000_ljp005",
    "l1000_phase1",
    "drugseq_kp6490",
    "op3",
    "vcpi_0001",
    "sciplex3",
    "gcsi",
    "ccle_2015",
    "depmap_24q4",
)


def test_every_dataset_is_built_and_every_table_is_filled(demo: Demo) -> None:
    warehouse, built = demo
    assert built.failed == {}
    assert built.warnings == []
    assert set(built.rebuilt) == set(SIMULATED)
    filled = {content.name: content.n_rows for content in table_contents(root=warehouse.root)}
    assert set(filled) == set(TABLES)
    assert all(filled.values()), filled


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_stored_rows_obey_their_schema_and_keys_are_unique(demo: Demo, table) -> None:
    rows = scan(table, root=demo[0].root).collect()
    assert violations(rows, table.model) == []
    assert rows.select(pl.struct(table.primary_key).n_unique()).item() == rows.height


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: f"{r.table}.{r.column}")
def test_every_id_stands_in_the_table_it_refers_to(demo: Demo, reference) -> None:
    assert dangling(reference, root=demo[0].root).to_list() == []


def test_every_row_account_balances_and_names_its_reasons(demo: Demo) -> None:
    accounts = demo[1].accounts
    samples = accounts["l1000_phase1"]["core/sample"]
    assert samples.dropped == {"genetic": samples.n_in - samples.n_out}
    assert accounts["drugseq_kp6490"]["core/sample"].dropped == {"empty": 24}
    fits = accounts["drugseq_kp6490"]["mart/condition"]
    assert fits.dropped == {"untreated": 20, "low_library": 1}
    for by_table in accounts.values():
        assert "core/compound_name" in by_table


def test_conditions_that_cannot_be_estimated_are_rows_with_a_reason_and_without_effects(demo: Demo) -> None:
    root = demo[0].root
    conditions = scan("mart/condition", root=root).filter(~pl.col("is_estimable")).collect()
    assert set(conditions["status"]) == {"no_control", "confounded_with_plate"}
    effects = scan("mart/differential_expression", root=root).select("condition_id").unique().collect()
    assert conditions.join(effects, on="condition_id", how="semi").is_empty()
    assert (conditions["n_genes_tested"] == 0).all()


@pytest.mark.parametrize("dataset_id", ["l1000_ljp005", "l1000_phase1"])
def test_estimated_effects_recover_the_planted_ones(demo: Demo, simulated_raw: Path, dataset_id: str) -> None:
    root = demo[0].root
    truth = pl.read_parquet(simulated_raw / dataset_id / "truth" / "effects.parquet")
    samples = scan("core/sample", root=root).filter(dataset_id=dataset_id).drop_nulls("condition_id")
    keys = samples.select(
        "condition_id", "context_reported", "compound_reported", "dose_um", "time_h"
    ).unique()
    genes = scan("core/gene", root=root).select("gene_id", "symbol")
    estimated = (
        scan("mart/differential_expression", root=root)
        .join(keys, on="condition_id")
        .join(genes, on="gene_id")
        .collect()
    )
    on = ["context_reported", "compound_reported", "dose_um", "time_h", "symbol"]
    planted = truth.select(*on, planted="log2_fold_change")
    both = estimated.join(planted, on=on, how="left").with_columns(pl.col("planted").fill_null(0.0))
    strong = both.filter(pl.col("planted").abs() > 1)
    assert strong.height > 500
    assert np.corrcoef(strong["planted"], strong["log2_fold_change"])[0, 1] > 0.9
    significant = both.filter(pl.col("p_value_adjusted") < 0.05)
    false_share = (significant["planted"] == 0).mean()
    assert false_share < 0.08, "the false discovery rate at 5 % is about 5 %"
    assert (strong["p_value_adjusted"] < 0.05).mean() > 0.8


def test_the_same_treatment_agrees_between_datasets_and_different_compounds_do_not(demo: Demo) -> None:
    root = demo[0].root
    agreement = scan("mart/agreement", root=root).filter(pl.col("status") == "ok").collect()
    means = dict(agreement.group_by("metric").agg(pl.col("observed").mean()).iter_rows())
    assert means["direction_agreement"] > 0.95
    left, right = matrix("l1000_ljp005", root=root), matrix("l1000_phase1", root=root)
    pairs = scan("mart/condition_match", root=root).filter(
        pl.col("left_dataset_id") == "l1000_ljp005", pl.col("right_dataset_id") == "l1000_phase1"
    )
    matched = pairs.select("left_condition_id", "right_condition_id", "compound_id").collect()
    left_ranks = np.searchsorted(left.row_ids, matched["left_condition_id"])
    right_ranks = np.searchsorted(right.row_ids, matched["right_condition_id"])
    rho = spearmanr(left.values[left_ranks], right.values[right_ranks], axis=1).statistic
    cross = rho[: matched.height, matched.height :]
    compound = matched["compound_id"].to_numpy()
    same = cross[np.arange(matched.height), np.arange(matched.height)]
    different = cross[compound[:, None] != compound[None, :]]
    assert np.median(same) > 0.3
    assert np.mean(different) < 0.15


def test_matches_agree_more_than_other_compounds_do_and_the_report_says_so(demo: Demo) -> None:
    root = demo[0].root
    summary = scan("mart/agreement_summary", root=root).filter(
        context_id="", metric="spearman_t", quantity="delta", side="both", max_fold=10.0
    )
    rows = summary.filter(pl.col("left_dataset_id") != pl.col("right_dataset_id")).collect()
    for baseline in ("target_peers", "both_different"):
        given = rows.filter(pl.col("n_rows") > 0, baseline=baseline)
        assert given.height == 3
        assert (given["ci_low"] > 0).all(), baseline
    ranks = scan("mart/retrieval", root=root).filter(similarity="cosine_t", positives="matched").collect()
    assert ranks["normalized_rank"].mean() > 0.75 > ranks["normalized_rank_null"].mean()
    replicates = scan("mart/replicate_agreement", root=root).filter(metric="spearman_t").collect()
    assert replicates.filter(dataset_id="l1000_ljp005")["peer_delta"].mean() > 0.1
    assert (replicates["n_pairs"] <= replicates["n_pairs_possible"]).all()
    page = (Path(root) / "reports" / "agreement.html").read_text()
    assert "l1000_ljp005" in page
    assert "http" not in page


def test_vehicle_agrees_with_vehicle_by_chance_only(demo: Demo) -> None:
    units = scan("mart/null_calibration", root=demo[0].root).collect()
    apart = units.filter(pl.col("n_pairs_apart") > 0)
    assert apart.height >= 5
    assert apart["agreement_apart"].abs().max() < 0.1
    assert abs(apart["agreement_apart"].mean()) < 0.03
    same_plate = units["agreement_same_plate"].drop_nulls()
    assert same_plate.mean() > 0.05, "vehicle samples that two share make them alike"


def test_drugseq_effects_recover_the_planted_ones(demo: Demo, simulated_raw: Path) -> None:
    root = demo[0].root
    truth = pl.read_parquet(simulated_raw / "drugseq_kp6490" / "truth" / "effects.parquet")
    on = ["context_reported", "compound_reported", "dose_um", "time_h"]
    samples = scan("core/sample", root=root).filter(dataset_id="drugseq_kp6490").drop_nulls("condition_id")
    estimated = (
        scan("mart/differential_expression", root=root)
        .join(samples.select("condition_id", *on).unique(), on="condition_id")
        .join(scan("core/gene", root=root).select("gene_id", "symbol"), on="gene_id")
        .collect()
    )
    both = estimated.join(truth.select(*on, "symbol", planted="log2_fold_change"), on=[*on, "symbol"])
    strong = both.filter(pl.col("planted").abs() > 1)
    assert strong.height > 100
    assert np.corrcoef(strong["planted"], strong["log2_fold_change"])[0, 1] > 0.8


@pytest.mark.parametrize("dataset_id", ["gcsi", "ccle_2015"])
def test_refitted_curves_recover_the_planted_ones(demo: Demo, simulated_raw: Path, dataset_id: str) -> None:
    truth = pl.read_parquet(simulated_raw / dataset_id / "truth" / "curves.parquet")
    fitted = scan("mart/dose_response", root=demo[0].root).filter(dataset_id=dataset_id).collect()
    usable = fitted.filter(
        ~pl.col("qc_flags").list.contains("flat"), ~pl.col("qc_flags").list.contains("ec50_extrapolated")
    )
    both = usable.join(truth, on=["context_reported", "compound_reported"], suffix="_true")
    assert both.height > 20
    error = (both["ec50_um"].log10() - both["ec50_um_true"].log10()).abs()
    assert error.median() < 0.15
    assert (both["e_inf"] - both["e_inf_true"]).abs().median() < 0.1


def test_polars_and_deltalake_alone_read_every_table(demo: Demo) -> None:
    program = """
import sys
for name in ("pyarrow", "pandas", "etl", "schemas", "assets"):
    sys.modules[name] = None  # importing it fails
import polars as pl
for table in sys.argv[2:]:
    print(table, pl.scan_delta(f"{sys.argv[1]}/{table}").select(pl.len()).collect().item())
"""
    root = demo[0].root
    read = subprocess.run(
        [sys.executable, "-c", program, root, *TABLES], capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    counted = dict(line.split() for line in read.stdout.splitlines())
    assert {name: int(n) for name, n in counted.items()} == {
        content.name: content.n_rows for content in table_contents(root=root)
    }


def test_a_second_build_changes_nothing_and_a_forced_one_no_values(demo: Demo, simulated_raw: Path) -> None:
    warehouse, _ = demo
    before = {
        name: scan(name, root=warehouse.root).collect().sort(TABLES[name].primary_key) for name in TABLES
    }
    versions = {content.name: content.version for content in table_contents(root=warehouse.root)}
    again = build([], warehouse)
    assert again.rebuilt == ()
    assert set(again.fresh) == set(SIMULATED)
    assert versions == {content.name: content.version for content in table_contents(root=warehouse.root)}
    forced = build(["drugseq_kp6490", "ccle_2015"], warehouse, force=True)
    assert forced.rebuilt == ("drugseq_kp6490", "ccle_2015")
    for name, rows in before.items():
        assert_frame_equal(scan(name, root=warehouse.root).collect().sort(TABLES[name].primary_key), rows)


def test_matrices_sql_and_anndata_tell_the_same(demo: Demo) -> None:
    root = demo[0].root
    effects = matrix("l1000_ljp005", root=root)
    n_conditions, n_genes = effects.values.shape
    assert n_genes == 978
    assert np.isfinite(effects.values).all()
    counted = query(
        "SELECT count(DISTINCT condition_id) AS n FROM mart.differential_expression "
        "WHERE dataset_id = 'l1000_ljp005'",
        root=root,
    )
    assert counted["n"].item() == n_conditions
    adata = to_anndata("l1000_ljp005", root=root)
    assert adata.shape == (n_conditions, n_genes)
    np.testing.assert_array_equal(adata.X, effects.values)
    assert adata.var["is_landmark"].all()
    assert {"standard_error", "p_value_adjusted"} <= set(adata.layers)
    counts = matrix("drugseq_kp6490", table="core/expression", value="value", root=root)
    assert (counts.values == 0).any()
    assert np.isfinite(counts.values).all()


def test_a_wrong_statement_is_one_clear_error(demo: Demo) -> None:
    with pytest.raises(PerturbhouseError, match=r"SQL: .*no_such_column"):
        query("SELECT no_such_column FROM core.sample", root=demo[0].root)
