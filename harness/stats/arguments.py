"""Arguments of statistics, checked at the door: finite numbers, levels, cluster ids. Computes nothing itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError

Limits = tuple[float, float]
"""The smallest and the largest value that a unit can have, in the metric's unit."""


def finite_row(values: ArrayLike, *, what: str, at_least: int = 1) -> NDArray[np.float64]:
    """The values as one float64 row, [n].

    Raises:
        StatisticsError: more than one axis, fewer than `at_least` values, or a value that is not finite.
    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise StatisticsError(f"{what} have shape {row.shape}; give one value each in a single row")
    if row.size < at_least:
        raise StatisticsError(f"{what}: {row.size} given, at least {at_least} needed")
    if not np.isfinite(row).all():
        position = int(np.argmax(~np.isfinite(row)))
        raise StatisticsError(f"{what}: value {position} is {row[position]}; a statistic takes finite numbers only")
    return row


def finite_number(value: float, *, what: str, positive: bool = False) -> float:
    """The value as a float.

    Raises:
        StatisticsError: it is not finite, or not above 0 where `positive` is asked for.
    """
    number = float(value)
    if not np.isfinite(number) or (positive and number <= 0):
        raise StatisticsError(f"{what} is {number}; it must be a {'positive' if positive else 'finite'} number")
    return number


def probability(value: float, *, what: str) -> float:
    """The value as a float strictly between 0 and 1.

    Raises:
        StatisticsError: it is not.
    """
    number = float(value)
    if not 0 < number < 1:
        raise StatisticsError(f"{what} is {number}; it must lie strictly between 0 and 1")
    return number


def direction(alternative: str) -> int:
    """+1 for "greater", -1 for "less".

    Raises:
        StatisticsError: the direction is neither.
    """
    if alternative not in ("greater", "less"):
        raise StatisticsError(f"alternative is {alternative!r}; name the direction: 'greater' or 'less'")
    return 1 if alternative == "greater" else -1


def cluster_codes(clusters: Sequence[str], *, units: int) -> NDArray[np.intp]:
    """The number of each unit's cluster, [unit], counted from 0 in the order of first appearance.

    Raises:
        StatisticsError: there is not one id per unit.
    """
    if len(clusters) != units:
        raise StatisticsError(f"{len(clusters)} cluster ids for {units} units; give one id per unit")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp)


def checked_limits(limits: Limits | None) -> Limits:
    """The limits as two floats.

    Raises:
        StatisticsError: they are no two finite numbers, the smaller one first.
    """
    if limits is None or len(limits) != 2 or not all(map(math.isfinite, limits)) or limits[0] >= limits[1]:
        raise StatisticsError(f"limits are {limits!r}; give the smallest and the largest value that a unit can have")
    return float(limits[0]), float(limits[1])
