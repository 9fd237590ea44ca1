"""The matching rule, one test per clause, and the whole of it against a double loop."""

import math
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.agreement import matching
from etl.agreement.matching import RULE_VERSION, eligible
from etl.errors import BadInputError

SCHEMA = {
    "dataset_id": pl.String,
    "context_id": pl.String,
    "compound_id": pl.String,
    "dose_um": pl.Float64,
    "time_h": pl.Float64,
    "condition_id": pl.Int64,
}
OUTPUT = [
    "left_dataset_id",
    "right_dataset_id",
    "left_condition_id",
    "right_condition_id",
    "context_id",
    "compound_id",
    "time_h",
    "left_dose_um",
    "right_dose_um",
    "fold",
    "is_exact",
]


def match(frame: Any, **options: Any) -> pl.DataFrame:
    """Match without asking for ten compounds, unless told to."""
    return matching.match(frame, **{"min_compounds": 1, **options})


def conditions(*rows: dict[str, Any]) -> pl.DataFrame:
    """Conditions numbered from 0, of compound X in CVCL_0023 at 1 µM for 24 h unless they say otherwise."""
    usual = {"context_id": "CVCL_0023", "compound_id": "X", "dose_um": 1.0, "time_h": 24.0}
    return pl.DataFrame([{**usual, "condition_id": i, **row} for i, row in enumerate(rows)], schema=SCHEMA)


def at_doses(**doses: list[float]) -> pl.DataFrame:
    """Conditions that differ in dataset and dose only."""
    return conditions(*({"dataset_id": d, "dose_um": dose} for d, some in doses.items() for dose in some))


def dose_pairs(frame: pl.DataFrame, **options: Any) -> list[tuple[float, float]]:
    return match(frame, **options).select("left_dose_um", "right_dose_um").rows()


def test_a_match_is_one_row_with_both_conditions() -> None:
    frame = conditions({"dataset_id": "b", "dose_um": 2.0}, {"dataset_id": "a", "dose_um": 5.0})
    expected = pl.DataFrame(
        [("a", "b", 1, 0, "CVCL_0023", "X", 24.0, 5.0, 2.0, 2.5, False)],
        schema=dict(
            zip(
                OUTPUT,
                [pl.String] * 2 + [pl.Int64] * 2 + [pl.String] * 2 + [pl.Float64] * 4 + [pl.Boolean],
                strict=True,
            )
        ),
        orient="row",
    )
    assert_frame_equal(match(frame), expected)
    assert_frame_equal(match(frame.lazy()), expected)
    without_ids = expected.drop("left_condition_id", "right_condition_id")
    assert_frame_equal(match(frame.drop("condition_id")), without_ids)
    assert RULE_VERSION == "mutual_nearest_dose_v1"


@pytest.mark.parametrize(
    "other",
    [{"compound_id": "Y"}, {"context_id": "CVCL_0031"}, {"time_h": 6.0}, {"time_h": math.nextafter(24, 25)}],
)
def test_compound_context_and_time_must_be_equal(other: dict[str, Any]) -> None:
    assert match(conditions({"dataset_id": "a"}, {"dataset_id": "b", **other})).is_empty()


def test_conditions_of_one_dataset_never_match() -> None:
    assert match(at_doses(a=[1.0, 1.0, 2.0])).is_empty()


@pytest.mark.parametrize(
    "other",
    [
        *({"dose_um": dose} for dose in (None, math.nan, math.inf, 0.0, -1.0)),
        *({"time_h": time} for time in (None, math.nan, math.inf)),
        *({column: None} for column in ("dataset_id", "context_id", "compound_id", "condition_id")),
        *({column: ""} for column in ("dataset_id", "context_id", "compound_id")),
        {"context_id": "unresolved:b:tumour"},
        {"compound_id": "unresolved:b:compound 7"},
    ],
)
def test_what_is_not_eligible_matches_nothing(other: dict[str, Any]) -> None:
    # The other row is written for both datasets: equality of the odd value alone would match them.
    frame = conditions({"dataset_id": "a", **other}, {"dataset_id": "b", **other})
    assert eligible(frame).collect().is_empty()
    assert match(frame).is_empty()


def test_the_nearest_dose_must_be_mutual() -> None:
    # 3 is nearest to 4, but 4 is nearest to 5: only the mutual pair stands.
    assert dose_pairs(at_doses(a=[3.0, 5.0], b=[4.0])) == [(5.0, 4.0)]


def test_nearest_is_measured_on_the_log_scale() -> None:
    # 1 is 4 away from 5 and 15 from 20, both linearly; on the log scale 20 is the nearer of 5.
    assert dose_pairs(at_doses(a=[1.0, 20.0], b=[5.0])) == [(20.0, 5.0)]


# The logarithms of these doses differ by 1 only up to rounding, some a little more, some a little less.
@pytest.mark.parametrize(("low", "dose", "high"), [(0.1, 1.0, 10.0), (0.001, 0.01, 0.1), (0.102, 1.02, 10.2)])
def test_ties_are_all_kept(low: float, dose: float, high: float) -> None:
    assert dose_pairs(at_doses(a=[low, high], b=[dose])) == [(low, dose), (high, dose)]
    assert dose_pairs(at_doses(a=[dose], b=[low, high])) == [(dose, low), (dose, high)]


def test_two_conditions_of_one_dose_both_match() -> None:
    matches = match(at_doses(a=[1.0, 1.0], b=[1.0, 1.0]))
    assert matches.select("left_condition_id", "right_condition_id").rows() == [
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
    ]


def test_without_ids_equal_rows_are_one_condition() -> None:
    assert match(at_doses(a=[1.0, 1.0], b=[1.0, 1.0]).drop("condition_id")).height == 1


# 0.101 / 0.0101 and 11.3 / 1.13 are 10.000000000000002 in floating point.
@pytest.mark.parametrize("dose", [0.01, 0.0101, 0.03, 0.07, 0.333, 1.13, 3.33, 9.99])
def test_exactly_tenfold_is_within_tenfold(dose: float) -> None:
    tenfold = float(f"{dose * 10:.3g}")
    assert dose_pairs(at_doses(a=[dose], b=[tenfold])) == [(dose, tenfold)]
    assert dose_pairs(at_doses(a=[tenfold], b=[dose])) == [(tenfold, dose)]
    assert dose_pairs(at_doses(a=[dose], b=[tenfold * 1.001])) == []


def test_the_threshold_does_not_make_a_farther_dose_the_nearest() -> None:
    # 1 and 1.5 are mutual; 3 loses 1.5 to 1 and gets nothing, although the fold of both is within 2.
    assert dose_pairs(at_doses(a=[1.0, 3.0], b=[1.5]), max_fold=2) == [(1.0, 1.5)]
    assert dose_pairs(at_doses(a=[1.0, 3.0], b=[1.5]), max_fold=1.4) == []


def test_exact_matches_are_flagged_and_can_be_asked_for() -> None:
    frame = at_doses(a=[1.0, 10.0], b=[1.0, 20.0])
    assert match(frame).select("fold", "is_exact").rows() == [(1.0, True), (2.0, False)]
    assert dose_pairs(frame, max_fold=1) == [(1.0, 1.0)]


def test_an_infinite_max_fold_keeps_every_mutual_pair() -> None:
    assert dose_pairs(at_doses(a=[1e-300], b=[1e300]), max_fold=math.inf) == [(1e-300, 1e300)]


def test_enough_compounds_must_match_in_each_dataset_pair_context_and_time() -> None:
    frame = conditions(
        *(
            {"dataset_id": d, "compound_id": c}
            for d in ("a", "b", "c")
            for c in ("X", "Y")
            if (d, c) != ("c", "Y")
        ),
        *({"dataset_id": d, "context_id": "CVCL_0031"} for d in ("a", "b")),
        *({"dataset_id": d, "time_h": 6.0} for d in ("a", "b")),
        # Several doses of one compound are still one compound.
        *({"dataset_id": d, "time_h": 6.0, "dose_um": 10.0} for d in ("a", "b")),
    )
    kept = match(frame, min_compounds=2)
    assert kept.select(
        "left_dataset_id", "right_dataset_id", "context_id", "compound_id", "time_h"
    ).rows() == [
        ("a", "b", "CVCL_0023", "X", 24.0),
        ("a", "b", "CVCL_0023", "Y", 24.0),
    ]


def test_compounds_are_counted_after_the_threshold() -> None:
    frame = conditions(
        {"dataset_id": "a"},
        {"dataset_id": "b"},
        {"dataset_id": "a", "compound_id": "Y"},
        {"dataset_id": "b", "compound_id": "Y", "dose_um": 5.0},
    )
    assert match(frame, min_compounds=2).height == 2
    assert match(frame, min_compounds=2, max_fold=3).is_empty()


def test_integer_doses_and_times_are_read_and_other_columns_ignored() -> None:
    frame = conditions({"dataset_id": "a"}, {"dataset_id": "b"}).with_columns(
        pl.col("dose_um", "time_h").cast(pl.Int32), fold=pl.lit("not ours")
    )
    assert match(frame).select("time_h", "fold").rows() == [(24.0, 1.0)]


def test_no_conditions_give_no_matches_of_the_same_schema() -> None:
    full = match(at_doses(a=[1.0], b=[1.0]))
    assert match(at_doses(a=[1.0], b=[1.0]).clear()).schema == full.schema
    assert full.columns == OUTPUT


@pytest.mark.parametrize("column", ["dataset_id", "context_id", "compound_id", "dose_um", "time_h"])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(BadInputError, match=column):
        match(at_doses(a=[1.0]).drop(column))


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ("dataset_id", pl.Categorical),
        ("dose_um", pl.Float32),
        ("time_h", pl.String),
        ("condition_id", pl.Int32),
    ],
)
def test_a_column_of_the_wrong_type_is_named(column: str, dtype: type[pl.DataType]) -> None:
    with pytest.raises(BadInputError, match=column):
        match(at_doses(a=[1.0]).with_columns(pl.col(column).cast(dtype)))


def test_an_id_of_two_conditions_is_refused() -> None:
    frame = at_doses(a=[1.0], b=[1.0]).with_columns(condition_id=pl.lit(7, dtype=pl.Int64))
    with pytest.raises(BadInputError, match=r"condition_id.*7"):
        match(frame)


@pytest.mark.parametrize("options", [{"max_fold": 0.9}, {"max_fold": math.nan}, {"min_compounds": 0}])
def test_thresholds_below_one_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        match(at_doses(a=[1.0]), **options)


def brute_force(rows: list[dict[str, Any]], max_fold: float, min_compounds: int) -> list[tuple[Any, ...]]:
    """The rule as a double loop over conditions."""

    def is_eligible(row: dict[str, Any]) -> bool:
        ids = [row["dataset_id"], row["context_id"], row["compound_id"], row["condition_id"]]
        numbers = [row["dose_um"], row["time_h"]]
        return (
            None not in ids
            and None not in numbers
            and not any(str(i).startswith("unresolved:") for i in ids[1:3])
            and all(math.isfinite(n) for n in numbers)
            and row["dose_um"] > 0
        )

    def distance(a: dict[str, Any], b: dict[str, Any]) -> float:
        return abs(math.log10(a["dose_um"]) - math.log10(b["dose_um"]))

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["context_id"], row["compound_id"], row["time_h"]

    pool = [row for row in rows if is_eligible(row)]
    found = []
    for left_dataset, right_dataset in combinations(sorted({row["dataset_id"] for row in pool}), 2):
        for a in (row for row in pool if row["dataset_id"] == left_dataset):
            for b in (row for row in pool if row["dataset_id"] == right_dataset and key(row) == key(a)):
                rivals_of_b = [r for r in pool if r["dataset_id"] == left_dataset and key(r) == key(a)]
                rivals_of_a = [r for r in pool if r["dataset_id"] == right_dataset and key(r) == key(a)]
                fold = max(a["dose_um"] / b["dose_um"], b["dose_um"] / a["dose_um"])
                if (
                    distance(a, b) <= min(distance(a, r) for r in rivals_of_a) + 1e-12
                    and distance(a, b) <= min(distance(r, b) for r in rivals_of_b) + 1e-12
                    and fold <= max_fold * (1 + 1e-12)
                ):
                    ids = a["condition_id"], b["condition_id"]
                    doses = a["dose_um"], b["dose_um"]
                    found.append(
                        (left_dataset, right_dataset, *ids, *key(a), *doses, fold, fold <= 1 + 1e-12)
                    )

    def compounds(pair: tuple[Any, ...]) -> set[str]:
        return {p[5] for p in found if (p[0], p[1], p[4], p[6]) == (pair[0], pair[1], pair[4], pair[6])}

    return [pair for pair in found if len(compounds(pair)) >= min_compounds]


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "dataset_id": st.sampled_from([*"aaaabbbbcc", None]),
            "context_id": st.sampled_from(
                [*["CVCL_0023"] * 8, "CVCL_0031", "CVCL_0031", "unresolved:a:x", None]
            ),
            "compound_id": st.sampled_from([*"XXXXXXYYYY", "unresolved:a:y", None]),
            # Tenfold steps and their reported-value noise make ties, equal doses and exact tenfold frequent.
            "dose_um": st.one_of(
                st.sampled_from([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 3.33, 10.0, 33.3, 100.0]),
                st.sampled_from([0.01, 0.1, 1.0, 10.0, None, math.nan, math.inf, 0.0, -1.0]),
                st.floats(1e-3, 1e3).map(lambda dose: float(f"{dose:.3g}")),
            ),
            "time_h": st.sampled_from([*[24.0] * 10, 6.0, 6.0, None]),
        }
    ),
    min_size=12,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    max_fold=st.sampled_from([1.0, 2.0, 3.0, 10.0]),
    min_compounds=st.integers(1, 2),
    data=st.data(),
)
def test_matches_are_those_of_a_double_loop_in_any_order(
    rows: list[dict[str, Any]], max_fold: float, min_compounds: int, data: st.DataObject
) -> None:
    rows = [{**row, "condition_id": i} for i, row in enumerate(rows)]
    frame = pl.DataFrame(rows, schema=SCHEMA)
    found = match(frame, max_fold=max_fold, min_compounds=min_compounds)
    assert sorted(found.rows()) == sorted(brute_force(rows, max_fold, min_compounds))
    shuffled = pl.DataFrame(data.draw(st.permutations(rows)), schema=SCHEMA)
    assert_frame_equal(match(shuffled, max_fold=max_fold, min_compounds=min_compounds), found)


def test_ten_compounds_in_a_context_and_time_are_asked_for_unless_told_otherwise() -> None:
    rows = [
        {"dataset_id": dataset, "compound_id": f"X{i}", "context_id": context}
        for dataset in "ab"
        for context, n in (("CVCL_0023", 10), ("CVCL_0031", 9))
        for i in range(n)
    ]
    frame = conditions(*rows)
    assert set(matching.match(frame)["context_id"]) == {"CVCL_0023"}
    assert matching.match(frame, min_compounds=9).height == 19


def test_stored_matches_say_how_many_compounds_and_wells_are_behind_them() -> None:
    frame = conditions({"dataset_id": "a"}, {"dataset_id": "b"}, {"dataset_id": "b", "compound_id": "Y"})
    told = frame.with_columns(is_estimable=pl.lit(value=True), n_treated=pl.Series([2, 5, 7], dtype=pl.Int32))
    matches, account = matching.match_conditions(told)
    assert matches.select("n_compounds", "left_n_treated", "right_n_treated").rows() == [(1, 2, 5)]
    assert account.noted == {"matched pairs": 1}


@pytest.mark.parametrize(
    ("identity", "matched"),
    [("parent", {"LEFT"}), ("skeleton", {"SAME", "OTHER"}), ("pubchem_cid", {"1", "7"})],
)
def test_what_makes_compounds_one_can_be_told(identity: str, matched: set[str]) -> None:
    """Of dataset b one compound is a stereoisomer, one has the same CID, one is the same, one has nothing."""
    compounds = pl.DataFrame(
        {
            "compound_id": ["LEFT", "RIGHT", "ISOMER", "SALT"],
            "inchikey_skeleton": ["SAME", "SAME", "OTHER", "OTHER"],
            "pubchem_cid": [1, 2, 7, 7],
        }
    )
    pairs = [("LEFT", "LEFT"), ("LEFT", "RIGHT"), ("ISOMER", "SALT"), ("unknown", "unlisted")]
    conditions = pl.DataFrame(
        [
            {"dataset_id": dataset, "context_id": f"CVCL_{n}", "compound_id": compound, "dose_um": 1.0}
            for n, pair in enumerate(pairs)
            for dataset, compound in zip("ab", pair, strict=True)
        ]
    ).with_columns(time_h=24.0)
    named = matching.identified_by(conditions, compounds, identity)
    assert set(matching.match(named, min_compounds=1)["compound_id"]) == matched


def test_an_unknown_identity_is_refused() -> None:
    frame = pl.DataFrame({"compound_id": ["X"]})
    with pytest.raises(BadInputError, match="there are parent, skeleton, pubchem_cid"):
        matching.identified_by(frame, frame, "name")
