"""What identifies a model in evidence: sha256 over its tensors, configuration, processing and dtype.

The tensors are the raw ones, before norms are folded. Folding rounds differently on other processors, and random
streams derive from the fingerprint: prompts must not depend on the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PROCESSING: Mapping[str, bool] = {
    "fold_ln": True,
    "center_writing_weights": True,
    "center_unembed": True,
    "fold_value_biases": True,
}
"""Arguments of `enable_compatibility_mode`; TransformerLens centres writing weights of LayerNorm models only."""

_RUNTIME_ONLY = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"})
"""Configuration entries that say where and with what a model was loaded, not what it is."""
_BLOCK = 1 << 22


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\x1f{tensor.dtype}\x1f{list(tensor.shape)}\x1e".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def float32_sha256(tensors: Mapping[str, Tensor], *, dtype: str, known: str) -> str | None:
    """`tensors_sha256` of the same tensors in float32; None where they were rounded to fewer digits than that.

    Args:
        tensors: as they were loaded.
        dtype: in which they were loaded. From float64 no digit is lost that float32 would have kept.
        known: their hash in that dtype.
    """
    import torch

    if dtype == "float32":
        return known
    if dtype != "float64":
        return None
    single = {name: each.float() if each.dtype == torch.float64 else each for name, each in tensors.items()}
    return tensors_sha256(single)


def model_fingerprint(*, tensors: str, config: Mapping[str, Any], dtype: str) -> str:
    """sha256 that identifies a model: the hash of its raw tensors, its configuration, processing settings, dtype."""
    content = {
        "tensors": tensors,
        "config": {key: value for key, value in config.items() if key not in _RUNTIME_ONLY},
        "processing": dict(PROCESSING),
        "dtype": dtype,
    }
    return text_sha256(json.dumps(content, sort_keys=True, default=str))


def text_sha256(text: str) -> str:
    """sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes (538 MB take about 0.4 s)."""
    digest = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(memoryview(buffer)[:read])
    return digest.hexdigest()
