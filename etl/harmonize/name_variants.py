"""Weaker forms of a compound name: what may still be the same molecule when the whole name is unknown.

A name is looked up whole first. Only where that fails are its weaker forms: without a trailing parenthesis,
or what stands in it, without the word for a salt or solvate, without a stereo prefix. Each says what was left
out, so that it can be told beside the resolution. How two names are compared is ``compound_names.name_key``.
"""

import re
from dataclasses import dataclass
from typing import Final

SALT_WORDS: Final = frozenset(
    """
    hydrochloride dihydrochloride trihydrochloride monohydrochloride hcl 2hcl hydrobromide dihydrobromide hbr
    hydroiodide mesylate dimesylate methanesulfonate methanesulphonate tosylate ditosylate besylate besilate
    esylate edisylate napsylate camsylate isethionate maleate dimaleate fumarate hemifumarate difumarate
    tartrate bitartrate hemitartrate malate citrate lactate gluconate oxalate pamoate embonate xinafoate
    trifluoroacetate tfa bromide chloride iodide sodium disodium trisodium potassium dipotassium lithium
    calcium magnesium meglumine tromethamine tris hydrate monohydrate dihydrate trihydrate tetrahydrate
    pentahydrate hemihydrate sesquihydrate hemipentahydrate anhydrous dmso dmso_tf solvate salt base free
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Words of counter-ions and solvates: what is left without them names the same parent."""

SALT_OR_ESTER_WORDS: Final = frozenset(
    """
    acetate diacetate phosphate diphosphate sulfate sulphate hemisulfate bisulfate succinate hemisuccinate
    nitrate
    """.split()  # noqa: SIM905 - as above
)
"""Words that name a salt of a base but an ester of an alcohol, which is another molecule."""

_TRAILING_PARENTHESIS: Final = re.compile(r"(?P<outer>.+?)\s*\((?P<inner>[^()]*)\)")
_STEREO_PREFIX: Final = re.compile(
    r"(?:\((?:[0-9,'rsezαβ/±+−\- ]|rac|cis|trans)+\)|rac|racemic|dl|cis|trans|(?:\+/-|±|\+|-|−))[- ](?=\S)"
    r"|[dlrsez]-(?=\(|(?-i:[A-Za-z][a-z]{4}))",
    re.IGNORECASE,
)
"""A single letter is one only before a word: ``L-ascorbic acid``, but not ``E-64`` or ``Z-VAD-FMK``."""


@dataclass(frozen=True, slots=True)
class NameVariant:
    """A weaker form of a name.

    Args:
        text: the form.
        remark: what was left out.
        is_same_parent: whether that cannot change the parent molecule.
    """

    text: str
    remark: str
    is_same_parent: bool


def name_variants(name: str) -> list[NameVariant]:
    """Return the weaker forms of a name, the safest first; none where there is nothing to leave out.

    >>> [(variant.text, variant.is_same_parent) for variant in name_variants("Osimertinib (mesylate)")]
    [('Osimertinib', True)]
    >>> [variant.text for variant in name_variants("(R)-Lisofylline hydrochloride")]
    ['(R)-Lisofylline', 'Lisofylline hydrochloride', 'Lisofylline']
    >>> [variant.text for variant in name_variants("ABT-199 (GDC-0199)")]
    ['ABT-199', 'GDC-0199']
    """
    found: dict[str, NameVariant] = {}
    whole = " ".join(name.split())
    for text, remark, is_same in _without_parenthesis(whole):
        found.setdefault(text, NameVariant(text, remark, is_same))
    for base in [NameVariant(whole, "", is_same_parent=True), *found.values()]:
        shorter, words = _without_salt(base.text)
        if words:
            is_salt = base.is_same_parent and not SALT_OR_ESTER_WORDS & set(words)
            remark = _joined(base.remark, f"name without {' '.join(words)!r}")
            found.setdefault(shorter, NameVariant(shorter, remark, is_salt))
    for base in [NameVariant(whole, "", is_same_parent=True), *found.values()]:
        shorter, remark = base.text, base.remark
        while match := _STEREO_PREFIX.match(shorter):
            shorter = shorter[match.end() :]
            remark = _joined(remark, f"name without {match[0].rstrip('- ')!r}")
            found.setdefault(shorter, NameVariant(shorter, remark, is_same_parent=False))
    found.pop(whole, None)
    ranked = list(found.values())
    return [*(each for each in ranked if each.is_same_parent), *(e for e in ranked if not e.is_same_parent)]


def _without_parenthesis(name: str) -> list[tuple[str, str, bool]]:
    """Return the name before a trailing parenthesis, and what stands in it where that may be a name."""
    match = _TRAILING_PARENTHESIS.fullmatch(name)
    if match is None or not match["outer"].strip():
        return []
    outer, inner = match["outer"].strip(), match["inner"].strip()
    left_out, words = _without_salt(f"x {inner}")
    if words and left_out == "x":
        is_salt = not SALT_OR_ESTER_WORDS & set(words)
        return [(outer, f"name without its {inner!r}", is_salt)]
    synonym = [(inner, f"name in parentheses, {inner!r}", False)] if _may_be_name(inner) else []
    return [(outer, f"name without its parenthesis, {inner!r}", False), *synonym]


def _may_be_name(text: str) -> bool:
    return len(text) >= 4 and any(character.isalpha() for character in text) and "%" not in text


def _without_salt(name: str) -> tuple[str, list[str]]:
    """Return a name without the salt words at its end, and these words in lower case."""
    words = name.split()
    n_kept = len(words)
    while n_kept > 1 and words[n_kept - 1].casefold().strip("().,") in SALT_WORDS | SALT_OR_ESTER_WORDS:
        n_kept -= 1
    left_out = [word.casefold().strip("().,") for word in words[n_kept:]]
    shorter = " ".join(words[:n_kept])
    return (shorter, left_out) if shorter.count("(") == shorter.count(")") else (name, [])


def _joined(first: str, second: str) -> str:
    return f"{first}, {second}" if first else second
