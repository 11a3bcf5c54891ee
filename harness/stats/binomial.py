"""Clopper-Pearson bounds of a share of successes, at the sample size that the clusters are effectively worth.

For values that are 0 or 1 per unit. Differences of such values (-1, 0, 1) are not binary and take a bootstrap.

Where each unit is its own cluster this is plain Clopper-Pearson. In clusters the effective size is p (1 - p) / var(p),
and var(p) from one or two failures says nothing of the design effect: 80 of 80 in 20 templates gave at least .832 (20
observations), 79 of 80 gave .927. We depart from the source in two ways:

- while fewer than `FEW` clusters hold the rarer outcome, the size is at most the number of clusters;
- a lower bound is at most that of every sample with some of the same failures only, so that one failure more never
  raises it; an upper bound mirrors this.

Lower bounds at 2.5 % that missed where whole templates fail, each with chance w, and single units besides, with chance
s (3,000 samples each; fewer in `tests/stats/test_binomial.py`):

    templates   w     s      as published   here
    20 x 4     .10   .01     6.6 %          0.0 %
    40 x 4     .05   .02     9.4 %          0.0 %
    20 x 8     .10   .02    10.4 %          0.0 %

What stays: where many single failures show a small design effect, a whole template's failure so rare that no sample of
this size need hold one is not allowed for (100 x 8, w .03, s .06: 5.5 %).

Source: Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
estimated from survey data, Survey Methodology 24, 193-201; the cap at the number of units as in Parker et al. (2017),
National Center for Health Statistics Data Presentation Standards for Proportions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.clusters import check_error, check_threshold, cluster_means
from harness.stats.records import Side

FEW = 5
"""Where fewer clusters than this hold the rarer outcome, their spread does not tell the design effect."""
_SMALLEST_LOG_ERROR = np.log(1e-15)
_HALVINGS = 80


class Fewer(NamedTuple):
    """The sample, last, and before it those with 0, 1, ... of its failures, arranged as they are worth least.

    Of so many failures the arrangement that fills whole clusters first, in the order of how many they have, has both
    the largest variance and the fewest clusters with a failure. Units that are their own clusters have the sample only.

    Attributes:
        shares: of successes, [sample].
        sizes: effective, before the degrees of freedom count, [sample]; infinite where nothing varies.
        few: where the size is at most the number of clusters, [sample].
    """

    shares: NDArray[np.float64]
    sizes: NDArray[np.float64]
    few: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ClopperPearsonSampling:
    """The exact binomial distribution of a share, at the effective sample size.

    The lower bound at error e is the e quantile of Beta(x, n - x + 1), x = n p, with n the effective size at e, or the
    smallest such bound of samples with fewer failures; the upper bound mirrors it. p is the smallest error at which the
    bound reaches the threshold; 0 where the threshold is impossible under the data, and for clustered units never below
    1e-15 otherwise. Nothing is resampled.

    Attributes:
        estimate: share of successes.
        method: "clopper-pearson".
        clusters: how many clusters there are.
        units: how many values there are.
        effective: effective sample size p (1 - p) / var(p), at most `units`, before the degrees of freedom count.
        adjusted: True where the size is scaled by the degrees of freedom of the clusters.
        failures: the sample and those with fewer failures, for the lower bound.
        successes: the same with successes and failures exchanged, for the upper bound.
    """

    estimate: float
    method: str
    clusters: int
    units: int
    effective: float
    adjusted: bool
    failures: Fewer
    successes: Fewer

    def bound(self, error: float, *, side: Side) -> float:
        """One-sided confidence bound at this error, within [0, 1]."""
        check_error(error, side=side)
        if side == "upper":
            return 1 - self._exchanged().bound(error, side="lower")
        if self.estimate == 0:
            return 0.0
        from scipy.special import betaincinv

        successes, failures = self._shapes(error)
        return float(betaincinv(successes, failures + 1, error).min())

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """The p of H0: share <= threshold (>= for "less"): the smallest error at which the bound reaches it.

        A bound at the edge of what a share can be is no evidence: no success against a threshold of 0 gives 1.
        """
        check_threshold(threshold, alternative=alternative)
        if alternative == "less":
            return self._exchanged().p_value(1 - threshold, alternative="greater")
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
        costs more the smaller the error. The sizes beyond an error of one half mirror those below it. At most the
        number of clusters where few of them hold the rarer outcome.
        """
        return float(self._sizes(error)[-1])

    def _sizes(self, error: float) -> NDArray[np.float64]:
        sizes = self.failures.sizes
        if self.adjusted:
            from scipy.special import stdtrit

            # Both quantiles are 0 at one half; just beside it their ratio is the limit.
            tail = float(np.clip(min(error, 1 - error), 1e-16, 0.5 - 1e-6))
            ratio = float(stdtrit(self.units - 1, tail) / stdtrit(self.clusters - 1, tail))
            sizes = sizes * ratio**2
        return np.where(self.failures.few, np.minimum(sizes, self.clusters), sizes)

    def _shapes(self, error: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sizes = self._sizes(error)
        return self.failures.shares * sizes, (1 - self.failures.shares) * sizes

    def _tail(self, threshold: float, *, error: float) -> float:
        from scipy.special import betainc

        successes, failures = self._shapes(error)
        return float(betainc(successes, failures + 1, threshold).max())

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

    def _exchanged(self) -> ClopperPearsonSampling:
        return replace(self, estimate=1 - self.estimate, failures=self.successes, successes=self.failures)


def clopper_pearson(values: ArrayLike, *, clusters: Sequence[str]) -> ClopperPearsonSampling:
    """Distribution of the share of ones among `values` [unit].

    Where each unit is its own cluster the values are independent and the size is n: plain Clopper-Pearson. In clusters
    the size is p (1 - p) / var(p), var(p) from the cluster means, at most n, times the factor of `effective_size`. With
    no success, or no failure, var(p) is 0 and the design effect undefined: each cluster counts as one observation, the
    least that the data can be worth; at most that much with the rarer outcome in fewer than `FEW` clusters. No bound is
    narrower than that of a sample with fewer failures (or successes).

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
        own, other = (Fewer(*map(np.array, ([each], [float(units)], [False]))) for each in (share, 1 - share))
    else:
        held = np.rint(sample.means[0] * sample.size).astype(np.int64)
        own, other = (_fewer(each, size=sample.size) for each in (sample.size - held, held))
    effective = min(float(own.sizes[-1]), float(count)) if own.few[-1] else float(own.sizes[-1])
    adjusted = sample.size > 1 and share not in (0.0, 1.0)
    return ClopperPearsonSampling(share, "clopper-pearson", count, units, effective, adjusted, own, other)


def _fewer(failures: NDArray[np.int64], *, size: int) -> Fewer:
    """Of failures per cluster, `size` units in each: every number of them up to all, in its worst arrangement."""
    count, units = len(failures), len(failures) * size
    # How many failures a cluster already holds when the next one falls into it.
    before = np.concatenate([np.arange(number) for number in -np.sort(-failures)])
    total = np.arange(len(before) + 1)
    squares = _running(2 * before + 1)  # (k + 1)^2 - k^2
    with_failure, without_success = _running(before == 0), _running(before == size - 1)
    shares = 1 - total / units
    variance = (squares - total**2 / count) / (count - 1) / count / size**2
    # Clusters with equal shares (variance 0) are worth more than n independent units; they are counted as n.
    even = count * squares == total**2
    sizes = np.minimum(units, shares * (1 - shares) / np.where(even, 1.0, variance))
    sizes = np.where(even, np.where((total == 0) | (total == units), np.inf, units), sizes)
    return Fewer(shares, sizes, np.minimum(with_failure, count - without_success) < FEW)


def _running(added: NDArray[np.generic]) -> NDArray[np.int64]:
    """Sums of the first 0, 1, ... of what is added."""
    return np.concatenate([[0], np.cumsum(added, dtype=np.int64)])
