"""Registry and catalogue ids of compounds in one written form, so that the same id is the same text.

Only the text is looked at; what an id stands for is looked up in ``compound_reference`` and PubChem.
"""

import re
from typing import Final

_FORMS: Final = (
    # Broad Institute; salt form and batch (``-001-01-6``) left out: the parent is the same.
    (re.compile(r"(BRD-[A-Z]\d{8})(?:-\d{3}(?:-\d{2}(?:-\d)?)?)?"), "{}"),
    # LINCS small molecules of the HMS center; salt form and batch left out.
    (re.compile(r"HMSL[- ]?(\d{4,6})(?:-\d+)*"), "HMSL{}"),
    (re.compile(r"LSM[- ]?(\d+)"), "LSM-{}"),
    (re.compile(r"NSC[- #]?\s?(\d+)"), "NSC{}"),
    (re.compile(r"CHEMBL[- ]?(\d+)"), "CHEMBL{}"),
    (re.compile(r"(?:DRUGBANK:\s?)?(DB\d{5})"), "{}"),
)
_CAS = re.compile(r"(\d{2,7})-(\d{2})-(\d)")
_SELLECK = re.compile(r"(S\d{4,5})")


def registry_key(text: str) -> str:
    """Return the one written form of a registry or catalogue id; of another registry, upper case.

    >>> registry_key("BRD-K12345678-001-01-6"), registry_key("nsc 632839"), registry_key("chembl25")
    ('BRD-K12345678', 'NSC632839', 'CHEMBL25')
    """
    return known_registry_key(text) or " ".join(text.split()).upper()


def known_registry_key(text: str) -> str | None:
    """Return the one written form of an id of a registry that PubChem lists among its synonyms, else None.

    These are Broad (``BRD``), HMS LINCS (``HMSL``), LINCS (``LSM``), NCI (``NSC``), ChEMBL and DrugBank. A
    bare catalogue number is none of them: ``S1007`` means something only beside its vendor.

    >>> known_registry_key("LSM-5341"), known_registry_key("S7792"), known_registry_key("aspirin")
    ('LSM-5341', None, None)
    """
    plain = " ".join(text.split()).upper()
    for form, written in _FORMS:
        if match := form.fullmatch(plain):
            return written.format(match[1])
    return None


def cas_number(text: str) -> str | None:
    """Return a CAS registry number; None where a text is none, or its check digit is wrong.

    The last digit is the sum of the others, each times its place counted from the right, modulo 10.

    >>> cas_number(" 50-78-2 "), cas_number("50-78-3"), cas_number("12/5/1950")
    ('50-78-2', None, None)
    """
    match = _CAS.fullmatch(text.strip())
    if match is None:
        return None
    digits = [int(digit) for digit in match[1] + match[2]]
    total = sum(place * digit for place, digit in enumerate(reversed(digits), start=1))
    return match[0] if total % 10 == int(match[3]) else None


def is_catalogue_number(text: str) -> bool:
    """Say whether a text is a bare catalogue number, which must not be looked up as a name.

    >>> is_catalogue_number("S7792"), is_catalogue_number("SB-203580")
    (True, False)
    """
    return _SELLECK.fullmatch(" ".join(text.split()).upper()) is not None
