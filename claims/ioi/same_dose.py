"""Same-dose controls of the IOI claims: a random direction, as long as what heads write anew at the last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fixtures.prompts.ioi import IoiPrompts
from harness.effects import mask
from harness.interventions import (
    DIRECTIONS,
    Edit,
    Engine,
    Intervention,
    Replace,
    Runs,
    head_change,
    own_positions,
    same_dose_edits,
    same_dose_factor,
)
from harness.subjects import parse_head

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAME_DOSE = "same dose, random direction"
DRAWN = tuple(f"{SAME_DOSE} {number + 1}" for number in range(DIRECTIONS))
"""Directions that are drawn for each prompt: one alone has a spread of a logit."""


def same_dose_total(
    runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator
) -> list[Intervention]:
    """Random vectors added to the layers' attention outputs, as long as what patching these heads changes in each."""
    changes, own = _changes(runs, batch, heads), own_positions(batch)
    factors = {layer: same_dose_factor(runs.clean.resid_at(layer), counted=own) for layer in changes}
    return _drawn(same_dose_edits(changes, factors=factors, generator=rng))


def same_dose_direct(
    runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator
) -> list[Intervention]:
    """One random vector added to the last residual stream, as long as what patching these heads' edges changes."""
    layers = list(_changes(runs, batch, heads).values())
    factor, last = same_dose_factor(runs.clean.resid, counted=own_positions(batch)), runs.frame.n_layers - 1
    together = {last: sum(layers[1:], layers[0])}
    return _drawn(same_dose_edits(together, factors={last: factor}, generator=rng, site="resid_post"))


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


def _drawn(edits: Sequence[Sequence[Edit]]) -> list[Intervention]:
    return [Intervention(name, tuple(each)) for name, each in zip(DRAWN, edits, strict=True)]
