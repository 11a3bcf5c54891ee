"""Loading: from a model id to a `Model` with verified, folded weights; and its untrained twin."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, ModelNotHere
from harness.models import gguf_cache, hub, native, registry
from harness.models.allocator import keep_freed_memory
from harness.models.config_file import native_config
from harness.models.fingerprint import PROCESSING, model_fingerprint, tensors_sha256
from harness.models.identity import require_identity
from harness.models.lesion import lesioned, with_head_weights
from harness.models.loaded import Model
from harness.models.registry import ModelSpec

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

__all__ = ["DTYPES", "Model", "check_device", "lesioned", "load", "untrained_twin", "with_head_weights"]

DTYPES = ("float32", "float64", "bfloat16", "float16")

_IDENTITY = (
    "n_layers", "d_model", "n_ctx", "d_head", "n_heads", "n_key_value_heads", "d_vocab", "d_mlp", "act_fn", "attn_only",
    "normalization_type", "positional_embedding_type", "gated_mlp", "eps", "architecture", "rotary_base", "rotary_dim",
    "parallel_attn_mlp", "window_size", "use_local_attn", "attn_scale", "scale_attn_by_inverse_layer_idx",
    "attn_scores_soft_cap", "output_logits_soft_cap", "use_NTK_by_parts_rope", "use_qk_norm",
)  # fmt: skip
"""What of a configuration makes the model's function, by name, so that a library's new field changes no number."""


@dataclass(frozen=True)
class _Raw:
    """A bridge before folding, and what is needed to make a `Model` of it."""

    bridge: TransformerBridge
    tokenizer: PreTrainedTokenizerBase | None
    tensors_sha256: str
    source: Path
    float32_sha256: str | None = None


def load(
    model_id: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    allow_download: bool = False,
    say: Callable[[str], None] | None = None,
) -> Model:
    """The model of this id, verified, folded and in eval mode.

    Args:
        model_id: as in the registry, or `path:DIR`.
        device: `cpu`, `cuda`, ...
        dtype: one of `DTYPES`.
        allow_download: fetch a hub model that is not here.
        say: called with a line before something slow, such as the first conversion of SmolLM2.

    Raises:
        ModelNotHere: the weights are not on this machine; the error carries the command that brings them.
        ModelError: the id is unknown, or the model's files are damaged or another model's.
    """
    spec = registry.find(model_id)
    _check_options(device, dtype)
    keep_freed_memory()
    raw = _raw(spec, device=device, dtype=dtype, allow_download=allow_download, say=say)
    return _finished(spec, raw, device=device, dtype=dtype)


def check_device(device: str) -> None:
    """Raise ModelError where torch cannot compute on this device here."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}). Use cpu.") from error


def untrained_twin(model: Model, seed: int) -> Model:
    """A model of the same architecture that was never trained, initialised by that architecture's own scheme.

    A changed copy has the twin of the model that it was made from.
    """
    from harness.models.pretrained import boot_untrained

    base_id = model.id.partition("~")[0]
    if model.source.suffix == ".safetensors":
        config = {**native_config(model.source), "seed": seed}
        raw = _native_raw(config, source=model.source, device=model.device, dtype=model.dtype)
    else:
        booted = boot_untrained(model.source, seed=seed, device=model.device, dtype=model.dtype)
        raw = _Raw(booted.bridge, booted.tokenizer, booted.tensors_sha256, model.source)
    spec = replace(model.spec, id=f"{base_id}~untrained@{seed}", note=f"untrained twin of {base_id}, seed {seed}")
    return _finished(spec, raw, device=model.device, dtype=model.dtype)


def _raw(spec: ModelSpec, *, device: str, dtype: str, allow_download: bool, say: Callable[[str], None] | None) -> _Raw:
    if spec.kind == "shipped" or (spec.place is not None and spec.place.suffix == ".safetensors"):
        path = spec.place or registry.find_checkpoint(spec)
        if path is None:
            raise ModelNotHere(f"the checkpoint of {spec.id} is not here.", remedy=spec.remedy)
        require_identity(spec, path)
        checkpoint = native.read_native(path)
        return _native_raw(checkpoint.config, source=path, device=device, dtype=dtype, tensors=checkpoint.tensors)
    from harness.models.pretrained import boot_pretrained

    known = None
    if spec.kind == "packaged":
        folder = gguf_cache.converted_folder(spec, say=say)
        known = gguf_cache.TENSORS_SHA256 if dtype == gguf_cache.DTYPE else None
    elif spec.kind == "hub":
        folder = hub.hub_folder(spec, allow_download=allow_download)
    else:
        folder = spec.place or Path()
    booted = boot_pretrained(folder, device=device, dtype=dtype, known_sha256=known)
    return _Raw(booted.bridge, booted.tokenizer, booted.tensors_sha256, folder, booted.float32_sha256)


def _native_raw(
    config: Mapping[str, Any], *, source: Path, device: str, dtype: str, tensors: Mapping[str, Any] | None = None
) -> _Raw:
    import torch

    bridge: Any = native.boot_native(config, tensors=tensors, where=str(source))
    sha = tensors_sha256(bridge.state_dict())
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where it moves
        moved = bridge.to(device=device, dtype=getattr(torch, dtype))
    return _Raw(moved, None, sha, source, sha)  # of the tensors as they are stored, whatever the dtype


def _finished(spec: ModelSpec, raw: _Raw, *, device: str, dtype: str) -> Model:
    cfg = raw.bridge.cfg
    config = {key: getattr(cfg, key, None) for key in _IDENTITY}
    _fold(raw.bridge)
    single = raw.float32_sha256
    model = Model(
        id=spec.id, spec=spec, bridge=raw.bridge, source=raw.source, tokenizer=raw.tokenizer,
        fingerprint=model_fingerprint(tensors=raw.tensors_sha256, config=config, dtype=dtype),
        n_layers=int(cfg.n_layers), n_heads=int(cfg.n_heads), n_kv_heads=int(cfg.n_key_value_heads or cfg.n_heads),
        d_head=int(cfg.d_head), d_model=int(cfg.d_model), d_vocab=int(cfg.d_vocab), n_ctx=int(cfg.n_ctx),
        bos_token_id=int(cfg.d_vocab) - 1 if raw.tokenizer is None else raw.tokenizer.bos_token_id,
        device=device, dtype=dtype,
        float32_fingerprint=single and model_fingerprint(tensors=single, config=config, dtype="float32"),
    )  # fmt: skip
    for name in ("n_layers", "n_heads", "n_kv_heads"):
        if getattr(model, name) != getattr(spec, name):
            raise ModelError(
                f"{raw.source} has {name} = {getattr(model, name)}, but {spec.id!r} is known with "
                f"{getattr(spec, name)}: it is another model. Restore the file, or name it by path:."
            )
    return model


def _fold(bridge: TransformerBridge) -> None:
    """Fold norms and centre, once, outside `inference_mode` (its tensors could never be differentiated)."""
    import torch

    if torch.is_inference_mode_enabled():
        raise ModelError("a model is loaded inside torch.inference_mode(); load it outside, then use it inside.")
    bridge.enable_compatibility_mode(**PROCESSING)
    if not getattr(bridge, "_weights_processed", False):
        raise ModelError("TransformerLens did not fold the weights; its version is outside >= 4.3, < 5.")
    _give_memory_back()


def _give_memory_back() -> None:
    """Return freed processing buffers to the system: 0.4 GiB after SmolLM2, which malloc would keep."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc than GNU's has no malloc_trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _check_options(device: str, dtype: str) -> None:
    if dtype not in DTYPES:
        raise ModelError(f"dtype is {dtype!r}; one of {', '.join(DTYPES)}.")
    check_device(device)
