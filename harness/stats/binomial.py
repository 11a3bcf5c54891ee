"""Clopper-Pearson bounds of a share of successes, at the sample size that the clusters are effectively worth.

For values that are 0 or 1 per unit. Differences of such values (-1, 0, 1) are not binary and take a bootstrap.

Source: Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
estimated from survey data, Survey Methodology 24, 193-201; the cap at the number of units as in Parker et al. (2017),
National Center for Health Statistics Data Presentation Standards for Proportions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError
from harness.stats.clusters import ROUNDING, check_error, check_threshold, cluster_means
from harness.stats.records import Side

_SMALLEST_LOG_ERROR = np.log(1e-15)
_HALVINGS = 80


@dataclass(frozen=True)
class ClopperPearsonSampling:
    """The exact binomial distribution of a share, at the effective sample size.

    The lower bound at error e is the e quantile of Beta(x, n - x + 1), x = n p, with n the effective size at e; the
    upper bound mirrors it. p is the smallest error at which the bound reaches the threshold; 0 where the threshold is
    impossible under the data, and for clustered units never below 1e-15 otherwise. Nothing is resampled.

    Attributes:
        estimate: share of successes.
        method: "clopper-pearson".
        clusters: how many clusters there are.
        units: how many values there are.
        effective: effective sample size p (1 - p) / var(p), at most `units`, before the degrees of freedom count.
        adjusted: True where the size is scaled by the degrees of freedom of the clusters.
    """

    estimate: float
    method: str
    clusters: int
    units: int
    effective: float
    adjusted: bool

    def bound(self, error: float, *, side: Side) -> float:
        """One-sided confidence bound at this error, within [0, 1]."""
        check_error(error, side=side)
        if side == "upper":
            return 1 - self._failures().bound(error, side="lower")
        if self.estimate == 0:
            return 0.0
        from scipy.special import betaincinv

        successes, failures = self._shape(error)
        return float(betaincinv(successes, failures + 1, error))

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """The p of H0: share <= threshold (>= for "less"): the smallest error at which the bound reaches it.

        A bound at the edge of what a share can be is no evidence: no success against a threshold of 0 gives 1.
        """
        check_threshold(threshold, alternative=alternative)
        if alternative == "less":
            return self._failures().p_value(1 - threshold, alternative="greater")
        if threshold < 0:
            return 0.0
        if threshold > 1 or self.estimate == 0:
            return 1.0
        if threshold == 0:
            return 0.0
        return self._tail(threshold, error=0.5) if not self.adjusted else self._smallest_error(threshold)

    def bound_monte_carlo_se(self, error: float, *, side: Side) -> float:
        """0: the bound is computed, not resampled."""
        check_error(error, side=side)
        return 0.0

    def effective_size(self, error: float) -> float:
        """Effective sample size at this one-sided error: scaled by (t_{n-1} / t_{clusters-1})^2 where adjusted.

        Korn and Graubard (1998), section 2: the variance itself is only known to clusters - 1 degrees of freedom, which
        costs more the smaller the error. The sizes beyond an error of one half mirror those below it.
        """
        if not self.adjusted:
            return self.effective
        from scipy.special import stdtrit

        # Both quantiles are 0 at one half; just beside it their ratio is the limit.
        tail = float(np.clip(min(error, 1 - error), 1e-16, 0.5 - 1e-6))
        ratio = float(stdtrit(self.units - 1, tail) / stdtrit(self.clusters - 1, tail))
        return self.effective * ratio**2

    def _shape(self, error: float) -> tuple[float, float]:
        size = self.effective_size(error)
        return self.estimate * size, (1 - self.estimate) * size

    def _tail(self, threshold: float, *, error: float) -> float:
        from scipy.special import betainc

        successes, failures = self._shape(error)
        return float(betainc(successes, failures + 1, threshold))

    def _smallest_error(self, threshold: float) -> float:
        # The bound at e reaches the threshold exactly where the tail, at e's own size, is at most e.
        low, high = _SMALLEST_LOG_ERROR, 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            error = float(np.exp(middle))
            if self._tail(threshold, error=error) <= error:
                high = middle
            else:
                low = middle
        return float(np.exp(high))

    def _failures(self) -> ClopperPearsonSampling:
        return replace(self, estimate=1 - self.estimate)


def clopper_pearson(values: ArrayLike, *, clusters: Sequence[str]) -> ClopperPearsonSampling:
    """Distribution of the share of ones among `values` [unit].

    Where each unit is its own cluster the values are independent and the size is n: plain Clopper-Pearson. In clusters
    the size is p (1 - p) / var(p), var(p) from the cluster means, at most n, times the factor of `effective_size`. With
    no success, or no failure, var(p) is 0 and the design effect undefined: each cluster counts as one observation, the
    least that the data can be worth.

    Raises:
        StatisticsError: a value is neither 0 nor 1, or values and clusters are refused by `cluster_means`.
    """
    sample = cluster_means(values, clusters=clusters)
    row = np.asarray(values, dtype=np.float64)
    strange = ~np.isin(row, (0.0, 1.0))
    if strange.any():
        place = int(np.argmax(strange))
        raise StatisticsError(
            f"value {place} is {row[place]:.6g}; method 'clopper-pearson' takes only 0 and 1. Differences of binary "
            "values take 'bootstrap-t' (fewer than 50 clusters) or 'bca'"
        )
    share, units, count = float(row.mean()), len(row), sample.count
    if sample.size == 1:
        return ClopperPearsonSampling(share, "clopper-pearson", count, units, float(units), adjusted=False)
    if share in (0.0, 1.0):
        return ClopperPearsonSampling(share, "clopper-pearson", count, units, float(count), adjusted=False)
    variance = float(sample.means[0].var(ddof=1)) / count
    # Clusters with equal shares (variance 0) are worth more than n independent units; they are counted as n.
    effective = min(units, share * (1 - share) / variance) if variance > ROUNDING else float(units)
    return ClopperPearsonSampling(share, "clopper-pearson", count, units, float(effective), adjusted=True)
