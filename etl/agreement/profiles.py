"""Effect profiles of one context of a dataset, as dense arrays.

Here: from rows (condition, gene) to matrices, and the largest complete part of two of them. Not here: any
comparison.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.agreement.gene_order import Float32
from etl.agreement.similarity import Signatures
from etl.arrays import BoolArray, IntArray
from etl.errors import BadInputError

EFFECT_COLUMNS: Final = {
    "gene_id": pl.Int32,
    "log2_fold_change": pl.Float32,
    "standard_error": pl.Float32,
    "p_value_adjusted": pl.Float32,
}
"""Columns that effects need, beside the id of their row."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Effects of some conditions, or samples, on some genes.

    Args:
        row_ids: ascending; shape (rows,).
        gene_ids: ascending; shape (genes,).
        log2_fold_change: NaN where there is none; shape (rows, genes).
        t: moderated t, NaN where there is none, or no standard error above zero.
        is_significant: adjusted p-value below the level.
    """

    row_ids: IntArray
    gene_ids: NDArray[np.int32]
    log2_fold_change: Float32
    t: Float32
    is_significant: BoolArray

    def genes(self, gene_ids: NDArray[np.int32]) -> "Profiles":
        """Return the profiles on some of the genes, ascending."""
        return self.part(np.arange(len(self.row_ids)), gene_ids)

    def part(self, rows: IntArray, gene_ids: NDArray[np.int32]) -> "Profiles":
        """Return some rows, ascending, on some of the genes, ascending; without a copy where it is all."""
        at = np.searchsorted(self.gene_ids, gene_ids)

        def cut(matrix: NDArray[Any]) -> NDArray[Any]:
            of_rows = matrix if len(rows) == len(self.row_ids) else matrix[rows]
            return of_rows if len(at) == len(self.gene_ids) else np.take(of_rows, at, axis=1)

        matrices = cut(self.log2_fold_change), cut(self.t), cut(self.is_significant)
        return Profiles(self.row_ids[rows], gene_ids, *matrices)

    @property
    def is_measured(self) -> BoolArray:
        """Whether a gene has both an effect and its t; shape (rows, genes)."""
        return np.isfinite(self.log2_fold_change) & np.isfinite(self.t)

    def signatures(self, rows: IntArray, genes: BoolArray) -> Signatures:
        """Return rows that are complete on some genes, as signatures over these."""
        is_whole = genes.all() and len(rows) == len(self.row_ids) and (rows == np.arange(len(rows))).all()
        grid = (slice(None), slice(None)) if is_whole else np.ix_(rows, genes)
        return Signatures(self.log2_fold_change[grid], self.t[grid], self.is_significant[grid])

    def positions(self, row_ids: IntArray) -> IntArray:
        """Return the rows of ids, -1 for one that has no effects."""
        at = np.searchsorted(self.row_ids, row_ids)
        at = np.minimum(at, max(len(self.row_ids) - 1, 0))
        is_there = (
            self.row_ids[at] == row_ids if len(self.row_ids) else np.zeros(len(row_ids), dtype=np.bool_)
        )
        return np.where(is_there, at, -1)


def read_profiles(effects: pl.DataFrame, *, row_id: str = "condition_id", alpha: float = 0.05) -> Profiles:
    """Return effects in long form as matrices.

    Args:
        effects: one row per (row id, gene) in any order, with the columns of ``EFFECT_COLUMNS``.
        row_id: column of the row's id, Int64.
        alpha: level of significance of the adjusted p-value, exclusive.

    Raises:
        BadInputError: a column is missing or of another type, or a gene stands twice in a row's effects.
    """
    require_columns(effects.schema, {row_id: pl.Int64, **EFFECT_COLUMNS}, "effects")
    ids = effects[row_id].to_numpy()
    row_ids = np.unique(ids)
    gene_ids = np.unique(effects["gene_id"].to_numpy())
    flat = np.searchsorted(row_ids, ids) * len(gene_ids) + np.searchsorted(
        gene_ids, effects["gene_id"].to_numpy()
    )
    shape = (len(row_ids), len(gene_ids))
    is_filled = np.zeros(shape, dtype=np.bool_)
    is_filled.ravel()[flat] = True
    # Of two values for one cell either could win, depending on the order of rows, which no scan promises.
    if np.count_nonzero(is_filled) != effects.height:
        twice = effects.filter(pl.struct(row_id, "gene_id").is_duplicated())[row_id].sort()[0]
        rule = f"effects name a gene twice in {row_id} {twice}"
        raise BadInputError(rule, column="gene_id")
    effect, error, p_adjusted = (
        effects[name].fill_null(np.nan).to_numpy()
        for name in ("log2_fold_change", "standard_error", "p_value_adjusted")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, effect / error, np.float32(np.nan))
    values, ts = np.full((2, *shape), np.nan, dtype=np.float32)
    is_significant = np.zeros(shape, dtype=np.bool_)
    values.ravel()[flat] = np.where(np.isfinite(effect), effect, np.nan)
    ts.ravel()[flat] = t
    # A plain float takes the array's own type, so that a Float32 p of 0.05 is not below 0.05 by rounding.
    is_significant.ravel()[flat] = np.isfinite(effect) & (p_adjusted < float(alpha))
    return Profiles(row_ids, gene_ids, values, ts, is_significant)


def require_columns(
    schema: Mapping[str, pl.DataType], columns: Mapping[str, type[pl.DataType]], frame: str
) -> None:
    """Refuse a frame that lacks a column, or has it as another type.

    Raises:
        BadInputError: as said.
    """
    for column, dtype in columns.items():
        if column not in schema:
            rule = f"{frame} lack this column"
            raise BadInputError(rule, column=column)
        if schema[column] != dtype:
            rule = f"{frame} need it as {dtype()}, found {schema[column]}"
            raise BadInputError(rule, column=column)


def complete_cells(
    left: Profiles, right: Profiles, left_rows: IntArray, right_rows: IntArray
) -> Iterator[tuple[IntArray, BoolArray]]:
    """Yield pairs of rows that share one set of measured genes, with that set.

    Within a context the tested genes depend on the fit (its vehicle group), hardly on the condition, so that
    there are few sets, mostly one.

    Args:
        left: profiles on the same genes as the right ones.
        right: likewise.
        left_rows: row of each pair.
        right_rows: likewise; shape (pairs,).

    Yields:
        Pairs, as indices, and their genes (shape (genes,)).
    """
    sides = []
    for profiles, rows in ((left, left_rows), (right, right_rows)):
        patterns, codes = np.unique(
            np.packbits(profiles.is_measured[rows], axis=1), axis=0, return_inverse=True
        )
        measured = np.unpackbits(patterns, axis=1, count=len(profiles.gene_ids)).astype(np.bool_)
        sides.append((measured, codes.ravel()))
    (left_sets, left_codes), (right_sets, right_codes) = sides
    both, cell = np.unique(np.stack([left_codes, right_codes], axis=1), axis=0, return_inverse=True)
    for code, (i, j) in enumerate(both):
        yield np.flatnonzero(cell.ravel() == code), left_sets[i] & right_sets[j]
