"""The bootstrap-t distribution of a mean over clusters: each resample studentised by its own standard error.

It answers the two questions of the `Sampling` protocol, the bound at an error and the error at which the bound reaches
a threshold, from the same stored endpoints, so that each answer is the inverse of the other. The method of choice below
50 clusters; which method a claim uses is fixed by its declaration, not here. From 50 clusters on: `harness.stats.bca`.

Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.stats.clusters import (
    ROUNDING,
    ClusterMeans,
    check_error,
    check_threshold,
    draw_clusters,
    is_constant,
    refuse_constant,
)
from harness.stats.records import Side


@dataclass(frozen=True, eq=False)
class EndpointSampling:
    """A confidence distribution: each resample gives one endpoint, and bounds are order statistics of the endpoints.

    With B resamples the lower bound at error e is the k-th smallest endpoint, k = floor(e (B + 1)), and -inf where
    k = 0. p = (1 + endpoints short of the threshold) / (B + 1), never below 1 / (B + 1), is its exact inverse: the
    bound at error p reaches the threshold, and at any smaller error it does not.

    Attributes:
        estimate: the estimate, in the metric's unit.
        method: name of the method.
        clusters: how many clusters were resampled.
        lower_points: endpoints [resample] for lower bounds, ascending; may hold infinities.
        upper_points: endpoints [resample] for upper bounds, ascending. They differ from `lower_points` only in
            resamples without a defined statistic, which stand as -inf there and as +inf here, so that they tighten
            neither bound.
    """

    estimate: float
    method: str
    clusters: int
    lower_points: NDArray[np.float64]
    upper_points: NDArray[np.float64]

    def bound(self, error: float, *, side: Side) -> float:
        """One-sided confidence bound at this error; infinite where the resamples cannot tell."""
        check_error(error, side=side)
        rank = self._rank(error)
        if side == "lower":
            return float(self.lower_points[rank - 1]) if rank else -math.inf
        return float(self.upper_points[-rank]) if rank else math.inf

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """The p of H0: effect <= threshold (>= for "less"): the smallest error at which the bound reaches it."""
        check_threshold(threshold, alternative=alternative)
        if alternative == "greater":
            short = np.count_nonzero(self.lower_points < threshold)
        else:
            short = np.count_nonzero(self.upper_points > threshold)
        return float((1 + short) / (1 + len(self.lower_points)))

    def bound_monte_carlo_se(self, error: float, *, side: Side) -> float:
        """Standard error that the finite number of resamples gives the bound, in the metric's unit; inf where unknown.

        The rank of a quantile over B resamples is binomial with SD sqrt(B e (1 - e)); the endpoints one such SD to
        either side of the bound turn ranks into the metric's unit.
        """
        check_error(error, side=side)
        points = self.lower_points if side == "lower" else -self.upper_points[::-1]
        rank_sd = math.sqrt(len(points) * error * (1 - error))
        return spacing_se(points, rank=self._rank(error) - 1, rank_sd=rank_sd)

    def _rank(self, error: float) -> int:
        # The small number keeps k / (B + 1), which is a p of ours, from falling below rank k by rounding.
        return math.floor(error * (len(self.lower_points) + 1) + 1e-9)


def bootstrap_t(sample: ClusterMeans, *, rng: np.random.Generator, resamples: int) -> EndpointSampling:
    """Studentised bootstrap distribution of the mean over clusters (Efron and Tibshirani 1993, eq. 12.22).

    Each resample's endpoint is estimate - se t*, t* = (mean* - estimate) / se*. A resample of zero spread counts as
    t* = +-inf by the sign of its deviation: dropping such resamples takes the widest ones away, and lower bounds of
    near-ceiling accuracies then miss 17-22 % instead of 2.5 %. With neither spread nor deviation t* is undefined and
    counts against both bounds.

    Raises:
        StatisticsError: the cluster means do not vary, or rng or resamples are refused.
    """
    refuse_constant(sample.means, what="cluster means")
    means = sample.means[0]
    estimate = float(means.mean())
    drawn = draw_clusters(rng, count=sample.count, resamples=resamples)
    t_lower, t_upper = studentised(means - estimate, drawn)
    se = float(means.std(ddof=1)) / math.sqrt(sample.count)
    lower, upper = np.sort(estimate - se * t_lower), np.sort(estimate - se * t_upper)
    return EndpointSampling(estimate, "bootstrap-t", sample.count, lower, upper)


def studentised(
    centred: NDArray[np.float64], drawn: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """t* of each resample, twice: with the undefined ones at +inf (for lower bounds) and at -inf (for upper bounds).

    Args:
        centred: cluster means minus their mean, [cluster].
        drawn: indices [resample, cluster].
    """
    samples = centred[drawn]
    deviation = samples.mean(axis=1)
    flat = is_constant(samples)
    se = np.where(flat, 1.0, samples.std(axis=1, ddof=1)) / math.sqrt(len(centred))
    infinite = np.where(deviation > 0, np.inf, -np.inf)
    t = np.where(flat, infinite, deviation / se)
    undefined = flat & (np.abs(deviation) <= ROUNDING * np.abs(centred).max())
    return np.where(undefined, np.inf, t), np.where(undefined, -np.inf, t)


def spacing_se(points: NDArray[np.float64], *, rank: int, rank_sd: float) -> float:
    """Standard error of an order statistic: the SD of its rank times the spacing of the points around it."""
    steps = max(1, round(rank_sd))
    low, high = max(rank - steps, 0), min(rank + steps, len(points) - 1)
    if rank < 0 or not (math.isfinite(points[low]) and math.isfinite(points[high])):
        return math.inf
    return float(points[high] - points[low]) / (high - low) * rank_sd
