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
_Three = tuple[float | None, float | None, float | None]
"""A number with its interval, as far as there is one."""


@dataclass(frozen=True)
class CombinedSeeds:
    """Effects of k trained seeds combined, all in the metric's unit.

    Attributes:
        seeds: k.
        mean, low, high: the unweighted mean with its t interval on k - 1 degrees of freedom.
        tau: standard deviation between seeds (Paule-Mandel); None where a seed's variance is not known.
        tau_low, tau_high: its Q-profile interval; None with tau, and where no tau explains how near together the
            seeds lie. The interval is then empty, by chance (2.5 % of samples at tau = 0) or for variances that are
            too large; it is no proof of tau = 0.
        prediction_low, prediction_high: where one more seed, measured alike, would lie; None below five seeds.
        check_mean, check_low, check_high: Hartung-Knapp-Sidik-Jonkman, a check beside the mean; None where a
            seed's variance is 0 or not known.
    """

    seeds: int
    mean: float
    low: float
    high: float
    tau: float | None
    tau_low: float | None
    tau_high: float | None
    prediction_low: float | None
    prediction_high: float | None
    check_mean: float | None
    check_low: float | None
    check_high: float | None


def combine_seeds(effects: ArrayLike, *, variances: ArrayLike | None, alpha: float = ALPHA) -> CombinedSeeds:
    """The combination of seed effects.

    The mean is unweighted because the estimand is the mean over trainings, and t on seeds covers 95 % where the
    normal random-effects interval covers 83 to 88 %. Paule and Mandel (1982) and Q-profile (Viechtbauer 2007, Stat Med
    26:37) solve Q(tau2) = k - 1 and Q(tau2) = chi-square quantiles. Where Q(0) lies below the lower quantile too, no
    tau2 is in the set: it is empty (Viechtbauer 2007), and given as None. The prediction interval is the exact one for
    a further normal observation, mean +- t_{k-1} s sqrt(1 + 1/k). We depart from Higgins, Thompson and Spiegelhalter
    (2009, JRSS A 172:137), mean +- t_{k-2} sqrt(tau2 + SE2): at five seeds tau is often estimated as 0, and where it
    truly equals the seeds' own errors their interval covered a new seed's true effect in 88 % of 1,500 simulations.
    Neither the mean nor the prediction needs the seeds' variances.

    Args:
        effects: [seed].
        variances: [seed], squared standard error of each effect from its own units; 0 for exact numbers. None where
            that of some seed is not known.
        alpha: one-sided error of each end of each interval.

    Raises:
        StatisticsError: fewer than two seeds, unequal lengths, a negative variance, or identical effects.
    """
    row = finite_row(effects, what="seed effects", at_least=2)
    within = None if variances is None else finite_row(variances, what="seed variances", at_least=2)
    probability(alpha, what="alpha")
    if within is not None and (row.size != within.size or (within < 0).any()):
        raise StatisticsError(f"{row.size} effects and {within.size} variances; give one variance >= 0 per seed")
    if np.ptp(row) == 0:
        raise StatisticsError("no variation: all seeds have the same effect; were they trained and measured apart?")
    error = float(row.std(ddof=1)) / math.sqrt(row.size)
    mean, reach = float(row.mean()), t_quantile(1 - alpha, freedom=row.size - 1) * error
    unknown: _Three = (None, None, None)
    between = unknown if within is None else _between(row, within, alpha=alpha)
    prediction = _prediction(row, alpha=alpha)
    check = unknown if within is None else _hksj(row, within, alpha=alpha)
    return CombinedSeeds(row.size, mean, mean - reach, mean + reach, *between, *prediction, *check)


def k_of_k_lower_bound(k: int, *, alpha: float = 0.05) -> float:
    """The exact one-sided lower bound of the share of trainings that show a finding, after k of k did: alpha^(1/k).

    Clopper-Pearson at k successes of k; 5 of 5 gives 54.9 % at alpha = 0.05.

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


def _hksj(effects: NDArray[np.float64], within: NDArray[np.float64], *, alpha: float) -> _Three:
    """Hartung-Knapp-Sidik-Jonkman at Paule and Mandel's tau2, as statsmodels has it in `sd_eff_w_re_hksj`.

    Not by statsmodels, whose iteration for tau2 ends after 50 steps, solved or not: with variances of 1e-22 beside
    1e-6, as where nearly all clusters are equal, its mean was off by half of its error.
    """
    if (within == 0).any():
        return None, None, None
    weights = 1 / (within + _solve_q(effects, within, target=effects.size - 1.0))
    mean = float((weights * effects).sum() / weights.sum())
    error = math.sqrt(float((weights * np.square(effects - mean)).sum() / weights.sum()) / (effects.size - 1))
    reach = t_quantile(1 - alpha, freedom=effects.size - 1) * error
    return mean, mean - reach, mean + reach


def _between(effects: NDArray[np.float64], within: NDArray[np.float64], *, alpha: float) -> _Three:
    """Paule and Mandel's tau with its Q-profile interval, which is None and None where it is empty."""
    from scipy.special import chdtri

    freedom = effects.size - 1
    targets = (float(freedom), float(chdtri(freedom, alpha)), float(chdtri(freedom, 1 - alpha)))
    tau, low, high = (math.sqrt(_solve_q(effects, within, target=target)) for target in targets)
    return (tau, low, high) if high > 0 else (tau, None, None)


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
