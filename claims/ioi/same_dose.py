"""Same-dose controls of the IOI claims: a random direction, as long as what heads write anew at the last token."""

from __future__ import annotations

from collections.abc import Sequence
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

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAME_DOSE = "same dose, random direction"


def same_dose_total(runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator) -> Intervention:
    """Random vectors added to the layers' attention outputs, as long as what patching these heads changes in each."""
    edits = []
    for layer, change in _changes(runs, batch, heads).items():
        factor = residual_covariance_factor(runs.clean.resid_at(layer))
        edits.append(Add(layer, same_dose_vector(change, factor=factor, generator=rng)))
    return Intervention(SAME_DOSE, tuple(edits))


def same_dose_direct(runs: Runs, batch: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator) -> Intervention:
    """One random vector added to the last residual stream, as long as what patching these heads' edges changes."""
    layers = list(_changes(runs, batch, heads).values())
    factor = residual_covariance_factor(runs.clean.resid)
    vector = same_dose_vector(sum(layers[1:], layers[0]), factor=factor, generator=rng)
    return Intervention(SAME_DOSE, (Add(runs.frame.n_layers - 1, vector, site="resid_post"),))


def _changes(runs: Runs, batch: IoiPrompts, heads: Sequence[str]) -> dict[int, Tensor]:
    """What the heads' change writes together at the last token, by layer: [batch pos d_model]."""
    assert isinstance(runs.engine, Engine), "doses need the processed weights"
    end = mask(batch.positions.end, runs)
    changes: dict[int, Tensor] = {}
    for layer, head in map(parse_head, heads):
        replace = Replace.z(layer, head, runs.source().z_of(layer, head), positions=end)
        change = head_change(runs.engine, runs.clean, replace)
        changes[layer] = changes[layer] + change if layer in changes else change
    return changes
