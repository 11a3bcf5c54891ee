"""Steering: directions of the residual stream, edits along them, controls, and what they do to a model's next tokens.

Importing this package does not import torch. A direction is found in cached activations, and then measured:

    found = pair_activations(model, pairs, layers=range(model.n_layers))
    direction = mean_difference(*found.at(15), at=found.place(15))
    effects_over(model, stems, metric=..., make=lambda runs, batch: additions(
        {"sentiment": direction}, doses=(-4, -2, 2, 4), positions=mask(batch.end, runs)))
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
