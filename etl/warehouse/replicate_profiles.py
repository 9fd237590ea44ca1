"""Profiles of single samples, read from the warehouse and tested on the way.

Here: fold changes, t and significance of some rows at a time. Not here: what they are compared with.
"""

import numpy as np
import polars as pl

from etl.agreement.profiles import Profiles
from etl.agreement.replicates import SAMPLE_COLUMNS, Read
from etl.arrays import IntArray
from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.student_t import two_sided_p
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import replicate_matrices, scan
from schemas.core.sample import SAMPLE
from schemas.mart.gene_variance import GENE_VARIANCE


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
    total_df = {
        str(group): pl.DataFrame({"gene_id": gene_ids})
        .join(rows, on="gene_id", how="left", maintain_order="left")["total_df"]
        .fill_null(np.nan)
        .to_numpy()
        for (group,), rows in variance.group_by(["vehicle_group"])
    }
    groups = samples["vehicle_group"].to_numpy()

    def read(rows: IntArray, *, is_tested: bool = True) -> Profiles:
        effect, error = np.asarray(effects[rows]), np.asarray(errors[rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(error > 0, effect / error, np.float32(np.nan))
        adjusted = np.ones(t.shape)
        for group in np.unique(groups[rows]) if is_tested else ():
            of_group = groups[rows] == group
            df = np.broadcast_to(total_df[group], t[of_group].shape)
            adjusted[of_group] = benjamini_hochberg(two_sided_p(t[of_group].astype(np.float64), df))
        return Profiles(sample_ids[rows], gene_ids, effect, t, adjusted < alpha)

    return samples, read
