"""Continuations of prompts under a direction, and what the independent scorer counts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fixtures.prompts.contrasts import ContrastPrompts, score, target_words
from harness.steering import Direction, Sampling, add, at_dose, generate_each, token_rows
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model

LENGTH = 24
TEMPERATURE = 0.7
"""Cooler than the model's own, where a small model repeats itself, and warmer than its single likeliest text."""


def continuations(
    model: Model, prompts: ContrastPrompts, steered: Mapping[str, tuple[Direction, float]]
) -> dict[str, tuple[str, ...]]:
    """What the model writes after each prompt under each direction and dose.

    Steered from the prompt's last token onward, or not at dose 0. The draws depend on seed and prompt alone: two
    directions that do nothing write the same.
    """
    steerings = {name: [add(direction, dose=dose)] if dose else [] for name, (direction, dose) in steered.items()}
    sampling = Sampling(new_tokens=LENGTH, temperature=TEMPERATURE)
    found = generate_each(model, token_rows(prompts), steerings=steerings, sampling=sampling)
    return {name: each.texts(model) for name, each in found.items()}


def shift_of_text(
    model: Model, prompts: ContrastPrompts, directions: Mapping[str, Direction], *, dose: float
) -> UnitValues:
    """[direction, prompt], the score of what is written at `dose` minus that at `-dose`."""
    ends = {at_dose(name, sign): (each, sign * dose) for name, each in directions.items() for sign in (1, -1)}
    texts = continuations(model, prompts, ends)
    rows = [
        scores(prompts, texts[at_dose(name, 1)]).values[0] - scores(prompts, texts[at_dose(name, -1)]).values[0]
        for name in directions
    ]
    return UnitValues(np.array(rows), tuple(directions), prompts.units, prompts.templates)


def scores(prompts: ContrastPrompts, texts: Sequence[str]) -> UnitValues:
    """[`joint`, prompt], the log-odds of listed words in each continuation, without those that chose the layer."""
    uncounted = target_words(prompts.contrast)
    values = np.array([[score(text, contrast=prompts.contrast, uncounted=uncounted) for text in texts]])
    return UnitValues(values, ("joint",), prompts.units, prompts.templates)
