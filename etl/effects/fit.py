"""One fit: from values and labels to effects with moderated standard errors, block by block of conditions.

Belongs here: the order of the steps, and which comparison each condition needs. Does not belong here: the
steps themselves, tests of the effects, and labels such as doses or compounds: a condition is what its label
says.

    log2     fit -> moderate
    counts   filter -> normalize -> log counts -> fit -> precision (voom) -> weighted fit -> moderate

With grouped replicates the fit holds one number (two with precision weights) per condition and gene. With
separate replicates it holds the level of the controls on each plate, and a sample's effects are made when its
block is asked for, so that memory does not grow with the samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from etl.arrays import FloatArray, IntArray, Matrix, slices
from etl.effects.design import (
    ContrastStatus,
    ControlScope,
    Design,
    Labels,
    Replicates,
    build_design,
    control_design,
    control_scopes,
)
from etl.effects.expression_tiles import CountTiles, DenseTiles, Tiles
from etl.effects.filtering import filter_by_expression, min_group_size
from etl.effects.input_checks import checked_log2, checked_shape, reject_empty_samples
from etl.effects.linear_model import Fitted, LinearModel, StandardError, combined_variance
from etl.effects.moderation import VariancePrior, fit_prior, shrink, total_df
from etl.effects.normal_equations import NormalEquations, reduce
from etl.effects.normalization import Method, normalization_factors
from etl.effects.replicate_rows import CountReplicates, DenseReplicates, mean_log_counts
from etl.effects.voom import fit_mean_variance_trend, library_shift, precision_curve
from etl.errors import BadInputError
from etl.expression.counts import SparseCounts

Scale = Literal["log2", "counts"]
CountsMethod = Literal["voom", "trend"]
FloatType: TypeAlias = type[np.float32] | type[np.float64]
FEWEST_COUNTED_GENES = 2
"""Genes that must pass the count filter: the counts of a single one are the library it is compared with."""
ENTRIES_AT_ONCE = 80_000_000
"""Counts that are held by gene at a time, beside all of them by sample: 0.3 GB."""
BLOCK_CELLS = 4_000_000
"""Conditions x genes of one block of effects."""
LOG_PRIOR = 2.0
"""Average prior count of log counts per million on the limma-trend path (Law et al. 2014)."""


class EffectRows(Protocol):
    """Effects and unscaled variances of some of the estimable conditions."""

    def rows(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return effects (n x tested genes) and their variance factors (n x tested genes, or n x 1)."""
        ...


@dataclass(frozen=True, slots=True)
class EffectBlock:
    """Effects of some conditions on the tested genes."""

    conditions: IntArray
    """Positions in the conditions of the fit, n."""
    log2_fold_change: np.ndarray
    """Treated minus control, adjusted for plates, n x tested genes."""
    unscaled_sd: np.ndarray
    """Standard error at sigma = 1, n x tested genes or n x 1."""
    standard_error: np.ndarray
    """Standard error with the posterior standard deviation, n x tested genes."""


@dataclass(frozen=True, slots=True)
class EffectFit:
    """A fitted design. Per-gene arrays are of the tested genes, in their order."""

    design: Design
    status: tuple[ContrastStatus, ...]
    """Whether each of the C treated conditions can be estimated, and why not."""
    control_scope: tuple[ControlScope | None, ...]
    """Where the controls of each condition stand; None where it is not estimable."""
    is_tested: npt.NDArray[np.bool_]
    """Genes that pass the count filter (all of them on the log2 scale), G."""
    residual_df: int
    """Residual degrees of freedom: samples - rank of the design."""
    mean_expression: FloatArray
    """Mean over all samples: log2 values, or log2 counts per million."""
    sigma: FloatArray
    """Residual standard deviation."""
    prior: VariancePrior
    """Prior of the variances."""
    posterior_variance: FloatArray
    """Moderated variance."""
    residual_df_of_gene: FloatArray
    """Residual degrees of freedom of each gene: the same for all unless values are missing."""
    total_df: FloatArray
    """Degrees of freedom of the moderated t."""
    _rows: EffectRows | None

    @property
    def estimable(self) -> IntArray:
        """Positions of the conditions whose effects the blocks hold."""
        if self._rows is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero([status is ContrastStatus.ESTIMABLE for status in self.status])

    def blocks(self, n_cells: int = BLOCK_CELLS) -> Iterator[EffectBlock]:
        """Yield the effects of the estimable conditions, in their order, about ``n_cells`` at a time."""
        if self._rows is None:
            return
        estimable, posterior_sd = self.estimable, np.sqrt(self.posterior_variance)
        step = max(1, n_cells // max(1, len(self.sigma)))
        for start in range(0, len(estimable), step):
            part = slice(start, min(start + step, len(estimable)))
            effect, variance = self._rows.rows(part)
            unscaled = np.sqrt(variance, out=variance)
            error = unscaled * posterior_sd.astype(effect.dtype)
            yield EffectBlock(estimable[part], effect, unscaled, error)


def fit_effects(
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
    n_threads: int = 1,
    dtype: FloatType = np.float64,
) -> EffectFit:
    """Fit one design; arguments are those of :func:`etl.effects.estimate.estimate_effects`.

    Args:
        values: samples x genes.
        condition: one label per sample.
        plate: one label per sample, or None.
        is_control: True for control samples.
        scale: ``log2`` or ``counts``.
        replicates: ``grouped`` or ``separate``.
        robust: robust prior.
        trend: prior variance follows the mean expression; None for log2 values and limma-trend only.
        standard_error: ``exact`` or ``limma``.
        block: controls are those of the same block.
        terms: further additive terms.
        counts_method: ``voom`` or ``trend``.
        normalization: library normalization of counts.
        min_replicates: samples a condition needs.
        n_threads: threads over genes and samples.
        dtype: of the effects that the fit holds; float32 halves memory where results are stored as such.

    Raises:
        BadInputError: as :func:`~etl.effects.estimate.estimate_effects` says.
    """
    require_choice("scale", scale, get_args(Scale))
    require_choice("standard_error", standard_error, get_args(StandardError))
    require_choice("counts_method", counts_method, get_args(CountsMethod))
    require_choice("normalization", normalization, get_args(Method))
    if n_threads < 1:
        raise ValueError(f"n_threads is 1 or more, not {n_threads}")
    design = build_design(condition, plate, is_control, block=block, terms=terms, replicates=replicates)
    n_genes = checked_shape(values, design.n_samples)
    if trend is None:
        trend = scale == "log2" or counts_method == "trend"
    # Without weights both forms of the standard error are the same number.
    is_weighted = scale == "counts" and counts_method == "voom"
    plan = plan_fit(design, min_replicates, standard_error if is_weighted else "exact", n_threads)
    if scale == "log2":
        dense = checked_log2(values)
        is_tested = np.ones(n_genes, dtype=bool)
        if plan.is_hopeless or not n_genes:
            return _untested(plan, is_tested & False)
        return _moderated(plan, _fit_log2(dense, plan, dtype), is_tested, robust=robust, trend=trend)

    counts = values if isinstance(values, SparseCounts) else SparseCounts.from_matrix(values)
    library_size = counts.library_sizes()
    reject_empty_samples(library_size, "no counts at all")
    if plan.is_hopeless:
        return _untested(plan, np.zeros(n_genes, dtype=bool))
    is_tested = filter_by_expression(counts, library_size, plan.min_group_size, n_threads=n_threads)
    if np.count_nonzero(is_tested) < FEWEST_COUNTED_GENES:
        return _untested(plan, np.zeros(n_genes, dtype=bool))
    tested_library = counts.library_sizes(is_tested)
    reject_empty_samples(tested_library, "counts only in genes that do not pass the count filter")
    factors = normalization_factors(
        counts, tested_library, is_tested, method=normalization, n_threads=n_threads
    )
    library = tested_library * factors
    if counts_method == "voom":
        fit = _fit_voom(counts, library, is_tested, plan, dtype)
    else:
        fit = _fit_log_counts(counts, library, is_tested, plan, dtype)
    return _moderated(plan, fit, is_tested, robust=robust, trend=trend)


def require_choice(name: str, given: str, known: Sequence[str]) -> None:
    """Raise ValueError where an argument is none of the known words."""
    if given not in known:
        raise ValueError(f"{name} is one of {', '.join(map(repr, known))}, not {given!r}")


@dataclass(frozen=True)
class FitPlan:
    """What a design asks of the fit."""

    design: Design
    equations: NormalEquations
    samples: IntArray
    """Samples of the equations: all, or the controls if replicates are separate."""
    status: tuple[ContrastStatus, ...]
    model: LinearModel
    pair: IntArray
    """Comparison of each estimable condition."""
    n_threads: int

    @property
    def is_separate(self) -> bool:
        """Whether every treated sample is a condition of its own."""
        return self.design.sample_of_treated is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether the design leaves no variance."""
        return self.equations.residual_df < 1

    @property
    def order(self) -> IntArray:
        """Samples in the order of the equations."""
        return self.samples[self.equations.order]

    @property
    def estimable(self) -> IntArray:
        """Positions of the conditions that can be estimated."""
        return np.flatnonzero([status is ContrastStatus.ESTIMABLE for status in self.status])

    @property
    def treated_samples(self) -> IntArray:
        """Sample of each estimable condition; for separate replicates."""
        assert self.design.sample_of_treated is not None
        return self.design.sample_of_treated[self.estimable]

    @property
    def min_group_size(self) -> float:
        """Samples in which a gene must be expressed; a sample that is its own condition has leverage 1."""
        if self.is_separate and self.design.n_treated:
            return 1.0
        return min_group_size(self.equations.leverages())


def plan_fit(
    design: Design,
    min_replicates: int,
    standard_error: StandardError,
    n_threads: int,
    *,
    borrows_variance: bool = False,
    has_first_plate: bool = True,
) -> FitPlan:
    """Return the reduced system, the status of every condition and the comparisons that are needed.

    Without residual degrees of freedom nothing is estimable, unless variances are borrowed from other fits.
    """
    separate = design.sample_of_treated is not None
    has_control = design.control >= 0
    if separate:
        alone, samples = control_design(design)
        equations = reduce(alone)
        site = design.site[design.sample_of_treated]
        control = design.control - design.n_treated
    else:
        samples = np.arange(design.n_samples)
        equations = reduce(design)
        site = np.full(design.n_treated, -1, dtype=np.int64)
        control = design.control
    comparable = np.zeros(design.n_treated, dtype=bool)
    known = np.flatnonzero(has_control)
    if known.size and separate:
        comparable[known] = equations.are_linked(site[known], control[known])
    elif known.size:
        comparable[known] = equations.are_comparable(known, control[known])
    enough = design.condition_size[: design.n_treated] >= min_replicates
    is_hopeless = equations.residual_df < 1 and not borrows_variance
    choices = [~has_control, ~comparable, ~enough, np.full(design.n_treated, is_hopeless)]
    reasons = [
        ContrastStatus.NO_CONTROL,
        ContrastStatus.CONFOUNDED_WITH_PLATE,
        ContrastStatus.TOO_FEW_REPLICATES,
        ContrastStatus.NO_RESIDUAL_DF,
    ]
    code = np.select(choices, np.arange(len(reasons)), len(reasons))
    names = [*reasons, ContrastStatus.ESTIMABLE]
    estimable = np.flatnonzero(code == len(reasons))

    if separate:
        # Samples of one plate and block are compared with one level.
        keys = np.stack([site[estimable], control[estimable]], axis=1)
        pairs, pair = np.unique(keys, axis=0, return_inverse=True)
        pair_site, pair_control = pairs[:, 0], pairs[:, 1]
        condition = np.full(len(pairs), -1, dtype=np.int64)
    else:
        pair = np.arange(len(estimable))
        condition, pair_site, pair_control = estimable, site[estimable], control[estimable]
    model = LinearModel(
        equations,
        condition=condition,
        site=pair_site,
        control=pair_control,
        standard_error=standard_error,
        has_first_plate=has_first_plate,
        n_threads=n_threads,
    )
    status = tuple(names[index] for index in code)
    return FitPlan(design, equations, samples, status, model, np.ravel(pair), n_threads)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares results of the tested genes."""

    rows: EffectRows
    mean: FloatArray
    sigma: FloatArray


@dataclass(frozen=True, slots=True)
class _GroupedRows:
    """Effects that a fit holds, gene-major and part by part of the genes, turned into rows of conditions."""

    parts: list[Fitted]
    has_equal_weights: bool
    correlation: FloatArray | None = None

    def rows(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        effect = self._joined("difference", part)
        if self.has_equal_weights:
            return effect, self.parts[0].variance[:, part].T.astype(effect.dtype)
        variance = self._joined("variance", part)
        if self.correlation is None:
            return effect, variance
        control = self._joined("control_variance", part)
        return effect, combined_variance(variance, control, self.correlation[part, None]).astype(effect.dtype)

    def _joined(self, name: str, part: slice) -> np.ndarray:
        """Return an array of all genes as conditions x genes, in the order of C."""
        arrays: list[np.ndarray] = [getattr(fitted, name) for fitted in self.parts]
        joined = np.empty((part.stop - part.start, sum(map(len, arrays))), dtype=arrays[0].dtype)
        start = 0
        for array in arrays:
            joined[:, start : start + len(array)] = array[:, part].T
            start += len(array)
        return joined


def _fit_log2(values: np.ndarray, plan: FitPlan, dtype: FloatType) -> _Fit:
    """Return the unweighted fit of all genes."""
    fitted = plan.model.fit(DenseTiles(values, plan.order), dtype=np.float64 if plan.is_separate else dtype)
    sigma = _sigma([fitted], plan)
    if not plan.is_separate:
        return _Fit(_GroupedRows([fitted], has_equal_weights=True), fitted.mean, sigma)
    level = np.ascontiguousarray(fitted.difference.T)
    rows = DenseReplicates(
        values, plan.treated_samples, plan.pair, level, 1.0 + fitted.variance[0], np.dtype(dtype)
    )
    return _Fit(rows, values.mean(axis=0, dtype=np.float64), sigma)


def _fit_voom(
    counts: SparseCounts,
    library: FloatArray,
    is_tested: npt.NDArray[np.bool_],
    plan: FitPlan,
    dtype: FloatType,
) -> _Fit:
    """Return the fit of log counts per million with the precision weights of voom."""
    of_fit = counts.select(plan.samples) if plan.is_separate else counts
    library_of_fit, shift = library[plan.samples], library_shift(library)
    genes = list(_gene_parts(of_fit, is_tested))
    held: dict[int, CountTiles] = {}

    def tiles_of(part: int) -> CountTiles:
        """Return the log counts of some genes; kept for the second pass where all genes are one part."""
        if part not in held:
            held.clear()
            by_gene = of_fit.by_gene(genes[part], n_threads=plan.n_threads)
            held[part] = CountTiles(by_gene, plan.equations.order, library_of_fit)
        return held[part]

    unweighted = LinearModel(plan.equations, n_threads=plan.n_threads)
    first = [unweighted.fit(tiles_of(part)) for part in range(len(genes))]
    sigma = _sigma(first, plan)
    mean = (
        mean_log_counts(counts, library, is_tested, plan.n_threads)
        if plan.is_separate
        else np.concatenate([fitted.mean for fitted in first])
    )
    curve = precision_curve(fit_mean_variance_trend(mean, sigma, shift))
    float_type: FloatType = np.float64 if plan.is_separate else dtype
    # The last part is still there.
    parts = [
        plan.model.fit_with_precision(tiles_of(part), shift[plan.order], curve, dtype=float_type)
        for part in reversed(range(len(genes)))
    ][::-1]
    sigma = _sigma(parts, plan)
    correlation = plan.model.correlation if plan.model.is_limma else None
    if not plan.is_separate:
        rows = _GroupedRows(parts, has_equal_weights=False, correlation=correlation)
        return _Fit(rows, mean, sigma)

    def by_level(name: str) -> FloatArray:
        """Return an array of the fit as levels x genes."""
        return np.ascontiguousarray(np.concatenate([getattr(fitted, name) for fitted in parts]).T)

    replicate_rows = CountReplicates(
        counts,
        library,
        is_tested,
        samples=plan.treated_samples,
        pair=plan.pair,
        level=by_level("difference"),
        level_variance=by_level("variance"),
        control_variance=by_level("control_variance"),
        correlation=np.zeros(0) if correlation is None else correlation,
        curve=curve,
        dtype=np.dtype(dtype),
        n_threads=plan.n_threads,
    )
    return _Fit(replicate_rows, mean, sigma)


def _gene_parts(counts: SparseCounts, is_tested: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield masks of tested genes, so many that their counts fit into memory a second time."""
    tested = np.flatnonzero(is_tested)
    share = max(1, -(-len(counts.gene) // ENTRIES_AT_ONCE))
    for part in slices(len(tested), -(-len(tested) // share)):
        mask = np.zeros(len(is_tested), dtype=bool)
        mask[tested[part]] = True
        yield mask


def _sigma(parts: list[Fitted], plan: FitPlan) -> FloatArray:
    """Return the residual standard deviation of every gene."""
    residual = np.concatenate([fitted.residual_sum_of_squares for fitted in parts])
    return np.sqrt(residual / plan.equations.residual_df)


def _fit_log_counts(
    counts: SparseCounts,
    library: FloatArray,
    is_tested: npt.NDArray[np.bool_],
    plan: FitPlan,
    dtype: FloatType,
) -> _Fit:
    """Return the unweighted fit of log counts per million whose priors damp small counts (limma-trend)."""
    prior = LOG_PRIOR * library / library.mean()
    by_gene = counts.by_gene(is_tested, n_threads=plan.n_threads)
    everyone = np.arange(plan.design.n_samples)
    if not plan.is_separate:
        fitted = plan.model.fit(CountTiles(by_gene, plan.order, library, prior), dtype=dtype)
        rows = _GroupedRows([fitted], has_equal_weights=True)
        return _Fit(rows, fitted.mean, _sigma([fitted], plan))
    # Every sample's values are needed one by one: they are few enough where this path is chosen.
    tiles: Tiles = CountTiles(by_gene, everyone, library, prior)
    values = np.empty((plan.design.n_samples, tiles.n_genes), dtype=np.float64)
    for genes in slices(tiles.n_genes, 64):
        values[:, genes] = tiles.tile(genes).T
    return _fit_log2(values, plan, dtype)


def _moderated(
    plan: FitPlan, fit: _Fit, is_tested: npt.NDArray[np.bool_], *, robust: bool, trend: bool
) -> EffectFit:
    """Return the fit with moderated variances."""
    residual_df = np.full(len(fit.sigma), float(plan.equations.residual_df))
    return moderated_fit(
        plan, fit.rows, fit.mean, fit.sigma, residual_df, is_tested, robust=robust, trend=trend
    )


def moderated_fit(
    plan: FitPlan,
    rows: EffectRows,
    mean: FloatArray,
    sigma: FloatArray,
    residual_df: FloatArray,
    is_tested: npt.NDArray[np.bool_],
    *,
    robust: bool,
    trend: bool,
) -> EffectFit:
    """Return a fit with moderated variances; arrays are of the tested genes."""
    with np.errstate(over="ignore"):
        variance = sigma**2
    if np.isinf(variance).any():
        raise BadInputError("values are so large that their variance is infinite; are they logarithms?")
    prior = fit_prior(variance, residual_df, covariate=mean if trend else None, robust=robust)
    return EffectFit(
        design=plan.design,
        status=plan.status,
        control_scope=_scopes(plan),
        is_tested=is_tested,
        residual_df=plan.equations.residual_df,
        mean_expression=mean,
        sigma=sigma,
        prior=prior,
        posterior_variance=shrink(variance, residual_df, prior),
        residual_df_of_gene=residual_df,
        total_df=total_df(residual_df, prior),
        _rows=rows,
    )


def _scopes(plan: FitPlan) -> tuple[ControlScope | None, ...]:
    scopes = control_scopes(plan.design)
    return tuple(
        scope if status is ContrastStatus.ESTIMABLE else None
        for scope, status in zip(scopes, plan.status, strict=True)
    )


def _untested(plan: FitPlan, is_tested: npt.NDArray[np.bool_]) -> EffectFit:
    """Return a fit in which nothing can be tested."""
    status = tuple(
        ContrastStatus.NO_TESTED_GENE if status is ContrastStatus.ESTIMABLE else status
        for status in plan.status
    )
    nothing = np.zeros(0)
    return EffectFit(
        design=plan.design,
        status=status,
        control_scope=(None,) * plan.design.n_treated,
        is_tested=is_tested,
        residual_df=max(plan.equations.residual_df, 0),
        mean_expression=nothing,
        sigma=nothing,
        prior=VariancePrior(variance=np.asarray(np.nan), df=np.asarray(0.0)),
        posterior_variance=nothing,
        residual_df_of_gene=nothing,
        total_df=nothing,
        _rows=None,
    )
