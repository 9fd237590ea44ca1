"""Registry ids in one written form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.harmonize.registry_ids import known_registry_key, registry_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("BRD-K12345678", "BRD-K12345678"),
        (" brd-a12345678-236-03-1 ", "BRD-A12345678"),
        ("HMSL10010-101-1", "HMSL10010"),
        ("LSM 5341", "LSM-5341"),
        ("NSC-632839", "NSC632839"),
        ("NSC 632839", "NSC632839"),
        ("ChEMBL25", "CHEMBL25"),
        ("DrugBank:DB00945", "DB00945"),
    ],
)
def test_one_id_is_one_text(text: str, key: str) -> None:
    assert registry_key(text) == known_registry_key(text) == key


@pytest.mark.parametrize(
    "text", ["S7792", "HY-10221", "aspirin", "BRD4132", "LSM", "NSC", "DB12", "BRD-K1234567"]
)
def test_what_only_looks_like_one_is_of_no_known_registry(text: str) -> None:
    assert known_registry_key(text) is None
    assert registry_key(text) == text.upper()


@given(st.text(max_size=20))
def test_the_form_of_a_form_is_itself(text: str) -> None:
    assert registry_key(registry_key(text)) == registry_key(text)
