"""A memory budget cuts the work into stacks that hold to it, and changes no value by more than rounding."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.interventions import Engine, Frame, Intervention, Replace, Runs, ablate, measure, patch, stacked, zero
from harness.interventions.stacked import Stack, bytes_per_prompt, plan
from harness.metrics import LogitDifference, LogProb
from tests.interventions.bridges import some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEBIBYTE = 2**20


def prompts_by_positions_runs(bridge: TransformerBridge) -> Runs:
    """Nine prompts of 24 tokens that differ from position 1 on."""
    clean, source = some_tokens(batch=9, pos=24), some_tokens(batch=9, pos=24, seed=1)
    source[:, 0] = clean[:, 0]
    return Runs.of(Engine.of(bridge), clean, corrupted=source, keep=("z", "q", "k", "v", "attn_out", "pattern"))


def many(runs: Runs) -> list[Intervention]:
    """Thirty interventions that start in both layers, at the first, the tenth and the last position."""
    import torch

    heads = [f"{layer}.{head}" for layer in (0, 1) for head in range(4)]
    made = [patch(runs, [head]) for head in heads]
    for first in (10, 23):
        late = (torch.arange(24) >= first).expand(9, 24)
        made += [patch(runs, [f"{head}.q"], positions=late, name=f"{head}.q from {first}") for head in heads]
    made += [ablate(runs, [f"{layer}.kv1.v", "1.2.pattern"], by=zero(runs)) for layer in (0, 1)]
    return made + [patch(runs, [f"{layer}.attn"], name=f"{layer}.attn at {layer}") for layer in (0, 1)]


def test_values_under_one_mebibyte_and_one_gibibyte_are_equal_up_to_rounding(bridge: TransformerBridge) -> None:
    import torch

    runs = prompts_by_positions_runs(bridge)
    made = many(runs)
    tokens, positions = torch.arange(9), torch.tensor([23, 9, 10, 0, 23, 22, 5, 23, 11])
    for metric in (LogitDifference(tokens, tokens + 9, positions), LogProb(tokens, positions)):
        small, large = (measure(runs, made, metric=metric, memory_budget=size) for size in (MEBIBYTE, 2**30))
        np.testing.assert_allclose(small.values, large.values, rtol=0, atol=1e-5)  # 1e-4 is promised
        np.testing.assert_allclose(small.change_norm, large.change_norm, rtol=1e-5, atol=1e-5)
        assert np.abs(small.effects).max() > 0.01
    stacks = {size: plan(made, frame=runs.frame, memory_budget=size) for size in (MEBIBYTE, 2**30)}
    assert len(stacks[MEBIBYTE]) > len(stacks[2**30])


def test_a_budget_that_holds_one_prompt_at_a_time_changes_no_value(
    bridge: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    runs = prompts_by_positions_runs(bridge)
    metric = LogitDifference(torch.arange(9), torch.arange(9) + 9, torch.full((9,), 23))
    at_once = measure(runs, many(runs), metric=metric)
    monkeypatch.setattr(stacked, "bytes_per_prompt", lambda frame, *, start: MEBIBYTE + 1)
    assert {stack.prompts.stop - stack.prompts.start for stack in stacks_of(runs)} == {1}
    one_by_one = measure(runs, many(runs), metric=metric, memory_budget=MEBIBYTE)
    np.testing.assert_allclose(one_by_one.values, at_once.values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one_by_one.change_norm, at_once.change_norm, rtol=1e-5, atol=1e-5)


def stacks_of(runs: Runs) -> list[Stack]:
    return plan(many(runs), frame=runs.frame, memory_budget=MEBIBYTE)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_stacks_hold_every_row_once_and_keep_to_the_budget(data: st.DataObject) -> None:
    import torch

    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    batch, pos, n_layers = number(1, 12), number(1, 200), number(1, 6)
    frame = Frame(
        n_layers=n_layers, n_heads=4, n_kv_heads=2, d_head=number(1, 64), d_model=number(1, 256), d_mlp=number(0, 1024),
        dtype=data.draw(st.sampled_from(["torch.float32", "torch.float64"])), batch=batch, pos=pos,
    )  # fmt: skip
    made: list[Intervention] = []
    first: dict[int, tuple[int, int]] = {}
    for name in range(number(0, 20)):
        start = number(0, pos)  # at `pos`: nowhere
        where = (torch.arange(pos) >= start).expand(batch, pos)
        layers = data.draw(st.lists(st.integers(0, n_layers - 1), max_size=3, unique=True))
        edits = [Replace(layer, "z", torch.zeros(1), positions=where) for layer in layers]
        made.append(Intervention(str(name), tuple(edits)))
        if layers and start < pos:
            first[name] = (start, min(layers))
    budget = number(MEBIBYTE, 64 * MEBIBYTE)
    stacks = plan(made, frame=frame, memory_budget=budget)

    rows: Counter[tuple[int, int]] = Counter()
    for stack in stacks:
        prompts = range(stack.prompts.start, stack.prompts.stop)
        rows.update((number, prompt) for number in stack.numbers for prompt in prompts)
        assert [first[number] for number in stack.numbers] == [(stack.start, layer) for layer in stack.first_layers]
        assert list(stack.first_layers) == sorted(stack.first_layers)
        size = len(stack.numbers) * len(prompts)
        assert size == 1 or size * bytes_per_prompt(frame, start=stack.start) <= budget
    assert rows == Counter(dict.fromkeys(((number, prompt) for number in first for prompt in range(batch)), 1))
    assert stacks == plan(made, frame=frame, memory_budget=budget)


def test_an_edit_that_cannot_be_narrowed_takes_the_whole_batch_from_the_first_position() -> None:
    import torch

    class Whole:
        layer, site = 1, "z"

    frame = Frame(
        n_layers=2, n_heads=4, n_kv_heads=4, d_head=64, d_model=256, d_mlp=1024, dtype="torch.float32", batch=9, pos=99
    )
    late = Replace(0, "z", torch.zeros(1), positions=(torch.arange(99) >= 50).expand(9, 99))
    made = [Intervention("narrow", (late,)), Intervention("both", (late, Whole()))]  # type: ignore[arg-type]
    stacks = plan(made, frame=frame, memory_budget=MEBIBYTE)
    assert [stack for stack in stacks if 1 in stack.numbers] == [Stack((1,), (0,), slice(0, 9), 0)]
    assert {(stack.start, stack.prompts.stop - stack.prompts.start) for stack in stacks if 0 in stack.numbers} == {
        (50, 1)
    }
