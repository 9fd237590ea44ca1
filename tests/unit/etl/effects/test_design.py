"""Labels become codes and a graph: components, scopes, labels that cannot be used."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.effects.design import build_design, control_design, control_scopes
from etl.errors import BadInputError

LABELS = {"condition": ["", "a", "b"], "plate": ["p", "p", "p"], "is_control": [True, False, False]}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[str], list[int], list[bool], list[int]]:
    n = draw(st.integers(2, 24))
    block = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    name = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    plate = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    control = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return [f"{x}{b}" for x, b in zip(name, block, strict=True)], plate, control, block


@given(layouts())
def test_components_follow_from_walking_along_samples(layout) -> None:
    condition, plate, control, block = layout
    design = build_design(condition, plate, control, block=block)
    names = [
        f"control {b}" if is_control else label
        for label, is_control, b in zip(condition, control, block, strict=True)
    ]
    reached = {name: {name} for name in names}
    for _ in names:
        for one, own_plate in zip(names, plate, strict=True):
            for other, other_plate in zip(names, plate, strict=True):
                if own_plate == other_plate:
                    reached[one] |= reached[other]
    assert design.n_components == len({frozenset(group) for group in reached.values()})
    for code, name in zip(design.condition, names, strict=True):
        together = [design.condition[names.index(other)] for other in reached[name]]
        assert len(set(design.condition_component[[code, *together]])) == 1


@given(layouts())
def test_codes_give_the_labels_back(layout) -> None:
    condition, plate, control, block = layout
    design = build_design(condition, plate, control, block=block)
    assert design.plates[design.plate].tolist() == plate
    for code, label, is_control, own_block in zip(design.condition, condition, control, block, strict=True):
        if is_control:
            others = [b for c, b, k in zip(design.condition, block, control, strict=True) if k and c == code]
            assert set(others) == {own_block}
            assert code >= design.n_treated
        else:
            assert design.treated[code] == label
            in_block = [c for c, b in zip(control, block, strict=True) if b == own_block]
            assert (design.control[code] >= 0) == any(in_block)
            assert design.control_size[code] == sum(in_block)
    assert design.condition_size.sum() == len(condition)
    assert design.cell_size.sum() == len(condition)


@given(st.lists(TEXT, min_size=1, max_size=8, unique=True))
def test_different_labels_never_merge(labels: list[str]) -> None:
    design = build_design(labels * 2, [*labels, *labels], [False] * (2 * len(labels)))
    assert design.treated.tolist() == sorted(labels)
    assert design.plates.tolist() == sorted(labels)
    assert [design.treated[code] for code in design.condition] == labels * 2
    as_series = build_design(pl.Series(labels), None, [False] * len(labels))
    assert as_series.treated.tolist() == sorted(labels)


def test_labels_that_r_would_merge_stay_apart() -> None:
    odd = ["A-1", "A.1", "A 1", "A_1", "a_1", "A_1 ", "α", "β", "µ", "μ", "\u00e9", "e\u0301"]
    assert build_design(odd, None, [False] * len(odd)).n_treated == 12


def test_scope_tells_plates_with_and_without_controls() -> None:
    design = build_design(
        ["", "", "a", "b", "b", "c", "c"],
        [1, 2, 1, 1, 3, 1, 2],
        [True, True, False, False, False, False, False],
    )
    assert control_scopes(design) == ["same_plate", "linked_plates", "same_plate"]


def test_scope_asks_for_controls_of_the_same_block() -> None:
    labels = {"plate": [1, 1, 2, 2], "is_control": [True, True, False, False]}
    design = build_design(["", "", "early", "late"], **labels, block=[6, 24, 6, 24])
    assert control_scopes(design) == ["linked_plates", "linked_plates"]
    design = build_design(["", "", "early", "late"], [1, 2, 1, 1], labels["is_control"], block=[6, 24, 6, 24])
    assert control_scopes(design) == ["same_plate", "linked_plates"]


def test_controls_of_a_block_are_one_condition_whatever_their_labels() -> None:
    design = build_design(["DMSO", None, "water", "a"], None, [True, True, True, False])
    assert design.n_conditions == 2
    assert design.control_size.tolist() == [3]


def test_separate_replicates_are_conditions_in_the_order_of_the_samples() -> None:
    design = build_design(
        ["b", "", "a", "b"], None, [False, True, False, False], replicates="separate", block=[6, 6, 6, 6]
    )
    assert design.treated.tolist() == ["b", "a", "b"]
    assert design.sample_of_treated is not None
    assert design.sample_of_treated.tolist() == [0, 2, 3]
    assert design.condition_size.tolist() == [1, 1, 1, 1]


def test_sites_are_distinct_combinations_of_terms() -> None:
    design = build_design(
        ["", "", "a", "a"],
        ["p", "q", "p", "q"],
        [True, True, False, False],
        terms={"donor": ["x", "y", "x", "x"]},
    )
    assert len(design.site_columns) == 3
    assert design.column_term.tolist() == [0, 0, 1, 1]
    assert design.site.tolist() == [0, 2, 0, 1]


def test_the_design_of_controls_keeps_the_columns_of_the_whole() -> None:
    design = build_design(["a", "", "", "b"], ["p", "p", "q", "r"], [False, True, True, False])
    alone, samples = control_design(design)
    assert samples.tolist() == [1, 2]
    assert (alone.n_columns, alone.n_conditions, alone.n_treated) == (3, 1, 0)
    assert alone.n_components == 2  # controls with p and q; r is left alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plate": ["p"]}, "plate has shape"),
        ({"condition": [["", "a", "b"]]}, "condition has shape"),
        ({"plate": ["p", None, "p"]}, "1 samples have no plate, first: sample 1"),
        ({"plate": ["p", "p", float("nan")]}, "1 samples have no plate, first: sample 2"),
        ({"plate": [1.0, float("nan"), 1.0]}, "1 samples have no plate, first: sample 1"),
        ({"condition": ["", None, "a"]}, "1 samples have no condition, first: sample 1"),
        ({"condition": ["", "a", float("nan")]}, "1 samples have no condition, first: sample 2"),
        ({"condition": ["", 3, "a"]}, "condition mixes labels"),
        ({"condition": ["", 3, "3"]}, "condition mixes labels"),
        ({"condition": np.array(["", 3, "a"], dtype=object)}, "condition mixes labels"),
        ({"is_control": [0, 1, 1]}, "one True or False per sample"),
        ({"is_control": [True, None, False]}, "one True or False per sample"),
        ({"is_control": [True, False]}, "condition has shape"),
        ({"block": [1, 2, 1], "condition": ["", "a", "a"]}, r"condition a stands in several blocks \(1, 2\)"),
        ({"block": [1, None, 1]}, "1 samples have no block, first: sample 1"),
        ({"terms": {"donor": ["x", "y"]}}, "donor has shape"),
        ({"terms": {"donor": ["x", None, "y"]}}, "1 samples have no donor, first: sample 1"),
        ({"condition": [], "plate": [], "is_control": np.array([], dtype=bool)}, "no sample"),
    ],
)
def test_unusable_labels_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        build_design(**LABELS | change)


def test_a_term_cannot_take_the_place_of_the_plate() -> None:
    with pytest.raises(ValueError, match="cannot be called 'plate'"):
        build_design(**LABELS, terms={"plate": ["x", "y", "z"]})


def test_unknown_word_for_replicates_is_refused() -> None:
    with pytest.raises(ValueError, match="'grouped' or 'separate', not 'pooled'"):
        build_design(**LABELS, replicates="pooled")
