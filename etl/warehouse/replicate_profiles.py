"""Profiles of single samples, read from the warehouse and tested on the way.

Here: fold changes, t and significance of some rows at a time. Not here: what they are compared with.
"""

from typing import Final

import numpy as np
import polars as pl

from etl.agreement.gene_order import Float32
from etl.agreement.profiles import Profiles
from etl.agreement.replicates import SAMPLE_COLUMNS, Read
from etl.arrays import BoolArray, IntArray, slices
from etl.effects.moderated_tests import ModeratedTests
from etl.settings import DEFAULT_ROOT
from etl.threads import in_threads
from etl.warehouse.scan import replicate_matrices, scan
from schemas.core.sample import SAMPLE
from schemas.mart.gene_variance import GENE_VARIANCE

SAMPLES_PER_TASK: Final = 16


def replicate_profiles(
    dataset_id: str, context_id: str, *, alpha: float = 0.05, root: str = DEFAULT_ROOT
) -> tuple[pl.DataFrame, Read]:
    """Return the samples of a context that have effects, and what reads their profiles.

    A gene is significant if its p-value, two-sided by the total degrees of freedom of its fit and adjusted by
    Benjamini & Hochberg over the genes of the sample, is below ``alpha`` (as ``replicate_tests``).

    Args:
        dataset_id: the dataset.
        context_id: the context.
        alpha: level of significance, exclusive.
        root: warehouse root.

    Returns:
        ``SAMPLE_COLUMNS`` in the order of rows; a function from rows to their profiles.

    Raises:
        PerturbhouseError: the effect tables have not been written.
    """
    unit = {"dataset_id": dataset_id, "context_id": context_id}
    sample_ids, gene_ids, effects, errors = replicate_matrices(dataset_id, context_id, root=root)
    named = scan(SAMPLE, root=root).filter(**unit).select(SAMPLE_COLUMNS).collect()
    samples = pl.DataFrame({"sample_id": sample_ids}).join(
        named, on="sample_id", how="left", maintain_order="left"
    )
    variance = (
        scan(GENE_VARIANCE, root=root)
        .filter(**unit, replicates="separate")
        .select("vehicle_group", "gene_id", "total_df")
        .collect()
    )
    tests = {
        str(group): ModeratedTests(
            pl.DataFrame({"gene_id": gene_ids})
            .join(rows, on="gene_id", how="left", maintain_order="left")["total_df"]
            .fill_null(np.nan)
            .to_numpy()
        )
        for (group,), rows in variance.group_by(["vehicle_group"])
    }
    groups = samples["vehicle_group"].to_numpy()

    def read(rows: IntArray, *, is_tested: bool = True) -> Profiles:
        effect, error = np.asarray(effects[rows]), np.asarray(errors[rows])
        error = np.where(error > 0, error, np.float32(np.nan))
        is_significant = np.zeros(effect.shape, dtype=np.bool_)
        for group in np.unique(groups[rows]) if is_tested else ():
            of_group = np.flatnonzero(groups[rows] == group)
            is_significant[of_group] = significant(effect[of_group], error[of_group], tests[group], alpha)
        return Profiles(sample_ids[rows], gene_ids, effect, effect / error, is_significant)

    return samples, read


def significant(effect: Float32, error: Float32, tests: ModeratedTests, alpha: float) -> BoolArray:
    """Say which genes of each sample have an adjusted p-value below alpha, in threads.

    Args:
        effect: shape (samples, genes).
        error: standard errors, NaN where there is no test.
        tests: of the fit.
        alpha: level of significance, exclusive.
    """
    is_significant = np.empty(effect.shape, dtype=np.bool_)

    def test(part: slice) -> None:
        _, adjusted = tests.p_values(effect[part], error[part])
        is_significant[part] = adjusted < alpha

    in_threads(test, slices(len(effect), SAMPLES_PER_TASK))
    return is_significant
