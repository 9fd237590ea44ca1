"""Reader of the Cellosaurus text release, the reference of cell-line names.

Here: the line-coded text, one record at a time. Not here: matching a dataset's labels to cell lines, and
which of several matches is right (``etl.harmonize``).

Layout: free text or ``##`` comments, then records of lines ``CC   text`` (two-letter code, three blanks),
each ended by ``//``. Codes used here; all others (STR profiles, references, dates …) are skipped:

    ID   name                     starts a record             AC   accession (CVCL_...)
    AS   secondary accessions; …  merged into this record     SY   synonym; synonym; …
    DR   database; key            cross-reference, repeated   CC   topic: text
    DI   vocabulary; code; name   disease, repeated           OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
    HI   CVCL_.... ! name         parent, repeated (hybrids)  SX   sex
    AG   age                                                  CA   category

The text declares no number of records: a file cut off exactly between two cannot be told from a whole one;
the checksum of the download can.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from etl.errors import BadInputError

SCHEMA: dict[str, pl.DataType] = {
    "accession": pl.String(),
    "name": pl.String(),
    "synonyms": pl.List(pl.String()),
    "secondary_accessions": pl.List(pl.String()),
    "depmap_id": pl.String(),
    "sanger_model_id": pl.String(),
    "cosmic_ids": pl.List(pl.String()),
    "species": pl.String(),
    "sex": pl.String(),
    "age": pl.String(),
    "disease": pl.String(),
    "category": pl.String(),
    "parent_accession": pl.String(),
    "is_problematic": pl.Boolean(),
}
"""Columns of the frame ``read`` returns."""

_CODES = frozenset({"ID", "AC", "AS", "SY", "DR", "DI", "OX", "HI", "SX", "AG", "CA", "CC"})
# Most lines are cross-references to other databases; leaving them aside at once saves time.
_DATABASES = ("DR   DepMap", "DR   Cell_Model_Passport", "DR   Cosmic")
_SINGLE = frozenset({"AC", "SX", "AG", "CA"})
_ACCESSION = re.compile(r"CVCL_[A-Z0-9]{4,}")
# A description before the records may list the codes, with wider gaps.
_CODED_LINE = re.compile(r"[A-Z]{2}   \S")
_COMMON_NAME = re.compile(r" \([^()]*\)$")

_Record = dict[str, list[str]]


def read(path: Path) -> pl.DataFrame:
    """Read every record of a Cellosaurus text file.

    Args:
        path: ``cellosaurus.txt`` or an excerpt, UTF-8, not compressed.

    Returns:
        One row per record in file order, with the columns of ``SCHEMA``. Lists are empty, texts null where
        the record says nothing. ``species`` joins several with ``; `` (hybrids). ``depmap_id``,
        ``sanger_model_id`` (Cell Model Passports) and ``disease`` are the first listed. ``cosmic_ids`` are
        those of COSMIC and of its cell-line project, each once. ``parent_accession`` is null also where
        there are several parents. ``sex`` and ``age`` are verbatim (``Female``, ``58Y``).

    Raises:
        BadInputError: no records, a record that is not started, not ended or without accession, an accession
            repeated, a line of a known code in another form, or text that is not UTF-8.
    """
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA}
    first_rows: dict[str, int] = {}
    for row, record in _records(path):
        values = _values(record, row, path)
        accession = str(values["accession"])
        if accession in first_rows:
            rule = f"an accession has one record, but {accession} also starts at line {first_rows[accession]}"
            raise BadInputError(rule, file=path, row=row)
        first_rows[accession] = row
        for name, value in values.items():
            columns[name].append(value)
    if not first_rows:
        raise BadInputError(
            "Cellosaurus text holds records that start with 'ID   ', but there is none", file=path
        )
    return pl.DataFrame(columns, schema=SCHEMA)


def _records(path: Path) -> Iterator[tuple[int, _Record]]:
    """Line number and lines by code of each record."""
    record: _Record | None = None
    start = row = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for row, line in enumerate(file, start=1):
                code = line[:2]
                if record is None:
                    if code == "ID" and _CODED_LINE.match(line):
                        record, start = {"ID": [line[5:].strip()]}, row
                    elif line.rstrip() == "//" or _CODED_LINE.match(line):
                        rule = f"a record starts with 'ID   ', not {line[:40].strip()!r}"
                        raise BadInputError(rule, file=path, row=row)
                elif code == "//":
                    yield start, record
                    record = None
                elif code == "ID":
                    raise BadInputError(
                        f"the record of line {start} is not ended by '//'", file=path, row=row
                    )
                elif code in _CODES and (code != "DR" or line.startswith(_DATABASES) or line[2:5] != "   "):
                    if line[2:5] != "   ":
                        rule = f"a line is a code, three blanks and text, not {line[:40].strip()!r}"
                        raise BadInputError(rule, file=path, row=row)
                    record.setdefault(code, []).append(line[5:].strip())
    except UnicodeDecodeError as error:
        rule = f"the text is UTF-8, but not after line {row}"
        raise BadInputError(rule, file=path, row=row + 1) from error
    if record is not None:
        rule = f"the record of line {start} is not ended by '//': the file is truncated"
        raise BadInputError(rule, file=path, row=row)


def _values(record: _Record, row: int, path: Path) -> dict[str, object]:
    for code in _SINGLE:
        if len(record.get(code, ())) > 1:
            raise BadInputError(f"a record has one {code} line at most", file=path, row=row, column=code)
    accession = _first(record, "AC") or ""
    if not _ACCESSION.fullmatch(accession):
        rule = f"a record has an accession CVCL_ and four or more letters and digits, not {accession!r}"
        raise BadInputError(rule, file=path, row=row, column="AC")
    references = _references(record, row, path)
    parents = [text.split(" ", 1)[0] for text in record.get("HI", ())]
    species = [_species(text, row, path) for text in record.get("OX", ())]
    cosmic = [*references.get("Cosmic", ()), *references.get("Cosmic-CLP", ())]
    return {
        "accession": accession,
        "name": record["ID"][0],
        "synonyms": _split(record.get("SY", ())),
        "secondary_accessions": _split(record.get("AS", ())),
        "depmap_id": next(iter(references.get("DepMap", ())), None),
        "sanger_model_id": next(iter(references.get("Cell_Model_Passport", ())), None),
        "cosmic_ids": list(dict.fromkeys(cosmic)),
        "species": "; ".join(species) or None,
        "sex": _first(record, "SX"),
        "age": _first(record, "AG"),
        "disease": _disease(record, row, path),
        "category": _first(record, "CA"),
        "parent_accession": parents[0] if len(parents) == 1 else None,
        "is_problematic": any(text.startswith("Problematic cell line") for text in record.get("CC", ())),
    }


def _first(record: _Record, code: str) -> str | None:
    return next(iter(record.get(code, ())), None) or None


def _split(texts: list[str] | tuple[()]) -> list[str]:
    return [part for text in texts for part in text.split("; ") if part]


def _references(record: _Record, row: int, path: Path) -> dict[str, list[str]]:
    references: dict[str, list[str]] = {}
    for text in record.get("DR", ()):
        database, separator, key = text.partition("; ")
        if not separator or not key:
            rule = f"a cross-reference is 'database; key', not {text[:40]!r}"
            raise BadInputError(rule, file=path, row=row, column="DR")
        references.setdefault(database, []).append(key)
    return references


def _species(text: str, row: int, path: Path) -> str:
    _, separator, name = text.partition("! ")
    if not separator or not name:
        rule = f"a species is 'NCBI_TaxID=number; ! name', not {text[:40]!r}"
        raise BadInputError(rule, file=path, row=row, column="OX")
    return _COMMON_NAME.sub("", name)


def _disease(record: _Record, row: int, path: Path) -> str | None:
    text = _first(record, "DI")
    if text is None:
        return None
    parts = text.split("; ", 2)
    if len(parts) != 3:
        rule = f"a disease is 'vocabulary; code; name', not {text[:40]!r}"
        raise BadInputError(rule, file=path, row=row, column="DI")
    return parts[2]
