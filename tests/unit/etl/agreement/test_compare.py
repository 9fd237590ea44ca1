"""Matches and long effects in, one row per pair and metric out."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from etl.agreement import compare as module
from etl.agreement.compare import RESULT_SCHEMA, compare
from etl.agreement.matching import match
from etl.errors import BadInputError
from schemas.vocabularies import AGREEMENT_METRICS

NAN = np.nan
EFFECTS = {
    "condition_id": pl.Int64,
    "gene_id": pl.Int32,
    "log2_fold_change": pl.Float32,
    "standard_error": pl.Float32,
    "p_value_adjusted": pl.Float32,
}
RHO, DIRECTION = "spearman_log2_fold_change", "direction_agreement"


def pair(left: int, right: int, **other: str) -> dict[str, Any]:
    usual = {"left_dataset_id": "a", "right_dataset_id": "b", "context_id": "CVCL_0023", "compound_id": "X"}
    return {"left_condition_id": left, "right_condition_id": right, **usual, **other}


def long(profiles: dict[int, dict[int, tuple[float | None, float | None]]]) -> pl.LazyFrame:
    rows = [
        (condition, gene, effect, 0.5, p)
        for condition, genes in profiles.items()
        for gene, (effect, p) in genes.items()
    ]
    return pl.LazyFrame(rows, schema=EFFECTS, orient="row")


@pytest.mark.parametrize(
    ("left", "right", "rho", "direction"),
    [
        (
            {1: (1, 0.01), 2: (2, 0.01), 3: (2, 0.5), 4: (9, 0.01)},
            {4: (-7, 0.01), 3: (3, 0.01), 2: (2, 0.01), 9: (5, 0.01)},
            (spearmanr([2, 2, 9], [2, 3, -7]).statistic, 3, "ok"),
            (0.5, 2, "ok"),
        ),
        ({1: (1, 0.01), 2: (2, 0.01)}, {3: (1, 0.01), 4: (2, 0.01)}, (None, 0, "too_few_genes"), None),
        ({1: (1, 0.01), 2: (2, 0.01)}, {}, (None, 0, "too_few_genes"), None),
        ({1: (1, 0.5), 2: (NAN, 0.01)}, {1: (1, 0.01), 2: (2, 0.01)}, (None, 1, "too_few_genes"), None),
        ({1: (1, 0.5), 2: (None, 0.01)}, {1: (1, 0.01), 2: (2, 0.01)}, (None, 1, "too_few_genes"), None),
        ({1: (1, NAN), 2: (1, None)}, {1: (1, 0.01), 2: (2, 0.01)}, (None, 2, "constant_profile"), None),
        ({1: (1, 0.01)}, {1: (1, 0.01)}, (None, 1, "too_few_genes"), (1.0, 1, "ok")),
    ],
    ids=["ties", "disjoint", "no effects", "nan", "null", "constant", "one gene"],
)
def test_value_genes_and_status(left: Any, right: Any, rho: Any, direction: Any) -> None:
    result = compare(pl.DataFrame([pair(1, 2)]), long({1: left, 2: right}))
    direction = direction or (None, 0, "no_shared_significant_gene")
    where = (1, 2, "a", "b", "CVCL_0023", "X")
    expected = pl.DataFrame(
        [(*where, DIRECTION, *direction), (*where, RHO, *rho)],
        schema=RESULT_SCHEMA,
        orient="row",
    )
    assert_frame_equal(result.filter(pl.col("metric").is_in([RHO, DIRECTION])), expected)


def test_every_metric_has_a_row_and_a_reason_where_it_has_no_value() -> None:
    profile = {gene: (gene / 7, 0.01 if gene < 60 else 0.5) for gene in range(1, 120)}
    few = {1: (1.0, 0.01), 2: (2.0, 0.5)}
    effects = long({1: profile, 2: profile, 3: few, 4: few})
    result = compare(pl.DataFrame([pair(1, 2), pair(3, 4), pair(1, 9)]), effects)
    found = {
        ids: dict(rows.select("metric", "status").iter_rows())
        for ids, rows in result.partition_by("left_condition_id", "right_condition_id", as_dict=True).items()
    }
    assert all(set(one) == set(AGREEMENT_METRICS) for one in found.values())
    many = {"overlap_100", "overlap_200"}
    lists = {*many, "overlap_50", "spearman_significant"}
    assert found[1, 2] == {m: "too_few_significant_genes" if m in many else "ok" for m in AGREEMENT_METRICS}
    assert found[3, 4] == {m: "too_few_significant_genes" if m in lists else "ok" for m in AGREEMENT_METRICS}
    assert set(found[1, 9].values()) == {
        "too_few_genes",
        "no_shared_significant_gene",
        "too_few_significant_genes",
    }
    assert (result.filter(left_condition_id=1, right_condition_id=2, status="ok")["observed"] > 0.999).all()


def test_a_gene_without_a_standard_error_is_not_measured() -> None:
    effects = long({i: {1: (1.0, 0.01), 2: (2.0, 0.5), 3: (3.0, 0.5)} for i in (1, 2)})
    lame = effects.with_columns(
        standard_error=pl.when(condition_id=1, gene_id=3).then(pl.lit(0.0)).otherwise(0.5).cast(pl.Float32)
    )
    n_genes = compare(pl.DataFrame([pair(1, 2)]), lame).filter(metric=RHO)["n_genes"].item()
    assert n_genes == 2


def simulated(seed: int = 5) -> tuple[pl.DataFrame, pl.LazyFrame]:
    """Matches of three datasets in two contexts, and effects with gaps on partly different genes."""
    rng = np.random.default_rng(seed)
    keys = [(d, c, f"compound{i:02d}") for d in "abc" for c in ("CVCL_0023", "CVCL_0031") for i in range(15)]
    conditions = pl.DataFrame(
        keys, schema=["dataset_id", "context_id", "compound_id"], orient="row"
    ).with_columns(
        dose_um=pl.lit(1.0), time_h=pl.lit(24.0), condition_id=pl.Series(rng.permutation(len(keys))) - 40
    )
    genes = {"a": range(60), "b": range(20, 90), "c": range(10, 50)}
    effects = (
        conditions.select("dataset_id", "context_id", "condition_id")
        .with_columns(
            gene_id=pl.Series([list(genes[d]) for d in conditions["dataset_id"]], dtype=pl.List(pl.Int32))
        )
        .explode("gene_id")
    )
    effects = effects.with_columns(
        log2_fold_change=pl.Series(rng.normal(size=effects.height).round(1), dtype=pl.Float32),
        standard_error=pl.Series(rng.uniform(0.1, 1, effects.height), dtype=pl.Float32),
        p_value_adjusted=pl.Series(rng.random(effects.height) ** 3, dtype=pl.Float32),
    ).with_columns(
        log2_fold_change=pl.when(pl.Series(rng.random(effects.height) > 0.1)).then("log2_fold_change")
    )
    return match(conditions), effects.lazy()


def test_every_pair_is_compared_on_its_own_genes() -> None:
    matches, effects = simulated()
    result = compare(matches, effects.select(*EFFECTS))
    assert result.height == len(AGREEMENT_METRICS) * matches.height == len(AGREEMENT_METRICS) * 3 * 2 * 15
    assert result.schema == RESULT_SCHEMA
    profiles = {
        key: frame for (key,), frame in effects.collect().partition_by("condition_id", as_dict=True).items()
    }
    for row in result.filter(metric=RHO).iter_rows(named=True):
        sides = [
            profiles[row[f"{side}_condition_id"]].select("gene_id", "log2_fold_change").drop_nulls()
            for side in ("left", "right")
        ]
        shared = sides[0].join(sides[1], on="gene_id")
        assert row["n_genes"] == shared.height
        expected = spearmanr(shared["log2_fold_change"], shared["log2_fold_change_right"]).statistic
        assert row["observed"] == pytest.approx(expected, abs=1e-12)


def test_order_partition_columns_and_block_size_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    matches, effects = simulated()
    result = compare(matches, effects)
    shuffled = effects.collect().sample(fraction=1, shuffle=True, seed=1).lazy()
    assert_frame_equal(compare(matches.reverse(), shuffled), result)
    assert_frame_equal(compare(matches, shuffled.select(*EFFECTS)), result)
    monkeypatch.setattr(module, "PAIRS_PER_BLOCK", 4)
    assert_frame_equal(compare(matches, effects), result)


def test_effects_are_read_from_a_scan(tmp_path: Path) -> None:
    matches, effects = simulated()
    effects.collect().write_parquet(tmp_path / "effects.parquet")
    assert_frame_equal(
        compare(matches, pl.scan_parquet(tmp_path / "effects.parquet")), compare(matches, effects)
    )


def test_significance_thresholds_are_passed_on() -> None:
    matches = pl.DataFrame([pair(1, 2)])
    effects = long({i: {1: (0.1, 0.01), 2: (2, 0.08), 3: (3, 0.01)} for i in (1, 2)})

    def n_genes(**options: float) -> int:
        return compare(matches, effects, **options).filter(metric=DIRECTION)["n_genes"].item()

    assert n_genes() == 2
    assert n_genes(alpha=0.1) == 3


def test_significance_is_each_sides_own() -> None:
    left = {1: (1, 0.01), 2: (1, 0.01), 3: (1, 0.5)}
    right = {1: (1, 0.5), 2: (-1, 0.01), 3: (1, 0.01)}
    result = compare(pl.DataFrame([pair(1, 2)]), long({1: left, 2: right})).filter(metric=DIRECTION)
    assert result.select("observed", "n_genes").row(0) == (0.0, 1)


def test_no_matches_give_no_rows() -> None:
    matches, effects = simulated()
    assert_frame_equal(compare(matches.clear(), effects), pl.DataFrame(schema=RESULT_SCHEMA))


def test_a_gene_twice_in_a_condition_is_refused() -> None:
    effects = pl.concat([long({1: {1: (1, 1)}}), long({1: {1: (2, 1)}, 2: {1: (1, 1)}})])
    with pytest.raises(BadInputError, match=r"gene_id.*condition_id 1"):
        compare(pl.DataFrame([pair(1, 2)]), effects)


@pytest.mark.parametrize("column", ["left_condition_id", "context_id", "compound_id"])
def test_a_missing_or_null_column_of_matches_is_named(column: str) -> None:
    matches = pl.DataFrame([pair(1, 2)])
    with pytest.raises(BadInputError, match=column):
        compare(matches.drop(column), long({}))
    with pytest.raises(BadInputError, match=column):
        compare(matches.with_columns(pl.lit(None, dtype=matches.schema[column]).alias(column)), long({}))


@pytest.mark.parametrize("column", list(EFFECTS))
def test_a_missing_or_mistyped_column_of_effects_is_named(column: str) -> None:
    matches = pl.DataFrame([pair(1, 2)])
    with pytest.raises(BadInputError, match=column):
        compare(matches, long({}).drop(column))
    with pytest.raises(BadInputError, match=column):
        compare(matches, long({}).cast({column: pl.String}))


def test_a_match_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="more than once"):
        compare(pl.DataFrame([pair(1, 2), pair(1, 2)]), long({}))
