"""The design graph: rank, connection and status of contrasts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.effects.design import build_design
from etl.errors import BadInputError


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[str], list[int], list[bool], list[int]]:
    n = draw(st.integers(2, 24))
    block = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    name = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    plate = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    control = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return [f"{x}{b}" for x, b in zip(name, block, strict=True)], plate, control, block


@given(layouts())
def test_rank_and_estimability_equal_those_of_the_dense_design(layout) -> None:
    condition, plate, control, block = layout
    design = build_design(condition, plate, control, block=block)
    dense = np.hstack([np.eye(design.n_conditions)[design.condition], np.eye(design.n_plates)[design.plate]])
    rank = np.linalg.matrix_rank(dense)
    assert design.rank == rank
    assert design.residual_df == len(condition) - rank
    for i, status in enumerate(design.status):
        if design.control[i] < 0:
            assert status in ("no_control", "no_residual_df")
            continue
        if design.residual_df < 1:
            assert status == "no_residual_df"
            continue
        contrast = np.zeros(dense.shape[1])
        contrast[i], contrast[design.control[i]] = 1, -1
        in_row_space = np.linalg.matrix_rank(np.vstack([dense, contrast])) == rank
        assert (status == "estimable") == in_row_space


def test_scope_tells_plates_with_and_without_controls() -> None:
    design = build_design(
        ["", "", "a", "b", "b", "c", "d"],
        [1, 1, 1, 1, 2, 2, 3],
        [True, True, False, False, False, False, False],
    )
    assert design.treated.tolist() == ["a", "b", "c", "d"]
    assert design.control_scope == ("same_plate", "linked_plates", "linked_plates", None)
    assert design.status == ("estimable", "estimable", "estimable", "confounded_with_plate")


def test_controls_of_another_block_do_not_count() -> None:
    design = build_design(
        ["", "", "a", "b"], ["p", "p", "p", "p"], [True, True, False, False], block=[6, 6, 6, 24]
    )
    assert design.status == ("estimable", "no_control")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plate": ["p"]}, "plate has shape"),
        ({"plate": ["p", None, "p"]}, "1 samples have no plate, first: sample 1"),
        ({"condition": ["", None, "a"]}, "1 samples have no condition, first: sample 1"),
        ({"condition": ["", 3, "a"]}, "mixes labels"),
        ({"is_control": [0, 1, 1]}, "one True or False per sample"),
        ({"block": [1, 2, 1], "condition": ["", "a", "a"]}, "condition a stands in several blocks"),
        ({"condition": [], "plate": [], "is_control": np.array([], dtype=bool)}, "no sample"),
    ],
)
def test_unusable_labels_are_named(change, message: str) -> None:
    labels = {
        "condition": ["", "a", "b"],
        "plate": ["p", "p", "p"],
        "is_control": [True, False, False],
    } | change
    if labels["condition"] == ["", 3, "a"]:
        labels["condition"] = np.array(["", 3, "a"], dtype=object)
    block = labels.pop("block", None)
    with pytest.raises(BadInputError, match=message):
        build_design(**labels, block=block)
