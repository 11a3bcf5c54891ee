"""A subject's place in its population of matched components. The rank is descriptive; it supports nothing alone.

Subjects are selected for being extreme, so that even in untrained networks they outrank most others (review, finding
1). Which sets are in the population is answered in `matched_sets`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError
from harness.stats.arguments import direction, finite_number, finite_row, probability

ENOUGH_SETS = 20
"""Below this a rank cannot reach 1 in 20: there is a rank and no p."""


@dataclass(frozen=True)
class Rank:
    """Rank of the subject among `of` sets, its own included; 1 is the most extreme. `p` is None below 20 sets."""

    rank: int
    of: int
    p: float | None


@dataclass(frozen=True)
class Member:
    """One actual member of a population: the `position`-th of `of` members, counted from the mildest."""

    name: str
    value: float
    position: int
    of: int


def population_rank(own: float, others: ArrayLike, *, alternative: Literal["greater", "less"] = "greater") -> Rank:
    """The rank of the subject's own value among all, itself included; ties count against the subject.

    Where `others` is all of the population, p = rank / N is exact; where it is a uniform draw of K of them, p is
    (1 + b) / (1 + K), which is the same formula.

    Raises:
        StatisticsError: there are no others, or a value is not finite.
    """
    sign = direction(alternative)
    population = finite_row(others, what="values of the other sets")
    rank = 1 + int((sign * population >= sign * finite_number(own, what="the subject's value")).sum())
    of = population.size + 1
    return Rank(rank=rank, of=of, p=rank / of if of >= ENOUGH_SETS else None)


def percentile_member(
    values: ArrayLike,
    names: Sequence[str],
    *,
    q: float = 0.95,
    alternative: Literal["greater", "less"] = "greater",
) -> Member:
    """The member at the q-th quantile: the ceil(q N)-th from the mildest, always an actual set, never interpolated.

    Choose it on the discovery split and measure it again on confirmation. Equal values are ordered by name, so that
    the order in which components are listed does not choose the member.

    Raises:
        StatisticsError: no values, a name for each is missing, names repeat, or q is outside (0, 1).
    """
    row = direction(alternative) * finite_row(values, what="values of the population")
    if len(names) != row.size or len(set(names)) != len(names):
        raise StatisticsError(f"{row.size} values but {len(set(names))} distinct names; give each set its own name")
    # 0.95 * 60 is a little above 57 in floating point; without rounding its ceiling would be 58
    position = math.ceil(round(probability(q, what="q") * row.size, 9))
    order = sorted(range(row.size), key=lambda index: (row[index], names[index]))
    chosen = order[position - 1]
    value = float(np.asarray(values, dtype=np.float64)[chosen])
    return Member(name=names[chosen], value=value, position=position, of=row.size)
