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
from harness.interventions import Engine, Replace, Run
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

    return damage(model, sequences, sets=sets, ablation=ablation, measure=measure, track=_tracker(evidence, what))


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
        keep={"pattern": layers}, track=_tracker(evidence, what),
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


@dataclass(frozen=True)
class Swap:
    """The first copy's tokens replaced, and where their copying is read.

    Attributes:
        swapped: the sequences with other tokens in the first copy.
        at: every query of the second copy with the position after its match.
        old, new, other: the token that stood at each of those keys, the one that stands there now, an unrelated one.
    """

    swapped: RepeatedTokens
    at: Positions
    old: NDArray[np.int64]
    new: NDArray[np.int64]
    other: NDArray[np.int64]

    def first(self, count: int) -> Swap:
        """The swaps of the first `count` sequences."""
        return self.of_rows(np.arange(count))

    def of_rows(self, index: NDArray[np.int64]) -> Swap:
        """The swaps of these sequences, numbered as in `index`."""
        here = np.isin(self.at.rows, index)
        tokens = (each[here] for each in (self.old, self.new, self.other))
        return Swap(self.swapped.rows(index), self.at.for_rows(index), *tokens)


def draw_swap(model: Model, sequences: RepeatedTokens, rng: np.random.Generator) -> Swap:
    """For every token of the first copy another one, and an unrelated third; the second copy stays."""
    pool = np.asarray(model.random_token_pool())
    at = sequences.second_copy()
    tokens, unrelated = sequences.tokens.copy(), sequences.tokens.copy()
    for row, length in enumerate(sequences.lengths):
        span = slice(sequences.start, sequences.start + int(length))
        old = sequences.tokens[row, span]
        new = _other_tokens(pool, (old,), rng=rng)
        tokens[row, span], unrelated[row, span] = new, _other_tokens(pool, (old, new), rng=rng)
    keys = at.require_keys()
    old, new, other = (each[at.rows, keys] for each in (sequences.tokens, tokens, unrelated))
    return Swap(replace(sequences, tokens=tokens), at, old, new, other)


def _other_tokens(
    pool: NDArray[np.int64], avoided: Sequence[NDArray[np.int64]], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distinct random tokens, at each position another than those that are avoided there."""
    while True:
        drawn: NDArray[np.int64] = rng.choice(pool, size=len(avoided[0]), replace=False)
        if all((drawn != tokens).all() for tokens in avoided):
            return drawn


def swap_effects(
    model: Model,
    sequences: RepeatedTokens,
    swap: Swap,
    *,
    heads: Sequence[str],
    evidence: Evidence | None = None,
    what: str = "",
) -> tuple[UnitValues, UnitValues]:
    """How far swapping the attended tokens in a head's values moves the prediction, attention frozen: [head, sequence].

    The head reads the swapped tokens' values after the matches; all attention from its layer on keeps the intact
    pattern. First: rise of (new - old) logit, averaged over queries. Second: the same for unrelated tokens as the new.
    """
    engine = Engine.of(model)
    places = [parse_head(head) for head in heads]
    layers = sorted({layer for layer, _ in places})
    later = list(range(layers[0], engine.n_layers))
    moved, unrelated = (np.zeros((len(heads), len(sequences))) for _ in range(2))
    for index, _ in sequences.batches():
        order = np.sort(index)
        rows, here = sequences.rows(order), swap.of_rows(order)
        intact = engine.run(rows.tensor(), keep={"resid_pre": layers, "v": layers, "pattern": later})
        donor = engine.run(here.swapped.tensor(), keep={"v": layers}, stop_at_layer=layers[-1] + 1)
        before = _logits_of(engine, intact, here)
        for place, (layer, head) in enumerate(_tracker(evidence, what)(places)):
            run = _with_swapped_value(engine, intact, donor, here.at, layer=layer, head=head)
            old, new, other = _logits_of(engine, run, here) - before
            moved[place, order] = here.at.mean_by_row(new - old, count=len(order))
            unrelated[place, order] = here.at.mean_by_row(other - old, count=len(order))
    units = sequences.units
    return UnitValues(moved, tuple(heads), units, units), UnitValues(unrelated, tuple(heads), units, units)


def _with_swapped_value(engine: Engine, intact: Run, donor: Run, at: Positions, *, layer: int, head: int) -> Run:
    kv_head = head * engine.n_kv_heads // engine.n_heads
    v = intact.v[layer][:, :, kv_head].clone()
    keys = at.require_keys()
    v[at.rows, keys] = donor.v[layer][at.rows, keys, kv_head]
    frozen = [Replace(number, "pattern", intact.pattern[number]) for number in range(layer, engine.n_layers)]
    return engine.resume(intact, layer=layer, edits=[Replace.v(layer, v, head=head), *frozen], doses=False)


def _logits_of(engine: Engine, run: Run, swap: Swap) -> NDArray[np.float64]:
    """[3, position]: logits of the old, the new and the unrelated token at every query."""
    import torch

    at = swap.at
    count = int(at.rows.max()) + 1
    sizes = np.bincount(at.rows, minlength=count)
    within = np.concatenate([np.arange(size) for size in sizes])
    positions = np.zeros((count, sizes.max()), dtype=np.int64)
    tokens = np.zeros((count, sizes.max(), 3), dtype=np.int64)
    positions[at.rows, within] = at.queries
    tokens[at.rows, within] = np.stack([swap.old, swap.new, swap.other], axis=-1)
    logits = engine.logits_of(run, torch.from_numpy(positions), torch.from_numpy(tokens))
    picked: NDArray[np.float64] = logits[at.rows, within].double().cpu().numpy().T
    return picked


def _tracker(evidence: Evidence | None, what: str) -> Callable[[Iterable[Item]], Iterable[Item]]:
    """Progress over sets of heads, or nothing where there is no one to tell."""

    def tracked(items: Iterable[Item]) -> Iterable[Item]:
        return items if evidence is None else evidence.track(list(items), what)

    return tracked
