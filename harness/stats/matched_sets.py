"""The population of component sets matched to a subject: how many there are, and which of them to measure.

A matched set has the subject's size and its layers, each member's layer at most `window` away from a subject's. The
count is exact, however large; sets are drawn by their number, so that each is equally likely and none comes twice.
What the sets' values say about the subject is answered in `ranks`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import NothingToCompare, StatisticsError, did_you_mean
from harness.stats.ranks import ENOUGH_SETS


@dataclass(frozen=True)
class MatchedSets:
    """The sets to compare a subject with.

    Attributes:
        subject: the subject's components, sorted by layer.
        of: N, the number of distinct matched sets, the subject's own included.
        window: layers that a member may lie off; None where any layer is allowed.
        sets: the other sets, all of them or a uniform draw without replacement; never the subject's own.
        enumerated: whether `sets` are all others there are.
    """

    subject: tuple[str, ...]
    of: int
    window: int | None
    sets: tuple[tuple[str, ...], ...]
    enumerated: bool

    @property
    def rule(self) -> str:
        """The window in words: "same layer", "layers +-2" or "any layer"."""
        if self.window is None:
            return "any layer"
        return f"layers +-{self.window}" if self.window else "same layer"

    @property
    def mean_overlap(self) -> float:
        """Mean number of the subject's components in a set: reported, since overlap belongs to the population."""
        return sum(len(set(self.subject) & set(members)) for members in self.sets) / max(1, len(self.sets))


def distinct_sets(
    subject: Sequence[str],
    layers: Mapping[str, int],
    *,
    rng: np.random.Generator,
    draws: int,
    exclude: Collection[str] = (),
    enough: int = ENOUGH_SETS,
) -> MatchedSets:
    """The matched sets of a subject: all others where there are at most `draws`, else that many drawn uniformly.

    The window widens by a fixed rule (same layer, +-1, +-2, ..., any) until there are `enough` distinct sets, the
    subject's own included. Where even any layer gives fewer, `of` says so, and there is a rank but no p.

    Args:
        subject: the subject's components.
        layers: the layer of every component that could take part.
        rng: drawn from only where the sets are too many to take all.
        draws: K, the most sets to return.
        exclude: components that must not appear: members of the same class, heads that share a key-value group.
        enough: distinct sets at which the window stops widening.

    Raises:
        StatisticsError: the subject is empty, repeated, unknown or excluded; NothingToCompare: it has no other set.
    """
    _check_subject(subject, layers=layers, exclude=exclude)
    if draws < 1:
        raise StatisticsError(f"draws is {draws}; draw at least one matched set")
    banned = set(exclude)
    eligible = {name: layer for name, layer in layers.items() if name not in banned}
    targets = sorted(layers[name] for name in subject)
    span = max(max(abs(layer - target) for layer in eligible.values()) for target in targets)
    for window in range(span + 1):
        population = _Population(eligible, targets=targets, window=window)
        if population.size >= enough or window == span:
            break
    if population.size < 2:
        raise NothingToCompare(f"subject {', '.join(subject)} has no other matched set; too many are excluded")
    own = frozenset(subject)
    enumerated = population.size - 1 <= draws
    chosen = _all_others(population, own) if enumerated else _draw(population, own, draws=draws, rng=rng)
    return MatchedSets(
        subject=tuple(sorted(subject, key=lambda name: (layers[name], name))),
        of=population.size,
        window=None if window and window == span else window,
        sets=chosen,
        enumerated=enumerated,
    )


class _Population:
    """All sets whose sorted layers lie within `window` of the subject's sorted layers, numbered from 0.

    Pairing in sorted order is enough: if any pairing keeps every distance within the window, the sorted one does,
    since uncrossing two pairs never increases the larger distance. So a set is valid where its i-th layer lies within
    the window of the subject's i-th, and sets can be counted layer by layer: c members taken from a layer fill the
    next c places.
    """

    def __init__(self, eligible: Mapping[str, int], *, targets: Sequence[int], window: int) -> None:
        self._levels = sorted(set(eligible.values()))
        self._members = [sorted(name for name in eligible if eligible[name] == level) for level in self._levels]
        self._targets = targets
        self._window = window
        # _ways[i][placed] = how many ways to fill the remaining places from level i on
        self._ways = [[0] * len(targets) + [1]]
        for index in reversed(range(len(self._levels))):
            after = self._ways[0]
            row = [
                sum(combinations * after[placed + taken] for taken, combinations in self._choices(index, placed))
                for placed in range(len(targets) + 1)
            ]
            self._ways.insert(0, row)

    @property
    def size(self) -> int:
        """The number of distinct sets."""
        return self._ways[0][0]

    def member(self, number: int) -> tuple[str, ...]:
        """The set with this number, 0 <= number < size."""
        chosen: list[str] = []
        for index in range(len(self._levels)):
            for taken, combinations in self._choices(index, len(chosen)):
                remaining = self._ways[index + 1][len(chosen) + taken]
                if number < combinations * remaining:
                    which, number = divmod(number, remaining)
                    chosen += _combination(self._members[index], size=taken, number=which)
                    break
                number -= combinations * remaining
        return tuple(chosen)

    def _choices(self, index: int, placed: int) -> list[tuple[int, int]]:
        """(how many to take here, in how many ways), for every number that the next places allow."""
        choices = [(0, 1)]
        for taken in range(1, min(len(self._members[index]), len(self._targets) - placed) + 1):
            if abs(self._levels[index] - self._targets[placed + taken - 1]) > self._window:
                break
            choices.append((taken, math.comb(len(self._members[index]), taken)))
        return choices


def _combination(names: Sequence[str], *, size: int, number: int) -> list[str]:
    """The number-th combination of `size` names, in lexicographic order."""
    chosen: list[str] = []
    for position, name in enumerate(names):
        if len(chosen) == size:
            break
        with_this = math.comb(len(names) - position - 1, size - len(chosen) - 1)
        if number < with_this:
            chosen.append(name)
        else:
            number -= with_this
    return chosen


def _all_others(population: _Population, own: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    every = (population.member(number) for number in range(population.size))
    return tuple(members for members in every if frozenset(members) != own)


def _draw(
    population: _Population, own: frozenset[str], *, draws: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < draws:
        members = population.member(_below(population.size, rng=rng))
        if frozenset(members) != own:
            drawn[members] = None
    return tuple(drawn)


def _below(size: int, *, rng: np.random.Generator) -> int:
    """A uniform integer in [0, size); sizes go far beyond 64 bits (26 of 144 heads: about 1e29)."""
    bits = size.bit_length()
    while True:
        number = int.from_bytes(rng.bytes((bits + 7) // 8), "big") >> (-bits % 8)
        if number < size:
            return number


def _check_subject(subject: Sequence[str], *, layers: Mapping[str, int], exclude: Collection[str]) -> None:
    if not subject or len(set(subject)) != len(subject):
        raise StatisticsError(f"subject ({', '.join(subject)}) is empty or names a component twice")
    for name in subject:
        if name not in layers:
            raise StatisticsError(f"component {name!r} of the subject has no layer.{did_you_mean(name, layers)}")
        if name in exclude:
            raise StatisticsError(f"component {name!r} is both in the subject and excluded from its population")
