"""Standardized effects: against NumPy by hand, both populations, genes without spread, and the mirror."""

import numpy as np
import polars as pl
import pytest

from etl.agreement.context_pairs import ContextData
from etl.agreement.measure import loader, measure
from etl.agreement.standardize import STANDARDIZED_METRICS, standardized
from etl.errors import BadInputError

CONTEXTS = ("CVCL_0023", "CVCL_0031")
NAN = np.nan
# Condition × gene; the third gene is constant in the first context, the last one there once in each.
VALUES = {
    CONTEXTS[0]: np.array([[1.0, -2.0, 0.3, NAN], [3.0, 2.0, 0.3, NAN], [2.0, NAN, 0.3, 4.0]]),
    CONTEXTS[1]: np.array([[7.0, 0.0, 0.5, 2.0], [5.0, 1.0, 0.1, NAN]]),
}


def frames() -> tuple[pl.DataFrame, pl.LazyFrame]:
    conditions, effects = [], []
    for context, values in VALUES.items():
        for row in values:
            unit = {"dataset_id": "a", "context_id": context, "condition_id": len(conditions) + 1}
            named = {"compound_id": "X", "dose_um": 1.0, "time_h": 24.0, "vehicle_group": ""}
            conditions.append(unit | named)
            tested = {"standard_error": 0.5, "p_value_adjusted": 0.01}
            effects += [
                unit | {"gene_id": gene, "log2_fold_change": value} | tested
                for gene, value in enumerate(row.tolist(), start=1)
                if np.isfinite(value)
            ]
    types = {"gene_id": pl.Int32, "log2_fold_change": pl.Float32, "standard_error": pl.Float32}
    types["p_value_adjusted"] = pl.Float32
    return pl.DataFrame(conditions), pl.DataFrame(effects).cast(types).lazy()


def loaded(population: str, context: str) -> ContextData:
    conditions, effects = frames()
    return standardized(loader(conditions, effects), effects, population)("a", context)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("population", ["dataset", "context"])
def test_effects_are_in_units_of_the_spread(population: str, context: str) -> None:
    among = np.vstack([*VALUES.values()]) if population == "dataset" else VALUES[context]
    mean, sd = np.nanmean(among, axis=0), np.nanstd(among, axis=0)
    varies = np.nanmin(among, axis=0) < np.nanmax(among, axis=0)
    expected = (VALUES[context] - mean) / np.where(varies, sd, NAN)
    profiles = loaded(population, context).profiles
    np.testing.assert_allclose(profiles.log2_fold_change, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(profiles.is_significant, np.isfinite(expected))
    # t is what was tested.
    np.testing.assert_allclose(profiles.t, VALUES[context] / 0.5, rtol=1e-6)


def test_an_unknown_population_is_refused() -> None:
    conditions, effects = frames()
    with pytest.raises(BadInputError, match="no population 'plate'; there are dataset, context"):
        standardized(loader(conditions, effects), effects, "plate")


def test_a_gene_that_is_large_everywhere_counts_no_more_than_others() -> None:
    """Compounds share nothing but a gene set that moves with all of them: scaled, nothing is left."""
    rng = np.random.default_rng(0)
    n_compounds, n_genes = 40, 200
    common = np.where(np.arange(n_genes) < 40, 6.0, 0.0)
    conditions, effects = [], []
    for dataset in "ab":
        for i in range(n_compounds):
            unit = {"dataset_id": dataset, "context_id": CONTEXTS[0], "condition_id": len(conditions) + 1}
            conditions.append(
                unit
                | {"compound_id": f"{chr(65 + i % 26) * 14}-{chr(65 + i // 26) * 10}-N", "dose_um": 1.0}
                | {"time_h": 24.0, "vehicle_group": "", "is_estimable": True, "n_treated": 2}
            )
            effects.append(
                pl.DataFrame(
                    {
                        "gene_id": np.arange(1, n_genes + 1, dtype=np.int32),
                        "log2_fold_change": (common + rng.normal(size=n_genes)).astype(np.float32),
                        "standard_error": np.full(n_genes, 0.5, np.float32),
                        "p_value_adjusted": np.full(n_genes, 0.5, np.float32),
                    }
                ).select(*(pl.lit(value).alias(name) for name, value in unit.items()), pl.all())
            )
    frame = pl.DataFrame(conditions)
    rows = pl.concat(effects).with_columns(pl.col("condition_id").cast(pl.Int64)).lazy()
    matches = (
        frame.filter(dataset_id="a")
        .join(
            frame.filter(dataset_id="b"), on=["compound_id", "context_id", "dose_um", "time_h"], suffix="_b"
        )
        .select(
            left_dataset_id="dataset_id",
            right_dataset_id="dataset_id_b",
            context_id="context_id",
            compound_id="compound_id",
            time_h="time_h",
            left_condition_id="condition_id",
            right_condition_id="condition_id_b",
        )
    )
    matches = matches.with_columns(pl.col("left_condition_id", "right_condition_id").cast(pl.Int64))
    load = loader(frame, rows)
    found = {}
    for name, one in (("raw", load), ("scaled", standardized(load, rows, "dataset"))):
        (measured,) = measure(matches, frame, one, n_contexts=0)
        rho = measured.agreement.filter(metric="pearson_log2_fold_change")["observed"].mean()
        centroid = measured.baseline.filter(metric="pearson_log2_fold_change", baseline="source_centroid")
        found[name] = rho, centroid["mean"].mean()
    assert found["raw"][0] > 0.7
    assert abs(found["scaled"][0]) < 0.05
    # The trap that the docstring names: with one dose and time the centroid mirrors the condition itself.
    assert found["scaled"][1] < -0.95
    assert "direction_agreement" not in STANDARDIZED_METRICS
