"""How well scores separate two classes: the AUC as a mean of one value per unit, so that clusters can be resampled.

DeLong et al. 1988 (Biometrics 44:837): the placement of a positive score is the share of negative scores below it, that
of a negative score the share of positive ones above it; ties count half. The mean of either is the AUC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError


@dataclass(frozen=True, eq=False)
class Placements:
    """Placements of the positive units [..., positive] and of the negative units [..., negative].

    The leading axes, where there are any, are those of the scores: directions, layers, doses.
    """

    positive: NDArray[np.float64] = field(repr=False)
    negative: NDArray[np.float64] = field(repr=False)

    @property
    def auc(self) -> NDArray[np.float64]:
        """[...], the probability that a positive unit scores above a negative one, ties counted half."""
        return np.asarray(self.positive.mean(axis=-1))

    def by_pair(self) -> NDArray[np.float64]:
        """[..., pair], one value for each pair of a positive and a negative unit: their placements' sum minus the AUC.

        Its mean is the AUC, and its variance over pairs, divided by their number, DeLong's variance of the AUC (their
        eq. 5, here with the covariance within pairs): each placement is what its own unit adds to the AUC, so that
        both sides of a pair count in full. Values may lie outside 0 to 1. Resample them by pair or by template.

        Raises:
            StatisticsError: the classes differ in size, so that units are not pairs.
        """
        if self.positive.shape != self.negative.shape:
            raise StatisticsError(
                f"{self.positive.shape[-1]} positive and {self.negative.shape[-1]} negative units are not pairs"
            )
        return np.asarray(self.positive + self.negative - self.auc[..., None])


def placements(positive_scores: NDArray[np.floating[Any]], negative_scores: NDArray[np.floating[Any]]) -> Placements:
    """The placements of scores [..., positive] among scores [..., negative] and the other way round.

    Raises:
        StatisticsError: a class is empty, leading axes disagree, or a score is not finite.
    """
    from scipy.stats import rankdata

    ones, zeros = np.asarray(positive_scores, dtype=np.float64), np.asarray(negative_scores, dtype=np.float64)
    for name, scores in (("positive", ones), ("negative", zeros)):
        if scores.ndim < 1 or not scores.size:
            raise StatisticsError(f"the {name} class is empty: an AUC compares scores of both")
        if not np.isfinite(scores).all():
            raise StatisticsError(f"the {name} scores hold NaN or infinity")
    if ones.shape[:-1] != zeros.shape[:-1]:
        raise StatisticsError(f"scores {ones.shape} and {zeros.shape} differ in more than the number of units")
    n, m = ones.shape[-1], zeros.shape[-1]
    together = rankdata(np.concatenate((ones, zeros), axis=-1), axis=-1)
    # A rank among all minus the rank in the own class counts the others below, ties half.
    below = (together[..., :n] - rankdata(ones, axis=-1)) / m
    above = 1 - (together[..., n:] - rankdata(zeros, axis=-1)) / n
    return Placements(below, above)
