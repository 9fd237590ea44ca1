"""Expression of untreated cell lines: values as reported to rows of ``core/context_expression``.

Two columns that lead to one gene are added up as TPM, log2(1 + Σ (2^v − 1)): every read counts for one column
only, so that their sum is the gene's, whereas a mean of logarithms would depend on how the publisher's
annotation divides it.

Not here: expression of treated samples (``profiles``), how lines and genes are resolved (``harmonize``).
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.errors import BadInputError
from etl.expression.profiles import GeneAxis, gene_axis
from etl.sources.base import ExpressionBlock
from schemas.core.context_expression import CONTEXT_EXPRESSION

CHUNK_VALUES: Final = 4_000_000
"""Values per chunk of rows, about 250 MB as a frame."""


def tpm_axis(genes: pl.DataFrame, gene_names: pl.DataFrame) -> GeneAxis:
    """Return the gene axis of values that are added up, not averaged, where columns share a gene.

    Args:
        genes: reported genes in the order of the values (``ReportedGene``).
        gene_names: the dataset's rows of ``core/gene_name``.

    Raises:
        BadInputError: no column leads to a gene.
    """
    axis = gene_axis(genes, gene_names, value_scale="counts")
    if axis.gene_ids.size == 0:
        raise BadInputError("none of its genes is known")
    return axis


def context_expression_rows(
    blocks: Iterable[ExpressionBlock], *, axis: GeneAxis, context_names: pl.DataFrame, dataset_id: str
) -> Iterator[pl.DataFrame]:
    """Yield rows of ``core/context_expression``, whole lines in chunks of about ``CHUNK_VALUES``.

    Args:
        blocks: log2(TPM + 1); ``sample_keys`` are cell labels.
        axis: the dataset's gene axis (``tpm_axis``).
        context_names: the dataset's rows of ``core/context_name``.
        dataset_id: the dataset.
    """
    known = context_names.select("context_reported", "context_id")
    step = max(1, CHUNK_VALUES // axis.gene_ids.size)
    for block in blocks:
        lines = (
            pl.DataFrame({"context_reported": list(block.sample_keys)})
            .with_row_index("row")
            .join(known, on="context_reported", how="left", validate="1:1")
            .sort("context_id", "context_reported")
        )
        for start in range(0, lines.height, step):
            part = lines[start : start + step]
            values = _on_axis(np.asarray(block.values)[part["row"].to_numpy()], axis)
            of_row = np.repeat(np.arange(part.height), axis.gene_ids.size)
            yield pl.DataFrame(
                {
                    "dataset_id": pl.repeat(dataset_id, of_row.size, dtype=pl.String, eager=True),
                    "context_id": part["context_id"].gather(of_row),
                    "context_reported": part["context_reported"].gather(of_row),
                    "gene_id": np.tile(axis.gene_ids, part.height),
                    "value": values.ravel(),
                },
                schema=CONTEXT_EXPRESSION.polars_schema,
            )


def _on_axis(values: NDArray[np.float32], axis: GeneAxis) -> NDArray[np.float32]:
    """Return values on the gene axis; columns of one gene are added up as TPM."""
    columns = axis.projection.tocsc()
    merged = np.flatnonzero(np.diff(columns.indptr) > 1)
    placed: NDArray[np.float32] = values[:, columns.indices[columns.indptr[:-1]]]
    for gene in merged:
        of_gene = columns.indices[columns.indptr[gene] : columns.indptr[gene + 1]]
        tpm = np.expm1(values[:, of_gene].astype(np.float64) * np.log(2)).sum(axis=1)
        placed[:, gene] = np.log1p(tpm) / np.log(2)
    return placed
