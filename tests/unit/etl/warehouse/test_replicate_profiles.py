"""Profiles of single samples: those of ``replicate_tests``, also where they lie in a file."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.warehouse import scan as scanning
from etl.warehouse.replicate_profiles import replicate_profiles
from etl.warehouse.replicate_tests import replicate_tests
from schemas.core.sample import SAMPLE
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.replicate_effect import REPLICATE_EFFECT

UNIT = {"dataset_id": "toy", "context_id": "CVCL_0023"}
GENES = [3, 5, 9]


@pytest.fixture
def root(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    ids = [11, -4, 8]
    effects = pl.DataFrame(
        [
            UNIT | {"sample_id": i, "gene_id": g, "log2_fold_change": rng.normal(), "standard_error": 0.3}
            for i in sorted(ids)
            for g in GENES
            if (i, g) != (8, 5)
        ],
        schema=REPLICATE_EFFECT.polars_schema,
    )
    groups = {-4: "dmso", 8: "water", 11: "dmso"}
    samples = pl.DataFrame(
        [
            UNIT
            | {"sample_id": i, "sample_key": str(i), "condition_id": i + 100, "compound_id": "X"}
            | {"dose_um": 1.0, "time_h": 24.0, "vehicle_group": groups[i]}
            for i in ids
        ]
    )
    variance = pl.DataFrame(
        [
            UNIT | {"vehicle_group": group, "gene_id": g, "replicates": "separate", "total_df": df}
            for group, df in (("dmso", 6.0), ("water", 20.0))
            for g in GENES
        ]
    )
    for table, rows in ((REPLICATE_EFFECT, effects), (SAMPLE, samples), (GENE_VARIANCE, variance)):
        schema = {**rows.schema, **{k: v for k, v in table.polars_schema.items() if k in rows.columns}}
        complete = rows.cast(schema).match_to_schema(table.polars_schema, missing_columns="insert")
        complete.write_delta(
            f"{tmp_path}/{table.name}", delta_write_options={"partition_by": table.partition_by}
        )
    return str(tmp_path)


@pytest.mark.parametrize("largest", [0, 2**30])
def test_profiles_are_those_of_the_tests(root: str, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "LARGEST_IN_MEMORY", largest)
    samples, read = replicate_profiles("toy", "CVCL_0023", alpha=0.4, root=root)
    assert samples["sample_id"].to_list() == [-4, 8, 11]
    assert samples["condition_id"].to_list() == [96, 108, 111]
    profiles = read(np.array([0, 1, 2]))
    tests = replicate_tests("toy", "CVCL_0023", root=root)
    for row, sample in enumerate(samples["sample_id"]):
        for column, gene in enumerate(GENES):
            tested = tests.filter(sample_id=sample, gene_id=gene)
            if tested.is_empty():
                assert np.isnan(profiles.t[row, column])
                assert not profiles.is_significant[row, column]
                continue
            assert profiles.t[row, column] == pytest.approx(tested["t_statistic"].item(), rel=1e-6)
            assert profiles.is_significant[row, column] == (tested["p_value_adjusted"].item() < 0.4)
    part = read(np.array([2]))
    np.testing.assert_array_equal(part.log2_fold_change, profiles.log2_fold_change[[2]])


def test_a_context_without_effects_has_no_samples(root: str) -> None:
    samples, _ = replicate_profiles("toy", "CVCL_0031", root=root)
    assert samples.is_empty()
