"""ChEMBL's structures and UniChem's pairs of ids.

Here: what the two kinds of files say, and of which release they are. Not here: how ids lead to compounds
(``compound_reference.py``).
"""

import re
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError
from etl.formats import delimited

UNICHEM_SOURCES: Final = {1: "chembl", 2: "drugbank", 3: "pdb", 14: "fdasrs", 22: "pubchem"}
"""Names of UniChem's sources by their numbers, as far as this project has a use for them."""

_CHEMREPS = ("chembl_id", "canonical_smiles", "standard_inchi_key")
_RELEASE = re.compile(r"chembl_(\d+)_")
_FROM = re.compile(r"From src:'(\d+)'")
_TO = re.compile(r"To src:'(\d+)'")


def read_chemreps(path: Path) -> pl.DataFrame:
    """Read the structures of a ChEMBL release (``chembl_34_chemreps.txt.gz``).

    Returns:
        ``registry_id`` (``CHEMBL25``), ``smiles``, ``inchikey``, in the order of the file; null where empty.

    Raises:
        BadInputError: the file cannot be read, lacks a column, or a row has no id of ChEMBL's form.
    """
    rows = delimited.read_reference(path, _CHEMREPS, separator="\t")
    _require_ids(rows["chembl_id"], r"^CHEMBL[0-9]+$", path, "chembl_id", "no id of ChEMBL")
    text = rows.select(
        registry_id="chembl_id", smiles="canonical_smiles", inchikey=pl.col("standard_inchi_key")
    )
    return text.with_columns(pl.when(pl.all() != "").then(pl.all()))


def read_unichem(path: Path) -> pl.DataFrame:
    """Read the ids that two UniChem sources have for the same structures (``src1src22.txt.gz``).

    Returns:
        ``from_source``, ``from_id``, ``to_source``, ``to_id``, in the order of the file. Sources have their
        names in ``UNICHEM_SOURCES``, else their number in words: ``source 31``.

    Raises:
        BadInputError: the file cannot be read, its header is not UniChem's, or an id is empty.
    """
    try:
        rows = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise BadInputError(f"cannot be read: {' '.join(str(fault).split())}", file=path) from fault
    numbers = [pattern.fullmatch(name) for pattern, name in zip((_FROM, _TO), rows.columns, strict=False)]
    if rows.width != 2 or None in numbers:
        stated = " and ".join(repr(name) for name in rows.columns[:3])
        rule = f"two columns named \"From src:'1'\" and \"To src:'22'\" are expected, not {stated}"
        raise BadInputError(rule, file=path, row=1)
    for column in rows.columns:
        _require_ids(rows[column], ".", path, column, "an empty id")
    sources = [_source_name(int(match[1])) for match in numbers if match is not None]
    return rows.select(
        from_source=pl.lit(sources[0]), from_id=pl.nth(0), to_source=pl.lit(sources[1]), to_id=pl.nth(1)
    )


def chembl_release(path: Path) -> str | None:
    """Return the release that a file of ChEMBL is named for; null where it is not.

    >>> chembl_release(Path("reference/chembl_34_chemreps.txt.gz"))
    '34'
    """
    match = _RELEASE.search(path.name)
    return match[1] if match else None


def _source_name(number: int) -> str:
    return UNICHEM_SOURCES.get(number, f"source {number}")


def _require_ids(ids: pl.Series, pattern: str, path: Path, column: str, rule: str) -> None:
    is_right = ids.str.contains(pattern).fill_null(value=False)
    if not is_right.all():
        row = (~is_right).arg_true()[0]
        shown = "" if ids[row] is None else f": {ids[row]!r}"
        n = (~is_right).sum()
        raise BadInputError(f"{rule}{shown} ({n} such)", file=path, row=row + 2, column=column)
