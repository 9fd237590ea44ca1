import zipfile
from datetime import date
from pathlib import Path

import pytest

from etl.errors import BadInputError
from etl.formats import xlsx
from etl.simulate.workbooks import Cell, write_workbook

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def raw_workbook(
    path: Path,
    sheet: str,
    *,
    strings: str = "",
    styles: str = "",
    properties: str = "",
    head: str = f'<worksheet xmlns="{MAIN}">',
) -> Path:
    """Write a workbook of one sheet from the XML of its parts."""
    relation = f'<Relationship Type="{OFFICE}/'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">{properties}<sheets>'
            '<sheet name="A" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships>{relation}worksheet" Id="r1" Target="/xl/worksheets/sheet1.xml"/>'
            f'{relation}sharedStrings" Id="r2" Target="sharedStrings.xml"/>'
            f'{relation}styles" Id="r3" Target="styles.xml"/></Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.xml", f"{head}{sheet}")
        if strings:
            archive.writestr("xl/sharedStrings.xml", f"<sst>{strings}</sst>")
        if styles:
            archive.writestr("xl/styles.xml", f"<styleSheet>{styles}</styleSheet>")
    return path


def row(cells: str, number: int = 1) -> str:
    return f'<sheetData><row r="{number}">{cells}</row></sheetData></worksheet>'


def cells(path: Path) -> list[list[str | None]]:
    with xlsx.opened(path) as workbook:
        return [row.cells for row in workbook.rows()]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c r="A1"><v>12</v></c>', "12"),
        ('<c r="A1"><v>12.0</v></c>', "12"),
        ('<c r="A1"><v>0.10000000000000001</v></c>', "0.1"),
        ('<c r="A1" t="n"><v>1E-3</v></c>', "0.001"),
        ('<c r="A1" t="s"><v>1</v></c>', "second line\nand more"),
        ('<c r="A1" t="inlineStr"><is><r><t>a</t></r><r><t>&amp;b</t></r></is></c>', "a&b"),
        ('<c r="A1" t="str"><f>1+1</f><v>two</v></c>', "two"),
        ('<c r="A1" t="str"><v>a_x000D_b_x005F_</v></c>', "a\rb_"),
        ('<c r="A1" t="b"><v>1</v></c>', "TRUE"),
        ('<c r="A1" t="e"><v>#N/A</v></c>', "#N/A"),
        ('<c r="A1" t="d"><v>2024-09-07</v></c>', "2024-09-07"),
        ('<c r="A1" s="1"><v>45542</v></c>', "2024-09-07 00:00:00"),
        ('<c r="A1" s="2"><v>45542.25</v></c>', "2024-09-07 06:00:00"),
        ('<c r="A1" s="3"><v>45542</v></c>', "45542"),
        ('<c r="A1" s="1"><v>1</v></c>', "1900-01-01 00:00:00"),
    ],
)
def test_a_cell_is_text_after_its_type(tmp_path: Path, cell: str, text: str) -> None:
    path = raw_workbook(
        tmp_path / "a.xlsx",
        row(cell + '<c r="B1"><v>7</v></c>'),
        strings="<si><t>first</t></si>"
        "<si><r><t>second line\n</t></r><rPh><t>spoken</t></rPh><r><t>and more</t></r></si>",
        styles='<numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd;@"/>'
        '<numFmt numFmtId="165" formatCode="[Red]0.00&quot; days&quot;"/></numFmts>'
        '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>',
    )
    assert cells(path) == [[text, "7"]]


def test_days_of_the_1904_system_start_four_years_later(tmp_path: Path) -> None:
    path = raw_workbook(
        tmp_path / "a.xlsx",
        row('<c r="A1" s="0"><v>44080</v></c>'),
        styles='<cellXfs><xf numFmtId="14"/></cellXfs>',
        properties='<workbookPr date1904="1"/>',
    )
    assert cells(path) == [["2024-09-07 00:00:00"]]


def test_empty_cells_and_rows_keep_their_place(tmp_path: Path) -> None:
    sheet = (
        '<sheetData><row r="1"/><row r="2"><c r="B2"><v>1</v></c><c r="D2"/></row>'
        '<row r="4"><c r="A4"><v>2</v></c></row></sheetData></worksheet>'
    )
    with xlsx.opened(raw_workbook(tmp_path / "a.xlsx", sheet)) as workbook:
        assert list(workbook.rows()) == [(2, [None, "1", None, None]), (4, ["2"])]


def test_cells_and_rows_without_reference_follow_each_other(tmp_path: Path) -> None:
    rows = "<row><c><v>1</v></c><c><v>2</v></c></row><row><c><v>3</v></c></row>"
    sheet = f"<sheetData>{rows}</sheetData></worksheet>"
    with xlsx.opened(raw_workbook(tmp_path / "a.xlsx", sheet)) as workbook:
        assert list(workbook.rows()) == [(1, ["1", "2"]), (2, ["3"])]


def test_a_namespace_prefix_makes_no_difference(tmp_path: Path) -> None:
    sheet = '<x:sheetData><x:row r="1"><x:c r="A1"><x:v>1</x:v></x:c></x:row></x:sheetData></x:worksheet>'
    path = raw_workbook(tmp_path / "a.xlsx", sheet, head=f'<x:worksheet xmlns:x="{MAIN}">')
    assert cells(path) == [["1"]]


def test_a_sheet_without_rows_has_none(tmp_path: Path) -> None:
    assert cells(raw_workbook(tmp_path / "a.xlsx", "<sheetData/></worksheet>")) == []


def test_a_sheet_longer_than_one_chunk_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "_CHUNK_BYTES", 7)
    path = tmp_path / "a.xlsx"
    write_workbook(path, {"one": [[n, f"text {n}"] for n in range(50)]})
    assert cells(path) == [[str(n), f"text {n}"] for n in range(50)]


def test_sheets_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_workbook(path, {"one": [[1]], "two & more": [["x", date(2024, 9, 7)]]})
    with xlsx.opened(path) as workbook:
        assert workbook.sheet_names == ["one", "two & more"]
        assert [row.cells for row in workbook.rows("two & more")] == [["x", "2024-09-07 00:00:00"]]
        with pytest.raises(BadInputError, match="no sheet 'three'; there are 'one', 'two & more'"):
            list(workbook.rows("three"))


@pytest.mark.parametrize(
    ("sheet", "rule"),
    [
        ('<sheetData><row r="1"><c r="A1"><v>1</v></c></row>', "ends within its rows"),
        ("<dimension/>", "holds no rows"),
        (row('<c r="A1" t="s"><v>9</v></c>'), "row 1, column A: a cell of type 's' that cannot be read: '9'"),
        (row('<c r="A1"><v>abc</v></c>'), "row 1, column A: a cell of type 'n' that cannot be read"),
        (row('<c r="A1" t="q"><v>1</v></c>'), "a cell of an unknown type 'q'"),
        (row('<c r="B1"><v>1</v></c><c r="A1"><v>1</v></c>'), "column A: cells stand in the order"),
        (row('<c r="A1"><v>1</c>'), "not well-formed XML"),
        ('<sheetData><row r="1"><c r="A1"><v>1</v></c></sheetData>', "not well-formed XML"),
    ],
)
def test_a_damaged_sheet_is_refused(tmp_path: Path, sheet: str, rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        cells(raw_workbook(tmp_path / "a.xlsx", sheet))


def test_a_document_type_is_refused(tmp_path: Path) -> None:
    path = raw_workbook(tmp_path / "a.xlsx", row(""), strings="<si/>")
    with zipfile.ZipFile(path, "a") as archive:
        names = [name for name in archive.namelist() if name != "xl/workbook.xml"]
        parts = {name: archive.read(name) for name in names}
    parts["xl/workbook.xml"] = (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hosts">]><workbook>&x;</workbook>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(BadInputError, match="has no document type"):
        cells(path)


def test_a_part_that_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_PART_BYTES", 1000)
    path = raw_workbook(tmp_path / "a.xlsx", row(""), strings="<si><t>" + "a" * 1000 + "</t></si>")
    with pytest.raises(BadInputError, match=r"sharedStrings.xml is larger than 1,000 bytes"):
        cells(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.xlsx"
    write_workbook(path, {"one": [[n, n * n] for n in range(100)]})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInputError, match=r"file a.xlsx: an .xlsx file is a complete zip archive"):
        cells(path)


def test_damaged_bytes_inside_the_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_workbook(path, {"one": [[n, n * n] for n in range(1000)]})
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
    content = bytearray(path.read_bytes())
    for position in range(start + 200, start + 260):
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(BadInputError, match=r"sheet1.xml cannot be unpacked|not well-formed|cannot be read"):
        cells(path)


def test_an_archive_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadInputError, match=r"a workbook holds xl/workbook.xml, but this one does not"):
        cells(tmp_path / "a.xlsx")


def table(path: Path, rows: list[list[Cell]], *columns: str, **options: bool) -> xlsx.TextTable:
    write_workbook(path, {"one": rows})
    return xlsx.read_table(path, columns, dataset_id="some", header="^id$", missing=r"^\s*$", **options)


def test_a_table_stands_below_notes_of_one_cell(tmp_path: Path) -> None:
    rows = [["Note: licence"], ["ID", "Long Name", None], [1, "a"], [], ["b", " "]]
    found = table(tmp_path / "a.xlsx", rows, "id", "long_name")
    assert found.rows.rows() == [(3, "1", "a"), (5, "b", None)]


def test_columns_that_nobody_asked_for_are_kept(tmp_path: Path) -> None:
    found = table(tmp_path / "a.xlsx", [["id", "more"], ["x", 1]], "id")
    assert found.rows.rows(named=True) == [{"row": 2, "id": "x", "more": "1"}]


def test_columns_can_be_named_by_position(tmp_path: Path) -> None:
    rows = [["id", "same", "same"], [1, 2, 3]]
    found = table(tmp_path / "a.xlsx", rows, "first", "second", "third", is_by_position=True)
    assert found.rows.rows() == [(2, "1", "2", "3")]
    with pytest.raises(BadInputError, match="3 columns where 2 are expected: first, second"):
        table(tmp_path / "a.xlsx", rows, "first", "second", is_by_position=True)


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([["name", "more"], ["id", 1]], "row 1: no header with a name like"),
        ([["note"]] * 10 + [["id", "name"]], "row 10: no header"),
        ([["note"]], "no header"),
        ([["id", "name"]], "a header and no rows"),
        ([["id", "name"], ["x", "a", "b"]], "row 2: more cells than the header, which has 2"),
        ([["id", "name", "Name"], ["x", "a", "b"]], "column name: the column is repeated"),
        ([["id", "other"], ["x", "a"]], "column name: the column is missing"),
    ],
)
def test_a_sheet_that_is_no_such_table_is_refused(tmp_path: Path, rows: list[list[Cell]], rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        table(tmp_path / "a.xlsx", rows, "id", "name")
