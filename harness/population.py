"""Which components a subject is compared with: heads of nearby layers that are not part of the claimed circuit.

The window of layers widens by a fixed rule (same layer, +-1, +-2, ... any) until there are 20 distinct sets. Heads of
the mechanism's own classes are left out: they are the circuit, not what it is compared with. The report names them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from harness.errors import NothingToCompare
from harness.interventions import Target
from harness.stats.matched_sets import MatchedSets, distinct_sets
from harness.stats.ranks import ENOUGH_SETS
from harness.subjects import Subject, parse_head

DRAWS = 99
"""K in the default profile: sets drawn where there are too many to measure all."""
_WIDENING = (ENOUGH_SETS, 100, 1_000, 10_000, 10**9)
"""Sets asked for, overlapping ones included, until enough of them hold none of the subject's heads."""


def circuit(subject: Subject) -> frozenset[str]:
    """Every head of every class of the mechanism on this model."""
    return frozenset(subject.heads).union(*subject.classes.values())


def matched_heads(
    heads: Sequence[str], *, among: Sequence[str], exclude: Collection[str], rng: np.random.Generator
) -> dict[str, tuple[str, ...]]:
    """For each head the single heads that it is compared with: [others] by head.

    Args:
        heads: the subject's heads, judged one by one.
        among: every head that could take part, `layer.head`.
        exclude: heads that are part of the circuit, or share weights with it.
        rng: draws where there are more than `DRAWS`.

    Raises:
        NothingToCompare: no other head is left beside one of them.
    """
    found = {}
    for head in heads:
        sets = _matched((head,), among=among, exclude=set(exclude) - {head}, rng=rng)
        found[head] = tuple(members[0] for members in sets.sets)
    return found


def matched_sets(
    heads: Sequence[str],
    *,
    among: Sequence[str],
    exclude: Collection[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, tuple[str, ...]]:
    """Up to `draws` sets of as many heads from nearby layers that hold none of `heads`, by a name that lists them.

    The window of layers widens until there are enough such sets or no layer is left.

    Raises:
        NothingToCompare: every set of this size holds one of the heads.
    """
    without: list[tuple[str, ...]] = []
    for enough in _WIDENING:
        sets = _matched(
            tuple(heads), among=among, exclude=set(exclude) - set(heads), rng=rng, draws=20 * draws, enough=enough
        )
        without = [members for members in sets.sets if not set(members) & set(heads)]
        if len(without) >= ENOUGH_SETS or sets.window is None:
            break
    if not without:
        raise NothingToCompare(
            f"nothing to compare with: every matched set of {len(heads)} heads holds one of {', '.join(heads)}"
        )
    kept = sorted(rng.permutation(len(without))[:draws])
    return {"+".join(without[place]): without[place] for place in kept}


def left_out(subject: Subject) -> str:
    """A note that names the heads which the subject is not compared with."""
    rest = sorted(circuit(subject) - set(subject.heads), key=parse_head)
    named = ", ".join(rest) or "none"
    return (
        "Other heads are those for which no class of the mechanism was found. The subject's own class is left out, and "
        f"so are the heads of other classes, some of which have an effect of this kind: {named}."
    )


def _matched(
    heads: tuple[str, ...],
    *,
    among: Sequence[str],
    exclude: Collection[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
    enough: int = ENOUGH_SETS,
) -> MatchedSets:
    layers: Mapping[str, int] = {name: Target.parse(name).layer for name in dict.fromkeys((*among, *heads))}
    banned = [name for name in exclude if name in layers]
    return distinct_sets(heads, layers, rng=rng, draws=draws, exclude=banned, enough=enough)
