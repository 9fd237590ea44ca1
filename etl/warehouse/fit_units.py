"""Fit units: what is fitted, committed and repeated by itself; one per context of a dataset.

Belongs here: which fit units there are, and dropping the effects of those that are gone. Does not belong
here: which of them are up to date (``freshness.py``), and the fit (``etl/effects``); the vehicle groups of a
context are told apart there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from etl.provenance import provenance_of
from etl.warehouse import delta
from etl.warehouse.scan import exists, scan
from schemas.core.sample import SAMPLE
from schemas.core.source_file import SOURCE_FILE
from schemas.mart.condition import CONDITION
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.mart.replicate_effect import REPLICATE_EFFECT

EFFECT_TABLES = (DIFFERENTIAL_EXPRESSION, REPLICATE_EFFECT, GENE_VARIANCE, NULL_CALIBRATION, CONDITION)
"""The tables a fit unit is committed to, in this order: a condition is listed once its effects are there."""


@dataclass(frozen=True, slots=True, order=True)
class FitUnit:
    """A context of a dataset.

    >>> str(FitUnit("l1000_phase1", "CVCL_0023"))
    'l1000_phase1/CVCL_0023'

    Args:
        dataset_id: the dataset.
        context_id: the cell line or cell type.
    """

    dataset_id: str
    context_id: str

    def __str__(self) -> str:
        return f"{self.dataset_id}/{self.context_id}"

    @property
    def where(self) -> dict[str, str]:
        """The partition of the effect tables that holds the unit."""
        return {"dataset_id": self.dataset_id, "context_id": self.context_id}


def fit_units(*, root: str, dataset_ids: Iterable[str] | None = None) -> dict[FitUnit, int]:
    """Return the fit units in ``core/sample`` with their number of samples, sorted.

    Args:
        root: warehouse root.
        dataset_ids: only these datasets.
    """
    if not exists(SAMPLE, root=root):
        return {}
    samples = scan(SAMPLE, root=root)
    if dataset_ids is not None:
        samples = samples.filter(pl.col("dataset_id").is_in(list(dataset_ids)))
    counted = samples.group_by("dataset_id", "context_id").len().collect()
    return {FitUnit(dataset, context): n for dataset, context, n in sorted(counted.iter_rows())}


def gone(*, root: str, dataset_id: str) -> list[FitUnit]:
    """Return the fit units of a dataset that have effects but no samples any more, sorted."""
    stored = {
        FitUnit(**where)
        for table in EFFECT_TABLES
        if exists(table, root=root)
        for where in delta.partitions(root, table)
        if where["dataset_id"] == dataset_id
    }
    return sorted(stored - set(fit_units(root=root, dataset_ids=[dataset_id])))


def remove(unit: FitUnit, *, root: str, run_id: str) -> None:
    """Drop the effects of a fit unit, one commit per table.

    Args:
        unit: the fit unit.
        root: warehouse root.
        run_id: the run that asks for it, as the commits tell.

    Raises:
        ConcurrentWriteError: another process replaced them meanwhile.
    """
    sources = scan(SOURCE_FILE, root=root).filter(dataset_id=unit.dataset_id).collect()
    provenance = provenance_of(sources, run_id=run_id)
    for table in reversed(EFFECT_TABLES):
        delta.remove(root, table, unit.where, provenance=provenance)
