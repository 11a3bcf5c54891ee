"""Linear probes on activations, and the control tasks that tell what a probe found from what it learned by itself.

A probe is a logistic regression with an L2 penalty (scikit-learn's). Hewitt and Liang 2019 ("Designing and Interpreting
Probes with Control Tasks", arXiv 1909.03368) hold its accuracy against that on random labels which are a fixed function
of the input's type: what is left over is the selectivity. numpy in, records out; a decodable label need not be used.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError

GRID = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the penalty that are tried, for activations scaled to a mean variance of 1."""
FOLDS = 4
MOST_ITERATIONS = 5_000
TOLERANCE = 1e-5
"""Of the gradient of the mean loss."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe: log-odds = slope * (activation @ direction) + offset.

    Attributes:
        direction: [d], of length 1, in the activations' own space, pointing to label 1; zeros where the classes have
            one mean, so that every weight is 0 and nothing was found.
        slope: log-odds per unit of length along the direction.
        offset: log-odds at 0.
        step: the difference between the class means along the direction, in the activations' unit: label 1 minus 0.
        inverse_penalty: scikit-learn's C.
    """

    direction: NDArray[np.float64] = field(repr=False)
    slope: float
    offset: float
    step: float
    inverse_penalty: float

    def log_odds(self, activations: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """[unit], log-odds of label 1."""
        if activations.ndim != 2 or activations.shape[1] != len(self.direction):
            raise StatisticsError(f"activations have shape {activations.shape}, the probe reads {len(self.direction)}")
        projected = np.asarray(activations, dtype=np.float64) @ self.direction
        return np.asarray(self.slope * projected + self.offset)

    def right(self, activations: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[unit], whether the likelier label is the true one."""
        _check(activations, labels, both=False)
        return np.asarray((self.log_odds(activations) > 0) == (labels == 1))


@dataclass(frozen=True)
class ProbeScore:
    """How well a probe does on units that it was not fitted to.

    Attributes:
        accuracy: share of units whose likelier label is the true one.
        auc: probability that a unit with label 1 has higher log-odds than one with label 0, ties counted half.
        ones: share of units with label 1: the class balance, and with its complement the accuracy of a constant guess.
        units: how many.
    """

    accuracy: float
    auc: float
    ones: float
    units: int


@dataclass(frozen=True)
class Regularisation:
    """What cross-validation chose: the best C (of equal ones the strongest penalty), and how well each did.

    Attributes:
        inverse_penalty: the chosen C.
        accuracies: held-out accuracy by C.
        right: [unit], whether the probe with the chosen C, fitted to the other folds, got the unit right.
    """

    inverse_penalty: float
    accuracies: dict[float, float]
    right: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, eq=False)
class ControlTask:
    """Random labels that are a function of the input's type: equal types have equal labels, in training and in test.

    Attributes:
        types: [type], sorted.
        labels: [type], 0 or 1, as many of each (one more of a random one where the types are odd in number).
    """

    types: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def draw(cls, types: Sequence[int] | NDArray[np.int64], *, rng: np.random.Generator) -> ControlTask:
        """A task over these types; repeated ones count once."""
        distinct = np.unique(np.asarray(types, dtype=np.int64))
        if len(distinct) < 2:
            raise StatisticsError(f"a control task over {len(distinct)} types has one label only; give at least two")
        return cls(distinct, rng.permutation((np.arange(len(distinct)) + rng.integers(2)) % 2))

    def of(self, types: NDArray[np.int64]) -> NDArray[np.int64]:
        """[unit], the labels of units of these types; StatisticsError for a type without one."""
        place = np.searchsorted(self.types, types).clip(max=len(self.types) - 1)
        unknown = self.types[place] != types
        if unknown.any():
            raise StatisticsError(f"type {int(types[unknown][0])} has no label in this control task; draw it over all")
        return np.asarray(self.labels[place])


def fit_probe(activations: NDArray[np.floating[Any]], labels: NDArray[np.int64], *, inverse_penalty: float) -> Probe:
    """A logistic regression with an L2 penalty on the weights and none on the offset.

    Activations are centred and divided by one number, so that C means the same at every place of a model and the
    direction is one of the activations' own space.

    Args:
        activations: [unit, d].
        labels: [unit], 0 or 1.
        inverse_penalty: scikit-learn's C, for activations of mean variance 1.

    Raises:
        StatisticsError: shapes disagree, a value is not finite, labels are not both of 0 and 1, C is not positive, the
            activations do not vary, or the fit does not converge.
    """
    _check(activations, labels, both=True)
    if not 0 < inverse_penalty < float("inf"):
        raise StatisticsError(f"inverse_penalty is {inverse_penalty}; scikit-learn's C is a positive number")
    values = np.asarray(activations, dtype=np.float64)
    centre = values.mean(axis=0)
    scale = float(np.sqrt(values.var(axis=0).mean()))
    if scale <= 1e-12 * float(np.abs(values).max()) or scale == 0:
        raise StatisticsError("the activations do not vary over units: nothing can be decoded from them")
    weights, offset = _logistic((values - centre) / scale, labels, inverse_penalty=inverse_penalty)
    length = float(np.linalg.norm(weights))
    direction = weights / length if length else weights
    slope = length / scale
    projected = values @ direction
    step = float(projected[labels == 1].mean() - projected[labels == 0].mean())
    return Probe(direction, slope, offset - slope * float(centre @ direction), step, float(inverse_penalty))


def score(probe: Probe, activations: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> ProbeScore:
    """Accuracy, AUC and class balance on held-out units; both labels must occur."""
    from scipy.stats import rankdata

    _check(activations, labels, both=True)
    ranks = rankdata(probe.log_odds(activations))
    ones = int((labels == 1).sum())
    above = float(ranks[labels == 1].sum()) - ones * (ones + 1) / 2  # Mann and Whitney's U
    accuracy = float(probe.right(activations, labels).mean())
    return ProbeScore(accuracy, above / (ones * (len(labels) - ones)), ones / len(labels), len(labels))


def choose_regularisation(
    activations: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    grid: Sequence[float] = GRID,
    folds: int = FOLDS,
) -> Regularisation:
    """The C of a declared grid with the best held-out accuracy; use units that decide nothing.

    Folds are random and hold both labels in equal shares, as far as they divide.
    """
    _check(activations, labels, both=True)
    fewest = int(min((labels == 0).sum(), (labels == 1).sum()))
    if not 2 <= folds <= fewest:
        raise StatisticsError(f"{folds} folds of {fewest} units with the rarer label; each fold needs one")
    if not grid:
        raise StatisticsError("the grid of penalties is empty")
    fold = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        here = np.flatnonzero(labels == label)
        fold[rng.permutation(here)] = np.arange(len(here)) % folds
    right = {}
    for penalty in sorted(grid):
        right[penalty] = np.empty(len(labels), dtype=bool)
        for out in range(folds):
            probe = fit_probe(activations[fold != out], labels[fold != out], inverse_penalty=penalty)
            right[penalty][fold == out] = probe.right(activations[fold == out], labels[fold == out])
    accuracies = {penalty: float(some.mean()) for penalty, some in right.items()}
    best = max(accuracies, key=lambda penalty: accuracies[penalty])  # the first of equal ones
    return Regularisation(best, accuracies, right[best])


def permuted_within(
    labels: NDArray[np.int64], *, strata: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """[unit], the labels permuted within strata: what the strata tell about them stays, everything else is lost."""
    if labels.shape != strata.shape:
        raise StatisticsError(f"{labels.shape} labels for {strata.shape} strata; give one of each per unit")
    permuted = labels.copy()
    for stratum in np.unique(strata):
        here = np.flatnonzero(strata == stratum)
        permuted[here] = labels[rng.permutation(here)]
    return permuted


def _logistic(
    scaled: NDArray[np.float64], labels: NDArray[np.int64], *, inverse_penalty: float
) -> tuple[NDArray[np.float64], float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse_penalty, solver="lbfgs", max_iter=MOST_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(scaled, labels)
        except ConvergenceWarning as error:
            raise StatisticsError(
                f"a probe with C = {inverse_penalty:g} did not converge in {MOST_ITERATIONS} steps; take a smaller C"
            ) from error
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])


def _check(activations: NDArray[np.floating[Any]], labels: NDArray[np.int64], *, both: bool) -> None:
    if activations.ndim != 2 or labels.shape != activations.shape[:1] or not activations.size:
        raise StatisticsError(
            f"activations {activations.shape} and labels {labels.shape} are not [unit, d] and [unit], not empty"
        )
    if not np.isfinite(activations).all():
        raise StatisticsError("the activations hold NaN or infinity")
    found = np.unique(labels).tolist()
    if set(found) - {0, 1} or (both and len(found) < 2):
        raise StatisticsError(f"labels are {found[:4]}; a probe tells 0 from 1 and needs units of both")
