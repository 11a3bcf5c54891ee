"""Directions from the activations of two classes of texts: four methods, each with its source. numpy in and out.

Every method takes the activations of the positive and of the negative texts at one place, [text, d_model], and points
from negative to positive. None of them looks at what the model does with the direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.probes import fit_probe
from harness.steering.direction import Direction, Place, pointing

INVERSE_PENALTY = 1e-2
"""scikit-learn's C of `probe_direction`, for activations of mean variance 1. With as few texts as contrasts have every
value separates them; a strong penalty keeps the direction near the difference of means, a weak one fits their noise."""


class Method(Protocol):
    """Finds a direction from two classes of activations."""

    def __call__(
        self, positive: NDArray[np.floating[Any]], negative: NDArray[np.floating[Any]], *, at: Place
    ) -> Direction:
        """The direction from negative to positive."""
        ...


def mean_difference(
    positive: NDArray[np.floating[Any]], negative: NDArray[np.floating[Any]], *, at: Place
) -> Direction:
    """The direction from the mean of the negative texts to that of the positive ones (Marks and Tegmark 2023, 4).

    The classes may differ in size.

    Raises:
        StatisticsError: a class is empty, shapes disagree, a value is not finite, or both means are equal.
    """
    ones, zeros = _classes(positive, negative, at=at, paired=False)
    vector = ones.mean(axis=0) - zeros.mean(axis=0)
    n = len(ones) if len(ones) == len(zeros) else len(ones) + len(zeros)
    return pointing(vector, at=at, method="mean difference", n=n, scale=_length(ones, zeros))


def paired_contrast(
    positive: NDArray[np.floating[Any]],
    negative: NDArray[np.floating[Any]],
    *,
    at: Place,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
) -> Direction:
    """The mean over pairs of positive minus negative: contrastive activation addition (Rimsky et al. 2024, eq. 1).

    With as many positive as negative texts and no weights this *is* the difference of means, to the last bit but
    rounding: a mean of differences is a difference of means. It differs where pairs weigh differently (templates of
    unequal numbers), and in what it demands: every positive text has its partner. Rimsky et al. read it at the answer
    token; which position the activations come from is said where they are read.

    Args:
        positive: [pair, d_model].
        negative: [pair, d_model], row by row the partners.
        at: where they were read.
        weights: [pair], not negative; equal by default.

    Raises:
        StatisticsError: as `mean_difference`; also where rows do not pair up, or weights are not such numbers.
    """
    ones, zeros = _classes(positive, negative, at=at, paired=True)
    shares = np.full(len(ones), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (len(ones),) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.sum() > 0:
        raise StatisticsError(f"weights {shares.shape} are not one finite number >= 0 for each of {len(ones)} pairs")
    vector = (shares / shares.sum()) @ (ones - zeros)
    return pointing(vector, at=at, method="paired contrast", n=len(ones), scale=_length(ones, zeros))


def probe_direction(
    positive: NDArray[np.floating[Any]],
    negative: NDArray[np.floating[Any]],
    *,
    at: Place,
    inverse_penalty: float = INVERSE_PENALTY,
) -> Direction:
    """The direction along which a logistic regression tells the classes apart (`harness.probes.fit_probe`).

    It discounts directions in which all texts vary. Marks and Tegmark 2023 (5) find it to separate as well as the
    difference of means and to steer less.

    Raises:
        StatisticsError: as `mean_difference`, or the fit does not converge.
    """
    ones, zeros = _classes(positive, negative, at=at, paired=False)
    # What has no direction is refused here, with its place, rather than fitted.
    pointing(ones.mean(axis=0) - zeros.mean(axis=0), at=at, method="probe", n=0, scale=_length(ones, zeros))
    labels = np.repeat(np.array([1, 0], dtype=np.int64), [len(ones), len(zeros)])
    probe = fit_probe(np.concatenate((ones, zeros)), labels, inverse_penalty=inverse_penalty)
    n = len(ones) if len(ones) == len(zeros) else len(labels)
    return pointing(probe.direction, at=at, method="probe", n=n, scale=1.0)


def principal_direction(
    positive: NDArray[np.floating[Any]], negative: NDArray[np.floating[Any]], *, at: Place
) -> Direction:
    """The first principal direction of the pairs' differences, oriented by their mean (Zou et al. 2023, 3.1).

    The differences are not centred: centring would take away just the part that all pairs share. (Zou et al. deal the
    order within each pair at random, so that their mean is near zero: second moments are the same.)

    Raises:
        StatisticsError: as `paired_contrast`; also where the mean is at right angles to what was found.
    """
    ones, zeros = _classes(positive, negative, at=at, paired=True)
    differences = ones - zeros
    mean = differences.mean(axis=0)
    # As in `probe_direction`. Of what rounding leaves the mean is short; the longest of many differences is not.
    pointing(mean, at=at, method="principal direction", n=0, scale=_length(ones, zeros))
    first = np.linalg.svd(differences, full_matrices=False)[2][0]
    along = float(mean @ first)
    if abs(along) <= 1e-9 * float(np.linalg.norm(differences, axis=1).max()):
        raise StatisticsError(
            f"the principal direction at {at.site} of layer {at.layer} cannot be oriented: the pairs' mean difference "
            "has no part along it, so it does not say which class is which."
        )
    return pointing(np.sign(along) * first, at=at, method="principal direction", n=len(ones), scale=1.0)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "mean-difference": mean_difference,
        "paired-contrast": paired_contrast,
        "probe": probe_direction,
        "principal": principal_direction,
    }
)
"""Methods by the name that users write."""


def _classes(
    positive: NDArray[np.floating[Any]], negative: NDArray[np.floating[Any]], *, at: Place, paired: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ones, zeros = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    for name, values in (("positive", ones), ("negative", zeros)):
        if values.ndim != 2:
            raise StatisticsError(f"activations of the {name} class are {values.shape}, not [text, d_model]")
        if not values.size:
            raise StatisticsError(f"the {name} class is empty: a direction needs texts of both classes")
        if not np.isfinite(values).all():
            raise StatisticsError(
                f"activations of the {name} class at {at.site} of layer {at.layer} hold NaN or infinity"
            )
    if ones.shape[1] != zeros.shape[1] or (paired and len(ones) != len(zeros)):
        needed = "row by row pairs" if paired else "of one width"
        raise StatisticsError(f"activations {ones.shape} and {zeros.shape} are not {needed}")
    return ones, zeros


def _length(ones: NDArray[np.float64], zeros: NDArray[np.float64]) -> float:
    """Root mean square length of the activations."""
    return float(np.sqrt(np.square(np.concatenate((ones, zeros))).sum(axis=1).mean()))
