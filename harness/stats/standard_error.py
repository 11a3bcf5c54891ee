"""The standard error of a mean, or of a ratio of means, from the means of clusters: how exactly a sample has told it.

Not what a verdict rests on. Where estimates are combined or compared their errors are needed, and the width of an
interval does not give them where the interval goes by the limits of the values (Gaffke, Clopper-Pearson): that width
is far from a standard error where nearly all values are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError
from harness.stats.clusters import ROUNDING, cluster_means


def standard_error(values: ArrayLike, *, clusters: Sequence[str], below: ArrayLike | None = None) -> float:
    """The standard deviation between clusters over the root of their number; 0.0 where all cluster means are equal.

    0.0 says that this sample shows no spread, not that there is none: who asks must not take it for certainty. Of a
    ratio r = mean(x) / mean(y) it is that of the linearised (x - r y) / mean(y) (Cochran 1977, Sampling Techniques,
    equation 2.46).

    Args:
        values: [unit], equally many per cluster.
        clusters: the id of each unit's cluster.
        below: [unit], the denominator of a ratio of means.

    Raises:
        StatisticsError: as `cluster_means`, or a denominator with mean 0.
    """
    means = cluster_means(values, clusters=clusters).means[0]
    spread, scale = means, 1.0
    if below is not None:
        under = cluster_means(below, clusters=clusters).means[0]
        scale = abs(float(under.mean()))
        if scale == 0:
            raise StatisticsError("the denominators of a ratio have mean 0; it has no standard error")
        spread = means - means.mean() / under.mean() * under
    if np.ptp(spread) <= ROUNDING * np.abs(means).max():
        return 0.0
    return float(spread.std(ddof=1)) / scale / math.sqrt(spread.size)
