"""The form in which compound names are compared.

Here: one key per name, for a single name and for a column of them. Not here: which compound a key means
(``compounds.py``), and the tables of names (``pubchem_files.py``).
"""

import unicodedata
from typing import Final

import polars as pl

_GREEK: Final = str.maketrans(
    {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta"}
    | {"θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi"}
    | {"ο": "omicron", "π": "pi", "ρ": "rho", "σ": "sigma", "ς": "sigma", "τ": "tau", "υ": "upsilon"}
    | {"φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega"}
)
_DASHES: Final = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-"))
_ROTATIONS: Final = {"(+/-)": "rac", "(+-)": "rac", "(±)": "rac", "(+)": "plus", "(-)": "minus"}


def name_key(name: str) -> str:
    """Return the form in which names are compared: no case, spaces or punctuation, Greek letters spelled.

    The sign of optical rotation is kept as a word, since it tells enantiomers apart. Letters and digits that
    are only written differently (full width, superscript, the micro sign) are one (Unicode NFKC). The key of
    a key is itself.

    >>> name_key("γ-Oryzanol"), name_key("(+)-JQ1"), name_key("PLX-4720")
    ('gammaoryzanol', 'plusjq1', 'plx4720')
    """
    # What stands together only after a dash is removed may compose to one letter, so once is not enough.
    while (key := _folded(name)) != name:
        name = key
    return key


def name_key_expr(name: pl.Expr) -> pl.Expr:
    """Return :func:`name_key` of a column of text; null stays null.

    Names in ASCII, nearly all of them, are folded by Polars; the others one by one by :func:`name_key`, whose
    tables of Unicode need not be of the same version.
    """
    return name.map_batches(_keys, return_dtype=pl.String, is_elementwise=True)


def _folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold().translate(_DASHES)
    if "(" in text:
        for sign, word in _ROTATIONS.items():
            text = text.replace(sign, word)
    return "".join(character for character in text.translate(_GREEK) if character.isalnum())


def _keys(names: pl.Series) -> pl.Series:
    is_ascii = names.str.len_bytes() == names.str.len_chars()
    rotations = [sign for sign in _ROTATIONS if sign.isascii()]
    keys = (
        names.str.to_lowercase()
        .str.replace_many(rotations, [_ROTATIONS[sign] for sign in rotations])
        .str.replace_all("[^a-z0-9]+", "")
    )
    others = (~is_ascii).arg_true()
    if others.is_empty():
        return keys
    folded = [name_key(name) for name in names.gather(others)]
    return keys.scatter(others, pl.Series(folded, dtype=pl.String))
