"""What the greater-than claims measure, in the paper's words. Each function returns one value per prompt.

The metric is the probability difference: mass on right answers minus mass on wrong ones, at the last token. Effects are
falls of it: clean minus changed; shifts towards another year are rises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.greater_than import GreaterThanPrompts, Split, greater_than_prompts
from harness.attention import attention_scores
from harness.effects import Effects, dose_factors, effects_over, mask
from harness.errors import InterventionError
from harness.interventions import (
    DIRECTIONS,
    Engine,
    Intervention,
    Replace,
    Runs,
    head_change,
    patch,
    path_patches,
    same_dose_edits,
)
from harness.interventions.readout import Readout, require_positions
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams


@dataclass(frozen=True, eq=False)
class ProbabilityDifference:
    """Mass on right answers minus mass on wrong ones, at one position of each prompt (Hanna et al. 2023, section 2).

    With the signs of `other year` it is the predicted year in tens, with the sign of the shift.

    Attributes:
        answers: [answer], their tokens.
        sign: [batch, answer], 1 where right, -1 where wrong, 0 where neither; means of these for averaged labels.
        positions: [batch], where the answer is predicted.
    """

    answers: Int[Tensor, " answer"] = field(repr=False)
    sign: Float[Tensor, "batch answer"] = field(repr=False)
    positions: Int[Tensor, " batch"] = field(repr=False)
    name: str = "probability difference"
    unit: str = "probability"

    @classmethod
    def of(cls, prompts: GreaterThanPrompts) -> ProbabilityDifference:
        """The metric of these prompts, with their signs."""
        import torch

        answers, end = torch.from_numpy(prompts.answers), torch.from_numpy(prompts.positions.end)
        return cls(answers, torch.from_numpy(prompts.sign).float(), end)

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless there are a position and a sign of every answer for each prompt."""
        if tuple(self.sign.shape) != (batch, len(self.answers)):
            raise InterventionError(
                f"signs are {tuple(self.sign.shape)}, not [batch, answer] = ({batch}, {len(self.answers)})."
            )
        if not 0 <= int(self.answers.min()) <= int(self.answers.max()) < d_vocab:
            raise InterventionError(f"answers are not all in the vocabulary (0 to {d_vocab - 1}).")
        require_positions(self.positions.unsqueeze(1), batch=batch, pos=pos)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The difference in probability."""
        here = self.positions.unsqueeze(1)
        answers = self.answers.expand(len(here), 1, -1)
        logits = read.logits_of(here, answers)[:, :, 0]  # [intervention prompt answer]
        # One log-probability gives the normaliser of all the logits: the vocabulary is never held for every row.
        normaliser = logits[..., :1] - read.log_probs_of(here, answers[:, :, 0])
        return ((logits - normaliser).exp() * read.of_prompts(self.sign)).sum(dim=-1)


def draw(model: Model, streams: Streams, *, split: Split, n: int) -> GreaterThanPrompts:
    """`n` prompts of a split, as many per template; with BOS where the model has one."""
    bos = model.bos_token_id is not None
    return greater_than_prompts(model, split=split, n=n, rng=streams.for_(f"{split} prompts"), bos=bos)


def describe(evidence: Evidence, prompts: GreaterThanPrompts) -> None:
    """Record which prompts were used, and which digits of the answer decide."""
    evidence.prompts(
        sha256=prompts.sha256(), n=len(prompts), clusters=len(set(prompts.templates)), examples=prompts.texts()[:4]
    )
    said = {
        2: "Answers are the hundred two-digit tokens: those above the start year are right, the rest wrong.",
        1: "Years are written digit by digit, so the tens digit decides: above the start year's it is right, below it "
        "wrong; the start's own tens digit is neither, since the next digit would decide.",
    }
    evidence.note(said[prompts.width])


def behaviour(model: Model, prompts: GreaterThanPrompts) -> UnitValues:
    """The probability difference of the whole model: one row, `model`."""
    found = effects_over(
        model, prompts, make=lambda runs, batch: [Intervention("model", ())], metric=ProbabilityDifference.of
    )
    return UnitValues(found.values, found.names, found.units, found.clusters)


def attention_to_year(model: Model, prompts: GreaterThanPrompts) -> UnitValues:
    """Attention from the last token to the start year's deciding token: [head, prompt]."""
    found = attention_scores(model, prompts, pairs=prompts.at("end", key="year"))
    return UnitValues(found.values, found.components, found.units, prompts.templates)


def total_effects(
    model: Model, prompts: GreaterThanPrompts, targets: Sequence[str], *, other: GreaterThanPrompts
) -> Effects:
    """Each head or MLP takes its value of `other` at the last token; everything after is recomputed."""

    def make(runs: Runs, batch: GreaterThanPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        return [patch(runs, [target], positions=end, name=target) for target in targets]

    keep = ("z", "mlp_out")
    return effects_over(
        model, prompts, corrupted=other, make=make, metric=ProbabilityDifference.of, keep=keep, doses=True
    )


def effects_through_mlps(
    model: Model, prompts: GreaterThanPrompts, sets: Mapping[str, Sequence[str]], *, other: GreaterThanPrompts
) -> Effects:
    """Each set of heads takes its values of `other` at the last token, and only MLPs after its first head notice.

    All other heads are frozen on the way to the MLPs (Wang et al.'s path patching); what comes after them is
    recomputed. What the set itself writes into the logits stays as it was.
    """

    def make(runs: Runs, batch: GreaterThanPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        by_layer: dict[int, dict[str, Sequence[str]]] = {}
        for name, heads in sets.items():
            by_layer.setdefault(min(parse_head(head)[0] for head in heads), {})[name] = heads
        found: dict[str, Intervention] = {}
        for first, some in by_layer.items():
            receivers = [f"{layer}.mlp" for layer in range(first, runs.frame.n_layers)]
            made = path_patches(runs, some, receivers=receivers, mlps="recomputed", positions=end)
            found.update(zip(some, made, strict=True))
        return [found[name] for name in sets]

    keep = ("z", "attn_out", "mlp_out")
    return effects_over(model, prompts, corrupted=other, make=make, metric=ProbabilityDifference.of, keep=keep)


def same_dose_effects(
    model: Model, prompts: GreaterThanPrompts, heads: Sequence[str], *, other: GreaterThanPrompts, streams: Streams
) -> Effects:
    """As `total_effects` of heads, with equally long random vectors added instead, the mean over `DIRECTIONS`."""
    rng = streams.for_("dose")
    drawn = {head: tuple(f"{head} {number}" for number in range(DIRECTIONS)) for head in heads}

    factors = dose_factors(model, prompts, layers={parse_head(head)[0] for head in heads})

    def make(runs: Runs, batch: GreaterThanPrompts) -> list[Intervention]:
        made = []
        for name, layer, change in _changes(runs, batch, heads):
            edits = same_dose_edits({layer: change}, factors=factors, generator=rng)
            made += [Intervention(each, edit) for each, edit in zip(drawn[name], edits, strict=True)]
        return made

    found = effects_over(model, prompts, corrupted=other, make=make, metric=ProbabilityDifference.of, doses=True)

    def averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return UnitValues(values, found.names, found.units, found.clusters).averaged(drawn).values

    return replace(found, names=tuple(heads), values=averaged(found.values), change_norm=averaged(found.change_norm))


def rises(effects: Effects) -> UnitValues:
    """By how much each intervention raises the metric: changed minus clean, [intervention, prompt]."""
    return UnitValues(effects.values - effects.clean, effects.names, effects.units, effects.clusters)


def means(values: UnitValues) -> dict[str, float]:
    """The mean over prompts, by component."""
    return dict(zip(values.components, np.asarray(values.mean()).tolist(), strict=True))


def by_year(prompts: GreaterThanPrompts, values: UnitValues) -> list[list[object]]:
    """Rows of a table: the tens digit of the start year, how many prompts have it, their mean, the share above 0."""
    tens: NDArray[np.int64] = prompts.years // 10 if prompts.width == 2 else prompts.years
    return [
        [f"{digit}_", int((tens == digit).sum()), float(here.mean()), float((here > 0).mean())]
        for digit in np.unique(tens)
        for here in [values.values[0, tens == digit]]
    ]


def _changes(runs: Runs, batch: GreaterThanPrompts, heads: Sequence[str]) -> Iterator[tuple[str, int, Tensor]]:
    """What each head's change writes at the last token: its name, layer, and [batch pos d_model]."""
    assert isinstance(runs.engine, Engine), "doses need the processed weights"
    end = mask(batch.positions.end, runs)
    for layer, head in map(parse_head, heads):
        replaced = Replace.z(layer, head, runs.source().z_of(layer, head), positions=end)
        yield f"{layer}.{head}", layer, head_change(runs.engine, runs.clean, replaced)
