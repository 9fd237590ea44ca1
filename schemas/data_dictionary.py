"""The table pages under ``docs/tables/``, rendered from the models.

    python -m schemas.data_dictionary docs/tables            writes the pages
    python -m schemas.data_dictionary docs/tables --check    fails when a page is stale

The model is the only description of a table; a page is never edited by hand.
"""

import sys
from pathlib import Path

from schemas import TABLES
from schemas.table import Table


def render_table(table: Table) -> str:
    """Return the page of one table as Markdown."""
    lines = [
        f"# {table.name}",
        "",
        f"{table.grain}",
        "",
        f"* Primary key: {_code(table.primary_key)}",
        f"* Partitioned by: {_code(table.partition_by) or 'nothing; replaced as a whole'}",
        f"* Sorted by: {_code(table.sort_by) or 'nothing'}",
        "",
        "| column | type | null | rule | description |",
        "| --- | --- | --- | --- | --- |",
    ]
    vocabularies: dict[str, dict[str, str]] = {}
    for name, column in table.columns.items():
        metadata = column.metadata or {}
        if "vocabulary" in metadata:
            vocabularies[name] = metadata["vocabulary"]
        description = " ".join(filter(None, [column.description, _unit(metadata)]))
        rule = "; ".join(filter(None, (_rule(check) for check in column.checks)))
        null = "yes" if column.nullable else ""
        lines.append(f"| `{name}` | {column.dtype.type} | {null} | {rule} | {description} |")
    for name, vocabulary in vocabularies.items():
        lines += ["", f"## Values of `{name}`", "", "| value | meaning |", "| --- | --- |"]
        lines += [f"| `{value}` | {meaning} |" for value, meaning in vocabulary.items()]
    return "\n".join(lines) + "\n"


def render_index() -> str:
    """Return the page that lists all tables."""
    lines = [
        "# Tables",
        "",
        "Rendered from the models in `schemas/` by `make docs`; do not edit.",
        "",
        "| table | one row per | key |",
        "| --- | --- | --- |",
    ]
    for table in TABLES.values():
        grain = table.grain.removeprefix("One row per ").rstrip(".")
        lines.append(f"| [{table.name}]({table.name}.md) | {grain} | {_code(table.primary_key)} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return every page by its path below ``docs/tables``."""
    return {"README.md": render_index()} | {
        f"{name}.md": render_table(table) for name, table in TABLES.items()
    }


def stale_pages(folder: Path) -> list[str]:
    """Return the pages that are missing, differ from what the models say, or belong to no table."""
    wanted = pages()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    differing = {
        name
        for name, text in wanted.items()
        if name not in there or (folder / name).read_text(encoding="utf-8") != text
    }
    return sorted(differing | (there - set(wanted)))


def write_pages(folder: Path) -> None:
    """Write every page and remove those of tables that are gone."""
    for name in stale_pages(folder):
        (folder / name).unlink(missing_ok=True)
    for name, text in pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` say which are stale; return the exit code."""
    folder = Path(arguments[0])
    if "--check" not in arguments:
        write_pages(folder)
        return 0
    stale = stale_pages(folder)
    if stale:
        sys.stderr.write(f"stale table pages (run `make docs`): {', '.join(stale)}\n")
    return 1 if stale else 0


def _code(columns: tuple[str, ...]) -> str:
    return ", ".join(f"`{column}`" for column in columns)


def _unit(metadata: dict[str, object]) -> str:
    return f"Unit: {metadata['unit']}." if "unit" in metadata else ""


def _rule(check: object) -> str:
    """Return a check in words; checks every column has, and vocabularies listed below, are left out."""
    name, values = getattr(check, "name", ""), getattr(check, "statistics", None) or {}
    symbols = {
        "greater_than": ("> {}", "min_value"),
        "greater_than_or_equal_to": ("≥ {}", "min_value"),
        "less_than": ("< {}", "max_value"),
        "less_than_or_equal_to": ("≤ {}", "max_value"),
    }
    if name in symbols:
        template, key = symbols[name]
        return template.format(values[key])
    if name == "str_matches":
        return f"matches `{values['pattern']}`".replace("|", r"\|")
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
