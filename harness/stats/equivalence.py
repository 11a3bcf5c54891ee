"""Whether an effect lies inside a margin: two one-sided tests (Schuirmann 1987), and non-inferiority.

Not rejecting a difference is never support: the null here is that the effect lies *outside*. Each of the two tests is
one-sided at the protocol's 0.025, which corresponds to the 95 % interval lying inside the margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.stats.arguments import finite_number
from harness.stats.records import Sampling


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests of one effect: `p` is the larger of the two."""

    p: float
    p_above_low: float
    p_below_high: float


@dataclass(frozen=True)
class StratifiedTost:
    """Two one-sided tests in every stratum: `p` is the largest, found in `worst`; all strata must hold."""

    p: float
    worst: str
    strata: Mapping[str, Tost]


def tost(sampling: Sampling, *, low: float, high: float) -> Tost:
    """The two one-sided tests of H0: effect <= low or effect >= high.

    Raises:
        StatisticsError: the margin is empty or not finite.
    """
    finite_number(low, what="lower end of the margin")
    finite_number(high, what="upper end of the margin")
    if not low < high:
        raise StatisticsError(f"the margin [{low}, {high}] is empty; give low < high")
    above = sampling.p_value(low, alternative="greater")
    below = sampling.p_value(high, alternative="less")
    return Tost(p=max(above, below), p_above_low=above, p_below_high=below)


def tost_by_stratum(samplings: Mapping[str, Sampling], *, low: float, high: float) -> StratifiedTost:
    """The two one-sided tests in every declared stratum.

    Strata are tested apart because opposite errors cancel in their pooled mean (review, finding 10). All must hold, so
    the largest p is the p of their intersection and needs no correction.

    Raises:
        StatisticsError: there is no stratum, or the margin is empty.
    """
    if not samplings:
        raise StatisticsError("no strata given; pass one sampling distribution for each declared stratum")
    strata = {name: tost(sampling, low=low, high=high) for name, sampling in samplings.items()}
    worst = max(strata, key=lambda name: strata[name].p)
    return StratifiedTost(p=strata[worst].p, worst=worst, strata=strata)


def non_inferiority(sampling: Sampling, margin: float) -> float:
    """The p-value of H0: effect >= margin; small where the effect costs less than the margin.

    Raises:
        StatisticsError: the margin is not finite.
    """
    return sampling.p_value(finite_number(margin, what="margin"), alternative="less")
