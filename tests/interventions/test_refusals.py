"""What the engine refuses, by name, before it computes anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from harness.errors import InterventionError
from harness.interventions import Add, Edit, Engine, Replace
from tests.interventions.bridges import boot, native_bridge, normal, some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SMALL = {"n_layers": 1, "n_heads": 2, "d_head": 4, "d_model": 8, "act_fn": "gelu"}


def z() -> object:
    return normal(3, 11, 8)


BAD_EDITS: dict[str, tuple[Callable[[], Edit], str]] = {
    "layer": (
        lambda: Replace.z(2, 0, z()),
        r"Replace\(layer=2, site='z', parts=\(0,\)\): layer 2 does not exist, the model has 2",
    ),
    "negative layer": (lambda: Replace.z(-1, 0, z()), "layer -1 does not exist"),
    "head": (lambda: Replace.z(1, 4, z()), "head 4 does not exist, the model has 4"),
    "negative head": (lambda: Replace.z(1, -1, z()), "head -1 does not exist"),
    "kv head": (lambda: Replace.v(1, z(), kv_head=2), "kv_head 2 does not exist, the model has 2"),
    "no head": (lambda: Replace.v(1, z()), "give either head="),
    "both heads": (lambda: Replace.v(1, z(), head=0, kv_head=0), "give either head="),
    "shape of z": (
        lambda: Replace.z(1, 0, z()[:, :10]),
        r"\(3, 10, 1, 8\) is not \[batch pos head d_head\] = \(3, 11, 1, 8\)",
    ),
    "broadcast": (lambda: Replace.z(1, 0, z()[:1]), "do not broadcast"),
    "shape of vector": (lambda: Add(1, z()), r"is not \[batch pos d_model\]"),
    "shape of v": (lambda: Replace.v(1, normal(3, 11, 32), kv_head=0), r"is not \[batch pos kv_head d_head\]"),
    "shape of pattern": (
        lambda: Replace(1, "pattern", normal(3, 4, 11, 12)),
        r"is not \[batch head query_pos key_pos\]",
    ),
    "pattern ahead": (lambda: Replace(1, "pattern", normal(3, 4, 11, 11)), "attends to a later position"),
    "type": (lambda: Add(1, normal(3, 11, 32).double()), "is torch.float64, not torch.float32"),
    "mask type": (lambda: Replace.z(1, 0, z(), positions=normal(3, 11)), "not torch.bool"),
    "mask shape": (lambda: Replace.z(1, 0, z(), positions=normal(3, 1) > 0), r"is not \[batch pos\]"),
    "not a number": (lambda: Replace.z(1, 0, z() * float("nan")), "NaN or infinity"),
    "before the restart": (lambda: Replace.z(0, 0, z()), "layer 0 is not computed, this pass runs layers 1 to 1"),
    "no edit": (lambda: "Replace", "is no edit"),
}


@pytest.mark.parametrize("name", BAD_EDITS)
def test_an_edit_that_does_not_fit_is_refused_by_name(llama: TransformerBridge, name: str) -> None:
    make, message = BAD_EDITS[name]
    engine = Engine.of(llama)
    run = engine.run(some_tokens(), keep=("resid_pre",))
    with pytest.raises(InterventionError, match=message):
        engine.resume(run, layer=1, edits=[make()])


def test_an_edit_after_the_last_computed_layer_is_refused(llama: TransformerBridge) -> None:
    with pytest.raises(InterventionError, match="layer 1 is not computed"):
        Engine.of(llama).run(some_tokens(), edits=[Replace.z(1, 0, z())], stop_at_layer=1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: Replace.z(1, 0, z()), lambda: Replace.z(1, 0, -z())),
        (lambda: Add(0, normal(3, 11, 32)), lambda: Add(0, normal(3, 11, 32))),
        (lambda: Replace.v(1, z(), kv_head=1), lambda: Replace.v(1, z(), head=3)),  # head 3 reads key-value head 1
    ],
)
def test_two_edits_of_one_target_are_refused(
    llama: TransformerBridge, first: Callable[[], Edit], second: Callable[[], Edit]
) -> None:
    with pytest.raises(InterventionError, match="both write the"):
        Engine.of(llama).run(some_tokens(), edits=[first(), second()])


def test_edits_of_different_key_value_heads_are_not_one_target(llama: TransformerBridge) -> None:
    Engine.of(llama).run(some_tokens(), edits=[Replace.v(1, z(), kv_head=1), Replace.v(1, z(), head=1)])


@pytest.mark.parametrize(
    ("site", "message"), [("mlp_out", "attention-only"), ("hook_zz", "no site 'hook_zz'"), ("patern", "Did you mean")]
)
def test_a_site_that_the_model_lacks_is_refused(attention_only: TransformerBridge, site: str, message: str) -> None:
    edit = SimpleNamespace(layer=0, site=site, targets=frozenset, check=lambda frame: None, apply=lambda x: x)
    with pytest.raises(InterventionError, match=message):
        Engine.of(attention_only).run(some_tokens(), edits=[edit])


def test_an_edit_that_returns_another_shape_is_refused(llama: TransformerBridge) -> None:
    edit = SimpleNamespace(
        layer=1, site="z", targets=lambda frame: frozenset(), check=lambda frame: None, apply=lambda x: x[:1]
    )
    with pytest.raises(InterventionError, match=r"returned \(1, 11, 4, 8\) for 'z' of layer 1"):
        Engine.of(llama).run(some_tokens(), edits=[edit])


def test_the_model_is_usable_and_unchanged_after_a_refusal(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    before = engine.run(some_tokens()).resid
    with pytest.raises(InterventionError):
        engine.run(some_tokens(), edits=[Replace.z(9, 0, z())])
    assert (engine.run(some_tokens()).resid == before).all()


def test_tokens_that_the_model_cannot_read_are_refused(llama: TransformerBridge) -> None:
    engine, tokens = Engine.of(llama), some_tokens()
    with pytest.raises(InterventionError, match=r"not all in the vocabulary \(0 to 39\)"):
        engine.run(tokens + 39)
    with pytest.raises(InterventionError, match="not all in the vocabulary"):
        engine.run(tokens - 40)
    with pytest.raises(InterventionError, match="longer than n_ctx = 24"):
        engine.run(some_tokens(pos=25))
    for bad in (tokens[0], tokens.float(), tokens[:0], tokens[:, :0], tokens > 3):
        with pytest.raises(InterventionError, match=r"are not integers \[batch pos\]"):
            engine.run(bad)


def test_a_restart_where_nothing_was_kept_says_what_was(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    run = engine.run(some_tokens())
    with pytest.raises(InterventionError, match=r"resid_pre of layer 1 was not kept.*has layers \[2\]"):
        engine.resume(run, layer=1)
    with pytest.raises(InterventionError, match="cannot compute from layer 3"):
        engine.resume(run, layer=3)
    with pytest.raises(InterventionError, match="before layer 3"):
        engine.run(some_tokens(), stop_at_layer=3)
    with pytest.raises(InterventionError, match="z of layer 0 was not kept"):
        run.z_of(0, 0)
    with pytest.raises(InterventionError, match=r"head 0\.4 does not exist"):
        engine.run(some_tokens(), keep=("z",)).z_of(0, 4)


def test_a_run_that_stopped_has_no_logits(llama: TransformerBridge) -> None:
    import torch

    engine = Engine.of(llama)
    run = engine.run(some_tokens(), stop_at_layer=1)
    for read in (engine.logits, engine.log_probs_of_next, lambda run: engine.logits_at(run, torch.zeros(3, 1).long())):
        with pytest.raises(InterventionError, match="stopped before layer 1 of 2"):
            read(run)


def test_an_unknown_name_or_layer_to_keep_is_refused(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    with pytest.raises(InterventionError, match=r"'paterns' cannot be kept.*Did you mean 'pattern'"):
        engine.run(some_tokens(), keep=("paterns",))
    with pytest.raises(InterventionError, match=r"write keep=\('z',\)"):
        engine.run(some_tokens(), keep="z")
    with pytest.raises(InterventionError, match=r"keep names layers \[1, 5\] for 'z'"):
        engine.run(some_tokens(), keep={"z": [0, 1, 5]}, stop_at_layer=1)


def test_positions_outside_the_prompt_are_refused(llama: TransformerBridge) -> None:
    import torch

    engine = Engine.of(llama)
    run = engine.run(some_tokens())
    for bad, message in (
        (torch.tensor([[0], [1], [11]]), "must lie in 0 to 10, got 0 to 11"),
        (torch.tensor([[0], [1], [-1]]), "must lie in 0 to 10, got -1 to 1"),
        (torch.zeros(2, 1).long(), r"are not integers \[3 n\]"),
        (torch.zeros(3, 1), r"are not integers \[3 n\]"),
    ):
        with pytest.raises(InterventionError, match=message):
            engine.logits_at(run, bad)
    with pytest.raises(InterventionError, match=r"no token follows the last position \(10\)"):
        engine.log_probs_at(run, torch.full((3, 1), 10))
    with pytest.raises(InterventionError, match="layer 2 does not exist"):
        engine.W_O(2)


def test_architectures_that_are_not_covered_are_refused_by_name() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with pytest.raises(InterventionError, match="'GPTNeoXForCausalLM' is not covered"):
        Engine.of(boot(GPTNeoXForCausalLM(config)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"attn_scores_soft_cap": 5.0}, "attn_scores_soft_cap"),
        ({"output_logits_soft_cap": 5.0}, "output_logits_soft_cap"),
        ({"attention_dir": "bidirectional"}, "attention_dir='bidirectional'"),
        ({"act_fn": "solu_ln"}, "activation function 'solu_ln'"),
    ],
)
def test_native_configurations_that_are_not_covered_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(InterventionError, match=message):
        Engine.of(native_bridge(seed=0, **{**SMALL, **config}))


def test_positions_whose_angles_depend_on_the_length_are_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )  # fmt: skip
    with pytest.raises(InterventionError, match="rotary positions of type 'dynamic'"):
        Engine.of(boot(LlamaForCausalLM(config)))


def test_a_model_whose_weights_are_not_processed_is_refused() -> None:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    raw = TransformerBridge.boot_native(TransformerBridgeConfig(n_ctx=8, d_vocab=9, seed=0, **SMALL))
    with pytest.raises(InterventionError, match=r"enable_compatibility_mode\(\) first"):
        Engine.of(raw)


def test_half_precision_is_refused() -> None:
    import torch

    bridge = native_bridge(seed=0, **SMALL)
    bridge.original_model.to(torch.bfloat16)
    with pytest.raises(InterventionError, match=r"weights in torch\.bfloat16"):
        Engine.of(bridge)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InterventionError, match="str is neither a TransformerBridge nor a model"):
        Engine.of("gpt2")


def test_importing_the_package_imports_no_torch() -> None:
    code = "import harness.interventions, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
