"""Whether two draws of prompts tell the same: the interval of the difference of two estimates, Holm over claims.

That the second estimate lies inside the first one's interval is another question, which 17 of 100 honest pairs fail
(review, finding 14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.stats.multiplicity import holm
from harness.stats.student import t_quantile

ALPHA = 0.05
"""Two-sided: a draw may differ either way."""


@dataclass(frozen=True)
class Draw:
    """One estimate: with its two-sided 95 % interval and the number of clusters that it rests on."""

    estimate: float
    low: float
    high: float
    clusters: int


@dataclass(frozen=True)
class SeedDifference:
    """Second minus first, with its 95 % interval and two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def seed_difference(first: Draw, second: Draw) -> SeedDifference:
    """The difference of two independent estimates.

    Each one's standard error is the half-width of its interval over the t quantile of its clusters, which is exact for
    a t interval and close for a bootstrap; they are added as Welch does, with Satterthwaite's degrees of freedom.

    Raises:
        StatisticsError: fewer than two clusters, or an interval that is not finite: nothing can be said of it.
    """
    from scipy.special import stdtr

    errors = [_standard_error(draw) for draw in (first, second)]
    difference = second.estimate - first.estimate
    variance = sum(error**2 for error in errors)
    if variance == 0:
        return SeedDifference(difference, difference, difference, 1.0 if difference == 0 else 0.0)
    parts = (error**4 / (draw.clusters - 1) for error, draw in zip(errors, (first, second), strict=True))
    freedom = max(1, math.floor(variance**2 / sum(parts)))  # rounded down: the wider interval
    error = math.sqrt(variance)
    reach = t_quantile(1 - ALPHA / 2, freedom=freedom) * error
    p = 2 * float(stdtr(freedom, -abs(difference) / error))
    return SeedDifference(difference, difference - reach, difference + reach, p)


def adjusted_by_claim(p_by_claim: Sequence[Sequence[float]]) -> list[float]:
    """The adjusted p of each claim: Bonferroni over its own conditions, which hang together, then Holm over claims.

    Raises:
        StatisticsError: no claims, or one without conditions.
    """
    if any(not conditions for conditions in p_by_claim):
        raise StatisticsError("a claim without conditions has no p; leave it out")
    return [float(p) for p in holm([min(1.0, len(each) * min(each)) for each in p_by_claim])]


def _standard_error(draw: Draw) -> float:
    if draw.clusters < 2 or not all(map(math.isfinite, (draw.estimate, draw.low, draw.high))):
        raise StatisticsError(
            f"an estimate of {draw.estimate} [{draw.low}, {draw.high}] from {draw.clusters} clusters has no standard "
            "error; two clusters and a finite interval are needed"
        )
    return (draw.high - draw.low) / 2 / t_quantile(1 - ALPHA / 2, freedom=draw.clusters - 1)
