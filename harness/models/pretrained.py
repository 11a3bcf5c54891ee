"""A Hugging Face folder as a raw bridge: weights, tokenizer, and the hash of the tensors. Never touches the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.models.fingerprint import float32_sha256, tensors_sha256
from harness.models.hub import check_folder
from harness.models.quiet import offline_and_quiet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RawModel:
    """A bridge before compatibility mode, in eval mode, with its tokenizer and the hash of its raw tensors.

    `float32_sha256` is that of the same tensors in float32, or None where it is not known.
    """

    bridge: TransformerBridge
    tokenizer: PreTrainedTokenizerBase
    tensors_sha256: str
    float32_sha256: str | None = None


def boot_pretrained(folder: Path, *, device: str, dtype: str, known_sha256: str | None = None) -> RawModel:
    """The model in this folder.

    Args:
        folder: in Hugging Face format.
        device: where to put it.
        dtype: in which to load it.
        known_sha256: hash of its tensors in this dtype where the files were verified already; saves 0.4 s for SmolLM2.

    Raises:
        ModelError: the folder is incomplete or damaged, or TransformerLens does not know its architecture.
    """
    from transformer_lens.model_bridge import TransformerBridge

    check_folder(folder)
    with offline_and_quiet():
        tokenizer = _load_tokenizer(folder)
        model = _load_model(folder, dtype)
        sha = known_sha256 or tensors_sha256(model.state_dict())
        single = float32_sha256(model.state_dict(), dtype=dtype, known=sha)
        boot = TransformerBridge.boot_transformers
        bridge = _boot(boot, folder, tokenizer=tokenizer, device=device, dtype=dtype, hf_model=model.to(device))
    return RawModel(bridge=bridge, tokenizer=tokenizer, tensors_sha256=sha, float32_sha256=single)


def boot_untrained(folder: Path, *, seed: int, device: str, dtype: str) -> RawModel:
    """The same architecture, freshly initialised by its own scheme; the same seed gives the same weights.

    Raises:
        ModelError: as `boot_pretrained`.
    """
    from transformer_lens.tools.analysis import random_init_bridge

    check_folder(folder)
    with offline_and_quiet():
        tokenizer = _load_tokenizer(folder)
        bridge: Any = _boot(random_init_bridge, folder, tokenizer=tokenizer, device=device, dtype=dtype, seed=seed)
        sha = tensors_sha256(bridge.state_dict())
    return RawModel(bridge=bridge, tokenizer=tokenizer, tensors_sha256=sha)


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raise plain Exception from Rust
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded ({type(error).__name__}: {_first_line(error)}). Save it "
            "again: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)."
        ) from error
    return tokenizer


def _load_model(folder: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # safetensors raises its own class, transformers OSError, ValueError, RuntimeError
        raise ModelError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {_first_line(error)}). The files are "
            "damaged, or it is no causal language model; write or download the folder again."
        ) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers and go on
        raise ModelError(
            f"{len(missing)} tensors are missing in {folder}, the first is {missing[0]!r}. A model with random weights "
            "in their place is not measured; bring the complete checkpoint."
        )
    return model


def _boot(boot: Callable[..., Any], folder: Path, *, device: str, dtype: str, **how: Any) -> TransformerBridge:
    import torch

    try:
        bridge: TransformerBridge = boot(str(folder), device=device, dtype=getattr(torch, dtype), **how)
    except Exception as error:  # unsupported architectures fail in many ways, deep inside
        raise ModelError(
            f"TransformerLens cannot use the model in {folder} ({type(error).__name__}: {_first_line(error)}). Models "
            "of the GPT-2 and Llama families are supported."
        ) from error
    if bridge.training:  # eval() alone walks every module of the bridge, 0.3 s for SmolLM2
        bridge.eval()
    return bridge


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
