"""The table pages: complete, in sync, and able to tell when they are not."""

from pathlib import Path

from schemas import TABLES
from schemas.data_dictionary import main, pages, render_table, stale_pages, write_pages

DOCS = Path(__file__).parents[3] / "docs" / "tables"


def test_committed_pages_are_what_the_models_say() -> None:
    assert stale_pages(DOCS) == []


def test_a_page_holds_every_column_unit_and_coded_value() -> None:
    page = render_table(TABLES["core/sample"])
    assert "| `dose_um` | Float64 | yes | > 0 |" in page
    assert "Unit: µM." in page
    assert "| `untreated` |" in page


def test_a_changed_missing_or_left_over_page_is_stale(tmp_path: Path) -> None:
    write_pages(tmp_path)
    assert main([str(tmp_path), "--check"]) == 0
    (tmp_path / "core" / "gene.md").write_text("by hand")
    (tmp_path / "core" / "sample.md").unlink()
    (tmp_path / "mart" / "old.md").write_text("gone")
    assert stale_pages(tmp_path) == ["core/gene.md", "core/sample.md", "mart/old.md"]
    assert main([str(tmp_path), "--check"]) == 1
    assert main([str(tmp_path)]) == 0
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")} == set(pages())
