"""How many clusters decide: before measuring, for power; after an inconclusive result, for a narrow enough interval.

Both use the spread between clusters and the t distribution of their mean. Neither uses the observed effect: a number
of units computed from it is post-hoc power and ranges over two orders of magnitude (review, finding 7).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.declaration import ALPHA
from harness.errors import StatisticsError
from harness.stats.arguments import finite_number, probability
from harness.stats.student import t_quantile

MOST_CLUSTERS = 10_000_000
LEAST_POWER = 0.8
"""A claim whose power at twice the SESOI is below this is `underpowered` and is not to be registered."""
_NODES = 400
_HALVINGS = 30


@dataclass(frozen=True)
class Leg:
    """One condition of a claim as far as its power goes.

    Attributes:
        shift: how far the true effect lies beyond the threshold, in SDs between clusters.
        share: of the claim's clusters, those that this condition is measured on.
    """

    shift: float
    share: float = 1.0


@dataclass(frozen=True)
class ClustersNeeded:
    """Clusters at which the half-width is reached, with the 80 % interval that the SD's own uncertainty gives."""

    clusters: int
    low: int
    high: int


def clusters_for_power(
    sd: float,
    *,
    sesoi: float,
    effect: float | None = None,
    alpha: float = ALPHA,
    power: float = 0.8,
    controls: int = 1,
) -> int:
    """The fewest clusters with which the claim is supported at this power.

    Exact: 1 - beta = P(T' > t) for the noncentral t with n - 1 degrees of freedom and noncentrality
    (effect - sesoi) sqrt(n) / sd, raised to the number of controls, which all must be beaten and are taken as
    independent (correlated controls need fewer).

    Args:
        sd: standard deviation of the effect between clusters, from the discovery split.
        sesoi: the threshold that must be exceeded.
        effect: the true effect; twice the SESOI unless given.
        alpha: one-sided error.
        power: of the claim as a whole.
        controls: how many controls must be beaten.

    Raises:
        StatisticsError: the effect does not exceed the SESOI, or an argument is out of range.
    """
    finite_number(sd, what="sd", positive=True)
    finite_number(sesoi, what="sesoi", positive=True)
    true = 2 * sesoi if effect is None else finite_number(effect, what="effect")
    probability(alpha, what="alpha")
    probability(power, what="power")
    if true <= sesoi:
        raise StatisticsError(f"effect {true} does not exceed the SESOI {sesoi}; no number of clusters gives power")
    if controls < 1:
        raise StatisticsError(f"controls is {controls}; at least one must be beaten")
    return _fewest(lambda number: _power(number, shift=(true - sesoi) / sd, alpha=alpha) ** controls >= power)


def claim_power(legs: Sequence[Leg], *, clusters: int, alpha: float = ALPHA) -> float:
    """The power of a claim of several conditions, all of which must hold: the product of their powers.

    Exact for each condition by itself (noncentral t) and for independent ones; positively correlated conditions, such
    as differences of the same treated values, have more.

    Raises:
        StatisticsError: there are no conditions, or fewer than two clusters.
    """
    probability(alpha, what="alpha")
    if not legs or clusters < 2:
        raise StatisticsError(f"{len(legs)} conditions on {clusters} clusters have no power; give some of both")
    return math.prod(_power(_measured(clusters, share=leg.share), shift=leg.shift, alpha=alpha) for leg in legs)


def clusters_for_claim(legs: Sequence[Leg], *, alpha: float = ALPHA, power: float = LEAST_POWER) -> int:
    """The fewest clusters with which all conditions hold at this power.

    Raises:
        StatisticsError: a condition's true effect does not pass its threshold: no number of clusters gives power.
    """
    short = [place for place, leg in enumerate(legs) if not leg.shift > 0]
    if short or not legs:
        raise StatisticsError(
            f"condition {short[0] + 1} is not passed by the true effect; no number of clusters gives power"
            if short
            else "there are no conditions"
        )
    return _fewest(lambda number: claim_power(legs, clusters=number, alpha=alpha) >= power)


class Hurdle(NamedTuple):
    """What a condition must pass, in the metric's unit.

    Attributes:
        beyond: how far the true value lies beyond its threshold.
        sd: standard deviation between clusters.
        share: of the clusters, on which this condition is measured.
        reach: with Gaffke's bounds, how far the limit on the bound's side lies from the true value; 0 with any other
            interval.
    """

    beyond: float
    sd: float
    share: float
    reach: float = 0.0

    def leg(self, clusters: float, *, alpha: float) -> Leg:
        """As the t arithmetic takes it, less what Gaffke's bounds cost with so many clusters."""
        cost = 0.0
        if self.reach > 0 and math.isfinite(clusters) and math.isfinite(self.beyond):
            measured = _measured(clusters, share=self.share)
            cost = _unseen_cost(self.reach, se=self.sd / math.sqrt(measured), clusters=measured, alpha=alpha)
        return Leg((self.beyond - cost) / self.sd, self.share)


def clusters_for_hurdles(hurdles: Sequence[Hurdle], *, alpha: float = ALPHA, power: float = LEAST_POWER) -> int:
    """`clusters_for_claim`, with what Gaffke's bounds cost at that number.

    At 80 % asked, simulated with the bounds themselves (`tests/stats/test_power.py`), the number has 77 to 84 %, and up
    to 92 % where most values lie near the limit that the bound looks to.

    Raises:
        StatisticsError: as `clusters_for_claim`.
    """
    clusters_for_claim([each.leg(math.inf, alpha=alpha) for each in hurdles], alpha=alpha, power=power)

    def enough(number: int) -> bool:
        legs = [each.leg(number, alpha=alpha) for each in hurdles]
        return all(leg.shift > 0 for leg in legs) and claim_power(legs, clusters=number, alpha=alpha) >= power

    return _fewest(enough)


def clusters_for_half_width(sd: float, *, half_width: float, clusters: int, alpha: float = ALPHA) -> ClustersNeeded:
    """The fewest clusters at which a t interval's half-width, t_{n-1} sd / sqrt(n), is at most `half_width`.

    Args:
        sd: standard deviation between clusters.
        half_width: to be reached.
        clusters: how many clusters the sd was estimated from; sd sqrt(df / chi2) gives its 80 % interval.
        alpha: one-sided error.

    Raises:
        StatisticsError: an argument is out of range.
    """
    from scipy.special import chdtri

    finite_number(sd, what="sd", positive=True)
    finite_number(half_width, what="half_width", positive=True)
    probability(alpha, what="alpha")
    if clusters < 2:
        raise StatisticsError(f"a standard deviation between {clusters} clusters is not defined; measure at least 2")
    freedom = clusters - 1
    # chdtri inverts the upper tail: chdtri(df, 0.1) is the 90th percentile, which gives the smaller sd
    least, most = (sd * math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in (0.1, 0.9))

    def needed(spread: float) -> int:
        return _fewest(lambda number: half_width_of(spread, clusters=number, alpha=alpha) <= half_width)

    return ClustersNeeded(clusters=needed(sd), low=needed(least), high=needed(most))


def half_width_of(sd: float, *, clusters: int, alpha: float = ALPHA) -> float:
    """The half-width of the t interval of a mean over clusters."""
    return t_quantile(1 - alpha, freedom=clusters - 1) * sd / math.sqrt(clusters)


def bounded_half_width(sd: float, *, clusters: int, reaches: tuple[float, float], alpha: float = ALPHA) -> float:
    """Half of what Gaffke's two bounds lie apart: `half_width_of`, and what the limits cost on either side.

    Args:
        sd: standard deviation between clusters.
        clusters: how many.
        reaches: how far the lower and the upper limit lie from the mean.
        alpha: one-sided error of each bound.
    """
    se = sd / math.sqrt(clusters)
    costs = [_unseen_cost(reach, se=se, clusters=clusters, alpha=alpha) for reach in reaches if reach > 0]
    return half_width_of(sd, clusters=clusters, alpha=alpha) + sum(costs) / 2


def sd_from_half_width(half_width: float, *, clusters: int, alpha: float = ALPHA) -> float:
    """The standard deviation between clusters whose t interval would have this half-width.

    For a bootstrap or binomial interval this is the *equivalent* SD: it carries that interval's width to another
    number of clusters by the square-root law.
    """
    return half_width * math.sqrt(clusters) / t_quantile(1 - alpha, freedom=clusters - 1)


def _measured(clusters: float, *, share: float) -> int:
    """Of so many clusters those that a condition with this share is measured on."""
    return max(2, math.floor(share * clusters))


def _unseen_cost(reach: float, *, se: float, clusters: int, alpha: float) -> float:
    """How much farther from the mean Gaffke's bound lies than without the part that was not seen.

    That part weighs B ~ Beta(1, n) and counts as `reach` away, so the bound lies about the 1 - alpha quantile of
    se Z + reach B from the mean, Z normal; less that of se Z alone. B's own quantile on top of that of the mean would
    be too much: the quantile of a sum is less than the sum of quantiles, for an SD of .25 and a reach of 1.2 by half of
    all clusters. B's mean and variance alone would be too little where the SD is small, since B is skewed.
    """
    from scipy.special import ndtr, ndtri

    # Nodes for the integral over B, P(B > b) = (1 - b)^n = w^4: dense where little is beyond.
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    unseen = -np.expm1(4 * np.log(nodes) / clusters)
    weights = nodes**3 / (nodes**3).sum()
    margin = -float(ndtri(alpha)) * se
    low, high = 0.0, reach
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beyond = float(weights @ ndtr((reach * unseen - margin - middle) / se))
        low, high = (middle, high) if beyond > alpha else (low, middle)
    return high


def _power(clusters: int, *, shift: float, alpha: float) -> float:
    if shift == math.inf:  # a margin that never fails
        return 1.0
    from scipy.special import nctdtr

    critical = t_quantile(1 - alpha, freedom=clusters - 1)
    return 1 - float(nctdtr(clusters - 1, shift * math.sqrt(clusters), critical))


def _fewest(enough: Callable[[int], bool]) -> int:
    """The smallest number of clusters, from 2, that is enough: doubled until it is, then halved into."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_CLUSTERS:
            raise StatisticsError(f"more than {MOST_CLUSTERS:,} clusters would be needed; nobody can measure that")
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
