"""Files of gene references, each read into one frame, and the release it states.

HGNC's complete set, gene annotations of Ensembl and GENCODE, Ensembl's history of stable ids, NCBI Gene, the
probes of LINCS. What a file says is told here, gene ids as integers; how the files complete each other is
known to ``gene_reference``. Readers keep human genes only: of a file over all species that is what is asked.
"""

import datetime
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError
from etl.formats import delimited

Release = tuple[str | None, datetime.date | None]
"""Release in the publisher's words, and its date; None where the file states none."""

SPECIES_SPAN = 10_000_000
"""Width of one species' block of gene ids; human genes are block 0."""

HUMAN_TAXON: Final = "9606"

_HUMAN_ID = r"^ENSG(R\d{10}|\d{11})(?:\.\d+)?(?:_\d+)?(?:_PAR_Y)?$"
_HGNC_COLUMNS = (
    "hgnc_id",
    "symbol",
    "locus_type",
    "location",
    "alias_symbol",
    "prev_symbol",
    "entrez_id",
    "ensembl_gene_id",
    "status",
)
_EVENT_COLUMNS = (
    "old_stable_id",
    "old_version",
    "new_stable_id",
    "new_version",
    "mapping_session_id",
    "type",
    "score",
)
_SESSION_COLUMNS = (
    "mapping_session_id",
    "old_db_name",
    "new_db_name",
    "old_release",
    "new_release",
    "old_assembly",
    "new_assembly",
    "created",
)
_HEADER_LINES = 20
"""Comment lines that an annotation may begin with."""


def gene_ids(ensembl: pl.Expr) -> pl.Expr:
    """Return the integer part of human Ensembl gene ids; null for anything else.

    Version and ``_PAR_Y`` suffixes are dropped, and GENCODE's old ``ENSGR…`` is the Y copy of ``ENSG0…``:
    both copies of a pseudo-autosomal gene are one gene. Inverse of :func:`ensembl_gene_ids`.

    >>> ids = pl.DataFrame({"id": ["ENSG00000141510.17", "ENSG00000182378.15_PAR_Y", "TP53"]})
    >>> ids.select(gene_ids(pl.col("id")))["id"].to_list()
    [141510, 182378, None]
    """
    number = ensembl.str.extract(_HUMAN_ID).str.strip_prefix("R").cast(pl.Int64, strict=False)
    return pl.when(number.is_between(1, SPECIES_SPAN - 1)).then(number).cast(pl.Int32)


def ensembl_gene_ids(gene_id: pl.Expr) -> pl.Expr:
    """Return the Ensembl gene ids, without version, of human gene ids.

    >>> pl.DataFrame({"gene_id": [141510]}).select(ensembl_gene_ids(pl.col("gene_id"))).item()
    'ENSG00000141510'
    """
    return pl.lit("ENSG") + gene_id.cast(pl.String).str.zfill(11)


def chromosomes(name: pl.Expr) -> pl.Expr:
    """Return ``1`` to ``22``, ``X``, ``Y`` or ``MT`` of the name of a sequence; null for scaffolds.

    >>> names = pl.DataFrame({"name": ["chr17", "chrM", "X", "KI270734.1"]})
    >>> names.select(chromosomes(pl.col("name")))["name"].to_list()
    ['17', 'MT', 'X', None]
    """
    return name.str.strip_prefix("chr").replace("M", "MT").str.extract(r"^(\d{1,2}|X|Y|MT)$")


def read_hgnc(path: Path) -> pl.DataFrame:
    """Read the approved records of HGNC's complete set, sorted by HGNC number.

    Returns:
        hgnc_id, symbol, biotype (HGNC's locus type), chromosome (``X,Y`` in the pseudo-autosomal regions),
        entrez_id, gene_id (null where HGNC names no Ensembl gene), previous_symbols, alias_symbols.

    Raises:
        BadInputError: the file cannot be read, or a column is missing.
    """
    raw = delimited.read_reference(path, _HGNC_COLUMNS, separator="\t", quote_char='"')
    location = pl.col("location")
    chromosome = (
        pl.when(location.str.contains(r"^X.* and Y"))
        .then(pl.lit("X,Y"))
        .when(location == "mitochondria")
        .then(pl.lit("MT"))
        .otherwise(location.str.extract(r"^(\d{1,2}|X|Y)(?:[pqc\s].*)?$"))
    )
    return (
        raw.filter(pl.col("status") == "Approved")
        .select(
            hgnc_id=pl.col("hgnc_id"),
            symbol=pl.col("symbol"),
            biotype=pl.col("locus_type"),
            chromosome=chromosome,
            entrez_id=pl.col("entrez_id").cast(pl.Int64, strict=False),
            gene_id=gene_ids(pl.col("ensembl_gene_id")),
            previous_symbols=_listed("prev_symbol"),
            alias_symbols=_listed("alias_symbol"),
        )
        .sort(hgnc_numbers(pl.col("hgnc_id")), maintain_order=True)
    )


def hgnc_numbers(hgnc_id: pl.Expr) -> pl.Expr:
    """Return the numbers of HGNC ids, by which they sort."""
    return hgnc_id.str.extract(r"(\d+)").cast(pl.Int64)


def hgnc_release(path: Path) -> Release:
    """Return the newest date of change in HGNC's complete set, which states no release.

    Raises:
        BadInputError: the file cannot be read, or lacks the column.
    """
    rows = delimited.read_reference(path, ("date_modified",), separator="\t", quote_char='"')
    newest = rows["date_modified"].str.to_date("%Y-%m-%d", strict=False).max()
    if not isinstance(newest, datetime.date):
        return None, None
    return f"content to {newest.isoformat()}", newest


def read_annotation(path: Path) -> pl.DataFrame:
    """Read the genes of an annotation: GTF of Ensembl or GENCODE, or the table ``….gene.probemap`` of one.

    Returns:
        gene_id, name (null where the gene has none but its id), biotype (null in a probemap), chromosome
        (``X,Y`` where both copies are listed): one row per gene, sorted by id.

    Raises:
        BadInputError: the file cannot be read, lacks a column, or has no human gene.
    """
    rows = _probemap_genes(path) if path.name.endswith(".probemap") else _gtf_genes(path)
    genes = (
        rows.with_columns(
            gene_id=gene_ids(pl.col("id")),
            name=pl.when(~pl.col("name").str.contains(r"^ENSG\d{11}")).then("name"),
            chromosome=chromosomes(pl.col("chromosome")),
        )
        .drop_nulls("gene_id")
        .group_by("gene_id")
        .agg(pl.col("name", "biotype").min(), pl.col("chromosome").drop_nulls().unique().sort())
        .with_columns(pl.col("chromosome").list.join(","))
        .with_columns(chromosome=pl.when(pl.col("chromosome") != "").then("chromosome"))
        .sort("gene_id")
    )
    if genes.is_empty():
        raise BadInputError("no human Ensembl gene in it", file=path)
    return genes


def annotation_release(path: Path) -> Release:
    """Return the release that an annotation states in its comments, else in its name.

    ``gencode.v36.annotation.gtf.gz`` is ``GENCODE v36``, ``Homo_sapiens.GRCh38.112.gtf.gz`` is ``Ensembl
    112``; the date is GENCODE's ``##date`` or Ensembl's ``#!genebuild-last-updated``.

    Raises:
        BadInputError: the archive is broken.
    """
    comments: list[str] = []
    for line in _lines(path):
        if not line.startswith(b"#") or len(comments) == _HEADER_LINES:
            break
        comments.append(line.decode("utf-8", "replace").strip())
    text = "\n".join(comments)
    release = None
    if number := re.search(r"^##description:.*version (\d+)", text, re.M) or re.search(
        r"gencode\.v(\d+)", path.name
    ):
        release = f"GENCODE v{number[1]}"
    elif number := re.search(r"^Homo_sapiens\.\w+\.(\d+)\.", path.name):
        release = f"Ensembl {number[1]}"
    return release, _date(re.search(r"^(?:##date: |#!genebuild-last-updated )([\d-]+)", text, re.M))


def read_stable_id_events(path: Path) -> pl.DataFrame:
    """Read what became of Ensembl gene ids, from the table ``stable_id_event`` of Ensembl's MySQL dump.

    Returns:
        session, old_id, new_id (gene ids; null where one appears or disappears), only events of human genes.

    Raises:
        BadInputError: the file cannot be read as that table.
    """
    rows = _dump(path, _EVENT_COLUMNS)
    events = rows.filter(pl.col("type") == "gene").select(
        session=pl.col("mapping_session_id").cast(pl.Int64, strict=False),
        old_id=gene_ids(pl.col("old_stable_id")),
        new_id=gene_ids(pl.col("new_stable_id")),
    )
    if events["session"].has_nulls():
        raise BadInputError("not a whole number", file=path, column="mapping_session_id")
    return events.filter(pl.col("old_id").is_not_null() | pl.col("new_id").is_not_null())


def read_mapping_sessions(path: Path) -> pl.DataFrame:
    """Read when each session of Ensembl's id mapping was, from the table ``mapping_session`` of its dump.

    Returns:
        session, new_release, created; sorted by time. The numbers of sessions do not tell their order.

    Raises:
        BadInputError: the file cannot be read as that table, or a time is missing.
    """
    sessions = _dump(path, _SESSION_COLUMNS).select(
        session=pl.col("mapping_session_id").cast(pl.Int64, strict=False),
        new_release=pl.col("new_release"),
        created=pl.col("created").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False),
    )
    for column in ("session", "created"):
        if sessions[column].has_nulls():
            row = int(sessions[column].is_null().arg_max() or 0) + 1
            raise BadInputError("cannot be read", file=path, row=row, column=column)
    return sessions.sort("created", "session")


def stable_id_release(path: Path) -> Release:
    """Return the newest release that ``mapping_session`` leads to, and when it was mapped.

    Args:
        path: that table, or ``stable_id_event`` of the same dump, which states no release of its own.

    Raises:
        BadInputError: as :func:`read_mapping_sessions`.
    """
    if path.name.startswith("stable_id_event"):
        path = path.with_name(path.name.replace("stable_id_event", "mapping_session"))
        if not path.is_file():
            return None, None
    sessions = read_mapping_sessions(path)
    if sessions.is_empty():
        return None, None
    release, created = sessions.row(-1)[1:]
    return f"Ensembl {release}", created.date()


def read_gene_info(path: Path) -> pl.DataFrame:
    """Read human genes of NCBI's ``gene_info``.

    Returns:
        entrez_id, symbol, synonyms, hgnc_id, gene_ids (those of Ensembl that NCBI names; may be empty).

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    rows = _ncbi(path, ("GeneID", "Symbol", "Synonyms", "dbXrefs"))
    xrefs = pl.col("dbXrefs")
    return rows.select(
        entrez_id=pl.col("GeneID").cast(pl.Int64, strict=False),
        symbol=pl.col("Symbol"),
        synonyms=_listed("Synonyms"),
        hgnc_id=xrefs.str.extract(r"HGNC:(HGNC:\d+)"),
        gene_ids=xrefs.fill_null("").str.extract_all(r"ENSG\d{11}").list.eval(gene_ids(pl.element())),
    ).drop_nulls("entrez_id")


def read_gene_history(path: Path) -> pl.DataFrame:
    """Read what became of human GeneIDs, from NCBI's ``gene_history``.

    Returns:
        entrez_id (discontinued), current_id (null where the record was withdrawn).

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    return (
        _ncbi(path, ("GeneID", "Discontinued_GeneID"))
        .select(
            entrez_id=pl.col("Discontinued_GeneID").cast(pl.Int64, strict=False),
            current_id=pl.col("GeneID").cast(pl.Int64, strict=False),
        )
        .drop_nulls("entrez_id")
    )


def read_gene2ensembl(path: Path) -> pl.DataFrame:
    """Read human pairs of NCBI's ``gene2ensembl``: entrez_id, gene_id.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    return (
        _ncbi(path, ("GeneID", "Ensembl_gene_identifier"))
        .select(
            entrez_id=pl.col("GeneID").cast(pl.Int64, strict=False),
            gene_id=gene_ids(pl.col("Ensembl_gene_identifier")),
        )
        .drop_nulls()
        .unique()
        .sort("entrez_id", "gene_id")
    )


def read_lincs_probes(path: Path) -> pl.DataFrame:
    """Read the Affymetrix probe sets of LINCS' gene table: probe, entrez_id; a probe of no gene has null.

    A probe set of several genes (``414308///4360``) has a row for each.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    rows = delimited.read_reference(path, ("pr_id", "pr_gene_id"), separator="\t")
    return (
        rows.drop_nulls("pr_id")
        .select(probe="pr_id", entrez_id=pl.col("pr_gene_id").str.split("///"))
        .explode("entrez_id", empty_as_null=True)
        .with_columns(pl.col("entrez_id").cast(pl.Int64, strict=False))
        .unique()
        .sort("probe", "entrez_id")
    )


def archive_release(path: Path) -> Release:
    """Return the date inside a gzip archive, for files that state no release: NCBI's and those of LINCS."""
    with path.open("rb") as file:
        head = file.read(8)
    seconds = int.from_bytes(head[4:8], "little") if head[:2] == b"\x1f\x8b" else 0
    return None, datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).date() if seconds else None


def _listed(column: str) -> pl.Expr:
    """Split ``|``-separated lists; an empty cell and NCBI's ``-`` are empty lists."""
    parts = pl.col(column).fill_null("").str.split("|")
    return parts.list.eval(pl.element().filter(~pl.element().is_in(["", "-"])))


def _probemap_genes(path: Path) -> pl.DataFrame:
    rows = delimited.read_reference(path, ("id", "gene", "chrom"), separator="\t")
    return rows.select("id", name="gene", biotype=pl.lit(None, pl.String), chromosome="chrom")


def _gtf_genes(path: Path) -> pl.DataFrame:
    """Return the gene lines of a GTF; the file, up to 1.5 GB of text, is streamed."""
    genes = [line for line in _lines(path) if b"\tgene\t" in line]
    lines = pl.DataFrame({"line": [line.decode("utf-8", "replace") for line in genes]}, {"line": pl.String})
    line = pl.col("line")
    return lines.select(
        id=line.str.extract(r'gene_id "([^"]+)"'),
        name=line.str.extract(r'gene_name "([^"]+)"'),
        biotype=line.str.extract(r'gene_(?:bio)?type "([^"]+)"'),
        chromosome=line.str.extract(r"^([^\t]+)\t"),
    )


def _lines(path: Path) -> Iterator[bytes]:
    with _readable(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def _dump(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    r"""Read a table of a MySQL dump as text: tab-separated, without header, ``\N`` for null."""
    with _readable(path):
        rows = pl.read_csv(
            path,
            separator="\t",
            quote_char=None,
            has_header=False,
            infer_schema=False,
            null_values=["\\N"],
        )
    if rows.width != len(columns):
        raise BadInputError(f"{rows.width} fields where the table has {len(columns)}", file=path, row=1)
    return rows.rename(dict(zip(rows.columns, columns, strict=True)))


def _ncbi(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read columns of human rows of a table of NCBI Gene, of all species or one; ``-`` is null."""
    with _readable(path):
        table = pl.scan_csv(
            path, separator="\t", quote_char=None, infer_schema=False, null_values=["-"]
        ).rename(lambda name: name.removeprefix("#"))
        present = table.collect_schema().names()
        for column in ("tax_id", *columns):
            if column not in present:
                raise BadInputError("the column is missing", file=path, column=column)
        return table.filter(pl.col("tax_id") == HUMAN_TAXON).select(columns).collect(engine="streaming")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file of a fault in reading it."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as fault:
        raise BadInputError(f"cannot be read: {' '.join(str(fault).split())}", file=path) from fault


def _date(found: re.Match[str] | None) -> datetime.date | None:
    """Return the date a pattern found; Ensembl states year and month only."""
    if found is None:
        return None
    year, month, *day = (int(part) for part in found[1].split("-"))
    return datetime.date(year, month, day[0] if day else 1)
