"""The sampling distribution of a mean over units, by the method that a claim's declaration fixed.

One door for the three methods, so that all refuse the same hostile values by name. Which method suits which design is
the declaration's business (`Claim.interval_method`), never a choice made after looking at the values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError, did_you_mean
from harness.stats.arguments import Limits
from harness.stats.bca import BcaSampling, bca
from harness.stats.binomial import ClopperPearsonSampling, clopper_pearson
from harness.stats.bootstrap import EndpointSampling, bootstrap_t
from harness.stats.bounded import gaffke
from harness.stats.clusters import check_generator, check_resamples, cluster_means

METHODS = ("bootstrap-t", "bca", "clopper-pearson", "gaffke")
"""Methods that a declaration may fix."""


def mean_sampling(
    values: ArrayLike,
    *,
    clusters: Sequence[str],
    method: str,
    rng: np.random.Generator,
    resamples: int = 9_999,
    limits: Limits | None = None,
) -> EndpointSampling | BcaSampling | ClopperPearsonSampling:
    """Sampling distribution of the mean of `values` [unit] over clusters: ask it for bounds and p-values.

    Args:
        values: one value per unit, in the metric's unit.
        clusters: one id per unit, equally many units in each; clusters are what is resampled.
        method: "bootstrap-t" (fewer than 50 clusters), "bca" (50 or more), "clopper-pearson" (values 0 and 1),
            "gaffke" (values within known limits).
        rng: generator of the resamples; "clopper-pearson" draws nothing.
        resamples: how many; p cannot fall below 1 / (resamples + 1) by a bootstrap.
        limits: what values can be at all, for "gaffke" alone.

    Raises:
        StatisticsError: unknown method; values that are empty, single, not finite, constant (for a bootstrap), not
            binary (for "clopper-pearson") or outside of their limits (for "gaffke"); unequal clusters or fewer than
            two; fewer than 999 resamples.
    """
    if method not in METHODS:
        raise StatisticsError(f"method is {method!r}; one of {', '.join(METHODS)}.{did_you_mean(str(method), METHODS)}")
    if np.ndim(values) != 1:
        raise StatisticsError(f"values have shape {np.shape(values)}; give one value per unit, [unit]")
    check_generator(rng)
    check_resamples(resamples)
    if method == "clopper-pearson":
        return clopper_pearson(values, clusters=clusters)
    sample = cluster_means(values, clusters=clusters)
    if method == "gaffke":
        return gaffke(sample, limits=limits, rng=rng, resamples=resamples)
    if method == "bca":
        return bca(sample, rng=rng, resamples=resamples)
    return bootstrap_t(sample, rng=rng, resamples=resamples)
