"""Minimality: does each component of the circuit add something, once what could stand in for it is gone?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

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
class Minimality:
    r"""The circuit without K, and without K and one component more.

    Attributes:
        knocked_out: K(v), by component v.
        without_k: F_i(C\K(v)), [v, unit].
        without_both: F_i(C\(K(v) + v)), [v, unit].
    """

    knocked_out: Mapping[str, Part]
    without_k: UnitValues
    without_both: UnitValues

    @property
    def difference(self) -> UnitValues:
        r"""F_i(C\(K + v)) - F_i(C\K), [v, unit], signed."""
        return self.without_both.minus(self.without_k)

    @property
    def scores(self) -> dict[str, float]:
        r"""|F(C\(K + v)) - F(C\K)| by v, in the score's unit: the absolute difference of means."""
        return absolute_means(self.difference)


@dataclass(frozen=True, eq=False)
class InflatedCircuits:
    """The circuit without each of its components, and inflated by random additions, as `minimality_test` takes them.

    Attributes:
        additions: what was added to the circuit; the first component of each is knocked out again.
        circuit: F_i(C), one row.
        without: F_i of C without each of its components, [component, unit].
        inflated: F_i of C with each addition, [addition, unit].
        inflated_without: F_i of C with each addition but for its first component, [addition, unit].
    """

    additions: tuple[Part, ...]
    circuit: UnitValues
    without: UnitValues
    inflated: UnitValues
    inflated_without: UnitValues


def minimality(
    scores: CircuitScores,
    circuit: Collection[str],
    *,
    classes: Mapping[str, Collection[str]],
    knocked_out: Mapping[str, Collection[str]] | None = None,
) -> Minimality:
    """What each component v adds to the circuit once K(v) is gone, K(v) = the others of v's class unless given.

    Without K a component whose class can stand in for it looks superfluous. Which K is taken decides the score, so K
    belongs into a declaration: Wang et al. chose some by hand after looking.

    Args:
        scores: of the confirmation prompts.
        circuit: C.
        classes: the classes of the circuit's components; each component in one of them, or in `knocked_out`.
        knocked_out: K by v, for components that need another one.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: a component is in no class or in several, or a given K holds v or is no part of the circuit.
    """
    members = members_of(scores, circuit)
    given = dict(knocked_out or {})
    unknown = [name for name in given if name not in members]
    if unknown:
        raise StatisticsError(f"K is given for {unknown[0]!r}, which is no part of the circuit")
    parts = {
        name: _given_k(members, given[name], of=name) if name in given else _rest_of_class(members, name, classes)
        for name in members
    }
    bare = [minus(members, part) for part in parts.values()]
    both = [minus(rest, (name,)) for name, rest in zip(parts, bare, strict=True)]
    values = ask(scores, scores.only, [*bare, *both])
    return Minimality(
        knocked_out=parts,
        without_k=named_rows(scores, values[: len(parts)], names=members),
        without_both=named_rows(scores, values[len(parts) :], names=members),
    )


def inflated_circuits(
    scores: CircuitScores, circuit: Collection[str], *, additions: Sequence[Sequence[str]]
) -> InflatedCircuits:
    """The circuit, without each component, and with random additions: the scores of Shi et al.'s minimality test.

    Shi et al. add a random path and remove one of its edges. Of components, an addition is a set of them outside the
    circuit and its first one is removed again; where it is a single one, that gives back the circuit.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: no addition, the same one twice, or one that holds a component of the circuit.
    """
    members = members_of(scores, circuit)
    if not additions:
        raise StatisticsError("no addition is given; draw random components outside the circuit")
    added = tuple(distinct(each, what="an addition") for each in additions)
    names = ["+".join(each) for each in added]
    inside = [name for each in added for name in each if name in members]
    if inside:
        raise StatisticsError(f"an addition holds {inside[0]!r}, which is in the circuit already")
    larger = [members_of(scores, (*members, *each), what="an addition") for each in added]
    sets = [members, *(minus(members, (name,)) for name in members), *larger]
    sets += [minus(whole, each[:1]) for whole, each in zip(larger, added, strict=True)]
    values = ask(scores, scores.only, sets)
    inflated = 1 + len(members)
    return InflatedCircuits(
        additions=added,
        circuit=named_rows(scores, values[:1], names=("circuit",)),
        without=named_rows(scores, values[1:inflated], names=members),
        inflated=named_rows(scores, values[inflated : inflated + len(added)], names=names),
        inflated_without=named_rows(scores, values[inflated + len(added) :], names=names),
    )


def _given_k(members: Part, part: Collection[str], *, of: str) -> Part:
    if of in part:
        raise StatisticsError(f"K for {of!r} holds {of!r} itself; it is knocked out on top of K")
    return part_of(members, part, what=f"K for {of!r}") if part else ()


def _rest_of_class(members: Part, name: str, classes: Mapping[str, Collection[str]]) -> Part:
    """The circuit's other components of the class that holds this one."""
    holding = [each for each, heads in classes.items() if name in heads]
    if len(holding) != 1:
        found = f"in the classes {', '.join(holding)}" if holding else "in no class"
        raise StatisticsError(f"component {name!r} is {found}; put it into one, or give its K in `knocked_out`")
    return tuple(each for each in members if each in classes[holding[0]] and each != name)
