"""Which heads bring the start year to the last token, found on the discovery split by exact patching.

Each head takes, at the last token, its value of the prompt whose start year ends in 01. Heads that lower the
probability difference by the threshold carry the year:

- *year movers* attend from the last token to the start year's deciding digits, by 0.2 at least;
- *relays* do not: they pass on what others brought.

The threshold is 5 % of the model's own probability difference on the discovery split, at least 0.02, reached on all
prompts together and in 16 of 20 random halves of the templates: a head just at the threshold is in no class. MLPs are
measured the same way and reported, but classes hold heads only. Claims that patch the same prompts are `reliability`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from claims.greater_than.measurements import attention_to_year, draw, means, total_effects
from harness.mechanism import Discovery
from harness.selection import HALVES, Columns, selection_frequency

if TYPE_CHECKING:
    from harness.effects import Effects
    from harness.models.model import Model
    from harness.seeding import Streams
    from harness.values import UnitValues

SHARE = 0.05
LEAST_PROB = 0.02
LEAST_ATTENTION = 0.2
"""Uniform attention over a prompt of 18 tokens gives 0.06."""
STABLE = 0.8
"""Least share of half-samples that select a head (stability selection asks for 0.6 to 0.9)."""
MOST_HEADS = 6
"""The paper names six heads on GPT-2 small."""
PROMPTS = 30
EFFECT = "fall of the probability difference when patched from the 01 prompts"
MLP_EFFECT = "the same, of MLPs"
ATTENTION = "attention from the last token to the start year"
YEAR_MOVER, RELAY = "year-mover", "relay"


def discover(model: Model, streams: Streams, *, thresholds: bool = True) -> Discovery:
    """Year movers and relays, with the scores of every head and MLP, and how stable the selection is."""
    prompts = draw(model, streams, split="discovery", n=PROMPTS)
    heads, mlps = model.heads(), [f"{layer}.mlp" for layer in range(model.n_layers)]
    effects = total_effects(model, prompts, [*heads, *mlps], other=prompts.corrupted("01"))
    attention = attention_to_year(model, prompts)

    def select(columns: Columns) -> dict[str, tuple[str, ...]]:
        return _classes(effects, attention, columns=columns, thresholds=thresholds)

    def frequency(name: str) -> dict[str, float]:
        rng = streams.for_("halves")
        return selection_frequency(lambda columns: select(columns)[name], prompts.templates, rng=rng)

    stable = {name: frequency(name) for name in (YEAR_MOVER, RELAY)}
    least = STABLE if thresholds else 0.0
    falls = means(effects.fall())
    return Discovery(
        classes={
            name: tuple(head for head in found if stable[name].get(head, 0.0) >= least)
            for name, found in select(np.arange(len(prompts))).items()
        },
        selected_by={YEAR_MOVER: EFFECT, RELAY: EFFECT},
        scores={
            EFFECT: {head: falls[head] for head in heads},
            MLP_EFFECT: {name: falls[name] for name in mlps},
            ATTENTION: means(attention),
        },
        frequencies=stable,
        half_samples=HALVES,
        prompts_sha256=prompts.sha256(),
        n_prompts=len(prompts),
    )


def _classes(
    effects: Effects, attention: UnitValues, *, columns: Columns, thresholds: bool
) -> dict[str, tuple[str, ...]]:
    """The heads of each class on some of the prompts, the highest first."""
    least = max(LEAST_PROB, SHARE * float(effects.clean[columns].mean())) if thresholds else -np.inf
    attended = LEAST_ATTENTION if thresholds else 0.0
    fall = dict(zip(effects.names, (effects.clean - effects.values)[:, columns].mean(axis=1), strict=True))
    to_year = dict(zip(attention.components, attention.values[:, columns].mean(axis=1), strict=True))
    carriers = [head for head in sorted(to_year, key=lambda head: -fall[head]) if fall[head] >= least]
    return {
        YEAR_MOVER: tuple(head for head in carriers if to_year[head] >= attended)[:MOST_HEADS],
        RELAY: tuple(head for head in carriers if to_year[head] < attended)[:MOST_HEADS],
    }
