"""Where each contrast is steered and how strongly, found on the discovery split (`finding`), and what can be steered.

Classes are the contrasts; each has one place, the residual stream that enters a layer, and the working dose. The layer
is chosen by the shift of the contrast's log-odds on neutral stems, the dose by damage on neutral text: neither by how
well the direction separates texts, by ablation, or by anything that is generated.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.steering.finding import (
    AFFORDABLE,
    DOSE,
    PAIRS,
    SITE,
    direction_in,
    effects_by_layer,
    read,
    working_dose,
)
from claims.steering.measurements import NAMES
from fixtures.prompts.contrasts import CONTRASTS, ContrastName, pairs
from fixtures.prompts.neutral_text import PARITY
from harness.mechanism import Discovery, discovery_streams
from harness.pilot import only_discovery
from harness.selection import HALVES, class_frequencies
from harness.steering import ContrastPairs, SteeringContrast, token_rows
from harness.subjects import Subject, read_subjects

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

PILOT_UNITS = 15
"""Discovery has 15 templates of each kind."""


def discover(model: Model, streams: Streams, *, say: object = None, thresholds: bool = True) -> Discovery:
    """The place and dose of each contrast; half-samples of the stems' templates choose the layer again.

    The best layer needs no threshold: null worlds, which switch `thresholds` off, are asked as trained models are.
    """
    classes: dict[str, tuple[str, ...]] = {}
    settings: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    frequencies: dict[str, dict[str, float]] = {}
    digests, too_dear = [], []
    for name in NAMES:
        if callable(say):
            say(f"{name}: layers, then doses")
        found = read(model, name)
        by_layer = effects_by_layer(model, found)
        places = list(by_layer)
        values = np.stack(list(by_layer.values()))  # [layer, stem]
        best = int(values.mean(axis=1).argmax())
        direction = direction_in(found.pairs, found.pairs.layers[best])
        dose, damage = working_dose(model, direction, streams)
        if damage > AFFORDABLE:
            too_dear.append(f"{name}: no dose is affordable; the smallest costs {damage:.2f} nats per token.")
        classes[name], settings[name] = (places[best],), {"dose": dose}
        scores[metric_of(name)] = dict(zip(places, values.mean(axis=1).tolist(), strict=True))
        frequencies |= class_frequencies(
            partial(_highest, name, places, values), found.stems.templates, rng=streams.for_(f"{name} halves")
        )
        digests.append(found.sha256)
    return Discovery(
        classes=classes,
        selected_by={name: metric_of(name) for name in NAMES},
        scores=scores,
        frequencies=frequencies,
        half_samples=HALVES,
        settings=settings,
        notes=(
            f"Layers are compared at dose {DOSE:g}; half-samples are of the stems, directions stay those of all pairs.",
            "Permuted labels choose layers by the same rule in every claim that is held against them.",
            *too_dear,
        ),
        prompts_sha256=sha256("".join(digests).encode()).hexdigest(),
        n_prompts=2 * PAIRS * len(NAMES),
    )


def pilots() -> AbstractContextManager[None]:
    """Within it claims draw templates and words, and neutral text, of the discovery split (`harness.pilot`).

    Directions are learned there too, so that a pilot's effect is that on the texts where the direction was found. Only
    its spread is used.
    """
    return only_discovery(*(contrast.splits for contrast in CONTRASTS.values()), PARITY)


def metric_of(contrast: str) -> str:
    """What selects a contrast's layer."""
    return f"shift of the {contrast} log-odds at dose {DOSE:g}"


def contrasts() -> list[SteeringContrast]:
    """What `mechclaims steer` can steer along."""
    registered = read_subjects(Path(__file__).with_name("subjects.toml"))

    def of(contrast: str) -> dict[str, Subject]:
        found = {each: registered.subject(each, class_name=contrast) for each in registered.models}
        return {model_id: subject for model_id, subject in found.items() if subject is not None}

    return [
        SteeringContrast(
            name,
            each.positive,
            each.negative,
            partial(discovery_pairs, contrast=name),
            layers={model_id: subject.layers()[0] for model_id, subject in of(name).items()},
            doses={model_id: subject.settings.get("dose", DOSE) for model_id, subject in of(name).items()},
            site=SITE,
            method="paired-contrast",
        )
        for name, each in CONTRASTS.items()
    ]


def discovery_pairs(model: Model, *, contrast: ContrastName) -> ContrastPairs:
    """The pairs of the discovery split from which directions are made."""
    streams = discovery_streams("steering", fingerprint=model.fingerprint)
    texts = pairs(model, contrast, split="discovery", n=PAIRS, rng=streams.for_(f"{contrast} pairs"))
    return ContrastPairs(token_rows(texts.positive()), token_rows(texts.negative()))


def _highest(
    contrast: str, places: list[str], values: NDArray[np.float64], columns: NDArray[np.intp]
) -> dict[str, tuple[str, ...]]:
    """The place with the highest mean shift on some of the stems."""
    return {contrast: (places[int(values[:, columns].mean(axis=1).argmax())],)}
