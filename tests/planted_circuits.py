"""Scores of a circuit that is known, since it was planted: each head adds its weight, some stand in for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.seeding import derive_seed

Redundant = Mapping[tuple[str, ...], float]
"""What any one of these heads is enough for: it is there once, however many of them are kept."""
NO_HEAD = 0.5
"""The score with every head knocked out."""
LEAST = 0.1
"""What adds nothing on average varies as what adds this."""


@dataclass(frozen=True)
class Counted:
    """Units without prompts, for numbers by hand; each is its own template."""

    units: tuple[str, ...]

    @property
    def templates(self) -> tuple[str, ...]:
        """One id per unit."""
        return self.units


@dataclass(frozen=True)
class PlantedScores:
    """A `harness.circuits.CircuitScores` without a model, whose knock-outs can be added up by hand.

    Attributes:
        components: every head.
        prompts: the units, as `Counted` or IOI prompts; heads add nothing on those that repeat no name.
        weights: what each head adds on average; nothing where it is not named.
        redundant: what groups of heads add on average.
        spread: standard deviation of each contribution over units, as a share of it; 0 for numbers by hand.
        by_place: where no name is repeated, heads add as much towards the name that stands first.
    """

    components: tuple[str, ...]
    prompts: Any
    weights: Mapping[str, float]
    redundant: Redundant = field(default_factory=dict)
    spread: float = 0.0
    by_place: bool = False

    @property
    def units(self) -> tuple[str, ...]:
        """One id per unit."""
        return self.prompts.units

    @property
    def clusters(self) -> tuple[str, ...]:
        """One template per unit."""
        return self.prompts.templates

    def without(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores with each set knocked out, [set, unit]."""
        return self.only([[name for name in self.components if name not in each] for each in sets])

    def only(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores with everything outside each set knocked out, [set, unit]."""
        planted = self._planted()
        present = [[any(name in kept for name in heads) for heads in planted] for kept in map(set, sets)]
        return NO_HEAD + np.array(present, dtype=float) @ np.array(list(planted.values()))

    def of_one_each(self) -> PlantedScores:
        """The same scores of one prompt of each template."""
        first = [self.clusters.index(template) for template in dict.fromkeys(self.clusters)]
        return replace(self, prompts=self.prompts.rows(np.array(first)))

    def _planted(self) -> dict[tuple[str, ...], NDArray[np.float64]]:
        """By the heads any one of which is enough, what they add, [unit]."""
        both = {**{(name,): weight for name, weight in self.weights.items()}, **self.redundant}
        return {heads: self._varied("+".join(heads), value) for heads, value in both.items()}

    def _varied(self, name: str, value: float) -> NDArray[np.float64]:
        """A contribution by unit: the same numbers whatever else is kept, as a paired difference needs them."""
        repeated = np.full(len(self.units), fill_value=True)
        if hasattr(self.prompts, "named"):
            _, s1, s2 = self.prompts.named().T
            repeated = s1 == s2
        amount = np.full(len(self.units), value)
        if self.spread:
            # Other prompts of the same unit vary on their own.
            seeds = [derive_seed(name, unit, here) for unit, here in zip(self.units, repeated, strict=True)]
            noise = np.array([np.random.default_rng(seed).normal() for seed in seeds])
            amount = amount + self.spread * max(abs(value), LEAST) * noise
        if not self.by_place:
            return np.where(repeated, amount, 0.0)
        return np.where(repeated, amount, np.where(np.array(self.prompts.orders) == "ABBA", amount, -amount))


def planted_knock_outs(weights: Mapping[str, float], *, redundant: Redundant | None = None, by_place: bool = False):
    """What stands in for `claims.ioi.knock_out.knock_outs`: planted scores of the prompts that it is called with.

    Heads that are not named add a hundredth of a logit, of either sign.
    """

    def knock_outs(model, prompts, streams, *, at_least: int = 10) -> PlantedScores:
        heads, stand_ins = tuple(model.heads()), redundant or {}
        named = {*weights, *(head for group in stand_ins for head in group)}
        others = {head: (-1) ** place * 0.01 for place, head in enumerate(heads) if head not in named}
        return PlantedScores(heads, prompts, {**weights, **others}, stand_ins, spread=0.2, by_place=by_place)

    return knock_outs
