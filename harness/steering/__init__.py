"""Steering: directions of the residual stream, edits along them, controls, and what they do to a model's next tokens.

A direction is found in activations of texts of two kinds, and then changes what the model writes:

    from harness.models.model import load
    from harness.steering import ContrastPairs, add, clamp, generate, mean_difference, pair_activations, project_out

    model = load("smollm2-135m-q4")
    liked = ["The film was wonderful", "I love this song", "The food is good"]
    disliked = ["The film was terrible", "I hate this song", "The food is bad"]
    pairs = ContrastPairs(model.token_lists(liked, bos=True), model.token_lists(disliked, bos=True))
    layer = model.n_layers // 2
    found = pair_activations(model, pairs, layers=[layer])
    direction = mean_difference(*found.at(layer), at=found.place(layer))

    prompts = model.token_lists(["I think this film", "The food was"], bos=True)
    for steering in ([], [add(direction, dose=2)], [project_out(direction)], [clamp(direction, dose=-2)]):
        print(generate(model, prompts, steering=steering, new_tokens=12).texts(model))

A dose is counted in tenths of the stream's mean norm (`DOSE_UNIT`). To measure many directions and doses at once, on
prompts of any length, give `harness.effects.effects_over` a `make` that returns `additions`, and `TokenSetLogOdds` for
its metric. Importing this package does not import torch.
"""

from __future__ import annotations

from harness.steering.activations import (
    SITE,
    Activations,
    ContrastPairs,
    PairActivations,
    pair_activations,
    read_activations,
    stream_samples,
    token_rows,
)
from harness.steering.contrasts import SteeringContrast, announced_contrasts, contrast_named
from harness.steering.controls import Drawn, Pipeline, half_of, permuted_directions, random_directions
from harness.steering.direction import DOSE_UNIT, Direction, Place
from harness.steering.directions import (
    METHODS,
    Method,
    mean_difference,
    paired_contrast,
    principal_direction,
    probe_direction,
)
from harness.steering.edits import AddDirection, Project, add, additions, at_dose, clamp, project_out
from harness.steering.generation import Generated, Sampling, generate, generate_each
from harness.steering.metrics import TokenSetLogOdds
from harness.steering.separation import Placements, placements
from harness.steering.side_effects import Damage, damage

__all__ = [
    "DOSE_UNIT",
    "METHODS",
    "SITE",
    "Activations",
    "AddDirection",
    "ContrastPairs",
    "Damage",
    "Direction",
    "Drawn",
    "Generated",
    "Method",
    "PairActivations",
    "Pipeline",
    "Place",
    "Placements",
    "Project",
    "Sampling",
    "SteeringContrast",
    "TokenSetLogOdds",
    "add",
    "additions",
    "announced_contrasts",
    "at_dose",
    "clamp",
    "contrast_named",
    "damage",
    "generate",
    "generate_each",
    "half_of",
    "mean_difference",
    "pair_activations",
    "paired_contrast",
    "permuted_directions",
    "placements",
    "principal_direction",
    "probe_direction",
    "project_out",
    "random_directions",
    "read_activations",
    "stream_samples",
    "token_rows",
]
