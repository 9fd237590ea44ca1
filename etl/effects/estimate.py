"""Effects of all treated conditions of one fit: log2 fold changes with moderated t statistics.

Belongs here: the order of the steps, and the result. Does not belong here: the steps themselves, and labels
such as doses or compounds: a condition is whatever its label says.

    log2     fit -> moderate -> test
    counts   filter -> TMM -> log counts per million -> fit -> voom weights -> weighted fit
             -> moderate -> test
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from etl.effects.blocks import (
    FloatArray,
    IntArray,
    Matrix,
    block_length,
    by_gene,
    dense_genes,
    slices,
)
from etl.effects.design import ContrastStatus, ControlScope, Design, Labels, build_design
from etl.effects.filtering import filter_by_expression, min_group_size
from etl.effects.input_checks import checked_library_sizes, checked_matrix, reject_empty_samples
from etl.effects.linear_model import Coefficients, PlateModel
from etl.effects.moderation import fit_prior, shrink
from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.normalization import log_counts_per_million, tmm_factors
from etl.effects.student_t import two_sided_p
from etl.effects.voom import fit_mean_variance_trend, precision_weights

Scale = Literal["log2", "counts"]


@dataclass(frozen=True, slots=True)
class EffectEstimates:
    """Effects of C conditions on G genes; NaN where a gene is not tested or a condition not estimable."""

    conditions: np.ndarray
    """Labels of the treated conditions, sorted, C."""
    status: tuple[ContrastStatus, ...]
    """Whether each condition can be estimated, and why not."""
    control_scope: tuple[ControlScope | None, ...]
    """Where the controls of each condition stand; None where it is not estimable."""
    n_treated: IntArray
    """Samples of each condition."""
    n_control: IntArray
    """Control samples of the block of each condition."""
    n_plates: IntArray
    """Plates each condition stands on."""
    is_tested: npt.NDArray[np.bool_]
    """Genes that pass the count filter (all of them on the log2 scale), G."""
    log2_fold_change: FloatArray
    """Treated minus control, adjusted for plates, C x G."""
    standard_error: FloatArray
    """Standard error with the posterior standard deviation, C x G."""
    t_statistic: FloatArray
    """Moderated t, C x G."""
    p_value: FloatArray
    """Two-sided p-value, C x G."""
    p_value_adjusted: FloatArray
    """Benjamini-Hochberg within each condition, C x G."""
    mean_expression: FloatArray
    """Mean over all samples: log2 values, or log2 counts per million, G."""
    sigma: FloatArray
    """Residual standard deviation, G."""
    prior_df: FloatArray
    """Prior degrees of freedom, G; may be infinite."""
    prior_variance: FloatArray
    """Prior variance, G."""
    posterior_variance: FloatArray
    """Moderated variance, G."""
    total_df: FloatArray
    """Degrees of freedom of the t statistics, G."""
    residual_df: int
    """Residual degrees of freedom of the fit: samples - rank of the design."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares results of the tested genes, in their order."""

    log2_fold_change: FloatArray
    unscaled_sd: FloatArray
    """C x tested genes, or C x 1 where one value holds for all genes."""
    mean: FloatArray
    sigma: FloatArray


def estimate_effects(
    values: Matrix,
    *,
    condition: Labels,
    plate: Labels,
    is_control: npt.ArrayLike,
    scale: Scale,
    block: Labels | None = None,
    trend: bool = False,
) -> EffectEstimates:
    """Return the effect of every treated condition against the controls of its block.

    The model of every gene is ``~ 0 + condition + plate`` over all samples, with the controls of a block as
    one condition. Conditions that cannot be compared keep their row, with NaN and a status.

    Args:
        values: samples x genes; log2 expression, or counts (dense, or CSR).
        condition: one label per sample, ignored for controls; a label belongs to one block.
        plate: one label per sample.
        is_control: True for control samples.
        scale: ``log2`` for values that are logarithms already, ``counts`` for counts (count filter, TMM,
            voom).
        block: one label per sample, such as the time point; without it all samples are one block.
        trend: let the prior variance follow the mean expression.

    Raises:
        BadInputError: the axes do not match, a label is missing, a value is not finite, a count is negative
            or fractional, or a sample has no counts.

    >>> y = np.array([[1.0, 5.0], [1.2, 5.1], [3.0, 5.0], [3.2, 5.3]])
    >>> effects = estimate_effects(
    ...     y,
    ...     condition=["", "", "a", "a"],
    ...     plate=[1, 1, 1, 1],
    ...     is_control=[True, True, False, False],
    ...     scale="log2",
    ... )
    >>> effects.conditions.tolist(), effects.residual_df, effects.log2_fold_change.round(3).tolist()
    (['a'], 2, [[2.0, 0.1]])
    """
    if scale not in ("log2", "counts"):
        raise ValueError(f"scale is 'log2' or 'counts', not {scale!r}")
    design = build_design(condition, plate, is_control, block=block)
    values = checked_matrix(values, design.n_samples)
    library_size = checked_library_sizes(values) if scale == "counts" else None
    if design.residual_df < 1:
        return _untested(design, values.shape[1], design.status)

    model = PlateModel(design)
    if library_size is None:
        is_tested = np.ones(values.shape[1], dtype=bool)
        if not is_tested.size:
            return _untested(design, 0, _without_genes(design))
        fit = _fit_log2(by_gene(values), model)
    else:
        is_tested = filter_by_expression(values, library_size, min_group_size(model.leverages))
        if not is_tested.any():
            return _untested(design, values.shape[1], _without_genes(design))
        fit = _fit_counts(values if is_tested.all() else values[:, is_tested], model)
    return _tested(design, fit, is_tested, trend=trend)


def _fit_log2(values: Matrix, model: PlateModel) -> _Fit:
    """Return the unweighted fit of all genes."""
    design, n_genes = model.design, values.shape[1]
    effects = np.empty((len(design.treated), n_genes))
    mean, variance = np.empty(n_genes), np.empty(n_genes)
    for genes in slices(n_genes, block_length(design.n_samples)):
        block = dense_genes(values, genes)
        mean[genes] = block.mean(axis=0)
        coefficients = model.fit(block)
        effects[:, genes] = model.contrasts(coefficients)
        variance[genes] = coefficients.residual_sum_of_squares / design.residual_df
    return _Fit(effects, model.unscaled_sd[:, None], mean, np.sqrt(variance))


def _fit_counts(counts: Matrix, model: PlateModel) -> _Fit:
    """Return the fit of log counts per million of filtered genes, with voom weights."""
    library_size = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    reject_empty_samples(library_size, "counts only in genes that do not pass the count filter")
    effective_library = library_size * tmm_factors(counts, library_size)
    counts = by_gene(counts)

    design, n_genes = model.design, counts.shape[1]
    condition, plate = np.empty((design.n_conditions, n_genes)), np.empty((design.n_plates, n_genes))
    mean, variance = np.empty(n_genes), np.empty(n_genes)
    for genes in slices(n_genes, block_length(design.n_samples)):
        block = log_counts_per_million(dense_genes(counts, genes), effective_library)
        mean[genes] = block.mean(axis=0)
        coefficients = model.fit(block)
        condition[:, genes], plate[:, genes] = coefficients.condition, coefficients.plate
        variance[genes] = coefficients.residual_sum_of_squares / design.residual_df
    trend = fit_mean_variance_trend(mean, np.sqrt(variance), effective_library)

    effects = np.empty((len(design.treated), n_genes))
    unscaled_sd = np.empty_like(effects)
    for genes in slices(n_genes, model.genes_per_block):
        unweighted = Coefficients(condition[:, genes], plate[:, genes], variance[genes])
        weights = precision_weights(model.fitted(unweighted), effective_library, trend)
        block = log_counts_per_million(dense_genes(counts, genes), effective_library)
        coefficients, unscaled_sd[:, genes] = model.fit_weighted(block, weights)
        effects[:, genes] = model.contrasts(coefficients)
        variance[genes] = coefficients.residual_sum_of_squares / design.residual_df
    return _Fit(effects, unscaled_sd, mean, np.sqrt(variance))


def _tested(design: Design, fit: _Fit, is_tested: npt.NDArray[np.bool_], *, trend: bool) -> EffectEstimates:
    """Return moderated tests of a fit, spread over the whole gene axis."""
    residual_df, n_tested = design.residual_df, len(fit.sigma)
    variance = fit.sigma**2
    prior = fit_prior(variance, residual_df, covariate=fit.mean if trend else None)
    posterior_variance = shrink(variance, residual_df, prior)
    # A variance pooled over all genes has no more than this many degrees of freedom.
    total_df = min(residual_df + prior.df, float(residual_df) * n_tested)

    shape = (len(design.treated), len(is_tested))
    effect, error, t, p, adjusted = (np.full(shape, np.nan) for _ in range(5))
    genes: slice | IntArray = slice(None) if n_tested == len(is_tested) else np.flatnonzero(is_tested)
    posterior_sd = np.sqrt(posterior_variance)
    for rows in np.array_split(design.estimable, max(1, len(design.estimable) * n_tested // 500_000)):
        block_effect = fit.log2_fold_change[rows]
        block_error = fit.unscaled_sd[rows] * posterior_sd
        with np.errstate(divide="ignore", invalid="ignore"):
            block_t = block_effect / block_error  # 0 / 0 of a constant gene without prior stays NaN
        block_p = two_sided_p(block_t, total_df)
        block_adjusted = benjamini_hochberg(block_p)
        for row, *parts in zip(
            rows, block_effect, block_error, block_t, block_p, block_adjusted, strict=True
        ):
            for target, part in zip((effect, error, t, p, adjusted), parts, strict=True):
                target[row][genes] = part

    def spread(per_gene: FloatArray | float) -> FloatArray:
        whole = np.full(len(is_tested), np.nan)
        whole[is_tested] = per_gene
        return whole

    size, plates = design.condition_size, design.condition_plates
    return EffectEstimates(
        conditions=design.treated,
        status=design.status,
        control_scope=design.control_scope,
        n_treated=size[: shape[0]],
        n_control=_control_size(design),
        n_plates=plates[: shape[0]],
        is_tested=is_tested,
        log2_fold_change=effect,
        standard_error=error,
        t_statistic=t,
        p_value=p,
        p_value_adjusted=adjusted,
        mean_expression=spread(fit.mean),
        sigma=spread(fit.sigma),
        prior_df=spread(prior.df),
        prior_variance=spread(prior.variance),
        posterior_variance=spread(posterior_variance),
        total_df=spread(total_df),
        residual_df=residual_df,
    )


def _untested(design: Design, n_genes: int, status: tuple[ContrastStatus, ...]) -> EffectEstimates:
    """Return estimates of a fit in which nothing can be tested: every number is NaN."""
    n_treated = len(design.treated)
    nothing, per_gene = np.full((n_treated, n_genes), np.nan), np.full(n_genes, np.nan)
    return EffectEstimates(
        conditions=design.treated,
        status=status,
        control_scope=(None,) * n_treated,
        n_treated=design.condition_size[:n_treated],
        n_control=_control_size(design),
        n_plates=design.condition_plates[:n_treated],
        is_tested=np.zeros(n_genes, dtype=bool),
        log2_fold_change=nothing,
        standard_error=nothing.copy(),
        t_statistic=nothing.copy(),
        p_value=nothing.copy(),
        p_value_adjusted=nothing.copy(),
        mean_expression=per_gene,
        sigma=per_gene.copy(),
        prior_df=per_gene.copy(),
        prior_variance=per_gene.copy(),
        posterior_variance=per_gene.copy(),
        total_df=per_gene.copy(),
        residual_df=design.residual_df,
    )


def _control_size(design: Design) -> IntArray:
    """Return the number of control samples each treated condition is compared with."""
    return np.where(design.control >= 0, design.condition_size[design.control], 0)


def _without_genes(design: Design) -> tuple[ContrastStatus, ...]:
    """Return the statuses of a fit in which no gene is tested."""
    return tuple(
        ContrastStatus.NO_TESTED_GENE if status is ContrastStatus.ESTIMABLE else status
        for status in design.status
    )
