"""Reported genes and probes to Ensembl gene ids, kept as small integers.

The reference is HGNC's complete set where it is present, else an embedded table of protein-coding and L1000
genes; the 978 landmarks always come from the embedded table. Retired Ensembl ids keep their own number: an id
that HGNC does not list is still an id.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.formats import delimited
from schemas.core.gene import GENE
from schemas.core.gene_name import GENE_NAME

SPECIES_SPAN = 10_000_000
"""Width of one species' block of gene ids; human genes are block 0."""

REFERENCE_COLUMNS: Final = (
    "gene_id",
    "symbol",
    "hgnc_id",
    "entrez_id",
    "biotype",
    "is_landmark",
    "previous_symbols",
    "alias_symbols",
)
_HUMAN_ID = r"^ENSG(R\d{10}|\d{11})(?:\.\d+)?(?:_\d+)?(?:_PAR_Y)?$"
_ANY_ENSEMBL_ID = r"^ENS[A-Z]*G\d{11}"
_HGNC_COLUMNS = (
    "hgnc_id",
    "symbol",
    "locus_type",
    "alias_symbol",
    "prev_symbol",
    "entrez_id",
    "ensembl_gene_id",
    "status",
)


@dataclass(frozen=True, slots=True)
class GeneReference:
    """Human genes known by name.

    Args:
        genes: one row per gene, with ``REFERENCE_COLUMNS``.
        origin: file the genes come from.
    """

    genes: pl.DataFrame
    origin: str


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


def load_gene_reference(folder: Path | None) -> GeneReference:
    """Return the genes of ``hgnc_complete_set.txt[.gz]`` in the folder, else the embedded table.

    Raises:
        BadInputError: the file of HGNC cannot be read, or lacks a column.
    """
    embedded = pl.read_parquet(files("etl.harmonize").joinpath("reference/genes.parquet").read_bytes())
    for name in ("hgnc_complete_set.txt", "hgnc_complete_set.txt.gz"):
        if folder is not None and (path := folder / name).is_file():
            landmarks = embedded.filter("is_landmark")["gene_id"]
            genes = read_hgnc(path).with_columns(is_landmark=pl.col("gene_id").is_in(landmarks.implode()))
            return GeneReference(genes.select(REFERENCE_COLUMNS), name)
    return GeneReference(embedded.select(REFERENCE_COLUMNS), "embedded")


def read_hgnc(path: Path) -> pl.DataFrame:
    """Read the approved genes of HGNC's complete set that have an Ensembl id; without ``is_landmark``.

    Where two HGNC records share an Ensembl gene, the one with the lower HGNC number stands for it.

    Raises:
        BadInputError: the file cannot be read, or a column is missing.
    """
    raw = delimited.read_reference(path, _HGNC_COLUMNS, separator="\t", quote_char='"')
    return (
        raw.filter(pl.col("status") == "Approved")
        .select(
            gene_id=gene_ids(pl.col("ensembl_gene_id")),
            symbol=pl.col("symbol"),
            hgnc_id=pl.col("hgnc_id"),
            entrez_id=pl.col("entrez_id").cast(pl.Int64, strict=False),
            biotype=pl.col("locus_type"),
            previous_symbols=_listed("prev_symbol"),
            alias_symbols=_listed("alias_symbol"),
        )
        .drop_nulls("gene_id")
        .sort(pl.col("hgnc_id").str.extract(r"(\d+)").cast(pl.Int64))
        .unique("gene_id", keep="first", maintain_order=True)
    )


def resolve_genes(
    reported: pl.DataFrame, *, dataset_id: str, reference: GeneReference
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported genes (``ReportedGene``) into the columns of ``core/gene_name``, in the same order.

    Ladder: Ensembl id in ``gene_reported``, Entrez id, current symbol, previous symbol, alias symbol. A
    previous or alias symbol counts only if it belongs to one gene; symbols are compared exactly, because
    case tells species apart.
    """
    rows = reported.with_columns(
        label=pl.coalesce("symbol", "gene_reported").str.strip_chars(),
        by_ensembl_id=gene_ids(pl.col("gene_reported").str.strip_chars()),
    )
    genes = reference.genes
    by_entrez = _unique_keys(genes.select(key="entrez_id", gene_id="gene_id"))
    rows = _looked_up(rows, by_entrez, on="entrez_id", rung="entrez_id")
    ambiguity = []
    for rung, column in (
        ("symbol", "symbol"),
        ("previous_symbol", "previous_symbols"),
        ("alias_symbol", "alias_symbols"),
    ):
        named = genes.select(key=column, gene_id="gene_id")
        keys = _unique_keys(named.explode("key") if column != "symbol" else named)
        rows = _looked_up(rows, keys, on="label", rung=rung)
        ambiguity.append(
            pl.when(pl.col(f"n_{rung}") > 1).then(
                pl.format("ambiguous {}: {} genes", pl.lit(rung.replace("_", " ")), f"n_{rung}")
            )
        )
    rungs = ("ensembl_id", "entrez_id", "symbol", "previous_symbol", "alias_symbol")
    is_foreign = pl.col("gene_reported").str.contains(_ANY_ENSEMBL_ID) & pl.col("by_ensembl_id").is_null()
    is_known = ~is_foreign
    resolved = rows.with_columns(
        gene_id=pl.when(is_known).then(pl.coalesce(f"by_{rung}" for rung in rungs)),
        method=pl.when(is_known)
        .then(pl.coalesce(pl.when(pl.col(f"by_{rung}").is_not_null()).then(pl.lit(rung)) for rung in rungs))
        .fill_null("unresolved"),
        reason=pl.when(is_foreign)
        .then(pl.lit("not a human Ensembl gene id"))
        .otherwise(
            pl.coalesce(
                *ambiguity,
                pl.when(pl.col("entrez_id").is_not_null()).then(pl.lit("unknown Entrez id and symbol")),
                pl.lit("unknown symbol"),
            )
        ),
    ).select(
        dataset_id=pl.lit(dataset_id),
        gene_reported="gene_reported",
        symbol_reported="symbol",
        entrez_id_reported="entrez_id",
        gene_id="gene_id",
        method="method",
        n_merged=pl.when(pl.col("gene_id").is_null())
        .then(1)
        .otherwise(pl.len().over("gene_id"))
        .cast(pl.Int32),
        reason=pl.when(pl.col("gene_id").is_null()).then("reason"),
    )
    assert dict(resolved.schema) == dict(GENE_NAME.polars_schema), "columns of core/gene_name"
    return resolved, _account(resolved)


def merge_genes(gene_names: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Return ``core/gene``: every gene that some row of ``core/gene_name`` resolves to, sorted by id.

    The symbol is HGNC's; where the reference does not list the gene, the first reported one in alphabetical
    order.
    """
    landmark = pl.col("is_landmark").fill_null(value=False)
    return (
        gene_names.filter(pl.col("gene_id").is_not_null())
        .group_by("gene_id")
        .agg(symbol_reported=pl.col("symbol_reported").min())
        .join(reference.genes, on="gene_id", how="left")
        .with_columns(
            ensembl_gene_id=ensembl_gene_ids(pl.col("gene_id")),
            symbol=pl.coalesce("symbol", "symbol_reported"),
            is_landmark=landmark,
        )
        .select(GENE.polars_schema.names())
        .sort("gene_id")
    )


def _listed(column: str) -> pl.Expr:
    """Split HGNC's ``|``-separated lists; an empty cell is an empty list."""
    return pl.col(column).fill_null("").str.split("|").list.eval(pl.element().filter(pl.element() != ""))


def _unique_keys(keys: pl.DataFrame) -> pl.DataFrame:
    """Return one row per key with its number of genes, and the gene where it is the only one."""
    return (
        keys.drop_nulls("key")
        .unique()
        .group_by("key")
        .agg(n=pl.len(), gene_id=pl.col("gene_id").first())
        .with_columns(gene_id=pl.when(pl.col("n") == 1).then("gene_id"))
    )


def _looked_up(rows: pl.DataFrame, keys: pl.DataFrame, *, on: str, rung: str) -> pl.DataFrame:
    named = keys.rename({"key": on, "n": f"n_{rung}", "gene_id": f"by_{rung}"})
    return rows.join(named, on=on, how="left", maintain_order="left")


def _account(resolved: pl.DataFrame) -> RowAccount:
    counts = resolved.group_by("method", "reason").len().sort("method", "reason")
    noted = {
        f"unresolved: {reason}" if method == "unresolved" else f"resolved by {method}": n
        for method, reason, n in counts.iter_rows()
    }
    if n_merged := resolved.filter(pl.col("n_merged") > 1).height:
        noted["shares its gene with another reported gene"] = n_merged
    return RowAccount(n_in=resolved.height, n_out=resolved.height, noted=noted, unit="genes")
