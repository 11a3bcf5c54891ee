"""Same-dose controls of the IOI claims: a random direction, as long as what a head writes anew at the last token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from claims.ioi.measurements import logit_difference
from fixtures.prompts.ioi import IoiPrompts
from harness.effects import Effects, effects_over, mask
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
    from torch import Tensor

    from harness.models.model import Model
    from harness.seeding import Streams


def same_dose_total(
    model: Model, prompts: IoiPrompts, heads: Sequence[str], *, other: IoiPrompts, streams: Streams
) -> Effects:
    """As `total_effects` of single heads, with a random vector added to the attention output instead."""
    rng = streams.for_("dose")

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        made = []
        for name, layer, change in _changes(runs, batch, heads):
            factor = residual_covariance_factor(runs.clean.resid_at(layer))
            vector = same_dose_vector(change, factor=factor, generator=rng)
            made.append(Intervention(name, (Add(layer, vector),)))
        return made

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def same_dose_direct(
    model: Model, prompts: IoiPrompts, heads: Sequence[str], *, other: IoiPrompts, streams: Streams
) -> Effects:
    """As `direct_effects`, with a random vector added to the last residual stream instead."""
    rng = streams.for_("dose")

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        factor = residual_covariance_factor(runs.clean.resid)
        last = runs.frame.n_layers - 1
        return [
            Intervention(name, (Add(last, same_dose_vector(change, factor=factor, generator=rng), site="resid_post"),))
            for name, _, change in _changes(runs, batch, heads)
        ]

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def _changes(runs: Runs, batch: IoiPrompts, heads: Sequence[str]) -> Iterator[tuple[str, int, Tensor]]:
    """What each head's change writes at the last token: its name, layer, and [batch pos d_model]."""
    assert isinstance(runs.engine, Engine), "doses need the processed weights"
    end = mask(batch.positions.end, runs)
    for layer, head in map(parse_head, heads):
        replace = Replace.z(layer, head, runs.source().z_of(layer, head), positions=end)
        yield f"{layer}.{head}", layer, head_change(runs.engine, runs.clean, replace)
