"""Same-dose controls of the IOI claims: a random direction, as long as what heads write anew at the last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixtures.prompts.ioi import IoiPrompts
from harness.effects import dose_factors, mask
from harness.interventions import (
    DIRECTIONS,
    Edit,
    Engine,
    Intervention,
    Replace,
    Runs,
    head_change,
    same_dose_edits,
)
from harness.subjects import parse_head

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.models.model import Model

SAME_DOSE = "same dose, random direction"
DRAWN = tuple(f"{SAME_DOSE} {number + 1}" for number in range(DIRECTIONS))
"""Directions that are drawn for each prompt: one alone has a spread of a logit."""


@dataclass(frozen=True, eq=False)
class SameDose:
    """The control for heads that are changed together.

    Attributes:
        heads: the heads.
        rng: draws the directions.
        factors: of the covariances that they are drawn with, by layer; after the last layer under the number of layers.
    """

    heads: tuple[str, ...]
    rng: np.random.Generator
    factors: Mapping[int, Tensor]

    @classmethod
    def of(
        cls, model: Model, prompts: IoiPrompts, heads: Sequence[str], *, rng: np.random.Generator, direct: bool
    ) -> SameDose:
        """The control on these prompts; `direct` for effects on the last residual stream."""
        layers = [model.n_layers] if direct else sorted({parse_head(head)[0] for head in heads})
        return cls(tuple(heads), rng, dose_factors(model, prompts, layers=layers))

    def total(self, runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        """Random vectors added to the layers' attention outputs, as long as what patching the heads changes in each."""
        changes = _changes(runs, batch, self.heads)
        return _drawn(same_dose_edits(changes, factors=self.factors, generator=self.rng))

    def direct(self, runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        """One random vector added to the last residual stream, as long as what patching the heads' edges changes."""
        layers, last = list(_changes(runs, batch, self.heads).values()), runs.frame.n_layers - 1
        together, factors = {last: sum(layers[1:], layers[0])}, {last: self.factors[last + 1]}
        return _drawn(same_dose_edits(together, factors=factors, generator=self.rng, site="resid_post"))


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
