"""Which components a subject is compared with: heads of nearby layers that are not part of the claimed circuit.

The window of layers widens by a fixed rule (same layer, +-1, +-2, ... any) until there are 20 distinct sets. Heads of
the mechanism's own classes are left out: they are the circuit, not what it is compared with. The report names them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from harness.stats.matched_sets import MatchedSets, distinct_sets
from harness.subjects import Subject, parse_head

DRAWS = 99
"""K in the default profile: sets drawn where there are too many to measure all."""


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
    """Sets of as many heads from the same layers, by a name that lists them."""
    sets = _matched(tuple(heads), among=among, exclude=set(exclude) - set(heads), rng=rng, draws=draws)
    others = [members for members in sets.sets if not set(members) & set(heads)] or list(sets.sets)
    return {"+".join(members): members for members in others}


def _matched(
    heads: tuple[str, ...],
    *,
    among: Sequence[str],
    exclude: Collection[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> MatchedSets:
    layers: Mapping[str, int] = {name: parse_head(name)[0] for name in dict.fromkeys((*among, *heads))}
    return distinct_sets(heads, layers, rng=rng, draws=draws, exclude=[name for name in exclude if name in layers])
