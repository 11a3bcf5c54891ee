"""A TransformerBridge's processed weights as plain tensors, by reference; InterventionError for what is not covered.

Covered: GPT-2-like (LayerNorm, learned positions), Llama-like (RMSNorm, rotary, grouped queries, gated MLP) and
TransformerLens' native models. Everything else has traps that this forward pass does not model (parallel blocks,
post-norms, soft caps, sliding windows, norms on q and k), and is refused rather than approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.errors import InterventionError, NotCovered
from harness.interventions.weights import Block, Linear, Mlp, Norm, Rotary, Weights

if TYPE_CHECKING:
    from torch import Tensor

COVERED = ("GPT2LMHeadModel", "LlamaForCausalLM", "TransformerLensNative")
STATIC_ROPE = ("default", "linear", "llama3")  # the others change their angles with the length of the input

# Configuration values under which this forward pass would be wrong. Soft caps are off at any value <= 0.
_UNSUPPORTED_FLAGS = (
    "use_qk_norm",
    "use_local_attn",
    "parallel_attn_mlp",
    "post_embedding_ln",
    "use_normalization_before_and_after",
    "scale_attn_by_inverse_layer_idx",
    "rmsnorm_uses_offset",
)


def read_weights(model_or_bridge: object) -> Weights:
    """The weights and sizes of a bridge, or of a model that carries one as `.bridge`."""
    bridge: Any = (
        model_or_bridge if hasattr(model_or_bridge, "original_model") else getattr(model_or_bridge, "bridge", None)
    )
    if bridge is None or not hasattr(bridge, "blocks"):
        raise InterventionError(
            f"{type(model_or_bridge).__name__} is neither a TransformerBridge nor a model that carries one."
        )
    _refuse_what_is_not_covered(bridge)
    cfg = bridge.cfg
    pos_embed = bridge.pos_embed.original_component.weight.detach() if _has(bridge, "pos_embed") else None
    return Weights(
        architecture=cfg.architecture,
        embed=bridge.embed.original_component.weight.detach(),
        pos_embed=pos_embed,
        rotary=_read_rotary(bridge) if pos_embed is None else None,
        blocks=tuple(_read_block(block, act_fn=cfg.act_fn) for block in bridge.blocks),
        norm_final=_read_norm(bridge.ln_final),
        unembed=_read_linear(bridge.unembed),
        attn_scale=_attn_scale(bridge),
        n_ctx=int(cfg.n_ctx),
        n_heads=int(cfg.n_heads),
        n_kv_heads=int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads),
        d_head=int(cfg.d_head),
        d_model=int(cfg.d_model),
    )


def activation_function(name: str | None) -> Callable[[Tensor], Tensor]:
    """The pointwise function of an MLP by its configuration name."""
    import torch.nn.functional as F

    def gelu_tanh(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    known: dict[str, Callable[[Tensor], Tensor]] = {
        "gelu_new": gelu_tanh,
        "gelu_pytorch_tanh": gelu_tanh,
        "gelu": F.gelu,
        "relu": F.relu,
        "silu": F.silu,
        "swish": F.silu,
    }
    if name is None or name.lower() not in known:
        raise NotCovered(f"activation function {name!r} is not covered; known are {', '.join(known)}.")
    return known[name.lower()]


def _refuse_what_is_not_covered(bridge: Any) -> None:
    cfg = bridge.cfg
    if cfg.architecture not in COVERED:
        raise NotCovered(
            f"architecture {cfg.architecture!r} is not covered by the fast engine, which knows {', '.join(COVERED)}."
        )
    problems = [flag for flag in _UNSUPPORTED_FLAGS if getattr(cfg, flag, False)]
    problems += [cap for cap in ("attn_scores_soft_cap", "output_logits_soft_cap") if (getattr(cfg, cap, -1) or -1) > 0]
    if getattr(cfg, "attention_dir", "causal") != "causal":
        problems.append(f"attention_dir={cfg.attention_dir!r}")
    hf_config = getattr(bridge.original_model, "config", None)
    if getattr(hf_config, "scale_attn_weights", True) is False:
        problems.append("scale_attn_weights=False")
    if not (getattr(bridge, "_weights_processed", False) or getattr(bridge, "compatibility_mode", False)):
        problems.append("weights as they were trained (call bridge.enable_compatibility_mode() first)")
    dtypes = {str(parameter.dtype) for parameter in bridge.original_model.parameters()}
    if not dtypes <= {"torch.float32", "torch.float64"}:
        problems.append(f"weights in {', '.join(sorted(dtypes))}: only float32 and float64 are exact")
    if problems:
        raise NotCovered(f"the fast engine does not cover this {cfg.architecture}: {'; '.join(problems)}.")


def _has(module: Any, name: str) -> bool:
    # Bridges answer hasattr through aliases; only registered submodules are really there.
    return name in module._modules


def _read_linear(component: Any) -> Linear:
    module = component.original_component
    weight, bias = module.weight.detach(), getattr(module, "bias", None)
    if type(module).__name__ == "Conv1D":  # GPT-2 stores [in out]
        weight = weight.t()
    return Linear(weight, None if bias is None else bias.detach())


def _read_norm(component: Any) -> Norm:
    module = component.original_component
    name = type(module).__name__
    if name == "Identity":
        return Norm("none")
    if name not in ("LayerNorm", "NativeLayerNormPre", "LlamaRMSNorm", "NativeRMSNorm", "NativeRMSNormPre"):
        raise NotCovered(f"normalisation {name!r} is not covered by the fast engine.")
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return Norm(
        "rms" if "RMS" in name else "layer",
        None if weight is None or bool((weight == 1).all()) else weight.detach(),  # folded: nothing to multiply by
        None if bias is None or bool((bias == 0).all()) else bias.detach(),
        float(module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps),
    )


def _read_block(block: Any, *, act_fn: str | None) -> Block:
    q, k, v, o = (_read_linear(getattr(block.attn, name)) for name in "qkvo")
    if not _has(block, "mlp"):
        return Block(_read_norm(block.ln1), q, k, v, o, None, None)
    parts = block.mlp._modules
    mlp = Mlp(
        inward=_read_linear(parts["in"]),
        outward=_read_linear(parts["out"]),
        gate=_read_linear(parts["gate"]) if "gate" in parts else None,
        activation=activation_function(act_fn),
    )
    return Block(_read_norm(block.ln1), q, k, v, o, _read_norm(block.ln2), mlp)


def _attn_scale(bridge: Any) -> float:
    attention = bridge.blocks[0].attn.original_component
    if bridge.cfg.architecture == "TransformerLensNative":
        return 1.0 / float(attention.scale)
    return float(getattr(attention, "scaling", bridge.cfg.d_head**-0.5))


def _read_rotary(bridge: Any) -> Rotary:
    if bridge.cfg.architecture == "TransformerLensNative":
        native = bridge.blocks[0].attn.original_component.rotary
        return Rotary(lambda length: (native.cos_cached[:length], native.sin_cached[:length]), adjacent=True)
    rotary = bridge.rotary_emb.original_component
    if rotary.rope_type not in STATIC_ROPE:
        raise NotCovered(f"rotary positions of type {rotary.rope_type!r} are not covered; known are {STATIC_ROPE}.")

    def tables(length: int) -> tuple[Tensor, Tensor]:
        import torch

        positions = torch.arange(length, device=rotary.inv_freq.device).unsqueeze(0)
        like = torch.empty(0, dtype=bridge.embed.original_component.weight.dtype, device=positions.device)
        cos, sin = rotary(like, positions)
        return cos[0], sin[0]

    return Rotary(tables, adjacent=False)
