"""Conditions of Tahoe-100M: the text of a Python list that holds drug, concentration and unit.

    [('Bortezomib', 0.5, 'uM')]

Here: reading them, and which drug is the vehicle. Not here: files (``tahoe100m``), what units mean.
"""

import ast
import re
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError

VEHICLE: Final = "DMSO_TF"


class Conditions:
    """Texts of conditions, each read once.

    Args:
        dataset_id: for messages.
    """

    def __init__(self, dataset_id: str) -> None:
        self._dataset_id = dataset_id
        self._known: dict[str, tuple[str, str, str]] = {}

    def of(self, texts: pl.Series, path: Path) -> pl.DataFrame:
        """Return the distinct texts with what they say.

        Args:
            texts: ``drugname_drugconc`` of some cells or samples.
            path: where they stand, for messages.

        Returns:
            drugname_drugconc, drug_listed (without blanks around it), dose, dose_unit; of null all null.

        Raises:
            BadInputError: a text is no list of one drug, or names another vehicle than ``DMSO_TF``.
        """
        distinct = texts.cast(pl.String).unique().sort()
        rows = [(text, *(self._read(text, path) if text is not None else (None,) * 3)) for text in distinct]
        names = ("drugname_drugconc", "drug_listed", "dose", "dose_unit")
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def _read(self, text: str, path: Path) -> tuple[str, str, str]:
        if text not in self._known:
            self._known[text] = self._parse(text, path)
        return self._known[text]

    def _parse(self, text: str, path: Path) -> tuple[str, str, str]:
        try:
            ((drug, dose, unit),) = ast.literal_eval(text)
            value = float(dose)
        except (ValueError, SyntaxError, TypeError) as fault:
            rule = f"a condition is a list of one drug, its concentration and unit, not {text[:80]!r}"
            raise self._error(rule, path) from fault
        name = str(drug).strip()
        if re.match("dmso", name, re.IGNORECASE) and name != VEHICLE:
            # A vehicle by another name would be taken for a treatment, and its plate lose a reference.
            raise self._error(f"the vehicle is {VEHICLE}, but a condition names {name!r}", path)
        return name, str(value), str(unit)

    def _error(self, rule: str, path: Path) -> BadInputError:
        return BadInputError(rule, dataset_id=self._dataset_id, file=path, column="drugname_drugconc")
