"""The knocked-out set under which a circuit is least complete, searched on one set of prompts and scored on another.

The maximum of many noisy differences is biased upwards on the prompts that it was searched on, hence two sets of
prompts. A greedy search that finds nothing shows only that it found nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from harness.circuits.completeness import Completeness, completeness
from harness.circuits.scores import CircuitScores, Part, members_of, minus
from harness.errors import StatisticsError


def greedy_part(
    scores: CircuitScores,
    circuit: Collection[str],
    *,
    largest: int | None = None,
    candidates: int | None = None,
    rng: np.random.Generator | None = None,
) -> Part:
    r"""The K that breaks completeness most among those that a greedy search meets.

    Starting from nothing, each step adds the component that makes |F(C\K) - F(M\K)| largest, also where that is less
    than before: a backup shows only once every part that it backs up is gone. The best K on the way comes back. Wang et
    al. try a random handful of components at each step, so that several searches find several K: `candidates`.

    Args:
        scores: of the discovery prompts; the K found is scored on others, see `greedy_completeness`.
        circuit: C.
        largest: the most components in K; all of C where None.
        candidates: how many components, drawn at random, are tried at each step; all where None.
        rng: draws the candidates.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: an empty circuit or one that names a component twice, a size below one, candidates without rng.
    """
    members = members_of(scores, circuit)
    if candidates is not None and rng is None:
        raise StatisticsError("candidates are drawn at random; pass rng, such as `rng.for_('greedy')`")
    for what, count in (("largest", largest), ("candidates", candidates)):
        if count is not None and count < 1:
            raise StatisticsError(f"{what} is {count}; it must be at least 1")
    part: Part = ()
    best, broken = part, -1.0
    for _ in range(len(members) if largest is None else min(largest, len(members))):
        tried = minus(members, part)
        if candidates is not None and rng is not None:
            tried = tuple(tried[place] for place in sorted(rng.permutation(len(tried))[:candidates]))
        found = completeness(scores, members, sets={name: (*part, name) for name in tried}).incompleteness
        chosen = max(found, key=lambda name: found[name])
        part = (*part, chosen)
        if found[chosen] > broken:
            best, broken = part, found[chosen]
    return minus(members, minus(members, best))


def greedy_completeness(
    circuit: Collection[str],
    *,
    search: CircuitScores,
    score: CircuitScores,
    largest: int | None = None,
    candidates: int | None = None,
    rng: np.random.Generator | None = None,
) -> Completeness:
    """Completeness under the K that a greedy search finds on one set of prompts, scored on another: one row, "greedy".

    Args:
        circuit: C.
        search: of the discovery prompts, on which K is searched.
        score: of the confirmation prompts, on which it is scored.
        largest: as in `greedy_part`.
        candidates: as in `greedy_part`.
        rng: as in `greedy_part`.

    Raises:
        InterventionError: a component that the model does not have.
        StatisticsError: both hold the same unit, on which the search would be scored, or as `greedy_part`.
    """
    shared = sorted(set(search.units) & set(score.units))
    if shared:
        raise StatisticsError(
            f"{len(shared)} units, {shared[0]!r} among them, are both searched and scored on, where the greedy K is "
            "the largest of many. Search on the discovery split, score on confirmation"
        )
    part = greedy_part(search, circuit, largest=largest, candidates=candidates, rng=rng)
    return completeness(score, circuit, sets={"greedy": part})
