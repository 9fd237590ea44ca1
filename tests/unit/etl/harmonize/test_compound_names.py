"""Names that mean the same are written the same, one by one and as a column."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.harmonize.compound_names import name_key, name_key_expr


def _column_of_keys(names: list[str | None]) -> list[str | None]:
    frame = pl.DataFrame({"name": names}, schema={"name": pl.String})
    return frame.select(name_key_expr(pl.col("name")))["name"].to_list()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("γ-Oryzanol", "gammaoryzanol"),
        ("Γ-oryzanol", "gammaoryzanol"),
        (".gamma.-Oryzanol", "gammaoryzanol"),
        ("(+)-JQ1", "plusjq1"),
        ("(-)-JQ1", "minusjq1"),
        ("(−)-JQ1", "minusjq1"),
        ("(–)-JQ1", "minusjq1"),
        ("(±)-JQ1", "racjq1"),
        ("(+/-)-JQ1", "racjq1"),
        ("(+/−)-JQ1", "racjq1"),
        ("(+-)-JQ1", "racjq1"),
        ("rac-JQ1", "racjq1"),
        ("PLX-4720", "plx4720"),
        ("  PLX 4720 ", "plx4720"),
        ("ＰＬＸ－４７２０", "plx4720"),
        ("µ-conotoxin", "muconotoxin"),
        ("μ-conotoxin", "muconotoxin"),
        ("CO²", "co2"),
        ("Straße", "strasse"),
        ("ΘΗΤΑ-χ", "thetaetataualphachi"),
        ("50-78-2", "50782"),
        ("(--)", ""),
        ("", ""),
    ],
)
def test_a_name_has_one_key(name: str, key: str) -> None:
    assert name_key(name) == key
    assert _column_of_keys([name]) == [key]


def test_null_stays_null() -> None:
    assert _column_of_keys([None, "A-1", None, "α"]) == [None, "a1", None, "alpha"]
    assert _column_of_keys([]) == []


@given(st.lists(st.text() | st.text(alphabet="(+-±−/)aBγΣς-µ ²é\u0301"), max_size=20))
@example(["ᄀ-ᅡ", "İ", "ŉ", "\u0345α", "ﬃ"])
def test_a_column_gives_what_single_names_give(names: list[str]) -> None:
    assert _column_of_keys(list(names)) == [name_key(name) for name in names]


@given(st.text() | st.text(alphabet="(+-±−/)aBγΣς-µ ²é\u0301가"))
@example("ᄀ-ᅡ")
def test_the_key_of_a_key_is_itself(name: str) -> None:
    key = name_key(name)
    assert name_key(key) == key
    assert all(character.isalnum() for character in key)


@given(st.text(), st.sampled_from([str.upper, str.lower, str.title, lambda name: f" {name}."]))
def test_case_and_punctuation_do_not_matter_in_ascii(name: str, change: object) -> None:
    text = name.encode("ascii", "ignore").decode()
    assert name_key(change(text)) == name_key(text)  # type: ignore[operator]
