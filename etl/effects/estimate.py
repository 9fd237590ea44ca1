"""Effects of all treated conditions of one study: log2 fold changes with moderated t statistics, as arrays.

This is the library function, independent of the warehouse. Belongs here: its arguments and its result. Does
not belong here: the steps (:mod:`etl.effects.fit`), and writing tables (:mod:`etl.effects.fit_unit`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from etl.arrays import FloatArray, IntArray, Matrix
from etl.effects.design import ContrastStatus, ControlScope, Labels, Replicates
from etl.effects.fit import CountsMethod, EffectFit, Scale, fit_effects
from etl.effects.linear_model import StandardError
from etl.effects.log_odds import log_odds
from etl.effects.missing_values import fit_with_missing_values
from etl.effects.moderated_tests import ModeratedTests
from etl.effects.multiple_testing import benjamini_hochberg
from etl.effects.normalization import Method
from etl.effects.student_t import two_sided_log10_p
from etl.expression.counts import SparseCounts


@dataclass(frozen=True, slots=True)
class EffectEstimates:
    """Effects of C conditions on G genes; NaN where a gene is not tested or a condition not estimable."""

    conditions: np.ndarray
    """Labels of the treated conditions, C: sorted; or of each treated sample if replicates are separate."""
    samples: IntArray | None
    """Row of the values of each condition if replicates are separate, else None."""
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
    log_odds: FloatArray
    """Log odds that the gene is changed (B statistic), C x G."""
    mean_expression: FloatArray
    """Mean over all samples: log2 values, or log2 counts per million, G."""
    sigma: FloatArray
    """Residual standard deviation, G."""
    residual_df_of_gene: FloatArray
    """Residual degrees of freedom, G: the same for all genes unless values are missing."""
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

    @property
    def log10_p_value(self) -> FloatArray:
        """log10 of the p-values, C x G: finite where the p-value itself is too small for a double."""
        return two_sided_log10_p(self.t_statistic, self.total_df)

    @property
    def p_value_adjusted_overall(self) -> FloatArray:
        """Benjamini-Hochberg over all conditions and genes together, C x G."""
        return benjamini_hochberg(self.p_value.ravel()).reshape(self.p_value.shape)


def estimate_effects(
    values: Matrix | SparseCounts,
    *,
    condition: Labels,
    plate: Labels | None,
    is_control: npt.ArrayLike,
    scale: Scale,
    replicates: Replicates = "grouped",
    robust: bool = True,
    trend: bool | None = None,
    standard_error: StandardError = "exact",
    block: Labels | None = None,
    terms: Mapping[str, Labels] | None = None,
    counts_method: CountsMethod = "voom",
    normalization: Method = "tmm",
    min_replicates: int = 1,
    missing_values: Literal["reject", "allow"] = "reject",
    n_threads: int = 1,
) -> EffectEstimates:
    """Return the effect of every treated condition against the controls of its block.

    The model of every gene is ``~ 0 + condition + plate + terms`` over all samples, with the controls of a
    block as one condition. Conditions that cannot be compared keep their row, with NaN and a status.

    Args:
        values: samples x genes; log2 expression, or counts (dense, CSR or ``SparseCounts``).
        condition: one label per sample, ignored for controls; a label belongs to one block.
        plate: one label per sample; None where all samples are on one plate.
        is_control: True for control samples.
        scale: ``log2`` for values that are logarithms already, ``counts`` for counts (count filter,
            normalization, voom).
        replicates: ``grouped`` gives one effect per condition, ``separate`` one per treated sample, with
            variances from the controls alone.
        robust: protect the variance prior from genes that vary out of line (Phipson et al. 2016).
        trend: let the prior variance follow the mean expression; by default for log2 values and for
            ``counts_method="trend"``.
        standard_error: ``exact``, or ``limma`` to reproduce what ``contrasts.fit`` approximates in weighted
            fits.
        block: one label per sample, such as the time point; without it all samples are one block.
        terms: further additive terms such as donor or library, one label per sample each.
        counts_method: ``voom`` weighs values by their precision, ``trend`` fits log counts per million with
            equal weights (limma-trend).
        normalization: library normalization of counts.
        min_replicates: conditions with fewer samples are not estimated.
        missing_values: ``allow`` fits log2 genes that hold NaN on the samples that have a value.
        n_threads: threads; results do not depend on it.

    Raises:
        BadInputError: the axes do not match, a label is missing, a value is not finite, a count is negative
            or fractional, or a sample has no counts.

    >>> y = np.array([[1.0, 5.0], [1.2, 5.1], [3.0, 5.0], [3.2, 5.3]])
    >>> effects = estimate_effects(
    ...     y,
    ...     condition=["", "", "a", "a"],
    ...     plate=None,
    ...     is_control=[True, True, False, False],
    ...     scale="log2",
    ... )
    >>> effects.conditions.tolist(), effects.residual_df, effects.log2_fold_change.round(3).tolist()
    (['a'], 2, [[2.0, 0.1]])
    """
    if missing_values not in ("reject", "allow"):
        raise ValueError(f"missing_values is 'reject' or 'allow', not {missing_values!r}")
    if missing_values == "allow":
        if scale != "log2" or replicates != "grouped":
            raise ValueError("missing values are allowed for log2 values with grouped replicates only")
        fit = fit_with_missing_values(
            values,
            condition=condition,
            plate=plate,
            is_control=is_control,
            block=block,
            terms=terms,
            robust=robust,
            trend=True if trend is None else trend,
            standard_error=standard_error,
            min_replicates=min_replicates,
        )
    else:
        fit = fit_effects(
            values,
            condition=condition,
            plate=plate,
            is_control=is_control,
            scale=scale,
            replicates=replicates,
            robust=robust,
            trend=trend,
            standard_error=standard_error,
            block=block,
            terms=terms,
            counts_method=counts_method,
            normalization=normalization,
            min_replicates=min_replicates,
            n_threads=n_threads,
        )
    return _collected(fit)


def _collected(fit: EffectFit) -> EffectEstimates:
    """Return all blocks of a fit as arrays over the whole gene axis."""
    design = fit.design
    n_treated, n_genes = design.n_treated, len(fit.is_tested)
    shape = (n_treated, n_genes)
    effect, error, t, p, adjusted, odds = (np.full(shape, np.nan) for _ in range(6))
    tested = np.flatnonzero(fit.is_tested)
    tests = ModeratedTests(fit.total_df)
    for block in fit.blocks():
        at = np.ix_(block.conditions, tested)
        block_effect, block_error = block.log2_fold_change, block.standard_error
        effect[at], error[at] = block_effect, block_error
        with np.errstate(divide="ignore", invalid="ignore"):
            block_t = block_effect / block_error  # 0 / 0 of a constant gene without prior stays NaN
        t[at] = block_t
        p[at], adjusted[at] = tests.p_values(block_effect, block_error)
        odds[at] = log_odds(
            block_t,
            np.broadcast_to(block.unscaled_sd, block_t.shape),
            fit.total_df,
            np.broadcast_to(fit.prior.df, fit.sigma.shape),
            np.broadcast_to(fit.prior.variance, fit.sigma.shape),
        )[0]

    def spread(per_gene: npt.ArrayLike) -> FloatArray:
        whole = np.full(n_genes, np.nan)
        whole[fit.is_tested] = per_gene
        return whole

    return EffectEstimates(
        conditions=design.treated,
        samples=design.sample_of_treated,
        status=fit.status,
        control_scope=fit.control_scope,
        n_treated=design.condition_size[:n_treated],
        n_control=design.control_size,
        n_plates=design.condition_plates[:n_treated],
        is_tested=fit.is_tested,
        log2_fold_change=effect,
        standard_error=error,
        t_statistic=t,
        p_value=p,
        p_value_adjusted=adjusted,
        log_odds=odds,
        mean_expression=spread(fit.mean_expression),
        sigma=spread(fit.sigma),
        residual_df_of_gene=spread(fit.residual_df_of_gene),
        prior_df=spread(np.broadcast_to(fit.prior.df, fit.sigma.shape)),
        prior_variance=spread(np.broadcast_to(fit.prior.variance, fit.sigma.shape)),
        posterior_variance=spread(fit.posterior_variance),
        total_df=spread(fit.total_df),
        residual_df=fit.residual_df,
    )
