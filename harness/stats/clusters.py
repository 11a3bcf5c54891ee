"""Means of clusters, checked at the door: what every interval over units starts from.

A cluster (a template with all its fillers, or a single unit) is what is drawn independently. With equally many units in
each, the mean over units is the mean over clusters, and only the cluster means matter. No interval is made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError

MIN_RESAMPLES = 999
"""Fewest resamples accepted: 999 put 25 of them beyond a 2.5 % bound. Verdicts use 9,999 or more."""
ROUNDING = 1e-12
"""Share of the largest value that float64 arithmetic may add or lose: what is that close ties, or is nothing."""
FLOAT32_NOISE = 1e-6
"""Measured values whose spread is at most this share of the largest do not vary.

Models compute in float32, which keeps 6e-8 of a number and, through a sum or a softmax, about ten times that. A body
that measures the same thing on every unit gives such noise, and of it a bootstrap makes an interval and a p of .0001.
The share is of the values' own size: effects of 1e-7 that differ by 1e-7 do vary, and so does the difference of two
noisy values that cancel, whose noise is not small against itself.
"""


@dataclass(frozen=True, eq=False)
class ClusterMeans:
    """Means of clusters, in order of first appearance.

    Attributes:
        means: [component, cluster], in the metric's unit.
        names: one id per cluster.
        size: units in each cluster.
    """

    means: NDArray[np.float64]
    names: tuple[str, ...]
    size: int

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return len(self.names)


def cluster_means(values: ArrayLike, *, clusters: Sequence[str]) -> ClusterMeans:
    """Cluster means of values [unit] or [component, unit], which must be finite and equally many per cluster.

    Raises:
        StatisticsError: empty, not numbers, NaN or infinite, ids that do not fit, fewer than two clusters, or
            unequal clusters.
    """
    rows = np.atleast_2d(_finite(values))
    names = tuple(dict.fromkeys(clusters))
    if len(clusters) != rows.shape[1]:
        raise StatisticsError(f"{len(clusters)} cluster ids for {rows.shape[1]} values; give one id per unit")
    if len(names) < 2:
        raise StatisticsError(
            f"only one cluster ({names[0]!r}) holds all {rows.shape[1]} values; an interval needs at least two clusters"
        )
    sizes = Counter(clusters)
    (most, many), (least, few) = sizes.most_common(1)[0], sizes.most_common()[-1]
    if many != few:
        raise StatisticsError(
            f"unequal clusters: {most!r} has {many} units and {least!r} has {few}; the mean over units is then not the "
            "mean over clusters. Sample equally many units in each cluster"
        )
    place = {name: number for number, name in enumerate(names)}
    order = np.argsort([place[name] for name in clusters], kind="stable")
    return ClusterMeans(rows[:, order].reshape(len(rows), len(names), many).mean(axis=2), names, many)


def refuse_constant(means: NDArray[np.float64], *, what: str) -> None:
    """Raise StatisticsError where a row of `means` [component, cluster], of measured values, varies by noise at most.

    No interval can be resampled from it.
    """
    constant = is_constant(means, within=FLOAT32_NOISE)
    if constant.any():
        row = int(np.argmax(constant))
        where = f" in row {row}" if len(means) > 1 else ""
        raise StatisticsError(
            f"no variation: all {means.shape[1]} {what}{where} equal {means[row, 0]:.6g}; a bootstrap of a constant "
            "has no interval. Binary values (0 and 1) take method 'clopper-pearson'; others are `invalid: no variation`"
        )


def is_constant(samples: NDArray[np.float64], *, within: float = ROUNDING) -> NDArray[np.bool_]:
    """True for each row of `samples` [row, cluster] whose spread is at most a share of its largest value.

    Args:
        samples: any rows, such as resamples.
        within: the share; `FLOAT32_NOISE` where the rows are measured values.
    """
    low, high = samples.min(axis=1), samples.max(axis=1)
    return np.asarray(high - low <= within * np.maximum(np.abs(low), np.abs(high)))


def draw_clusters(rng: np.random.Generator, *, count: int, resamples: int) -> NDArray[np.int64]:
    """Indices [resample, cluster] drawn with replacement: the same numbers that `scipy.stats.bootstrap` draws."""
    check_generator(rng)
    check_resamples(resamples)
    return np.asarray(rng.integers(0, count, (resamples, count)))


def check_generator(rng: np.random.Generator) -> None:
    """Refuse what is no Generator: a seed, None or the global state would hide where the numbers come from."""
    if not isinstance(rng, np.random.Generator):
        raise StatisticsError(f"rng is {rng!r}; give a numpy.random.Generator, such as `rng.for_('bootstrap')`")


def check_resamples(resamples: int) -> None:
    """Refuse fewer than 999 resamples."""
    if isinstance(resamples, bool) or not isinstance(resamples, int | np.integer) or resamples < MIN_RESAMPLES:
        raise StatisticsError(f"resamples is {resamples!r}; give a whole number of at least {MIN_RESAMPLES}")


def check_error(error: float, *, side: str) -> None:
    """Refuse an error outside (0, 1) and a side that is neither "lower" nor "upper"."""
    if side not in ("lower", "upper"):
        raise StatisticsError(f"side is {side!r}; name it: 'lower' or 'upper'")
    if not 0 < error < 1:
        raise StatisticsError(f"error is {error!r}; give the one-sided error of the bound, such as 0.025")


def check_threshold(threshold: float, *, alternative: str) -> None:
    """Refuse a threshold that is not finite and an alternative that is neither "greater" nor "less"."""
    if alternative not in ("greater", "less"):
        raise StatisticsError(f"alternative is {alternative!r}; name the direction: 'greater' or 'less'")
    if not np.isfinite(threshold):
        raise StatisticsError(f"threshold is {threshold!r}; give a finite number in the metric's unit")


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StatisticsError(f"values are not numbers: {error}") from error
    if array.ndim not in (1, 2):
        raise StatisticsError(f"values have shape {array.shape}; give [unit] or [component, unit]")
    if not array.size:
        raise StatisticsError("values are empty; an interval needs at least two clusters")
    if array.shape[-1] == 1:
        raise StatisticsError("a single value has no interval; give one value per unit, from at least two clusters")
    if not np.isfinite(array).all():
        where = tuple(int(place) for place in np.argwhere(~np.isfinite(array))[0])
        place = where[0] if len(where) == 1 else where
        raise StatisticsError(f"value {place} is {array[where]}; values must be finite")
    return array
