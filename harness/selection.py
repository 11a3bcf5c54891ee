"""How stable a selection of components is: in half of the prompts, in other prompts, and in permuted ones.

Discovery selects heads by a threshold. Three questions say what the selection is worth: which share of random halves of
the templates selects each head again (stability selection, Meinshausen and Buhlmann 2010, section 2); how alike two
selections from disjoint samples are, beside two random sets of those sizes; and whether permuted labels select the same
heads, beside random ones. They describe; no verdict follows from them. numpy alone: no torch, no pytest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from math import comb
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import cluster_codes
from harness.stats.clusters import check_generator

HALVES = 20
FEWEST_CLUSTERS = 4
"""Four clusters have six halves of two; fewer have nothing to sample."""

Columns = NDArray[np.intp]
"""The units of a half, as their places in the row of all units."""
Classes = Mapping[str, Collection[str]]
"""The names that a procedure selects, by class: the same classes for all units and for some of them."""


@dataclass(frozen=True)
class Overlap:
    """How alike two selections among the same candidates are, beside what chance makes of their sizes.

    Attributes:
        first: names selected in one sample.
        second: names selected in the other.
        of: candidates that either could have selected.
        jaccard: shared names as a share of all names in either; 1 where both are empty.
        chance: expected Jaccard index of two random sets of these sizes. Chance is no other explanation than drawing
            blindly: a procedure that always prefers the same heads beats it. Permuted labels show that.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    of: int
    jaccard: float
    chance: float

    @property
    def comparable(self) -> bool:
        """Whether either selected anything; two empty selections have index 1, which would look like agreement."""
        return bool(self.first or self.second)

    def text(self) -> str:
        """One line: sizes, shared names, Jaccard index, chance."""
        if not self.comparable:
            return f"neither sample selected any of {self.of}"
        shared = len(set(self.first) & set(self.second))
        sizes = f"{len(self.first)} and {len(self.second)} of {self.of} selected, {shared} shared"
        return f"{sizes}: Jaccard {self.jaccard:.3f} ({self.chance:.3f} by chance)"


@dataclass(frozen=True)
class Permuted:
    """What discovery selects where labels are permuted, so that there is nothing to find.

    Attributes:
        draws: how many permutations discovery was run on.
        of: candidates.
        size: how many names the true labels select.
        selected: mean number of names that reached the threshold.
        jaccard: mean Jaccard index of those names with the true selection.
        chance: mean of what random sets of the same sizes would reach.
    """

    draws: int
    of: int
    size: int
    selected: float
    jaccard: float
    chance: float

    @property
    def comparable(self) -> bool:
        """Whether both selected anything; with one of them empty the index is 0 or, by its convention, 1."""
        return self.size > 0 and self.selected > 0

    def text(self) -> str:
        """One line: how many names permuted labels select, and how much like the true selection they are."""
        found = f"{self.draws} permutations select {self.selected:.2f} of {self.of} on average"
        if not self.comparable:
            return found
        return f"{found}: Jaccard {self.jaccard:.3f} with the selection ({self.chance:.3f} by chance)"


def half_samples(clusters: Sequence[str], *, rng: np.random.Generator, halves: int = HALVES) -> list[Columns]:
    """The units of each random half of the clusters, in their order: whole clusters, floor(k / 2) of k.

    Halves are drawn independently of each other, so two may be equal where clusters are few.

    Raises:
        StatisticsError: fewer than four clusters, no halves, or no generator.
    """
    codes, count = _codes(clusters, rng=rng)
    if isinstance(halves, bool) or not isinstance(halves, int | np.integer) or halves < 1:
        raise StatisticsError(f"halves is {halves!r}; give a whole number above 0, such as {HALVES}")
    drawn = (rng.permutation(count)[: count // 2] for _ in range(halves))
    return [np.flatnonzero(np.isin(codes, half)) for half in drawn]


def disjoint_halves(clusters: Sequence[str], *, rng: np.random.Generator) -> tuple[Columns, Columns]:
    """The units of two random halves that share no cluster; of an odd number of clusters one is left out.

    Raises:
        StatisticsError: fewer than four clusters, or no generator.
    """
    codes, count = _codes(clusters, rng=rng)
    order = rng.permutation(count)
    size = count // 2
    return np.flatnonzero(np.isin(codes, order[:size])), np.flatnonzero(np.isin(codes, order[size : 2 * size]))


def class_frequencies(
    select: Callable[[Columns], Classes], clusters: Sequence[str], *, rng: np.random.Generator, halves: int = HALVES
) -> dict[str, dict[str, float]]:
    """By class, the share of random half-samples of the clusters that select each name, the most frequent first.

    Names that are never selected are absent. The share is no probability that a name belongs to the circuit: halves
    overlap, and a head that is large for another reason is selected as often.

    Args:
        select: the names of each class that discovery selects from the units of a half, given as their places.
        clusters: one id per unit (its template); clusters are drawn whole, since units of one template agree.
        rng: draws the halves.
        halves: how many.

    Raises:
        StatisticsError: fewer than four clusters, no halves, no generator, or a selection that is a bare string.
    """
    found = [select(columns) for columns in half_samples(clusters, rng=rng, halves=halves)]
    return {name: frequencies([each[name] for each in found]) for name in found[0]}


def over_splits(
    select: Callable[[Columns], Classes], clusters: Sequence[str], *, classes: Collection[str], rng: np.random.Generator
) -> str:
    """In words, how alike the selections of two disjoint halves are over 20 splits: mean, least and largest Jaccard.

    Splits of which neither half selects anything are left out and counted: their index of 1 is no agreement.

    Args:
        select: the names of each class that discovery selects from the units of a half.
        clusters: one id per unit.
        classes: those to speak of, in this order.
        rng: draws the splits.
    """
    splits = [disjoint_halves(clusters, rng=rng) for _ in range(HALVES)]
    pairs = [(select(one), select(other)) for one, other in splits]
    told = [_alike(name, [(one[name], other[name]) for one, other in pairs]) for name in classes]
    return ", ".join(told) or "no class has names"


def frequencies(selections: Sequence[Collection[str]]) -> dict[str, float]:
    """Share of the selections that hold each name, the most frequent first, then in alphabetical order.

    Raises:
        StatisticsError: no selections, or one that is a bare string.
    """
    if not selections:
        raise StatisticsError("no selections are given; a frequency needs at least one")
    counts = Counter(name for selection in selections for name in _names(selection))
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: counts[name] / len(selections) for name in ranked}


def jaccard(first: Collection[str], second: Collection[str]) -> float:
    """Shared names as a share of all names in either selection.

    Two empty selections have index 1: they are equal, and two random empty sets are too, so `chance_jaccard(0, 0)` is 1
    as well and nothing looks better than chance.
    """
    one, other = _names(first), _names(second)
    either = one | other
    return len(one & other) / len(either) if either else 1.0


def chance_jaccard(n_first: int, n_second: int, *, of: int) -> float:
    """Expected Jaccard index of two independent, uniformly drawn sets of these sizes: exact.

    The number of shared names k is hypergeometric, and the index is k / (n_first + n_second - k).

    Raises:
        StatisticsError: a size below 0 or above the number of candidates, or no candidates.
    """
    if of < 1:
        raise StatisticsError(f"of is {of}; give the number of candidates that could have been selected")
    for size in (n_first, n_second):
        if not 0 <= size <= of:
            raise StatisticsError(f"a selection of {size} among {of} candidates cannot be")
    if n_first == n_second == 0:
        return 1.0
    ways = comb(of, n_second)
    return sum(
        comb(n_first, k) * comb(of - n_first, n_second - k) / ways * k / (n_first + n_second - k)
        for k in range(1, min(n_first, n_second) + 1)
    )


def overlap(first: Collection[str], second: Collection[str], *, of: int) -> Overlap:
    """How alike two selections among `of` candidates are, beside chance."""
    one, other = _listed(first), _listed(second)
    return Overlap(one, other, of, jaccard(one, other), chance_jaccard(len(one), len(other), of=of))


def class_overlaps(
    first: Classes, second: Classes, *, of: Mapping[str, int], of_second: Mapping[str, int] | None = None
) -> dict[str, Overlap]:
    """`overlap` of each class that has candidates.

    Args:
        first: what one sample selects, by class.
        second: what the other one selects.
        of: how many candidates there are, by class.
        of_second: how many in the second sample, where each has its own. Chance is then that of the smaller number
            (never below what was selected): among more candidates the same overlap would look rarer.
    """
    found = {}
    for name in dict.fromkeys((*of, *(of_second or of))):
        pool = min(of.get(name, 0), (of_second or of).get(name, 0))
        chosen = max(len(set(first[name])), len(set(second[name])), 1)
        found[name] = overlap(first[name], second[name], of=max(pool, chosen))
    return found


def permuted(selected: Collection[str], draws: Sequence[Collection[str]], *, of: int) -> Permuted:
    """What permuted labels select, beside the true selection among `of` candidates.

    Args:
        selected: names selected with the true labels.
        draws: names selected with permuted labels, one selection per permutation.
        of: candidates.

    Raises:
        StatisticsError: no draws, or more names than candidates.
    """
    if not draws:
        raise StatisticsError("no draws are given; run discovery on permuted labels at least once")
    compared = [overlap(selected, draw, of=of) for draw in draws]
    return Permuted(
        draws=len(draws),
        of=of,
        size=len(_names(selected)),
        selected=fmean(len(each.second) for each in compared),
        jaccard=fmean(each.jaccard for each in compared),
        chance=fmean(each.chance for each in compared),
    )


def class_permuted(selected: Classes, draws: Sequence[Classes], *, of: Mapping[str, int]) -> dict[str, Permuted]:
    """`permuted` of each class that has candidates; `of` says how many."""
    return {name: permuted(selected[name], [draw[name] for draw in draws], of=count) for name, count in of.items()}


def _alike(name: str, pairs: Sequence[tuple[Collection[str], Collection[str]]]) -> str:
    compared = [jaccard(one, other) for one, other in pairs if one or other]
    empty = f"neither half selects any in {len(pairs) - len(compared)} of {len(pairs)}"
    if not compared:
        return f"{name} {empty}"
    left_out = f"; {empty}" if len(compared) < len(pairs) else ""
    return f"{name} {fmean(compared):.2f} ({min(compared):.2f} to {max(compared):.2f}{left_out})"


def _codes(clusters: Sequence[str], *, rng: np.random.Generator) -> tuple[Columns, int]:
    check_generator(rng)
    codes = cluster_codes(clusters, units=len(clusters))
    count = int(codes.max()) + 1 if codes.size else 0
    if count < FEWEST_CLUSTERS:
        raise StatisticsError(
            f"{count} clusters are given; half-samples need at least {FEWEST_CLUSTERS}. Draw prompts from more "
            "templates; halves of units within a template would look stable without being so"
        )
    return codes, count


def _listed(selection: Collection[str]) -> tuple[str, ...]:
    """The names once each, as they are ordered; a set has no order, and gets the same one in every process."""
    names = _names(selection)
    return tuple(sorted(names)) if isinstance(selection, Set) else tuple(dict.fromkeys(selection))


def _names(selection: Collection[str]) -> set[str]:
    if isinstance(selection, str):
        raise StatisticsError(f"a selection is {selection!r}; give a collection of names, such as [{selection!r}]")
    return set(selection)
