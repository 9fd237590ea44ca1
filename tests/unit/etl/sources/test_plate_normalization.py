import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from etl.sources.plate_normalization import NO_BLANKS, NO_CONTROLS, NO_WINDOW, Average, normalize

PLATE = [
    ("p", "blank", 8.0),
    ("p", "blank", 12.0),
    ("p", "control", 100.0),
    ("p", "control", 100.0),
    ("p", "control", 130.0),
    ("p", "treated", 60.0),
    ("p", "treated", 5.0),
    ("p", "treated", 200.0),
]


def wells(*rows: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["plate", "role", "intensity"], orient="row")


def test_viability_is_the_share_of_the_window_between_blanks_and_controls() -> None:
    found = normalize(wells(*PLATE))
    assert found.wells["viability"].to_list() == pytest.approx([0.5, -0.05, 1.9])
    assert found.plates.row(0) == ("p", 2, 3, 10.0, 110.0, None)


@pytest.mark.parametrize(
    ("control", "expected"), [("mean", 0.5), ("median", 50 / 90), ("mean_above_5", 50 / 90)]
)
def test_controls_are_averaged_as_asked(control: Average, expected: float) -> None:
    assert normalize(wells(*PLATE), control=control).wells["viability"][0] == pytest.approx(expected)


def test_many_wells_have_a_mean_where_few_have_a_median() -> None:
    many = wells(*PLATE, *[("p", "control", 100.0)] * 3)
    found = normalize(many, control="mean_above_5").plates
    assert found["control"].item() == pytest.approx(630 / 6)


def test_values_are_clipped_only_where_asked() -> None:
    assert normalize(wells(*PLATE), clip=(0.0, 1.0)).wells["viability"].to_list() == [0.5, 0.0, 1.0]


def test_a_plate_without_a_scale_says_why_and_leaves_the_others_alone() -> None:
    rows = [
        *PLATE,
        *[("no blanks", role, value) for _, role, value in PLATE if role != "blank"],
        *[("no controls", role, value) for _, role, value in PLATE if role != "control"],
        *[("upside down", role, -value) for _, role, value in PLATE],
    ]
    found = normalize(wells(*rows))
    assert dict(found.plates.select("plate", "fault").iter_rows()) == {
        "p": None,
        "no blanks": NO_BLANKS,
        "no controls": NO_CONTROLS,
        "upside down": NO_WINDOW,
    }
    assert (found.wells["viability"].is_null() == found.wells["fault"].is_not_null()).all()
    assert found.wells["viability"].drop_nulls().to_list() == pytest.approx([0.5, -0.05, 1.9])


def test_other_columns_and_the_order_of_wells_stay() -> None:
    rows = wells(*PLATE).with_columns(well=pl.int_range(pl.len())).reverse()
    assert normalize(rows).wells["well"].to_list() == [7, 6, 5]


intensities = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=6)


@given(
    blanks=intensities,
    controls=intensities,
    treated=intensities,
    gain=st.floats(0.5, 2),
    offset=st.floats(0, 1e3),
)
def test_gain_and_offset_of_a_reader_do_not_matter(
    blanks: list[float], controls: list[float], treated: list[float], gain: float, offset: float
) -> None:
    rows = [("p", role, value) for role, values in
            (("blank", blanks), ("control", controls), ("treated", treated)) for value in values]  # fmt: skip
    found = normalize(wells(*rows))
    window = found.plates.select(pl.col("control") - pl.col("blank")).item()
    if window < 1:
        return
    read = normalize(wells(*rows).with_columns(pl.col("intensity") * gain + offset)).wells["viability"]
    assert read.to_list() == pytest.approx(found.wells["viability"].to_list(), rel=1e-6, abs=1e-6)
