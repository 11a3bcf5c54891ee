"""What the IOI claims measure, in the paper's words. Each function returns one value per prompt.

The logit difference is IO minus S at the last token. Effects are falls of it: clean minus changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fixtures.prompts.ioi import IoiPrompts, Split, ioi_prompts
from harness.attention import attention_scores
from harness.effects import Effects, effects_over, mask
from harness.interventions import (
    Edge,
    Intervention,
    Runs,
    edge_patch,
    patch,
    path_patches,
)
from harness.metrics import LogitDifference
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams
    from harness.subjects import Subject


def draw(model: Model, streams: Streams, *, split: Split, n: int) -> IoiPrompts:
    """`n` prompts of a split, as many per template and order; with BOS where the model has one."""
    return ioi_prompts(model, split=split, n=n, rng=streams.for_(f"{split} prompts"), bos=has_bos(model))


def has_bos(model: Model) -> bool:
    """Whether prompts begin with the model's BOS."""
    return model.bos_token_id is not None


def describe(evidence: Evidence, prompts: IoiPrompts) -> None:
    """Record which prompts were used."""
    evidence.prompts(
        sha256=prompts.sha256(), n=len(prompts), clusters=len(set(prompts.templates)), examples=prompts.texts()[:4]
    )


def logit_difference(prompts: IoiPrompts) -> LogitDifference:
    """IO minus S at the last token of each prompt."""
    import torch

    io, s, end = (torch.from_numpy(each) for each in (prompts.io, prompts.s, prompts.positions.end))
    return LogitDifference(io, s, end)


def behaviour(model: Model, prompts: IoiPrompts) -> UnitValues:
    """The logit difference of the whole model: one row, `model`."""
    found = effects_over(model, prompts, make=lambda runs, batch: [Intervention("model", ())], metric=logit_difference)
    return UnitValues(found.values, found.names, found.units, found.clusters)


def relabelled(values: UnitValues, prompts: IoiPrompts, streams: Streams) -> UnitValues:
    """The same values where IO and S are exchanged in half of each template's prompts: differences turn their sign."""
    shuffled = prompts.corrupted("shuffled roles", streams.for_("roles"))
    sign = np.where(shuffled.io == prompts.io, 1.0, -1.0)
    return by_template(replace(values, values=values.values * sign), prompts)


def by_order(evidence: Evidence, values: UnitValues, prompts: IoiPrompts) -> None:
    """Record the values by order of the names: pooled means hide opposite errors."""
    orders = np.array(prompts.orders)
    rows = [
        [order, int((orders == order).sum()), float(here.mean()), float((here > 0).mean())]
        for order in ("ABBA", "BABA")
        for here in [values.values[0, orders == order]]
    ]
    evidence.table("By order of the names", columns=["order", "prompts", "mean, logits", "share above 0"], rows=rows)


def readers(subject: Subject) -> list[str]:
    """Queries of the heads that write: name movers and S-suppressors of this model."""
    writers = [head for name in ("name-mover", "s-suppressor") for head in subject.classes.get(name, ())]
    return [f"{head}.q" for head in writers]


def show_heads(evidence: Evidence, name: str, values: UnitValues, model: Model, *, unit: str) -> None:
    """Record a map of a score over all heads, the subject's marked."""
    assert evidence.subject is not None, "these claims have subjects"
    scores = values.mean().reshape(model.n_layers, model.n_heads)
    marked = evidence.subject.heads
    evidence.picture(
        "head_map", name, caption="Mean over prompts; subjects are marked.", unit=unit, values=scores, marked=marked
    )


def by_template(values: UnitValues, prompts: IoiPrompts) -> UnitValues:
    """The same values, whose clusters are the prompts' templates."""
    return UnitValues(values.values, values.components, values.units, prompts.templates)


def attention_to_io(model: Model, prompts: IoiPrompts, *, at: IoiPrompts | None = None) -> UnitValues:
    """Attention from the last token to IO minus that to S1 and S2 together: [head, prompt].

    Args:
        model: the model.
        prompts: what is run.
        at: prompts whose positions of IO, S1 and S2 are read; those of `prompts` by default.
    """
    where = at or prompts
    io, s1, s2 = (attention_scores(model, prompts, pairs=where.at("end", key=key)) for key in ("io", "s1", "s2"))
    return by_template(io.minus(s1).minus(s2), prompts)


def direct_effects(model: Model, prompts: IoiPrompts, heads: Sequence[str], *, other: IoiPrompts) -> Effects:
    """What each head writes into the logits itself at the last token, where its edge carries `other`'s value."""

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        return [edge_patch(runs, [Edge(head, "logits")], positions=end, name=head) for head in heads]

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def total_effects(
    model: Model, prompts: IoiPrompts, sets: Mapping[str, Sequence[str]], *, other: IoiPrompts
) -> Effects:
    """The heads of each set take their values of `other` at the last token; everything after is recomputed."""

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        return [patch(runs, heads, positions=end, name=name) for name, heads in sets.items()]

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def path_effects(
    model: Model,
    prompts: IoiPrompts,
    senders: Sequence[str],
    *,
    receivers: Sequence[str],
    other: IoiPrompts,
    at: Literal["end", "s2", "s1_next"] = "end",
) -> Effects:
    """Each sender at one position of `other`, followed into the receivers with all other heads frozen."""

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        here = mask(getattr(batch.positions, at), runs)
        sets = {head: (head,) for head in senders}
        return path_patches(runs, sets, receivers=receivers, mlps="recomputed", positions=here)

    return effects_over(
        model, prompts, corrupted=other, make=make, metric=logit_difference, keep=("z", "attn_out", "mlp_out")
    )


def highest(values: dict[str, float], *, at_least: float, most: int) -> tuple[str, ...]:
    """Names whose value reaches a threshold, the highest first."""
    order = sorted(values, key=lambda name: -values[name])
    return tuple(name for name in order if values[name] >= at_least)[:most]


def means(values: UnitValues) -> dict[str, float]:
    """The mean over prompts, by component."""
    return dict(zip(values.components, np.asarray(values.mean()).tolist(), strict=True))
