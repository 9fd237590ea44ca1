"""Reader of the Cellosaurus text release, the reference of cell-line names.

Here: the line-coded text, one record at a time. Not here: matching a dataset's labels to cell lines, and
which of several matches is right (``etl.harmonize``).

Layout: a header in free text or ``##`` comments, then records of lines ``CC   text`` (two-letter code, three
blanks), each ended by ``//``. Codes used here; all others (STR profiles, publications, dates …) are skipped:

    ID   name                     starts a record             AC   accession (CVCL_...)
    AS   secondary accessions; …  merged into this record     SY   synonym; synonym; …
    DR   database; key            cross-reference, repeated   CC   topic: text
    DI   vocabulary; code; name   disease, repeated           OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
    HI   CVCL_.... ! name         parent, repeated (hybrids)  OI   CVCL_.... ! name    same individual
    SX   sex                                                  AG   age
    CA   category

The text declares no number of records: a file cut off exactly between two cannot be told from a whole one;
the checksum of the download can.
"""

import re
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError

_TEXTS = pl.List(pl.String())
SCHEMA: dict[str, pl.DataType] = {
    "accession": pl.String(),
    "name": pl.String(),
    "synonyms": _TEXTS,
    "misspellings": _TEXTS,
    "secondary_accessions": _TEXTS,
    "depmap_ids": _TEXTS,
    "sanger_model_ids": _TEXTS,
    "cosmic_ids": _TEXTS,
    "ccle_names": _TEXTS,
    "lincs_ldp_ids": _TEXTS,
    "lincs_hms_ids": _TEXTS,
    "species": pl.String(),
    "sex": pl.String(),
    "age": pl.String(),
    "population": pl.String(),
    "genome_ancestry": pl.String(),
    "site": pl.String(),
    "cell_type": pl.String(),
    "disease": pl.String(),
    "category": pl.String(),
    "parent_accessions": _TEXTS,
    "same_individual": _TEXTS,
    "problem": pl.String(),
}
"""Columns of the frame ``read`` returns."""

_CODES = frozenset({"ID", "AC", "AS", "SY", "DR", "DI", "OX", "HI", "OI", "SX", "AG", "CA", "CC"})
# Most lines are cross-references and comments that nothing is taken from; leaving them aside at once is what
# makes the reader fast.
_DATABASES: Final = {
    "depmap_ids": ("DepMap",),
    "sanger_model_ids": ("Cell_Model_Passport",),
    # GDSC names a line by its COSMIC id.
    "cosmic_ids": ("Cosmic", "Cosmic-CLP", "GDSC"),
    "ccle_names": ("CCLE",),
    "lincs_ldp_ids": ("LINCS_LDP",),
    "lincs_hms_ids": ("LINCS_HMS",),
}
_TOPICS: Final = (
    "Problematic cell line",
    "Misspelling",
    "Population",
    "Genome ancestry",
    "Derived from site",
    "Cell type",
)
_TAKEN = tuple(f"DR   {database}" for databases in _DATABASES.values() for database in databases) + tuple(
    f"CC   {topic}: " for topic in _TOPICS
)
_SINGLE = frozenset({"AC", "SX", "AG", "CA"})
_ACCESSION = re.compile(r"CVCL_[A-Z0-9]{4,}")
# A description before the records may list the codes, with wider gaps.
_CODED_LINE = re.compile(r"[A-Z]{2}   \S")
_COMMON_NAME = re.compile(r" \([^()]*\)$")
_PUBLICATIONS = re.compile(r" \([A-Za-z]+=[^()]*\)$")
_BATCH = 5_000  # records held as Python objects before they become columns
_HEADER_LINES = 2_000  # far beyond any header
_STATED = re.compile(r"\W*(version|last update)\s*:\s*(\S+)\s*", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_Record = dict[str, list[str]]


def read(path: Path) -> pl.DataFrame:
    """Read every record of a Cellosaurus text file.

    Args:
        path: ``cellosaurus.txt`` or an excerpt, UTF-8, not compressed.

    Returns:
        One row per record in file order, with the columns of ``SCHEMA``. Lists are empty, texts null where
        the record says nothing. ``species`` joins several with ``; `` (hybrids). ``disease`` is the first
        listed. ``cosmic_ids`` are those of COSMIC, of its cell-line project and of GDSC, each once. ``sex``
        and ``age`` are verbatim (``Female``, ``58Y``). ``site`` is how and where the sample was taken
        (``In situ; Colon``, ``Metastatic; Lymph node``), without its UBERON term. ``problem`` is what
        Cellosaurus says of a misidentified, contaminated or misclassified line.

    Raises:
        BadInputError: no records, a record that is not started, not ended or without accession, an accession
            repeated, a line of a known code in another form, or text that is not UTF-8.
    """
    batches: list[pl.DataFrame] = []
    rows: list[tuple[str | None, ...]] = []
    first_rows: dict[str, int] = {}
    for row, record in _records(path):
        values = _values(record, row, path)
        accession = str(values["accession"])
        if accession in first_rows:
            rule = f"an accession has one record, but {accession} also starts at line {first_rows[accession]}"
            raise BadInputError(rule, file=path, row=row)
        first_rows[accession] = row
        rows.append(tuple(values.values()))
        if len(rows) == _BATCH:
            batches.append(_frame(rows))
            rows.clear()
    if not first_rows:
        raise BadInputError(
            "Cellosaurus text holds records that start with 'ID   ', but there is none", file=path
        )
    return pl.concat([*batches, _frame(rows)])


def release(path: Path) -> tuple[str | None, date | None]:
    """Return the version and the date that the header of a Cellosaurus file states.

    The publisher's header has lines ``Version: 51.0`` and ``Last update: 19-December-2024``.

    Returns:
        Version as text and date; null where it is not stated (excerpts), the date also where it is not
        written as above or as ``2024-12-19``.
    """
    stated: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in islice(file, _HEADER_LINES):
            if _CODED_LINE.match(line):
                break
            if found := _STATED.fullmatch(line):
                stated.setdefault(found[1].lower(), found[2])
    return stated.get("version"), _date(stated.get("last update", ""))


def _date(text: str) -> date | None:
    parts = text.split("-")
    if len(parts) == 3 and parts[1][:3].lower() in _MONTHS:
        parts = [parts[2], str(_MONTHS.index(parts[1][:3].lower()) + 1), parts[0]]
    try:
        year, month, day = (int(part) for part in parts)
        return date(year, month, day)
    except ValueError:
        return None


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
                elif code in _CODES:
                    if line[2:5] != "   ":
                        rule = f"a line is a code, three blanks and text, not {line[:40].strip()!r}"
                        raise BadInputError(rule, file=path, row=row)
                    if code == "ID":
                        rule = f"the record of line {start} is not ended by '//'"
                        raise BadInputError(rule, file=path, row=row)
                    if code not in ("DR", "CC") or line.startswith(_TAKEN):
                        record.setdefault(code, []).append(line[5:].strip())
                elif code == "//":
                    yield start, record
                    record = None
    except UnicodeDecodeError as error:
        raise BadInputError("the text is UTF-8, but not here", file=path, row=_undecodable(path)) from error
    if record is not None:
        rule = f"the record of line {start} is not ended by '//': the file is truncated"
        raise BadInputError(rule, file=path, row=row)


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8; text is decoded in blocks, which do not tell."""
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return row
    raise AssertionError("every line is UTF-8")


def _frame(rows: list[tuple[str | None, ...]]) -> pl.DataFrame:
    """Make columns of records whose lists are texts, one item a line: far faster than lists of objects."""
    columns = zip(*rows, strict=True) if rows else [()] * len(SCHEMA)
    texts = pl.DataFrame(
        [pl.Series(name, values, pl.String) for name, values in zip(SCHEMA, columns, strict=True)]
    )
    # Splitting nothing gives one empty item.
    lists = pl.col(name for name, dtype in SCHEMA.items() if dtype == _TEXTS)
    return texts.with_columns(pl.when(lists != "").then(lists.str.split("\n")).otherwise(pl.lit([], _TEXTS)))


def _values(record: _Record, row: int, path: Path) -> dict[str, str | None]:
    """Texts of one record under the names of ``SCHEMA``, the items of a list on lines of their own."""
    for code in _SINGLE:
        if len(record.get(code, ())) > 1:
            raise BadInputError(f"a record has one {code} line at most", file=path, row=row, column=code)
    accession = _first(record, "AC") or ""
    if not _ACCESSION.fullmatch(accession):
        rule = f"a record has an accession CVCL_ and four or more letters and digits, not {accession!r}"
        raise BadInputError(rule, file=path, row=row, column="AC")
    comments = _comments(record)
    species = [_species(text, row, path) for text in record.get("OX", ())]
    problems = comments.get("Problematic cell line", ())
    return {
        "accession": accession,
        "name": record["ID"][0],
        "synonyms": _split(record.get("SY", ())),
        "misspellings": "\n".join(text.split("; ", 1)[0] for text in comments.get("Misspelling", ())),
        "secondary_accessions": _split(record.get("AS", ())),
        **_references(record, row, path),
        "species": "; ".join(species) or None,
        "sex": _first(record, "SX"),
        "age": _first(record, "AG"),
        "population": _first(comments, "Population"),
        "genome_ancestry": _without_publications(_first(comments, "Genome ancestry")),
        "site": _without_term(_first(comments, "Derived from site")),
        "cell_type": _without_term(_first(comments, "Cell type")),
        "disease": _disease(record, row, path),
        "category": _first(record, "CA"),
        "parent_accessions": _accessions(record.get("HI", ())),
        "same_individual": _accessions(record.get("OI", ())),
        "problem": " ".join(f"{text}." for text in problems) or None,
    }


def _first(texts: _Record, key: str) -> str | None:
    return next(iter(texts.get(key, ())), None) or None


def _split(texts: list[str] | tuple[()]) -> str:
    return "\n".join(part for text in texts for part in text.split("; ") if part)


def _accessions(texts: list[str] | tuple[()]) -> str:
    return "\n".join(text.split(" ", 1)[0] for text in texts)


def _comments(record: _Record) -> _Record:
    """Texts by topic, without the full stop at their end."""
    comments: _Record = {}
    for line in record.get("CC", ()):
        topic, _, text = line.partition(": ")
        comments.setdefault(topic, []).append(text.removesuffix("."))
    return comments


def _without_publications(text: str | None) -> str | None:
    return None if text is None else _PUBLICATIONS.sub("", text)


def _without_term(text: str | None) -> str | None:
    """Leave out the ontology term and notes (``UBERON=…``, ``CL=…``, ``Note=…``) that follow a text."""
    return None if text is None else "; ".join(part for part in text.split("; ") if "=" not in part) or None


def _references(record: _Record, row: int, path: Path) -> dict[str, str | None]:
    keys: _Record = {}
    for text in record.get("DR", ()):
        database, separator, key = text.partition("; ")
        if not separator or not key:
            rule = f"a cross-reference is 'database; key', not {text[:40]!r}"
            raise BadInputError(rule, file=path, row=row, column="DR")
        keys.setdefault(database, []).append(key)
    return {
        column: "\n".join(dict.fromkeys(key for database in databases for key in keys.get(database, ())))
        for column, databases in _DATABASES.items()
    }


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
