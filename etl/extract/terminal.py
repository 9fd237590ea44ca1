"""``perturbhouse fetch`` on a terminal: what there is to fetch, how far it is, how each file stands.

Here: words and bars. Not here: fetching (``fetch.py``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from etl.extract.fetch import Options, fetch
from etl.extract.standing import Standing
from etl.sources.base import SourceSpec

ATTENTION: Final = frozenset({"changed", "altered", "unchecked", "by hand"})
"""Statuses that a person should look at."""


def fetch_to_terminal(spec: SourceSpec, raw: Path, options: Options, console: Console) -> list[Standing]:
    """Fetch a dataset as ``fetch`` does, and show it.

    Raises:
        PerturbhouseError: as ``fetch``.
    """
    console.print(f"[bold]{spec.dataset_id}[/bold]: {escape(spec.title)}", highlight=False)
    terms = "may be passed on" if spec.is_redistributable else "may not be passed on"
    console.print(f"Licence: {escape(spec.license)} ({terms}). Access: {spec.access}.", highlight=False)
    if options.is_dry_run:
        rows = fetch(spec, raw, options=options)
    else:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
        ) as bars:
            rows = fetch(spec, raw, options=options, progress=_Bars(bars))
    console.print(_table(rows))
    console.print(_total(rows, raw / spec.dataset_id), highlight=False)
    return rows


class _Bars:
    """One bar per download, made when it begins."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._by_path: dict[str, TaskID] = {}

    def __call__(self, path: str, done: int, total: int | None) -> None:
        if path not in self._by_path:
            self._by_path[path] = self._bars.add_task(escape(path), total=total)
        self._bars.update(self._by_path[path], completed=done, total=total)


def _table(rows: Sequence[Standing]) -> Table:
    shown = Table()
    shown.add_column("file", overflow="fold")
    shown.add_column("size", justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    shown.add_column("remark", overflow="fold")
    for row in rows:
        status = f"[yellow]{row.status}[/yellow]" if row.status in ATTENTION else row.status
        unpacked = " (is unpacked)" if row.is_unpacked else ""
        shown.add_row(f"{escape(row.path)}{unpacked}", size_text(row.n_bytes), status, escape(row.remark))
    return shown


def _total(rows: Sequence[Standing], folder: Path) -> str:
    open_rows = [row for row in rows if row.status == "to fetch"]
    if open_rows:
        unknown = sum(row.n_bytes is None for row in open_rows)
        more = f" and {unknown} of unknown size" if unknown else ""
        total = size_text(sum(row.n_bytes or 0 for row in open_rows))
        return f"To fetch: {len(open_rows)} file(s), {total}{more}, into {escape(str(folder))}."
    done = [row for row in rows if row.status in ("fetched", "updated")]
    total = size_text(sum(row.n_bytes or 0 for row in done))
    return f"Fetched {len(done)} of {len(rows)} file(s), {total}, into {escape(str(folder))}."


def size_text(n_bytes: int | None) -> str:
    """Return a size as people read it.

    >>> [size_text(n) for n in (None, 999, 48_800_000_000)]
    ['?', '999 B', '48.8 GB']
    """
    if n_bytes is None:
        return "?"
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
