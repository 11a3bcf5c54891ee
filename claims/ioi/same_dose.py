"""Same-dose controls of the IOI claims: a random direction, as long as what heads write anew at the last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from claims.ioi.measurements import HeadSets, logit_difference
from fixtures.prompts.ioi import IoiPrompts
from harness.effects import effects_over, mask
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
    from torch import Tensor

    from harness.models.model import Model
    from harness.seeding import Streams


def same_dose_total(
    model: Model, prompts: IoiPrompts, sets: HeadSets, *, other: IoiPrompts, streams: Streams
) -> UnitValues:
    """As `total_effects`, with a random vector added to each layer's attention output instead of the heads' change."""
    rng = streams.for_("dose")

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        made = []
        for name, heads in sets.items():
            edits = []
            for layer, change in _changes(runs, batch, heads).items():
                factor = residual_covariance_factor(runs.clean.resid_at(layer))
                edits.append(Add(layer, same_dose_vector(change, factor=factor, generator=rng)))
            made.append(Intervention(name, tuple(edits)))
        return made

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference).fall()


def same_dose_direct(
    model: Model, prompts: IoiPrompts, sets: HeadSets, *, other: IoiPrompts, streams: Streams
) -> UnitValues:
    """As `direct_effects`, with one random vector added to the last residual stream instead of the heads' change."""
    rng = streams.for_("dose")

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        factor = residual_covariance_factor(runs.clean.resid)
        last = runs.frame.n_layers - 1
        made = []
        for name, heads in sets.items():
            layers = list(_changes(runs, batch, heads).values())
            vector = same_dose_vector(sum(layers[1:], layers[0]), factor=factor, generator=rng)
            made.append(Intervention(name, (Add(last, vector, site="resid_post"),)))
        return made

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference).fall()


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
