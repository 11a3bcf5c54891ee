"""The selection of year movers and relays, on all of the measured prompts or some, with true labels or exchanged ones.

Every prompt's effects are measured once, and each prompt's are its own: what is selected on half of the prompts is what
discovery would find if there were no others. Thresholds and stability are taken anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.effects import Effects
from harness.seeding import Streams
from harness.selection import Columns, class_frequencies
from harness.values import UnitValues

SHARE = 0.05
LEAST_PROB = 0.02
LEAST_ATTENTION = 0.2
"""Uniform attention over a prompt of 18 tokens gives 0.06."""
STABLE = 0.8
"""Least share of half-samples that select a head (stability selection asks for 0.6 to 0.9)."""
MOST_HEADS = 6
"""The paper names six heads on GPT-2 small."""
YEAR_MOVER, RELAY = "year-mover", "relay"

Heads = dict[str, tuple[str, ...]]
"""Heads by class."""


@dataclass(frozen=True, eq=False)
class Carriers:
    """What the heads of the model do on the prompts of discovery, and which of them carry the year.

    Attributes:
        effects: the probability difference with each head patched from the 01 prompts, among others.
        attention: from the last token to the start year, [head, prompt].
        streams: draws the half-samples.
        thresholds: without them, for null worlds, any effect is enough.
    """

    effects: Effects
    attention: UnitValues
    streams: Streams
    thresholds: bool = True

    def select(self, columns: Columns | None = None, *, signs: NDArray[np.float64] | None = None) -> Heads:
        """The heads of each class, the highest first: those that reach the thresholds and are stable.

        Args:
            columns: by these prompts alone, and by halves of their templates.
            signs: [prompt], -1 where right and wrong answers are exchanged, for permuted labels.
        """
        shares = self.frequencies(columns, signs=signs)
        least = STABLE if self.thresholds else 0.0
        reached = self._reached(self._chosen(columns), signs=signs)
        return {
            name: tuple(head for head in found if shares[name].get(head, 0.0) >= least)
            for name, found in reached.items()
        }

    def frequencies(
        self, columns: Columns | None = None, *, signs: NDArray[np.float64] | None = None
    ) -> dict[str, dict[str, float]]:
        """By class, the share of half-samples of the templates in which each head reaches the thresholds."""
        chosen = self._chosen(columns)

        def reached(half: Columns) -> Heads:
            return self._reached(chosen[half], signs=signs)

        templates = [self.effects.clusters[column] for column in chosen]
        return class_frequencies(reached, templates, rng=self.streams.for_("halves"))

    def candidates(self, *several: Columns) -> dict[str, int]:
        """By class, how many heads attend as its name says in any of the samples; classes without any are absent."""
        to_year = [self.attention.values[:, columns].mean(axis=1) for columns in several]
        counts = {
            YEAR_MOVER: int(np.any([each >= LEAST_ATTENTION for each in to_year], axis=0).sum()),
            RELAY: int(np.any([each < LEAST_ATTENTION for each in to_year], axis=0).sum()),
        }
        return {name: count for name, count in counts.items() if count}

    def _reached(self, columns: Columns, *, signs: NDArray[np.float64] | None) -> Heads:
        """The heads of each class that reach the thresholds on these prompts, the highest first."""
        counted = np.ones(len(columns)) if signs is None else signs[columns]
        clean = self.effects.clean[columns] * counted
        falls = (self.effects.clean - self.effects.values)[:, columns] * counted
        least = max(LEAST_PROB, SHARE * float(clean.mean())) if self.thresholds else -np.inf
        attended = LEAST_ATTENTION if self.thresholds else 0.0
        fall = dict(zip(self.effects.names, falls.mean(axis=1), strict=True))
        to_year = dict(zip(self.attention.components, self.attention.values[:, columns].mean(axis=1), strict=True))
        carriers = [head for head in sorted(to_year, key=lambda head: -fall[head]) if fall[head] >= least]
        return {
            YEAR_MOVER: tuple(head for head in carriers if to_year[head] >= attended)[:MOST_HEADS],
            RELAY: tuple(head for head in carriers if to_year[head] < attended)[:MOST_HEADS],
        }

    def _chosen(self, columns: Columns | None) -> Columns:
        return np.arange(len(self.effects.units)) if columns is None else columns


def exchanged_labels(templates: Sequence[str], *, rng: np.random.Generator) -> NDArray[np.float64]:
    """[prompt]: -1 in a random half of each template's prompts, 1 in the others; of an odd number the half is drawn.

    Where right and wrong answers are exchanged, the probability difference has the other sign, and so has each effect.
    """
    names, signs = np.array(templates), np.ones(len(templates))
    for template in dict.fromkeys(templates):
        rows = rng.permutation(np.flatnonzero(names == template))
        signs[rows[: (len(rows) + int(rng.integers(2))) // 2]] = -1.0
    return signs
