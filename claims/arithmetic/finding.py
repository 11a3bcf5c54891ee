"""The selection of digit and carry heads of an addition model, by answer place, with true labels or permuted ones.

Digit heads of a place attend to the place's own digit pair by at least `LEAST_ATTENTION`. The carry heads of a place
are the set of heads that, patched from twins that differ in one carry, moves the digit in most twins: a head belongs to
it where it adds `LEAST_GAIN` of the twins. Everything is measured once per sum, so that a selection on half of the sums
is what discovery would find if there were no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.patching import answers_patched, attention_to_pairs, passed
from fixtures.prompts.sums import DIGITS, Twins, carry_twins, uniform_sums
from harness.interventions import Engine
from harness.selection import Columns

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

SUMS = 60
"""Uniform sums, and twins of each place."""
LEAST_ATTENTION = 0.5
"""More than to everything else together; uniform attention gives a pair at most 2 / 12."""
LEAST_GAIN = 0.1
"""Of the twins, for each head of a set: less than that the exchange of labels makes of 60 twins by chance."""
LEAST_SHARE = 0.3
"""Of the twins, for a set: the best of 92 sets reaches less with exchanged labels."""
MOST_HEADS = 3
"""At each place, and no more than half of the model's heads, so that there are as many others to compare with."""
DIGIT, CARRY = "digit", "carry"
DIGIT_PLACES = tuple(range(1, DIGITS + 1))
CARRY_PLACES = tuple(range(DIGITS))

Heads = dict[str, tuple[str, ...]]
"""Heads by class: `digit`, `carry`, and both by place, as in `carry-2`."""
Names = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """What every head does on the sums of discovery, and which of them play the parts.

    Attributes:
        heads: the model's.
        attention: [head, place, pair, sum], attention from answer places to digit pairs.
        sets: the sets of heads that were patched.
        moved: [place, set, twin], the share of both directions in which patching moved the digit by exactly one
            towards the twin, less the share in which it moved by one away from it.
        thresholds: without them, for null worlds, the best heads are taken whatever they do.
        sha256: of all sums.
    """

    heads: Names
    attention: NDArray[np.float64]
    sets: tuple[Names, ...]
    moved: NDArray[np.float64]
    thresholds: bool = True
    sha256: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """One id for each sum, and for the twins of each place in that row."""
        return tuple(str(row) for row in range(self.moved.shape[-1]))

    def select(
        self,
        columns: Columns | None = None,
        *,
        signs: NDArray[np.float64] | None = None,
        pairs: NDArray[np.int64] | None = None,
    ) -> Heads:
        """The heads of each class, those of most places first.

        Args:
            columns: by these sums alone.
            signs: [twin], -1 where the two sums of a twin pair are taken for each other: permuted carry labels.
            pairs: [place, sum], which pair is taken for each place's own: permuted labels of digits.
        """
        chosen = np.arange(len(self.units)) if columns is None else columns
        by_place = {f"{DIGIT}-{place}": self._digit_heads(place, chosen, pairs) for place in DIGIT_PLACES}
        by_place |= {f"{CARRY}-{place}": self._carry_heads(place, chosen, signs) for place in CARRY_PLACES}
        return {**{name: _united(by_place, name) for name in (DIGIT, CARRY)}, **by_place}

    def own_attention(self, place: int | None = None) -> dict[str, float]:
        """Each head's attention to the own pair, at one place or as the mean over those that have one."""
        places = DIGIT_PLACES if place is None else (place,)
        own = [self.attention[:, each, each - 1].mean(axis=-1) for each in places]
        return dict(zip(self.heads, np.mean(own, axis=0).tolist(), strict=True))

    def moved_alone(self, place: int | None = None) -> dict[str, float]:
        """The share of twins that each head moves alone, at one place or as the mean over places."""
        moved = self.moved if place is None else self.moved[place : place + 1]
        rows = [self.sets.index((head,)) for head in self.heads]
        return dict(zip(self.heads, moved[:, rows].mean(axis=(0, 2)).tolist(), strict=True))

    def moved_together(self, classes: Heads) -> dict[int, float]:
        """The share of twins that the carry heads of each place move."""
        return {
            place: float(self.moved[place, self.sets.index(tuple(sorted(heads)))].mean()) if heads else 0.0
            for place in CARRY_PLACES
            for heads in [classes[f"{CARRY}-{place}"]]
        }

    def _digit_heads(self, place: int, columns: Columns, pairs: NDArray[np.int64] | None) -> Names:
        own = np.full(len(columns), place - 1) if pairs is None else pairs[place - 1, columns]
        scores = self.attention[:, place, own, columns].mean(axis=-1)
        order = np.argsort(-scores, kind="stable")[: self._most()]
        if not self.thresholds:
            return tuple(self.heads[row] for row in order[:1])
        return tuple(self.heads[row] for row in order if scores[row] >= LEAST_ATTENTION)

    def _carry_heads(self, place: int, columns: Columns, signs: NDArray[np.float64] | None) -> Names:
        counted = np.ones(len(columns)) if signs is None else signs[columns]
        reached = (self.moved[place][:, columns] * counted).mean(axis=-1)
        sizes = np.array([len(members) for members in self.sets])
        best = int(np.argmax(reached - LEAST_GAIN * sizes))
        if self.thresholds and reached[best] < LEAST_SHARE:
            return ()
        return self.sets[best]

    def _most(self) -> int:
        return most_heads(self.heads)


def most_heads(heads: Sequence[str]) -> int:
    """How many heads a place may have."""
    return min(MOST_HEADS, len(heads) // 2)


def find(model: Model, streams: Streams, *, thresholds: bool = True) -> Found:
    """What every head of an addition model does on the discovery split."""
    engine, heads = Engine.of(model), tuple(sorted(model.heads()))
    sets = tuple(some for size in range(1, most_heads(heads) + 1) for some in combinations(heads, size))
    sums = uniform_sums(SUMS, split="discovery", rng=streams.for_("sums"))
    twins = [
        carry_twins(SUMS, place=place, split="discovery", rng=streams.for_(f"twins {place}")) for place in CARRY_PLACES
    ]
    moved = np.stack([_moved(engine, each, sets=sets) for each in twins])
    everything = [sums, *(both for each in twins for both in (each.without, each.carrying))]
    digest = hashlib.sha256("".join(each.sha256() for each in everything).encode()).hexdigest()
    return Found(tuple(model.heads()), attention_to_pairs(engine, sums), sets, moved, thresholds, digest)


def exchanged_labels(n: int, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """[twin]: -1 in a random half, 1 in the others."""
    return np.where(rng.permutation(n) < n // 2, -1.0, 1.0)


def exchanged_pairs(n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """[place, sum]: which pair is taken for each place's own; each sum deals the five pairs anew."""
    return np.stack([rng.permutation(DIGITS) for _ in range(n)], axis=1)


def _moved(engine: Engine, twins: Twins, *, sets: Sequence[Names]) -> NDArray[np.float64]:
    """[set, twin], see `Found.moved`."""
    place = twins.place
    runs = [passed(engine, sums) for sums in (twins.without, twins.carrying)]
    digits = [sums.answers[:, place] for sums in (twins.without, twins.carrying)]
    named = {"+".join(members): members for members in sets}
    total = np.zeros((len(sets), SUMS))
    for clean, donor in ((0, 1), (1, 0)):
        found = answers_patched(engine, runs[clean], runs[donor], sets=named, place=place)
        toward = digits[donor] - digits[clean]
        away = (digits[clean] - toward) % 10
        guesses = np.stack([found[name] for name in named])
        total += (guesses == digits[donor]).astype(float) - (guesses == away)
    return total / 2


def _united(by_place: Mapping[str, Names], name: str) -> Names:
    """The heads of all places, those of most places first."""
    listed = [head for place, heads in by_place.items() if place.startswith(f"{name}-") for head in heads]
    return tuple(sorted(dict.fromkeys(listed), key=lambda head: (-listed.count(head), head)))
