"""The subjects and units of the addition claims: heads by answer place, sums by place.

Heads play their parts place by place: a head that reads the own pair at one answer place may read the pair to its right
at another. So a subject is a set of heads for each answer place, and a unit is one sum at one place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import Sums
from harness.subjects import Subject
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model

HeadsAt = Mapping[int, tuple[str, ...]]
"""Heads by answer place."""
JOINT = "joint"
OTHER_SETS = 20
"""Sets of as many other heads: as many as a 95th percentile needs."""
ADDS = 0.9
"""Least share of right digits without intervention."""


def heads_at(subject: Subject, places: Sequence[int], *, role: str | None = None) -> dict[int, tuple[str, ...]]:
    """The subject's heads at each place: class `carry-2` and so on; where no class says so, all of its heads.

    Args:
        subject: the heads of `digit` or `carry`.
        places: answer places.
        role: another class than the subject's own.
    """
    name = role or subject.class_name
    everywhere = subject.heads if role is None else subject.of_class(role)
    return {place: tuple(subject.classes.get(f"{name}-{place}", everywhere)) for place in places}


def other_sets(model: Model, heads: HeadsAt, *, rng: np.random.Generator) -> dict[str, HeadsAt]:
    """Sets of as many other heads at each place, drawn from all of the model's; heads of other classes count as others.

    Where a place has fewer others than heads, all of them are taken.
    """
    ways = {}
    for place, members in heads.items():
        others = [head for head in model.heads() if head not in members]
        ways[place] = list(combinations(others, min(len(members), len(others))))
    return {
        f"others {number}": {place: some[int(rng.integers(len(some)))] for place, some in ways.items()}
        for number in range(OTHER_SETS)
    }


def single_heads(model: Model, places: Sequence[int]) -> dict[str, HeadsAt]:
    """Every head of the model alone, at every place."""
    return {head: dict.fromkeys(places, (head,)) for head in model.heads()}


def shares(n: int, places: Sequence[int]) -> dict[int, int]:
    """How many of `n` units each place gets: as equally as they go."""
    return {place: n // len(places) + (index < n % len(places)) for index, place in enumerate(places)}


def over_places(
    n: int, places: Sequence[int], measure: Callable[[int, int], tuple[Sums, Mapping[str, NDArray[np.float64]]]]
) -> UnitValues:
    """One row per name and one unit per place and sum, from (place, how many) -> (sums, values by name)."""
    units: list[str] = []
    values: dict[str, list[NDArray[np.float64]]] = {}
    for place, count in shares(n, places).items():
        sums, found = measure(place, count)
        units += [f"{place}: {text}" for text in sums.texts()]
        for name, each in found.items():
            values.setdefault(name, []).append(np.asarray(each, dtype=np.float64))
    rows = np.stack([np.concatenate(each) for each in values.values()])
    return UnitValues(rows, tuple(values), tuple(units), tuple(units))


def named(values: UnitValues, row: str, component: str = JOINT) -> UnitValues:
    """One row under the name of what it is compared with."""
    return replace(values.of([row]), components=(component,))


def by_place(values: UnitValues, component: str = JOINT) -> dict[int, float]:
    """A row's mean at each place."""
    places = np.array([int(unit.partition(":")[0]) for unit in values.units])
    row = values.of([component]).values[0]
    return {int(place): float(row[places == place].mean()) for place in np.unique(places)}


def at_places(values: UnitValues, places: Collection[int]) -> UnitValues:
    """The units of some places alone."""
    kept = [number for number, unit in enumerate(values.units) if int(unit.partition(":")[0]) in places]
    units = tuple(values.units[number] for number in kept)
    return replace(values, values=values.values[:, kept], units=units, clusters=units)


def require_adding(evidence: Evidence, right: float) -> None:
    """A model that does not add has no heads that add."""
    evidence.precondition("share of right digits without intervention", value=float(right), at_least=ADDS)


def describe_units(evidence: Evidence, values: UnitValues) -> None:
    """Record the sums that the units name, by their texts."""
    from hashlib import sha256

    digest = sha256("\n".join(values.units).encode()).hexdigest()
    evidence.prompts(sha256=digest, n=len(values.units), clusters=len(values.units), examples=list(values.units[:4]))
