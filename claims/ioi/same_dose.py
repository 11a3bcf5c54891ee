"""Same-dose controls of the IOI claims: a random direction, as long as what heads write anew at the last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fixtures.prompts.ioi import IoiPrompts
from harness.effects import mask
from harness.interventions import (
    Add,
    Engine,
    Intervention,
    Replace,
    Runs,
    head_change,
    residual_covariance_factor,
    same_dose_vector,
)
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAME_DOSE = "same dose, random direction"
DRAWN = tuple(f"{SAME_DOSE} {number + 1}" for number in range(5))
"""Directions that are drawn for each prompt: one alone has a spread of a logit."""


def same_dose_total(
    runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator
) -> list[Intervention]:
    """Random vectors added to the layers' attention outputs, as long as what patching these heads changes in each."""
    changes = _changes(runs, batch, heads)
    factors = {layer: _factor(runs.clean.resid_at(layer), batch) for layer in changes}
    return [
        Intervention(
            name,
            tuple(
                Add(layer, same_dose_vector(change, factor=factors[layer], generator=rng))
                for layer, change in changes.items()
            ),
        )
        for name in DRAWN
    ]


def same_dose_direct(
    runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator
) -> list[Intervention]:
    """One random vector added to the last residual stream, as long as what patching these heads' edges changes."""
    layers = list(_changes(runs, batch, heads).values())
    change, factor = sum(layers[1:], layers[0]), _factor(runs.clean.resid, batch)
    last = runs.frame.n_layers - 1
    return [
        Intervention(name, (Add(last, same_dose_vector(change, factor=factor, generator=rng), site="resid_post"),))
        for name in DRAWN
    ]


def averaged_dose(values: UnitValues) -> UnitValues:
    """The mean over the drawn directions: one row, `SAME_DOSE`."""
    drawn = values.of(DRAWN)
    return replace(drawn, values=drawn.values.mean(axis=0, keepdims=True), components=(SAME_DOSE,))


def _factor(resid: Tensor, batch: IoiPrompts) -> Tensor:
    """Of the covariance without BOS, whose stream is a hundred times as long and would make one direction of all."""
    return residual_covariance_factor(resid[:, batch.start :])


def _changes(runs: Runs, batch: IoiPrompts, heads: Sequence[str]) -> dict[int, Tensor]:
    """What the heads' change writes together at the last token, by layer: [batch pos d_model]."""
    assert isinstance(runs.engine, Engine), "doses need the processed weights"
    end = mask(batch.positions.end, runs)
    changes: dict[int, Tensor] = {}
    for layer, head in map(parse_head, heads):
        edit = Replace.z(layer, head, runs.source().z_of(layer, head), positions=end)
        change = head_change(runs.engine, runs.clean, edit)
        changes[layer] = changes[layer] + change if layer in changes else change
    return changes
