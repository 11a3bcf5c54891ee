"""What the IOI claims measure, in the paper's words. Each function returns one value per prompt.

The logit difference is IO minus S at the last token. Effects are falls of it: clean minus changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claims.ioi.same_dose import SameDose
from fixtures.prompts.ioi import IoiPrompts, Split, ioi_prompts
from fixtures.prompts.ioi_record import PositionName
from harness.attention import attention_scores_by
from harness.effects import Effects, effects_over, mask
from harness.interventions import (
    Edge,
    Edit,
    Engine,
    Intervention,
    Run,
    Runs,
    edge_patch,
    engine_of,
    patch,
    path_patches,
)
from harness.metrics import LogitDifference
from harness.sequences import Positions
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams
    from harness.subjects import Subject

SHUFFLES = 10
"""Exchanges of the roles that the label control averages: fewer leave a chance preference in."""
HeadSets: TypeAlias = Mapping[str, Sequence[str]]
"""Sets of heads that are changed together, by the name that their row gets."""
Sender = Literal["end", "s2", "s1_next"]
"""Positions at which heads of the circuit write."""


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
    """The same values where IO and S are exchanged in half of each template's prompts, averaged over `SHUFFLES` draws.

    The values are differences between IO and S: exchanged, they turn their sign.
    """
    rng = streams.for_("roles")
    kept = [prompts.corrupted("shuffled roles", rng).io == prompts.io for _ in range(SHUFFLES)]
    sign = np.where(kept, 1.0, -1.0).mean(axis=0)
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


def queries(heads: Sequence[str]) -> tuple[str, ...]:
    """The queries of these heads, as receivers of a path."""
    return tuple(f"{head}.q" for head in heads)


def keys_and_values(heads: Sequence[str]) -> tuple[str, ...]:
    """The keys and values that these heads read, as receivers of a path."""
    return tuple(f"{head}.{kind}" for head in heads for kind in ("k", "v"))


def writers(subject: Subject) -> tuple[str, ...]:
    """Heads that write towards the answer: name movers and S-suppressors of this model."""
    return tuple(head for name in ("name-mover", "s-suppressor") for head in subject.classes.get(name, ()))


def before(model: Model, receivers: Sequence[str]) -> list[str]:
    """The heads in layers before all of these receivers (`7.3.q`); none where there are no receivers."""
    first = min((int(name.split(".")[0]) for name in receivers), default=0)
    return [head for head in model.heads() if parse_head(head)[0] < first]


def by_template(values: UnitValues, prompts: IoiPrompts) -> UnitValues:
    """The same values, whose clusters are the prompts' templates."""
    return UnitValues(values.values, values.components, values.units, prompts.templates)


def attention_from(
    query: PositionName,
    model: Model,
    prompts: IoiPrompts,
    *,
    to: PositionName,
    rather_than: Sequence[PositionName] = (),
    offset: int = 0,
    at: IoiPrompts | None = None,
) -> UnitValues:
    """Attention of every head from one named position to another, minus that to others together: [head, prompt].

    Args:
        query: where the heads stand.
        model: the model.
        prompts: what is run.
        to: where they should attend.
        rather_than: positions whose attention is subtracted.
        offset: moves `to` by so many tokens.
        at: prompts whose positions are read; those of `prompts` by default.
    """
    where = at or prompts
    pairs = where.at(query, key=to)
    if offset:
        pairs = pairs.with_keys(np.maximum(pairs.require_keys() + offset, 0))
    places: dict[str, Positions] = {other: where.at(query, key=other) for other in rather_than}
    scores = attention_scores_by(model, prompts, pairs={**places, to: pairs})
    found = scores[to]
    for other in rather_than:
        found = found.minus(scores[other])
    return by_template(found, prompts)


def attention_moved(
    model: Model, prompts: IoiPrompts, sets: HeadSets, *, readers: Sequence[str], other: IoiPrompts
) -> UnitValues:
    """By how much the readers attend less to IO, rather than to S1 and S2, when sets reach their queries from `other`.

    [set, prompt]: the mean over readers of clean minus patched, at the last token.
    """
    engine = engine_of(model)
    places = [parse_head(head) for head in readers]

    def edited(runs: Runs, edits: Sequence[Edit], *, keep: list[int]) -> Run:
        patterns = {"pattern": keep}
        if isinstance(engine, Engine):  # nothing before the readers changes
            return engine.resume(runs.clean, layer=keep[0], edits=edits, keep=patterns, stop_at_layer=keep[-1] + 1)
        return engine.run(runs.clean.tokens, edits=edits, keep=patterns, stop_at_layer=keep[-1] + 1)

    layers = sorted({layer for layer, _ in places})
    values = np.zeros((len(sets), len(prompts)))
    for index, batch in prompts.batches():
        keep = ("z", "attn_out", "mlp_out", "pattern")
        runs = Runs.of(engine, batch.tensor(), corrupted=other.rows(index).tensor(), keep=keep)
        end = mask(batch.positions.end, runs)
        paths = path_patches(runs, sets, receivers=queries(readers), mlps="recomputed", positions=end)

        def to_io(run: Run, batch: IoiPrompts = batch) -> NDArray[np.float64]:
            rows, last = np.arange(len(batch)), batch.positions.end
            found = [run.kept("pattern", layer)[rows, head, last].double().numpy() for layer, head in places]
            named = {name: np.mean(found, axis=0)[rows, getattr(batch.positions, name)] for name in ("io", "s1", "s2")}
            return np.asarray(named["io"] - named["s1"] - named["s2"])

        clean = to_io(runs.clean)
        for row, path in enumerate(paths):
            run = edited(runs, path.edits, keep=layers)
            values[row, index] = clean - to_io(run)
    return UnitValues(values, tuple(sets), prompts.units, prompts.templates)


def singly(heads: Iterable[str]) -> HeadSets:
    """Every head as a set of its own."""
    return {head: (head,) for head in heads}


def direct_effects(
    model: Model, prompts: IoiPrompts, sets: HeadSets, *, other: IoiPrompts, dose: np.random.Generator | None = None
) -> Effects:
    """What each set of heads writes into the logits at the last token itself: its edges carry `other`'s values.

    With `dose` a set named `joint` gets the rows `DRAWN`: random directions drawn with it in place of its change.
    """
    dosed = SameDose.of(model, prompts, sets["joint"], rng=dose, direct=True) if dose and "joint" in sets else None

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        edges = {name: [Edge(head, "logits") for head in heads] for name, heads in sets.items()}
        made = [edge_patch(runs, each, positions=end, name=name) for name, each in edges.items()]
        return made + (dosed.direct(runs, batch) if dosed else [])

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def total_effects(
    model: Model,
    prompts: IoiPrompts,
    sets: HeadSets,
    *,
    other: IoiPrompts,
    at: Sender = "end",
    dose: np.random.Generator | None = None,
) -> Effects:
    """The heads of each set take their values of `other` at one position; everything after is recomputed.

    With `dose` (for `end`) a set named `joint` gets the rows `DRAWN`: random directions in place of its changes.
    """
    dosed = SameDose.of(model, prompts, sets["joint"], rng=dose, direct=False) if dose and "joint" in sets else None

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        here = mask(getattr(batch.positions, at), runs)
        made = [patch(runs, heads, positions=here, name=name) for name, heads in sets.items()]
        return made + (dosed.total(runs, batch) if dosed else [])

    return effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference)


def made_up(
    model: Model, prompts: IoiPrompts, sets: HeadSets, *, patched: Sequence[str], other: IoiPrompts
) -> UnitValues:
    """What sets of later heads write more towards IO, into the logits themselves, once `patched` are patched.

    [set, prompt]: the edges of a set to the logits of the clean prompts carry its outputs under the patch.
    """

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        end = mask(batch.positions.end, runs)
        under = runs.under(patch(runs, patched, positions=end).edits)
        edges = {name: [Edge(head, "logits") for head in heads] for name, heads in sets.items()}
        return [edge_patch(under, each, positions=end, name=name) for name, each in edges.items()]

    fall = effects_over(model, prompts, corrupted=other, make=make, metric=logit_difference).fall()
    return replace(fall, values=-fall.values)


def path_effects(
    model: Model,
    prompts: IoiPrompts,
    sets: HeadSets,
    *,
    receivers: Sequence[str],
    other: IoiPrompts,
    at: Sender,
) -> Effects:
    """Each set of heads at one position of `other`, followed into the receivers with all other heads frozen."""

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        here = mask(getattr(batch.positions, at), runs)
        return path_patches(runs, sets, receivers=receivers, mlps="recomputed", positions=here)

    return effects_over(
        model, prompts, corrupted=other, make=make, metric=logit_difference, keep=("z", "attn_out", "mlp_out")
    )


def after(model: Model, heads: Sequence[str]) -> list[str]:
    """The heads in layers after the first of these, without them; none where there are no heads."""
    first = min((parse_head(head)[0] for head in heads), default=model.n_layers)
    return [head for head in model.heads() if parse_head(head)[0] > first and head not in heads]


def means(values: UnitValues) -> dict[str, float]:
    """The mean over prompts, by component."""
    return dict(zip(values.components, np.asarray(values.mean()).tolist(), strict=True))
