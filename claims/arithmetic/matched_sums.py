"""Sums matched for the addition claims: with and without a carry, single carries and cascades, changes elsewhere.

Everything lies in one split. What is matched is what a head that reads magnitudes would see: the answer digit, and the
sum mod 10 of the pair that decides the carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import DIGITS, Split, Sums, carry_twins, in_split
from harness.errors import StatisticsError

POOL = 4
"""Twins drawn for each pair that is matched: 90 strata must find partners."""
TWINS = 6
"""Twins drawn for each cascade: their nines are drawn until every order of the pairs lies in the split."""
ATTEMPTS = 200
"""Draws of the nines before those twins are given up."""


@dataclass(frozen=True, eq=False)
class CarryPairs:
    """Pairs of different sums, one with and one without a carry into a place, alike in what else a head could tell.

    Attributes:
        carrying: sums with the carry.
        without: sums without it, row by row of the same stratum.
        place: the answer place.
        strata: [pair], the sum mod 10 of the pair that decides the carry, and the answer digit at the place.
    """

    carrying: Sums
    without: Sums
    place: int
    strata: NDArray[np.int64]

    def rows(self, index: NDArray[np.int64]) -> CarryPairs:
        """Some of the pairs."""
        return CarryPairs(self.carrying.rows(index), self.without.rows(index), self.place, self.strata[index])


@dataclass(frozen=True, eq=False)
class TwinSums:
    """Sums without and with a carry into a place, row by row alike in everything else."""

    without: Sums
    carrying: Sums


@dataclass(frozen=True, eq=False)
class CascadeTwins:
    """Twins of a cascade, and twins of the same digit pairs in another order, whose carry is a single one.

    In the cascade the pair that decides stands right of pairs of nine, which its carry passes. Reordered, it stands
    left of them, right at the place; twins of a single carry have other pairs there. The answer digit at the place is
    the same in all sums with the carry, and in all without it.

    Attributes:
        single: twins as `carry_twins` draws them.
        cascade: the deciding pair moved to the right, nines before it.
        reordered: the same pairs, the nines behind it.
        place: the answer place.
        length: how many nines are passed.
    """

    single: TwinSums
    cascade: TwinSums
    reordered: TwinSums
    place: int
    length: int


def carry_pairs(n: int, *, place: int, split: Split, rng: np.random.Generator) -> CarryPairs:
    """`n` pairs, matched on the answer digit at the place and on the deciding pair's sum mod 10 (0 to 8).

    At place 0 the answer digit is the carry itself, so that pairs are matched on the sum mod 10 alone.
    """
    twins = carry_twins(POOL * n + 100, place=place, split=split, rng=rng)
    low = twins.sum_mod_ten * 10
    digit = place > 0  # the first answer digit differs wherever the carry does
    keys = [low + digit * sums.answers[:, place] for sums in (twins.carrying, twins.without)]
    matched: list[tuple[int, int, int]] = []
    for key in np.intersect1d(keys[0], keys[1]).tolist():
        rows = [np.flatnonzero(each == key).tolist() for each in keys]
        matched += [(key, first, second) for first, second in zip(*rows, strict=False)]
    if len(matched) < n:
        raise StatisticsError(
            f"only {len(matched)} of {n} pairs could be matched at place {place} of the {split} split"
        )
    key, first, second = np.array(matched)[rng.permutation(len(matched))[:n]].T
    return CarryPairs(twins.carrying.rows(first), twins.without.rows(second), place, key)


def cascade_twins(n: int, *, place: int, length: int, split: Split, rng: np.random.Generator) -> CascadeTwins:
    """`n` twins of a carry that passes `length` pairs of nine into a place, with their counterparts."""
    if length < 1 or not 0 <= place < DIGITS - length:
        raise StatisticsError(f"no cascade of length {length} reaches place {place}; there are {DIGITS} pairs")
    twins = carry_twins(TWINS * n + 100, place=place, split=split, rng=rng)
    both = (twins.without, twins.carrying)
    kept = np.zeros(len(twins), dtype=bool)
    nines, seen = np.zeros((len(twins), length), dtype=np.int64), set[tuple[int, bytes]]()
    for _ in range(ATTEMPTS):
        trial = rng.integers(0, 10, (len(twins), length))
        orders = [(_with_nines(sums, trial, place=place, first=first)) for sums in both for first in (True, False)]
        fits = ~kept & np.logical_and.reduce([in_split(a, b, split=split) for a, b in orders])
        for row in np.flatnonzero(fits).tolist():
            keys = {(kind, a[row].tobytes() + b[row].tobytes()) for kind, (a, b) in enumerate(orders)}
            if seen.isdisjoint(keys):  # other sums without the carry may have the same one with it
                seen |= keys
                kept[row], nines[row] = True, trial[row]
        if kept.sum() >= n:
            break
    rows = np.flatnonzero(kept)[:n]
    if len(rows) < n:
        raise StatisticsError(f"only {len(rows)} of {n} cascades were found in the {split} split")

    def ordered(*, first: bool) -> TwinSums:
        return TwinSums(*(Sums(*_with_nines(sums.rows(rows), nines[rows], place=place, first=first)) for sums in both))

    single = TwinSums(twins.without.rows(rows), twins.carrying.rows(rows))
    return CascadeTwins(single, ordered(first=True), ordered(first=False), place, length)


def changed_elsewhere(sums: Sums, *, place: int, rng: np.random.Generator) -> Sums:
    """Each sum with another carry than it has into some other place, and with none that matters for this place changed.

    One pair is changed by ten, neither the place's own nor the one right of it; where all of these sum to nine, one of
    them is changed by one. Where that can be, its carry goes no further. What comes out may lie in any split: only its
    activations are used, against a sum that does not.
    """
    a, b = sums.a.copy(), sums.b.copy()
    choices = [pair for pair in range(DIGITS) if pair not in (place, place - 1)]
    for row, total in enumerate(sums.pair_sums):
        left = np.concatenate([[0], total[:-1]])
        open_pairs = [pair for pair in choices if total[pair] != 9]
        pair = int(rng.choice([pair for pair in open_pairs if left[pair] != 9] or open_pairs or choices))
        if total[pair] == 9:
            target = 8 if sums.carries[row, pair + 1] else 10
        else:
            target = int(total[pair]) + (10 if total[pair] < 9 else -10)
        a[row, pair] = rng.integers(max(target - 9, 0), min(target, 9) + 1)
        b[row, pair] = target - a[row, pair]
    return Sums(a, b)


def _with_nines(
    sums: Sums, nines: NDArray[np.int64], *, place: int, first: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Operands with pairs of nine before the deciding pair, or behind it."""
    a, b, length = sums.a.copy(), sums.b.copy(), nines.shape[1]
    decides, run = (place + length, place) if first else (place, place + 1)
    a[:, run : run + length], b[:, run : run + length] = nines, 9 - nines
    a[:, decides], b[:, decides] = sums.a[:, place], sums.b[:, place]
    return a, b
