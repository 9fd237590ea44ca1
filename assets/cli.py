"""The command line: build a warehouse, look at it, ask it. Each command forwards to one function."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from etl.accounting import RowAccount
from etl.errors import PerturbhouseError
from etl.settings import Settings, settings_from
from etl.threads import usable_cpus
from etl.warehouse.contents import table_contents
from etl.warehouse.scan import exists, scan, table_named
from etl.warehouse.sql import query as run_query
from schemas.vocabularies import REFERENCE_CHANGES

app = typer.Typer(
    name="perturbhouse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Chemical-perturbation data in one trustworthy warehouse of Delta tables.",
    epilog="Start with: perturbhouse demo",
)
console = Console(width=None if sys.stdout.isatty() else 120)

Root = Annotated[
    str | None,
    typer.Option(
        "--root", help="Warehouse root: a folder or a URI such as s3://bucket/prefix. [default: warehouse]"
    ),
]
Raw = Annotated[
    Path | None,
    typer.Option(
        "--raw", help="Folder of the publishers' files, one folder per dataset. [default: <root>/raw]"
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that fit effects side by side; 1 fits them in this one. [default: one per CPU where "
        "there is enough to do, two with less than 16 GB of memory]",
    ),
]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Set what holds for every command."""
    if debug:
        os.environ["PERTURBHOUSE_DEBUG"] = "1"


@app.command()
def demo(root: Root = None, workers: Workers = None) -> None:
    """Simulate nine small datasets in the publishers' own file formats and build a warehouse from them.

    No network is used. Compounds and cell lines are real, values are simulated; core/dataset says so.
    """
    from etl.simulate import simulate_studies

    settings = _settings(root, None, pubchem_mode="offline")
    with console.status("Simulating nine datasets in the publishers' file formats …"):
        simulate_studies(settings.raw)
    console.print(f"Simulated files are in [bold]{settings.raw}[/bold].")
    _build([], settings, force=False, workers=workers)
    tables(root)
    _show_how_to_scan(settings.root)


@app.command()
def build(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Datasets to build; all that have a raw folder if none is named."),
    ] = None,
    raw: Raw = None,
    root: Root = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask PubChem; use what is cached and what files tell.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Rebuild datasets whose files and code have not changed.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Ingest datasets: harmonize, validate, compute effects and agreement, write the Delta tables.

    Puts every dataset through the same assets that `perturbhouse ui` shows. A dataset, or the effects of one
    of its contexts, that fails leaves its last good tables in place and does not stop the others.
    """
    settings = _settings(root, raw, pubchem_mode="offline" if offline else None)
    _build(datasets or [], settings, force=force, workers=workers)


@app.command()
def fetch(
    datasets: Annotated[list[str], typer.Argument(help="Datasets whose files to download.")],
    raw: Raw = None,
    root: Root = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show files, sizes and licence; nothing is written.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Replace files that changed at the publisher or were altered here."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and hash what is there, not only compare size and time.")
    ] = False,
    per_host: Annotated[
        int, typer.Option("--per-host", min=1, help="Downloads from one server at a time.")
    ] = 2,
) -> None:
    """Download the publishers' files of datasets into the raw folder: resumed where cut, verified, whole.

    What needs a registration or comes by hand is named, with where to get it and where to put it.
    """
    from etl.extract.fetch import Options
    from etl.extract.terminal import fetch_to_terminal
    from etl.sources import source_named

    sources = [source_named(dataset_id) for dataset_id in datasets]
    options = Options(is_dry_run=dry_run, is_updated=update, by_digest=verify, per_host=per_host)
    settings = _settings(root, raw)
    for source in sources:
        fetch_to_terminal(source.spec, settings.raw, options, console)


@app.command()
def tables(root: Root = None) -> None:
    """List the tables of the warehouse: rows, datasets, size, Delta version."""
    settings = _settings(root, None)
    contents = table_contents(root=settings.root)
    if not contents:
        raise PerturbhouseError(
            f"there is no warehouse at {settings.root!r} yet; `perturbhouse build` or `demo` makes one"
        )
    shown = RichTable(title=f"Warehouse {settings.root}", title_justify="left")
    for name, align in (
        ("table", "left"),
        ("rows", "right"),
        ("datasets", "right"),
        ("size", "right"),
        ("version", "right"),
    ):
        shown.add_column(name, justify=align)  # type: ignore[arg-type]
    for content in contents:
        shown.add_row(
            content.name,
            f"{content.n_rows:,}",
            "" if content.n_datasets is None else str(content.n_datasets),
            _size(content.n_bytes),
            str(content.version),
        )
    console.print(shown)
    if simulated := _simulated(settings.root):
        console.print(f"Simulated, not measured: {', '.join(simulated)}.")


@app.command()
def describe(
    table: Annotated[str, typer.Argument(help="Table name, such as mart/condition.")], root: Root = None
) -> None:
    """Describe a table: what a row is, its columns with units, and a few rows."""
    described = table_named(table)
    console.print(f"[bold]{described.name}[/bold]: {described.grain}")
    console.print(f"Key: {', '.join(described.primary_key)}")
    settings = _settings(root, None)
    written = exists(described, root=settings.root)
    example = scan(described, root=settings.root).head(1).collect().to_dicts() if written else []
    shown = RichTable()
    for name in ("column", "type", "null", "description", "example"):
        shown.add_column(name)
    for name, column in described.columns.items():
        metadata = column.metadata or {}
        unit = f" Unit: {metadata['unit']}." if "unit" in metadata else ""
        values = f" One of: {', '.join(metadata['vocabulary'])}." if "vocabulary" in metadata else ""
        shown.add_row(
            name,
            str(column.dtype.type),
            "yes" if column.nullable else "",
            f"{column.description}{unit}{values}",
            str(example[0][name]) if example else "",
        )
    console.print(shown)
    if not written:
        console.print(f"The warehouse {settings.root!r} does not hold it yet.")


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="SQL; tables are named core.sample, mart.condition, …")],
    root: Root = None,
    rows: Annotated[int, typer.Option("--rows", help="Rows to print at most.", min=1)] = 50,
) -> None:
    """Run a SQL query over the tables with DuckDB and print its result."""
    result = run_query(sql, root=_settings(root, None).root)
    with pl.Config(tbl_cols=-1, tbl_rows=rows, tbl_width_chars=10_000, fmt_str_lengths=60):
        print(result.head(rows))  # noqa: T201 - as wide as it is: a terminal scrolls, a pipe keeps lines whole
    if result.height > rows:
        console.print(f"{result.height - rows:,} more rows; ask for them with --rows or LIMIT.")


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="Table name, such as mart/condition.")],
    out: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    redistributable_only: Annotated[
        bool,
        typer.Option(
            "--redistributable-only", help="Leave out rows of datasets whose licence forbids passing them on."
        ),
    ] = False,
    root: Root = None,
) -> None:
    """Write a table to one file, streaming; whole or not at all."""
    from etl.warehouse.export import export as write

    n_rows = write(table, out, redistributable_only=redistributable_only, root=_settings(root, None).root)
    console.print(f"{n_rows:,} rows of {table} written to {out}.")


@app.command()
def agreement(
    metric: Annotated[
        str, typer.Option(help="Metric, such as direction_agreement; see `describe mart/agreement_summary`.")
    ] = "spearman_log2_fold_change",
    standardize: Annotated[
        str | None,
        typer.Option(
            help="Compare effects in units of each gene's spread over a `dataset`, or a `context` of it: "
            "computed anew, not written."
        ),
    ] = None,
    root: Root = None,
) -> None:
    """Print how far every two datasets say the same, beside baselines, with intervals over compounds."""
    from etl.agreement.summary import overview
    from etl.warehouse.standardized_agreement import standardized_agreement

    settings = _settings(root, None)
    if standardize is None:
        summary = scan("mart/agreement_summary", root=settings.root).collect()
    else:
        summary = standardized_agreement(standardize, metric, root=settings.root)
    table = overview(summary, metric)
    title = f"{metric}: mean [95 % interval]"
    if standardize:
        title += f"; effects in units of each gene's spread over the {standardize}"
    shown = RichTable(title=title, title_justify="left")
    for name in table.columns:
        is_name = name == "datasets"
        shown.add_column(name.replace("_", " "), justify="left" if is_name else "right", no_wrap=is_name)
    for row in table.iter_rows():
        shown.add_row(*map(str, row))
    console.print(shown)
    if standardize is None:
        console.print(f"More for people: {settings.root}/reports/agreement.html")


@app.command(name="l1000-signatures")
def l1000_signatures(
    dataset: Annotated[str, typer.Argument(help="An L1000 dataset.")],
    out: Annotated[Path, typer.Argument(help="New folder for signatures/, wells/, level_4/ and level_5/.")],
    vehicle: Annotated[
        bool,
        typer.Option(
            "--vehicle", help="z-scores against a plate's vehicle wells, not against all its wells."
        ),
    ] = False,
    root: Root = None,
) -> None:
    """Write Levels 4 and 5 of an L1000 dataset: z-scores of wells, signatures, their quality."""
    from etl.warehouse.l1000_signatures import write_l1000_signatures

    written = write_l1000_signatures(
        dataset,
        out,
        reference="vehicle" if vehicle else "population",
        root=_settings(root, None).root,
    )
    n_signatures, n_wells, n_without = written.select(pl.selectors.integer().sum()).row(0)
    console.print(f"{n_signatures:,} signatures of {n_wells:,} wells written to {out}.")
    if n_without:
        console.print(f"{n_without:,} wells are on plates with too few vehicle wells and are in none.")


@app.command()
def triples(
    dataset: Annotated[str, typer.Argument(help="A drug-response screen.")],
    metric: Annotated[
        str, typer.Argument(help="Column of mart/dose_response such as auc, or log10_ and one of doses.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    collapse: Annotated[
        str, typer.Option("--collapse", help="How curves of a pair become one: mean, median or first.")
    ] = "mean",
    root: Root = None,
) -> None:
    """Write drug x line x response triples of a screen, one row per compound and cell line."""
    from etl.response.corrected import corrected_triples
    from etl.warehouse.export import write_rows

    curves = scan("mart/dose_response", root=_settings(root, None).root)
    rows, account = corrected_triples(curves, dataset_id=dataset, metric=metric, collapse=collapse)
    write_rows(rows.lazy(), out)
    console.print(_account_table({dataset: {f"triples of {metric}": account}}))
    console.print(f"{rows.height:,} triples written to {out}.")


@app.command(name="study-triples")
def study_triples(
    dataset: Annotated[str, typer.Argument(help="ctrpv2, gdsc2 or gcsi.")],
    metric: Annotated[str, typer.Argument(help="As the study names it: AUC, EC50, LN_IC50, GR_AOC, …")],
    out: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    models: Annotated[Path, typer.Option("--models", help="DepMap's Model.csv of the release to use.")],
    raw: Raw = None,
    root: Root = None,
) -> None:
    """Write the triples of Herbert et al. as they build them, and print the rows after each step."""
    from etl.response.triples import study_triples as build_triples
    from etl.warehouse.export import write_rows

    settings = _settings(root, raw)
    found = build_triples(dataset, metric, settings.raw / dataset, models=models)
    write_rows(found.rows.lazy(), out)
    shown = RichTable(title=f"{metric} of {dataset}", title_justify="left")
    for column in ("step", "rows", "rows of the study", "dropped"):
        shown.add_column(column, justify="right" if column.startswith("rows") else "left")
    for step, n_rows, published, dropped in found.manifest.select(
        "step", "n_rows", "n_rows_study", "dropped"
    ).iter_rows():
        shown.add_row(step, f"{n_rows:,}", "" if published is None else f"{published:,}", dropped or "")
    console.print(shown)
    console.print(f"{found.rows.height:,} triples written to {out}.")


@app.command()
def unresolved(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only this dataset.")] = None,
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="Also what is resolved with low confidence or contradicted.")
    ] = False,
    rows: Annotated[int, typer.Option("--rows", help="Names to print at most.", min=1)] = 50,
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", help="CSV to write all of them to, as rows of an overrides table to fill in."
        ),
    ] = None,
    root: Root = None,
) -> None:
    """List reported compounds, cell labels and genes without an identifier, most used first.

    Settle a case by a row in <raw>/reference/overrides.csv (entity, dataset_id, reported, value, reason,
    source); the next build uses it.
    """
    from etl.warehouse.unresolved import as_overrides
    from etl.warehouse.unresolved import unresolved as open_names

    found = open_names(root=_settings(root, None).root, dataset_id=dataset, with_doubtful=doubtful)
    if write is not None:
        as_overrides(found).write_csv(write)
        console.print(f"{found.height:,} name(s) written to {write}: fill in value, reason and source.")
    shown = RichTable(title="Open names, most used first", title_justify="left")
    for name, align in (("uses", "right"), ("entity", "left"), ("dataset", "left"), ("reported", "left")):
        shown.add_column(name, justify=align, overflow="fold")  # type: ignore[arg-type]
    shown.add_column("why", overflow="fold", ratio=2)
    shown.add_column("candidates", overflow="fold", ratio=1)
    for row in found.head(rows).iter_rows(named=True):
        name = "" if row["name"] in (None, row["reported"]) else f" ({row['name']})"
        why = (
            row["reason"] or ""
            if row["method"] == "unresolved"
            else f"[{row['method']}] {row['reason'] or ''}"
        )
        candidates = ", ".join(row["candidates"][:3])
        more = f" and {len(row['candidates']) - 3} more" if len(row["candidates"]) > 3 else ""
        shown.add_row(
            f"{row['n_uses']:,}",
            row["entity"],
            row["dataset_id"],
            escape(f"{row['reported']}{name}"),
            escape(why),
            f"{candidates}{more}",
        )
    console.print(shown)
    counts = found.group_by("entity").len().sort("entity")
    totals = ", ".join(f"{n:,} {entity}(s)" for entity, n in counts.iter_rows())
    console.print(f"{totals or 'Nothing'} open; {min(rows, found.height):,} shown (--rows shows more).")


@app.command(name="reference-diff")
def reference_diff(
    folder: Annotated[Path, typer.Argument(help="Folder of other references, laid out as <raw>/reference.")],
    rows: Annotated[int, typer.Option("--rows", help="Changes to print at most.", min=1)] = 50,
    write: Annotated[Path | None, typer.Option("--write", help="CSV to write all changes to.")] = None,
    root: Root = None,
    raw: Raw = None,
) -> None:
    """Report what other releases of the references would change; nothing in the warehouse is touched.

    Every reported name is resolved again with them: gained, lost, moved to another id, or the same id on
    other evidence. PubChem's service is not asked; its files are used where the folder holds them.
    """
    from assets.resources import Warehouse
    from etl.harmonize.reference_diff import reference_diff as compare
    from etl.harmonize.reference_folder import ReferenceFolder
    from etl.harmonize.structures import standardize
    from etl.warehouse.unresolved import NAME_TABLES

    if not folder.is_dir():
        raise PerturbhouseError(f"there is no folder {str(folder)!r}")
    warehouse = Warehouse.from_settings(_settings(root, raw))
    # A cache of its own: the warehouse's holds what its own references were made into.
    other = ReferenceFolder(folder, warehouse.cache_path / "other_references")
    names = {entity: warehouse.read_all(table) for entity, table in NAME_TABLES.items()}
    with (
        console.status("Resolving every name again …"),
        warehouse.pubchem(other) as pubchem,
        warehouse.structure_cache() as cache,
    ):
        known = partial(standardize, n_workers=usable_cpus(), cache=cache)
        diff = compare(names, folder=other, pubchem=pubchem, standardize=known)
    shown = RichTable(title="Names by what would change", title_justify="left")
    for name, align in (("entity", "left"), ("dataset", "left"), ("names", "right")):
        shown.add_column(name, justify=align)  # type: ignore[arg-type]
    for change in REFERENCE_CHANGES:
        shown.add_column(change, justify="right")
    counted = {
        (entity, dataset_id, change): n
        for entity, dataset_id, change, n in diff.rows.group_by("entity", "dataset_id", "change")
        .len()
        .iter_rows()
    }
    for (entity, dataset_id), n in diff.n_compared.items():
        changes = [f"{counted.get((entity, dataset_id, change), 0):,}" for change in REFERENCE_CHANGES]
        shown.add_row(entity, dataset_id, f"{n:,}", *changes)
    console.print(shown)
    for row in diff.rows.head(rows).iter_rows(named=True):
        was = f"{row['id_before'] or 'unresolved'} ({row['method_before']}, {row['confidence_before']})"
        now = f"{row['id_after'] or 'unresolved'} ({row['method_after']}, {row['confidence_after']})"
        console.print(
            escape(
                f"{row['change']}: {row['entity']} {row['reported']!r} of {row['dataset_id']}: {was} → {now}"
            ),
            highlight=False,
        )
    if diff.rows.height > rows:
        console.print(f"{diff.rows.height - rows:,} more; --rows or --write shows them.")
    if write is not None:
        diff.rows.write_csv(write)
        console.print(f"{diff.rows.height:,} change(s) written to {write}.")


@app.command()
def ui(
    root: Root = None,
    raw: Raw = None,
    port: Annotated[int, typer.Option("--port", help="Port on this machine.")] = 3000,
) -> None:
    """Open the Dagster UI on the asset graph: materialize partitions, see row counts, previews and checks."""
    from assets.instance import ui_environment

    settings = _settings(root, raw)
    console.print(f"Dagster UI on http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-m",
        "assets.definitions",
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
    ]
    raise typer.Exit(subprocess.call(command, env=os.environ | ui_environment(settings)))  # noqa: S603 - our own words


def main() -> None:
    """Run the command line; an error of the user or the file system is one line and exit code 1."""
    if "--debug" in sys.argv:  # wherever it stands
        sys.argv.remove("--debug")
        os.environ["PERTURBHOUSE_DEBUG"] = "1"
    try:
        app()
    except (PerturbhouseError, OSError) as error:
        if os.environ.get("PERTURBHOUSE_DEBUG"):
            raise
        Console(stderr=True).print(f"[bold red]Error:[/bold red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _settings(root: str | None, raw: Path | None, *, pubchem_mode: str | None = None) -> Settings:
    given = {
        "PERTURBHOUSE_ROOT": root,
        "PERTURBHOUSE_RAW": str(raw) if raw is not None else None,
        "PERTURBHOUSE_PUBCHEM": pubchem_mode,
    }
    return settings_from(os.environ | {name: value for name, value in given.items() if value is not None})


def _build(dataset_ids: list[str], settings: Settings, *, force: bool, workers: int | None) -> None:
    """Build, show progress and what was done; exit code 1 if a dataset or a fit unit failed."""
    from assets.build import build as build_datasets
    from assets.resources import Warehouse

    started = time.monotonic()
    with console.status("Looking at the files …") as status:

        def show(step: str) -> None:
            console.print(f"  {time.monotonic() - started:5.1f} s  {step}", highlight=False)
            status.update(f"Building: {step} …")

        warehouse = Warehouse.from_settings(settings)
        built = build_datasets(dataset_ids, warehouse, force=force, workers=workers, progress=show)
    touched = {unit.dataset_id for unit in (*built.fitted, *built.failed_units)}
    for dataset_id in built.fresh:
        if dataset_id not in touched:
            console.print(f"{dataset_id}: up to date (same files, same code; --force rebuilds)")
    failures = {**built.failed, **{str(unit): error for unit, error in built.failed_units.items()}}
    for name, error in failures.items():
        Console(stderr=True).print(
            f"[bold red]{escape(name)} failed:[/bold red] {escape(error)}", soft_wrap=True, highlight=False
        )
    if built.rebuilt or built.fitted:
        rebuilt = ", ".join(built.rebuilt) or "no dataset anew"
        console.print(f"Built {rebuilt} in {time.monotonic() - started:.1f} s.")
        console.print(
            f"Effects: {len(built.fitted):,} fit unit(s) built, {len(built.fresh_units):,} up to date, "
            f"{len(built.failed_units):,} failed."
        )
        console.print(_account_table(built.accounts))
    for check in built.warnings:
        console.print(f"[yellow]Check did not pass:[/yellow] {escape(check)}")
    if failures:
        failed = [f"{len(built.failed)} dataset(s)"] if built.failed else []
        failed += [f"{len(built.failed_units)} fit unit(s)"] if built.failed_units else []
        raise PerturbhouseError(
            f"{' and '.join(failed)} failed; their last good tables, if any, are unchanged"
        )


def _account_table(accounts: Mapping[str, Mapping[str, RowAccount]]) -> RichTable:
    """Return what came in, what was kept, and why they differ, by dataset and table."""
    shown = RichTable(title="In and kept", title_justify="left")
    columns = (("dataset", "left"), ("table", "left"), ("in", "right"), ("kept", "right"), ("of", "left"))
    for name, justify in columns:
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]
    shown.add_column("not kept, and what was noted", ratio=1)
    for dataset_id, by_table in accounts.items():
        for name, account in by_table.items():
            remarks = [f"[red]−{n:,} {reason}[/red]" for reason, n in account.dropped.items()]
            remarks += [f"{n:,} {remark}" for remark, n in account.noted.items()]
            counts = f"{account.n_in:,}", f"{account.n_out:,}"
            shown.add_row(dataset_id, name, *counts, account.unit, ", ".join(remarks))
        shown.add_section()
    return shown


def _simulated(root: str) -> list[str]:
    if not exists("core/dataset", root=root):
        return []
    rows = scan("core/dataset", root=root).filter("is_simulated").select("dataset_id").collect()
    return sorted(rows["dataset_id"].to_list())


def _show_how_to_scan(root: str) -> None:
    console.print("\nScan it from Python with nothing but polars and deltalake:\n")
    console.print(
        "import polars as pl\n"
        f'effects = pl.scan_delta("{root}/mart/differential_expression")\n'
        'print(effects.filter(pl.col("p_value_adjusted") < 0.05).group_by("dataset_id").len().collect())',
        style="cyan",
        highlight=False,
    )


def _size(n_bytes: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000  # type: ignore[assignment]
    return f"{n_bytes:.1f} TB"
