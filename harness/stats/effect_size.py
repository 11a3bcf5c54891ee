"""Hedges' g of paired values, standardised by the raw units' spread. Descriptive: it decides nothing.

d_av rather than d_z: the spread of the *differences* shrinks to nothing where prompts behave almost alike, and d_z
explodes (review, finding 35).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import cluster_codes, finite_row, probability
from harness.stats.student import t_quantile


@dataclass(frozen=True)
class HedgesG:
    """Hedges' g_av with an approximate 95 % interval from the jackknife over clusters; `d_av` is uncorrected."""

    g: float
    low: float
    high: float
    d_av: float
    clusters: int


def hedges_g_av(
    treated: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Sequence[str],
    alpha: float = 0.025,
) -> HedgesG:
    """Mean difference over the average standard deviation of both sides, corrected for small samples.

    d_av is equation 10 of Lakens (2013, Frontiers in Psychology 4:863): M_diff / ((SD_1 + SD_2) / 2). The correction
    is Hedges' (1981) 1 - 3 / (4 df - 1). We depart from Lakens in the degrees of freedom: clusters - 1, because units
    of one cluster are not independent. The interval is g +- t times the jackknife error over clusters.

    Args:
        treated: [unit].
        control: [unit], the same units.
        clusters: one id per unit.
        alpha: one-sided error of each end of the interval.

    Raises:
        StatisticsError: fewer than three clusters, unequal lengths, values that are not finite, or no spread at all.
    """
    first, second = finite_row(treated, what="treated values"), finite_row(control, what="control values")
    if first.size != second.size:
        raise StatisticsError(f"{first.size} treated and {second.size} control values; measure both on the same units")
    codes = cluster_codes(clusters, units=first.size)
    number = int(codes.max()) + 1
    if number < 3:
        raise StatisticsError(f"Hedges' g over {number} clusters; a jackknife interval needs at least 3")
    d_av = _d_av(first, second)
    left_out = np.array([_d_av(first[codes != code], second[codes != code]) for code in range(number)])
    error = float(np.sqrt((number - 1) / number * np.square(left_out - left_out.mean()).sum()))
    correction = 1 - 3 / (4 * (number - 1) - 1)
    reach = correction * error * t_quantile(1 - probability(alpha, what="alpha"), freedom=number - 1)
    return HedgesG(correction * d_av, correction * d_av - reach, correction * d_av + reach, d_av, number)


def _d_av(treated: NDArray[np.float64], control: NDArray[np.float64]) -> float:
    if treated.size < 2:
        raise StatisticsError(f"{treated.size} unit is left when one cluster is taken out; a spread needs two")
    if np.ptp(treated) == 0 and np.ptp(control) == 0:  # a rounded standard deviation of constants is not exactly 0
        raise StatisticsError("no variation: treated and control values are constant; no standardised effect exists")
    return float((treated - control).mean()) / ((float(treated.std(ddof=1)) + float(control.std(ddof=1))) / 2)
