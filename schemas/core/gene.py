"""Schema of ``core/gene``: the genes of all datasets."""

import polars as pl

from schemas.fields import Rows, field, gene_id
from schemas.table import Table


class Gene(Rows):
    """One row per human gene that some dataset measures."""

    gene_id: pl.Int32 = gene_id()
    ensembl_gene_id: str = field("Ensembl gene id without version.", str_matches=r"^ENSG\d{11}$")
    symbol: str = field(
        "Approved HGNC symbol, else the name in an annotation, else the symbol reported.", nullable=True
    )
    hgnc_id: str = field("HGNC id.", str_matches=r"^HGNC:\d+$", nullable=True)
    entrez_id: pl.Int64 = field("NCBI Entrez gene id.", gt=0, nullable=True)
    biotype: str = field(
        "Locus type of HGNC, else biotype of the annotation; null where no reference lists the gene.",
        nullable=True,
    )
    chromosome: str = field(
        "Chromosome: `1` to `22`, `X`, `Y`, `MT`, or `X,Y` in the pseudo-autosomal regions; null where the "
        "gene is on none or no reference lists it.",
        str_matches=r"^(\d{1,2}|X|Y|MT|X,Y)$",
        nullable=True,
    )
    is_landmark: bool = field("Whether the gene is one of the 978 L1000 landmarks.")


GENE = Table(name="core/gene", model=Gene, primary_key=("gene_id",), sort_by=("gene_id",))
