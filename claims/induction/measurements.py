"""What the induction claims measure, in the papers' words. Each function returns one value per sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.repeated import RepeatedTokens
from harness.ablation import Ablation, HeadSets, damage
from harness.attention import mean_attention
from harness.interventions import Engine, Run
from harness.loss import losses, row_losses
from harness.sequences import Positions
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams

Item = TypeVar("Item")

SHUFFLES = 10
"""Shuffles per sequence, averaged (design, section 3)."""
UNRELATED = 10
"""Unrelated tokens per sequence, averaged."""
DONORS = 5
"""Donor sequences per sequence for resample ablation."""


def second_copy_loss(model: Model, sequences: RepeatedTokens) -> UnitValues:
    """Loss in nats per token where the second copy stands, whatever stands there now."""
    return losses(model, sequences, at=sequences.second_copy())


def describe(evidence: Evidence, sequences: RepeatedTokens) -> None:
    """Record which sequences were used."""
    shown = [" ".join(str(token) for token in sequences.tokens[row, : sequences.start + 2 * length]) for row, length in
             enumerate(sequences.lengths[:2])]  # fmt: skip
    evidence.prompts(sha256=sequences.digest(), n=len(sequences), clusters=len(sequences), examples=shown)


def donors_of(
    model: Model, sequences: RepeatedTokens, streams: Streams, *, count: int = DONORS
) -> list[RepeatedTokens]:
    """Other repeated sequences of the same block lengths, for resample ablation."""
    pool = model.random_token_pool()
    return [sequences.donor(pool, rng=streams.for_(f"donor {number}")) for number in range(count)]


@dataclass(frozen=True)
class CopyDamage:
    """What ablating each set costs, in nats per token: on the second copy, on the first, and how much was changed."""

    second: UnitValues
    first: UnitValues
    dose: UnitValues


def copy_damage(
    model: Model,
    sequences: RepeatedTokens,
    *,
    sets: HeadSets,
    ablation: Ablation,
    evidence: Evidence | None = None,
    what: str = "",
) -> CopyDamage:
    """Rise of the loss on both copies when each set of heads is ablated: [set, sequence]."""
    at = {"second": sequences.second_copy(), "first": sequences.first_copy()}
    found = _loss_damage(model, sequences, at, sets=sets, ablation=ablation, evidence=evidence, what=what)
    return CopyDamage(found["second"], found["first"], found["dose"])


def second_copy_damage(
    model: Model,
    sequences: RepeatedTokens,
    *,
    sets: HeadSets,
    ablation: Ablation,
    evidence: Evidence | None = None,
    what: str = "",
) -> UnitValues:
    """Rise of the loss on the second copy alone: half the logits of `copy_damage`, a third of whose time they take."""
    at = {"second": sequences.second_copy()}
    return _loss_damage(model, sequences, at, sets=sets, ablation=ablation, evidence=evidence, what=what)["second"]


def _loss_damage(
    model: Model,
    sequences: RepeatedTokens,
    at: dict[str, Positions],
    *,
    sets: HeadSets,
    ablation: Ablation,
    evidence: Evidence | None,
    what: str,
) -> dict[str, UnitValues]:
    def measure(engine: Engine, run: Run, index: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        here = {name: positions.for_rows(index) for name, positions in at.items()}
        return row_losses(engine, run, here, count=len(index))

    return damage(model, sequences, sets=sets, ablation=ablation, measure=measure, track=tracker(evidence, what))


def attention_damage(
    model: Model,
    sequences: RepeatedTokens,
    *,
    sets: HeadSets,
    ablation: Ablation,
    heads: Sequence[str],
    evidence: Evidence | None = None,
    what: str = "",
) -> dict[str, UnitValues]:
    """Fall of each head's prefix-matching score when each set is ablated: for every head [set, sequence]."""
    pairs = sequences.second_copy()
    places = [parse_head(head) for head in heads]
    layers = sorted({layer for layer, _ in places})

    def measure(engine: Engine, run: Run, index: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        here = pairs.for_rows(index)
        by_layer = {layer: mean_attention(run.pattern[layer], here, count=len(index)) for layer in layers}
        return {f"{layer}.{head}": -by_layer[layer][head] for layer, head in places}

    found = damage(
        model, sequences, sets=sets, ablation=ablation, measure=measure, stop_at_layer=layers[-1] + 1,
        keep={"pattern": layers}, track=tracker(evidence, what),
    )  # fmt: skip
    return {head: found[head] for head in heads}


def weaker(first: UnitValues, second: UnitValues) -> tuple[bool, ...]:
    """For every row whether the first measurement has the smaller mean (or an equal one)."""
    return tuple(bool(flag) for flag in first.mean() <= second.mean())


def chosen(first: UnitValues, second: UnitValues, *, by_first: Sequence[bool]) -> UnitValues:
    """Row by row the first measurement or the second. A control takes the kind that decides the subject's own row."""
    rows = np.asarray(by_first)[:, None]
    return replace(first, values=np.where(rows, first.values, second.values))


def copying_scores(
    model: Model, sequences: RepeatedTokens, *, unrelated: np.random.Generator | None = None
) -> UnitValues:
    """Direct effect of each head's OV circuit on the logit of the token it reads, above the block's other tokens.

    What a head would write if it attended fully to one position of the first copy, read by the unembedding at the
    final norm's mean scale in the second copy; averaged over positions (Elhage et al. 2021, "copying").
    [head, sequence] in logits. With `unrelated` the score is averaged over ten random tokens that the block lacks,
    instead of taken for the one that was read.
    """
    engine = Engine.of(model)
    pool = np.asarray(model.random_token_pool())
    values = np.zeros((engine.n_layers * engine.n_heads, len(sequences)))
    for index, batch in sequences.batches():
        run = engine.run(batch.tensor(), keep=("v",))
        for place, row in enumerate(index):
            outside = None
            if unrelated is not None:
                outside = unrelated.choice(np.setdiff1d(pool, batch.block(place)), size=UNRELATED, replace=False)
            values[:, row] = _copying_of_row(engine, run, batch, row=place, outside=outside)
    names = tuple(f"{layer}.{head}" for layer in range(engine.n_layers) for head in range(engine.n_heads))
    return UnitValues(values, names, sequences.units, sequences.units)


def _copying_of_row(
    engine: Engine, run: Run, batch: RepeatedTokens, *, row: int, outside: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """[head]: the score of every head on one sequence."""
    length, start = int(batch.lengths[row]), batch.start
    block = engine.W_U[:, batch.block(row)]  # [d_model token]
    scale = engine.final_scale(run)[row, start + length : start + 2 * length].mean()
    read = block if outside is None else engine.W_U[:, outside].mean(dim=1, keepdim=True).expand_as(block)
    group = engine.n_heads // engine.n_kv_heads
    scores = []
    for layer in range(engine.n_layers):
        v = run.v[layer][row, start : start + length].repeat_interleave(group, dim=1)  # [pos head d_head]
        written = v.transpose(0, 1) @ (engine.W_O(layer) @ (read - block.mean(dim=1, keepdim=True))) / scale
        scores.append(written.diagonal(dim1=1, dim2=2).mean(dim=1))  # [head pos token]: each position's own token
    return np.concatenate([score.double().cpu().numpy() for score in scores])


def tracker(evidence: Evidence | None, what: str) -> Callable[[Iterable[Item]], Iterable[Item]]:
    """Progress over sets of heads, or nothing where there is no one to tell."""

    def tracked(items: Iterable[Item]) -> Iterable[Item]:
        return items if evidence is None else evidence.track(list(items), what)

    return tracked
