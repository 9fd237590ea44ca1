"""DepMap's table of expression: read as published, bad files refused by name."""

from pathlib import Path

import numpy as np
import pytest

from etl.errors import BadInputError
from etl.simulate import depmap
from etl.simulate.landing import prepare
from etl.simulate.study import Study
from etl.sources.base import ContextExpressionSource, ScreenSource, TranscriptomicSource
from etl.sources.depmap_expression import FILE, DepmapExpression
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene

HEADER = ",TP53 (7157),EGFR (1956)"
LINE = "ACH-000219,1.0,2.0"


def toy(folder: Path, header: str = HEADER, *lines: str) -> Path:
    (folder / FILE).write_text("\n".join([header, *(lines or (LINE,))]) + "\n")
    return folder


def test_it_is_what_it_says() -> None:
    source = DepmapExpression("24Q4")
    assert source.spec.dataset_id == "depmap_24q4"
    assert isinstance(source, ContextExpressionSource)
    assert not isinstance(source, TranscriptomicSource | ScreenSource)


def test_the_simulated_release_is_read_whole(tmp_path: Path) -> None:
    source, raw = DepmapExpression("24Q4"), tmp_path / "depmap_24q4"
    prepare(raw, seed=1)
    depmap.write(raw, Study(1))
    contexts = check_reported(source.contexts(raw), ReportedContext, dataset_id="depmap_24q4")
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id="depmap_24q4")
    assert check_reported(source.compounds(raw), ReportedCompound, dataset_id="depmap_24q4").is_empty()
    assert set(contexts["context_reported"]) == {model for model, _ in depmap.MODELS}
    (block,) = source.context_expression(raw)
    assert list(block.sample_keys) == contexts["context_reported"].to_list()
    assert block.values.shape == (contexts.height, genes.height)
    assert genes.height == depmap.true_tpm(Study(1), "A549").height + 2


def test_only_wanted_genes_are_read_in_file_order(tmp_path: Path) -> None:
    source = DepmapExpression("24Q2", symbols={"EGFR", "ABSENT"})
    raw = toy(tmp_path)
    assert source.genes(raw).collect().select("gene_reported", "symbol", "entrez_id").rows() == [
        ("EGFR (1956)", "EGFR", 1956)
    ]
    (block,) = source.context_expression(raw)
    np.testing.assert_array_equal(block.values, np.array([[2.0]], dtype=np.float32))


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        (",TP53,EGFR (1956)", [LINE], "column TP53: not a gene as"),
        (",TP53 (ENSG00000141510),EGFR (1956)", [LINE], "not a gene as"),
        ("gene,TP53 (7157),EGFR (1956)", [LINE], "column gene: the first column holds the models"),
        (HEADER, [LINE, "ACH-000019,1,2", LINE], "row 2, 4: the model has more than one line: 'ACH-000219'"),
        (HEADER, ["A375,1,2"], "row 2: not a DepMap model id: 'A375'"),
        (HEADER, [LINE, "ACH-000019,1,"], r"row 3, column EGFR \(1956\): .*a missing value"),
        (HEADER, [LINE, "ACH-000019,1,-0.5"], r"row 3, column EGFR \(1956\): -0.5 is no log2"),
        (HEADER, [LINE, "ACH-000019,512,0"], r"row 3, column TP53 \(7157\): 512 is no log2"),
        (HEADER, [LINE, "ACH-000019,1"], "row 3: 2 fields where the header has 3"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, header: str, lines: list[str], message: str) -> None:
    source, raw = DepmapExpression("24Q2"), toy(tmp_path, header, *lines)
    with pytest.raises(BadInputError, match=message):
        source.contexts(raw).collect(), source.genes(raw).collect(), list(source.context_expression(raw))


def test_genes_of_which_none_is_there_are_refused(tmp_path: Path) -> None:
    source = DepmapExpression("24Q2", symbols={"ABSENT"})
    with pytest.raises(BadInputError, match="none of the wanted genes"):
        source.genes(toy(tmp_path))
