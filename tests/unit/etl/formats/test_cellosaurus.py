import tempfile
from datetime import date
from pathlib import Path

import polars as pl
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
DR   DepMap; ACH-000009
DR   Cell_Model_Passport; SIDM00001
DR   CCLE; ALPHA1_LUNG
DR   GDSC; 12
DR   LINCS_LDP; LCL-1
DR   LINCS_HMS; 50001
RX   PubMed=1;
CC   Group: Example; made up.
CC   Population: Caucasian.
CC   Genome ancestry: African=0.5%; European, North=99.5% (PubMed=30894373).
CC   Misspelling: Alfa-1; Note=Occasionally.
CC   Derived from site: In situ; Uterus, cervix; UBERON=UBERON_0000002.
CC   Cell type: Fibroblast of skin; CL=CL_0002620.
CC   Problematic cell line: Contaminated. Shown to be Beta.
ST   Amelogenin: X
DI   NCIt; C1; Carcinoma; invasive
DI   ORDO; Orphanet_1; Another
OX   NCBI_TaxID=9606; ! Homo sapiens (Human)
HI   CVCL_0002 ! Beta
OI   CVCL_0003 ! Gamma
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
        "misspellings": ["Alfa-1"],
        "secondary_accessions": ["CVCL_H249", "CVCL_H250"],
        "depmap_ids": ["ACH-000001", "ACH-000009"],
        "sanger_model_ids": ["SIDM00001"],
        "cosmic_ids": ["10", "11", "12"],
        "ccle_names": ["ALPHA1_LUNG"],
        "lincs_ldp_ids": ["LCL-1"],
        "lincs_hms_ids": ["50001"],
        "species": "Homo sapiens",
        "sex": "Female",
        "age": "58Y",
        "population": "Caucasian",
        "genome_ancestry": "African=0.5%; European, North=99.5%",
        "site": "In situ; Uterus, cervix",
        "cell_type": "Fibroblast of skin",
        "disease": "Carcinoma; invasive",
        "category": "Cancer cell line",
        "parent_accessions": ["CVCL_0002"],
        "same_individual": ["CVCL_0003"],
        "problem": "Contaminated. Shown to be Beta.",
    }


def test_what_a_record_does_not_say_is_null_or_empty(read):
    row = read(BARE).row(0, named=True)
    lists = [row.pop(name) for name, dtype in cellosaurus.SCHEMA.items() if dtype == pl.List]
    assert lists == [[]] * 11
    assert (row.pop("accession"), row.pop("name")) == ("CVCL_0002", "Beta")
    assert set(row.values()) == {None}


def test_a_hybrid_has_both_species_and_both_parents(read):
    row = read(HYBRID).row(0, named=True)
    assert row["species"] == "Homo sapiens; Mus musculus"
    assert row["parent_accessions"] == ["CVCL_0001", "CVCL_0002"]


def test_accessions_may_be_longer_than_four_characters(read):
    assert read(BARE.replace("CVCL_0002", "CVCL_D00X1"))["accession"].to_list() == ["CVCL_D00X1"]


def test_many_records_are_all_kept(read):
    text = "".join(f"ID   Line {i}\nAC   CVCL_{i:05}\nSY   L{i}\n//\n" for i in range(12_001))
    frame = read(text)
    assert frame.schema == cellosaurus.SCHEMA
    assert frame["name"].to_list() == [f"Line {i}" for i in range(12_001)]
    assert frame["synonyms"].list.first().to_list() == [f"L{i}" for i in range(12_001)]


@pytest.mark.parametrize(
    ("header", "version", "day"),
    [
        (" Version: 51.0\n Last update: 19-December-2024\n", "51.0", date(2024, 12, 19)),
        ("## Version: 48.0\n## Last update: 2024-01-30\n", "48.0", date(2024, 1, 30)),
        (" Version: 51.0\n Last update: soon\n", "51.0", None),
        ("", None, None),
    ],
)
def test_the_header_states_version_and_date(tmp_path, header, version, day):
    path = tmp_path / "cellosaurus.txt"
    path.write_text(header + FULL.replace("CC   Group: Example; made up.", "CC   Version: 7"))
    assert cellosaurus.release(path) == (version, day)


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
            "row 32: the record of line 1 is not ended by '//': the file is truncated",
        ),
        (FULL.replace("//\n", "") + BARE, "row 33: the record of line 1 is not ended by '//'"),
        (BARE.replace("ID   Beta\n", ""), "row 1: a record starts with 'ID   ', not 'AC   CVCL_0002'"),
        (BARE + "//\n", "row 4: a record starts with 'ID   ', not '//'"),
        (BARE.replace("AC   CVCL_0002\n", ""), "row 1, column AC: a record has an accession"),
        (BARE.replace("CVCL_0002", "CVCL_2"), "row 1, column AC: .*'CVCL_2'"),
        (BARE.replace("//", "AC   CVCL_0003\n//"), "row 1, column AC: a record has one AC line at most"),
        (FULL + FULL, "row 34: an accession has one record, but CVCL_0001 also starts at line 1"),
        (FULL.replace("SX   Female", "SX Female"), "row 29: a line is a code, three blanks and text"),
        (FULL.replace("DepMap; ACH", "DepMap ACH"), "row 1, column DR: a cross-reference is"),
        (FULL.replace("9606; ! Homo", "9606 Homo"), "row 1, column OX: a species is"),
        (FULL.replace("NCIt; C1; Carcinoma; invasive", "Carcinoma"), "row 1, column DI: a disease is"),
    ],
)
def test_broken_files_are_refused_with_place_and_rule(read, text, rule):
    with pytest.raises(BadInputError, match=f"^file cellosaurus.txt.*{rule}"):
        read(text)


def test_text_that_is_not_utf_8_is_refused(read):
    with pytest.raises(BadInputError, match=r"^file cellosaurus.txt, row 4: the text is UTF-8"):
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
    assert (first["depmap_ids"], first["sanger_model_ids"]) == (["ACH-000054"], ["SIDM00828"])
    assert (first["lincs_ldp_ids"], first["population"]) == (["LCL-1435"], "Caucasian")
    assert (first["site"], first["misspellings"]) == ("In situ; Bone, pelvis, acetabulum", ["HT1180"])
    assert "907064" in first["cosmic_ids"]
    assert frame["problem"].count() == 4
    assert cellosaurus.release(realdata / "raw/reference/cellosaurus_excerpt.txt") == (None, None)
