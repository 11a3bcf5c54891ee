"""What a circuit measure asks of an engine, and the checks that all measures share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError, StatisticsError, did_you_mean
from harness.values import UnitValues, unit_values

Part = tuple[str, ...]
"""Distinct components, in the model's order."""


class CircuitScores(Protocol):
    """One score on one set of prompts, for the model with any set of its components knocked out.

    Sets are asked for in one call, in batches as large as there are, since a fast engine stacks them.
    """

    @property
    def components(self) -> Sequence[str]:
        """Every component that can be knocked out: M."""
        ...

    @property
    def units(self) -> Sequence[str]:
        """One id per unit."""
        ...

    @property
    def clusters(self) -> Sequence[str]:
        """One cluster id per unit."""
        ...

    def without(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores of the whole model with each set knocked out, [set, unit]; nothing is knocked out by an empty set."""
        ...

    def only(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores with everything outside each set knocked out, [set, unit]; an empty set leaves nothing."""
        ...


def endpoints(scores: CircuitScores, circuit: Collection[str]) -> UnitValues:
    """F_i of the whole model, of the circuit alone and of the empty circuit: rows "model", "circuit", "empty".

    Raises:
        InterventionError: the circuit names a component that the model does not have.
        StatisticsError: the circuit is empty or names a component twice.
    """
    members = members_of(scores, circuit)
    values = np.vstack([ask(scores, scores.without, [()]), ask(scores, scores.only, [members, ()])])
    return named_rows(scores, values, names=("model", "circuit", "empty"))


def members_of(scores: CircuitScores, part: Collection[str], *, what: str = "the circuit") -> Part:
    """The components of a set, in the model's order.

    Raises:
        InterventionError: one is not in the model.
        StatisticsError: there is none, or one stands twice.
    """
    order = {name: place for place, name in enumerate(scores.components)}
    for name in part:
        if name not in order:
            raise InterventionError(f"{what} names {name!r}, which is not in the model.{did_you_mean(name, order)}")
    return tuple(sorted(distinct(part, what=what), key=order.__getitem__))


def distinct(part: Collection[str], *, what: str) -> Part:
    """The components of a set; StatisticsError where there is none, or one stands twice."""
    if isinstance(part, str):
        raise StatisticsError(f"{what} is the string {part!r}; give a collection of components, such as ({part!r},)")
    names = tuple(part)
    if not names or len(set(names)) != len(names):
        raise StatisticsError(f"{what} ({', '.join(names)}) is empty or names a component twice")
    return names


def part_of(members: Part, part: Collection[str], *, what: str) -> Part:
    """The components of a part of the circuit, in its order; StatisticsError where one is not in the circuit."""
    names = distinct(part, what=what)
    outside = [name for name in names if name not in members]
    if outside:
        raise StatisticsError(
            f"{what} holds {outside[0]!r}, which is no part of the circuit.{did_you_mean(outside[0], members)}"
        )
    return tuple(name for name in members if name in names)


def minus(members: Part, part: Collection[str]) -> Part:
    """The members that are not in a part."""
    return tuple(name for name in members if name not in part)


def ask(
    scores: CircuitScores, measure: Callable[[Sequence[Part]], NDArray[np.float64]], sets: Sequence[Part]
) -> NDArray[np.float64]:
    """The scores of these sets, [set, unit], by one call of `scores.without` or `scores.only`; equal sets run once.

    Raises:
        StatisticsError: what comes back is not one finite score per set and unit.
    """
    asked = list(dict.fromkeys(sets))
    values = np.asarray(measure(asked), dtype=np.float64)
    if values.shape != (len(asked), len(scores.units)):
        raise StatisticsError(f"scores of {len(asked)} sets on {len(scores.units)} units have shape {values.shape}")
    if not np.isfinite(values).all():
        row, unit = np.argwhere(~np.isfinite(values))[0]
        named = ", ".join(asked[row]) or "the empty set"
        raise StatisticsError(f"the score for {named}, unit {scores.units[unit]!r}, is {values[row, unit]}")
    place = {part: number for number, part in enumerate(asked)}
    return np.asarray(values[[place[part] for part in sets]])


def named_rows(scores: CircuitScores, values: NDArray[np.float64], *, names: Sequence[str]) -> UnitValues:
    """The values [row, unit] with their names, units and clusters."""
    return unit_values(values, components=names, units=scores.units, clusters=scores.clusters)


def absolute_means(difference: UnitValues) -> dict[str, float]:
    """The absolute mean over units, by row."""
    return dict(zip(difference.components, np.abs(difference.mean()).tolist(), strict=True))
