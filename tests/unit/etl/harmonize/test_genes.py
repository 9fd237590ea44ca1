"""Genes by Ensembl id, Entrez id, symbol and former symbol."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.genes import (
    GeneReference,
    ensembl_gene_ids,
    gene_ids,
    load_gene_reference,
    merge_genes,
    read_hgnc,
    resolve_genes,
)
from schemas.core.gene import Gene
from schemas.core.gene_name import GeneName
from schemas.reported import ReportedGene
from schemas.table import polars_schema

EMBEDDED = load_gene_reference(None)


def reported(*rows: tuple[str, str | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=polars_schema(ReportedGene), orient="row")


def resolved(
    *rows: tuple[str, str | None, int | None], reference: GeneReference = EMBEDDED
) -> list[tuple[object, ...]]:
    names, account = resolve_genes(reported(*rows), dataset_id="toy", reference=reference)
    GeneName.validate(names)
    assert account.n_in == account.n_out == len(rows)
    return names.select("gene_id", "method", "n_merged", "reason").rows()


@given(st.integers(1, 9_999_999))
def test_ids_and_ensembl_names_are_inverse(number: int) -> None:
    frame = pl.DataFrame({"gene_id": [number]}, schema={"gene_id": pl.Int32})
    back = frame.select(gene_ids(ensembl_gene_ids(pl.col("gene_id"))))
    assert back.to_series().to_list() == [number]


@pytest.mark.parametrize(
    "ensembl", ["ENSG00000182378", "ENSG00000182378.15", "ENSG00000182378.15_PAR_Y", "ENSGR0000182378.8"]
)
def test_version_and_y_copy_are_the_same_gene(ensembl: str) -> None:
    assert resolved((ensembl, None, None))[0][:2] == (182378, "ensembl_id")


def test_the_ladder_prefers_ensembl_then_entrez_then_symbol() -> None:
    assert [row[:2] for row in resolved(("ENSG00000141510", "EGFR", 1956))] == [(141510, "ensembl_id")]
    assert [row[:2] for row in resolved(("p1", "EGFR", 7157))] == [(141510, "entrez_id")]
    assert [row[:2] for row in resolved(("p1", "TP53", 999_999_999))] == [(141510, "symbol")]
    assert [row[:2] for row in resolved(("TP53", None, None))] == [(141510, "symbol")]


def test_a_former_symbol_resolves() -> None:
    assert resolved(("AARS", None, None))[0][1] == "previous_symbol"


def test_an_ambiguous_alias_is_not_chosen() -> None:
    genes = pl.DataFrame(
        [
            (1, "A", "HGNC:1", 11, "x", False, [], ["OLD"]),
            (2, "B", "HGNC:2", 12, "x", False, [], ["OLD"]),
        ],
        schema=EMBEDDED.genes.schema,
        orient="row",
    )
    rows = resolved(("OLD", None, None), reference=GeneReference(genes, "toy"))
    assert rows == [(None, "unresolved", 1, "ambiguous alias symbol: 2 genes")]


def test_the_unknown_and_the_foreign_are_kept_with_a_reason() -> None:
    assert [row[3] for row in resolved(("NOPE1", None, None), ("ENSMUSG00000059552", "TP53", None))] == [
        "unknown symbol",
        "not a human Ensembl gene id",
    ]


def test_a_mouse_symbol_is_not_a_human_gene() -> None:
    assert resolved(("Trp53", None, None))[0][0] is None


def test_genes_reported_twice_say_so() -> None:
    rows = resolved(
        ("ENSG00000182378.15", None, None), ("ENSG00000182378.15_PAR_Y", None, None), ("X", "TP53", None)
    )
    assert [row[2] for row in rows] == [2, 2, 1]


def test_the_account_counts_by_method_and_reason() -> None:
    _, account = resolve_genes(
        reported(("TP53", None, None), ("?", None, None)), dataset_id="toy", reference=EMBEDDED
    )
    assert account.noted == {"resolved by symbol": 1, "unresolved: unknown symbol": 1}


def test_the_embedded_table_has_the_978_landmarks() -> None:
    assert EMBEDDED.genes["is_landmark"].sum() == 978
    assert EMBEDDED.genes["gene_id"].is_unique().all()


def test_merged_genes_carry_the_reference_and_keep_unlisted_ids() -> None:
    names, _ = resolve_genes(
        reported(("ENSG00000141510", "p53", None), ("ENSG00009999999", "NEW1", None), ("?", None, None)),
        dataset_id="toy",
        reference=EMBEDDED,
    )
    genes = merge_genes(names, EMBEDDED)
    Gene.validate(genes)
    assert genes.select("gene_id", "ensembl_gene_id", "symbol", "hgnc_id", "is_landmark").rows() == [
        (141510, "ENSG00000141510", "TP53", "HGNC:11998", True),
        (9999999, "ENSG00009999999", "NEW1", None, False),
    ]


def test_a_file_of_hgnc_replaces_the_embedded_genes_but_not_the_landmarks(tmp_path: Path) -> None:
    header = "hgnc_id\tsymbol\tlocus_type\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tstatus\n"
    row = 'HGNC:11998\tTP53\tgene with protein product\t"p53|LFS1"\t\t7157\tENSG00000141510\tApproved\n'
    (tmp_path / "hgnc_complete_set.txt.gz").write_bytes(gzip.compress((header + row).encode()))
    reference = load_gene_reference(tmp_path)
    assert reference.origin == "hgnc_complete_set.txt.gz"
    assert reference.genes.select("gene_id", "is_landmark").rows() == [(141510, True)]
    assert resolved(("LFS1", None, None), reference=reference)[0][:2] == (141510, "alias_symbol")


def test_a_file_of_hgnc_without_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hgnc_complete_set.txt"
    path.write_text("hgnc_id\tsymbol\n")
    with pytest.raises(BadInputError, match=r"hgnc_complete_set\.txt, column locus_type"):
        read_hgnc(path)


def test_all_62700_genes_of_a_real_matrix_resolve_in_their_order(realdata: Path) -> None:
    features = pl.read_csv(
        realdata / "raw/drugseq_kp6490/features.tsv.gz", separator="\t", has_header=False, infer_schema=False
    )
    gene, symbol = features.columns[:2]
    frame = features.select(gene_reported=gene, symbol=symbol, entrez_id=pl.lit(None, pl.Int64))
    names, account = resolve_genes(frame, dataset_id="drugseq_kp6490", reference=EMBEDDED)
    assert account.noted == {"resolved by ensembl_id": 62700}
    assert names["gene_reported"].to_list() == frame["gene_reported"].to_list()
    assert merge_genes(names, EMBEDDED)["is_landmark"].sum() == 978
