"""Continuations of prompts under a direction, and what the independent scorer counts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fixtures.prompts.contrasts import ContrastPrompts, score, target_words
from harness.steering import Direction, add, generate, token_rows
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model

LENGTH = 24
TEMPERATURE = 0.7
"""Cooler than the model's own, where a small model repeats itself, and warmer than its single likeliest text."""


def continuations(model: Model, prompts: ContrastPrompts, direction: Direction, *, dose: float) -> tuple[str, ...]:
    """What the model writes after each prompt; steered from the prompt's last token onward, or not at dose 0.

    The draws depend on seed and prompt alone: two directions that do nothing write the same.
    """
    steering = [add(direction, dose=dose)] if dose else []
    found = generate(model, token_rows(prompts), steering=steering, new_tokens=LENGTH, temperature=TEMPERATURE)
    return found.texts(model)


def shift_of_text(
    model: Model, prompts: ContrastPrompts, directions: Mapping[str, Direction], *, dose: float
) -> UnitValues:
    """[direction, prompt], the score of what is written at `dose` minus that at `-dose`."""
    rows = [
        scores(prompts, continuations(model, prompts, each, dose=dose)).values[0]
        - scores(prompts, continuations(model, prompts, each, dose=-dose)).values[0]
        for each in directions.values()
    ]
    return UnitValues(np.array(rows), tuple(directions), prompts.units, prompts.templates)


def scores(prompts: ContrastPrompts, texts: Sequence[str]) -> UnitValues:
    """[`joint`, prompt], the log-odds of listed words in each continuation, without those that chose the layer."""
    uncounted = target_words(prompts.contrast)
    values = np.array([[score(text, contrast=prompts.contrast, uncounted=uncounted) for text in texts]])
    return UnitValues(values, ("joint",), prompts.units, prompts.templates)
