"""Files of gene references, in tiny copies of their layouts: what is read, what they say of their release."""

import datetime
import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize import gene_files
from etl.harmonize.gene_files import ensembl_gene_ids, gene_ids

HGNC_HEADER = (
    "hgnc_id\tsymbol\tlocus_type\tlocation\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tstatus"
    "\tdate_modified\n"
)
GTF = """\
##description: evidence-based annotation of the human genome (GRCh38), version 36 (Ensembl 102)
##date: 2020-09-15
chrX\tHAVANA\tgene\t276322\t303356\t.\t+\t.\tgene_id "ENSG00000182378.15"; gene_type "protein_coding"; \
gene_name "PLCXD1"; level 2;
chrX\tHAVANA\ttranscript\t276322\t303356\t.\t+\t.\tgene_id "ENSG00000182378.15"; gene_name "PLCXD1";
chrY\tHAVANA\tgene\t276322\t303356\t.\t+\t.\tgene_id "ENSG00000182378.15_PAR_Y"; gene_type "protein_coding"; \
gene_name "PLCXD1"; level 2;
KI270734.1\tensembl\tgene\t1\t9\t.\t+\t.\tgene_id "ENSG00000277400"; gene_version "1"; gene_biotype "lncRNA";
"""


def packed(path: Path, text: str, *, mtime: int = 0) -> Path:
    path.write_bytes(gzip.compress(text.encode(), mtime=mtime))
    return path


@given(st.integers(1, 9_999_999))
def test_ids_and_ensembl_names_are_inverse(number: int) -> None:
    frame = pl.DataFrame({"gene_id": [number]}, schema={"gene_id": pl.Int32})
    back = frame.select(gene_ids(ensembl_gene_ids(pl.col("gene_id"))))
    assert back.to_series().to_list() == [number]


@pytest.mark.parametrize(
    ("location", "chromosome"),
    [
        ("17p13.1", "17"),
        ("Xp22.33 and Yp11.32", "X,Y"),
        ("mitochondria", "MT"),
        ("6 unplaced", "6"),
        ("13cen, GRCh38 novel patch", "13"),
        ("reserved", None),
    ],
)
def test_hgnc_tells_the_chromosome(tmp_path: Path, location: str, chromosome: str | None) -> None:
    path = tmp_path / "hgnc_complete_set.txt"
    path.write_text(f"{HGNC_HEADER}HGNC:1\tA\tx\t{location}\t\t\t1\tENSG00000000001\tApproved\t\n")
    assert gene_files.read_hgnc(path)["chromosome"].to_list() == [chromosome]


def test_hgnc_keeps_approved_records_with_or_without_ensembl_gene(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "hgnc_complete_set.txt.gz",
        HGNC_HEADER
        + "HGNC:30\tC\tx\t1p1\t\t\t\t\tApproved\t2023-01-20\n"
        + 'HGNC:4\tB\tx\t1p1\t"b|bb"\tOLDB\t12\tENSG00000000002\tApproved\t2021-05-01\n'
        + "HGNC:5\tGONE\tx\t1p1\t\t\t\t\tEntry Withdrawn\t2020-01-01\n",
    )
    rows = gene_files.read_hgnc(path)
    assert rows.select("hgnc_id", "gene_id", "entrez_id", "previous_symbols", "alias_symbols").rows() == [
        ("HGNC:4", 2, 12, ["OLDB"], ["b", "bb"]),
        ("HGNC:30", None, None, [], []),
    ]
    assert gene_files.hgnc_release(path) == ("content to 2023-01-20", datetime.date(2023, 1, 20))


def test_a_file_of_hgnc_without_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hgnc_complete_set.txt"
    path.write_text("hgnc_id\tsymbol\n")
    with pytest.raises(BadInputError, match=r"hgnc_complete_set\.txt, column locus_type"):
        gene_files.read_hgnc(path)


def test_an_annotation_has_a_gene_once_with_all_its_chromosomes(tmp_path: Path) -> None:
    path = packed(tmp_path / "gencode.v36.annotation.gtf.gz", GTF)
    assert gene_files.read_annotation(path).rows() == [
        (182378, "PLCXD1", "protein_coding", "X,Y"),
        (277400, None, "lncRNA", None),
    ]
    assert gene_files.annotation_release(path) == ("GENCODE v36", datetime.date(2020, 9, 15))


def test_a_probemap_is_an_annotation(tmp_path: Path) -> None:
    path = tmp_path / "gencode.v36.annotation.gtf.gene.probemap"
    path.write_text(
        "id\tgene\tchrom\tchromStart\tchromEnd\tstrand\n"
        "ENSG00000223972.5\tDDX11L1\tchr1\t11869\t14409\t+\n"
        "ENSG00000198888.2\tMT-ND1\tchrM\t1\t2\t+\n"
    )
    assert gene_files.read_annotation(path).rows() == [
        (198888, "MT-ND1", None, "MT"),
        (223972, "DDX11L1", None, "1"),
    ]
    assert gene_files.annotation_release(path) == ("GENCODE v36", None)


def test_ensembl_states_its_release_in_the_name_and_a_month_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "Homo_sapiens.GRCh38.112.gtf"
    path.write_text("#!genome-build GRCh38.p14\n#!genebuild-last-updated 2023-07\n" + GTF.split("\n", 2)[2])
    assert gene_files.annotation_release(path) == ("Ensembl 112", datetime.date(2023, 7, 1))
    assert gene_files.read_annotation(path).height == 2


def test_an_annotation_of_another_species_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Mus_musculus.gtf"
    path.write_text('1\tx\tgene\t1\t2\t.\t+\t.\tgene_id "ENSMUSG00000059552"; gene_name "Trp53";\n')
    with pytest.raises(BadInputError, match=r"Mus_musculus\.gtf: no human Ensembl gene"):
        gene_files.read_annotation(path)


def test_a_cut_archive_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.gtf.gz", GTF * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInputError, match=r"x\.gtf\.gz: cannot be read"):
        gene_files.read_annotation(path)


def test_stable_id_events_of_genes_are_read(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "stable_id_event.txt.gz",
        "ENSG00000000001\t1\tENSG00000000002\t1\t7\tgene\t0.98\n"
        "ENSG00000000003\t2\t\\N\t0\t7\tgene\t0\n"
        "\\N\t0\tENSG00000000004\t1\t7\tgene\t0\n"
        "LRG_1\t1\t\\N\t0\t7\tgene\t0\n"
        "ENST00000000001\t1\t\\N\t0\t7\ttranscript\t0\n",
    )
    assert gene_files.read_stable_id_events(path).rows() == [(7, 1, 2), (7, 3, None), (7, None, 4)]


def test_sessions_sort_by_time_and_tell_the_release(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "mapping_session.txt.gz",
        "380\tcore_75\tcore_76\t75\t76\tGRCh37\tGRCh38\t2014-04-11 15:12:25\n"
        "9\tcore_76\tcore_77\t76\t77\tGRCh38\tGRCh38\t2014-09-01 00:00:00\n",
    )
    assert gene_files.read_mapping_sessions(path)["session"].to_list() == [380, 9]
    assert gene_files.stable_id_release(path) == ("Ensembl 77", datetime.date(2014, 9, 1))
    assert gene_files.stable_id_release(tmp_path / "stable_id_event.txt.gz")[0] == "Ensembl 77"
    assert gene_files.stable_id_release(tmp_path / "stable_id_event.txt") == (None, None)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1\tcore_75\n", "row 1: 2 fields where the table has 8"),
        ("1\ta\tb\t1\t2\tx\ty\t2014-04-11 15:12:25\n2\ta\tb\t1\t2\tx\ty\tnever\n", "row 2, column created"),
    ],
)
def test_a_session_table_of_another_layout_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        gene_files.read_mapping_sessions(packed(tmp_path / "mapping_session.txt.gz", text))


def test_ncbi_tables_give_human_rows(tmp_path: Path) -> None:
    info = packed(
        tmp_path / "Homo_sapiens.gene_info.gz",
        "#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\n"
        "9606\t7157\tTP53\t-\tBCC7|LFS1\tMIM:191170|HGNC:HGNC:11998|Ensembl:ENSG00000141510\n"
        "9606\t9\tNOX\t-\t-\t-\n"
        "10090\t22059\tTrp53\t-\tbbl\tMGI:MGI:98834|Ensembl:ENSMUSG00000059552\n",
    )
    assert gene_files.read_gene_info(info).rows() == [
        (7157, "TP53", ["BCC7", "LFS1"], "HGNC:11998", [141510]),
        (9, "NOX", [], None, []),
    ]
    history = packed(
        tmp_path / "gene_history.gz",
        "#tax_id\tGeneID\tDiscontinued_GeneID\tDiscontinued_Symbol\tDiscontinue_Date\n"
        "9606\t7157\t100\tOLD\t20050510\n9606\t-\t101\tGONE\t20050510\n9913\t7\t8\tX\t20050510\n",
    )
    assert gene_files.read_gene_history(history).rows() == [(100, 7157), (101, None)]
    pairs = packed(
        tmp_path / "gene2ensembl.gz",
        "#tax_id\tGeneID\tEnsembl_gene_identifier\tRNA\n"
        "9606\t7157\tENSG00000141510\ta\n9606\t7157\tENSG00000141510\tb\n7227\t3\tFBgn0000001\tc\n",
    )
    assert gene_files.read_gene2ensembl(pairs).rows() == [(7157, 141510)]


def test_an_ncbi_table_without_a_column_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "gene_history.gz", "#tax_id\tGeneID\n9606\t1\n")
    with pytest.raises(BadInputError, match=r"gene_history\.gz, column Discontinued_GeneID"):
        gene_files.read_gene_history(path)


def test_a_probe_set_of_several_genes_has_a_row_for_each(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "lincs_geneinfo.tsv.gz",
        "pr_id\tpr_gene_id\tpr_gene_symbol\n204438_at\t414308///4360\t\n204486_at\t\t\n\t1\tA1BG\n",
    )
    assert gene_files.read_lincs_probes(path).rows() == [
        ("204438_at", 4360),
        ("204438_at", 414308),
        ("204486_at", None),
    ]


def test_an_archive_tells_its_date(tmp_path: Path) -> None:
    dated = packed(tmp_path / "gene_history.gz", "x", mtime=1_700_000_000)
    assert gene_files.archive_release(dated) == (None, datetime.date(2023, 11, 14))
    (tmp_path / "plain.tsv").write_text("x")
    assert gene_files.archive_release(tmp_path / "plain.tsv") == (None, None)
