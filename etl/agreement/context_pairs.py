"""The same context in two datasets: its conditions on one gene axis, in blocks that are complete.

Here: which genes and conditions enter comparisons of many with many. Not here: the comparisons.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.agreement.profiles import Profiles
from etl.agreement.similarity import Signatures
from etl.arrays import BoolArray, FloatArray, IntArray

SHARE_OF_GENES: Final = 0.9
"""Share of the genes of the richest condition of a fit that one must have to take part among many."""
SHARE_MEASURED: Final = 0.99
"""Share of these conditions that measured a gene on which many are compared; the rest is left out."""

CONDITION_COLUMNS: Final = ("condition_id", "compound_id", "dose_um", "time_h", "vehicle_group")


@dataclass(frozen=True, slots=True)
class ContextData:
    """One context of one dataset.

    Args:
        conditions: ``CONDITION_COLUMNS`` of every condition that has profiles, in the order of their rows.
        profiles: effects.
    """

    conditions: pl.DataFrame
    profiles: Profiles


Load = Callable[[str, str], ContextData]
"""From dataset and context to its data."""


class Block(NamedTuple):
    """Conditions over one gene axis, and what their peers are found by; one entry per row.

    Args:
        signatures: complete.
        gene_ids: of the axis.
        ids: conditions, ascending.
        compound: codes, the same on both sides.
        dose: µM.
        time: h.
    """

    signatures: Signatures
    gene_ids: NDArray[np.int32]
    ids: IntArray
    compound: IntArray
    dose: FloatArray
    time: FloatArray

    def rows_of(self, ids: IntArray) -> IntArray:
        """Return the row of each condition, -1 for one that is not here."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)


class BlockPair(NamedTuple):
    """Blocks of both datasets over the same genes, and the matches between them.

    Args:
        left: conditions of one fit of the left dataset.
        right: likewise.
        matches: indices of the matches.
        left_rows: their rows.
        right_rows: likewise.
    """

    left: Block
    right: Block
    matches: IntArray
    left_rows: IntArray
    right_rows: IntArray

    def side(self, name: str) -> tuple[Block, IntArray]:
        """Return block and rows of the matches on a side."""
        return (self.left, self.left_rows) if name == "left" else (self.right, self.right_rows)


class ContextPair:
    """One context in two datasets.

    Args:
        left: dataset.
        right: dataset.
        context_id: the context.
        matches: rows of ``mart/condition_match`` between them in this context.
        load: reads one context of a dataset.
    """

    def __init__(self, left: str, right: str, context_id: str, matches: pl.DataFrame, load: Load) -> None:
        self.left_dataset, self.right_dataset, self.context_id = left, right, context_id
        self.matches = matches
        sides = load(left, context_id), load(right, context_id)
        genes = np.intersect1d(sides[0].profiles.gene_ids, sides[1].profiles.gene_ids)
        self.left, self.right = (ContextData(one.conditions, one.profiles.genes(genes)) for one in sides)
        self.compounds = pl.concat([one.conditions["compound_id"] for one in sides]).unique().sort()

    @cached_property
    def blocks(self) -> list[BlockPair]:
        """The conditions of each fit of the left with those of each fit of the right.

        A fit is all conditions of one vehicle group: they were tested for the same genes. A pair of fits
        without a match between complete conditions is passed over.
        """
        found = []
        ids = [self.matches[f"{side}_condition_id"].to_numpy() for side in ("left", "right")]
        for left_rows in _fits(self.left):
            for right_rows in _fits(self.right):
                genes = usual_genes(self.left.profiles, left_rows) & usual_genes(
                    self.right.profiles, right_rows
                )
                left = block_of(self.left, left_rows, genes, self.compounds)
                right = block_of(self.right, right_rows, genes, self.compounds)
                rows = left.rows_of(ids[0]), right.rows_of(ids[1])
                both = np.flatnonzero((rows[0] >= 0) & (rows[1] >= 0))
                if len(both):
                    found.append(BlockPair(left, right, both, rows[0][both], rows[1][both]))
        return found


def usual_genes(profiles: Profiles, rows: IntArray) -> BoolArray:
    """Return the genes that nearly all conditions measured which measured most (``SHARE_OF_GENES``)."""
    is_measured = profiles.is_measured[rows]
    is_rich = measures_most(is_measured.sum(axis=1))
    usual: BoolArray = is_measured.sum(axis=0, where=is_rich[:, None]) >= SHARE_MEASURED * is_rich.sum()
    return usual


def measures_most(n_genes: IntArray) -> BoolArray:
    """Say of each number of measured genes whether it is nearly that of the richest."""
    is_rich: BoolArray = n_genes >= SHARE_OF_GENES * n_genes.max(initial=0)
    return is_rich


def block_of(data: ContextData, rows: IntArray, genes: BoolArray, compounds: pl.Series) -> Block:
    """Return those of some rows that are complete on some genes.

    Args:
        data: a context of a dataset.
        rows: to choose from.
        genes: of the axis of its profiles.
        compounds: all compounds, sorted; their places are their codes.
    """
    complete = rows[data.profiles.is_measured[np.ix_(rows, genes)].all(axis=1)]
    complete = complete[np.argsort(data.profiles.row_ids[complete])]
    conditions = data.conditions[complete]
    return Block(
        signatures=data.profiles.signatures(complete, genes),
        gene_ids=data.profiles.gene_ids[genes],
        ids=data.profiles.row_ids[complete],
        compound=compounds.search_sorted(conditions["compound_id"]).to_numpy().astype(np.int64),
        dose=conditions["dose_um"].to_numpy(),
        time=conditions["time_h"].to_numpy(),
    )


def other_contexts(
    dataset_id: str, context_id: str, compounds: pl.Series, conditions: pl.DataFrame, n_contexts: int
) -> list[str]:
    """Return the other contexts of a dataset that hold most of some compounds, ties in the order of ids.

    Args:
        dataset_id: the dataset.
        context_id: the context that is none of them.
        compounds: the compounds.
        conditions: ``dataset_id``, ``context_id`` and ``compound_id`` of all conditions.
        n_contexts: how many, at most.
    """
    wanted = conditions.filter(
        pl.col("dataset_id") == dataset_id,
        pl.col("context_id") != context_id,
        pl.col("compound_id").is_in(compounds.unique().implode()),
    )
    counted = wanted.group_by("context_id").agg(n=pl.col("compound_id").n_unique())
    ordered = counted.sort("n", "context_id", descending=[True, False])
    return ordered["context_id"].head(n_contexts).to_list()


def observed_values(agreement: pl.DataFrame, matches: pl.DataFrame) -> Mapping[str, FloatArray]:
    """Return the observed values of each metric in the order of matches, NaN where there is none."""
    ids = ["left_condition_id", "right_condition_id"]
    return {
        str(metric): matches.select(ids)
        .join(rows.select(*ids, "observed"), on=ids, how="left", maintain_order="left")["observed"]
        .fill_null(np.nan)
        .to_numpy()
        for (metric,), rows in agreement.group_by("metric", maintain_order=True)
    }


def _fits(data: ContextData) -> list[IntArray]:
    groups = data.conditions["vehicle_group"]
    return [np.flatnonzero((groups == group).to_numpy()) for group in groups.unique().sort()]
