"""L1000: which rows of a matrix are wanted genes, and what they are called.

Of the 12,328 rows of a Level 3 matrix 978 *landmarks* are measured; the others are inferred from them by a
linear model (``mlr12k``) and carry no information of their own. Only the gene table of a release tells which
is which. Here: that table in one layout, and the choice of rows. Not here: where a release keeps its files
(the adapters), values, what a gene resolves to.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import polars as pl

from etl.errors import BadInputError
from etl.formats import gctx
from etl.formats.delimited import TextTable
from etl.sources import l1000

GeneSpace = Literal["landmark", "best_inferred", "all"]
"""``best_inferred``: the landmarks and the genes that the publisher calls well inferred, 10,174 together."""

N_LANDMARKS: Final = 978

SPACES: Final[Mapping[str, str]] = {
    "landmark": "landmark",
    "best inferred": "best_inferred",
    "inferred": "inferred",
}
"""The narrowest space that a gene belongs to, in the words of the 2020 release, and here."""

_WITHIN: Final[Mapping[GeneSpace, tuple[str, ...]]] = {
    "landmark": ("landmark",),
    "best_inferred": ("landmark", "best_inferred"),
    "all": ("landmark", "best_inferred", "inferred"),
}


class GeneTable(NamedTuple):
    """The gene table of a release.

    Attributes:
        table: entrez_id, symbol, space (a value of ``SPACES``; null where the file does not say).
        space_column: the file's column that ``space`` is read from.
    """

    table: TextTable
    space_column: str


def read_geo_genes(path: Path, *, dataset_id: str, gene_space: GeneSpace = "landmark") -> GeneTable:
    """Read a ``gene_info`` table of GEO: ``pr_gene_id``, ``pr_gene_symbol``, ``pr_is_lm``, ``pr_is_bing``.

    Args:
        path: the table.
        dataset_id: for messages.
        gene_space: ``pr_is_bing`` is asked for only where the choice depends on it.

    Raises:
        BadInputError: as ``l1000.read_table``, a gene that is missing, repeated or no Entrez id.
    """
    # A file without this column serves everyone who does not ask for it.
    needs_bing = gene_space == "best_inferred"
    columns = ("pr_gene_id", "pr_gene_symbol", "pr_is_lm", *(("pr_is_bing",) if needs_bing else ()))
    table = l1000.read_table(path, columns, dataset_id=dataset_id)
    is_known = pl.col("pr_is_lm").is_in(["0", "1"])
    inferred: pl.Expr = pl.lit("inferred")
    if needs_bing:
        is_known &= pl.col("pr_is_bing").is_in(["0", "1"])
        inferred = pl.when(pl.col("pr_is_bing") == "1").then(pl.lit("best_inferred")).otherwise(inferred)
    space = pl.when(pl.col("pr_is_lm") == "1").then(pl.lit("landmark")).otherwise(inferred)
    known = pl.when(is_known).then(space)
    return GeneTable(_genes(table, "pr_gene_id", "pr_gene_symbol", known), "pr_is_lm")


def read_beta_genes(path: Path, *, dataset_id: str) -> GeneTable:
    """Read ``geneinfo_beta`` of the 2020 release: ``gene_id``, ``gene_symbol``, ``feature_space``.

    Raises:
        BadInputError: as ``l1000.read_table``, a gene that is missing, repeated or no Entrez id.
    """
    table = l1000.read_table(path, ("gene_id", "gene_symbol", "feature_space"), dataset_id=dataset_id)
    space = pl.col("feature_space").replace_strict(SPACES, default=None, return_dtype=pl.String)
    return GeneTable(_genes(table, "gene_id", "gene_symbol", space), "feature_space")


def wanted_rows(
    matrix: Path,
    genes: GeneTable | None,
    *,
    dataset_id: str,
    gene_space: GeneSpace = "landmark",
    restored_ids: Mapping[str, str] | None = None,
    gene_url: str = "",
) -> pl.DataFrame:
    """Return the rows of a matrix that are wanted genes, in file order.

    Args:
        matrix: a GCTX file whose row ids are Entrez ids.
        genes: the gene table; None is enough where all rows are landmarks.
        dataset_id: for messages.
        gene_space: the genes wanted.
        restored_ids: row id → Entrez id where storage cut the id; only applied where the whole id is no row.
        gene_url: where the gene table is, for the message that asks for it.

    Returns:
        position in the matrix, gene_reported, entrez_id, symbol.

    Raises:
        BadInputError: a row id that is no Entrez id, a gene that the gene table does not list or place, a
            table that is needed and missing, or no wanted gene.
    """
    row_ids = gctx.read_annotation(matrix).row_ids
    restored = {cut: whole for cut, whole in (restored_ids or {}).items() if whole not in row_ids}
    ids = pl.DataFrame({"gene_reported": row_ids}).with_row_index("position")
    ids = ids.with_columns(entrez_id="gene_reported")
    axis = TextTable(ids, dataset_id, matrix, label="gene_reported")
    entrez_id = pl.col("entrez_id").cast(pl.String).replace(restored).cast(pl.Int64)
    rows = axis.with_whole_numbers("entrez_id").rows.with_columns(entrez_id)
    if genes is None:
        if rows.height > N_LANDMARKS:
            raise _missing_table(axis, rows.height, gene_url)
        return rows.with_columns(symbol=pl.lit(None, pl.String))
    table, space_column = genes
    rows = rows.join(table.rows.drop(table.label), on="entrez_id", how="left", maintain_order="left")
    unlisted = rows.filter(pl.col("space").is_null())
    if unlisted.height:
        raise table.error(
            f"{unlisted.height} gene(s) of the matrix are not listed, or not said to be landmark or not; "
            f"the first is {unlisted['gene_reported'][0]}"
        )
    wanted = rows.filter(pl.col("space").is_in(_WITHIN[gene_space])).drop("space")
    if wanted.is_empty():
        raise table.error(f"no gene of the matrix is a {gene_space.replace('_', ' ')}", column=space_column)
    return wanted


def _genes(table: TextTable, gene_id: str, symbol: str, space: pl.Expr) -> TextTable:
    table.require_present(gene_id)
    table.require_unique(gene_id)
    numbered = table.with_whole_numbers(gene_id)
    return numbered.with_rows(
        numbered.rows.select(table.label, entrez_id=gene_id, symbol=symbol, space=space)
    )


def _missing_table(axis: TextTable, n_rows: int, gene_url: str) -> BadInputError:
    origin = f"; get it from {gene_url}" if gene_url else ""
    return axis.error(
        f"of {n_rows} genes {N_LANDMARKS} are measured, and only the gene table tells which{origin}"
    )
