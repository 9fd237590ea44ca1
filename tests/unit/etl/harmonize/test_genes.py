"""Reported genes by Ensembl id, Entrez id, probe and every kind of name, and what is said of each."""

import gzip
import random
import string
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.gene_files import gene_ids
from etl.harmonize.gene_reference import GeneReference, load_gene_reference
from etl.harmonize.genes import merge_genes, reported_again, resolve_genes
from etl.harmonize.overrides import Override
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder
from schemas.core.gene import Gene
from schemas.core.gene_name import GeneName
from schemas.reported import ReportedGene
from schemas.table import polars_schema

EMBEDDED = load_gene_reference(EMBEDDED_ONLY)

HGNC_COLUMNS = (
    "hgnc_id",
    "symbol",
    "location",
    "alias_symbol",
    "prev_symbol",
    "entrez_id",
    "ensembl_gene_id",
    "locus_type",
    "status",
    "date_modified",
)
# number, symbol, location, aliases, previous symbols, Entrez id, Ensembl number (0 for none)
HGNC_GENES = [
    (1, "TP53", "17p13.1", "p53|LFS1", "", "7157", 141510),
    (2, "MARCHF1", "4q32", "", "MARCH1", "11", 1001),
    (3, "MTARC1", "1q41", "", "MARC1", "12", 1002),
    (4, "SEPTIN7", "7p14", "", "SEPT7", "13", 1003),
    (5, "SEPTIN2", "2q37", "", "SEPT2", "14", 1004),
    (6, "DELEC1", "9q33", "", "DEC1", "15", 1005),
    (7, "BHLHE40", "3p26", "DEC1", "", "16", 1006),
    (8, "POU5F1", "6p21", "Oct4", "", "17", 1007),
    (9, "FIRRM", "1q24", "", "C1orf112", "18", 1008),
    (10, "C2orf42", "2p13", "", "", "19", 1009),
    (11, "HLA-A", "6p22", "", "", "20", 1010),
    (12, "TWIN1", "1p1", "TWIN", "", "21", 1011),
    (13, "TWIN2", "2p1", "TWIN", "", "22", 1012),
    (14, "NOID", "2p1", "WASNOID", "", "23", 0),
    (15, "PAR1", "Xp22.33 and Yp11.32", "", "", "24", 1013),
    (16, "AARS1", "16q22", "", "AARS", "25", 1014),
]
GTF_GENES = [
    ("1", "ENSG00000002001", "AC012345.1"),
    ("1", "ENSG00000002002", "RP11-34P13.7"),
    ("2", "ENSG00000002003", "AARS2P"),
    ("17", "ENSG00000141510", "TP53"),
]
GENE_INFO = [
    ("7157", "TP53", "BCC7|p53", "HGNC:HGNC:1|Ensembl:ENSG00000141510"),
    ("500", "LOC500", "NCBINAME", "Ensembl:ENSG00000002001"),
    ("501", "LOC501", "-", "-"),
]
PROBES = [
    ("1007_s_at", "7157"),
    ("202938_x_at", "11///12"),
    ("200000_at", "7157///999999"),
    ("1053_at", "13"),
    ("200001_at", ""),
]
EVENTS = [("ENSG00000000011", "ENSG00000141510"), ("ENSG00000000012", "\\N")] + [
    ("ENSG00000000013", new) for new in ("ENSG00000001001", "ENSG00000001002")
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> GeneReference:
    """Return a reference that every kind of file has a part in."""
    folder = tmp_path_factory.mktemp("reference")
    hgnc = "".join(
        f"HGNC:{number}\t{symbol}\t{location}\t{alias}\t{previous}\t{entrez}"
        f"\t{f'ENSG{gene:011}' if gene else ''}\tprotein\tApproved\t2023-01-20\n"
        for number, symbol, location, alias, previous, entrez, gene in HGNC_GENES
    )
    (folder / "hgnc_complete_set.txt").write_text("\t".join(HGNC_COLUMNS) + "\n" + hgnc)
    gtf = "".join(
        f'{chromosome}\tx\tgene\t1\t2\t.\t+\t.\tgene_id "{gene}"; gene_name "{name}";\n'
        for chromosome, gene, name in GTF_GENES
    )
    (folder / "Homo_sapiens.GRCh38.112.gtf").write_text(gtf)
    tables = {
        "Homo_sapiens.gene_info.gz": "#tax_id\tGeneID\tSymbol\tSynonyms\tdbXrefs\n"
        + "".join("9606\t" + "\t".join(row) + "\n" for row in GENE_INFO),
        "gene_history.gz": "#tax_id\tGeneID\tDiscontinued_GeneID\n9606\t7157\t100\n9606\t-\t102\n",
        "lincs_geneinfo.tsv.gz": "pr_id\tpr_gene_id\n" + "".join("\t".join(row) + "\n" for row in PROBES),
        "stable_id_event.txt.gz": "".join(f"{old}\t1\t{new}\t1\t7\tgene\t0.9\n" for old, new in EVENTS),
        "mapping_session.txt.gz": "7\ta\tb\t75\t76\tx\ty\t2014-04-11 15:12:25\n",
    }
    for name, text in tables.items():
        (folder / name).write_bytes(gzip.compress(text.encode()))
    return load_gene_reference(ReferenceFolder(folder))


Row = tuple[str, str | None, int | None]


def reported(*rows: Row | str) -> pl.DataFrame:
    full = [(row, None, None) if isinstance(row, str) else row for row in rows]
    return pl.DataFrame(full, schema=polars_schema(ReportedGene), orient="row")


def resolved(*rows: Row | str, reference: GeneReference = EMBEDDED, **options: object) -> pl.DataFrame:
    names, account = resolve_genes(reported(*rows), dataset_id="toy", reference=reference, **options)
    GeneName.validate(names)
    assert account.n_in == account.n_out == len(rows)
    return names


def verdict(row: Row | str, reference: GeneReference, *others: str) -> tuple[object, ...]:
    """Return gene, method and confidence of a row, reported beside others."""
    return resolved(row, *others, reference=reference).select("gene_id", "method", "confidence").row(0)


def remarks(row: Row | str, reference: GeneReference, *others: str) -> tuple[object, ...]:
    """Return candidates, rule and reason of a row, reported beside others."""
    return resolved(row, *others, reference=reference).select("candidates", "rule", "reason").row(0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("ENSG00000141510", (141510, "ensembl_id", "high")),
        ("ENSG00000141510.17", (141510, "ensembl_id", "high")),
        ("ENSG00000001013.15_PAR_Y", (1013, "ensembl_id", "high")),
        ("ENSGR0000001013.8", (1013, "ensembl_id", "high")),
        ("ENSG00000000011.2", (141510, "retired_ensembl_id", "medium")),
        ("ENSG00000000012", (12, "ensembl_id", "medium")),
        ("ENSG00000000013", (13, "ensembl_id", "low")),
        ("ENSG00000009999", (9999, "ensembl_id", "high")),
        (("x", None, 7157), (141510, "entrez_id", "high")),
        ("ENTREZ:7157", (141510, "entrez_id", "high")),
        ("7157_at", (141510, "entrez_id", "high")),
        ("LOC500", (2001, "entrez_id", "high")),
        (("x", None, 100), (141510, "retired_entrez_id", "medium")),
        ("1007_s_at", (141510, "probe_id", "high")),
        ("200000_at", (141510, "probe_id", "medium")),
        ("TP53", (141510, "symbol", "high")),
        (("probe7", "TP53", None), (141510, "symbol", "high")),
        ("AARS", (1014, "previous_symbol", "medium")),
        ("SEPT7", (1003, "previous_symbol", "medium")),
        ("LFS1", (141510, "alias_symbol", "medium")),
        ("AC012345.1", (2001, "annotation_name", "medium")),
        ("RP11-34P13.7", (2002, "annotation_name", "medium")),
        ("NCBINAME", (2001, "ncbi_synonym", "medium")),
        ("C1ORF112", (1008, "previous_symbol", "medium")),
        ("C2ORF42", (1009, "symbol", "high")),
        ("TP53,chr17", (141510, "symbol", "high")),
        ("TP53,GRCh38_chr17", (141510, "symbol", "high")),
        (("TP53,hg38_chr17", "TP53", None), (141510, "symbol", "high")),
        ("PAR1,chrX", (1013, "symbol", "high")),
        ("PAR1,chrY", (1013, "symbol", "high")),
        ("TWIN,chr2", (1012, "alias_symbol", "medium")),
        ("TP53,chrUn_KI270750v1", (141510, "symbol", "high")),
        ("7-Sep", (1003, "restored_symbol", "low")),
        ("Sep-07", (1003, "restored_symbol", "low")),
        ("2024-09-07 00:00:00", (1003, "restored_symbol", "low")),
        ("X7.Sep", (1003, "restored_symbol", "low")),
        ("2-Sep", (1004, "restored_symbol", "low")),
        ("45176", (1003, "restored_symbol", "low")),
        ("1-Dec", (1005, "restored_symbol", "low")),
        ("Oct-04", (1007, "restored_symbol", "low")),
        ("HLA.A", (1010, "restored_symbol", "low")),
        ("  TP53 ", (141510, "symbol", "high")),
        ((" ENSG00000141510.2 ", " ", None), (141510, "ensembl_id", "high")),
    ],
)
def test_every_kind_of_key_and_name_resolves(
    reference: GeneReference, row: Row | str, expected: tuple[object, ...]
) -> None:
    assert verdict(row, reference, "GENE1", "GENE2") == expected


@pytest.mark.parametrize(
    ("row", "candidates", "reason"),
    [
        ("NOPE1", [], "unknown symbol"),
        ("Trp53", [], "unknown symbol"),
        (("x", None, 999_999), [], "unknown Entrez id; unknown symbol"),
        (("x", "NOPE1", 102), [], "withdrawn Entrez id; unknown symbol"),
        ("LOC501", [], "Entrez id without Ensembl gene id"),
        ("NOID", [], "symbol without Ensembl gene id"),
        ("WASNOID", [], "alias symbol without Ensembl gene id"),
        ("202938_x_at", [1001, 1002], "probe of several genes"),
        ("200001_at", [], "probe of no known gene"),
        ("299999_s_at", [], "unknown probe"),
        ("TWIN", [1011, 1012], "ambiguous alias symbol: 2 genes"),
        ("1-Mar", [1001, 1002], "date of 2 genes"),
        ("01-Mar", [1001, 1002], "date of 2 genes"),
        ("2001/03/01", [1001, 1002], "date of 2 genes"),
        ("TP53,chr3", [141510], "no gene of that name on the chromosome"),
        ("TWIN,chr9", [1011, 1012], "no gene of that name on the chromosome"),
        ("ENSMUSG00000059552", [], "not a human Ensembl gene id"),
        (("ENSMUSG00000059552", "TP53", 7157), [], "not a human Ensembl gene id"),
        ("ENST00000269305.9", [], "an Ensembl id, but not of a gene"),
        ("ERCC-00002", [], "spike-in control"),
    ],
)
def test_what_does_not_resolve_keeps_its_reason_and_its_candidates(
    reference: GeneReference, row: Row | str, candidates: list[int], reason: str
) -> None:
    assert verdict(row, reference) == (None, "unresolved", "none")
    assert remarks(row, reference) == (candidates, None, reason)


@pytest.mark.parametrize(
    ("row", "candidates", "rule", "reason"),
    [
        ("ENSG00000000012", [], None, "retired without successor"),
        ("ENSG00000000013", [1001, 1002], None, "retired, split into 2 genes"),
        ("ENSG00000009999", [], None, "in no reference"),
        ("200000_at", [], None, "other Entrez ids of the probe lead to no gene"),
        ("DEC1", [1005, 1006], "previous symbol before weaker names", None),
        ("1-Dec", [1005, 1006], "a date of a spreadsheet", None),
        ("HLA.A", [], "dots for hyphens", None),
        ("C2ORF42", [], "orf in lower case", None),
        ("TP53,chr17", [], "genes on the chromosome only", None),
        (("x", "TP53", 999_999), [], None, "unknown Entrez id"),
        (("202938_x_at", "MTARC1", None), [], None, "probe of several genes"),
        (
            ("ENSG00000001001", "TP53", None),
            [1001, 141510],
            "identifier before symbol",
            "its symbol is another gene's",
        ),
    ],
)
def test_what_is_noticed_on_the_way_is_said(
    reference: GeneReference, row: Row | str, candidates: list[int], rule: str | None, reason: str | None
) -> None:
    assert resolved(row, reference=reference)["gene_id"].has_nulls() is False
    assert remarks(row, reference) == (candidates, rule, reason)


def test_a_contradicted_identifier_and_a_symbol_beside_an_unknown_one_are_trusted_less(
    reference: GeneReference,
) -> None:
    assert verdict(("ENSG00000001001", "TP53", None), reference) == (1001, "ensembl_id", "medium")
    assert verdict(("x", "TP53", 999_999), reference) == (141510, "symbol", "medium")
    # A former symbol beside an id is no contradiction: names change, ids do not.
    assert verdict(("ENSG00000001001", "AARS", None), reference) == (1001, "ensembl_id", "high")


def test_the_ladder_prefers_ensembl_then_entrez_then_symbol(reference: GeneReference) -> None:
    assert verdict(("ENSG00000141510", None, 11), reference)[:2] == (141510, "ensembl_id")
    assert verdict(("p1", "MARCHF1", 7157), reference)[:2] == (141510, "entrez_id")


def test_a_number_with_at_is_a_probe_where_the_dataset_has_probes_of_affymetrix(
    reference: GeneReference,
) -> None:
    assert verdict("1053_at", reference, "1007_s_at")[:2] == (1003, "probe_id")
    assert verdict("7157_at", reference, "1007_s_at")[:2] == (None, "unresolved")
    assert verdict("7157_at", reference, "11_at")[:2] == (141510, "entrez_id")


def test_a_date_of_two_genes_is_the_one_that_the_dataset_does_not_list(reference: GeneReference) -> None:
    assert verdict("1-Mar", reference, "MARC1") == (1001, "restored_symbol", "low")
    assert verdict("1-Mar", reference, "ENSG00000001001.3") == (1002, "restored_symbol", "low")
    assert remarks("1-Mar", reference, "MTARC1") == (
        [1001, 1002],
        "a date; the dataset lists the other genes",
        None,
    )
    assert verdict("1-Mar", reference, "MARC1", "MARCH1") == (None, "unresolved", "none")


def test_a_number_added_to_a_repeated_name_is_recognized_but_not_guessed(reference: GeneReference) -> None:
    assert remarks("TP53-1", reference, "TP53") == ([141510], None, "number added to a repeated name")
    assert remarks("TP53.2", reference, "TP53") == ([141510], None, "number added to a repeated name")
    assert remarks("TP53-1", reference, "AARS1") == ([], None, "unknown symbol")


def test_serial_numbers_are_no_dates_where_keys_are_numbers(reference: GeneReference) -> None:
    assert verdict("45176", reference, "45177", "45178") == (None, "unresolved", "none")


def test_origins_name_the_file_that_leads_to_the_gene(reference: GeneReference) -> None:
    keys = {
        "TP53": "hgnc_complete_set.txt",
        "AC012345.1": "Homo_sapiens.GRCh38.112.gtf",
        "ENSG00000000011": "stable_id_event.txt.gz",
        "ENSG00000009999": None,
        "LOC500": "Homo_sapiens.gene_info.gz",
        "1007_s_at": "lincs_geneinfo.tsv.gz",
        "NOPE1": None,
    }
    assert resolved(*keys, reference=reference)["origin"].to_list() == list(keys.values())


def test_an_override_goes_before_everything(reference: GeneReference) -> None:
    overrides = {
        "ENSG00000001001": Override("ENSG00000141510.3", "typo of the publisher", "letter"),
        "ODD": Override("ENSG00000001002", "house name", "lab book"),
        "TP53": Override(None, "a construct", "methods"),
    }
    rows = resolved("ENSG00000001001", " ODD", "TP53", reference=reference, overrides=overrides)
    assert rows.select("gene_id", "method", "confidence", "origin", "reason").rows() == [
        (141510, "override", "high", "overrides.csv", "override: typo of the publisher (letter)"),
        (1002, "override", "high", "overrides.csv", "override: house name (lab book)"),
        (None, "unresolved", "none", "overrides.csv", "override: a construct (methods)"),
    ]


def test_an_override_that_is_no_gene_is_refused(reference: GeneReference) -> None:
    overrides = {"ODD": Override("TP53", "x", "y")}
    with pytest.raises(
        BadInputError, match=r"overrides\.csv, column value: the override of 'ODD' is no human"
    ):
        resolved("ODD", reference=reference, overrides=overrides)


def test_genes_reported_twice_say_so() -> None:
    rows = resolved("ENSG00000182378.15", "ENSG00000182378.15_PAR_Y", ("X", "TP53", None), "NOPE1", "NOPE2")
    assert rows["n_merged"].to_list() == [2, 2, 1, 1, 1]


def test_the_account_counts_by_method_and_reason() -> None:
    _, account = resolve_genes(reported("TP53", "?"), dataset_id="toy", reference=EMBEDDED)
    assert account.noted == {"resolved by symbol": 1, "unresolved: unknown symbol": 1}


def test_a_dataset_without_genes_has_no_rows() -> None:
    assert resolved().is_empty()


def test_the_embedded_table_knows_former_symbols_dates_and_chromosomes() -> None:
    rows = resolved("AARS", "1-Mar", "MARC1", "TP53,chr17", "TP53,chr1", "C1ORF112", "HLA.A")
    assert rows["method"].to_list() == [
        "previous_symbol",
        "restored_symbol",
        "previous_symbol",
        "symbol",
        "unresolved",
        "previous_symbol",
        "restored_symbol",
    ]


def test_merged_genes_carry_the_reference_and_keep_unlisted_ids() -> None:
    names = resolved(("ENSG00000141510", "p53", None), ("ENSG00009999999", "NEW1", None), "?")
    genes = merge_genes(names, EMBEDDED)
    Gene.validate(genes)
    assert genes.drop("entrez_id", "biotype").rows() == [
        (141510, "ENSG00000141510", "TP53", "HGNC:11998", "17", True),
        (9999999, "ENSG00009999999", "NEW1", None, None, False),
    ]


KEYS = (
    [f"ENSG{gene:011}" for *_, gene in HGNC_GENES if gene]
    + [old for old, _ in EVENTS]
    + [symbol for _, symbol, *_ in HGNC_GENES]
    + [probe for probe, _ in PROBES]
    + ["MARCH1", "MARC1", "1-Mar", "Mar-01", "7-Sep", "45176", "45177", "7157_at", "HLA.A", "TWIN", "DEC1"]
    + ["TP53,chr17", "TWIN,chr2", "AC012345.1", "LOC500", "NOPE", "ENSMUSG00000059552", "ENTREZ:11"]
)
rows_of_keys = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.one_of(st.none(), st.sampled_from(["TP53", "MARC1", "TWIN", "NOPE"])),
        st.one_of(st.none(), st.sampled_from([7157, 11, 100, 102, 999_999])),
    ),
    unique_by=lambda row: row[0],
    max_size=25,
)


@settings(max_examples=25)
@given(rows=rows_of_keys, seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(reference: GeneReference, rows: list[Row], seed: int) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    first, second = (resolved(*order, reference=reference) for order in (rows, shuffled))
    assert first.sort("gene_reported").equals(second.sort("gene_reported"))


@settings(max_examples=25)
@given(rows=rows_of_keys)
def test_resolving_twice_is_resolving_once(reference: GeneReference, rows: list[Row]) -> None:
    once = resolved(*rows, reference=reference)
    again, _ = resolve_genes(reported_again(once), dataset_id="toy", reference=reference)
    assert again.equals(once)


@settings(max_examples=25)
@given(rows=rows_of_keys, version=st.integers(1, 30), blanks=st.text(" \t", max_size=3))
def test_versions_and_surrounding_blanks_do_not_matter(
    reference: GeneReference, rows: list[Row], version: int, blanks: str
) -> None:
    def varied(key: str) -> str:
        is_id = key.startswith("ENSG")
        return f"{blanks}{key}.{version} " if is_id else f"{blanks}{key} "

    plain = resolved(*rows, reference=reference)
    other = resolved(*((varied(key), symbol, entrez) for key, symbol, entrez in rows), reference=reference)
    assert plain.drop("gene_reported").equals(other.drop("gene_reported"))


@settings(max_examples=40)
@given(keys=st.lists(st.text(string.printable, max_size=12), unique=True, max_size=20))
def test_any_text_has_a_verdict(reference: GeneReference, keys: list[str]) -> None:
    rows = resolved(*keys, reference=reference)
    assert (rows["gene_id"].is_null() == (rows["method"] == "unresolved")).all()
    assert rows.filter(pl.col("gene_id").is_null())["reason"].null_count() == 0


def real_reference(realdata: Path) -> GeneReference:
    return load_gene_reference(ReferenceFolder(realdata / "raw/reference"))


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


def test_names_and_ids_of_real_genes_agree(realdata: Path) -> None:
    reference = real_reference(realdata)
    lincs = pl.read_csv(
        realdata / "raw/reference/lincs_geneinfo.tsv.gz", separator="\t", infer_schema=False
    ).filter(pl.col("pr_gene_id").str.contains(r"^\d+$"))
    genes = lincs.unique("pr_gene_id").unique("pr_gene_symbol", keep="none").drop_nulls("pr_gene_symbol")
    nothing = pl.lit(None, pl.Int64)
    number = pl.col("pr_gene_id").cast(pl.Int64)
    by_entrez = genes.select(gene_reported="pr_gene_id", symbol=pl.lit(None, pl.String), entrez_id=number)
    by_symbol = genes.select(gene_reported="pr_gene_symbol", symbol="pr_gene_symbol", entrez_id=nothing)
    truth, named = (
        resolve_genes(rows, dataset_id="lincs", reference=reference)[0]["gene_id"]
        for rows in (by_entrez, by_symbol)
    )
    assert truth.count() > 25_000
    agree = (truth == named).sum()
    assert agree / (truth.is_not_null() & named.is_not_null()).sum() > 0.999
    assert agree / truth.count() > 0.99


def test_real_gene_names_of_an_annotation_lead_to_its_ids(realdata: Path) -> None:
    reference = real_reference(realdata)
    genes = pl.read_csv(
        realdata / "raw/reference/gencode.v36.annotation.gtf.gene.probemap", separator="\t"
    ).unique("gene", keep="none")
    names, _ = resolve_genes(
        genes.select(gene_reported="gene", symbol="gene", entrez_id=pl.lit(None, pl.Int64)),
        dataset_id="gencode",
        reference=reference,
    )
    agree = (names["gene_id"] == genes.select(gene_ids(pl.col("id")))["id"]).sum()
    assert agree / genes.height > 0.999
