"""Edits do what the same change through TransformerLens' own hooks does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.errors import InterventionError
from harness.interventions import (
    Add,
    Edit,
    Engine,
    Frame,
    Replace,
)
from tests.interventions.bridges import largest, normal, some_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = (3, 11)  # batch, pos
HOOKS = {
    "resid_pre": "hook_resid_pre", "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v",
    "pattern": "attn.hook_pattern", "z": "attn.hook_z", "attn_out": "hook_attn_out", "mlp_out": "hook_mlp_out",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Change:
    """Any function at any site."""

    layer: int
    site: str
    function: Callable[[Tensor], Tensor]

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset({f"{self.site} of {self.layer}"})

    def check(self, frame: Frame) -> None:
        pass

    def apply(self, activation: Tensor) -> Tensor:
        return self.function(activation)


def hooked(bridge: TransformerBridge, hook_name: str, function: Callable[[Tensor], Tensor]) -> Tensor:
    import torch

    fired = []

    def hook(activation: Tensor, hook: object) -> Tensor:
        fired.append(hook)
        return function(activation)

    with torch.inference_mode():
        logits = bridge.run_with_hooks(some_tokens(), fwd_hooks=[(hook_name, hook)])
    assert len(fired) == 1
    return logits


def edited(bridge: TransformerBridge, *edits: Edit) -> Tensor:
    engine = Engine.of(bridge)
    clean = engine.run(some_tokens(), keep=("resid_pre",))
    logits = engine.logits(engine.resume(clean, layer=min(edit.layer for edit in edits), edits=edits))
    assert largest(logits - engine.logits(clean)) > 1e-3  # a full intervention changes something
    return logits


@pytest.mark.parametrize(("layer", "site"), [(layer, site) for layer in (0, 1) for site in HOOKS])
def test_every_site_is_the_bridges_hook_of_that_name(bridge: TransformerBridge, layer: int, site: str) -> None:
    def function(activation: Tensor) -> Tensor:
        # Reversed prompts: a pattern stays causal, and every element moves.
        return activation.flip(0) * 0.7

    if site == "mlp_out" and bridge.cfg.attn_only:
        with pytest.raises(InterventionError, match="attention-only"):
            edited(bridge, Change(layer, site, function))
        return
    ours = edited(bridge, Change(layer, site, function))
    assert largest(ours - hooked(bridge, f"blocks.{layer}.{HOOKS[site]}", function)) <= 2e-5


def test_replacing_z_equals_a_hook_on_z(bridge: TransformerBridge) -> None:
    z = normal(*TOKENS, 8)

    def function(activation: Tensor) -> Tensor:
        activation = activation.clone()
        activation[:, :, 2] = z
        return activation

    ours = edited(bridge, Replace.z(1, 2, z))
    assert largest(ours - hooked(bridge, "blocks.1.attn.hook_z", function)) <= 2e-5


def test_replacing_z_at_some_positions_leaves_the_others(bridge: TransformerBridge) -> None:
    z, positions = normal(*TOKENS, 8), normal(*TOKENS, seed=1) > 0

    def function(activation: Tensor) -> Tensor:
        activation = activation.clone()
        activation[:, :, 2][positions] = z[positions]
        return activation

    ours = edited(bridge, Replace.z(0, 2, z, positions=positions))
    assert largest(ours - hooked(bridge, "blocks.0.attn.hook_z", function)) <= 2e-5


def test_adding_to_the_attention_output_equals_a_hook_on_it(bridge: TransformerBridge) -> None:
    vector = normal(*TOKENS, 32)
    ours = edited(bridge, Add(0, vector))
    assert largest(ours - hooked(bridge, "blocks.0.hook_attn_out", lambda out: out + vector)) <= 2e-5


def test_a_frozen_pattern_equals_a_hook_on_the_pattern(bridge: TransformerBridge) -> None:
    other = Engine.of(bridge).run(some_tokens(seed=7), keep={"pattern": [1]}).pattern[1]
    ours = edited(bridge, Replace(1, "pattern", other))
    assert largest(ours - hooked(bridge, "blocks.1.attn.hook_pattern", lambda _pattern: other)) <= 2e-5


def test_replacing_v_of_a_key_value_head_equals_a_hook_on_v(bridge: TransformerBridge) -> None:
    v = normal(*TOKENS, 8)

    def function(activation: Tensor) -> Tensor:
        activation = activation.clone()
        activation.view(*TOKENS, -1, 8)[:, :, 1] = v
        return activation

    ours = edited(bridge, Replace.v(0, v, kv_head=1))
    assert largest(ours - hooked(bridge, "blocks.0.attn.hook_v", function)) <= 2e-5


def test_replacing_v_for_one_query_head_changes_that_heads_z_only(bridge: TransformerBridge) -> None:
    v = normal(*TOKENS, 8)

    def function(activation: Tensor) -> Tensor:
        # z of head 2 is its pattern times the new values.
        activation = activation.clone()
        activation[:, :, 2] = pattern[:, 2] @ v
        return activation

    pattern = Engine.of(bridge).run(some_tokens(), keep={"pattern": [1]}).pattern[1]
    ours = edited(bridge, Replace.v(1, v, head=2))
    assert largest(ours - hooked(bridge, "blocks.1.attn.hook_z", function)) <= 2e-5


def test_several_edits_in_several_layers_equal_several_hooks(bridge: TransformerBridge) -> None:
    import torch

    z, vector = normal(*TOKENS, 8), normal(*TOKENS, 32, seed=1)

    def replace(activation: Tensor, hook: object) -> Tensor:
        activation = activation.clone()
        activation[:, :, 0] = z
        activation[:, :, 3] = -z
        return activation

    with torch.inference_mode():
        theirs = bridge.run_with_hooks(
            some_tokens(),
            fwd_hooks=[("blocks.0.attn.hook_z", replace), ("blocks.1.hook_attn_out", lambda out, hook: out + vector)],
        )
    ours = edited(bridge, Replace.z(0, 0, z), Add(1, vector), Replace.z(0, 3, -z))
    assert largest(ours - theirs) <= 2e-5


def test_the_examples_in_the_readme_run(llama: TransformerBridge) -> None:
    from pathlib import Path

    import torch

    import harness.interventions
    from harness.interventions import HookEngine, Intervention, Runs, measure
    from harness.metrics import LogitDifference

    readme = Path(harness.interventions.__file__).with_name("README.md").read_text(encoding="utf-8")
    sweep, passes, new = (part.split("```")[0] for part in readme.split("```python")[1:])
    three = torch.tensor([3, 4, 5])
    names = {"bridge": llama, "tokens": some_tokens(), "other_tokens": some_tokens(seed=1)}
    names |= {"correct": three, "wrong": three + 3, "last": three * 0 + 10}
    exec(sweep, names)
    assert names["found"].values.shape == names["found"].change_norm.shape == (3, 3)
    exec(passes, names)
    assert names["cost"].shape == (3, 10)
    assert names["dose"].shape == (3, 11)

    exec(new, names)
    direction = normal(32) / normal(32).norm()
    project = names["ProjectOut"](1, direction)

    def projected(resid: Tensor) -> Tensor:
        return resid - (resid @ direction).unsqueeze(-1) * direction

    assert largest(edited(llama, project) - hooked(llama, "blocks.1.hook_resid_pre", projected)) <= 2e-5
    difference = LogitDifference(three, three + 3, three * 0 + 10)
    fast, slow = (
        measure(Runs.of(engine, some_tokens()), [Intervention("new", (project,))], metric=difference)
        for engine in (Engine.of(llama), HookEngine.of(llama))
    )
    assert abs(fast.values - slow.values).max() <= 2e-5
    assert (fast.path, slow.path) == ("fast", "slow")
