"""The measurements of a screen, some compounds at a time.

A reader of ``core/viability`` for what needs all doses of a curve together and must not hold a whole screen.
"""

from collections.abc import Iterator

import polars as pl

from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import scan
from schemas.core.viability import VIABILITY

BLOCK_ROWS = 2_000_000
"""Rows of a block by default: about 0.5 GB."""


def measurements_by_compound(
    dataset_id: str, *, root: str = DEFAULT_ROOT, block_rows: int = BLOCK_ROWS
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a dataset in ``core/viability``, all rows of a compound in one block.

    Args:
        dataset_id: the dataset.
        root: warehouse root.
        block_rows: rows of a block, which holds at least one compound.
    """
    rows = scan(VIABILITY, root=root).filter(dataset_id=dataset_id)
    sizes = rows.group_by("compound_reported").len().collect().sort("compound_reported")
    block, n_rows = list[str](), 0
    for compound, size in sizes.iter_rows():
        if block and n_rows + size > block_rows:
            yield _of(rows, block)
            block, n_rows = [], 0
        block.append(compound)
        n_rows += size
    if block:
        yield _of(rows, block)


def _of(rows: pl.LazyFrame, compounds: list[str]) -> pl.DataFrame:
    return rows.filter(pl.col("compound_reported").is_in(compounds)).collect().sort(VIABILITY.primary_key)
