"""The Hilbert-Schmidt independence criterion of two scores, with its permutation test over clusters.

Small p: the two scores depend on each other, in whatever way. A large p is no evidence of independence.

Source: Gretton et al. (2007), A kernel statistical test of independence, NeurIPS 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.clusters import ROUNDING, check_generator, check_resamples, cluster_means

_BLOCK_VALUES = 4_000_000
"""Kernel values held in memory at once; changes no number."""


@dataclass(frozen=True)
class HsicTest:
    """The criterion with its permutation test.

    Attributes:
        statistic: tr(HKH HLH) / (n - 1)^2.
        p: share of the arrangements, the observed one included, that reach it.
        smallest_p: 1 / (1 + permutations).
        clusters: how many clusters were permuted.
        units: how many units there are.
    """

    statistic: float
    p: float
    smallest_p: float
    clusters: int
    units: int


def hsic_permutation(
    first: ArrayLike, second: ArrayLike, *, clusters: Sequence[str], rng: np.random.Generator, permutations: int = 9_999
) -> HsicTest:
    """The Hilbert-Schmidt independence criterion of two scores of the same units, tested by permutation.

    Gaussian kernels, each with the median distance of its own score as bandwidth. Whole clusters are permuted, since
    units of one template are not exchangeable with those of another one by one.

    Args:
        first: [unit].
        second: [unit].
        clusters: one id per unit, equally many units of each.
        rng: draws the permutations.
        permutations: how many, at least 999.

    Raises:
        StatisticsError: scores of different lengths, not finite or without variation; unequal or fewer than two
            clusters; rng or permutations are refused.
    """
    if np.shape(first) != np.shape(second) or np.ndim(first) != 1:
        raise StatisticsError(f"scores have shapes {np.shape(first)} and {np.shape(second)}; give two of each unit")
    check_generator(rng)
    check_resamples(permutations)
    rows = np.array([first, second], dtype=np.float64)
    sample = cluster_means(rows, clusters=clusters)
    order = np.argsort([sample.names.index(cluster) for cluster in clusters], kind="stable")
    kernel, other = (_gaussian_kernel(row[order]) for row in rows)
    observed, reached = _count_permuted(_centred(kernel), other, size=sample.size, rng=rng, permutations=permutations)
    return HsicTest(
        statistic=observed / (len(order) - 1) ** 2,
        p=(1 + reached) / (1 + permutations),
        smallest_p=1 / (1 + permutations),
        clusters=sample.count,
        units=len(order),
    )


def _gaussian_kernel(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-d^2 / (2 sigma^2)), [unit, unit], sigma the median distance between units that differ."""
    distances = np.abs(row[:, None] - row[None, :])
    between = distances[np.triu_indices(len(row), k=1)]
    between = between[between > ROUNDING * np.abs(row).max()]
    if not between.size:
        raise StatisticsError(f"no variation: all {len(row)} scores equal {row[0]:.6g}; independence is not defined")
    return np.asarray(np.exp(-((distances / np.median(between)) ** 2) / 2))


def _centred(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """HKH, H = I - 11'/n."""
    means = kernel.mean(axis=0)
    return np.asarray(kernel - means - means[:, None] + means.mean())


def _count_permuted(
    centred: NDArray[np.float64],
    kernel: NDArray[np.float64],
    *,
    size: int,
    rng: np.random.Generator,
    permutations: int,
) -> tuple[float, int]:
    """tr(HKH HLH) as observed, and how many permutations of whole clusters of `size` units reach it.

    As H H = H, the trace is the sum of HKH * L, and only L has to be permuted.
    """
    observed, units = float((centred * kernel).sum()), len(kernel)
    enough = observed - ROUNDING * float(np.abs(centred * kernel).sum())
    block, reached = max(1, _BLOCK_VALUES // units**2), 0
    for start in range(0, permutations, block):
        rows = np.tile(np.arange(units // size), (min(block, permutations - start), 1))
        drawn = rng.permuted(rows, axis=1)
        places = (drawn[:, :, None] * size + np.arange(size)).reshape(len(drawn), units)
        permuted = kernel[places[:, :, None], places[:, None, :]]
        reached += int((np.tensordot(permuted, centred, axes=2) >= enough).sum())
    return observed, reached
