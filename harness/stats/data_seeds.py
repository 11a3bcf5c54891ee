"""Whether two draws of prompts tell the same: the interval of the difference of two estimates, Holm over claims.

That the second estimate lies inside the first one's interval is another question, which 17 of 100 honest pairs fail
(review, finding 14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.stats.clusters import ROUNDING
from harness.stats.multiplicity import holm
from harness.stats.student import t_quantile

ALPHA = 0.05
"""Two-sided: a draw may differ either way."""


@dataclass(frozen=True)
class Draw:
    """One estimate with what it rests on.

    Attributes:
        estimate: in the metric's unit.
        low, high: its two-sided 95 % interval.
        clusters: how many there are.
        error: the standard error from the means of clusters, needed where the interval goes by the limits of the
            values (Gaffke, Clopper-Pearson); None where the interval's half-width is one, scaled.
    """

    estimate: float
    low: float
    high: float
    clusters: int
    error: float | None = None


@dataclass(frozen=True)
class SeedDifference:
    """Second minus first, with its 95 % interval and two-sided p; no interval (None) where neither draw varies."""

    difference: float
    low: float | None
    high: float | None
    p: float


def seed_difference(first: Draw, second: Draw) -> SeedDifference:
    """The difference of two independent estimates.

    Each one's standard error is that of its clusters' means where given, else the half-width of its interval over the
    t quantile of its clusters, which is exact for a t interval and close for a bootstrap; they are added as Welch does,
    with Satterthwaite's degrees of freedom. An error of 0 adds nothing: with as many clusters in both draws the pooled
    variance would say the same. Where both are 0 there is no interval, and p is the exact one of exchanging clusters:
    of all ways to deal n + m values into two draws, one lies as far apart as they do, or two where n = m.

    Raises:
        StatisticsError: fewer than two clusters, a standard error below 0, or an interval that is not finite where it
            is needed: nothing can be said of it.
    """
    from scipy.special import stdtr

    errors = [_standard_error(draw) for draw in (first, second)]
    difference = second.estimate - first.estimate
    variance = sum(error**2 for error in errors)
    if variance == 0:
        ways = math.comb(first.clusters + second.clusters, first.clusters)
        # rounding of two means of equal values is no difference
        as_far = 2 if first.clusters == second.clusters else 1
        same = math.isclose(first.estimate, second.estimate, rel_tol=ROUNDING)
        return SeedDifference(difference, None, None, 1.0 if same else as_far / ways)
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
    needed = (draw.estimate, draw.low, draw.high) if draw.error is None else (draw.estimate, draw.error)
    if draw.error is not None and draw.error < 0:
        raise StatisticsError(f"the standard error of a draw is {draw.error}; give one of 0 or above")
    if draw.clusters < 2 or not all(map(math.isfinite, needed)):
        raise StatisticsError(
            f"an estimate of {draw.estimate} [{draw.low}, {draw.high}] from {draw.clusters} clusters has no standard "
            "error; two clusters and a finite interval are needed"
        )
    if draw.error is not None:
        return draw.error
    return (draw.high - draw.low) / 2 / t_quantile(1 - ALPHA / 2, freedom=draw.clusters - 1)
