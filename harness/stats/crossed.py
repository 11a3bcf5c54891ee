"""A second factor that crosses the clusters: by how much it widens what an interval over the clusters alone says.

Words that are dealt over all templates make units of different templates alike. Intervals resample templates; where
the standard error over both factors is larger, they are too narrow by about that ratio. It is reported, not decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError
from harness.stats.clusters import ROUNDING, cluster_means


@dataclass(frozen=True)
class CrossedErrors:
    """Standard errors of one mean: over the clusters alone, and over both factors."""

    clusters: float
    both: float

    @property
    def ratio(self) -> float:
        """Both over clusters alone; above 1 an interval over clusters is too narrow. NaN where clusters do not vary."""
        return self.both / self.clusters if self.clusters > 0 else float("nan")


def crossed_errors(values: ArrayLike, *, clusters: Sequence[str], crossing: Sequence[str]) -> CrossedErrors:
    """Standard errors of the mean of values [unit] with one and with two ways of clustering.

    Variances over each factor are added and that over their intersections is subtracted (Cameron, Gelbach and Miller
    2011, eq. 2.13), as statsmodels has it, without its corrections for few clusters. Where that is negative, as it can
    be, the larger of the two single ones is taken.

    Args:
        values: one per unit, finite.
        clusters: one id per unit, of what is resampled: templates.
        crossing: one id per unit, of what stands in many clusters: words.

    Raises:
        StatisticsError: as `cluster_means`, of either factor but for its size, or ids that do not fit.
    """
    from statsmodels.regression.linear_model import OLS

    cluster_means(values, clusters=clusters)  # refuses what has no interval
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(crossing) != len(found):
        raise StatisticsError(f"{len(crossing)} ids of the crossing factor for values {found.shape}; give one per unit")
    codes = [np.unique(np.asarray(names), return_inverse=True)[1] for names in (clusters, crossing)]
    if codes[1].max() < 1:
        raise StatisticsError(f"only one value of the crossing factor ({crossing[0]!r}): it does not vary")
    model = OLS(found, np.ones(len(found)))

    def variance(groups: object) -> float:
        given = {"groups": groups, "use_correction": False}
        return float(model.fit(cov_type="cluster", cov_kwds=given).cov_params()[0, 0])

    single = [variance(each) for each in codes]
    both = variance(np.stack(codes, axis=1))
    largest = max(both, *single) if both <= 0 else both
    rounding = ROUNDING * float(np.abs(found).max())
    return CrossedErrors(*(0.0 if each**0.5 <= rounding else each**0.5 for each in (single[0], max(largest, 0.0))))
