"""Make ``genes.parquet``, the embedded gene table, from HGNC's complete set and the LINCS gene table.

    python etl/harmonize/reference/make_genes.py hgnc_complete_set.txt.gz lincs_geneinfo.tsv.gz

Rows: approved human genes with an Ensembl id that code for a protein or are measured by L1000. Landmarks are
the genes of the pool *epsilon*, 978; the gene table also marks those of other pools in ``is_lm``.
HGNC data are CC0.
"""

import sys
from pathlib import Path

import polars as pl

from etl.harmonize.gene_files import read_hgnc
from etl.harmonize.gene_reference import REFERENCE_COLUMNS


def main(hgnc: Path, lincs: Path, out: Path) -> None:
    """Write the table; L1000 genes are matched by Entrez id."""
    probes = pl.read_csv(lincs, separator="\t", infer_schema=False, quote_char=None).select(
        entrez_id=pl.col("pr_gene_id").cast(pl.Int64, strict=False),
        is_l1000=pl.col("is_l1000") == "True",
        is_epsilon=pl.col("pr_pool_id").str.contains("epsilon"),
    )
    measured = probes.filter("is_l1000")["entrez_id"].drop_nulls().unique()
    landmarks = probes.filter("is_epsilon")["entrez_id"].drop_nulls().unique()
    complete = read_hgnc(hgnc)
    # Two records may share an Ensembl gene; the lower HGNC number, which is first, stands for it.
    genes = (
        complete.with_columns(_decisive(complete, "previous_symbols"), _decisive(complete, "alias_symbols"))
        .drop_nulls("gene_id")
        .unique("gene_id", keep="first", maintain_order=True)
        .filter(
            (pl.col("biotype") == "gene with protein product") | pl.col("entrez_id").is_in(measured.implode())
        )
        .with_columns(is_landmark=pl.col("entrez_id").is_in(landmarks.implode()).fill_null(value=False))
        .select(REFERENCE_COLUMNS)
        .sort("gene_id")
    )
    assert genes["is_landmark"].sum() == landmarks.len() == 978, "every landmark has an Ensembl gene id"
    genes.write_parquet(out, compression="zstd", compression_level=19)


def _decisive(genes: pl.DataFrame, column: str) -> pl.Series:
    """Keep former names that no gene bears today and only one gene bore.

    A name must be judged against all of HGNC: in the smaller table, the alias of a coding gene that is the
    symbol of a non-coding one, or of one without Ensembl id, would look unambiguous.
    """
    current = set(genes["symbol"])
    n_genes = genes[column].explode().value_counts(name="n")
    decisive = set(n_genes.filter(pl.col("n") == 1)[column]) - current
    kept = [[name for name in names if name in decisive] for names in genes[column].to_list()]
    return pl.Series(column, kept, dtype=pl.List(pl.String))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(__file__).with_name("genes.parquet"))
