"""Reader of ontologies in the OBO text format, of which the Cell Ontology is one.

Here: the terms, their names, synonyms and cross-references, and what replaced a retired one. Not here: which
ontology a term belongs to, relations between terms, and matching labels to terms (``etl.harmonize``).

Layout: a header of lines ``tag: value``, then stanzas that start with ``[Term]``, ``[Typedef]`` or
``[Instance]`` and hold lines ``tag: value``. A value may be followed by qualifiers in braces and by a comment
after `` ! ``; a backslash escapes the next character. Tags used here; all others are skipped:

    id: CL:0000182                        name: hepatocyte
    synonym: "liver cell" EXACT [refs]    xref: FMA:14515
    is_obsolete: true                     replaced_by: CL:0000236

The format has no end mark: a file cut off between two lines cannot be told from a whole one; the checksum of
the download can.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from etl.errors import BadInputError

_TEXTS = pl.List(pl.String())
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "name": pl.String(),
    "exact_synonyms": _TEXTS,
    "related_synonyms": _TEXTS,
    "xrefs": _TEXTS,
    "is_obsolete": pl.Boolean(),
    "replaced_by": _TEXTS,
}
"""Columns of the frame ``read`` returns."""

_STANZA = re.compile(r"\[(\w+)\]")
_TAG = re.compile(r"([\w-]+):\s*(.*)")
_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s+(EXACT|RELATED|BROAD|NARROW)\b.*')
_ESCAPED = re.compile(r"\\(.)")
_TRAILING = re.compile(r"\s+(?:\{[^{}]*\}\s*)?(?:!.*)?$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SPECIAL = {"n": "\n", "t": "\t", "W": " "}
_TAKEN = frozenset({"id", "name", "synonym", "xref", "is_obsolete", "replaced_by"})
_ONCE = ("id", "name", "is_obsolete")

_Term = dict[str, list[str]]


def read(path: Path) -> pl.DataFrame:
    """Read every term of an OBO file.

    Args:
        path: the file, UTF-8, not compressed.

    Returns:
        One row per term in file order, with the columns of ``SCHEMA``. ``related_synonyms`` are those of the
        scope RELATED; BROAD and NARROW ones mean another cell and are left out. Lists are empty, ``name`` is
        null where the term says nothing.

    Raises:
        BadInputError: no header or no terms, a line that is neither stanza nor ``tag: value``, a term without
            id, an id, name or mark stated twice, a synonym in another form, or text that is not UTF-8.
    """
    rows: list[dict[str, object]] = []
    first_lines: dict[str, int] = {}
    for line, term in _terms(path):
        values = _values(term, line, path)
        key = str(values["id"])
        if key in first_lines:
            rule = f"a term has one stanza, but {key} also starts at line {first_lines[key]}"
            raise BadInputError(rule, file=path, row=line)
        first_lines[key] = line
        rows.append(values)
    if not rows:
        raise BadInputError("an ontology holds [Term] stanzas, but there is none", file=path)
    return pl.DataFrame(rows, schema=SCHEMA)


def release(path: Path) -> tuple[str | None, date | None]:
    """Return the ``data-version`` that the header states and the date in it; null where there is none.

    ``data-version: cl/releases/2024-01-05/cl.owl`` gives that text and 5 January 2024.
    """
    for _, tag, value in _header(path):
        if tag == "data-version":
            return value, _date(value)
    return None, None


def _date(text: str) -> date | None:
    found = _DATE.search(text)
    try:
        return date.fromisoformat(found[0]) if found else None
    except ValueError:
        return None


def _header(path: Path) -> Iterator[tuple[int, str, str]]:
    for row, line in _lines(path):
        if _STANZA.fullmatch(line):
            return
        if line:
            tag, value = _tag(line, row, path)
            yield row, tag, value


def _terms(path: Path) -> Iterator[tuple[int, _Term]]:
    """Line number and values by tag of each ``[Term]``."""
    if next(_header(path), (0, "", ""))[1] != "format-version":
        raise BadInputError("an OBO file starts with 'format-version: '", file=path, row=1)
    term: _Term | None = None
    is_header, start = True, 0
    for row, line in _lines(path):
        if stanza := _STANZA.fullmatch(line):
            if term is not None:
                yield start, term
            is_header, start, term = False, row, {} if stanza[1] == "Term" else None
        elif line and not is_header:
            tag, value = _tag(line, row, path)
            if term is not None and tag in _TAKEN:
                term.setdefault(tag, []).append(value)
    if term is not None:
        yield start, term


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each line; comment lines, which start with ``!``, are empty."""
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise BadInputError("the text is UTF-8, but not here", file=path, row=row) from error
            yield row, "" if text.startswith("!") else text


def _tag(line: str, row: int, path: Path) -> tuple[str, str]:
    found = _TAG.fullmatch(line)
    if found is None:
        raise BadInputError(f"a line is 'tag: value', not {line[:40]!r}", file=path, row=row)
    return found[1], found[2]


def _values(term: _Term, row: int, path: Path) -> dict[str, object]:
    for tag in _ONCE:
        if len(term.get(tag, ())) > 1:
            raise BadInputError(f"a term has one {tag} at most", file=path, row=row, column=tag)
    if not term.get("id", [""])[0]:
        raise BadInputError("a term has an id", file=path, row=row, column="id")
    obsolete = _plain(term.get("is_obsolete", ["false"])[0])
    if obsolete not in ("true", "false"):
        rule = f"a mark is true or false, not {obsolete!r}"
        raise BadInputError(rule, file=path, row=row, column="is_obsolete")
    synonyms = [_synonym(text, row, path) for text in term.get("synonym", ())]
    name = term.get("name", [""])[0]
    return {
        "id": _plain(term["id"][0]),
        "name": _plain(name) or None,
        "exact_synonyms": [text for text, scope in synonyms if scope == "EXACT"],
        "related_synonyms": [text for text, scope in synonyms if scope == "RELATED"],
        "xrefs": [_plain(text).split(" ", 1)[0] for text in term.get("xref", ())],
        "is_obsolete": obsolete == "true",
        "replaced_by": [_plain(text) for text in term.get("replaced_by", ())],
    }


def _synonym(text: str, row: int, path: Path) -> tuple[str, str]:
    found = _SYNONYM.fullmatch(text)
    if found is None:
        rule = f"a synonym is '\"text\" EXACT [sources]' or of another scope, not {text[:40]!r}"
        raise BadInputError(rule, file=path, row=row, column="synonym")
    return _unescaped(found[1]), found[2]


def _plain(text: str) -> str:
    """Leave out qualifiers and comment, and resolve escapes."""
    return _unescaped(_TRAILING.sub("", text))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _SPECIAL.get(found[1], found[1]), text)
