"""Where and how strongly a contrast is steered, found on the discovery split alone; and what it is held against.

A direction is the mean over pairs of the positive minus the negative activation at the last token of the text (paired
contrast, Rimsky et al. 2024). Layer: of about ten, evenly spaced, that whose direction at `DOSE` moves the log-odds
of neutral stems most. Dose: the largest of `DOSES` whose damage on neutral text stays within `AFFORDABLE`.
Permuted labels go through all of it but the dose, which they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from claims.steering.measurements import NAMES, shifts
from fixtures.prompts.contrasts import ContrastName, ContrastPrompts, find_contrast, pairs, stems
from fixtures.prompts.neutral_text import neutral_passages
from harness.effects import DosedPrompts
from harness.interventions import Intervention, Runs, own_positions
from harness.mechanism import discovery_streams
from harness.steering import (
    ContrastPairs,
    Direction,
    PairActivations,
    add,
    at_dose,
    damage,
    half_of,
    pair_activations,
    paired_contrast,
    random_directions,
    stream_samples,
    token_rows,
)

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams
    from harness.subjects import Subject

PAIRS, STEMS, PASSAGES = 120, 30, 24
"""Discovery material: pairs for directions, stems for layers, passages for doses."""
CANDIDATES = 10
DOSE = 4.0
"""At which layers are compared: four tenths of the mean norm."""
DOSES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
AFFORDABLE = 0.25
"""Nats of loss per token of neutral text that a working dose may cost on discovery; half of what claims allow."""
PERMUTED, RANDOM = 99, 19
SITE = "resid_pre"
RANDOM_DIRECTIONS = "random directions, same dose"
PERMUTED_LABELS = "permuted labels, whole procedure"

_FOUND: WeakKeyDictionary[Model, dict[str, Found]] = WeakKeyDictionary()
_PERMUTED: WeakKeyDictionary[Model, dict[str, dict[str, Direction]]] = WeakKeyDictionary()
"""By model and contrast: claims on one contrast share what was drawn on discovery. It depends on nothing else."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the discovery split says of one contrast on one model.

    Attributes:
        pairs: activations of the pairs in the candidate layers.
        templates: of each pair.
        stems: neutral prompts.
        sha256: of the pairs' prompts.
    """

    pairs: PairActivations
    templates: tuple[str, ...]
    stems: ContrastPrompts
    sha256: str

    def by_layer(self, given: PairActivations | None = None) -> dict[str, Direction]:
        """The direction of each candidate layer, by the name of its place."""
        found = self.pairs if given is None else given
        return {place(layer): direction_in(found, layer) for layer in found.layers}


def candidates(model: Model) -> tuple[int, ...]:
    """Layers that are compared: about ten, evenly spaced, and not the first, where the stream holds the token."""
    step = max(1, round(model.n_layers / CANDIDATES))
    return tuple(range(step, model.n_layers, step)) or (0,)


def place(layer: int) -> str:
    """The name of a direction's place, as subjects have it."""
    return f"{layer}.{SITE}"


def direction_in(found: PairActivations, layer: int) -> Direction:
    """The paired contrast in one layer."""
    return paired_contrast(*found.at(layer), at=found.place(layer))


def read(model: Model, contrast: ContrastName, *, layers: tuple[int, ...] | None = None) -> Found:
    """The discovery material of a contrast, in the candidate layers or in those given; cached for the candidates."""
    if layers is None and contrast in _FOUND.get(model, {}):
        return _FOUND[model][contrast]
    streams = discovery_streams("steering", fingerprint=model.fingerprint)
    texts = pairs(model, contrast, split="discovery", n=PAIRS, rng=streams.for_(f"{contrast} pairs"))
    neutral = stems(model, contrast, split="discovery", n=STEMS, rng=streams.for_(f"{contrast} stems"))
    rows = ContrastPairs(token_rows(texts.positive()), token_rows(texts.negative()))
    found = Found(
        pair_activations(model, rows, layers=layers or candidates(model), site=SITE),
        texts.positive().templates,
        neutral,
        texts.sha256(),
    )
    if layers is None:
        _FOUND.setdefault(model, {})[contrast] = found
    return found


def effects_by_layer(model: Model, found: Found) -> dict[str, NDArray[np.float64]]:
    """[stem], the shift of the log-odds at `DOSE` by the direction of each candidate layer, by place."""
    values = shifts(model, found.stems, found.by_layer(), doses=(DOSE,))
    return {name: values.of([at_dose(name, DOSE)]).values[0] for name in found.by_layer()}


def permuted(model: Model, found: Found, *, rng: np.random.Generator, draws: int = PERMUTED) -> tuple[Direction, ...]:
    """Directions that the procedure finds with the labels of half of each template's pairs exchanged.

    Exactly half: labels dealt by a coin are not balanced, and what is left over is the direction itself again.
    """
    by_draw = [found.by_layer(found.pairs.swapped(half_of(np.array(found.templates), rng=rng))) for _ in range(draws)]
    named = {f"{number} {name}": each for number, some in enumerate(by_draw) for name, each in some.items()}
    effects = shifts(model, found.stems, named, doses=(DOSE,)).mean().reshape(draws, -1)
    return tuple(list(some.values())[row] for some, row in zip(by_draw, effects.argmax(axis=1), strict=True))


def working_dose(model: Model, direction: Direction, streams: Streams) -> tuple[float, float]:
    """The largest dose whose mean damage on neutral text is affordable, the smallest where none is; and its damage."""
    neutral = neutral_passages(model, split="discovery", n=PASSAGES, rng=streams.for_("passages"))
    risen = costs(model, neutral, direction, doses=DOSES)
    dose = max((dose for dose in DOSES if risen[dose] <= AFFORDABLE), default=DOSES[0])
    return dose, risen[dose]


def costs(model: Model, neutral: DosedPrompts, direction: Direction, *, doses: tuple[float, ...]) -> dict[float, float]:
    """By dose, the mean rise of the loss, nats per token, over passages and both signs."""
    signed = [sign * dose for dose in doses for sign in (1, -1)]
    found = damage(model, neutral, make=partial(everywhere, directions={"": direction}, doses=signed))
    rise = found.rise().mean().reshape(len(doses), 2).mean(axis=1)
    return dict(zip(doses, rise.tolist(), strict=True))


def everywhere(
    runs: Runs, batch: DosedPrompts, *, directions: Mapping[str, Direction], doses: list[float]
) -> list[Intervention]:
    """Every direction at every dose at all of the passage's own positions; BOS is left alone."""
    own = own_positions(batch)
    return [
        Intervention(at_dose(name, dose), (add(direction, dose=dose, positions=own),))
        for name, direction in directions.items()
        for dose in doses
    ]


@dataclass(frozen=True, eq=False)
class Held:
    """A contrast's direction at its subject's place, its dose, and the directions that it is held against.

    Attributes:
        direction: the direction.
        dose: the working dose.
        random: of equal length, with the covariance of the stream there on neutral text; their signs are arbitrary.
        permuted: found by the same procedure from permuted labels.
        others: those of the other contrasts at this place, by control; their signs mean nothing for this one.
        found: the contrast's discovery material.
    """

    direction: Direction
    dose: float
    random: Mapping[str, Direction]
    permuted: Mapping[str, Direction]
    others: Mapping[str, Direction]
    found: Found

    def controls(self, score: Score, *, most: int = PERMUTED) -> dict[str, dict[str, Direction]]:
        """By declared control, at most so many directions by name.

        Random and foreign directions point where `score` is higher on the discovery split, as if somebody had found
        them there; those from permuted labels have the sign that their labels gave them.
        """
        unsigned = {**self.random, **self.others}
        signs = dict(zip(unsigned, np.sign(score(self.found, unsigned)), strict=True))
        signed = {name: with_sign(each, signs[name]) for name, each in unsigned.items()}
        return {
            RANDOM_DIRECTIONS: {name: signed[name] for name in list(self.random)[:most]},
            PERMUTED_LABELS: dict(list(self.permuted.items())[:most]),
            **{name: {name: signed[name]} for name in self.others},
        }


Score = Callable[[Found, Mapping[str, Direction]], NDArray[np.float64]]
"""One number for each direction, on the discovery material of a contrast."""


def held(model: Model, subject: Subject) -> Held:
    """The direction of a subject with its controls, which come from discovery streams: all claims on it share them."""
    contrast, (layer,) = find_contrast(subject.class_name).name, subject.layers()
    streams = discovery_streams("steering", fingerprint=model.fingerprint)
    found = read(model, contrast)
    here = found if layer in found.pairs.layers else read(model, contrast, layers=(layer,))
    direction = direction_in(here.pairs, layer)
    neutral = neutral_passages(model, split="discovery", n=PASSAGES, rng=streams.for_("passages"))
    samples = stream_samples(model, token_rows(neutral), layer=layer, site=SITE)
    drawn = random_directions(samples, like=direction, draws=RANDOM, rng=streams.for_(f"{contrast} random directions"))
    layers = None if here is found else (layer,)
    others = {name: direction_in(read(model, name, layers=layers).pairs, layer) for name in NAMES if name != contrast}
    return Held(
        direction=direction,
        dose=subject.settings.get("dose", DOSE),
        random=drawn.named("random"),
        permuted=_permuted_once(model, contrast, found, streams.for_(f"{contrast} permuted labels")),
        others={foreign(name): each for name, each in others.items()},
        found=found,
    )


def foreign(contrast: str) -> str:
    """The control that is the direction of another contrast."""
    return f"direction of {contrast}"


def with_sign(direction: Direction, sign: float) -> Direction:
    """The direction, or the opposite one where the sign is negative."""
    return direction if sign >= 0 else replace(direction, vector=-direction.vector)


def _permuted_once(model: Model, contrast: str, found: Found, rng: np.random.Generator) -> dict[str, Direction]:
    cached = _PERMUTED.setdefault(model, {})
    if contrast not in cached:
        cached[contrast] = {f"permuted {number}": each for number, each in enumerate(permuted(model, found, rng=rng))}
    return cached[contrast]
