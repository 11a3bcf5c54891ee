"""What steering does: the change of the log-odds of a contrast's token sets at the end of prompts.

The direction is added at the last token alone, where the next one is predicted: in generation it acts from the last
token of the prompt onward, as Rimsky et al. (2024) add theirs. Values are in nats, one per prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.contrasts import CONTRASTS, ContrastName, ContrastPrompts, target_tokens
from harness.effects import effects_over, mask
from harness.interventions import Intervention, Runs
from harness.steering import Direction, TokenSetLogOdds, additions, at_dose
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model

NAMES: tuple[ContrastName, ...] = tuple(CONTRASTS)


def log_odds(model: Model, prompts: ContrastPrompts, *, contrast: ContrastName | None = None) -> TokenSetLogOdds:
    """The metric at the end of each prompt, of the prompts' own contrast or of what another one has to itself."""
    import torch

    own = target_tokens(model, prompts.contrast)
    targets = own if contrast is None else target_tokens(model, contrast).without(own)
    positive, negative = torch.tensor(targets.positive_ids), torch.tensor(targets.negative_ids)
    return TokenSetLogOdds(positive, negative, torch.from_numpy(prompts.end))


def shifts(
    model: Model,
    prompts: ContrastPrompts,
    directions: Mapping[str, Direction],
    *,
    doses: Sequence[float],
    contrast: ContrastName | None = None,
) -> UnitValues:
    """[`at_dose(direction, dose)`, prompt]: by how much each direction at each dose changes the log-odds.

    Args:
        model: the model.
        prompts: where the log-odds are read; stems, as a rule.
        directions: by name.
        doses: in tenths of the mean norm at each direction's place; negative for the other way.
        contrast: whose log-odds, without tokens that both list; by default those of the prompts' own contrast.
    """

    def make(runs: Runs, batch: ContrastPrompts) -> list[Intervention]:
        return additions(directions, doses=doses, positions=mask(batch.end, runs))

    found = effects_over(
        model,
        prompts,
        make=make,
        metric=lambda batch: log_odds(model, batch, contrast=contrast),
        keep=(),
        share_clean=True,
    )
    return UnitValues(found.values - found.clean, found.names, found.units, found.clusters)


def swing(
    model: Model,
    prompts: ContrastPrompts,
    directions: Mapping[str, Direction],
    *,
    dose: float,
    contrast: ContrastName | None = None,
) -> UnitValues:
    """[direction, prompt]: log-odds at `dose` minus log-odds at `-dose`, the whole way from one end to the other."""
    found = shifts(model, prompts, directions, doses=(dose, -dose), contrast=contrast)
    ends = [found.of([at_dose(name, sign * dose) for name in directions]).values for sign in (1, -1)]
    return UnitValues(ends[0] - ends[1], tuple(directions), found.units, found.clusters)


def joint(values: UnitValues) -> UnitValues:
    """A single row, under the name that stands for the whole subject."""
    return UnitValues(np.asarray(values.values), ("joint",), values.units, values.clusters)


def mean_of(values: UnitValues) -> UnitValues:
    """The mean over all rows, as a single one."""
    return UnitValues(values.values.mean(axis=0, keepdims=True), ("joint",), values.units, values.clusters)


def describe(evidence: Evidence, prompts: ContrastPrompts) -> None:
    """Record which prompts were used."""
    evidence.prompts(
        sha256=prompts.sha256(),
        n=len(prompts),
        clusters=len(set(prompts.templates)),
        examples=prompts.texts()[:4],
    )


def note_words(evidence: Evidence, texts: ContrastPrompts) -> None:
    """Say by how much label words, which are dealt over all templates, widen the effect's standard error."""
    from harness.stats.crossed import crossed_errors

    effect, words = evidence.measured(), texts.label_words()
    found = crossed_errors(effect.values[0], clusters=effect.clusters, crossing=words)
    evidence.note(
        f"{len(set(words))} pairs of label words are dealt over all templates, and intervals resample templates alone: "
        f"over both the effect's standard error is {found.both:.3g} instead of {found.clusters:.3g} "
        f"({found.ratio:.2f} times)."
    )


def template_means(values: UnitValues) -> NDArray[np.float64]:
    """[row, template], means over the prompts of each template."""
    names = list(dict.fromkeys(values.clusters))
    own = np.array([[one == name for one in values.clusters] for name in names], dtype=np.float64)
    return np.asarray(values.values @ own.T / own.sum(axis=1))
