"""How well a ranking by attribution agrees with exact patching.

It describes an approximation on the prompts at hand. It is no test, and a good agreement lets no claim rest on the
approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import StatisticsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class AtK:
    """Of the `k` targets that the ranking puts first, how many are among the `relevant` first by exact patching.

    Attributes:
        k: how many targets are taken from the ranking.
        relevant: how many of the largest exact effects are looked for.
        precision: the share of the k that are among the relevant.
        recall: the share of the relevant that are among the k.
        precision_by_chance: what a random order is expected to reach.
        recall_by_chance: the same for the recall.
    """

    k: int
    relevant: int
    precision: float
    recall: float
    precision_by_chance: float
    recall_by_chance: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of scores with exact effects over targets; correlations are of signed values."""

    n_targets: int
    spearman: float
    pearson: float
    at: tuple[AtK, ...]


def agreement(scores: ArrayLike, exact: ArrayLike, *, k: Sequence[int], relevant: int | None = None) -> Agreement:
    """The agreement of means over prompts.

    Targets are first by the absolute value of their mean. Where values are tied at the border, each of them counts
    with the chance to be taken, in both orders independently, so that equal zeros do not pass for agreement.

    Args:
        scores: [target, prompt], the approximation.
        exact: [target, prompt], the effects by exact patching, in the same order.
        k: how many targets are taken from the ranking.
        relevant: how many of the largest exact effects are looked for; None for as many as are taken, which makes
            precision and recall the same number.

    Raises:
        StatisticsError: shapes differ, fewer than three targets, NaN or infinity, means that are all the same, or a k
            outside 1 to the number of targets.
    """
    from scipy.stats import pearsonr, spearmanr

    approximate, true = _means(scores, name="scores"), _means(exact, name="exact")
    if len(approximate) != len(true):
        raise StatisticsError(f"scores are of {len(approximate)} targets, exact effects of {len(true)}.")
    n = len(true)
    for wanted in (*k, *([] if relevant is None else [relevant])):
        if not 1 <= wanted <= n:
            raise StatisticsError(f"the first {wanted} of {n} targets do not exist: give k and relevant from 1 to {n}.")
    return Agreement(
        n_targets=n,
        spearman=float(spearmanr(approximate, true).statistic),
        pearson=float(pearsonr(approximate, true).statistic),
        at=tuple(_at(approximate, true, k=each, relevant=each if relevant is None else relevant) for each in k),
    )


def _means(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 3 or array.shape[1] < 1:
        raise StatisticsError(f"{name} are {array.shape}, not [target, prompt] with three targets or more.")
    if not np.isfinite(array).all():
        raise StatisticsError(
            f"{name} hold NaN or infinity, first in row {int(np.argwhere(~np.isfinite(array))[0, 0])}."
        )
    means: NDArray[np.float64] = array.mean(axis=1)
    if np.ptp(means) <= 1e-12 * abs(means).max():  # rounding apart
        raise StatisticsError(f"{name} are the same ({means[0]:g}) for all {len(means)} targets: they rank nothing.")
    return means


def _at(scores: NDArray[np.float64], exact: NDArray[np.float64], *, k: int, relevant: int) -> AtK:
    n = len(exact)
    hits = float(_chance_to_be_first(scores, k) @ _chance_to_be_first(exact, relevant))
    return AtK(k, relevant, hits / k, hits / relevant, precision_by_chance=relevant / n, recall_by_chance=k / n)


def _chance_to_be_first(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """For each target the chance to be among the k largest absolute values, ties broken at random."""
    import numpy as np

    sizes = abs(values)
    border = np.sort(sizes)[-k]
    above, tied = sizes > border, sizes == border
    chances: NDArray[np.float64] = above + tied * (k - above.sum()) / tied.sum()
    return chances
