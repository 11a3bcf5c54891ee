"""Which heads bring the start year to the last token, found on the discovery split by exact patching.

Each head takes, at the last token, its value of the prompt whose start year ends in 01. Heads that lower the
probability difference by the threshold carry the year:

- *year movers* attend from the last token to the start year's deciding digits, by 0.2 at least;
- *relays* do not: they pass on what others brought.

The threshold is 5 % of the model's own probability difference on the discovery split, at least 0.02, reached on all
prompts together and in 16 of 20 random halves of the templates: a head just at the threshold is in no class. MLPs are
measured the same way and reported, but classes hold heads only. Claims that patch the same prompts are `reliability`.
The whole procedure is repeated on two halves of the templates, and on permuted labels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from claims.greater_than.finding import RELAY, YEAR_MOVER, Carriers, exchanged_labels
from claims.greater_than.measurements import attention_to_year, draw, means, total_effects
from fixtures.prompts.greater_than_words import NOUNS, TEMPLATES
from harness.mechanism import Discovery
from harness.pilot import only_discovery
from harness.selection import HALVES, class_overlaps, class_permuted, disjoint_halves, over_splits

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

PROMPTS = 30
PILOT_UNITS = 15
"""One prompt for each template of the discovery split."""
EFFECT = "fall of the probability difference when patched from the 01 prompts"
MLP_EFFECT = "the same, of MLPs"
ATTENTION = "attention from the last token to the start year"


def discover(model: Model, streams: Streams, *, thresholds: bool = True) -> Discovery:
    """Year movers and relays, with the scores of every head and MLP, and how stable the selection is."""
    prompts = draw(model, streams, split="discovery", n=PROMPTS)
    heads, mlps = model.heads(), [f"{layer}.mlp" for layer in range(model.n_layers)]
    effects = total_effects(model, prompts, [*heads, *mlps], other=prompts.corrupted("01"))
    carriers = Carriers(effects, attention_to_year(model, prompts), streams, thresholds=thresholds)
    classes, templates, rng = carriers.select(), prompts.templates, streams.for_("permuted labels")
    samples = disjoint_halves(templates, rng=streams.for_("disjoint samples"))
    permutations = [carriers.select(signs=exchanged_labels(templates, rng=rng)) for _ in range(HALVES)]
    selected = [name for name, found in classes.items() if found]
    splits = over_splits(carriers.select, templates, classes=selected, rng=streams.for_("splits"))
    falls = means(effects.fall())
    return Discovery(
        classes=classes,
        selected_by={YEAR_MOVER: EFFECT, RELAY: EFFECT},
        scores={
            EFFECT: {head: falls[head] for head in heads},
            MLP_EFFECT: {name: falls[name] for name in mlps},
            ATTENTION: means(carriers.attention),
        },
        frequencies=carriers.frequencies(),
        half_samples=HALVES,
        overlaps=class_overlaps(
            *map(carriers.select, samples),
            of=carriers.candidates(samples[0]),
            of_second=carriers.candidates(samples[1]),
        ),
        permuted=class_permuted(classes, permutations, of=carriers.candidates(np.arange(len(prompts)))),
        notes=(
            "Chance is that of heads drawn from those that attend as the class's name says.",
            "Permuted labels exchange right and wrong answers in exactly half of each template's prompts. The model's "
            "own probability difference is near zero then, and the threshold is its least value, 0.02. Attention, and "
            "with it the candidates, stays as it is.",
            "Each disjoint sample has its own threshold and its own half-samples; they are one split of many. Over 20 "
            f"splits: {splits}.",
        ),
        prompts_sha256=prompts.sha256(),
        n_prompts=len(prompts),
    )


def pilots() -> AbstractContextManager[None]:
    """Within it claims draw templates and nouns of the discovery split (`harness.pilot`)."""
    return only_discovery(TEMPLATES, NOUNS)
