"""The fast path: many interventions as rows of one batch, computed only where something can differ.

What it uses is exact. Interventions with the same first position are sorted by the layer they start in and stacked; a
stack begins in the first layer of its first member, and the others join it in theirs, from the clean residual stream.
Positions before the first edited one cannot change under causal attention: their keys and values come from the clean
pass. The plan follows from the interventions, the model's sizes and the memory budget alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.interventions.edits import Edit, Narrowable
from harness.interventions.engine import Engine
from harness.interventions.forward import ForwardPass, Member, Past
from harness.interventions.intervention import Intervention
from harness.interventions.run import Run
from harness.interventions.sites import Frame

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ROWS_TIMES_POSITIONS = 8192  # beyond this many a product is as fast as it gets, and its result outgrows the caches


@dataclass(frozen=True)
class Stack:
    """Interventions that are computed together: their numbers, prompts, and the first position computed."""

    numbers: tuple[int, ...]
    first_layers: tuple[int, ...]
    prompts: slice
    start: int


@dataclass(frozen=True, eq=False)
class Finished:
    """The final residual stream of a stack [intervention prompt suffix d_model], and the dose of each row."""

    stack: Stack
    resid: Float[Tensor, "intervention prompt suffix d_model"]
    change_norm: Float[Tensor, "intervention prompt"]


def plan(interventions: Sequence[Intervention], *, frame: Frame, memory_budget: int) -> list[Stack]:
    """The stacks in which interventions are computed; those without edits are in none of them."""
    groups: dict[tuple[int, bool], list[tuple[int, int]]] = {}
    for number, intervention in enumerate(interventions):
        if intervention.edits:
            narrow = all(isinstance(edit, Narrowable) for edit in intervention.edits)
            start = _first_position(intervention.edits) if narrow else 0
            if start < frame.pos:
                layer = min(edit.layer for edit in intervention.edits)
                groups.setdefault((start, narrow), []).append((layer, number))
    stacks = []
    for (start, narrow), members in sorted(groups.items()):
        row = bytes_per_prompt(frame, start=start)
        prompts = frame.batch if not narrow else min(frame.batch, max(1, memory_budget // row))
        rows = max(1, memory_budget // row // prompts)
        useful = max(1, ROWS_TIMES_POSITIONS // (prompts * (frame.pos - start)))
        size = min(rows, useful)
        members.sort()
        for first in range(0, frame.batch, prompts):
            for at in range(0, len(members), size):
                chosen = members[at : at + size]
                layers, numbers = tuple(layer for layer, _ in chosen), tuple(number for _, number in chosen)
                stacks.append(Stack(numbers, layers, slice(first, min(first + prompts, frame.batch)), start))
    return stacks


def bytes_per_prompt(frame: Frame, *, start: int) -> int:
    """Bytes that one intervention needs for one prompt at the widest place of a block."""
    pos = frame.pos - start
    attention = 6 * frame.n_heads * frame.d_head + 3 * frame.n_heads * frame.pos
    per_position = 4 * frame.d_model + max(attention, 3 * frame.d_mlp)
    return pos * per_position * (8 if frame.dtype.endswith("64") else 4)


def compute(
    engine: Engine, clean: Run, interventions: Sequence[Intervention], stacks: Sequence[Stack], *, doses: bool = True
) -> Iterator[Finished]:
    """Stack by stack the final residual streams; under `inference_mode`, which the caller enters.

    Without `doses` the change norms are 0 and what they alone need is not computed.
    """
    past: Past | None = None
    key: tuple[int, int] | None = None
    for stack in stacks:
        if key != (stack.start, stack.prompts.start):
            key, past = (stack.start, stack.prompts.start), _past(engine, clean, stack)
        assert past is not None
        yield _compute(engine, clean, interventions, stack, past, doses=doses)


def _compute(
    engine: Engine, clean: Run, interventions: Sequence[Intervention], stack: Stack, past: Past, *, doses: bool
) -> Finished:
    import torch

    n = stack.prompts.stop - stack.prompts.start
    members = [
        Member(slice(place * n, (place + 1) * n), [_narrowed(edit, stack) for edit in interventions[number].edits])
        for place, number in enumerate(stack.numbers)
    ]
    forward = ForwardPass(engine.weights, members=members, past=past, doses=doses)
    resid = clean.resid.new_empty(0)
    for layer in range(stack.first_layers[0], engine.n_layers):
        if joining := stack.first_layers.count(layer):
            fresh = clean.resid_at(layer)[stack.prompts, stack.start :].repeat(joining, 1, 1)
            resid = torch.cat((resid, fresh)) if resid.numel() else fresh
        resid = forward.block(resid, layer)
    norms = _dose(forward, len(members), n, resid) if doses else resid.new_zeros(len(members), n)
    return Finished(stack, resid.view(len(members), n, *resid.shape[1:]), norms)


def _dose(forward: ForwardPass, n_members: int, n: int, like: Tensor) -> Float[Tensor, "intervention prompt"]:
    """Length of what was written, over all layers and positions."""
    squares = like.new_zeros(n_members, n)
    for changes in forward.changes.values():
        by_member: dict[int, Tensor] = {}
        for rows, change in changes:
            member = rows.start // n
            by_member[member] = by_member[member] + change if member in by_member else change
        for member, change in by_member.items():
            squares[member] += change.square().sum(dim=(1, 2))
    return squares.sqrt()


def _past(engine: Engine, clean: Run, stack: Stack) -> Past:
    """Keys and values of the clean pass before the stack's first position."""
    if stack.start == 0:
        return Past()
    rotary = engine.weights.rotary
    k, v = {}, {}
    for layer in range(engine.n_layers):
        keys = clean.kept("k", layer)[stack.prompts, : stack.start]
        k[layer] = (keys if rotary is None else rotary(keys)).transpose(1, 2).contiguous()
        v[layer] = clean.kept("v", layer)[stack.prompts, : stack.start].transpose(1, 2).contiguous()
    return Past(stack.start, k, v)


def _first_position(edits: Sequence[Edit]) -> int:
    return min(edit.first_position() for edit in edits if isinstance(edit, Narrowable))


def _narrowed(edit: Edit, stack: Stack) -> Edit:
    # Edits that cannot be narrowed are in stacks of the whole batch from position 0.
    return edit.narrowed(stack.prompts, stack.start) if isinstance(edit, Narrowable) else edit
