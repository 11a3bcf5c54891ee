"""What the claims on modular addition measure, and the populations that their numbers are ranked in.

Key frequencies are found in the embedding alone and judged on logits, losses, and neurons. Where a frequency is chosen
on what it is judged on (the sparsest spectrum, a neuron's best frequency), every member of the population chooses its
own in the same way. Thresholds come from the papers and from seed 0; the other seeds played no part in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.modular_model import PAIRS, OneLayer
from claims.arithmetic.recipe_modular import partition, read_curve
from fixtures.prompts.modular import P
from harness.clock_pizza import distance_irrelevance, gradient_symmetricity
from harness.declaration import Alternative
from harness.fourier import (
    basis,
    correct_logits,
    key_frequencies,
    losses_nats,
    only,
    tuning,
    without,
)
from harness.stats.exact import exact_claim
from harness.stats.ranks import percentile_member

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model

KEY_RATIO = 3.0
"""A key frequency has at least so many times an equal share of W_E; 200 permutations of tokens give 2.5 (tested)."""
KEY_RULE = f"Key frequencies w have at least {KEY_RATIO:g} times an equal share of the squared norm of W_E."
"""For the methods of the claims that use them."""
SETS = 20
"""Members of a population: the fewest of which a rank of 1 is among the top 5 %."""
SET_ON = ("modular-addition-113@0",)
"""The seed whose results were known when thresholds were chosen."""
TUNED = 0.85
"""Share of a neuron's variance from which the paper counts it as tuned to one frequency."""
GUESSING_NATS = float(np.log(P))
"""Loss of a model that knows nothing."""
CONSTANT_OVER = 32
"""Pairs whose mean attention a model with constant attention is given."""

Numbers = Mapping[str, float]
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Populations:
    """What a number must beat, by the name of the control: members by name."""

    by_control: Mapping[str, Numbers]
    alternative: Alternative

    def bar(self, control: str) -> float:
        """The 95th-percentile member of one population (5th where less is claimed)."""
        members = self.by_control[control]
        return percentile_member(list(members.values()), list(members), alternative=self.alternative).value

    def hardest(self, value: float, *, sesoi: float) -> str:
        """The control that a value fails, or else the one with the bar that is hardest to pass: all must be passed."""
        sign = 1 if self.alternative == "greater" else -1
        passes = {
            control: exact_claim(value, list(members.values()), sesoi=sesoi, alternative=self.alternative).holds
            for control, members in self.by_control.items()
        }
        return max(self.by_control, key=lambda control: (not passes[control], sign * self.bar(control)))


def keys_of(layer: OneLayer) -> tuple[int, ...]:
    """Key frequencies by the declared rule, from the embedding alone."""
    return key_frequencies(layer.embed, at_least=KEY_RATIO)


def random_sets(keys: tuple[int, ...], rng: np.random.Generator, *, draws: int = SETS) -> dict[str, tuple[int, ...]]:
    """As many other frequencies, drawn: none of the key ones among them; different sets by name."""
    others = [k for k in range(1, P // 2 + 1) if k not in keys]
    found: dict[str, tuple[int, ...]] = {}
    while len(found) < min(draws, len(others)):
        chosen = tuple(sorted(int(k) for k in rng.choice(others, len(keys), replace=False)))
        found["frequencies " + ", ".join(map(str, chosen))] = chosen
    return found


def permutations(rng: np.random.Generator, *, draws: int = SETS) -> dict[str, Tokens]:
    """Numbers given other names: each entry says which number takes a number's place."""
    return {f"permutation {number}": rng.permutation(P) for number in range(1, draws + 1)}


def loss_nats(logits: NDArray[np.floating]) -> float:
    """Mean cross entropy over all pairs."""
    return float(losses_nats(logits).mean())


def loss_by_part(logits: NDArray[np.floating], *, model: Model) -> dict[str, float]:
    """Mean cross entropy over all pairs, those that the model was trained on, and those that it never saw."""
    losses = losses_nats(logits)
    parts = partition(int(model.id.partition("~")[0].rpartition("@")[2]))
    named = {"training pairs": parts.train, "test pairs": parts.test}
    return {"all pairs": float(losses.mean())} | {
        name: float(losses[pairs.a, pairs.b].mean()) for name, pairs in named.items()
    }


def renamed(change: Callable[[NDArray[Any]], NDArray[Any]], matrix: NDArray[Any], order: Tokens) -> NDArray[Any]:
    """A change of [token, d] that is made as if the numbers had other names, then given their own again."""
    return np.asarray(change(matrix[order])[np.argsort(order)])


def loss_embedding(layer: OneLayer, frequencies: tuple[int, ...], *, keep: bool, order: Tokens | None = None) -> float:
    """The loss of the whole model where W_E keeps (or loses) these frequencies, of numbers renamed by `order`."""
    change = only if keep else without
    order = np.arange(P) if order is None else order
    embed = renamed(lambda matrix: change(matrix, frequencies), layer.embed, order)
    return loss_nats(layer.logits(embed=embed))


def output_frequencies(layer: OneLayer) -> NDArray[np.int64]:
    """[neuron]: the frequency of which each neuron's weights to the logits have most. Read without any input."""
    by_wave = np.square(basis(P) @ (layer.outward @ layer.unembed).T)
    return np.asarray(np.argmax(by_wave[1::2] + by_wave[2::2], axis=0) + 1, dtype=np.int64)


def other_frequencies(own: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[neuron]: for each neuron a frequency that other neurons write and it does not; any other where all write one."""
    written = np.unique(own)
    choices = written if written.size > 1 else np.arange(1, P // 2 + 1)
    # A step of 1 to n - 1 around the circle of choices never comes back to the neuron's own.
    steps = rng.integers(1, choices.size, own.size)
    return np.asarray(choices[(np.searchsorted(choices, own) + steps) % choices.size])


def tuning_of(layer: OneLayer, order: Tokens | None = None) -> NDArray[np.float64]:
    """[frequency - 1, neuron]: share of each neuron's variance over all pairs, numbers renamed by `order`."""
    neurons = layer.neurons().reshape(P, P, -1)
    return tuning(neurons if order is None else neurons[np.ix_(order, order)])


def constant_patterns(layer: OneLayer, rng: np.random.Generator, *, draws: int = SETS) -> dict[str, NDArray[Any]]:
    """Attention [head, 3] that is the same for all pairs: its mean over some, drawn anew for each."""
    patterns = layer.patterns()
    chosen = (rng.choice(len(PAIRS), CONSTANT_OVER, replace=False) for _ in range(draws))
    return {f"constant attention {number}": patterns[rows].mean(axis=0) for number, rows in enumerate(chosen, start=1)}


def symmetricity(layer: OneLayer, answers: Tokens, pattern: NDArray[Any] | None = None) -> float:
    """Gradient symmetricity over all pairs, each with one answer, right or wrong."""
    found = layer.gradients(answers, pattern)
    return gradient_symmetricity(found.by_a, found.by_b)


def irrelevance(layer: OneLayer, pattern: NDArray[Any]) -> float:
    """Distance irrelevance over all pairs where attention is frozen."""
    return distance_irrelevance(correct_logits(layer.logits(pattern=pattern)))


def describe(evidence: Evidence, logits: NDArray[np.floating]) -> None:
    """Record the prompts and that the model solves the task, without which nothing below is about addition."""
    right = logits.argmax(axis=2) == PAIRS.answers.reshape(P, P)
    evidence.prompts(sha256=PAIRS.sha256(), n=len(PAIRS), clusters=len(PAIRS), examples=PAIRS.examples())
    evidence.precondition("answers right over all pairs", value=float(right.mean()), at_least=0.99)


def rank(evidence: Evidence, value: float, by_control: Mapping[str, Numbers]) -> None:
    """Fill the exact claim: the value, ranked in the population that it fails, or that is hardest to beat."""
    populations = Populations(by_control, evidence.claim.alternative)
    hardest = populations.hardest(value, sesoi=evidence.claim.sesoi)
    evidence.exact(value=value, population=by_control[hardest])
    evidence.note(f"The number is ranked among: {hardest}; of the populations this one is hardest to beat.")
    evidence.table(
        f"{evidence.claim.metric.name}, {evidence.claim.metric.unit}",
        columns=["of", "members", "mean", "95th percentile"],
        rows=[
            ["the model", 1, value, ""],
            *([name, len(each), float(np.mean(list(each.values()))), populations.bar(name)]
              for name, each in by_control.items()),
        ],
    )  # fmt: skip


def training_curve(evidence: Evidence, model: Model) -> None:
    """Two pictures of the training, from the checkpoint's header, where it has one."""
    from harness.models.config_file import header

    metadata = header(model.source) if model.source.suffix == ".safetensors" else {}
    if "curve" not in metadata:
        return
    points = read_curve(metadata)
    for name, losses in (
        ("training", [point.train_loss_nats for point in points]),
        ("test", [point.test_loss_nats for point in points]),
    ):
        evidence.picture(
            "curve",
            f"Loss on {name} pairs while training",
            caption="Training loss falls first; test loss falls when the model has found the waves.",
            x=[point.epoch for point in points],
            y=np.log10(losses),
            xlabel="epoch",
            ylabel="log10 of the loss in nats",
            line=f"{name} pairs",
        )
