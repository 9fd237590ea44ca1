"""Schema of ``mart/gene_variance``: the variance model behind the effects of a fit unit."""

import polars as pl

from schemas.fields import Rows, coded, context_id, dataset_id, field, gene_id
from schemas.table import Table
from schemas.vocabularies import REPLICATE_DESIGNS


class GeneVariance(Rows):
    """One row per (fit unit, design, tested gene); a fit unit is dataset × context × vehicle group."""

    dataset_id: str = dataset_id()
    context_id: str = context_id()
    vehicle_group: str = field("Vehicle group of the fit unit; empty where there is only one.")
    replicates: str = coded(
        "Design whose variances these are: grouped belongs to mart/differential_expression, separate to "
        "mart/replicate_effect.",
        REPLICATE_DESIGNS,
    )
    gene_id: pl.Int32 = gene_id()
    mean_expression: pl.Float32 = field(
        "Mean log2 expression over the samples of the fit unit (log2 counts per million for counts).",
        metadata={"unit": "log2"},
    )
    sigma: pl.Float32 = field("Residual standard deviation of the gene.", ge=0, metadata={"unit": "log2"})
    residual_df: pl.Float32 = field("Residual degrees of freedom.", ge=0)
    prior_df: pl.Float32 = field(
        "Prior degrees of freedom, fewer for genes that vary out of line; null where infinite.",
        ge=0,
        nullable=True,
    )
    total_df: pl.Float64 = field("Degrees of freedom of the moderated t.", ge=0)
    prior_variance: pl.Float32 = field("Prior variance.", ge=0)
    posterior_variance: pl.Float32 = field("Moderated variance, the one standard errors use.", ge=0)


GENE_VARIANCE = Table(
    name="mart/gene_variance",
    model=GeneVariance,
    primary_key=("dataset_id", "context_id", "vehicle_group", "replicates", "gene_id"),
    partition_by=("dataset_id", "context_id"),
    sort_by=("vehicle_group", "replicates", "gene_id"),
)
