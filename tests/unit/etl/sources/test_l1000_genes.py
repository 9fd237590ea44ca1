from pathlib import Path

import h5py
import numpy as np
import pytest

from etl.errors import BadInputError
from etl.sources.l1000_genes import GeneSpace, read_beta_genes, read_geo_genes, wanted_rows
from etl.sources.l1000_phase1 import L1000Phase1

HEADER = "pr_gene_id\tpr_gene_symbol\tpr_is_lm\tpr_is_bing"


def gene_table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "gene_info.txt"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def matrix(folder: Path, *genes: str) -> Path:
    path = folder / "GSE92742_Level3_test.gctx"
    with h5py.File(path, "w") as file:
        file["/0/META/ROW/id"] = np.array(genes, dtype="S")
        file["/0/META/COL/id"] = np.array(["P_24H_X1:A01"], dtype="S")
        file["/0/DATA/0/matrix"] = np.arange(len(genes), dtype=np.float32)[None]
    return path


@pytest.mark.parametrize(
    ("gene_space", "expected"),
    [("landmark", [(2, 20)]), ("best_inferred", [(1, 10), (2, 20)]), ("all", [(0, 30), (1, 10), (2, 20)])],
)
def test_rows_of_a_space_are_in_file_order(
    tmp_path: Path, gene_space: GeneSpace, expected: list[tuple[int, int]]
) -> None:
    path = gene_table(tmp_path, "10\tB\t0\t1", "20\tA\t1\t1", "30\tC\t0\t0", "40\tD\t1\t1")
    genes = read_geo_genes(path, dataset_id="any", gene_space=gene_space)
    rows = wanted_rows(matrix(tmp_path, "30", "10", "20"), genes, dataset_id="any", gene_space=gene_space)
    assert rows.select("position", "entrez_id").rows() == expected


def test_a_table_that_does_not_tell_the_well_inferred_serves_those_who_do_not_ask(tmp_path: Path) -> None:
    path = gene_table(tmp_path, "10\tB\t0", "20\tA\t1", header="pr_gene_id\tpr_gene_symbol\tpr_is_lm")
    genes = read_geo_genes(path, dataset_id="any", gene_space="all")
    assert wanted_rows(matrix(tmp_path, "10", "20"), genes, dataset_id="any", gene_space="all").height == 2
    with pytest.raises(BadInputError, match="column pr_is_bing: the column is missing"):
        read_geo_genes(path, dataset_id="any", gene_space="best_inferred")


def test_inferred_genes_of_phase_1_are_an_option(tmp_path: Path) -> None:
    matrix(tmp_path, "30", "10", "20")
    path = gene_table(tmp_path, "10\tB\t0\t1", "20\tA\t1\t1", "30\tC\t0\t0")
    path.rename(tmp_path / "GSE92742_gene_info.txt")
    (tmp_path / "GSE92742_inst_info.txt").write_text("", encoding="utf-8")
    assert L1000Phase1().genes(tmp_path).collect()["entrez_id"].to_list() == [20]
    source = L1000Phase1("best_inferred")
    assert source.genes(tmp_path).collect()["entrez_id"].to_list() == [10, 20]
    (block,) = source.expression(tmp_path)
    assert block.values.tolist() == [[1.0, 2.0]]


def test_a_gene_listed_twice_is_refused(tmp_path: Path) -> None:
    path = gene_table(tmp_path, "10\tB\t0\t1", "10\tA\t1\t1")
    with pytest.raises(BadInputError, match="row 2, 3, column pr_gene_id: more than once"):
        read_geo_genes(path, dataset_id="any")


def test_a_gene_of_the_2020_release_that_is_no_entrez_id_is_refused(tmp_path: Path) -> None:
    path = gene_table(tmp_path, "ENSG1\tB\tlandmark", header="gene_id\tgene_symbol\tfeature_space")
    with pytest.raises(BadInputError, match="column gene_id: not a whole number: 'ENSG1'"):
        read_beta_genes(path, dataset_id="any")
