"""Claims without a sampling unit: weights alone, or every input enumerated. A number, its rank and its distance.

There is no interval: nothing was sampled, and a bootstrap over heads or matrix entries would resample the population
itself. Several subjects make one statistic (their mean), not a family (review, finding 15).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.arguments import direction, finite_number, finite_row
from harness.stats.ranks import ENOUGH_SETS, percentile_member, population_rank

LARGEST_SHARE = 0.05
"""Where the population has 20 sets or more, the subject must be among this share of it."""


@dataclass(frozen=True)
class ExactResult:
    """An exact claim judged.

    Attributes:
        value: the subject's number.
        rank: its rank among `of` sets, its own included; ties count against it.
        of: N.
        percentile95: the 95th-percentile member of the others (the 5th for `alternative="less"`).
        distance: how far the value lies beyond that member in the claimed direction; this meets the SESOI.
        runner_up: the most extreme of the others.
        holds: whether the claim is supported.
        reason: why, with the numbers.
    """

    value: float
    rank: int
    of: int
    percentile95: float
    distance: float
    runner_up: float
    holds: bool
    reason: str


def exact_claim(
    value: float, population: ArrayLike, *, sesoi: float, alternative: Literal["greater", "less"]
) -> ExactResult:
    """The verdict of an exact claim: far enough beyond the population's 95th percentile, and in its top 5 %.

    The rank is asked for only where N >= 20; with fewer sets the distance alone decides.

    Args:
        value: the subject's number.
        population: the other sets' numbers, [set], without the subject's own.
        sesoi: the smallest distance of interest, in the number's unit.
        alternative: the direction of the claim.

    Raises:
        StatisticsError: there are no others, a value is not finite, or the SESOI is not positive.
    """
    sign = direction(alternative)
    others = finite_row(population, what="values of the other sets")
    finite_number(sesoi, what="sesoi", positive=True)
    rank = population_rank(value, others, alternative=alternative)
    bar = percentile_member(others, [f"{index:09d}" for index in range(others.size)], alternative=alternative).value
    distance = sign * (float(value) - bar)
    in_top = rank.of < ENOUGH_SETS or rank.rank / rank.of <= LARGEST_SHARE
    far = distance >= sesoi
    reason = (
        f"{value:.4g} ranks {rank.rank} of {rank.of}; it lies {distance:.4g} beyond the population's 95th percentile "
        f"({bar:.4g}), {'at least' if far else 'less than'} the {sesoi:.4g} asked for"
    )
    if not in_top:
        reason += f"; rank {rank.rank} of {rank.of} is not among the top {LARGEST_SHARE:.0%}"
    return ExactResult(
        value=float(value),
        rank=rank.rank,
        of=rank.of,
        percentile95=bar,
        distance=distance,
        runner_up=float(sign * np.max(sign * others)),
        holds=bool(far and in_top),
        reason=reason,
    )
