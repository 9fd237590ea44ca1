"""Reports beside the tables: written whole, replaced whole."""

from pathlib import Path

import pytest

from etl.warehouse.reports import write_report


def test_a_report_is_written_and_replaced(tmp_path: Path) -> None:
    where = write_report(str(tmp_path), "agreement.html", "<p>µM</p>")
    assert where == f"{tmp_path}/reports/agreement.html"
    assert Path(where).read_text() == "<p>µM</p>"
    write_report(str(tmp_path), "agreement.html", "new")
    assert Path(where).read_text() == "new"
    assert [path.name for path in Path(where).parent.iterdir()] == ["agreement.html"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = write_report(str(tmp_path), "agreement.html", "old")

    class Broken(str):
        def encode(self, *_: object) -> bytes:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_report(str(tmp_path), "agreement.html", Broken("new"))
    assert Path(where).read_text() == "old"
