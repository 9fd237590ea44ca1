from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.errors import BadInputError
from etl.formats import obo

HEADER = """format-version: 1.2
data-version: cl/releases/2025-02-13/cl.owl
subsetdef: blood_subset "cells {of} blood"
ontology: cl

"""
TERMS = r"""[Term]
id: CL:0000001
name: toy cell
def: "A cell: made up!" [PMID:1]
synonym: "toycyte" EXACT [PMID:1] {comment="seen once"}
synonym: "the \"toy\", young" RELATED []
synonym: "cell" BROAD []
synonym: "left toy cell" NARROW OMO:0003000 []
xref: FMA:1 {source="x"}
xref: ZFA:0009001 "a note"
is_a: CL:0000000 ! cell

! a comment
[Term]
id: CL:0000002 ! retired
name: obsolete old cell
is_obsolete: true
replaced_by: CL:0000001 ! toy cell

[Typedef]
id: part_of
name: part of

[Term]
id: GO:0000003
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "cl.obo"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_reads_the_terms_and_only_them(write):
    expected = pl.DataFrame(
        {
            "id": ["CL:0000001", "CL:0000002", "GO:0000003"],
            "name": ["toy cell", "obsolete old cell", None],
            "exact_synonyms": [["toycyte"], [], []],
            "related_synonyms": [['the "toy", young'], [], []],
            "xrefs": [["FMA:1", "ZFA:0009001"], [], []],
            "is_obsolete": [False, True, False],
            "replaced_by": [[], ["CL:0000001"], []],
        },
        schema=obo.SCHEMA,
    )
    assert_frame_equal(obo.read(write(HEADER + TERMS)), expected)
    assert_frame_equal(obo.read(write((HEADER + TERMS).replace("\n", "\r\n"))), expected)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, ("cl/releases/2025-02-13/cl.owl", date(2025, 2, 13))),
        (HEADER.replace("2025-02-13", "2025-02-31"), ("cl/releases/2025-02-31/cl.owl", None)),
        (HEADER.replace("data-version", "saved-by"), (None, None)),
    ],
)
def test_the_header_states_the_release(write, header, expected):
    assert obo.release(write(header + TERMS)) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "row 1: an OBO file starts with 'format-version: '"),
        (TERMS, "row 1: an OBO file starts with"),
        ("ontology: cl\n" + HEADER + TERMS, "row 1: an OBO file starts with"),
        (HEADER, "holds .Term. stanzas, but there is none"),
        (HEADER + "[Typedef]\nid: part_of\n", "holds .Term. stanzas"),
        (HEADER + "[Term]\nname: x\n", "row 6, column id: a term has an id"),
        (HEADER + "[Term]\nid: A:1\nid: A:2\n", "row 6, column id: a term has one id at most"),
        (HEADER + "[Term]\nid: A:1\nhepatocyte\n", "row 8: a line is 'tag: value', not 'hepatocyte'"),
        (HEADER + "[Term]\nid: A:1\n\n[Term]\nid: A:1\n", "row 9: .*A:1 also starts at line 6"),
        (HEADER + "[Term]\nid: A:1\nis_obsolete: yes\n", "column is_obsolete: .*not 'yes'"),
        (HEADER + "[Term]\nid: A:1\nsynonym: x EXACT []\n", "column synonym: a synonym is"),
        (HEADER + '[Term]\nid: A:1\nsynonym: "x" CLOSE []\n', "column synonym: a synonym is"),
    ],
)
def test_broken_files_are_refused_with_place_and_rule(write, text, rule):
    with pytest.raises(BadInputError, match=f"^file cl.obo.*{rule}"):
        obo.read(write(text))


def test_text_that_is_not_utf_8_is_refused(write):
    with pytest.raises(BadInputError, match=r"^file cl.obo, row 7: the text is UTF-8"):
        obo.read(write(HEADER + "[Term]\nid: Müller\n", "latin-1"))
