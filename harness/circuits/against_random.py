"""A circuit against random circuits of its size: alone for sufficiency, missing from the model for necessity.

The random circuits are drawn elsewhere (`population.matched_sets`) and checked here: of the circuit's size, distinct,
and none the circuit itself. How much of the circuit they hold is recorded: drawn from all components they hold some of
it; drawn from the others they are easier to beat.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.circuits.scores import CircuitScores, Part, ask, members_of, named_rows
from harness.errors import StatisticsError
from harness.values import UnitValues


@dataclass(frozen=True, eq=False)
class AgainstRandom:
    """A circuit beside random circuits of its size, alone or missing from the model.

    Attributes:
        model: F_i(M), one row.
        circuit: F_i of the circuit alone (sufficiency) or of the model without it (necessity), one row.
        random: the same for each random circuit, [circuit, unit], by a name that lists its components.
        mean_overlap: mean share of the circuit's components that a random circuit holds.
    """

    model: UnitValues
    circuit: UnitValues
    random: UnitValues
    mean_overlap: float


def sufficiency(scores: CircuitScores, circuit: Collection[str], *, random: Sequence[Collection[str]]) -> AgainstRandom:
    """The scores of the circuit alone beside those of each random circuit alone.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: no random circuit, one of another size, the same one twice, or the circuit itself.
    """
    members, others = _checked(scores, circuit, random)
    return _beside(scores, others, own=members, values=ask(scores, scores.only, [members, *others]))


def necessity(scores: CircuitScores, circuit: Collection[str], *, random: Sequence[Collection[str]]) -> AgainstRandom:
    """The scores of the model without the circuit beside those of the model without each random circuit.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: no random circuit, one of another size, the same one twice, or the circuit itself.
    """
    members, others = _checked(scores, circuit, random)
    return _beside(scores, others, own=members, values=ask(scores, scores.without, [members, *others]))


def _checked(
    scores: CircuitScores, circuit: Collection[str], random: Sequence[Collection[str]]
) -> tuple[Part, tuple[Part, ...]]:
    members = members_of(scores, circuit)
    others = tuple(members_of(scores, each, what="a random circuit") for each in random)
    if not others:
        raise StatisticsError("no random circuit is given; draw some of the circuit's size")
    for each in others:
        if len(each) != len(members):
            raise StatisticsError(
                f"random circuit {'+'.join(each)} has {len(each)} components, the circuit {len(members)}"
            )
        if each == members:
            raise StatisticsError(f"random circuit {'+'.join(each)} is the circuit itself")
    if len(set(others)) != len(others):
        twice = next(each for each in others if others.count(each) > 1)
        raise StatisticsError(f"random circuit {'+'.join(twice)} stands twice; repeated draws are not independent")
    return members, others


def _beside(
    scores: CircuitScores, others: tuple[Part, ...], *, own: Part, values: NDArray[np.float64]
) -> AgainstRandom:
    overlap = sum(len(set(own) & set(each)) for each in others) / (len(own) * len(others))
    return AgainstRandom(
        model=named_rows(scores, ask(scores, scores.without, [()]), names=("model",)),
        circuit=named_rows(scores, values[:1], names=("circuit",)),
        random=named_rows(scores, values[1:], names=["+".join(each) for each in others]),
        mean_overlap=overlap,
    )
