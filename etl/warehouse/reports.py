"""Reports: pages for people, beside the tables they are made from."""

from pathlib import Path

import polars as pl

from etl.settings import is_remote, storage_options

REPORTS = "reports"


def write_report(root: str, name: str, page: str) -> str:
    """Write a page below the warehouse root, whole or not at all, and return where it is.

    Args:
        root: warehouse root, a folder or a URI.
        name: file name, ``agreement.html``.
        page: its text.
    """
    where = f"{root.rstrip('/')}/{REPORTS}/{name}"
    if is_remote(root):
        # Polars speaks to all stores that tables live in: one cell, unquoted, is the page and nothing else.
        pl.DataFrame({"page": [page]}).write_csv(
            where,
            include_header=False,
            quote_style="never",
            line_terminator="",
            storage_options=storage_options(root),
        )
        return where
    content = page.encode()
    path = Path(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{name}")
    waiting.write_bytes(content)
    waiting.replace(path)
    return where
