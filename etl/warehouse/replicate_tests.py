"""Tests of single samples: p-values of ``mart/replicate_effect``, computed when they are asked for.

They are not stored: t and its degrees of freedom give them back, and they would be half of the table again.
"""

import polars as pl

from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.student_t import two_sided_p
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import scan
from schemas.core.sample import SAMPLE
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.replicate_effect import REPLICATE_EFFECT


def replicate_tests(dataset_id: str, context_id: str, *, root: str = DEFAULT_ROOT) -> pl.DataFrame:
    """Return the effects of a context's samples with their moderated t-tests.

    t = log2_fold_change / standard_error, two-sided against Student's t with the total degrees of freedom
    of the gene (Smyth 2004); p-values are adjusted by Benjamini & Hochberg (1995) over the genes of a sample.

    Args:
        dataset_id: the dataset.
        context_id: the context.
        root: warehouse root.

    Returns:
        The rows of ``mart/replicate_effect`` in the order of sample_id and gene_id, with ``t_statistic``,
        ``p_value`` and ``p_value_adjusted`` (Float64); none where the context has no such effect. The
        standard error is stored as Float32, so that t has seven digits.

    Raises:
        PerturbhouseError: the effect tables have not been written.
    """
    unit = {"dataset_id": dataset_id, "context_id": context_id}
    groups = scan(SAMPLE, root=root).filter(**unit).select("sample_id", "vehicle_group")
    total_df = (
        scan(GENE_VARIANCE, root=root)
        .filter(**unit, replicates="separate")
        .select("vehicle_group", "gene_id", "total_df")
    )
    effects = (
        scan(REPLICATE_EFFECT, root=root)
        .filter(**unit)
        .join(groups, on="sample_id", how="left")
        .join(total_df, on=["vehicle_group", "gene_id"], how="left")
        .with_columns(t_statistic=pl.col("log2_fold_change").cast(pl.Float64) / pl.col("standard_error"))
        .collect()
        .sort("sample_id", "gene_id")
    )
    n_without = effects["total_df"].null_count()
    assert not n_without, f"{n_without} effects without a row of mart/gene_variance"
    p_value = two_sided_p(effects["t_statistic"].to_numpy(), effects["total_df"].to_numpy())
    return (
        effects.with_columns(p_value=pl.Series(p_value, dtype=pl.Float64))
        .with_columns(
            p_value_adjusted=pl.col("p_value")
            .map_batches(lambda p: pl.Series(benjamini_hochberg(p.to_numpy())), return_dtype=pl.Float64)
            .over("sample_id")
        )
        .drop("vehicle_group", "total_df")
    )
