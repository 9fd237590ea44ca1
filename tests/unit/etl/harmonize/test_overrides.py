"""Which override counts, and what an override table must be."""

from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.harmonize.overrides import load_overrides, read_overrides
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

HEADER = "entity,dataset_id,reported,value,reason,source\n"


def write(folder: Path, *rows: str, header: str = HEADER) -> ReferenceFolder:
    (folder / "overrides.csv").write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return ReferenceFolder(folder)


def test_a_row_for_the_dataset_goes_before_one_for_all(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "compound,,ZM,CID:1,first token of a name,paper",
        "compound,sciplex3,ZM,CID:9914412,catalogue number,pData",
        "context,,ZM,CVCL_0023,another entity,paper",
    )
    overrides = load_overrides(folder)
    assert overrides.of("compound", "sciplex3")["ZM"].value == "CID:9914412"
    assert overrides.of("compound", "gcsi")["ZM"].value == "CID:1"
    assert overrides.of("context", "gcsi")["ZM"].value == "CVCL_0023"
    assert str(overrides.of("context", "gcsi")["ZM"]) == "override: another entity (paper)"


def test_an_empty_value_states_that_there_is_no_identifier(tmp_path: Path) -> None:
    folder = write(tmp_path, 'compound,,extract 7,,"plant extract, many molecules",catalogue')
    override = load_overrides(folder).of("compound", "any")["extract 7"]
    assert (override.value, override.reason) == (None, "plant extract, many molecules")


def test_the_table_that_ships_is_valid_and_read_last(tmp_path: Path) -> None:
    shipped = load_overrides(EMBEDDED_ONLY).rows
    assert (
        load_overrides(write(tmp_path, "gene,,X,ENSG00000141510,why,who")).rows.height == shipped.height + 1
    )
    assert shipped["reason"].null_count() == 0


def test_further_columns_are_left_aside(tmp_path: Path) -> None:
    header = HEADER.strip() + ",candidates\n"
    write(tmp_path, "gene,,X,ENSG00000141510,why,who,a; b", header=header)
    assert read_overrides(tmp_path / "overrides.csv").columns == HEADER.strip().split(",")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["drug,,X,CID:1,why,who"], r"row 2, column entity: 'drug' is none of"),
        (
            ["gene,,X,ENSG00000141510,why,who", "gene,,X,ENSG00000141510,,who"],
            r"row 3, column reason: a missing",
        ),
        (["gene,,,ENSG00000141510,why,who"], r"row 2, column reported: a missing value"),
        (["gene,,X,A,why,who", "gene,,X,B,why,who"], r"row 2, 3: 'X' is settled more than once"),
        (["gene,,X,A,why,who,more,and more"], r"cannot be read"),
    ],
)
def test_a_table_that_does_not_say_who_settled_what_why_is_refused(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        load_overrides(write(tmp_path, *rows))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="column source: the column is missing"):
        load_overrides(write(tmp_path, header="entity,dataset_id,reported,value,reason\n"))
