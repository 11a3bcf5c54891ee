"""A sign-flip test of paired differences: could treated and shuffled have been exchanged? It decides no verdict.

Its null is exchangeability of x and its shuffle within a cluster. It is no test of a mean: one-sided 5 % becomes 9 to
25 % where the differences are skewed (review, finding 17). The SESOI test decides; this is a column beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import cluster_codes, direction, finite_row

ENUMERATE_UP_TO = 10_000
"""All 2^G sign patterns are enumerated where there are no more than this."""
FEWEST_DRAWS = 999
_BLOCK_VALUES = 4_000_000
"""Signs held in memory at once; changes no number, since every block draws on from the same generator."""


@dataclass(frozen=True)
class SignFlip:
    """The result of a sign-flip test.

    Attributes:
        p: one-sided p-value; with random draws the observed pattern counts as one of them (+1).
        smallest_p: the smallest p that this design could give at all: 1/2^G, or 1/(1 + draws).
        clusters: how many cluster sums were flipped.
        patterns: sign patterns compared, the observed one included.
        enumerated: whether those are all patterns there are.
        null: the hypothesis in words.
    """

    p: float
    smallest_p: float
    clusters: int
    patterns: int
    enumerated: bool
    null: str = "x and its shuffle are exchangeable within each cluster"


def sign_flip(
    differences: ArrayLike,
    *,
    clusters: Sequence[str],
    rng: np.random.Generator,
    alternative: Literal["greater", "less"],
    draws: int = 9_999,
) -> SignFlip:
    """The one-sided sign-flip test of treated minus shuffled.

    Cluster sums are flipped, not units, because units of one template stand or fall together. All 2^G patterns are
    used where 2^G <= 10,000, otherwise `draws` random ones. Differences that are all 0 give p = 1.

    Args:
        differences: [unit], treated minus control.
        clusters: one cluster id per unit.
        rng: drawn from only where the patterns are too many to enumerate.
        alternative: the direction in which the statement claims an effect.
        draws: random sign patterns, at least 999.

    Raises:
        StatisticsError: fewer than two clusters, too few draws, values that are not finite, or no direction.
    """
    row = finite_row(differences, what="differences", at_least=2)
    codes = cluster_codes(clusters, units=row.size)
    sums = np.asarray(direction(alternative) * np.bincount(codes, weights=row), dtype=np.float64)
    if sums.size < 2:
        raise StatisticsError("all units share one cluster; flipping its sign alone gives p = 1/2 or 1: add clusters")
    if draws < FEWEST_DRAWS:
        raise StatisticsError(f"draws is {draws}; a p-value to compare with 0.025 needs at least {FEWEST_DRAWS}")
    if 2**sums.size <= ENUMERATE_UP_TO:
        patterns = 2**sums.size
        reached = _count_reached(_all_signs(sums.size), sums)
    else:
        patterns = 1 + draws
        reached = 1 + _count_drawn(sums, rng=rng, draws=draws)
    return SignFlip(
        p=reached / patterns,
        smallest_p=1 / patterns,
        clusters=sums.size,
        patterns=patterns,
        enumerated=patterns == 2**sums.size,
    )


def _all_signs(clusters: int) -> NDArray[np.float64]:
    """Every pattern of signs, [2^G, G]."""
    bits = (np.arange(2**clusters)[:, None] >> np.arange(clusters)[None, :]) & 1
    return np.asarray(1 - 2 * bits, dtype=np.float64)


def _count_drawn(sums: NDArray[np.float64], *, rng: np.random.Generator, draws: int) -> int:
    block = max(1, _BLOCK_VALUES // sums.size)
    reached = 0
    for start in range(0, draws, block):
        bits = rng.integers(0, 2, size=(min(block, draws - start), sums.size), dtype=np.int8)
        reached += _count_reached(np.asarray(1 - 2 * bits, dtype=np.float64), sums)
    return reached


def _count_reached(signs: NDArray[np.float64], sums: NDArray[np.float64]) -> int:
    """How many patterns reach the observed total; equal up to rounding counts as reached."""
    rounding = 100 * np.finfo(np.float64).eps * float(np.abs(sums).sum())
    return int((signs @ sums >= sums.sum() - rounding).sum())
