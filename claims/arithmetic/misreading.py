"""What breaks where the digit heads of an answer place read another sum's digits at a pair: this digit, and others.

The digit to the left needs the pair's carry. Whether it is spared is asked place by place: digit 0 has no pair of its
own, and what reads its carry need not be what reads the others'.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.measurements import JOINT, HeadsAt, at_places, by_place, named, over_places
from claims.arithmetic.patching import answer, passed, probs_misreading, probs_under_misreading_dose
from fixtures.prompts.sums import ANSWERS, DIGITS, Split, Sums, uniform_sums
from harness.claim import Margin
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.interventions import Engine, Run
    from harness.seeding import Streams

LEFT_SHARE = 0.28
"""Of the fall in the place, what the digit to the left may lose."""
LEFT_REASON = (
    "heads that brought its carry too would break half of its sums (0.5 / 0.9); 0.28 is half of that. As a difference: "
    "heads that break nothing have no ratio"
)
LEFT_SUMS = 2
"""Sums of each place for each unit: 2 x 400 have a standard error of 0.014 at the discovery split's worst place."""
LEFT, REST, BEYOND = "left", "rest", "beyond"
DOSE, ANOTHER_PAIR = "dose", "another pair"


@dataclass(frozen=True, eq=False)
class Misread:
    """Sums of which some heads will read other sums' digits, as they would for one answer place.

    Attributes:
        engine: of the model.
        sums: the sums.
        clean: their pass.
        donor: the pass over as many other sums.
        place: the answer place; its own pair is the one before it.
    """

    engine: Engine
    sums: Sums
    clean: Run
    donor: Run
    place: int

    def falls(
        self, sets: Mapping[str, Sequence[str]], *, digit: int | None = None, pair: int | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """By set [sum]: fall of the right digit's probability where it misreads a pair.

        Args:
            sets: heads by name.
            digit: the answer digit that is read; the place's unless given.
            pair: the pair that is misread; the place's own unless given.
        """
        digit = self.place if digit is None else digit
        found = probs_misreading(
            self.engine,
            self.clean,
            self.donor,
            sets={"": (), **sets},
            pair=self.place - 1 if pair is None else pair,
            place=digit,
            digits=self.sums.answers[:, digit],
        )
        return {name: found[""] - found[name] for name in sets}

    def every_digit(self, heads: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """`digit 0` to `digit 5` [sum], and the mean over all but the place and its left."""
        digits = [self.falls({JOINT: heads}, digit=digit)[JOINT] for digit in range(ANSWERS)]
        rest = [each for digit, each in enumerate(digits) if digit not in (self.place, self.place - 1)]
        return {f"digit {digit}": each for digit, each in enumerate(digits)} | {REST: np.mean(rest, axis=0)}

    def controls(self, heads: Sequence[str], *, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """The same heads misreading another pair, and random vectors as long as their change: [sum] each."""
        own, digits = self.place - 1, self.sums.answers[:, self.place]
        run = self.engine, self.clean, self.donor
        dosed = probs_under_misreading_dose(*run, heads=heads, pair=own, place=self.place, digits=digits, rng=rng)
        intact = probs_misreading(*run, sets={"": ()}, pair=own, place=self.place, digits=digits)[""]
        another = self.falls({JOINT: heads}, pair=own + 1 if own < DIGITS - 1 else own - 1)
        return {DOSE: intact - dosed, ANOTHER_PAIR: another[JOINT]}

    def right(self) -> float:
        """Share of right digits where nothing is misread."""
        return float(np.mean(answer(self.engine, self.clean) == self.sums.answers))


def misread(engine: Engine, n: int, *, place: int, split: Split, rng: Streams, of: str = "") -> Misread:
    """`n` sums and as many others whose digits are read instead; `of` tells further sums of a place from the first."""
    sums, others = (
        uniform_sums(n, split=split, rng=rng.for_(f"{split} {what}{of} {place}")) for what in ("sums", "donors")
    )
    return Misread(engine, sums, passed(engine, sums), passed(engine, others), place)


def left_falls(engine: Engine, heads: HeadsAt, *, n: int, places: Collection[int], rng: Streams) -> UnitValues:
    """Rows `joint`, `left` and `beyond` (left, less its share of joint) on `n` further sums of each place."""

    def measure(place: int, count: int) -> tuple[Sums, dict[str, NDArray[np.float64]]]:
        there = misread(engine, count, place=place, split="confirmation", rng=rng, of=" for the left")
        own, left = (there.falls({JOINT: heads[place]}, digit=digit)[JOINT] for digit in (place, place - 1))
        return there.sums, {JOINT: own, LEFT: left, BEYOND: left - LEFT_SHARE * own}

    return over_places(n * len(places), tuple(places), measure)


def left_margin(place: int) -> Margin:
    """What the digit to the left of a place may lose."""
    name = f"fall at digit {place - 1}, less {LEFT_SHARE} of the fall in place {place}"
    return Margin(name, unit="probability", at_most=0.0, reason=LEFT_REASON)


def fill_left_margins(evidence: Evidence, falls: UnitValues) -> None:
    """Fill the margin of every place that was measured, and show both falls."""
    own, left = by_place(falls), by_place(falls, LEFT)
    for place in own:
        evidence.margin(left_margin(place).name, at_places(named(falls, BEYOND), [place]))
    n = len(falls.units) // len(own)
    evidence.table(
        "Fall at the digit to the left",
        columns=["answer place", "sums", "fall in the place", f"{LEFT_SHARE} of it", "fall at the digit to the left"],
        rows=[[place, n, fall, LEFT_SHARE * fall, left[place]] for place, fall in own.items()],
    )


def require_heads(evidence: Evidence, heads: HeadsAt) -> None:
    """A place without digit heads has nothing that could misread its pair."""
    fewest = min(len(members) for members in heads.values())
    evidence.precondition("fewest digit heads of a place", value=float(fewest), at_least=1)
