"""Files of a reference folder joined into one reference of genes."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.gene_reference import (
    EMBEDDED,
    NAME_RANKS,
    REFERENCE_COLUMNS,
    GeneReference,
    current_successors,
    load_gene_reference,
)
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

HGNC_HEADER = (
    "hgnc_id\tsymbol\tlocus_type\tlocation\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tstatus"
    "\tdate_modified\n"
)
TP53 = 'HGNC:11998\tTP53\tprotein\t17p13.1\t"p53|LFS1"\t\t7157\tENSG00000141510\tApproved\t2023-01-20\n'


def write(folder: Path, **texts: str) -> ReferenceFolder:
    """Write files by their name, ``__`` for a dot; gzipped where it ends in ``gz``."""
    for name, text in texts.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return ReferenceFolder(folder)


def gtf(*genes: tuple[str, str, str]) -> str:
    """Return gene lines of a GTF: chromosome, id, name."""
    return "".join(
        f'{chromosome}\tx\tgene\t1\t2\t.\t+\t.\tgene_id "{gene}"; gene_name "{name}"; '
        'gene_biotype "lncRNA";\n'
        for chromosome, gene, name in genes
    )


def gene_info(*rows: tuple[int, str, str, str]) -> str:
    """Return NCBI's gene_info: GeneID, Symbol, Synonyms, dbXrefs."""
    header = "#tax_id\tGeneID\tSymbol\tSynonyms\tdbXrefs\n"
    return header + "".join("9606\t" + "\t".join(str(cell) for cell in row) + "\n" for row in rows)


def named(reference: GeneReference, key: str) -> list[tuple[int, int | None]]:
    return reference.names.filter(key=key).select("rank", "gene_id").rows()


def by_entrez(reference: GeneReference) -> dict[int, tuple[list[int], bool]]:
    return {row[0]: row[1:] for row in reference.entrez.select("entrez_id", "genes", "is_retired").rows()}


def test_the_embedded_table_has_the_978_landmarks() -> None:
    embedded = load_gene_reference(EMBEDDED_ONLY)
    assert embedded.genes.columns == [*REFERENCE_COLUMNS, "origin"]
    assert embedded.genes["is_landmark"].sum() == 978
    assert embedded.genes["gene_id"].is_unique().all()
    assert set(embedded.genes["origin"]) == {EMBEDDED}
    assert not embedded.is_complete


def test_a_file_of_hgnc_replaces_the_embedded_genes_but_not_the_landmarks(tmp_path: Path) -> None:
    reference = load_gene_reference(write(tmp_path, hgnc_complete_set__txt__gz=HGNC_HEADER + TP53))
    assert reference.genes.select("gene_id", "chromosome", "is_landmark", "origin").rows() == [
        (141510, "17", True, "hgnc_complete_set.txt.gz")
    ]


def test_files_are_found_in_sub_folders_and_parsed_once(tmp_path: Path) -> None:
    (tmp_path / "raw/hgnc").mkdir(parents=True)
    write(tmp_path / "raw/hgnc", hgnc_complete_set_2023__txt=HGNC_HEADER + TP53)
    folder = ReferenceFolder(tmp_path / "raw", tmp_path / "cache")
    first, again = load_gene_reference(folder), load_gene_reference(folder)
    assert first.genes.equals(again.genes)
    assert first.genes["origin"].to_list() == ["hgnc/hgnc_complete_set_2023.txt"]
    assert len(list((tmp_path / "cache/reference").glob("*read_hgnc*"))) == 1


def test_two_complete_sets_are_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path, hgnc_complete_set__txt=HGNC_HEADER + TP53, hgnc_complete_set_old__txt=HGNC_HEADER + TP53
    )
    with pytest.raises(BadInputError, match=r"more than one of its kind: hgnc_complete_set\.txt, hgnc_compl"):
        load_gene_reference(folder)


def test_of_two_records_of_one_gene_the_lower_number_stands_for_it_and_both_names_lead_to_it(
    tmp_path: Path,
) -> None:
    rows = "".join(
        f"HGNC:{number}\t{symbol}\tx\t1p1\t\t\t\tENSG00000000007\tApproved\t\n"
        for number, symbol in ((10, "TEN"), (9, "NINE"))
    )
    reference = load_gene_reference(write(tmp_path, hgnc_complete_set__txt=HGNC_HEADER + rows))
    assert reference.genes["symbol"].to_list() == ["NINE"]
    assert [named(reference, key) for key in ("TEN", "NINE")] == [[(1, 7)], [(1, 7)]]


def test_an_annotation_adds_genes_names_and_chromosomes(tmp_path: Path) -> None:
    reference = load_gene_reference(
        write(
            tmp_path,
            hgnc_complete_set__txt=HGNC_HEADER
            + TP53
            + "HGNC:2\tNOID\tx\t2p1\t\t\t\t\tApproved\t\nHGNC:3\tPLACED\tx\treserved\t\t\t\tENSG00000000003\t"
            "Approved\t\n",
            x__gtf=gtf(
                ("17", "ENSG00000141510", "TP53"),
                ("2", "ENSG00000000002", "NOID"),
                ("3", "ENSG00000000003", "PLACED"),
                ("1", "ENSG00000000004", "AC000004.1"),
            ),
        )
    )
    assert reference.genes.select(
        "gene_id", "symbol", "hgnc_id", "biotype", "chromosome", "origin"
    ).rows() == [
        (2, "NOID", "HGNC:2", "x", "2", "hgnc_complete_set.txt"),
        (3, "PLACED", "HGNC:3", "x", "3", "hgnc_complete_set.txt"),
        (4, "AC000004.1", None, "lncRNA", "1", "x.gtf"),
        (141510, "TP53", "HGNC:11998", "protein", "17", "hgnc_complete_set.txt"),
    ]
    assert named(reference, "AC000004.1") == [(NAME_RANKS["annotation_name"], 4)]
    assert named(reference, "TP53") == [(1, 141510)]
    assert reference.is_complete


def test_the_newest_annotation_decides_what_a_name_means(tmp_path: Path) -> None:
    folder = ReferenceFolder(tmp_path)
    for release, gene in ((36, 1), (44, 2)):
        text = gtf(("1", f"ENSG{gene:011}", "LINC1"), ("1", f"ENSG{gene + 10:011}", f"ONLY{release}"))
        (tmp_path / f"gencode.v{release}.annotation.gtf").write_text(text)
    reference = load_gene_reference(folder)
    assert named(reference, "LINC1") == [(2, 2)]
    assert named(reference, "ONLY36") == [(2, 11)]
    assert {1, 2, 11, 12} <= set(reference.genes["gene_id"])


def test_ncbi_completes_hgnc(tmp_path: Path) -> None:
    reference = load_gene_reference(
        write(
            tmp_path,
            hgnc_complete_set__txt=HGNC_HEADER + TP53 + "HGNC:2\tNOID\tx\t2p1\t\t\t20\t\tApproved\t\n"
            "HGNC:6\tBYHGNC\tx\t\t\t\t\tENSG00000000006\tApproved\t\n",
            Homo_sapiens__gene_info__gz=gene_info(
                (7157, "TP53", "BCC7|p53", "Ensembl:ENSG00000000099"),
                (40, "N40", "-", "Ensembl:ENSG00000000040|Ensembl:ENSG00000141510"),
                (50, "N50", "-", "Ensembl:ENSG00000000050|Ensembl:ENSG00000000051"),
                (60, "N60", "-", "HGNC:HGNC:6"),
                (70, "N70", "-", "-"),
            ),
            gene2ensembl__gz="#tax_id\tGeneID\tEnsembl_gene_identifier\n9606\t20\tENSG00000000020\n",
            gene_history__gz="#tax_id\tGeneID\tDiscontinued_GeneID\n"
            "9606\t7157\t100\n9606\t100\t101\n9606\t-\t102\n9606\t40\t20\n",
        )
    )
    assert by_entrez(reference) == {
        20: ([20], False),
        40: ([141510], False),
        50: ([50, 51], False),
        60: ([6], False),
        70: ([], False),
        100: ([141510], True),
        101: ([141510], True),
        102: ([], True),
        7157: ([141510], False),
    }
    assert reference.genes.filter(symbol="NOID")["gene_id"].to_list() == [20]
    assert named(reference, "BCC7") == [(NAME_RANKS["ncbi_synonym"], 141510)]
    assert named(reference, "p53") == [(NAME_RANKS["alias_symbol"], 141510)]


def test_probes_lead_to_genes_through_entrez_ids(tmp_path: Path) -> None:
    reference = load_gene_reference(
        write(
            tmp_path,
            hgnc_complete_set__txt=HGNC_HEADER + TP53,
            lincs_geneinfo__tsv="pr_id\tpr_gene_id\n1_at\t7157///999999\n2_at\t999999\n3_at\t\n",
        )
    )
    assert reference.probes.select("probe", "genes", "n_unknown").rows() == [
        ("1_at", [141510], 1),
        ("2_at", [], 1),
        ("3_at", [], 1),
    ]


def test_events_without_their_sessions_are_refused(tmp_path: Path) -> None:
    event = "ENSG00000000001\t1\tENSG00000000002\t1\t7\tgene\t0.98\n"
    folder = write(tmp_path, stable_id_event__txt__gz=event)
    with pytest.raises(BadInputError, match=r"stable_id_event\.txt\.gz: mapping_session"):
        load_gene_reference(folder)
    write(tmp_path, mapping_session__txt__gz="8\ta\tb\t75\t76\tx\ty\t2014-04-11 15:12:25\n")
    with pytest.raises(BadInputError, match=r"session 7 is not in mapping_session\.txt\.gz"):
        load_gene_reference(folder)


def test_the_history_of_ids_knows_the_genes_of_hgnc_as_current(tmp_path: Path) -> None:
    reference = load_gene_reference(
        write(
            tmp_path,
            hgnc_complete_set__txt=HGNC_HEADER + TP53,
            stable_id_event__txt__gz="ENSG00000000001\t1\tENSG00000141510\t1\t7\tgene\t0.98\n"
            "ENSG00000141510\t1\t\\N\t0\t8\tgene\t0\n",
            mapping_session__txt__gz="7\ta\tb\t75\t76\tx\ty\t2014-04-11 15:12:25\n"
            "8\ta\tb\t76\t77\tx\ty\t2014-09-11 15:12:25\n",
        )
    )
    assert reference.retired.rows() == [(1, [141510], "stable_id_event.txt.gz")]


@pytest.mark.parametrize(("release", "gene"), [(36, 2), (44, 1)])
def test_an_annotation_older_than_the_history_does_not_make_its_ids_current(
    tmp_path: Path, release: int, gene: int
) -> None:
    text = gtf(("1", "ENSG00000000001", "LINC1"))
    (tmp_path / f"gencode.v{release}.annotation.gtf").write_text(text)
    write(
        tmp_path,
        stable_id_event__txt__gz="ENSG00000000001\t1\tENSG00000000002\t1\t7\tgene\t0.98\n",
        mapping_session__txt__gz="7\ta\tb\t105\t106\tx\ty\t2022-04-11 15:12:25\n",
    )
    reference = load_gene_reference(ReferenceFolder(tmp_path))
    assert named(reference, "LINC1") == [(NAME_RANKS["annotation_name"], gene)]
    assert reference.retired["gene_id"].to_list() == ([1] if gene == 2 else [])


def successors(*events: tuple[int, int | None, int | None], current: tuple[int, ...] = ()) -> dict:
    frame = pl.DataFrame(
        list(events), schema={"session": pl.Int64, "old_id": pl.Int32, "new_id": pl.Int32}, orient="row"
    )
    # Sessions are in the order of their age, whatever their numbers.
    order = list(dict.fromkeys(session for session, _, _ in events))
    sessions = pl.DataFrame({"session": order}, schema={"session": pl.Int64})
    known = pl.Series("gene_id", list(current), pl.Int32)
    return dict(current_successors(frame, sessions, known).rows())


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(1, 1, 2)], {1: [2]}),
        ([(1, 1, None)], {1: []}),
        ([(1, 1, 2), (1, 1, 3)], {1: [2, 3]}),
        # A version that changes, a split that leaves the old id in place, an id that comes back.
        ([(1, 1, 1)], {}),
        ([(1, 1, 1), (1, 1, 2)], {}),
        ([(1, 1, 2), (2, None, 1)], {}),
        # Along a chain, in the order of time and not of numbers; a split that merges again; an end.
        ([(9, 1, 2), (2, 2, 3)], {1: [3], 2: [3]}),
        ([(1, 1, 2), (1, 1, 3), (2, 2, 4), (2, 3, 4)], {1: [4], 2: [4], 3: [4]}),
        ([(1, 1, 2), (1, 1, 3), (2, 2, None)], {1: [3], 2: []}),
        # A successor that the session itself moves on from is still there.
        ([(1, 1, 2), (1, 2, 2), (1, 2, 3)], {1: [2]}),
        # What was split off long before the end does not carry on for it.
        ([(1, 1, 1), (1, 1, 5), (2, 1, 6)], {1: [6]}),
    ],
)
def test_retired_ids_are_followed_to_current_ones(events: list, expected: dict) -> None:
    assert successors(*events) == expected


def test_an_id_that_is_listed_is_never_retired() -> None:
    assert successors((1, 1, 2), (2, 2, None), current=(2,)) == {1: [2]}
    assert successors((1, 1, 2), current=(1,)) == {}


ids = st.one_of(st.none(), st.integers(1, 8))


@given(st.lists(st.tuples(st.integers(1, 6), ids, ids), max_size=40))
def test_successors_are_current_whatever_the_history(
    events: list[tuple[int, int | None, int | None]],
) -> None:
    found = successors(*sorted(events, key=lambda event: event[0]))
    assert not {new for news in found.values() for new in news} & set(found)
