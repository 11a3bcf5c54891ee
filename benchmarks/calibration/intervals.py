"""Bounds of thousands of samples at once, by the method that a claim's design has; equal to the library's (tested).

Samples of one block share their resampling counts, so that one matrix product resamples all of them; every block draws
its own. A shared block makes the replicates' Monte Carlo errors alike, not their misses: those follow the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import checked_limits
from harness.stats.bca import bca_intervals
from harness.stats.binomial import clopper_pearson
from harness.stats.bounded import spacings
from harness.stats.clusters import FLOAT32_NOISE, ROUNDING, draw_clusters, is_constant
from harness.stats.ratio import STANDARD_ERRORS_FROM_ZERO
from harness.stats.ratio import _fieller_endpoints as fieller_endpoints
from harness.stats.records import Sampling

BLOCK = 50
RESAMPLES = 1_999
"""0.025 (B + 1) is a whole number, 50: the order statistic is as exact as with 9,999 (shown in `designs.py`)."""

Array = NDArray[np.float64]


class Bounds(NamedTuple):
    """One-sided bounds [level, replicate]; NaN where the sample has no interval (no variation, denominator near 0)."""

    low: Array
    high: Array


def bounds_of(
    samples: Array,
    *,
    method: str,
    levels: Sequence[float],
    rng: np.random.Generator,
    below: Array | None = None,
    resamples: int = RESAMPLES,
    limits: tuple[float, float] | None = None,
) -> Bounds:
    """Bounds of each sample's mean, or of its ratio to `below`.

    Args:
        samples: [replicate, cluster, unit].
        method: as records name it.
        levels: one-sided errors.
        rng: generator of the resamples.
        below: the denominator's values, shaped as `samples`.
        resamples: how many.
        limits: of the values, for Gaffke's bounds.
    """
    found = Bounds(*(np.full((len(levels), len(samples)), np.nan) for _ in range(2)))
    if method == "clopper-pearson":
        for row, sample in enumerate(samples):
            _fill(found, row, _exact(sample), levels)
        return found
    means = samples.mean(axis=2)
    if below is not None:
        under = below.mean(axis=2)
        for rows in _blocks(np.flatnonzero(_has_ratio(means, under))):
            low, high = _ratio(means[rows], under[rows], levels=levels, rng=rng, resamples=resamples)
            found.low[:, rows], found.high[:, rows] = low, high
        return found
    if method == "gaffke":
        for rows in _blocks(np.arange(len(means))):
            low, high = _gaffke(means[rows], limits=limits, levels=levels, rng=rng, resamples=resamples)
            found.low[:, rows], found.high[:, rows] = low, high
        return found
    varied = np.flatnonzero(~is_constant(means, within=FLOAT32_NOISE))
    batch = {"bootstrap-t": _bootstrap_t, "bca": _bca}[method]
    for rows in _blocks(varied):
        low, high = batch(means[rows], levels=levels, rng=rng, resamples=resamples)
        found.low[:, rows], found.high[:, rows] = low, high
    return found


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _bootstrap_t(means: Array, *, levels: Sequence[float], rng: np.random.Generator, resamples: int) -> Bounds:
    """The library's `bootstrap_t` for every row (eq. 12.22)."""
    clusters = means.shape[1]
    estimate = means.mean(axis=1, keepdims=True)
    t_lower, t_upper = _studentised(means - estimate, _counts(draw_clusters(rng, count=clusters, resamples=resamples)))
    se = means.std(axis=1, ddof=1, keepdims=True) / math.sqrt(clusters)
    return _ranked(estimate - se * t_lower, estimate - se * t_upper, levels=levels)


def _ratio(above: Array, below: Array, *, levels: Sequence[float], rng: np.random.Generator, resamples: int) -> Bounds:
    """The library's `ratio_sampling` for every row: t* of x - r y, turned into endpoints by Fieller's equation."""
    sign = np.where(below.mean(axis=1, keepdims=True) < 0, -1.0, 1.0)
    x, y = sign * above, sign * below
    linearised = x - x.mean(axis=1, keepdims=True) / y.mean(axis=1, keepdims=True) * y
    counts = _counts(draw_clusters(rng, count=x.shape[1], resamples=resamples))
    t_lower, t_upper = _studentised(linearised - linearised.mean(axis=1, keepdims=True), counts)
    lower, upper = (
        np.stack([fieller_endpoints(*pair) for pair in zip(x, y, t, strict=True)]) for t in (t_lower, t_upper)
    )
    return _ranked(lower, upper, levels=levels)


def _has_ratio(above: Array, below: Array) -> NDArray[np.bool_]:
    """The rows that `ratio_sampling` does not refuse: a denominator far from zero, values that are no multiple."""
    mean, se = below.mean(axis=1), below.std(axis=1, ddof=1) / math.sqrt(below.shape[1])
    far = (mean != 0) & (np.abs(mean) >= STANDARD_ERRORS_FROM_ZERO * se)
    ratio = above.mean(axis=1) / np.where(mean == 0, 1.0, mean)
    offset = np.abs(above).max(axis=1, keepdims=True)
    return np.asarray(far & ~is_constant(above - ratio[:, None] * below + offset, within=FLOAT32_NOISE))


def _studentised(centred: Array, counts: Array) -> tuple[Array, Array]:
    """t* [replicate, resample] from resampled first and second moments; undefined ones at +inf, and at -inf."""
    clusters = centred.shape[1]
    deviation = centred @ counts.T / clusters
    squares = centred**2 @ counts.T / clusters - deviation**2
    scale = np.abs(centred).max(axis=1, keepdims=True)
    alone = (counts > 0).sum(axis=1) == 1  # a single cluster drawn again and again
    flat = np.broadcast_to(alone, squares.shape) | (squares <= ROUNDING * scale**2)
    spread = np.sqrt(np.where(flat, 1.0, squares) / (clusters - 1))
    t = np.where(flat, np.copysign(np.inf, deviation), deviation / spread)
    undefined = flat & (np.abs(deviation) <= ROUNDING * scale)
    return np.where(undefined, np.inf, t), np.where(undefined, -np.inf, t)


def _ranked(lower: Array, upper: Array, *, levels: Sequence[float]) -> Bounds:
    """Order statistics of endpoints [replicate, resample], as `EndpointSampling.bound`."""
    lower, upper = np.sort(lower, axis=1), np.sort(upper, axis=1)
    ranks = [math.floor(level * (lower.shape[1] + 1) + 1e-9) for level in levels]
    infinite = np.full(len(lower), np.inf)
    return Bounds(
        np.stack([lower[:, rank - 1] if rank else -infinite for rank in ranks]),
        np.stack([upper[:, -rank] if rank else infinite for rank in ranks]),
    )


def _bca(means: Array, *, levels: Sequence[float], rng: np.random.Generator, resamples: int) -> Bounds:
    names = [str(number) for number in range(means.shape[1])]
    low, high = np.full((2, len(levels), len(means)), np.nan)
    seed = int(rng.integers(2**63))
    for place, level in enumerate(levels):
        # Levels share their resamples. Where a mean of few distinct values lies to one side of all its resamples,
        # the library refuses the block; its rows are then asked one by one.
        for rows in ([slice(None)], [slice(row, row + 1) for row in range(len(means))]):
            try:
                for row in rows:
                    again = np.random.default_rng(seed)
                    found = bca_intervals(
                        means[row], clusters=names, rng=again, level=1 - 2 * level, resamples=resamples
                    )
                    low[place, row], high[place, row] = found
                break
            except StatisticsError:
                if len(means) == 1:
                    break
    return Bounds(low, high)


def _gaffke(
    means: Array, *, limits: tuple[float, float] | None, levels: Sequence[float], rng: np.random.Generator,
    resamples: int,
) -> Bounds:
    """The library's `gaffke` for every row, with the same spacings: they do not depend on the values."""
    smallest, largest = checked_limits(limits)
    weights = spacings(rng, count=means.shape[1], resamples=resamples)
    seen, unseen = means @ weights[:, :-1].T, weights[:, -1]
    return _ranked(seen + unseen * smallest, seen + unseen * largest, levels=levels)


def _exact(sample: Array) -> Sampling:
    clusters = [str(number) for number in range(len(sample)) for _ in range(sample.shape[1])]
    return clopper_pearson(sample.ravel(), clusters=clusters)


def _fill(found: Bounds, row: int, sampling: Sampling, levels: Sequence[float]) -> None:
    for place, level in enumerate(levels):
        found.low[place, row] = sampling.bound(level, side="lower")
        found.high[place, row] = sampling.bound(level, side="upper")


def _counts(drawn: NDArray[np.int64]) -> Array:
    resamples, clusters = drawn.shape
    flat = (drawn + clusters * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
