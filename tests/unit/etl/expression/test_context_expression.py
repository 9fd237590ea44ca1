"""Expression of untreated lines on the gene axis: what was simulated comes back."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.expression import context_expression
from etl.expression.context_expression import context_expression_rows, tpm_axis
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.genes import resolve_genes
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.simulate import depmap
from etl.simulate.study import Study
from etl.sources.depmap_expression import DepmapExpression
from etl.validation import violations
from schemas.core.context_expression import CONTEXT_EXPRESSION

TP53 = 141510
SOURCE = DepmapExpression("24Q4")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depmap_24q4")
    depmap.write(folder, Study(5))
    return folder


@pytest.fixture(scope="module")
def gene_names(raw: Path) -> pl.DataFrame:
    reference = load_gene_reference(EMBEDDED_ONLY)
    return resolve_genes(SOURCE.genes(raw).collect(), dataset_id="depmap_24q4", reference=reference)[0]


def rows_of(raw: Path, gene_names: pl.DataFrame) -> list[pl.DataFrame]:
    names = (
        SOURCE.contexts(raw)
        .collect()
        .select("context_reported", context_id=pl.format("unresolved:depmap_24q4:{}", "context_reported"))
    )
    return list(
        context_expression_rows(
            SOURCE.context_expression(raw),
            axis=tpm_axis(SOURCE.genes(raw).collect(), gene_names),
            context_names=names,
            dataset_id="depmap_24q4",
        )
    )


def test_rows_fit_the_table(raw: Path, gene_names: pl.DataFrame) -> None:
    rows = pl.concat(rows_of(raw, gene_names))
    assert violations(rows, CONTEXT_EXPRESSION.model) == []
    assert rows.select(CONTEXT_EXPRESSION.primary_key).is_unique().all()
    assert rows["context_reported"].n_unique() == len(depmap.MODELS)


@pytest.mark.parametrize(("model", "line"), [("ACH-000681", "A549"), ("ACH-000219", "A375")])
def test_the_true_tpm_come_back_also_of_the_divided_gene(
    raw: Path, gene_names: pl.DataFrame, model: str, line: str
) -> None:
    truth = depmap.true_tpm(Study(5), line)
    rows = pl.concat(rows_of(raw, gene_names)).filter(context_reported=model)
    both = rows.join(truth, on="gene_id", validate="1:1")
    assert both.height == rows.height == truth.height
    np.testing.assert_allclose(both["value"], np.log2(1 + both["tpm"].to_numpy()), atol=2e-6)
    assert both.filter(gene_id=TP53)["tpm"].item() > 1


def test_columns_that_share_a_gene_or_have_none_are_counted(raw: Path, gene_names: pl.DataFrame) -> None:
    account = tpm_axis(SOURCE.genes(raw).collect(), gene_names).account
    assert account.n_out == account.n_in - 2
    assert dict(account.dropped) == {"unresolved": 1, "combined with another": 1}


def test_chunks_are_bounded_and_hold_whole_models(
    raw: Path, gene_names: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = rows_of(raw, gene_names)
    n_genes = whole["gene_id"].n_unique()
    monkeypatch.setattr(context_expression, "CHUNK_VALUES", 3 * n_genes + 1)
    chunks = rows_of(raw, gene_names)
    assert [chunk["context_reported"].n_unique() for chunk in chunks] == [3, 3, 2]
    assert pl.concat(chunks).equals(whole)


def test_no_known_gene_is_refused(raw: Path, gene_names: pl.DataFrame) -> None:
    nothing = gene_names.with_columns(gene_id=pl.lit(None, pl.Int32))
    with pytest.raises(BadInputError, match="none of its genes"):
        tpm_axis(SOURCE.genes(raw).collect(), nothing)
