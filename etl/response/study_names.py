"""How Herbert et al. match the names of lines and genes between files, as they do it.

Here: their rules, kept for the sake of their counts. Lines and genes of the warehouse are resolved by ids
(``etl.harmonize``), which neither loses a line for a dot in its name nor takes one line for another.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from etl.errors import BadInputError
from etl.formats import delimited
from etl.harmonize.context_reference import read_models


def line_key(name: pl.Expr) -> pl.Expr:
    """Return names without ``-``, in upper case; blanks, dots, slashes and brackets stay.

    >>> pl.select(line_key(pl.lit("SK-N-BE(2)"))).item(), pl.select(line_key(pl.lit("T-T"))).item()
    ('SKNBE(2)', 'TT')
    """
    return name.str.replace_all("-", "", literal=True).str.to_uppercase()


def model_of_name(models: Path) -> dict[str, str]:
    """Return the ``ModelID`` of each ``StrippedCellLineName`` of DepMap's ``Model.csv``.

    Of several models with one name, the last in the file counts.

    Raises:
        BadInputError: the file cannot be read or lacks a column.
    """
    rows = read_models(models).drop_nulls("StrippedCellLineName")
    return dict(rows.select("StrippedCellLineName", "ModelID").iter_rows())


def shared_genes(columns: Iterable[str], symbols: Collection[str]) -> dict[str, str]:
    """Return the columns of an expression table that are kept, by symbol, in their order.

    Of a column ``SYMBOL (entrez id)`` the symbol counts, of several columns of one symbol the first, and only
    symbols of the other table are kept: in the study, those of TCGA.

    >>> shared_genes(["TP53 (7157)", "MATR3 (9782)", "MATR3 (1)", "X (2)"], {"TP53", "MATR3"})
    {'TP53': 'TP53 (7157)', 'MATR3': 'MATR3 (9782)'}
    """
    kept: dict[str, str] = {}
    for column in columns:
        symbol = column.split(" (")[0]
        if symbol in symbols:
            kept.setdefault(symbol, column)
    return kept


def probemap_symbols(path: Path) -> frozenset[str]:
    """Return the gene symbols of a probemap of UCSC Xena; the study takes that of GENCODE v36.

    Raises:
        BadInputError: the file cannot be read, lacks the column ``gene``, or names no gene.
    """
    symbols = frozenset(delimited.read_reference(path, ("gene",), separator="\t")["gene"].drop_nulls())
    if not symbols:
        raise BadInputError("no gene is named in it", file=path, column="gene")
    return symbols
