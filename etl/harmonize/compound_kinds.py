"""What a compound's name alone says: that it is no small molecule, or that it is several.

Names only, no structures (``structures.py``), and no look-ups: a compound that is an antibody is told so, not
searched for. The rules are meant to miss rather than to be wrong, since a small molecule called a biologic is
not resolved any more.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Combination:
    """Several compounds given together under one name.

    Args:
        parts: their names, in the order of the name; at least two.
        ratio: as published, ``2:1 mol/mol``; None where the name has none.
    """

    parts: tuple[str, ...]
    ratio: str | None = None


def _any_of(*patterns: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags)


_NAMED_FOR_ITS_TARGET = _any_of(
    r"\b\w*(?:inhibitor|antagonist|agonist|activator|stimulator|modulator|blocker|degrader|mimetic)s?\b",
    r"\b(?:analog(?:ue)?|ligand|probe|substrate|receptor)s?\b",
)
"""A small molecule is often called by what it acts on: an EGF receptor inhibitor is no EGF."""

# Stems of international nonproprietary names: -mab, since 2021 also -tug, -bart and -mig.
_ANTIBODY = _any_of(
    r"\b[a-z]{3,}mab\b",
    r"\b[a-z]{5,}(?:tug|bart|mig)\b",
    r"\b(?:antibod(?:y|ies)|immunoglobulin|nanobody|Ig[GMAE]\d?)\b",
)
_AGAINST_AN_ANTIGEN = re.compile(r"\b[Aa]nti-(?:(?:human|mouse|rat)[ -])?[A-Z]{2,}[A-Za-z0-9-]*")

_BIOLOGIC = _any_of(
    r"\b(?:peg)?interferon\b",
    r"\b(?:pro)?insulin\b(?!-like)",
    r"\binsulin-like growth factor\b",
    r"\b[a-z]*(?:ner|ber|ta|fa|ter|na|ci|ba)cept\b",  # not the brands Aricept and CellCept
    r"\b[a-z]+(?:grastim|gramostim|plostim|poetin|leukin|leucel|[tf]ermin|teplase)\b",
    r"\b[a-z]{3,}(?:ersen|irsen|orsen|siran)\b",
    r"\b(?:antisense|[sm]iRNA|shRNA|(?:oligo|ribo)nucleotides? duplex|aptamer)\b",
    r"\b(?:erythro|thrombo)poietin\b|\b(?:onco|angio)statin\b|\bleptin\b|\badiponectin\b",
    r"\b(?:soma|folli|lu|thyro|cortico|gonado)tropin\b",
    r"\b(?:epidermal|fibroblast|hepatocyte|keratinocyte|nerve|platelet[- ]derived|transforming|"
    r"vascular endothelial) growth factor\b",
    r"\b(?:tumou?r necrosis|colony[- ]stimulating|stem cell|leuka?emia inhibitory) factor\b",
    r"\binterleukin\b|\bheregulin\b|\bneuregulin\b|\bnoggin\b|\bactivin A\b",
    r"\b(?:pegaspargase|(?:l-)?asparaginase|dornase|collagenase|hyaluronidase)\b",
    r"\b(?:cholera|diphtheria|pertussis|shiga|tetanus|botulinum) ?toxin\w?\b|botulinumtoxin",
    r"\b(?:transferrin|fibronectin|laminin)\b|\b(?:serum )?albumin$|\bvaccine\b|\bantiserum\b",
    r"\blipopolysaccharide\b",
)
# A cytokine's symbol counts only as the whole name, in its own case, perhaps said to be recombinant.
_CYTOKINE = re.compile(
    r"(?:(?:recombinant|human|mouse|murine|rh|rm|r)[ -]?)*"
    r"(?:IL-?\d{1,2}[A-Z]?(?:[ -]?(?:alpha|beta|[αβab]))?"
    r"|IFN[ -]?(?:alpha|beta|gamma|[αβγabg])?[ -]?\d?[ab]?"
    r"|TNF[ -]?(?:alpha|[αa])?"
    r"|TGF[ -]?(?:alpha|beta|[αβab])[ -]?[123]?"
    r"|(?:HB-?)?EGF|[HNK]GF|[BG]DNF|(?:GM|G|M)-?CSF"
    r"|VEGF-?(?:[A-D]|\d{3})?|b?FGF-?\d{0,2}|PDGF-?[A-D]{0,2}|IGF-?(?:[12]|II?)"
    r"|BMP-?\d{1,2}|W[Nn][Tt]-?\d{1,2}[AaBb]?"
    r"|SDF-?1(?:[ -]?(?:alpha|[αa]))?|C[CX]{1,2}3?CL\d{1,2})"
)

_POLYMER = _any_of(
    r"^poly ?\(",
    r"\bpoly[- ]?\(?I\)?[:-]\(?C\)?(?![a-z])",
    r"\bpolyinosinic\b",
    r"\bpoly-?(?:ethylene[- ]?glycol|ethylene ?oxide|ethyleni?mine|vinyl ?pyrrolidone|vinyl ?alcohol|styrene|"
    r"acryl(?:ate|amide|ic acid)|brene|oxyethylene|sorbate|(?:[dl]-)?lysine|(?:[dl]-)?ornithine)\b",
    r"^m?PEG[- ]?\d{3,5}\b",
    r"\b(?:macrogol|povidone|crospovidone|polox[ao]mer|carbomer|tyloxapol|dimethicone|simethicone)\b",
    r"\b(?:dextran|\w*cellulose|chitosan|inulin|alginate|agarose|carrageenan|pectin|amylopectin)\b",
    r"\b(?:hyaluron(?:an|ic acid|ate)|chondroitin|dermatan|heparan)\b",
    r"\b(?:he|enoxa|dalte|tinza|nadro|bemi|revi|certo|parna|arde)parin\b",
    r"\b(?:glatiramer|sevelamer|patiromer|c[ho]*lestyramine|colestipol|colesevelam)\b",
)

_RATIO: Final = re.compile(
    r"\s*\((?P<ratio>(?P<numbers>\d+(?:\.\d+)?(?::\d+(?:\.\d+)?)+)(?:\s*(?:mol/mol|molar|[mvw]/[mvw]|wt/wt))?)\)$"
)
_SPACED_PLUS = re.compile(r"\s\+\s")
_PLUS = re.compile(r"(?<=[a-z]{4})\+(?=[A-Za-z]{4})")
_SLASH = re.compile(r"\s?/\s?")
_NAME: Final = re.compile(r"[A-Za-z]{2}")
_WORDS: Final = re.compile(r"[A-Za-z]{5,}(?:[ -][A-Za-z]{4,})*")
_NO_PART: Final = re.compile(
    r"(?i)(?:dmso|pbs|water|ethanol|vehicle|control|medium|media|serum|alpha|beta|gamma|delta|trans|racemate|"
    r"mixture|unknown|other|isomer)s?"
)


def kind_of_name(name: str) -> str | None:
    """Return ``antibody``, ``biologic`` or ``polymer`` where a name says so, else None.

    Antibodies go by the stems of their international nonproprietary names, with what is conjugated to them,
    or by their antigen; biologics (hormones, cytokines, fusion proteins, enzymes, oligonucleotides) by stem
    or by name; polymers by name. A name that tells what the compound acts on says nothing.

    >>> kind_of_name("trastuzumab deruxtecan"), kind_of_name("IL-2"), kind_of_name("PEG 400")
    ('antibody', 'biologic', 'polymer')
    >>> kind_of_name("EGF receptor inhibitor"), kind_of_name("CellCept"), kind_of_name("polydatin")
    (None, None, None)
    """
    text = " ".join(name.replace("_", " ").split())
    if _ANTIBODY.search(text):
        return "antibody"
    if _NAMED_FOR_ITS_TARGET.search(text):
        return None
    if _AGAINST_AN_ANTIGEN.search(text):
        return "antibody"
    if _BIOLOGIC.search(text) or _CYTOKINE.fullmatch(text):
        return "biologic"
    return "polymer" if _POLYMER.search(text) else None


def combination_parts(name: str) -> Combination | None:
    """Return the compounds that a name joins, or None for the name of one compound.

    Recognized, each with or without a ratio in parentheses behind it:

    * ``A:B (2:1 mol/mol)``; a colon counts only where the ratio has as many numbers as the name has parts;
    * ``A + B``, spaced; ``A+B`` only between letters;
    * ``A/B`` where every part is words of five letters or more, without digits: ``CDK1/2`` is one name.

    A solvent or vehicle is no part, and what is named for its target (``PI3K/mTOR inhibitor``) is no
    combination. Two names of one compound may be written with a slash, too: whoever resolves the parts sees
    that they are the same.

    >>> combination_parts("carboplatin:etoposide (40:17 mol/mol)")
    Combination(parts=('carboplatin', 'etoposide'), ratio='40:17 mol/mol')
    >>> combination_parts("Sacubitril/Valsartan").parts
    ('Sacubitril', 'Valsartan')
    >>> combination_parts("(+)-JQ1"), combination_parts("Akt inhibitor 1/2"), combination_parts("poly(I:C)")
    (None, None, None)
    """
    text = " ".join(name.split())
    stated = _RATIO.search(text)
    joined = text[: stated.start()] if stated else text
    ratio = stated["ratio"] if stated else None
    if stated:
        parts = _parts(joined.split(":"))
        if len(parts) == stated["numbers"].count(":") + 1 and all(map(_NAME.search, parts)):
            return Combination(parts, ratio)
    if _NAMED_FOR_ITS_TARGET.search(joined):
        return None
    for separator in (_SPACED_PLUS, _PLUS):
        parts = _parts(separator.split(joined))
        if len(parts) > 1 and all(map(_NAME.search, parts)):
            return Combination(parts, ratio)
    parts = _parts(_SLASH.split(joined))
    if len(parts) > 1 and all(map(_WORDS.fullmatch, parts)):
        return Combination(parts, ratio)
    return None


def _parts(texts: list[str]) -> tuple[str, ...]:
    """Return the parts of a name; none where one of them is no compound."""
    parts = tuple(text.strip() for text in texts)
    return () if any(_NO_PART.fullmatch(part) for part in parts) else parts
