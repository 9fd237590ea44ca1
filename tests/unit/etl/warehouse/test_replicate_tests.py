"""p-values of single samples, computed from what is stored."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from etl.errors import PerturbhouseError
from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.replicate_tests import replicate_tests
from schemas.core.sample import SAMPLE
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.replicate_effect import REPLICATE_EFFECT

UNIT = {"dataset_id": "toy", "context_id": "CVCL_0023"}
N_GENES = 50
GROUPS = {-7: "dmso", 5: "water", 9: "dmso"}
"""Vehicle group of each sample."""


def total_df(group: str, genes: np.ndarray) -> np.ndarray:
    return genes + (10.0 if group == "water" else 3.5)


@pytest.fixture
def root(tmp_path: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(delta, "violations", lambda *_: [])
    rng, genes = np.random.default_rng(3), np.arange(1, N_GENES + 1)
    tables: dict = {SAMPLE: [], GENE_VARIANCE: [], REPLICATE_EFFECT: []}
    for sample, group in GROUPS.items():
        tables[SAMPLE].append(pl.DataFrame({**UNIT, "sample_id": [sample], "vehicle_group": group}))
        values = {
            "log2_fold_change": rng.normal(0, 2, N_GENES),
            "standard_error": rng.uniform(0.2, 1, N_GENES),
        }
        tables[REPLICATE_EFFECT].append(
            pl.DataFrame({**UNIT, "sample_id": sample, "gene_id": genes, **values})
        )
    for group in ("dmso", "water"):
        for design, shift in (("grouped", 100.0), ("separate", 0.0)):
            named = {**UNIT, "vehicle_group": group, "replicates": design}
            df = {"gene_id": genes, "total_df": total_df(group, genes) + shift}
            tables[GENE_VARIANCE].append(pl.DataFrame({**named, **df}))
    for table, parts in tables.items():
        blank = pl.DataFrame(schema=table.polars_schema)
        rows = pl.concat(
            [blank, pl.concat(parts).cast({n: table.polars_schema[n] for n in parts[0].columns})],
            how="diagonal",
        )
        where = {name: UNIT[name] for name in table.partition_by}
        delta.replace(str(tmp_path), table, rows.select(blank.columns), where, provenance=provenance)
    return str(tmp_path)


def test_every_sample_is_tested_with_the_degrees_of_freedom_of_its_vehicle_group(root: str) -> None:
    tests = replicate_tests("toy", "CVCL_0023", root=root)
    assert tests.columns == [*REPLICATE_EFFECT.polars_schema, "t_statistic", "p_value", "p_value_adjusted"]
    assert tests.select("sample_id", "gene_id").rows() == [
        (sample, gene) for sample in sorted(GROUPS) for gene in range(1, N_GENES + 1)
    ]
    for sample, group in GROUPS.items():
        own = tests.filter(sample_id=sample)
        t = own["log2_fold_change"].to_numpy().astype(np.float64) / own["standard_error"].to_numpy()
        p = 2 * stats.t.sf(np.abs(t), total_df(group, own["gene_id"].to_numpy()))
        np.testing.assert_allclose(own["t_statistic"], t, rtol=1e-12)
        np.testing.assert_allclose(own["p_value"], p, rtol=1e-10)
        np.testing.assert_allclose(own["p_value_adjusted"], stats.false_discovery_control(p), rtol=1e-10)


def test_a_context_without_effects_has_no_tests(root: str) -> None:
    assert replicate_tests("toy", "CVCL_0001", root=root).is_empty()


def test_a_warehouse_without_effects_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(PerturbhouseError, match="not in the warehouse"):
        replicate_tests("toy", "CVCL_0023", root=str(tmp_path))
