"""Tiny random bridges, with norms and biases moved away from one and zero: of every architecture that the fast engine
covers, and of two that only the slow one does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.models.tiny import VOCABULARY, tiny_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

KINDS = ("gpt2", "llama", "attention-only", "attention-only-ln", "native-mlp", "native-rotary-gated")
SLOW_KINDS = ("gemma", "gpt-neox")
"""What `Engine` refuses. Gemma's heads are wider than its share of the stream; GPT-NeoX's blocks are parallel."""
N_CTX = 24


def tiny_bridge(
    kind: str, *, seed: int = 0, n_layers: int = 2, n_heads: int = 4, n_kv_heads: int = 2
) -> TransformerBridge:
    """A bridge in compatibility mode, heads of 8 dimensions; grouped queries where the architecture has them."""
    sizes = {"n_layers": n_layers, "n_heads": n_heads, "d_head": 8, "d_model": 8 * n_heads, "act_fn": "gelu"}
    if kind in ("gpt2", "llama", *SLOW_KINDS):
        return hugging_face_bridge(kind, seed=seed, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads)
    extra: dict[str, Any] = {
        "attention-only": {"attn_only": True, "normalization_type": None},
        "attention-only-ln": {"attn_only": True, "normalization_type": "LN"},
        "native-mlp": {"attn_only": False, "normalization_type": "LN"},
        "native-rotary-gated": {
            "normalization_type": "RMS", "positional_embedding_type": "rotary", "n_key_value_heads": n_kv_heads,
            "gated_mlp": True, "act_fn": "silu", "final_rms": True,
        },
    }[kind]  # fmt: skip
    return native_bridge(seed=seed, **{**sizes, **extra})


def native_bridge(*, seed: int, **config: Any) -> TransformerBridge:
    """A native bridge with this configuration, in compatibility mode."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_native(
        TransformerBridgeConfig(n_ctx=N_CTX, d_vocab=len(VOCABULARY), seed=seed, **config)
    )
    return _processed(bridge, seed=seed)


def hugging_face_bridge(kind: str, *, seed: int, n_layers: int, n_heads: int, n_kv_heads: int) -> TransformerBridge:
    """A GPT-2, Llama, Gemma or GPT-NeoX bridge, saved with a tokenizer and loaded back, in compatibility mode."""
    import torch
    from transformers import (
        GemmaConfig,
        GemmaForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    ids = {"vocab_size": len(VOCABULARY), "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.2}
    sizes = {
        "hidden_size": 8 * n_heads, "intermediate_size": 40, "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads, "max_position_embeddings": N_CTX,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "gpt2":
            config = GPT2Config(n_positions=N_CTX, n_embd=8 * n_heads, n_layer=n_layers, n_head=n_heads, **ids)
            return boot(GPT2LMHeadModel(config), seed=seed)
        if kind == "gpt-neox":
            return boot(GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **ids)), seed=seed)
        sizes["num_key_value_heads"] = n_kv_heads
        if kind == "gemma":
            return boot(GemmaForCausalLM(GemmaConfig(head_dim=16, **sizes, **ids)), seed=seed)
        return boot(LlamaForCausalLM(LlamaConfig(**sizes, **ids)), seed=seed)


def boot(model: Any, *, seed: int = 0) -> TransformerBridge:
    """Any Hugging Face model as a bridge in compatibility mode, through a folder with a tokenizer."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        tiny_tokenizer(Path(name))
        model.config.save_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        bridge = TransformerBridge.boot_transformers(name, hf_model=model.eval(), tokenizer=tokenizer)
        return _processed(bridge, seed=seed)


def some_tokens(*, batch: int = 3, pos: int = 11, seed: int = 0) -> Tensor:
    """Random tokens [batch pos] of the tiny vocabulary."""
    import torch

    return torch.randint(len(VOCABULARY), (batch, pos), generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers of a shape."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def largest(difference: Tensor) -> float:
    """The largest absolute value."""
    return float(difference.abs().max())


def state_of(bridge: TransformerBridge) -> tuple[bytes, ...]:
    """The bits of all weights and logits, and the number of hooks on every module: what interventions leave alone."""
    import torch

    with torch.inference_mode():
        tensors = [*bridge.original_model.state_dict().values(), bridge(some_tokens())]
    kinds = ("fwd_hooks", "bwd_hooks", "_forward_hooks", "_forward_pre_hooks")
    modules = {**dict(bridge.named_modules()), **bridge.hook_dict}
    hooks = {name: [len(getattr(module, kind, ())) for kind in kinds] for name, module in modules.items()}
    return (*(tensor.contiguous().numpy().tobytes() for tensor in tensors), repr(hooks).encode())


def _processed(bridge: TransformerBridge, *, seed: int) -> TransformerBridge:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bridge.original_model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    bridge.eval()
    bridge.enable_compatibility_mode()
    return bridge
