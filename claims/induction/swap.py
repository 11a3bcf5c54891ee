"""Swapping the tokens that a head attends to, with the attention frozen: does the prediction move to the new ones?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.induction.measurements import tracker
from fixtures.prompts.repeated import RepeatedTokens
from harness.interventions import Engine, Replace, Run
from harness.sequences import Positions
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model


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
        for place, (layer, head) in enumerate(tracker(evidence, what)(places)):
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
