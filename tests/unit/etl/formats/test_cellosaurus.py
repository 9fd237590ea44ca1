import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import cellosaurus

HEADER = """----------------------------------------
 Description: a made-up release
 ID         Identifier (cell line name)
 //         Terminator
ID         Identifier, not indented

"""

FULL = """ID   Alpha-1
AC   CVCL_0001
AS   CVCL_H249; CVCL_H250
SY   Alpha 1; A1; α-1
DR   Cosmic; 10
DR   Cosmic; 11
DR   Cosmic-CLP; 10
DR   DepMap; ACH-000001
DR   Cell_Model_Passport; SIDM00001
RX   PubMed=1;
CC   Group: Example; made up.
CC   Problematic cell line: Contaminated. Shown to be Beta.
ST   Amelogenin: X
DI   NCIt; C1; Carcinoma; invasive
DI   ORDO; Orphanet_1; Another
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
HI   CVCL_0002 ! Beta
SX   Female
AG   58Y
CA   Cancer cell line
DT   Created: 01-01-12; Version: 1
//
"""

BARE = "ID   Beta\nAC   CVCL_0002\n//\n"
HYBRID = """ID   Mix
AC   CVCL_A1B2
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
OX   NCBI_TaxID=10090; ! Mus musculus (Mouse)
HI   CVCL_0001 ! Alpha-1
HI   CVCL_0002 ! Beta
//
"""


@pytest.fixture
def read(tmp_path):
    def read(text: str, encoding: str = "utf-8"):
        path = tmp_path / "cellosaurus.txt"
        path.write_bytes(text.encode(encoding))
        return cellosaurus.read(path)

    return read


def test_reads_every_field(read):
    frame = read(HEADER + FULL)
    assert frame.schema == cellosaurus.SCHEMA
    assert frame.row(0, named=True) == {
        "accession": "CVCL_0001",
        "name": "Alpha-1",
        "synonyms": ["Alpha 1", "A1", "α-1"],
        "secondary_accessions": ["CVCL_H249", "CVCL_H250"],
        "depmap_id": "ACH-000001",
        "sanger_model_id": "SIDM00001",
        "cosmic_ids": ["10", "11"],
        "species": "Homo sapiens",
        "sex": "Female",
        "age": "58Y",
        "disease": "Carcinoma; invasive",
        "category": "Cancer cell line",
        "parent_accession": "CVCL_0002",
        "is_problematic": True,
    }


def test_what_a_record_does_not_say_is_null_or_empty(read):
    row = read(BARE).row(0, named=True)
    lists = {name: row.pop(name) for name in ("synonyms", "secondary_accessions", "cosmic_ids")}
    assert lists == {"synonyms": [], "secondary_accessions": [], "cosmic_ids": []}
    assert (row.pop("accession"), row.pop("name"), row.pop("is_problematic")) == ("CVCL_0002", "Beta", False)
    assert set(row.values()) == {None}


def test_a_hybrid_has_both_species_and_no_single_parent(read):
    row = read(HYBRID).row(0, named=True)
    assert row["species"] == "Homo sapiens; Mus musculus"
    assert row["parent_accession"] is None


def test_records_keep_file_order_and_windows_line_ends_do_not_show(read):
    text = HEADER + HYBRID + "\n" + FULL + BARE
    assert read(text)["accession"].to_list() == ["CVCL_A1B2", "CVCL_0001", "CVCL_0002"]
    assert read(text.replace("\n", "\r\n")).equals(read(text))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "holds records that start with 'ID   ', but there is none"),
        (HEADER, "holds records"),
        (
            FULL.removesuffix("//\n"),
            "row 21: the record of line 1 is not ended by '//': the file is truncated",
        ),
        (FULL.replace("//\n", "") + BARE, "row 22: the record of line 1 is not ended by '//'"),
        (BARE.replace("ID   Beta\n", ""), "row 1: a record starts with 'ID   ', not 'AC   CVCL_0002'"),
        (BARE + "//\n", "row 4: a record starts with 'ID   ', not '//'"),
        (BARE.replace("AC   CVCL_0002\n", ""), "row 1, column AC: a record has an accession"),
        (BARE.replace("CVCL_0002", "CVCL_2"), "row 1, column AC: .*'CVCL_2'"),
        (BARE.replace("//", "AC   CVCL_0003\n//"), "row 1, column AC: a record has one AC line at most"),
        (FULL + FULL, "row 23: an accession has one record, but CVCL_0001 also starts at line 1"),
        (FULL.replace("SX   Female", "SX Female"), "row 18: a line is a code, three blanks and text"),
        (FULL.replace("DepMap; ACH", "DepMap ACH"), "row 1, column DR: a cross-reference is"),
        (FULL.replace("9606; ! Homo", "9606 Homo"), "row 1, column OX: a species is"),
        (FULL.replace("NCIt; C1; Carcinoma; invasive", "Carcinoma"), "row 1, column DI: a disease is"),
    ],
)
def test_broken_files_are_refused_with_place_and_rule(read, text, rule):
    with pytest.raises(BadInputError, match=f"^file cellosaurus.txt.*{rule}"):
        read(text)


def test_text_that_is_not_utf_8_is_refused(read):
    with pytest.raises(BadInputError, match=r"^file cellosaurus.txt.*the text is UTF-8, but not after line"):
        read(FULL.replace("α", "é"), "latin-1")


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_truncated_file_gives_whole_records_or_an_error(cut):
    raw = (HEADER + FULL + BARE + HYBRID).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.txt"
        path.write_bytes(raw)
        whole = cellosaurus.read(path)
        path.write_bytes(raw[: cut % len(raw)])
        try:
            part = cellosaurus.read(path)
        except BadInputError:
            return
    assert part.equals(whole.head(part.height))


@pytest.mark.realdata
def test_reads_the_excerpt(realdata):
    frame = cellosaurus.read(realdata / "raw/reference/cellosaurus_excerpt.txt")
    assert frame.height == 149
    first = frame.row(0, named=True)
    assert (first["accession"], first["name"]) == ("CVCL_0317", "HT-1080")
    assert first["synonyms"] == ["Ht-1080", "HT 1080", "HT1080", "HT 1080.T"]
    assert (first["depmap_id"], first["sanger_model_id"]) == ("ACH-000054", "SIDM00828")
    assert "907064" in first["cosmic_ids"]
    assert frame["is_problematic"].sum() > 0
