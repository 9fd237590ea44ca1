"""One fit unit (dataset × context × vehicle group): samples and values in, rows of the effect tables out.

This is where the words of the warehouse meet the arrays of :mod:`etl.effects.fit`; the statistics are
elsewhere. Rows come in chunks, and a fit is dropped before the next one starts, so that memory is bounded by
the values of one context and one fit.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Literal

import numpy as np
import polars as pl

from etl.accounting import RowAccount
from etl.effects.calibration import Calibration, null_calibration
from etl.effects.design import ContrastStatus, Replicates
from etl.effects.fit import EffectFit, fit_effects
from etl.effects.input_checks import EmptyLibraryError
from etl.effects.moderated_tests import ModeratedTests
from etl.effects.multiple_testing import SignificanceCutoff
from etl.expression.counts import SparseCounts
from schemas.mart.condition import CONDITION
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.mart.replicate_effect import REPLICATE_EFFECT

SIGNIFICANCE = 0.05
"""Adjusted p-value below which a gene is counted as significant."""

EXCLUDING_FLAGS = ("time_missing", "low_quality_reported", "low_library")
"""Samples with one of these flags take no part in a fit."""

NO_TESTED_COUNTS = "no counts in tested genes"
"""Why a sample is left out whose counts all lie in genes that fail the count filter."""

ValueScale = Literal["counts", "log2"]


def takes_part() -> pl.Expr:
    """Say whether a sample takes part in fits: vehicle or treated in a known condition, and not failed."""
    is_vehicle = (pl.col("control_kind") == "vehicle").fill_null(value=False)
    in_role = is_vehicle | pl.col("condition_id").is_not_null()
    failed = pl.any_horizontal(pl.col("qc_flags").list.contains(flag) for flag in EXCLUDING_FLAGS)
    return in_role & ~failed


def fit_context(
    samples: pl.DataFrame,
    sample_ids: np.ndarray,
    gene_ids: np.ndarray,
    values: np.ndarray | SparseCounts,
    *,
    value_scale: ValueScale,
    n_threads: int = 1,
) -> Iterator["FittedUnit"]:
    """Yield the fit units of a context, one per vehicle group.

    Args:
        samples: rows of ``core/sample`` of one dataset and context.
        sample_ids: sample of each row of the values, ascending.
        gene_ids: gene of each column, ascending.
        values: log2 values, one for every sample and gene (a gap, NaN, is refused), or counts.
        value_scale: scale of the values.
        n_threads: threads of the fits.
    """
    for group in samples["vehicle_group"].unique().sort():
        unit = samples.filter(vehicle_group=group).sort("sample_id")
        rows = np.searchsorted(sample_ids, unit["sample_id"].to_numpy())
        # A sample without any count has no stored value.
        rows[~np.isin(unit["sample_id"].to_numpy(), sample_ids)] = -1
        yield FittedUnit(unit, values, gene_ids, rows, value_scale=value_scale, n_threads=n_threads)


class FittedUnit:
    """What a fit unit adds to the mart.

    ``effect_rows`` and ``replicate_rows`` make the fits; the other rows sum them up and are there when both
    are exhausted.

    Args:
        samples: rows of ``core/sample`` of one dataset, context and vehicle group, ascending in sample_id.
        values: log2 values or counts; columns are genes.
        gene_ids: gene_id per column.
        rows: row of ``values`` of each sample, -1 for none.
        value_scale: scale of the values.
        n_threads: threads of the fits.
    """

    def __init__(
        self,
        samples: pl.DataFrame,
        values: np.ndarray | SparseCounts,
        gene_ids: np.ndarray,
        rows: np.ndarray,
        *,
        value_scale: ValueScale,
        n_threads: int = 1,
    ) -> None:
        self._samples, self._gene_ids = samples, gene_ids
        self._scale, self._n_threads = value_scale, n_threads
        self._unit = {name: samples[name][0] for name in ("dataset_id", "context_id", "vehicle_group")}
        part = np.flatnonzero(samples.select(takes_part()).to_series().to_numpy() & (rows >= 0))
        self._used = samples[part]
        self._values = _rows_of(values, rows[part])
        self._no_tested_counts: list[int] = []
        self._conditions = pl.DataFrame(schema=CONDITION.polars_schema)
        self._gene_variance: list[pl.DataFrame] = []
        self._replicate_status: Counter[str] = Counter()

    def effect_rows(self) -> Iterator[pl.DataFrame]:
        """Yield rows of ``mart/differential_expression``: tested genes of estimable conditions, by key."""
        fit = self._fit("grouped")
        if fit is None:
            self._conditions = self._idle_conditions()
            return
        conditions = _ConditionSummary(fit)
        tests = ModeratedTests(fit.total_df)
        gene_ids = self._gene_ids[fit.is_tested]
        condition_ids = fit.design.treated
        for block in fit.blocks():
            p, adjusted = tests.p_values(block.log2_fold_change, block.standard_error, dtype=np.float32)
            conditions.add(block.conditions, p, adjusted)
            yield self._rows(
                DIFFERENTIAL_EXPRESSION.polars_schema,
                {"condition_id": condition_ids[block.conditions]},
                gene_ids,
                {
                    "log2_fold_change": block.log2_fold_change,
                    "standard_error": block.standard_error,
                    "p_value": p,
                    "p_value_adjusted": adjusted,
                },
                # A gene that is constant in every sample, without a prior to learn from, has no test.
                None if np.isfinite(p).all() else np.isfinite(p),
            )
        self._conditions = pl.concat(
            [self._condition_rows(fit, conditions), self._idle_conditions(fit.residual_df)]
        )
        self._gene_variance.append(self._variances(fit, "grouped"))

    def replicate_rows(self) -> Iterator[pl.DataFrame]:
        """Yield rows of ``mart/replicate_effect``: tested genes of comparable treated samples, by key."""
        fit = self._fit("separate")
        if fit is None:
            return
        self._replicate_status = Counter(str(status) for status in fit.status)
        gene_ids = self._gene_ids[fit.is_tested]
        assert fit.design.sample_of_treated is not None
        sample_ids = self._used["sample_id"].to_numpy()[fit.design.sample_of_treated]
        for block in fit.blocks():
            has_error = (block.standard_error > 0) | (block.log2_fold_change != 0)
            yield self._rows(
                REPLICATE_EFFECT.polars_schema,
                {"sample_id": sample_ids[block.conditions]},
                gene_ids,
                {
                    "log2_fold_change": block.log2_fold_change,
                    "standard_error": block.standard_error,
                },
                # As above: an effect of 0 with a standard error of 0.
                None if has_error.all() else has_error,
            )
        self._gene_variance.append(self._variances(fit, "separate"))

    def condition_rows(self) -> pl.DataFrame:
        """Return the rows of ``mart/condition``: every condition of the unit, estimable or not."""
        return self._conditions

    def gene_variance_rows(self) -> pl.DataFrame:
        """Return the rows of ``mart/gene_variance`` of both designs."""
        if not self._gene_variance:
            return pl.DataFrame(schema=GENE_VARIANCE.polars_schema)
        return pl.concat(self._gene_variance)

    def calibration_rows(self) -> pl.DataFrame:
        """Return the row of ``mart/null_calibration``."""
        calibration = self._calibrate()
        row = self._unit | asdict(calibration) | {"histogram": calibration.histogram.tolist()}
        # A share that could not be computed is null, as everywhere in the warehouse.
        return pl.DataFrame([row], schema=NULL_CALIBRATION.polars_schema).fill_nan(None)

    @property
    def account(self) -> RowAccount:
        """Samples in and out of the grouped fit, the first reason why others take no part, and statuses."""
        left_out = self._samples.join(self._used.select("sample_id"), on="sample_id", how="anti")
        without = pl.col("sample_id").is_in(self._no_tested_counts)
        reason = pl.coalesce(
            pl.when(without).then(pl.lit(NO_TESTED_COUNTS)),
            pl.when(pl.col("control_kind") == "untreated").then(pl.lit("untreated")),
            *(
                pl.when(pl.col("qc_flags").list.contains(flag)).then(pl.lit(flag))
                for flag in (*EXCLUDING_FLAGS, "dose_missing", "dose_zero")
            ),
            pl.lit("no counts" if self._scale == "counts" else "no values"),
        )
        reasons = left_out.select(reason=reason)["reason"].value_counts(name="n", sort=True)
        return RowAccount(
            n_in=self._samples.height,
            n_out=self._used.height,
            dropped=dict(zip(reasons["reason"], reasons["n"], strict=True)),
            noted=Counter(f"conditions {status}" for status in self._conditions["status"])
            + Counter({"without a donor, so that no sample's is a term": self._n_without_donor()}),
            unit="samples",
        )

    @property
    def replicate_account(self) -> RowAccount:
        """Treated samples of the fit in, those with an effect of their own out."""
        lost = {status: n for status, n in self._replicate_status.items() if status != "estimable"}
        n_in = sum(self._replicate_status.values())
        return RowAccount(n_in, n_in - sum(lost.values()), lost, unit="treated samples")

    def _fit(self, replicates: Replicates) -> EffectFit | None:
        """Return a fit of the unit; None where no treated sample takes part."""
        while (~self._used["is_control"]).any():
            try:
                return fit_effects(
                    self._values,
                    condition=self._used["condition_id"].fill_null(0).to_numpy(),
                    plate=self._used["plate"].to_numpy(),
                    is_control=self._used["is_control"].to_numpy(),
                    scale=self._scale,
                    block=self._used["time_h"].to_numpy(),
                    terms=self._terms(),
                    replicates=replicates,
                    n_threads=self._n_threads,
                    dtype=np.float32,
                )
            except EmptyLibraryError as error:
                self._leave_out(error.samples)
        return None

    def _leave_out(self, positions: np.ndarray) -> None:
        """Take samples out of the fits; the others are fitted without them."""
        self._no_tested_counts += self._used["sample_id"].gather(positions).to_list()
        kept = np.setdiff1d(np.arange(self._used.height), positions)
        self._used = self._used[kept]
        self._values = _rows_of(self._values, kept)

    def _terms(self) -> dict[str, np.ndarray]:
        """Return the terms beside the plate: the donor, where every sample names one and they differ."""
        donor = self._used["donor_id"]
        return {"donor": donor.to_numpy()} if not donor.has_nulls() and donor.n_unique() > 1 else {}

    def _n_without_donor(self) -> int:
        """Return the samples for want of whose donor the others' are no term of the model."""
        donor = self._used["donor_id"]
        return donor.null_count() if donor.drop_nulls().n_unique() > 1 else 0

    def _rows(
        self,
        schema: pl.Schema,
        key: dict[str, np.ndarray],
        gene_ids: np.ndarray,
        arrays: dict[str, np.ndarray],
        is_kept: np.ndarray | None,
    ) -> pl.DataFrame:
        """Return a chunk of rows: conditions or samples × genes."""
        [(name, ids)] = key.items()
        frame = pl.DataFrame(
            {name: np.repeat(ids, gene_ids.size), "gene_id": np.tile(gene_ids, len(ids))}
            | {column: array.astype(np.float32, copy=False).ravel() for column, array in arrays.items()}
        )
        if is_kept is not None:
            frame = frame.filter(pl.Series(is_kept.ravel()))
        return frame.with_columns(_constants(self._unit)).select(list(schema))

    def _condition_rows(self, fit: EffectFit, summary: "_ConditionSummary") -> pl.DataFrame:
        """Return the rows of the conditions of a fit."""
        design, n = fit.design, fit.design.n_treated
        prior_df = (
            float(np.median(np.broadcast_to(fit.prior.df, fit.sigma.shape))) if len(fit.sigma) else np.inf
        )
        cutoff, significant_over_unit = summary.over_unit()
        fitted = pl.DataFrame(
            {
                "condition_id": design.treated,
                "n_treated": design.condition_size[:n],
                "n_control": design.control_size,
                "n_plates": design.condition_plates[:n],
                "status": [str(status) for status in fit.status],
                "control_scope": [None if scope is None else str(scope) for scope in fit.control_scope],
                "residual_df": float(fit.residual_df),
                "prior_df": None if np.isinf(prior_df) else prior_df,
                "n_genes_tested": summary.n_tested,
                "n_genes_significant": summary.n_significant,
                "p_value_cutoff": cutoff,
                "n_genes_significant_unit": significant_over_unit,
            },
            schema_overrides={
                "control_scope": pl.String,
                "p_value_cutoff": pl.Float32,
                "prior_df": pl.Float64,
            },
        )
        # Where no gene varies between samples there is an effect but no test.
        untested = (pl.col("status") == "estimable") & (pl.col("n_genes_tested") == 0)
        fitted = fitted.with_columns(
            status=pl.when(untested).then(pl.lit("no_tested_gene")).otherwise("status"),
            control_scope=pl.when(~untested).then("control_scope"),
        ).with_columns(is_estimable=pl.col("status") == "estimable")
        treated = self._used.filter(~pl.col("is_control"))
        described = treated.unique("condition_id", keep="first", maintain_order=True)
        rows = fitted.join(
            described.select(set(described.columns) - set(fitted.columns) | {"condition_id"}),
            on="condition_id",
            maintain_order="left",
            validate="1:1",
        )
        return _described(rows)

    def _idle_conditions(self, residual_df: float = 0.0) -> pl.DataFrame:
        """Return a row per condition of which no sample takes part."""
        in_condition = self._samples.filter(pl.col("condition_id").is_not_null())
        idle = in_condition.join(self._used, on="condition_id", how="anti").unique(
            "condition_id", keep="first", maintain_order=True
        )
        vehicles = self._used.filter("is_control").group_by("time_h").agg(n_control=pl.len())
        rows = idle.join(vehicles, on="time_h", how="left", maintain_order="left").with_columns(
            n_treated=0,
            n_control=pl.col("n_control").fill_null(0),
            n_plates=0,
            is_estimable=pl.lit(value=False),
            status=pl.lit("no_usable_sample"),
            control_scope=pl.lit(None, pl.String),
            residual_df=float(residual_df),
            prior_df=pl.lit(None, pl.Float64),
            n_genes_tested=0,
            n_genes_significant=0,
            p_value_cutoff=pl.lit(None, pl.Float32),
            n_genes_significant_unit=0,
        )
        return _described(rows)

    def _variances(self, fit: EffectFit, replicates: Replicates) -> pl.DataFrame:
        """Return one row per tested gene; none of a fit without residual degrees of freedom."""
        n_genes = len(fit.sigma)
        prior_df = np.broadcast_to(fit.prior.df, n_genes).astype(np.float64)
        return (
            pl.DataFrame(
                {
                    "gene_id": self._gene_ids[fit.is_tested] if n_genes else self._gene_ids[:0],
                    "mean_expression": fit.mean_expression,
                    "sigma": fit.sigma,
                    "residual_df": fit.residual_df_of_gene,
                    "prior_df": pl.Series(np.where(np.isinf(prior_df), np.nan, prior_df)).fill_nan(None),
                    "total_df": fit.total_df,
                    "prior_variance": np.broadcast_to(fit.prior.variance, n_genes),
                    "posterior_variance": fit.posterior_variance,
                }
            )
            .with_columns(pl.lit(replicates).alias("replicates"), *_constants(self._unit))
            .select(list(GENE_VARIANCE.polars_schema))
            .cast(GENE_VARIANCE.polars_schema)
        )

    def _calibrate(self) -> Calibration:
        controls = np.flatnonzero(self._used["is_control"].to_numpy())
        vehicle = self._used[controls]
        treated = self._used.filter(~pl.col("is_control")).group_by("condition_id").len()["len"]
        return null_calibration(
            _rows_of(self._values, controls),
            plate=vehicle["plate"].to_numpy(),
            block=vehicle["time_h"].to_numpy(),
            scale=self._scale,
            terms={name: labels[controls] for name, labels in self._terms().items()},
            replicates_of_conditions=max(1, int(np.median(treated.to_numpy()))) if treated.len() else 1,
            n_threads=self._n_threads,
        )


class _ConditionSummary:
    """Counts of tested and significant genes of every condition, gathered block by block."""

    def __init__(self, fit: EffectFit) -> None:
        n = fit.design.n_treated
        self.n_tested, self.n_significant = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._small: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, conditions: np.ndarray, p: np.ndarray, adjusted: np.ndarray) -> None:
        """Take in a block of p-values, conditions × genes."""
        self.n_tested[conditions] = np.isfinite(p).sum(axis=1)
        self.n_significant[conditions] = (adjusted < SIGNIFICANCE).sum(axis=1)
        row, gene = np.nonzero(p <= SIGNIFICANCE)
        self._small.append((conditions[row].astype(np.int32), p[row, gene]))

    def over_unit(self) -> tuple[float | None, np.ndarray]:
        """Return the largest p-value that is significant over all tests, if any, and counts of conditions."""
        family = SignificanceCutoff(SIGNIFICANCE)
        for _, p in self._small:
            family.add(p)
        family.n_tests = int(self.n_tested.sum())
        cutoff, counts = family.value, np.zeros_like(self.n_tested)
        if cutoff < 0:
            return None, counts
        for conditions, p in self._small:
            counts += np.bincount(conditions[p <= cutoff], minlength=len(counts))
        return cutoff, counts


REASONS = {
    "no_control": "no vehicle sample at {time_h} h",
    "confounded_with_plate": "no plate, donor or shared condition links it to a vehicle sample at {time_h} h",
    "too_few_replicates": "{n_treated} treated sample(s) only",
    "no_residual_df": "the fit unit has no replicate to take a variance from",
    "no_usable_sample": "every sample of it failed quality control or has no counts",
    "no_tested_gene": "no gene of the fit unit passes the count filter, or none varies",
}
"""Why a condition has no effect, in words."""


def _described(rows: pl.DataFrame) -> pl.DataFrame:
    """Return condition rows with the reason in words, as the table stores them."""
    reason = pl.lit(None, pl.String)
    for status, text in REASONS.items():
        names = [name for name in ("time_h", "n_treated") if f"{{{name}}}" in text]
        template = text.replace("{time_h}", "{}").replace("{n_treated}", "{}")
        words = pl.format(template, *names) if names else pl.lit(text)
        reason = pl.when(pl.col("status") == status).then(words).otherwise(reason)
    return (
        rows.with_columns(reason=reason).select(list(CONDITION.polars_schema)).cast(CONDITION.polars_schema)
    )


def _constants(unit: Mapping[str, str]) -> list[pl.Expr]:
    """Return the unit's names as constant columns, which take no memory."""
    return [pl.lit(value).alias(name) for name, value in unit.items()]


def _rows_of(values: np.ndarray | SparseCounts, rows: np.ndarray) -> np.ndarray | SparseCounts:
    """Return some rows of the values, without a copy where they are all of them."""
    if len(rows) == values.shape[0] and np.array_equal(rows, np.arange(len(rows))):
        return values
    return values.select(rows) if isinstance(values, SparseCounts) else values[rows]


assert set(REASONS) | {"estimable"} >= {str(status) for status in ContrastStatus}
