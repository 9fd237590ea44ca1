"""The study's triples: each rule on hand-made rows, the whole on simulated and on published files."""

import math
from pathlib import Path

import polars as pl
import pytest

from etl.errors import PerturbhouseError
from etl.response.study_counts import STUDY_COUNTS
from etl.response.triples import (
    MANIFEST,
    METRICS,
    NO_EXPRESSION,
    NO_MODEL,
    NOT_LISTED,
    OUTSIDE,
    OVERWRITTEN,
    TRIPLES,
    WITHOUT_VALUE,
    study_triples,
)
from etl.simulate.screens import write_gcsi
from etl.simulate.study import Study
from etl.simulate.workbooks import write_workbook

Rows = list[tuple[str, str, float]]
A375, MCF7 = "ACH-000219", "ACH-000019"
MODEL_CSV = (
    "ModelID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreePrimaryDisease,RRID,Age,Sex,"
    "CCLEName,SangerModelID,COSMICID",
    "ACH-000019,MCF7,MCF7,Breast,,CVCL_0031,,,MCF7_BREAST,SIDM00148,905946.0",
    "ACH-000090,PC-3,PC3,Prostate,,CVCL_0035,,,PC3_PROSTATE,SIDM00088,905934.0",
    "ACH-000219,A-375,A375,Skin,,CVCL_0132,,,A375_SKIN,SIDM00795,906793.0",
    "ACH-000552,HT-29,HT29,Bowel,,CVCL_0320,,,HT29_LARGE_INTESTINE,SIDM00136,905939.0",
    "ACH-000681,A549,A549,Lung,,CVCL_0023,,,A549_LUNG,SIDM00903,905949.0",
    "ACH-000739,Hep G2,HEPG2,Liver,,CVCL_0027,,,HEPG2_LIVER,SIDM00904,",
    "ACH-900001,A-375 R1,A375R1,Skin,,CVCL_0132,,,A375R1_SKIN_RESISTANT,,",
    "ACH-900002,VOA-4698,VOA4698,Ovary/Fallopian Tube,,,,,,,",
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a simulated gCSI and a simulated DepMap release."""
    folder = tmp_path_factory.mktemp("simulated")
    study = Study(3)
    (folder / "gcsi").mkdir()
    write_gcsi(folder / "gcsi", study)
    (folder / "Model.csv").write_text("\n".join(MODEL_CSV))
    return folder


@pytest.fixture(scope="module")
def models(simulated: Path) -> Path:
    return simulated / "Model.csv"


def write_ctrpv2(folder: Path, rows: list[tuple[str, str, float, float]]) -> None:
    """Write curves of (line, compound, EC50, AUC); an experiment per row, as the names' last runs."""
    lines, drugs = (sorted({row[i] for row in rows}) for i in (0, 1))
    tables = {
        "data.curves_post_qc": [
            ("experiment_id", "apparent_ec50_umol", "area_under_curve", "master_cpd_id"),
            *((i, ec50, auc, drugs.index(drug)) for i, (_, drug, ec50, auc) in enumerate(rows)),
        ],
        "meta.per_experiment": [
            ("experiment_id", "master_ccl_id"),
            *((i, lines.index(row[0])) for i, row in enumerate(rows)),
        ],
        "meta.per_cell_line": [("master_ccl_id", "ccl_name"), *enumerate(lines)],
        "meta.per_compound": [("master_cpd_id", "cpd_name"), *enumerate(drugs)],
    }
    for name, cells in tables.items():
        text = "".join("\t".join(map(str, row)) + "\n" for row in cells)
        (folder / f"v20.{name}.txt").write_text(text)


CTRPV2 = [
    ("A375", "x", 0.5, 14.0),
    ("A375", "x", 5.0, 12.0),
    ("A375", "x", 1e14, 15.0),
    ("MCF7", "x", 20.0, 9.0),
    ("MCF7", "y", 20.1, 8.0),
    ("BT-139", "y", 1.0, 7.0),
]


def test_the_last_row_of_a_pair_wins(tmp_path: Path, models: Path) -> None:
    write_ctrpv2(tmp_path, CTRPV2)
    triples = study_triples("ctrpv2", "AUC", tmp_path, models=models)
    assert triples.rows.rows() == [("x", A375, 15.0), ("x", MCF7, 9.0), ("y", MCF7, 8.0)]
    assert dict(triples.accounts["triples"].dropped) == {OVERWRITTEN: 2}
    assert dict(triples.accounts["models"].dropped) == {NO_MODEL: 1}


def test_the_range_of_ec50_is_applied_before_anything_is_overwritten(tmp_path: Path, models: Path) -> None:
    """Else the pair whose last EC50 lies outside would be lost, instead of having an earlier one."""
    write_ctrpv2(tmp_path, CTRPV2)
    triples = study_triples("ctrpv2", "EC50", tmp_path, models=models)
    assert triples.rows.rows() == [("x", A375, 5.0), ("x", MCF7, 20.0)]
    assert dict(triples.accounts["triples"].dropped) == {OUTSIDE: 2, OVERWRITTEN: 1}


def test_every_row_of_gdsc2_stays_and_names_lose_the_hyphen_alone(tmp_path: Path, models: Path) -> None:
    header = ("CELL_LINE_NAME", "DRUG_NAME", "LN_IC50", "AUC")
    rows = [
        ("A-375", "Afatinib", 1.0, 0.5),
        ("A-375", "Afatinib", 2.0, 0.6),
        ("mcf7", "Afatinib ", 3.0, 0.7),
        ("Hep G2", "Afatinib", 4.0, 0.8),
    ]
    write_workbook(tmp_path / "GDSC2_fitted_dose_response_27Oct23.xlsx", {"Sheet 1": [header, *rows]})
    triples = study_triples("gdsc2", "LN_IC50", tmp_path, models=models, drugs={"Afatinib"}, lines=[A375])
    assert triples.rows.rows() == [("Afatinib", A375, 1.0), ("Afatinib", A375, 2.0)]
    assert {step: account.n_out for step, account in triples.accounts.items()} == {
        "read": 4,
        "triples": 4,
        "models": 3,
        "drug_list": 2,
        "lines": 2,
    }
    assert dict(triples.accounts["drug_list"].dropped) == {NOT_LISTED: 1}
    without = study_triples("gdsc2", "AUC", tmp_path, models=models, lines=[MCF7])
    assert without.rows.rows() == [("Afatinib ", MCF7, 0.7)]
    assert dict(without.accounts["lines"].dropped) == {NO_EXPRESSION: 2}


def test_a_list_of_drugs_is_compared_with_its_case(simulated: Path, models: Path) -> None:
    """Why the study keeps 71 % of gCSI's rows: its drugs are written in capitals, the lists are not."""
    named = study_triples(
        "gcsi", "Emax", simulated / "gcsi", models=models, drugs={"ERLOTINIB", "Vorinostat"}
    )
    assert named.rows["drug"].unique().to_list() == ["ERLOTINIB"]


@pytest.mark.parametrize("metric", [name for dataset, name in METRICS if dataset == "gcsi"])
def test_simulated_gcsi_keeps_every_finite_experiment_of_a_known_line(
    simulated: Path, models: Path, metric: str
) -> None:
    published = pl.read_csv(
        simulated / "gcsi" / "gCSI_GRmetrics_v1.3.tsv", separator="\t", infer_schema=False
    )
    names = {"A375": A375, "MCF7": MCF7, "A549": "ACH-000681", "PC3": "ACH-000090"}
    names |= {"HT29": "ACH-000552", "HEPG2": "ACH-000739"}
    expected = [
        (drug, names[line], math.log(float(value)) if metric == "GR50" else float(value))
        for drug, line, value in published.select("Norm_DrugName", "Norm_CellLineName", metric).iter_rows()
        if value not in ("NA", "Inf", "-Inf")
    ]
    triples = study_triples("gcsi", metric, simulated / "gcsi", models=models)
    assert [row[:2] for row in triples.rows.iter_rows()] == [row[:2] for row in expected]
    assert triples.rows["response"].to_list() == pytest.approx([row[2] for row in expected])
    assert triples.rows.schema == TRIPLES
    n_lost = published.height - len(expected)
    assert triples.accounts["triples"].dropped.get(WITHOUT_VALUE, 0) == n_lost
    assert (n_lost > 0) == (metric != "Emax")


def test_the_manifest_sets_the_counts_of_the_study_beside_ours(simulated: Path, models: Path) -> None:
    triples = study_triples("gcsi", "GR50", simulated / "gcsi", models=models, drugs=[], lines=[])
    manifest = triples.manifest
    assert manifest.schema == MANIFEST
    assert manifest["step"].to_list() == ["read", "triples", "models", "drug_list", "lines"]
    assert manifest["n_rows_study"].to_list() == [16_688, 10_765, 10_446, 7_635, None]
    assert manifest["status"].to_list() == ["reproduced", "reproduced", "reproduced", "open", None]
    assert manifest["n_rows"].to_list()[-2:] == [0, 0]
    assert manifest["dropped"][3] == f"{NOT_LISTED}: {manifest['n_rows'][2]}"


def test_every_metric_has_the_counts_of_four_steps_that_never_rise() -> None:
    for dataset_id, metric in METRICS:
        counts = [c for c in STUDY_COUNTS if (c.dataset_id, c.metric) == (dataset_id, metric)]
        assert [count.step for count in counts] == ["read", "triples", "models", "drug_list"]
        rows = [count.n_rows for count in counts]
        assert rows == sorted(rows, reverse=True)
    assert {(count.dataset_id, count.metric) for count in STUDY_COUNTS} == set(METRICS)


def test_a_metric_that_the_study_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PerturbhouseError, match="no metric 'meanviability' of 'gcsi'"):
        study_triples("gcsi", "meanviability", tmp_path, models=tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize("metric", [name for dataset, name in METRICS if dataset == "gcsi"])
def test_the_published_counts_of_gcsi_come_out_with_depmap_24q2(realdata: Path, metric: str) -> None:
    raw = realdata / "raw"
    models = raw / "reference" / "depmap_24Q2" / "Model.csv"
    manifest = study_triples("gcsi", metric, raw / "gcsi", models=models).manifest
    assert manifest["status"].unique().to_list() == ["reproduced"]
    assert manifest["n_rows"].to_list() == manifest["n_rows_study"].to_list()
    assert manifest.height == 3
