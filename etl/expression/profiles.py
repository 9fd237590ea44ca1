"""Expression profiles: reported blocks to rows of ``core/expression``, and library sizes.

Values are checked against the declared scale and put on the gene axis of the warehouse: reported genes that
resolve to the same gene are summed (counts) or averaged (log2). Reading metadata and resolving names happen
elsewhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from etl.accounting import RowAccount
from etl.arrays import LARGEST_EXACT_FLOAT32
from etl.errors import BadInputError
from etl.sources.base import ExpressionBlock
from schemas.core.expression import EXPRESSION

CHUNK_VALUES = 4_000_000
"""Values per chunk of rows: about 200 MB as a frame, so that memory does not grow with the dataset."""

MAX_LOG2 = 40.0
"""No intensity or count reaches 2**40; larger values are not on a log2 scale."""

RAW_COUNT_LIKE = 30.0
"""Whole numbers only, some above this, are raw counts: normalized log2 expression stays below 2**30."""


@dataclass(frozen=True, slots=True)
class GeneAxis:
    """The dataset's gene axis and how reported genes are put on it.

    Args:
        gene_ids: gene_id per column of the axis, ascending, Int32.
        projection: reported genes × axis; an entry is 1 (counts) or 1 / n_merged (log2).
    """

    gene_ids: np.ndarray
    projection: sparse.csr_matrix

    @property
    def account(self) -> RowAccount:
        """Reported genes and what became of their values: stored, combined with others', or left out."""
        n_reported, n_axis = self.projection.shape
        lost = {
            "unresolved": n_reported - self.projection.nnz,
            "combined with another": self.projection.nnz - n_axis,
        }
        dropped = {reason: n for reason, n in lost.items() if n}
        return RowAccount(n_reported, n_axis, dropped, unit="genes")

    @property
    def is_selection(self) -> bool:
        """Whether each axis gene comes from one reported gene, so that columns are picked, not combined."""
        return self.projection.nnz == self.gene_ids.size


def gene_axis(genes: pl.DataFrame, gene_names: pl.DataFrame, *, value_scale: str) -> GeneAxis:
    """Return the axis of a dataset.

    Args:
        genes: reported genes in the order of the value axis (``ReportedGene``).
        gene_names: the dataset's rows of ``core/gene_name``.
        value_scale: ``counts`` or ``log2``.
    """
    resolved = genes.select("gene_reported").join(
        gene_names.select("gene_reported", "gene_id"),
        on="gene_reported",
        how="left",
        maintain_order="left",
        validate="1:1",
    )["gene_id"]
    reported = np.flatnonzero(resolved.is_not_null().to_numpy())
    gene_ids, codes = np.unique(resolved.drop_nulls().to_numpy(), return_inverse=True)
    weights = np.ones(codes.size, dtype=np.float32)
    if value_scale == "log2":
        weights /= np.bincount(codes, minlength=gene_ids.size).astype(np.float32)[codes]
    projection = sparse.csr_matrix((weights, (reported, codes)), shape=(genes.height, gene_ids.size))
    return GeneAxis(gene_ids.astype(np.int32), projection)


def library_sizes(blocks: Iterable[ExpressionBlock]) -> pl.DataFrame:
    """Return total count and number of detected genes per sample: sample_key, total_counts, n_genes.

    Counted over all reported genes, before genes are merged or left out.
    """
    rows = [
        pl.DataFrame(
            {
                "sample_key": list(block.sample_keys),
                "total_counts": np.asarray(block.values.sum(axis=1, dtype=np.float64)).ravel(),
                "n_genes": np.asarray((block.values > 0).sum(axis=1)).ravel(),
            }
        )
        for block in blocks
    ]
    schema = pl.Schema({"sample_key": pl.String, "total_counts": pl.Int64, "n_genes": pl.Int32})
    return pl.concat([frame.cast(schema) for frame in rows]) if rows else pl.DataFrame(schema=schema)


def expression_rows(
    blocks: Iterable[ExpressionBlock],
    *,
    axis: GeneAxis,
    samples: pl.DataFrame,
    dataset_id: str,
    value_scale: str,
) -> Iterator[pl.DataFrame]:
    """Yield rows of ``core/expression`` in chunks of about ``CHUNK_VALUES``.

    Samples that are not in ``samples`` were left out, and counted, by ``harmonize_samples``.

    Args:
        blocks: the adapter's expression.
        axis: the dataset's gene axis.
        samples: the dataset's rows of ``core/sample``.
        dataset_id: the dataset.
        value_scale: the scale its values are declared to have.

    Raises:
        BadInputError: a sample comes twice or has no values, there is no value at all, or values are not on
            the declared scale.
    """
    known = samples.select("sample_key", "sample_id", "context_id")
    n_values = 0
    for block in checked_blocks(
        blocks, sample_keys=samples["sample_key"], dataset_id=dataset_id, value_scale=value_scale
    ):
        kept = (
            pl.DataFrame({"sample_key": list(block.sample_keys)})
            .with_row_index("row")
            .join(known, on="sample_key", maintain_order="left")
            .sort("context_id", "sample_id")
        )
        step = max(1, CHUNK_VALUES // max(1, axis.gene_ids.size))
        for start in range(0, kept.height, step):
            chunk = _rows(block, kept[start : start + step], axis, dataset_id, value_scale)
            n_values += chunk.height
            yield chunk
    if n_values == 0:
        raise BadInputError("the matrix holds no value of any known sample and gene", dataset_id=dataset_id)


def checked_blocks(
    blocks: Iterable[ExpressionBlock], *, sample_keys: pl.Series, dataset_id: str, value_scale: str
) -> Iterator[ExpressionBlock]:
    """Yield blocks whose values are on the declared scale; each expected sample comes once.

    Args:
        blocks: the adapter's expression.
        sample_keys: samples that must have values.
        dataset_id: the dataset.
        value_scale: the scale its values are declared to have.

    Raises:
        BadInputError: a sample comes twice or has no values, or values are not on the declared scale.
    """
    seen: set[str] = set()
    for block in blocks:
        if repeated := seen & set(block.sample_keys):
            raise BadInputError(f"sample {min(repeated)!r} has values twice", dataset_id=dataset_id)
        seen |= set(block.sample_keys)
        check_scale(block, dataset_id=dataset_id, value_scale=value_scale)
        yield block
    if missing := set(sample_keys) - seen:
        raise BadInputError(
            f"{len(missing)} sample(s) of the metadata have no values, e.g. {min(missing)!r}",
            dataset_id=dataset_id,
        )


def _rows(
    block: ExpressionBlock, kept: pl.DataFrame, axis: GeneAxis, dataset_id: str, value_scale: str
) -> pl.DataFrame:
    """Return the rows of some samples of a block; zeros of counts are not stored."""
    values = block.values[kept["row"].to_numpy()]
    if axis.is_selection and isinstance(values, np.ndarray):
        values = values[:, axis.projection.tocsc().indices]
    else:
        values = values @ axis.projection
    if value_scale == "counts":
        entries = sparse.csr_matrix(values)
        entries.eliminate_zeros()
        entries.sort_indices()
        rows = np.repeat(np.arange(kept.height), np.diff(entries.indptr))
        genes, data = axis.gene_ids[entries.indices], entries.data
    else:
        dense = values if isinstance(values, np.ndarray) else values.toarray()
        rows = np.repeat(np.arange(kept.height), axis.gene_ids.size)
        genes, data = np.tile(axis.gene_ids, kept.height), dense.ravel()
    return pl.DataFrame(
        {
            "dataset_id": pl.repeat(dataset_id, rows.size, dtype=pl.String, eager=True),
            "context_id": kept["context_id"].gather(rows),
            "sample_id": kept["sample_id"].gather(rows),
            "gene_id": genes.astype(np.int32, copy=False),
            "value": data.astype(np.float32, copy=False),
        },
        schema=EXPRESSION.polars_schema,
    )


def check_scale(block: ExpressionBlock, *, dataset_id: str, value_scale: str) -> None:
    """Refuse values that cannot be on the declared scale.

    Raises:
        BadInputError: a value is not finite; a count is negative or fractional; a log2 value is impossible,
            or all values are whole numbers far above any log2 (raw counts under a wrong declaration).
    """
    values = block.values if isinstance(block.values, np.ndarray) else block.values.data
    if values.size == 0:
        return
    _refuse(~np.isfinite(values), "is not a finite number", block, dataset_id)
    if value_scale == "counts":
        _refuse(values < 0, "is negative, but counts are declared", block, dataset_id)
        _refuse(values != np.floor(values), "is fractional, but counts are declared", block, dataset_id)
        _refuse(
            values > LARGEST_EXACT_FLOAT32, "is a count that Float32 cannot hold exactly", block, dataset_id
        )
        return
    _refuse(np.abs(values) > MAX_LOG2, "cannot be log2 expression (raw values?)", block, dataset_id)
    if values.max() > RAW_COUNT_LIKE and bool((values == np.floor(values)).all()):
        raise BadInputError(
            f"all values are whole numbers up to {values.max():g}: raw counts where log2 is declared",
            dataset_id=dataset_id,
        )


def _refuse(broken: np.ndarray, rule: str, block: ExpressionBlock, dataset_id: str) -> None:
    """Raise for the first offending value, naming its sample and the gene's position on the value axis."""
    if not broken.any():
        return
    first = int(np.argmax(broken.ravel()))
    if isinstance(block.values, np.ndarray):
        row, column = (int(index) for index in np.unravel_index(first, block.values.shape))
        value = block.values[row, column]
    else:
        row = int(np.searchsorted(block.values.indptr, first, side="right")) - 1
        column, value = int(block.values.indices[first]), block.values.data[first]
    raise BadInputError(
        f"value {value:g} {rule} ({int(broken.sum())} such value(s))",
        dataset_id=dataset_id,
        row=f"sample {block.sample_keys[row]}",
        column=f"gene {column + 1} of the value axis",
    )
