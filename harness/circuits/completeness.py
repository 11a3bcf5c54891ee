r"""Completeness: does the circuit react to losing a part of itself as the model does to losing that part?

A circuit that leaves out a backup passes faithfulness and fails here: with K gone the model falls back on what C lacks.
Which K are asked for decides what shows: where two classes stand in for one another and a third that C lacks stands in
for both, whole classes show nothing and a search does (`greedy`). Completeness under some K says nothing about others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from harness.circuits.scores import (
    CircuitScores,
    Part,
    absolute_means,
    ask,
    distinct,
    members_of,
    minus,
    named_rows,
    part_of,
)
from harness.errors import StatisticsError
from harness.values import UnitValues


@dataclass(frozen=True, eq=False)
class Completeness:
    r"""Circuit and model with the same sets knocked out.

    Attributes:
        sets: the components of each K, by its name.
        circuit: F_i(C\K), [K, unit].
        model: F_i(M\K), [K, unit].
    """

    sets: Mapping[str, Part]
    circuit: UnitValues
    model: UnitValues

    @property
    def difference(self) -> UnitValues:
        r"""F_i(C\K) - F_i(M\K), [K, unit], signed."""
        return self.circuit.minus(self.model)

    @property
    def incompleteness(self) -> dict[str, float]:
        r"""|F(C\K) - F(M\K)| by K, in the score's unit: the absolute difference of means."""
        return absolute_means(self.difference)


def completeness(
    scores: CircuitScores, circuit: Collection[str], *, sets: Mapping[str, Collection[str]]
) -> Completeness:
    """Circuit and model with each K knocked out; K = whole classes where `sets` are the circuit's classes.

    Args:
        scores: of the confirmation prompts.
        circuit: C.
        sets: K by name, each a part of C.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: there is no K, or one is empty, names a component twice or is no part of the circuit.
    """
    members = members_of(scores, circuit)
    if not sets:
        raise StatisticsError("no set K is given; completeness asks for at least one part of the circuit")
    parts = {name: part_of(members, part, what=f"K {name!r}") for name, part in sets.items()}
    remaining = [minus(members, part) for part in parts.values()]
    return Completeness(
        sets=parts,
        circuit=named_rows(scores, ask(scores, scores.only, remaining), names=tuple(parts)),
        model=named_rows(scores, ask(scores, scores.without, list(parts.values())), names=tuple(parts)),
    )


def random_parts(circuit: Collection[str], *, draws: int, rng: np.random.Generator) -> dict[str, Part]:
    """Random K for `completeness`, by a name that lists each: distinct non-empty parts of the circuit, equally likely.

    Where there are no more than `draws`, all of them.

    Raises:
        StatisticsError: the circuit is empty or names a component twice, or fewer than one draw is asked for.
    """
    # Sorted, since a set's own order changes from one process to the next.
    members = sorted(distinct(circuit, what="the circuit"))
    if draws < 1:
        raise StatisticsError(f"draws is {draws}; draw at least one random K")
    if 2 ** len(members) - 1 <= draws:
        numbers = range(1, 2 ** len(members))
        parts = [tuple(name for bit, name in enumerate(members) if number >> bit & 1) for number in numbers]
    else:
        drawn: dict[Part, None] = {}
        while len(drawn) < draws:
            taken = rng.integers(0, 2, size=len(members))
            if taken.any():
                drawn[tuple(name for name, bit in zip(members, taken, strict=True) if bit)] = None
        parts = list(drawn)
    return {"+".join(part): part for part in parts}
