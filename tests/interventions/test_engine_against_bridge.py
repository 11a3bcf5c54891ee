"""The engine computes what the bridge computes, for random architectures and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.interventions import Engine
from tests.interventions.bridges import N_CTX, hugging_face_bridge, largest, native_bridge, some_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")


def logits_of(bridge: TransformerBridge, tokens: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        return bridge(tokens)


def assert_equal_logits(bridge: TransformerBridge, tokens: Tensor) -> None:
    engine = Engine.of(bridge)
    ours, theirs = engine.logits(engine.run(tokens)), logits_of(bridge, tokens)
    assert ours.shape == theirs.shape
    assert largest(ours - theirs) <= 1e-4
    assert largest((ours - ours[..., :1]) - (theirs - theirs[..., :1])) <= 1e-5  # differences of two logits


@pytest.mark.parametrize("pos", [1, 2, N_CTX])
def test_logits_equal_the_bridges(bridge: TransformerBridge, pos: int) -> None:
    assert_equal_logits(bridge, some_tokens(pos=pos))


def test_kept_activations_equal_the_bridges_cache(bridge: TransformerBridge) -> None:
    tokens = some_tokens()
    run = Engine.of(bridge).run(tokens, keep=("resid_pre", "z", "v", "pattern"))
    names = {"resid_pre": "hook_resid_pre", "z": "attn.hook_z", "v": "attn.hook_v", "pattern": "attn.hook_pattern"}
    _, cache = bridge.run_with_cache(tokens, names_filter=[f"blocks.1.{hook}" for hook in names.values()])
    for name, hook in names.items():
        kept = getattr(run, name)
        assert set(kept) == {0, 1}
        assert largest(kept[1] - cache[f"blocks.1.{hook}"].reshape(kept[1].shape)) <= 1e-5, name


def test_log_probabilities_are_those_of_the_bridges_logits(bridge: TransformerBridge) -> None:
    tokens = some_tokens()
    engine = Engine.of(bridge)
    expected = logits_of(bridge, tokens).log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None]).squeeze(2)
    assert largest(engine.log_probs_of_next(engine.run(tokens)) - expected) <= 1e-5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_native_models_of_any_shape_agree(data: st.DataObject) -> None:
    n_kv_heads, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    rotary = data.draw(st.booleans())
    bridge = native_bridge(
        seed=data.draw(st.integers(0, 99)),
        n_layers=data.draw(st.integers(1, 3)),
        n_heads=n_kv_heads * group,
        n_key_value_heads=n_kv_heads,
        d_head=data.draw(st.sampled_from([2, 6, 8])),
        d_model=data.draw(st.sampled_from([12, 20])),  # not n_heads * d_head
        attn_only=data.draw(st.booleans()),
        normalization_type=data.draw(st.sampled_from([None, "LN", "LNPre", "RMS", "RMSPre"])),
        gated_mlp=data.draw(st.booleans()),
        act_fn=data.draw(st.sampled_from(ACTIVATIONS)),
        positional_embedding_type="rotary" if rotary else "standard",
        rotary_dim=2 if rotary and data.draw(st.booleans()) else None,
    )
    batch, pos = data.draw(st.integers(1, 9)), data.draw(st.integers(1, N_CTX))
    assert_equal_logits(bridge, some_tokens(batch=batch, pos=pos, seed=data.draw(st.integers(0, 99))))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(["gpt2", "llama"]),
    seed=st.integers(0, 99),
    n_layers=st.integers(1, 3),
    n_kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    batch=st.integers(1, 9),
    pos=st.integers(1, N_CTX),
)
def test_hugging_face_models_of_any_shape_agree(
    kind: str, seed: int, n_layers: int, n_kv_heads: int, group: int, batch: int, pos: int
) -> None:
    bridge = hugging_face_bridge(kind, seed=seed, n_layers=n_layers, n_heads=n_kv_heads * group, n_kv_heads=n_kv_heads)
    assert_equal_logits(bridge, some_tokens(batch=batch, pos=pos, seed=seed))


def test_the_final_scale_is_the_bridges_and_turns_a_write_into_logits(bridge: TransformerBridge) -> None:
    import torch

    engine, tokens = Engine.of(bridge), some_tokens()
    run = engine.run(tokens)
    scale = engine.final_scale(run)
    assert scale.shape == tokens.shape
    if "ln_final.hook_scale" in bridge.hook_dict:
        _, cache = bridge.run_with_cache(tokens, names_filter=["ln_final.hook_scale"])
        assert largest(scale - cache["ln_final.hook_scale"].squeeze(-1)) <= 1e-5
    else:
        assert (scale == 1).all()
    # With the scale held fixed, logits are linear in the stream (up to a constant for LayerNorm's centring).
    linear = (run.resid / scale.unsqueeze(-1)) @ engine.W_U + engine.b_U
    if bridge.cfg.normalization_type == "LN":
        linear = linear - (run.resid.mean(-1, keepdim=True) / scale.unsqueeze(-1)) * engine.W_U.sum(0)
    torch.testing.assert_close(linear, engine.logits(run), atol=1e-5, rtol=0)


def test_weight_matrices_equal_the_bridges(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    group = engine.n_heads // engine.n_kv_heads
    for layer in range(engine.n_layers):
        assert (engine.W_O(layer) == bridge.W_O[layer].reshape(engine.W_O(layer).shape)).all()
        assert (engine.W_V(layer) == bridge.W_V[layer].repeat_interleave(group, dim=0)).all()
    assert (engine.W_U == bridge.W_U).all()
    assert (engine.b_U == bridge.b_U).all()
    assert (engine.W_E == bridge.W_E).all()


def test_weights_are_read_by_reference_and_never_written(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    assert engine.W_O(1).data_ptr() == llama.blocks[1].attn.o.weight.data_ptr()
    assert engine.W_U.data_ptr() == llama.unembed.weight.data_ptr()
    engine.log_probs_of_next(engine.run(some_tokens(), keep=("z",)))
    assert all((tensor == before[name]).all() for name, tensor in llama.state_dict().items())


def test_a_model_that_carries_a_bridge_has_an_engine(llama: TransformerBridge) -> None:
    class Model:
        bridge = llama

    engine = Engine.of(Model())
    assert (engine.n_layers, engine.n_heads, engine.n_kv_heads, engine.d_head, engine.d_model) == (2, 4, 2, 8, 32)
