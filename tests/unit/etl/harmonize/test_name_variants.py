"""Weaker forms of names: what is left out, and when the molecule may be another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.harmonize.name_variants import SALT_WORDS, name_variants


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("Osimertinib (mesylate)", [("Osimertinib", True)]),
        ("Canagliflozin (hemihydrate)", [("Canagliflozin", True)]),
        ("imatinib mesylate", [("imatinib", True)]),
        ("Trametinib (DMSO_TF solvate)", [("Trametinib", True)]),
        ("doxorubicin HCl", [("doxorubicin", True)]),
        ("Dexamethasone sodium phosphate", [("Dexamethasone", False)]),
        ("Mometasone furoate", []),
        ("ABT-199 (GDC-0199)", [("ABT-199", False), ("GDC-0199", False)]),
        ("(S)-(+)-ibuprofen", [("(+)-ibuprofen", False), ("ibuprofen", False)]),
        ("L-ascorbic acid", [("ascorbic acid", False)]),
        ("rac-BHFF", [("BHFF", False)]),
        ("E-64", []),
        ("Z-VAD-FMK", []),
        ("D-64131", []),
        ("sodium", []),
        ("(hydrochloride)", []),
        ("aspirin", []),
    ],
)
def test_forms_of_real_names(name: str, forms: list[tuple[str, bool]]) -> None:
    assert [(variant.text, variant.is_same_parent) for variant in name_variants(name)] == forms


def test_what_was_left_out_is_said() -> None:
    [variant] = name_variants("imatinib mesylate")
    assert variant.remark == "name without 'mesylate'"


@given(st.text(max_size=30))
def test_every_form_is_shorter_and_the_safe_ones_come_first(name: str) -> None:
    variants = name_variants(name)
    assert all(variant.text and len(variant.text) < len(name) for variant in variants)
    safe = [variant.is_same_parent for variant in variants]
    assert safe == sorted(safe, reverse=True)


@given(st.sampled_from(sorted(SALT_WORDS)))
def test_every_salt_word_is_left_out(word: str) -> None:
    assert "examplinib" in [variant.text for variant in name_variants(f"examplinib {word}")]
