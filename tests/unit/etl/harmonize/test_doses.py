"""Doses in µM, times in hours, and what is refused."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.doses import canonical_dose, dose_um, time_h


def dose(text: str | None, unit: str | None) -> float | None:
    [value] = dose_um(
        pl.Series("dose", [text], dtype=pl.String), pl.Series([unit], dtype=pl.String), dataset_id="toy"
    ).to_list()
    return value


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("10", "um", 10.0),
        ("10", "uM", 10.0),
        ("10", "\u00b5M", 10.0),  # micro sign
        ("10", "\u03bcM", 10.0),  # Greek mu
        ("10", "micromolar", 10.0),
        ("120", "nM", 0.12),
        ("0.01", "mM", 10.0),
        ("500", "pM", 0.0005),
        ("1e-5", "M", 10.0),
        ("-7", "log10 M", 0.1),
        ("-5.4771", "log10(M)", 3.33),
        ("10.0uM", None, 10.0),
        ("0.37 um", None, 0.37),
        ("10 uM", "um", 10.0),
        (".0025", "um", 0.0025),
        ("3.32999992371", "um", 3.33),
        ("0.119999997318", "um", 0.12),
        ("0", "um", 0.0),
        (None, "um", None),
        (None, None, None),
    ],
)
def test_doses_are_micromolar(text: str | None, unit: str | None, expected: float | None) -> None:
    assert dose(text, unit) == expected


@pytest.mark.parametrize(
    ("text", "unit", "rule"),
    [
        ("10", "mg/ml", "unknown unit"),
        ("10", None, "without unit"),
        ("10", "", "without unit"),
        ("-666", "um", "negative"),
        ("ten", "um", "not a number"),
        ("nan", "um", "not a number"),
        ("inf", "um", "not a number"),
        ("1e400", "um", "not finite"),
        ("400", "log10 M", "not finite"),
        ("", "um", "not a number"),
        ("10,5", "um", "unknown unit"),
        ("10 uM", "nM", "contradict"),
    ],
)
def test_what_is_no_dose_is_refused_with_dataset_column_and_value(
    text: str, unit: str | None, rule: str
) -> None:
    with pytest.raises(BadInputError, match=rule) as caught:
        dose(text, unit)
    message = str(caught.value)
    assert message.startswith("toy, column dose: ")
    assert repr(text) in message
    assert "1 rows" in message


def test_the_error_counts_the_rows_at_fault() -> None:
    with pytest.raises(BadInputError, match="2 rows"):
        dose_um(pl.Series(["-1", "3", "-1"]), pl.Series(["um"] * 3), dataset_id="toy")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [("24", "h", 24.0), ("24 hrs", None, 24.0), ("3", "d", 72.0), ("30", "minutes", 0.5), (None, "h", None)],
)
def test_times_are_hours(text: str | None, unit: str | None, expected: float | None) -> None:
    times = pl.Series([text], dtype=pl.String), pl.Series([unit], dtype=pl.String)
    assert time_h(*times, dataset_id="toy").to_list() == [expected]


def test_a_time_in_molar_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"column time: a time in an unknown unit"):
        time_h(pl.Series(["24"]), pl.Series(["uM"]), dataset_id="toy")


def test_rows_keep_their_order() -> None:
    texts = pl.Series(["3", None, "1", "3"])
    assert dose_um(texts, pl.Series(["um"] * 4), dataset_id="toy").to_list() == [3.0, None, 1.0, 3.0]


@given(st.lists(st.floats(1e-9, 1e9) | st.none(), max_size=20))
def test_canonical_doses_are_idempotent_exact_decimals(values: list[float | None]) -> None:
    once = canonical_dose(pl.Series(values, dtype=pl.Float64))
    assert canonical_dose(once).to_list() == once.to_list()
    for raw, rounded in zip(values, once.to_list(), strict=True):
        assert (raw is None) == (rounded is None)
        if raw is not None:
            assert rounded == float(f"{rounded:.3g}")
            assert rounded == pytest.approx(raw, rel=5.01e-3)


@given(st.integers(1, 999), st.integers(-6, 3))
def test_float32_noise_collapses(digits: int, exponent: int) -> None:
    value = float(f"{digits}e{exponent}")
    noisy = pl.Series([value], dtype=pl.Float32)
    assert canonical_dose(noisy).to_list() == [value]


def test_canonical_dose_works_as_an_expression() -> None:
    frame = pl.LazyFrame({"dose": [0.37000000000000005, None]})
    assert frame.select(canonical_dose(pl.col("dose"))).collect()["dose"].to_list() == [0.37, None]


@given(st.text(max_size=12), st.sampled_from(["um", "nM", None]))
def test_any_text_gives_a_dose_or_a_clear_refusal(text: str, unit: str | None) -> None:
    try:
        value = dose(text, unit)
    except BadInputError:
        return
    assert value is not None
    assert value >= 0
