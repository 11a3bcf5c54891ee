"""What several trained seeds of one recipe say together: a mean, the spread between them, and k of k.

Seeds must have been measured on independent prompts and against the same control. Data seeds of one model are more
units of that model, and models of different kinds are tabulated: neither is combined here (review, finding 11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.declaration import ALPHA
from harness.errors import StatisticsError
from harness.stats.arguments import finite_row, probability
from harness.stats.student import t_quantile

SEEDS_FOR_PREDICTION = 5


@dataclass(frozen=True)
class CombinedSeeds:
    """Effects of k trained seeds combined, all in the metric's unit.

    Attributes:
        seeds: k.
        mean, low, high: the unweighted mean with its t interval on k - 1 degrees of freedom.
        tau, tau_low, tau_high: standard deviation between seeds (Paule-Mandel) with its Q-profile interval.
        prediction_low, prediction_high: where one more seed, measured alike, would lie; None below five seeds.
        check_mean, check_low, check_high: Hartung-Knapp-Sidik-Jonkman, a check beside the mean; None where a
            seed's variance is 0.
    """

    seeds: int
    mean: float
    low: float
    high: float
    tau: float
    tau_low: float
    tau_high: float
    prediction_low: float | None
    prediction_high: float | None
    check_mean: float | None
    check_low: float | None
    check_high: float | None


def combine_seeds(effects: ArrayLike, *, variances: ArrayLike, alpha: float = ALPHA) -> CombinedSeeds:
    """The combination of seed effects.

    The mean is unweighted because the estimand is the mean over trainings, and t on seeds covers 95 % where the
    normal random-effects interval covers 83 to 88 %. Paule and Mandel (1982) and Q-profile (Viechtbauer 2007, Stat Med
    26:37) solve Q(tau2) = k - 1 and Q(tau2) = chi-square quantiles. The prediction interval is the exact one for a
    further normal observation, mean +- t_{k-1} s sqrt(1 + 1/k). We depart from Higgins, Thompson and Spiegelhalter
    (2009, JRSS A 172:137), mean +- t_{k-2} sqrt(tau2 + SE2): at five seeds tau is often estimated as 0, and where it
    truly equals the seeds' own errors their interval covered a new seed's true effect in 88 % of 1,500 simulations.

    Args:
        effects: [seed].
        variances: [seed], squared standard error of each effect from its own units; 0 for exact numbers.
        alpha: one-sided error of each end of each interval.

    Raises:
        StatisticsError: fewer than two seeds, unequal lengths, a negative variance, or identical effects.
    """
    row = finite_row(effects, what="seed effects", at_least=2)
    within = finite_row(variances, what="seed variances", at_least=2)
    probability(alpha, what="alpha")
    if row.size != within.size or (within < 0).any():
        raise StatisticsError(f"{row.size} effects and {within.size} variances; give one variance >= 0 per seed")
    if np.ptp(row) == 0:
        raise StatisticsError("no variation: all seeds have the same effect; were they trained and measured apart?")
    error = float(row.std(ddof=1)) / math.sqrt(row.size)
    mean, reach = float(row.mean()), t_quantile(1 - alpha, freedom=row.size - 1) * error
    tau2 = _solve_q(row, within, target=row.size - 1.0)
    tau2_low, tau2_high = _q_profile(row, within, alpha=alpha)
    prediction = _prediction(row, alpha=alpha)
    check = _hksj(row, within, alpha=alpha)
    return CombinedSeeds(
        row.size,
        mean,
        mean - reach,
        mean + reach,
        math.sqrt(tau2),
        math.sqrt(tau2_low),
        math.sqrt(tau2_high),
        *prediction,
        *check,
    )


def k_of_k_lower_bound(k: int, *, alpha: float = 0.05) -> float:
    """The exact one-sided lower bound of the share of trainings that show a finding, after k of k did: alpha^(1/k).

    Clopper-Pearson at k successes of k; 5 of 5 gives 55 % at alpha = 0.05.

    Raises:
        StatisticsError: k is below 1, or alpha not inside (0, 1).
    """
    if k < 1:
        raise StatisticsError(f"k is {k}; at least one seed must have been trained")
    return float(probability(alpha, what="alpha") ** (1 / k))


def _prediction(effects: NDArray[np.float64], *, alpha: float) -> tuple[float | None, float | None]:
    if effects.size < SEEDS_FOR_PREDICTION:
        return None, None
    spread = float(effects.std(ddof=1)) * math.sqrt(1 + 1 / effects.size)
    reach = t_quantile(1 - alpha, freedom=effects.size - 1) * spread
    return float(effects.mean()) - reach, float(effects.mean()) + reach


def _hksj(
    effects: NDArray[np.float64], within: NDArray[np.float64], *, alpha: float
) -> tuple[float | None, float | None, float | None]:
    """Hartung-Knapp-Sidik-Jonkman by statsmodels; its own `conf_int` warns, so the t quantile is applied here."""
    from statsmodels.stats.meta_analysis import combine_effects

    if (within == 0).any():
        return None, None, None
    result = combine_effects(effects, within, method_re="iterated", use_t=True)
    mean, error = float(result.mean_effect_re), float(result.sd_eff_w_re_hksj)
    reach = t_quantile(1 - alpha, freedom=effects.size - 1) * error
    return mean, mean - reach, mean + reach


def _q_profile(effects: NDArray[np.float64], within: NDArray[np.float64], *, alpha: float) -> tuple[float, float]:
    from scipy.special import chdtri

    freedom = effects.size - 1
    low, high = (_solve_q(effects, within, target=float(chdtri(freedom, tail))) for tail in (alpha, 1 - alpha))
    return low, high


def _solve_q(effects: NDArray[np.float64], within: NDArray[np.float64], *, target: float) -> float:
    """tau2 with Q(tau2) = target, or 0 where Q(0) is already below it; Q falls as tau2 grows."""
    from scipy.optimize import brentq

    deviation = float(np.square(effects - effects.mean()).sum())
    # Q(tau2) <= deviation / tau2, so the root lies below deviation / target
    upper = deviation / target
    lower = upper * 1e-12
    if _q(lower, effects, within) <= target:
        return 0.0
    upper *= 1 + 1e-9  # so that rounding does not leave the root outside
    return float(brentq(lambda tau2: _q(tau2, effects, within) - target, lower, upper, xtol=1e-300, rtol=1e-12))


def _q(tau2: float, effects: NDArray[np.float64], within: NDArray[np.float64]) -> float:
    weights = 1 / (within + tau2)
    centre = float((weights * effects).sum() / weights.sum())
    return float((weights * np.square(effects - centre)).sum())
