"""Neurons that tell labels apart: a digit, a carry. How much of a neuron's variance a label explains, and its null.

The index is the share of the variance within strata that the label explains (eta squared; 1 where the label fixes the
activation). Labels permuted within strata give its null: what is explained by chance, and by whatever the strata hold
equal (a carry is entangled with the digit sum; with strata of the digit sum mod 10 it is not). The p-value compares
what is explained of the activations' ranks, not as a share, with the most of all neurons under each permutation: a
neuron that fires on one prompt has little variance of ranks, and chance often explains all of it. Neurons are chosen
on some prompts and judged on others, since the best of many is the best by chance too.

Selective is not causal: whether the model uses a neuron is a question for `harness.importance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InterventionError, StatisticsError
from harness.interventions import engine_of
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.roles import Prompts

PERMUTATIONS = 199
"""The smallest p is 1/200: below the protocol's 0.025 with room for ties."""
FEWEST_PERMUTATIONS = 99


@dataclass(frozen=True, eq=False)
class Selectivity:
    """How selective neurons are for a label.

    Attributes:
        names: `layer.neuronN`.
        index: [neuron], share of the variance within strata that the label explains, 0 to 1; 0 for dead neurons.
        null_mean: [neuron], its mean under permuted labels.
        p: [neuron], share of permutations whose most selective neuron, by ranks, reaches it; adjusted for all neurons.
        units: how many prompts.
    """

    names: tuple[str, ...]
    index: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    p: NDArray[np.float64]
    units: int

    @property
    def excess(self) -> NDArray[np.float64]:
        """[neuron], index above its null."""
        return self.index - self.null_mean

    def top(self, count: int, *, alpha: float = 0.025) -> tuple[str, ...]:
        """Up to `count` neurons with p at most `alpha`, the most selective first."""
        order = np.argsort(-self.excess, kind="stable")
        return tuple(self.names[place] for place in order if self.p[place] <= alpha)[:count]

    def picture(self, *, count: int = 20) -> dict[str, Any]:
        """Data of bars of the most selective neurons: `evidence.picture("bars", name, caption=..., **this)`."""
        order = np.argsort(-self.excess, kind="stable")[:count]
        return {
            "labels": [self.names[place] for place in order],
            "values": self.excess[order].tolist(),
            "unit": "share of variance explained, above permuted labels",
        }


@dataclass(frozen=True, eq=False)
class Selective:
    """Neurons chosen on some prompts and measured on others; both have the same neurons, in the same order."""

    chosen_by: Selectivity
    judged: Selectivity


def neuron_activations(
    model: Model, prompts: Prompts, *, positions: ArrayLike, layers: Sequence[int] | None = None
) -> UnitValues:
    """Every neuron's activation at one position of each prompt: [neuron, prompt], rows `layer.neuronN`.

    Args:
        model: the model.
        prompts: the prompts, one unit each.
        positions: one position, or one per prompt.
        layers: which layers (default: all).

    Raises:
        InterventionError: the model has no MLPs, or there is no such layer or position.
    """
    engine = engine_of(model)
    if not engine.d_mlp:
        raise InterventionError("the model is attention-only: it has no neurons.")
    chosen = list(range(engine.n_layers)) if layers is None else sorted(set(layers))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < engine.n_layers:
        raise InterventionError(f"layers {chosen} are not some of the model's {engine.n_layers}.")
    where = np.broadcast_to(np.asarray(positions, dtype=np.int64), (len(prompts),))
    values = np.zeros((len(chosen), engine.d_mlp, len(prompts)))
    for index, batch in prompts.batches():
        run = engine.run(batch.tensor(), keep={"mlp_post": chosen}, stop_at_layer=chosen[-1] + 1)
        if where[index].min() < 0 or where[index].max() >= run.tokens.shape[1]:
            raise InterventionError(f"positions {where[index].min()} to {where[index].max()} are not in the prompts.")
        for row, layer in enumerate(chosen):
            values[row][:, index] = run.mlp_post[layer][np.arange(len(index)), where[index]].double().cpu().numpy().T
    names = tuple(f"{layer}.neuron{neuron}" for layer in chosen for neuron in range(engine.d_mlp))
    return UnitValues(values.reshape(len(names), -1), names, prompts.units, prompts.templates)


def selectivity(
    activations: UnitValues,
    *,
    labels: ArrayLike,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    permutations: int = PERMUTATIONS,
) -> Selectivity:
    """How much of each neuron's variance a label explains, against labels permuted within strata.

    Args:
        activations: [neuron, prompt].
        labels: [prompt], integers or strings: the digit, the carry.
        rng: draws the permutations.
        strata: [prompt], what is held equal; labels are compared, and permuted, within a stratum only.
        permutations: how many; at least 99.

    Raises:
        StatisticsError: labels or strata do not fit, no stratum holds two labels, or too few permutations.
    """
    if permutations < FEWEST_PERMUTATIONS:
        raise StatisticsError(f"{permutations} permutations: a p-value needs at least {FEWEST_PERMUTATIONS}")
    count = len(activations.units)
    given = (labels, np.zeros(count, dtype=int) if strata is None else strata)
    label, stratum = (_codes(each, what, count=count) for each, what in zip(given, ("labels", "strata"), strict=True))
    if len(np.unique(np.stack([stratum, label]), axis=1).T) == len(np.unique(stratum)):
        raise StatisticsError("every stratum holds a single label: there is nothing to tell apart")
    values, ranks = _centred(activations.values, stratum), _centred(_ranks(activations.values, stratum), stratum)
    total = np.square(values).sum(axis=1)
    # What is left of a constant after centring is rounding, which a label would "explain".
    share = np.where(total > 1e-20 * count, 1 / np.maximum(total, 1e-20 * count), 0)
    index, by_ranks = share * _between(values, stratum, label), _between(ranks, stratum, label)
    null_sum, reached = np.zeros_like(index), np.ones_like(index)  # the labels as they are count as one permutation
    for _ in range(permutations):
        shuffled = _permuted(label, stratum, rng)
        null_sum += share * _between(values, stratum, shuffled)
        most = _between(ranks, stratum, shuffled).max()
        reached += most >= by_ranks - 1e-9  # what is reached up to rounding is reached
    return Selectivity(activations.components, index, null_sum / permutations, reached / (1 + permutations), count)


def selective_neurons(
    chosen_on: UnitValues,
    judged_on: UnitValues,
    *,
    labels: tuple[ArrayLike, ArrayLike],
    rng: np.random.Generator,
    strata: tuple[ArrayLike, ArrayLike] | None = None,
    count: int = 10,
    permutations: int = PERMUTATIONS,
) -> Selective:
    """The most selective neurons of some prompts, measured on others.

    Args:
        chosen_on: activations [neuron, prompt] on the discovery prompts.
        judged_on: the same neurons on other prompts.
        labels: of the first prompts, and of the others.
        rng: draws the permutations.
        strata: likewise.
        count: at most this many.
        permutations: of labels.

    Raises:
        StatisticsError: the two share prompts or differ in neurons, or no neuron is selective on the first ones.
    """
    if shared := set(chosen_on.units) & set(judged_on.units):
        raise StatisticsError(f"{len(shared)} prompts choose neurons and judge them ({min(shared)!r}); draw others")
    if chosen_on.components != judged_on.components:
        raise StatisticsError("the two measurements are of different neurons")
    first, second = strata if strata is not None else (None, None)
    found = selectivity(chosen_on, labels=labels[0], strata=first, rng=rng, permutations=permutations)
    names = found.top(count)
    if not names:
        raise StatisticsError("no neuron is selective on the prompts that choose: there is nothing to judge")
    judged = selectivity(judged_on.of(names), labels=labels[1], strata=second, rng=rng, permutations=permutations)
    rows = [found.names.index(name) for name in names]
    chosen = replace(found, names=names, index=found.index[rows], null_mean=found.null_mean[rows], p=found.p[rows])
    return Selective(chosen, judged)


def tuning(activations: UnitValues, *, labels: ArrayLike) -> dict[str, Any]:
    """Data of a matrix of mean activations by neuron and label, for `evidence.picture("matrix", ...)`."""
    known, codes = np.unique(np.asarray(labels), return_inverse=True)
    if codes.shape != (len(activations.units),):
        raise StatisticsError(f"{np.shape(labels)} labels for {len(activations.units)} prompts")
    means = np.stack([activations.values[:, codes == code].mean(axis=1) for code in range(len(known))], axis=1)
    return {
        "rows": list(activations.components),
        "columns": [str(label) for label in known],
        "values": means.tolist(),
        "unit": "mean activation",
        "xlabel": "label",
        "ylabel": "neuron",
    }


def _codes(values: ArrayLike, what: str, *, count: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "iubUS":
        raise StatisticsError(f"{what} are {array.shape} {array.dtype}; give an integer or name for each of {count}")
    return np.asarray(np.unique(array, return_inverse=True)[1], dtype=np.int64)


def _centred(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values [neuron, prompt] less their group's mean."""
    sums, sizes = _sums(values, group)
    return np.asarray(values - (sums / np.maximum(sizes, 1))[:, group])


def _ranks(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks [neuron, prompt] within each group, 0 to 1, ties at their middle."""
    from scipy.stats import rankdata

    ranks = np.zeros_like(values)
    for number in np.unique(group):
        here = group == number
        ranks[:, here] = (rankdata(values[:, here], axis=1) - 0.5) / here.sum()
    return ranks


def _between(centred: NDArray[np.float64], stratum: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """[neuron]: sum of squares of the centred values between the labels of a stratum."""
    sums, sizes = _sums(centred, stratum * (label.max() + 1) + label)
    return np.asarray((np.square(sums) / np.maximum(sizes, 1)).sum(axis=1))


def _sums(values: NDArray[np.float64], group: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over each group [neuron, group], and the groups' sizes."""
    members = np.zeros((values.shape[1], int(group.max()) + 1))
    members[np.arange(len(group)), group] = 1
    return values @ members, members.sum(axis=0)


def _permuted(label: NDArray[np.int64], stratum: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    shuffled = np.empty_like(label)
    shuffled[np.argsort(stratum, kind="stable")] = label[np.lexsort((rng.random(len(label)), stratum))]
    return shuffled
