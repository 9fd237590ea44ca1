"""One fit unit (dataset × context × vehicle group): samples and values in, rows of the effect tables out.

This is where the words of the warehouse meet the arrays of ``estimate``; the statistics are elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from etl.accounting import RowAccount
from etl.effects.blocks import Matrix
from etl.effects.estimate import EffectEstimates, estimate_effects
from schemas.mart.condition import CONDITION
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.gene_variance import GENE_VARIANCE

SIGNIFICANCE = 0.05
"""Adjusted p-value below which a gene is counted as significant."""

EXCLUDING_FLAGS = ("time_missing", "low_quality_reported", "low_library")
"""Samples with one of these flags take no part in a fit."""

CHUNK_ROWS = 4_000_000
"""Rows of differential expression per chunk: bounds memory for contexts with many conditions."""


@dataclass(frozen=True, slots=True)
class FittedUnit:
    """What a fit unit adds to the mart.

    Args:
        conditions: rows of ``mart/condition``.
        gene_variance: rows of ``mart/gene_variance``.
        estimates: arrays behind ``mart/differential_expression``, see ``effect_rows``; their conditions are
            the first of ``conditions``. None where no treated sample takes part.
        gene_ids: gene_id per column of the arrays.
        account: samples in and out of the fit; noted are its conditions by status.
    """

    conditions: pl.DataFrame
    gene_variance: pl.DataFrame
    estimates: EffectEstimates | None
    gene_ids: np.ndarray
    account: RowAccount

    def effect_rows(self) -> Iterator[pl.DataFrame]:
        """Yield rows of ``mart/differential_expression``: tested genes of estimable conditions."""
        if self.estimates is None:
            return
        estimable = np.flatnonzero(self.conditions["is_estimable"].to_numpy())
        tested = np.flatnonzero(self.estimates.is_tested)
        step = max(1, CHUNK_ROWS // max(1, tested.size))
        for start in range(0, estimable.size, step):
            rows = estimable[start : start + step]
            yield self._effect_rows(self.estimates, rows, tested)

    def _effect_rows(self, estimates: EffectEstimates, rows: np.ndarray, tested: np.ndarray) -> pl.DataFrame:
        n_rows = rows.size * tested.size
        chosen = np.ix_(rows, tested)
        arrays = {
            "log2_fold_change": estimates.log2_fold_change,
            "standard_error": estimates.standard_error,
            "p_value": estimates.p_value,
            "p_value_adjusted": estimates.p_value_adjusted,
        }
        unit = {name: self.conditions[name][0] for name in ("dataset_id", "context_id")}
        effects = pl.DataFrame(
            {name: pl.repeat(value, n_rows, dtype=pl.String, eager=True) for name, value in unit.items()}
            | {
                "condition_id": np.repeat(self.conditions["condition_id"].to_numpy()[rows], tested.size),
                "gene_id": np.tile(self.gene_ids[tested], rows.size),
            }
            | {name: array[chosen].astype(np.float32).ravel() for name, array in arrays.items()},
            schema=DIFFERENTIAL_EXPRESSION.polars_schema,
        )
        # A gene that is constant in every sample, where no prior variance can be learnt, has no test.
        return effects.filter(pl.col("p_value").is_finite())


def takes_part() -> pl.Expr:
    """Say whether a sample takes part in fits: vehicle or treated in a known condition, and not failed."""
    is_vehicle = (pl.col("control_kind") == "vehicle").fill_null(value=False)
    in_role = is_vehicle | pl.col("condition_id").is_not_null()
    failed = pl.any_horizontal(pl.col("qc_flags").list.contains(flag) for flag in EXCLUDING_FLAGS)
    return in_role & ~failed


ReadMatrix = Callable[[str], tuple[np.ndarray, np.ndarray, Matrix]]
"""From a context id to its sample ids (ascending), its gene ids, and samples × genes values."""


def fit_units(
    samples: pl.DataFrame, read_matrix: ReadMatrix, *, value_scale: Literal["counts", "log2"]
) -> Iterator[FittedUnit]:
    """Fit all units of a dataset, one after the other; only one context's values are in memory.

    Args:
        samples: the dataset's rows of ``core/sample``.
        read_matrix: reads the stored values of a context.
        value_scale: scale of the values.
    """
    for context_id in samples["context_id"].unique().sort():
        in_context = samples.filter(context_id=context_id)
        sample_ids, gene_ids, values = read_matrix(context_id)
        for group in in_context["vehicle_group"].unique().sort():
            unit = in_context.filter(vehicle_group=group)
            rows = np.searchsorted(sample_ids, unit["sample_id"].to_numpy())
            # A sample without any count has no stored value.
            rows[~unit["sample_id"].is_in(sample_ids.tolist()).to_numpy()] = -1
            yield fit_unit(unit, values, gene_ids, value_scale=value_scale, rows=rows)


def fit_unit(
    samples: pl.DataFrame,
    values: Matrix,
    gene_ids: np.ndarray,
    *,
    value_scale: Literal["counts", "log2"],
    rows: np.ndarray | None = None,
) -> FittedUnit:
    """Fit the conditions of one fit unit.

    Args:
        samples: rows of ``core/sample`` of one dataset, context and vehicle group.
        values: log2 values or raw counts, one row per sample; columns are genes.
        gene_ids: gene_id per column.
        value_scale: scale of the values.
        rows: row of ``values`` of each sample, -1 for none; by default the samples are ordered as they are.
    """
    rows = np.arange(samples.height) if rows is None else rows
    part = np.flatnonzero(samples.select(takes_part()).to_series().to_numpy() & (rows >= 0))
    used = samples[part]
    treated = used.filter(~pl.col("is_control"))
    estimates = None
    conditions = [_unusable_condition_rows(samples, used)]
    if treated.height:
        estimates = estimate_effects(
            values[rows[part]],
            condition=used["condition_id"].fill_null(0).to_numpy(),
            plate=used["plate"].to_numpy(),
            is_control=used["is_control"].to_numpy(),
            scale=value_scale,
            block=used["time_h"].to_numpy(),
        )
        # Fitted conditions first, in the order of the arrays.
        conditions.insert(0, _condition_rows(treated, estimates))
    all_conditions = pl.concat(conditions)
    statuses = Counter(f"conditions {status}" for status in all_conditions["status"])
    return FittedUnit(
        conditions=all_conditions,
        gene_variance=_gene_variance_rows(treated, estimates, gene_ids),
        estimates=estimates,
        gene_ids=gene_ids,
        account=replace(_account(samples, used), noted=statuses),
    )


def _account(samples: pl.DataFrame, used: pl.DataFrame) -> RowAccount:
    """Say which samples take no part, and why: the first reason that applies."""
    left_out = samples.join(used.select("sample_id"), on="sample_id", how="anti")
    reason = pl.coalesce(
        pl.when(pl.col("control_kind") == "untreated").then(pl.lit("untreated")),
        *(
            pl.when(pl.col("qc_flags").list.contains(flag)).then(pl.lit(flag))
            for flag in (*EXCLUDING_FLAGS, "dose_missing", "dose_zero")
        ),
        pl.lit("no counts"),
    )
    reasons = left_out.select(reason=reason)["reason"].value_counts(name="n", sort=True)
    return RowAccount(
        n_in=samples.height,
        n_out=used.height,
        dropped=dict(zip(reasons["reason"], reasons["n"], strict=True)),
        unit="samples",
    )


def _unusable_condition_rows(samples: pl.DataFrame, used: pl.DataFrame) -> pl.DataFrame:
    """Return a row per condition of which no sample takes part."""
    in_condition = samples.filter(pl.col("condition_id").is_not_null())
    idle = in_condition.join(used, on="condition_id", how="anti").unique(
        "condition_id", keep="first", maintain_order=True
    )
    vehicles = used.filter("is_control").group_by("time_h").agg(n_control=pl.len())
    rows = idle.join(vehicles, on="time_h", how="left", maintain_order="left").with_columns(
        n_treated=0,
        n_control=pl.col("n_control").fill_null(0),
        n_plates=0,
        is_estimable=pl.lit(value=False),
        status=pl.lit("no_usable_sample"),
        control_scope=pl.lit(None, pl.String),
        residual_df=0.0,
        prior_df=pl.lit(None, pl.Float64),
        n_genes_tested=0,
        n_genes_significant=0,
    )
    return rows.select(list(CONDITION.polars_schema)).cast(CONDITION.polars_schema)


def _condition_rows(treated: pl.DataFrame, estimates: EffectEstimates) -> pl.DataFrame:
    finite_prior = estimates.prior_df[np.isfinite(estimates.prior_df)]
    fitted = pl.DataFrame(
        {
            "condition_id": estimates.conditions,
            "n_treated": estimates.n_treated,
            "n_control": estimates.n_control,
            "n_plates": estimates.n_plates,
            "status": [str(status) for status in estimates.status],
            "control_scope": estimates.control_scope,
            "residual_df": float(estimates.residual_df),
            "prior_df": float(np.median(finite_prior)) if finite_prior.size else None,
            "n_genes_tested": np.isfinite(estimates.p_value).sum(axis=1),
            "n_genes_significant": (estimates.p_value_adjusted < SIGNIFICANCE).sum(axis=1),
        }
    )
    # Where no gene varies between samples there is an effect but no test.
    untested = (pl.col("status") == "estimable") & (pl.col("n_genes_tested") == 0)
    fitted = fitted.with_columns(
        status=pl.when(untested).then(pl.lit("no_tested_gene")).otherwise("status"),
        control_scope=pl.when(~untested).then("control_scope"),
    ).with_columns(is_estimable=pl.col("status") == "estimable")
    described = treated.unique("condition_id", keep="first", maintain_order=True)
    rows = fitted.join(
        described.select(set(described.columns) - set(fitted.columns) | {"condition_id"}),
        on="condition_id",
        maintain_order="left",
        validate="1:1",
    )
    return rows.select(list(CONDITION.polars_schema)).cast(CONDITION.polars_schema)


def _gene_variance_rows(
    treated: pl.DataFrame, estimates: EffectEstimates | None, gene_ids: np.ndarray
) -> pl.DataFrame:
    """Return one row per tested gene; a unit without any residual degree of freedom has no variance model."""
    if estimates is None or estimates.residual_df == 0:
        return pl.DataFrame(schema=GENE_VARIANCE.polars_schema)
    tested = estimates.is_tested
    n_genes = int(tested.sum())
    unit = {name: treated[name][0] for name in ("dataset_id", "context_id", "vehicle_group")}
    prior_df = np.broadcast_to(estimates.prior_df, tested.shape)[tested]
    return (
        pl.DataFrame(
            {name: pl.repeat(value, n_genes, dtype=pl.String, eager=True) for name, value in unit.items()}
            | {
                "gene_id": gene_ids[tested],
                "mean_expression": estimates.mean_expression[tested],
                "sigma": estimates.sigma[tested],
                "residual_df": np.full(n_genes, estimates.residual_df),
                "prior_df": pl.Series(prior_df).replace(float("inf"), None),
                "prior_variance": np.broadcast_to(estimates.prior_variance, tested.shape)[tested],
                "posterior_variance": estimates.posterior_variance[tested],
            }
        )
        .select(list(GENE_VARIANCE.polars_schema))
        .cast(GENE_VARIANCE.polars_schema)
    )
