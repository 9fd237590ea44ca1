"""Shards of Tahoe-100M on Hugging Face: parquet with one row per cell and its counts as two lists.

    genes                list of tokens; a table beside the shards says which gene each is
    expressions          list of their counts
    drug, sample, BARCODE_SUB_LIB_ID, cell_line_id, plate    texts

The first element of both lists is no gene but a mark: token 1, value -2.

Here: lists to rows of counts, in batches. Not here: what texts mean (``tahoe100m``).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from etl.arrays import BoolArray, IntArray
from etl.errors import BadInputError

MARK: Final = (1, -2)
"""Token and value of the first element of each cell's lists."""

CELLS_AT_ONCE: Final = 8_192
"""Rows of a batch: with lists of 1,500 genes about 150 MB."""

_LISTS: Final = ("genes", "expressions")
_BARCODE: Final = "BARCODE_SUB_LIB_ID"
_TEXTS: Final = ("drug", "sample", _BARCODE, "cell_line_id", "plate")


class ShardReader:
    """Reader of shards.

    Args:
        tokens: of the genes, in the order of the counts; none twice.
        dataset_id: for messages.
    """

    def __init__(self, tokens: IntArray, dataset_id: str) -> None:
        self._dataset_id, self._n_genes = dataset_id, len(tokens)
        self._place = np.full(int(tokens.max(initial=0)) + 1, -1, dtype=np.int32)
        self._place[tokens] = np.arange(len(tokens), dtype=np.int32)

    def blocks(self, path: Path) -> Iterator[tuple[pl.DataFrame, sparse.csr_matrix]]:
        """Yield the cells of a shard: their texts, and cells x genes in the number type of the file.

        Raises:
            BadInputError: no parquet or a damaged one; a column is missing; a cell has lists of different
                lengths, no mark, a token that the table of genes lacks, or a gene twice.
        """
        for batch in self._batches(path):
            rows = pl.DataFrame(pl.from_arrow(batch.select(list(_TEXTS))))
            yield rows.with_columns(pl.all().cast(pl.String)), self._counts(batch, path)

    def _batches(self, path: Path) -> Iterator[pa.RecordBatch]:
        columns = [*_LISTS, *_TEXTS]
        try:
            with pq.ParquetFile(path) as shard:
                for column in columns:
                    if column not in shard.schema_arrow.names:
                        raise self._error("the column is missing", path, column=column)
                yield from shard.iter_batches(CELLS_AT_ONCE, columns=columns)
        except (OSError, pa.ArrowException) as fault:
            rule = f"the file is no complete Parquet file: {' '.join(str(fault).split())[:200]}"
            raise self._error(rule, path) from fault

    def _counts(self, batch: pa.RecordBatch, path: Path) -> sparse.csr_matrix:
        def require(is_right: BoolArray, rule: str) -> None:
            if not is_right.all():
                cell = int(np.flatnonzero(~is_right)[0])
                row = batch.column(_BARCODE)[cell].as_py()
                raise self._error(f"{rule}, but not of this cell", path, row=row, column=_LISTS[0])

        (length, tokens), (n_values, counts) = (_flat(batch.column(name)) for name in _LISTS)
        require((length == n_values) & (length > 0), "lists are of one length, with a mark")
        starts = np.concatenate([[0], np.cumsum(length)])
        first = starts[:-1]
        is_mark = (tokens[first] == MARK[0]) & (counts[first] == MARK[1])
        require(is_mark, f"the first element is the mark, token {MARK[0]} and value {MARK[1]}")
        is_gene = np.ones(len(tokens), dtype=bool)
        is_gene[first] = False
        tokens, counts = tokens[is_gene], counts[is_gene]
        cell = np.repeat(np.arange(len(length)), length - 1)
        is_known = (tokens >= 0) & (tokens < len(self._place))
        is_known[is_known] = self._place[tokens[is_known]] >= 0
        require(_none_of(cell[~is_known], len(length)), "every token is one of the table of genes")
        parts = counts, self._place[tokens], starts - np.arange(len(starts))
        matrix = sparse.csr_matrix(parts, shape=(len(length), self._n_genes))
        matrix.sort_indices()
        is_repeated = (np.diff(matrix.indices) == 0) & (np.diff(cell) == 0)
        require(_none_of(cell[1:][is_repeated], len(length)), "a gene is listed once")
        return matrix

    def _error(
        self, rule: str, path: Path, *, row: str | None = None, column: str | None = None
    ) -> BadInputError:
        return BadInputError(rule, dataset_id=self._dataset_id, file=path, row=row, column=column)


def _none_of(cells: IntArray, n_cells: int) -> BoolArray:
    """Return for each cell whether it is not among some."""
    is_right = np.ones(n_cells, dtype=bool)
    is_right[cells] = False
    return is_right


def _flat(lists: Any) -> tuple[IntArray, np.ndarray]:
    """Return the length of each list (of a missing one 0) and the elements of all."""
    length = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return length, lists.flatten().to_numpy(zero_copy_only=False)
