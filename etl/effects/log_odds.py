"""Log odds that a gene responds: the B statistic of the moderated t test (Smyth 2004, sections 4 and 6.3).

Belongs here: the prior variance of true effects, and the posterior odds. Does not belong here: the prior of
the residual variances (``moderation``) and the tests (``moderated_tests``).

Model: a share p of the genes of a contrast have a true effect, drawn from N(0, v0 sigma^2); the others none.
With v the squared unscaled standard deviation of the estimate, r = (v + v0) / v and d the total df,

    B = log(p / (1 - p)) - log(r) / 2 + (1 + d) / 2 log((t^2 + d) / (t^2 / r + d))

whose last term is t^2 (1 - 1 / r) / 2 where the prior df are infinite.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from etl.arrays import FloatArray
from etl.effects.student_t import LN_10, two_sided_log10_p, two_sided_p

SHARE_OF_EFFECTS = 0.01
"""p: share of genes taken to respond, before the data."""
EFFECT_SD_LIMITS = (0.1, 4.0)
"""Bounds of the standard deviation of true effects, in the units of the values (log2)."""
LOWEST_LOG10_P = -290.0
"""Where p itself no longer holds the digits that its quantile needs."""
SOLVER_STEPS = 30
NORMAL_PRIOR_DF = 1e6
"""Prior df above which the odds are those of a normal distribution."""


def log_odds(
    t: FloatArray,
    unscaled_sd: npt.ArrayLike,
    total_df: npt.ArrayLike,
    prior_df: npt.ArrayLike,
    prior_variance: npt.ArrayLike,
    *,
    share_of_effects: float = SHARE_OF_EFFECTS,
    effect_sd_limits: tuple[float, float] = EFFECT_SD_LIMITS,
) -> tuple[FloatArray, FloatArray]:
    """Return the log odds (natural logarithm) of every contrast and gene, and the v0 of every contrast.

    Args:
        t: moderated t statistics, C x G; NaN where not tested.
        unscaled_sd: standard errors without the posterior standard deviation, of a shape that broadcasts to
            that of t (C x 1 where all genes share one).
        total_df: degrees of freedom of t, G or one number.
        prior_df: prior degrees of freedom, G or one number; may be infinite.
        prior_variance: prior residual variance, G or one number; its median gives the limits of v0.
        share_of_effects: p.
        effect_sd_limits: bounds of the standard deviation of true effects.

    Returns:
        B, C x G, NaN where t is; and v0, C, in units of the residual variance, NaN without any test.

    Raises:
        ValueError: the share or the limits are out of range.

    >>> odds, v0 = log_odds(np.array([[0.0, 1.0, 5.0]]), 0.5, 20.0, 3.0, 0.2)
    >>> odds.round(3).tolist(), v0.round(3).tolist()
    ([[-6.58, -6.077, 1.69]], [12.986])
    """
    if not 0 < share_of_effects < 1:
        raise ValueError(f"the share of effects is between 0 and 1, not {share_of_effects}")
    if not 0 <= effect_sd_limits[0] <= effect_sd_limits[1]:
        raise ValueError(f"limits of a standard deviation are ascending, not {effect_sd_limits}")
    t = np.asarray(t, dtype=np.float64)
    n_genes = t.shape[1]
    variance = np.broadcast_to(np.square(unscaled_sd, dtype=np.float64), t.shape)
    df = np.broadcast_to(np.asarray(total_df, dtype=np.float64), n_genes)
    is_normal = (
        np.broadcast_to(np.asarray(prior_df, dtype=np.float64), n_genes) > NORMAL_PRIOR_DF
    ) | np.isinf(df)
    known = np.asarray(prior_variance, dtype=np.float64)
    known = known[~np.isnan(known)]
    with np.errstate(divide="ignore"):
        limits = np.square(effect_sd_limits) / (np.median(known) if known.size else np.nan)

    odds, v0 = np.full(t.shape, np.nan), np.full(len(t), np.nan)
    prior_odds = math.log(share_of_effects) - math.log1p(-share_of_effects)
    for row in range(len(t)):
        tested = ~np.isnan(t[row]) & (df > 0)
        if not tested.any():
            continue
        magnitude, v, d = np.abs(t[row, tested]), variance[row, tested], df[tested]
        v0[row] = _effect_variance(magnitude, v, d, share_of_effects, limits)
        ratio = 1.0 + v0[row] / v
        with np.errstate(divide="ignore", over="ignore"):
            square = magnitude * magnitude
            # (t^2 + d) / (t^2 / r + d) - 1, small where d is large, and with its limit at infinite t.
            excess = (1.0 - 1.0 / ratio) / (1.0 / ratio + d / square)
            gain = np.where(
                is_normal[tested],
                0.5 * square * (1.0 - 1.0 / ratio),
                0.5 * (1.0 + np.where(np.isinf(d), 0.0, d)) * np.log1p(excess),
            )
        with np.errstate(invalid="ignore"):  # without any prior variance there are no odds
            odds[row, tested] = prior_odds - 0.5 * np.log(ratio) + gain
    return odds, v0


def _effect_variance(
    magnitude: FloatArray, variance: FloatArray, df: FloatArray, share: float, limits: FloatArray
) -> float:
    """Return v0 of one contrast from its largest absolute t (Smyth 2004, section 6.3).

    Of G genes the largest n = ceil(p G / 2) are used. Under the mixture the r-th largest has a tail
    probability of (r - 1/2) / G = (1 - p) P(|T| > t) + p P(|T| > t sqrt(v / (v + v0))). Each r gives one v0,
    0 where t is no larger than without effects, then kept within the limits; v0 is their mean.
    """
    n_genes = magnitude.size
    n_used = math.ceil(share / 2 * n_genes)
    share = max(share, n_used / n_genes)
    common_df = float(df.max())
    comparable = _with_common_df(magnitude, df, common_df, n_used)
    largest = np.argpartition(-comparable, n_used - 1)[:n_used]
    largest = largest[np.argsort(-comparable[largest], kind="stable")]
    t, v = comparable[largest], variance[largest]

    expected = (np.arange(1, n_used + 1) - 0.5) / n_genes
    null = two_sided_p(t, common_df)
    of_effects = (expected - (1.0 - share) * null) / share
    exceeds = of_effects > null
    quantile = _upper_quantile(np.where(exceeds, of_effects, 0.5), common_df)
    with np.errstate(over="ignore"):
        each = np.where(exceeds, v * (np.square(t / quantile) - 1.0), 0.0)
    return float(np.clip(each, *limits).mean())


def _with_common_df(magnitude: FloatArray, df: FloatArray, common_df: float, n_used: int) -> FloatArray:
    """Return absolute t as if of the largest df: with the same p-value; exact for the n_used largest.

    Such a t is smaller than the original, so only those above the n_used-th t of the common df are needed.
    """
    of_others = df < common_df
    if not of_others.any():
        return magnitude
    same = magnitude[~of_others]
    bound = np.partition(same, same.size - n_used)[same.size - n_used] if same.size >= n_used else -1.0
    comparable = np.where(of_others, -1.0, magnitude)
    needed = of_others & (magnitude > bound)
    log10_p = two_sided_log10_p(magnitude[needed], df[needed])
    near = log10_p > LOWEST_LOG10_P
    found = np.empty(log10_p.size)
    found[near] = _upper_quantile(10.0 ** log10_p[near], common_df)
    found[~near] = _far_quantile(log10_p[~near], common_df)
    comparable[needed] = found
    return comparable


def _upper_quantile(two_sided: FloatArray, df: float) -> FloatArray:
    """Return the t whose two-sided p-value is given."""
    return -(special.ndtri(two_sided / 2) if math.isinf(df) else special.stdtrit(df, two_sided / 2))


def _far_quantile(log10_p: FloatArray, df: float) -> FloatArray:
    """Return the t of a p-value that is given by its logarithm, far out in the tail; by Newton's method.

    log p is nearly linear in u = log(1 + t^2 / df), or in t^2 for the normal distribution, with the slope of
    its power; every step takes off what is left. Infinite t keeps being infinite.
    """
    half = 0.5 * df
    u = -log10_p * LN_10 / (1.0 if math.isinf(df) else half)

    def to_t(u: FloatArray) -> FloatArray:
        return np.sqrt(2.0 * u) if math.isinf(df) else np.sqrt(df * np.expm1(u))

    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(SOLVER_STEPS):
            left = (two_sided_log10_p(to_t(u), df) - log10_p) * LN_10
            step = left / (1.0 if math.isinf(df) else half)
            u = np.where(np.isfinite(step), u + step, u)
            if not np.any(np.abs(step) > 1e-14 * np.abs(u)):
                break
        return to_t(u)
